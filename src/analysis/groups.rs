//! Repeats of a cell taken together.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Axis, CellData, RunData, axes, short_name};
use crate::measure::{CellSummary, Verdict};
use crate::plan::CellId;

/// All repeats of one cell.
#[derive(Clone)]
pub struct Group<'a> {
    pub id: &'a CellId,
    pub grid: Option<&'a str>,
    pub factors: &'a BTreeMap<String, Value>,
    /// At least one; in plan order; finished or not.
    pub cells: Vec<&'a CellData>,
}

/// A figure over repeats. Percentiles of repeats are never pooled: `mean` is the mean of
/// per-repeat values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Repeats that had a value.
    pub n: usize,
    pub mean: f64,
    pub min: f64,
    pub max: f64,
}

impl<'a> Group<'a> {
    /// Summaries that count: of the repeats that are not invalid; of all finished ones if
    /// every one is invalid, so that the figure can be drawn hatched.
    pub fn counted(&self) -> impl Iterator<Item = &'a CellSummary> {
        let usable = |s: &CellSummary| s.validity.verdict != Verdict::Invalid;
        let any_usable = self.summaries().any(usable);
        self.summaries().filter(move |s| !any_usable || usable(s))
    }

    /// Summaries of all finished repeats.
    pub fn summaries(&self) -> impl Iterator<Item = &'a CellSummary> {
        self.cells.iter().filter_map(|c| c.summary.as_ref()).collect::<Vec<_>>().into_iter()
    }

    /// The worst verdict among the repeats that count; `None` if none is finished.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        self.counted().map(|s| s.validity.verdict).max()
    }

    /// A figure over the repeats that count: `("ttft", "p95")`, `("output_tps", "")`. `None`
    /// where no repeat has a value.
    #[must_use]
    pub fn estimate(&self, metric: &str, stat: &str) -> Option<Estimate> {
        let values: Vec<f64> = self.counted().filter_map(|s| s.value(metric, stat)).collect();
        Estimate::of(&values)
    }

    /// A factor as a number.
    #[must_use]
    pub fn number(&self, path: &str) -> Option<f64> {
        self.factors.get(path).and_then(Value::as_f64)
    }
}

impl Estimate {
    /// Of per-repeat values; `None` of none.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        (n > 0).then(|| Self {
            n,
            mean: values.iter().sum::<f64>() / n as f64,
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        })
    }
}

/// The cells of a run by cell id and grid, in plan order.
#[must_use]
pub fn groups(run: &RunData) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut place: BTreeMap<(&CellId, Option<&str>), usize> = BTreeMap::new();
    for data in &run.cells {
        let (id, grid) = (&data.cell.id, data.cell.grid.as_deref());
        let at = *place.entry((id, grid)).or_insert_with(|| {
            groups.push(Group { id, grid, factors: &data.cell.factors, cells: Vec::new() });
            groups.len() - 1
        });
        groups[at].cells.push(data);
    }
    groups
}

/// One line of a figure: groups that differ only in the factor along the bottom.
#[derive(Clone)]
pub struct Series<'a> {
    /// What tells it from the other series: `prompt_tokens=512`; empty if there is one.
    pub label: String,
    /// Ascending in the factor along the bottom.
    pub groups: Vec<Group<'a>>,
}

/// Split a run into series along the factor `x` (a dotted path). Groups in which `x` is no
/// number are left out.
#[must_use]
pub fn series<'a>(run: &'a RunData, x: &str) -> Vec<Series<'a>> {
    let others: Vec<Axis> = axes(run).into_iter().filter(|axis| axis.path != x).collect();
    let all = groups(run);
    let several_grids = all.iter().any(|g| g.grid != all[0].grid);
    let mut series: Vec<Series<'a>> = Vec::new();
    for group in all {
        if group.number(x).is_none() {
            continue;
        }
        let label = series_label(&group, &others, several_grids);
        match series.iter_mut().find(|s| s.label == label) {
            Some(found) => found.groups.push(group),
            None => series.push(Series { label, groups: vec![group] }),
        }
    }
    for one in &mut series {
        one.groups.sort_by(|a, b| a.number(x).unwrap_or(0.0).total_cmp(&b.number(x).unwrap_or(0.0)));
    }
    series
}

fn series_label(group: &Group<'_>, others: &[Axis], several_grids: bool) -> String {
    let grid = group.grid.filter(|_| several_grids).map(str::to_owned);
    let factors = others.iter().filter_map(|axis| {
        let value = group.factors.get(&axis.path).filter(|v| !v.is_null())?;
        Some(format!("{}={}", short_name(&axis.path), super::axes::plain(value)))
    });
    grid.into_iter().chain(factors).collect::<Vec<_>>().join(" ")
}
