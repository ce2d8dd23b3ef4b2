//! How far a worker's clock is from the coordinator's, by questions and answers.
//!
//! A worker reads its clock between the sending of a question and the arrival of its answer, so
//! each answer bounds the difference from both sides, whatever the two ways took. Of several
//! answers what all of them allow is left.

/// One question and its answer, in nanoseconds: sent and answered by the coordinator's clock, read
/// by the worker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) sent_ns: u64,
    pub(super) at_ns: u64,
    pub(super) answered_ns: u64,
}

/// The worker's clock less the coordinator's, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offset {
    pub(super) ns: i128,
    /// It is no further off than this.
    pub(super) doubt_ns: u64,
}

impl Offset {
    /// What these samples say; `None` without any.
    pub(super) fn of(samples: &[Sample]) -> Option<Self> {
        let bounds = |s: &Sample| {
            let at = i128::from(s.at_ns);
            (at - i128::from(s.answered_ns), at - i128::from(s.sent_ns))
        };
        let least = samples.iter().map(bounds).map(|(low, _)| low).max()?;
        let most = samples.iter().map(bounds).map(|(_, high)| high).min()?;
        if least <= most {
            return Some(Self::between(least, most));
        }
        // The clocks have drifted apart meanwhile: the quickest answer alone.
        let (low, high) = samples.iter().map(bounds).min_by_key(|(low, high)| high - low)?;
        Some(Self::between(low, high))
    }

    fn between(low: i128, high: i128) -> Self {
        Self { ns: low + (high - low) / 2, doubt_ns: ((high - low) as u64).div_ceil(2) }
    }

    /// A time of the coordinator's clock by the worker's.
    pub(super) fn there(&self, ns: u64) -> u64 {
        (i128::from(ns) + self.ns).clamp(0, i128::from(u64::MAX)) as u64
    }

    /// How far what was done by this offset may have been off in the meantime, where the clocks were
    /// compared again `after`: what was not known before, or the drift and what is not known of that.
    pub(super) fn doubt_until(&self, after: Option<Self>) -> u64 {
        let drift = after.map_or(0, |after| {
            let drift = u64::try_from((after.ns - self.ns).unsigned_abs()).unwrap_or(u64::MAX);
            drift.saturating_add(after.doubt_ns)
        });
        self.doubt_ns.max(drift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker whose clock is `offset` ahead; the two ways take `there` and `back`.
    fn sample(sent_ns: u64, offset: i64, there: u64, back: u64) -> Sample {
        let at_ns = (sent_ns + there).checked_add_signed(offset).unwrap();
        Sample { sent_ns, at_ns, answered_ns: sent_ns + there + back }
    }

    #[test]
    fn the_true_offset_is_never_further_off_than_the_doubt() {
        for offset in [-5_000_000i64, 0, 12_345_678] {
            // Ways that are far from alike.
            for (there, back) in [(100, 100), (10, 9_000), (70_000, 3)] {
                let samples: Vec<Sample> = (0..8)
                    .map(|k| sample(10_000_000 + k * 1_000_000, offset, there + 13 * k, back + 7 * k))
                    .collect();
                let found = Offset::of(&samples).unwrap();
                let off = (found.ns - i128::from(offset)).unsigned_abs();
                assert!(off <= u128::from(found.doubt_ns), "{offset}: {found:?}");
                assert!(
                    found.doubt_ns <= (there + back).div_ceil(2),
                    "the quickest answer decides: {found:?}"
                );
            }
        }
        assert_eq!(Offset::of(&[]), None);
    }

    #[test]
    fn answers_that_are_slow_in_different_ways_tell_more_together() {
        let found = Offset::of(&[sample(0, 500, 10, 1000), sample(5000, 500, 1000, 10)]).unwrap();
        assert_eq!((found.ns, found.doubt_ns), (500, 10));
    }

    #[test]
    fn a_drift_is_part_of_the_doubt() {
        let before = Offset { ns: 1000, doubt_ns: 50 };
        assert_eq!(before.doubt_until(None), 50);
        assert_eq!(before.doubt_until(Some(Offset { ns: 1010, doubt_ns: 5 })), 50);
        assert_eq!(before.doubt_until(Some(Offset { ns: -1000, doubt_ns: 5 })), 2005);
        assert_eq!(before.there(7), 1007);
        assert_eq!(Offset { ns: -10, doubt_ns: 0 }.there(7), 0);
    }

    #[test]
    fn clocks_that_step_fall_back_on_the_quickest_answer() {
        let found = Offset::of(&[sample(0, 0, 10, 10), sample(5000, 90_000, 1000, 1000)]).unwrap();
        assert_eq!((found.ns, found.doubt_ns), (0, 10));
    }
}
