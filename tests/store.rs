//! Runs written and read back through the public doors of `store` and `analysis`; crashes
//! between the steps of a commit are in `src/store/tests.rs`.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use plimsoll::analysis::{Records, RunData, list_runs, read_requests};
use plimsoll::experiment::*;
use plimsoll::measure::*;
use plimsoll::plan::{Cell, CellId, Plan};
use plimsoll::record::*;
use plimsoll::store::*;
use proptest::prelude::*;
use serde_json::{Map, json};

fn settings(url: &str) -> Settings {
    Settings {
        target: Target {
            url: url.to_owned(),
            api: "openai-chat".to_owned(),
            model: "auto".to_owned(),
            api_key_env: Some("KEY".to_owned()),
            headers: BTreeMap::new(),
            extra_body: Map::new(),
            max_tokens_field: "max_tokens".to_owned(),
            timeout: Duration::from_secs(120),
            connect_timeout: Duration::from_millis(1500),
            first_token_timeout: None,
            stall_timeout: Some(Duration::from_secs(5)),
            tls: Tls::default(),
            connections: plimsoll::experiment::Connections::default(),
            custom: None,
        },
        workload: Workload {
            prompt_tokens: Lengths::constant(128),
            max_tokens: Lengths::constant(64),
            prompt: None,
            prefix: None,
            tokenizer: TokenizerChoice::File(PathBuf::from("tokenizer.json")),
            unique_prompts: true,
            stream: true,
            stop_after: plimsoll::experiment::StopAfter::End,
            cancel: None,
            force_length: ForceLength::Auto,
            sampling: Map::new(),
            ..Workload::default()
        },
        load: Load::Closed { users: 4 },
        cell: CellSettings {
            duration: Some(Duration::from_secs(30)),
            requests: Some(1000),
            warmup: Duration::ZERO,
            ramp: Duration::ZERO,
            drain: Duration::from_secs(30),
            cooldown: Cooldown { min: Duration::ZERO, max: Duration::from_secs(60) },
        },
        slo: Slo {
            rules: vec![SloRule {
                metric: "ttft".to_owned(),
                stat: "p95".to_owned(),
                limit: 1000.0,
                target: None,
            }],
            ..Slo::default()
        },
        client: ClientSettings { threads: None, dead_after: 3, pin: false },
        sim: BTreeMap::from([("slots".to_owned(), json!(32))]),
        parts: Vec::new(),
        stages: Vec::new(),
        think: None,
        server: None,
    }
}

fn cell(index: u32, url: &str) -> Cell {
    Cell {
        index,
        id: CellId(format!("{index:016x}")),
        grid: Some("main".to_owned()),
        factors: BTreeMap::from([
            ("load.users".to_owned(), json!(4)),
            ("load.qps".to_owned(), json!(null)),
            ("workload.prompt_tokens".to_owned(), json!(128)),
            ("workload.max_tokens".to_owned(), json!(64)),
            // Not one of the short decimals that any parser gets right.
            ("workload.temperature".to_owned(), json!(2.511_886_431_509_580_6)),
        ]),
        varying: vec!["load.users".to_owned()],
        repeat: 1,
        seed: u64::MAX,
        settings: settings(url),
    }
}

fn plan_for(cells: u32, url: &str) -> Plan {
    Plan {
        name: "capacity".to_owned(),
        seed: 42,
        experiment_hash: "abc".to_owned(),
        cells: (0..cells).map(|i| cell(i, url)).collect(),
        ..Plan::default()
    }
}

fn plan(cells: u32) -> Plan {
    plan_for(cells, "http://127.0.0.1:8000")
}

fn new_run() -> NewRun {
    NewRun {
        salt: "salt".to_owned(),
        set: vec!["load.users=4".to_owned()],
        target: "http://127.0.0.1:8000".to_owned(),
        title: Some("Title".to_owned()),
        figures: None,
    }
}

