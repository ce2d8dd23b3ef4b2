//! What one load core counts while it runs: its time line, its chunk gaps, and the records
//! on their way to the calling thread.

use std::collections::VecDeque;
use std::sync::mpsc::{SyncSender, TrySendError};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::gaps;
use crate::record::{RequestRecord, TICK_US, Texts, Tick};

/// Records that wait before they are handed over ahead of the next tick.
const BATCH: usize = 256;
/// Bytes of answers' texts after which a batch is full as well.
const BATCH_TEXT: usize = 1 << 17;
/// Full batches that are kept while the calling thread is behind: 65,536 records, or 32 MiB of
/// texts. What comes on top is lost, and counted: a load core never waits and never grows.
const HELD: usize = 256;

/// A finished arrival, and its text where the answer's tokens are still to be counted.
pub(super) struct Done {
    pub(super) record: RequestRecord,
    pub(super) text: Option<String>,
    /// The part of the cell that it belongs to, whose tokenizer counts.
    pub(super) lane: usize,
    /// What is to be kept of its texts.
    pub(super) kept: Option<Box<Texts>>,
}

/// What a load core sends to the calling thread.
pub(super) struct Report {
    pub(super) rank: u32,
    pub(super) done: Vec<Done>,
    pub(super) totals: Totals,
}

/// Counts of one load core since the cell's start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub(super) in_flight: u32,
    pub(super) sent: u64,
    pub(super) completed: u64,
    pub(super) failed: u64,
    pub(super) chunks: u64,
}

/// Three significant digits from 1 µs to an hour.
pub(super) fn gap_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("bounds are constants that the crate allows")
}

pub(super) struct Tally {
    rank: u32,
    ticks: Vec<Tick>,
    /// In-flight requests integrated over each tick, in request-microseconds.
    areas: Vec<u64>,
    tick_end_us: u64,
    /// Up to where the last area is integrated.
    integrated_us: u64,
    pub(super) totals: Totals,
    pub(super) gaps: Histogram<u64>,
    pub(super) foreign_chunks: u64,
    /// The batch that is being filled, and its bytes of text.
    waiting: Vec<Done>,
    waiting_text: usize,
    /// Full batches, the oldest first.
    held: VecDeque<Vec<Done>>,
    reports: SyncSender<Report>,
    /// Times that the calling thread was too slow to take a report.
    pub(super) held_reports: u64,
    /// Records for which there was no room while it was.
    lost: u64,
}

impl Tally {
    pub(super) fn new(rank: u32, reports: SyncSender<Report>) -> Self {
        Self {
            rank,
            ticks: vec![Tick::default()],
            areas: vec![0],
            tick_end_us: TICK_US,
            integrated_us: 0,
            totals: Totals::default(),
            gaps: gap_histogram(),
            foreign_chunks: 0,
            waiting: Vec::with_capacity(BATCH),
            waiting_text: 0,
            held: VecDeque::new(),
            reports,
            held_reports: 0,
            lost: 0,
        }
    }

    /// Close every tick that ends at or before `t`.
    pub(super) fn advance(&mut self, t: u64) {
        while t >= self.tick_end_us {
            self.integrate(self.tick_end_us);
            self.current().in_flight = self.totals.in_flight;
            self.ticks.push(Tick { t_us: self.tick_end_us, ..Tick::default() });
            self.areas.push(0);
            self.tick_end_us += TICK_US;
        }
    }

    fn current(&mut self) -> &mut Tick {
        self.ticks.last_mut().expect("there is always a tick")
    }

    fn integrate(&mut self, t: u64) {
        let area = u64::from(self.totals.in_flight) * t.saturating_sub(self.integrated_us);
        *self.areas.last_mut().expect("there is always a tick") += area;
        self.integrated_us = self.integrated_us.max(t);
    }

    /// An arrival became due at `t`, which has passed.
    pub(super) fn due(&mut self, t: u64) {
        let last = self.ticks.len() - 1;
        self.ticks[((t / TICK_US) as usize).min(last)].due += 1;
    }

    pub(super) fn sent(&mut self, t: u64, lag_us: u64) {
        self.advance(t);
        self.integrate(t);
        self.totals.in_flight += 1;
        self.totals.sent += 1;
        let tick = self.current();
        tick.sent += 1;
        tick.max_lag_us = tick.max_lag_us.max(lag_us);
    }

    /// A content chunk, and the gap to the one before it if that is to be pooled.
    pub(super) fn chunk(&mut self, t: u64, gap_us: Option<u64>) {
        self.advance(t);
        self.totals.chunks += 1;
        self.current().chunks += 1;
        if let Some(gap) = gap_us {
            self.gaps.saturating_record(gap);
        }
    }

