//! `plimsoll search`: the greatest load within the SLO.

use clap::{Args, ValueEnum};

use super::run::{self, RunArgs};
use super::{Exit, Failure};
use crate::experiment::Load;

/// Arguments of `search`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plimsoll search search                                  the ready experiment, at the simulator
  plimsoll search my.toml                                 along the load that the file has
  plimsoll search my.toml --axis qps --set search.start=4
  plimsoll search my.toml --set search.time=20m --set search.ratio=1.1
  plimsoll search my.toml --resume runs/20260101T120000Z-search

Doubles the load to the first that fails the [slo], then halves the gap until the two sides are
within 5 %. Where the file lists loads in its grid, their least and greatest are the bounds. Each
combination of the other axes is searched on its own. The probes are cells of an ordinary run.")]
pub struct SearchArgs {
    #[command(flatten)]
    run: RunArgs,
    /// What is searched; else what the file has: a rate, or users.
    #[arg(long, value_enum)]
    axis: Option<Axis>,
}

/// What can be searched.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Axis {
    /// Requests per second, an open loop.
    Qps,
    /// Users, a closed loop.
    Users,
}

/// Run the file with its load searched.
pub fn run(args: SearchArgs) -> Result<Exit, Failure> {
    let SearchArgs { mut run, axis } = args;
    let axis = match axis {
        Some(axis) => Some(axis),
        None => {
            let plan = run.source.plan()?.plan;
            let first = plan.cells.first().filter(|_| plan.searches.is_empty());
            first.map(|cell| match cell.settings.load {
                Load::Open { .. } => Axis::Qps,
                Load::Closed { .. } => Axis::Users,
            })
        }
    };
    run.source.add(axis.map(|axis| match axis {
        Axis::Qps => "search.axis=qps".to_owned(),
        Axis::Users => "search.axis=users".to_owned(),
    }));
    run::run(&run)
}
