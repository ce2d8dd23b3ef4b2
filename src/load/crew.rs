//! The threads of a cell: load cores, the makers of their bodies, and how they start as one.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;

use super::clock::Clock;
use super::collect::{Collector, Recent, Silence};
use super::feed::{Maker, feed, make_all};
use super::lanes::Dialers;
use super::pin::Places;
use super::schedule::{Schedule, Shard};
use super::shard::{self, Ledger, Start};
use super::tally::{Report, Totals};
use super::window::Gate;
use super::{Control, Job, LoadError};
use crate::event::Look;
use crate::experiment::{Arrivals, Load, Settings};
use crate::record::RecordSink;

/// From all cores being ready to the epoch, so that each knows of it in time.
const LEAD: Duration = Duration::from_millis(3);
/// Reports on their way to the calling thread, at most.
const REPORTS: usize = 256;
/// Closed-loop users that one load core takes before a second one is worth having.
const USERS_PER_CORE: u32 = 64;
/// Open-loop arrivals per second that one load core takes before a second one is.
const QPS_PER_CORE: f64 = 250.0;

/// What the threads of one cell share.
pub(super) struct Crew<'a> {
    pub(super) job: &'a Job<'a>,
    pub(super) control: &'a Control,
    pub(super) schedule: Option<&'a Schedule>,
    pub(super) gate: &'a Arc<Gate>,
}

/// A cell that has run.
pub(super) struct Ended {
    pub(super) clock: Clock,
    pub(super) started_at: jiff::Timestamp,
    pub(super) ledgers: Vec<Ledger>,
    pub(super) lost: Option<(u64, String)>,
}

/// The threads of one load core.
struct Hand<'scope> {
    rank: u32,
    load: ScopedJoinHandle<'scope, Result<Ledger, LoadError>>,
    bodies: ScopedJoinHandle<'scope, Result<(), LoadError>>,
    go: SyncSender<(Clock, Arc<Gate>)>,
}

impl Crew<'_> {
    /// Start every core, let them go at one epoch, and collect until all have ended.
    pub(super) fn run(
        &self,
        sink: &mut dyn RecordSink,
        look: &mut dyn FnMut(Look<'_>),
    ) -> Result<Ended, LoadError> {
        let size = load_cores(&self.job.cell.settings, machine_cores());
        let dialers = Dialers::new(self.job)?;
        let places = if self.job.cell.settings.client.pin {
            Places::apart(size).map_err(|source| LoadError::Thread { core: 0, source })?
        } else {
            Places::default()
        };
        let (reports, reported) = sync_channel(REPORTS);
        thread::scope(|scope| {
            let (ready, readied) = sync_channel(size as usize);
            // When one can't be spawned, those before it are told by hanging up.
            let hands = (0..size)
                .map(|rank| {
                    self.hand(
                        scope,
                        Shard { rank, size },
                        (&dialers, &places),
                        reports.clone(),
                        ready.clone(),
                    )
                })
                .collect::<Result<Vec<_>, _>>()?;
            drop((ready, reports));
            let all_ready = readied.iter().count() == size as usize;
            let clock = Clock::starting_in(LEAD);
            let started_at = jiff::Timestamp::now() + LEAD;
            let mut threads = Vec::new();
            for Hand { rank, load, bodies, go } in hands {
                if all_ready {
                    let _ = go.send((clock, Arc::clone(self.gate)));
                }
                threads.push((rank, load, bodies));
            }
            let mut collector = Collector {
                sink,
                tokenizers: self.job.parts.iter().map(|part| part.source.tokenizer().as_ref()).collect(),
                look,
                clock,
                gate: self.gate,
                totals: vec![Totals::default(); size as usize],
                recent: Recent::default(),
                silence: Silence::default(),
                lost: None,
            };
            collector.run(&reported);
            let lost = collector.lost;
            Ok(Ended { clock, started_at, ledgers: join(threads)?, lost })
        })
    }

    fn hand<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        shard: Shard,
        (dialers, places): (&Dialers, &Places),
        reports: SyncSender<Report>,
        ready: SyncSender<()>,
    ) -> Result<Hand<'scope>, LoadError> {
        let rank = shard.rank;
        let failed = move |source| LoadError::Thread { core: rank, source };
        let (out, feed) = feed();
        let mut maker = Maker::new(self.job, dialers)?;
        let limit = self.job.limit();
        let place = places.clone();
        let bodies = thread::Builder::new()
            .name(format!("plimsoll-body-{rank}"))
            .spawn_scoped(scope, move || {
                place.take_bodies().map_err(failed)?;
                let all = |seq: &u64| limit.is_none_or(|limit| *seq < limit);
                make_all(&mut maker, shard.numbers().take_while(all), &out)
            })
            .map_err(failed)?;
        let (go, starter) = sync_channel(1);
        let start = Start {
            job: self.job,
            shard,
            schedule: self.schedule.cloned(),
            control: self.control,
            dialers: dialers.clone(),
            reports,
            feed,
            places: places.clone(),
            ready,
            go: starter,
        };
        let load = thread::Builder::new()
            .name(format!("plimsoll-load-{rank}"))
            .spawn_scoped(scope, move || shard::run(start))
            .map_err(failed)?;
        Ok(Hand { rank, load, bodies, go })
    }
}

type Threads<'scope> = (
    u32,
    ScopedJoinHandle<'scope, Result<Ledger, LoadError>>,
    ScopedJoinHandle<'scope, Result<(), LoadError>>,
);

/// Wait for all. Of several errors the one that says most: a cause before a consequence.
fn join(threads: Vec<Threads<'_>>) -> Result<Vec<Ledger>, LoadError> {
    let mut ledgers = Vec::new();
    let mut errors = Vec::new();
    for (rank, load, bodies) in threads {
        match load.join() {
            Ok(Ok(ledger)) => ledgers.push(ledger),
            Ok(Err(error)) => errors.push(error),
            Err(_) => errors.push(LoadError::Panicked { core: rank }),
        }
        match bodies.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => errors.push(error),
            Err(_) => errors.push(LoadError::Panicked { core: rank }),
        }
    }
    errors.sort_by_key(|e| matches!(e, LoadError::Panicked { .. }));
    match errors.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(ledgers),
    }
}

pub(super) fn machine_cores() -> u32 {
    thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
}

/// Load cores for a cell: as many as set, else as many as it needs and the machine has;
/// never more than there are users or slots to share out.
pub(super) fn load_cores(settings: &Settings, machine: u32) -> u32 {
    let (needed, most) = match settings.peak_load() {
        Load::Closed { users } => (users.div_ceil(USERS_PER_CORE), users),
        Load::Open { arrivals: Arrivals::Burst { size }, .. } => (size.div_ceil(USERS_PER_CORE), size),
        Load::Open { qps, max_in_flight, .. } => {
            ((qps / QPS_PER_CORE).ceil() as u32, max_in_flight.unwrap_or(u32::MAX))
        }
    };
    let cores = settings.client.threads.unwrap_or_else(|| needed.min(machine)).min(most).max(1);
    match settings.load {
        // Several cores would come to the ends of their shares of the lines at different times.
        Load::Closed { .. } if settings.workload.dataset.as_ref().is_some_and(|data| !data.repeat) => 1,
        // Each core has to have the same share of every burst, or one would be over its cap while
        // another has slots left.
        Load::Open { arrivals: Arrivals::Burst { size }, .. } => {
            (1..=cores).rev().find(|cores| size.is_multiple_of(*cores)).unwrap_or(1)
        }
        _ => cores,
    }
}
