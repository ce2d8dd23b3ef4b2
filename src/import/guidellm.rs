//! guidellm's benchmarks.json: a cell for each benchmark. Its latencies count from when a
//! request was sent; its ITL is a request's mean gap, our TPOT, and its figures weigh it by
//! tokens. Requests are taken where the file has all of them.

use jiff::Timestamp;
use serde_json::Value;

use super::content::Content;
use super::look::{at, count, distribution, first, micros, number, same, small, text};
use super::{Asked, Found, ImportError, failure};
use crate::record::{EndedBy, Outcome, Phase, RequestRecord};

/// Their metric, ours, and what one of theirs is of ours.
const METRICS: [(&str, &str, f64); 6] = [
    ("time_to_first_token_ms", "ttft", 1.0),
    ("time_to_first_output_token_ms", "ttfv", 1.0),
    ("inter_token_latency_ms", "tpot", 1.0),
    ("request_latency", "e2e", 1000.0),
    ("prompt_token_count", "prompt_length", 1.0),
    ("output_token_count", "output_length", 1.0),
];

pub(super) fn recognise(content: &Content) -> bool {
    let benchmark = content.first().and_then(|v| at(v, "benchmarks")).and_then(|v| v.get(0));
    benchmark.is_some_and(|b| at(b, "metrics").is_some())
}

pub(super) fn read(content: &Content) -> Result<Vec<Found>, ImportError> {
    let report = content.first().ok_or_else(|| content.wrong("", "JSON", "none"))?;
    let Some(benchmarks) = at(report, "benchmarks").and_then(Value::as_array) else {
        return Err(content.wrong("benchmarks", "a list", &content.outline()));
    };
    let cell = |(i, benchmark): (usize, &Value)| {
        if !at(benchmark, "metrics").is_some_and(Value::is_object) {
            let found = benchmark.get("metrics").map_or_else(|| "nothing".to_owned(), Value::to_string);
            return Err(content.wrong(&format!("benchmarks[{i}].metrics"), "an object", &found));
        }
        Ok(cell(content, report, benchmark))
    };
    benchmarks.iter().enumerate().map(cell).collect()
}

fn cell(content: &Content, report: &Value, b: &Value) -> Found {
    const BEGIN: [&str; 4] = [
        "start_time",
        "scheduler_metrics.measure_start_time",
        "run_stats.start_time",
        "scheduler_metrics.start_time",
    ];
    const END: [&str; 4] = [
        "end_time",
        "scheduler_metrics.measure_end_time",
        "run_stats.end_time",
        "scheduler_metrics.end_time",
    ];
    let (begin, end) = (number(b, &BEGIN), number(b, &END));
    let begun = number(b, &["scheduler_metrics.request_start_time"]).filter(|t| *t > 0.0).or(begin);
    let mut found = Found {
        tool: "guidellm",
        version: text(report, &["metadata.guidellm_version", "guidellm_version"]),
        file: content.name.clone(),
        load: load(b),
        url: text(b, &["config.backend.target", "worker.backend_target"])
            .or_else(|| text(report, &["args.target", "config.spec.backend.target"])),
        api: Some("openai-chat".to_owned()).filter(|_| !completions(b, report)),
        model: text(b, &["config.backend.model", "worker.backend_model"])
            .or_else(|| text(report, &["args.model", "config.spec.backend.model"])),
        started_at: begun.and_then(timestamp),
        window_start_us: begin.zip(begun).and_then(|(b, a)| micros(b - a)).unwrap_or(0),
        seconds: number(b, &["duration"]).or(begin.zip(end).map(|(begin, end)| end - begin)),
        ended_by: Some(EndedBy::Duration),
        ..Found::default()
    };
    if completions(b, report) {
        found.api = Some("openai-completions".to_owned());
    }
    totals(&mut found, b);
    statistics(&mut found, b);
    if let Some(begun) = begun {
        requests(&mut found, b, begun);
    }
    found.tell_streams();
    if found.requests.is_empty() {
        let note = "guidellm's percentiles are the next sample's, without interpolation, and its ITL weighs requests by their tokens";
        found.notes.push(note.to_owned());
    }
    found
}

fn completions(b: &Value, report: &Value) -> bool {
    const WHERE: [&str; 3] =
        ["config.backend.request_format", "args.request_type", "config.spec.backend.request_format"];
    [b, report]
        .iter()
        .filter_map(|v| text(v, &WHERE))
        .any(|word| word.contains("completions") && !word.contains("chat") || word == "text_completions")
}

fn timestamp(unix_s: f64) -> Option<Timestamp> {
    Timestamp::from_microsecond(i64::try_from(micros(unix_s)?).ok()?).ok()
}

fn load(b: &Value) -> Asked {
    let Some(strategy) = first(b, &["config.strategy", "args.strategy", "scheduler.strategy"]) else {
        return Asked::Unknown;
    };
    let kind = text(strategy, &["type_", "kind"]).unwrap_or_default();
    let streams = small(strategy, &["streams", "max_concurrency"]);
    let rate = number(strategy, &["rate"]).filter(|rate| *rate > 0.0);
    match (kind.as_str(), rate) {
        ("synchronous", _) => Asked::Users(1),
        ("constant" | "poisson", Some(qps)) => Asked::Rate { qps, arrivals: Some(kind), cap: None },
        ("concurrent" | "throughput", _) => streams.map_or(Asked::Unknown, Asked::Users),
        _ => Asked::Unknown,
    }
}

