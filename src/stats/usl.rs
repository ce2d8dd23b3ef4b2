//! The Universal Scalability Law, fitted to throughput over load.

/// Distinct loads that a fit needs at least.
pub const USL_LEVELS: usize = 6;

/// A fitted Universal Scalability Law (Gunther 2007), X(N) = γN/(1 + α(N − 1) + βN(N − 1)).
#[derive(Debug, Clone, PartialEq)]
pub struct Usl {
    /// Throughput of one user with nobody else, in the unit of the throughputs; above 0.
    pub gamma: f64,
    /// Contention: the share of work that has to wait in line; 0 and more.
    pub alpha: f64,
    /// Coherency: what each pair of users costs; 0 and more.
    pub beta: f64,
    /// Share of the throughputs' variance that the fit explains, 1 at best.
    pub r2: f64,
    /// Measured less fitted throughput, in the order given.
    pub residuals: Vec<f64>,
    /// The load of the greatest throughput, √((1 − α)/β). `None` where throughput never falls
    /// (β = 0), or never rises (α ≥ 1). Whether it lies within what was measured is not asked.
    pub peak: Option<f64>,
}

impl Usl {
    /// Throughput that the fit has at load `n`. The fit says nothing of loads far beyond those
    /// measured.
    #[must_use]
    pub fn at(&self, n: f64) -> f64 {
        throughput([self.gamma, self.alpha, self.beta], n)
    }
}

/// γ, α and β.
type Parameters = [f64; 3];

fn throughput([gamma, alpha, beta]: Parameters, n: f64) -> f64 {
    gamma * n / (1.0 + alpha * (n - 1.0) + beta * n * (n - 1.0))
}

/// Σ (x − X(n))²; infinite where the law breaks down.
fn squares(parameters: Parameters, n: &[f64], x: &[f64]) -> f64 {
    let sum: f64 = n.iter().zip(x).map(|(&n, x)| (x - throughput(parameters, n)).powi(2)).sum();
    if sum.is_finite() { sum } else { f64::INFINITY }
}

/// Solution of a symmetric system of three equations by elimination with pivots; rows whose
/// `free` is false are left out and solved by 0. `None` where it has none.
fn solve(mut a: [[f64; 4]; 3], free: [bool; 3]) -> Option<Parameters> {
    for i in (0..3).filter(|&i| !free[i]) {
        for row in &mut a {
            row[i] = 0.0;
        }
        a[i] = [0.0; 4];
        a[i][i] = 1.0;
    }
    for column in 0..3 {
        let pivot = (column..3).max_by(|&i, &j| a[i][column].abs().total_cmp(&a[j][column].abs()))?;
        a.swap(column, pivot);
        let top = a[column];
        if top[column] == 0.0 || !top[column].is_finite() {
            return None;
        }
        for (_, row) in a.iter_mut().enumerate().filter(|(i, _)| *i != column) {
            let factor = row[column] / top[column];
            for (cell, top) in row.iter_mut().zip(top) {
                *cell -= factor * top;
            }
        }
    }
    let solved = [a[0][3] / a[0][0], a[1][3] / a[1][1], a[2][3] / a[2][2]];
    solved.iter().all(|v| v.is_finite()).then_some(solved)
}

/// A start near the end: N/X is linear in 1/γ, α/γ and β/γ, weighted so that its errors are
/// those of X.
fn start(n: &[f64], x: &[f64]) -> Parameters {
    let mut normal = [[0.0; 4]; 3];
    for (&n, &x) in n.iter().zip(x).filter(|(_, x)| **x > 0.0) {
        let basis = [1.0, n - 1.0, n * (n - 1.0), n / x];
        let weight = (x * x / n).powi(2);
        for i in 0..3 {
            for j in 0..4 {
                normal[i][j] += weight * basis[i] * basis[j];
            }
        }
    }
    match solve(normal, [true; 3]) {
        Some([inverse, alpha, beta]) if inverse > 0.0 => {
            [1.0 / inverse, (alpha / inverse).max(0.0), (beta / inverse).max(0.0)]
        }
        _ => {
            let best = n.iter().zip(x).map(|(n, x)| x / n).fold(0.0, f64::max);
            [best, 0.05, 1e-4]
        }
    }
}

