//! The client held to the simulator's own log: every request, every token, every stamp.
//!
//! An experiment goes the way of a sweep (text, plan, discovery, load, figures), and what it
//! says is compared request by request with what the server knows. Both read the same
//! monotonic clock. `docs/truth.md` tells what is promised and what was measured.

mod accounts;
mod apis;
mod concurrency;
mod figures;
mod offered;
mod stages;
mod stall;
mod talks;
mod times;
mod tokens;
mod workloads;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll::experiment::Experiment;
use plimsoll::load::{Control, Job, JobPart, drive};
use plimsoll::measure::{CellSummary, summarise};
use plimsoll::plan::{self, Cell};
use plimsoll::record::{CellRun, Outcome, RequestRecord};
use plimsoll::sim::TruthRecord;
use plimsoll::{server, workload};

use crate::rig::{Memory, simulator};

/// How long the server may take to notice that its clients have gone. Only a fault runs into it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cell that has run, and both accounts of it.
struct Held {
    cell: Cell,
    run: CellRun,
    summary: CellSummary,
    /// By number.
    records: Vec<RequestRecord>,
    /// The tries of each request in the order of their arrival, by the request's number.
    truth: BTreeMap<u64, Vec<TruthRecord>>,
    /// What the server was asked before the cell began.
    discovery: Vec<TruthRecord>,
    /// The API that was spoken, and what was found out about the server, a sentence each.
    api: String,
    notes: Vec<String>,
}

/// A record and what the server says of its last try.
#[derive(Clone, Copy)]
struct Pair<'a> {
    record: &'a RequestRecord,
    truth: &'a TruthRecord,
}

/// The one cell of an experiment file.
fn cell_of(text: &str) -> Cell {
    let experiment = Experiment::parse(Path::new("truth.toml"), text, &[])
        .unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"));
    let mut cells = plan::build(&experiment).expect("a plan").cells;
    assert_eq!(cells.len(), 1);
    cells.remove(0)
}

/// Run the one cell of an experiment against a simulator with the knobs that it names, and
/// bring both accounts together.
fn hold(text: &str) -> Held {
    let cell = cell_of(text);
    let sim = simulator(&cell.settings.sim);
    let base = sim.url().parse().expect("an address");
    let found = server::discover(&cell.settings, base).unwrap_or_else(|e| panic!("{e}"));
    let workload = cell.settings.workload.clone();
    let source = workload::Source::new(workload, cell.seed, "salt", found.tokenizer.clone());
    let part = JobPart {
        endpoint: found.endpoint.clone(),
        provider: found.provider(&cell.settings.target).expect("a provider").into(),
        source: Arc::new(source),
    };
    let job = Job { cell: &cell, parts: vec![part], traces: None };
    let mut memory = Memory::default();
    let run = drive(&job, &mut memory, &Control::default(), &mut |_| {}).expect("the engine itself works");
    let mut records = memory.0;
    records.sort_by_key(|r| r.seq);
    // The server hears of a client that has gone a little later.
    let tries = records.iter().filter(|r| r.headers_us.is_some()).count();
    let since = Instant::now();
    while by_request(&sim.truth(), &cell).len() < tries && since.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
    let told = sim.stop();
    let truth = by_request(&told, &cell);
    let discovery = told.into_iter().filter(|t| seq_of(t, &cell).is_none()).collect();
    let summary = summarise(&cell, &run, records.iter().cloned());
    Held { cell, run, summary, records, truth, discovery, api: found.api, notes: found.notes }
}

/// The number that a request of the cell's had there.
fn seq_of(truth: &TruthRecord, cell: &Cell) -> Option<u64> {
    let seq = truth.request_id.strip_prefix(&format!("plimsoll-{}-", cell.index))?;
    Some(seq.parse().expect("a number"))
}

/// The truth of a cell's requests; what discovery asked has other names.
fn by_request(truth: &[TruthRecord], cell: &Cell) -> BTreeMap<u64, Vec<TruthRecord>> {
    let mut by: BTreeMap<u64, Vec<TruthRecord>> = BTreeMap::new();
    for record in truth {
        if let Some(seq) = seq_of(record, cell) {
            by.entry(seq).or_default().push(record.clone());
        }
    }
    by.values_mut().for_each(|tries| tries.sort_by_key(|t| t.arrival_ns));
    by
}

impl Held {
    /// Every request that both sides know. Asserts that no other is known to one side alone:
    /// a record that was sent has a line of truth for each try that arrived, and each line has
    /// its record. Only a request that was cut off before a byte of an answer may have been cut
    /// off before it arrived.
    fn pairs(&self) -> Vec<Pair<'_>> {
        let mut pairs = Vec::new();
        let cores = u64::from(self.records.iter().map(|r| r.shard).max().unwrap_or(0)) + 1;
        let mut next: Vec<u64> = (0..cores).collect();
        for record in &self.records {
            // Each load core has every n-th number; in a closed loop one may get further than another.
            let seq = &mut next[record.shard as usize];
            assert_eq!(record.seq, *seq, "a record is missing, or there twice");
            *seq += cores;
            let tries = self.truth.get(&record.seq).map_or(&[][..], Vec::as_slice);
            if record.sent_us.is_none() {
                assert!(tries.is_empty() && record.outcome == Outcome::Dropped, "{record:?}\n{tries:?}");
                continue;
            }
            let cut = record.headers_us.is_none() && record.outcome == Outcome::Censored;
            if tries.is_empty() && cut {
                continue;
            }
            // A connection that the server closed before it read the request leaves no truth.
            let most = 1 + record.retries as usize;
            assert!((1..=most).contains(&tries.len()), "{record:?}\n{tries:?}");
            pairs.extend(tries.last().map(|truth| Pair { record, truth }));
        }
        let known = self.truth.keys().all(|seq| self.records.iter().any(|r| r.seq == *seq));
        assert!(known, "the server had requests that have no record");
        pairs
    }

    /// As [`Self::pairs`], of requests that went well, which must be all.
    fn all_ok(&self) -> Vec<Pair<'_>> {
        let pairs = self.pairs();
        for p in &pairs {
            assert_eq!(p.record.outcome, Outcome::Ok, "{:?}\n{:?}", p.record, p.truth);
            assert_eq!(self.truth[&p.record.seq].len(), 1, "{:?}", p.record);
        }
        assert_eq!(pairs.len(), self.records.len());
        pairs
    }

    /// A time of a record on the clock of the truth, in nanoseconds. Records keep whole
    /// microseconds, rounded down.
    fn ns(&self, us: u64) -> i64 {
        (self.run.epoch_monotonic_ns + us * 1000) as i64
    }

    /// The window on the clock of the truth.
    fn window_ns(&self) -> (i64, i64) {
        (self.ns(self.run.window.start_us), self.ns(self.run.window.end_us))
    }

    /// Most requests that the server had in hand at once.
    fn in_hand(&self) -> usize {
        let stays = self.truth.values().flatten();
        // Who leaves at the moment that another comes makes room first.
        let mut steps: Vec<(u64, i64)> = stays.flat_map(|t| [(t.arrival_ns, 1), (t.end_ns, -1)]).collect();
        steps.sort_unstable();
        let mut now = 0;
        steps
            .iter()
            .map(|(_, step)| {
                now += step;
                now
            })
            .max()
            .unwrap_or(0)
            .unsigned_abs() as usize
    }
}

/// The middle one, of any order.
fn median(mut values: Vec<f64>) -> f64 {
    assert!(!values.is_empty());
    values.sort_unstable_by(f64::total_cmp);
    plimsoll::stats::quantile(&values, 0.5).expect("values")
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
