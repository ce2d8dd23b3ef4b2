//! The summary that a sweep leaves on the terminal.

use std::path::Path;

use super::columns::COLUMNS;
use super::{contention, findings, groups, stages};
use crate::analysis::RunData;
use crate::analysis::capacity::{Capacity, SloSource, Standing};
use crate::analysis::diagnosis::{self, Severity};
use crate::chart::{Repeats, count, figure};
use crate::measure::{GroupKind, SloStatus, Verdict};

/// A table of the run's cells, the SLO's verdicts, what was invalid, and where the report
/// lies. Plain text; every line ends in a newline.
#[must_use]
pub fn summary(run: &RunData, report: Option<&Path>) -> String {
    let found = findings::find(run);
    let mut out = format!("=== {} · {} ===\n", run.name, run.id);
    for sentence in &found.ran {
        out.push_str(&format!("{sentence}\n"));
    }
    out.push('\n');
    let rows = rows(run);
    out.push_str(&format!("{}Latencies in ms.{}\n", align(&rows), doubt(&rows)));
    out.push('\n');
    for sentence in &found.figures {
        out.push_str(&format!("{sentence}\n"));
    }
    breakdown(run, &mut out);
    stages::blocks(run, &mut out);
    contended(run, &mut out);
    slo(run, &found, &mut out);
    pointers(run, &found, report.is_some(), &mut out);
    invalid(run, &mut out);
    if let Some(path) = report {
        out.push_str(&format!("\nReport: {}\n", path.display()));
    }
    out
}

/// A row per cell below a head; figures are means over its usable repeats, latencies in ms.
pub(super) fn rows(run: &RunData) -> Vec<Vec<String>> {
    let shown: Vec<_> = COLUMNS.iter().filter(|c| c.terminal).collect();
    let cells = Repeats::all(run);
    let repeated = cells.iter().any(|r| r.cells.len() > 1);
    let mut head = vec!["cell".to_owned()];
    if repeated {
        head.push("repeats".to_owned());
    }
    head.extend(["ok", "failed"].map(String::from));
    head.extend(shown.iter().map(|c| c.short.to_owned()));
    head.extend(["valid", "SLO"].map(String::from));
    let mut rows = vec![head];
    for repeats in &cells {
        let mut row = vec![repeats.label()];
        if repeated {
            row.push(format!("{}/{}", repeats.summaries().count(), repeats.cells.len()));
        }
        let ran = repeats.summaries().next().is_some();
        let sum = |read: &dyn Fn(&crate::measure::CellSummary) -> u64| {
            if ran { count(repeats.summaries().map(read).sum()) } else { "–".to_owned() }
        };
        row.extend([sum(&|s| s.counts.ok), sum(&|s| s.counts.failed)]);
        row.extend(shown.iter().map(|c| {
            repeats.estimate(c.metric, c.stat).map_or_else(|| "–".to_owned(), |e| figure(e.mean * c.times))
        }));
        let doubt = if is_sure(run.capacity(), repeats) { "" } else { "?" };
        row.extend([validity(repeats).to_owned(), format!("{}{doubt}", verdict(repeats))]);
        rows.push(row);
    }
    rows
}

/// A table for each cell that has tasks or endpoints, a row for each of them.
fn breakdown(run: &RunData, out: &mut String) {
    const MOST: usize = 8;
    let all = groups::breakdowns(run, |kind| kind != GroupKind::Stage);
    if all.is_empty() {
        return;
    }
    out.push_str(&format!("\nBy {}\n", groups::kinds(&all)));
    for one in all.iter().take(MOST) {
        let shown = || groups::COLUMNS.iter().filter(|c| c.terminal);
        let mut head = vec![one.title()];
        head.extend(["requests", "ok", "failed", "tokens"].map(String::from));
        head.extend(shown().map(|c| match c.unit {
            "ms" => c.title.to_owned(),
            unit => unit.to_owned(),
        }));
        let mut rows = vec![head];
        for group in &one.groups {
            let mut row = vec![groups::name(group)];
            let (c, t) = (&group.counts, &group.tokens);
            row.extend([c.attempted, c.ok, c.failed, t.output].map(count));
            row.extend(shown().map(|c| c.value(group).map_or_else(|| "–".to_owned(), figure)));
            rows.push(row);
        }
        out.push_str(&align(&rows));
    }
    if all.len() > MOST {
        out.push_str(&groups::more(all.len() - MOST));
    }
}

