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

/// What is read of a record, in microseconds since the cell's epoch.
#[derive(Debug)]
pub struct Record {
    seq: u64,
    intended_us: u64,
    first_token_us: Option<u64>,
    last_token_us: Option<u64>,
    /// Due in the measured window.
    pub measured: bool,
    pub ok: bool,
}

/// The records of a cell as the client logged them: a line each, an array of the values of the
/// columns of `records.parquet` in their order (`docs/storage.md`).
pub fn records(log: &Path) -> io::Result<Vec<Record>> {
    let text = fs::read_to_string(log)
        .map_err(|e| io::Error::new(e.kind(), format!("the log of records was not to be had: {e}")))?;
    text.lines()
        .map(|line| record(line).ok_or_else(|| io::Error::other(format!("not a record: {line}"))))
        .collect()
}

fn record(line: &str) -> Option<Record> {
    let values: Vec<Value> = serde_json::from_str(line).ok()?;
    // Times rise along the line, so a column that has moved is noticed.
    let [seq, _, _, phase, intended, sent, _, first, _, _, last, end, ..] = &values[..] else { return None };
    let outcome = values.get(27)?.as_str()?;
    let measured = phase.as_str()? == "measure";
    let known: Vec<u64> = [intended, sent, first, last, end].iter().filter_map(|v| v.as_u64()).collect();
    known.is_sorted().then_some(())?;
    Some(Record {
        seq: seq.as_u64()?,
        intended_us: intended.as_u64()?,
        first_token_us: first.as_u64(),
        last_token_us: last.as_u64(),
        measured,
        ok: outcome == "ok",
    })
}

/// Join both accounts of the measured window by the request's id. A latency of the client is from when the request was
/// due; one of the server is from when its head had been read. Their difference is all that the
/// client and the way between add: both are durations, so no common epoch is needed.
pub fn errors(records: &[Record], truth: &[Value]) -> io::Result<Errors> {
    let by_id: HashMap<&str, &Value> =
        truth.iter().filter_map(|t| Some((t["request_id"].as_str()?, t))).collect();
    let mut errors = Errors { ttft: Vec::new(), e2e: Vec::new() };
    for record in records.iter().filter(|record| record.measured) {
        let both = || -> Option<(f64, f64)> {
            let truth = by_id.get(format!("plimsoll-0-{}", record.seq).as_str())?;
            let ours = |us: Option<u64>| Some((us? - record.intended_us) as f64 / 1e3);
            let theirs =
                |key: &str| Some((truth[key].as_u64()? - truth["arrival_ns"].as_u64()?) as f64 / 1e6);
            let ttft = ours(record.first_token_us)? - theirs("first_token_ns")?;
            Some((ttft.abs(), (ours(record.last_token_us)? - theirs("last_token_ns")?).abs()))
        };
        let missing =
            || io::Error::other(format!("the server's log or the client's lacks a stamp of {record:?}"));
        let (ttft, e2e) = both().ok_or_else(missing)?;
        errors.ttft.push(ttft);
        errors.e2e.push(e2e);
    }
    errors.ttft.sort_unstable_by(f64::total_cmp);
    errors.e2e.sort_unstable_by(f64::total_cmp);
    Ok(errors)
}

/// The smallest of sorted values that at least a share `q` of them doesn't exceed.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}