    /// A request left the server at `t`, well or badly; `None`: it was given up.
    pub(super) fn left(&mut self, t: u64, well: Option<bool>) {
        self.advance(t);
        self.integrate(t);
        self.totals.in_flight -= 1;
        match well {
            Some(true) => {
                self.totals.completed += 1;
                self.current().completed += 1;
            }
            Some(false) => {
                self.totals.failed += 1;
                self.current().failed += 1;
            }
            None => {}
        }
    }

    /// Take in what became of an arrival.
    pub(super) fn record(&mut self, done: Done) {
        if self.waiting_is_full() {
            // Only while all batches that may be held are.
            self.report();
            if self.waiting_is_full() {
                self.lost += 1;
                return;
            }
        }
        self.waiting_text += done.text.as_ref().map_or(0, String::len);
        self.waiting_text += done.kept.as_ref().map_or(0, |texts| texts.bytes());
        self.waiting.push(done);
        if self.waiting_is_full() {
            self.report();
        }
    }

    fn waiting_is_full(&self) -> bool {
        self.waiting.len() >= BATCH || self.waiting_text >= BATCH_TEXT
    }

    /// Hand over what waits, batch by batch. Never blocks: when the calling thread is behind,
    /// the records stay here, and that is counted.
    pub(super) fn report(&mut self) {
        while let Some(done) = self.held.pop_front() {
            if let Err(done) = self.hand_over(done) {
                self.held.push_front(done);
                self.hold();
                return;
            }
        }
        let done = std::mem::replace(&mut self.waiting, Vec::with_capacity(BATCH));
        match self.hand_over(done) {
            Ok(()) => self.waiting_text = 0,
            Err(done) => {
                self.waiting = done;
                self.hold();
            }
        }
    }

    /// Put a full batch with those that are held, where there is room.
    fn hold(&mut self) {
        self.held_reports += 1;
        if self.waiting_is_full() && self.held.len() < HELD {
            self.held.push_back(std::mem::replace(&mut self.waiting, Vec::with_capacity(BATCH)));
            self.waiting_text = 0;
        }
    }

    fn hand_over(&self, done: Vec<Done>) -> Result<(), Vec<Done>> {
        match self.reports.try_send(Report { rank: self.rank, done, totals: self.totals }) {
            // A calling thread that has gone has no use for reports.
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
            Err(TrySendError::Full(report)) => Err(report.done),
        }
    }

    /// The end: hand over the rest, waiting if need be, and give up the time line.
    pub(super) fn finish(mut self) -> Course {
        let last = std::mem::take(&mut self.waiting);
        for done in self.held.into_iter().chain([last]) {
            let _ = self.reports.send(Report { rank: self.rank, done, totals: self.totals });
        }
        Course {
            ticks: self.ticks,
            areas: self.areas,
            gaps: self.gaps,
            foreign_chunks: self.foreign_chunks,
            lost: self.lost,
        }
    }
}

/// The course of a cell, from one load core or merged over all.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Course {
    pub(super) ticks: Vec<Tick>,
    areas: Vec<u64>,
    #[serde(with = "gaps")]
    pub(super) gaps: Histogram<u64>,
    pub(super) foreign_chunks: u64,
    /// Records that a load core had no room for.
    pub(super) lost: u64,
}

impl Course {
    pub(super) fn empty() -> Self {
        Self { ticks: Vec::new(), areas: Vec::new(), gaps: gap_histogram(), foreign_chunks: 0, lost: 0 }
    }

    /// Add another core's course to this one.
    pub(super) fn merge(&mut self, other: Self) {
        for (i, tick) in other.ticks.into_iter().enumerate() {
            let Some(sum) = self.ticks.get_mut(i) else {
                self.ticks.push(tick);
                continue;
            };
            sum.in_flight += tick.in_flight;
            sum.due += tick.due;
            sum.sent += tick.sent;
            sum.completed += tick.completed;
            sum.failed += tick.failed;
            sum.chunks += tick.chunks;
            sum.max_lag_us = sum.max_lag_us.max(tick.max_lag_us);
        }
        self.areas.resize(self.areas.len().max(other.areas.len()), 0);
        for (sum, area) in self.areas.iter_mut().zip(other.areas) {
            *sum += area;
        }
        self.gaps.add(other.gaps).expect("all gap histograms have the same bounds");
        self.foreign_chunks += other.foreign_chunks;
        self.lost += other.lost;
    }

