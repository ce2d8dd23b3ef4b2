//! Measures: groups of runs that take turns, several groups side by side.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use plimsoll::event::{Event, Watcher};
use plimsoll::experiment::Experiment;
use plimsoll::load::Control;
use plimsoll::plan::{self, Plan};
use plimsoll::sweep::{Options, Side, in_turn};

use super::Error;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Comparisons of equal servers: one a group.
    pub equal: usize,
    /// The first so many groups have sides with planted changes as well.
    pub planted: usize,
    pub workers: usize,
    /// Of the first group; each of the others has the next.
    pub seed: usize,
}

/// A side of a group.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Ends its run's name.
    pub name: &'static str,
    /// What its simulator is told beyond [`EXPERIMENT`].
    pub knobs: &'static [&'static str],
}

/// The baseline, its equal (the very same server), and what is planted.
pub const BASE: Kind = Kind { name: "base", knobs: &[] };
pub const EQUAL: Kind = Kind { name: "equal", knobs: &[] };
/// Every step takes 5 % longer, and so does the median time between two tokens.
pub const P50: Kind =
    Kind { name: "p50", knobs: &["sim.step_base=31.5ms", "sim.step_per_prefill_token=21us"] };
/// Every step takes 10 % longer, and so does the 95th percentile of the wait for the first token.
pub const P95: Kind = Kind { name: "p95", knobs: &["sim.step_base=33ms", "sim.step_per_prefill_token=22us"] };
/// One request in ten takes half as long again from token to token; nobody else notices.
pub const TAIL: Kind = Kind { name: "tail", knobs: &["sim.slow_share=0.1", "sim.slow_factor=1.5"] };

/// One cell, five times. A step costs the same whoever is in it, so that what is planted is
/// exactly that. 30 ms a step, for a margin's floors (5 ms of TTFT, 0.5 ms of TPOT) are not to
/// decide instead of the margins.
const EXPERIMENT: &str = r#"
name = "proof"
[target]
url = "sim:"
api = "openai-chat"
model = "sim"
[workload]
prompt_tokens = 16
max_tokens = 6
tokenizer = "bundled"
force_length = "always"
[load]
qps = 60
arrivals = "poisson"
[cell]
duration = "2s"
warmup = "300ms"
cooldown = { min = "0s", max = "0s" }
[client]
threads = 1
[grid]
repeats = 5
[sim]
step_base = "30ms"
step_per_seq = "0s"
step_per_prefill_token = "20us"
max_num_seqs = 64
"#;

/// The sides of the `n`-th group.
pub fn sides(n: usize, size: Size) -> &'static [Kind] {
    if n < size.planted { &[BASE, EQUAL, P50, P95, TAIL] } else { &[BASE, EQUAL] }
}

/// Where the `n`-th group's runs are.
pub fn group_dir(dir: &Path, n: usize) -> PathBuf {
    dir.join(format!("group-{:03}", n + 1))
}

/// The run of a side, if it was begun.
pub fn run_of(dir: &Path, n: usize, kind: Kind) -> Option<PathBuf> {
    let inside = std::fs::read_dir(group_dir(dir, n)).ok()?;
    let ending = format!("-{}", kind.name);
    let mut runs: Vec<PathBuf> = inside
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("run.json").exists() && path.to_string_lossy().ends_with(&ending))
        .collect();
    runs.sort();
    runs.pop()
}

/// Measures every group that isn't whole yet.
pub fn all(dir: &Path, size: Size) -> Result<(), Error> {
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let failed: Mutex<Option<Error>> = Mutex::new(None);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..size.workers {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let stop = failed.lock().map_or(true, |failed| failed.is_some());
                    if n >= size.equal || stop {
                        return;
                    }
                    if let Err(error) = group(dir, (n, size.seed + n), sides(n, size)) {
                        let text = format!("group {}: {error}", n + 1);
                        if let Ok(mut failed) = failed.lock() {
                            failed.get_or_insert(text.into());
                        }
                        return;
                    }
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if done.is_multiple_of(10) || done == size.equal {
                        let seconds = began.elapsed().as_secs();
                        eprintln!("{done} of {} groups measured after {seconds} s", size.equal);
                    }
                }
            });
        }
    });
    match failed.into_inner() {
        Ok(None) => Ok(()),
        Ok(Some(error)) => Err(error),
        Err(_) => Err("a worker panicked".into()),
    }
}

fn group(dir: &Path, (n, seed): (usize, usize), kinds: &[Kind]) -> Result<(), Error> {
    let planned: Vec<(Experiment, Plan, Vec<String>)> =
        kinds.iter().map(|kind| planned(seed, *kind)).collect::<Result<_, _>>()?;
    let mut sides = Vec::new();
    for (kind, (experiment, plan, sets)) in kinds.iter().zip(&planned) {
        let options = Options {
            runs: group_dir(dir, n),
            resume: run_of(dir, n, *kind),
            sets: sets.clone(),
            no_server: true,
        };
        sides.push(Side { name: kind.name, experiment, plan, options });
    }
    in_turn(&sides, &Control::default(), &mut Silent)?;
    Ok(())
}

fn planned(seed: usize, kind: Kind) -> Result<(Experiment, Plan, Vec<String>), Error> {
    // Every group has other arrivals.
    let seed = format!("seed={seed}");
    let sets: Vec<String> = std::iter::once(seed).chain(kind.knobs.iter().map(|k| (*k).to_owned())).collect();
    let experiment = Experiment::parse(Path::new("proof.toml"), EXPERIMENT, &sets)?;
    let plan = plan::build(&experiment)?;
    Ok((experiment, plan, sets))
}

struct Silent;

impl Watcher for Silent {
    fn on(&mut self, _: &Event<'_>) {}
}
