//! Holds docs/coverage.md to the code: the tests it names exist, its keys are documented, its
//! commands are those of the program.

use std::path::{Path, PathBuf};

use plimsoll::experiment::presets::{self, PresetRule};
use plimsoll::export;
use plimsoll::metrics::{METRICS, STATS};
use plimsoll::provider;
use plimsoll::scenarios;
use plimsoll::sim::KNOBS;

use crate::rig::program::{plimsoll, stdout};

struct Row {
    feature: String,
    place: String,
    shown_by: String,
    status: String,
}

impl Row {
    fn is_open(&self) -> bool {
        self.shown_by.contains('?')
    }
}

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new("docs").join(name)).unwrap()
}

fn rows() -> Vec<Row> {
    let text = page("coverage.md");
    let lines = text.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| feature"));
    lines
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [feature, place, shown_by, status] = cells[..] else { panic!("four columns: {line}") };
            let [feature, place, shown_by, status] = [feature, place, shown_by, status].map(str::to_owned);
            Row { feature, place, shown_by, status }
        })
        .collect()
}

/// What stands between back ticks.
fn codes(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_row_is_whole() {
    let rows = rows();
    assert!(rows.len() > 250, "{}", rows.len());
    for row in &rows {
        assert!(
            ["yes", "instead", "later"].contains(&row.status.as_str()),
            "{}: {}",
            row.feature,
            row.status
        );
        for cell in [&row.feature, &row.place, &row.shown_by] {
            assert!(!cell.is_empty(), "{}", row.feature);
        }
    }
    let open: Vec<&str> = rows.iter().filter(|row| row.is_open()).map(|row| row.feature.as_str()).collect();
    assert!(open.is_empty(), "these rows name no test: {open:?}");
    let text = page("coverage.md");
    assert_eq!(text.matches("\n## The ").count(), 5, "one part for each document");
}

/// Files in which a module's tests may stand: `load::arrivals` in tests/load/arrivals.rs,
/// `units::tests` in src/units.rs or src/units/tests.rs.
fn files(module: &[&str]) -> Vec<PathBuf> {
    let path: PathBuf = module.iter().collect();
    let mut found = vec![path.with_extension("rs"), path.join("mod.rs")];
    if module.last() == Some(&"tests") {
        let parent: PathBuf = module[..module.len() - 1].iter().collect();
        found.extend([parent.with_extension("rs"), parent.join("mod.rs")]);
    }
    let roots = ["tests", "src"];
    roots.iter().flat_map(|root| found.iter().map(move |file| Path::new(root).join(file))).collect()
}

/// A file's lines without indents, and without what may stand between `#[test]` and its function.
fn bare(text: &str) -> String {
    let between = |line: &str| line.starts_with("#[") && line != "#[test]" || line.starts_with("//");
    text.lines().map(str::trim).filter(|line| !between(line)).flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn every_test_that_is_named_exists() {
    let mut named = 0;
    for row in rows() {
        for test in codes(&row.shown_by) {
            let parts: Vec<&str> = test.split("::").collect();
            let (name, module) = parts.split_last().unwrap();
            let function = format!("#[test]\nfn {name}(");
            // Of a macro that makes a test of each line: `name: "argument",`.
            let made = format!("\n{name}: \"");
            let is_there = |text: &str| {
                let text = bare(text);
                text.contains(&function) || text.contains("#[test]\nfn $test(") && text.contains(&made)
            };
            let there = files(module)
                .iter()
                .filter_map(|file| std::fs::read_to_string(file).ok())
                .any(|text| is_there(&text));
            assert!(there, "{}: there is no test {test}", row.feature);
            named += 1;
        }
    }
    assert!(named > 200, "{named}");
}

const SECTIONS: [&str; 17] = [
    "target", "workload", "load", "cell", "slo", "client", "sim", "task", "endpoint", "mix", "stage", "grid",
    "server", "hooks", "notify", "tracing", "publish",
];

/// Whether the page of the experiment file tells of `section.key`.
fn is_documented(page: &str, section: &str, key: &str) -> bool {
    let metric = |name: &str| METRICS.iter().any(|metric| metric.name == name);
    if section == "sim" {
        return KNOBS.iter().any(|knob| knob.name == key);
    }
    let figure = key.rsplit_once('_').is_some_and(|(name, stat)| metric(name) && STATS.contains(&stat));
    if section == "slo" && (metric(key) || figure) {
        return true;
    }
    let leaf = key.rsplit('.').next().unwrap_or(key);
    let table = format!("[{section}.{key}]");
    let told = [format!("`{leaf}`"), format!("`{key}`"), format!(".{leaf}`"), format!("{leaf} = "), table];
    told.iter().any(|text| page.contains(text))
}

#[test]
fn every_key_that_is_named_is_documented() {
    let page = page("experiment-file.md");
    let mut keys = 0;
    for row in rows().iter().filter(|row| !row.is_open()) {
        for code in codes(&row.place) {
            let Some((section, key)) = code.split_once('.') else { continue };
            let plain = key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.".contains(c));
            // `records.parquet` is a file, `task.workload` a key.
            if !SECTIONS.contains(&section) || !plain {
                continue;
            }
            assert!(is_documented(&page, section, key), "{}: {code} is not in the page", row.feature);
            keys += 1;
        }
        for api in row.place.split("`target.api` = `\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(api == "auto" || provider::find(api).is_some(), "{}: {api}", row.feature);
        }
    }
    assert!(keys > 60, "{keys}");
}

#[test]
fn every_command_and_flag_that_is_named_is_in_the_help() {
    let dir = tempfile::tempdir().unwrap();
    let help = stdout(&plimsoll(dir.path(), &["--help"]));
    let is_flag = |word: &&str| word.starts_with('-') && word.len() > 1;
    for row in rows().iter().filter(|row| !row.is_open()) {
        // Flags without a command are those of `run`.
        let mut command = "run";
        for code in codes(&row.place) {
            let words: Vec<&str> = code.split_whitespace().collect();
            if let ["plimsoll", name, ..] = words[..]
                && !is_flag(&name)
            {
                assert!(help.contains(&format!("\n  {name} ")), "{}: {code}", row.feature);
                command = name;
            } else if !words.first().is_some_and(is_flag) {
                continue;
            }
            let flags: Vec<&str> = words.into_iter().filter(is_flag).collect();
            if flags.is_empty() || flags == ["--version"] {
                continue;
            }
            let own = stdout(&plimsoll(dir.path(), &[command, "--help"]));
            for flag in flags {
                let told =
                    [format!(" {flag} "), format!(" {flag},"), format!(" {flag}]"), format!(" {flag}\n")];
                assert!(told.iter().any(|t| own.contains(t)), "{}: {command} has no {flag}", row.feature);
            }
        }
    }
}

#[test]
fn every_format_preset_and_scenario_that_is_named_is_there() {
    let (mut formats, mut runs) = (0, 0);
    for row in rows() {
        for code in codes(&row.place) {
            let words: Vec<&str> = code.split_whitespace().collect();
            if let Some(at) = words.iter().position(|word| *word == "--format") {
                assert!(export::format(words[at + 1]).is_some(), "{}: {code}", row.feature);
                formats += 1;
            }
            // `plimsoll run smoke`; in capitals stands what is the reader's own.
            let ["plimsoll", "run" | "plan", name, ..] = words[..] else { continue };
            if name.starts_with(|c: char| c.is_ascii_lowercase()) {
                assert!(scenarios::find(name).is_some(), "{}: {code}", row.feature);
                runs += 1;
            }
        }
        for preset in row.place.split("`slo.preset` = `\"").skip(1).filter_map(|rest| rest.split('"').next())
        {
            assert!(presets::find(preset).is_some(), "{}: {preset}", row.feature);
        }
    }
    assert!(formats >= 7 && runs >= 15, "{formats}, {runs}");
}

/// The documents' own limits, as an experiment file writes them.
const LIMITS: [(&str, &[&str]); 10] = [
    (
        "llm-good",
        &[
            "ttft_p95 = { target = \"1s\", acceptable = \"2s\" }",
            "tpot_mean = \"100ms\"",
            "error_rate = \"1%\"",
        ],
    ),
    (
        "service-latency",
        &[
            "e2e_p50 = { target = \"100ms\", acceptable = \"200ms\" }",
            "e2e_p95 = { target = \"200ms\", acceptable = \"500ms\" }",
            "e2e_p99 = { target = \"500ms\", acceptable = \"1s\" }",
        ],
    ),
    ("throughput-health", &["completed_rps = 100"]),
    ("throughput-tokenize", &["completed_rps = 50"]),
    ("throughput-generate", &["completed_rps = 10"]),
    ("throughput-batch", &["completed_rps = 5"]),
    ("reliability-normal", &["error_rate = \"5%\""]),
    ("reliability-spike", &["error_rate = \"15%\""]),
    ("reliability-sustained", &["error_rate = \"5%\"", "completed_rps = 5"]),
    ("p95-5s", &["e2e_p95 = \"5s\"", "error_rate = \"0.1%\""]),
];

#[test]
fn limits_are_those_of_the_documents() {
    for (name, rules) in LIMITS {
        let written: Vec<String> =
            presets::find(name).unwrap().rules.iter().map(PresetRule::written).collect();
        assert_eq!(written, rules, "{name}");
    }
    // One document has verdicts and no limits: errors of 0.7 % pass, a p90 of 2.46 s warns, a median
    // TTFT of 0.12 s is excellent.
    let verdicts = presets::find("verdicts").unwrap().rules;
    assert_eq!(verdicts.len(), 3);
    for (rule, (metric, figure, warns)) in
        verdicts.iter().zip([("error_rate", 0.007, false), ("e2e", 2_456.0, true), ("ttft", 123.0, false)])
    {
        assert_eq!(rule.metric, metric);
        assert_eq!((figure > rule.target.unwrap(), figure > rule.limit), (warns, false), "{rule:?}");
    }
}
