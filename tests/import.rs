//! Results of other tools read into runs: hand-written samples of each tool's files, what a
//! report makes of them, and what is said of files that are wrong.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use plimsoll::analysis::{CellData, RunData, read_requests};
use plimsoll::chart;
use plimsoll::import::{Done, ImportError, READERS, Told, import};
use plimsoll::measure::Verdict;
use plimsoll::metrics::STATS;
use plimsoll::report;
use plimsoll::store::{Manifest, Status, rebuild_summary};

use crate::rig::program::{plimsoll, stderr, stdout};

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata/import").join(name)
}

fn try_import(root: &Path, names: &[&str]) -> Result<Done, ImportError> {
    let files: Vec<PathBuf> = names.iter().map(|name| sample(name)).collect();
    import(&files, None, &Told::default(), root)
}

/// The run that these samples become.
fn imported(names: &[&str]) -> (tempfile::TempDir, RunData) {
    let root = tempfile::tempdir().unwrap();
    let done = try_import(root.path(), names).unwrap();
    let run = RunData::load(&done.path).unwrap();
    (root, run)
}

/// What became of a cell, in lines that a person can check against the file.
fn outline(cell: &CellData) -> String {
    let s = cell.summary.as_ref().unwrap();
    let (c, t) = (&s.counts, &s.tokens);
    let mut out = String::new();
    writeln!(out, "cell {} repeat {}", cell.cell.index, cell.cell.repeat).unwrap();
    for (path, value) in &cell.cell.factors {
        writeln!(out, "  {path} = {value}").unwrap();
    }
    writeln!(out, "  {} {} {:?}", cell.cell.settings.target.api, cell.cell.settings.target.url, s.started_at)
        .unwrap();
    writeln!(
        out,
        "  {:.3} s: attempted {} ok {} failed {} censored {} cancelled {} before {} errors {:?}",
        s.window.seconds(),
        c.attempted,
        c.ok,
        c.failed,
        c.censored,
        c.cancelled,
        c.before_window,
        c.errors
    )
    .unwrap();
    writeln!(out, "  tokens: prompt {} output {}", t.prompt, t.output).unwrap();
    for (metric, d) in &s.distributions {
        let stats = STATS.iter().filter_map(|stat| Some(format!("{stat} {:.3}", d.stat(stat)?)));
        writeln!(out, "  {metric}: {}", stats.collect::<Vec<_>>().join(" ")).unwrap();
    }
    for (metric, value) in &s.scalars {
        writeln!(out, "  {metric} = {value:.4}").unwrap();
    }
    for reason in &s.validity.reasons {
        writeln!(out, "  {:?} {}: {}", reason.verdict, reason.signal, reason.text).unwrap();
    }
    writeln!(out, "  records: {}", cell.records.as_deref().map_or(0, |p| read_requests(p).unwrap().len()))
        .unwrap();
    out
}

fn outlines(names: &[&str]) -> String {
    let (_root, run) = imported(names);
    run.cells.iter().map(outline).collect()
}

#[test]
fn vllm_files_become_cells() {
    insta::assert_snapshot!(outlines(&["vllm/detailed.json", "vllm/appended.json"]));
}

#[test]
fn guidellm_files_become_cells() {
    insta::assert_snapshot!(outlines(&["guidellm/benchmarks.json", "guidellm/older.json"]));
}

#[test]
fn aiperf_files_become_cells() {
    let all = [
        "aiperf/profile_export.jsonl",
        "aiperf/profile_export_aiperf.json",
        "aiperf-csv/profile_export_aiperf.csv",
    ];
    insta::assert_snapshot!(outlines(&all));
}

#[test]
fn llm_bench_rows_become_cells() {
    insta::assert_snapshot!(outlines(&["llm-bench/results.csv"]));
}

#[test]
fn locust_files_become_cells() {
    insta::assert_snapshot!(outlines(&["locust/run_stats.csv", "locust/metrics_stats.csv"]));
}

#[test]
fn files_of_a_test_run_become_cells() {
    insta::assert_snapshot!(outlines(&["test-run/test_run_20260701_100000.json"]));
}

const SAMPLES: [&str; 9] = [
    "vllm/detailed.json",
    "vllm/appended.json",
    "guidellm/benchmarks.json",
    "guidellm/older.json",
    "aiperf/profile_export.jsonl",
    "aiperf-csv/profile_export_aiperf.csv",
    "llm-bench/results.csv",
    "locust/run_stats.csv",
    "test-run/test_run_20260701_100000.json",
];

