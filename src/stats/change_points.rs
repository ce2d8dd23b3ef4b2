//! Where a series of measurements over many runs changes its level.

use super::student::student_t_cdf;

/// A place from which on the level of a series differs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChangePoint {
    /// Index of the first value of the new level.
    pub index: usize,
    /// Mean from the change point before, or from the start, up to here.
    pub before: f64,
    /// Mean from here up to the next change point, or to the end.
    pub after: f64,
    /// Two-sided p value of Student's t-test between the two.
    pub p: f64,
}

/// Change points of `series`, in order: E-divisive (Matteson and James 2014) in windows of
/// `window` values (2 and more) that overlap by half, with a t-test in place of the permutations,
/// and then a merge of those that aren't significant at `p`, weakest first (Fleming et al. 2023,
/// arXiv 2301.03034; Apache Otava, whose setting is a window of 50 and p = .001). The first pass
/// takes candidates at 10·`p`, so that a weak one can still part two strong ones.
///
/// Two details are not Otava's: the t-test's variances have n − 1 below them, and both neighbours
/// of a removed point are tested anew. The p values are those of a split chosen for being extreme,
/// so that noise crosses `p` more often than a share `p` of the time. A series with a value that
/// isn't finite has no change points.
#[must_use]
pub fn change_points(series: &[f64], window: usize, p: f64) -> Vec<ChangePoint> {
    let window = window.max(2);
    if !series.iter().all(|v| v.is_finite()) {
        return Vec::new();
    }
    let first = if p < 0.05 { 10.0 * p } else { (2.0 * p).min(1.0).max(p) };
    let mut splits: Vec<usize> = Vec::new();
    let mut start = 0;
    while start < series.len() {
        let end = (start + window).min(series.len());
        let found = divide(&series[start..end], first);
        let last = found.last().map_or(0, |last| start + last);
        splits.extend(found.iter().map(|split| start + split));
        start = last.max(start + window / 2);
    }
    splits.sort_unstable();
    splits.dedup();
    merge(series, splits, p)
}

/// Drop the least significant split until all are significant.
fn merge(series: &[f64], mut splits: Vec<usize>, p: f64) -> Vec<ChangePoint> {
    loop {
        let points = points(series, &splits);
        let weakest = (0..points.len()).max_by(|&a, &b| points[a].p.total_cmp(&points[b].p));
        match weakest {
            Some(weakest) if points[weakest].p >= p => splits.remove(weakest),
            _ => return points,
        };
    }
}

