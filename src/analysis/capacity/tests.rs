//! Limits, verdicts, plans and sentences on runs whose figures are made up; what is read from
//! requests is tested on real runs in `tests/capacity.rs`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::analysis::CellData;
use crate::experiment::{Arrivals, Flow, Lengths, Load};
use crate::measure::validity::NOTHING_ANSWERED_NAME;
use crate::measure::{CellSummary, Distribution, Reason, Verdict};
use crate::plan::CellId;
use crate::store::tests::{cell, summary};

/// A cell and repeat at `load` with TTFT p95 in ms, failures of 10,000 requests, and completed
/// requests per second.
#[derive(Clone, Copy)]
struct Made {
    load: Load,
    repeat: u32,
    p95: f64,
    failed: u64,
    rps: f64,
}

fn open(qps: f64) -> Load {
    Load::Open { qps, arrivals: Arrivals::Poisson, max_in_flight: None }
}

fn at(load: Load, repeat: u32, p95: f64) -> Made {
    let rps = match load {
        Load::Open { qps, .. } => qps,
        Load::Closed { users } => f64::from(users),
    };
    Made { load, repeat, p95, failed: 0, rps }
}

fn data(index: usize, made: Made) -> CellData {
    let mut cell = cell(index as u32);
    let (path, x) = match made.load {
        Load::Open { qps, .. } => ("load.qps", qps),
        Load::Closed { users } => ("load.users", f64::from(users)),
    };
    cell.id = CellId(format!("{path}{x}"));
    cell.index = index as u32;
    cell.repeat = made.repeat;
    cell.seed = u64::from(made.repeat);
    cell.settings.load = made.load;
    cell.settings.stages.clear();
    cell.settings.parts.clear();
    cell.settings.workload.prompt_tokens = Lengths::constant(512);
    cell.settings.workload.max_tokens = Lengths::constant(128);
    cell.settings.slo.rules = vec![
        SloRule { metric: "ttft".into(), stat: "p95".into(), limit: 1000.0, target: None },
        SloRule { metric: "error_rate".into(), stat: String::new(), limit: 0.01, target: None },
    ];
    cell.factors = BTreeMap::from([(path.to_owned(), json!(x))]);
    cell.varying = vec![path.to_owned()];
    let mut summary = summary(0);
    summary.validity.verdict = Verdict::Valid;
    summary.validity.reasons.clear();
    summary.counts.attempted = 10_000;
    summary.counts.failed = made.failed;
    let (p50, tpot) = (made.p95 / 2.0, 10.0 + made.rps / 10.0);
    summary.distributions = BTreeMap::from([
        ("ttft".to_owned(), Distribution { n: 10_000, p50, p95: made.p95, ..Distribution::default() }),
        ("tpot".to_owned(), Distribution { n: 10_000, p50: tpot, mean: tpot, ..Distribution::default() }),
    ]);
    summary.scalars = BTreeMap::from([
        ("completed_rps".to_owned(), made.rps),
        ("goodput_rps".to_owned(), made.rps),
        ("output_tps".to_owned(), made.rps * 128.0),
        ("error_rate".to_owned(), made.failed as f64 / 10_000.0),
    ]);
    CellData {
        cell,
        summary: Some(summary),
        skipped: None,
        timeline: Vec::new(),
        records: None,
        points: Vec::new(),
        server: Vec::new(),
    }
}

fn run_of(made: &[Made]) -> RunData {
    let cells = made.iter().enumerate().map(|(i, m)| data(i, *m)).collect();
    RunData {
        search: None,
        path: "runs/x".into(),
        id: "x".into(),
        name: "x".into(),
        title: "x".into(),
        figures: None,
        environment: Value::Null,
        manifest: Value::Null,
        experiment: String::new(),
        cells,
        carries: std::sync::OnceLock::new(),
    }
}

fn summary_of(run: &mut RunData, i: usize) -> &mut CellSummary {
    run.cells[i].summary.as_mut().unwrap()
}

