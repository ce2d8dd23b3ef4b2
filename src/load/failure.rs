//! Why a request came to nothing, in the words of a record.

use std::error::Error;
use std::io::{self, ErrorKind};

use crate::provider::{DETAIL_CHARS, clip};
use crate::record::Outcome;

/// Why a request came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) outcome: Outcome,
    pub(super) class: &'static str,
    pub(super) detail: Option<String>,
    /// The connection went away without an answer's first byte.
    pub(super) unanswered: bool,
}

impl Failure {
    /// `detail` is cut to the length that a record keeps.
    pub(super) fn new(outcome: Outcome, class: &'static str, detail: Option<String>) -> Self {
        let detail = detail.map(|words| clip(&words, DETAIL_CHARS));
        Self { outcome, class, detail, unanswered: false }
    }

    /// No connection could be made.
    pub(super) fn connect(words: String) -> Self {
        Self::new(Outcome::ConnectError, "connect", Some(words))
    }

    /// None was made in time.
    pub(super) fn connect_timeout() -> Self {
        Self::new(Outcome::Timeout, "timeout_connect", None)
    }

    /// What came is not what the protocol has at this place.
    pub(super) fn malformed(words: String) -> Self {
        Self::new(Outcome::BadStream, "bad_stream", Some(words))
    }

    /// The connection broke before the head of an answer was whole; `answered` if some of it
    /// had come. `None`: it ended in good order.
    pub(super) fn before_head(error: Option<&io::Error>, answered: bool) -> Self {
        let words = match error {
            Some(error) => chain(error),
            None => "the connection was closed before an answer came".to_owned(),
        };
        Self { unanswered: !answered, ..Self::new(Outcome::Reset, "reset", Some(words)) }
    }

    /// The connection broke in the body. `None`: it ended in good order, but too early.
    pub(super) fn in_body(error: Option<&io::Error>) -> Self {
        match error {
            // TLS tells so of a connection that ended without its last word.
            Some(e) if e.kind() == ErrorKind::UnexpectedEof => Self::cut_off(chain(e)),
            Some(e) => Self::new(Outcome::Reset, "reset", Some(chain(e))),
            None => Self::cut_off("the connection was closed before the answer's end".to_owned()),
        }
    }

    fn cut_off(words: String) -> Self {
        Self::new(Outcome::Truncated, "truncated", Some(words))
    }
}

/// The error and its causes in one line.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut words: Vec<String> = Vec::new();
    for cause in std::iter::successors(Some(error), |&e| e.source()) {
        let text = cause.to_string();
        // Wrappers that repeat what they wrap say nothing new.
        if words.last().is_none_or(|last| !last.contains(&text)) {
            words.push(text);
        }
    }
    words.join(": ")
}
