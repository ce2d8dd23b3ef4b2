//! One request and its answer: sent, awaited under four time-outs, stamped as its bytes come.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::time::Sleep;

use super::clock::Clock;
use super::failure::Failure;
use super::feed::Prepared;
use super::flight::{Flight, Limits};
use super::http::Answer;
use crate::provider::framing::Framer;
use crate::provider::{self, Closing, Decoder, Framing};
use crate::record::{BODY_CHARS, Excerpt, Outcome, Texts};

/// How long the end of the stream is awaited after the answer's own end marker, so that the
/// connection can be kept.
const LINGER_US: u64 = 100_000;

/// How long the words of a refusal are awaited: its status is known already.
const REFUSAL_US: u64 = 1_000_000;

/// A read that brought so many bytes is likely to be followed by more at once: the other
/// streams and the timers of this core get their turn first.
const TURN: usize = 4 << 10;

/// Body of an error answer that is read, in bytes.
const ERROR_BODY: usize = 64 << 10;

/// Send it, read the answer to its end, and write everything into `flight`.
pub(super) async fn perform(flight: &mut Flight, mut prepared: Prepared) {
    let echo = prepared.echo.take();
    flight.kept =
        prepared.asks.take().map(|asks| Box::new(Texts { prompt: Some(*asks), ..Texts::default() }));
    flight.record.trace_id = prepared.trace.map(|trace| trace.to_string());
    let sent = flight.sent();
    let mut alarm = Alarm::new(flight.core.clock, flight.core.lanes[flight.lane].limits, sent);
    match respond(flight, &mut alarm, prepared).await {
        Ok(Ok(answer)) => {
            flight.record.headers_us = Some(answer.head_us);
            flight.record.status = Some(answer.status);
            alarm.reading(answer.head_us);
            if (200..300).contains(&answer.status) {
                match &answer.coding {
                    None => read_answer(flight, &mut alarm, answer, echo).await,
                    Some(coding) => {
                        let words =
                            format!("the answer is compressed ({coding}), which it was asked not to be");
                        let failure = Failure::new(Outcome::BadStream, "bad_stream", Some(words));
                        flight.fail(answer.head_us, failure);
                    }
                }
            } else {
                read_refusal(flight, &mut alarm, answer).await;
            }
        }
        Ok(Err(failure)) => {
            let t = flight.core.clock.now_us();
            flight.fail(t, failure);
        }
        Err(expired) => expire(flight, expired),
    }
}

/// Until the head of the answer. A kept-alive connection that the server has closed meanwhile
/// is no fault of the server's: as long as no byte of an answer came, ask again at once, on
/// a fresh connection, which then has no such excuse.
async fn respond(
    flight: &mut Flight,
    alarm: &mut Alarm,
    prepared: Prepared,
) -> Result<Result<Answer, Failure>, Expired> {
    let core = Rc::clone(&flight.core);
    let pool = &core.lanes[flight.lane].pool;
    let mut again = false;
    if let Some(conn) = pool.kept() {
        let request = prepared.request.clone();
        match alarm.guard(conn.ask(request, &core.scratch, core.clock)).await? {
            Err(failure) if failure.unanswered => {
                pool.found_dead();
                flight.record.retries += 1;
                again = true;
            }
            answered => return Ok(answered),
        }
    }
    match alarm.guard(pool.fresh(again)).await? {
        Ok(conn) => alarm.guard(conn.ask(prepared.request, &core.scratch, core.clock)).await,
        Err(failure) => Ok(Err(failure)),
    }
}

fn expire(flight: &mut Flight, expired: Expired) {
    let t = flight.core.clock.now_us();
    flight.fail(t, Failure::new(Outcome::Timeout, expired.class(), None));
}

