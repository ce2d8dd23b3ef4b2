//! Draws from a gamma distribution, written out so that a seed gives the same arrivals with
//! every version of every library: Marsaglia and Tsang's rejection from a cubed normal (2000).

use rand_chacha::ChaCha8Rng;

use crate::workload::random::unit;

/// Standard normal, by Box and Muller.
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (u, v) = (unit(rng), unit(rng));
    (-2.0 * (-u).ln_1p()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// A draw of the gamma distribution of `shape` (more than 0) and scale 1: its mean is `shape`.
pub(super) fn gamma(rng: &mut ChaCha8Rng, shape: f64) -> f64 {
    if shape < 1.0 {
        // Γ(a) is Γ(a + 1) · U^(1/a).
        let above = gamma(rng, shape + 1.0);
        return above * (1.0 - unit(rng)).powf(1.0 / shape);
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(rng);
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 {
            let u = 1.0 - unit(rng);
            if u.ln() < x * x / 2.0 + d * (1.0 - v + v.ln()) {
                return d * v;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;
    use crate::stats::{Moments, kolmogorov_smirnov};

    #[test]
    fn draws_have_the_mean_and_the_variance_of_their_shape() {
        let n = 200_000;
        for (seed, shape) in [(1, 0.1), (2, 0.5), (3, 1.0), (4, 2.0), (5, 30.0)] {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let draws: Vec<f64> = (0..n).map(|_| gamma(&mut rng, shape)).collect();
            let m = Moments::of(&draws);
            let (mean, variance) = (m.mean().unwrap(), m.std().unwrap().powi(2));
            let root = f64::from(n).sqrt();
            assert!((mean - shape).abs() < 4.0 * shape.sqrt() / root, "mean {mean} of shape {shape}");
            // The kurtosis of a gamma is 3 + 6/a, so Var(s²) is about a² (2 + 6/a)/n.
            let error = shape * (2.0 + 6.0 / shape).sqrt() / root;
            assert!((variance - shape).abs() < 4.0 * error, "variance {variance} of shape {shape}");
        }
    }

    #[test]
    fn shapes_with_a_plain_distribution_have_it() {
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let sorted = |draws: &mut Vec<f64>| draws.sort_by(f64::total_cmp);
        // Γ(1) is exponential.
        let mut draws: Vec<f64> = (0..20_000).map(|_| gamma(&mut rng, 1.0)).collect();
        sorted(&mut draws);
        let test = kolmogorov_smirnov(&draws, |x| -(-x).exp_m1()).unwrap();
        assert!(test.p > 0.01, "{test:?}");
        // Γ(2) is the sum of two.
        let mut draws: Vec<f64> = (0..20_000).map(|_| gamma(&mut rng, 2.0)).collect();
        sorted(&mut draws);
        let test = kolmogorov_smirnov(&draws, |x| 1.0 - (-x).exp() * (1.0 + x)).unwrap();
        assert!(test.p > 0.01, "{test:?}");
    }

    #[test]
    fn a_seed_gives_the_same_draws_for_ever() {
        let mut rng = ChaCha8Rng::seed_from_u64(42);
        let draws = [0.5, 0.5, 2.0, 2.0].map(|shape| gamma(&mut rng, shape));
        for (draw, want) in draws.into_iter().zip(EVER) {
            assert!((draw - want).abs() < 1e-12, "{draws:?}");
        }
    }

    /// What the first version drew: schedules of stored runs were made of these.
    const EVER: [f64; 4] =
        [0.488_260_906_622_671_35, 0.068_207_166_006_146_17, 1.830_670_985_561_550_4, 6.040_771_416_635_429];
}
