//! What the machine did to this client while a cell ran: CPU quotas and clocks.

use super::cgroup::{Quotas, Throttled};
use super::jumps::{Jumps, Sample};
use super::window::Gate;

/// Kept by one load core, which looks with its watch.
pub(super) struct Machine {
    quotas: Quotas,
    /// The last reading before the window opened.
    before: Throttled,
    /// The first after it closed.
    after: Option<Throttled>,
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
        let mut machine = Self { quotas, before, after: None, jumps: Jumps::default() };
        machine.look_at_clocks();
        machine
    }

    /// Look at `now`. Files are read only outside of the window: with every report before it,
    /// and once when it has closed.
    pub(super) fn look(&mut self, gate: &Gate, now: u64, with_report: bool) {
        if now >= gate.end() {
            self.after.get_or_insert_with(|| self.quotas.read());
        } else if with_report && !gate.contains(now) {
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

    /// The end of the cell.
    pub(super) fn finish(mut self) -> Taken {
        self.look_at_clocks();
        let after = self.after.unwrap_or_else(|| self.quotas.read());
        Taken {
            throttled_us: after.since(&self.before),
            wall_step_us: self.jumps.wall_step_us(),
            suspended_us: self.jumps.suspended_us(),
        }
    }
}
