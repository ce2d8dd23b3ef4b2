//! The body of an answer: whole, or a stream of chunks that follows the engine.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::config::Config;
use super::conn::Conn;
use super::driver::Notice;
use super::engine::{Event, Finish};
use super::faults::Fault;
use super::flight::Flight;
use super::request::Ask;
use super::source::{Source, note};
use super::tokens::{mix, unit, word};
use super::truth::TruthOutcome;
use super::wire::{Account, Frames, Text};

/// An answer's body.
pub(super) enum Answer {
    Whole(Whole),
    Stream(Box<Stream>),
}

/// A body that is known from the start.
pub(super) struct Whole {
    pub bytes: Option<Bytes>,
    /// The connection whose record ends with these bytes, and the tokens they hold.
    pub record: Option<(Arc<Conn>, u32)>,
}

impl Answer {
    pub fn of(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Whole { bytes: Some(bytes.into()), record: None })
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Whole(whole) => {
                let Some(bytes) = whole.bytes.take() else { return Poll::Ready(None) };
                if let Some((conn, tokens)) = whole.record.take() {
                    if tokens > 0 {
                        conn.token(tokens);
                    }
                    conn.end();
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Stream(stream) => stream.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.bytes.is_none(),
            Self::Stream(stream) => stream.ended && stream.queue.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => SizeHint::with_exact(whole.bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// What the socket is to be given next.
enum Piece {
    Bytes {
        bytes: Bytes,
        /// Tokens whose text ends here.
        tokens: u32,
        /// Nothing follows.
        end: bool,
    },
    Pause(Duration),
    Reset,
}

/// A streamed answer.
pub(super) struct Stream {
    source: Source,
    flight: Flight,
    frames: Box<dyn Frames>,
    ask_key: u64,
    account: Account,
    reasoning: u32,
    fault: Option<(Fault, u32)>,
    /// Text that no chunk bears yet, and its tokens.
    held: String,
    held_tokens: u32,
    queue: VecDeque<Piece>,
    frame_number: u64,
    pause: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

impl Stream {
    pub fn new(
        flight: Flight,
        source: Source,
        frames: Box<dyn Frames>,
        ask: &Ask,
        account: Account,
        fault: Option<(Fault, u32)>,
    ) -> Self {
        let reasoning = flight.config().reasoning_tokens.filter(|_| ask.thinks).unwrap_or(0);
        Self {
            source,
            frames,
            ask_key: ask.key(),
            account,
            reasoning,
            fault,
            held: String::new(),
            held_tokens: 0,
            queue: VecDeque::new(),
            frame_number: 0,
            pause: None,
            ended: false,
            flight,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match self.queue.pop_front() {
                Some(Piece::Bytes { bytes, tokens, end }) => {
                    if tokens > 0 {
                        self.flight.conn().token(tokens);
                    }
                    if end {
                        self.flight.conn().end();
                        self.flight.done();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Piece::Pause(time)) => self.pause = Some(Box::pin(sleep(time))),
                Some(Piece::Reset) => {
                    self.flight.conn().give_up(TruthOutcome::Fault(Fault::ResetMid));
                    self.flight.conn().reset();
                    self.flight.done();
                    return Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())));
                }
                None if self.ended => return Poll::Ready(None),
                None => match ready!(self.source.poll(cx)) {
                    Some(notice) => self.hear(notice),
                    None => return Poll::Ready(Some(Err(io::ErrorKind::BrokenPipe.into()))),
                },
            }
        }
    }

    fn hear(&mut self, notice: Notice) {
        let Notice::Engine(event, at_ns) = notice else { return };
        note(self.flight.conn(), &event, at_ns, &mut self.account);
        if let Event::Token { n, finish, .. } = event {
            if finish.is_some() {
                self.flight.computed();
            }
            if !self.ended {
                self.token(n, finish);
            }
        }
    }

    fn token(&mut self, n: u32, finish: Option<Finish>) {
        if n == 1 {
            let mut first = Vec::new();
            self.frames.open(&self.account, &mut first);
            self.push_all(first);
        }
        self.account.usage.output = n;
        self.held.push_str(if n > 1 { " " } else { "" });
        self.held.push_str(word(self.ask_key, n - 1));
        self.held_tokens += 1;
        let strikes = self.fault.filter(|(_, after)| *after == n).map(|(fault, _)| fault);
        let config = self.flight.config();
        // The last token before the visible content ends its chunk.
        let must = finish.is_some() || strikes.is_some() || n == self.reasoning;
        if !must {
            if unit(mix(self.ask_key) ^ u64::from(n)) < config.empty_chunks.0 {
                let at = n - self.held_tokens;
                let text = Text { text: "", reasoning: n <= self.reasoning, from: at, to: at };
                let empty = self.frames.text(text, None, &self.account);
                return self.push(empty, 0);
            }
            if self.held_tokens < config.tokens_per_chunk {
                return;
            }
        }
        self.flush(n, finish.filter(|_| strikes.is_none() || !self.ends_early()));
        match strikes {
            Some(fault) => self.strike(fault, finish),
            None => self.close(finish),
        }
    }

    /// Whether the fault ends the stream where it strikes.
    fn ends_early(&self) -> bool {
        matches!(self.fault, Some((Fault::NoEnd | Fault::ErrorObject | Fault::ResetMid, _)))
    }

    /// A chunk with all that is held.
    fn flush(&mut self, n: u32, finish: Option<Finish>) {
        let tokens = std::mem::take(&mut self.held_tokens);
        let text = Text { text: &self.held, reasoning: n <= self.reasoning, from: n - tokens, to: n };
        let chunk = self.frames.text(text, finish, &self.account);
        self.held.clear();
        self.push(chunk, tokens);
    }

    /// After the last token: what the API has to say at the end.
    fn close(&mut self, finish: Option<Finish>) {
        let Some(finish) = finish else { return };
        let mut last = Vec::new();
        self.frames.close(finish, &self.account, &mut last);
        self.push_all(last);
        let outcome = self.fault.map_or(TruthOutcome::Ok, |(fault, _)| TruthOutcome::Fault(fault));
        self.end(outcome);
    }

    fn push_all(&mut self, frames: Vec<Bytes>) {
        for frame in frames {
            self.push(frame, 0);
        }
    }

    fn end(&mut self, outcome: TruthOutcome) {
        self.ended = true;
        let conn = self.flight.conn();
        conn.note(|record| record.outcome = outcome);
        if self.flight.config().close_after_stream {
            conn.close_after();
        }
        if let Some(Piece::Bytes { end, .. }) = self.queue.back_mut() {
            *end = true;
        }
    }

    fn strike(&mut self, fault: Fault, finish: Option<Finish>) {
        match fault {
            Fault::ResetMid => {
                self.queue.push_back(Piece::Reset);
                self.ended = true;
            }
            Fault::NoEnd => self.end(TruthOutcome::Fault(fault)),
            Fault::ErrorObject => {
                let mut error = Vec::new();
                self.frames.error(BROKEN, &mut error);
                self.push_all(error);
                self.end(TruthOutcome::Fault(fault));
            }
            Fault::Garbage => {
                self.flight.conn().note(|r| r.outcome = TruthOutcome::Fault(fault));
                let garbage = self.frames.garbage();
                self.push(garbage, 0);
                self.close(finish);
            }
            Fault::Stall => {
                // Named now: few clients stay until a stall is over.
                self.flight.conn().note(|r| r.outcome = TruthOutcome::Fault(fault));
                self.queue.push_back(Piece::Pause(self.flight.config().fault_stall_time));
                self.close(finish);
            }
            // These strike before a stream begins.
            Fault::Status429
            | Fault::Status500
            | Fault::Status503
            | Fault::Status400
            | Fault::ContextLength
            | Fault::Reset => self.close(finish),
        }
    }

    /// Queue a frame, perhaps after a comment, perhaps in pieces.
    fn push(&mut self, bytes: Bytes, tokens: u32) {
        self.frame_number += 1;
        let (comments, split, gap) = {
            let c: &Config = self.flight.config();
            (c.comments.0, c.split_frames.0, c.split_gap)
        };
        if comments == 0.0 && split == 0.0 {
            return self.queue.push_back(Piece::Bytes { bytes, tokens, end: false });
        }
        let u = |salt: u64| unit(mix(self.ask_key ^ salt) ^ self.frame_number);
        let with_comment = u(0xc0) < comments;
        let cuts = (u(0xc1) < split && bytes.len() >= 3).then(|| {
            let first = 1 + (u(0xc2) * (bytes.len() - 2) as f64) as usize;
            (first, first + 1 + (u(0xc3) * (bytes.len() - first - 1) as f64) as usize)
        });
        if let Some(bytes) = self.frames.comment().filter(|_| with_comment) {
            self.queue.push_back(Piece::Bytes { bytes, tokens: 0, end: false });
        }
        let mut from = 0;
        if let Some((first, second)) = cuts {
            for cut in [first, second.min(bytes.len() - 1)] {
                if cut > from {
                    self.queue.push_back(Piece::Bytes {
                        bytes: bytes.slice(from..cut),
                        tokens: 0,
                        end: false,
                    });
                    self.queue.push_back(Piece::Pause(gap));
                    from = cut;
                }
            }
        }
        self.queue.push_back(Piece::Bytes { bytes: bytes.slice(from..), tokens, end: false });
    }
}

/// What an engine says that broke on purpose.
pub(super) const BROKEN: &str = "EngineCore encountered an issue (injected fault).";