/// Levels with the p95 of each repeat.
fn ladder(levels: &[(f64, &[f64])]) -> RunData {
    let mut made = Vec::new();
    for (qps, values) in levels {
        made.extend(values.iter().enumerate().map(|(r, p95)| at(open(*qps), r as u32 + 1, *p95)));
    }
    run_of(&made)
}

fn only(run: &RunData) -> Shape {
    let mut found = capacity(run, &Options::default());
    assert_eq!(found.shapes.len(), 1);
    found.shapes.remove(0)
}

fn near(a: Option<f64>, b: f64) {
    let a = a.unwrap();
    assert!((a / b - 1.0).abs() < 1e-3, "{a} is not {b}");
}

#[test]
fn the_limit_lies_where_the_line_between_two_levels_crosses() {
    // From 500 to 2000 ms in a factor of two of the load: 1000 ms at √2.
    let shape = only(&ladder(&[(1.0, &[400.0]), (2.0, &[500.0]), (4.0, &[2000.0])]));
    let limit = &shape.limit;
    assert_eq!(
        (limit.state, limit.last_met, limit.first_missed),
        (LimitState::Between, Some(2.0), Some(4.0))
    );
    near(limit.value, 2.0 * 2f64.sqrt());
    assert_eq!(limit.binding.as_ref().unwrap().name, "TTFT p95");
    // One repeat and no requests: the figure alone, never sure.
    assert_eq!((limit.low, limit.high, limit.interval), (Some(2.0), Some(4.0), IntervalFrom::Bracket));
    assert!(!limit.sure_low && !limit.sure_high);
    assert_eq!(shape.levels[1].verdict, Standing::Undecided);
    assert_eq!(shape.tokens, "512 → 128 tokens");
}

#[test]
fn a_repeat_without_any_answer_is_no_pass() {
    let mut run = ladder(&[(2.0, &[500.0, 500.0]), (4.0, &[600.0, 600.0])]);
    let dead = &mut summary_of(&mut run, 3).validity;
    dead.add(NOTHING_ANSWERED_NAME, Verdict::Invalid, "no request was answered".into());
    let shape = only(&run);
    assert_eq!((shape.levels[1].verdict, shape.levels[1].met), (Standing::Silent, Some(false)));
    assert_eq!((shape.limit.state, shape.limit.last_met), (LimitState::Between, Some(2.0)));
    assert_eq!(shape.limit.binding.unwrap().text, "a repeat had no answer at all");
}

#[test]
fn settings_of_a_server_are_no_levels_of_load() {
    let mut run = run_of(&[at(open(2.0), 1, 500.0), at(open(2.0), 1, 5000.0)]);
    for (i, slots) in [(0, 8), (1, 1)] {
        let cell = &mut run.cells[i].cell;
        cell.id = CellId(format!("slots{slots}"));
        cell.factors.insert("sim.max_num_seqs".into(), json!(slots));
        cell.varying = vec!["sim.max_num_seqs".into()];
    }
    let found = capacity(&run, &Options::default());
    let said: Vec<_> =
        found.shapes.iter().map(|s| (s.label.as_str(), s.levels.len(), s.limit.state)).collect();
    assert_eq!(said, [("max_num_seqs 8", 1, LimitState::AtLeast), ("max_num_seqs 1", 1, LimitState::Below)]);
    let text = answers(&found).join(" ");
    assert!(text.contains("with 2 req/s") && !text.contains("at least at least"), "{text}");
}

#[test]
fn an_open_loops_limit_is_not_above_what_was_completed() {
    let mut run = ladder(&[(2.0, &[500.0]), (4.0, &[2000.0]), (8.0, &[9000.0])]);
    for (i, rate) in [(1, 2.4), (2, 2.5)] {
        summary_of(&mut run, i).scalars.insert("completed_rps".into(), rate);
    }
    let limit = only(&run).limit;
    assert_eq!((limit.value, limit.low, limit.high), (Some(2.5), Some(2.0), Some(4.0)));
    // Nor below a level that meets the SLO.
    for i in [1, 2] {
        summary_of(&mut run, i).scalars.insert("completed_rps".into(), 1.9);
    }
    assert_eq!(only(&run).limit.value, Some(2.0));
}

