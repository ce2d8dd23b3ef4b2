//! One arrival on its way: its record while it is being written, and the promise that it is
//! written exactly once, whatever happens to the task that carries it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::LoadError;
use super::clock::Clock;
use super::failure::Failure;
use super::feed::Prepared;
use super::http::Scratch;
use super::lanes::Lane;
use super::talk::Talker;
use super::tally::{Done, Tally};
use super::window::Gate;
use crate::provider::Closing;
use crate::record::{ANSWER_CHARS, Excerpt, Outcome, Phase, RequestRecord, Texts, TokenSource};

/// Limits of a request, in microseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) total: u64,
    pub(super) first_token: Option<u64>,
    pub(super) stall: Option<u64>,
}

/// What all requests of one load core share. Lives on that core's thread alone.
pub(super) struct Core {
    pub(super) clock: Clock,
    pub(super) gate: Arc<Gate>,
    pub(super) tally: RefCell<Tally>,
    pub(super) rank: u32,
    /// By part of the cell.
    pub(super) lanes: Vec<Lane>,
    pub(super) scratch: Scratch,
    /// Arrivals that have no record yet.
    pub(super) open: Cell<u64>,
    /// Closed-loop users that may still send.
    pub(super) users: Cell<u32>,
    /// Requests that were wanted before they were made.
    pub(super) body_waits: Cell<u64>,
    /// The thread that makes requests has ended before its time.
    pub(super) starved: Cell<bool>,
    /// Arrivals of the schedule that this core has taken up.
    pub(super) taken: Cell<u64>,
    /// Arrivals after those that are due and held back by the cap.
    pub(super) held: Cell<u64>,
    /// Makes the later turns of conversations, where there are any: nobody knows them before.
    pub(super) talker: Option<Talker>,
    /// Why no further request can be made.
    pub(super) failed: RefCell<Option<LoadError>>,
    /// Arrivals after which there is nothing more to ask: their number is how many there are.
    pub(super) limit: Option<u64>,
    /// A task of a request has panicked: what this core measures can't be believed.
    pub(super) panicked: Cell<bool>,
}

/// An arrival from the moment it is due until its record is handed in, which its drop does:
/// one that was never sent is then `Dropped`, one that had not ended `Censored`.
pub(super) struct Flight {
    pub(super) core: Rc<Core>,
    pub(super) record: RequestRecord,
    /// The part of the cell that it belongs to.
    pub(super) lane: usize,
    /// Of that part; here, as every chunk asks for it.
    stream: bool,
    text: Option<String>,
    /// What a conversation goes on with.
    pub(super) answer: Option<String>,
    ended: bool,
    /// Its texts, where they are to be kept.
    pub(super) kept: Option<Box<Texts>>,
    /// Content chunks after which this client cuts it off.
    cut_after: Option<u32>,
}

impl Flight {
    pub(super) fn new(core: &Rc<Core>, prepared: &Prepared, intended_us: u64, user: Option<u32>) -> Self {
        core.tally.borrow_mut().due(intended_us);
        Self::of(core, prepared, intended_us, user)
    }

    /// One that was counted as due before, and held back by the cap until now.
    pub(super) fn held(core: &Rc<Core>, prepared: &Prepared, intended_us: u64) -> Self {
        let mut flight = Self::of(core, prepared, intended_us, None);
        flight.record.cap_blocked = true;
        flight
    }

    fn of(core: &Rc<Core>, prepared: &Prepared, intended_us: u64, user: Option<u32>) -> Self {
        core.open.set(core.open.get() + 1);
        // Later turns of a conversation are no arrivals of the schedule.
        core.taken.set(core.taken.get() + u64::from(prepared.turn.unwrap_or(0) == 0));
        let lane = &core.lanes[prepared.lane];
        let record = RequestRecord {
            user,
            shard: core.rank,
            phase: core.gate.phase(intended_us),
            stage: core.gate.stage_name(intended_us),
            intended_us,
            prompt_tokens_asked: prepared.asked,
            prompt_tokens_counted: prepared.counted,
            max_tokens: prepared.max_tokens,
            choices: Some(prepared.choices).filter(|n| *n > 1),
            task: lane.task.clone(),
            endpoint: lane.endpoint.clone(),
            session: prepared.session,
            turn: prepared.turn,
            ..RequestRecord::blank(prepared.seq)
        };
        Self {
            core: Rc::clone(core),
            record,
            lane: prepared.lane,
            stream: lane.stream,
            text: None,
            answer: None,
            ended: false,
            kept: None,
            cut_after: prepared.cut_after,
        }
    }

    /// The request is handed to the HTTP client now. Returns the time.
    pub(super) fn sent(&mut self) -> u64 {
        let t = self.core.clock.now_us();
        self.record.sent_us = Some(t);
        self.record.outcome = Outcome::Censored;
        self.core.tally.borrow_mut().sent(t, t.saturating_sub(self.record.intended_us));
        t
    }

