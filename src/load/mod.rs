//! Puts a cell's load on a server: per core, schedule → send → decode → record.
//!
//! Each load core has its own thread, its own current-thread runtime, its own connections
//! and its own tallies, merged once at the end; of one global schedule, core `r` of `n`
//! takes the arrivals `k mod n = r`. [`drive`] blocks until the cell has drained.

mod cgroup;
mod clock;
mod closed;
mod collect;
mod control;
mod crew;
mod deal;
mod exchange;
mod failure;
mod feed;
mod flight;
mod gamma;
mod http;
mod jumps;
mod lanes;
mod machine;
mod open;
mod pin;
mod preflight;
mod presence;
mod rate;
mod schedule;
mod shard;
mod sleeper;
mod system;
mod talk;
mod tally;
mod think;
mod timer;
mod window;

use std::sync::Arc;

pub use control::Control;
pub use preflight::{Finding, preflight};
pub use schedule::{Schedule, Shard};
pub use system::Allowed;

use crate::event::Look;
use crate::experiment::{Arrivals, Load, Workload};
use crate::plan::Cell;
use crate::provider::Provider;
use crate::record::{CellRun, ClientHealth, RecordSink, Traces};
use crate::server::{ClientError, Endpoint};
use crate::workload::Source;
use tally::Course;
use window::Gate;

/// One cell, ready to be driven.
pub struct Job<'a> {
    pub cell: &'a Cell,
    /// As many as [`Settings::parts()`](crate::experiment::Settings::parts()) has, in its order:
    /// one for a cell that is not mixed.
    pub parts: Vec<JobPart>,
    /// Which arrivals bear the name of a trace; `None`: none.
    pub traces: Option<Traces>,
}

impl Job<'_> {
    /// Arrivals after which there is nothing more to ask; `None`: there always is.
    fn limit(&self) -> Option<u64> {
        self.parts.iter().filter_map(|part| part.source.limit()).min()
    }
}

/// What one part of a cell is sent by.
#[derive(Clone)]
pub struct JobPart {
    pub endpoint: Endpoint,
    pub provider: Arc<dyn Provider>,
    pub source: Arc<Source>,
}

impl JobPart {
    /// Whether its answers are streamed: a file whose `target.api` is `auto` may ask for streams
    /// of an API that turns out to have none.
    fn streams(&self, workload: &Workload) -> bool {
        workload.stream && self.provider.features().streams
    }
}

/// The engine itself failed; a failing server is not an error but records.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot start load core {core}: {source}")]
    Thread { core: u32, source: std::io::Error },
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("load core {core} panicked")]
    Panicked { core: u32 },
    #[error("cannot build a request: {0}")]
    Request(String),
    #[error(
        "{needed} open files are needed and {limit} are allowed: raise the limit (`ulimit -n {needed}`), or lower users"
    )]
    FileLimit { needed: u64, limit: u64 },
    #[error("the cell has no end: set `cell.duration` or `cell.requests`")]
    Endless,
}

/// Run one cell. `look` is called on the calling thread, which also writes the records and counts
/// tokens: about four times a second, and with each batch of requests that have ended.
///
/// # Errors
/// Only when this client cannot do its work.
///
/// # Panics
/// When the job has not as many parts as the cell's settings.
pub fn drive(
    job: &Job<'_>,
    sink: &mut dyn RecordSink,
    control: &Control,
    look: &mut dyn FnMut(Look<'_>),
) -> Result<CellRun, LoadError> {
    let settings = &job.cell.settings;
    assert_eq!(job.parts.len(), settings.parts().count(), "each part of the cell is sent by one of the job");
    let schedule = match (settings.load, job.parts[0].source.trace()) {
        (Load::Open { arrivals: Arrivals::Trace, .. }, Some(trace)) => {
            Some(Schedule::of_times(trace.entries.iter().map(|entry| entry.at_us).collect()))
        }
        _ => Schedule::of(job.cell.seed, settings).map(|schedule| schedule.limited(job.limit())),
    };
    let gate = Arc::new(Gate::of(settings, schedule.as_ref()).ok_or(LoadError::Endless)?);
    let (sure, most) = preflight::open_files(settings, crew::machine_cores());
    system::raise_file_limit(sure, most)?;
    let crew = crew::Crew { job, control, schedule: schedule.as_ref(), gate: &gate };
    let ended = crew.run(sink, look)?;

    let window = gate.window(ended.clock.now_us());
    let mut course = Course::empty();
    let mut client = ClientHealth::default();
    for ledger in ended.ledgers {
        course.merge(ledger.course);
        client.core_cpu.extend(ledger.core_cpu);
        client.core_chunks_per_s.extend(ledger.chunks_per_s);
        client.core_requests_per_s.extend(ledger.requests_per_s);
        client.timer_overshoot_p99_us.extend(ledger.overshoot_p99_us);
        client.longest_stall_us.push(ledger.longest_stall_us);
        if let Some(taken) = ledger.taken {
            client.throttled_us = taken.throttled_us;
            client.wall_step_us = taken.wall_step_us;
            client.suspended_us = taken.suspended_us;
        }
        client.held_reports += ledger.held_reports;
        client.body_waits += ledger.body_waits;
    }
    Ok(CellRun {
        epoch_monotonic_ns: ended.clock.epoch_ns(),
        started_at: ended.started_at,
        ended_at: jiff::Timestamp::now(),
        stages: gate.stage_windows(&window),
        window,
        planned: schedule.map(|s| s.arrivals_in(window.start_us, window.end_us)),
        in_flight_mean: course.in_flight_mean(window.start_us, window.end_us),
        timeline: course.ticks,
        chunk_gaps: course.gaps,
        foreign_chunks_in_window: course.foreign_chunks,
        client,
        lost_records: lost_records(ended.lost, course.lost),
        observed: None,
    })
}

/// What the sink refused, and what no load core had room for while the calling thread was
/// behind.
fn lost_records(refused: Option<(u64, String)>, dropped: u64) -> Option<(u64, String)> {
    match (refused, dropped) {
        (refused, 0) => refused,
        (Some((n, why)), dropped) => Some((n + dropped, why)),
        (None, dropped) => {
            Some((dropped, "the disk, or the counting of tokens, was too slow for this load".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dropped_is_lost_like_what_was_refused() {
        let full = || Some((3, "no space".to_owned()));
        assert_eq!(lost_records(None, 0), None);
        assert_eq!(lost_records(full(), 0), full());
        assert_eq!(lost_records(full(), 4), Some((7, "no space".to_owned())));
        let (n, why) = lost_records(None, 5).expect("five were lost");
        assert!(n == 5 && why.contains("too slow"), "{n} {why}");
    }
}
