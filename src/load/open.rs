//! Open loop: a request goes out when it is due, whatever the server does.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use tokio::sync::Mutex;

use super::exchange::perform;
use super::feed::{Feed, Prepared};
use super::flight::{Core, Flight};
use super::timer::Timer;

/// A waiting pacer looks up at least so often, to see whether the window was closed.
const LOOK_UP_US: u64 = 50_000;

/// Requests sent in one go when they are overdue, before the core's streams get their turn.
const BURST: u32 = 32;

/// The cap on requests in flight of one load core, and what it holds back.
struct Slots {
    cap: Option<u32>,
    taken: Cell<u32>,
    held: RefCell<VecDeque<(Flight, Prepared)>>,
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
    let slots = Rc::new(Slots { cap, taken: Cell::new(0), held: RefCell::new(VecDeque::new()) });
    let mut feed = feed.lock().await;
    let mut burst = 0;
    for (seq, due) in arrivals {
        if due >= core.gate.end() {
            break;
        }
        // Made ready before it is due, so that nothing but the send is left.
        let Some(prepared) = feed.next(&core.body_waits).await else {
            core.starved.set(true);
            break;
        };
        debug_assert_eq!(prepared.seq, seq, "feed and schedule are walked in step");
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
        let flight = Flight::new(&core, &prepared, due, None);
        core.taken.set(core.taken.get() + 1);
        start(&slots, flight, prepared);
        burst += 1;
        if burst >= BURST {
            tokio::task::yield_now().await;
            burst = 0;
        }
    }
    Ok(())
}

fn start(slots: &Rc<Slots>, mut flight: Flight, prepared: Prepared) {
    if slots.cap.is_some_and(|cap| slots.taken.get() >= cap) {
        flight.record.cap_blocked = true;
        slots.held.borrow_mut().push_back((flight, prepared));
        return;
    }
    slots.taken.set(slots.taken.get() + 1);
    let slots = Rc::clone(slots);
    tokio::task::spawn_local(async move {
        let mut next = Some((flight, prepared));
        while let Some((mut flight, prepared)) = next {
            perform(&mut flight, prepared).await;
            drop(flight);
            next = slots.held.borrow_mut().pop_front();
        }
        slots.taken.set(slots.taken.get() - 1);
    });
}
