//! What each stage of a cell came to, for the terminal.

use super::groups::{self, Breakdown};
use super::terminal::align;
use crate::analysis::{RunData, words};
use crate::chart::{count, figure};
use crate::measure::{GroupKind, GroupSummary, SloStatus};

/// Cells that are shown; groups.csv and the page have all.
const MOST: usize = 8;

/// Its figures, by title, metric, statistic, and what is shown of the value.
const FIGURES: [(&str, &str, &str, f64); 5] = [
    ("errors %", "error_rate", "", 100.0),
    ("TTFT p50", "ttft", "p50", 1.0),
    ("TTFT p95", "ttft", "p95", 1.0),
    ("E2E p95", "e2e", "p95", 1.0),
    ("tok/s", "output_tps", "", 1.0),
];

/// A block for each cell with stages: a row for each of them, and whether it recovered.
pub(super) fn blocks(run: &RunData, out: &mut String) {
    let all = groups::breakdowns(run, |kind| kind == GroupKind::Stage);
    if all.is_empty() {
        return;
    }
    out.push_str("\nBy stage\n");
    for one in all.iter().take(MOST) {
        let mut head = vec![one.title()];
        head.extend(["level", "requests"].map(String::from));
        head.extend(FIGURES.iter().map(|(title, ..)| (*title).to_owned()));
        head.push("SLO".to_owned());
        let rows = one.groups.iter().map(|stage| row(one, stage));
        out.push_str(&align(&std::iter::once(head).chain(rows).collect::<Vec<_>>()));
        let judged = one.groups.iter().filter(|_| !one.invalid());
        for recovery in judged.filter_map(|stage| stage.recovery.as_ref()) {
            out.push_str(&format!("  {:<7}  {}\n", recovery.status().word(), recovery.text));
        }
    }
    if all.len() > MOST {
        out.push_str(&groups::more(all.len() - MOST));
    }
}

fn row(of: &Breakdown<'_>, stage: &GroupSummary) -> Vec<String> {
    let level = words::stage_level(&of.cell.cell, &stage.name);
    let mut row = vec![stage.name.clone(), level, count(stage.counts.attempted)];
    row.extend(FIGURES.iter().map(|(_, metric, stat, times)| {
        stage.value(metric, stat).map_or_else(|| "–".to_owned(), |v| figure(v * times))
    }));
    row.push(slo(of, stage).to_owned());
    row
}

/// How the worst of a stage's own rules stands; its recovery is told apart. Nothing of an
/// invalid cell.
pub(super) fn slo(of: &Breakdown<'_>, stage: &GroupSummary) -> &'static str {
    if of.invalid() {
        return "–";
    }
    stage.slo.iter().map(|verdict| verdict.status).max().map_or("–", SloStatus::word)
}
