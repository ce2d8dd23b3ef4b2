//! `plimsoll ab`, two servers in turns, and `plimsoll calibrate --server`, the noise between equal
//! runs; both as a user calls them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::Signal;
use serde_json::Value;

use crate::rig::program::{Started, directory, find};
use crate::rig::wait_for;

const EXPERIMENT: &str = r#"
name = "pair"
seed = 7
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
qps = 40
[cell]
duration = "800ms"
warmup = "200ms"
cooldown = { min = "0s", max = "0s" }
[client]
threads = 1
[grid]
repeats = 5
[sim]
step_base = "30ms"
step_per_seq = "0s"
max_num_seqs = 64
"#;

fn plimsoll(dir: &Path, args: &[&str]) -> Output {
    std::fs::write(dir.join("pair.toml"), EXPERIMENT).unwrap();
    Command::new(env!("CARGO_BIN_EXE_plimsoll"))
        .args(args)
        .current_dir(dir)
        .env("PLIMSOLL_CALIBRATION", dir.join("cache/calibration.json"))
        .output()
        .unwrap()
}

/// As [`plimsoll`], again from the start where this machine was too busy for any cell to be
/// believed, which the program says with 4.
fn believed(dir: &Path, args: &[&str]) -> Output {
    let mut output = plimsoll(dir, args);
    for _ in 0..4 {
        if output.status.code() != Some(4) {
            break;
        }
        std::fs::remove_dir_all(dir.join("runs")).unwrap();
        output = plimsoll(dir, args);
    }
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The run whose name ends like this.
fn run_of(dir: &Path, side: &str) -> PathBuf {
    let ending = format!("-pair-{side}");
    let inside = std::fs::read_dir(dir.join("runs")).unwrap().map(|entry| entry.unwrap().path());
    let mut runs = inside.filter(|path| path.to_string_lossy().ends_with(&ending));
    let found = runs.next().unwrap_or_else(|| panic!("no run …{ending}"));
    assert_eq!(runs.next(), None);
    found
}

/// What was measured, cell by cell in the plan's order.
fn summaries(run: &Path) -> Vec<Value> {
    let mut cells: Vec<PathBuf> =
        std::fs::read_dir(run.join("cells")).unwrap().map(|entry| entry.unwrap().path()).collect();
    cells.sort();
    cells.iter().map(|cell| read(&cell.join("summary.json"))).collect()
}

#[test]
fn a_slower_server_is_found_and_each_side_is_a_run_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let slower = "sim.step_base=39ms";
    let args = ["ab", "pair.toml", "--a", "sim:", "--b", "sim:", "--b-set", slower, "--progress", "none"];
    let output = believed(dir, &args);
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{out}\n{errors}");
    assert!(out.contains("REGRESSED") && out.contains("TPOT p50"), "{out}");
    assert!(out.contains("Report: "), "{out}");

    let (a, b) = (run_of(dir, "a"), run_of(dir, "b"));
    let (one, other) = (summaries(&a), summaries(&b));
    assert_eq!((one.len(), other.len()), (5, 5));
    for (x, y) in one.iter().zip(&other) {
        for key in ["cell_id", "repeat", "workload_hash"] {
            assert_eq!(x[key], y[key], "{key}");
        }
        assert!(x["workload_hash"].as_str().is_some_and(|hash| !hash.is_empty()));
    }
    let plans = [&a, &b].map(|run| read(&run.join("plan.json")));
    let seeds = |plan: &Value| -> Vec<Value> {
        plan["cells"].as_array().unwrap().iter().map(|cell| cell["seed"].clone()).collect()
    };
    assert_eq!(seeds(&plans[0]), seeds(&plans[1]));
    let manifests = [&a, &b].map(|run| read(&run.join("run.json")));
    assert_eq!(manifests[1]["set"], serde_json::json!(["target.url=sim:", slower]));
    assert!(manifests.iter().all(|manifest| manifest["status"] == "finished" && manifest["name"] == "pair"));
    assert_ne!(manifests[0]["salt"], manifests[1]["salt"], "prompts of the one are not the other's");

    // In turns, and who begins alternates: a b, b a, a b, …
    let started = |run: &[Value], name: char| -> Vec<(String, char)> {
        run.iter().map(|cell| (cell["started_at"].as_str().unwrap().to_owned(), name)).collect()
    };
    let mut order: Vec<(String, char)> = started(&one, 'a').into_iter().chain(started(&other, 'b')).collect();
    order.sort();
    let order: String = order.into_iter().map(|(_, name)| name).collect();
    assert_eq!(order, "abbaabbaab");

    // What is finished is not run again, whichever side is named.
    let run = b.strip_prefix(dir).unwrap().to_str().unwrap();
    let output = plimsoll(dir, &[&args[..], &["--resume", run]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert_eq!((summaries(&run_of(dir, "a")), summaries(&run_of(dir, "b"))), (one, other));

    // A cell that is lost is measured again on its own side, and on the other not.
    let lost = std::fs::read_dir(a.join("cells")).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_dir_all(&lost).unwrap();
    let before = summaries(&b);
    let output = plimsoll(dir, &[&args[..], &["--resume", run]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert_eq!((summaries(&a).len(), summaries(&b)), (5, before));
}

#[test]
fn the_same_server_twice_is_no_regression() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    // The figure that the simulator's own clock makes: others depend on this machine's moods.
    std::fs::write(dir.join("gate.toml"), "primary = [\"tpot_p50\"]\n").unwrap();
    let args = [
        "ab",
        "pair.toml",
        "--a",
        "sim:",
        "--b",
        "sim:",
        "--gate",
        "gate.toml",
        "--progress",
        "none",
        "--no-report",
    ];
    let output = believed(dir, &args);
    assert_eq!(output.status.code(), Some(0), "{}\n{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stderr).contains("same server with the same settings"), "{}", text(&output.stderr));
    assert!(!dir.join("reports").exists());
}

#[test]
fn sides_that_differ_in_nothing_or_in_what_is_asked_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for (args, word) in [
        (&["ab", "pair.toml"][..], "--a URL and --b URL"),
        (&["ab", "pair.toml", "--b-set", "workload.max_tokens=9"], "ask the same"),
        (&["ab", "pair.toml", "--a", "sim:", "--b", "sim:", "--resume", "runs/x"], "-a and -b"),
        (&["ab", "pair.toml", "--a", "sim:", "--b", "sim:", "--gate", "none.toml"], "none.toml"),
        (&["calibrate", "--pairs", "3"], "--server"),
    ] {
        let output = plimsoll(dir, args);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {errors}");
        assert!(errors.contains(word), "{args:?}: {errors}");
        assert!(!dir.join("runs").exists(), "{args:?}");
    }
}

#[test]
fn the_noise_of_a_server_is_measured_kept_and_raises_margins() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let args = ["calibrate", "--server", "pair.toml", "--pairs", "6", "--progress", "none"];
    let output = believed(dir, &args);
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert!(out.contains("tpot_p50") && out.contains("margin from now"), "{out}");
    let noise = read(&run_of(dir, "aa1").join("noise.json"));
    let kept: Vec<PathBuf> =
        std::fs::read_dir(dir.join("cache/noise")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(read(&kept[0]), noise);
    assert_eq!((&noise["server"], &noise["model"]), (&"sim:".into(), &"sim".into()));
    let figures = noise["figures"].as_array().unwrap();
    let tpot = figures.iter().find(|of| of["metric"] == "tpot" && of["stat"] == "p50").unwrap();
    assert!(tpot["std"].as_f64().unwrap() > 0.0 && tpot["pairs"].as_u64().unwrap() <= 6, "{tpot}");

    // A noise of 50 %, and nothing below twice that is a change that matters.
    let mut loud = noise.clone();
    loud["figures"].as_array_mut().unwrap().iter_mut().for_each(|of| of["std"] = 0.5.into());
    std::fs::write(&kept[0], loud.to_string()).unwrap();
    let (a, b) = (run_of(dir, "aa1"), run_of(dir, "aa2"));
    let args = ["compare", a.to_str().unwrap(), b.to_str().unwrap(), "--format", "json", "--no-report"];
    let output = plimsoll(dir, &args);
    assert!(text(&output.stderr).contains("twice the noise"), "{}", text(&output.stderr));
    let comparison: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = comparison["rows"].as_array().unwrap();
    let row = rows.iter().find(|row| row["metric"] == "tpot" && row["stat"] == "p50").unwrap();
    let margin = row["margin"].as_f64().unwrap();
    assert!((margin - 1f64.exp_m1()).abs() < 1e-9, "{margin}");
}

#[test]
fn pairs_that_were_interrupted_are_gone_on_with() {
    let dir = directory(EXPERIMENT);
    let args = ["calibrate", "--server", "small.toml", "--pairs", "3", "--progress", "none"];
    let cache = dir.path().join("calibration.json");
    let env = [("PLIMSOLL_CALIBRATION", cache.to_str().unwrap())];
    let started = Started::new(dir.path(), &args, &env);
    wait_for("a first cell", || find(dir.path(), "summary.json"));
    started.signal(Signal::INT);
    let output = started.output();
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{errors}");
    let first = find(dir.path(), "summary.json").unwrap();
    let before = std::fs::read(&first).unwrap();
    let run = run_of(dir.path(), "aa1");
    let run = run.strip_prefix(dir.path()).unwrap().to_str().unwrap();
    let command = format!("plimsoll calibrate --server small.toml --pairs 3 --resume {run}");
    assert!(errors.contains(&command), "{errors}");
    let output = Started::new(dir.path(), &[&args[..], &["--resume", run]].concat(), &env).output();
    // A machine that could not measure says so, and has gone on all the same.
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}", text(&output.stderr));
    assert_eq!(std::fs::read(&first).unwrap(), before, "what was finished is kept");
    assert_eq!(summaries(&run_of(dir.path(), "aa1")).len(), 3);
    assert_eq!(summaries(&run_of(dir.path(), "aa2")).len(), 3);
}
