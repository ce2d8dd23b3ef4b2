//! When requests are due: a pure function of the seed and the load.
//!
//! One global list of absolute times, the same on every load core and every machine; a shard
//! takes its share of it. Arrivals are the images of a unit-rate process (1, 2, 3, … or a
//! Poisson process) under the inverse of the cumulated rate, so a rising rate needs no
//! second rule, and rounding never adds up. The process may be another too: gaps from a gamma
//! or a uniform distribution, volleys, or a list of times that was given.

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::gamma;
use super::rate::Rate;
use crate::experiment::{Arrivals, Load, Settings};
use crate::record::EndedBy;
use crate::workload::random;

/// A core's place among all load cores, and later a machine's among machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    pub rank: u32,
    pub size: u32,
}

impl Shard {
    /// This shard's part of `total` things: the remainder goes to the first ranks.
    #[must_use]
    pub const fn share(&self, total: u32) -> u32 {
        total / self.size + (self.rank < total % self.size) as u32
    }

    /// The numbers of the arrivals (or users) that are this shard's: rank, rank + size, ….
    pub fn numbers(&self) -> impl Iterator<Item = u64> + use<> {
        (u64::from(self.rank)..).step_by(self.size as usize)
    }
}

/// The stream of the seed's generator that arrivals are drawn from, apart from every other
/// use of the same seed.
const ARRIVALS_STREAM: u64 = 0x6172_7269_7661_6c73;

/// The list of due times of an open loop, in microseconds since the cell's epoch, never
/// falling. Endless, unless it was given. Generated as it is walked; a clone walks it again.
#[derive(Debug, Clone)]
pub struct Schedule {
    source: Source,
    /// Number of the next arrival.
    next: u64,
    /// The last due time.
    last_us: u64,
    /// Arrivals after which it ends; `None`: as its source does.
    most: Option<u64>,
}

#[derive(Debug, Clone)]
enum Source {
    Drawn(Box<Drawn>),
    Given(Arc<[u64]>),
}

/// A process of one arrival a unit of time, and the rate that it is stretched by.
#[derive(Debug, Clone)]
struct Drawn {
    unit: UnitProcess,
    rate: Rate,
}

impl Schedule {
    /// `qps` arrivals per second (more than 0), reached in a straight line over `ramp`.
    #[must_use]
    pub fn new(seed: u64, qps: f64, arrivals: Arrivals, ramp: Duration) -> Self {
        let mut rate = Rate::default();
        rate.go(0.0, qps, ramp);
        rate.stay(qps);
        Self::drawn(seed, arrivals, rate)
    }

    /// That of a cell's load; `None` for a closed loop, which has none.
    #[must_use]
    pub fn of(seed: u64, settings: &Settings) -> Option<Self> {
        let Load::Open { arrivals, .. } = settings.load else { return None };
        let first = settings.first_load().level();
        let mut rate = Rate::default();
        rate.go(0.0, first, settings.cell.ramp);
        if !settings.stages.is_empty() {
            rate.go(first, first, settings.cell.warmup);
        }
        for (before, stage) in settings.stages_from() {
            rate.go(before, stage.level, stage.ramp);
            rate.go(stage.level, stage.level, stage.duration - stage.ramp.min(stage.duration));
        }
        rate.stay(settings.stages.last().map_or(first, |stage| stage.level));
        Some(Self::drawn(seed, arrivals, rate))
    }

    /// These times, and no more: in microseconds since the cell's epoch, never falling. One
    /// that is less than the one before counts as due with it.
    #[must_use]
    pub fn of_times(times: Arc<[u64]>) -> Self {
        Self { source: Source::Given(times), next: 0, last_us: 0, most: None }
    }

