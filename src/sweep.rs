//! Walks a plan: for each cell prepare → drive → summarise → store → cool down.
//!
//! A failing cell is a result, not an abort. The sweep ends early only when it is told to,
//! when the server has not answered a single request for several cells in a row, or when
//! results can no longer be written; in each case what was finished is kept and can be
//! gone on with.

mod bench;

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use bench::Bench;

use crate::event::{Event, Watcher};
use crate::experiment::{Cooldown, Experiment, Figures, Target, Workload};
use crate::load::{self, Control, Job, JobPart, LoadError};
use crate::measure::validity::{CONTAMINATED_NAME, DATA_AGAIN_NAME};
use crate::measure::{self, CellSummary, Verdict};
use crate::plan::{self, Cell, Plan};
use crate::record::{Ceiling, CellRun, EndedBy};
use crate::server::{self, DiscoverError, Found, Idle};
use crate::sim;
use crate::store::{self, Calibrated, NewRun, RunDir, Served, Status, StoreError};
use crate::workload::{self, DataError, Source};

/// What a sweep is told beside its plan.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory of runs.
    pub runs: PathBuf,
    /// Go on with this run instead of beginning one.
    pub resume: Option<PathBuf>,
    /// The `--set` overrides, for the record.
    pub sets: Vec<String>,
}

/// How a sweep ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    Finished,
    /// Ctrl-C.
    Interrupted,
    /// The server stopped answering.
    Stopped {
        reason: String,
    },
}

/// What a sweep left.
#[derive(Debug)]
pub struct Swept {
    /// The run's directory.
    pub run: PathBuf,
    pub ending: Ending,
}

/// Why a sweep could not go on.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Discover(#[from] DiscoverError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error("this machine can't run the plan: {0}")]
    BeyondThisMachine(String),
    #[error("cannot start the simulator: {0}")]
    Sim(#[from] sim::SimError),
    #[error("sim.{key}: {reason}")]
    Knob { key: String, reason: String },
    #[error("target.api = \"{api}\" is not known")]
    Api { api: String },
    #[error("target.url: {url}: {source}")]
    Url { url: String, source: url::ParseError },
    #[error(
        "{} was made by another experiment: {difference}. Resume it with the file that it was begun with and {}, \
         or start a new run",
        run.display(),
        begun_with(set)
    )]
    OtherExperiment { run: PathBuf, difference: String, set: Vec<String> },
}

/// The `--set` arguments of a run, in words.
fn begun_with(set: &[String]) -> String {
    match set {
        [] => "no --set".to_owned(),
        some => some.iter().map(|s| format!("--set '{s}'")).collect::<Vec<_>>().join(" "),
    }
}

impl SweepError {
    /// Whether the user's input is at fault.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        match self {
            Self::OtherExperiment { .. }
            | Self::Data(_)
            | Self::Knob { .. }
            | Self::Url { .. }
            | Self::BeyondThisMachine(_) => true,
            Self::Store(StoreError::NotARun { .. } | StoreError::InUse { .. }) => true,
            Self::Discover(error) => error.is_usage(),
            _ => false,
        }
    }

    /// Whether it was the user who ended it, before there was a run.
    #[must_use]
    pub const fn is_interrupt(&self) -> bool {
        matches!(self, Self::Discover(DiscoverError::Stopped))
    }
}

