//! What the readers of most APIs share: the account of one answer while its frames come, and a
//! decoder around the one function that reads a frame.

use serde_json::Value;

use super::error::words_of;
use super::openai::undecodable;
use super::{Closing, DecodeError, Decoder, Delta};

/// What is known of an answer so far.
pub(super) struct Account {
    /// The answer is streamed.
    pub stream: bool,
    /// Nothing more need be awaited.
    pub done: bool,
    pub closing: Closing,
    /// The answer's text so far, if it was asked for.
    text: Option<String>,
    /// What the answer may begin with that is not its own.
    pub echo: Option<String>,
}

impl Account {
    pub(super) fn new(stream: bool, keep_text: bool) -> Self {
        let text = keep_text.then(String::new);
        Self { stream, done: false, closing: Closing::default(), text, echo: None }
    }

    /// A piece of the answer.
    pub(super) fn visible(&mut self, text: &str) -> Delta {
        self.keep(text);
        let content = !text.is_empty();
        Delta { content, visible: content }
    }

    /// A piece of its reasoning.
    pub(super) fn hidden(&mut self, text: &str) -> Delta {
        self.keep(text);
        Delta { content: !text.is_empty(), visible: false }
    }

    fn keep(&mut self, text: &str) {
        if let Some(kept) = &mut self.text {
            kept.push_str(text);
        }
    }

    /// The answer is whole, and nothing follows.
    pub(super) fn finish(&mut self) {
        self.done = true;
        self.closing.complete = true;
    }

    /// Why the answer ends. An empty reason is none.
    pub(super) fn finish_reason(&mut self, reason: &str) {
        if !reason.is_empty() {
            self.closing.finish_reason = Some(reason.to_owned());
            self.closing.complete = true;
        }
    }

    /// The whole account, once.
    pub(super) fn close(&mut self) -> Closing {
        let mut closing = std::mem::take(&mut self.closing);
        closing.text = self.text.take();
        closing
    }

    /// The answer is an error, or has become one. A `null` is none.
    pub(super) fn error(&mut self, error: &Value) -> Option<Delta> {
        if error.is_null() {
            return None;
        }
        self.closing.error = Some(words_of(error));
        Some(Delta::default())
    }
}

/// Two pieces of one frame.
pub(super) fn both(a: Delta, b: Delta) -> Delta {
    Delta { content: a.content || b.content, visible: a.visible || b.visible }
}

/// Reads a frame's document into the account.
type Read = fn(&mut Account, &[u8]) -> Result<Delta, DecodeError>;

/// Reads one answer of an API that needs no more than [`Account`] from frame to frame.
pub(super) struct Reader {
    account: Account,
    read: Read,
    /// Streams have no end marker: the end of the body is the end of the answer.
    ends_with_body: bool,
    /// There was a frame, and the last one could be read.
    readable: bool,
}

impl Reader {
    pub(super) fn boxed(stream: bool, keep_text: bool, read: Read) -> Box<dyn Decoder> {
        let account = Account::new(stream, keep_text);
        Box::new(Self { account, read, ends_with_body: false, readable: false })
    }

    /// For an API whose streams have no end marker.
    pub(super) fn without_end(stream: bool, keep_text: bool, read: Read) -> Box<dyn Decoder> {
        let account = Account::new(stream, keep_text);
        Box::new(Self { account, read, ends_with_body: stream, readable: false })
    }
}

impl Decoder for Reader {
    fn frame(&mut self, payload: &[u8]) -> Result<Delta, DecodeError> {
        let payload = payload.trim_ascii();
        if payload.is_empty() {
            return Ok(Delta::default());
        }
        let read = (self.read)(&mut self.account, payload);
        self.readable = read.is_ok();
        read
    }

    fn expect_echo(&mut self, prompt: &str) {
        self.account.echo = Some(prompt.to_owned());
    }

    fn ended(&mut self) -> Delta {
        self.account.closing.complete |= self.ends_with_body && self.readable;
        Delta::default()
    }

    fn done(&self) -> bool {
        self.account.done
    }

    fn close(&mut self) -> Closing {
        self.account.close()
    }
}

/// A frame's document in the fields that matter.
pub(super) fn document<'a, T: serde::Deserialize<'a>>(payload: &'a [u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(payload).map_err(|e| undecodable(&e.to_string(), payload))
}

/// Microseconds from a server's own figure, `per_us` of whose units are one; `None` for what is
/// no time.
pub(super) fn micros(value: f64, per_us: f64) -> Option<u64> {
    (value.is_finite() && value >= 0.0).then(|| (value / per_us).round() as u64)
}
