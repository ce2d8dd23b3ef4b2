//! `mooncake` and `trace-csv`: the arrivals that were due in the measured window, so that a run
//! can be replayed. Times count from the window's start, by when each was due.

use serde_json::json;

use super::figures::{csv_bytes, prompt_tokens};
use super::{ExportError, File, Input, Measured};
use crate::record::RequestRecord;

/// When it is due in milliseconds, and its lengths.
struct Arrival {
    at_ms: f64,
    prompt_tokens: Option<u32>,
    max_tokens: Option<u32>,
}

fn arrivals(measured: &Measured) -> Result<Vec<Arrival>, ExportError> {
    let start = measured.summary().window.start_us;
    let arrival = |r: &RequestRecord| Arrival {
        at_ms: r.intended_us.saturating_sub(start) as f64 / 1e3,
        prompt_tokens: Some(r.prompt_tokens_asked).filter(|n| *n > 0).or_else(|| prompt_tokens(r)),
        max_tokens: Some(r.max_tokens).filter(|n| *n > 0).or(r.output_tokens),
    };
    Ok(measured.measured()?.iter().map(arrival).collect())
}

/// A JSON line per request. Which blocks of prompts are shared isn't recorded: no hashes.
pub(super) fn mooncake(input: &Input) -> Result<Vec<File>, ExportError> {
    let file = |measured: &Measured| {
        let lines = arrivals(measured)?.into_iter().map(|a| {
            let line = json!({
                "timestamp": a.at_ms.round() as u64,
                "input_length": a.prompt_tokens,
                "output_length": a.max_tokens,
                "hash_ids": [],
            });
            format!("{line}\n")
        });
        let bytes = lines.collect::<String>().into_bytes();
        Ok(File { name: format!("{}.jsonl", measured.stem()), bytes })
    };
    input.cells.iter().map(file).collect()
}

/// `at_s,prompt_tokens,max_tokens`.
pub(super) fn csv(input: &Input) -> Result<Vec<File>, ExportError> {
    let number = |n: Option<u32>| n.map(|n| n.to_string()).unwrap_or_default();
    let file = |measured: &Measured| {
        let header = ["at_s", "prompt_tokens", "max_tokens"].map(str::to_owned).to_vec();
        let rows = arrivals(measured)?
            .into_iter()
            .map(|a| vec![(a.at_ms / 1e3).to_string(), number(a.prompt_tokens), number(a.max_tokens)]);
        let bytes = csv_bytes(std::iter::once(header).chain(rows));
        Ok(File { name: format!("{}-trace.csv", measured.stem()), bytes })
    };
    input.cells.iter().map(file).collect()
}
