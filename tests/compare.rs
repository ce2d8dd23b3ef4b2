//! The comparison as its users have it: runs at the simulator, baselines by name, exit codes.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::rig::program::{plimsoll, stderr, stdout};

/// Two cells, five repeats each, at a server whose times are set.
const FILE: &str = r#"
name = "small"
seed = 7
[target]
url = "sim:"
[sim]
ttft = "30ms"
tpot = "2ms"
[grid]
users = [1, 2]
prompt_tokens = [16]
max_tokens = [8]
repeats = 5
[cell]
requests = 12
warmup = "50ms"
cooldown = { min = "10ms", max = "2s" }
"#;

/// Runs the file with these arguments; the new run's directory, relative to `dir`.
fn sweep(dir: &Path, args: &[&str]) -> String {
    let before = runs(dir);
    let head = ["run", "small.toml", "--no-report", "--progress", "none"];
    let output = plimsoll(dir, &[&head[..], args].concat());
    assert_eq!(output.status.code(), Some(0), "{}\n{}", stdout(&output), stderr(&output));
    let new: Vec<PathBuf> = runs(dir).into_iter().filter(|run| !before.contains(run)).collect();
    let [run] = &new[..] else { panic!("{new:?}") };
    format!("runs/{}", run.file_name().unwrap().to_str().unwrap())
}

fn runs(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join("runs")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
}

/// Has every cell of a run believed, however busy this machine was meanwhile.
fn believe(dir: &Path, run: &str) {
    mark(dir, run, "valid");
}

fn mark(dir: &Path, run: &str, verdict: &str) {
    for entry in std::fs::read_dir(dir.join(run).join("cells")).unwrap() {
        let path = entry.unwrap().path().join("summary.json");
        let mut summary: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        summary["validity"]["verdict"] = verdict.into();
        std::fs::write(&path, summary.to_string()).unwrap();
    }
}

fn start() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("small.toml"), FILE).unwrap();
    dir
}

/// The exit code of a command, and all that it said.
fn said(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = plimsoll(dir, args);
    (output.status.code(), format!("{}\n{}", stdout(&output), stderr(&output)))
}

