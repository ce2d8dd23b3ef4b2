//! The simulator's clock: absolute monotonic nanoseconds, and a sleep that ends on time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Now, in nanoseconds of `CLOCK_MONOTONIC`: comparable with any other process on the same
/// host, and with `std::time::Instant` where that reads the same clock.
#[must_use]
pub fn now_ns() -> u64 {
    let t = clock_gettime(ClockId::Monotonic);
    let secs = u64::try_from(t.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(t.tv_nsec).unwrap_or(0);
    secs * 1_000_000_000 + nanos
}

/// A duration in whole nanoseconds, clamped to what 64 bits hold (584 years).
#[must_use]
pub fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

/// Ask the kernel to wake this thread close to the asked time rather than up to 50 µs
/// later, its habit of saving wake-ups. A refusal costs only precision.
pub(super) fn tighten_timers() {
    #[cfg(target_os = "linux")]
    {
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1_000));
    }
}

/// Sleep until an absolute time of [`now_ns`]. Returns at once when it has passed.
pub(super) fn sleep_until(at_ns: u64) {
    loop {
        let now = now_ns();
        if now >= at_ns {
            return;
        }
        sleep_once(at_ns, now);
    }
}

/// Longest sleep without a look at whether to stop.
const NAP_NS: u64 = 50_000_000;

/// As [`sleep_until`], but no longer than until `stopping`. Whether it slept to the end.
pub(super) fn sleep_unless(stopping: &AtomicBool, until_ns: u64) -> bool {
    loop {
        let nap = until_ns.min(now_ns() + NAP_NS);
        sleep_until(nap);
        if stopping.load(Ordering::Relaxed) {
            return false;
        }
        if nap == until_ns {
            return true;
        }
    }
}

#[cfg(target_os = "linux")]
fn sleep_once(at_ns: u64, _now: u64) {
    let request = rustix::thread::Timespec {
        tv_sec: i64::try_from(at_ns / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: (at_ns % 1_000_000_000) as _,
    };
    // An interrupted sleep is taken up again by the caller's loop.
    let _ = rustix::thread::clock_nanosleep_absolute(ClockId::Monotonic, &request);
}

#[cfg(not(target_os = "linux"))]
fn sleep_once(at_ns: u64, now: u64) {
    const YIELD_NS: u64 = 200_000;
    let left = at_ns - now;
    if left > YIELD_NS {
        std::thread::sleep(Duration::from_nanos(left - YIELD_NS));
    } else {
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_wakes_early() {
        for wait in [0_u64, 1_000, 300_000, 2_000_000] {
            let target = now_ns() + wait;
            sleep_until(target);
            assert!(now_ns() >= target);
        }
    }
}
