//! `llm-bench`: the summary CSV of fw-ai's llm_bench, a row per cell and repeat.
//!
//! Times are milliseconds from when a request was sent, `Qps` is what was completed in the
//! window, and every row has every column: nothing shifts. Its `Latency Per Token` divides the
//! time after the first token by all tokens, so it is made from the requests; without records it
//! stays empty.

use serde_json::Value;

use super::figures::{Sample, csv_bytes, field, ok};
use super::{ExportError, File, Input, Measured};
use crate::record::RequestRecord;

const HEADER: [&str; 26] = [
    "Provider",
    "Model",
    "Prompt Tokens",
    "Generation Tokens",
    "Completion Tokens",
    "Stream",
    "Temperature",
    "Logprobs",
    "Concurrency",
    "Time To First Token",
    "Latency Per Token",
    "Overall Latency Per Token",
    "Total Latency",
    "Num Tokens",
    "Num Requests",
    "Qps",
    "P50 Time To First Token",
    "P90 Time To First Token",
    "P95 Time To First Token",
    "P99 Time To First Token",
    "P99.9 Time To First Token",
    "P50 Total Latency",
    "P90 Total Latency",
    "P95 Total Latency",
    "P99 Total Latency",
    "P99.9 Total Latency",
];

const PERCENTILES: [&str; 5] = ["p50", "p90", "p95", "p99", "p999"];

pub(super) fn write(input: &Input) -> Result<Vec<File>, ExportError> {
    let mut rows = vec![HEADER.map(str::to_owned).to_vec()];
    for measured in &input.cells {
        rows.push(row(measured)?);
    }
    Ok(vec![File { name: format!("{}-llm-bench.csv", input.manifest.run), bytes: csv_bytes(rows) }])
}

fn row(measured: &Measured) -> Result<Vec<String>, ExportError> {
    let summary = measured.summary();
    let workload = &measured.cell.settings.workload;
    let value = |metric: &str, stat: &str| field(summary.value(metric, stat));
    let sampling = |key: &str| workload.sampling.get(key).map(python).unwrap_or_default();
    let (per_token, overall) = per_token(measured)?;
    let mut row = vec![
        measured.cell.settings.target.api.clone(),
        measured.stored.model.clone(),
        value("prompt_length", "mean"),
        field(asked(measured)),
        value("output_length", "mean"),
        python(&Value::from(workload.stream)),
        sampling("temperature"),
        sampling("logprobs"),
        concurrency(measured),
        value("ttft_service", "mean"),
        field(per_token),
        field(overall),
        value("e2e_service", "mean"),
        value("output_length", "mean"),
        summary.counts.ok.to_string(),
        value("completed_rps", ""),
    ];
    for metric in ["ttft_service", "e2e_service"] {
        row.extend(PERCENTILES.iter().map(|stat| value(metric, stat)));
    }
    Ok(row)
}

/// The output length asked for: the factor where it is a number, else a distribution's mean.
fn asked(measured: &Measured) -> Option<f64> {
    let factor = measured.cell.factors.get("workload.max_tokens")?;
    factor.as_f64().or_else(|| factor.get("mean")?.as_f64())
}

/// `8`, or `QPS 20.0 constant`, in its words.
fn concurrency(measured: &Measured) -> String {
    let Some(qps) = measured.number("load.qps") else {
        return field(measured.number("load.users"));
    };
    let spacing = measured.arrivals().unwrap_or_default();
    let spacing = if spacing == "poisson" { "exponential" } else { &spacing };
    format!("QPS {qps:?} {spacing}")
}

/// Means over the good answers: time after the first token by tokens, whole time by tokens.
fn per_token(measured: &Measured) -> Result<(Option<f64>, Option<f64>), ExportError> {
    if measured.records().is_none() {
        return Ok((None, None));
    }
    let good: Vec<RequestRecord> = measured.measured()?.into_iter().filter(ok).collect();
    let by_tokens = |from: fn(&RequestRecord) -> Option<u64>| {
        let value = |r: &RequestRecord| {
            let tokens = r.output_tokens.filter(|n| *n > 0)?;
            Some((r.last_token_us? as f64 - from(r)? as f64) / 1e3 / f64::from(tokens))
        };
        Sample::of(good.iter().filter_map(value)).mean()
    };
    Ok((by_tokens(|r| r.first_token_us), by_tokens(|r| r.sent_us)))
}

/// A value as Python prints it.
fn python(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
