//! Answers of the page's server.

use std::convert::Infallible;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use tokio::sync::mpsc;

/// The body of an answer: whole, or as it comes.
pub(super) enum Content {
    Whole(Option<Bytes>),
    Coming(mpsc::Receiver<Bytes>),
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Coming(coming) => coming.poll_recv(cx).map(|bytes| bytes.map(|b| Ok(Frame::data(b)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Self::Coming(_) => SizeHint::default(),
        }
    }
}

pub(super) type Reply = Response<Content>;

/// What the page itself may do: nothing but talk to this server. Plotly writes style elements.
const OWN: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; \
                   img-src 'self' data: blob:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// What a report may do: draw. It can't talk to this server, whatever texts a run brought into it.
const REPORT: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                      img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// An answer of this type.
pub(super) fn whole(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    with(status, kind, Content::Whole(Some(body.into())), OWN)
}

fn with(status: StatusCode, kind: &'static str, content: Content, policy: &'static str) -> Reply {
    let mut reply = Response::new(content);
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    reply
}

pub(super) fn html(text: String) -> Reply {
    whole(StatusCode::OK, "text/html; charset=utf-8", text)
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    match serde_json::to_vec(value) {
        Ok(bytes) => whole(status, "application/json", bytes),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// `{"error": …}`.
pub(super) fn refuse(status: StatusCode, why: &str) -> Reply {
    let text = serde_json::json!({ "error": why }).to_string();
    whole(status, "application/json", text)
}

/// A stream of events.
pub(super) fn events(coming: mpsc::Receiver<Bytes>) -> Reply {
    with(StatusCode::OK, "text/event-stream", Content::Coming(coming), OWN)
}

/// To another place of this server.
pub(super) fn to(place: &str) -> Reply {
    let mut reply = whole(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", "");
    if let Ok(place) = HeaderValue::from_str(place) {
        reply.headers_mut().insert(hyper::header::LOCATION, place);
    }
    reply
}

/// What doesn't change while this process lives.
pub(super) fn lasting(kind: &'static str, text: impl Into<Bytes>) -> Reply {
    let mut reply = whole(StatusCode::OK, kind, text);
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, max-age=3600"));
    reply
}

/// A file of a report: `name` below `dir`, where it is one file's name and nothing else.
pub(super) fn file(dir: &Path, name: &str) -> Reply {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let kind = match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("png") => "image/png",
        Some("json") => "application/json",
        Some("md" | "txt" | "xml") => "text/plain; charset=utf-8",
        _ => return refuse(StatusCode::NOT_FOUND, "there is no such page"),
    };
    if name.starts_with('.') || !name.chars().all(plain) {
        return refuse(StatusCode::NOT_FOUND, "there is no such page");
    }
    match std::fs::read(dir.join(name)) {
        Ok(bytes) => with(StatusCode::OK, kind, Content::Whole(Some(bytes.into())), REPORT),
        Err(_) => refuse(StatusCode::NOT_FOUND, "there is no such file"),
    }
}
