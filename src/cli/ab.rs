//! `plimsoll ab`: two servers, measured in turns, and compared.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;

use super::compare::{Format, conclude, own_gate};
use super::run::{announce, failure, press, watch_signals};
use super::source::{Planned, SourceArgs, target};
use super::{Exit, Failure, noise, say, say_err};
use crate::analysis::RunData;
use crate::analysis::compare::{GateSettings, compare_with};
use crate::load::Control;
use crate::progress;
use crate::store::other_side;
use crate::sweep::{Ending, Options, Side, Swept, in_turn};

/// Arguments of `ab`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plimsoll ab my.toml --a http://127.0.0.1:8000 --b http://127.0.0.1:8001
  plimsoll ab my.toml --a http://old:8000 --b http://new:8000 --gate gate.toml --strict
  plimsoll ab my.toml --a-set target.model=small --b-set target.model=large
  plimsoll ab my.toml --a sim: --b sim: --b-set sim.step_base=5ms
  plimsoll ab my.toml --a … --b … --resume runs/20260101T120000Z-chat-a

Of each cell and repeat first the one and then the other is measured, and who begins alternates.
Each side is an ordinary run, …-a and …-b. A gate needs at least 5 repeats.

Exit codes: as those of plimsoll compare, and 130 interrupted (what was finished is kept).")]
pub struct AbArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Base URL of the baseline, or `sim:`: target.url on its side.
    #[arg(long, value_name = "URL")]
    a: Option<String>,
    /// Base URL of the candidate, or `sim:`.
    #[arg(long, value_name = "URL")]
    b: Option<String>,
    /// Override a setting on the baseline's side alone.
    #[arg(long, value_name = "KEY=VALUE")]
    a_set: Vec<String>,
    /// Override a setting on the candidate's side alone.
    #[arg(long, value_name = "KEY=VALUE")]
    b_set: Vec<String>,
    /// A TOML file with the keys of an experiment's compare section (else the section of the experiment
    /// file, else the defaults).
    #[arg(long, value_name = "FILE")]
    gate: Option<PathBuf>,
    /// Exit 5 where nobody can tell, rather than 0.
    #[arg(long)]
    strict: bool,
    /// Where runs are kept; each side gets its own directory there.
    #[arg(long, default_value = "runs", value_name = "DIR")]
    out: PathBuf,
    /// Go on with this run and the one that it took turns with: either will do.
    #[arg(long, value_name = "RUN")]
    resume: Option<PathBuf>,
    /// How to show progress.
    #[arg(long, default_value = "auto", value_name = "auto|bar|tui|plain|json|none", value_parser = str::parse::<progress::Mode>)]
    progress: progress::Mode,
    /// Where the comparison goes; it gets its own directory there.
    #[arg(long, default_value = "reports", value_name = "DIR")]
    reports: PathBuf,
    /// Write no files but the runs.
    #[arg(long)]
    no_report: bool,
}

/// The baseline's name, and the candidate's.
const NAMES: [&str; 2] = ["a", "b"];

/// Plan both, sweep in turns, compare.
pub fn run(args: &AbArgs) -> Result<Exit, Failure> {
    let own = [own_sets(args.a.as_deref(), &args.a_set), own_sets(args.b.as_deref(), &args.b_set)];
    if own.iter().all(Vec::is_empty) {
        return Err(Failure::usage(anyhow!(
            "ab compares two servers: name them with --a URL and --b URL, or say with --a-set and --b-set how they \
             are asked differently (for how much equal runs differ: plimsoll calibrate --server FILE)"
        )));
    }
    // Before the sweep, which may take hours.
    let gate = args.gate.as_deref().map(GateSettings::load).transpose().map_err(Failure::usage)?;
    let resumed = args.resume.as_deref().map(|run| both(run, NAMES)).transpose()?;
    let mut planned = Vec::new();
    for sets in &own {
        planned.push(args.source.plan_side(sets)?);
    }
    if let [a, b] = planned.as_slice()
        && same_asked(a, b)
    {
        say_err(
            "both sides are the same server with the same settings: what is found is chance (plimsoll calibrate --server FILE \
             tells how large that is)",
        );
    }
    let side = |at: usize| {
        let Planned { experiment, plan } = &planned[at];
        let sets = args.source.sets().into_iter().chain(own[at].clone()).collect();
        let resume = resumed.as_ref().map(|runs| runs[at].clone());
        let options = Options { runs: args.out.clone(), resume, sets, no_server: true };
        Side { name: NAMES[at], experiment, plan, options }
    };
    if planned.iter().any(|side| side.experiment.publish.is_wanted()) {
        say_err("ab gives its figures to nobody: [publish] has no effect on it");
    }
    let control = Control::default();
    watch_signals(&control, announce)?;
    let mut watcher = progress::watcher(args.progress, press(&control));
    let swept = in_turn(&[side(0), side(1)], &control, watcher.as_mut()).map_err(failure)?;
    drop(watcher);
    match swept.as_slice() {
        [a, b] => ended(args, &gate, a, b),
        _ => Err(anyhow!("two sides left {} runs", swept.len()).into()),
    }
}

