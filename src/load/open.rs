//! Open loop: a request goes out when it is due, whatever the server does.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use tokio::sync::Mutex;

use super::closed::Present;
use super::exchange::perform;
use super::feed::{Feed, Prepared};
use super::flight::{Core, Flight};
use super::sleeper::Sleeper;
use super::talk::{Ended, Talk};
use super::timer::Timer;

/// A waiting pacer looks up at least so often, to see whether the window was closed.
const LOOK_UP_US: u64 = 50_000;

/// Requests sent in one go when they are overdue, before the core's streams get their turn.
const BURST: u32 = 32;

/// The cap on requests in flight of one load core, and what it holds back.
struct Slots {
    cap: Option<u32>,
    taken: Cell<u32>,
    /// Due times, the oldest first. Their requests are still with the feed: however many wait,
    /// they cost no more than this.
    held: RefCell<VecDeque<u64>>,
    /// Where conversations wait for their next turn; a conversation keeps its slot meanwhile.
    sleeper: Rc<Sleeper>,
}

impl Slots {
    /// Whether an arrival that is due now has to wait: for a slot, or for those before it.
    fn are_full(&self) -> bool {
        self.cap.is_some_and(|cap| self.taken.get() >= cap) || !self.held.borrow().is_empty()
    }
}

/// Send each of `arrivals` when it is due, until the window closes. What the cap holds back
/// goes out as slots fall free, through the drain as well, still due when it was due.
pub(super) async fn pace(
    core: Rc<Core>,
    feed: Rc<Mutex<Feed>>,
    arrivals: impl Iterator<Item = (u64, u64)>,
    cap: Option<u32>,
) -> io::Result<()> {
    let mut timer = Timer::new(core.clock)?;
    let slots = Rc::new(Slots {
        cap,
        taken: Cell::new(0),
        held: RefCell::new(VecDeque::new()),
        sleeper: Rc::new(Sleeper::default()),
    });
    // Those who think between two turns of a conversation wait there.
    let thinkers = core
        .talker
        .is_some()
        .then(|| tokio::task::spawn_local(Rc::clone(&slots.sleeper).run(Rc::clone(&core), false)));
    let mut burst = 0;
    for (seq, due) in arrivals {
        if due >= core.gate.end() {
            break;
        }
        // Made ready before it is due, so that nothing but the send is left.
        feed.lock().await.stock_up(&core.body_waits).await;
        let mut now = core.clock.now_us();
        if now < due {
            burst = 0;
        }
        while now < due && due < core.gate.end() {
            timer.until(due.min(now + LOOK_UP_US)).await?;
            now = core.clock.now_us();
        }
        if due >= core.gate.end() {
            break;
        }
        if !take_up(&core, &feed, &slots, seq, due).await {
            core.starved.set(true);
            break;
        }
        burst += 1;
        if burst >= BURST {
            tokio::task::yield_now().await;
            burst = 0;
        }
    }
    match thinkers {
        // Nothing can be asked any more, and the error is not to wait.
        Some(thinkers) if core.starved.get() => {
            thinkers.abort();
            Ok(())
        }
        Some(thinkers) => thinkers.await.map_err(io::Error::other)?,
        None => Ok(()),
    }
}

/// Send the arrival `seq`, or have it wait its turn. `false`: no request is made any more.
///
/// Whoever has the feed takes the oldest arrival that has no request yet, so that feed and
/// schedule are walked in step.
async fn take_up(core: &Rc<Core>, feed: &Rc<Mutex<Feed>>, slots: &Rc<Slots>, seq: u64, due: u64) -> bool {
    let mut requests = feed.lock().await;
    if slots.are_full() {
        core.tally.borrow_mut().due(due);
        core.open.set(core.open.get() + 1);
        core.held.set(core.held.get() + 1);
        slots.held.borrow_mut().push_back(due);
        return true;
    }
    let Some(prepared) = requests.next(&core.body_waits).await else { return false };
    drop(requests);
    debug_assert_eq!(prepared.seq, seq, "feed and schedule are walked in step");
    let flight = Flight::new(core, &prepared, due, None);
    slots.taken.set(slots.taken.get() + 1);
    let (feed, slots) = (Rc::clone(feed), Rc::clone(slots));
    tokio::task::spawn_local(async move {
        let mut next = Some((flight, prepared));
        while let Some((mut flight, prepared)) = next {
            let core = Rc::clone(&flight.core);
            let talk = Talk::of(&core, &prepared);
            perform(&mut flight, prepared).await;
            let ended = Ended::of(&mut flight);
            drop(flight);
            if let Some(talk) = talk {
                let _present = Present::new(&core, &slots.sleeper);
                talk.go_on(&core, &slots.sleeper, (None, u64::MAX), ended).await;
            }
            next = release(&core, &feed, &slots).await;
        }
        slots.taken.set(slots.taken.get() - 1);
    });
    true
}

/// The oldest of those that the cap has held back, now that there is a slot for it.
async fn release(core: &Rc<Core>, feed: &Mutex<Feed>, slots: &Slots) -> Option<(Flight, Prepared)> {
    if slots.held.borrow().is_empty() {
        return None;
    }
    let mut requests = feed.lock().await;
    let due = slots.held.borrow_mut().pop_front()?;
    let Some(prepared) = requests.next(&core.body_waits).await else {
        core.starved.set(true);
        return None;
    };
    core.held.set(core.held.get() - 1);
    core.open.set(core.open.get() - 1);
    Some((Flight::held(core, &prepared, due), prepared))
}
