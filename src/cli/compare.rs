//! `plimsoll compare`: is the candidate slower than the baseline.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::{Args, ValueEnum};

use super::{Exit, Failure, say, say_err};
use crate::analysis::RunData;
use crate::analysis::compare::{Comparison, GateSettings, Noise, Outcome, Quantity, compare_with};
use crate::chart::Compared;
use crate::report::{self, ReportError};
use crate::store::{BaselineError, Baselines, EXPERIMENT, MANIFEST};

/// Arguments of `compare`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plimsoll compare runs/20260101T120000Z-chat runs/20260102T120000Z-chat
  plimsoll compare main runs/20260102T120000Z-chat        a baseline by its name
  plimsoll compare main runs/20260102T120000Z-chat --gate gate.toml --strict
  plimsoll compare main runs/20260102T120000Z-chat --format markdown > comment.md
  plimsoll compare a b --primary ttft_p95,output_tps

Exit codes: 0 no regression shown, 1 a figure regressed or a limit is broken, 2 usage or gate file,
3 not comparable, 4 what should be compared can't be believed, 5 nobody can tell (with --strict).")]
pub struct CompareArgs {
    /// What is held against: a run's directory, its name below --runs, or a baseline's name.
    baseline: String,
    /// What is held against it: the same three.
    candidate: String,
    /// A TOML file with the keys of an experiment's compare section (else the section of the
    /// candidate's experiment file, else the defaults).
    #[arg(long, value_name = "FILE")]
    gate: Option<PathBuf>,
    /// Exit 5 where nobody can tell, rather than 0.
    #[arg(long)]
    strict: bool,
    /// What is printed.
    #[arg(long, value_enum, default_value_t = Format::Terminal)]
    format: Format,
    /// Where reports go; the comparison gets its own directory there.
    #[arg(long, default_value = "reports", value_name = "DIR")]
    out: PathBuf,
    /// Write no files.
    #[arg(long)]
    no_report: bool,
    /// The figures that decide, such as ttft_p95,output_tps.
    #[arg(long, value_name = "KEY,…", value_delimiter = ',', value_parser = quantity)]
    primary: Vec<Quantity>,
    /// The noise between equal runs, which no margin goes below twice of (else what
    /// `plimsoll calibrate --server` found for this experiment and server, if it was run).
    #[arg(long, value_name = "FILE")]
    noise: Option<PathBuf>,
    /// Where runs and baselines.json are kept.
    #[arg(long, default_value = "runs", value_name = "DIR")]
    runs: PathBuf,
}

/// What is printed of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// The answer, then tables.
    Terminal,
    /// For a comment on a pull request.
    Markdown,
    /// JUnit XML, for build servers.
    Junit,
    /// All of it, for programs.
    Json,
}

impl Format {
    /// The comparison in this form.
    fn of(self, comparison: &Comparison) -> Result<String, ReportError> {
        Ok(match self {
            Self::Terminal => report::compare::terminal(comparison),
            Self::Markdown => report::compare::markdown(comparison),
            Self::Junit => report::compare::junit(comparison),
            Self::Json => report::compare::json(comparison)?,
        })
    }
}

fn quantity(key: &str) -> Result<Quantity, String> {
    Quantity::parse(key.trim()).map_err(|near| match near {
        Some(near) => format!("no such figure; did you mean {near:?}?"),
        None => "no such figure; plimsoll metrics lists them, such as ttft_p95 or output_tps".to_owned(),
    })
}

