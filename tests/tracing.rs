//! Requests that bear the name of a trace: what arrived is what was recorded, as many as were asked
//! for, and this client's spans reach a receiver.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};

use plimsoll::analysis::read_requests;
use plimsoll::record::{RequestRecord, TraceId};
use plimsoll::sim::Server;
use serde_json::{Value, json};

use crate::rig::program::{directory, find, only_run, plimsoll, stderr, stdout};
use crate::rig::scripted::{Scripted, serve};
use crate::rig::simulator;

fn file(server: &Server, more: &str) -> String {
    let url = server.url();
    format!(
        r#"
name = "traced"
seed = 5
[target]
url = "{url}"
model = "sim"
[workload]
prompt_tokens = 16
max_tokens = 8
[grid]
users = [2, 3]
[cell]
requests = 40
warmup = "100ms"
cooldown = {{ min = "50ms", max = "2s" }}
{more}
"#
    )
}

fn records(run: &Path) -> Vec<Vec<RequestRecord>> {
    let mut cells: Vec<_> =
        std::fs::read_dir(run.join("cells")).unwrap().map(|e| e.unwrap().path()).collect();
    cells.sort();
    cells.iter().map(|cell| read_requests(&cell.join("records.parquet")).unwrap()).collect()
}

/// The `traceparent` of each request that the server saw, by its `x-request-id`.
fn arrived(server: &Server) -> HashMap<String, Option<String>> {
    let named = server.truth().into_iter().filter(|t| t.request_id.starts_with("plimsoll-"));
    named.map(|t| (t.request_id, t.traceparent)).collect()
}

