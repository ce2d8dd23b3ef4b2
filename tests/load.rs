//! The load engine against a scripted server on the loopback: what is sent, when, and what
//! each arrival's one record says of it. No bound here is on wall time: a busy machine makes
//! things later, not wrong.

mod answers;
mod apis;
mod arrivals;
mod connections;
mod endings;
mod giving_up;
mod health;
mod loops;
mod shapes;
mod ways;
mod workloads;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use plimsoll::experiment::{
    Arrivals, CellSettings, ClientSettings, Cooldown, ForceLength, Lengths, Load, Settings, Slo, Target, Tls,
    TokenizerChoice, Workload,
};
use plimsoll::load::{Control, Job, JobPart, drive};
use plimsoll::measure::{CellSummary, summarise};
use plimsoll::plan::{Cell, CellId};
use plimsoll::record::{CellRun, Phase, RequestRecord};
use plimsoll::server::Endpoint;
use plimsoll::workload::{BundledTokenizer, Source};

use crate::rig::Memory;
use crate::rig::scripted::{Conn, serve};

const MS: Duration = Duration::from_millis(1);

fn cell(load: Load) -> Cell {
    Cell {
        index: 7,
        id: CellId("0123456789abcdef".to_owned()),
        grid: None,
        factors: BTreeMap::new(),
        varying: Vec::new(),
        repeat: 1,
        seed: 42,
        settings: Settings {
            target: Target {
                url: "http://127.0.0.1".to_owned(),
                api: "openai-chat".to_owned(),
                model: "m".to_owned(),
                api_key_env: None,
                headers: BTreeMap::new(),
                extra_body: serde_json::Map::new(),
                max_tokens_field: "max_tokens".to_owned(),
                timeout: 20_000 * MS,
                connect_timeout: 5_000 * MS,
                first_token_timeout: None,
                stall_timeout: None,
                tls: Tls::default(),
                connections: plimsoll::experiment::Connections::default(),
                custom: None,
            },
            workload: Workload {
                prompt_tokens: Lengths::constant(8),
                max_tokens: Lengths::constant(4),
                prompt: None,
                prefix: None,
                tokenizer: TokenizerChoice::Bundled,
                unique_prompts: true,
                stream: true,
                stop_after: plimsoll::experiment::StopAfter::End,
                cancel: None,
                force_length: ForceLength::Never,
                sampling: serde_json::Map::new(),
                ..Workload::default()
            },
            load,
            cell: CellSettings {
                duration: None,
                requests: None,
                warmup: Duration::ZERO,
                ramp: Duration::ZERO,
                drain: 10_000 * MS,
                cooldown: Cooldown { min: Duration::ZERO, max: Duration::ZERO },
            },
            slo: Slo::default(),
            client: ClientSettings { threads: Some(1), dead_after: 3, pin: false },
            sim: BTreeMap::new(),
            parts: Vec::new(),
            stages: Vec::new(),
            think: None,
            server: None,
        },
    }
}

fn open(qps: f64, max_in_flight: Option<u32>) -> Cell {
    cell(Load::Open { qps, arrivals: Arrivals::Constant, max_in_flight })
}

fn closed(users: u32) -> Cell {
    cell(Load::Closed { users })
}

fn with_job<T>(cell: &Cell, address: SocketAddr, work: impl FnOnce(&Job<'_>) -> T) -> T {
    let workload = cell.settings.workload.clone();
    let source = Source::new(workload, cell.seed, "salt", Arc::new(BundledTokenizer));
    let part = JobPart {
        endpoint: Endpoint {
            base: format!("http://{address}").parse().expect("it parses"),
            model: "m".to_owned(),
            headers: vec![("authorization".to_owned(), "Bearer x".to_owned())],
            force_length: false,
        },
        provider: cell.settings.target.provider().expect("this provider is there").into(),
        source: Arc::new(source),
    };
    work(&Job { cell, parts: vec![part], traces: None })
}

/// Run it; the records by number.
fn run(cell: &Cell, address: SocketAddr) -> (CellRun, Vec<RequestRecord>) {
    run_with(cell, address, &Control::default())
}

fn run_with(cell: &Cell, address: SocketAddr, control: &Control) -> (CellRun, Vec<RequestRecord>) {
    let mut sink = Memory::default();
    let run = with_job(cell, address, |job| drive(job, &mut sink, control, &mut |_| {}))
        .expect("the engine itself works");
    let mut records = sink.0;
    records.sort_by_key(|r| r.seq);
    let unique: BTreeSet<u64> = records.iter().map(|r| r.seq).collect();
    assert_eq!(unique.len(), records.len(), "an arrival has two records");
    assert!(records.iter().all(|r| r.sent_us.is_none_or(|t| t >= r.intended_us)), "sent before it was due");
    (run, records)
}

fn summary(cell: &Cell, run: &CellRun, records: &[RequestRecord]) -> CellSummary {
    let summary = summarise(cell, run, records.iter().cloned());
    let c = &summary.counts;
    assert_eq!(c.attempted, c.ok + c.failed + c.dropped + c.censored + c.cancelled, "counts add up");
    assert_eq!(c.failed, c.errors.values().sum::<u64>());
    assert_eq!(c.attempted + c.before_window, records.len() as u64);
    summary
}

fn measured(records: &[RequestRecord]) -> Vec<&RequestRecord> {
    records.iter().filter(|r| r.phase == Phase::Measure).collect()
}

/// One request of one user under `adjust`, which the server answers by `script`.
fn one(
    adjust: impl FnOnce(&mut Settings),
    script: impl Fn(&mut Conn<'_>) -> bool + Send + Sync + 'static,
) -> RequestRecord {
    let server = serve(script);
    let mut cell = closed(1);
    cell.settings.cell.requests = Some(1);
    adjust(&mut cell.settings);
    let (run, records) = run(&cell, server.address);
    assert_eq!(records.len(), 1);
    let _ = summary(&cell, &run, &records);
    records.into_iter().next().expect("one was asserted")
}
