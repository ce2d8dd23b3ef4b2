//! Arrivals at the server against theory, and how many it ever has in hand.
//!
//! What the schedule says is held to theory within three standard errors: it has no noise.
//! What arrives has the machine's noise on top, which the lags show; where the machine was
//! calm, arrivals are held to theory as well.

use std::time::Duration;

use plimsoll::experiment::Arrivals;
use plimsoll::load::Schedule;

use super::{Held, Pair, hold, mean, median};

/// Median time from due to arrival, in milliseconds.
const LATE_MS: f64 = 5.0;
/// A machine is calm when 99 % of arrivals come within this.
const CALM_MS: f64 = 5.0;
/// Length of the bins in which arrivals are counted.
const BIN_NS: i64 = 100_000_000;

fn variance(values: &[f64]) -> f64 {
    let middle = mean(values);
    values.iter().map(|v| (v - middle).powi(2)).sum::<f64>() / (values.len() - 1) as f64
}

/// Coefficient of variation of the gaps between times.
fn gap_cv(times: &[i64]) -> f64 {
    let gaps: Vec<f64> = times.windows(2).map(|w| (w[1] - w[0]) as f64).collect();
    variance(&gaps).sqrt() / mean(&gaps)
}

/// Index of dispersion of the counts in bins over `from..to`, and the number of bins.
fn dispersion(times: &[i64], (from, to): (i64, i64)) -> (f64, usize) {
    let bins = ((to - from) / BIN_NS) as usize;
    let mut counts = vec![0.0; bins];
    for at in times {
        if let Ok(bin) = usize::try_from((at - from).div_euclid(BIN_NS))
            && bin < bins
        {
            counts[bin] += 1.0;
        }
    }
    (variance(&counts) / mean(&counts), bins)
}

fn load(arrivals: &str, qps: u32, seconds: u32) -> Held {
    hold(&format!(
        r#"
        name = "arrivals"
        seed = 3
        [target]
        url = "sim:"
        api = "openai-completions"
        [sim]
        step_base = "1ms"
        max_num_seqs = 512
        [workload]
        prompt_tokens = 8
        max_tokens = 1
        [load]
        qps = {qps}
        arrivals = "{arrivals}"
        [cell]
        duration = "{seconds}s"
        warmup = "0s"
        "#
    ))
}

/// Hold a process of `n` gaps to its theory: `cv` of the gaps and the dispersion of counts
/// in `bins` are both `expected`, 0 or 1, within three standard errors.
fn theory(what: &str, expected: f64, (cv, n): (f64, usize), (idc, bins): (f64, usize)) {
    // Of an exponential's sample: 1/√n; of a Poisson's: √(2/(bins − 1)).
    let cv_error = 3.0 * expected / (n as f64).sqrt();
    let idc_error = 3.0 * expected * (2.0 / (bins - 1) as f64).sqrt();
    assert!((cv - expected).abs() <= cv_error + 1e-3, "{what}: gap CV {cv:.3}, ± {cv_error:.3}");
    assert!((idc - expected).abs() <= idc_error + 1e-3, "{what}: dispersion {idc:.3}, ± {idc_error:.3}");
}

