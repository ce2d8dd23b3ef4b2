//! What goes wrong in mid-sweep: signals, servers that die or never answer, full disks, two
//! processes on one run. Cells here would last ten minutes: a test that ends has passed half.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::Signal;

use crate::rig::program::{SMALL, Started, directory, find, holding, only_run, plimsoll, stderr, stdout};
use crate::rig::scripted::serve;
use crate::rig::{simulator, wait_for};

const RUN: [&str; 5] = ["run", "small.toml", "--no-report", "--progress", "json"];

/// All lines of standard output are events.
fn events(output: &Output) -> Vec<serde_json::Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn status(run: &Path) -> String {
    let text = std::fs::read_to_string(run.join("run.json")).unwrap();
    serde_json::from_str::<serde_json::Value>(&text).unwrap()["status"].as_str().unwrap().to_owned()
}

#[test]
fn ctrl_c_while_the_server_is_asked_ends_at_once_and_leaves_no_run() {
    // Takes connections (the system does) and never answers one.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = directory(SMALL);
    let url = format!("target.url=http://{}", listener.local_addr().unwrap());
    let child = Started::new(dir.path(), &[&RUN[..], &["--set", &url]].concat(), &[]);
    let _asked = listener.accept().unwrap();
    child.signal(Signal::INT);
    let output = child.output();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(!dir.path().join("runs").exists());
}

#[test]
fn a_signal_in_the_cooldown_or_the_warm_up_ends_at_once_and_can_be_gone_on_with() {
    let cooldown = SMALL.replace("min = \"50ms\", max = \"2s\"", "min = \"600s\", max = \"600s\"");
    let warmup = SMALL.replace("warmup = \"100ms\"", "warmup = \"600s\"");
    for (file, sign, signal) in
        [(cooldown, "summary.json", Signal::TERM), (warmup, "records.jsonl", Signal::INT)]
    {
        let dir = directory(&file);
        let child = Started::new(dir.path(), &RUN, &[]);
        wait_for(sign, || find(dir.path(), sign));
        child.signal(signal);
        let output = child.output();
        assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
        let run = only_run(dir.path());
        assert!(stderr(&output).contains("--resume"), "{}", stderr(&output));
        assert_eq!(status(&run), "interrupted");
        assert_eq!(events(&output).last().unwrap()["event"], "sweep_finished");
    }
}

#[test]
fn a_server_that_dies_stops_the_sweep_with_everything_kept() {
    for load in ["users = 8", "qps = 400"] {
        dies(load);
    }
}

fn dies(load: &str) {
    let server = simulator(&std::collections::BTreeMap::new());
    let file = SMALL
        .replace("users = [1, 2]", "\"cell.duration\" = [\"300ms\", \"600s\", \"601s\", \"602s\", \"603s\"]")
        .replace("requests = 12", "")
        .replace("repeats = 2", "")
        // Long enough for the server to go away in it.
        .replace("min = \"50ms\", max = \"2s\"", "min = \"1s\", max = \"600s\"");
    let dir = directory(&format!("{file}\n[load]\n{load}\n"));
    let url = format!("target.url={}", server.url());
    let child = Started::new(dir.path(), &[&RUN[..], &["--set", &url]].concat(), &[]);
    wait_for("the first cell's end", || find(dir.path(), "summary.json"));
    server.stop();
    let output = child.output();
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(stderr(&output).contains("no request was answered in 3 cells in a row"), "{}", stderr(&output));
    let run = only_run(dir.path());
    assert_eq!(status(&run), "stopped");
    let mut rows = csv::Reader::from_path(run.join("summary.csv")).unwrap();
    let at = rows.headers().unwrap().iter().position(|h| h == "window_ended_by").unwrap();
    let ends: Vec<String> = rows.records().map(|r| r.unwrap()[at].to_owned()).collect();
    assert_eq!(ends, ["duration", "unanswered", "unanswered", "unanswered"]);
}

#[test]
fn two_processes_cannot_write_one_run() {
    let dir = directory(&SMALL.replace("requests = 12", "duration = \"600s\""));
    let first = Started::new(dir.path(), &RUN, &[]);
    wait_for("a record", || find(dir.path(), "records.jsonl"));
    let run = only_run(dir.path());
    let second = plimsoll(dir.path(), &[&RUN[..], &["--resume", run.to_str().unwrap()]].concat());
    assert_eq!(second.status.code(), Some(2));
    assert!(stderr(&second).contains("in use"), "{}", stderr(&second));
    assert_eq!(status(&run), "running", "the second one left it alone");
    drop(first);
}

