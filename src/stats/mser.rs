//! MSER: how much of the beginning of a series is not yet steady.

/// Observations in a batch of MSER-5 (Spratt 1998).
pub const MSER_BATCH: usize = 5;

/// The truncation that MSER finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncation {
    /// Leading values to leave out.
    pub cut: usize,
    /// The cut is as late as is looked for, half of the series: the rest is no steadier than
    /// what it leaves out, and the series has no steady part that can be told.
    pub at_limit: bool,
}

/// The marginal standard error rule (White 1997, "An effective truncation heuristic for bias
/// reduction in simulation output"): of all cuts d up to half of the n values, the one with the
/// least Σ_{i>d} (yᵢ − ȳ_d)² / (n − d)², the squared half-width of a confidence interval for the
/// mean of the rest but for a constant. Of several as good the earliest. On means of batches of
/// [`MSER_BATCH`] values this is MSER-5. `None` for fewer than four values.
#[must_use]
pub fn mser(values: &[f64]) -> Option<Truncation> {
    let n = values.len();
    if n < 4 {
        return None;
    }
    let most = n / 2;
    // Walked from the end, so that mean and squares of each rest come from those of the next
    // shorter one (Welford), in one pass and without cancellation.
    let (mut count, mut mean, mut squares) = (0.0f64, 0.0f64, 0.0f64);
    let mut best = (f64::INFINITY, most);
    for (cut, &y) in values.iter().enumerate().rev() {
        count += 1.0;
        let delta = y - mean;
        mean += delta / count;
        squares += delta * (y - mean);
        let error = squares / (count * count);
        if cut <= most && error <= best.0 {
            best = (error, cut);
        }
    }
    Some(Truncation { cut: best.1, at_limit: best.1 == most })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(values: &[f64]) -> (usize, bool) {
        let truncation = mser(values).unwrap();
        (truncation.cut, truncation.at_limit)
    }

    #[test]
    fn by_hand() {
        // Σ(y − ȳ)²/(n − d)² for d = 0 … 4: 19.875/64 = 0.3105, 6.857/49 = 0.1399,
        // 2.833/36 = 0.0787, 2/25 = 0.0800, 2/16 = 0.1250.
        assert_eq!(cut(&[6.0, 4.0, 1.0, 2.0, 3.0, 2.0, 1.0, 2.0]), (2, false));
        // 0.75/16 against 0/9.
        assert_eq!(cut(&[1.0, 0.0, 0.0, 0.0]), (1, false));
        // A far offset cancels nothing.
        assert_eq!(cut(&[6.0, 4.0, 1.0, 2.0, 3.0, 2.0, 1.0, 2.0].map(|y| y + 1e9)), (2, false));
    }

    #[test]
    fn a_start_that_settles_is_cut_and_no_more() {
        let settled = |i: u32| if i.is_multiple_of(2) { 10.0 } else { 11.0 };
        let values: Vec<f64> =
            (0..100).map(|i| if i < 20 { 100.0 - 4.5 * f64::from(i) } else { settled(i) }).collect();
        let (cut, at_limit) = cut(&values);
        assert!((19..=21).contains(&cut) && !at_limit, "{cut}");
    }

    #[test]
    fn what_never_settles_is_cut_at_the_limit() {
        let rising: Vec<f64> = (0..40).map(f64::from).collect();
        assert_eq!(cut(&rising), (20, true));
        let step: Vec<f64> = (0..41).map(|i| if i < 20 { 0.0 } else { 5.0 }).collect();
        assert_eq!(cut(&step), (20, true));
    }

    #[test]
    fn what_is_level_keeps_its_beginning_and_nothing_is_none() {
        assert_eq!(cut(&[3.0; 9]), (0, false));
        assert_eq!(mser(&[1.0, 2.0, 3.0]), None);
        assert_eq!(mser(&[]), None);
    }
}