fn create(root: &Path, cells: u32) -> RunDir {
    RunDir::create(root, "name = \"capacity\" # ü\r\n", &plan(cells), new_run(), &json!({ "host": "h" }))
        .unwrap()
}

fn summary(x: f64) -> CellSummary {
    let x_third = x / 3.0;
    CellSummary {
        started_at: "2026-11-22T05:40:00.123456789Z".to_owned(),
        ended_at: "2026-11-22T05:40:31Z".to_owned(),
        window: Window { start_us: 1, end_us: 30_000_001, ended_by: EndedBy::Requests },
        counts: Counts { attempted: 3, ok: 2, failed: 1, ..Counts::default() },
        distributions: BTreeMap::from([(
            "ttft".to_owned(),
            Distribution {
                n: 2,
                mean: x,
                std: x_third,
                min: x_third,
                p50: x,
                p75: x,
                p90: x,
                p95: x,
                p99: x,
                p999: x,
                max: x,
            },
        )]),
        scalars: BTreeMap::from([("output_tps".to_owned(), x_third)]),
        tokens: TokenCounts { cached: Some(0), ..TokenCounts::default() },
        validity: Validity { verdict: Verdict::Valid, reasons: Vec::new(), signals: BTreeMap::new() },
        slo: vec![SloVerdict {
            metric: "ttft".to_owned(),
            stat: "p95".to_owned(),
            limit: 1000.0,
            target: None,
            value: Some(x),
            pass: true,
            status: SloStatus::Pass,
        }],
        inside: None,
        workload_hash: "w".to_owned(),
        groups: Vec::new(),
        drift: Vec::new(),
        server: None,
        semi_open: true,
    }
}

fn cell_run(ticks: u64) -> CellRun {
    let mut chunk_gaps = hdrhistogram::Histogram::new_with_bounds(1, 3_600_000_000, 3).unwrap();
    for gap in [900, 1000, 25_000] {
        chunk_gaps.record(gap).unwrap();
    }
    CellRun {
        epoch_monotonic_ns: 1,
        started_at: "2026-11-22T05:40:00Z".parse().unwrap(),
        ended_at: "2026-11-22T05:40:31Z".parse().unwrap(),
        stages: Vec::new(),
        window: summary(1.0).window,
        planned: Some(3),
        in_flight_mean: None,
        timeline: (0..ticks)
            .map(|i| Tick { t_us: i * TICK_US, in_flight: i as u32, max_lag_us: 9, ..Tick::default() })
            .collect(),
        chunk_gaps,
        foreign_chunks_in_window: 0,
        client: ClientHealth::default(),
        lost_records: None,
        observed: None,
    }
}

/// A failed request: every option is `None`.
fn bare(seq: u64) -> RequestRecord {
    RequestRecord { intended_us: seq, prompt_tokens_asked: 1, max_tokens: 1, ..RequestRecord::blank(seq) }
}

fn finish(run: &RunDir, index: u32, records: &[RequestRecord]) {
    let mut log = run.begin_cell(&run.plan().cells[index as usize]).unwrap();
    log.write(records).unwrap();
    let sealed = log.seal().unwrap();
    let summary = summary(f64::from(index) + 0.1);
    run.commit_cell(&run.plan().cells[index as usize], &sealed, &cell_run(3), &summary, "tiny").unwrap();
}

/// (run, cell index) of every row, after checking the header.
fn keys(csv: &Path) -> Vec<(String, u32)> {
    let mut reader = csv::Reader::from_path(csv).unwrap();
    assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>(), columns());
    reader.records().map(|row| row.unwrap()).map(|row| (row[1].to_owned(), row[2].parse().unwrap())).collect()
}

