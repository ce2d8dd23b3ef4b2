//! test_run_TIMESTAMP.json: config, a summary in words, and details of each request, of which a
//! cell is made. Times are seconds.

use jiff::Timestamp;
use serde_json::Value;

use super::content::Content;
use super::look::{at, first, micros, number, same, small, text};
use super::{Asked, Found, ImportError, failure};
use crate::record::{EndedBy, Outcome, RequestRecord};

pub(super) fn recognise(content: &Content) -> bool {
    let details = content.first().and_then(|v| at(v, "details")).and_then(|v| v.get(0));
    details.is_some_and(|d| d.get("request_id").is_some() && d.get("start_ts").is_some())
}

pub(super) fn read(content: &Content) -> Result<Vec<Found>, ImportError> {
    let value = content.first().ok_or_else(|| content.wrong("", "JSON", "none"))?;
    let Some(details) = at(value, "details").and_then(Value::as_array) else {
        return Err(content.wrong("details", "a list of requests", &content.outline()));
    };
    let config = first(value, &["config"]).unwrap_or(&Value::Null);
    let starts = details.iter().filter_map(|d| number(d, &["start_ts"]));
    let begun = starts.fold(f64::INFINITY, f64::min);
    let mut found = Found {
        tool: "test-run",
        file: content.name.clone(),
        load: load(config),
        max_tokens: small(config, &["prompts.max_tokens"]),
        url: text(config, &["server.base_url"]),
        model: text(config, &["server.model_alias"]),
        started_at: micros(begun).and_then(|us| Timestamp::from_microsecond(i64::try_from(us).ok()?).ok()),
        ended_by: Some(EndedBy::Duration),
        placed: begun.is_finite(),
        ..Found::default()
    };
    for (i, detail) in details.iter().enumerate() {
        found.requests.push(record(content, i, detail, begun)?);
    }
    found.tell_streams();
    let good = found.requests.iter().filter(|r| r.outcome == Outcome::Ok);
    let tokens: u64 = good.clone().filter_map(|r| r.output_tokens).map(u64::from).sum();
    found.max_tokens = found.max_tokens.or(same(good.map(|r| r.output_tokens)).flatten());
    // The last end is within the time.
    let last = found.requests.iter().filter_map(|r| r.end_us).max();
    found.seconds = last.map(|last| (last + 1) as f64 / 1e6);
    if let Some(seconds) = found.seconds {
        found.put_scalar("output_tps", Some(tokens as f64 / seconds));
        found.put_scalar("whole_run_output_tps", Some(tokens as f64 / seconds));
    }
    Ok(vec![found])
}

fn load(config: &Value) -> Asked {
    let users = small(config, &["workload.users"]);
    match number(config, &["workload.qps"]).filter(|qps| *qps > 0.0) {
        Some(qps) => Asked::Rate { qps, arrivals: None, cap: users },
        None => users.filter(|n| *n > 0).map_or(Asked::Unknown, Asked::Users),
    }
}

fn record(content: &Content, i: usize, detail: &Value, begun: f64) -> Result<RequestRecord, ImportError> {
    for key in ["start_ts", "end_ts", "ttft", "latency", "output_tokens"] {
        if let Some(other) = at(detail, key).filter(|v| !v.is_number()) {
            return Err(content.wrong(&format!("details[{i}].{key}"), "a number", &other.to_string()));
        }
    }
    let sent = number(detail, &["start_ts"]).and_then(|t| micros(t - begun));
    let after = |key: &str| sent?.checked_add(number(detail, &[key]).and_then(micros)?);
    let mut record = RequestRecord {
        sent_us: sent,
        intended_us: sent.unwrap_or(0),
        first_token_us: after("ttft"),
        last_token_us: after("latency"),
        end_us: number(detail, &["end_ts"]).and_then(|t| micros(t - begun)),
        output_tokens: small(detail, &["output_tokens"]),
        endpoint: text(detail, &["endpoint"]),
        outcome: Outcome::Ok,
        ..RequestRecord::blank(i as u64)
    };
    if let Some(error) = text(detail, &["error"]) {
        failure::note(&mut record, &error, None);
        record.last_token_us = None;
    }
    Ok(record)
}
