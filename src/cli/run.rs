//! `plimsoll run`: the main job.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;

use super::compare::{Format, conclude, find_run};
use super::notify::{self, Known};
use super::page::{self, PageArgs};
use super::publish::{self, PublishArgs};
use super::source::{Planned, SourceArgs};
use super::{Exit, Failure, chain, say, say_err};
use crate::analysis::compare::{self, Comparison, GateSettings};
use crate::analysis::{CellData, RunData, inside, sentence};
use crate::event::Watchers;
use crate::experiment::{Experiment, Gate};
use crate::load::Control;
use crate::measure::{CellSummary, SloStatus, Verdict};
use crate::search::{End, Outcome};
use crate::sweep::{self, Ending, Options, SweepError, Swept};
use crate::tracing::{self, Sending};
use crate::ui::{Live, Watch};
use crate::{progress, report};

/// Arguments of `run`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  plimsoll run experiments/quickstart.toml
  plimsoll run smoke --ui                      watch it live, in a browser
  plimsoll run smoke --target http://127.0.0.1:8000        a scenario by its name
  plimsoll run recommended-sequence --scale-time 0.02      hours in minutes, at the simulator
  plimsoll run my.toml --set target.url=http://127.0.0.1:8000 --set 'grid.users=[1,2,4]'
  plimsoll run my.toml --progress json > events.jsonl
  plimsoll run my.toml --resume runs/20260101T120000Z-capacity
  plimsoll run smoke --show-response           what was asked and answered
  plimsoll run my.toml --gate                  exit 1 if a cell, or a stage of it, misses an SLO

Ctrl-C once ends the cell that runs, writes and summarises what was measured, and exits 130;
twice drops what is in flight. Either way the run can be resumed.")]
pub struct RunArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// Where runs are kept; each gets its own directory there.
    #[arg(long, default_value = "runs", value_name = "DIR")]
    out: PathBuf,
    /// Go on with this run: cells that it has finished are not run again.
    #[arg(long, value_name = "RUN")]
    resume: Option<PathBuf>,
    /// How to show progress.
    #[arg(long, default_value = "auto", value_name = "auto|bar|tui|plain|json|none", value_parser = str::parse::<progress::Mode>)]
    progress: progress::Mode,
    /// Where the report goes; the run gets its own directory there (else where `report.out`
    /// of the file says, else in `reports`).
    #[arg(long, value_name = "DIR")]
    reports: Option<PathBuf>,
    /// Show what was asked and answered, after each cell, where progress goes: the answers that
    /// `workload.keep_answers` keeps, else those to the first 100 requests of each cell.
    #[arg(long)]
    show_response: bool,
    /// Write no report; `plimsoll report` can do it later.
    #[arg(long)]
    no_report: bool,
    /// Start no server, though the file's server section says how: use the one that runs at the target.
    #[arg(long)]
    no_server: bool,
    /// Exit 1 if a cell, or a stage of it, misses an SLO or does not recover, and 4 if a cell is
    /// invalid; as `slo.gate = true` of the file. Of a search: exit 1 if no load passes.
    #[arg(long)]
    gate: bool,
    /// Compare with no baseline, though the file's [compare] names one: for the run that is to
    /// become it.
    #[arg(long)]
    no_compare: bool,
    #[command(flatten)]
    publish: PublishArgs,
    #[command(flatten)]
    pub(super) page: PageArgs,
}

/// Longest that spans are waited for after a sweep.
const SPANS_WITHIN: Duration = Duration::from_secs(10);
/// The same after Ctrl-C.
const SPANS_HURRIED: Duration = Duration::from_millis(500);

/// Plan, sweep, report, compare; with a live page as often as it is asked to.
pub fn run(args: &RunArgs) -> Result<Exit, Failure> {
    let control = Control::default();
    if args.page.is_wanted()? {
        return page::run(args, &control);
    }
    let planned = args.source.plan()?;
    watch_signals(&control, announce)?;
    once(args, planned, &control, None)
}

