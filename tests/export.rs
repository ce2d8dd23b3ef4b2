//! Runs given out in the formats of others: a made-up cell in every format of text, a real run's
//! counts in each, and figures that come back the same by way of another tool's file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use plimsoll::analysis::{RunData, read_requests};
use plimsoll::experiment::Experiment;
use plimsoll::export::{FORMATS, File, Input, format};
use plimsoll::import::{Told, import};
use plimsoll::measure::{CellSummary, summarise};
use plimsoll::plan;
use plimsoll::record::*;
use plimsoll::store::{NewRun, RunDir};
use serde_json::{Value, json};

use crate::rig::program::{directory, only_run, plimsoll, stderr, stdout};

const EXPERIMENT: &str = r#"
name = "made-up"
[target]
url = "http://127.0.0.1:8000"
model = "tiny"
[target.headers]
X-Team = "hidden-word"
[workload]
prompt_tokens = 16
max_tokens = 4
temperature = 0.5
[load]
qps = 2.0
[cell]
duration = "2s"
warmup = "1s"
[slo]
ttft_p95 = "300ms"
"#;

/// Requests of two tasks: one in the warm-up, two good ones, one that failed and one that could
/// not be sent.
fn records() -> Vec<RequestRecord> {
    let good = |seq: u64, due: u64, task: &str| RequestRecord {
        phase: if due < 1_000_000 { Phase::Warmup } else { Phase::Measure },
        intended_us: due,
        sent_us: Some(due + 1_000),
        headers_us: Some(due + 50_000),
        first_token_us: Some(due + 101_000),
        first_visible_us: Some(due + 101_000),
        second_chunk_us: Some(due + 121_000),
        last_token_us: Some(due + 161_000 + seq * 10_000),
        end_us: Some(due + 165_000 + seq * 10_000),
        prompt_tokens_asked: 16,
        prompt_tokens: Some(17),
        max_tokens: 4,
        output_tokens: Some(4),
        token_source: Some(TokenSource::Usage),
        chunks: 4,
        chunks_in_window: 4,
        max_gap_us: Some(30_000),
        bytes: 400,
        status: Some(200),
        finish_reason: Some("length".to_owned()),
        outcome: Outcome::Ok,
        task: Some(task.to_owned()),
        ..RequestRecord::blank(seq)
    };
    let failed = RequestRecord {
        outcome: Outcome::HttpError,
        status: Some(503),
        error_class: Some("503".to_owned()),
        detail: Some("no room, \"later\"".to_owned()),
        first_token_us: None,
        first_visible_us: None,
        second_chunk_us: None,
        last_token_us: None,
        output_tokens: None,
        token_source: None,
        chunks: 0,
        chunks_in_window: 0,
        max_gap_us: None,
        end_us: Some(2_051_000),
        ..good(3, 2_000_000, "short")
    };
    let dropped = RequestRecord {
        intended_us: 2_500_000,
        prompt_tokens_asked: 16,
        max_tokens: 4,
        ..RequestRecord::blank(4)
    };
    vec![good(0, 500_000, "short"), good(1, 1_000_000, "short"), good(2, 1_500_000, "long"), failed, dropped]
}

/// The run of [`records`], in `root`.
fn made_up(root: &Path) -> PathBuf {
    let experiment = Experiment::parse(Path::new("made-up.toml"), EXPERIMENT, &[]).unwrap();
    let plan = plan::build(&experiment).unwrap();
    let new = NewRun {
        salt: "salt".to_owned(),
        set: vec!["target.headers.X-Team=hidden-word".to_owned()],
        target: "http://127.0.0.1:8000".to_owned(),
        title: None,
        figures: None,
    };
    let run = RunDir::create(root, EXPERIMENT, &plan, new, &json!({ "host": "h" })).unwrap();
    let cell = &plan.cells[0];
    let mut chunk_gaps = hdrhistogram::Histogram::new_with_bounds(1, 3_600_000_000, 3).unwrap();
    [20_000, 20_000, 30_000].iter().for_each(|gap| chunk_gaps.record(*gap).unwrap());
    let cell_run = CellRun {
        stages: Vec::new(),
        epoch_monotonic_ns: 0,
        started_at: "2026-11-22T05:40:00.5Z".parse().unwrap(),
        ended_at: "2026-11-22T05:40:04Z".parse().unwrap(),
        window: Window { start_us: 1_000_000, end_us: 3_000_000, ended_by: EndedBy::Duration },
        planned: Some(4),
        in_flight_mean: None,
        timeline: Vec::new(),
        chunk_gaps,
        foreign_chunks_in_window: 0,
        client: ClientHealth::default(),
        lost_records: None,
        observed: None,
    };
    let mut log = run.begin_cell(cell).unwrap();
    log.write(&records()).unwrap();
    let summary = summarise(cell, &cell_run, records().into_iter());
    run.commit_cell(cell, &log.seal().unwrap(), &cell_run, &summary, "tiny").unwrap();
    run.path().to_owned()
}

