//! The threads of a cell: load cores, the makers of their bodies, and how they start as one.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Scope, ScopedJoinHandle};

use super::clock::Clock;
use super::feed::{Maker, feed, make_all};
use super::lanes::Dialers;
use super::pin::Places;
use super::schedule::Schedule;
use super::shard::{self, Ledger, Start};
use super::share::Share;
use super::tally::Report;
use super::window::Gate;
use super::{Control, Job, LoadError};
use crate::experiment::{Arrivals, Load, Settings};

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
    /// The load cores that are this machine's.
    pub(super) share: Share,
}

/// A cell that has run.
pub(super) struct Ended {
    pub(super) clock: Clock,
    /// The epoch by the wall clock.
    pub(super) started_at: jiff::Timestamp,
    pub(super) ledgers: Vec<Ledger>,
}

/// The threads of one load core.
struct Hand<'scope> {
    rank: u32,
    load: ScopedJoinHandle<'scope, Result<Ledger, LoadError>>,
    bodies: ScopedJoinHandle<'scope, Result<(), LoadError>>,
    go: SyncSender<(Clock, Arc<Gate>)>,
}

impl Crew<'_> {
    /// Start every core, let them go at one epoch, and have `oversee` take in what they report
    /// until all have ended. `begin` is asked once all are ready: `None` calls the cell off.
    pub(super) fn run(
        &self,
        begin: &mut dyn FnMut() -> Option<Clock>,
        oversee: &mut dyn FnMut(Clock, &Receiver<Report>),
    ) -> Result<Ended, LoadError> {
        let cores = self.share.ranks;
        let dialers = Dialers::new(self.job)?;
        let places = if self.job.cell.settings.client.pin {
            Places::apart(cores).map_err(|source| LoadError::Thread { core: 0, source })?
        } else {
            Places::default()
        };
        let (reports, reported) = sync_channel(REPORTS);
        thread::scope(|scope| {
            let (ready, readied) = sync_channel(cores as usize);
            // When one can't be spawned, those before it are told by hanging up.
            let hands = (0..cores)
                .map(|core| self.hand(scope, core, (&dialers, &places), reports.clone(), ready.clone()))
                .collect::<Result<Vec<_>, _>>()?;
            drop((ready, reports));
            let all_ready = readied.iter().count() == cores as usize;
            let clock = if all_ready { begin() } else { None };
            let mut threads = Vec::new();
            for Hand { rank, load, bodies, go } in hands {
                if let Some(clock) = clock {
                    let _ = go.send((clock, Arc::clone(self.gate)));
                }
                threads.push((rank, load, bodies));
            }
            let Some(clock) = clock else {
                let joined = join(threads);
                return Err(if all_ready {
                    LoadError::CalledOff
                } else {
                    joined.err().unwrap_or(LoadError::CalledOff)
                });
            };
            let started_at = clock.epoch_at();
            oversee(clock, &reported);
            Ok(Ended { clock, started_at, ledgers: join(threads)? })
        })
    }

    fn hand<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        core: u32,
        (dialers, places): (&Dialers, &Places),
        reports: SyncSender<Report>,
        ready: SyncSender<()>,
    ) -> Result<Hand<'scope>, LoadError> {
        let shard = self.share.shard(core);
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
            core,
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
    let (needed, most) = demand(settings);
    let cores = settings.client.threads.unwrap_or_else(|| needed.min(machine));
    fitting(settings, cores.min(most).max(1))
}

/// Load cores for a cell on each of several machines with so many processors: at least one on each
/// as far as there are users or slots for it, and more where more are needed. `client.threads` is
/// for each machine.
#[must_use]
pub fn cores_of_several(settings: &Settings, machines: &[u32]) -> Vec<u32> {
    let (needed, most) = demand(settings);
    let count = machines.len() as u32;
    let all = machines.iter().fold(0, |sum: u32, cores| sum.saturating_add(*cores)).max(count);
    let wanted = match settings.client.threads {
        Some(threads) => threads.saturating_mul(count),
        None => needed.clamp(count, all),
    };
    // Each is to have something to do in the window.
    let asked = settings.cell.requests.map_or(u32::MAX, |n| u32::try_from(n).unwrap_or(u32::MAX));
    let total = fitting(settings, wanted.min(most).min(asked).max(1));
    let weights: Vec<u64> = match settings.client.threads {
        Some(_) => vec![1; machines.len()],
        None => machines.iter().map(|cores| u64::from((*cores).max(1))).collect(),
    };
    split(u64::from(total), &weights).into_iter().map(|cores| cores as u32).collect()
}

/// `total` things in whole parts, as near to the weights as can be, and none empty where there are
/// as many things as weights above 0.
pub(super) fn split(total: u64, weights: &[u64]) -> Vec<u64> {
    let sum: u128 = weights.iter().map(|w| u128::from(*w)).sum::<u128>().max(1);
    let exact = |i: usize| u128::from(total) * u128::from(weights[i]);
    let mut parts: Vec<u64> = (0..weights.len()).map(|i| (exact(i) / sum) as u64).collect();
    let mut order: Vec<usize> = (0..weights.len()).filter(|&i| weights[i] > 0).collect();
    // The largest remainders first; of equals the first.
    order.sort_by_key(|&i| std::cmp::Reverse(exact(i) % sum));
    let rest = total.saturating_sub(parts.iter().sum());
    for &i in order.iter().take(rest as usize) {
        parts[i] += 1;
    }
    while let Some(empty) = order.iter().copied().filter(|&i| parts[i] == 0).min() {
        let Some(richest) = order.iter().copied().max_by_key(|&i| parts[i]).filter(|&i| parts[i] > 1) else {
            break;
        };
        parts[richest] -= 1;
        parts[empty] += 1;
    }
    parts
}

/// Load cores that a cell needs, and the most that have something to do.
fn demand(settings: &Settings) -> (u32, u32) {
    match settings.peak_load() {
        Load::Closed { users } => (users.div_ceil(USERS_PER_CORE), users),
        Load::Open { arrivals: Arrivals::Burst { size }, .. } => (size.div_ceil(USERS_PER_CORE), size),
        Load::Open { qps, max_in_flight, .. } => {
            ((qps / QPS_PER_CORE).ceil() as u32, max_in_flight.unwrap_or(u32::MAX))
        }
    }
}

/// No more load cores than can share a cell out evenly.
fn fitting(settings: &Settings, cores: u32) -> u32 {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_split_by_weight_and_nobody_is_left_with_none() {
        assert_eq!(split(10, &[1, 1]), [5, 5]);
        assert_eq!(split(7, &[1, 1, 1]), [3, 2, 2]);
        assert_eq!(split(100, &[98, 1, 1]), [98, 1, 1]);
        assert_eq!(split(3, &[1000, 1, 1]), [1, 1, 1]);
        assert_eq!(split(2, &[1, 1, 1]), [1, 1, 0]);
        assert_eq!(split(5, &[3, 0]), [5, 0]);
        assert_eq!(split(0, &[1, 1]), [0, 0]);
        for total in 0..200 {
            for weights in [&[4, 2, 9][..], &[1, 64], &[7]] {
                assert_eq!(split(total, weights).iter().sum::<u64>(), total);
            }
        }
    }
}
