//! What the figures of a run point to: findings with this run's own numbers, what likely lies
//! behind them and what to try. Pure: everything comes from a [`RunData`] that was read.
//!
//! A sign at the server counts only where this client is above suspicion: invalid cells are left
//! out, and a latency has to differ by more than the client's own delays could make it.

mod client;
mod course;
mod errors;
mod growth;
mod inside;
mod kinds;
mod levels;
mod requests;
#[cfg(test)]
mod tests;
mod verdicts;

pub use client::CLIENT_SIGNALS;
pub use kinds::{KINDS, Kind};
pub use verdicts::{VerdictLine, verdicts};

use super::{CellData, RunData, text, words};
use crate::measure::{CellSummary, IMPORTED, SloStatus, SloVerdict, Verdict};

/// How much a finding weighs, from little to much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing is wrong with it.
    Info,
    /// Looked at, and good.
    Pass,
    Warning,
    Fail,
}

impl Severity {
    /// The word for it in reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Pass => "PASS",
            Self::Warning => "WARNING",
            Self::Fail => "FAIL",
        }
    }
}

impl From<SloStatus> for Severity {
    fn from(status: SloStatus) -> Self {
        match status {
            SloStatus::Pass => Self::Pass,
            SloStatus::Warning => Self::Warning,
            SloStatus::Fail => Self::Fail,
        }
    }
}

/// One thing that a run's figures point to.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What it is, with likely causes and what to try.
    pub kind: &'static Kind,
    pub severity: Severity,
    /// A sentence or two with this run's own figures.
    pub evidence: String,
    /// Places in the plan of the cells that show it; empty where it is about the run.
    pub cells: Vec<u32>,
}

/// A finding in one place, before those of a kind are taken together.
struct Hit {
    kind: &'static Kind,
    severity: Severity,
    /// Of hits of one kind and severity the heaviest speaks.
    weight: f64,
    /// Where: `16 users`. Empty where the evidence says it.
    place: String,
    evidence: String,
    cells: Vec<u32>,
}

/// Everything that the run's figures point to, what matters most first: what may be this
/// client's own doing before anything about the server, then by severity.
#[must_use]
pub fn diagnose(run: &RunData) -> Vec<Finding> {
    let mut hits = client::look(run);
    hits.extend(errors::look(run));
    hits.extend(levels::look(run));
    for cell in &run.cells {
        if let Some(summary) = usable(cell) {
            hits.extend(course::look(cell, summary));
            hits.extend(growth::look(&cell.cell, summary));
            hits.extend(requests::look(cell, summary));
            hits.extend(inside::look(cell, summary));
        }
    }
    hits.extend(growth::sweep(run));
    hits.extend(requests::first(run));
    hits.extend(levels::prompts(run));
    let mut findings = merge(hits);
    findings.extend(verdicts::common_limits(run));
    findings.extend(inside::gauges(run, &findings));
    findings.extend(healthy(run, &findings));
    findings.sort_by_key(|f| {
        let client = f.kind.code == kinds::CLIENT_LIMIT.code;
        (std::cmp::Reverse(client), std::cmp::Reverse(f.severity))
    });
    findings
}

/// One finding for each kind: the heaviest hit speaks, the others are named.
fn merge(hits: Vec<Hit>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for kind in KINDS {
        let mut mine: Vec<&Hit> = hits.iter().filter(|h| h.kind.code == kind.code).collect();
        mine.sort_by(|a, b| {
            (b.severity, b.weight).partial_cmp(&(a.severity, a.weight)).unwrap_or(std::cmp::Ordering::Equal)
        });
        let Some(worst) = mine.first() else { continue };
        let mut cells: Vec<u32> = mine.iter().flat_map(|h| h.cells.iter().copied()).collect();
        cells.sort_unstable();
        cells.dedup();
        let mut others: Vec<(u32, &str)> = mine
            .iter()
            .filter(|h| !h.place.is_empty() && h.place != worst.place)
            .map(|h| (h.cells.first().copied().unwrap_or(0), h.place.as_str()))
            .collect();
        // In the order of the plan; repeats of a cell are in one place.
        others.sort_unstable();
        others.dedup_by_key(|(_, place)| *place);
        let others: Vec<String> = others.into_iter().map(|(_, place)| place.to_owned()).collect();
        let mut evidence = worst.evidence.clone();
        if !others.is_empty() {
            evidence.push_str(&format!(" Likewise at {}.", text::list(&others, 3)));
        }
        findings.push(Finding { kind, severity: worst.severity, evidence, cells });
    }
    findings
}

