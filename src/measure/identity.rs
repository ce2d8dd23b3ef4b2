//! What makes two runs' workloads the same: due times and lengths in the order of arrival,
//! hashed.

use std::collections::VecDeque;

use sha2::{Digest, Sha256};

/// Arrivals that wait for an earlier one at most, by their numbers; those beyond are left to
/// another walk. A request that takes as long as a time-out allows holds up all that come
/// after it: 1,000 a second for a quarter of an hour.
const WAITING: u64 = 1 << 20;

/// Due time, prompt length, output length.
type Entry = (u64, u32, u32);

/// A due time that none has: nothing is known of this arrival yet, or it doesn't count.
const ABSENT: u64 = u64::MAX;
const LEFT_OUT: u64 = u64::MAX - 1;

/// A hash over arrivals that come nearly in order, each number once. It holds those that
/// came too early, and no more than [`WAITING`].
pub(super) struct Identity {
    hash: Sha256,
    /// The number of the first in `waiting`.
    next: u64,
    waiting: VecDeque<Entry>,
    /// The least number that was too far ahead in this walk.
    beyond: Option<u64>,
    most: u64,
}

impl Default for Identity {
    fn default() -> Self {
        Self { hash: Sha256::new(), next: 0, waiting: VecDeque::new(), beyond: None, most: WAITING }
    }
}

impl Identity {
    /// Take in arrival `seq`; `None`: it doesn't count.
    pub(super) fn take(&mut self, seq: u64, entry: Option<Entry>) {
        let Some(ahead) = seq.checked_sub(self.next) else { return };
        // What was left to the next walk stays so: all before it must have been hashed.
        if ahead >= self.most || self.beyond.is_some_and(|least| seq >= least) {
            self.beyond = Some(self.beyond.map_or(seq, |least| least.min(seq)));
            return;
        }
        let place = ahead as usize;
        if place >= self.waiting.len() {
            self.waiting.resize(place + 1, (ABSENT, 0, 0));
        }
        self.waiting[place] = entry.unwrap_or((LEFT_OUT, 0, 0));
        while self.waiting.front().is_some_and(|(due, ..)| *due != ABSENT) {
            self.hash_first();
        }
    }

    fn hash_first(&mut self) {
        let Some((due, prompt, output)) = self.waiting.pop_front() else { return };
        if due < LEFT_OUT {
            self.hash.update(self.next.to_le_bytes());
            self.hash.update(due.to_le_bytes());
            self.hash.update(prompt.to_le_bytes());
            self.hash.update(output.to_le_bytes());
        }
        self.next += 1;
    }

    /// End a walk: a number that has not come never will. Whether another walk is needed.
    pub(super) fn end_walk(&mut self) -> bool {
        while !self.waiting.is_empty() {
            self.hash_first();
        }
        self.waiting = VecDeque::new();
        let beyond = self.beyond.take();
        self.next = beyond.unwrap_or(u64::MAX);
        beyond.is_some()
    }

    /// Sixteen hexadecimal digits.
    pub(super) fn digest(&self) -> String {
        self.hash.clone().finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Arrivals that wait.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(seq: u64) -> Option<Entry> {
        (!seq.is_multiple_of(5)).then_some((seq * 1000, 100 + seq as u32 % 7, 8))
    }

    /// Over the sorted whole, at once.
    fn plain(seqs: &[u64]) -> String {
        let mut seqs = seqs.to_vec();
        seqs.sort_unstable();
        let mut hash = Sha256::new();
        for (seq, (due, prompt, output)) in seqs.into_iter().filter_map(|seq| Some((seq, entry(seq)?))) {
            hash.update(seq.to_le_bytes());
            hash.update(due.to_le_bytes());
            hash.update(prompt.to_le_bytes());
            hash.update(output.to_le_bytes());
        }
        hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The hash, the walks, and the most that waited.
    fn walked(seqs: &[u64], most: u64) -> (String, usize, usize) {
        let mut identity = Identity { most, ..Identity::default() };
        let (mut walks, mut held) = (0, 0);
        loop {
            for &seq in seqs {
                identity.take(seq, entry(seq));
                held = held.max(identity.held());
            }
            walks += 1;
            if !identity.end_walk() {
                return (identity.digest(), walks, held);
            }
        }
    }

    proptest! {
        #[test]
        fn the_hash_is_that_of_the_sorted_whole(
            seqs in proptest::collection::btree_set(prop_oneof![0u64..300, 0..u64::MAX / 2048], 0..200)
                .prop_map(|set| set.into_iter().collect::<Vec<_>>()).prop_shuffle(),
            most in 1u64..400,
        ) {
            let (hash, walks, held) = walked(&seqs, most);
            prop_assert_eq!(hash, plain(&seqs));
            prop_assert!(held as u64 <= most && walks <= seqs.len() + 1);
        }
    }

    #[test]
    fn one_straggler_costs_a_walk_and_no_memory() {
        let mut seqs: Vec<u64> = (1..5000).collect();
        seqs.insert(3000, 0);
        let (hash, walks, held) = walked(&seqs, 1000);
        assert_eq!((hash, walks), (plain(&seqs), 2));
        assert!(held <= 1000, "{held}");
    }
}