/// Read a 2xx answer.
async fn read_answer(flight: &mut Flight, alarm: &mut Alarm, mut answer: Answer, echo: Option<String>) {
    let core = Rc::clone(&flight.core);
    let lane = &core.lanes[flight.lane];
    let mut reader = Reader {
        framer: Framer::new(lane.provider.framing(lane.stream)),
        decoder: lane.provider.decoder(lane.stream, lane.wants_text() || flight.kept.is_some()),
        broken: None,
        whole: lane.provider.framing(lane.stream) == Framing::Whole,
    };
    if let Some(prompt) = &echo {
        reader.decoder.expect_echo(prompt);
    }
    if let Some(choices) = flight.record.choices {
        reader.decoder.expect_choices(choices);
    }
    let mut last_read = answer.head_us;
    let mut failure = None;
    let end = loop {
        let mut size = 0;
        let mut take = |t: u64, bytes: &[u8]| {
            last_read = t;
            size += bytes.len();
            reader.take(flight, bytes, t);
        };
        let read = poll_fn(|cx| answer.poll_read(cx, &core.scratch, core.clock, &mut take));
        let step = alarm.guard(read).await;
        match step {
            Ok(Ok(ended)) => {
                alarm.read(last_read);
                flight.record.bytes += size as u64;
                // A read that finds bytes at once never lets the timer have its say.
                if let Some(expired) = alarm.over(last_read) {
                    if reader.decoder.done() {
                        break core.clock.now_us();
                    }
                    flight.close(reader.decoder.close());
                    return expire(flight, expired);
                }
                if flight.record.chunks > 0 {
                    alarm.first_content();
                    if lane.first_token_only {
                        reader.keep(flight);
                        return flight.leave_early(last_read);
                    }
                    if flight.is_cut() {
                        reader.keep(flight);
                        return flight.cancel(last_read);
                    }
                }
                if reader.broken.is_some() {
                    break last_read;
                }
                if ended {
                    let end = core.clock.now_us();
                    lane.pool.take_back(answer);
                    break end;
                }
                if reader.decoder.done() {
                    alarm.linger(last_read + LINGER_US);
                }
                if size >= TURN {
                    tokio::task::yield_now().await;
                }
            }
            Ok(Err(error)) => {
                failure = Some(error);
                break core.clock.now_us();
            }
            // All was said; only the connection could not be kept. It was held until now: a user
            // whose next request were due before would seem late by our own waiting.
            Err(_) if reader.decoder.done() => break core.clock.now_us(),
            Err(expired) => {
                flight.close(reader.decoder.close());
                return expire(flight, expired);
            }
        }
    };
    let mut unread = match reader.broken {
        None => reader.last_frame(flight, last_read, failure.is_none()),
        Some(_) => None,
    };
    // A document that HTTP brought to its end has not been cut off: it is none.
    if reader.whole && failure.is_none() {
        reader.broken = reader.broken.or(unread.take());
    }
    let mut closing = reader.decoder.close();
    let fault = judge(&mut closing, reader.broken, failure, unread);
    flight.close(closing);
    match fault {
        Some(fault) => flight.fail(end, fault),
        None => flight.end(end, Outcome::Ok),
    }
}

/// What was wrong with an answer, if anything. `unread`: why its end could not be read.
fn judge(
    closing: &mut Closing,
    broken: Option<String>,
    failure: Option<Failure>,
    unread: Option<String>,
) -> Option<Failure> {
    if let Some(words) = closing.error.take() {
        return Some(Failure::new(Outcome::BadStream, "server_error", Some(words)));
    }
    if let Some(words) = broken {
        return Some(Failure::new(Outcome::BadStream, "bad_stream", Some(words)));
    }
    // An answer that had said all is whole, however its connection then went.
    if closing.complete {
        return None;
    }
    Some(failure.unwrap_or(Failure::new(Outcome::Truncated, "truncated", unread)))
}

/// Read an answer with a status other than 2xx, for its words and to keep the connection.
async fn read_refusal(flight: &mut Flight, alarm: &mut Alarm, mut answer: Answer) {
    let core = Rc::clone(&flight.core);
    let lane = &core.lanes[flight.lane];
    let status = answer.status;
    alarm.linger(answer.head_us + REFUSAL_US);
    let mut text = Vec::new();
    loop {
        let mut last_read = None;
        let mut take = |t: u64, bytes: &[u8]| {
            last_read = Some(t);
            text.extend_from_slice(bytes);
        };
        let read = poll_fn(|cx| answer.poll_read(cx, &core.scratch, core.clock, &mut take));
        match alarm.guard(read).await {
            Ok(Ok(ended)) => {
                if let Some(t) = last_read {
                    alarm.read(t);
                }
                if ended {
                    lane.pool.take_back(answer);
                    break;
                }
                if text.len() > ERROR_BODY {
                    break;
                }
            }
            // The status stands, whatever became of the words.
            Ok(Err(_)) | Err(_) => break,
        }
    }
    flight.record.bytes += text.len() as u64;
    let text = lane.secrets.hide_in_body(text);
    keep_body(flight, &text);
    let (class, words) = provider::http_error(status, &text);
    flight.fail(core.clock.now_us(), Failure::new(Outcome::HttpError, class, Some(words)));
}

/// Keep the beginning of a refusal's body: of one of the first arrivals, or of the first refusals.
fn keep_body(flight: &mut Flight, body: &[u8]) {
    let left = &flight.core.lanes[flight.lane].keep_bodies;
    if flight.kept.is_none() && left.get() > 0 {
        left.set(left.get() - 1);
        flight.kept = Some(Box::default());
    }
    if let Some(kept) = &mut flight.kept {
        kept.body = Some(Excerpt::of(&String::from_utf8_lossy(body), BODY_CHARS));
    }
}

/// Bytes to content chunks.
struct Reader {
    /// The body is one document.
    whole: bool,
    framer: Framer,
    decoder: Box<dyn Decoder>,
    broken: Option<String>,
}

