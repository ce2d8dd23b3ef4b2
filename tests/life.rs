//! The life of a server that Plimsoll starts: restarts, failures, and that nothing is left of it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use plimsoll::experiment::Experiment;
use plimsoll::plan;
use rustix::process::Signal;
use serde_json::Value;

use crate::rig::program::{Started, directory, find, only_run, plimsoll, stderr};
use crate::rig::wait_for;

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Short cells against the simulator, started as a process at `port`; `grid` are its axes.
fn file(port: u16, grid: &str) -> String {
    format!(
        r#"
name = "small"
[target]
url = "http://127.0.0.1:{port}"
[server]
command = "plimsoll sim --addr 127.0.0.1:{port}"
args.set = {{ max_num_seqs = 8 }}
ready.timeout = "60s"
stop.grace = "10s"
[workload]
prompt_tokens = 16
max_tokens = 8
[grid]
{grid}
[cell]
requests = 6
warmup = "50ms"
cooldown = {{ min = "10ms", max = "2s" }}
"#
    )
}

const ARGS: [&str; 5] = ["run", "small.toml", "--no-report", "--progress", "plain"];

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Of each cell in order: its file of this name, if it has one.
fn of_cells(run: &Path, name: &str) -> Vec<Option<Value>> {
    let mut dirs: Vec<_> = std::fs::read_dir(run.join("cells")).unwrap().map(|e| e.unwrap().path()).collect();
    dirs.sort();
    dirs.iter().map(|dir| dir.join(name)).map(|path| path.exists().then(|| json(&path))).collect()
}

/// Processes whose command line holds `words`, those that only wait to be reaped left out.
fn processes(words: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let dead = stat.rsplit(") ").next().is_none_or(|rest| rest.starts_with(['Z', 'X']));
        if line.contains(words) && !dead {
            found.push(format!("{} {line}", entry.file_name().to_string_lossy()));
        }
    }
    found
}

fn gone(port: u16) {
    let words = format!("--addr 127.0.0.1:{port}");
    wait_for("the server's end", || processes(&words).is_empty().then_some(()));
}

fn listens(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_secs(5)).is_ok()
}

#[test]
fn it_restarts_only_where_its_settings_change() {
    let port = free_port();
    let grid = "users = [1, 2]\n\"server.args.set.max_num_seqs\" = [2, 4]\nrepeats = 2";
    let dir = directory(&file(port, grid));
    let output = plimsoll(dir.path(), &ARGS);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = only_run(dir.path());
    let starts: Vec<_> =
        of_cells(&run, "summary.json").iter().map(|s| s.as_ref().unwrap()["server_start"].clone()).collect();
    assert_eq!(starts, [1, 1, 1, 1, 2, 2, 2, 2], "two starts for eight cells");
    let logs = std::fs::read_dir(run.join("server")).unwrap().count();
    assert_eq!(logs, 2);
    let log = std::fs::read_to_string(run.join("server/2.log")).unwrap();
    assert!(log.contains(&format!("simulator at http://127.0.0.1:{port}")), "{log}");
    // A factor where it is an axis, and only there.
    let plan = json(&run.join("plan.json"));
    let factors = plan["cells"][7]["factors"].as_object().unwrap();
    let own: Vec<_> = factors.iter().filter(|(key, _)| key.starts_with("server")).collect();
    assert_eq!(own, [(&"server.args.set.max_num_seqs".to_owned(), &Value::from(4))]);
    gone(port);
    assert!(!listens(port));
}

#[test]
fn an_order_that_is_written_is_kept() {
    let starts = |order: &str| {
        let grid = format!("users = [1, 2, 3]\n\"server.args.x\" = [1, 2]\n{order}");
        let experiment = Experiment::parse(Path::new("f.toml"), &file(9, &grid), &[]).unwrap();
        let cells = plan::build(&experiment).unwrap().cells;
        1 + cells.windows(2).filter(|pair| pair[0].settings.server != pair[1].settings.server).count()
    };
    assert_eq!(starts(""), 2);
    assert_eq!(starts("repeats = 3"), 2);
    assert_eq!(starts("order = \"as-written\""), 6);
}