/// What endpoints cost each other.
fn contended(run: &RunData, out: &mut String) {
    let sentences = contention::sentences(run);
    if sentences.is_empty() {
        return;
    }
    out.push_str("\nContention\n");
    for sentence in sentences {
        out.push_str(&format!("  {sentence}\n"));
    }
}

/// The worst word that fits all repeats.
pub(super) fn validity(repeats: &Repeats<'_>) -> &'static str {
    let flags = repeats.flags();
    match repeats.summaries().map(|s| s.validity.verdict).max() {
        None if repeats.cells.iter().any(|c| c.skipped.is_some()) => "skipped",
        None => "not run",
        Some(_) if flags.invalid => "INVALID",
        Some(_) if flags.overloaded => "overloaded",
        Some(Verdict::Invalid) => "in part",
        Some(Verdict::Warn) => "warn",
        Some(Verdict::Valid) => "yes",
    }
}

/// How the worst rule of all usable repeats stands.
pub(super) fn verdict(repeats: &Repeats<'_>) -> &'static str {
    if repeats.silent() > 0 {
        return "no answer";
    }
    if repeats.flags().invalid {
        return "–";
    }
    let usable = repeats.usable();
    usable.iter().flat_map(|s| s.statuses()).max().map_or("–", SloStatus::word)
}

/// What the question marks of the rows mean, where there are any.
pub(super) fn doubt(rows: &[Vec<String>]) -> &'static str {
    let unsure = rows.iter().filter_map(|row| row.last()).any(|verdict| verdict.ends_with('?'));
    if unsure { " PASS?, FAIL?: by the figure, from too few requests to be 95 % sure." } else { "" }
}

/// Whether the level of these cells is sure to meet the experiment's SLO, or to miss it. What isn't
/// judged so is as it is.
fn is_sure(capacity: &Capacity, repeats: &Repeats<'_>) -> bool {
    let first = repeats.cells.first().map(|c| c.cell.index);
    let mut levels = capacity.shapes.iter().flat_map(|s| &s.levels);
    let level = levels.find(|l| first.is_some_and(|i| l.cells.contains(&i)));
    let said = match verdict(repeats) {
        word if word == SloStatus::Pass.word() => Some(true),
        word if word == SloStatus::Fail.word() => Some(false),
        _ => None,
    };
    let own = capacity.slo.source == SloSource::Experiment;
    !own || said.is_none() || level.is_none_or(|l| l.verdict != Standing::Undecided || l.met != said)
}

/// Left-aligned first column, the rest right-aligned.
pub fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |i: usize| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for (n, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&widths).enumerate();
        let line: Vec<String> =
            cells.map(|(i, (c, w))| if i == 0 { format!("{c:<w$}") } else { format!("{c:>w$}") }).collect();
        out.push_str(line.join("  ").trim_end());
        out.push('\n');
        if n == 0 {
            out.push_str(&"─".repeat(widths.iter().sum::<usize>() + 2 * (columns.saturating_sub(1))));
            out.push('\n');
        }
    }
    out
}

fn slo(run: &RunData, found: &findings::Findings, out: &mut String) {
    if found.rules.is_empty() && found.limits.is_empty() {
        return;
    }
    out.push_str("\nSLO\n");
    for line in &found.rules {
        let acceptable = match line.acceptable {
            0 => String::new(),
            n => format!(", acceptable in {n} more"),
        };
        out.push_str(&format!(
            "  {}  {}  met in {} of {} believable cells and repeats{acceptable}; worst {}\n",
            line.status.word(),
            line.rule,
            line.passed,
            line.of,
            line.worst
        ));
    }
    let invalid = run.cells.iter().filter_map(|c| c.summary.as_ref());
    if invalid.clone().all(|s| s.validity.verdict == Verdict::Invalid) && invalid.count() > 0 {
        out.push_str("  Not judged: no cell is valid.\n");
    }
    for sentence in &found.limits {
        out.push_str(&format!("  {sentence}\n"));
    }
}

