//! Jumps of the machine's clocks: a wall clock that was set, a machine that was suspended.

use rustix::time::ClockId;

use super::clock::nanoseconds;

/// A look at three clocks takes nanoseconds; one that was interrupted for longer tells nothing
/// about them.
const LOOK_NS: u64 = 100_000;
/// Looks before one is left out.
const TRIES: u32 = 5;

/// The machine's clocks at one moment, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    /// Steady, stands still while the machine is suspended: every stamp is of it.
    pub(super) monotonic: u64,
    /// Steady, goes on while the machine is suspended.
    pub(super) boot: u64,
    /// Wall-clock time, which can be set.
    pub(super) wall: u64,
}

impl Sample {
    /// The clocks now; `None` when every look was interrupted.
    pub(super) fn now() -> Option<Self> {
        (0..TRIES).find_map(|_| {
            let monotonic = nanoseconds(ClockId::Monotonic);
            let (boot, wall) = (nanoseconds(ClockId::Boottime), nanoseconds(ClockId::Realtime));
            let sample = Self { monotonic, boot, wall };
            (nanoseconds(ClockId::Monotonic) - monotonic <= LOOK_NS).then_some(sample)
        })
    }
}

/// What the samples of a cell, in their order, say of its clocks.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Jumps {
    first: Option<Sample>,
    last: Option<Sample>,
    step_ns: u64,
}

impl Jumps {
    /// Take a sample in.
    pub(super) fn take(&mut self, sample: Sample) {
        if let Some(last) = self.last {
            // Time in which the machine was suspended is no step: the wall clock counts it.
            let passed = sample.boot.saturating_sub(last.boot);
            let step = sample.wall.abs_diff(last.wall.saturating_add(passed));
            self.step_ns = self.step_ns.max(step);
        }
        self.first.get_or_insert(sample);
        self.last = Some(sample);
    }

    /// The largest step of the wall clock between two samples, either way, in microseconds.
    /// Slewing moves it by little between two samples, so that it doesn't add up. `None` below
    /// two samples.
    pub(super) fn wall_step_us(&self) -> Option<u64> {
        (self.last != self.first).then_some(self.step_ns / 1000)
    }

    /// Time in which the machine was suspended, in microseconds. `None` below two samples.
    pub(super) fn suspended_us(&self) -> Option<u64> {
        let (first, last) = (self.first?, self.last.filter(|_| self.last != self.first)?);
        let ahead = |s: Sample| s.boot.saturating_sub(s.monotonic);
        Some(ahead(last).saturating_sub(ahead(first)) / 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Samples at these times in ms: monotonic, suspended before it, wall set ahead by it.
    fn over(samples: &[(u64, u64, i64)]) -> (Option<u64>, Option<u64>) {
        let mut jumps = Jumps::default();
        for &(t, suspended, set) in samples {
            let (monotonic, boot) = (t * MS, (7 + t + suspended) * MS);
            jumps.take(Sample {
                monotonic,
                boot,
                wall: (boot + 9_000 * MS).saturating_add_signed(set * 1_000_000),
            });
        }
        (jumps.wall_step_us(), jumps.suspended_us())
    }

    #[test]
    fn clocks_that_go_together_did_not_jump() {
        assert_eq!(over(&[(0, 0, 0), (100, 0, 0), (5_000, 0, 0)]), (Some(0), Some(0)));
        assert_eq!(over(&[(0, 0, 0)]), (None, None));
        assert_eq!(over(&[]), (None, None));
    }

    #[test]
    fn a_step_of_the_wall_clock_is_told_either_way_and_slewing_is_not_added_up() {
        assert_eq!(over(&[(0, 0, 0), (100, 0, 3_000), (200, 0, 3_000)]).0, Some(3_000_000));
        assert_eq!(over(&[(0, 0, 0), (100, 0, -400), (200, 0, 0)]).0, Some(400_000));
        let slewed: Vec<_> = (0..1000).map(|i| (100 * i, 0, i64::try_from(i).unwrap())).collect();
        assert_eq!(over(&slewed), (Some(1_000), Some(0)));
    }

    #[test]
    fn a_suspended_machine_is_told_and_is_no_step() {
        assert_eq!(
            over(&[(0, 50, 0), (100, 50, 0), (200, 60_050, 0), (300, 60_060, 0)]),
            (Some(0), Some(60_010_000))
        );
    }

    #[test]
    fn this_machines_clocks_are_read() {
        let mut jumps = Jumps::default();
        for _ in 0..1000 {
            if let Some(sample) = Sample::now() {
                jumps.take(sample);
            }
        }
        // Nobody suspends the machine in the middle of a test and lets it go on.
        assert_eq!(jumps.suspended_us(), Some(0));
        assert!(jumps.wall_step_us().is_some());
    }
}
