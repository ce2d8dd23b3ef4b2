//! What holds whatever happens: samples for the tests of this module, and crashes at every
//! step of a commit.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::run_dir::Step;
use super::*;
use crate::experiment::*;
use crate::measure::*;
use crate::plan::{Cell, CellId, Plan};
use crate::record::{
    CellRun, ClientHealth, EndedBy, Outcome, Phase, RecordSink, RequestRecord, TICK_US, Tick, TokenSource,
    Window,
};

/// Record `seq`: even ones have every option, odd ones none.
pub(crate) fn record(seq: u64) -> RequestRecord {
    let full = seq.is_multiple_of(2);
    let some = |v: u64| full.then_some(v);
    let small = |v: u32| full.then_some(v);
    RequestRecord {
        seq,
        user: small(3),
        shard: 1,
        phase: [Phase::Ramp, Phase::Warmup, Phase::Measure][(seq % 3) as usize],
        intended_us: seq * 1000,
        sent_us: some(seq * 1000 + 5),
        headers_us: some(seq * 1000 + 100),
        first_token_us: some(seq * 1000 + 200),
        first_visible_us: some(seq * 1000 + 210),
        second_chunk_us: some(seq * 1000 + 300),
        last_token_us: some(seq * 1000 + 900),
        end_us: some(seq * 1000 + 950),
        prompt_tokens_asked: 128,
        prompt_tokens_counted: small(127),
        prompt_tokens: small(129),
        max_tokens: 64,
        output_tokens: small(0),
        cached_tokens: small(12),
        token_source: full.then_some(TokenSource::Tokenizer),
        chunks: 63,
        chunks_in_window: 60,
        max_gap_us: some(44),
        bytes: u64::from(u32::MAX) + seq,
        status: full.then_some(200),
        finish_reason: full.then(|| "length".to_owned()),
        retries: 1,
        cap_blocked: full,
        outcome: Outcome::ALL[(seq % 10) as usize],
        error_class: (!full).then(|| "429".to_owned()),
        detail: full.then(|| "quote \" comma , line\nbreak ü".to_owned()),
        task: full.then(|| "short".to_owned()),
        endpoint: full.then(|| "flash".to_owned()),
        stage: full.then(|| "spike".to_owned()),
        session: some(2),
        turn: small(1),
        server_ttft_us: some(150),
        server_e2e_us: some(800),
        choices: seq.is_multiple_of(5).then_some(2),
        trace_id: seq.is_multiple_of(3).then(|| format!("{:032x}", seq + 1)),
    }
}

fn settings() -> Settings {
    Settings {
        target: Target {
            url: "http://127.0.0.1:8000".to_owned(),
            api: "openai-chat".to_owned(),
            model: "auto".to_owned(),
            api_key_env: None,
            headers: BTreeMap::new(),
            extra_body: Map::new(),
            max_tokens_field: "max_tokens".to_owned(),
            timeout: std::time::Duration::from_secs(120),
            connect_timeout: std::time::Duration::from_millis(1500),
            first_token_timeout: None,
            stall_timeout: None,
            tls: Tls::default(),
            connections: crate::experiment::Connections::default(),
            custom: None,
        },
        workload: Workload {
            prompt_tokens: Lengths::constant(128),
            max_tokens: Lengths::constant(64),
            prompt: None,
            prefix: None,
            tokenizer: TokenizerChoice::Auto,
            unique_prompts: true,
            stream: true,
            stop_after: crate::experiment::StopAfter::End,
            cancel: None,
            force_length: ForceLength::Auto,
            sampling: Map::new(),
            ..Workload::default()
        },
        load: Load::Open { qps: 2.5, arrivals: Arrivals::Poisson, max_in_flight: None },
        cell: CellSettings {
            duration: Some(std::time::Duration::from_secs(30)),
            requests: None,
            warmup: std::time::Duration::ZERO,
            ramp: std::time::Duration::ZERO,
            drain: std::time::Duration::from_secs(30),
            cooldown: Cooldown { min: std::time::Duration::ZERO, max: std::time::Duration::ZERO },
        },
        slo: Slo::default(),
        client: ClientSettings { threads: None, dead_after: 3, pin: false },
        sim: BTreeMap::new(),
        parts: Vec::new(),
        stages: Vec::new(),
        think: None,
        server: None,
    }
}

