//! The calling thread's part: records to the sink, tokens counted, and a look for people.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Job;
use super::clock::Clock;
use super::tally::{Done, Report, Totals};
use super::window::Gate;
use crate::event::{Live, Look, Stage};
use crate::measure::of_request;
use crate::record::{EndedBy, KeptAnswer, Outcome, Phase, RecordSink, RequestRecord, TokenSource};
use crate::stats::quantile;
use crate::workload::Tokenizer;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Rates and percentiles of a look are over so many microseconds.
const RECENT_US: u64 = 5_000_000;
/// Requests that a look's percentiles hold at most: the latest.
const RECENT_MOST: usize = 4096;
/// The first requests of a cell that must all have failed, with nothing answered, before the
/// server is taken for dead.
const SILENT: u64 = 100;
/// From that finding to the opening of a window that had not opened yet, so that every core
/// knows of it in time.
const OPEN_IN_US: u64 = 20_000;

/// What a load core has to report, its tokens counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// Of the load core, among all that drive the cell.
    pub(super) rank: u32,
    /// Of requests that have ended.
    pub(super) records: Vec<RequestRecord>,
    /// Texts of some of them that are to be kept.
    pub(super) answers: Vec<KeptAnswer>,
    pub(super) totals: Totals,
}

/// The tokenizers of a cell's parts: they count what comes without `usage`.
pub(super) struct Tokens<'a>(Vec<&'a dyn Tokenizer>);

impl<'a> Tokens<'a> {
    pub(super) fn of(job: &'a Job<'_>) -> Self {
        Self(job.parts.iter().map(|part| part.source.tokenizer().as_ref()).collect())
    }

    pub(super) fn batch(&self, report: Report) -> Batch {
        let mut answers = Vec::new();
        let mut taken = |mut done: Done| {
            let kept = done.kept.take();
            let record = self.count(done);
            answers.extend(kept.map(|texts| texts.of(&record)));
            record
        };
        let records = report.done.into_iter().map(&mut taken).collect();
        Batch { rank: report.rank, records, answers, totals: report.totals }
    }

    /// Count the tokens of a text that came without `usage`.
    fn count(&self, done: Done) -> RequestRecord {
        let mut record = done.record;
        if let Some(text) = done.text {
            record.output_tokens = Some(self.0[done.lane].count(&text));
            record.token_source = Some(TokenSource::Tokenizer);
        }
        record
    }
}

/// Where records go, and who looks on.
pub(super) type Outlets<'a> = (&'a mut dyn RecordSink, &'a mut dyn FnMut(Look<'_>));

/// Takes in what the load cores report.
pub(super) struct Collector<'a> {
    sink: &'a mut dyn RecordSink,
    look: &'a mut dyn FnMut(Look<'_>),
    look_at: Instant,
    clock: Clock,
    gate: Arc<Gate>,
    /// By load core.
    totals: Vec<Totals>,
    recent: Recent,
    silence: Silence,
    pub(super) lost: Option<(u64, String)>,
}

impl<'a> Collector<'a> {
    /// For so many load cores.
    pub(super) fn new((sink, look): Outlets<'a>, (clock, gate): (Clock, Arc<Gate>), cores: u32) -> Self {
        Self {
            sink,
            look,
            look_at: Instant::now() + LOOK_EVERY,
            clock,
            gate,
            totals: vec![Totals::default(); cores as usize],
            recent: Recent::default(),
            silence: Silence::default(),
            lost: None,
        }
    }

