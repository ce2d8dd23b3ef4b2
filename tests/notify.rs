//! Who is told of a run's end: a real command, and a real receiver of HTTP.

use std::path::Path;
use std::sync::{Arc, Mutex};

use rustix::process::Signal;
use serde_json::Value;

use crate::rig::program::{
    SMALL, Started, directory, find, holding, only_run, plimsoll, plimsoll_with, stderr, stdout,
};
use crate::rig::scripted::{Scripted, serve};
use crate::rig::wait_for;

/// Head and body of each request that a receiver was sent.
type Received = Arc<Mutex<Vec<(String, String)>>>;

/// Keeps head and body of each request, and answers with this status line.
fn receiver(status: &'static str) -> (Scripted, Received) {
    let seen = Received::default();
    let kept = Arc::clone(&seen);
    let server = serve(move |conn| {
        let body = String::from_utf8(conn.body.to_vec()).unwrap();
        kept.lock().unwrap().push((conn.head.to_owned(), body));
        conn.raw(&format!("HTTP/1.1 {status}\r\ncontent-length: 5\r\nconnection: close\r\n\r\nwords"));
        false
    });
    (server, seen)
}

/// The small sweep, shortened to one cell, with this `[notify]`.
fn file(notify: &str) -> String {
    let one = SMALL.replace("users = [1, 2]", "users = [2]").replace("repeats = 2", "repeats = 1");
    format!("{one}\n[notify]\n{notify}\n")
}

/// Keeps what it reads and what it knows.
const COMMAND: &str = r#"command = ["sh", "-c", "cat > told.md; env | grep ^PLIMSOLL_ | sort > facts.txt"]"#;

fn facts(dir: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(dir.join("facts.txt")).unwrap();
    text.lines().filter_map(|line| line.split_once('=')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

fn fact(dir: &Path, name: &str) -> Option<String> {
    facts(dir).into_iter().find(|(known, _)| known == &format!("PLIMSOLL_{name}")).map(|(_, value)| value)
}

#[test]
fn a_command_reads_the_summary_and_a_webhook_gets_it_with_its_key() {
    let (server, seen) = receiver("204 No Content");
    let url = format!("http://{}/hooks/s3cret-path", server.address);
    let dir = directory(&file(&format!(
        "{COMMAND}\nwebhook = {{ url = \"env:HOOK\", headers = {{ Authorization = \"env:HOOK_KEY\" }} }}"
    )));
    let variables = [("HOOK", url.as_str()), ("HOOK_KEY", "Bearer s3cret-key")];
    let output = plimsoll_with(dir.path(), &["run", "small.toml", "--progress", "none"], &variables);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!stderr(&output).contains("notify"), "{}", stderr(&output));

    let told = std::fs::read_to_string(dir.path().join("told.md")).unwrap();
    assert!(told.starts_with("### ✓ Plimsoll: small\n\n**Meets the SLO with 2 users"), "{told}");
    assert!(
        told.contains("- ✓ TTFT p95 ≤ 10,000 ms: met in 1 of 1") && told.contains("| 2 users | 12 | 0 |")
    );
    assert_eq!(fact(dir.path(), "EVENT").as_deref(), Some("finish"));
    assert_eq!(fact(dir.path(), "EXIT").as_deref(), Some("0"));
    assert_eq!(fact(dir.path(), "REASON"), None);
    let run = only_run(dir.path());
    assert!(run.ends_with(fact(dir.path(), "ID").unwrap()));
    assert_eq!(dir.path().join(fact(dir.path(), "RUN").unwrap()), run);

    let seen = seen.lock().unwrap();
    let [(head, body)] = seen.as_slice() else { panic!("{seen:?}") };
    assert!(head.starts_with("POST /hooks/s3cret-path HTTP/1.1\r\n"), "{head}");
    assert!(head.to_lowercase().contains("authorization: bearer s3cret-key"), "{head}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["markdown"], told.as_str());
    assert_eq!(
        (&body["event"], &body["exit"], &body["name"]),
        (&"finish".into(), &0.into(), &"small".into())
    );
    assert!(holding(dir.path(), b"s3cret").is_empty(), "a secret was kept");

    // What lies beside the page is the same, but for the place of the page.
    let beside = find(&dir.path().join("reports"), "summary.md").unwrap();
    let beside = std::fs::read_to_string(beside).unwrap();
    let output = plimsoll(dir.path(), &["report", "--format", "markdown", run.to_str().unwrap()]);
    assert_eq!(stdout(&output), beside);
    let body_of = |text: &str| text.split("\n<sub>").next().unwrap().to_owned();
    assert_eq!(body_of(&beside), body_of(&told));
}

#[test]
fn a_failed_gate_is_a_failure_and_one_that_cannot_be_told_changes_nothing() {
    let (server, seen) = receiver("500 Oh No");
    let webhook = format!("webhook = {{ url = \"http://{}/a/b\", format = \"slack\" }}", server.address);
    let command = r#"command = ["sh", "-c", "echo no mail here >&2; exit 3"]"#;
    let missed = |notify: &str| file(notify).replace("ttft_p95 = \"10s\"", "ttft_p95 = \"1us\"");
    let dir = directory(&missed(&format!("{command}\n{webhook}")));
    let output = plimsoll(dir.path(), &["run", "small.toml", "--progress", "none", "--gate", "--no-report"]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("could not notify: notify.command: sh -c") && text.contains("no mail here"),
        "{text}"
    );
    assert!(text.contains(&format!("notify.webhook: {}: HTTP 500: words", server.address)), "{text}");
    {
        let seen = seen.lock().unwrap();
        let body: Value = serde_json::from_str(&seen[0].1).unwrap();
        let said = body["text"].as_str().unwrap();
        assert!(
            said.starts_with("✗ *Plimsoll: small*\n*Misses the SLO") && said.contains("exit code 1"),
            "{said}"
        );
    }
    // An end that nobody asked for is not told.
    let dir = directory(&missed(&format!("{webhook}\non = [\"finish\", \"interrupt\"]")));
    let output = plimsoll(dir.path(), &["run", "small.toml", "--progress", "none", "--gate", "--no-report"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[test]
fn an_interrupted_sweep_and_one_that_cannot_begin_are_told() {
    let long = file(COMMAND).replace("requests = 12", "duration = \"600s\"");
    let dir = directory(&long);
    let started = Started::new(dir.path(), &["run", "small.toml", "--progress", "none", "--no-report"], &[]);
    wait_for("the first request", || find(&dir.path().join("runs"), "records.jsonl"));
    started.signal(Signal::INT);
    let output = started.output();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert_eq!(fact(dir.path(), "EVENT").as_deref(), Some("interrupt"));
    assert_eq!(fact(dir.path(), "EXIT").as_deref(), Some("130"));
    let told = std::fs::read_to_string(dir.path().join("told.md")).unwrap();
    assert!(told.starts_with("### ✗ Plimsoll: small") && told.contains("**Interrupted"), "{told}");

    // Nobody listens there.
    let dir = directory(&file(COMMAND).replace("\"sim:\"", "\"http://127.0.0.1:9\""));
    let output = plimsoll(dir.path(), &["run", "small.toml", "--progress", "none"]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert_eq!(fact(dir.path(), "EVENT").as_deref(), Some("failure"));
    let told = std::fs::read_to_string(dir.path().join("told.md")).unwrap();
    assert!(told.contains("**Failed: cannot reach http://127.0.0.1:9/"), "{told}");
}
