//! The program on a mix: each endpoint alone and all together, and what it leaves.

use std::collections::BTreeMap;
use std::path::Path;

use plimsoll::analysis::{RunData, contention};
use plimsoll::experiment::Load;
use plimsoll::measure::Verdict;
use plimsoll::report::page;

use crate::rig::program::{directory, only_run, plimsoll, stderr, stdout};

/// Two endpoints with simulators of their own.
const APART: &str = r#"
name = "warfare"
seed = 3
[workload]
prompt_tokens = 16
max_tokens = 4
[task.talk]
weight = 3
[task.look]
weight = 1
workload = { max_tokens = 2, stream = false }
[endpoint.flash]
weight = 2
url = "sim:"
sim = { preset = "paced", ttft = "2ms", tpot = "1ms" }
[endpoint.thinker]
url = "sim:"
sim = { preset = "paced", ttft = "30ms", tpot = "2ms" }
[grid]
qps = [60]
endpoints = ["flash", "thinker", "all"]
repeats = 2
[cell]
duration = "600ms"
warmup = "100ms"
cooldown = { min = "20ms", max = "20ms" }
[slo]
e2e_p90 = "30s"
"#;

/// Lines of a CSV, each by column.
fn rows(path: &Path) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let header = reader.headers().unwrap().clone();
    let row =
        |r: csv::StringRecord| header.iter().zip(&r).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    reader.records().map(|r| row(r.unwrap())).collect()
}

#[test]
fn a_sweep_leaves_a_line_for_each_task_and_endpoint() {
    let dir = directory(APART);
    let output = plimsoll(dir.path(), &["run", "small.toml", "--no-report"]);
    let (out, err) = (stdout(&output), stderr(&output));
    assert_eq!(output.status.code(), Some(0), "{out}\n{err}");
    let run = only_run(dir.path());

    let data = RunData::load(&run).unwrap();
    let qps: Vec<f64> = data
        .cells
        .iter()
        .filter(|c| c.cell.repeat == 1)
        .map(|c| match c.cell.settings.load {
            Load::Open { qps, .. } => qps,
            Load::Closed { .. } => panic!("an open loop"),
        })
        .collect();
    assert!(qps.iter().zip([40.0, 20.0, 60.0]).all(|(a, b)| (a - b).abs() < 1e-9), "{qps:?}");
    assert!(rows(&run.join("summary.csv")).iter().all(|row| row["qps"] == "60"), "that of the whole mix");

    let groups = rows(&run.join("groups.csv"));
    let known = |kind: &str, name: &str| {
        groups.iter().filter(|row| row["kind"] == kind && row["name"] == name).collect::<Vec<_>>()
    };
    // Two cells and two repeats each; tasks are in all three.
    for (kind, name, lines) in
        [("endpoint", "flash", 4), ("endpoint", "thinker", 4), ("task", "talk", 6), ("task", "look", 6)]
    {
        let found = known(kind, name);
        assert_eq!(found.len(), lines, "{kind} {name}");
        assert!(found.iter().all(|row| row["ok"] != "0" && row["slo"].contains("pass")), "{found:?}");
    }
    assert!(
        known("task", "look")
            .iter()
            .all(|row| row["ttft_p50_ms"].is_empty() && !row["e2e_p50_ms"].is_empty())
    );
    let slowest: f64 = known("endpoint", "thinker")
        .iter()
        .map(|row| row["ttft_min_ms"].parse::<f64>().unwrap())
        .fold(f64::INFINITY, f64::min);
    assert!(slowest >= 30.0, "each endpoint has its own simulator: {slowest}");

    for words in ["By task and endpoint", "endpoint thinker", "task look", "Contention", "runs beside it"] {
        assert!(out.contains(words), "{words}\n{out}");
    }
    let page = page::of_run(&data, &[]).unwrap();
    assert!(page.contains("id=\"groups\"") && page.contains("<h3>Contention</h3>"));

    // Derived: it comes again as it was.
    let before = std::fs::read(run.join("groups.csv")).unwrap();
    std::fs::remove_file(run.join("groups.csv")).unwrap();
    let name = run.strip_prefix(dir.path()).unwrap().to_str().unwrap();
    let output = plimsoll(dir.path(), &["run", "small.toml", "--resume", name, "--no-report"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(String::from_utf8(std::fs::read(run.join("groups.csv")).unwrap()), String::from_utf8(before));
}

/// Two endpoints of one server that has a single slot: together they ask for more than it has.
const ONE_SLOT: &str = r#"
name = "slot"
seed = 5
[target]
url = "sim:"
[workload]
prompt_tokens = 16
max_tokens = 1
[sim]
max_num_seqs = 1
step_base = "20ms"
step_jitter = 0
[endpoint.a]
model = "sim"
[endpoint.b]
model = "sim"
[grid]
qps = [64]
endpoints = ["a", "b", "all"]
repeats = 3
order = "repeat-major"
[cell]
duration = "1s"
warmup = "200ms"
cooldown = { min = "100ms", max = "5s" }
"#;

#[test]
fn endpoints_that_share_a_server_are_seen_to_contend() {
    let text = match plimsoll::sim::KNOBS.iter().find(|k| k.name == "model") {
        Some(knob) => ONE_SLOT.replace("model = \"sim\"", &format!("model = \"{}\"", knob.default)),
        None => panic!("the simulator has a model"),
    };
    let dir = directory(&text);
    let output = plimsoll(dir.path(), &["run", "small.toml", "--no-report"]);
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}", stderr(&output));
    let mut data = RunData::load(&only_run(dir.path())).unwrap();
    // The troubles of this machine are not the matter here.
    for cell in &mut data.cells {
        cell.summary.as_mut().unwrap().validity.verdict = Verdict::Valid;
    }
    let found = contention(&data);
    assert_eq!(found.len(), 1);
    assert!(!found[0].closed && found[0].label.is_empty());
    let names: Vec<_> = found[0].endpoints.iter().map(|e| (e.name.as_str(), e.beside.join(" "))).collect();
    assert_eq!(names, [("a", "b".to_owned()), ("b", "a".to_owned())]);
    for endpoint in &found[0].endpoints {
        let ttft = endpoint.changes.iter().find(|c| (c.metric, c.stat) == ("ttft", "p50")).unwrap();
        assert_eq!(ttft.repeats, 3);
        assert!(ttft.effect > 1.5, "a queue that grows beside one that does not: {ttft:?}");
        let (low, high) = ttft.interval.unwrap();
        assert!(low < ttft.effect && ttft.effect < high, "{ttft:?}");
    }
    // The slot puts out no more than it has: together they come to less than each alone in sum.
    let sum = found[0].output.unwrap();
    assert!(sum.effect < 1.0 && sum.repeats == 3, "{sum:?}");
}