/// Least squares over the `free` parameters from `at`, by Levenberg's and Marquardt's method.
fn descend(mut at: Parameters, free: [bool; 3], n: &[f64], x: &[f64]) -> Parameters {
    let mut error = squares(at, n, x);
    let mut damping = 1e-3;
    for _ in 0..500 {
        let mut normal = [[0.0; 4]; 3];
        for (&n, &x) in n.iter().zip(x) {
            let fitted = throughput(at, n);
            let below = at[0] * n / fitted;
            let slopes = [fitted / at[0], -fitted * (n - 1.0) / below, -fitted * n * (n - 1.0) / below];
            for i in 0..3 {
                for j in 0..3 {
                    normal[i][j] += slopes[i] * slopes[j];
                }
                normal[i][3] += slopes[i] * (x - fitted);
            }
        }
        for (i, row) in normal.iter_mut().enumerate() {
            row[i] *= 1.0 + damping;
        }
        let Some(step) = solve(normal, free) else { break };
        let next = [at[0] + step[0], at[1] + step[1], at[2] + step[2]];
        let less = squares(next, n, x);
        if less <= error && next[0] > 0.0 {
            let settled = error - less <= 1e-15 * error;
            (at, error, damping) = (next, less, (damping * 0.2).max(1e-12));
            if settled {
                break;
            }
        } else {
            damping *= 5.0;
            if damping > 1e12 {
                break;
            }
        }
    }
    at
}