#[test]
fn a_window_whose_arrivals_came_at_another_rate_is_told() {
    let mut run = ladder(&[(2.0, &[500.0]), (4.0, &[2000.0])]);
    for (i, rate) in [(0, 2.05), (1, 3.3)] {
        summary_of(&mut run, i).scalars.insert("offered_rps".into(), rate);
    }
    let said = answers(&capacity(&run, &Options::default())).join(" ");
    assert!(said.contains("at another rate in so short a window: 3.30 req/s in that of 4 req/s;"), "{said}");
    summary_of(&mut run, 1).scalars.insert("offered_rps".into(), 3.9);
    let said = answers(&capacity(&run, &Options::default())).join(" ");
    assert!(!said.contains("another rate"), "{said}");
}

#[test]
fn repeats_give_the_interval() {
    let shape = only(&ladder(&[
        (2.0, &[500.0, 505.0, 495.0, 501.0]),
        (4.0, &[2000.0, 1990.0, 2020.0, 2005.0]),
        (8.0, &[9000.0, 9100.0, 9050.0, 9000.0]),
    ]));
    let limit = &shape.limit;
    assert_eq!((shape.levels[0].verdict, shape.levels[1].verdict), (Standing::Pass, Standing::Fail));
    assert!(limit.sure_low && limit.sure_high);
    near(limit.value, 2.0 * 2f64.sqrt());
    assert_eq!(limit.interval, IntervalFrom::Repeats);
    // The repeats agree to a percent, so that half of the way to either level is what is left.
    near(limit.low, (2.0 * 2.0 * 2f64.sqrt()).sqrt());
    near(limit.high, (4.0 * 2.0 * 2f64.sqrt()).sqrt());
    let carried = shape.carried.unwrap();
    assert_eq!((Some(carried.rps), carried.sure), (limit.low, true));
}

#[test]
fn wild_repeats_widen_the_interval_but_not_past_what_is_sure() {
    let shape = only(&ladder(&[
        (1.0, &[100.0, 101.0, 99.0]),
        (2.0, &[500.0, 900.0, 300.0]),
        (4.0, &[1500.0, 4000.0, 1100.0]),
        (8.0, &[9000.0, 9100.0, 9050.0]),
    ]));
    let limit = &shape.limit;
    assert_eq!((limit.last_pass, limit.first_fail), (Some(1.0), Some(8.0)), "in between nothing is sure");
    let (low, high) = (limit.low.unwrap(), limit.high.unwrap());
    assert!((1.0..2.0).contains(&low) && (4.0..=8.0).contains(&high), "{low} to {high}");
    assert!(low < limit.value.unwrap() && limit.value.unwrap() < high);
}

#[test]
fn open_ends_are_said_as_such() {
    let good = ladder(&[(1.0, &[100.0, 101.0]), (2.0, &[120.0, 121.0])]);
    let found = capacity(&good, &Options::default());
    let limit = &found.shapes[0].limit;
    assert_eq!((limit.state, limit.value, limit.high), (LimitState::AtLeast, Some(2.0), None));
    assert!(
        answers(&found)[0].contains("at least 2 req/s, and no load that fails was measured"),
        "{:?}",
        answers(&found)
    );
    let bad = ladder(&[(1.0, &[1500.0, 1510.0]), (2.0, &[3000.0, 3010.0])]);
    let found = capacity(&bad, &Options::default());
    let limit = &found.shapes[0].limit;
    assert_eq!((limit.state, limit.value, limit.low, limit.high), (LimitState::Below, None, None, Some(1.0)));
    assert!(answers(&found)[0].contains("below 1 req/s"), "{:?}", answers(&found));
    assert!(found.shapes[0].carried.is_none());
}

