//! The Kolmogorov-Smirnov test of a sample against a distribution that is wholly known.

/// Samples up to which the p-value is exact. Beyond, the matrix power costs up to seconds, and
/// the series is within a hundredth, within two thousandths where p is below 0.1.
const EXACT_UP_TO: usize = 200;

/// What a Kolmogorov-Smirnov test came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KolmogorovSmirnov {
    /// Greatest distance between the sample's distribution and the assumed one, 0 to 1.
    pub distance: f64,
    /// Probability of a distance at least as great if the assumption holds, 0 to 1.
    pub p: f64,
}

/// Test the assumption that `sorted` (ascending) was drawn from the continuous distribution
/// whose P(X ≤ x) is `cdf`; none of its parameters may have been estimated from the sample.
/// `None` when there is no sample.
#[must_use]
pub fn kolmogorov_smirnov(sorted: &[f64], cdf: impl Fn(f64) -> f64) -> Option<KolmogorovSmirnov> {
    if sorted.is_empty() {
        return None;
    }
    let n = sorted.len();
    let distance = sorted.iter().enumerate().fold(0.0, |greatest: f64, (i, &x)| {
        let f = cdf(x);
        greatest.max((i + 1) as f64 / n as f64 - f).max(f - i as f64 / n as f64)
    });
    Some(KolmogorovSmirnov { distance, p: ks_p_value(distance, n) })
}

/// P(D ≥ `distance`) of the two-sided statistic of `n` samples (at least 1).
///
/// Up to 200 samples it is exact: Marsaglia, Tsang and Wang, "Evaluating Kolmogorov's
/// Distribution", Journal of Statistical Software 8(18), 2003. Beyond, Kolmogorov's limiting
/// series with the correction for finite samples of Stephens, "Use of the Kolmogorov-Smirnov,
/// Cramér-von Mises and Related Statistics Without Extensive Tables", Journal of the Royal
/// Statistical Society B 32(1), 1970: √n + 0.12 + 0.11/√n in the place of √n.
#[must_use]
pub fn ks_p_value(distance: f64, n: usize) -> f64 {
    if distance.is_nan() || n == 0 {
        return f64::NAN;
    }
    let nd = n as f64 * distance;
    // No sample comes nearer than half a step, and none goes further than all of it.
    if nd <= 0.5 {
        return 1.0;
    }
    if distance >= 1.0 {
        return 0.0;
    }
    let p = if n <= EXACT_UP_TO {
        1.0 - exact_cdf(n, nd)
    } else {
        let root = (n as f64).sqrt();
        limiting_tail((root + 0.12 + 0.11 / root) * distance)
    };
    p.clamp(0.0, 1.0)
}

/// Kolmogorov's limit of P(√n·D ≥ x).
fn limiting_tail(x: f64) -> f64 {
    use std::f64::consts::PI;
    if x < 1.18 {
        // The alternating series converges badly here; its theta transform has it in four terms.
        let t = -(PI * PI) / (8.0 * x * x);
        let sum: f64 = [1.0f64, 3.0, 5.0, 7.0].iter().map(|odd| (odd * odd * t).exp()).sum();
        return 1.0 - (2.0 * PI).sqrt() / x * sum;
    }
    let term = |j: f64| (-2.0 * j * j * x * x).exp();
    2.0 * (term(1.0) - term(2.0) + term(3.0) - term(4.0))
}

/// P(D < nd/n), by Durbin's matrix in the form of Marsaglia, Tsang and Wang: n!/nⁿ times the
/// middle element of Hⁿ, where H has order 2k − 1 and k − 1 < nd ≤ k.
fn exact_cdf(n: usize, nd: f64) -> f64 {
    let k = nd.ceil() as usize;
    let h = k as f64 - nd;
    let m = 2 * k - 1;
    let mut matrix = vec![0.0; m * m];
    for row in 0..m {
        for column in 0..m.min(row + 2) {
            let mut entry = 1.0;
            // The corner column and row are what is left of it at the band's edge.
            if column == 0 {
                entry -= h.powi(row as i32 + 1);
            }
            if row == m - 1 {
                entry -= h.powi((m - column) as i32);
            }
            if column == 0 && row == m - 1 && h > 0.5 {
                entry += (2.0 * h - 1.0).powi(m as i32);
            }
            matrix[row * m + column] = entry / factorial(row + 1 - column);
        }
    }
    let (power, mut exponent) = power(&matrix, m, n);
    let mut p = power[(k - 1) * m + k - 1];
    for i in 1..=n {
        p *= i as f64 / n as f64;
        if p < 1e-140 {
            p *= 1e140;
            exponent -= 140;
        }
    }
    p * 10f64.powi(exponent)
}

/// Beyond 170 infinite, which makes its entry of the matrix the 0 that it nearly is.
fn factorial(n: usize) -> f64 {
    (2..=n).map(|i| i as f64).product()
}

