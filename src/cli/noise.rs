//! Noise between equal runs: measured by `plimsoll calibrate --server`, and found again for
//! every comparison of such runs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;

use super::ab::both;
use super::run::{announce, failure, press, watch_signals};
use super::{Exit, Failure, say, say_err};
use crate::analysis::RunData;
use crate::analysis::compare::{Comparison, Noise, Row, compare, compare_with};
use crate::experiment::Experiment;
use crate::load::Control;
use crate::plan::{self, Plan};
use crate::progress;
use crate::store::{self, NOISE, SUMMARY_JSON, StoredCell, noise_path, write_noise};
use crate::sweep::{Ending, Options, Side, in_turn};

/// Arguments of `calibrate` that belong to `--server`.
#[derive(Debug, Args)]
pub struct NoiseArgs {
    /// Measure instead how much equal runs of this experiment differ: its cells are run in pairs,
    /// each twice with the same seed against the same server.
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Pairs of each cell.
    #[arg(long, default_value_t = 8, requires = "server", value_parser = clap::value_parser!(u32).range(2..=1000))]
    pairs: u32,
    /// Override a setting of the experiment by its dotted path.
    #[arg(long, value_name = "KEY=VALUE", requires = "server")]
    set: Vec<String>,
    /// Where the runs of the pairs are kept.
    #[arg(long, default_value = "runs", value_name = "DIR", requires = "server")]
    out: PathBuf,
    /// Go on with the runs of these pairs: either will do.
    #[arg(long, value_name = "RUN", requires = "server")]
    resume: Option<PathBuf>,
    /// How to show progress.
    #[arg(long, default_value = "auto", value_name = "auto|bar|tui|plain|json|none", requires = "server", value_parser = str::parse::<progress::Mode>)]
    progress: progress::Mode,
}

/// Both sides are the same; these are the ends of their runs' names.
const NAMES: [&str; 2] = ["aa1", "aa2"];

/// Measures the noise of a server, if that was asked for; `None` where it wasn't.
pub(super) fn run(args: &NoiseArgs, json: bool) -> Option<Result<Exit, Failure>> {
    args.server.as_deref().map(|file| measure(args, file, json))
}

fn measure(args: &NoiseArgs, file: &Path, json: bool) -> Result<Exit, Failure> {
    let (experiment, plan) = pairs(args, file)?;
    let resumed = args.resume.as_deref().map(|run| both(run, NAMES)).transpose()?;
    let side = |at: usize| {
        let resume = resumed.as_ref().map(|runs| runs[at].clone());
        let options = Options { runs: args.out.clone(), resume, sets: args.set.clone(), no_server: true };
        Side { name: NAMES[at], experiment: &experiment, plan: &plan, options }
    };
    let control = Control::default();
    watch_signals(&control, announce)?;
    let mut watcher = progress::watcher(args.progress, press(&control));
    let swept = in_turn(&[side(0), side(1)], &control, watcher.as_mut()).map_err(failure)?;
    drop(watcher);
    let [first, second] = swept.as_slice() else {
        return Err(anyhow!("two sides left {} runs", swept.len()).into());
    };
    match &first.ending {
        Ending::Finished => {}
        Ending::Interrupted => {
            say_err(&format!(
                "interrupted; go on with: {} --resume {}",
                again(args, file),
                first.run.display()
            ));
            return Ok(Exit::Interrupted);
        }
        Ending::Stopped { reason } => {
            let again = again(args, file);
            return Err(
                anyhow!("stopped: {reason}; go on with: {again} --resume {}", first.run.display()).into()
            );
        }
    }
    let (one, other) = (RunData::load_figures(&first.run)?, RunData::load_figures(&second.run)?);
    let gate = experiment.compare.clone().unwrap_or_default();
    let plain = compare(&one, &other, &gate);
    let (server, model) = (server_of(&one), model_of(&one).unwrap_or_default());
    let comparisons = [plain];
    let noise = Noise::of(&comparisons, &server, &model, &jiff::Timestamp::now().to_string());
    if noise.figures.is_empty() {
        return Err(anyhow!(
            "no two pairs can be believed, so that nothing is known of the noise: see plimsoll report {}",
            first.run.display()
        )
        .into());
    }
    let raised = compare_with(&one, &other, &gate, Some(&noise));
    write_noise(&first.run.join(NOISE), &noise)?;
    let kept = noise_path(&first.run);
    if let Some(path) = &kept {
        write_noise(path, &noise)?;
    }
    if json {
        say(&format!("{}\n", serde_json::to_string_pretty(&noise)?));
    } else {
        say(&table(&noise, &comparisons[0], &raised));
    }
    match kept {
        Some(path) => say_err(&format!("kept in {}, where compare finds it", path.display())),
        None => say_err(&format!(
            "kept in {} alone: name it with compare --noise",
            first.run.join(NOISE).display()
        )),
    }
    Ok(Exit::Fine)
}

