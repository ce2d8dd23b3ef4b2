//! Whether two series rise and fall together, by ranks.

use super::student_t_cdf;

/// Spearman's rank correlation of two series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spearman {
    /// −1 to 1.
    pub rho: f64,
    /// Chance of one as far from 0 between unrelated series, two-sided.
    pub p: f64,
    /// Pairs.
    pub n: u64,
}

/// Spearman's ρ of values taken one after the other; equal ones share their mean rank. Neighbours
/// of a series in time are alike, so its p counts as many pairs as independent ones would tell as
/// much: `n·(1 − a·b)/(1 + a·b)`, with `a` and `b` the ranks' correlations with their neighbours,
/// where both are above 0. `None` below four pairs, or when all of one series are equal. Values
/// beyond the shorter of the two slices are left out.
#[must_use]
pub fn spearman(x: &[f64], y: &[f64]) -> Option<Spearman> {
    let n = x.len().min(y.len());
    if n < 4 {
        return None;
    }
    let (x, y) = (ranks(&x[..n]), ranks(&y[..n]));
    let rho = pearson(&x, &y)?;
    let next = |ranks: &[f64]| pearson(&ranks[..n - 1], &ranks[1..]).unwrap_or(0.0).max(0.0);
    let alike = next(&x) * next(&y);
    let effective = n as f64 * (1.0 - alike) / (1.0 + alike);
    let df = effective - 2.0;
    let p = if df <= 0.0 {
        1.0
    } else if rho.abs() >= 1.0 {
        0.0
    } else {
        let t = rho.abs() * (df / (1.0 - rho * rho)).sqrt();
        2.0 * (1.0 - student_t_cdf(t, df))
    };
    Some(Spearman { rho, p, n: n as u64 })
}

/// Ranks from 1; equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut at = 0;
    while at < order.len() {
        let same = order[at..].iter().take_while(|&&i| values[i] == values[order[at]]).count().max(1);
        let mean = at as f64 + (same + 1) as f64 / 2.0;
        order[at..at + same].iter().for_each(|&i| ranks[i] = mean);
        at += same;
    }
    ranks
}

fn pearson(x: &[f64], y: &[f64]) -> Option<f64> {
    let n = x.len() as f64;
    let (mean_x, mean_y) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let (mut sxx, mut sxy, mut syy) = (0.0, 0.0, 0.0);
    for (a, b) in x.iter().zip(y) {
        sxx += (a - mean_x) * (a - mean_x);
        sxy += (a - mean_x) * (b - mean_y);
        syy += (b - mean_y) * (b - mean_y);
    }
    (sxx > 0.0 && syy > 0.0).then(|| (sxy / (sxx * syy).sqrt()).clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worked_example() {
        // IQ and hours of television, an example often worked by hand: ρ = −29/165.
        let iq = [106.0, 100.0, 86.0, 101.0, 99.0, 103.0, 97.0, 113.0, 112.0, 110.0];
        let hours = [7.0, 27.0, 2.0, 50.0, 28.0, 29.0, 20.0, 12.0, 6.0, 17.0];
        let found = spearman(&iq, &hours).unwrap();
        assert!((found.rho + 29.0 / 165.0).abs() < 1e-12, "{found:?}");
        // Neighbours are not alike here, so all ten pairs count.
        assert!((found.p - 0.627_188).abs() < 1e-5, "{found:?}");
    }

    #[test]
    fn equal_values_share_their_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0, 3.0]), [4.0, 1.0, 4.0, 2.0, 4.0]);
        assert_eq!(spearman(&[1.0; 5], &[1.0, 2.0, 3.0, 4.0, 5.0]), None);
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0]), None);
    }

    #[test]
    fn what_merely_drifts_is_less_sure_than_what_goes_up_and_down() {
        let noise = |i: usize| ((i * 7919) % 13) as f64;
        let drift: Vec<f64> = (0..20).map(|i| i as f64 * 10.0 + noise(i)).collect();
        let other: Vec<f64> = (0..20).map(|i| i as f64 * 10.0 + noise(i + 5)).collect();
        let up_and_down: Vec<f64> = (0..20).map(noise).collect();
        let follows: Vec<f64> =
            up_and_down.iter().enumerate().map(|(i, v)| v + (i % 3) as f64 * 0.2).collect();
        let (slow, fast) = (spearman(&drift, &other).unwrap(), spearman(&up_and_down, &follows).unwrap());
        assert!(slow.rho > 0.95 && fast.rho > 0.95, "{slow:?} {fast:?}");
        assert!(slow.p > 10.0 * fast.p && fast.p < 1e-6, "{slow:?} {fast:?}");
    }
}
