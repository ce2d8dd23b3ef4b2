//! Exact order statistics of samples that are walked several times, in memory that does not
//! grow with their number.
//!
//! The bits of a float, with the sign turned over, are in the order of the floats. The first
//! walk counts samples by the top bits of that key. Each further walk looks only into the
//! bins that hold a wanted rank: it counts on in finer bins, and sorts what is left of a bin
//! once that is little. What comes out are samples, not estimates.

use std::collections::BTreeMap;

use super::Distribution;
use crate::stats::{Moments, Place, place};

/// Samples that are simply kept and sorted; a cell with no more needs a single walk.
const HELD: usize = 1 << 15;
/// Bits of the mantissa that the first walk tells apart: bins 0.2 % wide.
const MANTISSA_BITS: u32 = 9;
const BINS_PER_OCTAVE: usize = 1 << MANTISSA_BITS;
/// A range with so many samples is gathered and sorted; one with more is counted in finer bins.
const GATHERED: u64 = 1 << 13;
/// Finer bins of a range.
const FINER: u64 = 1 << 10;

/// The quantiles of a [`Distribution`].
const QUANTILES: [f64; 6] = [0.5, 0.75, 0.9, 0.95, 0.99, 0.999];

/// Samples of one metric, of which mean, extremes and quantiles are wanted.
#[derive(Debug, Default)]
pub(super) struct Selection {
    moments: Moments,
    state: State,
    /// Ranks that are still sought, ascending.
    wanted: Vec<u64>,
    /// Keys of the ranks found.
    found: BTreeMap<u64, u64>,
}

#[derive(Debug)]
enum State {
    /// First walk, few samples.
    Held(Vec<f64>),
    /// First walk, many: bins by sign and exponent.
    Octaves(BTreeMap<u64, Vec<Bin>>),
    /// Further walks: disjoint ranges of keys, ascending.
    Ranges(Vec<Range>),
}

impl Default for State {
    fn default() -> Self {
        Self::Held(Vec::new())
    }
}

/// Samples that lie together: how many, and the least and greatest key.
#[derive(Debug, Clone, Copy, Default)]
struct Bin {
    count: u64,
    low: u64,
    high: u64,
}

impl Bin {
    fn add(&mut self, key: u64) {
        self.low = if self.count == 0 { key } else { self.low.min(key) };
        self.high = self.high.max(key);
        self.count += 1;
    }
}

/// Keys `low..=high`, in which a wanted rank lies.
#[derive(Debug)]
struct Range {
    low: u64,
    high: u64,
    /// Samples below it.
    below: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Gathered(Vec<u64>),
    Binned(Vec<Bin>),
}

impl Range {
    /// Room for what the next walk finds between the extremes of `bin`.
    fn within(bin: Bin, below: u64) -> Self {
        let content = if bin.count <= GATHERED {
            Content::Gathered(Vec::with_capacity(bin.count as usize))
        } else {
            Content::Binned(vec![Bin::default(); FINER as usize])
        };
        Self { low: bin.low, high: bin.high, below, content }
    }

    fn take(&mut self, key: u64) {
        match &mut self.content {
            Content::Gathered(keys) => keys.push(key),
            Content::Binned(bins) => {
                let share = u128::from(key - self.low) * u128::from(FINER);
                let span = u128::from(self.high - self.low) + 1;
                bins[(share / span) as usize].add(key);
            }
        }
    }
}

/// A number that is ordered as `x` is by [`f64::total_cmp`].
fn key_of(x: f64) -> u64 {
    let bits = x.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | (1 << 63) }
}

fn sample_of(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 1 { key & !(1 << 63) } else { !key })
}

fn add_to(octaves: &mut BTreeMap<u64, Vec<Bin>>, x: f64) {
    let key = key_of(x);
    let bins = octaves.entry(key >> 52).or_insert_with(|| vec![Bin::default(); BINS_PER_OCTAVE]);
    bins[(key >> (52 - MANTISSA_BITS)) as usize % BINS_PER_OCTAVE].add(key);
}

impl Selection {
    /// Take a sample in. Every walk must bring the same ones, in any order.
    pub(super) fn take(&mut self, x: f64) {
        match &mut self.state {
            State::Held(samples) if samples.len() < HELD => {
                self.moments.add(x);
                samples.push(x);
            }
            State::Held(samples) => {
                self.moments.add(x);
                let mut octaves = BTreeMap::new();
                samples.iter().for_each(|&x| add_to(&mut octaves, x));
                add_to(&mut octaves, x);
                self.state = State::Octaves(octaves);
            }
            State::Octaves(octaves) => {
                self.moments.add(x);
                add_to(octaves, x);
            }
            State::Ranges(ranges) => {
                let key = key_of(x);
                let i = ranges.partition_point(|range| range.high < key);
                if let Some(range) = ranges.get_mut(i).filter(|range| range.low <= key) {
                    range.take(key);
                }
            }
        }
    }

