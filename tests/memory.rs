//! What a cell needs of memory, however many requests it has: log, figures, files and report,
//! each size in a process of its own. Peaks are of the whole process (`VmHWM`).
//!
//! `cargo test --test main memory:: -- --ignored --nocapture` prints the table.

use std::path::Path;
use std::process::Command;

use plimsoll::analysis::RunData;
use plimsoll::experiment::Experiment;
use plimsoll::measure::summarise_walks;
use plimsoll::plan::{self, Cell, Plan};
use plimsoll::record::*;
use plimsoll::report;
use plimsoll::store::{NewRun, RunDir};

/// Peak of this process in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).expect("Linux says it");
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A plan of one open-loop cell at 1,000 requests a second.
fn one_cell() -> Plan {
    let text =
        "name = \"memory\"\n[target]\nurl = \"sim:\"\n[load]\nqps = 1000\n[cell]\nduration = \"10s\"\n";
    let experiment = Experiment::parse(Path::new("memory.toml"), text, &[]).unwrap_or_else(|m| panic!("{m}"));
    plan::build(&experiment).expect("a plan")
}

/// Request `seq`: latencies with a spread, the batches in the order of their ends.
fn record(seq: u64) -> RequestRecord {
    let spread = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let due = seq * 1000;
    let first = due + 20_000 + spread % 90_000;
    let last = first + 600_000 + spread % 31_000;
    RequestRecord {
        seq,
        user: None,
        shard: (seq % 2) as u32,
        phase: Phase::Measure,
        intended_us: due,
        sent_us: Some(due + spread % 200),
        headers_us: Some(first - 900),
        first_token_us: Some(first),
        first_visible_us: Some(first),
        second_chunk_us: Some(first + 5000 + spread % 700),
        last_token_us: Some(last),
        end_us: Some(last + 40),
        prompt_tokens_asked: 128,
        prompt_tokens_counted: Some(128),
        prompt_tokens: Some(128),
        max_tokens: 128,
        output_tokens: Some(100 + (spread % 29) as u32),
        cached_tokens: None,
        token_source: Some(TokenSource::Usage),
        chunks: 128,
        chunks_in_window: 128,
        max_gap_us: Some(5000 + spread % 3000),
        bytes: 20_000 + spread % 999,
        status: Some(200),
        finish_reason: Some("length".to_owned()),
        retries: 0,
        cap_blocked: false,
        outcome: Outcome::Ok,
        ..RequestRecord::blank(seq)
    }
}

fn cell_run(requests: u64) -> CellRun {
    let window = Window { start_us: 0, end_us: requests * 1000, ended_by: EndedBy::Duration };
    CellRun {
        epoch_monotonic_ns: 0,
        started_at: "2026-11-22T05:40:00Z".parse().unwrap(),
        ended_at: "2026-11-22T05:50:00Z".parse().unwrap(),
        stages: Vec::new(),
        window,
        planned: Some(requests),
        in_flight_mean: Some(600.0),
        timeline: (0..requests * 1000 / TICK_US)
            .map(|i| Tick { t_us: i * TICK_US, in_flight: 600, due: 100, ..Tick::default() })
            .collect(),
        chunk_gaps: hdrhistogram::Histogram::new_with_bounds(1, 3_600_000_000, 3).unwrap(),
        foreign_chunks_in_window: 0,
        client: ClientHealth::default(),
        lost_records: None,
        observed: None,
    }
}

/// Write, summarise, store and report one cell. The peak in KiB after each step.
fn whole_way(requests: u64) -> Vec<(&'static str, u64)> {
    let root = tempfile::tempdir().unwrap();
    let plan = one_cell();
    let cell: &Cell = &plan.cells[0];
    let new = NewRun {
        salt: "salt".to_owned(),
        set: Vec::new(),
        target: "sim:".to_owned(),
        title: None,
        figures: None,
    };
    let dir = RunDir::create(root.path(), "", &plan, new, &serde_json::json!({})).unwrap();
    let mut peaks = vec![("start", peak_kib())];
    let mut log = dir.begin_cell(cell).unwrap();
    for first in (0..requests).step_by(256) {
        // As they end, not as they were sent: out of order by up to a batch.
        let mut batch: Vec<_> = (first..(first + 256).min(requests)).map(record).collect();
        batch.sort_by_key(|r| r.end_us);
        log.write(&batch).unwrap();
    }
    let log = log.seal().unwrap();
    let bytes = log.path().metadata().unwrap().len();
    println!("{requests} requests: {} bytes a line in the log", bytes / requests);
    peaks.push(("log", peak_kib()));
    let run = cell_run(requests);
    let mut walks = 0;
    let summary = summarise_walks(cell, &run, || {
        walks += 1;
        log.records()
    })
    .unwrap();
    assert_eq!(summary.counts.ok, requests);
    println!("{requests} requests: {walks} walks");
    peaks.push(("summarise", peak_kib()));
    dir.commit_cell(cell, &log, &run, &summary, "m").unwrap();
    drop(run);
    peaks.push(("store", peak_kib()));
    let data = RunData::load(dir.path()).unwrap();
    peaks.push(("load", peak_kib()));
    report::write(&data, &root.path().join("report")).unwrap();
    peaks.push(("report", peak_kib()));
    peaks
}

/// The child: its number of requests is in the environment.
#[test]
#[ignore = "run by a_million_requests_need_no_more_memory_than_ten_thousand"]
fn whole_way_in_a_child() {
    let requests = std::env::var("PLIMSOLL_TEST_REQUESTS").expect("set by the parent");
    for (step, peak) in whole_way(requests.parse().unwrap()) {
        println!("peak {step} {peak}");
    }
}

fn peak_of(requests: u64) -> u64 {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "memory::whole_way_in_a_child", "--ignored", "--nocapture"])
        .env("PLIMSOLL_TEST_REQUESTS", requests.to_string())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    println!("{text}");
    text.lines().filter_map(|l| l.strip_prefix("peak report ")?.parse().ok()).next().expect("the last peak")
}

#[test]
#[ignore = "a minute or two: a million records through every file"]
fn a_million_requests_need_no_more_memory_than_ten_thousand() {
    let (few, many) = (peak_of(10_000), peak_of(1_000_000));
    let ratio = many as f64 / few as f64;
    println!("{few} KiB of 10,000 requests, {many} KiB of 1,000,000: {ratio:.2}");
    assert!(ratio <= 1.2, "{ratio:.2} times the memory");
}