    /// Mean number in flight over `start_us..end_us`, by this client's own counter; the
    /// ticks on the edges count by their share. `None` for an empty span.
    pub(super) fn in_flight_mean(&self, start_us: u64, end_us: u64) -> Option<f64> {
        if end_us <= start_us {
            return None;
        }
        let area: f64 = (0u64..)
            .zip(&self.areas)
            .map(|(i, &area)| {
                let from = (i * TICK_US).max(start_us);
                let to = ((i + 1) * TICK_US).min(end_us);
                area as f64 * to.saturating_sub(from) as f64 / TICK_US as f64
            })
            .sum();
        Some(area / (end_us - start_us) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_and_their_areas_add_up() {
        let (tx, rx) = std::sync::mpsc::sync_channel(8);
        let mut tally = Tally::new(0, tx);
        tally.due(10);
        tally.sent(50_000, 40);
        tally.due(240_000);
        tally.sent(250_000, 7);
        tally.chunk(260_000, None);
        tally.chunk(270_000, Some(10_000));
        tally.left(300_000, Some(true));
        tally.left(350_000, Some(false));
        tally.advance(400_000);
        let totals = tally.totals;
        assert_eq!((totals.in_flight, totals.sent, totals.completed, totals.failed), (0, 2, 1, 1));
        let mut course = Course::empty();
        course.merge(tally.finish());
        assert_eq!(rx.try_iter().count(), 1);
        assert_eq!(course.ticks.iter().map(|t| t.in_flight).collect::<Vec<_>>(), [1, 1, 2, 0, 0]);
        assert_eq!(course.ticks[2].chunks, 2);
        assert_eq!(course.ticks[0].max_lag_us, 40);
        assert_eq!(course.ticks[3].completed + course.ticks[3].failed, 2);
        // One in flight for 250 ms, another for 100 ms, over 400 ms.
        assert_eq!(course.in_flight_mean(0, 400_000), Some(0.875));
        assert_eq!(course.in_flight_mean(100_000, 200_000), Some(1.0));
        assert_eq!(course.in_flight_mean(5, 5), None);
        assert_eq!(course.gaps.len(), 1);
    }

    #[test]
    fn a_slow_reader_blocks_nobody_and_loses_nothing() {
        let (tx, rx) = std::sync::mpsc::sync_channel(1);
        let mut tally = Tally::new(3, tx);
        for seq in 0..1000 {
            tally.record(Done {
                record: crate::record::RequestRecord::blank(seq),
                text: None,
                lane: 0,
                kept: None,
            });
        }
        tally.report();
        assert!(tally.held_reports > 0);
        let reader = std::thread::spawn(move || rx.iter().flat_map(|r| r.done).count());
        let _ = tally.finish();
        assert_eq!(reader.join().unwrap(), 1000);
    }

    #[test]
    fn a_reader_that_stands_still_costs_counted_records_and_no_memory() {
        let (tx, rx) = std::sync::mpsc::sync_channel(2);
        let mut tally = Tally::new(0, tx);
        let most = BATCH * (HELD + 1 + 2);
        let come = most + 5000;
        for seq in 0..come as u64 {
            tally.record(Done {
                record: crate::record::RequestRecord::blank(seq),
                text: None,
                lane: 0,
                kept: None,
            });
            assert!(tally.held.len() <= HELD && tally.waiting.len() <= BATCH);
        }
        assert_eq!(tally.lost, 5000);
        // Room again: what comes now is kept again, in order.
        assert_eq!(rx.recv().unwrap().done.len(), BATCH);
        tally.record(Done {
            record: crate::record::RequestRecord::blank(7),
            text: None,
            lane: 0,
            kept: None,
        });
        let reader =
            std::thread::spawn(move || rx.iter().flat_map(|r| r.done).map(|d| d.record.seq).collect());
        let course = tally.finish();
        let seqs: Vec<u64> = reader.join().unwrap();
        assert!(seqs.iter().copied().eq((BATCH as u64..most as u64).chain([7])));
        let mut sum = Course::empty();
        sum.merge(course);
        assert_eq!(sum.lost, 5000);
    }

    #[test]
    fn long_texts_fill_a_batch_as_well() {
        let (tx, _rx) = std::sync::mpsc::sync_channel(1);
        let mut tally = Tally::new(0, tx);
        let text = "x".repeat(BATCH_TEXT / 2);
        for seq in 0..(2 * (HELD + 10)) as u64 {
            let record = crate::record::RequestRecord::blank(seq);
            tally.record(Done { record, text: Some(text.clone()), lane: 0, kept: None });
        }
        assert!(tally.held.iter().all(|batch| batch.len() == 2));
        assert_eq!((tally.held.len(), tally.waiting.len(), tally.lost), (HELD, 2, 2 * 8));
    }
}
