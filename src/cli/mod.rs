//! The door: one file per subcommand, each with a `run` that fits on one screen.
//!
//! Exit codes, the same everywhere: 0 fine · 1 a gate failed · 2 usage or experiment file ·
//! 3 not comparable · 4 invalid measurement · 5 inconclusive · 130 interrupted, with
//! everything that was finished kept.

mod ab;
mod baseline;
mod calibrate;
mod capacity;
mod compare;
mod completions;
mod export;
mod history;
mod import;
mod init;
mod lists;
mod noise;
mod notify;
mod page;
mod plan;
mod publish;
mod rebuild;
mod report;
mod run;
mod scenarios;
mod search;
mod sim;
mod source;
mod ui;
mod worker;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::chart::CHARTS;
use crate::experiment::{Experiment, Figures};

/// How a command ended, as the shell sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Fine = 0,
    /// A gate that was asked for failed: an SLO, or a figure that regressed.
    GateFailed = 1,
    /// The command line or the experiment file is wrong.
    Usage = 2,
    /// Two things that were to be compared can't be.
    NotComparable = 3,
    /// Nothing trustworthy was measured, or it could not be kept.
    Invalid = 4,
    /// Nobody can tell, and the gate is strict.
    Inconclusive = 5,
    /// Ctrl-C. What was finished is kept.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error with the exit code that belongs to it.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    error: anyhow::Error,
}

impl Failure {
    fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Usage, error: error.into() }
    }
}

/// Whatever has no code of its own could not be measured or kept.
impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { exit: Exit::Invalid, error: error.into() }
    }
}

const AFTER_HELP: &str = "\
Examples:
  plimsoll run experiments/quickstart.toml      sweep the embedded simulator, write a report
  plimsoll scenarios                            ready experiments, by name
  plimsoll run smoke --target http://127.0.0.1:8000
  plimsoll init my.toml                         a commented experiment file to start from
  plimsoll search my.toml                       the greatest load within the SLO
  plimsoll plan my.toml                         what would run, how long, how many tokens
  plimsoll run my.toml --set target.url=http://127.0.0.1:8000
  plimsoll run my.toml --resume runs/20260101T120000Z-capacity
  plimsoll run my.toml --ui                     watch it live, in a browser
  plimsoll ui                                   browse past runs
  plimsoll report runs/20260101T120000Z-capacity
  plimsoll history nightly                      where a figure changed, over all runs
  plimsoll capacity runs/20260101T120000Z-capacity --load '12 req/s at 512/128; growth 20%'
  plimsoll compare main runs/20260102T120000Z-capacity
  plimsoll ab my.toml --a http://127.0.0.1:8000 --b http://127.0.0.1:8001

Exit codes: 0 fine, 1 a gate failed, 2 usage or experiment file, 3 not comparable,
4 invalid measurement, 5 inconclusive, 130 interrupted (what was finished is kept).";