#[test]
fn a_resume_wants_the_same_set_and_names_it() {
    let dir = directory(SMALL);
    let set = ["--set", "grid.repeats=1"];
    assert_eq!(plimsoll(dir.path(), &[&RUN[..], &set].concat()).status.code(), Some(0));
    let run = only_run(dir.path());
    let before = std::fs::read(run.join("run.json")).unwrap();
    let resume = ["--resume", run.to_str().unwrap()];
    let without = plimsoll(dir.path(), &[&RUN[..], &resume].concat());
    assert_eq!(without.status.code(), Some(2));
    assert!(stderr(&without).contains("--set 'grid.repeats=1'"), "{}", stderr(&without));
    assert_eq!(plimsoll(dir.path(), &[&RUN[..], &set, &resume].concat()).status.code(), Some(0));
    assert_eq!(std::fs::read(run.join("run.json")).unwrap(), before, "a finished run is left as it is");
    let nothing = plimsoll(dir.path(), &[&RUN[..], &["--resume", "runs"]].concat());
    assert_eq!(nothing.status.code(), Some(2), "{}", stderr(&nothing));
}

#[test]
fn a_sweep_without_a_valid_cell_exits_4() {
    // Constant arrivals: the first in the warm-up, the second long after the window.
    let file = SMALL
        .replace("users = [1, 2]", "qps = [0.01]")
        .replace("requests = 12", "duration = \"100ms\"")
        .replace("repeats = 2", "");
    let dir = directory(&format!("{file}\n[load]\narrivals = \"constant\"\n"));
    let output = plimsoll(dir.path(), &RUN);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
}

/// `ulimit -f` refuses bytes past so many as a full disk does.
#[test]
#[cfg(target_os = "linux")]
fn a_disk_that_fills_in_mid_cell_is_told_and_can_be_gone_on_with() {
    let file = SMALL.replace("requests = 12", "requests = 1200").replace("users = [1, 2]", "users = [8]");
    let dir = directory(&file);
    // 64 KiB: enough for everything but the lines of so many records.
    let script =
        format!("trap '' XFSZ; ulimit -f 128; exec {} {}", env!("CARGO_BIN_EXE_plimsoll"), RUN.join(" "));
    let output = Command::new("sh").args(["-c", &script]).current_dir(dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    let told = stderr(&output) + &stdout(&output);
    assert!(told.contains("File too large") || told.contains("could not be written"), "{told}");
}

/// A server that lists a model and fails everything else, quoting all headers.
fn telltale() -> String {
    let server = serve(|conn| {
        let (status, body) = if conn.head.starts_with("GET /v1/models") {
            ("200 OK", r#"{"object":"list","data":[{"id":"m","object":"model"}]}"#.to_owned())
        } else {
            ("500 Oops", serde_json::json!({"error": {"message": conn.head}}).to_string())
        };
        conn.raw(&format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ));
        false
    });
    format!("http://{}", server.address)
}

#[test]
fn no_file_holds_a_secret_even_if_the_server_quotes_it() {
    let file = SMALL.replace(
        "[grid]",
        "api_key_env = \"TROUBLE_KEY\"\nheaders = { \"x-api-key\" = \"env:TROUBLE_HEADER\" }\n[grid]",
    );
    let dir = directory(&file.replace("repeats = 2", ""));
    let url = format!("target.url={}", telltale());
    let args = ["run", "small.toml", "--set", &url, "--set", "target.headers.x-tenant=env:TROUBLE_TENANT"];
    let secrets =
        [("TROUBLE_KEY", "sk-one"), ("TROUBLE_HEADER", "hush-two"), ("TROUBLE_TENANT", "psst-three")];
    let output = Started::new(dir.path(), &args, &secrets).output();
    assert_eq!(output.status.code(), Some(4), "all failed: {}", stderr(&output));
    let told = stdout(&output) + &stderr(&output);
    assert!(told.contains("[hidden]"), "the server's words are told: {told}");
    for (_, secret) in secrets {
        assert!(!told.contains(secret), "{told}");
        assert_eq!(holding(dir.path(), secret.as_bytes()), Vec::<PathBuf>::new(), "{secret}");
    }
    let refused =
        plimsoll(dir.path(), &["run", "small.toml", "--set", "target.headers.authorization=Bearer sk-four"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(!stderr(&refused).contains("sk-four"), "{}", stderr(&refused));
}
