//! `plimsoll providers` and `plimsoll metrics`: the tables, for people and for programs.

use clap::Args;
use serde_json::{Value, json};

use super::{Exit, Failure, say};
use crate::metrics::{Better, Kind, METRICS, STATS, column};
use crate::provider;

/// Arguments of `providers`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  plimsoll providers\n  plimsoll providers --json")]
pub struct ProvidersArgs {
    #[command(flatten)]
    list: ListArgs,
}

/// Arguments of `metrics`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  plimsoll metrics | less\n  plimsoll metrics --json")]
pub struct MetricsArgs {
    #[command(flatten)]
    list: ListArgs,
}

/// Arguments of both lists.
#[derive(Debug, Args)]
struct ListArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The APIs that can be tested.
pub fn providers(args: &ProvidersArgs) -> Result<Exit, Failure> {
    if args.list.json {
        let rows: Vec<Value> =
            provider::ALL.iter().map(|e| json!({"name": e.name, "path": e.path, "help": e.help})).collect();
        say(&format!("{:#}\n", Value::from(rows)));
        return Ok(Exit::Fine);
    }
    let rows = provider::ALL.iter().map(|e| format!("{} ({})\n    {}\n", e.name, e.path, e.help));
    say(&rows.collect::<String>());
    Ok(Exit::Fine)
}

/// The metrics and their definitions.
pub fn metrics(args: &MetricsArgs) -> Result<Exit, Failure> {
    if args.list.json {
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
    let mut text = String::new();
    for m in METRICS {
        let stats = if m.kind == Kind::Distribution { "  [mean, p50 … p99.9]" } else { "" };
        let about: Vec<&str> =
            [m.unit.label(), better(m.better)].into_iter().filter(|word| !word.is_empty()).collect();
        text.push_str(&format!("{} ({}){stats}\n    {}\n", m.name, about.join(", "), m.help));
    }
    text.push_str(&format!("\nStatistics of a distribution: {}.\n", STATS.join(", ")));
    text.push_str(
        "A limit in [slo] is <metric>_<statistic>, such as ttft_p95, or a metric without statistics.\n",
    );
    say(&text);
    Ok(Exit::Fine)
}

fn better(direction: Better) -> &'static str {
    match direction {
        Better::Lower => "lower is better",
        Better::Higher => "higher is better",
        Better::Neither => "neither direction is better",
    }
}
