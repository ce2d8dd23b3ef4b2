//! Randomness that is a pure function of what it is for.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

/// A stream of random numbers for one purpose of one arrival. Streams of other purposes,
/// seeds, salts or arrivals are independent of it.
pub(crate) fn stream(purpose: &str, seed: u64, salt: &str, seq: u64) -> ChaCha8Rng {
    let mut hash = Sha256::new();
    for part in [purpose.as_bytes(), salt.as_bytes()] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update(seed.to_le_bytes());
    hash.update(seq.to_le_bytes());
    ChaCha8Rng::from_seed(hash.finalize().into())
}

/// Uniform in [0, 1).
pub(crate) fn unit(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// Uniform in 0..n, for n up to 2³². The bias is below n/2³².
pub(crate) fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    ((u64::from(rng.next_u32()) * n as u64) >> 32) as usize
}
