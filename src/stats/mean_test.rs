//! Student's t on a mean: is it away from zero, and is it near enough to zero.

use super::Moments;
use super::student::{student_t_cdf, student_t_quantile};

/// A t-test of a mean, or of a difference of two, against zero.
///
/// Where nothing varies, `se` is 0: `t` is then infinite and `p` 0, or both say "no difference"
/// (`t` 0, `p` 1) where the mean is 0 as well.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeanTest {
    /// Number of pairs, or of the smaller of two samples.
    pub n: usize,
    /// The mean that is tested, in the unit of the samples.
    pub mean: f64,
    /// Its standard error.
    pub se: f64,
    /// Degrees of freedom; not whole in Welch's test.
    pub df: f64,
    /// The mean over its standard error.
    pub t: f64,
    /// Two-sided p value, 0 to 1.
    pub p: f64,
}

impl MeanTest {
    fn new(n: usize, mean: f64, se: f64, df: f64) -> Self {
        let t = if mean == 0.0 { 0.0 } else { mean / se };
        // Of the lower tail: the upper one would be lost in 1 − (1 − p).
        let p = if t.is_infinite() { 0.0 } else { (2.0 * student_t_cdf(-t.abs(), df)).min(1.0) };
        Self { n, mean, se, df, t, p }
    }

    /// The two-sided interval of the mean that holds it with probability `level` (strictly
    /// between 0 and 1; .95 for the usual one).
    #[must_use]
    pub fn interval(&self, level: f64) -> (f64, f64) {
        let half = student_t_quantile(0.5 + 0.5 * level, self.df) * self.se;
        (self.mean - half, self.mean + half)
    }

    /// Equivalence to zero by two one-sided tests at 5 % (Schuirmann 1987): the 90 % interval
    /// lies wholly inside ±`margin`.
    #[must_use]
    pub fn within(&self, margin: f64) -> bool {
        let (low, high) = self.interval(0.90);
        low > -margin && high < margin
    }
}

/// Mean, squared standard error and n of samples; `None` below two, or where one isn't finite.
fn sample(values: &[f64]) -> Option<(f64, f64, f64)> {
    if !values.iter().all(|v| v.is_finite()) {
        return None;
    }
    let moments = Moments::of(values);
    let n = moments.n() as f64;
    Some((moments.mean()?, moments.std()?.powi(2) / n, n))
}

/// Student's paired t-test: are the differences of pairs zero on average? `None` below two
/// pairs, or where a difference is not finite.
#[must_use]
pub fn paired_t(differences: &[f64]) -> Option<MeanTest> {
    let (mean, squared, n) = sample(differences)?;
    Some(MeanTest::new(differences.len(), mean, squared.sqrt(), n - 1.0))
}

/// Welch's t-test of mean(`b`) − mean(`a`), with the degrees of freedom of Welch and
/// Satterthwaite. `None` where either sample has fewer than two values, or one that is not finite.
#[must_use]
pub fn welch(a: &[f64], b: &[f64]) -> Option<MeanTest> {
    let ((mean_a, var_a, n_a), (mean_b, var_b, n_b)) = (sample(a)?, sample(b)?);
    let squared = var_a + var_b;
    let df = if squared > 0.0 {
        squared.powi(2) / (var_a.powi(2) / (n_a - 1.0) + var_b.powi(2) / (n_b - 1.0))
    } else {
        n_a + n_b - 2.0
    };
    Some(MeanTest::new(a.len().min(b.len()), mean_b - mean_a, squared.sqrt(), df))
}

/// What [`repeats_to_settle`] says at most: more than anyone will take.
pub const MOST_REPEATS: u32 = 1_000_000;

