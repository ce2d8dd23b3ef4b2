//! The examples of `docs/adding-a-provider.md`, taken from there and run as they stand, and the
//! scenario that puts each endpoint of one server under load.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::rig::program::{directory, only_run, plimsoll, stderr};
use super::rig::scripted::{Conn, serve};

/// The block of TOML that follows the heading `heading`.
fn block(heading: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/adding-a-provider.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, after) = text.split_once(heading).unwrap_or_else(|| panic!("no heading {heading:?}"));
    let (_, block) = after.split_once("```toml\n").expect("a block");
    block.split_once("```").expect("its end").0.to_owned()
}

/// Lines of a CSV of a run, each by column.
fn rows(path: &Path) -> Vec<BTreeMap<String, String>> {
    csv::Reader::from_path(path).unwrap().deserialize().map(Result::unwrap).collect()
}

/// It came to its end. Whether this machine was quick enough for its figures to be believed is
/// no matter here.
fn has_run(output: &std::process::Output) {
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}", stderr(output));
    assert!(stderr(output).contains("finished, "), "{}", stderr(output));
}

fn answer(conn: &mut Conn<'_>, status: &str, body: &str) {
    conn.raw(&format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
}

/// An API that no provider knows.
fn writer(conn: &mut Conn<'_>) -> bool {
    if !conn.head.starts_with("POST /api/v2/write HTTP/1.1\r\n") {
        answer(conn, "404 Not Found", "nothing here");
        return true;
    }
    let asked: Value = serde_json::from_slice(conn.body).unwrap();
    assert_eq!((&asked["model"], &asked["options"]), (&json!("writer-7b"), &json!({ "heat": 0.7 })));
    assert!(conn.head.to_lowercase().contains("x-arrival: "), "{}", conn.head);
    let (limit, text) = (asked["limit"].as_u64().unwrap(), asked["text"].as_str().unwrap());
    let last = json!({ "why": "limit", "stats": { "read": text.split(' ').count(), "written": limit } });
    if asked["live"] == true {
        conn.raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        let lines = (0..limit).map(|_| json!({ "piece": "word " })).chain([last]);
        for line in lines.map(|line| format!("{line}\n")) {
            conn.raw(&format!("{:x}\r\n{line}\r\n", line.len()));
        }
        conn.raw("0\r\n\r\n");
    } else {
        let mut whole = last;
        whole["piece"] = "word ".repeat(limit as usize).into();
        answer(conn, "200 OK", &whole.to_string());
    }
    true
}

#[test]
fn a_new_api_takes_less_than_thirty_lines() {
    let text = block("## A new API in under 30 lines of TOML");
    let lines = text.lines().count();
    assert!(lines < 30, "{lines} lines");
    let server = serve(writer);
    let dir = directory(&text);
    let target = format!("http://{}", server.address);
    let short = ["--set", "cell.duration=10s", "--set", "cell.requests=40", "--set", "cell.warmup=0s"];
    let cooldown = ["--set", "cell.cooldown={ min = \"10ms\", max = \"1s\" }"];
    let args = [&["run", "small.toml", "--no-report", "--target", &target][..], &short, &cooldown].concat();
    let output = plimsoll(dir.path(), &args);
    has_run(&output);
    let rows = rows(&only_run(dir.path()).join("summary.csv"));
    assert_eq!(rows.len(), 2, "two cells");
    for row in &rows {
        let at = |key: &str| row.get(key).unwrap_or_else(|| panic!("{key}: {row:?}")).as_str();
        assert_eq!((at("api"), at("model"), at("ok"), at("failed")), ("custom", "writer-7b", "40", "0"));
        assert!(!at("ttft_p50_ms").is_empty() && !at("tpot_p50_ms").is_empty(), "it is a stream: {row:?}");
        // The server's own counts: 40 prompts of 64 tokens, and answers of 16.
        assert_eq!((at("tokens_output"), at("tokens_prompt")), ("640", "2560"), "{row:?}");
    }
    assert!(!stderr(&output).contains("failed a first small request"), "{}", stderr(&output));
}

#[test]
fn the_endpoints_of_a_server_are_the_tasks_of_a_mix() {
    let text = block("## Several endpoints of one server");
    let dir = directory(&text);
    let output = plimsoll(dir.path(), &["run", "small.toml", "--no-report"]);
    has_run(&output);
    let run = only_run(dir.path());
    let groups = rows(&run.join("groups.csv"));
    let mut all = 0;
    for name in ["health", "tokenize", "generate", "batch-tokenize", "batch-generate"] {
        let of: Vec<_> = groups.iter().filter(|row| row["kind"] == "task" && row["name"] == name).collect();
        let [row] = of[..] else { panic!("{name}: {groups:?}") };
        let ok: u64 = row["ok"].parse().unwrap();
        assert!(ok > 0 && row["failed"] == "0", "{name}: {row:?}");
        assert!(row["ttft_p50_ms"].is_empty() && !row["e2e_p50_ms"].is_empty(), "{name}: {row:?}");
        all += ok;
    }
    assert_eq!(all.to_string(), rows(&run.join("summary.csv"))[0]["ok"], "and nothing else");
}

#[test]
fn every_block_of_batch_endpoints_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let cooldown = "cell.cooldown={ min = \"10ms\", max = \"1s\" }";
    let args = ["run", "batch-endpoints", "--no-report", "--set", cooldown, "--set", "sim.step_base=1ms"];
    has_run(&plimsoll(dir.path(), &args));
    let rows = rows(&only_run(dir.path()).join("summary.csv"));
    let told: Vec<_> =
        rows.iter().map(|r| [&r["grid"], &r["ok"], &r["failed"]].map(String::as_str)).collect();
    assert_eq!(
        told,
        [
            ["health", "100", "0"],
            ["tokenize", "50", "0"],
            ["generate", "25", "0"],
            ["batch-tokenize", "25", "0"],
            ["batch-generate", "15", "0"],
            ["sustained", "200", "0"],
        ]
    );
}
