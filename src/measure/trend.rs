//! A trend over the window, read from batch means as points come. Everything that is said of a
//! course over time is said by this.

use crate::record::Window;
use crate::stats::{Line, regress, student_t_quantile};

/// Trends are read from so many batch means, which makes neighbours nearly independent.
const BATCHES: usize = 10;
/// No trend is read from a shorter window, in seconds.
const TREND_SECONDS: f64 = 5.0;

/// Points (time in microseconds, value) over a window, summed by batch.
#[derive(Debug, Clone)]
pub struct Batches {
    window: Window,
    sums: [(f64, u64); BATCHES],
}

impl Batches {
    /// Of nothing yet.
    #[must_use]
    pub const fn new(window: Window) -> Self {
        Self { window, sums: [(0.0, 0); BATCHES] }
    }

    /// The width of a batch in microseconds.
    fn width(&self) -> f64 {
        self.window.end_us.saturating_sub(self.window.start_us) as f64 / BATCHES as f64
    }

    /// Take in a point at `t`, in microseconds; one outside the window counts to the nearest end.
    pub fn add(&mut self, t: u64, value: f64) {
        let place = t.saturating_sub(self.window.start_us) as f64 / self.width();
        let (sum, n) = &mut self.sums[(place as usize).min(BATCHES - 1)];
        *sum += value;
        *n += 1;
    }

    /// The mean of each batch. `None` when the window is short or a batch is empty.
    #[must_use]
    pub fn means(&self) -> Option<[f64; BATCHES]> {
        let whole = self.window.seconds() >= TREND_SECONDS && self.sums.iter().all(|(_, n)| *n > 0);
        whole.then(|| self.sums.map(|(sum, n)| sum / n as f64))
    }

    /// The line through the batch means, per second. `None` as for [`Batches::means`].
    #[must_use]
    pub fn line(&self) -> Option<Line> {
        let y = self.means()?;
        let width = self.width();
        let x: Vec<f64> = (0..BATCHES).map(|i| (i as f64 + 0.5) * width / 1e6).collect();
        regress(&x, &y)
    }

    /// The same from the window's start to its end. `None` as for [`Batches::line`], and where
    /// the line is none.
    #[must_use]
    pub fn course(&self) -> Option<Course> {
        let line = self.line().filter(|line| line.slope.is_finite())?;
        let rise = line.slope * self.window.seconds();
        // A line that comes from below nothing has its middle to go by.
        let from = if line.intercept > 0.0 { line.intercept } else { line.intercept + rise / 2.0 };
        Some(Course { from, to: line.intercept + rise, rise, line })
    }
}

/// What a quantity did over the window, by the line through its batch means.
#[derive(Debug, Clone, Copy)]
pub struct Course {
    /// Where the line begins, at the window's start; its middle where that would be below 0.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
    /// From its very start to its end.
    pub rise: f64,
    pub line: Line,
}

impl Course {
    /// Whether its slope, up or down, is more than chance, at one-sided 99 %.
    #[must_use]
    pub fn is_sure(&self) -> bool {
        self.line.t.abs() > student_t_quantile(0.99, self.line.df as f64)
    }

    /// Whether it rose to so many times what it was and more, and not by chance.
    #[must_use]
    pub fn rises(&self, times: f64) -> bool {
        self.line.slope > 0.0 && self.to >= self.from * times && self.is_sure()
    }
}
