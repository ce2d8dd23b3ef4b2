//! `plimsoll history`, over runs that are on the disk.

use std::path::Path;

use crate::rig::program::{SMALL, only_run, plimsoll, stderr, stdout};

/// Eleven runs in `dir`, a day each: copies of the figures of one of `SMALL`, with a p95 TTFT that
/// is twice as large from the sixth on.
fn eleven_runs(dir: &Path) {
    std::fs::write(dir.join("small.toml"), SMALL).unwrap();
    let output = plimsoll(dir, &["run", "small.toml", "--reports", "first"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let measured = only_run(dir);
    for day in 1..=11u32 {
        let id = format!("202601{day:02}T020000Z-small");
        let copy = dir.join("runs").join(&id);
        copy_figures(&measured, &copy, &|file, value| match file {
            "run.json" => {
                value["run"] = id.clone().into();
                value["started_at"] = format!("2026-01-{day:02}T02:00:00Z").into();
            }
            "summary.json" => {
                let level = if day > 5 { 200.0 } else { 100.0 };
                value["distributions"]["ttft"]["p95"] = (level + f64::from(day * day % 7)).into();
                value["validity"]["verdict"] = "valid".into();
            }
            _ => {}
        });
    }
    std::fs::remove_dir_all(measured).unwrap();
}

/// Copy a directory without its bulky files, each JSON file after `change`.
fn copy_figures(from: &Path, to: &Path, change: &dyn Fn(&str, &mut serde_json::Value)) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            copy_figures(&path, &to.join(name), change);
        } else if name.ends_with(".json") {
            let mut value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            change(name, &mut value);
            std::fs::write(to.join(name), value.to_string()).unwrap();
        } else if name.ends_with(".toml") {
            std::fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

#[test]
fn a_change_over_runs_is_told_on_terminal_page_and_as_json() {
    let dir = tempfile::tempdir().unwrap();
    eleven_runs(dir.path());
    let list = stdout(&plimsoll(dir.path(), &["history"]));
    assert!(list.contains("small") && list.contains("11") && list.contains("2026-01-11"), "{list}");

    let output = plimsoll(dir.path(), &["history", "small"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("small · 11 runs, 2026-01-01 to 2026-01-11"), "{text}");
    for cell in ["1 user", "2 users"] {
        let line =
            text.lines().find(|l| l.starts_with(&format!("  {cell}: +"))).unwrap_or_else(|| panic!("{text}"));
        assert!(line.contains("worse, from 2026-01-06 on (run 20260106T020000Z-small)"), "{line}");
    }
    let report = dir.path().join("reports/history-small");
    for figure in ["history-ttft-p95.png", "history-output-tps.png"] {
        let png = std::fs::read(report.join(figure)).unwrap();
        assert!(png.starts_with(b"\x89PNG"), "{figure}");
    }
    let page = std::fs::read_to_string(report.join("index.html")).unwrap();
    assert!(page.contains("20260106T020000Z-small") && page.contains("default-src 'none'"));
    assert!(page.contains("TTFT p95 over the runs of small"));

    let json = plimsoll(dir.path(), &["history", "small", "--metric", "ttft_p95", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let courses = json["courses"].as_array().unwrap();
    assert_eq!(courses.len(), 2);
    for course in courses {
        assert_eq!(course["metric"], "ttft_p95");
        assert_eq!(course["points"].as_array().unwrap().len(), 11);
        assert_eq!(course["changes"][0]["run"], 5);
    }
}

#[test]
fn names_that_are_none_exit_2_and_say_the_nearest() {
    let dir = tempfile::tempdir().unwrap();
    let output = plimsoll(dir.path(), &["history"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("no runs under runs"), "{}", stderr(&output));
    eleven_runs(dir.path());
    let output = plimsoll(dir.path(), &["history", "smal"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("did you mean \"small\"?"), "{}", stderr(&output));
    let output = plimsoll(dir.path(), &["history", "small", "--metric", "ttft"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("did you mean ttft_p95?"), "{}", stderr(&output));
    assert!(!dir.path().join("reports").exists());
}
