//! How long users think: a pure function of the seed and the arrival that they think about.

use std::time::Duration;

use crate::experiment::Think;
use crate::workload::random;

/// Draws think times.
#[derive(Debug, Clone)]
pub(super) struct Thinking {
    pub(super) think: Think,
    pub(super) seed: u64,
}

impl Thinking {
    /// Microseconds between the end of arrival `seq` and its user's next request.
    pub(super) fn after(&self, seq: u64) -> u64 {
        let draw = || random::unit(&mut random::stream("think", self.seed, "", seq));
        let time = match self.think {
            Think::Constant(time) => time,
            Think::Uniform(from, to) => from + (to - from).mul_f64(draw()),
            Think::Exponential { mean, max } => {
                let time = mean.mul_f64(-(-draw()).ln_1p());
                max.map_or(time, |max| time.min(max))
            }
        };
        micros(time)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Moments, kolmogorov_smirnov};

    fn times(think: Think, n: u64) -> Vec<f64> {
        let thinking = Thinking { think, seed: 7 };
        let mut times: Vec<f64> = (0..n).map(|seq| thinking.after(seq) as f64 / 1e6).collect();
        times.sort_by(f64::total_cmp);
        times
    }

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn think_times_have_their_distributions() {
        assert!(times(Think::Constant(2 * S), 10).iter().all(|t| *t == 2.0));
        let uniform = times(Think::Uniform(S, 3 * S), 20_000);
        let test = kolmogorov_smirnov(&uniform, |t| ((t - 1.0) / 2.0).clamp(0.0, 1.0)).unwrap();
        assert!(test.p > 0.01, "{test:?}");
        let exponential = times(Think::Exponential { mean: 2 * S, max: None }, 20_000);
        let test = kolmogorov_smirnov(&exponential, |t| -(-t / 2.0).exp_m1()).unwrap();
        assert!(test.p > 0.01, "{test:?}");
    }

    #[test]
    fn a_limit_holds_and_its_mean_is_told() {
        let think = Think::Exponential { mean: 2 * S, max: Some(3 * S) };
        let capped = times(think, 20_000);
        assert_eq!(*capped.last().unwrap(), 3.0);
        let m = Moments::of(&capped);
        let off = (m.mean().unwrap() - think.mean().as_secs_f64()).abs();
        assert!(off < 4.0 * m.std().unwrap() / (20_000f64).sqrt(), "{off}");
        assert_eq!(Think::Uniform(S, 3 * S).mean(), 2 * S);
    }

    #[test]
    fn the_same_arrival_is_thought_about_as_long_whoever_asks() {
        let thinking = |seed| Thinking { think: Think::Uniform(S, 3 * S), seed };
        assert_eq!(thinking(1).after(5), thinking(1).after(5));
        assert_ne!(thinking(1).after(5), thinking(2).after(5));
        assert_ne!(thinking(1).after(5), thinking(1).after(6));
    }
}
