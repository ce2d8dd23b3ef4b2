use proptest::prelude::*;

use super::super::step::tests::{level, rules};
use super::*;

fn of(levels: &[Level]) -> Outcome {
    outcome(&rules("load.qps", 1.0, 0.001, 1e4), BTreeMap::new(), levels, Some(End::Settled))
}

#[test]
fn the_answer_lies_between_the_last_pass_and_the_first_fail() {
    use Verdict::{Fail, Pass, Undecided};
    let found = of(&[
        level(8.0, Pass, -1.0),
        level(16.0, Fail, 1.0),
        level(11.0, Pass, -0.1),
        level(12.0, Undecided, -0.02),
        level(13.0, Fail, 0.1),
    ]);
    assert_eq!((found.last_pass, found.first_fail), (Some(11.0), Some(13.0)));
    // On the line from (ln 12, −.02) to (ln 13, .1), a sixth of the way.
    let expected = (12_f64.ln() + (13_f64 / 12.0).ln() * (0.02 / 0.12)).exp();
    assert!((found.estimate.unwrap() - expected).abs() < 1e-9, "{found:?}");
    assert_eq!((found.binds.as_deref(), found.non_monotone, found.probes), (Some("ttft_p95"), false, 5));
    let loads: Vec<f64> = found.levels.iter().map(|level| level.load).collect();
    assert_eq!(loads, [8.0, 11.0, 12.0, 13.0, 16.0]);
}

#[test]
fn open_ends_have_no_estimate() {
    let found = of(&[level(1.0, Verdict::Pass, -1.0), level(2.0, Verdict::Pass, -0.5)]);
    assert_eq!((found.last_pass, found.first_fail, found.estimate), (Some(2.0), None, None));
    assert_eq!(found.binds, None);
    let found = of(&[level(1.0, Verdict::Fail, 1.0), level(2.0, Verdict::Fail, 1.5)]);
    assert_eq!((found.last_pass, found.first_fail, found.estimate), (None, Some(1.0), None));
    assert_eq!(of(&[]).estimate, None);
}

#[test]
fn figures_that_fall_with_the_load_are_flagged_and_the_fit_pools_them() {
    use Verdict::{Fail, Pass};
    let found =
        of(&[level(1.0, Pass, -1.0), level(2.0, Fail, 0.3), level(4.0, Pass, -0.2), level(8.0, Fail, 1.0)]);
    assert!(found.non_monotone);
    assert_eq!((found.last_pass, found.first_fail), (Some(1.0), Some(2.0)), "the cautious side");
    let estimate = found.estimate.unwrap();
    assert!((1.0..=2.0).contains(&estimate), "{estimate}");
    // Noise far from the limit is no contradiction.
    let found = of(&[level(1.0, Pass, -1.0), level(2.0, Pass, -1.6), level(4.0, Fail, 0.4)]);
    assert!(!found.non_monotone);
}

#[test]
fn an_outcome_is_written_and_read() {
    let found = of(&[level(1.0, Verdict::Pass, -1.0), level(2.0, Verdict::Fail, 0.5)]);
    let json = serde_json::to_string(&found).unwrap();
    assert!(json.contains(r#""end":{"why":"settled"}"#), "{json}");
    assert_eq!(serde_json::from_str::<Outcome>(&json).unwrap(), found);
}

proptest! {
    /// Margins that rise are never flagged, and the estimate is where they cross 0.
    #[test]
    fn a_straight_line_is_found(capacity in 0.01..1000.0_f64, steep in 0.5..8.0_f64, n in 3..12_u32) {
        let spread = |i: u32| (0.3_f64).mul_add(f64::from(i) - f64::from(n) / 2.0 + 0.25, 0.0);
        let levels: Vec<Level> = (0..n).map(|i| {
            let load = capacity * spread(i).exp();
            let margin = steep * spread(i);
            level(load, if margin > 0.0 { Verdict::Fail } else { Verdict::Pass }, margin)
        }).collect();
        let found = of(&levels);
        prop_assert!(!found.non_monotone);
        let estimate = found.estimate.unwrap();
        prop_assert!((estimate / capacity - 1.0).abs() < 1e-6, "{estimate} for {capacity}");
        prop_assert!(found.last_pass.unwrap() <= estimate && estimate <= found.first_fail.unwrap());
    }
}