#[test]
fn loads_that_are_too_low_for_a_rate_are_not_above_the_limit() {
    let mut run = ladder(&[(1.0, &[100.0, 101.0]), (2.0, &[120.0, 121.0])]);
    for (i, data) in run.cells.iter_mut().enumerate() {
        let rule = SloRule { metric: "output_tps".into(), stat: String::new(), limit: 500.0, target: None };
        data.cell.settings.slo.rules = vec![rule];
        let tps = if i < 2 { 60.0 } else { 120.0 } + i as f64;
        data.summary.as_mut().unwrap().scalars.insert("output_tps".into(), tps);
    }
    let found = capacity(&run, &Options::default());
    let limit = &found.shapes[0].limit;
    assert_eq!((limit.state, limit.low, limit.high), (LimitState::TooLow, Some(2.0), None));
    let said = &answers(&found)[0];
    assert!(said.contains("up to 2 req/s it brings too little") && !said.contains("below"), "{said}");
}

#[test]
fn what_is_invalid_is_left_out_and_overload_fails() {
    let mut run = ladder(&[(1.0, &[100.0, 101.0]), (2.0, &[120.0, 121.0]), (4.0, &[130.0, 131.0])]);
    summary_of(&mut run, 2).validity.verdict = Verdict::Invalid;
    summary_of(&mut run, 3).validity.verdict = Verdict::Invalid;
    for i in [4, 5] {
        let reason = Reason {
            signal: crate::measure::OVERLOAD.to_owned(),
            verdict: Verdict::Warn,
            text: "overloaded".to_owned(),
        };
        summary_of(&mut run, i).validity.reasons.push(reason);
    }
    let found = capacity(&run, &Options::default());
    let shape = &found.shapes[0];
    let verdicts: Vec<Standing> = shape.levels.iter().map(|l| l.verdict).collect();
    assert_eq!(verdicts, [Standing::Pass, Standing::Unjudged, Standing::Fail]);
    assert_eq!(
        (shape.limit.value, shape.limit.high),
        (Some(1.0), Some(4.0)),
        "nothing lies on a line to overload"
    );
    assert_eq!(shape.limit.binding.as_ref().unwrap().name, "overload");
    assert!(answers(&found)[0].contains("Not judged, for want of valid repeats: 2 req/s."));
    assert_eq!(shape.pareto, [0], "an overloaded level is none to choose");
}

#[test]
fn a_result_that_goes_up_and_down_is_flagged() {
    let run = ladder(&[
        (1.0, &[100.0, 101.0]),
        (2.0, &[1500.0, 1510.0]),
        (4.0, &[300.0, 301.0]),
        (8.0, &[5000.0, 5001.0]),
    ]);
    let found = capacity(&run, &Options::default());
    let limit = &found.shapes[0].limit;
    assert!(limit.non_monotone);
    assert_eq!((limit.last_met, limit.first_missed, limit.low), (Some(1.0), Some(8.0), Some(1.0)));
    let said = &answers(&found)[0];
    assert!(said.contains("no clean limit") && said.contains("not with 2 req/s"), "{said}");
}

#[test]
fn errors_are_counted_with_confidence() {
    // SciPy 1.17.1: binom.cdf(80, 10000, .01) = 0.0221, so that 80 still pass 1 % with 95 %;
    // binom.cdf(90, 10000, .01) = 0.170, which is undecided; binom.sf(149, 10000, .01) = 1.7e-6.
    for (failed, verdict) in
        [(0, Standing::Pass), (80, Standing::Pass), (90, Standing::Undecided), (150, Standing::Fail)]
    {
        let made = [at(open(1.0), 1, 100.0), at(open(2.0), 1, 120.0)].map(|m| Made { failed, ..m });
        let shape = only(&run_of(&made));
        let rule = &shape.levels[0].rules[1];
        assert_eq!((rule.verdict, rule.method), (verdict, Method::Requests), "{failed} failed");
        assert_eq!((rule.requests, rule.violations), (Some(10_000), Some(failed)));
    }
}