/// One sweep and what is made of it; `page` watches it.
pub(super) fn once(
    args: &RunArgs,
    Planned { experiment, plan }: Planned,
    control: &Control,
    page: Option<&Arc<Live>>,
) -> Result<Exit, Failure> {
    // Before the sweep, which may take hours.
    let baseline = baseline(args, &experiment)?;
    let publishing = args.publish.settings(&args.source, &experiment)?;
    let mut shown = progress::watcher(args.progress, press(control));
    if args.show_response {
        if args.progress == progress::Mode::None {
            return Err(Failure::usage(anyhow!(
                "--show-response beside --progress none: nothing would show it"
            )));
        }
        shown = progress::with_answers(shown);
    }
    let mut watchers = Watchers::default();
    watchers.add(shown);
    let sending = spans(&experiment, &mut watchers)?;
    let published = publish::start(&publishing, &experiment.name, control, &mut watchers)?;
    if let Some(page) = page {
        watchers.add(Box::new(Watch::new(Arc::clone(page))));
    }
    let options = Options {
        runs: args.out.clone(),
        resume: args.resume.clone(),
        sets: args.source.sets(),
        no_server: args.no_server,
    };
    let swept = sweep::run(&experiment, &plan, &options, control, &mut watchers).map_err(failure);
    drop(watchers);
    // Who has pressed Ctrl-C doesn't wait for a collector that doesn't answer.
    let within = if control.finish() { SPANS_HURRIED } else { SPANS_WITHIN };
    if let Some(lost) = sending.and_then(|sending| sending.finish(within)) {
        say_err(&format!("note: {lost}"));
    }
    let mut known = Known::default();
    let ran = swept.is_ok();
    let end = swept.and_then(|swept| conclude_run(args, &experiment, baseline, &swept, &mut known));
    if let (Some(page), Some(written)) = (page, known.page.as_deref().and_then(Path::parent)) {
        page.reported(written.to_owned());
    }
    notify::tell(&experiment, &known, &end);
    publish::finish(published, ran);
    end
}

/// Let this client's spans be sent, if the experiment says where to.
fn spans(experiment: &Experiment, watchers: &mut Watchers) -> anyhow::Result<Option<Sending>> {
    let Some(tracing) = &experiment.tracing else { return Ok(None) };
    let exporter = tracing::exporter(tracing).context("cannot start the sending of spans")?;
    Ok(exporter.map(|(watcher, sending)| {
        watchers.add(watcher);
        sending
    }))
}

/// Report and compare what was swept; what came of it is `known` afterwards.
fn conclude_run(
    args: &RunArgs,
    experiment: &Experiment,
    baseline: Option<Against>,
    swept: &Swept,
    known: &mut Known,
) -> Result<Exit, Failure> {
    known.run = Some(swept.run.clone());
    if let Ending::Stopped { reason } = &swept.ending {
        known.stopped = Some(reason.clone());
    }
    match (report(args, experiment, swept, known), &swept.ending) {
        (Ok(data), ending) => {
            let data = known.data.insert(data);
            let exit = verdict(args, ending, data);
            match baseline.filter(|_| matches!(ending, Ending::Finished)) {
                Some(baseline) => {
                    let (compared, comparison) = compare_with(args, &baseline, data)?;
                    known.comparison = Some(comparison);
                    notify::write_compared(known)?;
                    Ok(first_of(exit, compared))
                }
                None => Ok(exit),
            }
        }
        // That there is no report of half a run is the lesser news.
        (Err(error), Ending::Interrupted) => {
            say_err(&format!("no report: {}", chain(&error)));
            say_how_to_go_on(args, "interrupted", &swept.run);
            Ok(Exit::Interrupted)
        }
        (Err(error), _) => Err(error.into()),
    }
}

/// A baseline, and what a run is held to beside it.
struct Against {
    name: Option<String>,
    data: RunData,
    gate: GateSettings,
}

/// What the run is compared with at its end, if anything.
fn baseline(args: &RunArgs, experiment: &Experiment) -> Result<Option<Against>, Failure> {
    let Some(gate) = experiment.compare.as_ref().filter(|_| !args.no_compare) else { return Ok(None) };
    let Some(name) = &gate.baseline else { return Ok(None) };
    let run = find_run(&args.out, name).map_err(|failure| Failure {
        exit: failure.exit,
        error: failure.error.context(format!(
            "{}: compare.baseline: {name:?} can't be compared with (for the run that is to become it: --no-compare)",
            experiment.path.display()
        )),
    })?;
    // What can't be read now can't be in the end, when hours of measuring hang on it.
    let data = RunData::load_figures(&run.path).map_err(Failure::usage)?;
    Ok(Some(Against { name: run.name, data, gate: gate.clone() }))
}

/// Hold the run against its baseline, print and write what comes of it.
fn compare_with(args: &RunArgs, baseline: &Against, data: &RunData) -> Result<(Exit, Comparison), Failure> {
    let base = &baseline.data;
    let noise = super::noise::of_runs(base, data);
    let mut comparison = compare::compare_with(base, data, &baseline.gate, noise.as_ref());
    comparison.baseline.baseline.clone_from(&baseline.name);
    let reports = args.reports.clone().unwrap_or_else(|| PathBuf::from("reports"));
    let reports = (!args.no_report).then_some(reports.as_path());
    say_out(args, "\n");
    let exit = conclude(&comparison, (base, data), Format::Terminal, reports, |text| say_out(args, text))?;
    Ok((exit, comparison))
}