    fn drawn(seed: u64, arrivals: Arrivals, rate: Rate) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(ARRIVALS_STREAM);
        let unit = UnitProcess { arrivals, rng, at: 0.0 };
        Self { source: Source::Drawn(Box::new(Drawn { unit, rate })), next: 0, last_us: 0, most: None }
    }

    /// No more than `most` arrivals, where that is a limit.
    #[must_use]
    pub fn limited(self, most: Option<u64>) -> Self {
        Self { most, ..self }
    }

    /// Whether it ends by itself.
    fn ends(&self) -> bool {
        self.most.is_some() || matches!(self.source, Source::Given(_))
    }

    /// Number and due time of each arrival that belongs to `shard`.
    pub fn slice(self, shard: Shard) -> impl Iterator<Item = (u64, u64)> {
        (0u64..).zip(self).filter(move |(k, _)| k % u64::from(shard.size) == u64::from(shard.rank))
    }

    /// Where a window ends that opens at `start_us`: after `duration`, or at the due time of
    /// the arrival after `requests` of them, whichever is first; or just after the last arrival
    /// where the schedule ends before. `None` if there is no such end.
    #[must_use]
    pub fn window_end(
        &self,
        start_us: u64,
        duration: Option<Duration>,
        requests: Option<u64>,
    ) -> Option<(u64, EndedBy)> {
        let by_time = duration.map(|d| start_us + d.as_micros() as u64);
        if let (None, false) = (requests, self.ends()) {
            return by_time.map(|end| (end, EndedBy::Duration));
        }
        let (requests, limit) = (requests.unwrap_or(u64::MAX), by_time.unwrap_or(u64::MAX));
        let (mut inside, mut last) = (0, None);
        for due in self.clone() {
            if due >= limit {
                return Some((limit, EndedBy::Duration));
            }
            if due >= start_us {
                // Arrivals due in the same microsecond as the last one can't be told from it; a
                // burst, which is made of such, is counted whole.
                if inside >= requests && !(self.is_burst() && last == Some(due)) {
                    return Some((due, EndedBy::Requests));
                }
                inside += 1;
            }
            last = Some(due);
        }
        // All came before the window: it is empty.
        let just_after = last.map_or(start_us, |due| (due + 1).max(start_us));
        Some((just_after, EndedBy::Requests))
    }

    fn is_burst(&self) -> bool {
        matches!(&self.source, Source::Drawn(drawn) if matches!(drawn.unit.arrivals, Arrivals::Burst { .. }))
    }

    /// Arrivals due in `start_us..end_us`.
    #[must_use]
    pub fn arrivals_in(&self, start_us: u64, end_us: u64) -> u64 {
        self.clone().take_while(|&due| due < end_us).filter(|&due| due >= start_us).count() as u64
    }
}

impl Iterator for Schedule {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if self.most.is_some_and(|most| self.next >= most) {
            return None;
        }
        let due = match &mut self.source {
            Source::Given(times) => *times.get(usize::try_from(self.next).ok()?)?,
            Source::Drawn(drawn) => {
                let area = drawn.unit.arrival(self.next);
                (drawn.rate.inverse(area)? * 1e6).round() as u64
            }
        };
        self.next += 1;
        // The inverse is monotone but for its last bit.
        self.last_us = self.last_us.max(due);
        Some(self.last_us)
    }
}

/// Arrivals at one a unit of time on average.
#[derive(Debug, Clone)]
struct UnitProcess {
    arrivals: Arrivals,
    rng: ChaCha8Rng,
    /// The last arrival, where gaps are drawn.
    at: f64,
}

impl UnitProcess {
    /// When arrival `k` comes; asked for each in turn.
    fn arrival(&mut self, k: u64) -> f64 {
        let gap = match self.arrivals {
            // A trace's times are a list that is given, and never drawn.
            Arrivals::Constant | Arrivals::Trace => return k as f64,
            Arrivals::Burst { size } => return (k - k % u64::from(size.max(1))) as f64,
            Arrivals::Poisson => -(-random::unit(&mut self.rng)).ln_1p(),
            Arrivals::Uniform => 2.0 * random::unit(&mut self.rng),
            Arrivals::Gamma { burstiness } => gamma::gamma(&mut self.rng, burstiness) / burstiness,
        };
        self.at += gap;
        self.at
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
