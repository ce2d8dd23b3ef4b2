//! One connection's socket, watched: it stamps the truth at the system call that writes the
//! bytes, and it can break off as broken servers do.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::clock::now_ns;
use super::truth::{TruthLog, TruthOutcome, TruthRecord};

/// What the socket and the answer on it tell each other.
#[derive(Debug)]
pub(super) struct Conn {
    log: Arc<TruthLog>,
    stopping: Arc<AtomicBool>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// When the last read that brought bytes returned.
    read_ns: u64,
    /// The exchange in progress.
    open: Option<TruthRecord>,
    /// The next write carries a token; the answer's end.
    token_pending: bool,
    end_pending: bool,
    /// Close without a word once the answer's end has been written.
    close_after: bool,
    closing: bool,
    reset: bool,
    reader: Option<Waker>,
}

impl Conn {
    pub fn new(log: Arc<TruthLog>, stopping: Arc<AtomicBool>) -> Arc<Self> {
        Arc::new(Self { log, stopping, inner: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the bytes read last had come.
    pub fn read_ns(&self) -> u64 {
        self.lock().read_ns
    }

    /// An exchange begins. One that was still open has ended.
    pub fn begin(&self, record: TruthRecord) {
        let mut inner = self.lock();
        inner.close(&self.log, now_ns());
        (inner.token_pending, inner.end_pending) = (false, false);
        inner.open = Some(record);
    }

    /// Change the open exchange's record.
    pub fn note(&self, change: impl FnOnce(&mut TruthRecord)) {
        if let Some(record) = self.lock().open.as_mut() {
            change(record);
        }
    }

    /// The bytes handed over last bear the text of `tokens` tokens in one chunk.
    pub fn token(&self, tokens: u32) {
        let mut inner = self.lock();
        inner.token_pending = true;
        if let Some(record) = inner.open.as_mut() {
            record.chunks += 1;
            record.output_tokens += tokens;
        }
    }

    /// The bytes handed over last are the answer's end.
    pub fn end(&self) {
        self.lock().end_pending = true;
    }

    /// The exchange ends here and now, without further bytes.
    pub fn give_up(&self, outcome: TruthOutcome) {
        let mut inner = self.lock();
        if let Some(record) = inner.open.as_mut() {
            record.outcome = outcome;
        }
        inner.close(&self.log, now_ns());
    }

    /// The answer's last bytes never got out: the client was gone, or the server is
    /// stopping. A fault that had struck, and a refusal, keep their name.
    pub fn gone(&self) {
        let mut inner = self.lock();
        if let Some(record) = inner.open.as_mut()
            && matches!(record.outcome, TruthOutcome::Ok | TruthOutcome::ClientGone)
        {
            let stopped = self.stopping.load(Ordering::Relaxed);
            record.outcome = if stopped { TruthOutcome::Stopped } else { TruthOutcome::ClientGone };
        }
        inner.close(&self.log, now_ns());
    }

    /// Close the socket, without having said so, after the answer.
    pub fn close_after(&self) {
        self.lock().close_after = true;
    }

    /// Send a reset instead of whatever would be sent next.
    pub fn reset(&self) {
        self.lock().reset = true;
    }

    /// A system call that began at `at_ns` took bytes; `all`: every one that was waiting.
    fn wrote(&self, at_ns: u64, all: bool) {
        let mut inner = self.lock();
        if !inner.token_pending && !inner.end_pending {
            return;
        }
        if !all {
            // The last token and the end are in what is left.
            if inner.token_pending
                && let Some(record) = inner.open.as_mut()
            {
                record.first_token_ns.get_or_insert(at_ns);
                record.last_token_ns = Some(at_ns);
            }
            return;
        }
        if std::mem::take(&mut inner.token_pending)
            && let Some(record) = inner.open.as_mut()
        {
            record.first_token_ns.get_or_insert(at_ns);
            record.last_token_ns = Some(at_ns);
        }
        if std::mem::take(&mut inner.end_pending) {
            inner.close(&self.log, at_ns);
            if inner.close_after {
                inner.closing = true;
                if let Some(reader) = inner.reader.take() {
                    reader.wake();
                }
            }
        }
    }
}

impl Inner {
    fn close(&mut self, log: &TruthLog, at_ns: u64) {
        if let Some(mut record) = self.open.take() {
            record.end_ns = at_ns;
            log.push(record);
        }
    }
}

/// A socket under a [`Conn`]'s eyes.
pub(super) struct Watched {
    socket: TcpStream,
    conn: Arc<Conn>,
}

impl Watched {
    pub fn new(socket: TcpStream, conn: Arc<Conn>) -> Self {
        Self { socket, conn }
    }

    fn refuse(&self) -> io::Result<()> {
        if self.conn.lock().reset { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.conn.lock().reset {
            // With nothing lingering the kernel sends a reset instead of an orderly end.
            let _ = self.socket.set_zero_linger();
        }
        self.conn.gone();
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.conn.lock().closing {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let result = Pin::new(&mut self.socket).poll_read(cx, buf);
        let mut inner = self.conn.lock();
        match &result {
            Poll::Pending => inner.reader = Some(cx.waker().clone()),
            Poll::Ready(Ok(())) if buf.filled().len() > before => inner.read_ns = now_ns(),
            Poll::Ready(_) => {}
        }
        drop(inner);
        result
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.refuse()?;
        let at = now_ns();
        let result = Pin::new(&mut self.socket).poll_write(cx, buf);
        if let Poll::Ready(Ok(n @ 1..)) = result {
            self.conn.wrote(at, n == buf.len());
        }
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.refuse()?;
        let at = now_ns();
        let result = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(n @ 1..)) = result {
            self.conn.wrote(at, n == bufs.iter().map(|b| b.len()).sum::<usize>());
        }
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