/// Cell `index` of [`plan`].
pub(crate) fn cell(index: u32) -> Cell {
    Cell {
        index,
        id: CellId(format!("{:016x}", index / 2)),
        grid: None,
        factors: BTreeMap::from([
            ("load.users".to_owned(), Value::Null),
            ("load.qps".to_owned(), json!(2.5)),
            ("workload.prompt_tokens".to_owned(), json!(128)),
            ("workload.max_tokens".to_owned(), json!(64)),
            ("workload.temperature".to_owned(), json!(0.7)),
        ]),
        varying: vec!["load.qps".to_owned()],
        repeat: index % 2 + 1,
        seed: u64::MAX - u64::from(index),
        settings: settings(),
    }
}

pub(super) fn plan(cells: u32) -> Plan {
    Plan {
        name: "a, \"b\"".to_owned(),
        seed: 42,
        experiment_hash: "hash".to_owned(),
        cells: (0..cells).map(cell).collect(),
        ..Plan::default()
    }
}

pub(super) fn manifest(run: &str) -> Manifest {
    Manifest {
        schema: SCHEMA,
        run: run.to_owned(),
        name: "e".to_owned(),
        plimsoll: "0".to_owned(),
        experiment_hash: "hash".to_owned(),
        salt: "s".to_owned(),
        set: Vec::new(),
        target: "sim:".to_owned(),
        title: None,
        figures: None,
        started_at: "2026-11-22T05:40:00Z".to_owned(),
        ended_at: None,
        resumed_at: Vec::new(),
        status: Status::Running,
        imported: Vec::new(),
    }
}

/// A summary whose figures depend on `n`.
pub(crate) fn summary(n: u32) -> CellSummary {
    let x = f64::from(n) + 0.1;
    let ttft = Distribution {
        n: 10,
        mean: x,
        std: x / 3.0,
        min: x / 7.0,
        p50: x,
        p75: x * 1.1,
        p90: x * 1.2,
        p95: x * 1.3,
        p99: x * 1.7,
        p999: x * 1.9,
        max: x * 2.0,
    };
    CellSummary {
        started_at: format!("2026-11-22T05:4{n}:00.123456Z"),
        ended_at: format!("2026-11-22T05:4{n}:30Z"),
        window: Window { start_us: 1_000_000, end_us: 31_000_000, ended_by: EndedBy::Duration },
        counts: Counts {
            attempted: 10,
            ok: 9,
            failed: 1,
            errors: BTreeMap::from([("429".to_owned(), 1)]),
            ..Counts::default()
        },
        distributions: BTreeMap::from([("ttft".to_owned(), ttft)]),
        scalars: BTreeMap::from([("output_tps".to_owned(), x * 1e3 / 3.0)]),
        tokens: TokenCounts::default(),
        validity: Validity {
            verdict: Verdict::Warn,
            reasons: vec![Reason {
                signal: "lag".to_owned(),
                verdict: Verdict::Warn,
                text: "lag p99 12 ms, over 10 ms".to_owned(),
            }],
            signals: BTreeMap::from([("lag_p99_ms".to_owned(), 12.0)]),
        },
        slo: vec![SloVerdict {
            metric: "ttft".to_owned(),
            stat: "p95".to_owned(),
            limit: 1000.0,
            target: None,
            value: None,
            pass: false,
            status: SloStatus::Fail,
        }],
        inside: None,
        workload_hash: "w".to_owned(),
        groups: Vec::new(),
        drift: Vec::new(),
        server: None,
        semi_open: false,
    }
}

pub(crate) fn cell_run() -> CellRun {
    let mut chunk_gaps = hdrhistogram::Histogram::new_with_bounds(1, 3_600_000_000, 3).unwrap();
    for gap in [900, 1000, 25_000] {
        chunk_gaps.record(gap).unwrap();
    }
    CellRun {
        epoch_monotonic_ns: 1,
        started_at: "2026-11-22T05:40:00Z".parse().unwrap(),
        ended_at: "2026-11-22T05:40:31Z".parse().unwrap(),
        stages: Vec::new(),
        window: summary(0).window,
        planned: Some(10),
        in_flight_mean: None,
        timeline: vec![
            Tick {
                t_us: 0,
                in_flight: 1,
                due: 2,
                sent: 3,
                completed: 4,
                failed: 5,
                chunks: 6,
                max_lag_us: 7,
            },
            Tick { t_us: TICK_US, ..Tick::default() },
        ],
        chunk_gaps,
        foreign_chunks_in_window: 0,
        client: ClientHealth::default(),
        lost_records: None,
        observed: None,
    }
}

