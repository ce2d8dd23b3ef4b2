//! The calling thread's part: records to the sink, tokens counted, and a look for people.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::clock::Clock;
use super::tally::{Done, Report, Totals};
use super::window::Gate;
use crate::event::{Live, Stage};
use crate::record::{EndedBy, Outcome, Phase, RecordSink, RequestRecord, TokenSource};
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

/// Takes in what the load cores report.
pub(super) struct Collector<'a> {
    pub(super) sink: &'a mut dyn RecordSink,
    /// By part of the cell.
    pub(super) tokenizers: Vec<&'a dyn Tokenizer>,
    pub(super) live: &'a mut dyn FnMut(Live),
    pub(super) clock: Clock,
    pub(super) gate: &'a Gate,
    /// By load core.
    pub(super) totals: Vec<Totals>,
    pub(super) recent: Recent,
    pub(super) silence: Silence,
    pub(super) lost: Option<(u64, String)>,
}

impl Collector<'_> {
    /// Until the last load core has hung up.
    pub(super) fn run(&mut self, reports: &Receiver<Report>) {
        let mut look_at = Instant::now() + LOOK_EVERY;
        loop {
            match reports.recv_timeout(look_at.saturating_duration_since(Instant::now())) {
                Ok(report) => self.take(report),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // Also when reports come without a pause.
            if Instant::now() >= look_at {
                let look = self.look();
                (self.live)(look);
                look_at = Instant::now() + LOOK_EVERY;
            }
        }
    }

    fn take(&mut self, report: Report) {
        self.totals[report.rank as usize] = report.totals;
        let mut answers = Vec::new();
        let mut taken = |mut done: Done| {
            let kept = done.kept.take();
            let record = self.count(done);
            answers.extend(kept.map(|texts| texts.of(&record)));
            record
        };
        let batch: Vec<RequestRecord> = report.done.into_iter().map(&mut taken).collect();
        for record in &batch {
            self.recent.take(record);
            self.silence.take(record);
        }
        self.end_silence();
        if batch.is_empty() {
            return;
        }
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

    /// Count the tokens of a text that came without `usage`.
    fn count(&self, done: Done) -> RequestRecord {
        let mut record = done.record;
        if let Some(text) = done.text {
            record.output_tokens = Some(self.tokenizers[done.lane].count(&text));
            record.token_source = Some(TokenSource::Tokenizer);
        }
        record
    }

    fn look(&mut self) -> Live {
        let now = self.clock.now_us();
        let sum = |f: fn(&Totals) -> u64| self.totals.iter().map(f).sum::<u64>();
        let (completed, chunks) = (sum(|t| t.completed), sum(|t| t.chunks));
        let (completed_rps, chunks_per_s) = self.recent.rates(now, completed, chunks);
        let end = self.gate.end();
        let stage = match self.gate.phase(now) {
            _ if now >= end => Stage::Drain,
            Phase::Ramp => Stage::Ramp,
            Phase::Warmup => Stage::Warmup,
            Phase::Measure => Stage::Measure,
        };
        let column = |f: fn(&Sample) -> Option<f64>| self.recent.column(f);
        let (ttft, e2e, lag) = (column(|s| s.ttft_ms), column(|s| s.e2e_ms), column(|s| s.lag_ms));
        Live {
            stage,
            elapsed_s: now as f64 / 1e6,
            left_s: (end != u64::MAX).then(|| end.saturating_sub(now) as f64 / 1e6),
            in_flight: self.totals.iter().map(|t| t.in_flight).sum(),
            sent: sum(|t| t.sent),
            completed,
            failed: sum(|t| t.failed),
            completed_rps,
            output_tps: chunks_per_s * self.recent.tokens_per_chunk(),
            ttft_p50_ms: quantile(&ttft, 0.5),
            ttft_p90_ms: quantile(&ttft, 0.9),
            e2e_p50_ms: quantile(&e2e, 0.5),
            e2e_p90_ms: quantile(&e2e, 0.9),
            e2e_p99_ms: quantile(&e2e, 0.99),
            lag_p99_ms: quantile(&lag, 0.99),
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
    e2e_ms: Option<f64>,
    lag_ms: Option<f64>,
}

/// The last seconds.
#[derive(Default)]
pub(super) struct Recent {
    samples: VecDeque<Sample>,
    /// Time, completed and chunks at each look.
    looks: VecDeque<(u64, u64, u64)>,
    tokens: u64,
    chunks: u64,
}

impl Recent {
    fn take(&mut self, record: &RequestRecord) {
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
            e2e_ms: since_due(record.last_token_us),
            lag_ms: since_due(record.sent_us),
        });
    }

    /// Completed requests and chunks per second.
    fn rates(&mut self, now: u64, completed: u64, chunks: u64) -> (f64, f64) {
        let from = now.saturating_sub(RECENT_US);
        self.samples.retain(|s| s.end_us >= from);
        while self.looks.len() > 1 && self.looks[1].0 <= from {
            self.looks.pop_front();
        }
        let (t0, completed0, chunks0) = self.looks.front().copied().unwrap_or_default();
        self.looks.push_back((now, completed, chunks));
        let seconds = now.saturating_sub(t0).max(1) as f64 / 1e6;
        ((completed - completed0) as f64 / seconds, (chunks - chunks0) as f64 / seconds)
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
        assert_eq!(recent.rates(1_000_000, 10, 100), (10.0, 100.0));
        for s in 2..=20 {
            recent.rates(s * 1_000_000, 10 * s, 100 * s);
        }
        // The pace doubles; five seconds later nothing else is left in view.
        for s in 21..=26 {
            recent.rates(s * 1_000_000, 200 + 20 * (s - 20), 2000 + 200 * (s - 20));
        }
        let (rps, cps) = recent.rates(27_000_000, 340, 3400);
        assert!((rps - 20.0).abs() < 1e-9 && (cps - 200.0).abs() < 1e-9, "{rps} {cps}");
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
