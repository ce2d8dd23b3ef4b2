//! `plimsoll search`, and grids that prune: at the simulator, whose capacity follows from its knobs.
//!
//! With one slot, one step of S a request and arrivals evenly spaced, requests wait for nothing up
//! to a rate of 1/S, and above it each waits S − 1/λ longer than the one before. A share p of n
//! requests is within L up to the rate at which the one at p·(n − 1) waits for L − S.

use std::path::Path;
use std::process::Output;

use plimsoll::experiment::MistakeKind;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::plan::parse;
use crate::rig::program::{Started, directory, find, only_run, plimsoll, stderr, stdout};
use crate::rig::wait_for;

/// One slot, and a step of `step_ms` a request; the median is to be within 1.5 of them.
fn file(step_ms: f64, requests: u32, grid: &str) -> String {
    format!(
        r#"
seed = 3
[target]
url = "sim:"
[sim]
max_num_seqs = 1
step_base = "{}us"
step_per_prefill_token = "0us"
step_jitter = 0.0
[workload]
prompt_tokens = 16
max_tokens = 1
[load]
arrivals = "constant"
[cell]
requests = {requests}
warmup = "0s"
drain = "20s"
cooldown = {{ min = "20ms", max = "20s" }}
[slo]
ttft_p50 = "{}us"
{grid}
"#,
        step_ms * 1e3,
        step_ms * 3e3 / 2.0
    )
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// What the one search of the run found. A machine that can't measure is no matter here.
fn found(dir: &Path, output: &Output) -> Value {
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}", stderr(output));
    let found = json(&only_run(dir).join("search.json"));
    assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
    found[0].clone()
}

/// A search that this machine could measure: one that its own client spoiled is made again.
fn measured(text: &str, command: &[&str]) -> (TempDir, Output, Value) {
    for _ in 0..5 {
        let dir = directory(text);
        let output = plimsoll(dir.path(), command);
        let found = found(dir.path(), &output);
        if found["end"]["why"] != "invalid" {
            return (dir, output, found);
        }
        eprintln!("made again, as this machine could not measure: {found}");
    }
    panic!("five searches could not be measured on this machine");
}

/// The interval holds `capacity`, but for `slack` on either side: this machine may be busy.
fn holds(found: &Value, capacity: f64, slack: f64) {
    let (low, high) = (found["last_pass"].as_f64(), found["first_fail"].as_f64());
    assert!(low.is_some() || high.is_some(), "nothing is sure: {found:#}");
    assert!(low.is_none_or(|low| low <= capacity * (1.0 + slack)), "{capacity}: {found:#}");
    assert!(high.is_none_or(|high| high >= capacity * (1.0 - slack)), "{capacity}: {found:#}");
}

const ARGS: [&str; 4] = ["small.toml", "--no-report", "--progress", "plain"];

#[test]
fn it_finds_what_the_model_carries_and_is_a_run_like_any_other() {
    // 50 req/s. Of 60 requests the median waits for half a step at 1/(S − .5·S/29.5) = 50.86.
    let search = "[search]\nstart = 20\nratio = 1.2\nprobes = 8\nextend = 1";
    let command = [&["search"][..], &ARGS, &["--axis", "qps"]].concat();
    let (dir, output, one) = measured(&file(20.0, 60, search), &command);
    holds(&one, 50.86, 0.1);
    let run = only_run(dir.path());
    let text = stdout(&output);
    assert!(text.contains("Search: greatest load within the SLO: "), "{text}");
    // Every probe is a cell of the plan, and finished.
    let cells = json(&run.join("plan.json"))["cells"].as_array().unwrap().clone();
    assert_eq!(one["probes"].as_u64().unwrap() as usize, cells.len());
    let lines = csv::Reader::from_path(run.join("summary.csv")).unwrap().into_records().count();
    assert_eq!(lines, cells.len());
    assert_eq!(cells[0]["factors"]["load.qps"], 20);
    // It is over: a resumption measures nothing.
    let resume =
        [&["run"][..], &ARGS, &["--set", "search.axis=qps", "--resume", run.to_str().unwrap()]].concat();
    let output = plimsoll(dir.path(), &resume);
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}", stderr(&output));
    assert_eq!(json(&run.join("plan.json"))["cells"].as_array().unwrap().len(), cells.len());
    assert_eq!(json(&run.join("search.json"))[0], one);
}