fn totals(found: &mut Found, b: &Value) {
    let total = |status: &str| {
        let paths = [
            format!("metrics.request_totals.{status}"),
            format!("scheduler_metrics.requests_made.{status}"),
            format!("run_stats.requests_made.{status}"),
        ];
        count(b, &paths.each_ref().map(String::as_str))
    };
    let (ok, failed) = (total("successful").unwrap_or(0), total("errored").unwrap_or(0));
    let censored = total("incomplete").unwrap_or(0);
    (found.totals.ok, found.totals.failed, found.totals.censored) = (ok, failed, censored);
    let sum = |metric: &str| count(b, &[&format!("metrics.{metric}.successful.total_sum")]);
    found.totals.prompt_tokens = sum("prompt_token_count");
    found.totals.output_tokens = sum("output_token_count");
    let mean = |metric: &str| number(b, &[&format!("metrics.{metric}.successful.mean")]);
    found.put_scalar("completed_rps", mean("requests_per_second"));
    found.put_scalar("output_tps", mean("output_tokens_per_second"));
    found.put_scalar("whole_run_output_tps", mean("output_tokens_per_second"));
    found.put_scalar("prompt_tps", mean("prompt_tokens_per_second"));
    found.put_scalar("in_flight_mean", mean("request_concurrency"));
    found.put_scalar("in_flight_max", number(b, &["metrics.request_concurrency.successful.max"]));
    if ok + failed > 0 {
        found.put_scalar("error_rate", Some(failed as f64 / (ok + failed + censored) as f64));
    }
}

fn statistics(found: &mut Found, b: &Value) {
    for (theirs, ours, times) in METRICS {
        let Some(d) = at(b, &format!("metrics.{theirs}.successful")) else { continue };
        // 0 stands there for "no sample", as of an answer that was not streamed.
        if number(d, &["max"]).is_some_and(|max| max == 0.0) {
            continue;
        }
        let n = count(d, &["count"]).unwrap_or(0);
        let value = |stat: &str| match stat {
            "mean" | "min" | "max" => number(d, &[stat]),
            "std" => number(d, &["std_dev"]),
            "p50" => number(d, &["median", "percentiles.p50"]),
            other => number(d, &[&format!("percentiles.{other}")]),
        };
        // Weighted by tokens, its count is one of tokens.
        let n = if ours == "tpot" { found.totals.ok } else { n };
        let d = distribution(n, times, value);
        found.put(ours, d);
    }
}

/// The single requests, if the file has all of them with their times.
fn requests(found: &mut Found, b: &Value, begun: f64) {
    let open = matches!(found.load, Asked::Rate { .. });
    let mut records = Vec::new();
    let mut all_due = open;
    for (status, outcome) in
        [("successful", Outcome::Ok), ("incomplete", Outcome::Censored), ("errored", Outcome::HttpError)]
    {
        let list = at(b, &format!("requests.{status}")).and_then(Value::as_array);
        for request in list.into_iter().flatten() {
            let Some((mut record, due)) = record(request, records.len() as u64, begun) else { return };
            // In a closed loop the target time is no schedule.
            record.intended_us = due.filter(|_| open).or(record.sent_us).unwrap_or(0);
            all_due &= due.is_some();
            record.outcome = outcome;
            if outcome == Outcome::HttpError {
                failure::note(
                    &mut record,
                    &text(request, &["info.error", "error"]).unwrap_or_default(),
                    None,
                );
            }
            // Those before the measured time are its warm-up.
            if record.intended_us < found.window_start_us {
                record.phase = Phase::Warmup;
            }
            records.push(record);
        }
    }
    let good = records.iter().filter(|r| r.outcome == Outcome::Ok && r.phase == Phase::Measure);
    // The scheduler's own counts have the warm-up's requests in them.
    let of_measured = at(b, "metrics.request_totals.successful").is_some();
    let counted = records.iter().filter(|r| r.outcome == Outcome::Ok);
    let counted = if of_measured { good.clone().count() } else { counted.count() };
    let sampled = (counted as u64) < found.totals.ok;
    if records.is_empty() || sampled {
        return;
    }
    found.prompt_tokens = same(good.clone().map(|r| r.prompt_tokens)).flatten();
    found.max_tokens = same(good.map(|r| r.output_tokens)).flatten();
    (found.requests, found.placed, found.due_known) = (records, true, all_due);
}

/// A request, and when the schedule wanted it. `None` without the time of its sending.
fn record(request: &Value, seq: u64, begun: f64) -> Option<(RequestRecord, Option<u64>)> {
    let time = |paths: &[&str]| number(request, paths).and_then(|t| micros(t - begun));
    let sent = time(&["info.timings.request_start", "request_start_time", "start_time"])?;
    let due = time(&["info.timings.targeted_start"]).filter(|due| *due <= sent);
    let tokens = |paths: &[&str]| small(request, paths);
    let record = RequestRecord {
        sent_us: Some(sent),
        first_token_us: time(&[
            "info.timings.first_token_iteration",
            "info.timings.first_iteration",
            "first_token_time",
        ]),
        first_visible_us: time(&["info.timings.first_output_token_iteration"]),
        last_token_us: time(&[
            "info.timings.last_token_iteration",
            "info.timings.last_iteration",
            "last_token_time",
        ]),
        end_us: time(&["info.timings.request_end", "request_end_time", "end_time"]),
        prompt_tokens: tokens(&["prompt_tokens", "input_metrics.text_tokens"]),
        output_tokens: tokens(&["output_tokens", "output_metrics.text_tokens"]),
        turn: small(request, &["info.turn_index"]),
        ..RequestRecord::blank(seq)
    };
    Some((record, due))
}