/// Run every cell of `plan` that is not finished yet.
///
/// # Errors
/// When nothing can be measured (the server can't be found at the start) or kept.
pub fn run(
    experiment: &Experiment,
    plan: &Plan,
    options: &Options,
    control: &Control,
    watcher: &mut dyn Watcher,
) -> Result<Swept, SweepError> {
    let expected: Vec<f64> = plan::estimate(plan).cells.iter().map(|c| c.expected_s).collect();
    let mut bench = Bench::new(control);
    let calibrated = Calibrated::find();
    let resumed = options.resume.as_deref().map(|path| reopen(path, plan, watcher)).transpose()?;
    let done = resumed.as_ref().map(RunDir::finished).unwrap_or_default();
    let left: Vec<&Cell> = plan.cells.iter().filter(|c| !done.contains(&c.index)).collect();
    // Before anything is written: are the files there, can this machine do it, and is there a
    // server at all?
    look_at_files(&left)?;
    look_ahead(&left, watcher)?;
    let mut identity = Value::Null;
    if let Some(first) = left.first() {
        let found = bench.ready(&first.settings, None, watcher)?;
        identity = bench::identity(&first.settings, &found);
    }
    let mut ceiling = calibrated.ceiling();
    let mut run = match resumed {
        Some(run) if left.is_empty() => {
            return Ok(Swept { run: run.path().to_owned(), ending: Ending::Finished });
        }
        Some(mut run) => {
            // Its cells are judged alike, by what was known when it was begun.
            ceiling = store::noted_ceiling(&run.environment()?);
            run.set_status(Status::Running)?;
            run
        }
        None => begin(experiment, plan, options, identity, &calibrated)?,
    };
    let name = run.manifest().run.clone();
    watcher.on(&Event::SweepStarted {
        run: &name,
        cells: plan.cells.len(),
        finished_before: done.len(),
        expected_s: left.iter().map(|c| expected[c.index as usize]).sum(),
    });
    let mut walk = Walk {
        run: &run,
        expected: &expected,
        control,
        watcher: &mut *watcher,
        bench,
        silent_in_row: 0,
        finished: done.len(),
        contaminated: None,
        ceiling,
    };
    let ending = walk.all(&left);
    let finished = walk.finished;
    let noted = run.set_status(match ending {
        Ok(Ending::Finished) => Status::Finished,
        Ok(Ending::Interrupted) => Status::Interrupted,
        Ok(Ending::Stopped { .. }) | Err(_) => Status::Stopped,
    });
    // On a full disk the first error says more than that its consequence can't be noted.
    if ending.is_err() {
        let text = format!("what was finished is kept; go on with --resume {}", run.path().display());
        watcher.on(&Event::Notice { text: &text });
    }
    let ending = ending?;
    noted?;
    watcher.on(&Event::SweepFinished {
        run: &name,
        finished,
        of: plan.cells.len(),
        interrupted: ending == Ending::Interrupted,
    });
    Ok(Swept { run: run.path().to_owned(), ending })
}

/// Read every file that the cells ask from: a wrong line is an error before the first cell has
/// run, and not after hours.
///
/// # Errors
/// The first file with a mistake, with the line; of a data set all wrong lines.
pub fn look_at_files(cells: &[&Cell]) -> Result<(), SweepError> {
    let mut seen = HashSet::new();
    for (_, workload) in cells.iter().flat_map(|cell| cell.settings.parts()) {
        let Workload { dataset, conversations, trace, images, .. } = workload;
        let lengths =
            [Some(&workload.prompt_tokens), Some(&workload.max_tokens), workload.query_tokens.as_ref()];
        let lengths = lengths.map(|lengths| lengths.and_then(|lengths| lengths.file.as_ref()));
        // Cells share their files, and differ in what has no say in them.
        if seen.insert(format!("{dataset:?} {conversations:?} {trace:?} {images:?} {lengths:?}")) {
            workload::check(workload)?;
        }
    }
    Ok(())
}

/// Hold every cell against what this machine allows: what can't be is an error before the
/// first one has run, and not after hours.
fn look_ahead(cells: &[&Cell], watcher: &mut dyn Watcher) -> Result<(), SweepError> {
    let (beyond, at_risk): (Vec<_>, Vec<_>) =
        load::preflight(cells, &load::Allowed::of_this_process()).into_iter().partition(|f| f.certain);
    if !beyond.is_empty() {
        let texts: Vec<String> = beyond.into_iter().map(|finding| finding.text).collect();
        return Err(SweepError::BeyondThisMachine(texts.join("\n")));
    }
    for finding in at_risk {
        watcher.on(&Event::Notice { text: &finding.text });
    }
    Ok(())
}

/// Open a run to go on with it, if it was made by the same experiment.
fn reopen(path: &Path, plan: &Plan, watcher: &mut dyn Watcher) -> Result<RunDir, SweepError> {
    let run = RunDir::open(path)?;
    if run.manifest().experiment_hash != plan.experiment_hash {
        return Err(SweepError::OtherExperiment {
            run: path.to_owned(),
            difference: plan::difference(run.plan(), plan),
            set: run.manifest().set.clone(),
        });
    }
    for (file, why) in run.repair()? {
        watcher.on(&Event::Notice {
            text: &format!("{} can't be read, its cell runs again: {why}", file.display()),
        });
    }
    Ok(run)
}

