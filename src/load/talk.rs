//! The later turns of a conversation: each is made when the one before was answered, as its
//! history holds that answer, and is due when the user has thought about it.

use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use super::LoadError;
use super::closed::PAUSE_AFTER_FAILURE;
use super::exchange::perform;
use super::feed::{Maker, Prepared};
use super::flight::{Core, Flight};
use super::sleeper::Sleeper;

/// Makes later turns for one load core. Shared with the thread that does it: a long history is a
/// matter of milliseconds, in which no stream of this core could be stamped.
pub(super) type Talker = Arc<Mutex<Maker>>;

/// How a request ended, for whoever goes on after it.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// In microseconds since the epoch.
    pub(super) at_us: u64,
    pub(super) failed: bool,
    /// The answer's text; empty where there is none.
    answer: String,
}

impl Ended {
    pub(super) fn of(flight: &mut Flight) -> Self {
        Self {
            at_us: flight.record.end_us.unwrap_or_else(|| flight.core.clock.now_us()),
            failed: flight.record.outcome.is_failure(),
            answer: flight.answer.take().unwrap_or_default(),
        }
    }
}

/// A conversation that has begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct Talk {
    lane: usize,
    session: u64,
    turns: u32,
}

impl Talk {
    /// The conversation that a first turn begins; `None` where it is the only one.
    pub(super) fn of(core: &Core, first: &Prepared) -> Option<Self> {
        let (lane, session) = (first.lane, first.session?);
        let turns = core.lanes[lane].source.session_len(session);
        (turns > 1).then_some(Self { lane, session, turns })
    }

    /// Ask turn after turn until the last, or until the user has to go at `until` or the window has
    /// closed. `first` is how the first turn ended. Returns how the last one did; of a turn that was
    /// not asked any more its due time stands for the end, so that nothing is due before it.
    pub(super) async fn go_on(
        self,
        core: &Rc<Core>,
        sleeper: &Sleeper,
        (user, until): (Option<u32>, u64),
        first: Ended,
    ) -> Ended {
        let mut last = first;
        let mut answers = Vec::new();
        for turn in 1..self.turns {
            if last.failed {
                // A server that refuses at once is not to be asked without a pause.
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                last.at_us = core.clock.now_us();
            }
            answers.push(std::mem::take(&mut last.answer));
            let thought = core.lanes[self.lane].source.think(self.session, turn);
            let due = last.at_us.saturating_add(u64::try_from(thought.as_micros()).unwrap_or(u64::MAX));
            last.at_us = due;
            if due >= until.min(core.gate.end()) {
                break;
            }
            // Made while the user thinks.
            let prepared = match self.make(core, turn, std::mem::take(&mut answers)).await {
                Ok((prepared, said)) => {
                    answers = said;
                    prepared
                }
                Err(error) => {
                    core.failed.borrow_mut().get_or_insert(error);
                    break;
                }
            };
            sleeper.until(core, due).await;
            if !core.gate.admit(due) {
                break;
            }
            let mut flight = Flight::new(core, &prepared, due, user);
            perform(&mut flight, prepared).await;
            last = Ended::of(&mut flight);
        }
        last
    }

    /// The request of a turn, and `answers` back from the thread that made it.
    async fn make(
        self,
        core: &Core,
        turn: u32,
        answers: Vec<String>,
    ) -> Result<(Prepared, Vec<String>), LoadError> {
        let talker = Arc::clone(core.talker.as_ref().expect("a core with conversations has a talker"));
        let made = tokio::task::spawn_blocking(move || {
            let mut maker = talker.lock().unwrap_or_else(PoisonError::into_inner);
            let prepared = maker.turn(self.lane, (self.session, turn), &answers)?;
            Ok((prepared, answers))
        });
        made.await.unwrap_or(Err(LoadError::Panicked { core: core.rank }))
    }
}