impl Reader {
    fn take(&mut self, flight: &mut Flight, bytes: &[u8], t: u64) {
        let Self { framer, decoder, broken, .. } = self;
        let cut = framer.push(bytes, |payload| {
            if broken.is_some() || flight.is_cut() {
                return;
            }
            match decoder.frame(payload) {
                Ok(delta) if delta.content => flight.chunk(t, delta.visible),
                Ok(_) => {}
                Err(error) => *broken = Some(error.to_string()),
            }
        });
        if let Err(error) = cut {
            broken.get_or_insert(error.to_string());
        }
    }

    /// Keep what has come of an answer that is left early.
    fn keep(&mut self, flight: &mut Flight) {
        if flight.kept.is_some() {
            flight.keep_answer(self.decoder.close().text.as_deref());
        }
    }

    /// What is left at the end of the stream. A payload that can't be read there was cut
    /// off, which the missing end will show; the answer is why it could not. `whole`: the
    /// connection didn't break.
    fn last_frame(&mut self, flight: &mut Flight, t: u64, whole: bool) -> Option<String> {
        let Self { framer, decoder, .. } = self;
        let mut unread = None;
        framer.end(|payload| match decoder.frame(payload) {
            Ok(delta) if delta.content => flight.chunk(t, delta.visible),
            Ok(_) => {}
            Err(error) => unread = Some(error.to_string()),
        });
        if whole {
            let delta = decoder.ended();
            if delta.content {
                flight.chunk(t, delta.visible);
            }
        }
        unread
    }
}

/// Which limit ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expired {
    FirstToken,
    Stall,
    Total,
}

impl Expired {
    const fn class(self) -> &'static str {
        match self {
            Self::FirstToken => "timeout_first_token",
            Self::Stall => "timeout_stall",
            Self::Total => "timeout_total",
        }
    }
}

/// The time-outs of one request on one timer. A limit that moves away with each read costs
/// an addition; the timer finds out when it fires too early and is set anew.
struct Alarm {
    clock: Clock,
    sleep: Pin<Box<Sleep>>,
    total_at: u64,
    first_token_at: Option<u64>,
    stall_us: Option<u64>,
    /// Last read, once the headers have come.
    last_read: Option<u64>,
}

impl Alarm {
    fn new(clock: Clock, limits: Limits, sent: u64) -> Self {
        let total_at = sent.saturating_add(limits.total);
        let first_token_at = limits.first_token.map(|l| sent.saturating_add(l));
        let due = first_token_at.map_or(total_at, |f| f.min(total_at));
        Self {
            clock,
            sleep: Box::pin(tokio::time::sleep_until(clock.instant(due))),
            total_at,
            first_token_at,
            stall_us: limits.stall,
            last_read: None,
        }
    }

    fn due(&self) -> (u64, Expired) {
        let mut due = (self.total_at, Expired::Total);
        // While the first token has a limit of its own, a long prefill is not a stall.
        if let (Some(limit), Some(last), None) = (self.stall_us, self.last_read, self.first_token_at)
            && last.saturating_add(limit) < due.0
        {
            due = (last + limit, Expired::Stall);
        }
        if let Some(t) = self.first_token_at
            && t < due.0
        {
            due = (t, Expired::FirstToken);
        }
        due
    }

    /// The headers have come: gaps count from now.
    fn reading(&mut self, t: u64) {
        self.last_read = Some(t);
        if self.stall_us.is_some() {
            self.rearm();
        }
    }

    fn read(&mut self, t: u64) {
        self.last_read = Some(t);
    }

    fn first_content(&mut self) {
        if self.first_token_at.take().is_some() && self.stall_us.is_some() {
            self.rearm();
        }
    }

    /// Which limit had run out when a read returned at `t`.
    fn over(&self, t: u64) -> Option<Expired> {
        let (due, expired) = self.due();
        (t >= due).then_some(expired)
    }

    /// The answer is whole; wait no longer than `until` for the end of the stream.
    fn linger(&mut self, until: u64) {
        if until < self.total_at {
            self.total_at = until;
            self.rearm();
        }
    }

    fn rearm(&mut self) {
        let at = self.clock.instant(self.due().0);
        self.sleep.as_mut().reset(at);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Expired> {
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            let (due, expired) = self.due();
            if self.clock.now_us() >= due {
                return Poll::Ready(expired);
            }
            // At least a step of the runtime's wheel on, so that rounding can't spin here.
            let at = self.clock.instant(due);
            self.sleep.as_mut().reset(at + std::time::Duration::from_micros(1));
        }
    }

    /// `future`, unless a limit runs out before.
    async fn guard<F: Future>(&mut self, future: F) -> Result<F::Output, Expired> {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll(cx).map(Err),
        })
        .await
    }
}
