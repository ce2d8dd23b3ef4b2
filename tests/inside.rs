//! What is read inside a server while cells run: real processes, a stand-in for NVIDIA's library,
//! JSON, and the limits on them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use crate::rig::program::{Started, directory, find, only_run, plimsoll, plimsoll_with, stderr, stdout};
use crate::rig::wait_for;

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

const ARGS: [&str; 5] = ["run", "small.toml", "--no-report", "--progress", "plain"];

/// One cell against a simulator that is a process of its own, started by `script` before it.
fn own_server(port: u16, script: &str, cell: &str, observe: &str) -> String {
    let program = env!("CARGO_BIN_EXE_plimsoll");
    format!(
        r#"
name = "small"
[target]
url = "http://127.0.0.1:{port}"
[server]
command = ["sh", "-c", '''{script} exec "{program}" sim --addr 127.0.0.1:{port}''']
ready.timeout = "60s"
[workload]
prompt_tokens = 16
max_tokens = 8
[load]
users = 2
[cell]
{cell}
cooldown = {{ min = "10ms", max = "2s" }}
[observe]
every = "100ms"
{observe}
"#
    )
}

/// The summary of the one cell below `dir`.
fn summary(dir: &Path, output: &Output) -> Value {
    let path = find(&dir.join("runs"), "summary.json");
    let path = path.unwrap_or_else(|| panic!("no cell: {}", stderr(output)));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A figure of the summary by its name and labels.
fn figure<'a>(summary: &'a Value, name: &str, labels: &str) -> Option<&'a Value> {
    let figures = summary["inside"]["figures"].as_array()?;
    figures.iter().find(|f| f["name"] == name && f["labels"] == labels)
}

const SERVER: &str = "process=\"server\"";

/// Beside the server a child that takes `bytes` every twentieth of a second and keeps them.
fn beside(bytes: u32) -> String {
    format!(
        "perl -e 'while (1) {{ push @kept, \"x\" x {bytes} if {bytes}; select undef, undef, undef, 0.05 }}' &"
    )
}

#[test]
fn a_server_that_leaks_is_found_and_one_that_does_not_is_not() {
    let run = |bytes: u32| {
        let port = free_port();
        let cell = "duration = \"7s\"\nwarmup = \"500ms\"";
        let dir =
            directory(&own_server(port, &beside(bytes), cell, "[observe.limits]\nmemory_growth = \"6MB\""));
        let output = plimsoll(dir.path(), &[&ARGS[..], &["--gate"]].concat());
        (summary(dir.path(), &output), output)
    };
    let (leak, fine) = std::thread::scope(|scope| {
        let leak = scope.spawn(|| run(400_000));
        let fine = run(0);
        (leak.join().unwrap(), fine)
    });
    let memory = |summary: &Value| {
        let all = summary["inside"]["growth"].as_array().unwrap().clone();
        all.into_iter().find(|g| g["name"] == "server_memory_bytes" && g["labels"] == SERVER).unwrap()
    };
    let (summary, output) = leak;
    let growth = memory(&summary);
    assert_eq!(growth["grows"], true, "{growth}");
    // 8 MB a second, less where this machine has no time for it.
    let per_s = growth["per_hour"].as_f64().unwrap() / 3600.0;
    assert!((1e6..10e6).contains(&per_s), "{growth}");
    let text = stdout(&output);
    assert!(text.contains("The server grows over a cell"), "{text}");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("growth of the server's memory"), "{}", stderr(&output));
    let (summary, output) = fine;
    let growth = memory(&summary);
    assert_eq!(growth["grows"], false, "{growth}");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!stdout(&output).contains("grows"), "{}", stdout(&output));
}

#[test]
fn a_server_beyond_a_limit_fails_the_gate_and_one_within_does_not() {
    let run = |limits: &str, gate: bool| {
        let cell = "duration = \"1s\"\nwarmup = \"300ms\"";
        let dir = directory(&own_server(free_port(), "", cell, &format!("[observe.limits]\n{limits}")));
        let gate: &[&str] = if gate { &["--gate"] } else { &[] };
        let output = plimsoll(dir.path(), &[&ARGS[..], gate].concat());
        let told =
            plimsoll(dir.path(), &["report", only_run(dir.path()).to_str().unwrap(), "--format", "markdown"]);
        (summary(dir.path(), &output), output, stdout(&told))
    };
    let (within, output, told) =
        run("memory = \"100GB\"\ncpu = 1.0\nopen_files = 100000\nthreads = 10000", true);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("most memory of the server (process server) is"), "{}", stdout(&output));
    assert!(!told.contains("isn't kept"), "{told}");
    for name in
        ["server_cpu_cores", "server_cpu", "server_memory_bytes", "server_open_files", "server_threads"]
    {
        assert!(
            figure(&within, name, SERVER).is_some_and(|f| f["mean"].as_f64().unwrap() > 0.0),
            "{name}: {within}"
        );
    }
    assert_eq!(figure(&within, "server_processes", SERVER).unwrap()["max"], 1.0);
    assert!(figure(&within, "machine_memory_bytes", "").is_some(), "{within}");
    let (beyond, output, told) = run("memory = \"1MB\"", true);
    let words = "But a limit of the server isn't kept in one cell: most memory of the server";
    assert!(told.contains(words) && told.starts_with("### !"), "{told}");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.contains("a cell is beyond a limit: most memory of the server (process server)"), "{said}");
    let verdict = &beyond["inside"]["limits"][0];
    assert_eq!((&verdict["on"], &verdict["status"]), (&"memory".into(), &"fail".into()));
    // What isn't known isn't met. Without a gate it is told, and changes nothing.
    let (unknown, output, _) = run("gpu_temperature = 90", false);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    if unknown["inside"]["limits"][0]["value"].is_null() {
        assert!(stdout(&output).contains("highest GPU temperature was not read"), "{}", stdout(&output));
    }
}

