//! What an answer consists of, whatever API it is given in: its counts and times, the pieces
//! of its text, and the two faces that every API gives it: a [`Form`] for the whole and
//! [`Frames`] for a stream.

use bytes::{Bytes, BytesMut};
use hyper::HeaderMap;

use super::config::{Config, LineEnd};
use super::engine::Finish;
use super::request::Ask;

pub(super) const EVENT_STREAM: &str = "text/event-stream; charset=utf-8";

/// Token counts of one answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub prompt: u32,
    pub output: u32,
    pub cached: u32,
}

/// What has been counted and timed of one answer so far. Times are those of
/// [`super::clock::now_ns`]; 0 is what has not happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Account {
    pub usage: Usage,
    pub arrival_ns: u64,
    pub admitted_ns: u64,
    pub first_ns: u64,
    pub last_ns: u64,
}

impl Account {
    pub fn new(prompt: u32, arrival_ns: u64) -> Self {
        Self { usage: Usage { prompt, ..Usage::default() }, arrival_ns, ..Self::default() }
    }

    /// Arrival to first token.
    pub const fn ttft_ns(&self) -> u64 {
        self.first_ns.saturating_sub(self.arrival_ns)
    }

    /// Admission to first token.
    pub const fn prefill_ns(&self) -> u64 {
        self.first_ns.saturating_sub(self.admitted_ns)
    }

    /// First to last token.
    pub const fn decode_ns(&self) -> u64 {
        self.last_ns.saturating_sub(self.first_ns)
    }

    /// Arrival to last token.
    pub const fn total_ns(&self) -> u64 {
        self.last_ns.saturating_sub(self.arrival_ns)
    }
}

/// A piece of an answer's text. Its words are plain letters: nothing to escape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Text<'a> {
    pub text: &'a str,
    pub reasoning: bool,
    /// The answer's tokens that it is made of: from this one (counted from 0) up to, and
    /// without, that one.
    pub from: u32,
    pub to: u32,
}

/// One API's way of giving one answer.
pub(super) trait Form: Send + Sync {
    /// The whole of it, not streamed.
    fn whole(&self, config: &Config, ask: &Ask, account: &Account) -> String;

    /// How it is streamed; `None` where the API doesn't stream.
    fn frames(&self, _config: &Config) -> Option<Box<dyn Frames>> {
        None
    }

    /// Content type of a stream.
    fn stream_type(&self) -> &'static str {
        EVENT_STREAM
    }

    /// Headers of a whole answer.
    fn headers(&self, _account: &Account, _headers: &mut HeaderMap) {}
}

/// How the chunks of one streamed answer are written.
pub(super) trait Frames: Send {
    /// What goes before the first text.
    fn open(&mut self, _account: &Account, _out: &mut Vec<Bytes>) {}

    /// A chunk with text, empty or not. `finish` comes with the last one.
    fn text(&mut self, text: Text<'_>, finish: Option<Finish>, account: &Account) -> Bytes;

    /// What goes after the last text.
    fn close(&mut self, finish: Finish, account: &Account, out: &mut Vec<Bytes>);

    /// An error in the middle of the stream, and what follows it.
    fn error(&mut self, message: &str, out: &mut Vec<Bytes>);

    /// A frame whose payload is cut short.
    fn garbage(&self) -> Bytes;

    /// Something that says nothing; `None` where the framing knows no such thing.
    fn comment(&self) -> Option<Bytes>;
}

/// Server-sent events.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sse {
    field: &'static str,
    pub end: &'static str,
}

impl Sse {
    pub const fn new(config: &Config) -> Self {
        let end = match config.line_end {
            LineEnd::Lf => "\n",
            LineEnd::Crlf => "\r\n",
            LineEnd::Cr => "\r",
        };
        Self { field: "data: ", end }
    }

    /// Without the optional blank after the colon.
    pub const fn tight(config: &Config) -> Self {
        Self { field: "data:", ..Self::new(config) }
    }

    pub fn frame(self, payload: &str) -> Bytes {
        [self.field, payload, self.end, self.end].concat().into()
    }

    /// A frame with a name.
    pub fn event(self, name: &str, payload: &str) -> Bytes {
        ["event: ", name, self.end, self.field, payload, self.end, self.end].concat().into()
    }

    pub fn comment(self) -> Bytes {
        format!(": ping{0}{0}", self.end).into()
    }

    /// The frame of a payload that holds [`MARK`], to be filled with words.
    pub fn template(self, payload: &str) -> Template {
        Template::new(&[self.field, payload, self.end, self.end].concat())
    }
}

/// Stands for a chunk's words while what is around them is made; no document holds it.
pub(super) const MARK: &str = "\u{1}";

/// Bytes in a stream's first allocation for chunks, and in the largest: each is twice the
/// one before, so that short answers cost little memory and long ones little time.
const ROOM: std::ops::RangeInclusive<usize> = 2 * 1024..=64 * 1024;

/// A chunk of which all but the words is the same throughout a stream.
#[derive(Debug, Default)]
pub(super) struct Template {
    before: String,
    after: String,
    /// Room for the chunks to come: they share an allocation.
    room: BytesMut,
    allocated: usize,
}

impl Template {
    /// From a sample whose words are [`MARK`].
    pub fn new(sample: &str) -> Self {
        let (before, after) = sample.split_once(MARK).unwrap_or((sample, ""));
        Self { before: before.to_owned(), after: after.to_owned(), ..Self::default() }
    }

    pub fn fill(&mut self, text: &str) -> Bytes {
        let length = self.before.len() + text.len() + self.after.len();
        if self.room.capacity() < length {
            self.allocated = (self.allocated * 2).clamp(*ROOM.start(), *ROOM.end());
            self.room = BytesMut::with_capacity(self.allocated.max(length));
        }
        self.room.extend_from_slice(self.before.as_bytes());
        self.room.extend_from_slice(text.as_bytes());
        self.room.extend_from_slice(self.after.as_bytes());
        self.room.split().freeze()
    }
}

/// Seconds, of nanoseconds.
pub(super) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
