use super::super::step::tests::rules;
use super::*;

fn share(requests: u64, violations: u64, effective: f64) -> Option<Share> {
    Some(Share { asked: 0.95, requests, violations, effective })
}

fn ttft(value: f64, share: Option<Share>) -> RuleEvidence {
    RuleEvidence { metric: "ttft".into(), stat: "p95".into(), limit: 1000.0, value: Some(value), share }
}

fn scalar(metric: &str, limit: f64, value: Option<f64>) -> RuleEvidence {
    RuleEvidence { metric: metric.into(), stat: String::new(), limit, value, share: None }
}

fn probe(cell: u32, load: f64, rules: Vec<RuleEvidence>) -> Probe {
    Probe { cell, load, rules, overloaded: false, invalid: None, requests: 400, seconds: 30.0 }
}

#[test]
fn a_percentile_is_a_share_of_requests() {
    use Verdict::{Fail, Pass, Undecided};
    // By SciPy 1.17.1: stats.beta.cdf(.95, n − t, t + 1) ≤ .05 passes, and
    // stats.beta.cdf(.05, t, n − t + 1) ≤ .05 fails. Of 400: at most 12 pass, 28 and more fail.
    for (requests, violations, effective, verdict) in [
        (58, 0, 58.0, Undecided),
        (59, 0, 59.0, Pass),
        (400, 12, 400.0, Pass),
        (400, 13, 400.0, Undecided),
        (400, 27, 400.0, Undecided),
        (400, 28, 400.0, Fail),
        // Worth a quarter: 3 of 100 tell nothing, though 12 of 400 would.
        (400, 12, 100.0, Undecided),
        (0, 0, 0.0, Fail),
    ] {
        let one = ttft(900.0, share(requests, violations, effective));
        assert_eq!(judge_rule(&[&one], 0.95, 0.02).0, verdict, "{violations} of {requests}");
    }
    // Two repeats count together.
    let one = ttft(900.0, share(200, 6, 200.0));
    assert_eq!(judge_rule(&[&one], 0.95, 0.02).0, Undecided);
    assert_eq!(judge_rule(&[&one, &one], 0.95, 0.02).0, Pass);
}

#[test]
fn other_figures_are_called_where_they_are_clear_of_the_limit() {
    use Verdict::{Fail, Pass, Undecided};
    for (metric, limit, value, verdict) in [
        ("error_rate", 0.01, Some(0.0), Pass),
        ("error_rate", 0.01, Some(0.0099), Undecided),
        ("error_rate", 0.01, Some(0.0101), Undecided),
        ("error_rate", 0.01, Some(0.0103), Fail),
        ("error_rate", 0.0, Some(0.0), Pass),
        ("error_rate", 0.0, Some(0.001), Fail),
        ("error_rate", 0.01, None, Fail),
        // More is better.
        ("completed_rps", 20.0, Some(25.0), Pass),
        ("completed_rps", 20.0, Some(15.0), Fail),
        ("completed_rps", 20.0, Some(19.9), Undecided),
        ("completed_rps", 20.0, Some(0.0), Fail),
    ] {
        let one = scalar(metric, limit, value);
        assert_eq!(judge_rule(&[&one], 0.95, 0.02).0, verdict, "{metric} {value:?} of {limit}");
    }
}

#[test]
fn margins_are_logarithms_with_ends() {
    let margin = |one: &RuleEvidence| judge_rule(&[one], 0.95, 0.02).1;
    assert!((margin(&ttft(2000.0, share(100, 50, 100.0))) - 2_f64.ln()).abs() < 1e-12);
    assert!((margin(&scalar("completed_rps", 20.0, Some(10.0))) - 2_f64.ln()).abs() < 1e-12);
    assert_eq!(margin(&ttft(1e9, share(100, 100, 100.0))), 3.0);
    assert_eq!(margin(&scalar("error_rate", 0.01, Some(0.0))), -3.0);
    // The percentile of the good answers is fine, but a tenth had none: twice what may.
    assert!((margin(&ttft(500.0, share(100, 10, 100.0))) - 2_f64.ln()).abs() < 1e-9);
}

#[test]
fn a_level_is_its_worst_rule() {
    let rules = rules("load.qps", 1.0, 0.1, 100.0);
    let good = ttft(500.0, share(400, 2, 400.0));
    let bad = scalar("error_rate", 0.01, Some(0.05));
    let found = levels(&rules, &[probe(0, 2.0, vec![good.clone(), bad])]);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].verdict, found[0].binds.as_deref()), (Some(Verdict::Fail), Some("error_rate")));
    let fine = scalar("error_rate", 0.01, Some(0.0));
    let found = levels(&rules, &[probe(0, 2.0, vec![good, fine])]);
    assert_eq!((found[0].verdict, found[0].binds.as_deref()), (Some(Verdict::Pass), Some("ttft_p95")));
    assert_eq!(found[0].goes_up(), Some(true));
}

#[test]
fn requests_that_pile_up_fail_a_level_when_seen_twice() {
    let rules = rules("load.qps", 1.0, 0.1, 100.0);
    let one =
        |cell, overloaded| Probe { overloaded, ..probe(cell, 2.0, vec![ttft(500.0, share(400, 2, 400.0))]) };
    let of = |probes: &[Probe]| {
        let found = levels(&rules, probes).remove(0);
        (found.verdict.unwrap(), found.goes_up().unwrap(), found.binds.unwrap())
    };
    assert_eq!(of(&[one(0, true)]), (Verdict::Undecided, false, "overload".to_owned()));
    assert_eq!(of(&[one(0, true), one(1, true)]), (Verdict::Fail, false, "overload".to_owned()));
    assert_eq!(of(&[one(0, true), one(1, false)]), (Verdict::Pass, true, "ttft_p95".to_owned()));
}

#[test]
fn invalid_probes_count_for_nothing_but_their_time() {
    let rules = rules("load.qps", 1.0, 0.1, 100.0);
    let good = probe(0, 2.0, vec![ttft(500.0, share(400, 2, 400.0))]);
    let invalid =
        Probe { invalid: Some("lag".into()), ..probe(1, 2.0, vec![ttft(9e3, share(400, 400, 400.0))]) };
    let found = levels(&rules, &[good, invalid.clone()]).remove(0);
    assert_eq!((found.verdict, found.probes, found.valid), (Some(Verdict::Pass), 2, 1));
    assert_eq!((found.requests, found.seconds), (400, 60.0));
    let found = levels(&rules, &[invalid]).remove(0);
    assert_eq!((found.verdict, found.goes_up(), found.invalid.as_deref()), (None, None, Some("lag")));
}
