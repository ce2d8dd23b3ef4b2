use proptest::prelude::*;

use super::*;

fn schedule(seed: u64, qps: f64, arrivals: Arrivals) -> Schedule {
    Schedule::new(seed, qps, arrivals, Duration::ZERO)
}

#[test]
fn constant_arrivals_stand_where_they_belong() {
    for qps in [0.1, 3.0, 10.0, 100.0, 1000.0, 30_000.0] {
        for (k, due) in schedule(1, qps, Arrivals::Constant).enumerate().take(50_000) {
            assert_eq!(due, (k as f64 / qps * 1e6).round() as u64, "arrival {k} at {qps}/s");
        }
    }
}

#[test]
fn poisson_gaps_and_counts_are_as_theory() {
    // Mean and CV of exponential gaps are 1/λ and 1; the index of dispersion of counts is 1.
    let n = 200_000;
    for (seed, qps) in [(1, 10.0), (2, 100.0), (3, 1000.0)] {
        let due: Vec<u64> = schedule(seed, qps, Arrivals::Poisson).take(n).collect();
        let gaps: Vec<f64> = due.windows(2).map(|w| (w[1] - w[0]) as f64 / 1e6).collect();
        let m = crate::stats::Moments::of(&gaps);
        let (mean, std) = (m.mean().unwrap(), m.std().unwrap());
        let root = (gaps.len() as f64).sqrt();
        assert!((mean * qps - 1.0).abs() < 3.0 / root, "mean gap at {qps}/s");
        // The standard error of a sample CV of exponentials is about 1/√n.
        assert!((std / mean - 1.0).abs() < 3.0 / root, "gap CV at {qps}/s: {}", std / mean);

        let cell_us = (50.0 / qps * 1e6) as u64;
        let cells = (due[n - 1] / cell_us) as usize;
        let mut counts = vec![0.0; cells];
        for d in &due {
            if let Some(c) = counts.get_mut((d / cell_us) as usize) {
                *c += 1.0;
            }
        }
        let m = crate::stats::Moments::of(&counts);
        let idc = m.std().unwrap().powi(2) / m.mean().unwrap();
        assert!((idc - 1.0).abs() < 3.0 * (2.0 / cells as f64).sqrt(), "IDC at {qps}/s: {idc}");
    }
}

#[test]
fn poisson_gaps_pass_a_kolmogorov_test() {
    let n = 20_000;
    let due: Vec<u64> = schedule(7, 100.0, Arrivals::Poisson).take(n + 1).collect();
    let mut gaps: Vec<f64> = due.windows(2).map(|w| (w[1] - w[0]) as f64 / 1e6).collect();
    gaps.sort_by(f64::total_cmp);
    let distance = gaps
        .iter()
        .enumerate()
        .map(|(i, g)| ((i as f64 + 0.5) / n as f64 - (1.0 - (-g * 100.0).exp())).abs())
        .fold(0.0, f64::max);
    // 1.63/√n is the limit at the 1 % level.
    assert!(distance < 1.63 / (n as f64).sqrt(), "distance {distance}");
}

#[test]
fn the_rate_rises_in_a_straight_line() {
    let ramp = Duration::from_secs(10);
    for arrivals in [Arrivals::Constant, Arrivals::Poisson] {
        let s = Schedule::new(5, 1000.0, arrivals, ramp);
        let first_half = s.arrivals_in(0, 5_000_000) as f64;
        let second_half = s.arrivals_in(5_000_000, 10_000_000) as f64;
        let after = s.arrivals_in(10_000_000, 15_000_000) as f64;
        for (got, want) in [(first_half, 1250.0), (second_half, 3750.0), (after, 5000.0)] {
            assert!((got - want).abs() <= 3.5 * f64::sqrt(want), "{arrivals:?}: {got} for {want}");
        }
    }
}

#[test]
fn a_window_of_requests_holds_exactly_so_many() {
    for arrivals in [Arrivals::Constant, Arrivals::Poisson] {
        let s = schedule(9, 50.0, arrivals);
        let start = 2_000_000;
        let (end, by) = s.window_end(start, None, Some(100)).unwrap();
        assert_eq!(by, EndedBy::Requests);
        assert_eq!(s.arrivals_in(start, end), 100);
        // A shorter duration wins.
        let short = Some(Duration::from_millis(500));
        assert_eq!(s.window_end(start, short, Some(100)), Some((2_500_000, EndedBy::Duration)));
        assert_eq!(s.window_end(start, short, None), Some((2_500_000, EndedBy::Duration)));
        assert_eq!(s.window_end(start, None, None), None);
    }
}

#[test]
fn no_rate_no_arrivals() {
    for qps in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(schedule(1, qps, Arrivals::Poisson).next(), None);
    }
}

