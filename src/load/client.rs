//! The HTTP client of a load core, and what its errors mean.

use std::error::Error as _;
use std::io::ErrorKind;

use super::{Job, LoadError};
use crate::provider::{DETAIL_CHARS, clip};
use crate::record::Outcome;
use crate::server::client_builder;

/// A client that keeps every connection alive (`keep`), so that each user has its own, or
/// none.
pub(super) fn build(job: &Job<'_>, keep: bool) -> Result<reqwest::Client, LoadError> {
    client_builder(&job.cell.settings.target, &job.endpoint.base)
        .map_err(|e| LoadError::Client(e.to_string()))?
        .pool_max_idle_per_host(if keep { usize::MAX } else { 0 })
        .pool_idle_timeout(None)
        .build()
        .map_err(|e| LoadError::Client(chain(&e)))
}

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

    /// An error before the answer's headers.
    pub(super) fn before_headers(error: &reqwest::Error) -> Self {
        let (outcome, class) = match () {
            () if error.is_connect() && error.is_timeout() => (Outcome::Timeout, "timeout_connect"),
            () if error.is_connect() => (Outcome::ConnectError, "connect"),
            () if http(error).is_some_and(hyper::Error::is_parse) => (Outcome::BadStream, "bad_stream"),
            () => (Outcome::Reset, "reset"),
        };
        Self { unanswered: outcome == Outcome::Reset, ..Self::new(outcome, class, Some(chain(error))) }
    }

    /// An error in the answer's body: cut off in good order, or broken.
    pub(super) fn in_body(error: &reqwest::Error) -> Self {
        let cut = io_kind(error) == Some(ErrorKind::UnexpectedEof)
            || http(error).is_some_and(hyper::Error::is_incomplete_message);
        let (outcome, class) = match () {
            () if cut => (Outcome::Truncated, "truncated"),
            () if io_kind(error) == Some(ErrorKind::InvalidInput)
                || io_kind(error) == Some(ErrorKind::InvalidData)
                || http(error).is_some_and(hyper::Error::is_parse) =>
            {
                (Outcome::BadStream, "bad_stream")
            }
            () => (Outcome::Reset, "reset"),
        };
        Self::new(outcome, class, Some(chain(error)))
    }
}

/// The error and its causes in one line, without the address, which may hold a secret.
fn chain(error: &reqwest::Error) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut cause: Option<&dyn std::error::Error> = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Wrappers that repeat what they wrap say nothing new.
        if words.last().is_none_or(|last| !last.contains(&text)) {
            words.push(text);
        }
        cause = error.source();
    }
    if words.is_empty() {
        words.push("the HTTP client gave no reason".to_owned());
    }
    words.join(": ")
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |&e| e.source())
}

fn http(error: &reqwest::Error) -> Option<&hyper::Error> {
    causes(error).find_map(|e| e.downcast_ref())
}

fn io_kind(error: &reqwest::Error) -> Option<ErrorKind> {
    causes(error).filter_map(|e| e.downcast_ref::<std::io::Error>()).last().map(std::io::Error::kind)
}
