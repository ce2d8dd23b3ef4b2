//! This client's own spans, sent by OTLP/HTTP as JSON while cells run.
//!
//! A thread of its own sends them: the one that hands them over also writes the records, and never
//! waits. What there is no room for, or what nobody takes, is counted and told.

mod span;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::event::{Event, Watcher, give_way};
use crate::experiment::Tracing;
use crate::record::RequestRecord;
use crate::server::{Post, PostError, Poster, Stop};
use span::Common;

/// Batches of requests that wait for the thread, at most.
const QUEUE: usize = 256;
/// Spans that are sent at once.
const AT_ONCE: usize = 512;
/// Longest that a span waits for others.
const WAIT: Duration = Duration::from_secs(1);
/// Longest that one export may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Spans held while it isn't known when their cell began.
const HELD: usize = 10_000;
/// Failures in a row after which the receiver is left alone for the rest of the run.
const HOPELESS: u32 = 5;

/// What the thread is handed.
enum Item {
    Run(String),
    Spans(Vec<Value>),
}

/// Watches a sweep and hands on the spans of traced requests.
struct Exporter {
    out: SyncSender<Item>,
    dropped: Arc<AtomicU64>,
    cell: Option<Common>,
    /// When the running cell's time began, in nanoseconds of the Unix clock, as near as is known.
    epoch_ns: Option<u64>,
    held: Vec<RequestRecord>,
}

/// The thread's end: who waits for it, and what it came to.
pub struct Sending {
    thread: JoinHandle<Result<Sent, PostError>>,
    dropped: Arc<AtomicU64>,
    hurry: Arc<AtomicBool>,
}

#[derive(Default)]
struct Sent {
    failed: u64,
    /// Of the last failure.
    why: Option<String>,
}

/// Spans of traced requests to where `tracing` says, if it says so: a watcher of the sweep, and the
/// end of its thread.
///
/// # Errors
/// When the thread can't be started.
pub fn exporter(tracing: &Tracing) -> std::io::Result<Option<(Box<dyn Watcher>, Sending)>> {
    let Some(base) = &tracing.otlp else { return Ok(None) };
    let (out, items) = sync_channel(QUEUE);
    let (dropped, hurry) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (url, headers) = (format!("{base}/v1/traces"), tracing.headers.clone());
    let hurried = Arc::clone(&hurry);
    let thread = std::thread::Builder::new().name("spans".to_owned()).spawn(move || {
        give_way();
        let stop: Stop = Arc::new(move || hurried.load(Ordering::Relaxed));
        let post = Post { url: &url, headers: &headers, timeout: TIMEOUT };
        let poster = Poster::new(&post, &stop)?;
        Ok(send_all(&items, &poster))
    })?;
    let watcher =
        Exporter { out, dropped: Arc::clone(&dropped), cell: None, epoch_ns: None, held: Vec::new() };
    Ok(Some((Box::new(watcher), Sending { thread, dropped, hurry })))
}

impl Sending {
    /// Wait for what is still to be sent, `limit` at most, once the watcher is gone. What was lost,
    /// in a sentence.
    #[must_use]
    pub fn finish(self, limit: Duration) -> Option<String> {
        let until = Instant::now() + limit;
        while !self.thread.is_finished() {
            if Instant::now() >= until {
                self.hurry.store(true, Ordering::Relaxed);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let dropped = self.dropped.load(Ordering::Relaxed);
        match self.thread.join() {
            Ok(Ok(Sent { failed: 0, .. })) if dropped == 0 => None,
            Ok(Ok(sent)) => {
                let why = sent.why.map(|why| format!(" ({why})")).unwrap_or_default();
                let n = sent.failed + dropped;
                Some(format!("{n} spans of this client were not sent to tracing.otlp{why}"))
            }
            Ok(Err(error)) => Some(format!("no spans of this client were sent: tracing.otlp: {error}")),
            Err(_) => Some("the sending of this client's spans panicked".to_owned()),
        }
    }
}

fn send_all(items: &Receiver<Item>, poster: &Poster) -> Sent {
    let (mut run, mut waiting, mut sent) = (String::new(), Vec::new(), Sent::default());
    let (mut failures, mut since) = (0, Instant::now());
    loop {
        let item = items.recv_timeout(WAIT);
        match item {
            Ok(Item::Run(name)) => run = name,
            Ok(Item::Spans(spans)) => {
                if waiting.is_empty() {
                    since = Instant::now();
                }
                waiting.extend(spans);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) if waiting.is_empty() => return sent,
            Err(RecvTimeoutError::Disconnected) => since = Instant::now() - WAIT,
        }
        while waiting.len() >= AT_ONCE || (!waiting.is_empty() && since.elapsed() >= WAIT) {
            let batch: Vec<Value> = waiting.drain(..waiting.len().min(AT_ONCE)).collect();
            let n = batch.len() as u64;
            // A receiver that is not there is not asked for hours.
            let outcome =
                (failures < HOPELESS).then(|| poster.send("application/json", span::body(&run, batch)));
            match outcome {
                Some(Ok(())) => failures = 0,
                Some(Err(error)) => {
                    failures += 1;
                    sent.failed += n;
                    sent.why = Some(error.to_string());
                }
                None => sent.failed += n,
            }
        }
    }
}

impl Exporter {
    fn hand_over(&mut self, requests: &[RequestRecord]) {
        let (Some(cell), Some(epoch_ns)) = (&self.cell, self.epoch_ns) else { return };
        let spans: Vec<Value> = requests.iter().filter_map(|record| cell.span(record, epoch_ns)).collect();
        let n = spans.len() as u64;
        if n > 0 && self.out.try_send(Item::Spans(spans)).is_err() {
            self.dropped.fetch_add(n, Ordering::Relaxed);
        }
    }

    fn begun_at(&mut self, epoch_ns: u64) {
        // Of several looks the one that came soonest after its moment is nearest.
        self.epoch_ns = Some(self.epoch_ns.map_or(epoch_ns, |known| known.min(epoch_ns)));
        let held = std::mem::take(&mut self.held);
        self.hand_over(&held);
    }
}

impl Watcher for Exporter {
    fn on(&mut self, event: &Event<'_>) {
        match event {
            Event::SweepStarted { run, .. } => {
                // Nothing waits there yet.
                let _ = self.out.try_send(Item::Run((*run).to_owned()));
            }
            Event::CellStarted { cell, .. } => {
                (self.cell, self.epoch_ns) = (Some(Common::of(cell)), None);
                self.held.clear();
            }
            Event::Live(live) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let since = Duration::from_secs_f64(live.elapsed_s.max(0.0));
                self.begun_at(now.saturating_sub(since).as_nanos() as u64);
            }
            Event::CellFinished { summary, .. } => {
                let begun: Option<jiff::Timestamp> = summary.started_at.parse().ok();
                if let Some(ns) = begun.and_then(|at| u64::try_from(at.as_nanosecond()).ok()) {
                    self.begun_at(ns);
                }
                self.cell = None;
            }
            _ => {}
        }
    }

    fn ended(&mut self, requests: &[RequestRecord]) {
        if self.epoch_ns.is_some() {
            return self.hand_over(requests);
        }
        let traced: Vec<&RequestRecord> = requests.iter().filter(|r| r.trace_id.is_some()).collect();
        let room = HELD.saturating_sub(self.held.len());
        self.dropped.fetch_add(traced.len().saturating_sub(room) as u64, Ordering::Relaxed);
        self.held.extend(traced.into_iter().take(room).cloned());
    }
}