/// Begin a run's directory with everything that is known before the first cell.
fn begin(
    experiment: &Experiment,
    plan: &Plan,
    options: &Options,
    identity: Value,
    calibrated: &Calibrated,
) -> Result<RunDir, SweepError> {
    let new = NewRun {
        salt: experiment.salt.clone().unwrap_or_else(fresh_salt),
        set: options.sets.clone(),
        target: plan.cells.first().map(|c| c.settings.of_targets(|target| &target.url)).unwrap_or_default(),
        title: experiment.report.title.clone(),
        figures: match &experiment.report.figures {
            Figures::All => None,
            Figures::Only(names) => Some(names.clone()),
        },
    };
    let mut environment = store::environment(identity);
    environment["calibration"] = calibrated.note();
    Ok(RunDir::create(&options.runs, &experiment.text, plan, new, &environment)?)
}

/// A salt that no other run has: 64 random bits.
fn fresh_salt() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// What to say of a data set that was gone through more than once. Of conversations it isn't known
/// from the counts how many there were.
fn data_again(parts: &[JobPart], summary: &CellSummary) -> Option<String> {
    // In a mix each part has but its share of the arrivals.
    let [part] = parts else { return None };
    let asked = summary.counts.attempted + summary.counts.before_window;
    let lines = part.source.period().filter(|_| !part.source.sessions())?;
    (asked > lines).then(|| {
        format!(
            "the {lines} lines of the workload's file were asked {:.1} times each: a server that keeps what it made \
             of prompts answers the later ones sooner",
            asked as f64 / lines as f64
        )
    })
}

/// The cell as it is to be driven where answers are to be shown: it keeps `shown` of them, unless
/// the experiment says how many.
fn with_answers(cell: &Cell, shown: Option<u32>) -> Cow<'_, Cell> {
    let mut cell = Cow::Borrowed(cell);
    if let Some(shown) = shown
        && cell.settings.parts().all(|(_, workload)| workload.keep_answers == 0)
    {
        let settings = &mut cell.to_mut().settings;
        let parts = settings.parts.iter_mut().map(|part| &mut part.workload);
        for workload in parts.chain([&mut settings.workload]) {
            workload.keep_answers = shown;
        }
    }
    cell
}

/// One walk over the cells that are left.
struct Walk<'a> {
    run: &'a RunDir,
    /// Expected seconds of each cell of the plan.
    expected: &'a [f64],
    control: &'a Control,
    watcher: &'a mut dyn Watcher,
    bench: Bench,
    /// Cells in a row in which the server answered nothing.
    silent_in_row: u32,
    finished: usize,
    /// Why the server was not idle when the next cell began.
    contaminated: Option<String>,
    /// What a load core of this machine can do, if it was calibrated.
    ceiling: Option<Ceiling>,
}

