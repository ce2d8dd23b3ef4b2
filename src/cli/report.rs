//! `plimsoll report`: figures and the page, made again from runs.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::{Exit, Failure, say, say_err};
use crate::analysis::RunData;
use crate::chart::{MAX_RUNS, Overlaid};
use crate::report;

/// Arguments of `report`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  plimsoll report runs/20260101T120000Z-capacity --out reports\n  plimsoll report --format markdown runs/20260101T120000Z-capacity > comment.md\n  plimsoll report --compare runs/20260101T120000Z-capacity runs/20260108T120000Z-capacity\n  plimsoll report --compare --label old --label new runs/A runs/B"
)]
pub struct ReportArgs {
    /// Run directories.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Where reports go; each run, or overlay, gets its own directory there.
    #[arg(long, default_value = "reports", value_name = "DIR")]
    out: PathBuf,
    /// What is printed of each run.
    #[arg(long, value_enum, default_value_t = Format::Terminal)]
    format: Format,
    /// Draw the sweep figures of 2 to 6 runs over each other, on one page.
    #[arg(long)]
    compare: bool,
    /// With --compare: what a run is called in the legends, once for each run, in their order.
    #[arg(long = "label", value_name = "NAME", requires = "compare")]
    labels: Vec<String>,
}

/// What is printed of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The figures as a table, and what they point to.
    Terminal,
    /// A few lines for a chat or a pull request, as in summary.md beside the page.
    Markdown,
}

/// Read each run, print its summary, write its report.
pub fn run(args: &ReportArgs) -> Result<Exit, Failure> {
    if args.compare {
        return overlay(args);
    }
    for path in &args.runs {
        let data = RunData::load(path).map_err(Failure::usage)?;
        let written = report::write(&data, &args.out.join(&data.id))?;
        match args.format {
            Format::Terminal => say(&report::terminal::summary(&data, Some(&written.page))),
            Format::Markdown => {
                say(&report::summary::Summary::of(&data).markdown());
                say_err(&format!("Report: {}", written.page.display()));
            }
        }
    }
    Ok(Exit::Fine)
}

/// Several runs on one page.
fn overlay(args: &ReportArgs) -> Result<Exit, Failure> {
    let given = args.runs.len();
    if !(2..=MAX_RUNS).contains(&given) {
        return Err(usage(format!("--compare takes 2 to {MAX_RUNS} runs, not {given}")));
    }
    if !args.labels.is_empty() && args.labels.len() != given {
        return Err(usage(format!("--label is given {} times for {given} runs", args.labels.len())));
    }
    let data = args.runs.iter().map(|path| RunData::load(path).map_err(Failure::usage));
    let data: Vec<RunData> = data.collect::<Result<_, _>>()?;
    let names = if args.labels.is_empty() { names(&data) } else { args.labels.clone() };
    if let Some(twice) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
        return Err(usage(format!("two runs are called {:?}: name them apart with --label", twice.1)));
    }
    let runs: Vec<Overlaid<'_>> =
        names.into_iter().zip(&data).map(|(name, run)| Overlaid { name, run }).collect();
    let out = args.out.join(report::overlay::directory(&runs));
    let Some(written) = report::overlay::write(&runs, &out)? else {
        let what = "these runs have no figure over a load in common: each needs several levels of users or req/s, \
                    or of one other number";
        return Err(Failure { exit: Exit::NotComparable, error: anyhow::anyhow!(what) });
    };
    say(&format!("{} figures of {given} runs: {}\n", written.figures.len(), written.page.display()));
    Ok(Exit::Fine)
}

fn usage(what: String) -> Failure {
    Failure::usage(anyhow::anyhow!(what))
}

/// Experiment and date: `capacity 2026-01-01 12:00`, to the second where minutes don't tell all
/// apart; the runs' ids where that isn't enough.
fn names(runs: &[RunData]) -> Vec<String> {
    let short = |run: &RunData, digits: usize| {
        let started = run.manifest.get("started_at").and_then(Value::as_str).unwrap_or_default();
        let date = started.get(..digits).unwrap_or(started).replace('T', " ");
        format!("{} {date}", run.name).trim_end().to_owned()
    };
    let differ = |names: &Vec<String>| names.iter().enumerate().all(|(i, name)| !names[..i].contains(name));
    let dated = [16, 19].map(|digits| runs.iter().map(|run| short(run, digits)).collect::<Vec<String>>());
    dated.into_iter().find(differ).unwrap_or_else(|| runs.iter().map(|run| run.id.clone()).collect())
}
