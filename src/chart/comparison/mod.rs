//! Figures of a candidate held against a baseline.
//!
//! What is tested are figures of repeats; requests are drawn, never tested, and each figure
//! that pools them says so.

mod distribution;
mod forest;
mod matrix;
mod samples;
mod shift;
mod slopes;

use std::cmp::Ordering;

pub use samples::Samples;

use super::{Chart, pieces, text};
use crate::analysis::compare::{Comparison, Row, Verdict};
use crate::analysis::{AnalysisError, RunData, words};
use crate::metrics::Better;
use crate::plan::CellId;

/// Most rows of one forest or matrix; what is more goes into a further figure.
pub const MAX_ROWS: usize = 40;

/// Most cells whose requests are drawn.
pub const MAX_CELLS: usize = 4;

/// A comparison with what its figures need of both runs.
pub struct Compared<'a> {
    pub comparison: &'a Comparison,
    pub base: &'a RunData,
    pub cand: &'a RunData,
    /// Latencies of the worst cells that have records on both sides, the worst first.
    pub samples: Vec<Samples>,
}

impl<'a> Compared<'a> {
    /// Reads the latencies of the [`MAX_CELLS`] worst cells, two columns of their records. Runs
    /// without records have none.
    ///
    /// # Errors
    /// When a `records.parquet` can't be read.
    pub fn read(
        comparison: &'a Comparison,
        base: &'a RunData,
        cand: &'a RunData,
    ) -> Result<Self, AnalysisError> {
        let mut samples = Vec::new();
        for (id, label) in worst_cells(comparison) {
            if samples.len() == MAX_CELLS {
                break;
            }
            samples.extend(samples::read(id, label, base, cand)?);
        }
        Ok(Self { comparison, base, cand, samples })
    }
}

/// One row of [`COMPARISON_CHARTS`].
#[derive(Debug, Clone, Copy)]
pub struct ComparisonChartDef {
    /// Stem of the ids of its charts.
    pub id: &'static str,
    /// One sentence: what it shows.
    pub help: &'static str,
    pub build: fn(&Compared<'_>) -> Vec<Chart>,
}

/// Every figure of a comparison, in the order in which it is reported.
pub const COMPARISON_CHARTS: &[ComparisonChartDef] = &[
    ComparisonChartDef {
        id: "forest",
        help: "Change of each figure that decides, with its interval, the margin shaded, the worst first.",
        build: forest::build,
    },
    ComparisonChartDef {
        id: "verdicts",
        help: "Verdict on every figure of every cell, coloured where the change is more than chance.",
        build: matrix::build,
    },
    ComparisonChartDef {
        id: "ecdf",
        help: "Share of requests within a latency, baseline and candidate, in the worst cells.",
        build: distribution::ecdf,
    },
    ComparisonChartDef {
        id: "ccdf",
        help: "Share of requests slower than a latency, on a log scale: the tails of the worst cells.",
        build: distribution::ccdf,
    },
    ComparisonChartDef {
        id: "shift",
        help: "Change of each quantile of the latency, with its band, in the worst cells.",
        build: shift::build,
    },
    ComparisonChartDef {
        id: "slopes",
        help: "Each repeat's figure in the baseline and in the candidate, in the worst cells.",
        build: slopes::build,
    },
];

/// All figures that a comparison calls for, in the order of [`COMPARISON_CHARTS`].
#[must_use]
pub fn of_comparison(compared: &Compared<'_>) -> Vec<Chart> {
    COMPARISON_CHARTS.iter().flat_map(|def| (def.build)(compared)).collect()
}

/// A row's change for the worse as a share: below 0 it is for the better. `None` where the
/// change is not known.
#[must_use]
pub fn worsening(row: &Row) -> Option<f64> {
    let effect = row.effect.filter(|e| e.is_finite())?;
    Some(match row.better {
        Better::Lower => effect,
        Better::Higher => -effect,
        Better::Neither => effect.abs(),
    })
}

/// The worst first: what regressed, then by the change for the worse; what has none comes last.
#[must_use]
pub fn worst_first(a: &Row, b: &Row) -> Ordering {
    let class = |r: &Row| match (r.verdict, worsening(r)) {
        (Verdict::Regressed, _) => 0,
        (_, Some(_)) => 1,
        (_, None) => 2,
    };
    let size = |r: &Row| worsening(r).unwrap_or(f64::NEG_INFINITY);
    class(a).cmp(&class(b)).then_with(|| size(b).total_cmp(&size(a)))
}

/// The rows that decide; all where it looks at none.
fn primary(comparison: &Comparison) -> Vec<&Row> {
    let rows: Vec<&Row> = comparison.rows.iter().filter(|r| r.primary).collect();
    if rows.is_empty() { comparison.rows.iter().collect() } else { rows }
}

/// Every cell once, by its worst row.
fn worst_cells(comparison: &Comparison) -> Vec<(&CellId, &str)> {
    let mut rows = primary(comparison);
    rows.sort_by(|a, b| worst_first(a, b));
    let mut cells: Vec<(&CellId, &str)> = Vec::new();
    for row in rows {
        if let Some(id) = &row.cell
            && !cells.iter().any(|(seen, _)| *seen == id)
        {
            cells.push((id, row.label.as_str()));
        }
    }
    cells
}

/// A row's change in words: `+12.3 % (+8.10 to +16.7 %), margin ±10 %`.
fn change(row: &Row) -> String {
    let Some(effect) = row.effect_text() else { return "no change known".to_owned() };
    let interval =
        row.interval_text().map_or_else(|| " (no interval)".to_owned(), |text| format!(" ({text})"));
    format!("{effect}{interval}, margin {}", row.margin_text())
}

/// What is told of a row wherever a pointer rests on it.
fn note(row: &Row) -> String {
    let unit =
        |v: Option<f64>| v.map_or_else(|| "not known".to_owned(), |v| words::value_with_unit(&row.metric, v));
    let repeats = match (row.repeats, row.paired) {
        (0, _) => String::new(),
        (1, _) => "; one repeat".to_owned(),
        (n, true) => format!("; {n} pairs of repeats"),
        (n, false) => format!("; {n} repeats, not paired"),
    };
    let reasons =
        if row.reasons.is_empty() { String::new() } else { format!("; {}", text::list(&row.reasons, 2)) };
    format!(
        "{} {}: {}; {} → {}{repeats}{reasons}",
        row.verdict.glyph(),
        row.verdict.word(),
        change(row),
        unit(row.base),
        unit(row.cand)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinned_samples_keep_the_greatest_and_their_quantiles() {
        let all: Vec<f64> = (1..=1000).rev().map(f64::from).collect();
        assert_eq!(samples::thin(all.clone(), 1).len(), 1000);
        let kept = samples::thin(all, 10);
        assert_eq!((kept.len(), kept[99]), (100, 1000.0));
        assert!(kept.is_sorted());
        assert!((crate::stats::quantile(&kept, 0.5).unwrap() - 500.5).abs() < 10.0);
    }
}
