//! Figures of tasks, endpoints and stages.

use super::*;
use crate::experiment::{Part, Recovery, SloRule, Stage};
use crate::record::StageWindow;

fn part(settings: &Settings, task: &str, endpoint: &str) -> Part {
    Part {
        task: Some(task.to_owned()),
        endpoint: Some(endpoint.to_owned()),
        weight: 1.0,
        target: settings.target.clone(),
        workload: settings.workload.clone(),
        sim: None,
    }
}

#[test]
fn a_group_is_what_its_records_alone_come_to() {
    let mut cell = open();
    let settings = cell.settings.clone();
    cell.settings.parts = [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")]
        .map(|(task, endpoint)| part(&settings, task, endpoint))
        .to_vec();
    // So many that quantiles take more than one walk.
    let of = |seq: u64| {
        let mut r = many(seq);
        r.task = Some(if seq.is_multiple_of(8) { "b" } else { "a" }.to_owned());
        r.endpoint = Some(if seq.is_multiple_of(3) { "y" } else { "x" }.to_owned());
        if seq.is_multiple_of(50) {
            r.outcome = Outcome::HttpError;
            r.error_class = Some("503".to_owned());
        }
        r
    };
    let records: Vec<_> = (0..50_000).map(of).collect();
    let whole = summed(&cell, &run(&[]), &records);
    let names: Vec<_> = whole.groups.iter().map(|g| (g.kind, g.name.as_str())).collect();
    assert_eq!(
        names,
        [
            (GroupKind::Task, "a"),
            (GroupKind::Task, "b"),
            (GroupKind::Endpoint, "x"),
            (GroupKind::Endpoint, "y")
        ]
    );
    for group in &whole.groups {
        let own = |r: &&RequestRecord| {
            let name = if group.kind == GroupKind::Task { &r.task } else { &r.endpoint };
            name.as_deref() == Some(group.name.as_str())
        };
        let alone: Vec<RequestRecord> = records.iter().filter(own).cloned().collect();
        let mut run = run(&[]);
        run.planned = Some(alone.len() as u64);
        let mut by_itself = summed(&open(), &run, &alone);
        by_itself.distributions.remove("chunk_gap");
        assert_eq!(group.counts, by_itself.counts, "{}", group.name);
        assert_eq!(group.tokens, by_itself.tokens, "{}", group.name);
        assert_eq!(group.scalars, by_itself.scalars, "{}", group.name);
        assert_eq!(group.distributions, by_itself.distributions, "{}", group.name);
        assert_eq!(group.value("contention_error_rate", ""), group.value("error_rate", ""));
    }
}

#[test]
fn a_group_whose_answers_are_left_has_no_output_rate() {
    let mut cell = open();
    let settings = cell.settings.clone();
    cell.settings.parts = vec![part(&settings, "a", "x"), part(&settings, "b", "x")];
    cell.settings.parts[1].workload.stop_after = crate::experiment::StopAfter::FirstToken;
    let named = |seq: u64| {
        let task = Some(if seq.is_multiple_of(2) { "a" } else { "b" }.to_owned());
        RequestRecord { task, endpoint: Some("x".to_owned()), ..good(seq) }
    };
    let records: Vec<_> = (0..200).map(named).collect();
    let s = summed(&cell, &run(&records), &records);
    let output = |kind, name| s.group(kind, name).unwrap().value("output_tps", "");
    assert!(output(GroupKind::Task, "a").is_some());
    assert_eq!((output(GroupKind::Task, "b"), output(GroupKind::Endpoint, "x")), (None, None));
    assert!(s.value("output_tps", "").is_none() && s.value("chunk_gap", "p50").is_none());
}

#[test]
fn a_stage_has_its_own_time_and_its_own_limits() {
    let mut cell = open();
    let rule = |metric: &str, stat: &str, limit| SloRule {
        metric: metric.to_owned(),
        stat: stat.to_owned(),
        limit,
        target: None,
    };
    let stage = |name: &str, rules| Stage {
        name: name.to_owned(),
        duration: Duration::from_secs(5),
        ramp: Duration::ZERO,
        level: 20.0,
        slo: Slo { rules, ..Slo::default() },
        recovers: None,
    };
    cell.settings.slo.rules = vec![rule("e2e", "p50", 1.0)];
    cell.settings.stages = vec![stage("first", vec![rule("ttft", "p95", 50.0)]), stage("second", Vec::new())];
    let mut records: Vec<_> = (0..200).map(good).collect();
    for r in &mut records {
        r.stage = Some(if r.intended_us < 6_000_000 { "first" } else { "second" }.to_owned());
    }
    // Half of its tokens came in the one stage, half in the other.
    (records[97].first_token_us, records[97].last_token_us) = (Some(5_980_000), Some(6_020_000));
    records[97].end_us = Some(6_021_000);
    let s = summed(&cell, &run(&records), &records);
    let [first, second] = &s.groups[..] else { panic!("two stages: {:?}", s.groups.len()) };
    assert_eq!(
        (first.kind, first.name.as_str(), second.name.as_str()),
        (GroupKind::Stage, "first", "second")
    );
    for group in [first, second] {
        assert_eq!((group.counts.attempted, group.counts.ok, group.counts.before_window), (100, 100, 0));
        assert_eq!(group.value("offered_rps", ""), Some(20.0));
        assert_eq!(group.value("ttft", "n"), Some(100.0));
        assert!(group.value("whole_run_output_tps", "").is_none());
    }
    // Of the first's requests the last three ended in the second's time.
    assert_eq!(
        (first.value("completed_rps", ""), second.value("completed_rps", "")),
        (Some(19.4), Some(20.2))
    );
    assert_eq!((first.value("output_tps", ""), second.value("output_tps", "")), (Some(97.5), Some(100.5)));
    let in_flight: f64 = [first, second].iter().filter_map(|g| g.value("in_flight_mean", "")).sum();
    assert!((in_flight / 2.0 - s.value("in_flight_mean", "").unwrap()).abs() < 1e-9);
    assert_eq!((first.slo.len(), first.slo[0].pass, second.slo.len()), (1, false, 0));
    assert_eq!(s.slo.len(), 1, "the cell's own are the cell's");
}

#[test]
fn a_stage_recovers_the_latency_of_an_earlier_one_in_its_real_time() {
    let mut cell = open();
    let stage = |name: &str, recovers: Option<&str>| Stage {
        name: name.to_owned(),
        duration: Duration::from_secs(3),
        ramp: Duration::ZERO,
        level: 20.0,
        slo: Slo::default(),
        recovers: recovers.map(|of| Recovery { of: of.to_owned(), within: 0.2 }),
    };
    cell.settings.stages = vec![stage("before", None), stage("spike", None), stage("after", Some("before"))];
    // The engine's account of when they were is what holds, whatever the plan says.
    let bounds =
        [("before", 1_000_000, 5_000_000), ("spike", 5_000_000, 7_000_000), ("after", 7_000_000, 11_000_000)];
    let windows =
        bounds.map(|(name, start_us, end_us)| StageWindow { name: name.to_owned(), start_us, end_us });
    let records = |slower_us: u64| -> Vec<RequestRecord> {
        let of = |seq| {
            let mut r = good(seq);
            let stage = windows.iter().find(|w| (w.start_us..w.end_us).contains(&r.intended_us)).unwrap();
            r.stage = Some(stage.name.clone());
            let late = match stage.name.as_str() {
                "spike" => 500_000,
                "after" => slower_us,
                _ => 0,
            };
            r.first_token_us = r.first_token_us.map(|t| t + late);
            r.last_token_us = r.last_token_us.map(|t| t + late);
            r.end_us = r.end_us.map(|t| t + late);
            r
        };
        (0..200).map(of).collect()
    };
    for (slower_us, recovered) in [(0, true), (1_000_000, false)] {
        let records = records(slower_us);
        let mut run = run(&records);
        run.stages = windows.to_vec();
        let s = summed(&cell, &run, &records);
        let spans: Vec<_> = s.stages().map(|g| g.window.map(|w| (w.start_us, w.end_us))).collect();
        assert_eq!(spans, bounds.map(|(_, start, end)| Some((start, end))));
        let n: Vec<u64> = s.stages().map(|g| g.counts.attempted).collect();
        assert_eq!(n, [80, 40, 80]);
        let verdicts: Vec<_> = s.groups.iter().map(|g| g.recovery.as_ref().map(|r| r.pass)).collect();
        assert_eq!(verdicts, [None, None, Some(recovered)], "{:?}", s.groups[2].recovery);
        let worst = if recovered { SloStatus::Pass } else { SloStatus::Fail };
        assert_eq!(s.statuses().max(), Some(worst), "it is asked of the cell");
        assert_eq!(serde_json::from_value::<CellSummary>(serde_json::to_value(&s).unwrap()).unwrap(), s);
    }
}

#[test]
fn drift_is_read_where_the_load_stays_as_it_is() {
    let mut cell = open();
    let slowing = |seq: u64| {
        let mut r = good(seq);
        r.first_token_us = r.first_token_us.map(|t| t + seq * 500 + seq % 7 * 100);
        r.last_token_us = r.first_token_us.map(|t| t + 20_000);
        r
    };
    let records: Vec<_> = (0..200).map(slowing).collect();
    let drifts = |cell: &Cell| {
        let s = summed(cell, &run(&records), &records);
        s.drift_of("ttft").map(|drift| drift.drifts)
    };
    assert_eq!(drifts(&cell), Some(true));
    let stage = |level: f64| Stage {
        name: format!("at-{level}"),
        duration: Duration::from_secs(5),
        ramp: Duration::ZERO,
        level,
        slo: Slo::default(),
        recovers: None,
    };
    cell.settings.stages = vec![stage(20.0)];
    assert_eq!(drifts(&cell), Some(true), "one long stage is endurance");
    cell.settings.stages = vec![stage(20.0), stage(40.0)];
    assert_eq!(drifts(&cell), None, "a load that changes changes latency by plan");
}
