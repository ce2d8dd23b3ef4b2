//! What is read of a server while a cell runs: held against the simulator's own log, and against
//! servers that don't answer as they should.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};

use plimsoll::analysis::{Records, RunData};
use plimsoll::chart::{self, Body};
use plimsoll::measure::ServerSide;
use plimsoll::sim::TruthOutcome;
use serde_json::json;

use crate::rig::program::{Started, directory, find, holding, only_run, plimsoll, stderr, stdout};
use crate::rig::scripted::{Scripted, serve};
use crate::rig::{simulator, wait_for};

/// A cell against `url` with what more the file says.
fn file(url: &str, more: &str) -> String {
    format!(
        "name = \"observed\"\nseed = 7\n[target]\nurl = \"{url}\"\n[workload]\nprompt_tokens = 40\nmax_tokens = 20\n\
         [load]\nusers = 8\n[cell]\nduration = \"3s\"\nwarmup = \"500ms\"\n{more}\n"
    )
}

/// The sweep came to its end. On a machine that is too busy to measure on its cell may be invalid,
/// which is no matter here.
fn ended(output: &Output) {
    let text = stderr(output);
    assert!(text.contains("finished, 1 of 1 cell"), "{}\n{text}", stdout(output));
}

fn run(dir: &Path) -> (Output, PathBuf) {
    let output = plimsoll(dir, &["run", "small.toml", "--no-report"]);
    ended(&output);
    let cell = find(dir, "summary.json").expect("a finished cell").parent().unwrap().to_owned();
    (output, cell)
}

fn url(server: &Scripted) -> String {
    format!("http://{}", server.address)
}

fn summary(cell: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(cell.join("summary.json")).unwrap()).unwrap()
}

fn side(cell: &Path) -> ServerSide {
    let summary = summary(cell);
    serde_json::from_value(summary["server"].clone()).unwrap_or_else(|e| panic!("{e}: {summary}"))
}

/// Every value of one series, in order of time.
fn series(cell: &Path, name: &str, label: &str) -> Vec<(f64, f64)> {
    let all = Records::read(&cell.join("observed.parquet"), &["at_us", "name", "labels", "value"]).unwrap();
    let (names, labels) = (all.words("name").unwrap(), all.words("labels").unwrap());
    let (times, values) = (all.numbers("at_us").unwrap(), all.numbers("value").unwrap());
    let is = |i: &usize| names[*i].as_deref() == Some(name) && labels[*i].as_ref().unwrap().contains(label);
    (0..names.len()).filter(is).map(|i| (times[i].unwrap(), values[i].unwrap())).collect()
}

#[test]
fn what_is_read_is_what_the_server_did() {
    let server = simulator(&BTreeMap::from([("max_num_seqs".to_owned(), json!(4))]));
    let dir = directory(&file(&server.url(), "[observe]\nevery = \"200ms\""));
    let (output, cell) = run(dir.path());
    let truth = server.truth();
    assert!(stderr(&output).contains("/metrics is read every 200ms"), "{}", stderr(&output));

    // The last look has all that the server ever did, the few requests of discovery with it.
    let last = |name: &str, label: &str| series(&cell, name, label).last().unwrap().1;
    let ended = |ok: TruthOutcome| truth.iter().filter(|t| t.outcome == ok).count() as f64;
    let tokens: u32 = truth.iter().map(|t| t.output_tokens).sum();
    assert_eq!(last("vllm:generation_tokens_total", ""), f64::from(tokens));
    let success = "vllm:request_success_total";
    let all = last(success, "\"length\"") + last(success, "\"stop\"");
    assert_eq!(all, ended(TruthOutcome::Ok));
    // Before the epoch, while it ran, and after.
    let running = series(&cell, "vllm:num_requests_running", "");
    assert!(
        running[0].0 < 0.0 && running.len() > 5 && running.is_sorted_by_key(|r| r.0 as i64),
        "{running:?}"
    );
    assert!(running.iter().all(|r| (0.0..=4.0).contains(&r.1)), "{running:?}");
    // Every family is there, also one that nobody maps.
    assert!(!series(&cell, "plimsoll_sim:steps_total", "").is_empty());
    assert!(!series(&cell, "vllm:time_to_first_token_seconds_bucket", "le=\"+Inf\"").is_empty());

    let side = side(&cell);
    let of = |name: &str| side.figures[name];
    assert!(of("running").max <= 4.0 && of("running").mean > 2.0, "{side:?}");
    assert!(of("waiting").max <= 8.0 && of("waiting").mean > 1.0, "eight users, four places: {side:?}");
    assert!((0.0..=100.0).contains(&of("kv_use").mean) && of("queue_ms").mean > 0.0, "{side:?}");
    // Both sides count alike, warm-up and drain with it.
    assert_eq!(side.counts.len(), 3, "{side:?}");
    for check in &side.counts {
        assert!(
            check.client > 0 && (check.client..=check.client + check.unsure).contains(&check.server),
            "{check:?}"
        );
    }
    assert_eq!(summary(&cell)["validity"]["signals"]["server_counts"], json!(0.0));
    assert_eq!(side.notes, [""; 0]);
    println!("{} series, {} looks, {} ms of CPU", side.series, side.looks, side.cpu_ms);

    strips_show_it(dir.path());
}

