//! A run of our own form, made of cells that were found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::experiment_text::{self, Point};
use super::found::Totals;
use super::{Asked, Done, Found, ImportError, reader};
use crate::experiment::{Arrivals, Experiment, Load};
use crate::measure::{CellSummary, IMPORTED, Reason, Validity, Verdict, summarise};
use crate::plan::{self, Cell, Plan};
use crate::record::{CellRun, ClientHealth, EndedBy, Outcome, RecordSink as _, RequestRecord, Window};
use crate::store::{Imported, NewRun, RunDir, Status, StoreError};

/// Longest cell that is taken, in seconds: as long as one of ours may be.
const LONGEST: f64 = 7.0 * 86_400.0;

/// Burstiness that arrivals of ours can have.
const SHAPES: std::ops::RangeInclusive<f64> = 0.01..=1000.0;

/// What the command line says where files don't.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// The run's name; else made of the first file's.
    pub name: Option<String>,
    pub users: Option<u32>,
    pub qps: Option<f64>,
    pub prompt_tokens: Option<u32>,
    pub max_tokens: Option<u32>,
    pub url: Option<String>,
    pub model: Option<String>,
}

impl Told {
    /// Fill in what a cell lacks.
    fn complete(&self, cell: &mut Found) {
        if cell.load == Asked::Unknown {
            cell.load = match (self.qps, self.users) {
                (Some(qps), cap) => Asked::Rate { qps, arrivals: None, cap },
                (None, Some(users)) => Asked::Users(users),
                (None, None) => Asked::Unknown,
            };
        }
        cell.prompt_tokens = cell.prompt_tokens.filter(|n| *n > 0).or(self.prompt_tokens);
        cell.max_tokens = cell.max_tokens.filter(|n| *n > 0).or(self.max_tokens);
        if let Some(word) = cell.api.take() {
            if crate::provider::find(&word).is_some() {
                cell.api = Some(word);
            } else {
                cell.notes.push(format!("its API is called {word:?} there"));
            }
        }
        cell.url = cell.url.take().or_else(|| self.url.clone());
        cell.model = cell.model.take().or_else(|| self.model.clone());
        for request in &mut cell.requests {
            request.prompt_tokens_asked = cell.prompt_tokens.unwrap_or(0);
            request.max_tokens = cell.max_tokens.unwrap_or(0);
        }
        if let Asked::Rate { arrivals, .. } = &mut cell.load
            && let Some(word) = arrivals.take()
        {
            let shape = cell.burstiness.take().filter(|shape| SHAPES.contains(shape));
            if word == "gamma" && shape.is_some() {
                (*arrivals, cell.burstiness) = (Some(word), shape);
            } else if serde_json::from_value::<Arrivals>(json!(word)).is_ok() {
                *arrivals = Some(word);
            } else {
                cell.notes.push(format!("its arrivals were spaced by {word:?}, which has no name here"));
            }
        }
    }
}