/// `matrix` (of order `m`) to the power of `n` ≥ 1, as a matrix and a power of ten beside it.
fn power(matrix: &[f64], m: usize, n: usize) -> (Vec<f64>, i32) {
    if n == 1 {
        return (matrix.to_vec(), 0);
    }
    let (half, exponent) = power(matrix, m, n / 2);
    let mut whole = product(&half, &half, m);
    let mut exponent = 2 * exponent;
    if n % 2 == 1 {
        whole = product(matrix, &whole, m);
    }
    // The middle element is the greatest but for small factors.
    if whole[(m / 2) * m + m / 2] > 1e140 {
        whole.iter_mut().for_each(|x| *x *= 1e-140);
        exponent += 140;
    }
    (whole, exponent)
}

fn product(a: &[f64], b: &[f64], m: usize) -> Vec<f64> {
    let mut out = vec![0.0; m * m];
    for (row, from) in out.chunks_mut(m).zip(a.chunks(m)) {
        for (&factor, other) in from.iter().zip(b.chunks(m)).filter(|(factor, _)| **factor != 0.0) {
            row.iter_mut().zip(other).for_each(|(sum, x)| *sum += factor * x);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_values_are_the_published_ones() {
        // Marsaglia, Tsang and Wang give K(10, 0.274); the others are scipy.stats.kstwo.cdf.
        let published = [
            (10, 0.274, 0.628_479_615_456_504_3),
            (20, 0.2, 0.647_279_826_376_585),
            (50, 0.15, 0.809_736_334_817_519_8),
            (100, 0.1, 0.747_307_242_993_612_7),
            (5, 0.5, 0.888),
        ];
        for (n, d, want) in published {
            let got = 1.0 - ks_p_value(d, n);
            assert!((got - want).abs() < 1e-12, "n = {n}, d = {d}: {got}");
        }
        // Far beyond where it is used: K(2000, 0.04) of the paper, K(10000, 0.01) of R.
        for (n, d, want) in [(2000, 0.04, 0.996_769_431_917_136_8), (10_000, 0.01, 0.731_780_872_037_052_6)] {
            let got = exact_cdf(n, n as f64 * d);
            assert!((got - want).abs() < 1e-12, "n = {n}, d = {d}: {got}");
        }
    }

    #[test]
    fn critical_values_are_those_of_the_printed_tables() {
        // Miller, "Table of Percentage Points of Kolmogorov Statistics", JASA 51, 1956.
        for (n, d, p) in [
            (5, 0.563_28, 0.05),
            (10, 0.409_25, 0.05),
            (10, 0.488_93, 0.01),
            (20, 0.294_08, 0.05),
            (100, 0.134_03, 0.05),
        ] {
            let got = ks_p_value(d, n);
            assert!((got - p).abs() < 2e-4 * p.max(0.05) / 0.05, "n = {n}, d = {d}: {got}");
        }
        // The limit's, by Smirnov's table.
        for (x, p) in [(0.5, 0.963_945), (1.0, 0.270_000), (1.224, 0.1), (1.358, 0.05), (1.628, 0.01)] {
            let got = limiting_tail(x);
            assert!((got - p).abs() < 1e-4, "x = {x}: {got}");
        }
    }

    #[test]
    fn the_series_goes_on_where_exactness_ends() {
        for n in [EXACT_UP_TO + 1, 1000, 2000] {
            for (x, within) in [(0.6, 0.01), (0.8, 0.01), (1.0, 0.01), (1.3, 0.002), (1.6, 0.002)] {
                let d = x / (n as f64).sqrt();
                let (series, exact) = (ks_p_value(d, n), 1.0 - exact_cdf(n, n as f64 * d));
                assert!((series - exact).abs() < within, "n = {n}, d = {d}: {series} for {exact}");
            }
        }
        // Both forms of the limit, where one takes over from the other.
        assert!((limiting_tail(1.18 - 1e-9) - limiting_tail(1.18)).abs() < 1e-8);
    }

    #[test]
    fn distances_by_hand() {
        let uniform = |x: f64| x.clamp(0.0, 1.0);
        let test = |x: &[f64]| kolmogorov_smirnov(x, uniform).unwrap();
        assert!((test(&[0.5]).distance - 0.5).abs() < 1e-15);
        // Steps of a third: 2/3 is reached at 0.2, where it should be 0.2.
        assert!((test(&[0.1, 0.2, 0.9]).distance - (2.0 / 3.0 - 0.2)).abs() < 1e-15);
        // Below the line: nothing has come before 0.7.
        assert!((test(&[0.7, 0.8, 0.9]).distance - 0.7).abs() < 1e-15);
        assert_eq!(kolmogorov_smirnov(&[], uniform), None);
    }

    #[test]
    fn what_fits_passes_and_what_does_not_fails() {
        let n = 1000;
        let even: Vec<f64> = (0..n).map(|i| (f64::from(i) + 0.5) / f64::from(n)).collect();
        assert!(kolmogorov_smirnov(&even, |x| x).unwrap().p > 0.999);
        assert!(kolmogorov_smirnov(&even, |x| x * x).unwrap().p < 1e-6);
        assert_eq!((ks_p_value(0.0, 10), ks_p_value(1.0, 10)), (1.0, 0.0));
        assert!(ks_p_value(f64::NAN, 10).is_nan());
    }
}