/// The summary of a cell that something may be read from.
fn usable(cell: &CellData) -> Option<&CellSummary> {
    cell.summary.as_ref().filter(|s| s.validity.verdict != Verdict::Invalid)
}

/// How much of a latency in milliseconds may be this client's own: the later of how late it sent
/// and how late its timers woke, at p99.
fn client_ms(summary: &CellSummary) -> f64 {
    let signal = |name| summary.validity.signals.get(name).copied().unwrap_or(0.0);
    f64::max(signal("lag_p99_ms"), signal("timer_overshoot_p99_ms"))
}

/// Milliseconds by which a latency of whole requests has to differ, whatever the share.
const LEAST_MS: f64 = 20.0;

/// Whether a latency that rose from `from` to `to` ms did so by more than `times`, by more than
/// chance readings of a clock, and by far more than this client could have added.
fn rose(from: f64, to: f64, times: f64, client_ms: f64) -> bool {
    to >= from * times && to - from > f64::max(LEAST_MS, 3.0 * client_ms)
}

/// How a cell stands to the limits on `metric`: those of its `[slo]`, else, where there are none
/// at all, the common ones.
fn strain(summary: &CellSummary, metric: &str) -> SloStatus {
    let verdicts = if summary.slo.is_empty() { verdicts::by_default(summary) } else { summary.slo.clone() };
    let of_metric = |v: &&SloVerdict| v.metric == metric && v.value.is_some();
    verdicts.iter().filter(of_metric).map(|v| v.status).max().unwrap_or(SloStatus::Pass)
}

/// Whether all that was planned ran to its end.
fn whole(run: &RunData) -> bool {
    let cut = |s: &CellSummary| s.validity.reasons.iter().any(|r| r.signal == "interrupted");
    run.cells.iter().all(|cell| cell.summary.as_ref().is_some_and(|s| !cut(s)))
}

/// Whether this client's own health is known, which it isn't of an imported cell.
fn watched(summary: &CellSummary) -> bool {
    summary.validity.reasons.iter().all(|r| r.signal != IMPORTED)
}

/// That nothing is wrong is a finding as well.
fn healthy(run: &RunData, findings: &[Finding]) -> Option<Finding> {
    let usable: Vec<&CellSummary> = run.cells.iter().filter_map(usable).collect();
    let trouble = findings.iter().any(|f| f.severity >= Severity::Warning);
    let statuses = |s: &CellSummary| s.statuses().max();
    let missed = usable.iter().any(|s| statuses(s) > Some(SloStatus::Pass));
    if usable.is_empty() || trouble || missed || !whole(run) || !usable.iter().all(|s| watched(s)) {
        return None;
    }
    let failed: u64 = usable.iter().map(|s| s.counts.failed).sum();
    let answered: u64 = usable.iter().map(|s| s.counts.ok).sum();
    let worst = |metric: &str, stat: &str| {
        let values = usable.iter().filter_map(|s| s.value(metric, stat));
        let value = values.reduce(f64::max)?;
        Some(format!(
            "{} at most {}",
            words::metric_name(metric, stat),
            words::value_with_unit(metric, value)
        ))
    };
    let figures: Vec<String> =
        [("ttft", "p95"), ("e2e", "p90")].iter().filter_map(|(metric, stat)| worst(metric, stat)).collect();
    let figures = if figures.is_empty() { String::new() } else { format!(", {}", figures.join(", ")) };
    let cells =
        if usable.len() == 1 { "one cell".to_owned() } else { format!("{} cells and repeats", usable.len()) };
    let evidence = format!(
        "In {cells} {} requests ended well and {} failed{figures}; nothing grew, stalled or queued.",
        text::count(answered),
        text::count(failed)
    );
    Some(Finding { kind: &kinds::HEALTHY, severity: Severity::Pass, evidence, cells: Vec::new() })
}
