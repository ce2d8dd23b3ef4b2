//! Puts a cell's load on a server: per core, schedule → send → decode → record.
//!
//! Each load core has its own thread, its own current-thread runtime, its own connections
//! and its own tallies, merged once at the end; of one global schedule, core `r` of `n`
//! takes the arrivals `k mod n = r`. [`drive`] blocks until the cell has drained.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::event::Live;
use crate::measure::{Tick, Window};
use crate::plan::Cell;
use crate::provider::Provider;
use crate::record::RecordSink;
use crate::server::Endpoint;
use crate::workload::Source;

/// One cell, ready to be driven.
pub struct Job<'a> {
    pub cell: &'a Cell,
    pub endpoint: Endpoint,
    pub provider: Arc<dyn Provider>,
    pub source: Arc<Source>,
}

/// Asks a running cell to stop. Set from the signal handler.
#[derive(Debug, Default)]
pub struct Control(AtomicU8);

impl Control {
    /// One step further: run → finish (close the window, drain) → now (censor all at once).
    pub fn press(&self) {
        let _ =
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |v| Some(v.saturating_add(1).min(2)));
    }

    /// Whether the window is to be closed.
    #[must_use]
    pub fn finish(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= 1
    }

    /// Whether to drop everything in flight.
    #[must_use]
    pub fn now(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= 2
    }
}

/// What the engine knows of a cell beside its records.
pub struct CellRun {
    /// The epoch on CLOCK_MONOTONIC, in nanoseconds: every `_us` counts from it.
    pub epoch_monotonic_ns: u64,
    /// Wall-clock time of the epoch and of the end of the drain.
    pub started_at: jiff::Timestamp,
    pub ended_at: jiff::Timestamp,
    pub window: Window,
    /// Arrivals that the schedule had inside the window.
    pub planned: u64,
    pub timeline: Vec<Tick>,
    /// Gaps between content chunks, in microseconds, of requests due in the window.
    pub chunk_gaps: hdrhistogram::Histogram<u64>,
    /// Content chunks stamped in the window of requests not due in it.
    pub foreign_chunks_in_window: u64,
    pub client: ClientHealth,
    /// Records that the sink refused, with the first reason.
    pub lost_records: Option<(u64, String)>,
}

/// How this client fared while it loaded the server.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClientHealth {
    /// CPU share of each load core over the window, 0 to 1.
    pub core_cpu: Vec<f64>,
    /// How late a 10 ms timer beside the load woke, p99 over the window, per core.
    pub timer_overshoot_p99_us: Vec<u64>,
    /// Time that cgroup throttling took from this process during the cell.
    pub throttled_us: u64,
}

/// The engine itself failed; a failing server is not an error but records.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot start load core {core}: {source}")]
    Thread { core: u32, source: std::io::Error },
    #[error("cannot build the HTTP client: {0}")]
    Client(String),
    #[error("load core {core} panicked")]
    Panicked { core: u32 },
}

/// Run one cell. `live` is called about four times a second on the calling thread.
///
/// # Errors
/// Only when this client cannot do its work.
pub fn drive(
    job: &Job<'_>,
    sink: &mut dyn RecordSink,
    control: &Control,
    live: &mut dyn FnMut(Live),
) -> Result<CellRun, LoadError> {
    let _ = (job, sink, control, live);
    unreachable!("written next")
}