#[test]
fn a_least_rate_is_no_limit_from_above() {
    let mut run = ladder(&[(1.0, &[100.0, 101.0]), (2.0, &[120.0, 121.0]), (4.0, &[2000.0, 2001.0])]);
    for data in &mut run.cells {
        let rule = SloRule { metric: "completed_rps".into(), stat: String::new(), limit: 1.5, target: None };
        data.cell.settings.slo.rules.push(rule);
    }
    let limit = only(&run).limit;
    assert_eq!((limit.last_met, limit.first_missed, limit.non_monotone), (Some(2.0), Some(4.0), false));
    assert_eq!(limit.binding.unwrap().name, "TTFT p95");
}

#[test]
fn closed_loops_carry_what_they_completed_and_scale_by_the_law() {
    // γ = 2, α = 0.05, β = 0.001 without noise.
    let law = |n: f64| 2.0 * n / (1.0 + 0.05 * (n - 1.0) + 0.001 * n * (n - 1.0));
    let made: Vec<Made> = [1u32, 2, 4, 8, 16, 32, 64]
        .iter()
        .flat_map(|n| {
            let rps = law(f64::from(*n));
            (1..=2).map(move |r| Made { rps, ..at(Load::Closed { users: *n }, r, 60.0 * f64::from(*n)) })
        })
        .collect();
    let shape = only(&run_of(&made));
    let usl = shape.usl.as_ref().unwrap();
    assert!((usl.gamma - 2.0).abs() < 0.01 && (usl.alpha - 0.05).abs() < 0.001, "{usl:?}");
    assert!((usl.beta - 0.001).abs() < 1e-4 && usl.worst < 0.01, "{usl:?}");
    assert_eq!(usl.reach, 96.0);
    assert!(usl.at(96.0).is_some() && usl.at(97.0).is_none(), "nothing is said beyond");
    assert!(shape.carried.unwrap().rps > law(8.0) && shape.carried.unwrap().rps < law(32.0));
    assert!(!shape.pareto.is_empty() && shape.pareto.iter().all(|i| shape.levels[*i].met == Some(true)));
    let few: Vec<Made> =
        made.into_iter().filter(|m| !matches!(m.load, Load::Closed { users: 32 | 64 })).collect();
    assert!(only(&run_of(&few)).usl.is_none(), "five levels are too few");
}

fn traffic(peak: &[Flow]) -> CapacitySettings {
    CapacitySettings {
        peak: peak.to_vec(),
        growth: 0.2,
        headroom: 0.75,
        spares: 1,
        gpus: Some(2.0),
        gpu_price_per_hour: Some(2.5),
        ..CapacitySettings::default()
    }
}

#[test]
fn a_plan_counts_replicas_and_costs() {
    let run = ladder(&[(2.0, &[500.0]), (4.0, &[2000.0])]);
    let flow = Flow { rps: 12.0, tokens: Some((512, 128)) };
    let options = Options {
        traffic: Some(traffic(&[flow])),
        what_if: vec![("spares".into(), vec![0.0, 3.0]), ("traffic".into(), vec![2.0])],
        ..Options::default()
    };
    let found = capacity(&run, &options);
    let plan = found.plan.as_ref().unwrap();
    let need = plan.need.as_ref().unwrap();
    // 12 · 1.2 / (2 · 0.75) = 9.6.
    assert!((need.exact - 9.6).abs() < 1e-9);
    assert_eq!((need.replicas, need.gpus, need.cost_per_hour), (11, Some(22.0), Some(55.0)));
    // 256 tok/s of one replica of 2 GPUs at 2.5 each: 5 / 3600 / 256 · 10⁶; 11 replicas for
    // 14.4 req/s of 128 tokens.
    near(need.cost_per_million_full, 5.0 / 3600.0 / 256.0 * 1e6);
    near(need.cost_per_million, 55.0 / 3600.0 / (14.4 * 128.0) * 1e6);
    let replicas: Vec<u64> =
        plan.what_if.iter().flat_map(|t| &t.rows).map(|(_, n)| n.as_ref().unwrap().replicas).collect();
    assert_eq!(replicas, [10, 13, 21]);
    assert!(plan.cautions.iter().any(|c| c.contains("no level passes the SLO with confidence")));
    assert!(answers(&found).iter().any(|a| a.contains("11 replicas (22 GPUs), one of them spare")));
}

