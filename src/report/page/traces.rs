//! The slowest traced requests, with the way to their traces.

use serde::Serialize;

use crate::analysis::{AnalysisError, CellData, RunData, slowest_traced};
use crate::chart::{Repeats, figure};

/// Rows that are shown.
const MOST: usize = 20;

#[derive(Serialize)]
pub(in crate::report) struct Trace {
    /// Its cell's number, as people count them.
    cell: u32,
    label: String,
    request: u64,
    due: String,
    ttft: String,
    took: String,
    outcome: String,
    id: String,
    /// Where it leads; empty for nowhere.
    href: String,
}

/// A row for each of them; none where nothing was traced.
pub(in crate::report) fn traces(run: &RunData) -> Result<Vec<Trace>, AnalysisError> {
    let label = |index: u32| {
        let data: Vec<&CellData> = run.cells.iter().filter(|c| c.cell.index == index).collect();
        Repeats { cells: data }.label()
    };
    let number = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), figure);
    let all = slowest_traced(run, MOST)?.into_iter();
    Ok(all
        .map(|r| Trace {
            cell: r.cell_index + 1,
            label: label(r.cell_index),
            request: r.seq,
            due: figure(r.due_s),
            ttft: number(r.ttft_ms),
            took: number(r.took_ms),
            outcome: r.outcome,
            id: r.trace_id,
            href: r.link.unwrap_or_default(),
        })
        .collect())
}
