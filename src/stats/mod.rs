//! Statistics as pure functions on slices: no clock, no I/O, no type of this crate.

mod beta;
mod change_points;
mod independence;
mod isotonic;
mod kneedle;
mod ks;
mod mean_test;
mod mser;
mod multiple;
mod shift;
mod spearman;
mod stopping;
mod student;
mod usl;

pub use beta::beta_cdf;
pub use change_points::{ChangePoint, change_points};
pub use independence::{effective_n, effective_share_n};
pub use isotonic::isotonic;
pub use kneedle::kneedle;
pub use ks::{KolmogorovSmirnov, kolmogorov_smirnov, ks_p_value};
pub use mean_test::{MOST_REPEATS, MeanTest, paired_t, repeats_to_settle, welch};
pub use mser::{MSER_BATCH, Truncation, mser};
pub use multiple::{benjamini_hochberg, holm};
pub use shift::{Shift, ecdf, shift_function};
pub use spearman::{Spearman, spearman};
pub use stopping::{Share, Stopping, early_stopping};
pub use student::{student_t_cdf, student_t_quantile};
pub use usl::{USL_LEVELS, Usl, usl};

/// Where a quantile lies among samples in ascending order: `share` of the way from rank `low`
/// to rank `high`, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    pub low: u64,
    pub high: u64,
    pub share: f64,
}

/// The place of quantile `q` (0 to 1) among `n` samples, by the rule that R calls type 7:
/// linear between the order statistics at `(n − 1)·q`. `None` when there is no sample.
#[must_use]
pub fn place(n: u64, q: f64) -> Option<Place> {
    let last = n.checked_sub(1)?;
    let place = q.clamp(0.0, 1.0) * last as f64;
    let low = place.floor() as u64;
    Some(Place { low, high: (low + 1).min(last), share: place - low as f64 })
}

/// Quantile `q` (0 to 1) of samples sorted in ascending order, at its [`place`]. `None` when
/// there is no sample.
#[must_use]
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let Place { low, high, share } = place(sorted.len() as u64, q)?;
    let (low, high) = (sorted[low as usize], sorted[high as usize]);
    Some(low + (high - low) * share)
}

/// Running mean and variance by Welford's method: one pass, no cancellation.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Moments {
    n: u64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// Of all `samples`.
    #[must_use]
    pub fn of(samples: &[f64]) -> Self {
        let mut moments = Self::default();
        for &x in samples {
            moments.add(x);
        }
        moments
    }

    /// Take one more sample in.
    pub fn add(&mut self, x: f64) {
        self.n += 1;
        let delta = x - self.mean;
        self.mean += delta / self.n as f64;
        self.squares += delta * (x - self.mean);
    }

    /// Number of samples.
    #[must_use]
    pub const fn n(&self) -> u64 {
        self.n
    }

    /// Their mean; `None` without a sample.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.n > 0).then_some(self.mean)
    }

    /// Standard deviation with n − 1; `None` below two samples.
    #[must_use]
    pub fn std(&self) -> Option<f64> {
        (self.n > 1).then(|| (self.squares / (self.n - 1) as f64).max(0.0).sqrt())
    }
}

/// A least-squares line through points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    pub slope: f64,
    pub intercept: f64,
    /// The slope over its standard error; infinite where the points lie on the line.
    pub t: f64,
    /// Degrees of freedom of `t`.
    pub df: u64,
}

/// Least-squares line of `y` on `x`. `None` below three points, or when all `x` are equal.
/// Points beyond the shorter of the two slices are left out.
#[must_use]
pub fn regress(x: &[f64], y: &[f64]) -> Option<Line> {
    let n = x.len().min(y.len());
    if n < 3 {
        return None;
    }
    let (x, y) = (&x[..n], &y[..n]);
    let mean_x = x.iter().sum::<f64>() / n as f64;
    let mean_y = y.iter().sum::<f64>() / n as f64;
    let (mut sxx, mut sxy, mut syy) = (0.0, 0.0, 0.0);
    for (&a, &b) in x.iter().zip(y) {
        sxx += (a - mean_x) * (a - mean_x);
        sxy += (a - mean_x) * (b - mean_y);
        syy += (b - mean_y) * (b - mean_y);
    }
    if sxx <= 0.0 {
        return None;
    }
    let slope = sxy / sxx;
    let df = n as u64 - 2;
    let residual = (syy - slope * sxy).max(0.0) / df as f64;
    let t = if slope == 0.0 { 0.0 } else { slope / (residual / sxx).sqrt() };
    Some(Line { slope, intercept: mean_y - slope * mean_x, t, df })
}