/// Of two ends of a run the one to tell: the run's own, unless there is nothing wrong with it.
fn first_of(own: Exit, compared: Exit) -> Exit {
    if own == Exit::Fine { compared } else { own }
}

/// In JSON mode stdout belongs to the events.
fn say_out(args: &RunArgs, text: &str) {
    if args.progress == progress::Mode::Json { say_err(text.trim_end()) } else { say(text) }
}

pub(super) fn failure(error: SweepError) -> Failure {
    let exit = match &error {
        e if e.is_interrupt() => Exit::Interrupted,
        e if e.is_usage() => Exit::Usage,
        _ => Exit::Invalid,
    };
    Failure { exit, error: error.into() }
}

/// Read the run again, write its report unless told not to, and print its summary.
fn report(
    args: &RunArgs,
    experiment: &Experiment,
    swept: &Swept,
    known: &mut Known,
) -> anyhow::Result<RunData> {
    let data = RunData::load(&swept.run)?;
    let out = match (&args.reports, &experiment.report.out) {
        (Some(dir), _) => dir.join(&data.id),
        (None, Some(out)) => out.clone(),
        (None, None) => Path::new("reports").join(&data.id),
    };
    if !args.no_report {
        known.page = Some(report::write(&data, &out)?.page);
    }
    let summary = report::terminal::summary(&data, known.page.as_deref());
    say_out(args, &summary);
    Ok(data)
}

/// The command that goes on with a run: with the same `--set`, or it would be another
/// experiment.
fn say_how_to_go_on(args: &RunArgs, what: &str, run: &Path) {
    let same = args.source.again();
    say_err(&format!("{what}; go on with: plimsoll run {same} --resume {}", run.display()));
}

fn verdict(args: &RunArgs, ending: &Ending, data: &RunData) -> Exit {
    let summaries = || data.cells.iter().filter_map(|c| c.summary.as_ref());
    let invalid = |s: &CellSummary| s.validity.verdict == Verdict::Invalid;
    match ending {
        Ending::Interrupted => {
            say_how_to_go_on(args, "interrupted", &data.path);
            return Exit::Interrupted;
        }
        Ending::Stopped { reason } => {
            say_how_to_go_on(args, &format!("stopped: {reason}"), &data.path);
            return Exit::Invalid;
        }
        Ending::Finished => {}
    }
    if summaries().all(|s| invalid(s) || s.counts.ok == 0) {
        say_err(&format!("nothing was measured that can be believed (exit code 4): {}", why_nothing(data)));
        return Exit::Invalid;
    }
    match &data.search {
        Some(found) => searched(args, data, found),
        None => gate(args, data),
    }
}

/// What becomes of a run of searches. That a load fails is what a search is for, so that a gate
/// fails only where none passes.
fn searched(args: &RunArgs, data: &RunData, found: &[Outcome]) -> Exit {
    if let Some(one) = found.iter().find(|one| matches!(one.end, Some(End::Invalid { .. }))) {
        say_err(&format!("{} (exit code 4)", sentence(one)));
        return Exit::Invalid;
    }
    if let Some(exit) = could_not_run(args, data) {
        return exit;
    }
    let gated = data.cells.iter().any(|cell| gates(args, cell).any(|gate| gate != Gate::Off));
    if let Some(one) = found.iter().find(|one| gated && one.last_pass.is_none()) {
        say_err(&format!("the gate failed: {} (exit code 1)", sentence(one)));
        return Exit::GateFailed;
    }
    Exit::Fine
}

/// Cells that the gate is for and that could not run: what isn't known is no pass.
fn could_not_run(args: &RunArgs, data: &RunData) -> Option<Exit> {
    let gated = data.cells.iter().filter(|cell| gates(args, cell).any(|gate| gate != Gate::Off));
    let skipped = gated.filter_map(|cell| cell.skipped.as_ref()).find(|skipped| skipped.failed)?;
    let (number, why) = (skipped.cell_index + 1, &skipped.reason);
    say_err(&format!("the gate can't be judged: cell {number} could not run: {why} (exit code 4)"));
    Some(Exit::Invalid)
}