    /// End a walk. Whether another is needed.
    pub(super) fn end_walk(&mut self) -> bool {
        let mut ranges = Vec::new();
        match std::mem::replace(&mut self.state, State::Ranges(Vec::new())) {
            State::Held(samples) => {
                self.want_all();
                let mut keys: Vec<u64> = samples.into_iter().map(key_of).collect();
                keys.sort_unstable();
                self.pick(&keys, 0);
            }
            State::Octaves(octaves) => {
                self.want_all();
                self.locate(octaves.values().flatten(), 0, &mut ranges);
            }
            State::Ranges(old) => {
                for range in old {
                    match range.content {
                        Content::Gathered(mut keys) => {
                            keys.sort_unstable();
                            self.pick(&keys, range.below);
                        }
                        Content::Binned(bins) => self.locate(bins.iter(), range.below, &mut ranges),
                    }
                }
            }
        }
        self.state = State::Ranges(ranges);
        !self.wanted.is_empty()
    }

    /// Seek the neighbours of every quantile, and the extremes.
    fn want_all(&mut self) {
        let n = self.moments.n();
        let places = QUANTILES.iter().filter_map(|&q| place(n, q));
        self.wanted = places.flat_map(|p| [p.low, p.high]).chain((n > 0).then_some(0)).collect();
        self.wanted.extend(n.checked_sub(1));
        self.wanted.sort_unstable();
        self.wanted.dedup();
    }

    /// Sorted `keys` with `below` samples under them answer the ranks that they hold.
    fn pick(&mut self, keys: &[u64], below: u64) {
        let found = &mut self.found;
        self.wanted.retain(|&rank| {
            let key = rank.checked_sub(below).and_then(|i| keys.get(usize::try_from(i).ok()?));
            if let Some(&key) = key {
                found.insert(rank, key);
            }
            key.is_none()
        });
    }