/// Write a run of these cells. There is at least one.
pub(super) fn write(
    mut cells: Vec<Found>,
    told: &Told,
    runs_root: &Path,
    notes: Vec<String>,
) -> Result<Done, ImportError> {
    for cell in &mut cells {
        told.complete(cell);
        bounded(cell)?;
    }
    let name = told.name.clone().unwrap_or_else(|| name_of(&cells));
    let points = experiment_text::points(&cells);
    let text = experiment_text::text(&name, &tools(&cells), &points);
    let mut plan = plan::build(&Experiment::parse(Path::new("experiment.toml"), &text, &[])?)?;
    let order: Vec<usize> = points.iter().flat_map(|p: &Point<'_>| p.members.iter().copied()).collect();
    let seed = plan.seed;
    for (cell, found) in plan.cells.iter_mut().zip(order.iter().map(|i| &cells[*i])) {
        as_found(cell, found, seed);
    }
    varying(&mut plan);
    let url = cells.iter().find_map(|cell| cell.url.clone()).unwrap_or_default();
    let new = NewRun {
        salt: String::new(),
        set: Vec::new(),
        target: url,
        title: Some(format!("{name} (imported from {})", tools(&cells))),
        figures: None,
    };
    let sources = sources(&cells);
    let mut run = RunDir::create(runs_root, &text, &plan, new, &environment(&sources))?;
    run.mark_imported(sources)?;
    let mut with_requests = 0;
    for (cell, found) in plan.cells.iter().zip(order.iter().map(|i| &cells[*i])) {
        with_requests += usize::from(store_cell(&run, cell, found)?);
    }
    run.set_status(Status::Finished)?;
    Ok(Done { path: PathBuf::from(run.path()), cells: plan.cells.len(), with_requests, notes })
}

/// A cell's length is one that a cell can have: what is computed over its seconds has an end.
fn bounded(cell: &Found) -> Result<(), ImportError> {
    let Some(seconds) = cell.seconds.filter(|s| *s > LONGEST) else { return Ok(()) };
    Err(ImportError::Wrong {
        path: PathBuf::from(&cell.file),
        place: "duration".to_owned(),
        expected: format!("at most {LONGEST} seconds (7 days)"),
        found: format!("{seconds} seconds"),
    })
}

/// What the experiment can't say: factors that are not known, and how long this cell lasted.
fn as_found(cell: &mut Cell, found: &Found, seed: u64) {
    let mut unknown = Vec::new();
    if found.load == Asked::Unknown {
        unknown.extend(["load.users", "load.qps"]);
        if let Load::Closed { users, .. } = &mut cell.settings.load {
            *users = 0;
        }
    }
    if found.prompt_tokens.is_none() {
        unknown.push("workload.prompt_tokens");
        cell.settings.workload.prompt_tokens.mean = 0;
    }
    if found.max_tokens.is_none() {
        unknown.push("workload.max_tokens");
        cell.settings.workload.max_tokens.mean = 0;
    }
    cell.forget(&unknown, seed);
    match &found.url {
        None => cell.settings.target.url = String::new(),
        Some(url) => cell.settings.target.url = experiment_text::origin(url),
    }
    if found.api.is_none() {
        cell.settings.target.api = String::new();
    }
    cell.settings.cell.duration =
        found.seconds.and_then(|s| Duration::try_from_secs_f64(s).ok()).filter(|_| seconds(found) > 0.0);
    let sent = count(found);
    cell.settings.cell.requests = (found.ended_by == Some(EndedBy::Requests) && sent > 0).then_some(sent);
}

/// A factor that is not known doesn't tell cells apart.
fn varying(plan: &mut Plan) {
    let first = plan.cells.first().map(|cell| cell.factors.clone()).unwrap_or_default();
    let mut differ = Vec::new();
    for path in plan.cells.iter().flat_map(|cell| cell.factors.keys()) {
        let same = |cell: &Cell| cell.factors.get(path) == first.get(path);
        if !plan.cells.iter().all(same) && !differ.contains(path) {
            differ.push(path.clone());
        }
    }
    for cell in &mut plan.cells {
        cell.varying.retain(|path| differ.contains(path));
    }
}

/// Store a cell; whether its requests are kept.
fn store_cell(run: &RunDir, cell: &Cell, found: &Found) -> Result<bool, ImportError> {
    let (summary, cell_run) = summary(cell, found);
    let model = found.model.clone().unwrap_or_default();
    if !found.placed || found.requests.is_empty() {
        run.commit_summary(cell, &summary, &model)?;
        return Ok(false);
    }
    let mut log = run.begin_cell(cell)?;
    let path = run.path().to_owned();
    log.write(&found.requests).map_err(|source| StoreError::Io {
        action: "write records in",
        path,
        source,
    })?;
    run.commit_cell(cell, &log.seal()?, &cell_run, &summary, &model)?;
    Ok(true)
}

/// The summary of a cell: of its requests where it has them, with what the file says beside.
fn summary(cell: &Cell, found: &Found) -> (CellSummary, CellRun) {
    let run = cell_run(found);
    let mut summary = summarise(cell, &run, found.requests.iter().cloned());
    if found.started_at.is_none() {
        summary.started_at = String::new();
        summary.ended_at = String::new();
    }
    if !found.due_known {
        summary.distributions.remove("lag");
    }
    let computed = std::mem::take(&mut summary.scalars);
    summary.scalars = scalars(found, &computed);
    for (metric, distribution) in &found.distributions {
        summary.distributions.entry(metric.clone()).or_insert(*distribution);
    }
    if found.requests.is_empty() {
        count_totals(&mut summary, &found.totals);
    }
    if found.prompt_tokens.is_none() {
        summary.tokens.prompt_mismatches = 0;
    }
    if found.max_tokens.is_none() {
        summary.tokens.output_mismatches = 0;
    }
    // Others count from when a request was sent: with no schedule known, due is sent.
    for (due, sent) in [("ttft", "ttft_service"), ("e2e", "e2e_service")] {
        if let Some(known) = summary.distributions.get(due).copied() {
            summary.distributions.entry(sent.to_owned()).or_insert(known);
        }
    }
    summary.slo = Vec::new();
    // Two runs may be paired only where both schedules are known.
    summary.workload_hash = String::new();
    summary.validity = validity(found);
    (summary, run)
}

/// Figures of the requests that don't need a schedule, and over them what the file says.
fn scalars(found: &Found, computed: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    const PLACED: [&str; 5] = ["sent_rps", "completed_rps", "prompt_tps", "in_flight_mean", "in_flight_max"];
    let mut names = Vec::new();
    if !found.requests.is_empty() {
        names.push("error_rate");
        if found.placed && seconds(found) > 0.0 {
            names.extend(PLACED);
        }
    }
    // A sum of lengths that are not known is none.
    let counted = |r: &RequestRecord| r.prompt_tokens.or(r.prompt_tokens_counted).is_some();
    if !found.requests.iter().any(counted) {
        names.retain(|name| *name != "prompt_tps");
    }
    let known = names.iter().filter_map(|name| Some(((*name).to_owned(), *computed.get(*name)?)));
    // Which requests count as failed is said by the requests, if there are any.
    let own = |name: &str| name != "error_rate" || found.requests.is_empty();
    let said = found.scalars.iter().filter(|(name, _)| own(name)).map(|(name, value)| (name.clone(), *value));
    known.chain(said).collect()
}

fn count_totals(summary: &mut CellSummary, totals: &Totals) {
    let attempted = totals.ok + totals.failed + totals.censored + totals.cancelled;
    let counts = &mut summary.counts;
    (counts.planned, counts.attempted, counts.sent) = (attempted, attempted, attempted);
    (counts.ok, counts.failed) = (totals.ok, totals.failed);
    (counts.censored, counts.cancelled) = (totals.censored, totals.cancelled);
    counts.errors.clone_from(&totals.errors);
    summary.tokens.prompt = totals.prompt_tokens.unwrap_or(0);
    summary.tokens.output = totals.output_tokens.unwrap_or(0);
}

fn validity(found: &Found) -> Validity {
    let title = reader(found.tool).map_or(found.tool, |reader| reader.title);
    let version = found.version.as_ref().map(|v| format!(" {v}")).unwrap_or_default();
    let text = format!(
        "measured by {title}{version} ({}), not by Plimsoll: its schedule, its client's health and the steadiness of the load are not known",
        found.file
    );
    let reason = |text: String| Reason { signal: IMPORTED.to_owned(), verdict: Verdict::Warn, text };
    let reasons = std::iter::once(text).chain(found.notes.iter().cloned()).map(reason).collect();
    Validity { verdict: Verdict::Warn, reasons, signals: BTreeMap::new() }
}

fn seconds(found: &Found) -> f64 {
    found.seconds.filter(|s| s.is_finite() && *s > 0.0).unwrap_or(0.0)
}

fn count(found: &Found) -> u64 {
    let totals = &found.totals;
    let counted = totals.ok + totals.failed + totals.censored + totals.cancelled;
    if found.requests.is_empty() { counted } else { found.requests.len() as u64 }
}

fn cell_run(found: &Found) -> CellRun {
    let start_us = found.window_start_us;
    let end_us = start_us.saturating_add((seconds(found) * 1e6).round() as u64);
    let ended_by = found.ended_by.unwrap_or(EndedBy::Duration);
    let started_at = found.started_at.unwrap_or(Timestamp::UNIX_EPOCH);
    let last = found.requests.iter().filter_map(|r| r.end_us).max().unwrap_or(0).max(end_us);
    let whole = SignedDuration::from_micros(i64::try_from(last).unwrap_or(0));
    let mut chunk_gaps = hdrhistogram::Histogram::new_with_bounds(1, 3_600_000_000, 3)
        .expect("bounds are constants that the crate allows");
    for gap in &found.gaps_us {
        chunk_gaps.saturating_record(*gap);
    }
    let planned = found.requests.iter().filter(|r| r.outcome != Outcome::Dropped).count() as u64;
    CellRun {
        stages: Vec::new(),
        epoch_monotonic_ns: 0,
        started_at,
        ended_at: started_at.checked_add(whole).unwrap_or(started_at),
        window: Window { start_us, end_us, ended_by },
        planned: Some(planned),
        in_flight_mean: None,
        timeline: Vec::new(),
        chunk_gaps,
        foreign_chunks_in_window: 0,
        client: ClientHealth::default(),
        lost_records: None,
        observed: None,
    }
}

/// Each file once.
fn sources(cells: &[Found]) -> Vec<Imported> {
    let mut sources: Vec<Imported> = Vec::new();
    for cell in cells {
        let one =
            Imported { tool: cell.tool.to_owned(), version: cell.version.clone(), file: cell.file.clone() };
        if !sources.contains(&one) {
            sources.push(one);
        }
    }
    sources
}

/// Nothing is known of the machine that measured.
fn environment(sources: &[Imported]) -> serde_json::Value {
    json!({ "imported_by": { "plimsoll": env!("CARGO_PKG_VERSION") }, "imported": sources })
}

/// The tools, as people write them.
fn tools(cells: &[Found]) -> String {
    let mut titles: Vec<&str> = Vec::new();
    for cell in cells {
        let title = reader(cell.tool).map_or(cell.tool, |reader| reader.title);
        if !titles.contains(&title) {
            titles.push(title);
        }
    }
    titles.join(" and ")
}

/// `vllm-result` of `result.json`: what a directory may be called.
fn name_of(cells: &[Found]) -> String {
    let (tool, file) = cells.first().map_or(("import", ""), |cell| (cell.tool, cell.file.as_str()));
    let stem = Path::new(file).file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let plain = stem.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' });
    let name: String = format!("{tool}-").chars().chain(plain).take(64).collect();
    name.trim_end_matches(['-', '.']).to_owned()
}
