//! Two runs of the same experiment, written by the program's own store. Behind them is a queue:
//! a request waits for one of so many places and holds it for its prefill and its tokens, so that
//! waits grow with the load and follow upon each other as they do at a server.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::error::Error;
use std::path::{Path, PathBuf};

use plimsoll::experiment::Experiment;
use plimsoll::measure::summarise_walks;
use plimsoll::plan::{self, Cell, Plan};
use plimsoll::record::*;
use plimsoll::store::{NewRun, RunDir, Status};

/// Requests that the modelled server works on at once.
const PLACES: usize = 128;

type Failed = Box<dyn Error + Send + Sync>;

/// A baseline and a candidate below `dir`, the candidate 4 % slower. Each is written by a thread
/// of its own; what an earlier call left is taken as it is.
pub fn pair(dir: &Path, cells: usize, requests: u64) -> Result<[PathBuf; 2], Box<dyn Error>> {
    let plan = plan_of(cells)?;
    let rows = plan.0.cells.len() as u64 * requests;
    let what = format!("{} cells of {requests} requests, {rows} rows, twice", plan.0.cells.len());
    let sides = [("baseline", 1.0), ("candidate", 1.04)];
    let write = |(name, slower): (&str, f64)| match found(&dir.join(name)) {
        Some(run) => Ok(run),
        None => run(&dir.join(name), &plan, requests, slower),
    };
    let done = super::told(&what, || {
        std::thread::scope(|scope| {
            let both = sides.map(|side| scope.spawn(move || write(side)));
            both.map(|side| side.join().unwrap_or_else(|_| Err("the writer of a run panicked".into())))
        })
    });
    let [baseline, candidate] = done;
    Ok([baseline.map_err(|e| e as Box<dyn Error>)?, candidate.map_err(|e| e as Box<dyn Error>)?])
}

/// The one run below `root`.
fn found(root: &Path) -> Option<PathBuf> {
    let mut runs = std::fs::read_dir(root).ok()?.flatten().map(|e| e.path()).filter(|p| p.is_dir());
    runs.next()
}

/// At least so many cells: rates by prompt lengths by output lengths, five times each.
fn plan_of(cells: usize) -> Result<(Plan, String), Box<dyn Error>> {
    let (prompts, outputs) = if cells >= 200 {
        ("[128, 256, 512, 1024, 2048]", "[32, 64, 128, 256]")
    } else {
        ("[256, 1024]", "[64, 256]")
    };
    let shapes = prompts.split(',').count() * outputs.split(',').count();
    let rates: Vec<String> =
        (0..cells.div_ceil(shapes * 5).max(2)).map(|i| (20 + 10 * i).to_string()).collect();
    let text = format!(
        "name = \"scale\"\nseed = 7\n[target]\nurl = \"http://127.0.0.1:8000\"\n\
         [grid]\nqps = [{}]\nprompt_tokens = {prompts}\nmax_tokens = {outputs}\nrepeats = 5\n\
         [cell]\nrequests = 1000\nwarmup = \"0s\"\n[slo]\nttft_p95 = \"1s\"\nerror_rate = 0.01\n",
        rates.join(", ")
    );
    let experiment = Experiment::parse(Path::new("scale.toml"), &text, &[]).map_err(|m| m.to_string())?;
    Ok((plan::build(&experiment).map_err(|m| m.to_string())?, text))
}

fn run(root: &Path, (plan, text): &(Plan, String), requests: u64, slower: f64) -> Result<PathBuf, Failed> {
    let new = NewRun {
        salt: "scale".to_owned(),
        set: Vec::new(),
        target: "http://127.0.0.1:8000".to_owned(),
        title: None,
        figures: None,
    };
    let environment = plimsoll::store::environment(serde_json::Value::Null);
    let mut dir = RunDir::create(root, text, plan, new, &environment)?;
    for cell in &plan.cells {
        let made = Made::of(cell, requests, slower);
        let mut log = dir.begin_cell(cell)?;
        for batch in made.records.chunks(256) {
            log.write(batch)?;
        }
        let log = log.seal()?;
        let summary = summarise_walks(cell, &made.run, || log.records())?;
        dir.commit_cell(cell, &log, &made.run, &summary, "model")?;
    }
    dir.set_status(Status::Finished)?;
    Ok(dir.path().to_owned())
}

/// A cell as the load side hands it over.
struct Made {
    /// In the order in which they ended.
    records: Vec<RequestRecord>,
    run: CellRun,
}