    /// Ascending `bins` with `below` samples under them answer the ranks that fall on an
    /// extreme of a bin; those inside become `ranges`.
    fn locate<'a>(&mut self, bins: impl Iterator<Item = &'a Bin>, mut below: u64, ranges: &mut Vec<Range>) {
        for bin in bins.filter(|bin| bin.count > 0) {
            let last = below + bin.count - 1;
            let mut inside = false;
            let found = &mut self.found;
            self.wanted.retain(|&rank| {
                if !(below..=last).contains(&rank) {
                    return true;
                }
                let key = match rank {
                    _ if rank == below => bin.low,
                    _ if rank == last || bin.low == bin.high => bin.high,
                    _ => {
                        inside = true;
                        return true;
                    }
                };
                found.insert(rank, key);
                false
            });
            if inside {
                ranges.push(Range::within(*bin, below));
            }
            below = last + 1;
        }
    }

    /// Samples taken in.
    pub(super) const fn n(&self) -> u64 {
        self.moments.n()
    }

    fn at(&self, rank: u64) -> Option<f64> {
        self.found.get(&rank).map(|&key| sample_of(key))
    }

    /// Quantile `q`, one of a [`Distribution`]'s, by the rule of [`crate::stats::quantile`].
    /// `None` without a sample, and while another walk is needed.
    pub(super) fn quantile(&self, q: f64) -> Option<f64> {
        let Place { low, high, share } = place(self.moments.n(), q)?;
        let (low, high) = (self.at(low)?, self.at(high)?);
        Some(low + (high - low) * share)
    }

    /// Everything about the samples. The standard deviation of a single sample is 0. `None`
    /// as of [`Selection::quantile`].
    pub(super) fn distribution(&self) -> Option<Distribution> {
        let [p50, p75, p90, p95, p99, p999] = QUANTILES.map(|q| self.quantile(q));
        Some(Distribution {
            n: self.moments.n(),
            mean: self.moments.mean()?,
            std: self.moments.std().unwrap_or(0.0),
            min: self.at(0)?,
            p50: p50?,
            p75: p75?,
            p90: p90?,
            p95: p95?,
            p99: p99?,
            p999: p999?,
            max: self.at(self.moments.n().checked_sub(1)?)?,
        })
    }

    /// Bytes that are held for samples.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        let bin = size_of::<Bin>();
        match &self.state {
            State::Held(samples) => samples.capacity() * 8,
            State::Octaves(octaves) => octaves.values().map(|bins| bins.capacity() * bin).sum(),
            State::Ranges(ranges) => ranges
                .iter()
                .map(|range| match &range.content {
                    Content::Gathered(keys) => keys.capacity() * 8,
                    Content::Binned(bins) => bins.capacity() * bin,
                })
                .sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::quantile;

    /// The distribution, the walks that it took, and the most bytes held at the end of one.
    fn selected(samples: &[f64]) -> (Option<Distribution>, usize, usize) {
        let mut selection = Selection::default();
        let (mut walks, mut most) = (0, 0);
        loop {
            for &x in samples {
                selection.take(x);
            }
            walks += 1;
            most = most.max(selection.held_bytes());
            if !selection.end_walk() {
                return (selection.distribution(), walks, most);
            }
            assert!(walks < 10, "each walk must come nearer");
        }
    }

    fn sorted(samples: &[f64]) -> Option<Distribution> {
        let moments = Moments::of(samples);
        let mut sorted = samples.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let q = |q| quantile(&sorted, q);
        Some(Distribution {
            n: moments.n(),
            mean: moments.mean()?,
            std: moments.std().unwrap_or(0.0),
            min: *sorted.first()?,
            p50: q(0.5)?,
            p75: q(0.75)?,
            p90: q(0.9)?,
            p95: q(0.95)?,
            p99: q(0.99)?,
            p999: q(0.999)?,
            max: *sorted.last()?,
        })
    }

    /// Numbers of many shapes from a seed: spread, in few values, close together, both signs.
    fn samples(n: usize, shape: u8, seed: u64) -> Vec<f64> {
        let mut state = seed | 1;
        (0..n)
            .map(|i| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let u = (state >> 11) as f64 / (1u64 << 53) as f64;
                match shape {
                    // Latencies in whole microseconds, with a long tail.
                    0 => ((1.0 / (1.0 - u * 0.9999)) * 100_000.0).floor() / 1000.0,
                    // Few values, most of them the same.
                    1 => (u * u * u * 20.0).floor(),
                    // All in one of the first bins, and each different.
                    2 => 100.0 + u * 1e-3,
                    // One value but for a few.
                    3 => {
                        if i % 5000 == 17 {
                            u
                        } else {
                            128.0
                        }
                    }
                    // Both signs, over many octaves, and both zeros.
                    4 => match i % 7 {
                        0 => 0.0,
                        1 => -0.0,
                        _ => (u - 0.5) * 2f64.powi((u * 60.0) as i32 - 30),
                    },
                    _ => 42.5,
                }
            })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn selection_is_what_sorting_finds(
            n in prop_oneof![0usize..30, (HELD - 2)..(HELD + 3), HELD..70_000],
            shape in 0u8..6,
            seed in any::<u64>(),
        ) {
            let samples = samples(n, shape, seed);
            let (found, walks, _) = selected(&samples);
            prop_assert_eq!(found, sorted(&samples));
            prop_assert!(n > HELD || walks == 1, "few samples need one walk, not {}", walks);
        }

        #[test]
        fn any_floats_are_ordered_by_their_keys(
            samples in proptest::collection::vec(proptest::num::f64::NORMAL | proptest::num::f64::ZERO
                | proptest::num::f64::SUBNORMAL, 1..200)
        ) {
            let mut by_key = samples.clone();
            by_key.sort_unstable_by_key(|&x| key_of(x));
            let mut by_value = samples;
            by_value.sort_unstable_by(f64::total_cmp);
            prop_assert!(by_key.iter().zip(&by_value).all(|(a, b)| a.to_bits() == b.to_bits()));
            prop_assert!(by_key.iter().all(|&x| sample_of(key_of(x)).to_bits() == x.to_bits()));
        }
    }

    #[test]
    fn what_is_held_does_not_grow_with_the_samples() {
        for shape in 0..6 {
            // The smaller size is past the kept ones already.
            let (_, _, few) = selected(&samples(HELD + 1, shape, 3));
            let (_, walks, many) = selected(&samples(300_000, shape, 3));
            let bound = 2 * BINS_PER_OCTAVE * size_of::<Bin>() * 62;
            assert!(few <= bound && many <= bound, "shape {shape}: {few} and {many} of {bound} bytes");
            // Latencies and lengths, as they come, need far less than their 2.4 MB.
            assert!(shape == 4 || many <= 700_000, "shape {shape}: {many} bytes");
            assert!(walks <= 4, "shape {shape}: {walks} walks");
        }
    }
}
