//! How many independent samples a dependent series is worth.

/// Lags looked at before a series is halved.
const LAGS: usize = 512;

/// Σ a·b / n in eight sums, so that the compiler can do them side by side.
fn covariance(values: &[f64], lag: usize) -> f64 {
    let (a, b) = (&values[..values.len() - lag], &values[lag..]);
    let mut sums = [0.0f64; 8];
    let (chunks_a, chunks_b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = chunks_a.remainder().iter().zip(chunks_b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in chunks_a.zip(chunks_b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    (sums.iter().sum::<f64>() + rest) / values.len() as f64
}

/// γ₀ + 2 Σ γ_k of values whose mean is 0, over Geyer's initial positive sequence; `None` when
/// the sequence is still positive after [`LAGS`] lags.
fn long_run_variance(values: &[f64]) -> Option<f64> {
    let mut sum = -covariance(values, 0);
    for lag in (0..values.len() - 1).step_by(2) {
        if lag >= LAGS {
            return None;
        }
        let pair = covariance(values, lag) + covariance(values, lag + 1);
        if pair <= 0.0 {
            break;
        }
        sum += 2.0 * pair;
    }
    Some(sum)
}

/// The number of independent samples whose mean is as sure as that of these `values`, in the order
/// in which they came: n / (1 + 2 Σ ρ_k), summed over the initial positive sequence (Geyer 1992,
/// "Practical Markov chain Monte Carlo": pairs ρ₂ₘ + ρ₂ₘ₊₁ up to the first that isn't positive).
/// Never above n, and at least 1 but for an empty series (0). Values that are all alike count in
/// full.
///
/// Of a series that is correlated over more than 512 lags, means of two neighbours are taken, and
/// of them again, until 512 lags reach: the variance of the whole's mean stays what it is, and 10⁵
/// values take at most 10⁸ products.
#[must_use]
pub fn effective_n(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    if values.len() < 2 {
        return n;
    }
    let mean = values.iter().sum::<f64>() / n;
    let mut values: Vec<f64> = values.iter().map(|v| v - mean).collect();
    let variance = covariance(&values, 0);
    // What rounding leaves of a constant is no variance.
    if variance <= (mean * 1e-14).powi(2) || !variance.is_finite() {
        return n;
    }
    loop {
        if let Some(long_run) = long_run_variance(&values) {
            let of_mean = long_run / values.len() as f64;
            return if of_mean > 0.0 { (variance / of_mean).clamp(1.0, n) } else { n };
        }
        values = values.chunks_exact(2).map(|pair| 0.5 * (pair[0] + pair[1])).collect();
    }
}

/// [`effective_n`] of a share: `above` says of each sample, in order, whether it lies above the
/// limit or quantile in question.
#[must_use]
pub fn effective_share_n(above: &[bool]) -> f64 {
    let values: Vec<f64> = above.iter().map(|&above| f64::from(u8::from(above))).collect();
    effective_n(&values)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// x₀ = 0, xᵢ = φ·xᵢ₋₁ + sin i².
    fn series(phi: f64, n: u32) -> Vec<f64> {
        let mut x = 0.0;
        let mut values = vec![x];
        for i in 1..n {
            x = phi * x + (f64::from(i) * f64::from(i)).sin();
            values.push(x);
        }
        values
    }

    #[test]
    fn agrees_with_numpy() {
        // Geyer's sum over numpy 2.4.6's correlate(x, x, 'full') of the same series.
        let of = [(0.8, 400, 46.092_136_772_484_63), (0.98, 2_000, 84.172_934_595_895_92)];
        for (phi, n, want) in of {
            let got = effective_n(&series(phi, n));
            assert!((got - want).abs() < 1e-6, "φ = {phi}: {got}, not {want}");
        }
        // There 401.2 and 1,778 of 400.
        assert_eq!(effective_n(&series(0.0, 400)), 400.0);
        assert_eq!(effective_n(&series(-0.5, 400)), 400.0);
    }

    #[test]
    fn a_share_counts_its_indicator() {
        let above: Vec<bool> = (0..1_000).map(|i| i % 100 < 50).collect();
        let got = effective_share_n(&above);
        assert!((1.0..100.0).contains(&got), "{got}");
        let alike = effective_share_n(&[false; 70]);
        assert_eq!(alike, 70.0);
    }

    #[test]
    fn nothing_and_constants() {
        assert_eq!((effective_n(&[]), effective_n(&[3.0]), effective_n(&[0.1; 9])), (0.0, 1.0, 9.0));
    }
}