/// The server's figures stand below the client's.
fn strips_show_it(dir: &Path) {
    let run = RunData::load(&only_run(dir)).unwrap();
    assert!(run.cells[0].server.iter().any(|course| course.figure == "waiting" && course.points.len() > 5));
    let charts = chart::all(&run);
    let strip =
        charts.iter().find_map(|c| if let Body::Strip(s) = &c.body { Some(s) } else { None }).unwrap();
    let panel = strip.panels.iter().find(|p| p.y.label == "in the server").expect("a panel of the server's");
    let names: Vec<&str> = panel.series.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["running", "waiting"]);
    let output = plimsoll(dir, &["report", only_run(dir).to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    let page = std::fs::read_to_string(find(&dir.join("reports"), "index.html").unwrap()).unwrap();
    assert!(
        page.contains("in the server") && page.contains("\"requests that ended well\""),
        "the cell's page has it"
    );
}

#[test]
fn somebody_else_at_the_server_is_noticed() {
    let server = simulator(&BTreeMap::new());
    let dir = directory(&file(&server.url(), ""));
    let done = AtomicBool::new(false);
    let base = server.url();
    let cell = std::thread::scope(|scope| {
        scope.spawn(|| {
            // As many as may be: the more the busier this machine is, the fewer come through.
            while !done.load(Ordering::Relaxed) {
                stranger(&base);
            }
        });
        let cell = std::panic::catch_unwind(|| run(dir.path()));
        done.store(true, Ordering::Relaxed);
        cell.unwrap().1
    });
    let summary = summary(&cell);
    let reasons = summary["validity"]["reasons"].as_array().unwrap();
    let reason =
        reasons.iter().find(|r| r["signal"] == "server_counts").unwrap_or_else(|| panic!("{summary}"));
    let text = reason["text"].as_str().unwrap();
    assert_eq!(reason["verdict"], "warn");
    assert!(text.contains("here") && text.contains("there") && text.contains("somebody else"), "{text}");
    let told = plimsoll(dir.path(), &["report", only_run(dir.path()).to_str().unwrap()]);
    assert!(stdout(&told).contains("don't agree"), "{}", stdout(&told));
}

/// One request of another client.
fn stranger(base: &str) {
    use std::io::{Read, Write};
    let address = base.trim_start_matches("http://").trim_end_matches('/');
    let Ok(mut stream) = std::net::TcpStream::connect(address) else { return };
    let body = r#"{"model":"sim","prompt":"one two three four five six","max_tokens":4}"#;
    let _ = write!(
        stream,
        "POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.read_to_end(&mut Vec::new());
}

#[test]
fn nothing_is_read_where_that_is_not_wanted() {
    let dir = directory(&file("sim:", "[observe]\nmetrics = false"));
    let (output, cell) = run(dir.path());
    assert!(!stderr(&output).contains("/metrics"), "{}", stderr(&output));
    assert_eq!(summary(&cell)["server"], serde_json::Value::Null);
    assert!(!cell.join("observed.parquet").exists() && !cell.join("server.parquet").exists());
    let data = RunData::load(&only_run(dir.path())).unwrap();
    assert!(data.cells[0].server.is_empty() && data.cells[0].summary.is_some());
}

#[test]
fn servers_that_answer_badly_are_noted_and_hold_nothing_up() {
    let whole = |body: &str| {
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    let hangs = serve(|conn| {
        // It takes the request and says nothing until the client has gone.
        let _ = std::io::Read::read(conn.stream, &mut [0; 1]);
        false
    });
    let garbage = serve(move |conn| {
        conn.raw(&whole("<!doctype html>\n<p>Sign in, please</p>\n"));
        false
    });
    let huge = serve(|conn| {
        conn.raw("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n");
        let line = "a_series_that_is_long{label=\"value\"} 1\n".repeat(1000);
        for _ in 0..50_000_000 / line.len() {
            conn.raw(&line);
        }
        false
    });
    let partly = serve(move |conn| {
        assert!(conn.head.to_lowercase().contains("authorization: bearer hush-hush"), "{}", conn.head);
        conn.raw(&whole("# TYPE good gauge\ngood{a=\"b\"} 3\nbad line here\n"));
        false
    });
    let missing = serve(|conn| {
        conn.raw("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
        false
    });
    let urls = [&hangs, &garbage, &huge, &missing].map(|s| format!("\"{}/metrics\"", url(s))).join(", ");
    let more = format!(
        "[observe]\ntimeout = \"300ms\"\nmetrics = [{urls}, {{ url = \"{}/metrics?key=1\", headers = {{ authorization = \"env:OBSERVE_TEST_TOKEN\" }} }}]",
        url(&partly)
    );
    let dir = directory(&file("sim:", &more));
    let secret = [("OBSERVE_TEST_TOKEN", "Bearer hush-hush")];
    let output = Started::new(dir.path(), &["run", "small.toml", "--no-report"], &secret).output();
    ended(&output);
    let cell = find(dir.path(), "summary.json").unwrap().parent().unwrap().to_owned();
    let summary = summary(&cell);
    assert!(summary["counts"]["ok"].as_u64().unwrap() > 0, "the load is none the worse: {summary}");
    let notes = side(&cell).notes;
    let told = stdout(&output) + &stderr(&output);
    for (server, words) in [
        (&hangs, "no answer within 300ms"),
        (&garbage, "no Prometheus text, as line 1: <!doctype html>"),
        (&huge, "an answer of more than 16777216 bytes"),
        (&missing, "HTTP 404"),
    ] {
        let name = format!("{}/metrics", url(server));
        let note = notes.iter().find(|n| n.starts_with(&name)).unwrap_or_else(|| panic!("{name}: {notes:?}"));
        // On a machine that is busy the large one may also run out of its time.
        let slow = words.contains("bytes") && note.contains("no answer within");
        assert!(note.contains(words) || slow, "{note}");
        assert!(told.contains(note.as_str()), "{told}");
    }
    assert!(!series(&cell, "good", "a=\"b\"").is_empty());
    assert!(holding(dir.path(), b"hush-hush").is_empty());
    assert!(!told.contains("hush-hush") && !told.contains("key=1"), "{told}");
}

#[test]
fn thousands_of_series_cost_the_load_nothing_to_speak_of() {
    let mut body = String::new();
    for family in 0..100 {
        body.push_str(&format!("# HELP family_{family} Help.\n# TYPE family_{family} counter\n"));
        for n in 0..50 {
            body.push_str(&format!(
                "family_{family}{{engine=\"0\",model_name=\"a model\",n=\"{n}\"}} {}.5\n",
                n * family
            ));
        }
    }
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let server = serve(move |conn| {
        conn.raw(&answer);
        false
    });
    let dir = directory(&file("sim:", &format!("[observe]\nmetrics = \"{}/metrics\"", url(&server))));
    let (_, cell) = run(dir.path());
    let side = side(&cell);
    assert_eq!((side.series, side.looks >= 3), (5000, true), "{side:?}");
    // This is what docs/observe.md says of it, for a build without optimisation.
    println!("{} bytes, {} looks, {} ms of CPU", body.len(), side.looks, side.cpu_ms);
    assert!(side.cpu_ms / side.looks as f64 > 0.0 && side.cpu_ms / (side.looks as f64) < 1000.0, "{side:?}");
}

#[test]
fn a_killed_run_with_a_hanging_source_can_be_resumed() {
    let hangs = serve(|conn| {
        let _ = std::io::Read::read(conn.stream, &mut [0; 1]);
        false
    });
    let dir = directory(&file(
        "sim:",
        &format!("[observe]\nmetrics = \"{}/metrics\"\ntimeout = \"8s\"", url(&hangs)),
    ));
    let started = Started::new(dir.path(), &["run", "small.toml", "--no-report"], &[]);
    wait_for("a record", || find(dir.path(), "records.jsonl"));
    started.signal(rustix::process::Signal::KILL);
    drop(started);
    let run = only_run(dir.path());
    let output =
        plimsoll(dir.path(), &["run", "small.toml", "--no-report", "--resume", run.to_str().unwrap()]);
    ended(&output);
    assert!(stderr(&output).contains("no answer within 8s"), "{}", stderr(&output));
}
