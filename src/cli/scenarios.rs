//! `plimsoll scenarios`: the library of experiment files that the binary carries.

use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use serde_json::{Value, json};

use super::{Exit, Failure, say};
use crate::experiment::{Load, Settings};
use crate::plan::{self, Estimate, Plan};
use crate::scenarios::{self, SCENARIOS, Scenario};
use crate::units::format_duration;

/// Arguments of `scenarios`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plimsoll scenarios
  plimsoll run smoke --target http://127.0.0.1:8000
  plimsoll plan recommended-sequence --scale-time 0.1     what it does in a tenth of its time
  plimsoll scenarios --show spike > my.toml               a copy to change")]
pub struct ScenariosArgs {
    /// Print a scenario's file.
    #[arg(long, value_name = "NAME", conflicts_with = "json")]
    show: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// List the library, or print one file of it.
pub fn run(args: &ScenariosArgs) -> Result<Exit, Failure> {
    if let Some(name) = &args.show {
        let scenario = scenarios::find(name).ok_or_else(|| unknown("scenario", name))?;
        say(scenario.text);
        return Ok(Exit::Fine);
    }
    let rows = SCENARIOS.iter().map(row).collect::<anyhow::Result<Vec<Row>>>()?;
    if args.json {
        let rows: Vec<Value> = rows.iter().map(Row::json).collect();
        say(&format!("{:#}\n", Value::from(rows)));
    } else {
        say(&table(&rows));
    }
    Ok(Exit::Fine)
}

/// That there is no such thing, with the scenario that was likely meant and all there are.
pub(super) fn unknown(what: &str, name: &str) -> Failure {
    let near = scenarios::nearest(name).map(|near| format!("; did you mean {near:?}?"));
    let names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
    Failure::usage(anyhow!(
        "there is no {what} {name:?}{} Scenarios: {}",
        near.unwrap_or_else(|| ".".to_owned()),
        names.join(", ")
    ))
}

/// A scenario and what its plan says of it.
struct Row {
    name: &'static str,
    description: String,
    load: String,
    cells: usize,
    estimate: Estimate,
}

fn row(scenario: &Scenario) -> anyhow::Result<Row> {
    let named = || format!("the scenario {}", scenario.name);
    let experiment = scenario.experiment(&[]).with_context(named)?;
    let plan = plan::build(&experiment).with_context(named)?;
    Ok(Row {
        name: scenario.name,
        description: experiment.description.clone().unwrap_or_default(),
        load: load(&plan),
        cells: plan.cells.len(),
        estimate: plan::estimate(&plan),
    })
}

impl Row {
    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "description": self.description,
            "load": self.load,
            "cells": self.cells,
            "seconds": self.estimate.seconds,
            "expected_s": self.estimate.expected_s,
        })
    }
}

/// Two lines each: name, load and time; what it is for.
fn table(rows: &[Row]) -> String {
    let width = |of: fn(&Row) -> &str| rows.iter().map(|row| of(row).chars().count()).max().unwrap_or(0);
    let (names, loads) = (width(|row| row.name), width(|row| &row.load));
    let mut text = String::new();
    for row in rows {
        let time = about(row.estimate.expected_s);
        let cells = if row.cells == 1 { String::new() } else { format!(", {} cells", row.cells) };
        text.push_str(&format!("{:<names$}  {:<loads$}  about {time}{cells}\n", row.name, row.load));
        text.push_str(&format!("    {}\n", row.description));
    }
    text.push_str(
        "\nplimsoll run NAME --target URL runs one; without --target most go to the embedded simulator, and\n\
         server-settings starts a server of its own.\n\
         plimsoll scenarios --show NAME prints its file.\n",
    );
    text
}

/// Whole seconds, and above ten minutes whole minutes.
fn about(seconds: f64) -> String {
    let grain = if seconds >= 600.0 { 60.0 } else { 1.0 };
    format_duration(Duration::from_secs_f64((seconds / grain).round() * grain))
}

/// The load of a plan: a single cell's as its plan has it, else from the least to the most.
fn load(plan: &Plan) -> String {
    /// More stages than these are told by their ends.
    const FEW: usize = 4;
    if let Some(search) = plan.searches.first() {
        let unit = if search.rules.whole() { "users" } else { "requests/s" };
        return format!("searched from {} {unit}", search.rules.start);
    }
    if let [cell] = plan.cells.as_slice()
        && cell.settings.stages.len() <= FEW
    {
        return plan::load_in_words(cell);
    }
    let (mut users, mut rates) = (Vec::new(), Vec::new());
    for cell in &plan.cells {
        let open = matches!(cell.settings.load, Load::Open { .. });
        if open { &mut rates } else { &mut users }.extend(levels(&cell.settings));
    }
    let parts = [(users, "users"), (rates, "requests/s")];
    let parts = parts.into_iter().filter(|(levels, _)| !levels.is_empty());
    parts.map(|(levels, unit)| in_words(&levels, unit)).collect::<Vec<_>>().join(" and ")
}

/// The levels of one cell: its stages', or the one.
fn levels(settings: &Settings) -> Vec<f64> {
    if !settings.stages.is_empty() {
        return settings.stages.iter().map(|stage| stage.level).collect();
    }
    vec![match settings.load {
        Load::Closed { users, .. } => f64::from(users),
        Load::Open { qps, .. } => qps,
    }]
}

fn in_words(levels: &[f64], unit: &str) -> String {
    let low = levels.iter().copied().fold(f64::INFINITY, f64::min);
    let high = levels.iter().copied().fold(0.0, f64::max);
    if low == high { format!("{high} {unit}") } else { format!("{low} to {high} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_in_words() {
        assert_eq!(in_words(&[5.0, 5.0], "users"), "5 users");
        assert_eq!(in_words(&[2.0, 20.0, 5.0], "users"), "2 to 20 users");
        assert_eq!(in_words(&[0.5, 16.0], "requests/s"), "0.5 to 16 requests/s");
    }

    #[test]
    fn times_are_round() {
        assert_eq!(about(125.4), "2m5s");
        assert_eq!(about(7_222.0), "2h");
    }
}