    /// Until the last load core has hung up.
    pub(super) fn run(&mut self, tokens: &Tokens<'_>, reports: &Receiver<Report>) {
        loop {
            match reports.recv_timeout(self.look_at.saturating_duration_since(Instant::now())) {
                Ok(report) => self.take(tokens.batch(report)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // Also when reports come without a pause.
            self.look_if_due();
        }
    }

    /// Show how the cell goes, if that is due.
    pub(super) fn look_if_due(&mut self) {
        if Instant::now() >= self.look_at {
            let live = self.live();
            (self.look)(Look::Live(live));
            self.look_at = Instant::now() + LOOK_EVERY;
        }
    }

    /// Take in what one load core has reported.
    pub(super) fn take(&mut self, batch: Batch) {
        let Batch { rank, records: batch, answers, totals } = batch;
        if let Some(of_core) = self.totals.get_mut(rank as usize) {
            *of_core = totals;
        }
        for record in &batch {
            self.recent.take(record);
            self.silence.take(record);
        }
        self.end_silence();
        if batch.is_empty() {
            return;
        }
        (self.look)(Look::Ended(&batch));
        if let Err(error) = self.sink.write(&batch) {
            let lost = self.lost.get_or_insert_with(|| (0, error.to_string()));
            lost.0 += batch.len() as u64;
        }
        if !answers.is_empty() {
            self.sink.keep(&answers);
        }
    }

    /// Don't burn a whole cell on a dead server: once the first requests have all failed, go
    /// over to measuring, and after as many measured failures close the window.
    fn end_silence(&self) {
        let answered = self.totals.iter().any(|t| t.completed > 0 || t.chunks > 0);
        if answered || self.silence.first < SILENT {
            return;
        }
        let now = self.clock.now_us();
        self.gate.open(now + OPEN_IN_US);
        if self.silence.measured >= SILENT {
            self.gate.close(now, EndedBy::Unanswered);
        }
    }

    fn live(&mut self) -> Live {
        let now = self.clock.now_us();
        let sum = |f: fn(&Totals) -> u64| self.totals.iter().map(f).sum::<u64>();
        let counts = Counts {
            sent: sum(|t| t.sent),
            completed: sum(|t| t.completed),
            failed: sum(|t| t.failed),
            chunks: sum(|t| t.chunks),
        };
        let rates = self.recent.rates(now, counts);
        let end = self.gate.end();
        let stage = match self.gate.phase(now) {
            _ if now >= end => Stage::Drain,
            Phase::Ramp => Stage::Ramp,
            Phase::Warmup => Stage::Warmup,
            Phase::Measure => Stage::Measure,
        };
        let column = |f: fn(&Sample) -> Option<f64>| self.recent.column(f);
        let (ttft, tpot) = (column(|s| s.ttft_ms), column(|s| s.tpot_ms));
        let (e2e, lag) = (column(|s| s.e2e_ms), column(|s| s.lag_ms));
        Live {
            stage,
            elapsed_s: now as f64 / 1e6,
            left_s: (end != u64::MAX).then(|| end.saturating_sub(now) as f64 / 1e6),
            in_flight: self.totals.iter().map(|t| t.in_flight).sum(),
            sent: counts.sent,
            completed: counts.completed,
            failed: counts.failed,
            errors: self.recent.errors.clone(),
            output_tokens: self.recent.tokens,
            sent_rps: rates.sent,
            completed_rps: rates.completed,
            failed_rps: rates.failed,
            output_tps: rates.chunks * self.recent.tokens_per_chunk(),
            ttft_p50_ms: quantile(&ttft, 0.5),
            ttft_p90_ms: quantile(&ttft, 0.9),
            ttft_p95_ms: quantile(&ttft, 0.95),
            tpot_p50_ms: quantile(&tpot, 0.5),
            tpot_p95_ms: quantile(&tpot, 0.95),
            e2e_p50_ms: quantile(&e2e, 0.5),
            e2e_p90_ms: quantile(&e2e, 0.9),
            e2e_p95_ms: quantile(&e2e, 0.95),
            e2e_p99_ms: quantile(&e2e, 0.99),
            lag_p99_ms: quantile(&lag, 0.99),
            // Who watches the server adds it.
            server: BTreeMap::new(),
        }
    }
}

/// Failures of a cell in which nothing has been answered.
#[derive(Default)]
pub(super) struct Silence {
    /// Of its first requests: one that a slow server still works at is not among them, so a
    /// server that turns the rest away is not taken for dead.
    first: u64,
    measured: u64,
}

impl Silence {
    fn take(&mut self, record: &RequestRecord) {
        if record.outcome.is_failure() {
            self.first += u64::from(record.seq < SILENT);
            self.measured += u64::from(record.phase == Phase::Measure);
        }
    }
}

/// One finished request, for percentiles.
struct Sample {
    end_us: u64,
    ttft_ms: Option<f64>,
    tpot_ms: Option<f64>,
    e2e_ms: Option<f64>,
    lag_ms: Option<f64>,
}

/// What the load cores have counted since the cell's start.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    sent: u64,
    completed: u64,
    failed: u64,
    chunks: u64,
}

/// The same per second, over the last seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Rates {
    sent: f64,
    completed: f64,
    failed: f64,
    chunks: f64,
}

/// The last seconds.
#[derive(Default)]
pub(super) struct Recent {
    samples: VecDeque<Sample>,
    /// Time and counts at each look.
    looks: VecDeque<(u64, Counts)>,
    /// Of good answers since the cell's start.
    tokens: u64,
    chunks: u64,
    /// By class, since the cell's start.
    errors: BTreeMap<String, u64>,
}