pub(super) fn create(root: &Path, cells: u32) -> RunDir {
    let new = NewRun {
        salt: "s".to_owned(),
        set: Vec::new(),
        target: "sim:".to_owned(),
        title: None,
        figures: None,
    };
    RunDir::create(root, "name = \"x\"\n", &plan(cells), new, &json!({})).unwrap()
}

/// Run and store cell `index` with `records` records.
pub(super) fn finish(run: &RunDir, index: u32, records: u64) {
    let mut log = run.begin_cell(&cell(index)).unwrap();
    log.write(&(0..records).map(record).collect::<Vec<_>>()).unwrap();
    let sealed = log.seal().unwrap();
    run.commit_cell(&cell(index), &sealed, &cell_run(), &summary(index), "tiny").unwrap();
}

pub(super) fn rows(path: &Path) -> Vec<Vec<String>> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>(), columns());
    reader.records().map(|r| r.unwrap().iter().map(str::to_owned).collect()).collect()
}

const STEPS: [Step; 7] = [
    Step::Records,
    Step::Timeline,
    Step::ChunkGaps,
    Step::Summary,
    Step::LogDeleted,
    Step::OwnCsv,
    Step::SharedCsv,
];

/// The process dies after each step of committing cell 1 of three; the run is then resumed.
#[test]
fn a_crash_after_any_step_leaves_the_cell_finished_or_not_and_counts_it_once() {
    for (at, crash) in STEPS.into_iter().enumerate() {
        let root = tempfile::tempdir().unwrap();
        let run = create(root.path(), 3);
        finish(&run, 0, 4);
        let mut log = run.begin_cell(&cell(1)).unwrap();
        log.write(&[record(0), record(1)]).unwrap();
        let sealed = log.seal().unwrap();
        run.commit_steps(&cell(1), &sealed, &cell_run(), &summary(1), "tiny", &mut |step| step != crash)
            .unwrap();
        let path = run.path().to_owned();
        drop(run);

        let run = RunDir::open(&path).unwrap();
        assert_eq!(run.repair().unwrap(), []);
        let committed = at >= 3;
        assert_eq!(run.finished().contains(&1), committed, "{crash:?}");
        let before = if committed { vec!["0", "1"] } else { vec!["0"] };
        for csv in [path.join(SUMMARY_CSV), root.path().join(SUMMARY_CSV)] {
            assert_eq!(rows(&csv).iter().map(|r| r[2].as_str()).collect::<Vec<_>>(), before, "{crash:?}");
        }
        let dir = path.join(cell_dir(&cell(1)));
        if committed {
            assert!(!dir.join("records.jsonl").exists());
            assert!(matches!(run.begin_cell(&cell(1)), Err(StoreError::Finished { .. })));
        } else {
            finish(&run, 1, 6);
            assert_eq!(SealedLog::open(&dir.join("interrupted-1.jsonl")).unwrap().len(), 2);
        }
        finish(&run, 2, 2);
        let appended = std::fs::read(root.path().join(SUMMARY_CSV)).unwrap();
        assert_eq!(std::fs::read(path.join(SUMMARY_CSV)).unwrap(), appended);
        let rebuilt = rebuild_summary(root.path()).unwrap();
        assert_eq!((rebuilt.runs, rebuilt.rows), (1, 3));
        assert_eq!(std::fs::read(root.path().join(SUMMARY_CSV)).unwrap(), appended, "{crash:?}");
    }
}

#[test]
fn the_chunk_gaps_are_a_log_that_an_hdr_reader_takes() {
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    let root = tempfile::tempdir().unwrap();
    let run = create(root.path(), 1);
    finish(&run, 0, 1);
    let bytes = std::fs::read(run.path().join(cell_dir(&cell(0))).join(CHUNK_GAPS)).unwrap();
    let entries: Vec<_> = IntervalLogIterator::new(&bytes).map(Result::unwrap).collect();
    let Some(LogEntry::Interval(interval)) = entries.last() else { panic!("{entries:?}") };
    assert_eq!(interval.tag().unwrap().as_str(), "chunk_gap");
    assert_eq!(interval.start_timestamp().as_secs_f64(), 1.0);
    assert_eq!(interval.duration().as_secs(), 30);
    assert!(interval.encoded_histogram().starts_with("HISTFAAAA"), "V2 with deflate, as Java writes it");
    assert!((interval.max() - 25_000.0).abs() < 50.0);
}
