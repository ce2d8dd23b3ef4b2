//! AIPerf: profile_export.jsonl has a line per request, profile_export_aiperf.json (or .csv) the
//! figures of the whole; the one finds the other beside it. Times count from when a request was
//! sent. Its ITL is a request's mean gap, our TPOT.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::content::Content;
use super::look::{at, count, distribution, first, micros, number, same, small, text, whole};
use super::{Asked, Found, ImportError, failure};
use crate::record::{EndedBy, Outcome, Phase, RequestRecord};

const RECORDS: &str = "profile_export.jsonl";
const SUMMARY: &str = "profile_export_aiperf.json";

/// Their metric and ours.
const METRICS: [(&str, &str); 8] = [
    ("time_to_first_token", "ttft"),
    ("time_to_first_output_token", "ttfv"),
    ("time_to_second_token", "second_chunk_gap"),
    ("inter_token_latency", "tpot"),
    ("request_latency", "e2e"),
    ("output_token_throughput_per_user", "user_tps"),
    ("output_sequence_length", "output_length"),
    ("input_sequence_length", "prompt_length"),
];

pub(super) fn recognise(content: &Content) -> bool {
    is_records(content) || is_summary(content) || is_csv(content)
}

fn is_records(content: &Content) -> bool {
    content.first().is_some_and(|v| at(v, "metadata.request_start_ns").is_some())
}

fn is_summary(content: &Content) -> bool {
    content.first().is_some_and(|v| at(v, "request_latency.unit").is_some())
}

fn is_csv(content: &Content) -> bool {
    let header = content.header();
    header.first().is_some_and(|f| f == "Metric") && header.iter().any(|f| f == "avg")
}

pub(super) fn read(content: &Content) -> Result<Vec<Found>, ImportError> {
    let mut found = Found { tool: "aiperf", file: content.name.clone(), ..Found::default() };
    found.ended_by = Some(EndedBy::Requests);
    if is_records(content) {
        if let Some(beside) = content.beside(SUMMARY).filter(is_summary) {
            summary(&mut found, beside.first().unwrap_or(&Value::Null));
        }
        requests(&mut found, content)?;
    } else if is_csv(content) {
        summary(&mut found, &from_csv(content)?);
    } else if is_summary(content) {
        summary(&mut found, content.first().unwrap_or(&Value::Null));
        if let Some(beside) = content.beside(RECORDS).filter(is_records) {
            requests(&mut found, &beside)?;
        }
    } else {
        let expected = "profile_export.jsonl, profile_export_aiperf.json or profile_export_aiperf.csv";
        return Err(content.wrong("", expected, &content.outline()));
    }
    Ok(vec![found])
}

/// What one of a unit is of ours: milliseconds, and things as they are.
fn times(unit: &str) -> f64 {
    match unit {
        "ns" => 1e-6,
        "us" | "µs" => 1e-3,
        "sec" | "s" | "seconds" => 1e3,
        _ => 1.0,
    }
}

fn summary(found: &mut Found, value: &Value) {
    found.version = text(value, &["aiperf_version", "version"]);
    let config = first(value, &["input_config"]).unwrap_or(&Value::Null);
    found.model = text(config, &["endpoint.model"]).or_else(|| listed(config, "endpoint.model_names"));
    found.url = text(config, &["endpoint.url"]).or_else(|| listed(config, "endpoint.urls"));
    found.api = text(config, &["endpoint.type"]).map(|word| api(&word).to_owned());
    found.stream = at(config, "endpoint.streaming").and_then(Value::as_bool);
    found.load = load(config);
    found.prompt_tokens = mean_without_spread(config, "input.prompt.input_tokens");
    found.max_tokens = mean_without_spread(config, "input.prompt.output_tokens");
    found.started_at = text(value, &["start_time"]).and_then(|t| moment(&t));
    let avg = |metric: &str| number(value, &[&format!("{metric}.avg")]);
    found.seconds = avg("benchmark_duration").map(|x| {
        let unit = text(value, &["benchmark_duration.unit"]).unwrap_or_else(|| "sec".to_owned());
        x * times(&unit) / 1e3
    });
    let whole = |metric: &str| avg(metric).and_then(whole);
    found.totals.ok = whole("request_count").unwrap_or(0);
    errors(found, value);
    // Its count of errors has the cancelled ones in it.
    let bad = whole("error_request_count").map(|n| n.saturating_sub(found.totals.cancelled));
    found.totals.failed = bad.unwrap_or(found.totals.failed);
    found.totals.prompt_tokens = whole("total_isl");
    found.totals.output_tokens = whole("total_osl").or_else(|| whole("total_output_tokens"));
    found.put_scalar("completed_rps", avg("request_throughput"));
    found.put_scalar("output_tps", avg("output_token_throughput"));
    found.put_scalar("whole_run_output_tps", avg("output_token_throughput"));
    found.put_scalar("goodput_rps", avg("goodput"));
    let attempted = found.totals.ok + found.totals.failed + found.totals.cancelled;
    if attempted > 0 {
        found.put_scalar("error_rate", Some(found.totals.failed as f64 / attempted as f64));
    }
    statistics(found, value);
}

