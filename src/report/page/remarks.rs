//! What is said of a run beside its figures: which stages recovered, which cells are not to be
//! taken at face value.

use serde::Serialize;

use super::tables::verdict_class;
use crate::analysis::{CellData, RunData};
use crate::chart::{Repeats, count};
use crate::measure::{GroupKind, Verdict};
use crate::report::groups;

/// Whether stages recovered, in a sentence each.
pub(in crate::report) fn recoveries(run: &RunData) -> Vec<Recovery> {
    let all = groups::breakdowns(run, |kind| kind == GroupKind::Stage);
    let of = |b: &groups::Breakdown<'_>| -> Vec<Recovery> {
        let verdicts = b.groups.iter().filter_map(|g| g.recovery.as_ref());
        verdicts
            .map(|verdict| Recovery {
                word: verdict.status().word(),
                class: verdict_class(verdict.status().word()),
                label: b.label.clone(),
                text: verdict.text.clone(),
            })
            .collect()
    };
    all.iter().filter(|b| !b.invalid()).flat_map(of).collect()
}

#[derive(Serialize)]
pub(in crate::report) struct Recovery {
    word: &'static str,
    class: &'static str,
    /// The cell and repeat.
    label: String,
    text: String,
}

/// A cell that is not to be taken at face value.
#[derive(Serialize)]
pub(in crate::report) struct Remark {
    cell: u32,
    label: String,
    word: &'static str,
    class: &'static str,
    reasons: Vec<String>,
}

pub(in crate::report) fn remarks(run: &RunData) -> Vec<Remark> {
    run.cells.iter().filter_map(remark).collect()
}

pub(in crate::report) fn remark(data: &CellData) -> Option<Remark> {
    let repeat = if data.cell.repeat > 1 { format!(", repeat {}", data.cell.repeat) } else { String::new() };
    let label = format!("{}{repeat}", Repeats { cells: vec![data] }.label());
    let cell = data.cell.index + 1;
    let Some(summary) = &data.summary else {
        let (word, reason) = match &data.skipped {
            Some(skipped) => ("skipped", skipped.reason.clone()),
            None => ("not run", "it did not run, or did not run to its end".to_owned()),
        };
        return Some(Remark { cell, label, word, class: "none", reasons: vec![reason] });
    };
    let mut reasons: Vec<String> = summary.validity.reasons.iter().map(|r| r.text.clone()).collect();
    if !summary.counts.errors.is_empty() {
        let errors: Vec<String> =
            summary.counts.errors.iter().map(|(class, n)| format!("{} × {class}", count(*n))).collect();
        reasons.push(format!("failures by class: {}", errors.join(", ")));
    }
    let (word, class) = match summary.validity.verdict {
        Verdict::Invalid => ("INVALID", "bad"),
        Verdict::Warn => ("warn", "so-so"),
        Verdict::Valid if reasons.is_empty() => return None,
        Verdict::Valid => ("valid", "good"),
    };
    Some(Remark { cell, label, word, class, reasons })
}
