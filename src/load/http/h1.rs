//! One HTTP/1.1 connection: a request out, its answer in, driven by the task that awaits it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::body::BodyDecoder;
use super::head::{self, Head};
use super::io::Io;
use super::{Answer, Body, Scratch};
use crate::load::clock::Clock;
use crate::load::failure::Failure;

/// A connection that bears one request at a time.
pub(crate) struct H1 {
    io: Io,
}

/// An answer whose head has come.
pub(super) struct Reading {
    io: Io,
    decoder: BodyDecoder,
    /// What came of the body together with the head, at `ahead_us`.
    ahead: Vec<u8>,
    ahead_us: u64,
    keeps: bool,
}

impl H1 {
    pub(super) const fn new(io: Io) -> Self {
        Self { io }
    }

    /// See [`Io::is_quiet`].
    pub(super) fn is_quiet(&mut self) -> bool {
        self.io.is_quiet()
    }

    pub(super) async fn ask(
        mut self,
        request: Bytes,
        scratch: &Scratch,
        clock: Clock,
    ) -> Result<Answer, Failure> {
        let mut sending = Sending { left: request, flushed: false, failed: None };
        let mut begun = Vec::new();
        let (head, ahead, at) = poll_fn(|cx| {
            let pending = sending.poll(&mut self.io, cx).is_pending();
            let answer = poll_head(&mut self.io, cx, scratch, clock, &mut begun);
            match (answer, sending.failed.take()) {
                // A server may refuse with good words and hang up on the rest of the request.
                (Poll::Ready(Ok(answer)), _) => Poll::Ready(Ok(answer)),
                (_, Some(error)) => Poll::Ready(Err(Failure::before_head(Some(&error), !begun.is_empty()))),
                (Poll::Ready(Err(failure)), None) => Poll::Ready(Err(failure)),
                (Poll::Pending, None) => {
                    debug_assert!(pending || sending.flushed, "someone will wake this task");
                    Poll::Pending
                }
            }
        })
        .await?;
        // An answer that came before the whole request was out leaves nothing to build on.
        let keeps = head.keeps && sending.flushed;
        let body = Reading { io: self.io, decoder: head.body, ahead, ahead_us: at, keeps };
        Ok(Answer { status: head.status, head_us: at, coding: head.coding, body: Body::H1(body) })
    }
}

/// A request on its way out.
struct Sending {
    left: Bytes,
    flushed: bool,
    failed: Option<io::Error>,
}

impl Sending {
    fn poll(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<()> {
        while !self.left.is_empty() {
            match ready!(Pin::new(&mut *io).poll_write(cx, &self.left)) {
                Ok(0) => {
                    self.failed = Some(io::ErrorKind::WriteZero.into());
                    return Poll::Ready(());
                }
                Ok(n) => self.left.advance(n),
                Err(error) => {
                    self.failed = Some(error);
                    return Poll::Ready(());
                }
            }
        }
        if !self.flushed {
            match ready!(Pin::new(io).poll_flush(cx)) {
                Ok(()) => self.flushed = true,
                Err(error) => self.failed = Some(error),
            }
        }
        Poll::Ready(())
    }
}

type HeadRead = (Head, Vec<u8>, u64);

/// Read until the head is whole. `begun` holds what came of it in earlier reads.
fn poll_head(
    io: &mut Io,
    cx: &mut Context<'_>,
    scratch: &Scratch,
    clock: Clock,
    begun: &mut Vec<u8>,
) -> Poll<Result<HeadRead, Failure>> {
    let mut scratch = scratch.0.borrow_mut();
    loop {
        let mut buffer = ReadBuf::new(&mut scratch);
        if let Err(error) = ready!(Pin::new(&mut *io).poll_read(cx, &mut buffer)) {
            return Poll::Ready(Err(Failure::before_head(Some(&error), !begun.is_empty())));
        }
        let at = clock.now_us();
        let read = buffer.filled();
        if read.is_empty() {
            return Poll::Ready(Err(Failure::before_head(None, !begun.is_empty())));
        }
        let bytes: &[u8] = if begun.is_empty() {
            read
        } else {
            begun.extend_from_slice(read);
            begun
        };
        match head::parse(bytes) {
            Ok(Some(head)) => {
                let ahead = bytes[head.len..].to_vec();
                return Poll::Ready(Ok((head, ahead, at)));
            }
            Ok(None) if begun.is_empty() => *begun = read.to_vec(),
            Ok(None) => {}
            Err(words) => return Poll::Ready(Err(Failure::malformed(words))),
        }
    }
}

impl Reading {
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &Scratch,
        clock: Clock,
        sink: &mut dyn FnMut(u64, &[u8]),
    ) -> Poll<Result<bool, Failure>> {
        if !self.ahead.is_empty() {
            let ahead = std::mem::take(&mut self.ahead);
            return Poll::Ready(self.take(self.ahead_us, &ahead, sink));
        }
        if self.decoder.done() {
            return Poll::Ready(Ok(true));
        }
        let mut scratch = scratch.0.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch);
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer));
        // The stamp comes before any parsing.
        let at = clock.now_us();
        Poll::Ready(match read {
            Err(error) => Err(Failure::in_body(Some(&error))),
            Ok(()) if !buffer.filled().is_empty() => self.take(at, buffer.filled(), sink),
            Ok(()) if self.decoder.closed() => Ok(true),
            Ok(()) => Err(Failure::in_body(None)),
        })
    }

    fn take(&mut self, at: u64, bytes: &[u8], sink: &mut dyn FnMut(u64, &[u8])) -> Result<bool, Failure> {
        let taken = self
            .decoder
            .take(bytes, |data| sink(at, data))
            .map_err(|malformed| Failure::malformed(malformed.0.to_owned()))?;
        // What comes after the end belongs to no request of ours.
        self.keeps &= taken == bytes.len();
        Ok(self.decoder.done())
    }

    pub(super) fn into_conn(self) -> Option<H1> {
        (self.keeps && self.decoder.done() && self.ahead.is_empty()).then(|| H1::new(self.io))
    }
}
