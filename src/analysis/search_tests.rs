use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::store::tests::record;

fn rule(metric: &str, stat: &str, limit: f64) -> SloRule {
    SloRule { metric: metric.to_owned(), stat: stat.to_owned(), limit, target: None }
}

/// A request with this TTFT in ms.
fn request(seq: u64, ttft: u64, outcome: Ended) -> RequestRecord {
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
        assert_eq!(share_asked(&rule(metric, stat, 1.0)), asked, "{metric} {stat}");
    }
    // What a tenth has to reach.
    assert!((share_asked(&rule("user_tps", "p90", 1.0)).unwrap() - 0.1).abs() < 1e-12);
}

#[test]
fn violations_are_counted_from_requests_and_failures_are_violations() {
    let mut requests: Vec<RequestRecord> =
        (0..20).map(|seq| request(seq, if seq == 3 { 120 } else { 90 }, Ended::Ok)).collect();
    requests.push(request(20, 90, Ended::Timeout));
    requests.push(request(21, 90, Ended::Censored));
    requests.push(request(22, 500, Ended::Cancelled));
    requests.push(RequestRecord { phase: Phase::Warmup, ..request(23, 500, Ended::Ok) });
    let found = share(&rule("ttft", "p95", 100.0), 0.95, &requests);
    assert_eq!((found.requests, found.violations, found.asked), (22, 3, 0.95));
    assert!(found.effective > 1.0 && found.effective <= 22.0, "{found:?}");
}

fn outcome(
    last_pass: Option<f64>,
    first_fail: Option<f64>,
    estimate: Option<f64>,
    end: Option<End>,
) -> Outcome {
    Outcome {
        axis: "load.qps".into(),
        shape: BTreeMap::new(),
        end,
        last_pass,
        first_fail,
        estimate,
        binds: Some("ttft_p95".into()),
        non_monotone: false,
        probes: 9,
        levels: Vec::new(),
    }
}

#[test]
fn an_outcome_is_one_sentence() {
    let mut found = outcome(Some(12.11), Some(12.7), Some(12.4321), Some(End::Settled));
    found.shape = [("workload.prompt_tokens", json!(512)), ("workload.max_tokens", json!(128))]
        .map(|(path, value)| (path.to_owned(), value))
        .into();
    assert_eq!(
        sentence(&found),
        "greatest load within the SLO: 12.4 req/s (12.1–12.7) at 512 → 128; TTFT p95 binds; 9 probes"
    );
    let open = Outcome { binds: None, ..outcome(Some(5.0), None, None, Some(End::AllPass)) };
    assert_eq!(
        sentence(&open),
        "greatest load within the SLO: at least 5 req/s; 9 probes; the greatest load that may be tried passes"
    );
    let users = Outcome { axis: "load.users".into(), ..outcome(None, Some(1.0), None, Some(End::NonePass)) };
    let users = Outcome { binds: Some("error_rate".into()), ..users };
    assert_eq!(
        sentence(&users),
        "no load within the SLO was found, down to 1 user; error rate binds; 9 probes; the least load that may be \
         tried fails"
    );
    let invalid = End::Invalid { reason: "lag p99 80 ms, over 50 ms".into() };
    let text = sentence(&outcome(Some(5.0), Some(10.0), Some(7.0), Some(invalid)));
    assert!(
        text.ends_with("stopped: two probes at one load were invalid: lag p99 80 ms, over 50 ms"),
        "{text}"
    );
    assert!(sentence(&outcome(Some(5.0), Some(10.0), Some(7.0), None)).ends_with("; not finished"));
}
