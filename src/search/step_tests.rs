use proptest::prelude::*;

use super::*;

pub(in crate::search) fn rules(axis: &str, start: f64, min: f64, max: f64) -> SearchRules {
    SearchRules {
        axis: axis.to_owned(),
        start,
        min,
        max,
        ratio: 1.05,
        probes: 40,
        extend: 2,
        confidence: 0.95,
        tolerance: 0.02,
        time_s: None,
    }
}

pub(in crate::search) fn level(load: f64, verdict: Verdict, margin: f64) -> Level {
    Level {
        load,
        verdict: Some(verdict),
        margin: Some(margin),
        binds: Some("ttft_p95".to_owned()),
        probes: 1,
        valid: 1,
        requests: 100,
        overloaded: false,
        invalid: None,
        seconds: 10.0,
    }
}

/// Measures as a server would that carries `capacity`; gives the loads in order, and the end.
fn search(rules: &SearchRules, capacity: f64) -> (Vec<Level>, End) {
    let mut levels = Vec::new();
    loop {
        match next(rules, &levels, &|_| 10.0) {
            Next::Done(end) => return (levels, end),
            Next::Probe { load, repeat } => {
                assert_eq!(repeat, 1, "nothing is in doubt");
                let verdict = if load <= capacity { Verdict::Pass } else { Verdict::Fail };
                levels.push(level(load, verdict, (load / capacity).ln()));
            }
        }
    }
}

fn loads(levels: &[Level]) -> Vec<f64> {
    levels.iter().map(|level| level.load).collect()
}

#[test]
fn it_doubles_to_the_first_that_fails_and_halves_the_gap() {
    let (levels, end) = search(&rules("load.qps", 1.0, 0.001, 1e4), 12.4);
    assert_eq!(loads(&levels), [1.0, 2.0, 4.0, 8.0, 16.0, 11.31, 13.45, 12.33, 12.88]);
    assert_eq!(end, End::Settled);
}

#[test]
fn below_one_request_a_second_it_halves_first() {
    let (levels, end) = search(&rules("load.qps", 1.0, 0.001, 1e4), 0.3);
    assert_eq!(loads(&levels), [1.0, 0.5, 0.25, 0.3536, 0.2973, 0.3242, 0.3105]);
    assert_eq!(end, End::Settled);
    let (levels, _) = search(&rules("load.qps", 1.0, 0.001, 1e4), 0.003);
    assert!(levels.iter().any(|level| level.load < 0.0031), "{:?}", loads(&levels));
}

#[test]
fn users_are_whole() {
    let (levels, end) = search(&rules("load.users", 1.0, 1.0, 1e4), 5.5);
    assert_eq!((loads(&levels), end), (vec![1.0, 2.0, 4.0, 8.0, 6.0, 5.0], End::Settled));
}

#[test]
fn ends_that_are_open_say_so() {
    let (levels, end) = search(&rules("load.qps", 1.0, 0.001, 5.0), 100.0);
    assert_eq!((loads(&levels), end), (vec![1.0, 2.0, 4.0, 5.0], End::AllPass));
    let (levels, end) = search(&rules("load.users", 4.0, 1.0, 64.0), 0.5);
    assert_eq!((loads(&levels), end), (vec![4.0, 2.0, 1.0], End::NonePass));
    let (levels, end) = search(&SearchRules { probes: 6, ..rules("load.qps", 1.0, 0.001, 1e4) }, 12.4);
    assert_eq!((levels.len(), end), (6, End::ProbesRanOut));
    let (levels, end) =
        search(&SearchRules { time_s: Some(35.0), ..rules("load.qps", 1.0, 0.001, 1e4) }, 12.4);
    assert_eq!((levels.len(), end), (3, End::TimeRanOut), "a fourth would end after 40 s");
}

#[test]
fn what_is_in_doubt_is_measured_again_and_then_goes_by_its_figures() {
    let rules = rules("load.qps", 1.0, 0.001, 1e4);
    let of = |levels: &[Level]| next(&rules, levels, &|_| 10.0);
    let at = |load: f64, repeat: u32| Next::Probe { load, repeat };
    let mut doubt = level(1.0, Verdict::Undecided, -0.01);
    for valid in 1..=2 {
        (doubt.probes, doubt.valid) = (valid, valid);
        assert_eq!(of(&[doubt.clone()]), at(1.0, valid + 1));
    }
    (doubt.probes, doubt.valid) = (3, 3);
    assert_eq!(of(&[doubt.clone()]), at(2.0, 1), "the figures are within: up");
    let beyond = Level { margin: Some(0.01), ..doubt.clone() };
    assert_eq!(of(&[beyond]), at(0.5, 1), "and here down");
    let piled = Level { overloaded: true, ..doubt };
    assert_eq!(of(&[piled]), at(0.5, 1));
}

