//! Killed at any instant, a sweep goes on where it was: every cell once, no line torn.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::cli::{SMALL, only_run, plimsoll, stderr};

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

#[test]
fn killed_at_ten_instants_it_ends_as_if_never_killed() {
    let whole = tempfile::tempdir().unwrap();
    let file = SMALL.replace("repeats = 2", "repeats = 4");
    std::fs::write(whole.path().join("small.toml"), &file).unwrap();
    let args = ["run", "small.toml", "--no-report", "--progress", "none"];
    let output = plimsoll(whole.path(), &args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let expected = identity_and_counts(&whole.path().join("runs/summary.csv"));
    assert_eq!(expected.len(), 8);

    let killed = tempfile::tempdir().unwrap();
    std::fs::write(killed.path().join("small.toml"), &file).unwrap();
    let mut run = None;
    for attempt in 0_u64..10 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
        command.args(args).current_dir(killed.path()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(run) = &run {
            command.arg("--resume").arg(run);
        }
        let mut child = command.spawn().unwrap();
        // Instants spread over start, cells and commits; not the same twice.
        let until = Instant::now() + Duration::from_millis(120 + attempt * 97 % 500);
        while Instant::now() < until && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if run.is_none() && killed.path().join("runs").exists() {
            let found = std::fs::read_dir(killed.path().join("runs"))
                .unwrap()
                .map(|e| e.unwrap().path())
                .find(|p| p.join("run.json").exists());
            run = found;
        }
    }
    let run = run.expect("ten attempts began a run");
    let resume = run.to_str().unwrap();
    let output = plimsoll(killed.path(), &[&args[..], &["--resume", resume]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for csv in [run.join("summary.csv"), killed.path().join("runs/summary.csv")] {
        assert_eq!(identity_and_counts(&csv), expected, "{}", csv.display());
    }
}

#[test]
fn another_experiment_may_not_go_on_with_a_run() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("small.toml"), SMALL).unwrap();
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
    let dir = tempfile::tempdir().unwrap();
    let file = SMALL.replace("requests = 12", "duration = \"60s\"");
    std::fs::write(dir.path().join("small.toml"), file).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
        .args(["run", "small.toml", "--no-report", "--progress", "json"])
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    let log = || {
        let cells = dir.path().join("runs");
        let run = std::fs::read_dir(cells).ok()?.map(|e| e.unwrap().path()).find(|p| p.is_dir())?;
        let cell = std::fs::read_dir(run.join("cells")).ok()?.next()?.ok()?.path();
        Some(cell.join("records.jsonl").metadata().ok()?.len())
    };
    while log().unwrap_or(0) == 0 {
        assert!(Instant::now() < until, "no record was ever logged");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = i32::try_from(child.id()).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::INT)
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stderr(&output).contains("--resume"), "{}", stderr(&output));
    let run = only_run(dir.path());
    let cell = std::fs::read_dir(run.join("cells")).unwrap().next().unwrap().unwrap().path();
    assert!(cell.join("records.parquet").exists(), "the cut cell's records are kept");
    assert!(!cell.join("summary.json").exists(), "but it is not finished");
}
