//! Answers by the clock instead of the engine: the first token a fixed time after the
//! request's arrival, each further one a fixed time after the last, whatever the load.
//!
//! With both times 0 every answer goes out as fast as its client takes it, many chunks to a
//! system call: a server that costs next to nothing, to measure clients with.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::alarm::Alarm;
use super::clock::{nanos, now_ns};
use super::config::Config;
use super::engine::{Event, Finish, RequestId};

/// One server's timetable.
#[derive(Debug)]
pub(super) struct Timetable {
    ttft_ns: u64,
    tpot_ns: u64,
    /// Of a slow request.
    slow_tpot_ns: u64,
    alarm: Alarm,
}

impl Timetable {
    /// `None` when the engine decides when tokens come. Must be called within the runtime
    /// of the connections.
    pub fn new(config: &Config) -> io::Result<Option<Arc<Self>>> {
        if !config.by_the_clock() {
            return Ok(None);
        }
        let ns = |time: Option<_>| time.map_or(0, nanos);
        let (ttft_ns, tpot_ns) = (ns(config.ttft), ns(config.tpot));
        let slow_tpot_ns = (tpot_ns as f64 * config.slow_factor) as u64;
        Ok(Some(Arc::new(Self { ttft_ns, tpot_ns, slow_tpot_ns, alarm: Alarm::new()? })))
    }

    /// Wake those who wait, for ever.
    pub async fn run(&self) {
        self.alarm.ring().await;
    }

    /// The tokens of one answer.
    pub fn row(
        self: &Arc<Self>,
        id: RequestId,
        arrival_ns: u64,
        output: u32,
        finish: Finish,
        slow: bool,
    ) -> Row {
        let first_ns = arrival_ns.saturating_add(self.ttft_ns);
        let tpot_ns = if slow { self.slow_tpot_ns } else { self.tpot_ns };
        Row { timetable: Arc::clone(self), id, first_ns, tpot_ns, output, finish, given: 0, called_ns: None }
    }
}

/// The tokens of one answer, each when it is due.
#[derive(Debug)]
pub(super) struct Row {
    timetable: Arc<Timetable>,
    id: RequestId,
    first_ns: u64,
    tpot_ns: u64,
    output: u32,
    finish: Finish,
    given: u32,
    called_ns: Option<u64>,
}

impl Row {
    /// The next token, once it is due, and when that was; nothing after the last.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<(Event, u64)>> {
        if self.given == self.output {
            return Poll::Ready(None);
        }
        // With no time between tokens only the first one can be early: no look at the clock.
        if self.given == 0 || self.tpot_ns > 0 {
            ready!(self.due(self.given, cx));
        }
        self.given += 1;
        let finish = (self.given == self.output).then_some(self.finish);
        // Without a time between tokens the last is due when its client has taken the others.
        let flood = self.tpot_ns == 0 && finish.is_some();
        let at_ns = if flood { now_ns() } else { self.due_ns(self.given - 1) };
        Poll::Ready(Some((Event::Token { id: self.id, n: self.given, finish }, at_ns)))
    }

    /// When the first token is due.
    pub const fn first_ns(&self) -> u64 {
        self.first_ns
    }

    /// Wait until the last token is due.
    pub async fn whole(&mut self) {
        let last = self.output.saturating_sub(1);
        poll_fn(|cx| self.due(last, cx)).await;
    }

    fn due_ns(&self, token: u32) -> u64 {
        self.first_ns.saturating_add(self.tpot_ns.saturating_mul(u64::from(token)))
    }

    fn due(&mut self, token: u32, cx: &mut Context<'_>) -> Poll<()> {
        let due_ns = self.due_ns(token);
        if now_ns() >= due_ns {
            return Poll::Ready(());
        }
        // A body is polled for other reasons too, always by the same task.
        if self.called_ns != Some(due_ns) {
            self.called_ns = Some(due_ns);
            self.timetable.alarm.call(due_ns, cx.waker().clone());
        }
        Poll::Pending
    }
}
