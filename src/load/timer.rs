//! Waiting for a point in time, finer than the runtime's millisecond wheel: a timerfd in the
//! reactor of the load core's own runtime (p99 about 0.1 ms late, where the wheel has 1.9).

use std::io;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::net::unix::pipe::Receiver;

use super::clock::Clock;

/// One timer of one load core.
///
/// The descriptor is put into the reactor as the reading end of a pipe: `AsyncFd` can be
/// made only in unsafe code, which this crate denies, and all that is asked of a pipe here,
/// to become readable and to be read, a timerfd does as well.
pub(super) struct Timer {
    fd: Receiver,
    clock: Clock,
}

impl Timer {
    /// Must be called within a runtime.
    pub(super) fn new(clock: Clock) -> io::Result<Self> {
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Self { fd: Receiver::from_owned_fd_unchecked(fd)?, clock })
    }

    /// Return at `at_us` since the epoch, never before; at once if it has passed.
    pub(super) async fn until(&mut self, at_us: u64) -> io::Result<()> {
        while !self.clock.reached(at_us) {
            self.arm(at_us)?;
            loop {
                self.fd.readable().await?;
                // The count of expirations; its value says nothing new.
                match self.fd.try_read(&mut [0u8; 8]) {
                    Ok(_) => break,
                    // Readiness left over from an earlier arming: wait for the real one.
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    Err(e) => return Err(e),
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
            &self.fd,
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
            let clock = Clock::starting_in(Duration::from_millis(2));
            let mut timer = Timer::new(clock).unwrap();
            timer.until(0).await.unwrap();
            assert!(clock.reached(0), "woke before the epoch");
            for at in [300, 350, 2_000, 2_000, 0, 2_500] {
                timer.until(at).await.unwrap();
                assert!(clock.now_us() >= at, "woke before {at}");
            }
        });
    }
}
