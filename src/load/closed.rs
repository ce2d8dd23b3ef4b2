//! Closed loop: each user sends, waits for the answer, and sends again at once. Coordinated
//! by nature: a slow server is asked less.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::exchange::perform;
use super::feed::Feed;
use super::flight::{Core, Flight};
use super::schedule::Shard;
use super::timer::Timer;
use crate::record::Outcome;

/// How long a user waits after a failed request before it is due to send the next. Without
/// it a server that refuses at once would be asked tens of thousands of times a second, and
/// its quick refusals would crowd out every answer in the records.
pub(super) const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);

/// A waiting starter looks up at least so often, to see whether the window was closed.
const LOOK_UP_US: u64 = 50_000;

/// When user `user` of `users` starts, in microseconds. They come evenly over the ramp; with
/// none, over the first half of the warm-up, which leaves the other half to settle: a
/// volley of first requests would stay in step for a long time. With neither, all at once.
pub(super) fn start_us(user: u32, users: u32, ramp_us: u64, warmup_us: u64) -> u64 {
    let spread = if ramp_us > 0 { ramp_us } else { warmup_us / 2 };
    (u128::from(spread) * u128::from(user) / u128::from(users.max(1))) as u64
}

/// Start this shard's users at their times and let them run until the window closes.
pub(super) async fn start_users(
    core: Rc<Core>,
    feed: Rc<Mutex<Feed>>,
    shard: Shard,
    users: u32,
    (ramp_us, warmup_us): (u64, u64),
) -> io::Result<()> {
    let mut timer = Timer::new(core.clock)?;
    for user in (shard.rank..users).step_by(shard.size as usize) {
        let at = start_us(user, users, ramp_us, warmup_us);
        let mut now = core.clock.now_us();
        while now < at {
            if now >= core.gate.end() {
                return Ok(());
            }
            timer.until(at.min(now + LOOK_UP_US)).await?;
            now = core.clock.now_us();
        }
        // Counted before it first runs, or the core could seem deserted.
        let present = Present::new(&core);
        tokio::task::spawn_local(use_server(present, Rc::clone(&feed), user, at));
    }
    Ok(())
}

/// The life of one user, who is due to send first at `due`.
async fn use_server(present: Present, feed: Rc<Mutex<Feed>>, user: u32, mut due: u64) {
    let core = &present.0;
    while core.gate.admit(due) {
        let Some(prepared) = feed.lock().await.next(&core.body_waits).await else {
            core.starved.set(true);
            return;
        };
        let mut flight = Flight::new(core, &prepared, due, Some(user));
        perform(&mut flight, prepared).await;
        due = flight.record.end_us.unwrap_or_else(|| core.clock.now_us());
        if flight.record.outcome != Outcome::Ok {
            drop(flight);
            tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            due = core.clock.now_us();
        }
    }
}

/// Counts a user for as long as it may still send.
struct Present(Rc<Core>);

impl Present {
    fn new(core: &Rc<Core>) -> Self {
        core.users.set(core.users.get() + 1);
        Self(Rc::clone(core))
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.users.set(self.0.users.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_start_spread() {
        let over_the_ramp: Vec<u64> = (0..4).map(|u| start_us(u, 4, 1_000, 500)).collect();
        assert_eq!(over_the_ramp, [0, 250, 500, 750]);
        let over_the_warmup: Vec<u64> = (0..4).map(|u| start_us(u, 4, 0, 1_000)).collect();
        assert_eq!(over_the_warmup, [0, 125, 250, 375]);
        assert_eq!(start_us(3, 4, 0, 0), 0);
    }
}