#[test]
fn a_run_comes_back_as_it_was_written() {
    let root = tempfile::tempdir().unwrap();
    let mut run = create(root.path(), 2);
    finish(&run, 0, &[bare(0), bare(1)]);
    run.set_status(Status::Interrupted).unwrap();
    let (path, manifest) = (run.path().to_owned(), run.manifest().clone());
    drop(run);

    let reopened = RunDir::open(&path).unwrap();
    assert_eq!(reopened.manifest(), &manifest);
    assert_eq!(reopened.plan(), &plan(2));
    assert_eq!(reopened.finished(), BTreeSet::from([0]));
    let stored = reopened.summary(&plan(2).cells[0]).unwrap().unwrap();
    assert_eq!((stored.model.as_str(), stored.summary), ("tiny", summary(0.1)));

    let data = RunData::load(&path).unwrap();
    assert_eq!((data.id.as_str(), data.name.as_str()), (manifest.run.as_str(), "capacity"));
    assert_eq!(data.experiment, "name = \"capacity\" # ü\r\n");
    assert_eq!(data.environment, json!({ "host": "h" }));
    assert_eq!(data.manifest["status"], "interrupted");
    assert_eq!(data.cells[0].summary, Some(summary(0.1)));
    assert_eq!(data.cells[0].timeline, cell_run(3).timeline);
    assert_eq!(data.cells[1].cell, plan(2).cells[1]);
    assert!(data.cells[1].summary.is_none() && data.cells[1].records.is_none());

    let (runs, unreadable) = list_runs(root.path()).unwrap();
    assert!(unreadable.is_empty());
    assert_eq!((runs.len(), runs[0].cells, runs[0].finished), (1, 2, 1));
}