#[test]
fn killed_at_any_instant_it_leaves_no_server_behind_and_can_be_resumed() {
    let port = free_port();
    let grid = "users = [1, 2]\n\"server.args.set.max_num_seqs\" = [2, 4]";
    let dir = directory(&file(port, grid).replace("requests = 6", "duration = \"1s\""));
    let words = format!("--addr 127.0.0.1:{port}");
    let mut run = None;
    for _ in 0..3 {
        let resume: Vec<&str> = run.iter().flat_map(|run: &String| ["--resume", run]).collect();
        let started = Started::new(dir.path(), &[&ARGS[..], &resume].concat(), &[]);
        wait_for("the server", || processes(&words).iter().any(|line| line.contains(" sim ")).then_some(()));
        std::thread::sleep(Duration::from_millis(rand::random_range(0..1500)));
        started.signal(Signal::KILL);
        let _ = started.output();
        gone(port);
        if run.is_none() && find(&dir.path().join("runs"), "run.json").is_some() {
            let path = find(&dir.path().join("runs"), "run.json").unwrap();
            run = Some(path.parent().unwrap().to_str().unwrap().to_owned());
        }
    }
    let resume: Vec<&str> = run.iter().flat_map(|run: &String| ["--resume", run]).collect();
    let output = plimsoll(dir.path(), &[&ARGS[..], &resume].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    gone(port);
    let run = find(&dir.path().join("runs"), "run.json").unwrap();
    let summaries = of_cells(run.parent().unwrap(), "summary.json");
    assert_eq!(summaries.iter().flatten().count(), 4);
}

#[test]
fn one_that_dies_between_cells_is_started_again() {
    let port = free_port();
    let dir = directory(
        &file(port, "users = [1, 2]")
            .replace("requests = 6", "duration = \"1500ms\"")
            .replace("[cell]", "[client]\ndead_after = 9\n[cell]"),
    );
    let started = Started::new(dir.path(), &ARGS, &[]);
    let words = format!("sim --addr 127.0.0.1:{port}");
    wait_for("the first cell", || find(&dir.path().join("runs"), "records.jsonl"));
    let server = processes(&words).into_iter().find(|line| !line.contains("plimsoll-server")).unwrap();
    let pid: i32 = server.split(' ').next().unwrap().parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    let output = started.output();
    let text = stderr(&output);
    assert!(text.contains("the server of start 1 has ended (signal: 9"), "{text}");
    let run = only_run(dir.path());
    let summaries = of_cells(&run, "summary.json");
    assert_eq!(summaries[1].as_ref().unwrap()["server_start"], 2, "{text}");
    gone(port);
}

#[test]
fn cells_of_a_server_that_does_not_start_are_skipped_with_its_last_words() {
    let port = free_port();
    // No knob of the simulator takes this.
    let grid = "\"server.args.set.max_num_seqs\" = [\"many\", 4]\nusers = [1, 2]";
    let dir = directory(&file(port, grid));
    let output = plimsoll(dir.path(), &ARGS);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = only_run(dir.path());
    let skipped = of_cells(&run, "skipped.json");
    assert_eq!(skipped.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false, false]);
    for cell in skipped.iter().flatten() {
        let reason = cell["reason"].as_str().unwrap();
        assert!(reason.contains("exit status: 2") && reason.contains("server/1.log: error"), "{reason}");
        assert!(reason.contains("max_num_seqs"), "the server's own words: {reason}");
    }
    let starts = of_cells(&run, "summary.json");
    assert_eq!(starts[3].as_ref().unwrap()["server_start"], 2, "a failed start is not tried twice");
    gone(port);
}