#[test]
fn every_imported_run_is_one_of_ours_and_can_be_reported() {
    for name in SAMPLES {
        let (root, run) = imported(&[name]);
        let manifest = Manifest::read(&run.path).unwrap();
        assert_eq!(manifest.status, Status::Finished, "{name}");
        let tool = name.split('/').next().unwrap().trim_end_matches("-csv");
        assert!(manifest.imported.iter().all(|from| from.tool == tool), "{name}: {:?}", manifest.imported);
        assert!(name.ends_with(&manifest.imported[0].file));
        for cell in &run.cells {
            let validity = &cell.summary.as_ref().unwrap().validity;
            assert_eq!(validity.verdict, Verdict::Warn, "{name}");
            assert!(validity.reasons[0].text.contains("not by Plimsoll"), "{name}");
        }
        let written = report::write(&run, &root.path().join("report")).unwrap();
        let page = std::fs::read_to_string(&written.page).unwrap();
        assert!(page.contains("imported from") && page.contains("not by Plimsoll"), "{name}");
        assert!(!report::terminal::summary(&run, None).contains("NaN"), "{name}");
        // The tables are as those of any run.
        let rebuilt = rebuild_summary(root.path()).unwrap();
        assert_eq!((rebuilt.runs, rebuilt.rows, rebuilt.skipped.len()), (1, run.cells.len(), 0), "{name}");
        let csv = std::fs::read_to_string(root.path().join("summary.csv")).unwrap();
        assert!(!csv.contains("NaN") && !csv.contains("nan"), "{name}");
    }
}

#[test]
fn several_files_are_a_sweep_and_equal_ones_are_repeats() {
    let root = tempfile::tempdir().unwrap();
    let results = sample("llm-bench/results.csv");
    let done = import(&[results.clone(), results], Some("llm-bench"), &Told::default(), root.path()).unwrap();
    let run = RunData::load(&done.path).unwrap();
    let repeats: Vec<(u32, &str)> = run.cells.iter().map(|c| (c.cell.repeat, c.cell.id.0.as_str())).collect();
    assert_eq!(repeats.iter().map(|(r, _)| *r).collect::<Vec<_>>(), [1, 2, 1, 2, 1, 2]);
    assert_eq!(repeats[0].1, repeats[1].1);
    assert_ne!(repeats[1].1, repeats[2].1);
    let families = chart::families(&run);
    assert_eq!(families.iter().map(|f| f.x.path.as_str()).next(), Some("load.users"));
}

#[test]
fn a_cell_that_asks_the_same_has_the_id_of_ours() {
    let (_root, run) = imported(&["aiperf/profile_export_aiperf.json"]);
    let ours = plimsoll::experiment::Experiment::parse(
        Path::new("ours.toml"),
        "[target]\nurl = \"sim:\"\n[grid]\nusers = [2]\nprompt_tokens = [16]\nmax_tokens = [4]\n",
        &[],
    )
    .unwrap();
    assert_eq!(run.cells[0].cell.id, plimsoll::plan::build(&ours).unwrap().cells[0].id);
}

#[test]
fn what_a_file_does_not_say_can_be_told_and_else_is_null() {
    let root = tempfile::tempdir().unwrap();
    let file = [sample("locust/metrics_stats.csv")];
    let done = import(&file, None, &Told::default(), root.path()).unwrap();
    let run = RunData::load(&done.path).unwrap();
    assert!(run.cells[0].cell.factors.values().all(serde_json::Value::is_null));
    assert!(report::terminal::summary(&run, None).contains("load not known"));
    let told = Told {
        name: Some("told".to_owned()),
        users: Some(50),
        max_tokens: Some(64),
        model: Some("m".to_owned()),
        url: Some("http://gpu-1:8000/v1/completions".to_owned()),
        ..Told::default()
    };
    let done = import(&file, None, &told, root.path()).unwrap();
    let run = RunData::load(&done.path).unwrap();
    assert_eq!(run.name, "told");
    let cell = &run.cells[0].cell;
    assert_eq!((&cell.factors["load.users"], &cell.factors["workload.max_tokens"]), (&50.into(), &64.into()));
    assert_eq!(
        (cell.settings.target.url.as_str(), cell.settings.target.model.as_str()),
        ("http://gpu-1:8000", "m")
    );
}