fn any_record() -> impl Strategy<Value = RequestRecord> {
    use proptest::option::of;
    let times = (of(any::<u64>()), of(any::<u64>()), of(any::<u64>()), of(any::<u64>()));
    let more_times = (of(any::<u64>()), of(any::<u64>()), of(any::<u64>()), of(any::<u64>()));
    let tokens = (of(any::<u32>()), of(any::<u32>()), of(any::<u32>()), of(any::<u32>()), of(any::<u32>()));
    let words = (of(".*"), of(".*"), of(".*"), of(".*"));
    let rest =
        (any::<u64>(), any::<u64>(), of(any::<u16>()), any::<bool>(), 0..10usize, 0..4usize, 0..3usize);
    (times, more_times, tokens, words, rest).prop_map(|(t, m, tok, words, rest)| RequestRecord {
        seq: rest.0,
        bytes: rest.1,
        user: tok.0,
        phase: [Phase::Ramp, Phase::Warmup, Phase::Measure][rest.6],
        sent_us: t.0,
        headers_us: t.1,
        first_token_us: t.2,
        first_visible_us: t.3,
        second_chunk_us: m.0,
        last_token_us: m.1,
        end_us: m.2,
        max_gap_us: m.3,
        prompt_tokens_counted: tok.1,
        prompt_tokens: tok.2,
        output_tokens: tok.3,
        cached_tokens: tok.4,
        token_source: [
            None,
            Some(TokenSource::Usage),
            Some(TokenSource::Tokenizer),
            Some(TokenSource::Chunks),
        ][rest.5],
        status: rest.2,
        finish_reason: words.0,
        error_class: words.1,
        detail: words.2.clone(),
        task: words.2,
        endpoint: words.3.clone(),
        stage: words.3,
        session: t.0,
        turn: tok.4,
        server_ttft_us: m.0,
        server_e2e_us: m.1,
        cap_blocked: rest.3,
        outcome: Outcome::ALL[rest.4],
        ..bare(rest.0)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn records_come_back_from_parquet_whatever_is_in_them(
        records in proptest::collection::vec(any_record(), 0..20)
    ) {
        let root = tempfile::tempdir().unwrap();
        let run = create(root.path(), 1);
        finish(&run, 0, &records);
        let path = run.path().join(cell_dir(&plan(1).cells[0])).join(RECORDS);
        prop_assert_eq!(read_requests(&path).unwrap(), records);
    }

    #[test]
    fn figures_come_back_to_the_last_bit(x in proptest::num::f64::NORMAL) {
        let root = tempfile::tempdir().unwrap();
        let run = create(root.path(), 1);
        let sealed = run.begin_cell(&plan(1).cells[0]).unwrap().seal().unwrap();
        let written = summary(x);
        run.commit_cell(&plan(1).cells[0], &sealed, &cell_run(0), &written, "m").unwrap();
        prop_assert_eq!(run.summary(&plan(1).cells[0]).unwrap().unwrap().summary, written);
    }
}

#[test]
fn wanted_columns_alone_are_read_as_plain_series() {
    let root = tempfile::tempdir().unwrap();
    let run = create(root.path(), 1);
    let answered = RequestRecord {
        sent_us: Some(1_500),
        first_token_us: Some(3_500),
        outcome: Outcome::Ok,
        ..bare(1_000)
    };
    finish(&run, 0, &[answered, bare(7)]);
    let data = RunData::load(run.path()).unwrap();
    let wanted = ["intended_us", "first_token_us", "outcome", "cap_blocked"];
    let records = data.cells[0].read_records(&wanted).unwrap().unwrap();
    assert_eq!(records.len(), 2);
    assert_eq!(records.elapsed_ms("intended_us", "first_token_us").unwrap(), [Some(2.5), None]);
    assert_eq!(records.counts("intended_us").unwrap(), [Some(1_000), Some(7)]);
    assert_eq!(records.numbers("first_token_us").unwrap(), [Some(3_500.0), None]);
    assert_eq!(records.words("outcome").unwrap(), [Some("ok".to_owned()), Some("dropped".to_owned())]);
    assert_eq!(records.flags("cap_blocked").unwrap(), [Some(false), Some(false)]);
    let missing = records.numbers("sent_us").unwrap_err().to_string();
    assert!(missing.contains("sent_us"), "{missing}");
    let text = records.numbers("outcome").unwrap_err().to_string();
    assert!(text.contains("not numbers"), "{text}");
    assert!(Records::read(&root.path().join("none.parquet"), &[]).is_err());
}

#[test]
fn figures_that_are_no_numbers_are_left_out() {
    let root = tempfile::tempdir().unwrap();
    let run = create(root.path(), 1);
    let cell = &plan(1).cells[0];
    let mut odd = summary(1.0);
    odd.scalars.insert("error_rate".to_owned(), f64::NAN);
    odd.validity.signals.insert("little".to_owned(), f64::INFINITY);
    odd.slo[0].value = Some(f64::NAN);
    let sealed = run.begin_cell(cell).unwrap().seal().unwrap();
    run.commit_cell(cell, &sealed, &cell_run(0), &odd, "m").unwrap();
    let mut expected = summary(1.0);
    expected.slo[0].value = None;
    assert_eq!(run.summary(cell).unwrap().unwrap().summary, expected);
}

#[test]
fn rows_are_written_in_groups_of_bounded_size() {
    let root = tempfile::tempdir().unwrap();
    let run = create(root.path(), 1);
    let records: Vec<_> = (0..50_001).map(bare).collect();
    finish(&run, 0, &records);
    let path = run.path().join(cell_dir(&plan(1).cells[0])).join(RECORDS);
    let read = Records::read(&path, &["seq"]).unwrap().counts("seq").unwrap();
    assert!(read.into_iter().eq((0..50_001).map(Some)), "both row groups, in order");
}

#[test]
fn runs_of_the_same_second_get_names_of_their_own() {
    let root = tempfile::tempdir().unwrap();
    let runs: Vec<_> = (0..4).map(|_| create(root.path(), 1)).collect();
    let ids: BTreeSet<_> = runs.iter().map(|run| run.manifest().run.clone()).collect();
    assert_eq!(ids.len(), 4);
    for run in &runs {
        assert_eq!(run.path(), root.path().join(&run.manifest().run));
    }
}

#[test]
fn a_run_is_written_by_one_process_at_a_time() {
    let root = tempfile::tempdir().unwrap();
    let run = create(root.path(), 1);
    let path = run.path().to_owned();
    assert!(matches!(RunDir::open(&path), Err(StoreError::InUse { .. })));
    drop(run);
    assert!(RunDir::open(&path).is_ok());
}

#[test]
fn what_is_no_run_or_too_new_is_told_apart() {
    let root = tempfile::tempdir().unwrap();
    assert!(matches!(RunDir::open(root.path()), Err(StoreError::NotARun { .. })));
    let path = create(root.path(), 1).path().to_owned();
    let manifest = path.join(MANIFEST);
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("\"schema\": 2", "\"schema\": 99")).unwrap();
    assert!(matches!(RunDir::open(&path), Err(StoreError::NewerSchema { found: 99, .. })));
    fs::write(&manifest, &text[..text.len() / 2]).unwrap();
    assert!(matches!(RunDir::open(&path), Err(StoreError::Corrupt { .. })));
}

#[test]
fn a_cell_of_another_plan_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let run = create(root.path(), 1);
    let mut other = plan(1).cells[0].clone();
    other.id = CellId("ffff".to_owned());
    assert!(matches!(run.begin_cell(&other), Err(StoreError::UnknownCell { index: 0, .. })));
}

