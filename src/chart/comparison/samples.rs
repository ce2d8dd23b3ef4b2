//! Latencies of single requests, for drawing and for the shift function.

use crate::analysis::{AnalysisError, CellData, RunData};
use crate::measure::Verdict;
use crate::plan::CellId;

/// Most latencies of one repeat that are kept: evenly spaced in rank, the greatest among them.
const KEPT: usize = 20_000;

/// Latencies of one cell on both sides, a vector per repeat, each ascending, in milliseconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples {
    pub cell: String,
    /// The cell in words.
    pub label: String,
    pub ttft: Pair,
    pub e2e: Pair,
    /// Whether repeat `i` of the one side has the seed and workload of repeat `i` of the other.
    pub paired: bool,
}

/// Samples of one metric by side and repeat.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pair {
    pub base: Vec<Vec<f64>>,
    pub cand: Vec<Vec<f64>>,
}

impl Samples {
    /// Of `ttft` or `e2e`.
    #[must_use]
    pub fn of(&self, metric: &str) -> &Pair {
        if metric == "ttft" { &self.ttft } else { &self.e2e }
    }
}

/// `None` where a side has no believable repeat with records.
pub(super) fn read(
    id: &CellId,
    label: &str,
    base: &RunData,
    cand: &RunData,
) -> Result<Option<Samples>, AnalysisError> {
    let (mut ours, mut theirs) = (repeats(base, id), repeats(cand, id));
    let pairs: Vec<(&CellData, &CellData)> =
        ours.iter().filter_map(|a| Some((*a, *theirs.iter().find(|b| is_pair(a, b))?))).collect();
    // Two pairs are the least of which anything can be said; else each side stands for itself.
    let paired = pairs.len() >= 2 || (pairs.len() == 1 && ours.len() == 1 && theirs.len() == 1);
    if paired {
        (ours, theirs) = pairs.into_iter().unzip();
    }
    if ours.is_empty() || theirs.is_empty() {
        return Ok(None);
    }
    let (base, cand) = (side(&ours)?, side(&theirs)?);
    let (Some((base_ttft, base_e2e)), Some((cand_ttft, cand_e2e))) = (base, cand) else { return Ok(None) };
    Ok(Some(Samples {
        cell: id.0.clone(),
        label: label.to_owned(),
        ttft: Pair { base: base_ttft, cand: cand_ttft },
        e2e: Pair { base: base_e2e, cand: cand_e2e },
        paired,
    }))
}

fn is_pair(a: &CellData, b: &CellData) -> bool {
    let hash = |c: &CellData| c.summary.as_ref().map(|s| s.workload_hash.clone());
    a.cell.seed == b.cell.seed && hash(a) == hash(b)
}

/// Repeats that can be believed and have records.
fn repeats<'a>(run: &'a RunData, id: &CellId) -> Vec<&'a CellData> {
    let believable = |c: &CellData| {
        c.summary.as_ref().is_some_and(|s| s.validity.verdict != Verdict::Invalid) && c.records.is_some()
    };
    run.cells.iter().filter(|c| c.cell.id == *id && believable(c)).collect()
}

type Latencies = (Vec<Vec<f64>>, Vec<Vec<f64>>);

/// TTFT and end-to-end latency of each repeat; `None` where no request was answered.
fn side(repeats: &[&CellData]) -> Result<Option<Latencies>, AnalysisError> {
    // One step for all repeats of a side, so that each request weighs the same.
    let most = repeats.iter().filter_map(|c| c.summary.as_ref()).map(|s| s.counts.ok).max().unwrap_or(0);
    let every = (most as usize).div_ceil(KEPT).max(1);
    let (mut ttft, mut e2e) = (Vec::new(), Vec::new());
    for cell in repeats {
        let Some(of) = cell.samples(&["ttft", "e2e"])? else { continue };
        for (into, values) in [&mut ttft, &mut e2e].into_iter().zip(of) {
            into.push(thin(values, every));
        }
    }
    let any = e2e.iter().chain(&ttft).any(|v| !v.is_empty());
    Ok(any.then_some((ttft, e2e)))
}

/// Ascending, every `every`-th from the greatest down.
pub(super) fn thin(mut values: Vec<f64>, every: usize) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    if every <= 1 {
        return values;
    }
    let mut kept: Vec<f64> = values.iter().rev().step_by(every).copied().collect();
    kept.reverse();
    kept
}
