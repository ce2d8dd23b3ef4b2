//! A rate over time that goes in straight lines from level to level, and the inverse of what it
//! adds up to.

use std::time::Duration;

/// A stretch of time over which the rate goes from one figure to another in a straight line.
#[derive(Debug, Clone, Copy)]
struct Piece {
    start_s: f64,
    length_s: f64,
    /// Per second, at its start and at its end.
    from: f64,
    to: f64,
    /// What has come before it, and by its end.
    before: f64,
    by_end: f64,
}

impl Piece {
    /// The time, in seconds from the piece's start, by which `area` has come in it.
    fn time(&self, area: f64) -> f64 {
        let Self { length_s, from, to, .. } = *self;
        if from == to {
            return area / to;
        }
        let t = if from == 0.0 {
            (2.0 * area * length_s / to).sqrt()
        } else {
            // The root of from·t + slope·t²/2 = area that loses no digits, for either sign.
            let slope = (to - from) / length_s;
            2.0 * area / (from + (from * from + 2.0 * slope * area).max(0.0).sqrt())
        };
        t.min(length_s)
    }
}

/// Pieces that follow one another; the last is endless.
#[derive(Debug, Clone, Default)]
pub(super) struct Rate {
    pieces: Vec<Piece>,
    /// The piece that the last inverse was in.
    at: usize,
    /// One of the rates is none.
    broken: bool,
}

impl Rate {
    /// Go on for `length` from one rate to another, of which one at least is more than 0.
    pub(super) fn go(&mut self, from: f64, to: f64, length: Duration) {
        let length_s = length.as_secs_f64();
        if length_s > 0.0 {
            self.push(from, to, length_s);
        }
    }

    /// Go on at one rate for ever.
    pub(super) fn stay(&mut self, rate: f64) {
        self.push(rate, rate, f64::INFINITY);
    }

    fn push(&mut self, from: f64, to: f64, length_s: f64) {
        let (start_s, before) =
            self.pieces.last().map_or((0.0, 0.0), |last| (last.start_s + last.length_s, last.by_end));
        let by_end = if length_s.is_finite() { before + (from + to) * length_s / 2.0 } else { f64::INFINITY };
        self.broken |= !(to > 0.0 && to.is_finite());
        self.pieces.push(Piece { start_s, length_s, from, to, before, by_end });
    }

    /// The time, in seconds, by which `area` has come; asked for with areas that never fall.
    /// `None` where a rate is none: nothing comes then.
    pub(super) fn inverse(&mut self, area: f64) -> Option<f64> {
        if self.broken {
            return None;
        }
        while self.pieces[self.at].by_end <= area {
            self.at += 1;
        }
        let piece = &self.pieces[self.at];
        Some(piece.start_s + piece.time(area - piece.before))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What has come by `t`.
    fn area(rate: &Rate, t: f64) -> f64 {
        let piece = rate.pieces.iter().rev().find(|piece| piece.start_s <= t).expect("the first starts at 0");
        let (into, length) = (t - piece.start_s, piece.length_s);
        let rise = if length.is_finite() { (piece.to - piece.from) / length } else { 0.0 };
        piece.before + piece.from * into + rise * into * into / 2.0
    }

    proptest! {
        #[test]
        fn the_inverse_is_one_and_never_falls(
            levels in proptest::collection::vec((0.01f64..5_000.0, 0u64..20_000, any::<bool>()), 1..8),
            ramp_ms in 0u64..10_000,
        ) {
            let mut rate = Rate::default();
            let mut before = 0.0;
            rate.go(0.0, levels[0].0, Duration::from_millis(ramp_ms));
            for (level, ms, slowly) in levels {
                rate.go(if slowly && before > 0.0 { before } else { level }, level, Duration::from_millis(ms));
                before = level;
            }
            rate.stay(before);
            let last = rate.pieces.last().unwrap();
            let step = (last.before + before * 3.0) / 2_000.0;
            let mut walked = rate.clone();
            let mut last_t = 0.0f64;
            for k in 0..2_000 {
                let wanted = f64::from(k) * step;
                let t = walked.inverse(wanted).unwrap();
                prop_assert!(t >= last_t - 1e-9, "{} after {}", t, last_t);
                let found = area(&rate, t);
                prop_assert!((found - wanted).abs() <= 1e-6 * (1.0 + wanted), "{} for {}", found, wanted);
                last_t = t;
            }
        }
    }

    #[test]
    fn no_rate_has_no_inverse() {
        for level in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let mut rate = Rate::default();
            rate.stay(level);
            assert_eq!(rate.inverse(0.0), None);
        }
    }
}
