//! What formats compute of requests beside a cell's own summary.

use serde_json::{Value, json};

use crate::measure::{CellSummary, of_request};
use crate::record::{Outcome, RequestRecord};
use crate::stats::{Moments, quantile};

/// Samples in ascending order.
pub(super) struct Sample(Vec<f64>);

impl Sample {
    pub(super) fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_unstable_by(f64::total_cmp);
        Self(values)
    }

    /// Type 7; `None` without a sample.
    pub(super) fn quantile(&self, q: f64) -> Option<f64> {
        quantile(&self.0, q)
    }

    pub(super) fn mean(&self) -> Option<f64> {
        Moments::of(&self.0).mean()
    }
}

/// Whether the answer was whole.
pub(super) fn ok(r: &RequestRecord) -> bool {
    r.outcome == Outcome::Ok
}

/// Milliseconds from when it was sent to its end, well or badly.
pub(super) fn response_ms(r: &RequestRecord) -> Option<f64> {
    Some((r.end_us.or(r.last_token_us)? as f64 - r.sent_us? as f64) / 1e3)
}

/// A metric of a request in seconds.
pub(super) fn seconds(metric: &str, r: &RequestRecord) -> Option<f64> {
    of_request(metric, r).map(|ms| ms / 1e3)
}

/// Prompt tokens as the server said, else as counted here, else as asked.
pub(super) fn prompt_tokens(r: &RequestRecord) -> Option<u32> {
    let asked = Some(r.prompt_tokens_asked).filter(|n| *n > 0);
    r.prompt_tokens.or(r.prompt_tokens_counted).or(asked)
}

/// What went wrong, in words; `None` of a whole answer.
pub(super) fn error(r: &RequestRecord) -> Option<String> {
    if ok(r) {
        return None;
    }
    let class = r.error_class.as_deref().unwrap_or_else(|| r.outcome.name());
    Some(match &r.detail {
        Some(detail) => format!("{class}: {detail}"),
        None => class.to_owned(),
    })
}

/// Seconds from the first send of these requests to the last end; `None` if none was sent.
pub(super) fn span_s(requests: &[RequestRecord]) -> Option<f64> {
    let first = requests.iter().filter_map(|r| r.sent_us).min()?;
    let last = requests.iter().filter_map(|r| r.end_us.max(r.last_token_us)).max()?;
    Some(last.saturating_sub(first) as f64 / 1e6)
}

/// The statistics of a metric of the cell, in seconds.
pub(super) fn statistics_s(summary: &CellSummary, metric: &str) -> Value {
    let value = |stat| summary.value(metric, stat).map(|ms| ms / 1e3);
    json!({
        "mean": value("mean"),
        "min": value("min"),
        "p50": value("p50"),
        "p90": value("p90"),
        "p95": value("p95"),
        "p99": value("p99"),
        "max": value("max"),
    })
}

/// A CSV file of these rows. Memory takes every write.
pub(super) fn csv_bytes(rows: impl IntoIterator<Item = Vec<String>>) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    for row in rows {
        writer.write_record(row).expect("memory takes every write");
    }
    writer.into_inner().expect("memory takes every write")
}

/// A number of a CSV field; empty where it isn't known.
pub(super) fn field(value: Option<f64>) -> String {
    value.map(|v| v.to_string()).unwrap_or_default()
}

/// Indented JSON with a newline at the end.
pub(super) fn json_bytes(value: &Value) -> Vec<u8> {
    let mut bytes = format!("{value:#}").into_bytes();
    bytes.push(b'\n');
    bytes
}