/// The splits with the levels on both sides.
fn points(series: &[f64], splits: &[usize]) -> Vec<ChangePoint> {
    let edge = |i: usize| splits.get(i).copied().unwrap_or(series.len());
    (0..splits.len())
        .map(|i| {
            let index = splits[i];
            let left = &series[if i == 0 { 0 } else { splits[i - 1] }..index];
            let right = &series[index..edge(i + 1)];
            ChangePoint { index, before: mean(left), after: mean(right), p: student(left, right) }
        })
        .collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Two-sided p of Student's t-test with pooled variance, so that one value can stand against many.
/// 1 where nothing can be said.
fn student(left: &[f64], right: &[f64]) -> f64 {
    let df = (left.len() + right.len()) as f64 - 2.0;
    if df < 1.0 || left.is_empty() || right.is_empty() {
        return 1.0;
    }
    let (mean_left, mean_right) = (mean(left), mean(right));
    let squares = |values: &[f64], mean: f64| values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
    let variance = (squares(left, mean_left) + squares(right, mean_right)) / df;
    let error = (variance * (1.0 / left.len() as f64 + 1.0 / right.len() as f64)).sqrt();
    let difference = (mean_right - mean_left).abs();
    if difference == 0.0 {
        return 1.0;
    }
    if error == 0.0 { 0.0 } else { 2.0 * student_t_cdf(-difference / error, df) }
}

/// Splits of one window, in order: the best candidate of all segments, as long as it is
/// significant at `p` within its own.
fn divide(values: &[f64], p: f64) -> Vec<usize> {
    let distances = Distances::of(values);
    let mut splits: Vec<usize> = Vec::new();
    loop {
        let mut edges = vec![0];
        edges.extend(&splits);
        edges.push(values.len());
        let best = edges
            .windows(2)
            .filter_map(|edge| {
                let (divergence, at) = distances.best(edge[0], edge[1])?;
                Some((divergence, at, edge[0], edge[1]))
            })
            .max_by(|a, b| a.0.total_cmp(&b.0));
        match best {
            Some((_, at, start, end)) if student(&values[start..at], &values[at..end]) <= p => {
                splits.push(at);
                splits.sort_unstable();
            }
            _ => return splits,
        }
    }
}

/// Sums of distances |xᵢ − xⱼ| over all i below a row and j below a column, so that any rectangle
/// of them is four look-ups.
struct Distances {
    sums: Vec<f64>,
    width: usize,
}

impl Distances {
    fn of(values: &[f64]) -> Self {
        let width = values.len() + 1;
        let mut sums = vec![0.0; width * width];
        for (i, a) in values.iter().enumerate() {
            let mut row = 0.0;
            for (j, b) in values.iter().enumerate() {
                row += (a - b).abs();
                sums[(i + 1) * width + j + 1] = sums[i * width + j + 1] + row;
            }
        }
        Self { sums, width }
    }

    fn between(&self, (a, b): (usize, usize), (c, d): (usize, usize)) -> f64 {
        let at = |i: usize, j: usize| self.sums[i * self.width + j];
        at(b, d) - at(a, d) - at(b, c) + at(a, c)
    }

    /// The greatest divergence of any `start..τ` from `τ..κ` with κ up to `end`, and that τ:
    /// nm/(n + m) times twice the mean distance across less the mean distances within.
    fn best(&self, start: usize, end: usize) -> Option<(f64, usize)> {
        let mut best: Option<(f64, usize)> = None;
        for tau in start + 1..end {
            let n = (tau - start) as f64;
            // Of a rectangle with itself each pair is counted twice, as the mean within needs it.
            let left = if n > 1.0 { self.between((start, tau), (start, tau)) / (n * (n - 1.0)) } else { 0.0 };
            for kappa in tau + 1..=end {
                let m = (kappa - tau) as f64;
                let right =
                    if m > 1.0 { self.between((tau, kappa), (tau, kappa)) / (m * (m - 1.0)) } else { 0.0 };
                let across = self.between((start, tau), (tau, kappa)) / (n * m);
                let divergence = n * m / (n + m) * (2.0 * across - left - right);
                if best.is_none_or(|(most, _)| divergence > most) {
                    best = Some((divergence, tau));
                }
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Levels for a number of values each, with noise·sin i² on them.
    fn series(levels: &[(usize, f64)], noise: f64) -> Vec<f64> {
        let levels = levels.iter().flat_map(|&(n, level)| std::iter::repeat_n(level, n));
        levels.enumerate().map(|(i, level)| level + noise * ((i * i) as f64).sin()).collect()
    }

    /// Index, mean before, mean after, p.
    type Want = (usize, f64, f64, f64);

    fn check(series: &[f64], want: &[Want]) {
        let got = change_points(series, 50, 0.001);
        let places: Vec<usize> = got.iter().map(|c| c.index).collect();
        assert_eq!(places, want.iter().map(|w| w.0).collect::<Vec<_>>());
        for (got, &(_, before, after, p)) in got.iter().zip(want) {
            assert!((got.before - before).abs() < 1e-9, "{got:?}");
            assert!((got.after - after).abs() < 1e-9, "{got:?}");
            assert!((got.p / p - 1.0).abs() < 1e-6, "{got:?}, p not {p}");
        }
    }

    // Places and means are those of compute_change_points of Apache Otava 0.8.0 (window 50, p .001),
    // p values those of SciPy 1.16.3's ttest_ind between the same segments.
    #[test]
    fn agrees_with_otava() {
        let one = [(20, 99.667_959_402_581_23, 104.928_686_930_687_69, 2.376_148_260_111_224_6e-14)];
        check(&series(&[(20, 100.0), (20, 105.0)], 2.0), &one);
        let two = [
            (30, 99.666_418_839_329_18, 110.065_432_910_675_97, 1.051_324_485_178_420_3e-32),
            (55, 110.065_432_910_675_97, 104.356_386_144_061_2, 9.387_844_656_165_522e-24),
        ];
        check(&series(&[(30, 100.0), (25, 110.0), (40, 104.0)], 2.0), &two);
        let short = [(5, 10.012_533_019_484_598, 11.913_160_708_642_232, 4.635_683_241_243_845e-6)];
        check(&series(&[(5, 10.0), (4, 12.0)], 0.3), &short);
        // Here Otava drops a weak point after this one and keeps the old mean behind it, 10.3348:
        // the mean is that of the last 37 values, summed in Python.
        let gentle = [(43, 9.950_230_809_051_87, 10.394_585_699_682_62, 2.100_574_021_811_495_8e-7)];
        check(&series(&[(40, 10.0), (40, 10.3)], 0.5), &gentle);
    }

    #[test]
    fn agrees_with_otava_over_several_windows() {
        let want = [
            (62, 99.922_290_064_094_4, 98.463_903_106_434_7, 2.554_734_895_301_3e-12),
            (130, 98.463_903_106_434_7, 103.043_313_829_743_84, 9.333_666_095_443_176e-45),
            (180, 103.043_313_829_743_84, 99.166_960_354_166_28, 6.303_299_549_169_813e-22),
        ];
        check(&series(&[(60, 100.0), (70, 98.5), (50, 103.0), (20, 99.0)], 1.5), &want);
    }

    #[test]
    fn a_blip_is_no_change_and_a_last_value_may_be() {
        check(&series(&[(80, 50.0)], 3.0), &[]);
        check(&series(&[(15, 10.0), (2, 14.0), (15, 10.0)], 0.3), &[]);
        let last = [(20, 9.950_193_910_387_183, 13.744_724_192_108_247, 2.246_128_192_337_901_7e-13)];
        check(&series(&[(20, 10.0), (1, 14.0)], 0.3), &last);
    }

    #[test]
    fn without_noise_a_step_is_certain_and_a_level_is_none() {
        let points = change_points(&[1.0, 1.0, 1.0, 2.0, 2.0, 2.0], 50, 0.001);
        assert_eq!(points, [ChangePoint { index: 3, before: 1.0, after: 2.0, p: 0.0 }]);
        assert!(change_points(&[5.0; 30], 50, 0.001).is_empty());
        assert!(change_points(&[], 50, 0.001).is_empty());
        assert!(change_points(&[1.0, 2.0], 50, 0.001).is_empty());
        assert!(change_points(&[1.0, f64::NAN, 2.0], 50, 0.001).is_empty());
    }

    /// A white series that is normal, by Box and Muller.
    fn noise(seed: u64, n: usize) -> Vec<f64> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut normal = || {
            let (u, v): (f64, f64) = (random.random(), random.random());
            (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
        };
        (0..n).map(|_| normal()).collect()
    }

    #[test]
    fn noise_alone_seldom_changes() {
        // Of 200 series of 40 runs without a change: the split is the most extreme of many, so
        // that more than p of them have one, but not more than one in twenty.
        let alarms = (0..200).filter(|&seed| !change_points(&noise(seed, 40), 50, 0.001).is_empty());
        let alarms = alarms.count();
        assert!(alarms <= 10, "{alarms} of 200");
        // And a change of three standard deviations in the middle is found in nearly all.
        let found = (0..200).filter(|&seed| {
            let stepped: Vec<f64> =
                noise(seed, 40).iter().enumerate().map(|(i, v)| v + if i < 20 { 0.0 } else { 3.0 }).collect();
            change_points(&stepped, 50, 0.001).iter().any(|c| c.index.abs_diff(20) <= 1)
        });
        let found = found.count();
        assert!(found >= 190, "{found} of 200");
    }
}
