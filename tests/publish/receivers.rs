//! What goes out by HTTP, as a small receiver sees it, and a receiver that is away.

use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::*;
use crate::rig::program::holding;
use crate::rig::scripted::{Scripted, serve};

/// One request: its line and headers, and its body.
type Seen = Arc<Mutex<Vec<(String, String)>>>;

/// Takes everything.
fn receiver() -> (Scripted, Seen) {
    let seen = Seen::default();
    let keep = Arc::clone(&seen);
    let server = serve(move |conn| {
        let body = String::from_utf8_lossy(conn.body).into_owned();
        keep.lock().unwrap().push((conn.head.to_owned(), body));
        conn.raw("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
        true
    });
    (server, seen)
}

#[test]
fn otlp_annotations_and_a_password_reach_their_receivers() {
    let (server, seen) = receiver();
    let url = format!("http://{}", server.address);
    let publish = format!(
        r#"
[publish.otlp]
endpoint = "env"
interval = "500ms"
headers = {{ api-key = "env:OTLP_KEY", tenant = "blue" }}
[publish.grafana]
url = "{url}/grafana/"
token = "env:GRAFANA_TOKEN"
dashboard = "plimsoll"
tags = ["nightly"]
[publish.pushgateway]
url = "{url}"
method = "POST"
username = "admin"
password = "env:PUSH_PASSWORD"
"#
    );
    let dir = directory(&format!("{SWEEP}{publish}"));
    let secrets =
        [("OTLP_KEY", "hush-otlp"), ("GRAFANA_TOKEN", "hush-token"), ("PUSH_PASSWORD", "hush-word")];
    let environment: Vec<(&str, &str)> =
        secrets.into_iter().chain([("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str())]).collect();
    let args = ["run", "small.toml", "--no-report"];
    let (status, said) = Process::plimsoll(dir.path(), &args, &environment).end();
    has_run(status, &said);
    for (_, secret) in secrets {
        assert!(!said.contains(secret), "{said}");
        assert_eq!(holding(dir.path(), secret.as_bytes()), Vec::<PathBuf>::new());
    }
    let seen = seen.lock().unwrap();
    let to = |line: &str| -> Vec<&(String, String)> {
        seen.iter().filter(|(head, _)| head.starts_with(line)).collect()
    };
    let has = |head: &str, header: &str| head.lines().any(|line| line.eq_ignore_ascii_case(header));
    let rows = summary(dir.path());

    let metrics = to("POST /v1/metrics ");
    assert!(metrics.len() >= 2, "again and again, and once at the end: {}", metrics.len());
    let (head, body) = metrics.last().unwrap();
    assert!(
        has(head, "api-key: hush-otlp")
            && has(head, "tenant: blue")
            && has(head, "content-type: application/json")
    );
    let json: Value = serde_json::from_str(body).unwrap();
    let all = json["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].as_array().unwrap();
    let points = |name: &str, kind: &str| {
        let metric = all.iter().find(|metric| metric["name"] == name).unwrap();
        metric[kind]["dataPoints"].as_array().unwrap().clone()
    };
    let attribute = |point: &Value, key: &str| -> Option<String> {
        let found = point["attributes"].as_array()?.iter().find(|a| a["key"] == key)?;
        Some(found["value"]["stringValue"].as_str()?.to_owned())
    };
    for row in &rows {
        let cell = (number(row, "cell_index") as u32 + 1).to_string();
        let is = |point: &Value, key: &str, value: &str| attribute(point, key).as_deref() == Some(value);
        let ok = points("plimsoll_requests_total", "sum")
            .into_iter()
            .find(|p| is(p, "cell", &cell) && is(p, "phase", "measure") && is(p, "outcome", "ok"))
            .unwrap();
        assert_eq!(ok["asInt"], row["ok"].as_str(), "cell {cell}");
        let ttft =
            points("plimsoll_ttft_seconds", "histogram").into_iter().find(|p| is(p, "cell", &cell)).unwrap();
        assert_eq!(ttft["count"], row["ttft_n"].as_str());
    }

    let annotations = to("POST /grafana/api/annotations ");
    assert_eq!(annotations.len(), rows.len(), "one for each cell");
    let mut before = 0;
    for ((head, body), row) in annotations.into_iter().zip(&rows) {
        assert!(has(head, "authorization: Bearer hush-token"), "{head}");
        let json: Value = serde_json::from_str(body).unwrap();
        let (time, end) = (json["time"].as_i64().unwrap(), json["timeEnd"].as_i64().unwrap());
        assert!(before <= time && time < end, "{json}");
        before = time;
        assert_eq!(json["dashboardUID"], "plimsoll");
        let tags: Vec<&str> = json["tags"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(tags, ["plimsoll", "published", "nightly", row["run"].as_str()]);
        let text = json["text"].as_str().unwrap();
        assert!(text.contains(&format!("{} ok", row["ok"])) && text.contains("SLO PASS"), "{text}");
    }

    let pushed = to("POST /metrics/job/plimsoll ");
    assert!(!pushed.is_empty());
    // admin:hush-word
    assert!(has(&pushed[0].0, "authorization: Basic YWRtaW46aHVzaC13b3Jk"), "{}", pushed[0].0);
}

#[test]
fn a_receiver_that_is_away_is_told_once_and_harms_nothing() {
    let port = free_port();
    let publish = format!(
        "[publish.pushgateway]\nurl = \"127.0.0.1:{port}\"\ninterval = \"100ms\"\n[publish.grafana]\nurl = \"127.0.0.1:{port}\"\n"
    );
    let dir = directory(&format!("{SWEEP}{publish}"));
    let (status, said) = Process::plimsoll(dir.path(), &["run", "small.toml", "--no-report"], &[]).end();
    has_run(status, &said);
    assert_eq!(said.matches("; the load goes on, and it is tried again").count(), 2, "each once: {said}");
    assert_eq!(said.matches("requests failed, the last one so").count(), 2, "and how often: {said}");
    let rows = summary(dir.path());
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|row| number(row, "ok") > 0.0));
}

#[test]
fn a_secret_that_is_not_there_is_told_before_the_sweep() {
    let publish = "[publish.grafana]\nurl = \"http://127.0.0.1:1\"\ntoken = \"env:NO_SUCH_TOKEN\"\n";
    let dir = directory(&format!("{SWEEP}{publish}"));
    let (status, said) = Process::plimsoll(dir.path(), &["run", "small.toml"], &[]).end();
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("NO_SUCH_TOKEN, named by publish.grafana.token, is not set"), "{said}");
}
