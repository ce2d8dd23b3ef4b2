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

proptest! {
    #[test]
    fn shards_partition_the_one_schedule(
        seed in any::<u64>(),
        qps in 0.5f64..20_000.0,
        poisson in any::<bool>(),
        size in 1u32..9,
        ramp_ms in 0u64..5_000,
    ) {
        let arrivals = if poisson { Arrivals::Poisson } else { Arrivals::Constant };
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
    fn shares_add_up(total in 0u32..5_000, size in 1u32..65) {
        let shares: Vec<u32> = (0..size).map(|rank| Shard { rank, size }.share(total)).collect();
        prop_assert_eq!(shares.iter().sum::<u32>(), total);
        prop_assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
    }
}
