//! When requests are due: a pure function of the seed and the load.
//!
//! One global list of absolute times, the same on every load core and every machine; a shard
//! takes its share of it. Arrivals are the images of a unit-rate process (1, 2, 3, … or a
//! Poisson process) under the inverse of the cumulated rate, so a rising rate needs no
//! second rule, and rounding never adds up.

use std::time::Duration;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::experiment::Arrivals;
use crate::record::EndedBy;

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

/// The endless list of due times of an open loop, in microseconds since the cell's epoch,
/// never falling. Generated as it is walked; a clone walks it again.
#[derive(Debug, Clone)]
pub struct Schedule {
    rate: f64,
    ramp_s: f64,
    arrivals: Arrivals,
    rng: ChaCha8Rng,
    /// Number of the next arrival.
    next: u64,
    /// Time of the last arrival of the unit-rate Poisson process.
    unit: f64,
}

impl Schedule {
    /// `qps` arrivals per second (more than 0), reached in a straight line over `ramp`.
    #[must_use]
    pub fn new(seed: u64, qps: f64, arrivals: Arrivals, ramp: Duration) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(ARRIVALS_STREAM);
        Self { rate: qps, ramp_s: ramp.as_secs_f64(), arrivals, rng, next: 0, unit: 0.0 }
    }

    /// Number and due time of each arrival that belongs to `shard`.
    pub fn slice(self, shard: Shard) -> impl Iterator<Item = (u64, u64)> {
        (0u64..).zip(self).filter(move |(k, _)| k % u64::from(shard.size) == u64::from(shard.rank))
    }

    /// Where a window ends that opens at `start_us`: after `duration`, or at the due time of
    /// the arrival after `requests` of them, whichever is first. `None` if neither is set.
    #[must_use]
    pub fn window_end(
        &self,
        start_us: u64,
        duration: Option<Duration>,
        requests: Option<u64>,
    ) -> Option<(u64, EndedBy)> {
        let by_time = duration.map(|d| start_us + d.as_micros() as u64);
        let Some(requests) = requests else { return by_time.map(|t| (t, EndedBy::Duration)) };
        let limit = by_time.unwrap_or(u64::MAX);
        let mut inside = 0;
        for due in self.clone() {
            if due >= limit {
                return Some((limit, EndedBy::Duration));
            }
            if due >= start_us {
                // Arrivals due in the same microsecond as the last one can't be told from it.
                if inside >= requests {
                    return Some((due, EndedBy::Requests));
                }
                inside += 1;
            }
        }
        by_time.map(|t| (t, EndedBy::Duration))
    }

    /// Arrivals due in `start_us..end_us`.
    #[must_use]
    pub fn arrivals_in(&self, start_us: u64, end_us: u64) -> u64 {
        self.clone().take_while(|&due| due < end_us).filter(|&due| due >= start_us).count() as u64
    }

    /// The time, in seconds, at which `area` arrivals have come on average.
    fn inverse(&self, area: f64) -> f64 {
        let in_ramp = self.rate * self.ramp_s / 2.0;
        if area < in_ramp {
            (2.0 * area * self.ramp_s / self.rate).sqrt()
        } else {
            self.ramp_s + (area - in_ramp) / self.rate
        }
    }
}

impl Iterator for Schedule {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        // A rate that is no rate has no arrivals; the experiment's reader refuses it.
        if !(self.rate > 0.0 && self.rate.is_finite()) {
            return None;
        }
        let area = match self.arrivals {
            Arrivals::Constant => self.next as f64,
            Arrivals::Poisson => {
                // 53 bits in [0, 1): 1 − u is never 0.
                let u = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
                self.unit -= (-u).ln_1p();
                self.unit
            }
        };
        self.next += 1;
        Some((self.inverse(area) * 1e6).round() as u64)
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