/// Mean gap times the rate, CV of the gaps, and index of dispersion of counts in bins of fifty.
fn moments(due: &[u64], qps: f64) -> (f64, f64, f64, f64) {
    let gaps: Vec<f64> = due.windows(2).map(|w| (w[1] - w[0]) as f64 / 1e6).collect();
    let m = crate::stats::Moments::of(&gaps);
    let (mean, std) = (m.mean().unwrap(), m.std().unwrap());
    let bin_us = 50.0 / qps * 1e6;
    let bins = (*due.last().unwrap() as f64 / bin_us) as usize;
    let mut counts = vec![0.0; bins];
    for d in due {
        if let Some(count) = counts.get_mut((*d as f64 / bin_us) as usize) {
            *count += 1.0;
        }
    }
    let m = crate::stats::Moments::of(&counts);
    (mean * qps, std / mean, m.std().unwrap().powi(2) / m.mean().unwrap(), bins as f64)
}

#[test]
fn gamma_and_uniform_gaps_and_counts_are_as_theory() {
    let n = 200_000;
    // The CV of the gaps, and what the variance of their sample's is, times n, over its square.
    let gamma =
        |burstiness: f64| (Arrivals::Gamma { burstiness }, 1.0 / burstiness.sqrt(), 0.5 + 0.5 / burstiness);
    let uniform = (Arrivals::Uniform, 1.0 / 3f64.sqrt(), 0.2 + 1.0 / 3.0);
    for (arrivals, cv, spread) in [gamma(0.25), gamma(0.5), gamma(1.0), gamma(2.0), gamma(10.0), uniform] {
        for (seed, qps) in [(1, 10.0), (2, 1000.0)] {
            let due: Vec<u64> = schedule(seed, qps, arrivals).take(n).collect();
            let (mean, found, idc, bins) = moments(&due, qps);
            let root = (n as f64).sqrt();
            assert!((mean - 1.0).abs() < 4.0 * cv / root, "{arrivals:?}: mean {mean}");
            let error = 4.0 * cv * spread.sqrt() / root;
            assert!((found - cv).abs() < error, "{arrivals:?}: CV {found} for {cv} ± {error}");
            // Of a renewal process the dispersion goes to the squared CV; in bins of fifty it is off
            // by about a hundredth of that and one more.
            let within = 4.0 * cv * cv * (2.0 / bins).sqrt() + 0.01 * (1.0 + cv * cv);
            assert!((idc - cv * cv).abs() < within, "{arrivals:?}: dispersion {idc} for {}", cv * cv);
        }
    }
}

#[test]
fn a_burst_is_due_at_once_and_the_next_a_period_later() {
    // 20 users every 5 s.
    let s = || schedule(1, 4.0, Arrivals::Burst { size: 20 });
    for (k, due) in (0..).zip(s()).take(1000) {
        assert_eq!(due, k / 20 * 5_000_000);
    }
    // A period that is no round number drifts nowhere.
    let odd = schedule(1, 7.0 / 0.333, Arrivals::Burst { size: 7 });
    assert!((0..).zip(odd).take(70_000).all(|(k, due)| due == k / 7 * 333_000));
    // Requests are counted by whole bursts.
    for (requests, bursts) in [(1, 1), (20, 1), (21, 2), (50, 3)] {
        let (end, by) = s().window_end(5_000_000, None, Some(requests)).unwrap();
        assert_eq!((end, by), ((1 + bursts) * 5_000_000, EndedBy::Requests));
        assert_eq!(s().arrivals_in(5_000_000, end), bursts * 20);
    }
}

#[test]
fn a_list_of_times_is_taken_as_it_is_and_ends() {
    let s = || Schedule::of_times([0, 10, 10, 500, 400, 900].into());
    let due = [0, 10, 10, 500, 500, 900];
    assert_eq!(s().collect::<Vec<_>>(), due);
    for size in [1, 2, 4] {
        let mut parts: Vec<(u64, u64)> = (0..size).flat_map(|rank| s().slice(Shard { rank, size })).collect();
        parts.sort_unstable();
        assert_eq!(parts, (0..).zip(due).collect::<Vec<_>>());
    }
    assert_eq!(s().window_end(5, None, None), Some((901, EndedBy::Requests)));
    assert_eq!(s().window_end(5, None, Some(2)), Some((500, EndedBy::Requests)));
    // Whichever comes first: the list's end, or the window's.
    let second = Some(Duration::from_secs(1));
    assert_eq!(s().window_end(5, second, None), Some((901, EndedBy::Requests)));
    assert_eq!(s().window_end(5, second, Some(9)), Some((901, EndedBy::Requests)));
    let short = Some(Duration::from_micros(600));
    assert_eq!(s().window_end(5, short, None), Some((605, EndedBy::Duration)));
    assert_eq!(s().window_end(950, None, None), Some((950, EndedBy::Requests)), "nothing is due in it");
}