#[test]
fn one_that_is_never_ready_is_ended() {
    let port = free_port();
    let text = file(port, "users = [1]")
        .replace(&format!("plimsoll sim --addr 127.0.0.1:{port}"), "sh -c 'echo loading; sleep 1000'")
        .replace(
            "args.set = { max_num_seqs = 8 }",
            "args.tag = \"PORT\"".replace("PORT", &port.to_string()).as_str(),
        )
        .replace("\"60s\"", "\"300ms\"");
    let dir = directory(&text);
    let output = plimsoll(dir.path(), &ARGS);
    let run = only_run(dir.path());
    let skipped = of_cells(&run, "skipped.json");
    let reason = skipped[0].as_ref().unwrap()["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("not ready after 0.3 s") && reason.contains("loading"), "{reason}");
    assert_eq!(output.status.code(), Some(4), "nothing was measured: {}", stderr(&output));
    wait_for("its end", || processes(&format!("--tag {port}")).is_empty().then_some(()));
}

#[test]
fn a_server_that_runs_already_is_used_only_when_told_so() {
    let running = crate::rig::simulator(&std::collections::BTreeMap::new());
    let port: u16 = running.url().rsplit(':').next().unwrap().trim_end_matches('/').parse().unwrap();
    let dir = directory(&file(port, "users = [1]"));
    let output = plimsoll(dir.path(), &ARGS);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(stderr(&output).contains("--no-server"), "{}", stderr(&output));
    let dir = directory(&file(port, "users = [1]"));
    let output = plimsoll(dir.path(), &[&ARGS[..], &["--no-server"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = only_run(dir.path());
    assert!(of_cells(&run, "summary.json")[0].as_ref().unwrap().get("server_start").is_none());
    assert!(!run.join("server").exists());
}

/// [`file`] against a simulator that runs, with these hooks.
fn hooked(port: u16, hooks: &str) -> String {
    file(port, "users = [1, 2]").replace("[workload]", &format!("[hooks]\n{hooks}\n[workload]"))
}

#[test]
fn hooks_run_around_the_sweep_and_each_cell_while_the_server_is_up() {
    let port = free_port();
    let note = |what: &str| {
        format!(
            "{{ command = [\"sh\", \"-c\", \"echo {what} $PLIMSOLL_CELL $PLIMSOLL_TARGET >> hooks.txt\"] }}"
        )
    };
    let answers = "{ url = \"/v1/models\", expect = { pointer = \"/object\", equals = \"list\" } }";
    let hooks = format!(
        "before_sweep = [{}, {answers}]\nbefore_cell = [{answers}, {}]\nafter_cell = [{}]\nafter_sweep = [{answers}, {}]",
        note("begin"),
        note("before"),
        note("after"),
        note("end"),
    );
    let dir = directory(&hooked(
        port,
        &hooks.replace("after_sweep = [{", "after_sweep = [{ on_failure = \"stop\","),
    ));
    let output = plimsoll(dir.path(), &ARGS);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let base = format!("http://127.0.0.1:{port}/");
    let lines = ["begin ", "before 1", "after 1", "before 2", "after 2", "end "]
        .map(|what| format!("{what} {base}\n"));
    let noted = std::fs::read_to_string(dir.path().join("hooks.txt")).unwrap();
    let noted = noted.replace("begin http", "begin  http").replace("end http", "end  http");
    assert_eq!(noted, lines.concat());
    gone(port);
}

#[test]
fn a_hook_that_fails_skips_its_cell_stops_the_sweep_or_is_told() {
    let running = crate::rig::simulator(&std::collections::BTreeMap::new());
    let port: u16 = running.url().rsplit(':').next().unwrap().trim_end_matches('/').parse().unwrap();
    let args = [&ARGS[..], &["--no-server"]].concat();
    let sweep_with = |hooks: &str, more: &[&str]| {
        let dir = directory(&hooked(port, hooks));
        let output = plimsoll(dir.path(), &[&args[..], more].concat());
        let run = find(&dir.path().join("runs"), "run.json").map(|path| path.parent().unwrap().to_owned());
        let of = |name| run.iter().flat_map(|run| of_cells(run, name)).flatten().collect::<Vec<_>>();
        (output.status.code(), stderr(&output), of("summary.json").len(), of("skipped.json"))
    };
    let sweep = |hooks: &str| sweep_with(hooks, &[]);
    // Of the second cell only.
    let second = "before_cell = [{ command = \"sh -c 'test $PLIMSOLL_CELL = 1'\" }]";
    let (code, text, ran, skipped) = sweep(second);
    assert_eq!((code, ran, skipped.len()), (Some(0), 1, 1), "{text}");
    // What could not run is no pass.
    let (code, text, ..) = sweep_with(second, &["--gate"]);
    assert!(code == Some(4) && text.contains("cell 2 could not run: hooks.before_cell[1]"), "{text}");
    assert!(skipped[0]["reason"].as_str().unwrap().starts_with("hooks.before_cell[1]: sh -c"), "{skipped:?}");
    // vLLM's call, which the simulator knows.
    let reset = "{ url = \"/reset_prefix_cache\", method = \"POST\", expect = { pointer = \"/success\", equals = true } }";
    let (code, text, ran, skipped) = sweep(&format!("before_cell = [{reset}]"));
    assert_eq!((code, ran, skipped.len()), (Some(0), 2, 0), "{text}");
    let wrong = "{ url = \"/v1/models\", expect = { pointer = \"/object\", equals = \"dict\" } ON }";
    let hook = |on: &str| wrong.replace("ON", on);
    let (code, text, ran, _) = sweep(&format!("after_cell = [{}]", hook(", on_failure = \"stop\"")));
    assert_eq!((code, ran), (Some(4), 1), "{text}");
    assert!(text.contains("/object is \"list\", not \"dict\""), "{text}");
    let (code, text, ran, _) = sweep(&format!("after_cell = [{}]", hook("")));
    assert_eq!((code, ran), (Some(0), 2), "{text}");
    assert!(text.contains("hooks.after_cell[1]") && text.contains("not \"dict\""), "{text}");
    let (code, text, ran, _) = sweep("before_sweep = [{ url = \"/model/load\", method = \"POST\" }]");
    assert_eq!((code, ran), (Some(4), 0), "{text}");
    assert!(text.contains("before the sweep") && text.contains("HTTP 404"), "{text}");
}

#[test]
fn ctrl_c_while_it_starts_or_serves_ends_it() {
    for ready in ["/health", "/never"] {
        let port = free_port();
        let text = file(port, "users = [1]")
            .replace("ready.timeout", &format!("ready.url = \"{ready}\"\nready.timeout"));
        let dir = directory(&text.replace("requests = 6", "duration = \"60s\""));
        let started = Started::new(dir.path(), &ARGS, &[]);
        let words = format!("sim --addr 127.0.0.1:{port}");
        wait_for("the server", || listens(port).then_some(()));
        assert!(!processes(&words).is_empty());
        if ready == "/health" {
            wait_for("the cell", || find(&dir.path().join("runs"), "records.jsonl"));
        }
        started.signal(Signal::INT);
        let output = started.output();
        assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
        gone(port);
        let left: Vec<_> =
            std::fs::read_dir(dir.path().join("runs")).into_iter().flatten().flatten().collect();
        assert!(left.iter().all(|e| !e.file_name().to_string_lossy().starts_with(".server")), "{left:?}");
    }
}
