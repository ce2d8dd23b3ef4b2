//! Which part of a mix each arrival is dealt to: at random by weight, as a pure function of the
//! cell's seed and the arrival's number. No core has to know what another one dealt, a cell that
//! runs again deals the same, and of arrivals at random those of each part are so as well.

use super::Job;

/// Keeps the deal apart from every other use of the same seed.
const PURPOSE: u64 = 0x6d69_7820_6f66_2061;

/// The deal of one cell.
#[derive(Debug, Clone)]
pub(super) struct Deal {
    seed: u64,
    /// Where each part's share of the numbers from 0 to 1 ends, ascending.
    ends: Vec<f64>,
}

impl Deal {
    pub(super) fn of(job: &Job<'_>) -> Self {
        let parts = &job.cell.settings.parts;
        Self::new(job.cell.seed, &parts.iter().map(|part| part.weight).collect::<Vec<f64>>())
    }

    fn new(seed: u64, weights: &[f64]) -> Self {
        let total: f64 = weights.iter().sum();
        let ends = weights.iter().scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum / total)
        });
        Self { seed, ends: ends.collect() }
    }

    /// The part of arrival `seq`.
    pub(super) fn part(&self, seq: u64) -> usize {
        if self.ends.len() < 2 {
            return 0;
        }
        let bits = mixed(mixed(self.seed ^ PURPOSE).wrapping_add(seq));
        let u = (bits >> 11) as f64 / (1u64 << 53) as f64;
        // The last end may be a rounding below 1.
        self.ends.partition_point(|end| *end <= u).min(self.ends.len() - 1)
    }
}

/// The step of the SplitMix64 generator: every bit of the result hangs on every bit of `x`.
fn mixed(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(seed: u64, weights: &[f64], n: u64) -> Vec<u64> {
        let deal = Deal::new(seed, weights);
        let mut counts = vec![0; weights.len()];
        (0..n).for_each(|seq| counts[deal.part(seq)] += 1);
        counts
    }

    #[test]
    fn shares_are_those_of_the_weights() {
        let weights = [10.0, 5.0, 2.0, 1.0, 1.0, 1.0];
        for seed in [0, 1, 42, u64::MAX] {
            let chi: f64 = counts(seed, &weights, 20_000)
                .iter()
                .zip(weights)
                .map(|(n, w)| (*n as f64 - w * 1000.0).powi(2) / (w * 1000.0))
                .sum();
            // The 0.999 quantile of chi-square with 5 degrees of freedom, and its 0.001 quantile.
            assert!((0.210..20.52).contains(&chi), "seed {seed}: {chi}");
        }
    }

    #[test]
    fn neighbours_know_nothing_of_each_other() {
        let deal = Deal::new(7, &[1.0, 1.0]);
        let same = (0..20_000).filter(|seq| deal.part(*seq) == deal.part(seq + 1)).count() as f64;
        // Four standard deviations of a fair coin.
        assert!((same - 10_000.0).abs() < 4.0 * 70.7, "{same}");
    }

    #[test]
    fn seeds_deal_differently_and_one_part_takes_all() {
        assert_ne!(counts(1, &[1.0, 1.0], 101), counts(2, &[1.0, 1.0], 101));
        assert_eq!(counts(1, &[3.0], 10), [10]);
        assert!(counts(1, &[1e9, 1e-9], 1000)[0] == 1000);
    }
}
