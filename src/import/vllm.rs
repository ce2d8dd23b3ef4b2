//! vLLM's serving benchmark: one result, or several one after the other. Times are seconds from
//! when a request was sent; figures are milliseconds.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::content::Content;
use super::look::{at, count, distribution, micros, number, same, small, text};
use super::{Asked, Found, ImportError, failure};
use crate::record::{EndedBy, Outcome, RequestRecord};

/// Their metric and ours.
const METRICS: [(&str, &str); 4] =
    [("ttft", "ttft"), ("tpot", "tpot"), ("itl", "chunk_gap"), ("e2el", "e2e")];

pub(super) fn recognise(content: &Content) -> bool {
    let has = |value: &Value| at(value, "request_throughput").is_some() && at(value, "completed").is_some();
    results(content).next().is_some_and(has)
}

fn results(content: &Content) -> impl Iterator<Item = &Value> {
    content.json.iter().flat_map(|value| match value {
        Value::Array(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    })
}

pub(super) fn read(content: &Content) -> Result<Vec<Found>, ImportError> {
    results(content).enumerate().map(|(i, value)| cell(content, i, value)).collect()
}

fn cell(content: &Content, i: usize, value: &Value) -> Result<Found, ImportError> {
    for key in ["duration", "completed"] {
        if number(value, &[key]).is_none() {
            let found = value.get(key).map_or_else(|| "nothing".to_owned(), Value::to_string);
            return Err(content.wrong(&format!("result {}, {key}", i + 1), "a number", &found));
        }
    }
    let seconds = number(value, &["duration"]);
    let mut found = Found {
        tool: "vllm",
        version: text(value, &["vllm_version", "version"]),
        file: content.name.clone(),
        load: load(value),
        burstiness: number(value, &["burstiness"]).filter(|shape| *shape != 1.0),
        url: text(value, &["base_url", "api_url"]),
        api: text(value, &["endpoint_type", "backend"]).map(|word| api(&word).to_owned()),
        model: text(value, &["model_id", "served_model_name"]),
        started_at: started_at(value, seconds),
        seconds,
        ended_by: Some(EndedBy::Requests),
        ..Found::default()
    };
    totals(&mut found, value);
    statistics(&mut found, value);
    requests(&mut found, content, value)?;
    found.tell_streams();
    Ok(found)
}

/// Without a rate, as many at a time as the cap, or all at once.
fn load(value: &Value) -> Asked {
    let cap = small(value, &["max_concurrency"]);
    match number(value, &["request_rate"]).filter(|qps| *qps > 0.0) {
        Some(qps) => Asked::Rate { qps, arrivals: arrivals(value), cap },
        None => cap.or_else(|| small(value, &["num_prompts"])).map_or(Asked::Unknown, Asked::Users),
    }
}

/// A burstiness of 1 is Poisson's process; others are a gamma distribution's.
fn arrivals(value: &Value) -> Option<String> {
    let burstiness = number(value, &["burstiness"])?;
    Some(if burstiness == 1.0 { "poisson" } else { "gamma" }.to_owned())
}

fn api(word: &str) -> &str {
    match word {
        "openai" | "vllm" | "openai-completions" => "openai-completions",
        other if other.contains("chat") => "openai-chat",
        other if other.contains("embed") => "openai-embeddings",
        other => other,
    }
}

/// The date is that of the end, by the clock on the wall there; it is taken for UTC.
fn started_at(value: &Value, seconds: Option<f64>) -> Option<Timestamp> {
    let date = text(value, &["date"])?;
    let end = DateTime::strptime("%Y%m%d-%H%M%S", date).ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
    end.checked_sub(SignedDuration::try_from_secs_f64(seconds?).ok()?).ok()
}

fn totals(found: &mut Found, value: &Value) {
    let ok = count(value, &["completed"]).unwrap_or(0);
    let missing = count(value, &["num_prompts"]).map(|all| all.saturating_sub(ok));
    let failed = count(value, &["failed"]).or(missing);
    found.totals.ok = ok;
    found.totals.failed = failed.unwrap_or(0);
    found.totals.prompt_tokens = count(value, &["total_input_tokens"]);
    found.totals.output_tokens = count(value, &["total_output_tokens"]);
    let output = number(value, &["output_throughput"]);
    found.put_scalar("completed_rps", number(value, &["request_throughput"]));
    found.put_scalar("output_tps", output);
    found.put_scalar("whole_run_output_tps", output);
    let all = number(value, &["total_token_throughput"]);
    found.put_scalar("prompt_tps", all.zip(output).map(|(all, output)| all - output));
    found.put_scalar("goodput_rps", number(value, &["request_goodput"]));
    found.put_scalar("in_flight_max", number(value, &["max_concurrent_requests"]));
    if let Some(failed) = failed.filter(|failed| ok + failed > 0) {
        found.put_scalar("error_rate", Some(failed as f64 / (ok + failed) as f64));
    }
}

fn statistics(found: &mut Found, value: &Value) {
    let n = found.totals.ok;
    for (theirs, ours) in METRICS {
        let get = |stat: &str| number(value, &[&format!("{stat}_{theirs}_ms")]);
        // 0 stands there for "no sample", as of an answer that was not streamed.
        if get("mean").is_none_or(|mean| mean == 0.0) {
            continue;
        }
        // How many gaps there were isn't said.
        let samples = if ours == "chunk_gap" { 0 } else { n };
        // Theirs divides by n.
        let unbiased = if samples > 1 { (n as f64 / (n as f64 - 1.0)).sqrt() } else { 1.0 };
        let own = |stat: &str| match stat {
            "p50" => get("median").or_else(|| get("p50")),
            "p999" => get("p99.9"),
            "std" => get("std").map(|std| std * unbiased),
            "min" | "max" => None,
            other => get(other),
        };
        let d = distribution(samples, 1.0, own);
        found.put(ours, d);
    }
}

/// The arrays of `--save-detailed`.
fn requests(found: &mut Found, content: &Content, value: &Value) -> Result<(), ImportError> {
    let array = |key: &str| value.get(key).and_then(Value::as_array);
    let (Some(inputs), Some(_)) = (array("input_lens"), array("ttfts")) else { return Ok(()) };
    for key in ["output_lens", "ttfts", "itls", "latencies", "start_times", "errors"] {
        if let Some(other) = array(key).filter(|other| other.len() != inputs.len()) {
            let expected = format!("{} values, as input_lens has", inputs.len());
            return Err(content.wrong(key, &expected, &other.len().to_string()));
        }
    }
    let item = |key: &str, i: usize| array(key).and_then(|all| all.get(i));
    let seconds = |key: &str, i: usize| item(key, i).and_then(Value::as_f64);
    let starts = (0..inputs.len()).filter_map(|i| seconds("start_times", i));
    let first = starts.fold(f64::INFINITY, f64::min);
    let mut all_placed = true;
    for (i, input) in inputs.iter().enumerate() {
        let error = item("errors", i).and_then(Value::as_str).unwrap_or_default();
        let tokens = item("output_lens", i).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
        let good = error.is_empty() && tokens.is_some_and(|n| n > 0);
        let gaps: Vec<f64> = item("itls", i)
            .and_then(Value::as_array)
            .map(|gaps| gaps.iter().filter_map(Value::as_f64).collect())
            .unwrap_or_default();
        let ttft = seconds("ttfts", i).filter(|t| *t > 0.0);
        let with_gaps = item("itls", i).is_some_and(Value::is_array);
        let latency =
            seconds("latencies", i).or_else(|| Some(ttft? + gaps.iter().sum::<f64>()).filter(|_| with_gaps));
        let sent = seconds("start_times", i).map(|t| t - first);
        all_placed &= sent.is_some() && (latency.is_some() || !good);
        let mut record = RequestRecord::blank(i as u64);
        place(&mut record, sent.unwrap_or(0.0), ttft, latency.filter(|_| good), &gaps);
        record.prompt_tokens_counted = input.as_u64().and_then(|n| u32::try_from(n).ok());
        record.output_tokens = tokens.filter(|_| good);
        if good {
            record.outcome = Outcome::Ok;
            found.gaps_us.extend(gaps.iter().filter_map(|gap| micros(*gap)));
        } else {
            failure::note(&mut record, error, None);
        }
        found.requests.push(record);
    }
    found.placed = all_placed;
    found.prompt_tokens = same(found.requests.iter().map(|r| r.prompt_tokens_counted)).flatten();
    let good = found.requests.iter().filter(|r| r.outcome == Outcome::Ok);
    found.max_tokens = same(good.map(|r| r.output_tokens)).flatten();
    Ok(())
}

/// Put what happened at its times, in seconds since the epoch and from sending.
fn place(r: &mut RequestRecord, sent: f64, ttft: Option<f64>, latency: Option<f64>, gaps: &[f64]) {
    let when = |after: f64| micros(sent + after);
    r.sent_us = micros(sent);
    r.intended_us = r.sent_us.unwrap_or(0);
    r.first_token_us = ttft.and_then(when);
    r.second_chunk_us = ttft.zip(gaps.first()).and_then(|(ttft, gap)| when(ttft + gap));
    r.last_token_us = latency.and_then(when);
    r.end_us = r.last_token_us;
    r.max_gap_us = gaps.iter().copied().reduce(f64::max).and_then(micros);
    if ttft.is_some() && !gaps.is_empty() {
        r.chunks = u32::try_from(gaps.len() + 1).unwrap_or(u32::MAX);
        r.chunks_in_window = r.chunks;
    }
}
