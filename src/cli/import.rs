//! `plimsoll import`: results of other tools as a run.

use std::path::PathBuf;

use clap::Args;

use super::{Exit, Failure, say, say_err};
use crate::import::{self, READERS, Told};

/// Arguments of `import`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  plimsoll import results/*.json\n  \
                  plimsoll import benchmarks.json --format guidellm --name baseline\n  \
                  plimsoll import load_stats.csv --users 50 --max-tokens 128 --model llama\n  \
                  plimsoll import --list")]
pub struct ImportArgs {
    /// Result files; all of them become one run.
    #[arg(required_unless_present = "list", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The tool; `auto` knows it by the file.
    #[arg(long, short, default_value = "auto", value_name = "FORMAT",
          value_parser = clap::builder::PossibleValuesParser::new(
              std::iter::once("auto").chain(READERS.iter().map(|r| r.name))))]
    format: String,
    /// The directory of runs.
    #[arg(long, default_value = "runs", value_name = "DIR")]
    out: PathBuf,
    /// The run's name: letters, digits, hyphens, points and underscores.
    #[arg(long)]
    name: Option<String>,
    /// Users at a time, for cells whose file doesn't say the load.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    users: Option<u32>,
    /// Requests per second, for the same; then --users is a cap.
    #[arg(long)]
    qps: Option<f64>,
    /// Prompt length asked for, where files don't say it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    prompt_tokens: Option<u32>,
    /// Output length asked for, where files don't say it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,
    /// The server's URL, where files don't say it.
    #[arg(long)]
    url: Option<String>,
    /// The model, where files don't say it.
    #[arg(long)]
    model: Option<String>,
    /// List the tools.
    #[arg(long)]
    list: bool,
}

/// Read all files, write one run.
pub fn run(args: &ImportArgs) -> Result<Exit, Failure> {
    if args.list {
        READERS.iter().for_each(|r| say(&format!("{} ({})\n    {}\n", r.name, r.title, r.help)));
        return Ok(Exit::Fine);
    }
    let told = Told {
        name: args.name.clone(),
        users: args.users,
        qps: args.qps,
        prompt_tokens: args.prompt_tokens,
        max_tokens: args.max_tokens,
        url: args.url.clone(),
        model: args.model.clone(),
    };
    let format = (args.format != "auto").then_some(args.format.as_str());
    let done = import::import(&args.files, format, &told, &args.out)
        .map_err(|e| if e.is_usage() { Failure::usage(e) } else { Failure::from(e) })?;
    for note in &done.notes {
        say_err(note);
    }
    say_err(&format!(
        "{} {}, {} of them with single requests; next: plimsoll report {}",
        done.cells,
        if done.cells == 1 { "cell" } else { "cells" },
        done.with_requests,
        done.path.display()
    ));
    say(&format!("{}\n", done.path.display()));
    Ok(Exit::Fine)
}
