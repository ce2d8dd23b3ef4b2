//! The client's latencies held against the server's own log, request by request.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use serde_json::Value;

/// How far each request's figure is from the server's, in ms; sorted, without sign.
#[derive(Debug)]
pub struct Errors {
    pub ttft: Vec<f64>,
    pub e2e: Vec<f64>,
}

/// The records of a cell as the client wrote them.
pub fn records(log: &Path) -> io::Result<Vec<Value>> {
    let text = fs::read_to_string(log)
        .map_err(|e| io::Error::new(e.kind(), format!("the log of records was not to be had: {e}")))?;
    text.lines().map(|line| serde_json::from_str(line).map_err(io::Error::other)).collect()
}

/// Join both accounts by the request's id. A latency of the client is from when the request was
/// due; one of the server is from when its head had been read. Their difference is all that the
/// client and the way between add: both read durations, so no common epoch is needed.
pub fn errors(records: &[Value], truth: &[Value]) -> io::Result<Errors> {
    let by_id: HashMap<&str, &Value> =
        truth.iter().filter_map(|t| Some((t["request_id"].as_str()?, t))).collect();
    let mut errors = Errors { ttft: Vec::new(), e2e: Vec::new() };
    for record in records {
        let seq = &record["seq"];
        let truth = by_id.get(format!("plimsoll-0-{seq}").as_str());
        let truth = truth.ok_or_else(|| io::Error::other(format!("the server knows of no request {seq}")))?;
        let error = |stamp: &str, theirs: &str| -> io::Result<f64> {
            let ours = since(record, "intended_us", stamp)? * 1e3;
            Ok((ours - since(truth, "arrival_ns", theirs)?).abs() / 1e6)
        };
        errors.ttft.push(error("first_token_us", "first_token_ns")?);
        errors.e2e.push(error("last_token_us", "last_token_ns")?);
    }
    errors.ttft.sort_unstable_by(f64::total_cmp);
    errors.e2e.sort_unstable_by(f64::total_cmp);
    Ok(errors)
}

fn since(of: &Value, from: &str, to: &str) -> io::Result<f64> {
    let at = |key: &str| of[key].as_u64().ok_or_else(|| io::Error::other(format!("no {key} in {of}")));
    Ok(at(to)?.saturating_sub(at(from)?) as f64)
}

/// The smallest of sorted values that at least a share `q` of them doesn't exceed.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}