/// Failures by what they were; a cancelled request is one that its user cut off.
fn errors(found: &mut Found, value: &Value) {
    let list = at(value, "error_summary").and_then(Value::as_array);
    for one in list.into_iter().flatten() {
        let n = count(one, &["count"]).unwrap_or(0);
        let mut record = RequestRecord::blank(0);
        let words = [text(one, &["error_details.type"]), text(one, &["error_details.message"])];
        let words = words.into_iter().flatten().collect::<Vec<_>>().join(": ");
        failure::note(&mut record, &words, status(one, "error_details.code"));
        if record.outcome == Outcome::Cancelled {
            found.totals.cancelled = found.totals.cancelled.saturating_add(n);
        } else {
            found.totals.failed = found.totals.failed.saturating_add(n);
            let of_class = found.totals.errors.entry(record.error_class.unwrap_or_default()).or_default();
            *of_class = of_class.saturating_add(n);
        }
    }
}

fn status(value: &Value, path: &str) -> Option<u16> {
    count(value, &[path]).and_then(|code| u16::try_from(code).ok())
}

fn statistics(found: &mut Found, value: &Value) {
    for (theirs, ours) in METRICS {
        let Some(d) = at(value, theirs) else { continue };
        let unit = text(d, &["unit"]).unwrap_or_default();
        let get = |stat: &str| match stat {
            "mean" => number(d, &["avg"]),
            "p999" => number(d, &["p99.9", "p999"]),
            other => number(d, &[other]),
        };
        let n = count(d, &["count"]).unwrap_or(found.totals.ok);
        let d = distribution(n, times(&unit), get);
        found.put(ours, d);
    }
}

fn load(config: &Value) -> Asked {
    let cap = small(config, &["loadgen.concurrency"]);
    match number(config, &["loadgen.request_rate"]) {
        Some(qps) if qps > 0.0 => {
            let mode = text(config, &["loadgen.request_rate_mode", "loadgen.arrival_pattern"]);
            Asked::Rate { qps, arrivals: mode.filter(|mode| mode != "concurrency_burst"), cap }
        }
        _ => cap.map_or(Asked::Unknown, Asked::Users),
    }
}

fn listed(value: &Value, path: &str) -> Option<String> {
    at(value, path)?.get(0)?.as_str().map(str::to_owned)
}

fn api(word: &str) -> &str {
    match word {
        "chat" => "openai-chat",
        "completions" => "openai-completions",
        "embeddings" => "openai-embeddings",
        "rankings" | "rerank" => "openai-rerank",
        other => other,
    }
}

/// A length asked for of every request: one that varies is not it.
fn mean_without_spread(config: &Value, path: &str) -> Option<u32> {
    let spread = number(config, &[&format!("{path}.stddev")]).unwrap_or(0.0);
    small(config, &[&format!("{path}.mean")]).filter(|n| spread == 0.0 && *n > 0)
}

/// ISO 8601; without a zone it is taken for UTC.
fn moment(text: &str) -> Option<Timestamp> {
    text.parse().or_else(|_| format!("{text}Z").parse()).ok()
}

fn requests(found: &mut Found, content: &Content) -> Result<(), ImportError> {
    let begun = content.json.iter().filter_map(|v| at(v, "metadata.request_start_ns")?.as_u64()).min();
    let begun =
        begun.ok_or_else(|| content.wrong("line 1, metadata.request_start_ns", "a number", "none"))?;
    let turns = content.json.iter().any(|v| count(v, &["metadata.turn_index"]).unwrap_or(0) > 0);
    for (i, line) in content.json.iter().enumerate() {
        let Some(start) = at(line, "metadata.request_start_ns").and_then(Value::as_u64) else {
            let place = format!("line {}, metadata.request_start_ns", i + 1);
            return Err(content.wrong(&place, "a number", "none"));
        };
        let mut record = record(line, i as u64, start, begun);
        if turns {
            record.session = count(line, &["metadata.session_num"]);
            record.turn = small(line, &["metadata.turn_index"]);
        }
        if record.outcome == Outcome::Ok && record.phase == Phase::Measure {
            let gaps = at(line, "metrics.inter_chunk_latency.value").and_then(Value::as_array);
            let unit = text(line, &["metrics.inter_chunk_latency.unit"]).unwrap_or_default();
            let ms = gaps.into_iter().flatten().filter_map(Value::as_f64).map(|gap| gap * times(&unit));
            found.gaps_us.extend(ms.filter_map(|ms| micros(ms / 1e3)));
        }
        found.requests.push(record);
    }
    found.placed = true;
    let epoch = i64::try_from(begun / 1000).ok().and_then(|us| Timestamp::from_microsecond(us).ok());
    found.started_at = epoch.or(found.started_at);
    let measured = || found.requests.iter().filter(|r| r.phase == Phase::Measure);
    found.window_start_us = measured().filter_map(|r| r.sent_us).min().unwrap_or(0);
    if found.seconds.is_none() {
        let last = measured().filter_map(|r| r.end_us).max().unwrap_or(0);
        // The last end is in the window.
        found.seconds = Some((last.saturating_sub(found.window_start_us) + 1) as f64 / 1e6);
    }
    let good: Vec<&RequestRecord> = measured().filter(|r| r.outcome == Outcome::Ok).collect();
    let prompt = same(good.iter().map(|r| r.prompt_tokens_counted)).flatten();
    let output = same(good.iter().map(|r| r.output_tokens)).flatten();
    let tokens: u64 = good.iter().filter_map(|r| r.output_tokens).map(u64::from).sum();
    found.prompt_tokens = found.prompt_tokens.or(prompt);
    found.max_tokens = found.max_tokens.or(output);
    if !found.scalars.contains_key("output_tps")
        && let Some(seconds) = found.seconds.filter(|s| *s > 0.0)
    {
        found.put_scalar("output_tps", Some(tokens as f64 / seconds));
        found.put_scalar("whole_run_output_tps", Some(tokens as f64 / seconds));
    }
    Ok(())
}

