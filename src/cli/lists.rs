//! `plimsoll providers` and `plimsoll metrics`: the tables, for people and for programs.

use clap::Args;
use serde_json::{Value, json};

use super::{Exit, Failure, say};
use crate::metrics::{Better, Kind, METRICS, STATS, column};
use crate::provider;

/// Arguments of both lists.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The APIs that can be tested.
pub fn providers(args: &ListArgs) -> Result<Exit, Failure> {
    if args.json {
        let rows: Vec<Value> =
            provider::ALL.iter().map(|e| json!({"name": e.name, "path": e.path, "help": e.help})).collect();
        say(&format!("{:#}\n", Value::from(rows)));
        return Ok(Exit::Fine);
    }
    for entry in provider::ALL {
        say(&format!("{:<20} {:<24} {}\n", entry.name, entry.path, entry.help));
    }
    Ok(Exit::Fine)
}

/// The metrics and their definitions.
pub fn metrics(args: &ListArgs) -> Result<Exit, Failure> {
    if args.json {
        let rows: Vec<Value> = METRICS
            .iter()
            .map(|m| {
                let stats = if m.kind == Kind::Distribution { &STATS[..] } else { &[""] };
                let columns: Vec<String> = stats.iter().map(|s| column(m, s)).collect();
                json!({"name": m.name, "unit": m.unit.label(), "better": better(m.better),
                       "columns": columns, "help": m.help})
            })
            .collect();
        say(&format!("{:#}\n", Value::from(rows)));
        return Ok(Exit::Fine);
    }
    for m in METRICS {
        let stats = if m.kind == Kind::Distribution { "  [mean, p50 … p99.9]" } else { "" };
        say(&format!("{} ({}, {}){stats}\n    {}\n", m.name, m.unit.label(), better(m.better), m.help));
    }
    say(&format!("\nStatistics of a distribution: {}.\n", STATS.join(", ")));
    Ok(Exit::Fine)
}

fn better(direction: Better) -> &'static str {
    match direction {
        Better::Lower => "lower is better",
        Better::Higher => "higher is better",
        Better::Neither => "neither direction is better",
    }
}
