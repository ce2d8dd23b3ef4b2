//! Waiting for a point in time, finer than the runtime's millisecond wheel: a timerfd in the
//! reactor of the load core's own runtime (p99 about 0.1 ms late, where the wheel has 1.9).

use std::io;
use std::os::fd::OwnedFd;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::clock::Clock;

/// One timer of one load core.
pub(super) struct Timer {
    fd: AsyncFd<OwnedFd>,
    clock: Clock,
}

impl Timer {
    /// Must be called within a runtime.
    pub(super) fn new(clock: Clock) -> io::Result<Self> {
        let fd =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Self { fd: AsyncFd::with_interest(fd, Interest::READABLE)?, clock })
    }

    /// Return at `at_us` since the epoch, never before; at once if it has passed.
    pub(super) async fn until(&mut self, at_us: u64) -> io::Result<()> {
        while self.clock.now_us() < at_us {
            self.arm(at_us)?;
            loop {
                let mut ready = self.fd.readable().await?;
                let mut count = [0u8; 8];
                match rustix::io::read(ready.get_inner(), &mut count) {
                    Ok(_) => break,
                    // Readiness left over from an earlier arming: wait for the real one.
                    Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                    Err(e) => return Err(e.into()),
                }
            }
        }
        Ok(())
    }

    fn arm(&self, at_us: u64) -> io::Result<()> {
        let ns = self.clock.epoch_ns() + at_us * 1000;
        let at = Timespec {
            tv_sec: (ns / 1_000_000_000) as i64,
            // In range of any integer: below 10⁹.
            tv_nsec: (ns % 1_000_000_000) as _,
        };
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        timerfd_settime(
            self.fd.get_ref(),
            TimerfdTimerFlags::ABSTIME,
            &Itimerspec { it_interval: none, it_value: at },
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn never_early_and_reusable() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let clock = Clock::starting_in(Duration::ZERO);
            let mut timer = Timer::new(clock).unwrap();
            for at in [300, 350, 2_000, 2_000, 0, 2_500] {
                timer.until(at).await.unwrap();
                assert!(clock.now_us() >= at, "woke before {at}");
            }
        });
    }
}
