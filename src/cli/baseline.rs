//! `plimsoll baseline`: runs that are kept under a name, to be compared with.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{Exit, Failure, say, say_err};
use crate::store::{BASELINES, Baseline, BaselineError, Baselines, MANIFEST, Manifest};

/// Arguments of `baseline`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plimsoll baseline set main runs/20260101T120000Z-chat --note 'release 1.4'
  plimsoll baseline list
  plimsoll compare main runs/20260102T120000Z-chat")]
pub struct BaselineArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Keep a run under a name; a name that is taken goes over to it.
    Set {
        /// The name, such as `main`.
        name: String,
        /// The run's directory, measured here or imported.
        run: PathBuf,
        /// Why, for whoever reads the list.
        #[arg(long)]
        note: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// List the names and their runs.
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Show one with its run.
    Show {
        /// The name that it has.
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// Forget a name; the run stays.
    Rm {
        /// The name that it has.
        name: String,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Args)]
struct Place {
    /// Where runs and baselines.json are kept.
    #[arg(long, default_value = "runs", value_name = "DIR")]
    runs: PathBuf,
}

/// Set, list, show or forget.
pub fn run(args: &BaselineArgs) -> Result<Exit, Failure> {
    match &args.what {
        What::Set { name, run, note, place } => set(&place.runs, name, run, note.clone()),
        What::List { place } => list(&place.runs),
        What::Show { name, place } => show(&place.runs, name),
        What::Rm { name, place } => {
            let was = Baselines::remove(&place.runs, name).map_err(failure)?;
            say_err(&format!("{name} is forgotten; its run stays: {}", at(&place.runs, &was).display()));
            Ok(Exit::Fine)
        }
    }
}

fn failure(error: BaselineError) -> Failure {
    if error.is_usage() { Failure::usage(error) } else { error.into() }
}

fn at(runs: &Path, baseline: &Baseline) -> PathBuf {
    runs.join(&baseline.run)
}

fn set(runs: &Path, name: &str, run: &Path, note: Option<String>) -> Result<Exit, Failure> {
    // Read first: what can't be read can't be compared with.
    Manifest::read(run).map_err(|e| if e.is_usage() { Failure::usage(e) } else { e.into() })?;
    let before = Baselines::set(runs, name, run, note).map_err(failure)?;
    let before = before.map(|was| format!(" (it was {})", at(runs, &was).display())).unwrap_or_default();
    say_err(&format!("{name} is now {}{before}", run.display()));
    Ok(Exit::Fine)
}

fn list(runs: &Path) -> Result<Exit, Failure> {
    let all = Baselines::read(runs)?;
    if all.baselines.is_empty() {
        say_err(&format!(
            "no baselines in {}: plimsoll baseline set NAME RUN",
            runs.join(BASELINES).display()
        ));
    }
    for (name, baseline) in &all.baselines {
        let path = at(runs, baseline);
        let gone = if path.join(MANIFEST).is_file() { "" } else { "  (gone)" };
        let note = baseline.note.as_ref().map(|note| format!("  {note}")).unwrap_or_default();
        say(&format!("{name}  {}  {}{note}{gone}\n", path.display(), baseline.set_at));
    }
    Ok(Exit::Fine)
}

fn show(runs: &Path, name: &str) -> Result<Exit, Failure> {
    let path = Baselines::find(runs, name).map_err(failure)?;
    let all = Baselines::read(runs)?;
    let baseline = all.get(runs, name).map_err(failure)?;
    let manifest = Manifest::read(&path)?;
    let mut lines = vec![
        ("name", name.to_owned()),
        ("run", path.display().to_string()),
        ("set at", baseline.set_at.clone()),
    ];
    lines.extend(baseline.note.clone().map(|note| ("note", note)));
    lines.push(("experiment", manifest.name));
    lines.push(("target", manifest.target));
    lines.push(("began", manifest.started_at));
    let tools: Vec<&str> = manifest.imported.iter().map(|from| from.tool.as_str()).collect();
    if !tools.is_empty() {
        lines.push(("imported from", tools.join(", ")));
    }
    for (key, value) in lines {
        say(&format!("{key:<14}{value}\n"));
    }
    Ok(Exit::Fine)
}