#[test]
fn killed_it_goes_on_with_what_was_measured() {
    let dir = directory(&file(
        20.0,
        40,
        "[grid]\nsearch = \"qps\"\n[search]\nstart = 25\nratio = 1.2\nprobes = 8\nextend = 0",
    ));
    let args = [&["run"][..], &ARGS].concat();
    let started = Started::new(dir.path(), &args, &[]);
    wait_for("a first probe", || find(dir.path(), "summary.json"));
    started.signal(Signal::KILL);
    started.output();
    let run = only_run(dir.path());
    let first = find(dir.path(), "summary.json").unwrap();
    let before = std::fs::read(&first).unwrap();
    let output = plimsoll(dir.path(), &[&args[..], &["--resume", run.to_str().unwrap()]].concat());
    let one = found(dir.path(), &output);
    assert!(!one["end"].is_null(), "{one}");
    assert_eq!(std::fs::read(&first).unwrap(), before, "what was finished is kept");
    let cells = json(&run.join("plan.json"))["cells"].as_array().unwrap().len();
    assert_eq!(one["probes"].as_u64().unwrap() as usize, cells);
    // That it goes on is what is tested here; a client that was starved has no interval to hold.
    if one["end"]["why"] != "invalid" {
        holds(&one, 50.0, 0.15);
    }
}

#[test]
fn the_frontier_of_a_grid_holds_it_too_and_what_is_hopeless_is_pruned() {
    let grid = "[grid]\nqps = [25, 40, 65, 200, 400]\nprune = true";
    let dir = directory(&file(20.0, 60, grid));
    let args = [&["run"][..], &ARGS].concat();
    let output = plimsoll(dir.path(), &args);
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}", stderr(&output));
    let run = only_run(dir.path());
    let mut reader = csv::Reader::from_path(run.join("summary.csv")).unwrap();
    let header = reader.headers().unwrap().clone();
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    let at = |row: &csv::StringRecord, name: &str| {
        row[header.iter().position(|column| column == name).unwrap()].to_owned()
    };
    assert_eq!(rows.len(), 5, "a line for each, skipped ones too");
    let last = &rows[4];
    assert_eq!((at(last, "qps").as_str(), at(last, "validity").as_str()), ("400", "skipped"));
    assert!(at(last, "validity_reasons").starts_with("skipped: hopeless already at "), "{last:?}");
    assert!(at(last, "ok").is_empty() && at(last, "ttft_p50_ms").is_empty(), "{last:?}");
    assert!(find(&run, "skipped.json").is_some());
    assert!(stdout(&output).contains("\nSkipped\n"), "{}", stdout(&output));
    for row in rows.iter().filter(|row| ["valid", "warn"].contains(&at(row, "validity").as_str())) {
        let qps: f64 = at(row, "qps").parse().unwrap();
        // 50 req/s, and room for a busy machine.
        if !(30.0..55.0).contains(&qps) {
            assert_eq!(at(row, "slo_pass"), (qps < 50.0).to_string(), "at {qps}");
        }
    }
    let again = plimsoll(dir.path(), &[&args[..], &["--resume", run.to_str().unwrap()]].concat());
    assert!(matches!(again.status.code(), Some(0 | 4)), "{}", stderr(&again));
    assert_eq!(csv::Reader::from_path(run.join("summary.csv")).unwrap().into_records().count(), 5);
}

/// One slot and steps of 3.333 s: 0.3 req/s. At λ above it the request at the 90 % of 26 waits for
/// the 367 ms that the limit leaves from λ = 1/(S − .367/22.5) = 0.3015 on, and that of 40 from
/// 0.3009 on.
fn slow(requests: u32, rest: &str) -> String {
    file(3333.0, requests, rest).replace("ttft_p50 = \"4999500us\"", "ttft_p90 = \"3700ms\"")
}

/// Thirty slots, each step of 100 ms: what came in a step is answered in the next, up to 300 a
/// second, within two steps. At λ above it the backlog at the 95 % of 2,400 requests takes another
/// step from 304 on: (λ − 300)·(.95·2400/λ)/300 = .1.
fn fast(rest: &str) -> String {
    file(100.0, 2400, rest)
        .replace("ttft_p50 = \"150000us\"", "ttft_p95 = \"300ms\"")
        .replace("max_num_seqs = 1", "max_num_seqs = 30")
}