fn record(line: &Value, seq: u64, start_ns: u64, begun_ns: u64) -> RequestRecord {
    let since = |ns: u64| ns.saturating_sub(begun_ns) / 1000;
    let stamp = |key: &str| at(line, &format!("metadata.{key}")).and_then(Value::as_u64).map(since);
    let sent = since(start_ns);
    let metric = |name: &str| {
        let unit = text(line, &[&format!("metrics.{name}.unit")]).unwrap_or_default();
        number(line, &[&format!("metrics.{name}.value")]).map(|x| x * times(&unit))
    };
    let after = |ms: Option<f64>| ms.and_then(|ms| sent.checked_add(micros(ms / 1e3)?));
    let tokens = |name: &str| metric(name).and_then(whole).and_then(|n| u32::try_from(n).ok());
    let ttft = metric("time_to_first_token");
    let mut record = RequestRecord {
        phase: match text(line, &["metadata.benchmark_phase"]).as_deref() {
            Some("warmup") => Phase::Warmup,
            _ => Phase::Measure,
        },
        intended_us: sent,
        sent_us: Some(sent),
        headers_us: stamp("request_ack_ns"),
        first_token_us: after(ttft),
        first_visible_us: after(metric("time_to_first_output_token")),
        second_chunk_us: after(ttft.zip(metric("time_to_second_token")).map(|(a, b)| a + b)),
        last_token_us: after(metric("request_latency")),
        end_us: stamp("request_end_ns"),
        prompt_tokens_counted: tokens("input_sequence_length").or_else(|| tokens("error_isl")),
        output_tokens: tokens("output_sequence_length").or_else(|| tokens("output_token_count")),
        outcome: Outcome::Ok,
        ..RequestRecord::blank(seq)
    };
    if let Some(error) = at(line, "error") {
        let words = [text(error, &["type"]), text(error, &["message"])];
        let words = words.into_iter().flatten().collect::<Vec<_>>().join(": ");
        failure::note(&mut record, &words, status(error, "code"));
    }
    if at(line, "metadata.was_cancelled").and_then(Value::as_bool) == Some(true) {
        record.outcome = Outcome::Cancelled;
    }
    record
}

/// The CSV's figures as the JSON has them: `Time to First Token (ms)` is
/// `time_to_first_token` with the unit `ms`.
fn from_csv(content: &Content) -> Result<Value, ImportError> {
    let mut metrics = Map::new();
    let mut columns: Vec<String> = Vec::new();
    for (line, row) in content.rows()? {
        let Some(label) = row.first().filter(|label| !label.is_empty()) else { continue };
        match label.as_str() {
            "Metric" => columns = row.clone(),
            // The servers' own figures come last.
            "Endpoint" => break,
            _ => {
                let (name, unit) = match label.rsplit_once(" (") {
                    Some((name, unit)) => (name, unit.trim_end_matches(')')),
                    None => (label.as_str(), ""),
                };
                let mut metric = BTreeMap::from([("unit".to_owned(), json!(unit))]);
                for (column, field) in columns.iter().zip(&row).skip(1).filter(|(_, f)| !f.is_empty()) {
                    let value: f64 = field.replace(',', "").parse().map_err(|_| {
                        content.wrong(&format!("line {line}, {column}"), "a number", &format!("{field:?}"))
                    })?;
                    let column = if column == "Value" { "avg" } else { column.as_str() };
                    metric.insert(column.to_owned(), json!(value));
                }
                metrics.insert(name.to_lowercase().replace(' ', "_"), json!(metric));
            }
        }
    }
    Ok(Value::Object(metrics))
}
