//! `plimsoll plan`: what an experiment would do.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{Exit, Failure, check_figures, say, say_err};
use crate::experiment::Experiment;
use crate::{load, plan, sweep};

/// Arguments of `plan`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  plimsoll plan experiments/capacity.toml\n  plimsoll plan my.toml --set grid.repeats=1 --json"
)]
pub struct PlanArgs {
    /// The experiment file.
    file: PathBuf,
    /// Override a setting by its dotted path, such as `target.url=http://127.0.0.1:8000`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Print JSON: every cell with its settings, and the estimate.
    #[arg(long)]
    json: bool,
}

/// Expand and show.
pub fn run(args: &PlanArgs) -> Result<Exit, Failure> {
    let experiment = Experiment::load(&args.file, &args.set).map_err(Failure::usage)?;
    check_figures(&experiment)?;
    let plan = plan::build(&experiment).map_err(Failure::usage)?;
    let cells: Vec<&plan::Cell> = plan.cells.iter().collect();
    sweep::look_at_files(&cells).map_err(Failure::usage)?;
    if args.json {
        say(&format!("{:#}\n", json!({"estimate": plan::estimate(&plan), "plan": plan})));
    } else {
        say(&plan::render_table(&plan));
    }
    // A plan may be meant for another machine, so that it is told and no error.
    for finding in load::preflight(&cells, &load::Allowed::of_this_process()) {
        say_err(&format!("on this machine: {}", finding.text));
    }
    Ok(Exit::Fine)
}
