//! Holds documents to the tables they describe. `UPDATE_GOLDEN=1` rewrites them.

use std::fmt::Write;

use plimsoll::analysis::diagnosis::KINDS;
use plimsoll::chart::{CHARTS, COMPARISON_CHARTS};
use plimsoll::experiment::presets::{PRESETS, PresetRule};
use plimsoll::measure::validity::SIGNALS;
use plimsoll::metrics::{Better, Kind, METRICS};

/// The text between two marker lines of a file, after having been rewritten if asked.
pub fn section(path: &str, begin: &str, end: &str, expected: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let start = text.find(begin).unwrap_or_else(|| panic!("{path}: no marker {begin:?}"));
    let start = start + text[start..].find('\n').unwrap() + 1;
    let stop = start + text[start..].find(end).unwrap_or_else(|| panic!("{path}: no marker {end:?}"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, format!("{}{expected}{}", &text[..start], &text[stop..])).unwrap();
        return expected.to_owned();
    }
    text[start..stop].to_owned()
}

#[test]
fn metrics_page_is_the_table() {
    let mut expected =
        String::from("| metric | unit | better | kind | definition |\n|---|---|---|---|---|\n");
    for m in METRICS {
        let better = match m.better {
            Better::Lower => "lower",
            Better::Higher => "higher",
            Better::Neither => "",
        };
        let kind = if m.kind == Kind::Distribution { "distribution" } else { "scalar" };
        writeln!(expected, "| `{}` | {} | {better} | {kind} | {} |", m.name, m.unit.label(), m.help).unwrap();
    }
    let found = section("docs/metrics.md", "<!-- table", "<!-- end of table", &expected);
    assert_eq!(
        found, expected,
        "docs/metrics.md is behind src/metrics.rs: UPDATE_GOLDEN=1 cargo test metrics_page"
    );
}

#[test]
fn figures_page_is_the_tables() {
    let table = |rows: Vec<(&str, &str)>| {
        let rows = rows.iter().map(|(id, help)| format!("| `{id}` | {help} |\n"));
        format!("| figure | what it shows |\n|---|---|\n{}", rows.collect::<String>())
    };
    let of_runs = table(CHARTS.iter().map(|def| (def.id, def.help)).collect());
    let of_comparisons = table(COMPARISON_CHARTS.iter().map(|def| (def.id, def.help)).collect());
    for (name, expected) in [("charts", of_runs), ("comparison charts", of_comparisons)] {
        let (begin, end) = (format!("<!-- {name}, from"), format!("<!-- end of {name}"));
        let found = section("docs/figures.md", &begin, &end, &expected);
        assert_eq!(
            found, expected,
            "docs/figures.md is behind src/chart: UPDATE_GOLDEN=1 cargo test figures_page"
        );
    }
}

#[test]
fn validity_table() {
    let mut expected = String::from("| signal | warn | invalid | what it is |\n|---|---|---|---|\n");
    for s in SIGNALS {
        let (warn, invalid) = (s.warn.words(s.unit), s.invalid.words(s.unit));
        // A bar would end the cell of the table.
        let help = s.help.replace('|', "\\|");
        writeln!(expected, "| `{}` | {warn} | {invalid} | {help} |", s.name).unwrap();
    }
    let found = section("docs/methods.md", "<!-- table", "<!-- end of table", &expected);
    assert_eq!(
        found, expected,
        "docs/methods.md is behind src/measure/validity/table.rs: UPDATE_GOLDEN=1 cargo test validity_table"
    );
}

#[test]
fn presets_table() {
    let mut expected = String::from("| preset | rules | for | from |\n|---|---|---|---|\n");
    for p in PRESETS {
        let rules: Vec<String> =
            p.rules.iter().map(|rule: &PresetRule| format!("`{}`", rule.written())).collect();
        writeln!(expected, "| `{}` | {} | {} | {} |", p.name, rules.join("<br>"), p.help, p.source).unwrap();
    }
    let found = section("docs/experiment-file.md", "<!-- presets", "<!-- end of presets", &expected);
    assert_eq!(
        found, expected,
        "docs/experiment-file.md is behind src/experiment/presets.rs: UPDATE_GOLDEN=1 cargo test presets_table"
    );
}

#[test]
fn findings_table() {
    let mut expected =
        String::from("| finding | told when | likely causes | what to try |\n|---|---|---|---|\n");
    for k in KINDS {
        let (causes, remedies) = (k.causes.join("<br>"), k.remedies.join("<br>"));
        writeln!(expected, "| `{}`: {} | {} | {causes} | {remedies} |", k.code, k.title, k.when).unwrap();
    }
    let found = section("docs/analysis.md", "<!-- findings", "<!-- end of findings", &expected);
    assert_eq!(
        found, expected,
        "docs/analysis.md is behind src/analysis/diagnosis/kinds.rs: UPDATE_GOLDEN=1 cargo test findings_table"
    );
}
