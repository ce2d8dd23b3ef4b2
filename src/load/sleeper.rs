//! Where the users of a load core wait for their next request: on one timer together, as finely
//! as the pacer of an open loop does. A timer each would be a file each.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use tokio::sync::{Notify, oneshot};

use super::flight::Core;
use super::timer::Timer;

/// It looks up at least so often, to see whether the window was closed.
const LOOK_UP_US: u64 = 50_000;

/// Those who wait, by the time until which they do.
#[derive(Default)]
pub(super) struct Sleeper {
    waiting: RefCell<BTreeMap<u64, Vec<oneshot::Sender<()>>>>,
    /// Somebody waits for less long than the timer is set to, or the last user has gone.
    pub(super) changed: Notify,
}

impl Sleeper {
    /// Return at `at_us` since the epoch, never before, unless the window has closed.
    pub(super) async fn until(&self, core: &Core, at_us: u64) {
        let now = core.clock.now_us();
        if now >= at_us || now >= core.gate.end() {
            return;
        }
        let (tx, woken) = oneshot::channel();
        let first = {
            let mut waiting = self.waiting.borrow_mut();
            let first = waiting.first_key_value().is_none_or(|(next, _)| at_us < *next);
            waiting.entry(at_us).or_default().push(tx);
            first
        };
        if first {
            self.changed.notify_one();
        }
        // An error would be a sleeper that is no more, and wakes nobody.
        let _ = woken.await;
    }

    /// Wake each at its time, until the window has closed; `lonely`: or no user is left.
    pub(super) async fn run(self: Rc<Self>, core: Rc<Core>, lonely: bool) -> io::Result<()> {
        let mut timer = Timer::new(core.clock)?;
        loop {
            let now = core.clock.now_us();
            let closed = now >= core.gate.end();
            self.wake(if closed { u64::MAX } else { now });
            if closed || (lonely && core.users.get() == 0) {
                return Ok(());
            }
            let next = self.waiting.borrow().first_key_value().map_or(u64::MAX, |(at, _)| *at);
            let look_up = next.min(now + LOOK_UP_US).min(core.gate.end());
            tokio::select! {
                woke = timer.until(look_up) => woke?,
                () = self.changed.notified() => {}
            }
        }
    }

    fn wake(&self, now: u64) {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(due) = waiting.first_entry().filter(|due| *due.key() <= now) {
            for woken in due.remove() {
                // One who has gone needs no waking.
                let _ = woken.send(());
            }
        }
    }
}
