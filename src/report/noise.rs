//! Are two levels different, or is it noise?

use crate::stats::{Moments, student_t_quantile};

/// Without repeats to tell from, figures within this share of each other are the same.
const WITHOUT_REPEATS: f64 = 0.03;
/// With repeats, figures further apart than this share are never the same: a wide interval tells
/// of few repeats, not of equal levels.
const WITH_REPEATS: f64 = 0.10;
/// Of the interval that a difference of means has to leave.
const CONFIDENCE: f64 = 0.95;

/// Whether the means of two sets of repeats cannot be told apart: by Welch's t-interval where
/// both were repeated, else by a fixed share.
pub(super) fn indistinguishable(a: &[f64], b: &[f64]) -> bool {
    let (a, b) = (Moments::of(a), Moments::of(b));
    let (Some(mean_a), Some(mean_b)) = (a.mean(), b.mean()) else { return false };
    let apart = (mean_a - mean_b).abs();
    let (Some(std_a), Some(std_b)) = (a.std(), b.std()) else {
        return apart <= WITHOUT_REPEATS * mean_a.abs().max(mean_b.abs());
    };
    if apart >= WITH_REPEATS * mean_a.abs().max(mean_b.abs()) && apart > 0.0 {
        return false;
    }
    let part = |std: f64, n: u64| std * std / n as f64;
    let (u, v) = (part(std_a, a.n()), part(std_b, b.n()));
    if u + v <= 0.0 {
        return apart == 0.0;
    }
    let df = (u + v).powi(2) / (u * u / (a.n() - 1) as f64 + v * v / (b.n() - 1) as f64);
    apart <= student_t_quantile(0.5 + CONFIDENCE / 2.0, df) * (u + v).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_say_how_much_is_noise() {
        // Welch: 0.6 apart with t = 1.90 on 3.98 degrees of freedom, whose 95 % limit is 2.78.
        assert!(indistinguishable(&[10.0, 10.4, 10.8], &[10.6, 11.0, 11.4]));
        assert!(!indistinguishable(&[10.0, 10.1, 10.2], &[10.6, 10.7, 10.8]));
        assert!(indistinguishable(&[5.0, 5.0], &[5.0, 5.0]) && !indistinguishable(&[5.0, 5.0], &[5.1, 5.1]));
    }

    #[test]
    fn few_scattered_repeats_do_not_make_a_third_more_the_same() {
        assert!(!indistinguishable(&[1_400.0, 1_980.0], &[1_950.0, 2_582.0]));
    }

    #[test]
    fn without_repeats_three_percent_are() {
        assert!(indistinguishable(&[98.0], &[100.0]) && !indistinguishable(&[96.0], &[100.0]));
        assert!(!indistinguishable(&[], &[100.0]));
    }
}