#[test]
fn an_unfinished_attempt_is_kept_aside_each_time_and_never_counted() {
    let root = tempfile::tempdir().unwrap();
    let path = create(root.path(), 1).path().to_owned();
    let dir = path.join(cell_dir(&plan(1).cells[0]));
    for attempt in 1..=2 {
        let run = RunDir::open(&path).unwrap();
        run.repair().unwrap();
        let mut log = run.begin_cell(&plan(1).cells[0]).unwrap();
        log.write(&(0..attempt).map(bare).collect::<Vec<_>>()).unwrap();
        // The process dies here: no seal, no commit.
    }
    let run = RunDir::open(&path).unwrap();
    assert!(run.finished().is_empty());
    finish(&run, 0, &[bare(0), bare(1), bare(2)]);
    for attempt in 1..=2 {
        let log = SealedLog::open(&dir.join(format!("interrupted-{attempt}.jsonl"))).unwrap();
        assert_eq!(log.len(), attempt);
    }
    assert_eq!(read_requests(&dir.join(RECORDS)).unwrap().len(), 3);
    assert!(!dir.join("records.jsonl").exists());
}

#[test]
fn the_table_of_all_runs_survives_a_cut_at_any_byte() {
    let root = tempfile::tempdir().unwrap();
    let first = create(root.path(), 1);
    finish(&first, 0, &[]);
    let second = create(root.path(), 2);
    finish(&second, 0, &[]);
    finish(&second, 1, &[]);
    let csv = root.path().join(SUMMARY_CSV);
    let whole = fs::read(&csv).unwrap();
    let ends: Vec<usize> = (0..whole.len()).filter(|i| whole[*i] == b'\n').map(|i| i + 1).collect();
    // The class of every cut: at, just before and just after a line's end, and inside it.
    let cuts = ends.iter().flat_map(|end| [end - 200, end - 2, end - 1, *end, end + 1, end + 100]);
    for cut in cuts.chain([0, 1]).filter(|cut| *cut <= whole.len()) {
        fs::write(&csv, &whole[..cut]).unwrap();
        second.repair().unwrap();
        first.repair().unwrap();
        let found: BTreeSet<_> = keys(&csv).into_iter().collect();
        assert_eq!((found.len(), keys(&csv).len()), (3, 3), "cut at {cut}");
    }
}

