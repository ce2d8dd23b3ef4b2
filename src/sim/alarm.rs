//! Waiting for a point in time inside the connections' thread, finer than the runtime's
//! millisecond wheel: one timerfd for all streams, and a heap of who waits until when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::net::unix::pipe::Receiver;

use super::clock::now_ns;

/// Who is to be woken when. Ordered by time, then by who came first.
#[derive(Debug)]
struct Call {
    due_ns: u64,
    number: u64,
    waker: Waker,
}

impl Call {
    fn key(&self) -> (u64, u64) {
        (self.due_ns, self.number)
    }
}

impl PartialEq for Call {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl Eq for Call {}
impl PartialOrd for Call {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Call {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

#[derive(Debug, Default)]
struct Inner {
    calls: BinaryHeap<Reverse<Call>>,
    number: u64,
    /// When the timer is set to go off.
    armed_ns: Option<u64>,
}

/// One timer for all streams of a server.
///
/// The descriptor is put into the reactor as the reading end of a pipe: `AsyncFd` can be
/// made only in unsafe code, which this crate denies.
#[derive(Debug)]
pub(super) struct Alarm {
    fd: Receiver,
    inner: Mutex<Inner>,
}

impl Alarm {
    /// Must be called within a runtime, on which [`Alarm::ring`] is then to run.
    pub fn new() -> io::Result<Self> {
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Self { fd: Receiver::from_owned_fd_unchecked(fd)?, inner: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wake `waker` at `due_ns` of [`now_ns`], never before.
    pub fn call(&self, due_ns: u64, waker: Waker) {
        let mut inner = self.lock();
        inner.number += 1;
        let number = inner.number;
        inner.calls.push(Reverse(Call { due_ns, number, waker }));
        if inner.armed_ns.is_none_or(|armed| due_ns < armed) {
            self.arm(&mut inner, due_ns);
        }
    }

    /// Wake whoever is due, for ever.
    pub async fn ring(&self) {
        loop {
            if self.fd.readable().await.is_err() {
                return;
            }
            // The count of expirations; its value says nothing new. Readiness left over from
            // an earlier arming reads as nothing, and wakes only who is due.
            let _ = self.fd.try_read(&mut [0_u8; 8]);
            let mut inner = self.lock();
            let now = now_ns();
            while inner.calls.peek().is_some_and(|next| next.0.due_ns <= now) {
                let Some(Reverse(call)) = inner.calls.pop() else { break };
                call.waker.wake();
            }
            inner.armed_ns = None;
            if let Some(due) = inner.calls.peek().map(|next| next.0.due_ns) {
                self.arm(&mut inner, due);
            }
        }
    }

    fn arm(&self, inner: &mut Inner, due_ns: u64) {
        let at = Timespec {
            tv_sec: i64::try_from(due_ns / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: (due_ns % 1_000_000_000) as _,
        };
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let once = Itimerspec { it_interval: none, it_value: at };
        // It fails only for a descriptor or a time that is none.
        let set = timerfd_settime(&self.fd, TimerfdTimerFlags::ABSTIME, &once);
        inner.armed_ns = set.is_ok().then_some(due_ns);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::task::Poll;

    use super::*;

    #[test]
    fn everyone_is_woken_in_turn_and_nobody_early() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let alarm = Arc::new(Alarm::new().unwrap());
            let ringing = Arc::clone(&alarm);
            tokio::spawn(async move { ringing.ring().await });
            let start = now_ns();
            let order = Arc::new(Mutex::new(Vec::new()));
            // The second one is due before the first: the timer must be set anew.
            let waiting: Vec<_> = [3_000_000_u64, 500_000, 3_000_000, 0]
                .into_iter()
                .enumerate()
                .map(|(n, after)| {
                    let (alarm, order) = (Arc::clone(&alarm), Arc::clone(&order));
                    tokio::spawn(async move {
                        let due = start + after;
                        poll_fn(|cx| {
                            if now_ns() >= due {
                                return Poll::Ready(());
                            }
                            alarm.call(due, cx.waker().clone());
                            Poll::Pending
                        })
                        .await;
                        assert!(now_ns() >= due);
                        order.lock().unwrap().push(n);
                    })
                })
                .collect();
            for task in waiting {
                task.await.unwrap();
            }
            assert_eq!(*order.lock().unwrap(), [3, 1, 0, 2]);
        });
    }
}
