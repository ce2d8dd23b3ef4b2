//! The diagnosis as the page shows it.

use serde::Serialize;

use crate::analysis::RunData;
use crate::analysis::diagnosis::{Finding, Severity};
use crate::chart::list;

/// One finding.
#[derive(Serialize)]
pub(super) struct Sign {
    code: &'static str,
    word: &'static str,
    class: &'static str,
    title: &'static str,
    evidence: String,
    causes: &'static [&'static str],
    remedies: &'static [&'static str],
    /// `Cells 4, 5, 6`; empty where it is about the run.
    cells: String,
}

impl Sign {
    pub(super) fn of(finding: &Finding, run: &RunData) -> Self {
        // People count cells from 1.
        let numbers: Vec<String> = finding.cells.iter().map(|index| (index + 1).to_string()).collect();
        let cells = match numbers.len() {
            0 => String::new(),
            _ if run.cells.len() == 1 => String::new(),
            1 => format!("Cell {}", numbers[0]),
            _ => format!("Cells {}", list(&numbers, 12)),
        };
        Self {
            code: finding.kind.code,
            word: finding.severity.word(),
            class: class(finding.severity),
            title: finding.kind.title,
            evidence: finding.evidence.clone(),
            causes: finding.kind.causes,
            remedies: finding.kind.remedies,
            cells,
        }
    }
}

/// The colour of a severity.
pub(super) const fn class(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "none",
        Severity::Pass => "good",
        Severity::Warning => "so-so",
        Severity::Fail => "bad",
    }
}
