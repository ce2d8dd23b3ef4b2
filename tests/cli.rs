//! The command line as a person uses it: help, exit codes, lists, `init` → `plan` → `run`.

use std::path::Path;
use std::process::Command;

use crate::rig::program::{SMALL, only_run, plimsoll, stderr, stdout};

#[test]
fn every_command_has_help_with_an_example() {
    let dir = tempfile::tempdir().unwrap();
    for command in [
        "run",
        "plan",
        "scenarios",
        "report",
        "history",
        "capacity",
        "export",
        "import",
        "sim",
        "worker",
        "calibrate",
        "init",
        "rebuild",
        "providers",
        "metrics",
        "presets",
        "completions",
        "man",
    ] {
        let output = plimsoll(dir.path(), &[command, "--help"]);
        assert!(output.status.success(), "{command}");
        assert!(stdout(&output).contains("Example"), "{command} --help has no example");
    }
}

#[test]
fn a_wrong_command_line_exits_2() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(plimsoll(dir.path(), &["walk"]).status.code(), Some(2));
    let output = plimsoll(dir.path(), &["run", "missing.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("missing.toml"), "{}", stderr(&output));
}

#[test]
fn init_writes_a_file_that_plans_and_never_overwrites() {
    let dir = tempfile::tempdir().unwrap();
    assert!(plimsoll(dir.path(), &["init", "a.toml"]).status.success());
    let planned = plimsoll(dir.path(), &["plan", "a.toml"]);
    assert!(planned.status.success(), "{}", stderr(&planned));
    let again = plimsoll(dir.path(), &["init", "a.toml"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(stderr(&again).contains("--force"));
}

#[test]
fn plan_as_json_names_every_cell() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("small.toml"), SMALL).unwrap();
    let output = plimsoll(dir.path(), &["plan", "small.toml", "--json", "--set", "grid.repeats=3"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["plan"]["cells"].as_array().unwrap().len(), 6);
    assert!(json["estimate"].is_object());
}

#[test]
fn lists_name_every_row_of_their_table() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = stdout(&plimsoll(dir.path(), &["metrics"]));
    for metric in plimsoll::metrics::METRICS {
        assert!(metrics.contains(metric.name), "{}", metric.name);
    }
    let presets = stdout(&plimsoll(dir.path(), &["presets"]));
    for preset in plimsoll::experiment::presets::PRESETS {
        assert!(presets.contains(preset.name), "{}", preset.name);
        assert!(preset.rules.iter().all(|rule| presets.contains(&rule.written())), "{}", preset.name);
    }
    let providers = stdout(&plimsoll(dir.path(), &["providers"]));
    for entry in plimsoll::provider::ALL {
        assert!(providers.contains(entry.name), "{}", entry.name);
    }
}

#[test]
fn a_sweep_leaves_everything_it_promises() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("small.toml"), SMALL).unwrap();
    let output = plimsoll(dir.path(), &["run", "small.toml"]);
    assert_eq!(output.status.code(), Some(0), "{}\n{}", stdout(&output), stderr(&output));

    let run = only_run(dir.path());
    for file in ["run.json", "experiment.toml", "plan.json", "environment.json", "summary.csv"] {
        assert!(run.join(file).metadata().unwrap().len() > 0, "{file}");
    }
    assert_eq!(std::fs::read_to_string(run.join("experiment.toml")).unwrap(), SMALL);
    let cells: Vec<_> = std::fs::read_dir(run.join("cells")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(cells.len(), 4);
    for cell in cells {
        for file in ["records.parquet", "timeline.parquet", "chunk_gaps.hlog", "summary.json"] {
            assert!(cell.join(file).exists(), "{}", cell.join(file).display());
        }
    }
    for csv in [run.join("summary.csv"), dir.path().join("runs/summary.csv")] {
        let mut reader = csv::Reader::from_path(&csv).unwrap();
        assert_eq!(reader.records().map(Result::unwrap).count(), 4, "{}", csv.display());
    }
    let report = dir.path().join("reports").join(run.file_name().unwrap());
    assert!(report.join("index.html").metadata().unwrap().len() > 1_000_000, "the page carries its script");
    let pngs = std::fs::read_dir(&report)
        .unwrap()
        .filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|x| x == "png"));
    assert!(pngs.count() >= 3);
}

#[test]
fn a_reader_that_has_read_enough_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("small.toml"), SMALL).unwrap();
    for args in [
        &["metrics"][..],
        &["providers"],
        &["presets"],
        &["completions", "bash"],
        &["man"],
        &["init", "-"],
        &["sim", "--list"],
        &["plan", "small.toml"],
        &["plan", "small.toml", "--json"],
    ] {
        // A pipe whose reader is gone before the first byte.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
            .args(args)
            .current_dir(dir.path())
            .stdout(writer)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
        assert_eq!(stderr(&output), "", "{args:?}");
    }
}

