//! The key figures of a cell, in the order in which page and terminal show them.

use crate::measure::CellSummary;

/// One column of key figures.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    /// Heading on the page.
    pub title: &'static str,
    /// Heading on the terminal.
    pub short: &'static str,
    pub unit: &'static str,
    pub metric: &'static str,
    pub stat: &'static str,
    /// Shown is the value times this.
    pub times: f64,
    /// Whether the terminal has room for it.
    pub terminal: bool,
}

impl Column {
    /// The figure as shown.
    pub fn value(&self, summary: &CellSummary) -> Option<f64> {
        summary.value(self.metric, self.stat).map(|v| v * self.times)
    }
}

const fn column(
    title: &'static str,
    short: &'static str,
    unit: &'static str,
    metric: &'static str,
    stat: &'static str,
) -> Column {
    Column { title, short, unit, metric, stat, times: 1.0, terminal: true }
}

/// All of them.
pub(super) const COLUMNS: &[Column] = &[
    column("Completed", "req/s", "req/s", "completed_rps", ""),
    column("Output", "tok/s", "tok/s", "output_tps", ""),
    column("TTFT p50", "TTFT p50", "ms", "ttft", "p50"),
    column("TTFT p95", "TTFT p95", "ms", "ttft", "p95"),
    Column { terminal: false, ..column("TTFT p99", "TTFT p99", "ms", "ttft", "p99") },
    column("TPOT p50", "TPOT p50", "ms", "tpot", "p50"),
    Column { terminal: false, ..column("E2E p50", "E2E p50", "ms", "e2e", "p50") },
    column("E2E p95", "E2E p95", "ms", "e2e", "p95"),
    Column { terminal: false, times: 100.0, ..column("Errors", "errors", "%", "error_rate", "") },
    Column { terminal: false, times: 100.0, ..column("Attainment", "attainment", "%", "attainment", "") },
];