/// The slope of Theil (1950) and Sen (1968): the median of the slopes between all pairs of points
/// with different `x`. `None` where there is no such pair. Points beyond the shorter of the two
/// slices are left out.
#[must_use]
pub fn theil_sen(x: &[f64], y: &[f64]) -> Option<f64> {
    let points: Vec<(f64, f64)> = x.iter().copied().zip(y.iter().copied()).collect();
    let pairs = points.iter().enumerate().flat_map(|(i, a)| points[..i].iter().map(move |b| (a, b)));
    let mut slopes: Vec<f64> =
        pairs.filter(|(a, b)| a.0 != b.0).map(|(a, b)| (a.1 - b.1) / (a.0 - b.0)).collect();
    slopes.sort_by(f64::total_cmp);
    quantile(&slopes, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_type_7() {
        // R: quantile(c(1, 2, 3, 4, 10), c(.25, .5, .9, .95)) is 2, 3, 7.6, 8.8.
        let x = [1.0, 2.0, 3.0, 4.0, 10.0];
        for (q, want) in [(0.0, 1.0), (0.25, 2.0), (0.5, 3.0), (0.9, 7.6), (0.95, 8.8), (1.0, 10.0)] {
            assert!((quantile(&x, q).unwrap() - want).abs() < 1e-12, "q = {q}");
        }
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[7.0], 0.99), Some(7.0));
    }

    #[test]
    fn moments_survive_a_large_offset() {
        // NIST's own trap for one-pass variance: 10⁹ + {4, 7, 13, 16} has variance 30.
        let m = Moments::of(&[1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0]);
        assert_eq!(m.n(), 4);
        assert_eq!(m.mean(), Some(1e9 + 10.0));
        assert!((m.std().unwrap() - 30f64.sqrt()).abs() < 1e-9);
        assert_eq!(Moments::of(&[1.0]).std(), None);
        assert_eq!(Moments::default().mean(), None);
    }

    #[test]
    fn regression_agrees_with_the_textbook() {
        // Anscombe's first set: slope 0.5001, intercept 3.0001, t of the slope 4.24, 9 df.
        let x = [10.0, 8.0, 13.0, 9.0, 11.0, 14.0, 6.0, 4.0, 12.0, 7.0, 5.0];
        let y = [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68];
        let line = regress(&x, &y).unwrap();
        assert!((line.slope - 0.500_091).abs() < 1e-6);
        assert!((line.intercept - 3.000_091).abs() < 1e-6);
        assert!((line.t - 4.241).abs() < 1e-3);
        assert_eq!(line.df, 9);
    }

    #[test]
    fn regression_of_nothing_is_none() {
        assert_eq!(regress(&[1.0, 2.0], &[1.0, 2.0]), None);
        assert_eq!(regress(&[1.0; 5], &[1.0, 2.0, 3.0, 4.0, 5.0]), None);
        assert_eq!(regress(&[1.0, 2.0, 3.0], &[4.0, 4.0, 4.0]).unwrap().t, 0.0);
    }

    #[test]
    fn the_median_of_slopes_minds_no_outlier() {
        assert_eq!(theil_sen(&[0.0, 1.0, 2.0, 4.0], &[1.0, 3.0, 5.0, 9.0]), Some(2.0));
        assert_eq!(theil_sen(&[0.0, 1.0, 2.0, 3.0, 4.0], &[1.0, 3.0, 5.0, 99.0, 9.0]), Some(2.0));
        assert_eq!(theil_sen(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(theil_sen(&[], &[]), None);
    }
}
