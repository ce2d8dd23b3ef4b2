//! What the load engine hands over of a cell beside its records.

use serde::{Deserialize, Serialize};

/// What the engine knows of a cell beside its records.
pub struct CellRun {
    /// The epoch on CLOCK_MONOTONIC, in nanoseconds: every `_us` counts from it.
    pub epoch_monotonic_ns: u64,
    /// Wall-clock time of the epoch and of the end of the drain.
    pub started_at: jiff::Timestamp,
    pub ended_at: jiff::Timestamp,
    pub window: Window,
    /// The window's stages, in order; empty where it has none.
    pub stages: Vec<StageWindow>,
    /// Arrivals that the schedule had inside the window; `None` for a closed loop, which has
    /// no schedule.
    pub planned: Option<u64>,
    /// Mean number in flight over the window by this client's own counter, taken apart from
    /// the records; `None` when the window is empty.
    pub in_flight_mean: Option<f64>,
    pub timeline: Vec<Tick>,
    /// Gaps between content chunks, in microseconds, of requests due in the window.
    pub chunk_gaps: hdrhistogram::Histogram<u64>,
    /// Content chunks stamped in the window of requests not due in it.
    pub foreign_chunks_in_window: u64,
    pub client: ClientHealth,
    /// Records that the sink refused, or that came faster than it took them, with the first
    /// reason.
    pub lost_records: Option<(u64, String)>,
    /// What was read of the server meanwhile; `None` where nobody looked.
    pub observed: Option<super::Observed>,
}

/// How this client fared while it loaded the server.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientHealth {
    /// CPU share of each load core over the window, 0 to 1; empty where it was not taken.
    pub core_cpu: Vec<f64>,
    /// How late a 10 ms timer beside the load woke, p99 over the window, per core.
    pub timer_overshoot_p99_us: Vec<u64>,
    /// The latest that the same timer woke from the window's start to the end of the drain, in
    /// microseconds, per core: for so long nothing was sent or stamped.
    pub longest_stall_us: Vec<u64>,
    /// Time that a CPU quota took from this process from just before the window to its end, in
    /// microseconds, summed over processors as the system does; `None` where it doesn't say.
    pub throttled_us: Option<u64>,
    /// The largest step of the wall clock against the steady one during the cell, either way,
    /// in microseconds; `None` where it was not taken.
    pub wall_step_us: Option<u64>,
    /// Time in which the machine was suspended during the cell, in microseconds; `None` where
    /// it was not taken.
    pub suspended_us: Option<u64>,
    /// Times that records had to wait on a load core because the calling thread was behind.
    pub held_reports: u64,
    /// Requests whose body was not ready when its turn came.
    pub body_waits: u64,
    /// Content chunks per second over the window, per load core, as `core_cpu`.
    pub core_chunks_per_s: Vec<f64>,
    /// Requests that ended, well or badly, per second over the window, per load core.
    pub core_requests_per_s: Vec<f64>,
    /// What a load core of this machine can do; `None` where it was not calibrated.
    pub ceiling: Option<Ceiling>,
    /// The worker that each load core was on; empty where this process drove the cell itself.
    #[serde(default)]
    pub core_worker: Vec<String>,
    /// How far the workers' clocks may be apart, by what was measured before and after the cell, in
    /// microseconds; `None` where there was but one clock.
    #[serde(default)]
    pub clock_doubt_us: Option<u64>,
    /// Workers that were lost while the cell ran, each with the reason: what they had not handed over
    /// is not known.
    #[serde(default)]
    pub lost_workers: Vec<String>,
}

impl ClientHealth {
    /// Put another machine's beside this one: what is told by core is kept by core, of what the
    /// system took the sum, of what the clocks did the worst.
    pub fn add(&mut self, other: Self) {
        let sum = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).reduce(|a, b| a + b);
        self.core_cpu.extend(other.core_cpu);
        self.timer_overshoot_p99_us.extend(other.timer_overshoot_p99_us);
        self.longest_stall_us.extend(other.longest_stall_us);
        self.throttled_us = sum(self.throttled_us, other.throttled_us);
        self.wall_step_us = self.wall_step_us.max(other.wall_step_us);
        self.suspended_us = self.suspended_us.max(other.suspended_us);
        self.held_reports += other.held_reports;
        self.body_waits += other.body_waits;
        self.core_chunks_per_s.extend(other.core_chunks_per_s);
        self.core_requests_per_s.extend(other.core_requests_per_s);
        self.core_worker.extend(other.core_worker);
        self.clock_doubt_us = self.clock_doubt_us.max(other.clock_doubt_us);
        self.lost_workers.extend(other.lost_workers);
    }
}

/// What one load core can do at most, of one kind at a time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// Content chunks of streams.
    pub chunks_per_s: f64,
    /// Short answers that are not streamed.
    pub requests_per_s: f64,
}

/// The measured window, in microseconds since the cell's epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub start_us: u64,
    pub end_us: u64,
    pub ended_by: EndedBy,
}

impl Window {
    /// Its length in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.end_us.saturating_sub(self.start_us) as f64 / 1e6
    }
}

/// The part of a window in which a stage ran, in microseconds since the cell's epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageWindow {
    pub name: String,
    pub start_us: u64,
    /// The start of the next stage, or the window's end; `start_us` where the window closed before.
    pub end_us: u64,
}

impl StageWindow {
    /// Its length in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.end_us.saturating_sub(self.start_us) as f64 / 1e6
    }
}

/// What closed a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    Duration,
    Requests,
    /// Nothing was answered, and so many requests failed that going on would tell no more.
    Unanswered,
    /// Ctrl-C.
    Interrupt,
    /// One of several machines that drove the cell was lost.
    WorkerLost,
}

impl EndedBy {
    /// Whether the cell was cut short for a reason that is not its own: it is no finished one, and runs
    /// again when the run is resumed.
    #[must_use]
    pub const fn is_cut(self) -> bool {
        matches!(self, Self::Interrupt | Self::WorkerLost)
    }
}

impl EndedBy {
    /// The word for it in files and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Duration => "duration",
            Self::Requests => "requests",
            Self::Unanswered => "unanswered",
            Self::Interrupt => "interrupt",
            Self::WorkerLost => "worker_lost",
        }
    }
}

/// One hundred milliseconds of a cell, summed over all load cores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Tick {
    /// Start of the tick, since the cell's epoch.
    pub t_us: u64,
    /// In flight at the tick's end.
    pub in_flight: u32,
    /// Arrivals due, requests sent, answers ended well and badly in the tick.
    pub due: u32,
    pub sent: u32,
    pub completed: u32,
    pub failed: u32,
    /// Content chunks stamped in the tick.
    pub chunks: u32,
    /// Largest lag of a send in the tick, in microseconds.
    pub max_lag_us: u64,
}

/// Length of a [`Tick`] in microseconds.
pub const TICK_US: u64 = 100_000;
