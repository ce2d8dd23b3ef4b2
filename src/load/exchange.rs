//! One request and its answer: sent, awaited under four time-outs, stamped as its bytes come.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::Body as _;
use tokio::time::Sleep;

use super::client::Failure;
use super::clock::Clock;
use super::feed::Prepared;
use super::flight::{Flight, Limits};
use crate::provider::framing::Framer;
use crate::provider::{self, Closing, Decoder};
use crate::record::Outcome;

/// How long the end of the stream is awaited after the answer's own end marker, so that the
/// connection can be kept.
const LINGER_US: u64 = 100_000;

/// Body of an error answer that is read, in bytes.
const ERROR_BODY: usize = 64 << 10;

/// Send it, read the answer to its end, and write everything into `flight`.
pub(super) async fn perform(flight: &mut Flight, prepared: Prepared) {
    let sent = flight.sent();
    let mut alarm = Alarm::new(flight.core.clock, flight.core.limits, sent);
    match respond(flight, &mut alarm, prepared).await {
        Ok(Ok(response)) => {
            flight.record.headers_us = Some(flight.core.clock.now_us());
            flight.record.status = Some(response.status().as_u16());
            alarm.reading(flight.core.clock.now_us());
            if response.status().is_success() {
                read_answer(flight, &mut alarm, response).await;
            } else {
                read_refusal(flight, &mut alarm, response).await;
            }
        }
        Ok(Err(failure)) => {
            let t = flight.core.clock.now_us();
            flight.fail(t, failure);
        }
        Err(expired) => expire(flight, expired),
    }
}

/// Until the headers. A kept-alive connection that the server has closed meanwhile is no
/// fault of the server's: as long as no byte of an answer came, ask again at once, on a
/// fresh connection, which then has no such excuse.
///
/// The pool doesn't say which connection a failed request went out on. Before any was kept
/// it was surely a fresh one; afterwards a fresh one that dies unanswered is excused like a
/// kept one, once, and counted.
async fn respond(
    flight: &mut Flight,
    alarm: &mut Alarm,
    prepared: Prepared,
) -> Result<Result<reqwest::Response, Failure>, Expired> {
    let core = Rc::clone(&flight.core);
    let kept_alive = core.kept_alive.get();
    let failure = match alarm.guard(core.pooled.execute(prepared.request)).await? {
        Ok(response) => return Ok(Ok(response)),
        Err(error) => Failure::before_headers(&error),
    };
    let Some(spare) = prepared.spare.filter(|_| kept_alive && failure.unanswered) else {
        return Ok(Err(failure));
    };
    flight.record.retries += 1;
    let again = alarm.guard(core.fresh.execute(spare)).await?;
    Ok(again.map_err(|error| Failure::before_headers(&error)))
}

fn expire(flight: &mut Flight, expired: Expired) {
    let t = flight.core.clock.now_us();
    flight.fail(t, Failure::new(Outcome::Timeout, expired.class(), None));
}

/// Read a 2xx answer.
async fn read_answer(flight: &mut Flight, alarm: &mut Alarm, response: reqwest::Response) {
    let core = Rc::clone(&flight.core);
    let keeps = stays_open(&response);
    let mut reader = Reader {
        framer: Framer::new(core.provider.framing(core.stream)),
        decoder: core.provider.decoder(core.stream, core.keep_text.get()),
        broken: None,
    };
    let mut body = reqwest::Body::from(response);
    let mut last_read = core.clock.now_us();
    let mut end = last_read;
    let mut failure = None;
    loop {
        match alarm.guard(next_bytes(&mut body)).await {
            Ok(Some(Ok(bytes))) => {
                // The stamp comes before any parsing.
                last_read = core.clock.now_us();
                end = last_read;
                alarm.read(last_read);
                flight.record.bytes += bytes.len() as u64;
                reader.take(flight, &bytes, last_read);
                if flight.record.chunks > 0 {
                    alarm.first_content();
                }
                if reader.broken.is_some() {
                    break;
                }
                if reader.decoder.done() {
                    alarm.linger(last_read + LINGER_US);
                }
            }
            Ok(None) => {
                core.kept_alive.set(core.kept_alive.get() || keeps);
                end = core.clock.now_us();
                break;
            }
            Ok(Some(Err(error))) => {
                end = core.clock.now_us();
                failure = Some(Failure::in_body(&error));
                break;
            }
            // All was said; only the connection could not be kept.
            Err(_) if reader.decoder.done() => break,
            Err(expired) => {
                flight.close(reader.decoder.close());
                return expire(flight, expired);
            }
        }
    }
    if reader.broken.is_none() {
        reader.last_frame(flight, last_read);
    }
    let mut closing = reader.decoder.close();
    let fault = judge(&mut closing, reader.broken, failure);
    flight.close(closing);
    match fault {
        Some(fault) => flight.fail(end, fault),
        None => flight.end(end, Outcome::Ok),
    }
}

