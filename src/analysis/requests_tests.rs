use super::*;
use crate::store::tests::record;

/// A request with this TTFT in ms.
fn request(seq: u64, ttft: u64, outcome: Outcome) -> RequestRecord {
    let due = seq * 10_000;
    let first_token_us = Some(due + ttft * 1000);
    RequestRecord { seq, phase: Phase::Measure, intended_us: due, first_token_us, outcome, ..record(seq) }
}

#[test]
fn percentiles_of_requests_are_shares_and_nothing_else_is() {
    for (metric, stat, asked) in [
        ("ttft", "p95", Some(0.95)),
        ("e2e", "p50", Some(0.5)),
        ("user_tps", "p50", Some(0.5)),
        ("ttft", "mean", None),
        ("ttft", "max", None),
        ("chunk_gap", "p99", None),
        ("error_rate", "", None),
    ] {
        assert_eq!(share_asked(metric, stat), asked, "{metric} {stat}");
    }
    // What a tenth has to reach.
    assert!((share_asked("user_tps", "p90").unwrap() - 0.1).abs() < 1e-12);
}

#[test]
fn violations_are_counted_from_requests_and_failures_are_violations() {
    let mut requests: Vec<RequestRecord> =
        (0..20).map(|seq| request(seq, if seq == 3 { 120 } else { 90 }, Outcome::Ok)).collect();
    requests.push(request(20, 90, Outcome::Timeout));
    requests.push(request(21, 90, Outcome::Censored));
    requests.push(request(22, 500, Outcome::Cancelled));
    let found = Requests(requests).share("ttft", "p95", 100.0).unwrap();
    assert_eq!((found.requests, found.violations, found.asked), (22, 3, 0.95));
    assert!(found.effective > 1.0 && found.effective <= 22.0, "{found:?}");
}

#[test]
fn what_requests_are_worth_hangs_on_them_and_not_on_the_limit() {
    // Slow ones come in a row, far below the limit: none violates it, and they tell little.
    let queued = (0..400).map(|seq| request(seq, if (seq / 40) % 5 == 0 { 90 } else { 10 }, Outcome::Ok));
    let found = Requests(queued.collect()).share("ttft", "p50", 1000.0).unwrap();
    assert_eq!((found.requests, found.violations), (400, 0));
    let tail = Requests((0..400).map(|seq| request(seq, 10 + seq / 40 % 2, Outcome::Ok)).collect());
    let tail = tail.share("ttft", "p50", 1000.0).unwrap();
    assert!(tail.effective < 100.0, "{tail:?}");
}