/// Whether both sides ask the same of the same server.
fn same_asked(a: &Planned, b: &Planned) -> bool {
    let settings = |planned: &Planned| {
        let cells = planned.plan.cells.iter().map(|cell| &cell.settings);
        cells.map(|settings| serde_json::to_string(settings).ok()).collect::<Option<Vec<_>>>()
    };
    settings(a).is_some() && settings(a) == settings(b)
}

/// What only one side is told.
fn own_sets(url: Option<&str>, sets: &[String]) -> Vec<String> {
    url.map(target).into_iter().chain(sets.iter().cloned()).collect()
}

/// The runs of a pair whose names end so, in this order, by one of them.
pub(super) fn both(run: &Path, [a, b]: [&str; 2]) -> Result<[PathBuf; 2], Failure> {
    // As `runs/x-a/` has its name behind a dot or a slash.
    let run = run.components().collect::<PathBuf>();
    if let Some(other) = other_side(&run, a, b) {
        return Ok([run, other]);
    }
    if let Some(other) = other_side(&run, b, a) {
        return Ok([other, run]);
    }
    Err(Failure::usage(anyhow!(
        "--resume {}: not a run that took turns with another; the names of those end in -{a} and -{b}",
        run.display()
    )))
}

fn ended(args: &AbArgs, gate: &Option<GateSettings>, a: &Swept, b: &Swept) -> Result<Exit, Failure> {
    let say_out = |text: &str| {
        // In JSON mode stdout belongs to the events.
        if args.progress == progress::Mode::Json { say_err(text.trim_end()) } else { say(text) }
    };
    let how = match &a.ending {
        Ending::Finished => None,
        Ending::Interrupted => Some(("interrupted".to_owned(), Exit::Interrupted)),
        Ending::Stopped { reason } => Some((format!("stopped: {reason}"), Exit::Invalid)),
    };
    if let Some((what, exit)) = how {
        say_err(&format!("{what}; go on with: plimsoll ab {} --resume {}", again(args), a.run.display()));
        return Ok(exit);
    }
    let load = |swept: &Swept| RunData::load_figures(&swept.run);
    let (baseline, candidate) = (load(a)?, load(b)?);
    let mut gate = match gate {
        Some(gate) => gate.clone(),
        None => own_gate(&candidate)?,
    };
    gate.strict |= args.strict;
    let noise = noise::of_runs(&baseline, &candidate);
    let comparison = compare_with(&baseline, &candidate, &gate, noise.as_ref());
    say_out(&format!("a: {}\nb: {}\n\n", a.run.display(), b.run.display()));
    let reports = (!args.no_report).then_some(args.reports.as_path());
    conclude(&comparison, (&baseline, &candidate), Format::Terminal, reports, say_out)
}

/// The arguments that name the same pair again.
fn again(args: &AbArgs) -> String {
    let mut words = args.source.again();
    for (flag, value) in [("--a", &args.a), ("--b", &args.b)] {
        words += &value.as_ref().map(|url| format!(" {flag} '{url}'")).unwrap_or_default();
    }
    for (flag, sets) in [("--a-set", &args.a_set), ("--b-set", &args.b_set)] {
        sets.iter().for_each(|set| words += &format!(" {flag} '{set}'"));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_run_of_a_pair_leads_to_both() {
        let pair = ["runs/x-a", "runs/x-b"].map(PathBuf::from);
        for word in ["runs/x-a", "runs/x-b", "runs/x-b/", "./runs/x-a/."] {
            let found = both(Path::new(word), NAMES).unwrap();
            assert!(found.iter().zip(&pair).all(|(found, want)| found.ends_with(want)), "{word}: {found:?}");
        }
        let Err(error) = both(Path::new("runs/x"), NAMES) else { panic!("runs/x is no side") };
        assert!(error.error.to_string().contains("-a and -b"));
    }
}