impl Made {
    fn of(cell: &Cell, requests: u64, slower: f64) -> Self {
        let number = |path: &str| cell.factors.get(path).and_then(serde_json::Value::as_f64).unwrap_or(1.0);
        let (qps, prompt) = (number("load.qps"), number("workload.prompt_tokens"));
        let output = number("workload.max_tokens");
        // Arrivals are the same in both runs; what the server makes of them is not.
        let (mut arrivals, mut server) = (Random(cell.seed), Random(cell.seed ^ slower.to_bits()));
        let mut free: BinaryHeap<Reverse<u64>> = (0..PLACES).map(|_| Reverse(0)).collect();
        let mut due_s = 0.0;
        let mut chunk_gaps = hdrhistogram::Histogram::new_with_bounds(1, 3_600_000_000, 3)
            .expect("bounds that the crate allows");
        let mut records: Vec<RequestRecord> = (0..requests)
            .map(|seq| {
                due_s += arrivals.exponential() / qps;
                let due = (due_s * 1e6) as u64;
                let Reverse(place) = free.pop().unwrap_or(Reverse(0));
                let prefill = (10_000.0 + prompt * 45.0) * slower * server.log_normal(0.25);
                let token = 8_000.0 * slower * server.log_normal(0.08);
                let first = due.max(place) + prefill as u64;
                let last = first + ((output - 1.0) * token) as u64;
                free.push(Reverse(last));
                chunk_gaps.saturating_record_n(token as u64, output as u64 - 1);
                let failed = server.unit() < 0.001;
                record(seq, (prompt as u32, output as u32), [due, due + 40 + seq % 90, first, last], failed)
            })
            .collect();
        records.sort_by_key(|r| r.end_us);
        let end_us = (due_s * 1e6) as u64 + 1;
        let run = CellRun {
            epoch_monotonic_ns: 0,
            started_at: jiff::Timestamp::UNIX_EPOCH,
            ended_at: jiff::Timestamp::UNIX_EPOCH,
            stages: Vec::new(),
            window: Window { start_us: 0, end_us, ended_by: EndedBy::Requests },
            planned: Some(requests),
            in_flight_mean: None,
            timeline: timeline(&records, output as u32),
            chunk_gaps,
            foreign_chunks_in_window: 0,
            client: ClientHealth::default(),
            lost_records: None,
            observed: None,
        };
        Self { records, run }
    }
}

fn record(
    seq: u64,
    (prompt, output): (u32, u32),
    [due, sent, first, last]: [u64; 4],
    failed: bool,
) -> RequestRecord {
    let blank = RequestRecord {
        intended_us: due,
        shard: (seq % 2) as u32,
        sent_us: Some(sent),
        prompt_tokens_asked: prompt,
        prompt_tokens_counted: Some(prompt),
        max_tokens: output,
        ..RequestRecord::blank(seq)
    };
    if failed {
        return RequestRecord {
            headers_us: Some(sent + 900),
            end_us: Some(sent + 950),
            status: Some(503),
            outcome: Outcome::HttpError,
            error_class: Some("503".to_owned()),
            detail: Some("overloaded".to_owned()),
            ..blank
        };
    }
    let gap = (last - first) / u64::from(output.max(2) - 1);
    RequestRecord {
        headers_us: Some(first - 300),
        first_token_us: Some(first),
        first_visible_us: Some(first),
        second_chunk_us: Some(first + gap),
        last_token_us: Some(last),
        end_us: Some(last + 60),
        prompt_tokens: Some(prompt),
        output_tokens: Some(output),
        token_source: Some(TokenSource::Usage),
        chunks: output,
        chunks_in_window: output,
        max_gap_us: Some(gap * 3),
        bytes: 230 * u64::from(output) + seq % 57,
        status: Some(200),
        finish_reason: Some("length".to_owned()),
        outcome: Outcome::Ok,
        ..blank
    }
}

/// The ticks that belong to these records; an answer's chunks count where it ended.
fn timeline(records: &[RequestRecord], chunks: u32) -> Vec<Tick> {
    let last = records.iter().filter_map(|r| r.end_us).max().unwrap_or(0);
    let mut ticks: Vec<Tick> =
        (0..=last / TICK_US).map(|i| Tick { t_us: i * TICK_US, ..Tick::default() }).collect();
    let at = |us: u64| (us / TICK_US) as usize;
    for r in records {
        let (sent, end) = (r.sent_us.unwrap_or(r.intended_us), r.end_us.unwrap_or(r.intended_us));
        ticks[at(r.intended_us)].due += 1;
        let tick = &mut ticks[at(sent).min(at(last))];
        tick.sent += 1;
        tick.max_lag_us = tick.max_lag_us.max(sent - r.intended_us);
        let tick = &mut ticks[at(end)];
        if r.outcome == Outcome::Ok {
            tick.completed += 1;
            tick.chunks += chunks;
        } else {
            tick.failed += 1;
        }
    }
    let mut in_flight = 0u32;
    for tick in &mut ticks {
        in_flight = (in_flight + tick.sent).saturating_sub(tick.completed + tick.failed);
        tick.in_flight = in_flight;
    }
    ticks
}

/// SplitMix64 (Steele, Lea and Flood 2014): small, and the same everywhere.
struct Random(u64);

impl Random {
    /// In (0, 1].
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((z ^ (z >> 31)) >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// Of mean 1.
    fn exponential(&mut self) -> f64 {
        -self.unit().ln()
    }

    /// Of median 1; `sigma` is the standard deviation of its logarithm. By Box and Muller.
    fn log_normal(&mut self, sigma: f64) -> f64 {
        let (a, b) = (self.unit(), self.unit());
        (sigma * (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()).exp()
    }
}