/// A cell of stages: `(seconds, rate, seconds of ramp)` each, after two seconds of warm-up.
fn staged(arrivals: Arrivals, stages: &[(u64, f64, u64)]) -> crate::experiment::Settings {
    let mut text = "target.url = \"sim:\"\nload.qps = 1\ncell.warmup = \"2s\"\n".to_owned();
    for (i, (seconds, rate, ramp)) in stages.iter().enumerate() {
        text += &format!("[stage.s{i}]\nduration = \"{seconds}s\"\nqps = {rate}\nramp = \"{ramp}s\"\n");
    }
    let experiment = crate::experiment::Experiment::parse(std::path::Path::new("a.toml"), &text, &[]);
    let plan = crate::plan::build(&experiment.unwrap_or_else(|m| panic!("{m}"))).unwrap();
    let mut settings = plan.cells[0].settings.clone();
    settings.load = Load::Open { qps: 1.0, arrivals, max_in_flight: None };
    settings
}

#[test]
fn the_rate_follows_the_stages() {
    const S: u64 = 1_000_000;
    for arrivals in [Arrivals::Constant, Arrivals::Poisson, Arrivals::Gamma { burstiness: 2.0 }] {
        // 200/s for 10 s, up to 1,000/s over 10 s and 10 s of that, at once to 100/s.
        let settings = staged(arrivals, &[(10, 200.0, 0), (20, 1000.0, 10), (10, 100.0, 0)]);
        assert_eq!(settings.staged_arrivals(), Some(2_000.0 + 6_000.0 + 10_000.0 + 1_000.0));
        let s = Schedule::of(3, &settings).unwrap();
        let expected =
            [(0, 2, 400.0), (2, 12, 2_000.0), (12, 17, 2_000.0), (17, 22, 4_000.0), (22, 32, 10_000.0)];
        for (from, to, want) in expected.into_iter().chain([(32, 42, 1_000.0), (42, 50, 800.0)]) {
            let got = s.arrivals_in(from * S, to * S) as f64;
            let within = if arrivals == Arrivals::Constant { 1.0 } else { 4.0 * f64::sqrt(want) };
            assert!((got - want).abs() <= within, "{arrivals:?} {from}..{to}: {got} for {want}");
        }
    }
}

#[test]
fn one_stage_at_the_loads_own_rate_changes_nothing() {
    for arrivals in [Arrivals::Constant, Arrivals::Poisson] {
        let settings = staged(arrivals, &[(10, 50.0, 0)]);
        let s = Schedule::of(11, &settings).unwrap();
        assert!(s.zip(schedule(11, 50.0, arrivals)).take(5_000).all(|(a, b)| a.abs_diff(b) <= 1));
    }
}

proptest! {
    #[test]
    fn shards_partition_the_one_schedule(
        seed in any::<u64>(),
        qps in 0.5f64..20_000.0,
        arrivals in prop_oneof![
            Just(Arrivals::Constant),
            Just(Arrivals::Poisson),
            Just(Arrivals::Uniform),
            (0.01f64..100.0).prop_map(|burstiness| Arrivals::Gamma { burstiness }),
            (1u32..50).prop_map(|size| Arrivals::Burst { size }),
        ],
        size in 1u32..9,
        ramp_ms in 0u64..5_000,
    ) {
        let s = Schedule::new(seed, qps, arrivals, Duration::from_millis(ramp_ms));
        let whole: Vec<(u64, u64)> = (0..).zip(s.clone()).take(400).collect();
        prop_assert!(whole.windows(2).all(|w| w[0].1 <= w[1].1));
        let mut merged = Vec::new();
        for rank in 0..size {
            let shard = Shard { rank, size };
            merged.extend(s.clone().slice(shard).take_while(|(k, _)| *k < 400));
            let numbers: Vec<u64> = shard.numbers().take(3).collect();
            let sliced: Vec<u64> = s.clone().slice(shard).take(3).map(|(k, _)| k).collect();
            prop_assert_eq!(numbers, sliced);
        }
        merged.sort_unstable();
        prop_assert_eq!(merged, whole);
    }

    #[test]
    fn stages_never_turn_time_back(
        seed in any::<u64>(),
        stages in proptest::collection::vec((1u64..4, 0.5f64..3_000.0, 0u64..4), 1..6),
        poisson in any::<bool>(),
    ) {
        let first = |i: usize, ramp: u64, seconds: u64| if i == 0 { 0 } else { ramp.min(seconds) };
        let stages: Vec<_> =
            stages.into_iter().enumerate().map(|(i, (s, rate, ramp))| (s, rate, first(i, ramp, s))).collect();
        let arrivals = if poisson { Arrivals::Poisson } else { Arrivals::Constant };
        let s = Schedule::of(seed, &staged(arrivals, &stages)).unwrap();
        let due: Vec<u64> = s.take(3_000).collect();
        prop_assert!(due.windows(2).all(|w| w[0] <= w[1]));
    }

    #[test]
    fn shares_add_up(total in 0u32..5_000, size in 1u32..65) {
        let shares: Vec<u32> = (0..size).map(|rank| Shard { rank, size }.share(total)).collect();
        prop_assert_eq!(shares.iter().sum::<u32>(), total);
        prop_assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
    }
}