/// Fit the law to throughputs `x` at loads `n` (users, of 1 and more as a rule), by least squares
/// of X with α, β ≥ 0. `None` below [`USL_LEVELS`] distinct loads, and where a load isn't above 0,
/// a throughput is below 0, or all are 0.
#[must_use]
pub fn usl(n: &[f64], x: &[f64]) -> Option<Usl> {
    let count = n.len().min(x.len());
    let (n, x) = (&n[..count], &x[..count]);
    let sane = n.iter().all(|n| *n > 0.0 && n.is_finite()) && x.iter().all(|x| *x >= 0.0 && x.is_finite());
    let mut levels = n.to_vec();
    levels.sort_by(f64::total_cmp);
    levels.dedup();
    if !sane || levels.len() < USL_LEVELS || x.iter().all(|x| *x == 0.0) {
        return None;
    }
    let from = start(n, x);
    // The least under α, β ≥ 0 lies inside or on one of the borders: the best of all four that
    // keeps to the bounds.
    let faces = [[true, true, true], [true, true, false], [true, false, true], [true, false, false]];
    let best = faces
        .into_iter()
        .map(|free| {
            descend(
                [from[0], if free[1] { from[1] } else { 0.0 }, if free[2] { from[2] } else { 0.0 }],
                free,
                n,
                x,
            )
        })
        .filter(|at| at[0] > 0.0 && at[1] >= 0.0 && at[2] >= 0.0)
        .min_by(|a, b| squares(*a, n, x).total_cmp(&squares(*b, n, x)))?;
    let [gamma, alpha, beta] = best;
    let mean = x.iter().sum::<f64>() / count as f64;
    let total: f64 = x.iter().map(|x| (x - mean).powi(2)).sum();
    Some(Usl {
        gamma,
        alpha,
        beta,
        // Throughput that is the same everywhere is met exactly, by α = 1.
        r2: if total > 0.0 { 1.0 - squares(best, n, x) / total } else { 1.0 },
        residuals: n.iter().zip(x).map(|(&n, x)| x - throughput(best, n)).collect(),
        peak: (beta > 0.0 && alpha < 1.0).then(|| ((1.0 - alpha) / beta).sqrt()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: f64, want: f64, within: f64) {
        assert!((got - want).abs() <= within * want.abs().max(1e-12), "{got}, not {want}");
    }

    #[test]
    fn agrees_with_r_on_gunthers_spec_sdm() {
        // The data set specsdm91 of R's package usl 3.0 (Gunther 2007), whose saved output has
        // α .0277285, β .0001044, γ 89.9952330, R² .9896, these residuals, and the peak at 96.5;
        // the further digits are curve_fit's of SciPy 1.17.1.
        let n = [1.0, 18.0, 36.0, 72.0, 108.0, 144.0, 216.0];
        let x = [64.9, 995.9, 1652.4, 1853.2, 1828.9, 1775.0, 1702.2];
        let fit = usl(&n, &x).unwrap();
        near(fit.gamma, 89.995_139_6, 1e-5);
        near(fit.alpha, 0.027_728_392_7, 1e-5);
        near(fit.beta, 0.000_104_365_73, 1e-5);
        near(fit.r2, 0.989_561_478, 1e-8);
        near(fit.peak.unwrap(), 96.519_45, 1e-5);
        let want = [-25.10, -81.66, 111.09, 3.05, -49.99, -46.60, 56.00];
        for (got, want) in fit.residuals.iter().zip(want) {
            assert!((got - want).abs() < 0.01, "{got}, not {want}");
        }
        near(fit.at(36.0), x[2] - fit.residuals[2], 1e-12);
    }

    #[test]
    fn finds_the_law_in_its_own_throughputs() {
        // α = β = .02, γ = 1: tests/coef.R of R's package usl, where the same come out.
        let n = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0];
        let fit = usl(&n, &[1.0, 1.8868, 3.0769, 3.5294, 3.5398, 3.3557]).unwrap();
        near(fit.gamma, 1.0, 1e-4);
        near(fit.alpha, 0.02, 1e-3);
        near(fit.beta, 0.02, 1e-3);
        near(fit.peak.unwrap(), 7.0, 1e-3);
        // And far from 1 in every unit.
        let law = [3e5, 0.3, 2e-7];
        let n: Vec<f64> = (0..12).map(|i| f64::from(1 << i)).collect();
        let x: Vec<f64> = n.iter().map(|&n| throughput(law, n)).collect();
        let fit = usl(&n, &x).unwrap();
        near(fit.gamma, law[0], 1e-6);
        near(fit.alpha, law[1], 1e-6);
        near(fit.beta, law[2], 1e-4);
    }

    #[test]
    fn keeps_to_its_bounds() {
        // curve_fit of SciPy 1.17.1 with bounds: β at 0, then α at 0, then both.
        let n = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
        let fit = usl(&n, &[10.2, 19.1, 35.5, 58.9, 92.4, 124.0, 155.1]).unwrap();
        near(fit.gamma, 10.014_408_36, 1e-6);
        near(fit.alpha, 0.050_049_206, 1e-6);
        assert_eq!((fit.beta, fit.peak), (0.0, None));
        let fit = usl(&n[..6], &[5.0, 10.3, 20.9, 42.0, 84.0, 160.0]).unwrap();
        near(fit.gamma, 5.303_958_124, 1e-6);
        near(fit.beta, 6.099_699_4e-5, 1e-5);
        assert_eq!(fit.alpha, 0.0);
        let fit = usl(&n[..6], &[5.0, 10.3, 20.9, 42.0, 84.5, 170.0]).unwrap();
        near(fit.gamma, 5.301_978_022, 1e-8);
        assert_eq!((fit.alpha, fit.beta), (0.0, 0.0));
    }

    #[test]
    fn flat_throughput_is_all_contention() {
        let n = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
        let fit = usl(&n, &[7.0; 6]).unwrap();
        near(fit.alpha, 1.0, 1e-6);
        near(fit.at(100.0), 7.0, 1e-4);
        assert_eq!(fit.r2, 1.0);
    }

    #[test]
    fn too_little_is_none() {
        assert_eq!(usl(&[1.0, 2.0, 3.0, 4.0, 5.0, 5.0], &[1.0, 2.0, 3.0, 4.0, 5.0, 5.0]), None);
        let n = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(usl(&n, &[0.0; 6]), None);
        assert_eq!(usl(&n, &[1.0, 2.0, 3.0, f64::NAN, 5.0, 6.0]), None);
        assert_eq!(usl(&[0.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[1.0; 6]), None);
    }
}