#[test]
fn an_invalid_probe_is_no_failure_and_the_second_ends_the_search() {
    let rules = rules("load.qps", 1.0, 0.001, 1e4);
    let invalid = |load: f64, probes: u32, valid: u32, verdict| Level {
        probes,
        valid,
        verdict,
        margin: verdict.map(|_| 0.0),
        invalid: Some("lag".to_owned()),
        ..level(load, Verdict::Pass, 0.0)
    };
    let of = |levels: &[Level]| next(&rules, levels, &|_| 10.0);
    assert_eq!(of(&[invalid(1.0, 1, 0, None)]), Next::Probe { load: 1.0, repeat: 2 });
    let stopped = Next::Done(End::Invalid { reason: "lag".to_owned() });
    assert_eq!(of(&[invalid(1.0, 2, 0, None)]), stopped);
    // Invalid, then in doubt, then invalid again.
    assert_eq!(of(&[invalid(1.0, 3, 1, Some(Verdict::Undecided))]), stopped);
    assert_eq!(of(&[invalid(1.0, 2, 1, Some(Verdict::Pass))]), Next::Probe { load: 2.0, repeat: 1 });
}

proptest! {
    /// Whatever a server carries, the search ends with the two sides as near as asked, or at a
    /// bound; and never measures the same load twice or one beyond the bounds.
    #[test]
    fn the_bracket_holds_the_capacity(
        capacity in -4.0..5.0_f64, start in -2.0..3.0_f64, whole: bool,
    ) {
        let (capacity, start) = (10_f64.powf(capacity), 10_f64.powf(start));
        let rules = if whole {
            rules("load.users", start.round().max(1.0), 1.0, 1e4)
        } else {
            rules("load.qps", start, 0.001, 1e4)
        };
        let (levels, end) = search(&rules, capacity);
        let mut tried = loads(&levels);
        prop_assert!(tried.iter().all(|load| (rules.min..=rules.max).contains(load)), "{tried:?}");
        tried.sort_by(f64::total_cmp);
        prop_assert!(tried.windows(2).all(|pair| pair[0] < pair[1]), "{tried:?}");
        match (bracket(&levels), end) {
            ((Some(low), Some(high)), End::Settled) => {
                prop_assert!(low <= capacity && capacity < high, "{low} to {high}");
                let near = high <= low * 1.05 || (whole && high - low <= 1.0);
                // Four digits of a load are a part in a thousand.
                prop_assert!(near || high / low <= 1.052, "{low} to {high}");
            }
            ((Some(low), None), End::AllPass) => prop_assert!(low <= capacity && low == rules.max),
            ((None, Some(high)), End::NonePass) => prop_assert!(high > capacity && high == rules.min),
            other => prop_assert!(false, "{other:?}"),
        }
    }

    /// The order in which levels come makes no difference: a resumed search goes on alike.
    #[test]
    fn the_order_of_levels_says_nothing(capacity in 0.05..2000.0_f64, upto in 1..10_usize, turn in 0..10_usize) {
        let rules = rules("load.qps", 1.0, 0.001, 1e4);
        let (levels, _) = search(&rules, capacity);
        let mut some = levels[..upto.min(levels.len())].to_vec();
        let asked = next(&rules, &some, &|_| 1.0);
        let len = some.len();
        some.rotate_left(turn % len);
        prop_assert_eq!(next(&rules, &some, &|_| 1.0), asked);
    }

    /// Verdicts at random: it ends all the same, within its budget.
    #[test]
    fn it_ends_whatever_it_hears(words in proptest::collection::vec(0..5_u8, 60)) {
        let rules = rules("load.qps", 1.0, 0.1, 100.0);
        let mut levels: Vec<Level> = Vec::new();
        let mut words = words.into_iter();
        let mut probes = 0;
        while let Next::Probe { load, repeat } = next(&rules, &levels, &|_| 1.0) {
            probes += 1;
            prop_assert!(probes <= rules.probes);
            let (verdict, margin) = match words.next().unwrap_or(0) {
                0 => (Some(Verdict::Pass), -0.2),
                1 => (Some(Verdict::Fail), 0.2),
                2 => (Some(Verdict::Undecided), -0.01),
                3 => (Some(Verdict::Undecided), 0.01),
                _ => (None, 0.0),
            };
            let valid = u32::from(verdict.is_some());
            match levels.iter_mut().find(|level| level.load == load) {
                Some(level) => {
                    prop_assert_eq!(level.probes + 1, repeat);
                    (level.probes, level.valid) = (repeat, level.valid + valid);
                    if verdict.is_some() {
                        (level.verdict, level.margin) = (verdict, Some(margin));
                    }
                }
                None => levels.push(Level {
                    verdict,
                    margin: verdict.map(|_| margin),
                    valid,
                    ..level(load, Verdict::Pass, margin)
                }),
            }
        }
    }
}
