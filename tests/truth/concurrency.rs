//! How many the server ever has in hand: at the start, at the window's edge, and at most.

use std::time::Duration;

use plimsoll::experiment::Arrivals;
use plimsoll::load::Schedule;

use super::{Held, hold, median};

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

/// Users come one after another over half of the warm-up, each when it is due: a volley of
/// first requests would stay in step for the whole cell.
#[test]
fn users_first_requests_reach_the_server_spread() {
    let users = 8;
    let held = hold(
        r#"
        name = "spread"
        [target]
        url = "sim:"
        [sim]
        step_base = "10ms"
        [workload]
        prompt_tokens = 16
        max_tokens = 40
        [load]
        users = 8
        [cell]
        duration = "500ms"
        warmup = "1600ms"
        [client]
        threads = 2
        "#,
    );
    let pairs = held.all_ok();
    let mut late = Vec::new();
    for user in 0..users {
        let first = pairs.iter().filter(|p| p.record.user == Some(user));
        let first = first.min_by_key(|p| p.truth.arrival_ns).expect("each user asks");
        let due = u64::from(user) * 100_000;
        assert_eq!(first.record.intended_us, due);
        assert!(first.truth.arrival_ns as i64 >= held.ns(due), "before its time");
        late.push((first.truth.arrival_ns as i64 - held.ns(due)) as f64 / 1e6);
    }
    // The next comes 100 ms later: what is later than half of that were no spread.
    let late = median(late);
    assert!(late < 50.0, "users come {late} ms late in the median");
}

/// In flight at the server at a moment.
fn in_flight(held: &Held, at_ns: i64) -> usize {
    let is = |t: &&plimsoll::sim::TruthRecord| (t.arrival_ns as i64) <= at_ns && at_ns < t.end_ns as i64;
    held.truth.values().flatten().filter(is).count()
}

/// Mean number in flight over `from..to`, by looks a millisecond apart.
fn mean_in_flight(held: &Held, from: i64, to: i64) -> f64 {
    let looks: Vec<i64> = (from..to).step_by(1_000_000).collect();
    looks.iter().map(|&at| in_flight(held, at) as f64).sum::<f64>() / looks.len() as f64
}

/// The warm-up's requests are not awaited: the window opens on a server as busy as it then is.
#[test]
fn the_warm_up_hands_over_without_draining() {
    for load in ["users = 8", "qps = 20\narrivals = \"constant\""] {
        // Answers of 400 ms: twenty a second are eight in flight as well.
        let held = hold(&format!(
            r#"
            name = "handover"
            [target]
            url = "sim:"
            [sim]
            step_base = "10ms"
            step_per_seq = "0s"
            step_per_prefill_token = "0s"
            [workload]
            prompt_tokens = 16
            max_tokens = 40
            [load]
            {load}
            [cell]
            duration = "1s"
            warmup = "1600ms"
            "#
        ));
        held.all_ok();
        let (start, end) = held.window_ns();
        // All of them begun before it opened; drained, there were none.
        let under_way = in_flight(&held, start);
        assert!(under_way >= 4, "{load}: {under_way} in flight as the window opened");
        // The length of an answer on either side: no dip, and no burst after it.
        let side = 400_000_000;
        let (before, after) =
            (mean_in_flight(&held, start - side, start), mean_in_flight(&held, start, start + side));
        let level = mean_in_flight(&held, start, end);
        println!("{load}: {before:.2} in flight before the window, {after:.2} after, {level:.2} in it");
        assert!(before >= 6.0 && after >= 6.0, "{load}: {before} in flight before the window, {after} after");
        assert!(after >= 0.75 * level, "{load}: {after} in flight at first, {level} in the window");
    }
}
