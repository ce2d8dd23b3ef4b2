//! Killed at any instant, a sweep goes on where it was: every cell once, no line torn.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::rig::program::{SMALL, Started, directory, find, only_run, plimsoll, stderr};
use crate::rig::wait_for;

/// What must not depend on how often a sweep was killed: identity and counts by cell.
fn identity_and_counts(csv: &Path) -> BTreeMap<String, Vec<String>> {
    let mut reader = csv::Reader::from_path(csv).unwrap();
    let header = reader.headers().unwrap().clone();
    let columns = [
        "cell_id",
        "repeat",
        "seed",
        "users",
        "qps",
        "prompt_tokens",
        "max_tokens",
        "planned",
        "attempted",
        "ok",
        "failed",
        "dropped",
        "censored",
        "workload_hash",
        "experiment_hash",
    ];
    let places: Vec<usize> = columns
        .iter()
        .map(|c| header.iter().position(|h| h == *c).unwrap_or_else(|| panic!("no column {c}")))
        .collect();
    let index = header.iter().position(|h| h == "cell_index").unwrap();
    let mut rows = BTreeMap::new();
    for record in reader.records() {
        let record = record.unwrap();
        let row = places.iter().map(|&p| record[p].to_owned()).collect();
        assert!(rows.insert(record[index].to_owned(), row).is_none(), "cell {} twice", &record[index]);
    }
    rows
}

/// Kills that a sweep has to survive.
const KILLS: u32 = 10;

/// Both loops, sixteen short cells.
fn sixteen_cells() -> String {
    let grids =
        SMALL.replace("users = [1, 2]", "name = \"closed\"\nusers = [1, 2]").replace("[grid]", "[[grid]]");
    let open = "[[grid]]\nname = \"open\"\nqps = [100, 200]\nprompt_tokens = [16]\nmax_tokens = [8]\nrepeats = 4\n[cell]";
    grids
        .replace("repeats = 2", "repeats = 4")
        .replace("[cell]", open)
        .replace("max = \"2s\"", "max = \"50ms\"")
}

#[test]
fn killed_at_ten_instants_it_ends_as_if_never_killed() {
    let whole = directory(&sixteen_cells());
    let args = ["run", "small.toml", "--no-report", "--progress", "none"];
    let began = Instant::now();
    let output = plimsoll(whole.path(), &args);
    let took = began.elapsed();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let expected = identity_and_counts(&whole.path().join("runs/summary.csv"));
    assert_eq!(expected.len(), 16);

    let killed = directory(&sixteen_cells());
    let mut run = None;
    // Instants all over start, cells and commits, other ones each time; told when it fails.
    let mut instants = Vec::new();
    for _ in 0..KILLS {
        let after = took.mul_f64(rand::random::<f64>() / 6.0);
        let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
        command.args(args).current_dir(killed.path()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(run) = &run {
            command.arg("--resume").arg(run);
        }
        let mut child = command.spawn().unwrap();
        std::thread::sleep(after);
        if child.try_wait().unwrap().is_some() {
            // All done, on a machine that has become faster: nothing is left to kill.
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        instants.push(after);
        if run.is_none() {
            run = begun_run(killed.path());
        }
    }
    assert!(instants.len() >= 5, "hardly anything was killed: {instants:?} of {took:?}");
    let resume: Vec<&str> = run.iter().flat_map(|run| ["--resume", run.to_str().unwrap()]).collect();
    let output = plimsoll(killed.path(), &[&args[..], &resume].concat());
    assert_eq!(output.status.code(), Some(0), "killed after {instants:?}: {}", stderr(&output));
    let run = begun_run(killed.path()).unwrap();
    for csv in [run.join("summary.csv"), killed.path().join("runs/summary.csv")] {
        assert_eq!(identity_and_counts(&csv), expected, "killed after {instants:?}: {}", csv.display());
    }
}

/// The run below `dir` that came as far as to be one.
fn begun_run(dir: &Path) -> Option<PathBuf> {
    let runs = std::fs::read_dir(dir.join("runs")).ok()?;
    runs.map(|e| e.unwrap().path()).find(|p| p.join("run.json").exists())
}

#[test]
fn another_experiment_may_not_go_on_with_a_run() {
    let dir = directory(SMALL);
    let args = ["run", "small.toml", "--no-report", "--progress", "none"];
    assert_eq!(plimsoll(dir.path(), &args).status.code(), Some(0));
    let run = only_run(dir.path());
    let resume = [&args[..], &["--resume", run.to_str().unwrap()]].concat();
    assert_eq!(plimsoll(dir.path(), &resume).status.code(), Some(0), "a finished run has nothing left to do");
    let other = [&resume[..], &["--set", "seed=8"]].concat();
    let output = plimsoll(dir.path(), &other);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("another experiment"), "{}", stderr(&output));
}

#[test]
fn ctrl_c_keeps_what_was_measured_and_exits_130() {
    let dir = directory(&SMALL.replace("requests = 12", "duration = \"60s\""));
    let child = Started::new(dir.path(), &["run", "small.toml", "--no-report", "--progress", "json"], &[]);
    wait_for("a record", || find(dir.path(), "records.jsonl"));
    child.signal(rustix::process::Signal::INT);
    let output = child.output();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stderr(&output).contains("--resume"), "{}", stderr(&output));
    let run = only_run(dir.path());
    let cell = std::fs::read_dir(run.join("cells")).unwrap().next().unwrap().unwrap().path();
    assert!(cell.join("records.parquet").exists(), "the cut cell's records are kept");
    assert!(!cell.join("summary.json").exists(), "but it is not finished");
}
