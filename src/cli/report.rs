//! `plimsoll report`: figures and the page, made again from runs.

use std::path::PathBuf;

use clap::Args;

use super::{Exit, Failure, say};
use crate::analysis::RunData;
use crate::report;

/// Arguments of `report`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  plimsoll report runs/20260101T120000Z-capacity --out reports")]
pub struct ReportArgs {
    /// Run directories.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Where reports go; each run gets its own directory there.
    #[arg(long, default_value = "reports", value_name = "DIR")]
    out: PathBuf,
}

/// Read each run, print its summary, write its report.
pub fn run(args: &ReportArgs) -> Result<Exit, Failure> {
    for path in &args.runs {
        let data = RunData::load(path).map_err(Failure::usage)?;
        let written = report::write(&data, &args.out.join(&data.id))?;
        say(&report::terminal::summary(&data, Some(&written.page)));
    }
    Ok(Exit::Fine)
}
