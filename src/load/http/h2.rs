//! HTTP/2: many requests at once on one connection, which hyper drives in a task of its own.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::header::CONTENT_ENCODING;
use hyper::http::{Request, request::Parts};
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;

use super::io::Io;
use super::{Answer, Body};
use crate::load::clock::Clock;
use crate::load::failure::{Failure, chain};

/// Requests on one connection at once before another is opened: what most servers allow. A server
/// that allows fewer is believed; hyper would keep what is above in a queue of this client's.
pub(in crate::load) const STREAMS: u32 = 100;

/// A connection that others may be using as well.
pub(super) struct Shared {
    sender: SendRequest<Full<Bytes>>,
    streams: Rc<Cell<u32>>,
    /// Requests at once that the server allows, as far as it has told.
    allowed: Rc<Cell<u32>>,
}

/// Room for one request on a connection.
pub(crate) struct Stream {
    sender: SendRequest<Full<Bytes>>,
    place: Place,
}

/// Counts a request on its connection for as long as it is there.
struct Place(Rc<Cell<u32>>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Shared {
    /// Speak HTTP/2 on a fresh connection.
    pub(super) async fn open(io: Io) -> Result<Self, Failure> {
        let core = OnThisCore::default();
        let mut builder = Builder::new(core.clone());
        // Until the server has told how many it allows, none: hyper would take 100 for granted, and
        // keep those above the server's own limit where nobody sees them wait.
        builder.initial_max_send_streams(0);
        let failed = |e: &hyper::Error| Failure::connect(format!("HTTP/2: {}", chain(e)));
        let (sender, connection) = builder.handshake(TokioIo::new(io)).await.map_err(|e| failed(&e))?;
        let allowed = Rc::new(Cell::new(0));
        let (settled, told) = (Rc::new(Notify::new()), Rc::clone(&allowed));
        let settles = Rc::clone(&settled);
        tokio::task::spawn_local(async move {
            let mut connection = pin!(connection);
            let mut ended = false;
            while !ended {
                let mut polled = pin!(core.polled.notified());
                ended = poll_fn(|cx| match connection.as_mut().poll(cx) {
                    // Its errors reach the requests that they strike.
                    Poll::Ready(_) => Poll::Ready(true),
                    Poll::Pending => polled.as_mut().poll(cx).map(|()| false),
                })
                .await;
                told.set(u32::try_from(connection.current_max_send_streams()).unwrap_or(u32::MAX));
                if (ended || told.get() > 0) && !core.settled.replace(true) {
                    settles.notify_one();
                }
            }
        });
        settled.notified().await;
        Ok(Self { sender, streams: Rc::new(Cell::new(0)), allowed })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Room for one more, if there is.
    pub(super) fn stream(&self) -> Option<Stream> {
        if self.streams.get() >= self.allowed.get().min(STREAMS) {
            return None;
        }
        self.streams.set(self.streams.get() + 1);
        Some(Stream { sender: self.sender.clone(), place: Place(Rc::clone(&self.streams)) })
    }
}

/// Runs hyper's own tasks on the load core's thread. They read what the server says; until that
/// includes its limit, whoever waits for it is told each time that they have run.
#[derive(Clone, Default)]
struct OnThisCore {
    polled: Rc<Notify>,
    settled: Rc<Cell<bool>>,
}

impl<F> hyper::rt::Executor<F> for OnThisCore
where
    F: Future + 'static,
{
    fn execute(&self, task: F) {
        let Self { polled, settled } = self.clone();
        tokio::task::spawn_local(async move {
            let mut task = pin!(task);
            poll_fn(|cx| {
                let ended = task.as_mut().poll(cx).map(drop);
                if !settled.get() {
                    polled.notify_one();
                }
                ended
            })
            .await;
        });
    }
}

impl Stream {
    pub(super) async fn ask(mut self, parts: Parts, body: Bytes, clock: Clock) -> Result<Answer, Failure> {
        let request = Request::from_parts(parts, Full::new(body));
        let response = self.sender.send_request(request).await.map_err(|e| before_head(&e))?;
        let head_us = clock.now_us();
        let (parts, body) = response.into_parts();
        let codings = parts.headers.get_all(CONTENT_ENCODING).iter();
        let coding = codings.map(|value| value.as_bytes()).find_map(super::head::compression);
        let reading = Reading { body, _place: self.place };
        Ok(Answer { status: parts.status.as_u16(), head_us, coding, body: Body::H2(reading) })
    }
}

/// An answer that comes on one of a connection's streams.
pub(super) struct Reading {
    body: Incoming,
    _place: Place,
}

impl Reading {
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        clock: Clock,
        sink: &mut dyn FnMut(u64, &[u8]),
    ) -> Poll<Result<bool, Failure>> {
        Poll::Ready(match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => {
                let at = clock.now_us();
                // Trailers hold nothing that is measured.
                if let Ok(data) = frame.into_data() {
                    sink(at, &data);
                }
                Ok(self.body.is_end_stream())
            }
            Some(Err(error)) => Err(in_body(&error)),
            None => Ok(true),
        })
    }
}

/// The cause of this kind, if there is one.
fn cause<E: std::error::Error + 'static>(error: &hyper::Error) -> Option<&E> {
    std::iter::successors(std::error::Error::source(error), |e| e.source()).find_map(|e| e.downcast_ref())
}

/// Whether the server has said that it did not look at the request: it refused the stream, or said
/// goodbye having seen only earlier ones (RFC 9113 §8.7).
fn not_looked_at(error: &::h2::Error) -> bool {
    error.is_remote()
        && (error.is_go_away() || error.is_reset() && error.reason() == Some(::h2::Reason::REFUSED_STREAM))
}

fn before_head(error: &hyper::Error) -> Failure {
    if error.is_parse() {
        return Failure::malformed(chain(error));
    }
    let unanswered = error.is_canceled()
        || error.is_closed()
        || cause::<io::Error>(error).is_some()
        || cause::<::h2::Error>(error).is_some_and(not_looked_at);
    let failure = Failure::before_head(None, !unanswered);
    Failure { detail: Some(chain(error)), ..failure }
}

fn in_body(error: &hyper::Error) -> Failure {
    if error.is_incomplete_message() {
        return Failure::in_body(None);
    }
    let failure = Failure::in_body(Some(&io::Error::other("")));
    Failure { detail: Some(chain(error)), ..failure }
}
