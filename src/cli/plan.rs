//! `plimsoll plan`: what an experiment would do.

use clap::Args;
use serde_json::json;

use super::source::{Planned, SourceArgs};
use super::{Exit, Failure, say, say_err};
use crate::{load, plan, sweep};

/// Arguments of `plan`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  plimsoll plan experiments/capacity.toml\n  plimsoll plan my.toml --set grid.repeats=1 --json\n  plimsoll plan stress --users 200 --duration 5m"
)]
pub struct PlanArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Print JSON: every cell with its settings, and the estimate.
    #[arg(long)]
    json: bool,
}

/// Expand and show.
pub fn run(args: &PlanArgs) -> Result<Exit, Failure> {
    let Planned { plan, .. } = args.source.plan()?;
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
