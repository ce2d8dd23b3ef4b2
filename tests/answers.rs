//! Texts of answers that are kept and shown: what the server sent, and no secret.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use plimsoll::analysis::read_requests;
use plimsoll::record::{KeptAnswer, Outcome};
use plimsoll::store::{ANSWERS, RECORDS, read_answers};
use serde_json::{Value, json};

use crate::rig::program::{directory, find, holding, only_run, plimsoll, plimsoll_with, stderr};
use crate::rig::scripted::serve;
use crate::rig::simulator;

/// Two short cells at `url`; `workload` are further lines of `[workload]`.
fn experiment(url: &str, workload: &str) -> String {
    format!(
        "name = \"answers\"\nseed = 3\n[target]\nurl = \"{url}\"\napi = \"openai-chat\"\n\
         [workload]\nprompt_tokens = 24\nmax_tokens = {{ mean = 9, distribution = \"uniform\", range = 0.5 }}\n{workload}\n\
         [grid]\nusers = [1, 3]\n[cell]\nrequests = 12\nwarmup = \"0s\"\ncooldown = {{ min = \"0s\", max = \"2s\" }}\n"
    )
}

/// Directories of the cells of the one run below `dir`, in the plan's order.
fn cells(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(only_run(dir).join("cells")).unwrap();
    let mut cells: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    cells.sort();
    cells
}

fn answers(cell: &Path) -> Vec<KeptAnswer> {
    read_answers(&cell.join(ANSWERS)).unwrap()
}

/// What the server says to this prompt, asked by hand and not streamed.
fn said(url: &str, prompt: &str, max_tokens: u32) -> String {
    let host = url.trim_start_matches("http://").trim_end_matches('/');
    let body = json!({
        "model": "sim", "max_tokens": max_tokens, "ignore_eos": true,
        "messages": [{ "role": "user", "content": prompt }],
    })
    .to_string();
    let mut stream = TcpStream::connect(host).unwrap();
    let length = body.len();
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    let head = format!("{head}content-type: application/json\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let document = &answer[answer.find('{').unwrap()..=answer.rfind('}').unwrap()];
    let document: Value = serde_json::from_str(document).unwrap();
    document["choices"][0]["message"]["content"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[test]
fn kept_answers_are_what_the_server_sent() {
    let sim = simulator(&[("step_base".to_owned(), json!("1ms"))].into());
    let dir = directory(&experiment(&sim.url(), "keep_answers = 5"));
    let output = plimsoll(dir.path(), &["run", "small.toml", "--no-report", "--progress", "plain"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!stderr(&output).contains("answered:"), "they are kept, not shown");
    let truth = sim.truth();
    for (index, cell) in cells(dir.path()).iter().enumerate() {
        let records = read_requests(&cell.join(RECORDS)).unwrap();
        let mut kept = answers(cell);
        kept.sort_by_key(|answer| answer.seq);
        assert_eq!(kept.iter().map(|a| a.seq).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        for answer in kept {
            let record = records.iter().find(|r| r.seq == answer.seq).unwrap();
            let id = format!("plimsoll-{index}-{}", answer.seq);
            let truth = truth.iter().find(|t| t.request_id == id).unwrap();
            assert_eq!((answer.outcome, answer.status), (Outcome::Ok, Some(200)));
            assert_eq!(answer.finish_reason, record.finish_reason);
            let (prompt, text) = (answer.prompt.unwrap(), answer.answer.unwrap());
            assert_eq!(prompt.text.chars().count() as u64, prompt.chars, "short enough to be whole");
            assert_eq!(text.text, said(&sim.url(), &prompt.text, record.max_tokens));
            assert_eq!(text.chars, text.text.chars().count() as u64);
            // The simulator's words are a token each.
            assert_eq!(text.text.split(' ').count(), truth.output_tokens as usize);
        }
    }
}

#[test]
fn nothing_is_kept_unless_asked_for_and_shown_answers_are_those_of_the_run() {
    let sim = simulator(&[("step_base".to_owned(), json!("1ms"))].into());
    let file = experiment(&sim.url(), "");
    let dir = directory(&file);
    assert!(plimsoll(dir.path(), &["run", "small.toml", "--no-report"]).status.success());
    assert_eq!(find(dir.path(), ANSWERS), None);
    let dir = directory(&file);
    let args = ["run", "small.toml", "--no-report", "--progress", "plain", "--show-response"];
    let output = plimsoll(dir.path(), &args);
    assert!(output.status.success(), "{}", stderr(&output));
    let shown = stderr(&output);
    for cell in cells(dir.path()) {
        let kept = answers(&cell);
        assert_eq!(kept.len(), 12, "of a short cell all");
        for answer in kept {
            let lines = format!(
                "  asked: {}\n  answered: {}\n",
                answer.prompt.unwrap().text,
                answer.answer.unwrap().text
            );
            assert!(shown.contains(&lines), "{lines}\nnot in\n{shown}");
        }
    }
    // The flag is no setting: with it or without it is the same experiment.
    let run = only_run(dir.path());
    let again = ["run", "small.toml", "--no-report", "--resume", run.to_str().unwrap()];
    assert!(plimsoll(dir.path(), &again).status.success());
    let none = ["run", "small.toml", "--progress", "none", "--show-response"];
    let output = plimsoll(dir.path(), &none);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--progress none"), "{}", stderr(&output));
}

#[test]
fn of_refusals_the_first_bodies_are_kept_without_the_key() {
    const KEY: &str = "sk-answers-0123456789";
    let server = serve(|conn| {
        let (status, body) = if conn.head.starts_with("GET /v1/models") {
            ("200 OK", r#"{"object":"list","data":[{"id":"m","object":"model"}]}"#.to_owned())
        } else {
            ("429 Too Many", json!({ "error": { "message": format!("no credit for {KEY}") } }).to_string())
        };
        conn.raw(&format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
        true
    });
    let url = format!("http://{}", server.address);
    let file = experiment(&url, "keep_answers = 2")
        .replace("[workload]", "api_key_env = \"ANSWERS_KEY\"\n[workload]");
    let dir = directory(&file);
    let args = ["run", "small.toml", "--no-report", "--progress", "plain", "--show-response"];
    let output = plimsoll_with(dir.path(), &args, &[("ANSWERS_KEY", KEY)]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    let cells = cells(dir.path());
    let kept = answers(&cells[0]);
    // The first two arrivals, and the first two refusals after them.
    assert_eq!(kept.len(), 4, "{kept:?}");
    assert_eq!(kept.iter().filter(|a| a.prompt.is_some()).count(), 2);
    for answer in &kept {
        let body = answer.body.as_ref().unwrap();
        assert!(body.text.contains("no credit for [hidden]"), "{body:?}");
        assert_eq!((answer.outcome, answer.status, &answer.answer), (Outcome::HttpError, Some(429), &None));
    }
    assert!(stderr(&output).contains("refused: {\"error\""), "{}", stderr(&output));
    assert!(!stderr(&output).contains(KEY));
    assert_eq!(holding(&dir.path().join("runs"), KEY.as_bytes()), Vec::<PathBuf>::new());
}
