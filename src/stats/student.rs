//! Student's t distribution, by the regularised incomplete beta function.

use super::beta::beta_cdf;
/// P(T ≤ t) for Student's t with `df` degrees of freedom (more than 0).
#[must_use]
pub fn student_t_cdf(t: f64, df: f64) -> f64 {
    let tail = 0.5 * beta_cdf(df / (df + t * t), df / 2.0, 0.5);
    if t > 0.0 { 1.0 - tail } else { tail }
}

/// The t with P(T ≤ t) = `p`, for `p` strictly between 0 and 1 and `df` more than 0; a
/// two-sided 99 % limit is `student_t_quantile(0.995, df)`. NaN outside that range.
#[must_use]
pub fn student_t_quantile(p: f64, df: f64) -> f64 {
    if !(p > 0.0 && p < 1.0 && df > 0.0) {
        return f64::NAN;
    }
    if p < 0.5 {
        return -student_t_quantile(1.0 - p, df);
    }
    let mut high = 1.0;
    while student_t_cdf(high, df) < p && high < 1e12 {
        high *= 2.0;
    }
    let mut low = 0.0;
    // Bisection: slow and sure, and nobody calls it in a loop.
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if student_t_cdf(middle, df) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_agree_with_the_printed_tables() {
        // NIST/SEMATECH handbook, 1.3.6.7.2: upper critical values.
        let table = [
            (0.95, 1.0, 6.314),
            (0.975, 1.0, 12.706),
            (0.99, 8.0, 2.896),
            (0.995, 1.0, 63.657),
            (0.995, 2.0, 9.925),
            (0.995, 4.0, 4.604),
            (0.975, 4.0, 2.776),
            (0.995, 8.0, 3.355),
            (0.995, 30.0, 2.750),
            (0.975, 100.0, 1.984),
        ];
        for (p, df, want) in table {
            let got = student_t_quantile(p, df);
            assert!((got - want).abs() < 6e-4, "p = {p}, df = {df}: {got}");
            assert!((student_t_quantile(1.0 - p, df) + got).abs() < 1e-6);
        }
    }

    #[test]
    fn cdf_has_its_closed_forms() {
        // One degree of freedom is Cauchy; two have t/(2·√(2 + t²)) + 1/2.
        for t in [-3.0, -0.5, 0.0, 0.7, 4.0] {
            let cauchy = 0.5 + f64::atan(t) / std::f64::consts::PI;
            assert!((student_t_cdf(t, 1.0) - cauchy).abs() < 1e-12, "t = {t}");
            let two = 0.5 + t / (2.0 * (2.0 + t * t).sqrt());
            assert!((student_t_cdf(t, 2.0) - two).abs() < 1e-12, "t = {t}");
        }
        assert!(student_t_quantile(1.0, 3.0).is_nan());
    }
}