#[test]
fn wrong_files_are_told_with_what_was_expected_and_found() {
    let root = tempfile::tempdir().unwrap();
    let refusal = |name: &str| try_import(root.path(), &[name]).unwrap_err().to_string();
    let unknown = refusal("unknown/other.json");
    for word in ["other.json", "results, score", "vLLM bench", "Locust", "--format"] {
        assert!(unknown.contains(word), "{word} in {unknown}");
    }
    let shifted = refusal("llm-bench/shifted.csv");
    assert!(
        shifted.contains("line 2") && shifted.contains("25 fields") && shifted.contains("found 26"),
        "{shifted}"
    );
    let history =
        import(&[sample("locust/run_stats_history.csv")], Some("locust"), &Told::default(), root.path());
    assert!(history.unwrap_err().to_string().contains("name the file without _history"));
    assert!(refusal("vllm/none.json").contains("cannot read"));
    let written = |name: &str, text: &str| {
        let path = root.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    for (name, text, format, place, expected) in [
        ("a.json", "{\"completed\": 1", None, "line 1", "expected JSON"),
        ("b.json", "{\"completed\": \"many\", \"duration\": 1}", Some("vllm"), "completed", "\"many\""),
        (
            "c.json",
            "{\"benchmarks\": [{\"metrics\": 3}]}",
            Some("guidellm"),
            "benchmarks[0].metrics",
            "an object",
        ),
        ("d.json", "{\"details\": 3}", Some("test-run"), "details", "a list"),
        (
            "e.json",
            "{\"duration\": 1, \"completed\": 2, \"input_lens\": [1, 2], \"ttfts\": [0.1]}",
            Some("vllm"),
            "ttfts",
            "2 values",
        ),
        (
            "f.csv",
            "Type,Name,Request Count\nPOST,/x,many\n",
            Some("locust"),
            "line 2, Request Count",
            "\"many\"",
        ),
        ("g.csv", "Provider,Concurrency\nx,lots\n", Some("llm-bench"), "line 2, Concurrency", "users"),
        ("h.jsonl", "{\"metadata\": {\"request_start_ns\": 1}}\n{}\n", None, "line 2", "request_start_ns"),
    ] {
        let error =
            import(&[written(name, text)], format, &Told::default(), root.path()).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(place) && error.contains(expected), "{name}: {error}");
    }
    assert!(!root.path().join("summary.csv").exists(), "nothing was written");
}