fn hold_to(arrivals: &str, expected: f64, qps: u32, seconds: u32) {
    let held = load(arrivals, qps, seconds);
    let window = held.window_ns();
    let due: Vec<i64> = held.records.iter().map(|r| held.ns(r.intended_us)).collect();
    let (cv, idc) = (gap_cv(&due), dispersion(&due, window));
    theory(&format!("due, {arrivals} {qps}/s"), expected, (cv, due.len() - 1), idc);
    let mean_rate = due.len() as f64 / f64::from(seconds) / f64::from(qps);
    let rate_error = 3.0 * expected / f64::from(qps * seconds).sqrt() + 0.01;
    assert!((mean_rate - 1.0).abs() <= rate_error, "{mean_rate} of the rate");

    let pairs = held.all_ok();
    let mut arrived: Vec<i64> = pairs.iter().map(|p| p.truth.arrival_ns as i64).collect();
    arrived.sort_unstable();
    let ms = |ns: i64| ns as f64 / 1e6;
    let late = |p: &Pair<'_>| ms(p.truth.arrival_ns as i64 - held.ns(p.record.intended_us));
    let travel = |p: &Pair<'_>| ms(p.truth.arrival_ns as i64 - held.ns(p.record.sent_us.expect("sent")));
    let mut lateness: Vec<f64> = pairs.iter().map(late).collect();
    lateness.sort_unstable_by(f64::total_cmp);
    assert!(lateness[0] >= 0.0, "arrived before it was due");
    let p99 = lateness[lateness.len() * 99 / 100];
    let travelled = median(pairs.iter().map(travel).collect());
    let (late, at_server) = (median(lateness), dispersion(&arrived, window));
    println!(
        "{arrivals} {qps}/s: n {}, due: CV {cv:.3} dispersion {:.3}; at the server: CV {:.3} dispersion {:.3}; \
         due to arrival p50 {late:.3} ms p99 {p99:.3} ms, sent to arrival p50 {travelled:.3} ms",
        due.len(),
        idc.0,
        gap_cv(&arrived),
        at_server.0,
    );
    assert!(late <= LATE_MS, "{late} ms late in the median");
    assert!(travelled <= LATE_MS, "{travelled} ms on its way in the median");
    if p99 > CALM_MS {
        eprintln!("{arrivals} {qps}/s: the machine is too busy ({p99:.1} ms) to hold arrivals to theory");
        return;
    }
    // A lateness of d moves a bin's count by at most the arrivals of d at either end.
    let moved = 4.0 * p99 * 1e6 / BIN_NS as f64;
    let counted = (at_server.0 - moved * (at_server.0 - expected).signum(), at_server.1);
    let within = |x: f64, margin: f64| if (x - expected).abs() <= margin { expected } else { x };
    // Gaps have the noise of two arrivals.
    let noise = 2.0 * p99 * f64::from(qps) / 1000.0;
    let name = format!("at the server, {arrivals} {qps}/s");
    theory(
        &name,
        expected,
        (within(gap_cv(&arrived), noise), due.len() - 1),
        (within(counted.0, moved), counted.1),
    );
}

/// A minute's arrivals say little about a few hundredths; a quarter of an hour's do.
#[test]
fn schedules_are_what_they_are_called_to_a_hundredth() {
    for (arrivals, expected) in [(Arrivals::Poisson, 1.0), (Arrivals::Constant, 0.0)] {
        for seed in 0..5 {
            let due = Schedule::new(seed, 100.0, arrivals, Duration::ZERO).map(|us| us as i64 * 1000);
            let due: Vec<i64> = due.take(90_000).collect();
            let idc = dispersion(&due, (0, due[due.len() - 1]));
            theory(&format!("{arrivals:?}, seed {seed}"), expected, (gap_cv(&due), due.len() - 1), idc);
        }
    }
}

#[test]
fn constant_arrivals_are_even() {
    hold_to("constant", 0.0, 100, 4);
    hold_to("constant", 0.0, 300, 3);
}

#[test]
fn poisson_arrivals_are_poisson() {
    hold_to("poisson", 1.0, 100, 5);
    hold_to("poisson", 1.0, 300, 4);
}

fn crowd(load: &str, cell: &str) -> Held {
    hold(&format!(
        r#"
        name = "crowd"
        seed = 4
        [target]
        url = "sim:"
        [sim]
        step_base = "3ms"
        max_num_seqs = 4
        [workload]
        prompt_tokens = 16
        max_tokens = {{ mean = 10, distribution = "uniform", range = 0.5 }}
        [load]
        {load}
        [cell]
        {cell}
        warmup = "200ms"
        "#
    ))
}

#[test]
fn a_closed_loop_never_has_more_in_hand_than_users() {
    for users in [1, 6] {
        let held = crowd(&format!("users = {users}"), "requests = 150\nduration = \"60s\"");
        assert!(held.all_ok().len() >= 150);
        // Full, and never more than full.
        assert_eq!(held.in_hand(), users);
        assert_eq!(held.summary.scalars["in_flight_max"], users as f64);
        assert!(held.summary.scalars["in_flight_mean"] <= users as f64);
    }
}

#[test]
fn a_cap_holds_at_the_server() {
    for (cap, threads) in [(5, 1), (5, 2)] {
        let load = format!("qps = 250\nusers = {cap}\n[client]\nthreads = {threads}");
        let held = crowd(&load, "duration = \"2s\"\ndrain = \"60s\"");
        assert!(held.in_hand() <= cap, "{} in hand", held.in_hand());
        assert!(held.summary.counts.cap_blocked > 0 && held.summary.semi_open);
        // Held back, not moved: each is still due when it was, and all go out in the end.
        let pairs = held.all_ok();
        assert_eq!(pairs.len() as u64, held.summary.counts.planned + held.summary.counts.before_window);
        let schedule = Schedule::new(held.cell.seed, 250.0, Arrivals::Poisson, Duration::ZERO);
        for (due, record) in schedule.zip(&held.records) {
            assert_eq!(due, record.intended_us);
        }
    }
}
