//! The HTTP client of a load core, and what its errors mean.

use std::error::Error as _;
use std::io::ErrorKind;

use crate::experiment::Target;
use crate::provider::{DETAIL_CHARS, clip};
use crate::record::Outcome;

use super::LoadError;

/// A client that keeps every connection alive (`keep`) or none, with nothing that would
/// change a request behind our back: no redirects, no proxy from the environment.
pub(super) fn build(target: &Target, keep: bool) -> Result<reqwest::Client, LoadError> {
    builder(target)?
        .pool_max_idle_per_host(if keep { usize::MAX } else { 0 })
        .pool_idle_timeout(None)
        .build()
        .map_err(|e| LoadError::Client(chain(&e)))
}

fn builder(target: &Target) -> Result<reqwest::ClientBuilder, LoadError> {
    // Fails only when some provider is installed already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .connect_timeout(target.connect_timeout)
        .tcp_nodelay(true)
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .tls_danger_accept_invalid_certs(target.tls.insecure);
    if let Some(path) = &target.tls.ca_file {
        let pem = std::fs::read(path).map_err(|e| LoadError::Client(format!("{}: {e}", path.display())))?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem)
            .map_err(|e| LoadError::Client(format!("{}: {}", path.display(), chain(&e))))?;
        builder = builder.tls_certs_merge(certificates);
    }
    Ok(builder)
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