#[test]
fn a_plan_refuses_what_was_not_measured() {
    let run = ladder(&[(2.0, &[500.0]), (4.0, &[2000.0])]);
    let options = Options {
        traffic: Some(traffic(&[Flow { rps: 3.0, tokens: Some((2048, 256)) }])),
        ..Options::default()
    };
    let found = capacity(&run, &options);
    let plan = found.plan.as_ref().unwrap();
    assert!(plan.need.is_none());
    assert!(plan.refusals[0].contains("2,048 → 256 tokens was not measured"), "{:?}", plan.refusals);
    assert!(plan.refusals[0].contains("Measured: 512 → 128 tokens"));
    let bad = ladder(&[(2.0, &[1500.0]), (4.0, &[2000.0])]);
    let options =
        Options { traffic: Some(traffic(&[Flow { rps: 3.0, tokens: None }])), ..Options::default() };
    let plan = capacity(&bad, &options).plan.unwrap();
    assert!(plan.need.is_none() && plan.refusals[0].contains("no measured load is within the SLO"));
}

#[test]
fn a_mix_adds_up_what_its_parts_take() {
    let mut run = ladder(&[(2.0, &[500.0]), (4.0, &[2000.0])]);
    let other = ladder(&[(1.0, &[500.0]), (2.0, &[2000.0])]);
    for (i, mut data) in other.cells.into_iter().enumerate() {
        data.cell.settings.workload.prompt_tokens = Lengths::constant(2048);
        data.cell.id = CellId(format!("other{i}"));
        run.cells.push(data);
    }
    for (i, data) in run.cells.iter_mut().enumerate() {
        let prompt = if i < 2 { 512 } else { 2048 };
        data.cell.factors.insert("workload.prompt_tokens".into(), json!(prompt));
        data.cell.varying.push("workload.prompt_tokens".into());
    }
    let flows = [(12.0, 512), (3.0, 2048)].map(|(rps, p)| Flow { rps, tokens: Some((p, 128)) });
    let options = Options { traffic: Some(traffic(&flows)), ..Options::default() };
    let found = capacity(&run, &options);
    assert_eq!(found.shapes.len(), 2);
    let need = found.plan.as_ref().unwrap().need.clone().unwrap();
    // (12/2 + 3/1) · 1.2 / 0.75
    assert!((need.exact - 14.4).abs() < 1e-9, "{need:?}");
    let said = answers(&found);
    assert!(said[0].contains("at 512 → 128 tokens") && said[1].contains("at 2,048 → 128 tokens"), "{said:?}");
    let options =
        Options { traffic: Some(traffic(&[Flow { rps: 1.0, tokens: None }])), ..Options::default() };
    let plan = capacity(&run, &options).plan.unwrap();
    assert!(plan.refusals[0].contains("Several workload shapes were measured"), "{:?}", plan.refusals);
}

