//! What happens during a sweep, as data. Progress displays watch events and decide nothing.

use serde::Serialize;

use crate::measure::CellSummary;
use crate::plan::Cell;

/// One thing that happened.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event<'a> {
    SweepStarted {
        run: &'a str,
        cells: usize,
        finished_before: usize,
        expected_s: f64,
    },
    /// The next cell is of this run, one of several that take turns.
    Turn {
        /// Its name among them.
        side: &'a str,
    },
    CellStarted {
        cell: &'a Cell,
        of: usize,
        expected_s: f64,
    },
    /// About four times a second while a cell runs.
    Live(Live),
    CellFinished {
        cell: &'a Cell,
        summary: &'a CellSummary,
    },
    CoolingDown {
        min_s: f64,
        max_s: f64,
    },
    /// Something a person should know, in a sentence.
    Notice {
        text: &'a str,
    },
    SweepFinished {
        run: &'a str,
        finished: usize,
        of: usize,
        interrupted: bool,
    },
}

/// The stage of a cell that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Ramp,
    Warmup,
    Measure,
    Drain,
}

/// A look at a running cell. Counts are since the cell's start, rates and percentiles over
/// the last seconds.
#[derive(Debug, Clone, Serialize)]
pub struct Live {
    pub stage: Stage,
    /// Since the cell's start, in seconds.
    pub elapsed_s: f64,
    /// Until the end of the window as far as known.
    pub left_s: Option<f64>,
    pub in_flight: u32,
    pub sent: u64,
    pub completed: u64,
    pub failed: u64,
    pub completed_rps: f64,
    pub output_tps: f64,
    pub ttft_p50_ms: Option<f64>,
    pub ttft_p90_ms: Option<f64>,
    pub e2e_p50_ms: Option<f64>,
    pub e2e_p90_ms: Option<f64>,
    pub e2e_p99_ms: Option<f64>,
    pub lag_p99_ms: Option<f64>,
}

/// Sees events as they come.
pub trait Watcher {
    fn on(&mut self, event: &Event<'_>);
}