impl Recent {
    fn take(&mut self, record: &RequestRecord) {
        if record.outcome.is_failure() || record.outcome == Outcome::Dropped {
            let class = record.error_class.as_deref().unwrap_or(record.outcome.name());
            // Allocates for a class's first failure only.
            match self.errors.get_mut(class) {
                Some(n) => *n += 1,
                None => drop(self.errors.insert(class.to_owned(), 1)),
            }
        }
        let (Outcome::Ok, Some(end_us)) = (record.outcome, record.end_us) else { return };
        if let Some(tokens) = record.output_tokens {
            self.tokens += u64::from(tokens);
            self.chunks += u64::from(record.chunks);
        }
        let since_due = |t: Option<u64>| t.map(|t| t.saturating_sub(record.intended_us) as f64 / 1000.0);
        if self.samples.len() == RECENT_MOST {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample {
            end_us,
            ttft_ms: since_due(record.first_token_us),
            tpot_ms: of_request("tpot", record),
            e2e_ms: since_due(record.last_token_us),
            lag_ms: since_due(record.sent_us),
        });
    }

    fn rates(&mut self, now: u64, counts: Counts) -> Rates {
        let from = now.saturating_sub(RECENT_US);
        self.samples.retain(|s| s.end_us >= from);
        while self.looks.len() > 1 && self.looks[1].0 <= from {
            self.looks.pop_front();
        }
        let (t0, first) = self.looks.front().copied().unwrap_or_default();
        self.looks.push_back((now, counts));
        let seconds = now.saturating_sub(t0).max(1) as f64 / 1e6;
        let rate = |of: fn(Counts) -> u64| (of(counts) - of(first)) as f64 / seconds;
        Rates {
            sent: rate(|c| c.sent),
            completed: rate(|c| c.completed),
            failed: rate(|c| c.failed),
            chunks: rate(|c| c.chunks),
        }
    }

    /// 1 until an answer has told.
    fn tokens_per_chunk(&self) -> f64 {
        if self.chunks == 0 { 1.0 } else { self.tokens as f64 / self.chunks as f64 }
    }

    fn column(&self, f: fn(&Sample) -> Option<f64>) -> Vec<f64> {
        let mut values: Vec<f64> = self.samples.iter().filter_map(f).collect();
        values.sort_unstable_by(f64::total_cmp);
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_over_the_last_seconds() {
        let mut recent = Recent::default();
        let counts = |completed| Counts {
            sent: 2 * completed,
            completed,
            failed: completed / 10,
            chunks: 10 * completed,
        };
        let of =
            |completed, failed| Rates { sent: 2.0 * completed, completed, failed, chunks: 10.0 * completed };
        assert_eq!(recent.rates(1_000_000, counts(10)), of(10.0, 1.0));
        for s in 2..=20 {
            recent.rates(s * 1_000_000, counts(10 * s));
        }
        // The pace doubles; five seconds later nothing else is left in view.
        for s in 21..=26 {
            recent.rates(s * 1_000_000, counts(200 + 20 * (s - 20)));
        }
        assert_eq!(recent.rates(27_000_000, counts(340)), of(20.0, 2.0));
    }

    #[test]
    fn failures_are_counted_by_class() {
        let mut recent = Recent::default();
        for class in [Some("503"), Some("503"), None] {
            let mut record = crate::record::RequestRecord::blank(0);
            record.outcome = if class.is_some() { Outcome::HttpError } else { Outcome::Dropped };
            record.error_class = class.map(str::to_owned);
            recent.take(&record);
        }
        assert_eq!(recent.errors, BTreeMap::from([("503".to_owned(), 2), ("dropped".to_owned(), 1)]));
    }

    #[test]
    fn only_good_answers_are_shown() {
        let mut recent = Recent::default();
        let mut record = crate::record::RequestRecord::blank(0);
        recent.take(&record);
        assert!(recent.samples.is_empty());
        record.outcome = Outcome::Ok;
        record.intended_us = 1000;
        record.sent_us = Some(1500);
        record.first_token_us = Some(3000);
        record.last_token_us = Some(5000);
        record.end_us = Some(5100);
        record.chunks = 4;
        record.output_tokens = Some(8);
        recent.take(&record);
        assert_eq!(recent.column(|s| s.ttft_ms), [2.0]);
        assert_eq!(recent.column(|s| s.e2e_ms), [4.0]);
        assert_eq!(recent.column(|s| s.lag_ms), [0.5]);
        assert_eq!(recent.tokens_per_chunk(), 2.0);
    }
}