/// Takes spans by OTLP.
fn receiver(status: &'static str) -> (Scripted, Arc<Mutex<Vec<Value>>>) {
    let spans: Arc<Mutex<Vec<Value>>> = Arc::default();
    let kept = Arc::clone(&spans);
    let server = serve(move |conn| {
        assert!(conn.head.starts_with("POST /v1/traces HTTP/1.1"), "{}", conn.head);
        assert!(conn.head.to_lowercase().contains("content-type: application/json"), "{}", conn.head);
        kept.lock().unwrap().push(serde_json::from_slice(conn.body).unwrap());
        conn.raw(&format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"));
        false
    });
    (server, spans)
}

/// Attributes by their keys, as texts.
fn attributes(span: &Value) -> BTreeMap<String, String> {
    let all = span["attributes"].as_array().unwrap().iter();
    let text =
        |value: &Value| value["stringValue"].as_str().or(value["intValue"].as_str()).unwrap_or("").to_owned();
    all.map(|a| (a["key"].as_str().unwrap().to_owned(), text(&a["value"]))).collect()
}

#[test]
fn the_header_that_arrived_is_the_one_in_the_record() {
    let server = simulator(&BTreeMap::new());
    let (collector, received) = receiver("200 OK");
    let tracing = format!(
        "[tracing]\nshare = 0.25\nlink = \"http://jaeger.example:16686/trace/{{trace_id}}?a=1&b=2\"\notlp = \"http://{}\"",
        collector.address
    );
    let dir = directory(&file(&server, &tracing));
    let output = plimsoll(dir.path(), &["run", "small.toml", "--progress", "none"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!stderr(&output).contains("spans"), "{}", stderr(&output));

    let run = only_run(dir.path());
    let (arrived, cells) = (arrived(&server), records(&run));
    let mut ids = HashMap::new();
    for (cell, records) in cells.iter().enumerate() {
        let traced = records.iter().filter(|r| r.trace_id.is_some()).count() as f64;
        // Each load core asks for numbers in a row: of n requests n / 4 are traced, to within one a core.
        let cores = f64::from(records.iter().map(|r| r.shard).max().unwrap() + 1);
        let asked = records.len() as f64 * 0.25;
        assert!((traced - asked).abs() <= 1.0 + cores, "cell {cell}: {traced} of {}", records.len());
        for record in records.iter().filter(|r| r.headers_us.is_some()) {
            let there = &arrived[&format!("plimsoll-{cell}-{}", record.seq)];
            let id = record.trace_id.as_deref().map(|id| TraceId::parse(id).unwrap());
            assert_eq!(there, &id.map(TraceId::traceparent), "cell {cell}, request {}", record.seq);
            if let Some(id) = id {
                assert!(ids.insert(id.to_string(), (id, record)).is_none(), "two traces of one name");
            }
        }
    }

    spans(&received.lock().unwrap(), &ids);

    // The page leads to their traces.
    let page = std::fs::read_to_string(find(&dir.path().join("reports"), "index.html").unwrap()).unwrap();
    assert!(page.contains("Slowest traced requests"));
    let linked = ids.keys().filter(|id| page.contains(&format!("trace&#x2f;{id}?a=1&amp;b=2\""))).count();
    assert!(linked >= 16, "{linked} of {}", ids.len());

    let output =
        plimsoll(dir.path(), &["export", run.to_str().unwrap(), "--format", "requests-csv", "--out", "-"]);
    let csv = stdout(&output);
    assert!(csv.lines().next().unwrap().ends_with(",trace_id"), "{csv}");
    assert!(ids.keys().all(|id| csv.contains(id.as_str())));
}

/// A span came for each, once, and is what the record is.
fn spans(received: &[Value], ids: &HashMap<String, (TraceId, &RequestRecord)>) {
    let scopes = received.iter().map(|export| &export["resourceSpans"][0]);
    let all: Vec<&Value> =
        scopes.clone().flat_map(|s| s["scopeSpans"][0]["spans"].as_array().unwrap()).collect();
    for resource in scopes {
        let of = attributes(&resource["resource"]);
        assert_eq!(of["service.name"], "plimsoll");
        assert!(of["plimsoll.run"].ends_with("-traced"), "{of:?}");
    }
    assert_eq!(all.len(), ids.len());
    for span in all {
        let (id, record) = ids[span["traceId"].as_str().unwrap()];
        assert_eq!(span["spanId"], format!("{:016x}", id.span()));
        assert_eq!((&span["kind"], &span["name"]), (&json!(3), &json!("chat sim")));
        let of = attributes(span);
        assert_eq!(of["plimsoll.seq"], record.seq.to_string());
        assert_eq!(of["gen_ai.usage.output_tokens"], record.output_tokens.unwrap().to_string());
        assert_eq!(
            (of["server.address"].as_str(), of["http.response.status_code"].as_str()),
            ("127.0.0.1", "200")
        );
        assert!(!of.contains_key("error.type") && span.get("status").is_none(), "{span}");
        let ns = |value: &Value| value.as_str().unwrap().parse::<u64>().unwrap();
        let (start, end) = (ns(&span["startTimeUnixNano"]), ns(&span["endTimeUnixNano"]));
        assert_eq!((end - start) / 1_000, record.end_us.unwrap() - record.sent_us.unwrap());
        let events: Vec<&str> =
            span["events"].as_array().unwrap().iter().map(|e| e["name"].as_str().unwrap()).collect();
        assert_eq!(events, ["sent", "headers", "first token", "last token"]);
        let first = ns(&span["events"][2]["timeUnixNano"]);
        assert_eq!((first - start) / 1_000, record.first_token_us.unwrap() - record.sent_us.unwrap());
        // Of this run, by the clock on the wall.
        let now = jiff::Timestamp::now().as_nanosecond() as u64;
        assert!(end <= now && now - start < 3_600_000_000_000, "{start} {end} {now}");
    }
}

#[test]
fn without_the_section_nothing_is_borne_and_a_receiver_that_refuses_changes_nothing() {
    let server = simulator(&BTreeMap::new());
    let dir = directory(&file(&server, ""));
    let output = plimsoll(dir.path(), &["run", "small.toml", "--progress", "none"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(records(&only_run(dir.path())).iter().flatten().all(|r| r.trace_id.is_none()));
    let arrived = arrived(&server);
    assert!(arrived.len() >= 80 && arrived.values().all(Option::is_none));
    let page = std::fs::read_to_string(find(&dir.path().join("reports"), "index.html").unwrap()).unwrap();
    assert!(!page.contains("id=\"traces\""));

    let server = simulator(&BTreeMap::new());
    let (collector, _) = receiver("503 Busy");
    let tracing = format!("[tracing]\nshare = 1\notlp = \"http://{}\"", collector.address);
    let dir = directory(&file(&server, &tracing));
    let output = plimsoll(dir.path(), &["run", "small.toml", "--progress", "none", "--no-report"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let sent: usize = records(&only_run(dir.path())).iter().map(Vec::len).sum();
    let text = stderr(&output);
    assert!(text.contains(&format!("{sent} spans of this client were not sent")), "{text}");
    assert!(text.contains("HTTP 503"), "{text}");
}
