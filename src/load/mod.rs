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
mod forward;
mod gamma;
mod gaps;
mod gather;
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
mod share;
mod sleeper;
mod system;
mod talk;
mod tally;
mod think;
mod timer;
mod window;

use std::sync::Arc;
use std::time::Duration;

pub use clock::monotonic_ns;
pub use collect::Batch;
pub use control::Control;
pub use crew::cores_of_several;
pub use forward::{Line, News, Order, drive_share};
pub use gather::Gatherer;
pub use preflight::{Finding, preflight};
pub use schedule::{Schedule, Shard};
pub use share::{MachineRun, Share, shares};
pub use system::Allowed;

use crate::event::Look;
use crate::experiment::{Arrivals, Load, Workload};
use crate::plan::Cell;
use crate::provider::Provider;
use crate::record::{CellRun, ClientHealth, RecordSink, Traces};
use crate::server::{ClientError, Endpoint};
use crate::workload::Source;
use clock::Clock;
use collect::{Collector, Tokens};
use crew::Crew;
use window::Gate;

/// From all cores being ready to the epoch, so that each knows of it in time.
const LEAD: Duration = Duration::from_millis(3);

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
    #[error("the cell was called off before it began")]
    CalledOff,
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
    let cores = crew::load_cores(&job.cell.settings, crew::machine_cores());
    let Course { schedule, gate } = Course::of(job, None)?;
    let (sure, most) = preflight::open_files(&job.cell.settings, crew::machine_cores());
    system::raise_file_limit(sure, most)?;
    let crew = Crew { job, control, schedule: schedule.as_ref(), gate: &gate, share: Share::whole(cores) };
    let tokens = Tokens::of(job);
    let mut lost = None;
    let ended = crew.run(&mut || Some(Clock::starting_in(LEAD)), &mut |clock, reports| {
        let mut collector = Collector::new((&mut *sink, &mut *look), (clock, Arc::clone(&gate)), cores);
        collector.run(&tokens, reports);
        lost = collector.lost;
    })?;
    let (clock, started_at) = (ended.clock, ended.started_at);
    let part = MachineRun::of(ended, &gate);
    Ok(cell_run(Course { schedule, gate }, (clock, started_at), vec![part], lost))
}

/// When a cell's requests are due, and when it measures.
struct Course {
    /// `None` for a closed loop.
    schedule: Option<Schedule>,
    gate: Arc<Gate>,
}

impl Course {
    /// Of a cell; `tickets`: closed-loop requests of the window that this machine may send, where
    /// several share them.
    fn of(job: &Job<'_>, tickets: Option<u64>) -> Result<Self, LoadError> {
        let settings = &job.cell.settings;
        assert_eq!(
            job.parts.len(),
            settings.parts().count(),
            "each part of the cell is sent by one of the job"
        );
        let schedule = match (settings.load, job.parts[0].source.trace()) {
            (Load::Open { arrivals: Arrivals::Trace, .. }, Some(trace)) => {
                Some(Schedule::of_times(trace.entries.iter().map(|entry| entry.at_us).collect()))
            }
            _ => Schedule::of(job.cell.seed, settings).map(|schedule| schedule.limited(job.limit())),
        };
        let gate = Gate::of(settings, schedule.as_ref()).ok_or(LoadError::Endless)?;
        Ok(Self { schedule, gate: Arc::new(gate.with_tickets(tickets)) })
    }
}

/// The cell as the machines' parts make it up.
fn cell_run(
    Course { schedule, gate }: Course,
    (clock, started_at): (Clock, jiff::Timestamp),
    parts: Vec<MachineRun>,
    lost: Option<(u64, String)>,
) -> CellRun {
    let window = share::window_of(&parts).unwrap_or_else(|| gate.window(clock.now_us()));
    let mut counts = tally::Course::empty();
    let mut client = ClientHealth::default();
    for part in parts {
        counts.merge(part.course);
        client.add(part.client);
    }
    CellRun {
        epoch_monotonic_ns: clock.epoch_ns(),
        started_at,
        ended_at: jiff::Timestamp::now(),
        stages: gate.stage_windows(&window),
        window,
        planned: schedule.map(|s| s.arrivals_in(window.start_us, window.end_us)),
        in_flight_mean: counts.in_flight_mean(window.start_us, window.end_us),
        timeline: counts.ticks,
        chunk_gaps: counts.gaps,
        foreign_chunks_in_window: counts.foreign_chunks,
        client,
        lost_records: lost_records(lost, counts.lost),
        observed: None,
    }
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