/// What the figures point to, what matters most first; of a single cell also its verdicts.
fn pointers(run: &RunData, found: &findings::Findings, page: bool, out: &mut String) {
    /// Findings that are shown: the page has them all.
    const MOST: usize = 5;
    let mut lines: Vec<String> = Vec::new();
    if let [cell] = run.cells.as_slice() {
        let line = |l: diagnosis::VerdictLine| format!("  {:<7}  {}\n", l.severity.word(), l.text);
        lines.extend(diagnosis::verdicts(cell).into_iter().map(line));
    }
    // What is good or merely worth knowing is told where nothing is wrong.
    let wrong = |f: &&diagnosis::Finding| f.severity >= Severity::Warning;
    let any_wrong = found.diagnosis.iter().any(|f| wrong(&f));
    let single = run.cells.len() == 1;
    let shown: Vec<_> = found
        .diagnosis
        .iter()
        .filter(|f| if any_wrong { wrong(f) } else { f.severity == Severity::Pass })
        // The lines above say it already.
        .filter(|f| !(single && f.kind.code == "common_limits"))
        .collect();
    let line = |f: &&diagnosis::Finding| {
        let evidence = f.evidence.trim_end_matches('.');
        format!("  {:<7}  {}: {evidence}.\n", f.severity.word(), f.kind.title)
    };
    lines.extend(shown.iter().take(MOST).map(line));
    if lines.is_empty() {
        return;
    }
    out.push_str("\nWhat points to what\n");
    out.extend(lines);
    if shown.len() > MOST {
        out.push_str(&format!("  and {} more\n", shown.len() - MOST));
    }
    if page && any_wrong {
        out.push_str("  Likely causes and what to try are on the page.\n");
    }
}

/// Cells that were passed over, and why.
pub(super) fn passed_over(run: &RunData) -> Vec<String> {
    let skipped = run.cells.iter().filter_map(|c| Some((c, c.skipped.as_ref()?)));
    skipped
        .map(|(cell, skipped)| {
            let label = Repeats { cells: vec![cell] }.label();
            format!("{label}, repeat {}: {}", cell.cell.repeat, skipped.reason)
        })
        .collect()
}

/// The first of them.
fn skipped(run: &RunData, out: &mut String) {
    const MOST: usize = 10;
    let skipped = passed_over(run);
    if skipped.is_empty() {
        return;
    }
    out.push_str("\nSkipped\n");
    for line in skipped.iter().take(MOST) {
        out.push_str(&format!("  {line}\n"));
    }
    if skipped.len() > MOST {
        out.push_str(&format!("  and {} more; summary.csv has them all\n", skipped.len() - MOST));
    }
}

/// What cells have to be doubted, and why, with whether they are invalid.
pub(super) fn doubted(run: &RunData) -> Vec<(bool, String)> {
    let repeated = run.cells.iter().any(|c| c.cell.repeat > 1);
    run.cells
        .iter()
        .filter_map(|c| Some((c, c.summary.as_ref()?)))
        .filter(|(_, s)| s.validity.verdict != Verdict::Valid)
        .map(|(c, s)| {
            let reasons: Vec<String> = s.validity.reasons.iter().map(|r| r.text.clone()).collect();
            let label = Repeats { cells: vec![c] }.label();
            let repeat = if repeated { format!(", repeat {}", c.cell.repeat) } else { String::new() };
            let text = format!("{label}{repeat}: {}", reasons.join("; "));
            (s.validity.verdict == Verdict::Invalid, text)
        })
        .collect()
}

/// Up to ten lines of what was invalid and why.
fn invalid(run: &RunData, out: &mut String) {
    const MOST: usize = 10;
    let word = |invalid| if invalid { "INVALID" } else { "warn   " };
    let doubted = doubted(run).into_iter();
    let lines: Vec<String> =
        doubted.map(|(invalid, text)| format!("  {}  {text}\n", word(invalid))).collect();
    skipped(run, out);
    if lines.is_empty() {
        return;
    }
    out.push_str("\nNot to be taken at face value\n");
    out.extend(lines.iter().take(MOST).map(String::as_str));
    if lines.len() > MOST {
        out.push_str(&format!("  and {} more; the report has them all\n", lines.len() - MOST));
    }
}