#[test]
fn a_wrong_directory_or_variable_is_the_users_mistake() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("small.toml"), SMALL).unwrap();
    // An address that nobody is asked at: the variable is looked for first.
    let keyed =
        ["--set", "target.url=http://plimsoll.invalid", "--set", "target.api_key_env=PLIMSOLL_NO_SUCH"];
    for (args, part) in [
        (&["run", "small.toml", "--resume", "nowhere"][..], "is not a run"),
        (&["report", "nowhere"], "is not a run"),
        (&["rebuild", "nowhere"], "no directory nowhere"),
        (&[&["run", "small.toml"][..], &keyed].concat(), "PLIMSOLL_NO_SUCH"),
    ] {
        let output = plimsoll(dir.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(part), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn a_run_of_another_experiment_is_told_apart_in_words() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("small.toml"), SMALL).unwrap();
    let quiet = ["run", "small.toml", "--no-report", "--progress", "none"];
    let run = |more: &[&str]| plimsoll(dir.path(), &[&quiet[..], more].concat());
    assert_eq!(run(&["--set", "grid.repeats=1"]).status.code(), Some(0));
    let first = only_run(dir.path());
    let resume = ["--resume", first.to_str().unwrap()];
    for (set, part) in [
        ("grid.repeats=2", "it has 2 cells, not 4"),
        ("seed=8", "its seed is 7, not 8"),
        ("name=other", "its name is \"small\", not \"other\""),
        ("grid.users=[1, 3]", "its cell 2 is load.users = 2"),
        ("cell.requests=13", "in its cell 1 cell.requests is 12, not 13"),
        ("salt=a", "its salt is another"),
    ] {
        let output = run(&[&resume[..], &["--set", "grid.repeats=1", "--set", set]].concat());
        assert_eq!(output.status.code(), Some(2), "{set}");
        assert!(stderr(&output).contains(part), "{set}: {}", stderr(&output));
    }
}

#[test]
fn events_are_json_a_line_each() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("small.toml"), SMALL).unwrap();
    let output = plimsoll(
        dir.path(),
        &["run", "small.toml", "--progress", "json", "--no-report", "--set", "grid.repeats=1"],
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let events: Vec<serde_json::Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let count = |name: &str| events.iter().filter(|e| e["event"] == name).count();
    assert_eq!((count("sweep_started"), count("cell_finished"), count("sweep_finished")), (1, 2, 1));
}

#[test]
fn a_gate_that_fails_exits_1_and_only_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let file =
        SMALL.replace("ttft_p95 = \"10s\"", "ttft_p95 = \"1us\"").replace("repeats = 2", "repeats = 1");
    std::fs::write(dir.path().join("small.toml"), file).unwrap();
    let run = |more: &[&str]| {
        let args = [&["run", "small.toml", "--no-report", "--progress", "none"], more].concat();
        plimsoll(dir.path(), &args).status.code()
    };
    assert_eq!(run(&[]), Some(0));
    assert_eq!(run(&["--gate"]), Some(1));
}

#[test]
fn no_server_is_a_clear_error_and_leaves_no_run() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("small.toml"), SMALL).unwrap();
    let output = plimsoll(dir.path(), &["run", "small.toml", "--set", "target.url=http://127.0.0.1:9"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(stderr(&output).contains("127.0.0.1:9"), "{}", stderr(&output));
    assert!(!dir.path().join("runs").exists());
}

#[test]
fn a_simulator_at_a_busy_port_says_so_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let output = plimsoll(dir.path(), &["sim", "--addr", &address]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains(&format!("can't listen on {address}")) && !text.contains("simulator at"), "{text}");
}

#[test]
fn what_holds_for_the_whole_run_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = plimsoll::sim::Server::start(
        plimsoll::sim::Config::default(),
        std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
    )
    .unwrap();
    // Each temperature is asked for in its own way, so the server is looked at for each.
    let text = SMALL.replace("url = \"sim:\"", &format!("url = {:?}\nmodel = \"other\"", server.url()));
    let text = text.replace("repeats = 2", "\"workload.temperature\" = [0, 0.5]");
    std::fs::write(dir.path().join("small.toml"), text).unwrap();
    let output = plimsoll(dir.path(), &["run", "small.toml", "--no-report"]);
    let told = [stdout(&output), stderr(&output)].concat();
    // It refuses the model, and is asked at both temperatures before the run gives up.
    assert!(told.contains("workload.temperature=0.5, repeat 1: 0/12 ok"), "{told}");
    assert_eq!(told.matches("does not list the model \"other\"").count(), 1, "{told}");
}

#[test]
fn the_report_is_as_the_file_asks() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = "[report]\ntitle = \"For the team\"\nfigures = [\"latency-ttft\"]\nout = \"drawn\"\n";
    let file = SMALL.replace("repeats = 2", "repeats = 1") + wanted;
    std::fs::write(dir.path().join("small.toml"), &file).unwrap();
    let output = plimsoll(dir.path(), &["run", "small.toml", "--progress", "none"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let drawn = |out: &Path| {
        let page = std::fs::read_to_string(out.join("index.html")).unwrap();
        assert!(page.contains("<title>For the team"), "{}", &page[..400]);
        let names = std::fs::read_dir(out).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut pictures: Vec<String> = names.filter(|name| name.ends_with(".png")).collect();
        pictures.sort();
        assert_eq!(pictures, ["latency-ttft.png"]);
    };
    drawn(&dir.path().join("drawn"));
    // And again from the run alone.
    let run = only_run(dir.path());
    let again = plimsoll(dir.path(), &["report", run.to_str().unwrap(), "--out", "again"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    drawn(&dir.path().join("again").join(run.file_name().unwrap()));

    std::fs::write(dir.path().join("wrong.toml"), file.replace("latency-ttft", "latency-tfft")).unwrap();
    let wrong = plimsoll(dir.path(), &["plan", "wrong.toml"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("did you mean \"latency-ttft\""), "{}", stderr(&wrong));
}
