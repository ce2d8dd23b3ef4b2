//! Isotonic regression: the rising sequence nearest to values that ought to rise.

/// The never falling sequence with the least Σ wᵢ(yᵢ − fᵢ)², by pooling adjacent violators
/// (Ayer et al. 1955). A weight that is missing counts as 1, one of 0 or less as next to nothing.
#[must_use]
pub fn isotonic(y: &[f64], weights: &[f64]) -> Vec<f64> {
    /// Values pooled into one.
    struct Block {
        mean: f64,
        weight: f64,
        len: usize,
    }
    let mut blocks: Vec<Block> = Vec::with_capacity(y.len());
    for (i, &value) in y.iter().enumerate() {
        let weight = weights.get(i).copied().unwrap_or(1.0).max(1e-200);
        let mut block = Block { mean: value, weight, len: 1 };
        while let Some(before) = blocks.pop_if(|before| before.mean > block.mean) {
            let weight = before.weight + block.weight;
            block.mean = (before.mean * before.weight + block.mean * block.weight) / weight;
            block.weight = weight;
            block.len += before.len;
        }
        blocks.push(block);
    }
    blocks.iter().flat_map(|block| std::iter::repeat_n(block.mean, block.len)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const Y: [f64; 8] = [1.0, 3.0, 2.0, 4.0, 3.5, 3.0, 6.0, 5.0];

    fn near(got: &[f64], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() < 1e-12, "{got}, not {want}");
        }
    }

    // Both by optimize.isotonic_regression of SciPy 1.17.1.
    #[test]
    fn agrees_with_scipy() {
        near(&isotonic(&Y, &[1.0; 8]), &[1.0, 2.5, 2.5, 3.5, 3.5, 3.5, 5.5, 5.5]);
        let weights = [1.0, 2.0, 1.0, 1.0, 3.0, 1.0, 1.0, 1.0];
        let third = 8.0 / 3.0;
        near(&isotonic(&Y, &weights), &[1.0, third, third, 3.5, 3.5, 3.5, 5.5, 5.5]);
    }

    #[test]
    fn what_rises_stays_and_what_falls_becomes_its_mean() {
        near(&isotonic(&[1.0, 2.0, 2.0, 5.0], &[]), &[1.0, 2.0, 2.0, 5.0]);
        near(&isotonic(&[3.0, 2.0, 1.0], &[1.0, 1.0, 4.0]), &[1.5; 3]);
        near(&isotonic(&[3.0, 2.0, 1.0], &[1.0, 0.0, 1.0]), &[2.0; 3]);
        assert!(isotonic(&[], &[]).is_empty());
    }
}
