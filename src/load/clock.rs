//! The one clock of a cell: microseconds since its epoch on `CLOCK_MONOTONIC`.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[must_use]
pub fn monotonic_ns() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

/// CPU time that this thread has used, in nanoseconds.
pub(super) fn thread_cpu_ns() -> u64 {
    nanoseconds(ClockId::ThreadCPUTime)
}

/// What a clock shows, in nanoseconds.
pub(super) fn nanoseconds(id: ClockId) -> u64 {
    let t = clock_gettime(id);
    t.tv_sec.unsigned_abs() * 1_000_000_000 + t.tv_nsec.unsigned_abs()
}

/// Reads the time since one epoch. A copy on each load core reads the same time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    epoch_ns: u64,
    /// The epoch as the runtime's own timers name it, for time-outs.
    epoch: Instant,
}

impl Clock {
    /// A clock whose epoch lies `ahead` from now.
    pub(super) fn starting_in(ahead: Duration) -> Self {
        Self::starting_at(monotonic_ns() + ahead.as_nanos() as u64)
    }

    /// A clock whose epoch is `epoch_ns` of `CLOCK_MONOTONIC`, to come or past.
    pub(super) fn starting_at(epoch_ns: u64) -> Self {
        let (now, now_ns) = (Instant::now(), monotonic_ns());
        let away = Duration::from_nanos(epoch_ns.abs_diff(now_ns));
        let epoch = if epoch_ns >= now_ns { now + away } else { now.checked_sub(away).unwrap_or(now) };
        Self { epoch_ns, epoch }
    }

    /// The epoch by the wall clock, as that stands now.
    pub(super) fn epoch_at(&self) -> jiff::Timestamp {
        let (now, now_ns) = (jiff::Timestamp::now(), monotonic_ns());
        let away = Duration::from_nanos(self.epoch_ns.abs_diff(now_ns));
        if self.epoch_ns >= now_ns { now + away } else { now - away }
    }

    pub(super) const fn epoch_ns(&self) -> u64 {
        self.epoch_ns
    }

    /// Microseconds since the epoch; 0 before it.
    pub(super) fn now_us(&self) -> u64 {
        monotonic_ns().saturating_sub(self.epoch_ns) / 1000
    }

    /// Whether it is `us` after the epoch; before the epoch not even 0 is.
    pub(super) fn reached(&self, us: u64) -> bool {
        monotonic_ns() >= self.epoch_ns.saturating_add(us.saturating_mul(1000))
    }

    /// `us` after the epoch, for the runtime's timers.
    pub(super) fn instant(&self, us: u64) -> Instant {
        self.epoch + Duration::from_micros(us)
    }
}