/// The repeats (pairs) after which a difference as large as `margin` shows at level `alpha`
/// (two-sided) with probability 1 − `beta`, when differences scatter by `std`: the least R ≥ 2
/// with R ≥ ((t(1 − α/2; R − 1) + t(1 − β; R − 1))·s/m)². `std` and `margin` share a unit;
/// `alpha` and `beta` lie strictly between 0 and 1. [`MOST_REPEATS`] where more would be needed,
/// as for a margin of 0.
#[must_use]
pub fn repeats_to_settle(std: f64, margin: f64, alpha: f64, beta: f64) -> u32 {
    let enough = |repeats: u32| {
        let df = f64::from(repeats - 1);
        let t = student_t_quantile(1.0 - alpha / 2.0, df) + student_t_quantile(1.0 - beta, df);
        f64::from(repeats) >= (t * std / margin).powi(2)
    };
    // What is enough stays enough: t falls as R rises.
    let (mut low, mut high) = (2, MOST_REPEATS);
    while low < high {
        let middle = low + (high - low) / 2;
        if enough(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: f64, want: f64) {
        assert!((got - want).abs() <= 1e-9 * want.abs().max(1e-300), "{got}, not {want}");
    }

    #[test]
    fn paired_agrees_with_scipy() {
        // SciPy 1.17.1: stats.ttest_1samp(d, 0) and its confidence_interval(.95), (.90).
        let test = paired_t(&[0.021, 0.034, -0.012, 0.045, 0.008]).unwrap();
        assert_eq!(test.n, 5);
        near(test.mean, 0.0192);
        near(test.se, 0.009_966_945_369_570_357);
        near(test.df, 4.0);
        near(test.t, 1.926_367_536_699_727);
        near(test.p, 0.126_342_219_458_781_55);
        let (low, high) = test.interval(0.95);
        near(low, -0.008_472_676_685_117_43);
        near(high, 0.046_872_676_685_117_44);
        // The 90 % interval is −0.00205 … 0.04045.
        assert!(test.within(0.0405) && !test.within(0.0404));
    }

    #[test]
    fn small_p_values_are_not_lost() {
        // SciPy 1.17.1: stats.ttest_1samp(d, 0).
        let test = paired_t(&[1.0, 1.01, 0.99, 1.02, 0.98, 1.0, 1.005, 0.995]).unwrap();
        near(test.t, 230.940_107_675_850_21);
        near(test.p, 7.535_330_895_406_143e-15);
    }

    #[test]
    fn welch_agrees_with_scipy() {
        // SciPy 1.17.1: stats.ttest_ind(b, a, equal_var=False).
        let a = [1.2, 1.5, 1.1, 1.9, 1.4, 1.3];
        let b = [1.8, 2.4, 1.7, 2.2];
        let test = welch(&a, &b).unwrap();
        assert_eq!(test.n, 4);
        near(test.t, 3.100_868_364_730_213);
        near(test.df, 5.814_635_091_188_974);
        near(test.p, 0.021_975_517_946_024_373);
        let (low, high) = test.interval(0.95);
        near(low, 0.127_972_798_959_953_12);
        near(high, 1.122_027_201_040_047_4);
        let back = welch(&b, &a).unwrap();
        near(back.t, -test.t);
        near(back.p, test.p);
    }

    #[test]
    fn without_scatter_a_difference_is_certain_and_none_is_none() {
        let away = paired_t(&[0.5; 3]).unwrap();
        assert_eq!((away.t, away.p, away.interval(0.95)), (f64::INFINITY, 0.0, (0.5, 0.5)));
        let none = paired_t(&[0.0; 3]).unwrap();
        assert_eq!((none.t, none.p), (0.0, 1.0));
        assert!(none.within(1e-9));
        let below = welch(&[2.0, 2.0], &[1.0, 1.0, 1.0]).unwrap();
        assert_eq!((below.t, below.p, below.df), (f64::NEG_INFINITY, 0.0, 3.0));
    }

    #[test]
    fn too_few_or_not_finite_is_none() {
        assert_eq!(paired_t(&[1.0]), None);
        assert_eq!(paired_t(&[1.0, f64::NEG_INFINITY, 2.0]), None);
        assert_eq!(welch(&[1.0, 2.0], &[1.0]), None);
        assert_eq!(welch(&[1.0, f64::NAN], &[1.0, 2.0]), None);
    }

    #[test]
    fn repeats_agree_with_scipys_quantiles() {
        // The least R by stats.t.ppf of SciPy 1.17.1, counted up from 2.
        let of = [(0.05, 0.05, 13), (0.1, 0.05, 45), (0.02, 0.1, 3), (0.5, 0.05, 1_053)];
        for (std, margin, want) in of {
            assert_eq!(repeats_to_settle(std, margin, 0.05, 0.1), want, "{std}/{margin}");
        }
        assert_eq!(repeats_to_settle(0.1, 0.05, 0.01, 0.2), 50);
        assert_eq!(repeats_to_settle(0.0, 0.05, 0.05, 0.1), 2);
        assert_eq!(repeats_to_settle(0.1, 0.0, 0.05, 0.1), MOST_REPEATS);
    }
}
