//! `test-run`: config, a summary in words, and the details of each request with its endpoint.
//! One file for each cell and repeat, named by when it began. All times are seconds; latencies
//! count from when a request was sent.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::figures::{error, json_bytes, ok, seconds, span_s};
use super::llm_metrics::dated;
use super::{ExportError, File, Input, Measured};
use crate::experiment::Target;
use crate::record::RequestRecord;
use crate::store::without_credentials;

pub(super) fn write(input: &Input) -> Result<Vec<File>, ExportError> {
    let mut taken = BTreeSet::new();
    let mut files = Vec::new();
    for measured in &input.cells {
        let requests = measured.measured()?;
        let content = json!({
            "config": config(measured),
            "summary": summary(measured, &requests),
            "details": requests.iter().map(|r| detail(measured, r)).collect::<Vec<_>>(),
        });
        files.push(File { name: dated("test_run", measured, &mut taken), bytes: json_bytes(&content) });
    }
    Ok(files)
}

/// In the layout of that tool's own file: one server, or several with weights.
fn config(measured: &Measured) -> Value {
    let settings = &measured.cell.settings;
    let server = |target: &Target, model: &str| json!({ "base_url": without_credentials(&target.url), "model_alias": model });
    let factor = |path: &str| measured.cell.factors.get(path).cloned().unwrap_or(Value::Null);
    let mut config = json!({
        "server": server(&settings.target, &measured.stored.model),
        "workload": {
            "users": factor("load.users"),
            "qps": factor("load.qps"),
            "duration_seconds": settings.cell.duration.map(|d| d.as_secs_f64()),
            "ramp_up_seconds": settings.cell.ramp.as_secs_f64(),
            "seed": measured.cell.seed,
        },
        "prompts": {
            "min_tokens": factor("workload.prompt_tokens"),
            "max_tokens": factor("workload.max_tokens"),
            "prefix": settings.workload.prefix,
        },
        "prometheus": { "enabled": false },
    });
    if !settings.parts.is_empty()
        && let Value::Object(map) = &mut config
    {
        let servers = settings.parts.iter().map(|part| {
            let mut one = server(&part.target, &part.target.model);
            one["name"] = json!(part.endpoint);
            one["task"] = json!(part.task);
            one["weight"] = json!(part.weight);
            one
        });
        map.insert("servers".to_owned(), servers.collect());
        map.remove("server");
    }
    config
}

fn detail(measured: &Measured, r: &RequestRecord) -> Value {
    let latency = latency(r);
    let tps = r.output_tokens.zip(latency.filter(|s| *s > 0.0)).map(|(n, s)| f64::from(n) / s);
    json!({
        "request_id": format!("{}-{}", measured.cell.index, r.seq),
        "endpoint": measured.endpoint(r),
        "start_ts": measured.unix_s(r.sent_us),
        "end_ts": measured.unix_s(r.end_us.or(r.last_token_us)),
        "ttft": seconds("ttft_service", r),
        "latency": latency,
        "output_tokens": r.output_tokens,
        "tps": tps,
        "error": error(r),
    })
}

/// Of a whole answer alone.
fn latency(r: &RequestRecord) -> Option<f64> {
    seconds("e2e_service", r).filter(|_| ok(r))
}

/// The test's summary as that tool prints it.
fn summary(measured: &Measured, requests: &[RequestRecord]) -> String {
    let summary = measured.summary();
    let good = requests.iter().filter(|r| ok(r)).count();
    let tokens: u64 = requests.iter().filter(|r| ok(r)).filter_map(|r| r.output_tokens).map(u64::from).sum();
    let duration = span_s(requests).filter(|s| *s > 0.0);
    let number = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "unknown".to_owned(), |v| format!("{v:.digits$}"))
    };
    let rate = |count: f64| number(duration.map(|s| count / s), 2);
    let mut text = format!(
        "=== Test Summary ===\nTotal Requests: {}\nSuccessful: {good}\nFailed: {}\nDuration: {}s\nRPS: {}\n\
         Global Throughput: {} tokens/sec\n",
        requests.len(),
        requests.len() - good,
        number(duration, 2),
        rate(requests.len() as f64),
        rate(tokens as f64),
    );
    for (title, metric) in [("Latency (s)", "e2e_service"), ("TTFT (s)", "ttft_service")] {
        let value = |stat| number(summary.value(metric, stat).map(|ms| ms / 1e3), 3);
        // Writing to a text never fails.
        let _ = write!(
            text,
            "\n=== {title} ===\nP50: {}\nP90: {}\nP99: {}\n",
            value("p50"),
            value("p90"),
            value("p99")
        );
    }
    text
}
