//! How two distributions differ, quantile by quantile, and how one looks.

use std::borrow::Cow;

use super::{paired_t, quantile};

/// How one quantile of the candidate lies to that of the baseline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shift {
    /// The quantile, 0 to 1.
    pub q: f64,
    /// Geometric mean of the baseline's quantile over the repeats, in the samples' unit.
    pub base: f64,
    /// The same of the candidate.
    pub cand: f64,
    /// `cand`/`base` − 1.
    pub effect: f64,
    /// Interval of `effect`; `None` with one repeat, which says nothing of scatter.
    pub low: Option<f64>,
    /// Upper end of the interval of `effect`.
    pub high: Option<f64>,
}

/// The shift function of two distributions (Doksum 1974; Rousselet et al. 2017), relative: of
/// each of `quantiles` the effect Q_cand/Q_base − 1, from the mean of ln(Q_cand/Q_base) over
/// repeats that are paired by their index, with its t interval at `level` (.95 for the usual). Each
/// interval holds for its own quantile, not for all at once. Samples need not be sorted, but may
/// be. A repeat without partner, without samples or with a quantile that isn't above 0 is left
/// out, and so is a quantile for which no pair is left.
#[must_use]
pub fn shift_function(base: &[Vec<f64>], cand: &[Vec<f64>], quantiles: &[f64], level: f64) -> Vec<Shift> {
    let pairs: Vec<(Cow<[f64]>, Cow<[f64]>)> =
        base.iter().zip(cand).map(|(base, cand)| (sorted(base), sorted(cand))).collect();
    let shift = |q: f64| {
        let log = |samples: &[f64]| quantile(samples, q).filter(|v| *v > 0.0 && v.is_finite()).map(f64::ln);
        let logs: Vec<(f64, f64)> =
            pairs.iter().filter_map(|(base, cand)| Some((log(base)?, log(cand)?))).collect();
        let n = logs.len() as f64;
        let differences: Vec<f64> = logs.iter().map(|(base, cand)| cand - base).collect();
        let interval = paired_t(&differences).map(|test| test.interval(level));
        (n > 0.0).then(|| Shift {
            q,
            base: (logs.iter().map(|(base, _)| base).sum::<f64>() / n).exp(),
            cand: (logs.iter().map(|(_, cand)| cand).sum::<f64>() / n).exp(),
            effect: (differences.iter().sum::<f64>() / n).exp_m1(),
            low: interval.map(|(low, _)| low.exp_m1()),
            high: interval.map(|(_, high)| high.exp_m1()),
        })
    };
    quantiles.iter().filter_map(|&q| shift(q)).collect()
}

fn sorted(samples: &[f64]) -> Cow<'_, [f64]> {
    if samples.is_sorted() {
        return Cow::Borrowed(samples);
    }
    let mut samples = samples.to_vec();
    samples.sort_by(f64::total_cmp);
    Cow::Owned(samples)
}

