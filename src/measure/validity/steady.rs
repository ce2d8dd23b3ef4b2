//! Was the window steady? What MSER-5 would cut off its beginning, and whether that is more
//! than chance.

use crate::record::{TICK_US, Tick, Window};
use crate::stats::{MSER_BATCH, Moments, mser};

/// Bins of a window for requests by the time they were sent: whatever their number, they take
/// the same memory.
const BINS: usize = 1024;
/// Batch means below which a series is too short for a cut at half of it to say anything:
/// ten seconds of ticks.
const FEWEST: usize = 20;
/// Mean times to stream an answer that a window has to hold: what is in flight is alike for
/// about one of them, and a shorter window is all one wave. The wait in a queue is not counted:
/// it grows without end in the very cells that are to be told.
const ANSWERS: f64 = 10.0;
/// The halves of the window differ in kind only when their means do by this share.
const MATTERS: f64 = 0.1;
/// Where the halves do not vary at all, any step is beyond every limit; this stands for it.
const BEYOND: f64 = 1_000.0;

/// TTFT by the time of sending, in constant memory: sum and number per bin of the window.
#[derive(Debug, Clone)]
pub(crate) struct BySending {
    window: Window,
    bins: Vec<(f64, u32)>,
}

impl BySending {
    pub(crate) fn new(window: Window) -> Self {
        Self { window, bins: vec![(0.0, 0); BINS] }
    }

    /// Take in the TTFT of a request sent at `sent_us`; in any order. Sent after the window,
    /// though due in it, it counts as one of its last.
    pub(crate) fn take(&mut self, sent_us: u64, ttft_ms: f64) {
        let length = self.window.end_us.saturating_sub(self.window.start_us).max(1);
        let into = sent_us.saturating_sub(self.window.start_us);
        let bin = (u128::from(into) * BINS as u128 / u128::from(length)) as usize;
        let (sum, n) = &mut self.bins[bin.min(BINS - 1)];
        *sum += ttft_ms;
        *n += 1;
    }

    /// Means of batches of at least [`MSER_BATCH`] requests in the order in which they were sent.
    /// Exactly as many where requests are few against the bins.
    fn batches(&self) -> Series {
        let width_s = self.window.seconds() / BINS as f64;
        let mut series = Series::default();
        let (mut sum, mut n, mut from) = (0.0, 0, 0.0);
        for (i, (bin_sum, bin_n)) in self.bins.iter().enumerate() {
            if n == 0 {
                from = i as f64 * width_s;
            }
            sum += bin_sum;
            n += bin_n;
            if n as usize >= MSER_BATCH {
                series.push(from, sum / f64::from(n));
                (sum, n) = (0.0, 0);
            }
        }
        series
    }
}

/// Batch means, and when each batch begins, in seconds from the window's start.
#[derive(Debug, Clone, Default)]
struct Series {
    starts: Vec<f64>,
    means: Vec<f64>,
}

impl Series {
    fn push(&mut self, start_s: f64, mean: f64) {
        self.starts.push(start_s);
        self.means.push(mean);
    }

    /// Of the ticks that lie wholly in the window.
    fn of_ticks(window: &Window, timeline: &[Tick], value: fn(&Tick) -> u32) -> Self {
        let inside: Vec<&Tick> = timeline
            .iter()
            .filter(|tick| tick.t_us >= window.start_us && tick.t_us + TICK_US <= window.end_us)
            .collect();
        let mut series = Self::default();
        for batch in inside.chunks_exact(MSER_BATCH) {
            let sum: f64 = batch.iter().map(|tick| f64::from(value(tick))).sum();
            series.push((batch[0].t_us - window.start_us) as f64 / 1e6, sum / MSER_BATCH as f64);
        }
        series
    }

    /// How far the means of its two halves are apart, in standard deviations within the halves;
    /// 0 where that is too little to matter.
    fn shift(&self) -> f64 {
        let half = self.means.len() / 2;
        let first = Moments::of(&self.means[..half]);
        let last = Moments::of(&self.means[self.means.len() - half..]);
        let (Some(a), Some(b)) = (first.mean(), last.mean()) else { return 0.0 };
        let (apart, level) = ((b - a).abs(), (a + b).abs() / 2.0);
        if apart <= MATTERS * level {
            return 0.0;
        }
        let variance = |half: &Moments| half.std().map_or(0.0, |s| s * s);
        (apart / ((variance(&first) + variance(&last)) / 2.0).sqrt()).min(BEYOND)
    }
}

/// What MSER-5 says of a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Steadiness {
    /// The latest cut of all series, in seconds from the window's start.
    pub(super) cut_s: f64,
    /// Of the series whose cut is at the limit, the largest shift between the window's halves,
    /// in standard deviations within them, and the series' name; 0 where none is.
    pub(super) shift: f64,
    pub(super) of: &'static str,
}

/// MSER-5 on the number in flight, TTFT by the order of sending, and output chunks; the latest
/// cut wins. `None` where the window is too short for any of them, by `answer_s`, the mean
/// time from an answer's first token to its last, or by the number of batches.
pub(super) fn steadiness(
    window: &Window,
    timeline: &[Tick],
    ttft: &BySending,
    answer_s: Option<f64>,
) -> Option<Steadiness> {
    let seconds = window.seconds();
    if seconds < (FEWEST * MSER_BATCH) as f64 * TICK_US as f64 / 1e6 || seconds < ANSWERS * answer_s? {
        return None;
    }
    let all = [
        ("the number in flight", Series::of_ticks(window, timeline, |tick| tick.in_flight)),
        ("TTFT", ttft.batches()),
        ("output", Series::of_ticks(window, timeline, |tick| tick.chunks)),
    ];
    let mut found: Option<Steadiness> = None;
    for (name, series) in all.iter().filter(|(_, series)| series.means.len() >= FEWEST) {
        let Some(truncation) = mser(&series.means) else { continue };
        let so_far = found.get_or_insert(Steadiness { cut_s: 0.0, shift: 0.0, of: name });
        so_far.cut_s = so_far.cut_s.max(series.starts[truncation.cut]);
        let shift = if truncation.at_limit { series.shift() } else { 0.0 };
        if shift > so_far.shift {
            (so_far.shift, so_far.of) = (shift, name);
        }
    }
    found
}

#[cfg(test)]
#[path = "steady_tests.rs"]
mod tests;
