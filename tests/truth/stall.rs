//! Coordinated omission, as wrk2 shows it: a server that stops for a second in mid-window.
//! Latency from when requests were due has it, latency from when they were sent hides it.

use plimsoll::record::RequestRecord;
use plimsoll::stats::quantile;

use super::{Held, hold, median};

/// How long the server stops.
const PAUSE_MS: f64 = 1000.0;
/// Arrivals per second and seconds of the window.
const QPS: u32 = 100;
const SECONDS: u32 = 6;

fn paused(load: &str) -> Held {
    hold(&format!(
        r#"
        name = "stall"
        [target]
        url = "sim:"
        api = "openai-completions"
        [sim]
        step_base = "1ms"
        step_per_seq = "0s"
        max_num_seqs = 512
        pause_after = 150
        pause_for = "1s"
        [workload]
        prompt_tokens = 8
        max_tokens = 2
        [load]
        {load}
        [cell]
        duration = "{SECONDS}s"
        warmup = "0s"
        drain = "60s"
        "#
    ))
}

fn ms(record: &RequestRecord, from: u64) -> f64 {
    (record.last_token_us.expect("an answer") - from) as f64 / 1e3
}

/// Requests whose latency from `start` has at least half of the stall in it.
fn half_stalled(held: &Held, start: fn(&RequestRecord) -> u64) -> usize {
    held.records.iter().filter(|r| ms(r, start(r)) >= PAUSE_MS / 2.0).count()
}

fn sent(record: &RequestRecord) -> u64 {
    record.sent_us.expect("sent")
}

/// When the server stopped, by its own log: as it had read the 151st request.
fn stopped_at(held: &Held) -> i64 {
    let mut arrivals: Vec<u64> =
        held.discovery.iter().chain(held.truth.values().flatten()).map(|t| t.arrival_ns).collect();
    arrivals.sort_unstable();
    arrivals[150] as i64
}

/// The latencies that the stall alone would give, in ascending order: whoever is due at t of
/// its second waits for what is left of it, everyone else for nothing. No answer can be
/// quicker.
fn expected(held: &Held) -> Vec<f64> {
    let from = stopped_at(held);
    let left = |r: &RequestRecord| {
        let after = (held.ns(r.intended_us) - from) as f64 / 1e6;
        if (0.0..PAUSE_MS).contains(&after) { PAUSE_MS - after } else { 0.0 }
    };
    let mut all: Vec<f64> = held.records.iter().map(left).collect();
    all.sort_unstable_by(f64::total_cmp);
    all
}

/// `e2e` is at least what the stall alone would give, at every quantile, and not much more in
/// the middle of what it held up.
fn shows_the_stall(held: &Held) {
    held.all_ok();
    let expected = expected(held);
    assert_eq!(expected.len(), (QPS * SECONDS) as usize);
    let waited = expected.iter().filter(|&&t| t > 0.0).count();
    assert!((99..=101).contains(&waited), "{waited} were due in the stall");
    for (stat, q) in [("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)] {
        let (ours, theory) =
            (held.summary.value("e2e", stat).expect("a figure"), quantile(&expected, q).expect("some"));
        println!("e2e {stat}: {ours:.1} ms, {theory:.1} of the stall alone");
        assert!(ours >= theory - 0.01, "e2e {stat} is {ours} ms, of which the stall alone is {theory}");
    }
    // A sixth of all were due in that second, evenly: p99 is 0.94 s of it and more.
    assert!(held.summary.value("e2e", "p99").expect("a figure") >= 0.93 * PAUSE_MS);
    assert!(half_stalled(held, |r| r.intended_us) >= 49);
}

#[test]
fn an_open_loop_shows_the_stall_to_everyone_who_was_due_in_it() {
    let held = paused(&format!("qps = {QPS}\narrivals = \"constant\""));
    shows_the_stall(&held);
    // Nothing held the sends back: they all stood at the server's door, and say so themselves.
    let held_up = half_stalled(&held, sent);
    assert!(held_up >= 30, "{held_up} say so from when they were sent");
    assert_eq!(held.summary.counts.cap_blocked, 0);
}

#[test]
fn under_a_cap_latency_from_due_shows_the_stall_and_service_time_hides_it() {
    let cap = 4;
    let held = paused(&format!("qps = {QPS}\narrivals = \"constant\"\nusers = {cap}"));
    shows_the_stall(&held);
    // Only those in flight when it came could see it, which is fewer than one in a hundred.
    let at_the_server = half_stalled(&held, sent);
    assert!((1..=cap).contains(&at_the_server), "{at_the_server} saw it from when they were sent");
    let (due, service) = (held.summary.value("e2e", "p99"), held.summary.value("e2e_service", "p99"));
    let (due, service) = (due.expect("a figure"), service.expect("a figure"));
    println!("p99: e2e {due:.1} ms, e2e_service {service:.1} ms");
    assert!(service < PAUSE_MS / 2.0 && service < due / 2.0, "p99: e2e {due} ms, e2e_service {service} ms");
    assert!(held.summary.semi_open && held.summary.counts.cap_blocked >= 90);
    // The same of the first token.
    let (due, service) = (held.summary.value("ttft", "p99"), held.summary.value("ttft_service", "p99"));
    assert!(due.expect("a figure") > 2.0 * service.expect("a figure"));
}

#[test]
fn a_closed_loop_of_one_user_has_it_in_one_sample() {
    let held = paused("users = 1");
    held.all_ok();
    let stalled: Vec<&RequestRecord> =
        held.records.iter().filter(|r| ms(r, r.intended_us) >= PAUSE_MS / 2.0).collect();
    assert_eq!(stalled.len(), 1, "{stalled:?}");
    assert!(ms(stalled[0], stalled[0].intended_us) >= PAUSE_MS);
    // It is the request that met the stall, and nobody was due while it waited.
    assert_eq!(held.truth[&stalled[0].seq][0].arrival_ns as i64, stopped_at(&held));
    // So the figures hide it: with a few hundred samples, even their p99.
    let n = held.summary.counts.ok;
    assert!(n > 200, "{n} requests");
    let p99 = held.summary.value("e2e", "p99").expect("a figure");
    let middle = median(held.records.iter().map(|r| ms(r, r.intended_us)).collect());
    println!("closed loop: n {n}, e2e p50 {middle:.2} ms, p99 {p99:.2} ms");
    assert!(p99 < PAUSE_MS / 2.0, "p99 is {p99} ms");
}
