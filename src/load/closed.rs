//! Closed loop: each user sends, waits for the answer, thinks for as long as it is told to, and
//! sends again. Coordinated by nature: a slow server is asked less.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::exchange::perform;
use super::feed::Feed;
use super::flight::{Core, Flight};
use super::presence::{Presence, Stay};
use super::schedule::Shard;
use super::sleeper::Sleeper;
use super::talk::{Ended, Talk};
use super::think::Thinking;
use crate::record::EndedBy;

/// How long a user waits after a failed request before it is due to send the next. Without
/// it a server that refuses at once would be asked tens of thousands of times a second, and
/// its quick refusals would crowd out every answer in the records.
pub(super) const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Let this shard's users come, send and go at their times, until the window closes.
pub(super) async fn run_users(
    core: Rc<Core>,
    feed: Rc<Mutex<Feed>>,
    shard: Shard,
    presence: Presence,
    thinking: Option<Thinking>,
) -> io::Result<()> {
    let sleeper = Rc::new(Sleeper::default());
    for number in (shard.rank..presence.most).step_by(shard.size as usize) {
        let user = User {
            // Counted before it first runs, or the core could seem deserted.
            present: Present::new(&core, &sleeper),
            feed: Rc::clone(&feed),
            number,
            thinking: thinking.clone(),
        };
        tokio::task::spawn_local(user.live(presence.stays(number)));
    }
    sleeper.run(core, true).await
}

struct User {
    present: Present,
    feed: Rc<Mutex<Feed>>,
    number: u32,
    thinking: Option<Thinking>,
}

impl User {
    /// Send during each of `stays`, in the order of time.
    async fn live(self, stays: Vec<Stay>) {
        let Present { core, sleeper } = &self.present;
        let mut due = 0;
        for (from, until) in stays {
            // One that is still waiting for an answer is due when that has come.
            due = from.max(due);
            while due < until {
                sleeper.until(core, due).await;
                if !core.gate.admit(due) {
                    return;
                }
                let Some(next) = self.ask(due, until).await else {
                    match core.limit {
                        // Until now all users had something to ask, so no idle tail is measured.
                        Some(_) => core.gate.close(core.clock.now_us(), EndedBy::Requests),
                        None => core.starved.set(true),
                    }
                    return;
                };
                due = next;
            }
        }
    }

    /// Send a request that is due at `due`, and the conversation that it begins, and tell when the
    /// next one is. `None`: no request is made any more.
    async fn ask(&self, due: u64, until: u64) -> Option<u64> {
        let Present { core, sleeper } = &self.present;
        let prepared = self.feed.lock().await.next(&core.body_waits).await?;
        let (seq, talk) = (prepared.seq, Talk::of(core, &prepared));
        let mut flight = Flight::new(core, &prepared, due, Some(self.number));
        perform(&mut flight, prepared).await;
        let mut ended = Ended::of(&mut flight);
        drop(flight);
        if let Some(talk) = talk {
            ended = talk.go_on(core, sleeper, (Some(self.number), until), ended).await;
        }
        let thought = ended.at_us + self.thinking.as_ref().map_or(0, |thinking| thinking.after(seq));
        if ended.failed {
            tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            return Some(thought.max(core.clock.now_us()));
        }
        Some(thought)
    }
}

/// Counts a user for as long as it may still send, or a conversation of an open loop for as long
/// as it goes on: a core is not deserted while somebody thinks.
pub(super) struct Present {
    core: Rc<Core>,
    sleeper: Rc<Sleeper>,
}

impl Present {
    pub(super) fn new(core: &Rc<Core>, sleeper: &Rc<Sleeper>) -> Self {
        core.users.set(core.users.get() + 1);
        Self { core: Rc::clone(core), sleeper: Rc::clone(sleeper) }
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.core.users.set(self.core.users.get() - 1);
        self.core.panicked.set(self.core.panicked.get() || std::thread::panicking());
        if self.core.users.get() == 0 {
            self.sleeper.changed.notify_one();
        }
    }
}
