//! A trend over the window, read from batch means as points come.

use crate::record::Window;
use crate::stats::{Line, regress};

/// Trends are read from so many batch means, which makes neighbours nearly independent.
const BATCHES: usize = 10;
/// No trend is read from a shorter window, in seconds.
const TREND_SECONDS: f64 = 5.0;

/// Points (time in microseconds, value) over a window, summed by batch.
#[derive(Debug, Clone)]
pub(super) struct Batches {
    window: Window,
    sums: [(f64, u64); BATCHES],
}

impl Batches {
    pub(super) const fn new(window: Window) -> Self {
        Self { window, sums: [(0.0, 0); BATCHES] }
    }

    /// The width of a batch in microseconds.
    fn width(&self) -> f64 {
        self.window.end_us.saturating_sub(self.window.start_us) as f64 / BATCHES as f64
    }

    pub(super) fn add(&mut self, t: u64, value: f64) {
        let place = t.saturating_sub(self.window.start_us) as f64 / self.width();
        let (sum, n) = &mut self.sums[(place as usize).min(BATCHES - 1)];
        *sum += value;
        *n += 1;
    }

    /// The line through the batch means, per second. `None` when the window is short or a
    /// batch is empty.
    pub(super) fn line(&self) -> Option<Line> {
        if self.window.seconds() < TREND_SECONDS || self.sums.iter().any(|(_, n)| *n == 0) {
            return None;
        }
        let width = self.width();
        let x: Vec<f64> = (0..BATCHES).map(|i| (i as f64 + 0.5) * width / 1e6).collect();
        let y: Vec<f64> = self.sums.iter().map(|(sum, n)| sum / *n as f64).collect();
        regress(&x, &y)
    }
}