/// What was wrong with an answer, if anything.
fn judge(closing: &mut Closing, broken: Option<String>, failure: Option<Failure>) -> Option<Failure> {
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
    Some(failure.unwrap_or(Failure::new(Outcome::Truncated, "truncated", None)))
}

/// Read an answer with a status other than 2xx, for its words and to keep the connection.
async fn read_refusal(flight: &mut Flight, alarm: &mut Alarm, response: reqwest::Response) {
    let core = Rc::clone(&flight.core);
    let status = response.status().as_u16();
    let keeps = stays_open(&response);
    let mut body = reqwest::Body::from(response);
    let mut text = Vec::new();
    loop {
        match alarm.guard(next_bytes(&mut body)).await {
            Ok(Some(Ok(bytes))) => {
                alarm.read(core.clock.now_us());
                flight.record.bytes += bytes.len() as u64;
                text.extend_from_slice(&bytes);
                if text.len() > ERROR_BODY {
                    break;
                }
            }
            Ok(None) => {
                core.kept_alive.set(core.kept_alive.get() || keeps);
                break;
            }
            // The status stands, whatever became of the words.
            Ok(Some(Err(_))) | Err(_) => break,
        }
    }
    let (class, words) = provider::http_error(status, &core.secrets.hide_in_body(text));
    flight.fail(core.clock.now_us(), Failure::new(Outcome::HttpError, class, Some(words)));
}

/// Whether the connection goes back to the pool once the body is read.
fn stays_open(response: &reqwest::Response) -> bool {
    let closes = response.headers().get(reqwest::header::CONNECTION);
    !closes.is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"close"))
        && response.version() != reqwest::Version::HTTP_10
}

/// Bytes of the body as they come; `None` at its end.
async fn next_bytes(body: &mut reqwest::Body) -> Option<Result<Bytes, reqwest::Error>> {
    poll_fn(|cx| {
        loop {
            return Poll::Ready(match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => Some(Ok(data)),
                    // Trailers hold nothing that is measured.
                    Err(_) => continue,
                },
                Some(Err(error)) => Some(Err(error)),
                None => None,
            });
        }
    })
    .await
}

/// Bytes to content chunks.
struct Reader {
    framer: Framer,
    decoder: Box<dyn Decoder>,
    broken: Option<String>,
}

impl Reader {
    fn take(&mut self, flight: &mut Flight, bytes: &[u8], t: u64) {
        let Self { framer, decoder, broken } = self;
        let cut = framer.push(bytes, |payload| {
            if broken.is_some() {
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

    /// What is left at the end of the stream. A payload that can't be read there was cut
    /// off, which the missing end will show.
    fn last_frame(&mut self, flight: &mut Flight, t: u64) {
        let Self { framer, decoder, .. } = self;
        framer.end(|payload| {
            if let Ok(delta) = decoder.frame(payload)
                && delta.content
            {
                flight.chunk(t, delta.visible);
            }
        });
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
        if let (Some(limit), Some(last)) = (self.stall_us, self.last_read)
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
        self.first_token_at = None;
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