/// Compare, write, print.
pub fn run(args: &CompareArgs) -> Result<Exit, Failure> {
    let base = find_run(&args.runs, &args.baseline)?;
    let cand = find_run(&args.runs, &args.candidate)?;
    let load = |run: &Found| RunData::load_figures(&run.path).map_err(Failure::usage);
    let (baseline, candidate) = (load(&base)?, load(&cand)?);
    let mut gate = match &args.gate {
        Some(file) => GateSettings::load(file).map_err(Failure::usage)?,
        None => own_gate(&candidate)?,
    };
    if !args.primary.is_empty() {
        gate.primary = Some(args.primary.clone());
    }
    gate.strict |= args.strict;
    let noise = match &args.noise {
        Some(file) => Some(Noise::read(file).map_err(Failure::usage)?),
        None => super::noise::of_runs(&baseline, &candidate),
    };
    let mut comparison = compare_with(&baseline, &candidate, &gate, noise.as_ref());
    (comparison.baseline.baseline, comparison.candidate.baseline) = (base.name, cand.name);
    let reports = (!args.no_report).then_some(args.out.as_path());
    conclude(&comparison, (&baseline, &candidate), args.format, reports, say)
}

/// The gate of the candidate's own experiment file; the defaults where it has none.
pub(super) fn own_gate(candidate: &RunData) -> Result<GateSettings, Failure> {
    let sets = candidate.manifest.get("set").and_then(|sets| sets.as_array());
    let sets: Vec<String> =
        sets.into_iter().flatten().filter_map(|set| set.as_str().map(str::to_owned)).collect();
    let path = candidate.path.join(EXPERIMENT);
    let own = GateSettings::of_experiment(&path, &candidate.experiment, &sets).map_err(Failure::usage)?;
    Ok(own.unwrap_or_default())
}

/// Prints a comparison of two runs with `print`, writes its files, figures and page into `reports`
/// if there are to be any, and gives the exit code that belongs to it.
///
/// # Errors
/// When a file can't be written, or the records of a cell can't be read.
pub(super) fn conclude(
    comparison: &Comparison,
    (baseline, candidate): (&RunData, &RunData),
    format: Format,
    reports: Option<&Path>,
    print: impl Fn(&str),
) -> Result<Exit, Failure> {
    let mut text = format.of(comparison)?;
    if let Some(reports) = reports {
        let written = report::compare::write(comparison, reports)?;
        let compared = Compared::read(comparison, baseline, candidate)?;
        let page = report::comparison::write(&compared, &written.dir)?.page;
        let where_to = format!("Report: {}", page.display());
        if format == Format::Terminal {
            text.push_str(&format!("\n{where_to}\n"))
        } else {
            say_err(&where_to)
        }
    }
    print(&text);
    Ok(exit(comparison))
}

fn exit(comparison: &Comparison) -> Exit {
    match comparison.outcome {
        Outcome::Pass => Exit::Fine,
        Outcome::Fail => Exit::GateFailed,
        Outcome::NotComparable => Exit::NotComparable,
        Outcome::Invalid => Exit::Invalid,
        Outcome::Inconclusive if comparison.gate.strict => Exit::Inconclusive,
        Outcome::Inconclusive => Exit::Fine,
    }
}

/// A run that was named.
pub(super) struct Found {
    pub path: PathBuf,
    /// The baseline's name, if it was named so.
    pub name: Option<String>,
}

/// The run that `word` names: a run's directory, else a baseline, else a directory in `runs`.
///
/// # Errors
/// When it names none of them, or a baseline whose run is gone.
pub(super) fn find_run(runs: &Path, word: &str) -> Result<Found, Failure> {
    let is_run = |path: &Path| path.join(MANIFEST).is_file();
    let (direct, below) = (PathBuf::from(word), runs.join(word));
    if is_run(&direct) {
        return Ok(Found { path: direct, name: None });
    }
    match Baselines::find(runs, word) {
        Ok(path) => Ok(Found { path, name: Some(word.to_owned()) }),
        Err(BaselineError::NoSuch { .. }) if is_run(&below) => Ok(Found { path: below, name: None }),
        Err(error @ BaselineError::NoSuch { .. }) => {
            // A path is no slip in a name.
            let what = match direct.exists() || direct.components().count() > 1 {
                true => anyhow!("{word} is not a run: it has no run.json"),
                false => anyhow!("{word} is no run's directory, and {error}"),
            };
            Err(Failure::usage(what))
        }
        Err(error) if error.is_usage() => Err(Failure::usage(error)),
        Err(error) => Err(error.into()),
    }
}
