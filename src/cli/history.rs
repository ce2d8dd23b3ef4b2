//! `plimsoll history`: a figure over all runs of an experiment, and where its level changed.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;

use super::{Exit, Failure, say, say_err};
use crate::analysis::AnalysisError;
use crate::analysis::history::{self, PastExperiment};
use crate::experiment::Quantity;
use crate::report;

/// Arguments of `history`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  plimsoll history\n  plimsoll history nightly\n  \
                        plimsoll history nightly --metric ttft_p99,error_rate --json\n\n\
                        A change of level is a remark and gates nothing.")]
pub struct HistoryArgs {
    /// Name of an experiment; without it, those that have runs are listed.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Figure to follow, such as ttft_p95 or error_rate; several with commas or again.
    #[arg(long, value_name = "FIGURE", value_delimiter = ',', default_values = ["ttft_p95", "output_tps"])]
    metric: Vec<String>,
    /// Where the runs lie.
    #[arg(long, default_value = "runs", value_name = "DIR")]
    runs: PathBuf,
    /// Where reports go: the history gets `history-NAME` there.
    #[arg(long, default_value = "reports", value_name = "DIR")]
    out: PathBuf,
    /// Print JSON instead, and write no report.
    #[arg(long)]
    json: bool,
}

/// List experiments, or print and write the history of one.
pub fn run(args: &HistoryArgs) -> Result<Exit, Failure> {
    let (known, unreadable) = history::experiments(&args.runs)?;
    if known.is_empty() {
        warn(&unreadable);
        return Err(Failure::usage(anyhow!("there are no runs under {}", args.runs.display())));
    }
    let Some(name) = &args.name else {
        warn(&unreadable);
        say(&listed(&known, args.json)?);
        return Ok(Exit::Fine);
    };
    if !known.iter().any(|e| e.name == *name) {
        return Err(Failure::usage(unknown(name, &known, args)));
    }
    let quantities = quantities(&args.metric).map_err(Failure::usage)?;
    let (history, unreadable) = history::history(&args.runs, name, &quantities)?;
    warn(&unreadable);
    if args.json {
        say(&format!("{}\n", serde_json::to_string_pretty(&history)?));
        return Ok(Exit::Fine);
    }
    let written = report::history::write(&history, &args.out.join(format!("history-{}", directory(name))))?;
    say(&report::history::terminal(&history, Some(&written.page)));
    Ok(Exit::Fine)
}

/// Runs that could not be read are left out, and that is said.
fn warn(unreadable: &[AnalysisError]) {
    for error in unreadable {
        say_err(&format!("left out: {error}"));
    }
}

fn listed(known: &[PastExperiment], json: bool) -> Result<String, serde_json::Error> {
    if json {
        return Ok(format!("{}\n", serde_json::to_string_pretty(known)?));
    }
    let day = |time: &str| time.get(..10).unwrap_or(time).to_owned();
    let mut rows = vec![["experiment", "runs", "first", "last"].map(String::from).to_vec()];
    rows.extend(known.iter().map(|e| vec![e.name.clone(), e.runs.to_string(), day(&e.first), day(&e.last)]));
    Ok(report::terminal::align(&rows))
}

fn unknown(name: &str, known: &[PastExperiment], args: &HistoryArgs) -> anyhow::Error {
    let names: Vec<&str> = known.iter().map(|e| e.name.as_str()).collect();
    let near = names.iter().map(|k| (strsim::jaro_winkler(k, name), k)).max_by(|a, b| a.0.total_cmp(&b.0));
    let hint = near.filter(|(score, _)| *score > 0.75).map(|(_, k)| format!("; did you mean {k:?}?"));
    anyhow!(
        "no run under {} is of an experiment {name:?}{} There are: {}",
        args.runs.display(),
        hint.unwrap_or_else(|| ".".to_owned()),
        names.join(", ")
    )
}

/// The figures asked for, each once.
fn quantities(keys: &[String]) -> anyhow::Result<Vec<Quantity>> {
    let mut all: Vec<Quantity> = Vec::new();
    for key in keys {
        let quantity = Quantity::parse(key).map_err(|near| {
            let hint = near.map_or_else(|| ".".to_owned(), |near| format!("; did you mean {near}?"));
            anyhow!("--metric: there is no figure {key:?}{hint} Allowed: {}", Quantity::allowed())
        })?;
        if !all.contains(&quantity) {
            all.push(quantity);
        }
    }
    Ok(all)
}

/// A name as part of a directory's.
fn directory(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_told_by_their_keys_and_each_once() {
        let keys = |keys: &[&str]| quantities(&keys.iter().map(|k| (*k).to_owned()).collect::<Vec<_>>());
        assert_eq!(
            keys(&["ttft_p95", "output_tps", "ttft_p95"]).unwrap(),
            [Quantity::new("ttft", "p95"), Quantity::new("output_tps", "")]
        );
        let error = keys(&["tfft_p95"]).unwrap_err().to_string();
        assert!(error.contains("did you mean ttft_p95?") && error.contains("Allowed: "), "{error}");
    }

    #[test]
    fn a_directory_is_one_name() {
        assert_eq!(directory("a/b c"), "a-b-c");
    }
}
