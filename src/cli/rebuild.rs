//! `plimsoll rebuild`: the summary of all runs, made anew.

use std::path::PathBuf;

use clap::Args;

use super::{Exit, Failure};
use crate::store;

/// Arguments of `rebuild`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  plimsoll rebuild runs")]
pub struct RebuildArgs {
    /// The directory of runs.
    #[arg(default_value = "runs")]
    runs: PathBuf,
}

/// Read every run's cells, write `summary.csv` in one step.
pub fn run(args: &RebuildArgs) -> Result<Exit, Failure> {
    let rebuilt = store::rebuild_summary(&args.runs)
        .map_err(|e| if e.is_usage() { Failure::usage(e) } else { Failure::from(e) })?;
    for (path, why) in &rebuilt.skipped {
        eprintln!("left out {}: {why}", path.display());
    }
    let file = args.runs.join(store::SUMMARY_CSV);
    let s = |n: usize| if n == 1 { "" } else { "s" };
    let (rows, runs) = (rebuilt.rows, rebuilt.runs);
    eprintln!("{}: {rows} cell{} of {runs} run{}", file.display(), s(rows), s(runs));
    Ok(if rebuilt.skipped.is_empty() { Exit::Fine } else { Exit::Invalid })
}
