//! Draws lengths in tokens, and pauses.
//!
//! The arithmetic is written out, so that the same file and seed mean the same lengths
//! whatever becomes of a library of distributions.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use super::data::{self, DataError};
use super::random;
use crate::experiment::{LengthShape, LengthTable, Lengths, Pause};

/// Lengths, with the file's where they are from one.
pub(super) struct Drawn {
    lengths: Lengths,
    table: Option<LengthTable>,
}

impl Drawn {
    pub(super) fn open(lengths: &Lengths) -> Result<Self, DataError> {
        let table = lengths.file.as_ref().map(|from| {
            let text = data::text(&from.file)?;
            LengthTable::parse(&text, from.column.as_deref(), from.weight.as_deref()).map_err(|e| {
                match e.line {
                    Some(line) => DataError::at(&from.file.path, line, e.problem),
                    None => DataError::whole(&from.file.path, e.problem),
                }
            })
        });
        Ok(Self { lengths: lengths.clone(), table: table.transpose()? })
    }

    /// The length of arrival `seq`, within its bounds.
    pub(super) fn draw(&self, seed: u64, purpose: &str, seq: u64) -> u32 {
        let Lengths { shape, min, cap, jitter, .. } = self.lengths;
        let mut drawn = f64::from(self.lengths.mean);
        if shape != LengthShape::Constant {
            drawn = self.shaped(&mut random::stream(purpose, seed, "", seq));
        }
        if jitter > 0.0 {
            let u = random::unit(&mut random::stream("jitter", seed, purpose, seq));
            drawn *= 1.0 + jitter * (2.0 * u - 1.0);
        }
        let min = f64::from(min.unwrap_or(1).max(1));
        let cap = f64::from(cap.unwrap_or(u32::MAX));
        drawn.round().clamp(min, cap.max(min)) as u32
    }

    fn shaped(&self, rng: &mut ChaCha8Rng) -> f64 {
        let Lengths { shape, range, .. } = self.lengths;
        let mean = f64::from(self.lengths.mean);
        let u = random::unit(rng);
        match shape {
            LengthShape::Constant => mean,
            // Over whole numbers, both ends included.
            LengthShape::Uniform => {
                let half = (mean * range).round();
                mean - half + (u * (2.0 * half + 1.0)).floor()
            }
            LengthShape::Normal => mean * (1.0 + range * normal(u, rng)),
            LengthShape::Exponential => -mean * (1.0 - u).ln(),
            LengthShape::Lognormal => {
                // The logarithms' moments that give the lengths theirs.
                let variance = (1.0 + range * range).ln();
                mean * (variance.sqrt() * normal(u, rng) - variance / 2.0).exp()
            }
            LengthShape::Empirical => self.table.as_ref().map_or(mean, |table| f64::from(table.at(u))),
        }
    }
}

/// A standard normal number, by Box and Muller. 1 − `u` is never 0.
fn normal(u: f64, rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - u).ln()).sqrt();
    let angle = std::f64::consts::TAU * random::unit(rng);
    radius * angle.cos()
}

