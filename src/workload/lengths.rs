//! Draws lengths in tokens.
//!
//! The arithmetic is written out, so that the same file and seed mean the same lengths
//! whatever becomes of a library of distributions.

use crate::experiment::{LengthShape, Lengths};

use super::random;

/// The length of arrival `seq`: at least 1, at most the cap.
pub(super) fn draw(lengths: &Lengths, seed: u64, purpose: &str, seq: u64) -> u32 {
    let mean = f64::from(lengths.mean);
    let drawn = match lengths.shape {
        LengthShape::Constant => mean,
        shape => {
            let mut rng = random::stream(purpose, seed, "", seq);
            let u = random::unit(&mut rng);
            match shape {
                // Over whole numbers, both ends included.
                LengthShape::Uniform => {
                    let half = (mean * lengths.range).round();
                    mean - half + (u * (2.0 * half + 1.0)).floor()
                }
                LengthShape::Normal => {
                    // Box–Muller; 1 − u is never 0.
                    let radius = (-2.0 * (1.0 - u).ln()).sqrt();
                    let angle = std::f64::consts::TAU * random::unit(&mut rng);
                    mean * (1.0 + lengths.range * radius * angle.cos())
                }
                LengthShape::Exponential => -mean * (1.0 - u).ln(),
                LengthShape::Constant => mean,
            }
        }
    };
    let cap = f64::from(lengths.cap.unwrap_or(u32::MAX).max(1));
    drawn.round().clamp(1.0, cap) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn many(shape: LengthShape, range: f64, cap: Option<u32>) -> Vec<u32> {
        let lengths = Lengths { mean: 200, shape, range, cap };
        (0..4000).map(|seq| draw(&lengths, 7, "x", seq)).collect()
    }

    fn mean_and_deviation(drawn: &[u32]) -> (f64, f64) {
        let n = drawn.len() as f64;
        let mean = drawn.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
        let var = drawn.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n;
        (mean, var.sqrt())
    }

    #[test]
    fn shapes_have_their_moments() {
        // Four standard errors of the mean, over 4000 draws.
        for (shape, range, deviation) in [
            (LengthShape::Constant, 0.3, 0.0),
            (LengthShape::Uniform, 0.3, 34.9),
            (LengthShape::Normal, 0.3, 60.0),
            (LengthShape::Exponential, 0.3, 200.0),
        ] {
            let (mean, got) = mean_and_deviation(&many(shape, range, None));
            assert!((mean - 200.0).abs() <= 4.0 * deviation / 63.0, "{shape:?}: mean {mean}");
            assert!((got - deviation).abs() <= 0.1 * deviation, "{shape:?}: deviation {got}");
        }
        let uniform = many(LengthShape::Uniform, 0.3, None);
        assert_eq!((uniform.iter().min(), uniform.iter().max()), (Some(&140), Some(&260)));
    }

    #[test]
    fn bounds_hold() {
        let drawn = many(LengthShape::Normal, 2.0, Some(250));
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&1), Some(&250)));
        assert!(many(LengthShape::Exponential, 0.0, Some(0)).iter().all(|l| *l == 1));
        assert_eq!(draw(&Lengths::constant(0), 1, "x", 0), 1);
    }

    #[test]
    fn seeds_purposes_and_arrivals_differ() {
        let lengths = Lengths { mean: 1_000_000, shape: LengthShape::Uniform, range: 1.0, cap: None };
        let first = draw(&lengths, 1, "a", 1);
        assert_eq!(first, draw(&lengths, 1, "a", 1));
        for other in [draw(&lengths, 2, "a", 1), draw(&lengths, 1, "b", 1), draw(&lengths, 1, "a", 2)] {
            assert_ne!(first, other);
        }
    }
}