/// What becomes of a run that was measured well enough: `--gate` and the file's own `slo.gate`.
fn gate(args: &RunArgs, data: &RunData) -> Exit {
    let ran = || data.cells.iter().filter_map(|c| Some((c, c.summary.as_ref()?)));
    let gated = |c: &CellData| gates(args, c).any(|gate| gate != Gate::Off);
    if ran().any(|(c, s)| gated(c) && s.validity.verdict == Verdict::Invalid) {
        say_err("the gate can't be judged: not every cell is valid (exit code 4)");
        return Exit::Invalid;
    }
    if let Some(exit) = could_not_run(args, data) {
        return exit;
    }
    let Some((_, what)) = ran().flat_map(|(c, s)| missed(args, c, s)).max_by_key(|(status, _)| *status)
    else {
        return Exit::Fine;
    };
    say_err(&format!("the gate failed: {what} (exit code 1)"));
    Exit::GateFailed
}

/// The gate of a cell, and those of its stages, which are at least the cell's.
fn gates<'a>(args: &RunArgs, cell: &'a CellData) -> impl Iterator<Item = Gate> + 'a {
    let settings = &cell.cell.settings;
    let asked = if args.gate { Gate::Acceptable } else { Gate::Off };
    let whole = settings.slo.gate.max(asked);
    std::iter::once(whole).chain(settings.stages.iter().map(move |stage| stage.slo.gate.max(whole)))
}

/// What a cell and its stages miss of what they are gated by, in the words of the gate.
fn missed(args: &RunArgs, cell: &CellData, summary: &CellSummary) -> Vec<(SloStatus, String)> {
    let fails = |gate: Gate, status: SloStatus| match gate {
        Gate::Off => false,
        Gate::Acceptable => status == SloStatus::Fail,
        Gate::Target => status != SloStatus::Pass,
    };
    let what = |status| if status == SloStatus::Fail { "an SLO" } else { "the target of an SLO" };
    let mut gates = gates(args, cell);
    let whole = gates.next().unwrap_or(Gate::Off);
    let own = summary.slo.iter().map(|v| v.status).filter(|status| fails(whole, *status));
    let mut out: Vec<_> = own.map(|status| (status, format!("a cell misses {}", what(status)))).collect();
    let beyond = summary.limits().iter().filter(|limit| fails(whole, limit.status));
    out.extend(beyond.map(|l| (l.status, format!("a cell is beyond a limit: {}", inside::limit_text(l)))));
    for (gate, stage) in gates.zip(summary.stages()) {
        let rules = stage.slo.iter().map(|v| v.status).filter(|status| fails(gate, *status));
        out.extend(
            rules.map(|status| {
                (status, format!("the stage {} of a cell misses {}", stage.name, what(status)))
            }),
        );
        let recovery = stage.recovery.iter().filter(|r| fails(gate, r.status()));
        out.extend(recovery.map(|r| (r.status(), format!("a stage of a cell did not recover: {}", r.text))));
    }
    out
}

/// What a person should look at when no cell gave anything.
fn why_nothing(data: &RunData) -> &'static str {
    let answered = data.cells.iter().filter_map(|c| c.summary.as_ref()).any(|s| s.counts.ok > 0);
    if answered {
        "every cell with an answer is invalid, for the reasons above"
    } else {
        "no request due in a window was answered; see the first words of each class of failure and the notes at the start, or \
         give cells a longer duration"
    }
}

pub(super) fn announce(control: &Control) {
    let words = if control.now() {
        "dropping what is in flight"
    } else {
        "ending: what is in flight is awaited; Ctrl-C again drops it"
    };
    if !progress::tell(words) {
        say_err(words);
    }
}

/// What Ctrl-C does, for a display that hears it itself.
pub(super) fn press(control: &Control) -> progress::Press {
    let control = control.clone();
    Arc::new(move || press_once(&control, announce))
}

/// One press, told to `pressed`; a third ends the process at once.
fn press_once(control: &Control, pressed: fn(&Control)) {
    if control.now() {
        progress::restore();
        std::process::exit(Exit::Interrupted as i32);
    }
    control.press();
    pressed(control);
}

/// Turn SIGINT and SIGTERM into presses of `control`, each told to `pressed`; a third ends
/// the process at once.
///
/// # Errors
/// When the handlers can't be installed.
pub(super) fn watch_signals(control: &Control, pressed: fn(&Control)) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let control = control.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("cannot start the signal watch")?;
    let guard = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch SIGTERM")?;
    drop(guard);
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    press_once(&control, pressed);
                }
            });
        })
        .context("cannot start the signal watch")?;
    Ok(())
}
