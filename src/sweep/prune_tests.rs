use std::path::Path;

use super::*;
use crate::experiment::{Experiment, SloRule};
use crate::measure::Reason;
use crate::plan;

fn plan_of(grid: &str) -> Plan {
    let text = format!("target.url = \"sim:\"\n[slo]\nttft_p95 = \"1s\"\n[grid]\nprune = true\n{grid}");
    let experiment = Experiment::parse(Path::new("f.toml"), &text, &[]).unwrap_or_else(|m| panic!("{m}"));
    plan::build(&experiment).unwrap_or_else(|m| panic!("{m}"))
}

/// A cell with this TTFT p95, in ms.
fn summary(ttft: f64) -> CellSummary {
    let mut summary = crate::store::tests::summary(0);
    summary.validity.verdict = Verdict::Valid;
    summary.validity.reasons.clear();
    let rule =
        crate::experiment::SloRule { metric: "ttft".into(), stat: "p95".into(), limit: 1000.0, target: None };
    summary.slo = vec![SloVerdict::judge(&rule, Some(ttft))];
    summary
}

fn pruning(plan: &Plan, measured: &[(usize, f64)]) -> Pruning {
    let cells = plan.pruned.iter().copied().collect();
    let mut pruning = Pruning { cells, judged: BTreeMap::new() };
    for (at, ttft) in measured {
        pruning.note(&plan.cells[*at], &summary(*ttft));
    }
    pruning
}

#[test]
fn heavier_cells_of_the_same_shape_are_skipped() {
    let plan = plan_of("prompt_tokens = [16, 64]\nusers = [1, 2, 4]");
    let pruning = pruning(&plan, &[(0, 500.0), (1, 2500.0), (3, 1500.0)]);
    let skipped: Vec<u32> =
        plan.cells.iter().filter(|c| pruning.speaks_against(&plan, c).is_some()).map(|c| c.index).collect();
    assert_eq!(skipped, [2], "missed by half alone, the other prompt length goes on");
    assert_eq!(
        pruning.speaks_against(&plan, &plan.cells[2]).unwrap(),
        "hopeless already at 2 users: TTFT p95 is 2,500 ms, limit 1,000 ms"
    );
}

#[test]
fn every_repeat_that_is_done_has_to_be_hopeless() {
    let plan = plan_of("users = [1, 2]\nrepeats = 2");
    assert_eq!(plan.cells.len(), 4);
    let heavier = &plan.cells[2];
    assert!(pruning(&plan, &[(0, 5000.0)]).speaks_against(&plan, heavier).is_some());
    assert!(pruning(&plan, &[(0, 5000.0), (1, 5000.0)]).speaks_against(&plan, heavier).is_some());
    assert!(pruning(&plan, &[(0, 5000.0), (1, 500.0)]).speaks_against(&plan, heavier).is_none());
    assert!(
        pruning(&plan, &[(2, 5000.0)]).speaks_against(&plan, &plan.cells[0]).is_none(),
        "lighter ones run"
    );
}

#[test]
fn only_grids_that_ask_for_it_prune() {
    let mut plan = plan_of("users = [1, 2]");
    plan.pruned.clear();
    assert!(pruning(&plan, &[(0, 5000.0)]).speaks_against(&plan, &plan.cells[1]).is_none());
}

#[test]
fn what_is_hopeless() {
    assert_eq!(hopeless(&summary(1999.0)), None);
    assert!(hopeless(&summary(2000.0)).is_some());
    let mut rates = summary(500.0);
    let rule =
        |metric: &str, limit| SloRule { metric: metric.into(), stat: String::new(), limit, target: None };
    rates.slo = vec![
        SloVerdict::judge(&rule("output_tps", 500.0), Some(60.0)),
        SloVerdict::judge(&rule("error_rate", 0.001), Some(0.01)),
    ];
    assert_eq!(hopeless(&rates), None, "more load may bring the rate, and one failure is no share");
    let mut piled = summary(500.0);
    piled.validity.add(OVERLOAD, Verdict::Warn, "piled".into());
    assert_eq!(hopeless(&piled).as_deref(), Some("requests piled up"));
    let mut invalid = summary(5000.0);
    let reason = Reason { signal: "lag".into(), verdict: Verdict::Invalid, text: "late".into() };
    invalid.validity.verdict = Verdict::Invalid;
    invalid.validity.reasons.push(reason);
    assert_eq!(hopeless(&invalid), None, "the client's fault");
    (invalid.counts.ok, invalid.counts.sent) = (0, 5);
    assert_eq!(hopeless(&invalid).as_deref(), Some("no request was answered"));
    invalid.counts.errors.insert("connect".into(), 5);
    assert_eq!(hopeless(&invalid), None, "a server that has gone says nothing of the load");
}