#[test]
fn doubled_and_malformed_lines_go_and_others_stay() {
    let root = tempfile::tempdir().unwrap();
    let run = create(root.path(), 2);
    finish(&run, 0, &[]);
    finish(&run, 1, &[]);
    let csv = root.path().join(SUMMARY_CSV);
    let text = fs::read_to_string(&csv).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let foreign = lines[1].replace(&run.manifest().run, "20200101T000000Z-deleted");
    fs::write(&csv, [lines[0], lines[1], "1,x\n", lines[1], &foreign].concat()).unwrap();
    run.repair().unwrap();
    let id = run.manifest().run.clone();
    assert_eq!(keys(&csv), [(id.clone(), 0), ("20200101T000000Z-deleted".to_owned(), 0), (id, 1)]);
}

#[test]
fn a_table_of_another_version_is_kept_and_a_new_one_made() {
    let root = tempfile::tempdir().unwrap();
    let csv = root.path().join(SUMMARY_CSV);
    fs::write(&csv, "schema,run\n0,old\n").unwrap();
    let run = create(root.path(), 1);
    finish(&run, 0, &[]);
    assert_eq!(keys(&csv), [(run.manifest().run.clone(), 0)]);
    let kept = fs::read_to_string(root.path().join("summary-schema-0.csv")).unwrap();
    assert_eq!(kept, "schema,run\n0,old\n");
}

#[test]
fn rebuilding_gives_what_appending_gave() {
    let root = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let run = create(root.path(), 2);
        finish(&run, 0, &[bare(0)]);
        finish(&run, 1, &[]);
    }
    let csv = root.path().join(SUMMARY_CSV);
    let appended = fs::read(&csv).unwrap();
    fs::remove_file(&csv).unwrap();
    let rebuilt = rebuild_summary(root.path()).unwrap();
    assert_eq!((rebuilt.runs, rebuilt.rows, rebuilt.skipped.len()), (2, 4, 0));
    assert_eq!(fs::read(&csv).unwrap(), appended);
}

#[test]
fn rebuilding_names_what_it_could_not_read() {
    let root = tempfile::tempdir().unwrap();
    let run = create(root.path(), 2);
    finish(&run, 0, &[]);
    finish(&run, 1, &[]);
    let summary = run.path().join(cell_dir(&plan(2).cells[1])).join(SUMMARY_JSON);
    fs::write(&summary, "{\"schema\": 1,").unwrap();
    fs::create_dir(root.path().join("not-a-run")).unwrap();
    let rebuilt = rebuild_summary(root.path()).unwrap();
    assert_eq!((rebuilt.runs, rebuilt.rows), (1, 1));
    assert_eq!(rebuilt.skipped[0].0, summary);
    assert_eq!(run.finished(), BTreeSet::from([0]), "a cell whose summary can't be read is not finished");
}

#[test]
fn credentials_in_a_url_stay_out_of_everything_but_the_copy() {
    let root = tempfile::tempdir().unwrap();
    let url = "http://me:hunter2@127.0.0.1:8000/v1?key=hunter2";
    let new = NewRun {
        salt: "s".to_owned(),
        set: vec![format!("target.url={url}")],
        target: url.to_owned(),
        title: None,
        figures: None,
    };
    let run = RunDir::create(root.path(), "", &plan_for(1, url), new, &json!({})).unwrap();
    finish(&run, 0, &[bare(0)]);
    let mut seen = 0;
    let cell = run.path().join(cell_dir(&plan(1).cells[0]));
    for dir in [root.path(), run.path(), &cell] {
        for entry in fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file()) {
            let bytes = fs::read(&entry).unwrap();
            assert!(memchr::memmem::find(&bytes, b"hunter2").is_none(), "{}", entry.display());
            seen += 1;
        }
    }
    assert!(seen >= 9, "only {seen} files were looked at");
}

