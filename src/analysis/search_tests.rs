use std::collections::BTreeMap;

use serde_json::json;

use super::*;

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