/// The empirical distribution of samples in ascending order: pairs of a value and the share of
/// samples that are at or below it, each value once, in at most `most` points. Where there are more
/// samples, ranks are taken that lie closer towards both ends (by a cosine), so that tails keep
/// their shape; the first and the last are always among them.
#[must_use]
pub fn ecdf(sorted: &[f64], most: usize) -> Vec<(f64, f64)> {
    let Some(last) = sorted.len().checked_sub(1) else { return Vec::new() };
    let rank = |i: usize| match most {
        _ if most > last => i,
        1 => last,
        _ => {
            let turn = std::f64::consts::PI * i as f64 / (most - 1) as f64;
            (0.5 * (1.0 - turn.cos()) * last as f64).round() as usize
        }
    };
    let mut points: Vec<(f64, f64)> = Vec::new();
    for i in 0..most.min(sorted.len()) {
        let value = sorted[rank(i).min(last)];
        if points.last().is_none_or(|(before, _)| *before < value) {
            let at_or_below = sorted.partition_point(|v| *v <= value);
            points.push((value, at_or_below as f64 / sorted.len() as f64));
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifts_agree_with_numpy_and_scipy() {
        // numpy 2.4.6's quantile, SciPy 1.17.1's gmean and ttest_1samp of the same samples.
        let samples = |repeat: i32, tail: f64, scale: f64| -> Vec<f64> {
            let value = |i: i32| {
                let step = if i % 20 == 0 { 40.0 * tail } else { 0.0 };
                scale * (50.0 + 30.0 * f64::from((i + 1).pow(2) + repeat).sin() + step)
            };
            (0..200).map(value).collect()
        };
        let base: Vec<_> = (0..4).map(|r| samples(r, 1.0, 1.0)).collect();
        let cand: Vec<_> = (0..4).map(|r| samples(r + 7, 1.5, 1.05 * (1.0 + 0.01 * f64::from(r)))).collect();
        let shifts = shift_function(&base, &cand, &[0.5, 0.9, 0.99], 0.95);
        let want = [
            [53.834_365_013, 57.719_830_796, 0.072_174_451_8, 0.026_674_919_3, 0.119_690_403_9],
            [79.207_324_022, 84.944_253_159, 0.072_429_276_1, 0.040_750_207_4, 0.105_072_614_0],
            [101.116_366_55, 128.403_627_50, 0.269_859_982_9, -0.015_714_788_3, 0.638_289_752_8],
        ];
        assert_eq!(shifts.len(), want.len());
        for (shift, want) in shifts.iter().zip(want) {
            let got = [shift.base, shift.cand, shift.effect, shift.low.unwrap(), shift.high.unwrap()];
            for (got, want) in got.iter().zip(want) {
                assert!((got - want).abs() < 1e-7, "q = {}: {got}, not {want}", shift.q);
            }
        }
    }

    #[test]
    fn one_repeat_has_no_interval_and_nothing_has_no_shift() {
        let shifts = shift_function(&[vec![2.0, 1.0, 3.0]], &[vec![4.0, 2.0, 6.0]], &[0.5, 1.0], 0.95);
        assert_eq!(shifts.len(), 2);
        assert!(
            (shifts[1].effect - 1.0).abs() < 1e-12 && shifts[1].low.is_none() && shifts[1].high.is_none()
        );
        assert!(shift_function(&[vec![]], &[vec![1.0]], &[0.5], 0.95).is_empty());
        assert!(shift_function(&[vec![0.0]], &[vec![1.0]], &[0.5], 0.95).is_empty());
        assert!(shift_function(&[vec![1.0]], &[], &[0.5], 0.95).is_empty());
    }

    #[test]
    fn a_distribution_has_each_value_once() {
        assert_eq!(ecdf(&[1.0, 2.0, 2.0, 4.0], 10), [(1.0, 0.25), (2.0, 0.75), (4.0, 1.0)]);
        assert_eq!(ecdf(&[1.0, 2.0, 3.0], 1), [(3.0, 1.0)]);
        assert!(ecdf(&[], 5).is_empty() && ecdf(&[1.0], 0).is_empty());
    }

    #[test]
    fn a_long_one_is_thinned_and_keeps_its_ends() {
        let samples: Vec<f64> = (1..=100_000).map(f64::from).collect();
        let points = ecdf(&samples, 200);
        assert!(points.len() <= 200 && points.len() > 190, "{}", points.len());
        assert_eq!(points[0], (1.0, 1e-5));
        assert_eq!(points.last(), Some(&(100_000.0, 1.0)));
        for (value, share) in &points {
            assert!((share - value / 1e5).abs() < 1e-12);
        }
        // A tail of one in ten thousand is still drawn.
        let tail = points.iter().filter(|(_, share)| *share > 0.999 && *share < 1.0).count();
        assert!(tail >= 3, "{tail} points above p99.9");
    }
}