    /// One content chunk, whose bytes were read at `t`.
    pub(super) fn chunk(&mut self, t: u64, visible: bool) {
        let record = &mut self.record;
        record.chunks += 1;
        // Without streaming there is no first token apart from the whole answer: its time is
        // not known, and the end is not put in its place.
        if self.stream {
            if record.first_token_us.is_none() {
                record.first_token_us = Some(t);
            } else if record.second_chunk_us.is_none() {
                record.second_chunk_us = Some(t);
            }
            if visible && record.first_visible_us.is_none() {
                record.first_visible_us = Some(t);
            }
        }
        let gap = record.last_token_us.map(|last| t - last);
        record.last_token_us = Some(t);
        if gap > record.max_gap_us {
            record.max_gap_us = gap;
        }
        let measured = record.phase == Phase::Measure;
        let inside = self.core.gate.contains(t);
        record.chunks_in_window += u32::from(inside);
        let mut tally = self.core.tally.borrow_mut();
        tally.foreign_chunks += u64::from(inside && !measured);
        tally.chunk(t, gap.filter(|_| measured));
    }

    /// Take over what the answer says of itself. Its tokens are those of its `usage`; without
    /// one they are counted from the text later, off this core; without a text, by chunks.
    pub(super) fn close(&mut self, closing: Closing) {
        self.keep_answer(closing.text.as_deref());
        let record = &mut self.record;
        record.token_source = closing.token_source();
        record.finish_reason = closing.finish_reason;
        record.prompt_tokens = closing.prompt_tokens;
        record.cached_tokens = closing.cached_tokens;
        record.output_tokens = closing.output_tokens;
        record.server_ttft_us = closing.server_ttft_us;
        record.server_e2e_us = closing.server_e2e_us;
        if self.core.lanes[self.lane].talks {
            self.answer.clone_from(&closing.text);
        }
        if record.output_tokens.is_some() {
            self.core.lanes[self.lane].keep_text.set(false);
            return;
        }
        // What was only read to be kept is not counted: that might ask the server.
        let wanted = self.core.lanes[self.lane].wants_text();
        self.text = closing.text.filter(|text| wanted && !text.is_empty());
        if self.text.is_none() && record.chunks > 0 && self.stream {
            record.output_tokens = Some(record.chunks);
            record.token_source = Some(TokenSource::Chunks);
        }
    }

    /// Keep what was answered, where that is asked for.
    pub(super) fn keep_answer(&mut self, text: Option<&str>) {
        if let (Some(kept), Some(text)) = (&mut self.kept, text.filter(|text| !text.is_empty())) {
            kept.answer = Some(Excerpt::of(text, ANSWER_CHARS));
        }
    }

    /// It ended at `t` with `outcome`.
    pub(super) fn end(&mut self, t: u64, outcome: Outcome) {
        self.record.end_us = Some(t);
        self.record.outcome = outcome;
        self.ended = true;
        let well = (outcome != Outcome::Cancelled).then_some(outcome == Outcome::Ok);
        self.core.tally.borrow_mut().left(t, well);
    }

    /// Whether as much of the answer has come as this client wants of it.
    pub(super) fn is_cut(&self) -> bool {
        self.cut_after.is_some_and(|chunks| self.record.chunks >= chunks)
    }

    /// Cut off at `t`, on purpose. What had come is known by its chunks alone.
    pub(super) fn cancel(&mut self, t: u64) {
        self.record.output_tokens = Some(self.record.chunks);
        self.record.token_source = Some(TokenSource::Chunks);
        self.end(t, Outcome::Cancelled);
    }

    /// Enough was seen at `t`, the first token. How long the answer is nobody will know, so it
    /// has no last token either.
    pub(super) fn leave_early(&mut self, t: u64) {
        self.record.last_token_us = None;
        self.record.second_chunk_us = None;
        self.record.max_gap_us = None;
        self.end(t, Outcome::Ok);
    }

    /// It failed at `t`.
    pub(super) fn fail(&mut self, t: u64, failure: Failure) {
        self.record.error_class = Some(failure.class.to_owned());
        self.record.detail = failure.detail.map(|words| self.core.lanes[self.lane].secrets.hide(words));
        self.end(t, failure.outcome);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.core.panicked.set(self.core.panicked.get() || std::thread::panicking());
        let record = std::mem::replace(&mut self.record, RequestRecord::blank(0));
        let mut kept = self.kept.take();
        if let Some(texts) = &mut kept {
            self.core.lanes[self.lane].hide_secrets(texts);
        }
        let mut tally = self.core.tally.borrow_mut();
        if record.sent_us.is_some() && !self.ended {
            tally.left(self.core.clock.now_us(), None);
        }
        tally.record(Done { record, text: self.text.take(), lane: self.lane, kept });
        drop(tally);
        self.core.open.set(self.core.open.get() - 1);
    }
}