/// The command that measures the same pairs.
fn again(args: &NoiseArgs, file: &Path) -> String {
    let sets: String = args.set.iter().map(|set| format!(" --set '{set}'")).collect();
    format!("plimsoll calibrate --server {} --pairs {}{sets}", file.display(), args.pairs)
}

/// The experiment with as many repeats as pairs were asked for, and prompts of its own for each
/// side: a server that knows those of the first would answer the second sooner.
fn pairs(args: &NoiseArgs, file: &Path) -> Result<(Experiment, Plan), Failure> {
    let mut experiment = Experiment::load(file, &args.set).map_err(Failure::usage)?;
    if experiment.grids.is_empty() {
        let repeats = format!("grid.repeats={}", args.pairs);
        let sets: Vec<String> = args.set.iter().cloned().chain([repeats]).collect();
        experiment = Experiment::load(file, &sets).map_err(Failure::usage)?;
    }
    for grid in &mut experiment.grids {
        grid.repeats = args.pairs;
    }
    experiment.salt = None;
    let plan = plan::build(&experiment).map_err(Failure::usage)?;
    Ok((experiment, plan))
}

/// The target's URL, without credentials.
fn server_of(run: &RunData) -> String {
    run.manifest.get("target").and_then(|target| target.as_str()).unwrap_or_default().to_owned()
}

/// The model, as the server calls it.
fn model_of(run: &RunData) -> Option<String> {
    let stored =
        |cell| StoredCell::read(&run.path.join(store::cell_dir(cell)).join(SUMMARY_JSON)).ok().flatten();
    run.cells.iter().find_map(|data| stored(&data.cell)).map(|stored| stored.model)
}

/// The noise that is known of what the baseline asked of its server, else of what the candidate
/// did. One that can't be read is told and not used.
pub(super) fn of_runs(baseline: &RunData, candidate: &RunData) -> Option<Noise> {
    let paths = [baseline, candidate].into_iter().filter_map(|run| noise_path(&run.path));
    let path = paths.into_iter().find(|path| path.exists())?;
    match Noise::read(&path) {
        Ok(noise) => {
            let when = &noise.measured_at;
            say_err(&format!(
                "margins are at least twice the noise that {} holds, of {when}",
                path.display()
            ));
            Some(noise)
        }
        Err(error) => {
            say_err(&format!("the noise between equal runs is not used: {error}"));
            None
        }
    }
}

/// What is printed: figure by figure the noise, and the margins that it leads to.
fn table(noise: &Noise, plain: &Comparison, raised: &Comparison) -> String {
    let pairs = noise.figures.iter().map(|of| of.pairs).max().unwrap_or(0);
    let mut text = format!(
        "{}, model {}: {pairs} pairs of equal repeats\n\n{:<16}{:>7}{:>14}{:>18}{:>18}\n",
        noise.server, noise.model, "figure", "pairs", "noise", "margin so far", "margin from now"
    );
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for row in &plain.rows {
        let figure = (row.metric.as_str(), row.stat.as_str());
        let found = noise.figures.iter().find(|of| (of.metric.as_str(), of.stat.as_str()) == figure);
        let (Some(found), false) = (found, seen.contains(&figure)) else { continue };
        seen.push(figure);
        let (before, after) = (margins(plain, figure), margins(raised, figure));
        let unit = if row.is_difference() { "points" } else { "%" };
        let _ = writeln!(
            text,
            "{:<16}{:>7}{:>14}{:>18}{:>18}{}",
            row.quantity().to_string(),
            found.pairs,
            format!("{:.2} {unit}", found.std * 100.0),
            format!("{} {unit}", before.0),
            format!("{} {unit}", after.0),
            if after.1 > before.1 + 1e-9 { "  raised" } else { "" }
        );
    }
    text.push_str(
        "\nNoise is the standard deviation of ln(second/first) over the pairs; a comparison's margin is at least twice that.\n",
    );
    text
}

/// The margins of a figure over all cells, in words, and the greatest.
fn margins(comparison: &Comparison, figure: (&str, &str)) -> (String, f64) {
    let of = |row: &&Row| (row.metric.as_str(), row.stat.as_str()) == figure && row.base.is_some();
    let all: Vec<f64> = comparison.rows.iter().filter(of).map(|row| row.margin).collect();
    let (low, high) = all.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), m| (low.min(*m), high.max(*m)));
    if all.is_empty() {
        return ("–".to_owned(), 0.0);
    }
    let word = |share: f64| format!("{:.1}", share * 100.0);
    let words = if word(low) == word(high) { word(low) } else { format!("{} to {}", word(low), word(high)) };
    (words, high)
}