/// Finds the load line of an LLM inference server: sweeps load, measures truthfully, reports.
#[derive(Debug, Parser)]
#[command(name = "plimsoll", version, after_help = AFTER_HELP, max_term_width = 100)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run an experiment: each cell in order, then write the report.
    Run(run::RunArgs),
    /// Find the greatest load within the SLO, instead of going through a list of loads.
    Search(search::SearchArgs),
    /// Show what an experiment would do: cells, load, time, requests, tokens.
    Plan(plan::PlanArgs),
    /// List the ready experiments that can be run by name.
    Scenarios(scenarios::ScenariosArgs),
    /// Write figures and the page of finished or partial runs.
    Report(report::ReportArgs),
    /// Browse past runs, their reports and comparisons, in a browser.
    Ui(ui::UiArgs),
    /// Follow a figure over all runs of an experiment: where did its level change?
    History(history::HistoryArgs),
    /// Say what a server carries within an SLO, how sure that is, and what a traffic needs.
    Capacity(capacity::CapacityArgs),
    /// Hold a run against another: regressed, or not, or can't tell.
    Compare(compare::CompareArgs),
    /// Measure two servers in turns, and say whether the second is worse than the first.
    Ab(ab::AbArgs),
    /// Keep runs under names, to be compared with.
    Baseline(baseline::BaselineArgs),
    /// Give a run out in the formats of other tools.
    Export(export::ExportArgs),
    /// Read results of other tools into a run.
    Import(import::ImportArgs),
    /// Measure what this machine's client can do at most; with --server, how much equal runs differ.
    Calibrate(calibrate::CalibrateArgs),
    /// Drive load for runs that are begun on another machine.
    Worker(worker::WorkerArgs),
    /// Serve the embedded simulator, an OpenAI-compatible server without a model.
    Sim(sim::SimArgs),
    /// Write a commented experiment file to start from.
    Init(init::InitArgs),
    /// Make runs/summary.csv anew from the runs.
    Rebuild(rebuild::RebuildArgs),
    /// List the APIs that can be tested.
    Providers(lists::ProvidersArgs),
    /// List the metrics and how each is defined.
    Metrics(lists::MetricsArgs),
    /// List the sets of SLOs that an experiment can name.
    Presets(lists::PresetsArgs),
    /// Print a shell's completion script.
    Completions(completions::CompletionsArgs),
    /// Write the manual pages.
    Man(completions::ManArgs),
}

/// Parse the command line, run, print the chain of an error, and say how it went.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    match dispatch(args.command) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            say_err(&format!("error: {}", chain(&failure.error)));
            failure.exit.into()
        }
    }
}

fn dispatch(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Run(args) => run::run(&args),
        Command::Search(args) => search::run(args),
        Command::Plan(args) => plan::run(&args),
        Command::Scenarios(args) => scenarios::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Ui(args) => ui::run(&args),
        Command::History(args) => history::run(&args),
        Command::Capacity(args) => capacity::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Ab(args) => ab::run(&args),
        Command::Baseline(args) => baseline::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Worker(args) => worker::run(&args),
        Command::Sim(args) => sim::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Rebuild(args) => rebuild::run(&args),
        Command::Providers(args) => lists::providers(&args),
        Command::Metrics(args) => lists::metrics(&args),
        Command::Presets(args) => lists::presets(&args),
        Command::Completions(args) => completions::run(&args, &mut Args::command()),
        Command::Man(args) => completions::man(&args, &Args::command()),
    }
}

/// Print to standard output. A reader that has gone away, such as `head`, is no error.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Print a line to standard error, if anyone still reads it.
fn say_err(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Whether every figure that `[report]` names exists. The experiment can't tell: charts are
/// built on what it leads to.
fn check_figures(experiment: &Experiment) -> Result<(), Failure> {
    let Figures::Only(names) = &experiment.report.figures else { return Ok(()) };
    let known: Vec<&str> = CHARTS.iter().map(|def| def.id).collect();
    let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) else { return Ok(()) };
    let near = known.iter().map(|k| (strsim::jaro_winkler(k, name), k)).max_by(|a, b| a.0.total_cmp(&b.0));
    let hint = near.filter(|(score, _)| *score > 0.75).map(|(_, k)| format!("; did you mean \"{k}\"?"));
    Err(Failure::usage(anyhow::anyhow!(
        "{}: report.figures: there is no figure {name:?}{} Allowed: {}",
        experiment.path.display(),
        hint.unwrap_or_else(|| ".".to_owned()),
        known.join(", ")
    )))
}

/// The chain of causes, each once: a cause that its parent already quotes adds nothing.
fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_cause_is_not_said_twice() {
        let error = anyhow::anyhow!("disk full").context("runs/a: disk full");
        assert_eq!(chain(&error), "runs/a: disk full");
        let error = anyhow::anyhow!("disk full").context("cannot write runs/a");
        assert_eq!(chain(&error), "cannot write runs/a: disk full");
    }
}