/// The child of the next test, which runs this binary again.
#[test]
#[ignore = "run by two_processes_append_whole_lines"]
fn append_in_a_child() {
    let root = PathBuf::from(std::env::var_os("PLIMSOLL_TEST_RUNS").expect("set by the parent"));
    let run = create(&root, 12);
    for index in 0..12 {
        finish(&run, index, &[]);
    }
    assert_eq!(run.finished().len(), 12);
}

#[test]
fn two_processes_append_whole_lines() {
    let root = tempfile::tempdir().unwrap();
    let binary = std::env::current_exe().unwrap();
    let children: Vec<_> = (0..2)
        .map(|_| {
            Command::new(&binary)
                .args(["--exact", "store::append_in_a_child", "--ignored"])
                .env("PLIMSOLL_TEST_RUNS", root.path())
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    let own = create(root.path(), 12);
    for index in 0..12 {
        finish(&own, index, &[]);
    }
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let found = keys(&root.path().join(SUMMARY_CSV));
    let unique: BTreeSet<_> = found.iter().collect();
    assert_eq!((found.len(), unique.len()), (36, 36));
}

#[test]
#[cfg(unix)]
fn a_directory_that_cannot_be_written_is_named() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("taken");
    fs::write(&file, "").unwrap();
    let error = RunDir::create(&file.join("runs"), "", &plan(1), new_run(), &json!({})).err().unwrap();
    assert!(error.to_string().contains("taken"), "{error}");
}

/// The columns on disk are those of the type, by the same names.
#[test]
fn every_field_of_a_record_is_a_documented_column() {
    let root = tempfile::tempdir().unwrap();
    let run = create(root.path(), 1);
    finish(&run, 0, &[bare(0)]);
    let fields = serde_json::to_value(bare(0)).unwrap();
    let names: Vec<&str> = fields.as_object().unwrap().keys().map(String::as_str).collect();
    let path = run.path().join(cell_dir(&plan(1).cells[0])).join(RECORDS);
    assert_eq!(Records::read(&path, &names).unwrap().len(), 1);
    let page = include_str!("../docs/storage.md");
    for name in names {
        assert!(page.contains(&format!("`{name}`")), "{name} is not in docs/storage.md");
    }
}

/// The child of the next test: resumes and goes on until it is killed or done.
#[test]
#[ignore = "run by a_run_killed_again_and_again_ends_with_each_cell_once"]
fn resume_in_a_child() {
    let path = PathBuf::from(std::env::var_os("PLIMSOLL_TEST_RUNS").expect("set by the parent"));
    let run = RunDir::open(&path).unwrap();
    resume(&run);
    assert_eq!(run.finished().len(), 30);
}

fn resume(run: &RunDir) {
    run.repair().unwrap();
    let finished = run.finished();
    for index in (0..30).filter(|i| !finished.contains(i)) {
        finish(run, index, &(0..50).map(bare).collect::<Vec<_>>());
    }
}

#[test]
fn a_run_killed_again_and_again_ends_with_each_cell_once() {
    let root = tempfile::tempdir().unwrap();
    let path = create(root.path(), 30).path().to_owned();
    for kill in 0..6u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::resume_in_a_child", "--ignored"])
            .env("PLIMSOLL_TEST_RUNS", &path)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Whenever this falls, and whether or not the child is done, the end is the same.
        std::thread::sleep(Duration::from_millis(60 + kill * 37));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let run = RunDir::open(&path).unwrap();
    resume(&run);
    let expected: BTreeSet<_> = (0..30).map(|i| (run.manifest().run.clone(), i)).collect();
    let csv = root.path().join(SUMMARY_CSV);
    for file in [&csv, &path.join(SUMMARY_CSV)] {
        let found = keys(file);
        assert_eq!(found.len(), 30);
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
    }
    for cell in &run.plan().cells {
        let dir = path.join(cell_dir(cell));
        assert_eq!(read_requests(&dir.join(RECORDS)).unwrap().len(), 50);
        assert!(!dir.join("records.jsonl").exists());
    }
}