/// The limit of the one shape of a grid, as `plimsoll capacity` gives it.
fn frontier(text: &str) -> Value {
    let dir = directory(text);
    let output = plimsoll(dir.path(), &[&["run"][..], &ARGS].concat());
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}", stderr(&output));
    let run = only_run(dir.path());
    let output = plimsoll(dir.path(), &["capacity", run.to_str().unwrap(), "--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let limit = json["runs"][0]["capacity"]["shapes"][0]["limit"].clone();
    eprintln!("{limit:#}");
    limit
}

/// The frontier lies between two measured levels, and its interval holds `capacity`.
fn frontier_holds(limit: &Value, capacity: f64) {
    assert_eq!(limit["state"], "between", "{limit:#}");
    let (low, high) = (limit["low"].as_f64().unwrap(), limit["high"].as_f64().unwrap());
    assert!(low <= capacity && capacity <= high, "{capacity} isn't in {low} to {high}");
    assert_eq!((&limit["sure_low"], &limit["sure_high"]), (&true.into(), &true.into()), "{limit:#}");
}

// `docs/methods.md` has what these gave. Minutes each: they are run by name, with `--ignored`.
#[test]
#[ignore = "takes about ten minutes"]
fn three_tenths_of_a_request_a_second() {
    let search = "[grid]\nsearch = \"qps\"\n[search]\nstart = 0.25\nconfidence = 0.9";
    let (.., found) = measured(&slow(26, search), &[&["run"][..], &ARGS].concat());
    eprintln!("{found:#}");
    holds(&found, 0.3015, 0.0);
}

#[test]
#[ignore = "takes about ten minutes"]
fn three_tenths_of_a_request_a_second_by_a_grid() {
    frontier_holds(&frontier(&slow(40, "[grid]\nqps = [0.2, 0.27, 0.33, 0.45]")), 0.3009);
}

#[test]
#[ignore = "takes about two minutes, and a quiet machine"]
fn three_hundred_requests_a_second() {
    let search = "[grid]\nsearch = \"qps\"\n[search]\nstart = 100";
    let (.., found) = measured(&fast(search), &[&["run"][..], &ARGS].concat());
    eprintln!("{found:#}");
    holds(&found, 304.0, 0.0);
}

#[test]
#[ignore = "takes about a minute, and a quiet machine"]
fn three_hundred_requests_a_second_by_a_grid() {
    frontier_holds(&frontier(&fast("[grid]\nqps = [200, 270, 330, 450]")), 304.0);
}

#[test]
fn what_a_search_cant_be_beside_is_told() {
    let file = |rest: &str| format!("[target]\nurl = \"sim:\"\n[slo]\nttft_p95 = \"1s\"\n{rest}");
    let of = |text: &str| {
        let mistakes = match parse(text, &[]) {
            Err(mistakes) => mistakes,
            Ok(experiment) => plimsoll::plan::build(&experiment).expect_err(text),
        };
        (mistakes.0[0].key.clone(), mistakes.0[0].kind)
    };
    for (rest, key, kind) in [
        ("[grid]\nsearch = \"rate\"", "grid.search", MistakeKind::UnknownWord),
        ("[grid]\nsearch = \"qps\"\nrepeats = 3", "grid.repeats", MistakeKind::Conflict),
        ("[grid]\nsearch = \"qps\"\ninclude = [{ qps = 3 }]", "grid.include", MistakeKind::Conflict),
        ("[grid]\nsearch = \"qps\"\n[search]\nstart = 9\nmax = 3", "search.start", MistakeKind::Conflict),
        ("[grid]\nsearch = \"qps\"\n[search]\nration = 1.1", "search.ration", MistakeKind::UnknownKey),
        ("[grid]\nsearch = \"users\"\n[search]\nstart = 1.5", "search.start", MistakeKind::WrongType),
        ("[grid]\nsearch = \"users\"\n[load]\nqps = 3", "search", MistakeKind::Conflict),
        ("[search]\naxis = \"qps\"\n[stage.a]\nduration = \"5s\"", "search.axis", MistakeKind::Conflict),
    ] {
        assert_eq!(of(&file(rest)), (key.to_owned(), kind), "{rest}");
    }
    let rate = "[target]\nurl = \"sim:\"\n[slo]\noutput_tps = 500\n[grid]\nsearch = \"qps\"";
    assert_eq!(of(rate), ("slo.output_tps".to_owned(), MistakeKind::Conflict));
    let without = "[target]\nurl = \"sim:\"\n[grid]\nsearch = \"qps\"";
    assert_eq!(of(without), ("slo".to_owned(), MistakeKind::Missing));
}

#[test]
fn each_combination_is_searched_between_what_is_listed() {
    let text = "[target]\nurl = \"sim:\"\n[slo]\nttft_p95 = \"1s\"\n[search]\naxis = \"users\"\n\
                [grid]\nusers = [2, 4, 16]\nprompt_tokens = [16, 64]\nrepeats = 3\n\
                exclude = [{ users = 16, prompt_tokens = 64 }]";
    let experiment = parse(text, &[]).unwrap_or_else(|m| panic!("{m}"));
    let plan = plimsoll::plan::build(&experiment).unwrap_or_else(|m| panic!("{m}"));
    assert_eq!((plan.cells.len(), plan.searches.len()), (2, 2), "the first probe of each");
    for search in &plan.searches {
        assert_eq!((search.rules.start, search.rules.min, search.rules.max), (2.0, 2.0, 16.0));
    }
    // The same cell as a grid that lists it.
    let probe = plimsoll::plan::probe(&experiment, &plan, &plan.searches[1], 8.0, 2).unwrap();
    let listed = "[target]\nurl = \"sim:\"\n[slo]\nttft_p95 = \"1s\"\n[grid]\nusers = [2, 8]\n\
                  prompt_tokens = [16, 64]\nrepeats = 2";
    let listed = crate::plan::plan_of(listed);
    let same = listed.cells.iter().find(|c| c.id == probe.id && c.repeat == 2).expect("it is there");
    assert_eq!((same.seed, &same.factors, &same.settings), (probe.seed, &probe.factors, &probe.settings));
    assert_eq!(probe.index, 2);
}