#[test]
fn the_command_says_where_the_run_is_and_what_is_not_known() {
    let dir = tempfile::tempdir().unwrap();
    let file = sample("vllm/detailed.json");
    let output = plimsoll(dir.path(), &["import", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    let run = stdout(&output).trim().to_owned();
    assert!(dir.path().join(&run).join("run.json").exists(), "{run}");
    assert!(stderr(&output).contains("doesn't say which version of vLLM bench"), "{}", stderr(&output));
    assert!(plimsoll(dir.path(), &["report", &run]).status.success());
    let list = stdout(&plimsoll(dir.path(), &["import", "--list"]));
    assert!(READERS.iter().all(|reader| list.contains(reader.name)));
    let wrong = plimsoll(dir.path(), &["import", sample("unknown/other.json").to_str().unwrap()]);
    assert_eq!(wrong.status.code(), Some(2));
}

/// A run of one file with this text.
fn import_text(root: &Path, name: &str, text: &str) -> Result<RunData, ImportError> {
    let path = root.join(name);
    std::fs::write(&path, text).unwrap();
    import(&[path], None, &Told::default(), root).map(|done| RunData::load(&done.path).unwrap())
}

#[test]
fn arrivals_of_another_burstiness_are_cells_of_their_own() {
    let root = tempfile::tempdir().unwrap();
    let result = |burstiness: f64| {
        serde_json::json!({
            "duration": 10.0, "completed": 5, "failed": 0, "request_throughput": 0.5, "request_rate": 2.0,
            "burstiness": burstiness, "num_prompts": 5,
        })
    };
    let text = serde_json::json!([result(1.0), result(0.5), result(2.0), result(0.5)]).to_string();
    let run = import_text(root.path(), "shapes.json", &text).unwrap();
    let mut loads: Vec<(String, u32)> = run
        .cells
        .iter()
        .map(|c| (serde_json::to_value(c.cell.settings.load).unwrap()["arrivals"].to_string(), c.cell.repeat))
        .collect();
    loads.sort();
    let gamma = |shape: &str, repeat| (format!("{{\"gamma\":{{\"burstiness\":{shape}}}}}"), repeat);
    assert_eq!(loads, [("\"poisson\"".to_owned(), 1), gamma("0.5", 1), gamma("0.5", 2), gamma("2.0", 1)]);
    // Nothing of a first token: whether answers were streamed isn't said.
    let text = std::fs::read_to_string(run.path.join("experiment.toml")).unwrap();
    assert!(!text.contains("stream ="), "{text}");
}

#[test]
fn numbers_without_end_are_told_or_left_out() {
    let root = tempfile::tempdir().unwrap();
    let long =
        r#"{"duration": 1e15, "completed": 5, "request_throughput": 1, "request_rate": 2, "num_prompts": 5}"#;
    let error = import_text(root.path(), "long.json", long).err().expect("no cell lasts so long").to_string();
    assert!(error.contains("long.json, duration") && error.contains("at most 604800 seconds"), "{error}");
    let details = r#"{"details": [{"request_id": 1, "start_ts": 1.0, "end_ts": 2.0, "ttft": 1e300, "latency": 1e18, "output_tokens": 3}]}"#;
    let run = import_text(root.path(), "details.json", details).unwrap();
    let records = read_requests(run.cells[0].records.as_deref().unwrap()).unwrap();
    assert_eq!((records[0].first_token_us, records[0].last_token_us), (None, None));
    let line = |ns: u64, ttft: f64| {
        serde_json::json!({
            "metadata": {"request_start_ns": ns, "request_end_ns": ns + 1_000_000},
            "metrics": {"time_to_first_token": {"value": ttft, "unit": "ms"}},
        })
        .to_string()
    };
    let lines = [line(1_000, 1.0), line(u64::MAX - 2_000_000, 1e30)].join("\n");
    // Five hundred years between two requests are no cell.
    assert!(import_text(root.path(), "lines.jsonl", &lines).is_err());
    let run = import_text(root.path(), "one.jsonl", &line(1_000, 1e30)).unwrap();
    let records = read_requests(run.cells[0].records.as_deref().unwrap()).unwrap();
    assert_eq!(records[0].first_token_us, None);
    assert!(report::terminal::summary(&run, None).contains("One cell"));
}

#[test]
fn aiperf_says_in_which_unit_a_run_lasted() {
    let root = tempfile::tempdir().unwrap();
    for (unit, value) in [("ms", 20_000.0), ("sec", 20.0), ("ns", 2e10)] {
        let text = serde_json::json!({
            "request_latency": {"unit": "ms", "avg": 5.0}, "request_count": {"unit": "requests", "avg": 3.0},
            "benchmark_duration": {"unit": unit, "avg": value},
        });
        let run = import_text(root.path(), &format!("{unit}.json"), &text.to_string()).unwrap();
        let seconds = run.cells[0].summary.as_ref().unwrap().window.seconds();
        assert!((seconds - 20.0).abs() < 1e-6, "{unit}: {seconds}");
    }
}

#[test]
fn a_sample_of_the_requests_is_no_record_of_a_cell_with_a_warm_up() {
    let root = tempfile::tempdir().unwrap();
    let file = |ok: u64| {
        let request = |start: f64| {
            serde_json::json!({
                "request_start_time": start, "first_token_time": start + 0.1, "last_token_time": start + 0.5,
                "request_end_time": start + 0.5, "output_tokens": 4,
            })
        };
        serde_json::json!({"benchmarks": [{
            "start_time": 110.0, "end_time": 130.0, "duration": 20.0,
            "scheduler_metrics": {"request_start_time": 100.0},
            "metrics": {"request_totals": {"successful": ok, "errored": 0, "incomplete": 0}},
            "requests": {"successful": [request(105.0), request(112.0), request(115.0)]},
        }]})
        .to_string()
    };
    let whole = import_text(root.path(), "whole.json", &file(2)).unwrap();
    let counts = &whole.cells[0].summary.as_ref().unwrap().counts;
    assert_eq!((counts.ok, counts.before_window), (2, 1));
    assert!(whole.cells[0].records.is_some());
    let sample = import_text(root.path(), "sample.json", &file(50)).unwrap();
    assert_eq!(sample.cells[0].summary.as_ref().unwrap().counts.ok, 50);
    assert!(sample.cells[0].records.is_none());
}

#[test]
fn the_first_request_is_looked_at_however_many_there_are() {
    let root = tempfile::tempdir().unwrap();
    let detail = |i: u32, start: f64, ttft: f64| {
        serde_json::json!({
            "request_id": i, "start_ts": start, "end_ts": start + ttft + 0.1, "ttft": ttft,
            "latency": ttft + 0.1, "output_tokens": 2,
        })
    };
    // It was sent first and stands where every second request is passed over.
    let mut details: Vec<_> = (1..5_000).map(|i| detail(i, 100.0 + f64::from(i) / 100.0, 0.01)).collect();
    details.insert(1, detail(0, 100.0, 3.0));
    let text = serde_json::json!({ "details": details }).to_string();
    let run = import_text(root.path(), "cold.json", &text).unwrap();
    let points = &run.cells[0].points;
    assert_eq!(points.len(), 2_000);
    assert_eq!((points[0].sent_s, points[0].ttft_ms), (0.0, Some(3_000.0)));
    assert!(points[1..].iter().all(|p| p.sent_s > 0.0));
}