#[test]
fn a_slower_server_is_a_regression_and_the_same_run_is_none() {
    let dir = start();
    let dir = dir.path();
    let base = sweep(dir, &[]);
    let slow = sweep(dir, &["--set", "sim.ttft=90ms"]);
    believe(dir, &base);
    believe(dir, &slow);

    let (code, text) = said(dir, &["compare", &base, &base]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("=== ✓ PASS ===\nNo regression: none of 8 figures that decide"), "{text}");
    assert!(text.contains("5 repeats, paired by seed and workload"), "{text}");

    let (code, text) = said(dir, &["compare", &base, &slow]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.starts_with("=== ✗ FAIL ===\nRegressed: "), "{text}");
    // Nothing of the machine differs, but what was asked of the simulator.
    assert!(text.contains("experiment.sim.ttft: 30ms → 90ms"), "{text}");
    let own = |run: &str| run.trim_start_matches("runs/").to_owned();
    let written = dir.join("reports").join(format!("compare-{}-{}", own(&base), own(&slow)));
    for (format, file) in
        [("markdown", "comparison.md"), ("junit", "comparison.xml"), ("json", "comparison.json")]
    {
        let output = plimsoll(dir, &["compare", &base, &slow, "--format", format]);
        assert_eq!(output.status.code(), Some(1), "{format}");
        assert_eq!(stdout(&output), std::fs::read_to_string(written.join(file)).unwrap(), "{format}");
    }
    let json: Value =
        serde_json::from_str(&std::fs::read_to_string(written.join("comparison.json")).unwrap()).unwrap();
    let ttft = json["rows"].as_array().unwrap().iter().find(|row| row["metric"] == "ttft").unwrap();
    assert_eq!(
        (&ttft["verdict"], &ttft["repeats"], &ttft["paired"]),
        (&"REGRESSED".into(), &5.into(), &true.into())
    );
    assert!(ttft["effect"].as_f64().unwrap() > 1.0, "{ttft}");

    // What decides is the user's choice: TPOT is what it was, within a margin that any machine keeps.
    let gate = "primary = [\"error_rate\"]\nlimit.error_rate = 1.2\nmin_repeats = 5\n";
    std::fs::write(dir.join("gate.toml"), gate).unwrap();
    let (code, text) = said(dir, &["compare", &base, &slow, "--gate", "gate.toml", "--no-report"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(!text.contains("Report:"), "{text}");
    std::fs::write(dir.join("gate.toml"), format!("{gate}limit.ttft_p50 = 1.2\n")).unwrap();
    let (code, text) = said(dir, &["compare", &base, &slow, "--gate", "gate.toml"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("A limit is broken: ttft_p50 ≤ 1.2 × baseline at "), "{text}");
    std::fs::write(dir.join("gate.toml"), "alpha = 0.05\nlimit.ttft_p59 = 1.2\n").unwrap();
    let (code, text) = said(dir, &["compare", &base, &slow, "--gate", "gate.toml"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("gate.toml:2: limit.ttft_p59: unknown key; did you mean \"ttft_p95\"?"), "{text}");
    let (code, text) = said(dir, &["compare", &base, &slow, "--primary", "ttft_p59"]);
    assert_eq!(code, Some(2), "{text}");

    // Sixty requests say nothing of a p99.
    let few = ["compare", &base, &base, "--primary", "ttft_p99"];
    let (code, text) = said(dir, &few);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.starts_with("=== ? INCONCLUSIVE ===") && text.contains("can't be judged: a repeat is worth "),
        "{text}"
    );
    assert_eq!(said(dir, &[&few[..], &["--strict"]].concat()).0, Some(5));

    // Other cells.
    let other = sweep(dir, &["--set", "grid.users=[3]", "--set", "grid.repeats=1"]);
    let (code, text) = said(dir, &["compare", &base, &other]);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("load.users is 1, 2 in the baseline and 3 in the candidate"), "{text}");

    // Nothing that can be believed.
    mark(dir, &slow, "invalid");
    let (code, text) = said(dir, &["compare", &base, &slow]);
    assert_eq!(code, Some(4), "{text}");
    assert!(text.starts_with("=== ! INVALID ==="), "{text}");
}

#[test]
fn a_run_ends_with_the_comparison_that_its_file_asks_for() {
    let dir = start();
    let dir = dir.path();
    let compared = ["--set", "compare.baseline=main", "--set", "grid.users=[1]"];
    // There is none yet: said before anything is sent.
    let (code, text) = said(dir, &[&["run", "small.toml"][..], &compared].concat());
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("compare.baseline: \"main\" can't be compared with") && text.contains("--no-compare"),
        "{text}"
    );
    assert!(runs(dir).is_empty());

    let first = sweep(dir, &[&compared[..], &["--no-compare"]].concat());
    believe(dir, &first);
    assert_eq!(said(dir, &["baseline", "set", "main", &first, "--note", "the first"]).0, Some(0));
    let slow = ["run", "small.toml", "--progress", "none", "--set", "sim.ttft=90ms"];
    // A busy machine may make a cell invalid: then it is taken again.
    let mut ends = (0..5).map(|_| said(dir, &[&slow[..], &compared].concat()));
    let ended = ends.find(|(code, _)| *code != Some(4));
    let (code, text) = ended.expect("a believable run of five");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("=== ✗ FAIL ===\nRegressed: ") && text.contains("TTFT p50 at 1 user +"), "{text}");
    assert!(text.contains("(baseline main)") && text.contains("Report: reports/compare-"), "{text}");

    let list = stdout(&plimsoll(dir, &["baseline", "list"]));
    assert!(list.starts_with("main  runs/") && list.contains("the first"), "{list}");
    let show = stdout(&plimsoll(dir, &["baseline", "show", "main"]));
    assert!(show.contains(&first) && show.contains("sim:"), "{show}");

    // The gate of the candidate's own file holds where none is given.
    let latest = runs(dir).into_iter().max().unwrap();
    let latest = latest.file_name().unwrap().to_str().unwrap();
    let (code, text) = said(dir, &["compare", "main", latest]);
    assert_eq!(code, Some(1), "{text}");
    let (code, text) = said(dir, &["compare", "mian", latest]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("did you mean \"main\"?"), "{text}");

    // Moved together, they still belong together; a run that is gone is said to be.
    std::fs::rename(dir.join("runs"), dir.join("kept")).unwrap();
    assert_eq!(said(dir, &["compare", "main", latest, "--runs", "kept"]).0, Some(1));
    let gone = dir.join("kept").join(first.trim_start_matches("runs/"));
    std::fs::remove_dir_all(gone).unwrap();
    let (code, text) = said(dir, &["compare", "main", latest, "--runs", "kept"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("the run of baseline \"main\" is gone"), "{text}");
    assert!(stdout(&plimsoll(dir, &["baseline", "list", "--runs", "kept"])).contains("(gone)"));
    assert_eq!(said(dir, &["baseline", "rm", "main", "--runs", "kept"]).0, Some(0));
    assert_eq!(said(dir, &["baseline", "rm", "main", "--runs", "kept"]).0, Some(2));
}

#[test]
fn an_imported_run_can_be_the_baseline() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let file = std::path::absolute("tests/testdata/import/vllm/detailed.json").unwrap();
    let import = || {
        let output = plimsoll(dir, &["import", file.to_str().unwrap()]);
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output).trim().to_owned()
    };
    let (old, new) = (import(), import());
    assert_eq!(said(dir, &["baseline", "set", "theirs", &old]).0, Some(0));
    let show = stdout(&plimsoll(dir, &["baseline", "show", "theirs"]));
    assert!(show.contains("imported from vllm"), "{show}");
    let (code, text) = said(dir, &["compare", "theirs", &new, "--primary", "ttft_p50"]);
    // One repeat: there is nothing to tell it from chance by.
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("UNVERIFIED") && text.contains("(baseline theirs), imported from vllm"), "{text}");
    assert!(text.contains("it is not known what the baseline was asked"), "{text}");
    assert_eq!(said(dir, &["compare", "theirs", &new, "--primary", "ttft_p50", "--strict"]).0, Some(5));
    // A plain rule needs no more.
    std::fs::write(
        dir.join("gate.toml"),
        "primary = [\"ttft_p50\"]\nlimit.ttft_p50 = 1.2\nmin_repeats = 1\n",
    )
    .unwrap();
    let (code, text) = said(dir, &["compare", "theirs", &new, "--gate", "gate.toml", "--strict"]);
    assert_eq!(code, Some(0), "{text}");
}
