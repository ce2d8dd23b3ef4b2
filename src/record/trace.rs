//! Names of traces by W3C Trace Context: which requests bear one, and which.
//!
//! All of it follows from a key and the number of the arrival: nothing is shared between load
//! cores, and a run tells afterwards what it sent.

use sha2::{Digest as _, Sha256};

/// Which arrivals of a cell are traced, and by which names.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Traces {
    share: f64,
    key: [u64; 2],
}

/// The name of a trace, never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

impl Traces {
    /// Of a `share` of the arrivals, 0 to 1; `None` for 0. `key` is all that tells this cell's
    /// arrivals from those of any other cell, repeat and run.
    #[must_use]
    pub fn new(share: f64, key: &[&str]) -> Option<Self> {
        if share.is_nan() || share <= 0.0 {
            return None;
        }
        let mut hash = Sha256::new();
        for part in key {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let digest = hash.finalize();
        let word = |at: usize| digest[at..at + 8].iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        Some(Self { share: share.min(1.0), key: [word(0), word(8)] })
    }

    /// The trace of arrival `seq`, if it is one of the share. Of the first `n` arrivals `n` times
    /// the share have one, to within one: of each `1 / share` in a row one, drawn by the key, so
    /// that it falls into step with nothing.
    #[must_use]
    pub fn of(&self, seq: u64) -> Option<TraceId> {
        self.is_traced(seq).then(|| {
            let high = mix(self.key[0] ^ mix(seq));
            let low = mix(self.key[1] ^ mix(seq ^ 0x9e37_79b9_7f4a_7c15));
            TraceId((u128::from(high) << 64 | u128::from(low)).max(1))
        })
    }

    fn is_traced(&self, seq: u64) -> bool {
        let begin = |k: u64| (k as f64 / self.share).ceil() as u64;
        let near = (seq as f64 * self.share) as u64;
        // Rounding may be off by one either way.
        (near.saturating_sub(1)..=near + 1).any(|k| {
            let (from, to) = (begin(k), begin(k + 1));
            (from..to).contains(&seq) && from + mix(self.key[0] ^ mix(!k)) % (to - from) == seq
        })
    }
}

impl TraceId {
    /// From its 32 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let sound = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let id = u128::from_str_radix(text, 16).ok().filter(|id| sound && *id != 0)?;
        Some(Self(id))
    }

    /// The name of this client's span in it, never 0: the parent of the server's.
    #[must_use]
    pub fn span(self) -> u64 {
        mix((self.0 >> 64) as u64 ^ mix(self.0 as u64)).max(1)
    }

    /// The value of the header `traceparent`: sampled.
    #[must_use]
    pub fn traceparent(self) -> String {
        format!("00-{self}-{:016x}-01", self.span())
    }
}

impl std::fmt::Display for TraceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A bijection of 64 bits in which every bit of the answer hangs on every bit asked (the finaliser
/// of SplitMix64).
const fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_share_is_kept_whatever_it_is() {
        for share in [1.0, 0.9, 0.5, 0.3, 0.25, 1.0 / 3.0, 0.1, 0.01, 0.007] {
            let traces = Traces::new(share, &["salt", "cell"]).unwrap();
            let mut traced = 0;
            for seq in 0..20_000_u64 {
                traced += u64::from(traces.of(seq).is_some());
                let asked = (seq + 1) as f64 * share;
                assert!((traced as f64 - asked).abs() <= 1.001, "{share}: {traced} of {}", seq + 1);
            }
        }
        assert_eq!(Traces::new(0.0, &[]), None);
        assert_eq!(Traces::new(f64::NAN, &[]), None);
    }

    #[test]
    fn names_differ_and_are_well_formed() {
        let all = |key: &[&str]| -> Vec<TraceId> {
            let traces = Traces::new(1.0, key).unwrap();
            (0..5_000).filter_map(|seq| traces.of(seq)).collect()
        };
        let (a, b) = (all(&["s", "ab"]), all(&["sa", "b"]));
        let names: HashSet<TraceId> = a.iter().chain(&b).copied().collect();
        let spans: HashSet<u64> = names.iter().map(|id| id.span()).collect();
        assert_eq!((a.len(), names.len(), spans.len()), (5_000, 10_000, 10_000));
        assert_eq!(a, all(&["s", "ab"]), "the same key gives the same names");
        let header = a[0].traceparent();
        assert_eq!(header.split('-').map(str::len).collect::<Vec<_>>(), [2, 32, 16, 2], "{header}");
        assert_eq!(TraceId::parse(&a[0].to_string()), Some(a[0]));
        for text in ["", "0", "00000000000000000000000000000000", "+0000000000000000000000000000001", "xyz"] {
            assert_eq!(TraceId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn no_core_has_them_all() {
        let traces = Traces::new(0.25, &["x"]).unwrap();
        let of_core =
            |core: u64| (0..4_000_u64).filter(|seq| seq % 4 == core && traces.of(*seq).is_some()).count();
        assert!((0..4).all(|core| of_core(core) > 150), "{:?}", [0, 1, 2, 3].map(of_core));
    }
}
