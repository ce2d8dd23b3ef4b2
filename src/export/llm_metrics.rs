//! `llm-metrics`: what a Locust suite for LLMs keeps of a test: TTFT, TPOT, token counts and
//! throughput, in all and per request. One file for each cell and repeat, named by when it
//! began. All times are seconds, counted from when a request was sent.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::figures::{error, json_bytes, ok, prompt_tokens, seconds, statistics_s};
use super::public::public;
use super::{ExportError, File, Input, Measured};
use crate::record::RequestRecord;

pub(super) fn write(input: &Input) -> Result<Vec<File>, ExportError> {
    let mut taken = BTreeSet::new();
    let mut files = Vec::new();
    for measured in &input.cells {
        let content = json!({
            "timestamp": measured.summary().started_at,
            "tool": { "name": "plimsoll", "version": input.manifest.plimsoll },
            "run": measured.run,
            "cell": measured.cell.index,
            "repeat": measured.cell.repeat,
            "config": public(&measured.cell.settings),
            "summary": summary(measured),
            "requests": requests(measured)?,
        });
        files.push(File { name: dated("metrics", measured, &mut taken), bytes: json_bytes(&content) });
    }
    Ok(files)
}

/// `PREFIX_YYYYMMDD_HHMMSS.json` of the cell's beginning, UTC; the second of that name ends in
/// `_2`. Where the beginning isn't known, the cell's index stands there.
pub(super) fn dated(prefix: &str, measured: &Measured, taken: &mut BTreeSet<String>) -> String {
    let time = measured.epoch().map(|t| t.strftime("%Y%m%d_%H%M%S").to_string());
    let stem = format!("{prefix}_{}", time.unwrap_or_else(|| format!("{:04}", measured.cell.index)));
    let mut name = format!("{stem}.json");
    let mut n = 2;
    while !taken.insert(name.clone()) {
        name = format!("{stem}_{n}.json");
        n += 1;
    }
    name
}

fn summary(measured: &Measured) -> Value {
    let summary = measured.summary();
    let (counts, tokens) = (&summary.counts, &summary.tokens);
    json!({
        "total_requests": counts.attempted,
        "successful_requests": counts.ok,
        "failed_requests": counts.failed,
        "dropped_requests": counts.dropped,
        "unfinished_requests": counts.censored,
        "cancelled_requests": counts.cancelled,
        "error_rate": summary.value("error_rate", ""),
        "errors": counts.errors,
        "duration_seconds": Some(summary.window.seconds()).filter(|s| *s > 0.0),
        "ttft": statistics_s(summary, "ttft_service"),
        "tpot": statistics_s(summary, "tpot"),
        "response_time": statistics_s(summary, "e2e_service"),
        "tokens": {
            "prompt": tokens.prompt,
            "completion": tokens.output,
            "total": tokens.prompt + tokens.output,
        },
        "throughput": {
            "tokens_per_second": summary.value("output_tps", ""),
            "requests_per_second": summary.value("completed_rps", ""),
        },
        // The server's memory is nothing that a client sees.
        "memory_usage_mb": null,
    })
}

/// Null where the cell has no record of single requests.
fn requests(measured: &Measured) -> Result<Option<Vec<Value>>, ExportError> {
    if measured.records().is_none() {
        return Ok(None);
    }
    let requests = measured.measured()?;
    Ok(Some(requests.iter().map(|r| request(measured, r)).collect()))
}

fn request(measured: &Measured, r: &RequestRecord) -> Value {
    let total = seconds("e2e_service", r).filter(|_| ok(r));
    let per_second = r.output_tokens.zip(total.filter(|s| *s > 0.0)).map(|(n, s)| f64::from(n) / s);
    let prompt = prompt_tokens(r);
    json!({
        "timestamp": measured.unix_s(r.sent_us),
        "task": r.task,
        "endpoint": measured.endpoint(r),
        "success": ok(r),
        "error": error(r),
        "ttft": seconds("ttft_service", r),
        "tpot": seconds("tpot", r),
        "response_time": total,
        "prompt_tokens": prompt,
        "completion_tokens": r.output_tokens,
        "total_tokens": prompt.zip(r.output_tokens).map(|(p, o)| u64::from(p) + u64::from(o)),
        "tokens_per_second": per_second,
    })
}
