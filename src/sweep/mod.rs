//! Walks a plan: for each cell prepare → drive → summarise → store → cool down.
//!
//! A failing cell is a result, not an abort. The sweep ends early only when it is told to,
//! when the server has not answered a single request for several cells in a row, or when
//! results can no longer be written; in each case what was finished is kept and can be
//! gone on with.

mod begin;
mod bench;
mod hooks;
mod in_turn;
mod inside;
mod listed;
mod observing;
mod prune;
mod searching;
mod walk;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

pub use begin::look_at_files;
pub use in_turn::{Side, in_turn};

use begin::{begin, look_ahead, reopen};
use bench::Bench;
use hooks::{After, Runner};
use listed::Listed;
use observing::Observing;
use searching::Searching;
use walk::Walk;

use crate::analysis::AnalysisError;
use crate::event::{Event, Watcher};
use crate::experiment::{Experiment, HookPoint, Mistakes};
use crate::fleet::{Fleet, FleetError, Token};
use crate::load::{Control, LoadError};
use crate::plan::{self, Cell, Plan};
use crate::record::Ceiling;
use crate::server::{DiscoverError, LaunchError, Launcher, Stop};
use crate::sim;
use crate::store::{self, Calibrated, RunDir, Status, StoreError};
use crate::workload::DataError;

/// Name of the directory in a run that holds the logs of our own server.
pub const SERVER_LOGS: &str = "server";

/// What a sweep is told beside its plan.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory of runs.
    pub runs: PathBuf,
    /// Go on with this run instead of beginning one.
    pub resume: Option<PathBuf>,
    /// The `--set` overrides, for the record.
    pub sets: Vec<String>,
    /// The server that the file would start runs already.
    pub no_server: bool,
}

/// Share of the requests that bear the name of a trace.
fn traced(experiment: &Experiment) -> f64 {
    experiment.tracing.as_ref().map_or(0.0, |tracing| tracing.share)
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
    Launch(#[from] LaunchError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Fleet(#[from] FleetError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Analysis(#[from] AnalysisError),
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
    #[error("a hook failed before the sweep: {0}")]
    Hook(String),
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
    #[error(
        "cell {cell} of the run's plan.json is none of its searches: the file is damaged; start a new run"
    )]
    NoSearch { cell: u32 },
    #[error("runs that take turns must ask the same of their servers, and here they don't: {difference}")]
    OtherCells { difference: String },
    #[error(
        "runs that take turns have cells that are known before: leave search and prune out of the grid, such as for \
         the loads that a search found"
    )]
    NoTurns,
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
            | Self::OtherCells { .. }
            | Self::NoTurns
            | Self::Data(_)
            | Self::Mistakes(_)
            | Self::Knob { .. }
            | Self::Url { .. }
            | Self::BeyondThisMachine(_) => true,
            Self::Store(StoreError::NotARun { .. } | StoreError::InUse { .. }) => true,
            Self::Fleet(error) => error.is_usage(),
            Self::Discover(error) | Self::Launch(LaunchError::Target(error)) => error.is_usage(),
            _ => false,
        }
    }

    /// Whether it was the user who ended it, before there was a run.
    #[must_use]
    pub const fn is_interrupt(&self) -> bool {
        matches!(self, Self::Discover(DiscoverError::Stopped) | Self::Launch(LaunchError::Stopped))
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
    let mut bench = Bench::new(control);
    let calibrated = Calibrated::find();
    let resumed = options.resume.as_deref().map(|path| reopen(path, plan, watcher)).transpose()?;
    let mut plan = plan.clone();
    if let Some(run) = &resumed {
        searching::catch_up(experiment, &mut plan, run.plan())?;
    }
    let plan = &plan;
    let expected: Vec<f64> = plan::estimate(plan).cells.iter().map(|c| c.expected_s).collect();
    let mut done = resumed.as_ref().map(RunDir::finished).unwrap_or_default();
    done.extend(resumed.iter().flat_map(RunDir::skipped));
    let left: Vec<&Cell> = plan.cells.iter().filter(|c| !done.contains(&c.index)).collect();
    // Before anything is written: are the files there, can this machine do it, and is there a
    // server at all?
    look_at_files(&left)?;
    let fleet = fleet(experiment)?;
    look_ahead(&left, fleet.as_ref(), watcher)?;
    // A search may have more to do than its plan says.
    let searched = plan.cells.first().filter(|_| !plan.searches.is_empty());
    if !options.no_server && plan.cells.iter().any(|cell| cell.settings.server.is_some()) {
        bench.launch_by(launcher(experiment, options, resumed.as_ref(), control));
    }
    let hooks = Runner::new(&experiment.hooks, control);
    if let Some(run) = resumed.as_ref().filter(|_| left.is_empty())
        && (plan.searches.is_empty() || searching::is_over(run)?)
    {
        return Ok(Swept { run: run.path().to_owned(), ending: Ending::Finished });
    }
    let first = first_up(left.iter().copied().chain(searched), &mut bench, watcher)?;
    let mut place = None;
    if let Some(first) = first {
        let base = bench.first_base(&first.settings)?;
        if let Some((target, _)) = first.settings.parts().next() {
            match hooks.run(HookPoint::BeforeSweep, (target, &base), None, watcher) {
                After::GoOn => {}
                After::Fail(reason) | After::Stop(reason) => return Err(SweepError::Hook(reason)),
                After::Interrupted => return Err(DiscoverError::Stopped.into()),
            }
            place = Some((target.clone(), base));
        }
    }
    let means = (&mut bench, first, &calibrated, fleet.as_ref());
    let begun = take_up(experiment, plan, (options, resumed), means, watcher);
    let (mut run, ceiling) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            // What was done before the sweep is undone, however it came.
            if let Some((target, base)) = &place {
                hooks.run(HookPoint::AfterSweep, (target, base), None, watcher);
            }
            return Err(error);
        }
    };
    let name = run.manifest().run.clone();
    watcher.on(&Event::SweepStarted {
        run: &name,
        cells: plan.cells.len(),
        finished_before: done.len(),
        expected_s: left.iter().map(|c| expected[c.index as usize]).sum(),
    });
    let mut walk = Walk::new(control, watcher, bench, ceiling)
        .with_hooks(hooks)
        .with_traced(traced(experiment))
        .observed_by(Observing::new(&experiment.observe))
        .with_fleet(fleet);
    let (mut ending, of, pruned) = if plan.searches.is_empty() {
        let mut agenda = Listed::new(&run, plan, &expected, &left);
        (walk.all(&mut agenda), plan.cells.len(), agenda.pruned)
    } else {
        let agenda = Searching::new(&mut run, experiment, plan.clone(), &done);
        match agenda {
            Ok(mut agenda) => (walk.all(&mut agenda), agenda.cells(), 0),
            Err(error) => (Err(error), plan.cells.len(), 0),
        }
    };
    let finished = done.len() + walk.finished + walk.failed + pruned;
    if let Some((target, base)) = &place
        && let After::Stop(reason) = walk.after_sweep(target, base)
        && let Ok(Ending::Finished) = ending
    {
        ending = Ok(Ending::Stopped { reason });
    }
    // Its server is stopped before the end is told.
    drop(walk);
    close(&mut run, &ending, watcher)?;
    let ending = ending?;
    watcher.on(&Event::SweepFinished {
        run: &name,
        finished,
        of,
        interrupted: ending == Ending::Interrupted,
    });
    Ok(Swept { run: run.path().to_owned(), ending })
}

