//! The connections of a load core: those that wait for their next request, and how many of
//! them turned out dead.

use std::cell::{Cell, RefCell};

use tokio::sync::Mutex;

use super::h1::H1;
use super::{Answer, Conn, Dialer, h2};
use crate::experiment::HttpVersion;
use crate::load::failure::Failure;

/// Dead connections that prove nothing yet: any server closes one that was idle for long.
const DIED_FEW: u64 = 3;
/// Of this many kept connections at most one may be dead, else keeping them costs more than
/// opening new ones.
const KEPT_PER_DEAD: u64 = 100;

/// A load core's connections. They are its own: no other core sees them.
pub(crate) struct Pool {
    dialer: Dialer,
    /// The one used last is taken first.
    idle: RefCell<Vec<H1>>,
    shared: RefCell<Vec<h2::Shared>>,
    /// One at a time opens a connection that many will use.
    opening: Mutex<()>,
    /// Answers that left their connection here.
    kept: Cell<u64>,
    /// Kept connections that were found closed, or died without a byte of an answer.
    died: Cell<u64>,
}

impl Pool {
    pub(crate) fn new(dialer: Dialer) -> Self {
        Self {
            dialer,
            idle: RefCell::default(),
            shared: RefCell::default(),
            opening: Mutex::new(()),
            kept: Cell::new(0),
            died: Cell::new(0),
        }
    }

    /// Whether connections are worth keeping. Some servers promise to keep them and close
    /// each after its answer; a request that runs into that is sent twice, and the time of
    /// the first try would be in its latency as if the server had taken it. Once found out,
    /// every request opens its own: nothing is kept any more that could change the verdict.
    fn keeps(&self) -> bool {
        let worth = self.died.get() < DIED_FEW || self.died.get() * KEPT_PER_DEAD < self.kept.get();
        self.dialer.keep_alive() && worth
    }

    /// A connection that has borne requests before, if there is one.
    pub(crate) fn kept(&self) -> Option<Conn> {
        if self.dialer.version() == HttpVersion::Http2 {
            let mut shared = self.shared.borrow_mut();
            shared.retain(|connection| !connection.is_closed());
            return shared.iter().find_map(h2::Shared::stream).map(Conn::H2);
        }
        if !self.keeps() {
            self.idle.borrow_mut().clear();
            return None;
        }
        loop {
            let mut conn = self.idle.borrow_mut().pop()?;
            if conn.is_quiet() {
                return Some(Conn::H1(conn));
            }
            self.died.set(self.died.get() + 1);
        }
    }

    /// A connection on which nothing has gone wrong yet. `again`: the last one did, so that for
    /// HTTP/2 one that others opened meanwhile won't do.
    pub(crate) async fn fresh(&self, again: bool) -> Result<Conn, Failure> {
        if self.dialer.version() == HttpVersion::Http1 {
            return Ok(Conn::H1(H1::new(self.dialer.dial().await?)));
        }
        // Waiting for one's turn and the handshake are part of connecting, and limited with it.
        tokio::time::timeout(self.dialer.timeout(), self.fresh_http2(again))
            .await
            .unwrap_or_else(|_| Err(Failure::connect_timeout()))
    }

    async fn fresh_http2(&self, again: bool) -> Result<Conn, Failure> {
        let no_room = || Failure::connect("HTTP/2: the server allows no request on a connection".to_owned());
        if !self.dialer.keep_alive() {
            let connection = h2::Shared::open(self.dialer.dial().await?).await?;
            return connection.stream().map(Conn::H2).ok_or_else(no_room);
        }
        // Without this, users that start together would open one each.
        let _turn = self.opening.lock().await;
        if !again && let Some(conn) = self.kept() {
            return Ok(conn);
        }
        let connection = h2::Shared::open(self.dialer.dial().await?).await?;
        let stream = connection.stream().ok_or_else(no_room)?;
        // The newest is asked first: an older one may be on its way out.
        self.shared.borrow_mut().insert(0, connection);
        Ok(Conn::H2(stream))
    }

    /// An answer was read to its end: keep its connection, if that is worth it.
    pub(crate) fn take_back(&self, answer: Answer) {
        let Some(conn) = answer.into_conn() else { return };
        if self.keeps() {
            self.kept.set(self.kept.get() + 1);
            self.idle.borrow_mut().push(conn);
        }
    }

    /// A request found a kept connection dead. Decides over HTTP/1.1 alone: a connection of
    /// HTTP/2 that has died is known to be dead.
    pub(crate) fn found_dead(&self) {
        self.died.set(self.died.get() + 1);
    }
}
