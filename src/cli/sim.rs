//! `plimsoll sim`: the simulator as a server of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use serde_json::Value;

use super::{Exit, Failure, say, say_err};
use crate::load::Control;
use crate::sim;

/// Arguments of `sim`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  plimsoll sim --preset 8b-a100\n  plimsoll sim --addr 127.0.0.1:9000 --set max_num_seqs=32 --set step_base=8ms --truth truth.jsonl\n  plimsoll sim --list"
)]
pub struct SimArgs {
    /// Address to listen on. It has no authentication: keep it on loopback.
    #[arg(long, default_value = "127.0.0.1:8000")]
    addr: SocketAddr,
    /// Start from a preset; `--list` shows them.
    #[arg(long)]
    preset: Option<String>,
    /// Set a knob; `--list` shows them.
    #[arg(long, value_name = "KNOB=VALUE")]
    set: Vec<String>,
    /// Write the truth about each request, a JSON line each.
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
    /// List presets and knobs, and end.
    #[arg(long)]
    list: bool,
}

/// Serve until Ctrl-C.
pub fn run(args: &SimArgs) -> Result<Exit, Failure> {
    if args.list {
        say(&list());
        return Ok(Exit::Fine);
    }
    let config = config(args)?;
    let control = Control::default();
    super::run::watch_signals(&control, |_| ())?;
    let server = sim::Server::start(config, args.addr).map_err(|error| match error {
        taken @ sim::SimError::Bind { .. } => Failure::usage(taken),
        other => other.into(),
    })?;
    say_err(&format!("simulator at {}; Ctrl-C ends it", server.url()));
    sim::serve_until(server, args.truth.as_deref(), || control.finish())?;
    Ok(Exit::Fine)
}

fn config(args: &SimArgs) -> Result<sim::Config, Failure> {
    let mut knobs: BTreeMap<String, Value> = BTreeMap::new();
    for pair in &args.set {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            Failure::usage(anyhow!("--set {pair}: write it as KNOB=VALUE, such as max_num_seqs=32"))
        })?;
        // What reads as JSON (numbers, booleans) is that; the rest is text.
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        knobs.insert(key.trim().to_owned(), value);
    }
    if let Some(preset) = &args.preset {
        knobs.insert("preset".to_owned(), Value::from(preset.as_str()));
    }
    sim::Config::from_knobs(&knobs).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Failure::usage(anyhow!("{}", lines.join("\n       ")))
    })
}

fn list() -> String {
    let mut text = "Presets:\n".to_owned();
    for preset in sim::PRESETS {
        text.push_str(&format!("  {:<16} {}\n", preset.name, preset.help));
    }
    text.push_str("\nKnobs (knob = default):\n");
    let named: Vec<String> = sim::KNOBS.iter().map(|k| format!("{} = {}", k.name, k.default)).collect();
    let width = named.iter().map(String::len).max().unwrap_or(0);
    for (knob, named) in sim::KNOBS.iter().zip(&named) {
        text.push_str(&format!("  {named:<width$}  {}\n", knob.help));
    }
    text
}
