//! Many tests at once: p values adjusted so that they can be held to one level.

/// Ranks of `p` in ascending order; what is not a number is taken as 1.
fn ascending(p: &[f64]) -> (Vec<f64>, Vec<usize>) {
    let p: Vec<f64> = p.iter().map(|&p| if p.is_nan() { 1.0 } else { p.clamp(0.0, 1.0) }).collect();
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    (p, order)
}

/// Holm's step-down adjustment (1979): the chance of a single false alarm among all is at most
/// the level that the adjusted values are held to. In the order of `p`; a NaN counts as 1.
#[must_use]
pub fn holm(p: &[f64]) -> Vec<f64> {
    let (p, order) = ascending(p);
    let mut adjusted = vec![1.0; p.len()];
    let mut least = 0.0f64;
    for (rank, &at) in order.iter().enumerate() {
        least = least.max((p.len() - rank) as f64 * p[at]).min(1.0);
        adjusted[at] = least;
    }
    adjusted
}

/// Benjamini's and Hochberg's step-up adjustment (1995): of those at or below q, a share of at
/// most q is expected to be false. In the order of `p`; a NaN counts as 1.
#[must_use]
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let (p, order) = ascending(p);
    let mut adjusted = vec![1.0; p.len()];
    let mut most = 1.0f64;
    for (rank, &at) in order.iter().enumerate().rev() {
        most = most.min(p[at] * p.len() as f64 / (rank + 1) as f64);
        adjusted[at] = most;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: [f64; 6] = [0.01, 0.04, 0.03, 0.005, 0.2, 0.03];

    fn near(got: &[f64], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() < 1e-15, "{got}, not {want}");
        }
    }

    // Both as statsmodels 0.15.0 has them: multipletests(p, method='holm') and 'fdr_bh'.
    #[test]
    fn holm_agrees_with_statsmodels() {
        near(&holm(&P), &[0.05, 0.12, 0.12, 0.03, 0.2, 0.12]);
    }

    #[test]
    fn benjamini_hochberg_agrees_with_statsmodels() {
        near(&benjamini_hochberg(&P), &[0.03, 0.048, 0.045, 0.03, 0.2, 0.045]);
    }

    #[test]
    fn one_test_is_itself_and_none_is_none() {
        near(&holm(&[0.3]), &[0.3]);
        near(&benjamini_hochberg(&[0.3]), &[0.3]);
        assert!(holm(&[]).is_empty() && benjamini_hochberg(&[]).is_empty());
        near(&holm(&[0.9, f64::NAN, 0.01]), &[1.0, 1.0, 0.03]);
        near(&benjamini_hochberg(&[0.9, f64::NAN, 0.01]), &[1.0, 1.0, 0.03]);
    }
}
