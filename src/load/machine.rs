//! What the machine did to this client while a cell ran: CPU quotas and clocks.

use super::cgroup::{Quotas, Throttled};
use super::jumps::{Jumps, Sample};
use super::window::Gate;

/// Kept by one load core, which looks with its watch.
pub(super) struct Machine {
    quotas: Quotas,
    /// The last reading before the window opened.
    before: Throttled,
    jumps: Jumps,
}

/// What it came to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Taken {
    pub(super) throttled_us: Option<u64>,
    pub(super) wall_step_us: Option<u64>,
    pub(super) suspended_us: Option<u64>,
}

impl Machine {
    /// Begin with a first reading.
    pub(super) fn new() -> Self {
        let quotas = Quotas::of_this_process();
        let before = quotas.read();
        let mut machine = Self { quotas, before, jumps: Jumps::default() };
        machine.look_at_clocks();
        machine
    }

    /// Look at `now`. Files are read with every report before the window, and not in it.
    pub(super) fn look(&mut self, gate: &Gate, now: u64, with_report: bool) {
        if with_report && now < gate.end() && !gate.contains(now) {
            self.before = self.quotas.read();
        }
        if with_report {
            self.look_at_clocks();
        }
    }

    fn look_at_clocks(&mut self) {
        if let Some(sample) = Sample::now() {
            self.jumps.take(sample);
        }
    }

    /// The end of the cell: answers that came in the drain are its latencies too.
    pub(super) fn finish(mut self) -> Taken {
        self.look_at_clocks();
        Taken {
            throttled_us: self.quotas.read().since(&self.before),
            wall_step_us: self.jumps.wall_step_us(),
            suspended_us: self.jumps.suspended_us(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::EndedBy;

    #[test]
    fn throttling_counts_from_the_window_to_the_end_of_the_drain() {
        let dir = tempfile::tempdir().unwrap();
        let stat = dir.path().join("cpu.stat");
        let taken = |us: u64| std::fs::write(&stat, format!("throttled_usec {us}\n")).unwrap();
        taken(5);
        let quotas = Quotas::of_files(vec![stat.clone()]);
        let before = quotas.read();
        let mut machine = Machine { quotas, before, jumps: Jumps::default() };
        let gate = Gate::new(0, 1_000, Some((2_000, EndedBy::Duration)), None);
        taken(100);
        machine.look(&gate, 900, true);
        taken(130);
        machine.look(&gate, 1_500, true);
        taken(170);
        machine.look(&gate, 2_100, true);
        // In the drain.
        taken(400);
        assert_eq!(machine.finish().throttled_us, Some(300));
    }
}
