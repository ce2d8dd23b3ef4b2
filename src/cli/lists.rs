//! `plimsoll providers`, `metrics` and `presets`: the tables, for people and for programs.

use clap::Args;
use serde_json::{Value, json};

use super::{Exit, Failure, say};
use crate::experiment::presets::{PRESETS, PresetRule};
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

/// Arguments of `presets`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  plimsoll presets\n  plimsoll presets --json")]
pub struct PresetsArgs {
    #[command(flatten)]
    list: ListArgs,
}

/// Arguments of every list.
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

/// The sets of SLO rules that `slo.preset` knows.
pub fn presets(args: &PresetsArgs) -> Result<Exit, Failure> {
    if args.list.json {
        let rule = |r: &PresetRule| {
            json!({"metric": r.metric, "stat": r.stat, "target": r.target, "limit": r.limit,
                   "written": r.written()})
        };
        let row = |p: &crate::experiment::presets::SloPreset| {
            json!({"section": "slo", "name": p.name, "help": p.help, "source": p.source,
                   "rules": p.rules.iter().map(rule).collect::<Vec<_>>()})
        };
        say(&format!("{:#}\n", Value::from(PRESETS.iter().map(row).collect::<Vec<_>>())));
        return Ok(Exit::Fine);
    }
    let mut text = "SLOs, for `preset = \"…\"` (or a list of names) in [slo]; own keys win:\n\n".to_owned();
    for preset in PRESETS {
        text.push_str(&format!("{}\n    {}\n", preset.name, preset.help));
        preset.rules.iter().for_each(|rule| text.push_str(&format!("      {}\n", rule.written())));
        text.push_str(&format!("    {}\n", preset.source));
    }
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