/// A file against whatever is at `url`.
fn file(url: &str, observe: &str) -> String {
    format!(
        "name = \"small\"\n[target]\nurl = \"{url}\"\n[workload]\nprompt_tokens = 16\nmax_tokens = 8\n[load]\nusers = 2\n\
         [cell]\nduration = \"1500ms\"\nwarmup = \"200ms\"\n[observe]\nevery = \"100ms\"\n{observe}"
    )
}

#[test]
fn who_listens_at_the_targets_port_is_found_and_json_is_read() {
    let port = free_port();
    let place = tempfile::tempdir().unwrap();
    let address = format!("127.0.0.1:{port}");
    let server = Started::new(place.path(), &["sim", "--addr", &address], &[]);
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    wait_for("the server", || TcpStream::connect_timeout(&at, Duration::from_secs(5)).ok());
    let observe = "[observe.json.models]\nurl = \"/v1/models\"\n\
        pointers = { models_since_days = { pointer = \"/data/0/created\", scale = 1.1574074e-5 } }\n\
        [observe.json.nothing]\nurl = \"/v1/models\"\npointers = { there = \"/no/number\" }";
    let dir = directory(&file(&format!("http://{address}"), observe));
    let output = plimsoll(dir.path(), &ARGS);
    let read = summary(dir.path(), &output);
    drop(server);
    let memory = figure(&read, "server_memory_bytes", SERVER).unwrap();
    assert!(memory["max"].as_f64().unwrap() > 1e6 && !memory["before"].is_null(), "{read}");
    assert!(figure(&read, "machine_cpu", "").is_some(), "{read}");
    // Days since 1970.
    let days = figure(&read, "models_since_days", "json=\"models\"").unwrap()["mean"].as_f64().unwrap();
    assert!((19_000.0..60_000.0).contains(&days), "{days}");
    let said = stderr(&output);
    assert!(said.contains("json nothing could not be read") && said.contains("/no/number"), "{said}");
}

#[test]
fn processes_that_were_asked_for_and_are_not_there_are_told() {
    let observe =
        "gpus = [77]\n[observe.processes]\ngone = { command = \"no such program runs anywhere [0-9]x\" }";
    let dir = directory(&file("sim:", observe));
    let output = plimsoll(dir.path(), &ARGS);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.contains("process gone could not be read"), "{said}");
    assert!(said.contains("GPUs could not be read") && said.contains("GPU"), "{said}");
    // Nobody asked: a machine without GPUs is no news.
    let dir = directory(&file("sim:", ""));
    let said = stderr(&plimsoll(dir.path(), &ARGS));
    assert!(!said.contains("GPU") && !said.contains("process"), "{said}");
}

/// A directory with a library that stands in for NVIDIA's.
fn stand_in() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let library = dir.path().join("libnvidia-ml.so.1");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata/nvml/fake.c");
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let path = dir.path().to_owned();
    (dir, path)
}

#[test]
fn gpus_are_read_through_nvml_with_their_energy() {
    let (_held, library) = stand_in();
    let environment = [("LD_LIBRARY_PATH", library.to_str().unwrap())];
    let dir = directory(&file("sim:", "gpus = true\n[observe.limits]\ngpu = 0.5"));
    let output = plimsoll_with(dir.path(), &[&ARGS[..], &["--gate"]].concat(), &environment);
    let read = summary(dir.path(), &output);
    for (name, labels, want) in [
        ("gpu_utilisation", "gpu=\"0\"", 0.87),
        ("gpu_utilisation", "gpu=\"1\"", 0.0),
        ("gpu_memory", "gpu=\"0\"", 0.75),
        ("gpu_power_watts", "gpu=\"1\"", 50.0),
        ("gpu_clock_mhz", "gpu=\"0\"", 1980.0),
        ("gpu_temperature_celsius", "gpu=\"0\"", 71.0),
        ("gpu_throttled", "gpu=\"0\"", 1.0),
        ("gpu_throttled", "gpu=\"1\"", 0.0),
        ("gpu_throttle", "gpu=\"0\",reason=\"power_cap\"", 1.0),
    ] {
        let value = figure(&read, name, labels).unwrap_or_else(|| panic!("{name} {labels}: {read}"));
        assert!((value["mean"].as_f64().unwrap() - want).abs() < 1e-9, "{name} {labels}: {value}");
    }
    // 250 W by a counter and 50 W by the integral of power, over the window.
    let window = &read["window"];
    let seconds = (window["end_us"].as_f64().unwrap() - window["start_us"].as_f64().unwrap()) / 1e6;
    let joules = read["inside"]["energy_j"].as_f64().unwrap();
    assert!((joules - 300.0 * seconds).abs() < 30.0 * seconds, "{joules} J in {seconds} s");
    assert!(read["inside"]["energy_per_token_j"].as_f64().unwrap() > 0.0);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("GPU utilisation (GPU 0) is 87.0 %, limit 50.0 %"),
        "{}",
        stderr(&output)
    );
    let text = stdout(&output);
    assert!(text.contains("A GPU was throttled") && text.contains("power cap"), "{text}");
    assert!(text.contains("J an output token"), "{text}");
}