impl Walk<'_> {
    fn all(&mut self, cells: &[&Cell]) -> Result<Ending, SweepError> {
        for (place, cell) in cells.iter().enumerate() {
            if self.control.finish() {
                return Ok(Ending::Interrupted);
            }
            let found = match self.find(cell) {
                Err(SweepError::Discover(DiscoverError::Stopped)) => return Ok(Ending::Interrupted),
                other => other?,
            };
            let (run, summary) = self.one(cell, &found)?;
            if summary.window.ended_by == EndedBy::Interrupt {
                return Ok(Ending::Interrupted);
            }
            self.finished += 1;
            if let Some(reason) = self.dead(cell, &run, &summary) {
                return Ok(Ending::Stopped { reason });
            }
            if place + 1 < cells.len() {
                self.cool_down(cell, &found);
            }
        }
        Ok(Ending::Finished)
    }

    /// Drive one cell and keep what it gave.
    fn one(&mut self, cell: &Cell, found: &[Rc<Found>]) -> Result<(CellRun, CellSummary), SweepError> {
        self.watcher.on(&Event::CellStarted {
            cell,
            of: self.expected.len(),
            expected_s: self.expected[cell.index as usize],
        });
        let shown = self.watcher.answers();
        let asked = with_answers(cell, shown);
        let job = Job { cell: &asked, parts: self.parts(cell, found)? };
        let mut log = self.run.begin_cell(cell)?;
        let watcher = &mut *self.watcher;
        let mut run = load::drive(&job, &mut log, self.control, &mut |live| watcher.on(&Event::Live(live)))?;
        run.client.ceiling = self.ceiling;
        if let Some(why) = log.answers_refused() {
            let text = format!("not all answers of the cell could be kept: {why}");
            self.watcher.on(&Event::Notice { text: &text });
        }
        let log = log.seal()?;
        let mut summary = measure::summarise_walks(cell, &run, || log.records())?;
        if let Some(text) = self.contaminated.take() {
            summary.validity.add(CONTAMINATED_NAME, Verdict::Warn, text);
        }
        if let Some(text) = data_again(&job.parts, &summary) {
            summary.validity.add(DATA_AGAIN_NAME, Verdict::Warn, text);
        }
        let (api, model) = bench::served(found);
        self.run.commit_cell(cell, &log, &run, &summary, Served { api: &api, model: &model })?;
        self.watcher.on(&Event::CellFinished { cell, summary: &summary });
        if shown.is_some() {
            for answer in &self.run.answers(cell)? {
                self.watcher.on(&Event::Answer { cell_index: cell.index, answer });
            }
        }
        Ok((run, summary))
    }

    /// What each part of the cell is sent by.
    fn parts(&self, cell: &Cell, found: &[Rc<Found>]) -> Result<Vec<JobPart>, SweepError> {
        let salt = &self.run.manifest().salt;
        let part = |((target, workload), found): ((&Target, &Workload), &Rc<Found>)| {
            let provider =
                found.provider(target).ok_or_else(|| SweepError::Api { api: found.api.clone() })?;
            let source = Source::open(workload.clone(), cell.seed, salt, Arc::clone(&found.tokenizer))?;
            let (provider, source) = (provider.into(), Arc::new(source));
            Ok(JobPart { endpoint: found.endpoint.clone(), provider, source })
        };
        cell.settings.parts().zip(found).map(part).collect()
    }

    /// Look for the cell's servers. One that can't be found now, after others were, is a
    /// failing cell and not the end: it is asked all the same, and its silence recorded.
    fn find(&mut self, cell: &Cell) -> Result<Vec<Rc<Found>>, SweepError> {
        self.bench.ready(&cell.settings, Some(cell.index + 1), self.watcher)
    }

    /// Why the sweep should stop: nothing was answered for several cells in a row, neither in
    /// the window nor outside of it.
    fn dead(&mut self, cell: &Cell, run: &CellRun, summary: &CellSummary) -> Option<String> {
        let answered = run.timeline.iter().any(|tick| tick.completed > 0 || tick.chunks > 0);
        let asked = run.timeline.iter().any(|tick| tick.sent > 0);
        self.silent_in_row = if answered || !asked { 0 } else { self.silent_in_row + 1 };
        let limit = cell.settings.client.dead_after;
        (self.silent_in_row >= limit).then(|| {
            let counts = &summary.counts;
            let mut last: Vec<String> = counts.errors.iter().map(|(c, n)| format!("{n} × {c}")).collect();
            if last.is_empty() {
                last.push("no answer in time".to_owned());
            }
            let row = if limit == 1 { "a whole cell".to_owned() } else { format!("{limit} cells in a row") };
            format!("no request was answered in {row} (last: {}); what was measured is kept", last.join(", "))
        })
    }

    /// Wait until every server of the cell is idle.
    fn cool_down(&mut self, cell: &Cell, found: &[Rc<Found>]) {
        let mut cooldown = cell.settings.cell.cooldown;
        let silent = self.silent_in_row > 0;
        if silent {
            // Nobody is there to become idle.
            cooldown = Cooldown { min: cooldown.min, max: cooldown.min };
        }
        self.watcher
            .on(&Event::CoolingDown { min_s: cooldown.min.as_secs_f64(), max_s: cooldown.max.as_secs_f64() });
        let began = Instant::now();
        let several = cell.settings.parts.iter().any(|part| part.endpoint.is_some());
        for server in bench::servers(found) {
            // Those that come later have been waited for with the first.
            let left = |d: Duration| d.saturating_sub(began.elapsed());
            let left = Cooldown { min: left(cooldown.min), max: left(cooldown.max) };
            let idle = server::wait_idle(server, &left, &|| self.control.finish());
            if let Idle::TimedOut { what, .. } = idle
                && !silent
            {
                let waited = began.elapsed().as_secs_f64();
                let which = if several { format!(" {}", server.endpoint.base) } else { String::new() };
                self.contaminated =
                    Some(format!("the server{which} was still busy after {waited:.1} s of cooldown: {what}"));
            }
        }
    }
}