/// One pause.
pub(super) fn pause(pause: Pause, rng: &mut ChaCha8Rng) -> Duration {
    match pause {
        Pause::Constant { mean } => mean,
        Pause::Uniform { min, max } => min + max.saturating_sub(min).mul_f64(random::unit(rng)),
        // At most 37 times the mean.
        Pause::Exponential { mean } => mean.mul_f64(-(1.0 - random::unit(rng)).ln()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::experiment::LengthFile;
    use crate::stats::kolmogorov_smirnov;

    const DRAWS: u64 = 4000;

    fn draw(lengths: &Lengths, seed: u64, purpose: &str, seq: u64) -> u32 {
        Drawn::open(lengths).expect("no file").draw(seed, purpose, seq)
    }

    fn many(lengths: &Lengths) -> Vec<u32> {
        let drawn = Drawn::open(lengths).expect("lengths");
        (0..DRAWS).map(|seq| drawn.draw(7, "x", seq)).collect()
    }

    fn mean_and_deviation(drawn: &[f64]) -> (f64, f64) {
        let n = drawn.len() as f64;
        let mean = drawn.iter().sum::<f64>() / n;
        let var = drawn.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        (mean, var.sqrt())
    }

    fn numbers(drawn: &[u32]) -> Vec<f64> {
        drawn.iter().map(|x| f64::from(*x)).collect()
    }

    #[test]
    fn shapes_have_their_moments() {
        use LengthShape::{Constant, Exponential, Lognormal, Normal, Uniform};
        // Mean, deviation, and the deviation's own standard error over 4000 draws, relative:
        // √((kurtosis − 1) / 4n).
        for (shape, mean, range, deviation, kurtosis) in [
            (Constant, 200, 0.0, 0.0, 1.0),
            (Uniform, 200, 0.3, 34.9, 1.8),
            (Normal, 200, 0.3, 60.0, 3.0),
            (Exponential, 200, 0.0, 200.0, 9.0),
            // e^4s + 2e^3s + 3e^2s − 3 with s = ln(1 + cv²).
            (Lognormal, 200, 0.3, 60.0, 4.64),
            (Lognormal, 2000, 1.0, 2000.0, 41.0),
        ] {
            let lengths = Lengths::shaped(shape, mean, range);
            let (got_mean, got) = mean_and_deviation(&numbers(&many(&lengths)));
            let n = DRAWS as f64;
            assert!(
                (got_mean - f64::from(mean)).abs() <= 4.0 * deviation / n.sqrt(),
                "{shape:?}: mean {got_mean}"
            );
            let error = deviation * ((kurtosis - 1.0) / (4.0 * n)).sqrt();
            assert!((got - deviation).abs() <= 4.0 * error + 1e-9, "{shape:?}: deviation {got}");
        }
        let uniform = many(&Lengths::shaped(Uniform, 200, 0.3));
        assert_eq!((uniform.iter().min(), uniform.iter().max()), (Some(&140), Some(&260)));
    }

    /// P(X ≤ x) of a standard normal number, by integrating its density.
    fn normal_cdf(x: f64) -> f64 {
        const STEPS: i32 = 2000;
        let density = |z: f64| (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt();
        let h = x / f64::from(STEPS);
        let inner: f64 =
            (1..STEPS).map(|k| density(h * f64::from(k)) * if k % 2 == 0 { 2.0 } else { 4.0 }).sum();
        0.5 + h / 3.0 * (density(0.0) + inner + density(x))
    }

    #[test]
    fn shapes_are_those_of_their_names() {
        // So long that rounding to whole tokens doesn't show.
        const MEAN: u32 = 1_000_000;
        let m = f64::from(MEAN);
        let s = (1.0_f64 + 0.25).ln();
        type Cdf = Box<dyn Fn(f64) -> f64>;
        let shapes: [(LengthShape, f64, Cdf); 4] = [
            (LengthShape::Uniform, 0.5, Box::new(move |x| ((x / m - 0.5) / 1.0).clamp(0.0, 1.0))),
            (LengthShape::Normal, 0.1, Box::new(move |x| normal_cdf((x / m - 1.0) / 0.1))),
            (LengthShape::Exponential, 0.0, Box::new(move |x| 1.0 - (-x / m).exp())),
            (LengthShape::Lognormal, 0.5, Box::new(move |x| normal_cdf(((x / m).ln() + s / 2.0) / s.sqrt()))),
        ];
        for (shape, range, cdf) in shapes {
            let mut drawn = numbers(&many(&Lengths::shaped(shape, MEAN, range)));
            drawn.sort_by(f64::total_cmp);
            let test = kolmogorov_smirnov(&drawn, cdf).expect("a sample");
            assert!(test.p > 1e-4, "{shape:?}: {test:?}");
        }
        // The test can tell: these are not exponential.
        let mut drawn = numbers(&many(&Lengths::shaped(LengthShape::Lognormal, MEAN, 1.0)));
        drawn.sort_by(f64::total_cmp);
        let test = kolmogorov_smirnov(&drawn, |x| 1.0 - (-x / m).exp()).expect("a sample");
        assert!(test.p < 1e-6, "{test:?}");
    }

    #[test]
    fn a_files_lengths_come_as_often_as_their_weights_say() {
        let (_kept, file) = data::written("tokens,count\n10,1\n100,2\n1000,5\n7,0\n");
        let from = LengthFile { file, column: Some("tokens".to_owned()), weight: Some("count".to_owned()) };
        let lengths = Lengths { file: Some(from), ..Lengths::shaped(LengthShape::Empirical, 651, 0.0) };
        let drawn = many(&lengths);
        for (length, share) in [(10, 0.125), (100, 0.25), (1000, 0.625), (7, 0.0)] {
            let n = DRAWS as f64;
            let got = drawn.iter().filter(|d| **d == length).count() as f64 / n;
            let error = (share * (1.0 - share) / n).sqrt();
            assert!((got - share).abs() <= 4.0 * error, "{length}: {got} for {share}");
        }
        let capped = many(&Lengths { cap: Some(500), min: Some(50), ..lengths });
        assert_eq!((capped.iter().min(), capped.iter().max()), (Some(&50), Some(&500)));
    }

    #[test]
    fn jitter_is_even_and_bounded() {
        let lengths = Lengths { jitter: 0.1, ..Lengths::constant(10_000) };
        let drawn = numbers(&many(&lengths));
        let (mean, deviation) = mean_and_deviation(&drawn);
        // Even over ±1000: deviation 577.
        assert!((mean - 10_000.0).abs() <= 4.0 * 577.4 / (DRAWS as f64).sqrt(), "{mean}");
        assert!(
            (deviation - 577.4).abs() <= 4.0 * 577.4 * (0.8 / (4.0 * DRAWS as f64)).sqrt(),
            "{deviation}"
        );
        assert!(drawn.iter().all(|d| (9000.0..=11_000.0).contains(d)));
    }

    #[test]
    fn bounds_hold() {
        let normal = Lengths { cap: Some(250), ..Lengths::shaped(LengthShape::Normal, 200, 2.0) };
        let drawn = many(&normal);
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&1), Some(&250)));
        let short = Lengths { cap: Some(0), ..Lengths::shaped(LengthShape::Exponential, 200, 0.0) };
        assert!(many(&short).iter().all(|l| *l == 1));
        assert_eq!(draw(&Lengths::constant(0), 1, "x", 0), 1);
    }

    #[test]
    fn seeds_purposes_and_arrivals_differ() {
        let lengths = Lengths::shaped(LengthShape::Uniform, 1_000_000, 1.0);
        let first = draw(&lengths, 1, "a", 1);
        assert_eq!(first, draw(&lengths, 1, "a", 1));
        for other in [draw(&lengths, 2, "a", 1), draw(&lengths, 1, "b", 1), draw(&lengths, 1, "a", 2)] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn pauses_have_their_moments() {
        let ms = Duration::from_millis;
        for (what, mean, deviation) in [
            (Pause::Constant { mean: ms(500) }, 0.5, 0.0),
            (Pause::Uniform { min: ms(1000), max: ms(3000) }, 2.0, 0.577),
            (Pause::Exponential { mean: ms(1500) }, 1.5, 1.5),
        ] {
            let drawn: Vec<f64> = (0..DRAWS)
                .map(|seq| pause(what, &mut random::stream("pause", 3, "", seq)).as_secs_f64())
                .collect();
            let (got, _) = mean_and_deviation(&drawn);
            assert!((got - mean).abs() <= 4.0 * deviation / (DRAWS as f64).sqrt() + 1e-9, "{what:?}: {got}");
            if let Pause::Uniform { .. } = what {
                assert!(drawn.iter().all(|d| (1.0..=3.0).contains(d)));
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_is_asked_lies_within_its_bounds(
            mean in 1..100_000_u32,
            shape in prop::sample::select(vec![
                LengthShape::Constant, LengthShape::Uniform, LengthShape::Normal, LengthShape::Exponential,
                LengthShape::Lognormal,
            ]),
            range in 0.01..1.0_f64,
            jitter in 0.0..1.0_f64,
            min in 1..500_u32,
            above in 0..100_000_u32,
            seq in any::<u64>(),
        ) {
            let bounded =
                Lengths { cap: Some(min + above), min: Some(min), jitter, ..Lengths::shaped(shape, mean, range) };
            let length = draw(&bounded, 5, "p", seq);
            prop_assert!((min..=min + above).contains(&length));
            prop_assert_eq!(length, draw(&bounded, 5, "p", seq));
        }
    }
}
