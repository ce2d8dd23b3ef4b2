//! Requests on sockets: the one part of the client that bytes go through.
//!
//! HTTP/1.1 is spoken here rather than through a client library: what a load generator
//! spends on an event is its own error, and a connection that is driven by the task that
//! waits for it, reads into one buffer of its core, and hands on slices of it, costs least
//! (figures in `docs/performance.md`). It is also known then which connection a request
//! went out on and whether a byte of an answer had come, which is what decides whether it may be
//! asked again. HTTP/2 is hyper's, which reads in a task of its own: there a stamp is taken when
//! the task that awaits the answer is handed a frame, a little after the read.

mod body;
mod dial;
mod h1;
mod h2;
mod head;
mod io;
mod pool;

use std::cell::RefCell;
use std::task::{Context, Poll};

use bytes::Bytes;

pub(super) use dial::Dialer;
pub(super) use h2::STREAMS;
pub(super) use pool::Pool;

use super::clock::Clock;
use super::failure::Failure;

/// A request, whole, as it goes out.
#[derive(Debug, Clone)]
pub(super) enum Outgoing {
    /// Head and body in one piece.
    H1(Bytes),
    H2(Box<hyper::http::request::Parts>, Bytes),
}

/// A connection on which a request can go out now.
pub(super) enum Conn {
    H1(h1::H1),
    H2(h2::Stream),
}

/// Where bytes are read into: one for all connections of a load core, as each read is taken
/// in before the next.
pub(super) struct Scratch(RefCell<Box<[u8]>>);

/// Bytes of one read, at most: some 60 tokens' chunks, by which the system call's cost is
/// spread, and few enough that taking them in delays nobody's stamp by more than some 30 µs.
const SCRATCH: usize = 16 << 10;

impl Scratch {
    pub(super) fn new() -> Self {
        Self(RefCell::new(vec![0; SCRATCH].into_boxed_slice()))
    }
}

/// An answer of which the head has come.
pub(super) struct Answer {
    pub(super) status: u16,
    /// When the read returned that brought the end of the head; for HTTP/2 when it was handed on.
    pub(super) head_us: u64,
    /// By what the body is compressed: nothing can then be read of it.
    pub(super) coding: Option<String>,
    body: Body,
}

enum Body {
    H1(h1::Reading),
    H2(h2::Reading),
}

impl Conn {
    /// Send `request` and await the head of its answer. What fails before a byte of an answer
    /// is marked so.
    pub(super) async fn ask(
        self,
        request: Outgoing,
        scratch: &Scratch,
        clock: Clock,
    ) -> Result<Answer, Failure> {
        match (self, request) {
            (Self::H1(conn), Outgoing::H1(bytes)) => conn.ask(bytes, scratch, clock).await,
            (Self::H2(stream), Outgoing::H2(parts, body)) => stream.ask(*parts, body, clock).await,
            _ => unreachable!("requests are made for the version that the target is spoken to with"),
        }
    }
}

impl Answer {
    /// Await the next bytes of the body and hand them to `sink` with the time at which their
    /// read returned, taken before anything is done with them (for HTTP/2, with the time at which
    /// hyper handed them on). `true`: that was the end.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &Scratch,
        clock: Clock,
        sink: &mut dyn FnMut(u64, &[u8]),
    ) -> Poll<Result<bool, Failure>> {
        match &mut self.body {
            Body::H1(reading) => reading.poll_read(cx, scratch, clock, sink),
            Body::H2(reading) => reading.poll_read(cx, clock, sink),
        }
    }

    /// The connection, once the body was read to its end and if it can bear another request.
    pub(super) fn into_conn(self) -> Option<h1::H1> {
        match self.body {
            Body::H1(reading) => reading.into_conn(),
            // Its connection never left the pool.
            Body::H2(_) => None,
        }
    }
}