fn files(run: &Path, name: &str) -> Vec<File> {
    (format(name).unwrap().write)(&Input::load(run, None).unwrap()).unwrap()
}

fn text(run: &Path, name: &str) -> String {
    let id = run.file_name().unwrap().to_string_lossy().into_owned();
    let one = |file: File| format!("── {}\n{}", file.name, String::from_utf8(file.bytes).unwrap());
    files(run, name).into_iter().map(one).collect::<String>().replace(&id, "RUN")
}

macro_rules! golden {
    ($($test:ident: $name:literal,)+) => {$(
        #[test]
        fn $test() {
            let root = tempfile::tempdir().unwrap();
            insta::assert_snapshot!(text(&made_up(root.path()), $name));
        }
    )+};
}

golden! {
    requests_csv: "requests-csv",
    llm_metrics: "llm-metrics",
    details_of_a_test_run: "test-run",
    vllm: "vllm",
    llm_bench: "llm-bench",
    locust_stats: "locust-stats",
    mooncake: "mooncake",
    trace_csv: "trace-csv",
}

#[test]
fn csv_is_the_runs_own_table_and_copies_are_byte_for_byte() {
    let root = tempfile::tempdir().unwrap();
    let run = made_up(root.path());
    assert_eq!(files(&run, "csv")[0].bytes, fs::read(run.join("summary.csv")).unwrap());
    let cell = fs::read_dir(run.join("cells")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(files(&run, "parquet")[0].bytes, fs::read(cell.join("records.parquet")).unwrap());
    assert_eq!(files(&run, "hlog")[0].bytes, fs::read(cell.join("chunk_gaps.hlog")).unwrap());
}

#[test]
fn json_has_everything_but_the_values_of_headers() {
    let root = tempfile::tempdir().unwrap();
    let run = made_up(root.path());
    let whole: Value = serde_json::from_slice(&files(&run, "json")[0].bytes).unwrap();
    assert_eq!(whole["manifest"]["name"], "made-up");
    assert_eq!(whole["environment"]["host"], "h");
    assert_eq!(whole["cells"][0]["summary"]["counts"]["ok"], 2);
    assert_eq!(whole["cells"][0]["cell"]["settings"]["target"]["headers"], json!({ "X-Team": null }));
    for format in FORMATS {
        for file in files(&run, format.name) {
            let found = memchr::memmem::find(&file.bytes, b"hidden-word");
            assert!(found.is_none(), "{}: {} holds a header's value", format.name, file.name);
        }
    }
}

#[test]
fn what_is_not_known_is_never_a_zero() {
    let root = tempfile::tempdir().unwrap();
    let run = made_up(root.path());
    let vllm: Value = serde_json::from_slice(&files(&run, "vllm")[0].bytes).unwrap();
    assert_eq!(vllm["ttfts"][2], Value::Null, "the failed one had no token");
    assert_eq!((&vllm["itls"], &vllm["max_output_tokens_per_s"]), (&Value::Null, &Value::Null));
    assert_eq!(vllm["start_times"][3], Value::Null, "the dropped one was never sent");
    let details: Value = serde_json::from_slice(&files(&run, "test-run")[0].bytes).unwrap();
    assert_eq!(details["details"][3]["start_ts"], Value::Null);
    assert_eq!(details["details"][2]["error"], "503: no room, \"later\"");
}

/// A sweep against the simulator, with failures.
const SWEEP: &str = r#"
name = "sweep"
seed = 7
[target]
url = "sim:"
[sim]
fault_503 = 0.2
[grid]
users = [2, 4]
prompt_tokens = [16]
max_tokens = [8]
[cell]
requests = 40
warmup = "100ms"
cooldown = { min = "50ms", max = "2s" }
"#;

fn export(dir: &Path, run: &Path, format: &str, out: &str) {
    let output =
        plimsoll(dir, &["export", run.to_str().unwrap(), "--format", format, "--out", out, "--force"]);
    assert!(output.status.success(), "{format}: {}", stderr(&output));
}

fn csv_rows(path: &Path) -> Vec<BTreeMap<String, String>> {
    csv::Reader::from_path(path).unwrap().deserialize().map(Result::unwrap).collect()
}

fn summaries(run: &Path) -> Vec<CellSummary> {
    RunData::load(run).unwrap().cells.into_iter().map(|c| c.summary.unwrap()).collect()
}

/// The one run below `runs`.
fn reread(files: &[PathBuf], root: &Path) -> Vec<CellSummary> {
    summaries(&import(files, None, &Told::default(), root).unwrap().path)
}

fn sorted(dir: &Path, end: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    found.retain(|p| p.to_string_lossy().ends_with(end));
    found.sort();
    found
}

/// Each figure of `pairs` (metric and statistic of ours, of theirs) within `by`, relative.
fn close(ours: &CellSummary, theirs: &CellSummary, by: f64, pairs: &[(&str, &str, &str)]) {
    for (metric, theirs_metric, stat) in pairs {
        let (a, b) = (ours.value(metric, stat), theirs.value(theirs_metric, stat));
        let (Some(a), Some(b)) = (a, b) else { panic!("{metric} {stat}: {a:?} and {b:?}") };
        assert!((a - b).abs() <= by * a.abs().max(0.01), "{metric} {stat}: {a} and {b}");
    }
}

#[test]
fn a_real_run_goes_out_in_every_format_and_comes_back_with_its_figures() {
    let dir = directory(SWEEP);
    let output = plimsoll(dir.path(), &["run", "small.toml"]);
    assert!(output.status.success(), "{}\n{}", stdout(&output), stderr(&output));
    let run = only_run(dir.path());
    let ours = summaries(&run);
    assert!(ours.iter().any(|s| s.counts.failed > 0), "the simulator failed none");
    for format in FORMATS {
        export(dir.path(), &run, format.name, &format!("out/{}/", format.name));
    }
    let out = |name: &str| dir.path().join("out").join(name);
    let again = |name: &str, end: &str| {
        let root = dir.path().join("again").join(name);
        let files = sorted(&out(name), end);
        assert!(!files.is_empty(), "{name}");
        reread(&files, &root)
    };

    let attempted: u64 = ours.iter().map(|s| s.counts.attempted + s.counts.before_window).sum();
    let rows = csv_rows(&sorted(&out("requests-csv"), ".csv")[0]);
    assert_eq!(rows.len() as u64, attempted);
    assert_eq!(csv_rows(&sorted(&out("csv"), ".csv")[0]).len(), ours.len());
    let records: usize =
        sorted(&out("parquet"), ".parquet").iter().map(|p| read_requests(p).unwrap().len()).sum();
    assert_eq!(records as u64, attempted);
    for (s, file) in ours.iter().zip(sorted(&out("trace-csv"), ".csv")) {
        assert_eq!(csv_rows(&file).len() as u64, s.counts.attempted);
    }

    let distributions = [
        ("ttft_service", "ttft_service", "p50"),
        ("ttft_service", "ttft", "p95"),
        ("e2e_service", "e2e_service", "mean"),
        ("e2e_service", "e2e", "p99"),
        ("tpot", "tpot", "p50"),
    ];
    let samples = [
        ("ttft_service", "ttft", "n"),
        ("e2e_service", "e2e", "max"),
        ("output_length", "output_length", "mean"),
    ];
    let rate = [("error_rate", "error_rate", "")];
    for (s, back) in ours.iter().zip(again("vllm", ".json")) {
        assert_eq!((s.counts.attempted, s.counts.ok), (back.counts.attempted, back.counts.ok));
        assert_eq!(s.tokens.output, back.tokens.output);
        for pairs in [&distributions[..], &samples, &rate] {
            close(s, &back, 1e-4, pairs);
        }
    }
    for (s, back) in ours.iter().zip(again("test-run", ".json")) {
        assert_eq!((s.counts.attempted, s.counts.ok), (back.counts.attempted, back.counts.ok));
        assert_eq!(s.counts.errors, back.counts.errors);
        for pairs in [&distributions[..], &samples, &rate] {
            close(s, &back, 1e-4, pairs);
        }
    }
    for (s, back) in ours.iter().zip(again("llm-bench", ".csv")) {
        assert_eq!(s.counts.ok, back.counts.ok);
        close(s, &back, 1e-9, &distributions[..4]);
        close(s, &back, 1e-9, &[("completed_rps", "completed_rps", "")]);
        // Theirs is a mean over all tokens, turned into ours again.
        close(s, &back, 0.02, &[("tpot", "tpot", "mean")]);
    }
    for (s, back) in ours.iter().zip(again("locust-stats", "_stats.csv")) {
        assert_eq!((s.counts.sent, s.counts.ok), (back.counts.attempted, back.counts.ok));
        close(s, &back, 1e-9, &rate);
        assert!(back.value("e2e", "p95").is_some_and(|p95| p95 > 0.0));
    }
    let history = csv_rows(&sorted(&out("locust-stats"), "_stats_history.csv")[0]);
    let last = history.last().unwrap();
    assert_eq!(last["Total Request Count"], ours[0].counts.sent.to_string());
    assert_eq!(last["Total Failure Count"], ours[0].counts.failed.to_string());
}

#[test]
fn files_go_where_they_are_told_and_over_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let run = made_up(&dir.path().join("runs"));
    let run = run.to_str().unwrap();
    let export = |args: &[&str]| plimsoll(dir.path(), &[&["export", run], args].concat());
    let printed = export(&["--format", "trace-csv", "--out", "-"]);
    assert_eq!(stdout(&printed).lines().next(), Some("at_s,prompt_tokens,max_tokens"));
    let several = export(&["--format", "locust-stats", "--out", "-"]);
    assert_eq!(several.status.code(), Some(2));
    assert!(stderr(&several).contains("2 files"), "{}", stderr(&several));
    assert!(export(&["--format", "vllm", "--out", "sub/result.json"]).status.success());
    let again = export(&["--format", "vllm", "--out", "sub/result.json"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(stderr(&again).contains("--force"), "{}", stderr(&again));
    assert!(export(&["--format", "vllm", "--out", "sub/result.json", "--force"]).status.success());
    assert!(export(&["--format", "test-run"]).status.success());
    assert!(dir.path().join("test_run_20261122_054000.json").exists(), "named by when the cell began");
    let none = export(&["--format", "vllm", "--cell", "7", "--out", "-"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(stderr(&none).contains("no finished cell 7") && stderr(&none).contains('0'), "{}", stderr(&none));
    assert_eq!(plimsoll(dir.path(), &["export", "nowhere", "--format", "csv"]).status.code(), Some(2));
    let list = stdout(&plimsoll(dir.path(), &["export", "--list"]));
    assert!(FORMATS.iter().all(|format| list.contains(format.name)));
}

#[test]
fn a_run_without_records_goes_out_where_it_can_and_says_where_not() {
    let root = tempfile::tempdir().unwrap();
    let csv = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata/import/llm-bench/results.csv");
    let run = import(&[csv], None, &Told::default(), root.path()).unwrap().path;
    let input = Input::load(&run, Some(0)).unwrap();
    for name in ["csv", "json", "llm-metrics", "llm-bench"] {
        assert_eq!((format(name).unwrap().write)(&input).unwrap().len(), 1, "{name}");
    }
    for name in ["requests-csv", "vllm", "parquet", "mooncake"] {
        let error = (format(name).unwrap().write)(&input).unwrap_err();
        assert!(error.is_usage() && error.to_string().contains("records.parquet"), "{name}: {error}");
    }
}
