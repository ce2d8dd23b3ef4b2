//! Which cells needn't run as a lighter one was hopeless.

use std::collections::{BTreeMap, BTreeSet};

use crate::analysis::words;
use crate::experiment::Load;
use crate::measure::{CellSummary, OVERLOAD, SloStatus, SloVerdict, Verdict};
use crate::metrics::{Better, Unit, metric};
use crate::plan::{Cell, Plan};
use crate::store::RunDir;

/// A figure so many times its limit is beyond it by far.
const FAR: f64 = 2.0;

/// What the finished cells of grids that prune say.
pub(super) struct Pruning {
    /// Cells that may be skipped.
    cells: BTreeSet<u32>,
    /// Finished cells: why each is hopeless, or that it isn't.
    judged: BTreeMap<u32, Option<String>>,
}

impl Pruning {
    pub(super) fn new(plan: &Plan, run: &RunDir) -> Self {
        let cells: BTreeSet<u32> = plan.pruned.iter().copied().collect();
        let mut pruning = Self { cells, judged: BTreeMap::new() };
        for cell in &plan.cells {
            if pruning.cells.contains(&cell.index)
                && let Ok(Some(stored)) = run.summary(cell)
            {
                pruning.note(cell, &stored.summary);
            }
        }
        pruning
    }

    /// A cell has finished.
    pub(super) fn note(&mut self, cell: &Cell, summary: &CellSummary) {
        if self.cells.contains(&cell.index) {
            self.judged.insert(cell.index, hopeless(summary));
        }
    }

    /// Why `cell` needn't run: a lighter cell, otherwise the same, was hopeless in every repeat
    /// that is done, of which there is at least one.
    pub(super) fn speaks_against(&self, plan: &Plan, cell: &Cell) -> Option<String> {
        let load = load(cell).filter(|_| self.cells.contains(&cell.index))?;
        let lighter = self.judged.iter().filter_map(|(index, why)| {
            let other = plan.cells.get(*index as usize)?;
            (self::load(other)? < load && alike(other, cell)).then_some((other, why))
        });
        let mut levels: BTreeMap<&str, (&Cell, Option<&String>, bool)> = BTreeMap::new();
        for (other, why) in lighter {
            let level = levels.entry(&other.id.0).or_insert((other, why.as_ref(), true));
            level.2 &= why.is_some();
        }
        let (other, why, _) = levels.into_values().find(|(.., all)| *all)?;
        let level = words::level(axis(other), self::load(other)?);
        Some(format!("hopeless already at {level}: {}", why?))
    }
}

/// Classes of failures in which no server was heard.
const UNHEARD: [&str; 3] = ["connect", "timeout_connect", "reset"];

/// Why nothing heavier than this cell can be within the SLO; `None` where it may.
fn hopeless(summary: &CellSummary) -> Option<String> {
    if summary.counts.ok == 0 && summary.counts.sent > 0 {
        // Where nobody was there to say no, it isn't the load that was too much.
        let unheard: u64 = UNHEARD.iter().filter_map(|class| summary.counts.errors.get(*class)).sum();
        return (unheard < summary.counts.sent).then(|| "no request was answered".to_owned());
    }
    if summary.validity.verdict == Verdict::Invalid {
        return None;
    }
    if summary.validity.reasons.iter().any(|reason| reason.signal == OVERLOAD) {
        return Some("requests piled up".to_owned());
    }
    summary.slo.iter().find(|verdict| far_beyond(verdict)).map(words::verdict_text)
}

/// Only latencies tell: more load may bring a rate that is too low, and a share of failures that is
/// far beyond a small limit may be a single one.
fn far_beyond(verdict: &SloVerdict) -> bool {
    let latency = metric(&verdict.metric).is_some_and(|m| m.unit == Unit::Ms && m.better == Better::Lower);
    let far = |value: f64| value >= verdict.limit * FAR;
    latency && verdict.status == SloStatus::Fail && verdict.value.is_some_and(far)
}

const fn axis(cell: &Cell) -> &'static str {
    match cell.settings.load {
        Load::Closed { .. } => "load.users",
        Load::Open { .. } => "load.qps",
    }
}

fn load(cell: &Cell) -> Option<f64> {
    cell.factors.get(axis(cell))?.as_f64()
}

/// Whether two cells are the same but for their load.
fn alike(a: &Cell, b: &Cell) -> bool {
    let rest = |cell: &Cell| {
        let mut factors = cell.factors.clone();
        factors.remove(axis(cell));
        factors
    };
    axis(a) == axis(b) && a.grid == b.grid && rest(a) == rest(b)
}

#[cfg(test)]
#[path = "prune_tests.rs"]
mod tests;
