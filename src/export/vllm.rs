//! `vllm`: the result file of vLLM's serving benchmark, one for each cell and repeat.
//!
//! Its times count from when a request was sent, its duration from the first send to the last
//! end of the requests given here: those due in the measured window. Its standard deviations
//! divide by n.

use serde_json::{Map, Value, json};

use super::figures::{error, json_bytes, ok, prompt_tokens, seconds, span_s};
use super::{ExportError, File, Input, Measured};
use crate::measure::CellSummary;
use crate::record::{Outcome, RequestRecord};

/// Their metric and ours.
const METRICS: [(&str, &str); 4] =
    [("ttft", "ttft_service"), ("tpot", "tpot"), ("itl", "chunk_gap"), ("e2el", "e2e_service")];
/// Their statistic and ours.
const PERCENTILES: [(&str, &str); 5] =
    [("p75", "p75"), ("p90", "p90"), ("p95", "p95"), ("p99", "p99"), ("p99.9", "p999")];

pub(super) fn write(input: &Input) -> Result<Vec<File>, ExportError> {
    let file = |measured: &Measured| {
        let requests = measured.measured()?;
        let mut result = head(measured, requests.len());
        totals(&mut result, measured, &requests);
        arrays(&mut result, &requests);
        statistics(&mut result, measured.summary());
        Ok(File { name: format!("{}.json", measured.stem()), bytes: json_bytes(&Value::Object(result)) })
    };
    input.cells.iter().map(file).collect()
}

/// What was asked.
fn head(measured: &Measured, requests: usize) -> Map<String, Value> {
    let settings = &measured.cell.settings;
    let backend = match settings.target.api.as_str() {
        "openai-completions" => "openai",
        other => other,
    };
    let qps = measured.number("load.qps");
    let burstiness = match measured.arrivals().as_deref() {
        Some("poisson") => Some(1.0),
        _ => None,
    };
    // The file bears the time at which it was written.
    let ended = measured.summary().ended_at.parse::<jiff::Timestamp>().ok();
    let date = ended.map(|t| t.strftime("%Y%m%d-%H%M%S").to_string());
    object(json!({
        "date": date,
        "endpoint_type": backend,
        "backend": backend,
        "label": format!("plimsoll {} cell {}", measured.run, measured.cell.index),
        "model_id": measured.stored.model,
        "tokenizer_id": null,
        "num_prompts": requests,
        "request_rate": qps.map_or_else(|| json!("inf"), |qps| json!(qps)),
        "burstiness": burstiness,
        "max_concurrency": measured.number("load.users").map(|users| users as u64),
    }))
}

fn totals(result: &mut Map<String, Value>, measured: &Measured, requests: &[RequestRecord]) {
    let (summary, limited) = (measured.summary(), !measured.cell.settings.slo.request.is_empty());
    let good: Vec<&RequestRecord> = requests.iter().filter(|r| ok(r)).collect();
    let prompt: u64 = good.iter().filter_map(|r| prompt_tokens(r)).map(u64::from).sum();
    let output: u64 = good.iter().filter_map(|r| r.output_tokens).map(u64::from).sum();
    let duration = span_s(requests).filter(|s| *s > 0.0);
    let rate = |count: f64| duration.map(|s| count / s);
    // What attainment is a share of: a request that was cut off on purpose is none.
    let judged = requests.iter().filter(|r| r.outcome != Outcome::Cancelled).count();
    // Only where a limit was set is there something to be good by.
    let met = if limited { summary.value("attainment", "") } else { None };
    result.extend(object(json!({
        "duration": duration,
        "completed": good.len(),
        "failed": requests.len() - good.len(),
        "total_input_tokens": prompt,
        "total_output_tokens": output,
        "request_throughput": rate(good.len() as f64),
        "request_goodput": met.and_then(|share| rate(share * judged as f64)),
        "output_throughput": rate(output as f64),
        "total_token_throughput": rate((prompt + output) as f64),
        "max_output_tokens_per_s": null,
        "max_concurrent_requests": summary.value("in_flight_max", "").map(|n| n as u64),
    })));
}

/// A value per request. The gaps between its chunks are kept for the cell as a whole only.
fn arrays(result: &mut Map<String, Value>, requests: &[RequestRecord]) {
    let first = requests.iter().filter_map(|r| r.sent_us).min().unwrap_or(0);
    let start = |r: &RequestRecord| r.sent_us.map(|t| (t - first) as f64 / 1e6);
    let all = |value: &dyn Fn(&RequestRecord) -> Value| requests.iter().map(value).collect::<Vec<_>>();
    result.extend(object(json!({
        "input_lens": all(&|r| json!(prompt_tokens(r))),
        "output_lens": all(&|r| json!(r.output_tokens)),
        "ttfts": all(&|r| json!(seconds("ttft_service", r))),
        "itls": null,
        "latencies": all(&|r| json!(seconds("e2e_service", r).filter(|_| ok(r)))),
        "start_times": all(&|r| json!(start(r))),
        "generated_texts": null,
        "errors": all(&|r| json!(error(r).unwrap_or_default())),
    })));
}

fn statistics(result: &mut Map<String, Value>, summary: &CellSummary) {
    for (theirs, ours) in METRICS {
        let Some(found) = summary.distributions.get(ours) else { continue };
        let n = found.n as f64;
        let mut put = |stat: &str, value: Option<f64>| {
            result.insert(format!("{stat}_{theirs}_ms"), json!(value));
        };
        put("mean", found.stat("mean"));
        put("median", found.stat("p50"));
        // That of a histogram, as of the gaps, divides by n already.
        let biased = if ours == "chunk_gap" || n < 1.0 { 1.0 } else { ((n - 1.0) / n).sqrt() };
        put("std", found.stat("std").map(|std| std * biased));
        for (stat, ours) in PERCENTILES {
            put(stat, found.stat(ours));
        }
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
