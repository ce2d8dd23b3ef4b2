use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::families::FAMILIES;
use super::news::{CellBegun, CellEnded, News};
use super::registry::{Registry, Series};
use super::tally::Tally;
use super::{otlp, text};
use crate::event::{Live, Stage};
use crate::record::{Outcome, Phase, RequestRecord};
use crate::store::tests::{cell, summary};

fn live() -> Live {
    Live {
        stage: Stage::Measure,
        elapsed_s: 1.0,
        left_s: None,
        in_flight: 3,
        sent: 5,
        completed: 2,
        failed: 0,
        errors: BTreeMap::new(),
        output_tokens: 10,
        sent_rps: 5.0,
        completed_rps: 2.0,
        failed_rps: 0.0,
        output_tps: 10.0,
        ttft_p50_ms: None,
        ttft_p90_ms: None,
        ttft_p95_ms: None,
        tpot_p50_ms: None,
        tpot_p95_ms: None,
        e2e_p50_ms: None,
        e2e_p90_ms: None,
        e2e_p95_ms: None,
        e2e_p99_ms: None,
        lag_p99_ms: None,
        server: Default::default(),
    }
}

fn good() -> RequestRecord {
    let mut r = RequestRecord::blank(0);
    (r.phase, r.outcome) = (Phase::Measure, Outcome::Ok);
    (r.first_token_us, r.last_token_us) = (Some(12_000), Some(52_000));
    (r.prompt_tokens, r.output_tokens) = (Some(16), Some(5));
    r
}

/// One finished cell, and one that runs and has had one answer.
fn registry(keep: usize) -> Registry {
    let mut registry = Registry::new("a \"b\"\\", keep);
    registry.take(News::Sweep { run: "r".to_owned(), cells: 2, finished: 0 });
    for index in 0..2 {
        registry.take(News::Cell(Box::new(CellBegun::of(&cell(index), 2))));
        registry.take(News::Live(Box::new(live())));
        let mut tally = Box::<Tally>::default();
        tally.take(&good());
        registry.take(News::Requests(tally));
        if index == 0 {
            registry.take(News::Finished(Box::new(CellEnded::of(&cell(0), &summary(0)))));
        }
    }
    registry
}

fn points(all: &[Series], name: &str) -> usize {
    all.iter().find(|series| series.family.name == name).unwrap().points.len()
}

#[test]
fn every_family_is_given_out_and_live_ones_of_the_running_cell_alone() {
    let all = registry(8).series();
    for family in FAMILIES {
        let n = points(&all, family.name);
        // The second cell's loop is open, and its lag is not known.
        let unknown = ["plimsoll_users", "plimsoll_lag_p99_seconds"].contains(&family.name);
        assert_eq!(n == 0, unknown, "{}: {n}", family.name);
    }
    assert_eq!(points(&all, "plimsoll_in_flight"), 1);
    assert_eq!(points(&all, "plimsoll_stage"), 4);
    assert_eq!(points(&all, "plimsoll_ttft_seconds"), 2);
    for series in &all {
        for point in &series.points {
            let mut names: Vec<&str> = point.labels.iter().map(|(name, _)| name.as_str()).collect();
            names.sort_unstable();
            let before = names.len();
            names.dedup();
            assert_eq!(names.len(), before, "{}: a label twice", series.family.name);
        }
    }
}

#[test]
fn before_the_run_has_a_name_there_is_nothing() {
    assert_eq!(text::render(&Registry::new("e", 1).series()), "");
}

#[test]
fn the_oldest_cells_go() {
    let registry = registry(1);
    let text = text::render(&registry.series());
    assert!(!text.contains("cell=\"1\"") && text.contains("cell=\"2\""), "{text}");
}

#[test]
fn the_text_is_as_prometheus_reads_it() {
    let text = text::render(&registry(8).series());
    assert!(text.contains("# TYPE plimsoll_requests_total counter\n"), "{text}");
    let labels = "run=\"r\",experiment=\"a \\\"b\\\"\\\\\",model=\"m\",cell=\"2\",repeat=\"2\",qps=\"2.5\"";
    let model = cell(1).settings.target.model;
    let labels = labels.replace("model=\"m\"", &format!("model=\"{model}\""));
    for line in [
        format!("plimsoll_requests_total{{{labels},phase=\"measure\",outcome=\"ok\",class=\"\"}} 1"),
        format!("plimsoll_ttft_seconds_bucket{{{labels},phase=\"measure\",le=\"0.01\"}} 0"),
        format!("plimsoll_ttft_seconds_bucket{{{labels},phase=\"measure\",le=\"0.015\"}} 1"),
        format!("plimsoll_ttft_seconds_bucket{{{labels},phase=\"measure\",le=\"+Inf\"}} 1"),
        format!("plimsoll_ttft_seconds_sum{{{labels},phase=\"measure\"}} 0.012"),
        format!("plimsoll_ttft_seconds_count{{{labels},phase=\"measure\"}} 1"),
        format!("plimsoll_offered_requests_per_second{{{labels}}} 2.5"),
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
}

#[test]
fn otlp_has_the_fields_of_its_protocol() {
    let json: Json = serde_json::from_str(&otlp::render(&registry(8))).unwrap();
    let resource = &json["resourceMetrics"][0];
    assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "plimsoll");
    let metrics = resource["scopeMetrics"][0]["metrics"].as_array().unwrap();
    let metric = |name: &str| metrics.iter().find(|m| m["name"] == name).unwrap();
    let is_ns = |value: &Json| value.as_str().unwrap().parse::<u64>().unwrap() > 1_600_000_000_000_000_000;

    let sum = &metric("plimsoll_requests_total")["sum"];
    assert_eq!((&sum["aggregationTemporality"], &sum["isMonotonic"]), (&Json::from(2), &Json::from(true)));
    let point = &sum["dataPoints"][0];
    assert!(
        point["asInt"].is_string() && is_ns(&point["startTimeUnixNano"]) && is_ns(&point["timeUnixNano"])
    );

    let histogram = &metric("plimsoll_ttft_seconds")["histogram"];
    assert_eq!(histogram["aggregationTemporality"], 2);
    let point = &histogram["dataPoints"][0];
    assert_eq!((&point["count"], &point["sum"]), (&Json::from("1"), &Json::from(0.012)));
    let counts: Vec<u64> = point["bucketCounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n.as_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!(counts.len(), point["explicitBounds"].as_array().unwrap().len() + 1);
    assert_eq!(counts.iter().sum::<u64>(), 1, "of each bucket its own, not those below");

    let gauge = &metric("plimsoll_in_flight")["gauge"]["dataPoints"][0];
    assert_eq!(gauge["asDouble"], 3.0);
    assert!(gauge.get("startTimeUnixNano").is_none());
}

#[test]
fn another_tools_names_are_of_the_latest_cell() {
    let mut registry = registry(8);
    let of = |registry: &Registry, name: &str| {
        let text = text::render(&registry.aliases());
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ').next()?.parse::<f64>().ok()
    };
    assert_eq!(of(&registry, "llm_active_users"), Some(3.0));
    assert_eq!(of(&registry, "llm_ttft_p50_seconds"), Some(0.0125), "within its bucket");
    assert_eq!(of(&registry, "llm_error_rate"), Some(0.0));
    let ended = CellEnded::of(&cell(1), &summary(1));
    registry.take(News::Finished(Box::new(ended)));
    assert_eq!(of(&registry, "llm_ttft_p50_seconds"), Some(0.0011), "the summary's own");
    assert_eq!(of(&registry, "llm_active_users"), None);
}