#[test]
fn the_best_setting_is_named_with_those_not_told_apart() {
    let mut run = run_of(&[]);
    for (k, (slots, scale)) in [(8, 1.0), (32, 3.0), (64, 3.1)].into_iter().enumerate() {
        let one = ladder(&[(1.0 * scale, &[500.0]), (2.0 * scale, &[2000.0])]);
        for (i, mut data) in one.cells.into_iter().enumerate() {
            data.cell.id = CellId(format!("{k}-{i}"));
            data.cell.factors.insert("sim.slots".into(), json!(slots));
            data.cell.varying.push("sim.slots".into());
            run.cells.push(data);
        }
    }
    let found = capacity(&run, &Options::default());
    let best = &found.best[0];
    assert_eq!((best.setting.as_str(), best.ties.as_slice()), ("slots 64", &["slots 32".to_owned()][..]));
    assert!(best.text.contains("not told apart from it: slots 32"), "{}", best.text);
    let traffic = Some(traffic(&[Flow { rps: 3.0, tokens: None }]));
    let plan = capacity(&run, &Options { traffic, ..Options::default() }).plan.unwrap();
    let said = "Planned on slots 64, which carries most of the 3 settings that were measured.";
    assert!(plan.cautions.iter().any(|c| c == said), "{:?}", plan.cautions);
}

#[test]
fn runs_without_an_slo_are_looked_at_with_a_preset() {
    let mut run = ladder(&[(2.0, &[500.0]), (4.0, &[5000.0])]);
    for data in &mut run.cells {
        data.cell.settings.slo.rules.clear();
        data.summary.as_mut().unwrap().slo.clear();
    }
    let found = capacity(&run, &Options::default());
    assert_eq!(found.slo.source, SloSource::Preset("llm-good".into()));
    assert!(answers(&found)[0].starts_with("By the preset llm-good"), "{:?}", answers(&found));
    let words = vec!["ttft_p95<=400ms".to_owned()];
    let slo = crate::experiment::slo_of_words(&words).unwrap();
    let found = capacity(&run, &Options { slo: Some((words, slo)), ..Options::default() });
    assert_eq!(found.shapes[0].limit.state, LimitState::Below, "what is given has the word");
}

#[test]
fn runs_of_the_same_cells_are_further_repeats() {
    let levels: [(f64, &[f64]); 2] = [(2.0, &[500.0]), (4.0, &[2000.0])];
    let (a, mut b) = (ladder(&levels), ladder(&levels));
    b.id = "y".into();
    let mut other = ladder(&levels);
    other.id = "w".into();
    other.cells.iter_mut().for_each(|c| c.cell.seed += 100);
    let (pooled, notes) = pool(vec![ladder(&levels), other]);
    assert_eq!((pooled.len(), notes.len(), pooled[0].1.len()), (1, 0, 2));
    let (pooled, notes) = pool(vec![a, b]);
    assert_eq!((pooled.len(), notes.len(), pooled[0].1.len()), (1, 1, 2));
    assert!(notes[0].contains("x and y sent the same requests in 2 of their cells"), "{notes:?}");
    assert_eq!(only(&pooled[0].0).levels[0].repeats, 2);
    let (a, mut other) = (ladder(&levels), ladder(&levels));
    other.id = "z".into();
    summary_of(&mut other, 0).workload_hash = "another".into();
    let (pooled, notes) = pool(vec![a, other]);
    assert_eq!(pooled.len(), 2);
    assert!(notes[0].contains("lengths or due times are not those"), "{notes:?}");
    let (pooled, notes) = pool(vec![ladder(&levels), ladder(&levels)]);
    assert_eq!(only(&pooled[0].0).levels[0].repeats, 1, "one measurement is no surer for being read twice");
    assert!(notes[0].contains("given twice"), "{notes:?}");
}

#[test]
fn a_capacity_is_serialisable() {
    let run = ladder(&[(2.0, &[500.0, 510.0]), (4.0, &[2000.0, 2010.0])]);
    let json = serde_json::to_value(capacity(&run, &Options::default())).unwrap();
    assert_eq!(json["shapes"][0]["levels"][0]["verdict"], "PASS");
    assert_eq!(json["shapes"][0]["limit"]["state"], "between");
    assert_eq!(json["shapes"][0]["kind"], "open");
}