/// The workers that drive the load, connected; `None`: this process does.
fn fleet(experiment: &Experiment) -> Result<Option<Fleet>, FleetError> {
    let settings = &experiment.fleet;
    if settings.workers.is_empty() {
        return Ok(None);
    }
    Fleet::connect(&settings.workers, &Token::of_variable(&settings.token_env)).map(Some)
}

/// The run that the cells go to, begun or gone on with, and by what its cells are judged.
fn take_up(
    experiment: &Experiment,
    plan: &Plan,
    (options, resumed): (&Options, Option<RunDir>),
    (bench, first, calibrated, fleet): (&mut Bench, Option<&Cell>, &Calibrated, Option<&Fleet>),
    watcher: &mut dyn Watcher,
) -> Result<(RunDir, Option<Ceiling>), SweepError> {
    let mut identity = Value::Null;
    if let Some(first) = first {
        let found = bench.ready(&first.settings, None, watcher)?;
        identity = bench::identity(&first.settings, &found);
    }
    let (run, ceiling) = match resumed {
        Some(mut run) => {
            // Its cells are judged alike, by what was known when it was begun.
            let ceiling = store::noted_ceiling(&run.environment()?);
            run.set_status(Status::Running)?;
            (run, ceiling)
        }
        None => {
            (begin(experiment, plan, (options, None), (identity, fleet), calibrated)?, calibrated.ceiling())
        }
    };
    bench.settle(&run.path().join(SERVER_LOGS))?;
    Ok((run, ceiling))
}

/// What starts and stops the cells' own server. Its logs lie in the run, and until there is one
/// beside it.
fn launcher(
    experiment: &Experiment,
    options: &Options,
    resumed: Option<&RunDir>,
    control: &Control,
) -> Launcher {
    let dir = experiment.path.parent().unwrap_or(Path::new(""));
    let control = control.clone();
    let stop: Stop = Arc::new(move || control.finish());
    match resumed {
        Some(run) => Launcher::new(dir, &run.path().join(SERVER_LOGS), true, stop),
        None => {
            let early = options.runs.join(format!(".server-{}", std::process::id()));
            Launcher::new(dir, &early, false, stop)
        }
    }
}

/// The first cell whose server is up: those before it fail, and the sweep will say so.
fn first_up<'a>(
    cells: impl Iterator<Item = &'a Cell>,
    bench: &mut Bench,
    watcher: &mut dyn Watcher,
) -> Result<Option<&'a Cell>, SweepError> {
    for cell in cells {
        match bench.up(&cell.settings, watcher) {
            Ok(_) => return Ok(Some(cell)),
            Err(LaunchError::Failed(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Note in the run how its sweep ended.
fn close(
    run: &mut RunDir,
    ending: &Result<Ending, SweepError>,
    watcher: &mut dyn Watcher,
) -> Result<(), SweepError> {
    let noted = run.set_status(match ending {
        Ok(Ending::Finished) => Status::Finished,
        Ok(Ending::Interrupted) => Status::Interrupted,
        Ok(Ending::Stopped { .. }) | Err(_) => Status::Stopped,
    });
    // On a full disk the first error says more than that its consequence can't be noted.
    if ending.is_err() {
        let text = format!("what was finished is kept; go on with --resume {}", run.path().display());
        watcher.on(&Event::Notice { text: &text });
        return Ok(());
    }
    Ok(noted?)
}
