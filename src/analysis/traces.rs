//! The slowest requests of a run whose traces can be looked at.

use std::path::Path;

use serde_json::Value;

use super::{AnalysisError, CellData, Records, RunData};
use crate::experiment::Tracing;
use crate::record::Outcome;
use crate::store::EXPERIMENT;

/// A request that bore the name of a trace.
#[derive(Debug, Clone, PartialEq)]
pub struct TracedRequest {
    pub cell_index: u32,
    pub seq: u64,
    /// When it was due, in seconds since the cell's epoch.
    pub due_s: f64,
    pub ttft_ms: Option<f64>,
    /// Until its end, well or badly; `None`: it had not ended.
    pub took_ms: Option<f64>,
    pub outcome: String,
    pub trace_id: String,
    /// Where its trace can be looked at.
    pub link: Option<String>,
}

const COLUMNS: [&str; 7] =
    ["seq", "phase", "intended_us", "first_token_us", "end_us", "outcome", "error_class"];

/// The `most` slowest traced requests of a run that were due in a window, the slowest first; those
/// that had not ended before all others. Empty where nothing was traced: then no record is read.
///
/// # Errors
/// When records can't be read.
pub fn slowest_traced(run: &RunData, most: usize) -> Result<Vec<TracedRequest>, AnalysisError> {
    let Some(tracing) = tracing(run) else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for cell in &run.cells {
        all.extend(of_cell(cell, &tracing)?);
        sort(&mut all);
        all.truncate(most);
    }
    Ok(all)
}

fn sort(all: &mut [TracedRequest]) {
    let slow = |r: &TracedRequest| r.took_ms.unwrap_or(f64::INFINITY);
    all.sort_by(|a, b| slow(b).total_cmp(&slow(a)).then((a.cell_index, a.seq).cmp(&(b.cell_index, b.seq))));
}

/// What the run's own file says; `None` also where it can't be read any more.
fn tracing(run: &RunData) -> Option<Tracing> {
    let sets = run.manifest.get("set").and_then(Value::as_array).into_iter().flatten();
    let sets: Vec<String> = sets.filter_map(|set| set.as_str().map(str::to_owned)).collect();
    Tracing::of_experiment(Path::new(EXPERIMENT), &run.experiment, &sets).ok().flatten()
}

fn of_cell(cell: &CellData, tracing: &Tracing) -> Result<Vec<TracedRequest>, AnalysisError> {
    let Some(path) = &cell.records else { return Ok(Vec::new()) };
    let r = Records::read_with(path, &COLUMNS, &["trace_id"])?;
    if !r.has("trace_id") {
        return Ok(Vec::new());
    }
    let (seq, due, phase) = (r.counts("seq")?, r.counts("intended_us")?, r.words("phase")?);
    let (ttft, took) =
        (r.elapsed_ms("intended_us", "first_token_us")?, r.elapsed_ms("intended_us", "end_us")?);
    let (outcome, class) = (r.words("outcome")?, r.words("error_class")?);
    let traced = r.words("trace_id")?.into_iter().enumerate().filter_map(|(i, id)| Some((i, id?)));
    let measured = traced.filter(|(i, _)| phase[*i].as_deref() == Some("measure"));
    Ok(measured
        .map(|(i, trace_id)| TracedRequest {
            cell_index: cell.cell.index,
            seq: seq[i].unwrap_or_default(),
            due_s: due[i].unwrap_or_default() as f64 / 1e6,
            ttft_ms: ttft[i],
            took_ms: took[i].filter(|_| outcome[i].as_deref() != Some(Outcome::Censored.name())),
            outcome: class[i].clone().or_else(|| outcome[i].clone()).unwrap_or_default(),
            link: tracing.link_to(&trace_id),
            trace_id,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_come_first_and_those_that_never_ended_before_them() {
        let of = |seq: u64, took_ms: Option<f64>| TracedRequest {
            cell_index: 0,
            seq,
            due_s: 0.0,
            ttft_ms: None,
            took_ms,
            outcome: "ok".to_owned(),
            trace_id: String::new(),
            link: None,
        };
        let mut all = [of(0, Some(5.0)), of(1, None), of(2, Some(9.0)), of(3, Some(5.0))];
        sort(&mut all);
        assert_eq!(all.iter().map(|r| r.seq).collect::<Vec<_>>(), [1, 2, 0, 3]);
    }
}
