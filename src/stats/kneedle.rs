//! Where a curve that levels off bends.

/// The index of the first knee of a concave rising curve, by Kneedle (Satopää et al. 2011,
/// "Finding a 'kneedle' in a haystack"): both axes are scaled to 0…1, and a local maximum of y − x
/// is a knee once y − x has fallen below it by `sensitivity` mean steps of x. 1 is the authors'
/// sensitivity; more finds fewer knees. `x` rises strictly. `None` for fewer than three points,
/// for a curve without a knee, and for values that don't rise or aren't finite.
#[must_use]
pub fn kneedle(x: &[f64], y: &[f64], sensitivity: f64) -> Option<usize> {
    let n = x.len().min(y.len());
    if n < 3 || !x[..n].is_sorted_by(|a, b| a < b) || !y[..n].iter().all(|y| y.is_finite()) {
        return None;
    }
    let (x, y) = (&x[..n], &y[..n]);
    let least = y.iter().copied().fold(f64::INFINITY, f64::min);
    let most = y.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (from, width) = (x[0], x[n - 1] - x[0]);
    if !width.is_finite() || most <= least {
        return None;
    }
    let above: Vec<f64> =
        x.iter().zip(y).map(|(x, y)| (y - least) / (most - least) - (x - from) / width).collect();
    let fall = sensitivity / (n - 1) as f64;
    let mut knee: Option<usize> = None;
    for i in 1..n {
        if let Some(at) = knee.filter(|&at| above[i] < above[at] - fall) {
            return Some(at);
        }
        if i + 1 < n && above[i] > above[i - 1] && above[i] >= above[i + 1] {
            knee = Some(i);
        } else if above[i] > above[i - 1] {
            // It rises again: what comes next decides.
            knee = None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_paper_and_with_kneed() {
        // The paper's figure 2: y = 5 − 1/(x + .1) at ten points of 0…1, whose knee is x = .22.
        let x: Vec<f64> = (0..10).map(|i| f64::from(i) / 9.0).collect();
        let y: Vec<f64> = x.iter().map(|x| 5.0 - 1.0 / (x + 0.1)).collect();
        // kneed 0.9.0 (Python): .5 and 1 find it, 5 and 10 find none.
        for (sensitivity, want) in [(0.5, Some(2)), (1.0, Some(2)), (5.0, None), (10.0, None)] {
            assert_eq!(kneedle(&x, &y, sensitivity), want, "S = {sensitivity}");
        }
        let x = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];
        let y = [10.0, 20.0, 39.0, 75.0, 130.0, 160.0, 165.0, 166.0];
        for sensitivity in [0.5, 1.0, 2.0, 5.0] {
            assert_eq!(kneedle(&x, &y, sensitivity), Some(5), "S = {sensitivity}");
        }
        // A dip after the third point makes a knee of it at first, a later one where S asks more.
        let x: Vec<f64> = (1..=10).map(f64::from).collect();
        let y = [1.0, 5.0, 7.0, 6.8, 7.0, 9.0, 9.2, 9.3, 9.4, 9.5];
        for (sensitivity, want) in [(0.5, Some(2)), (1.0, Some(2)), (2.0, Some(5)), (5.0, None)] {
            assert_eq!(kneedle(&x, &y, sensitivity), want, "S = {sensitivity}");
        }
    }

    #[test]
    fn without_a_bend_there_is_none() {
        let x = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(kneedle(&x, &x, 1.0), None);
        assert_eq!(kneedle(&x, &[1.0, 1.1, 2.0, 9.0], 1.0), None);
        assert_eq!(kneedle(&x, &[3.0; 4], 1.0), None);
        assert_eq!(kneedle(&[1.0, 1.0, 2.0], &[1.0, 2.0, 3.0], 1.0), None);
        assert_eq!(kneedle(&x[..2], &x[..2], 1.0), None);
        assert_eq!(kneedle(&x, &[1.0, f64::NAN, 2.0, 3.0], 1.0), None);
    }
}
