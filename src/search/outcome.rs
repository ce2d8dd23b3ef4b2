//! What a search found, so far or in the end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::step::bracket;
use super::{End, Level, Verdict};
use crate::experiment::SearchRules;
use crate::stats::isotonic;

/// A figure that is so much lower at a greater load (a fifth) contradicts that load makes worse.
const FALLS: f64 = 0.223;

/// The answer of one search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// `load.qps` or `load.users`.
    pub axis: String,
    /// The values of the other axes, by dotted path.
    pub shape: BTreeMap<String, Value>,
    /// Why it ended; `None`: it goes on.
    pub end: Option<End>,
    /// The greatest load below `first_fail` that surely passes.
    pub last_pass: Option<f64>,
    /// The least load that surely fails.
    pub first_fail: Option<f64>,
    /// Where the isotonic fit of ln(figure/limit) over ln load crosses 0; between the two. `None`
    /// where nothing passes, or nothing fails.
    pub estimate: Option<f64>,
    /// What binds at the first load that fails: a rule's column, or `overload`. `None` where
    /// nothing fails.
    pub binds: Option<String>,
    /// A greater load fared clearly better than a lesser one: the limit is not one place.
    pub non_monotone: bool,
    /// Cells that were measured.
    pub probes: u32,
    /// By rising load.
    pub levels: Vec<Level>,
}

/// What these levels come to. `end`: why the search ended, if it did.
#[must_use]
pub fn outcome(
    rules: &SearchRules,
    shape: BTreeMap<String, Value>,
    levels: &[Level],
    end: Option<End>,
) -> Outcome {
    let mut levels = levels.to_vec();
    levels.sort_by(|a, b| a.load.total_cmp(&b.load));
    let sure = |wanted: Verdict| move |level: &&Level| level.verdict == Some(wanted);
    let first_fail = levels.iter().filter(sure(Verdict::Fail)).map(|level| level.load).reduce(f64::min);
    let passes = levels.iter().filter(sure(Verdict::Pass)).map(|level| level.load);
    let last_pass = passes.clone().filter(|load| first_fail.is_none_or(|fail| *load < fail)).reduce(f64::max);
    let contradicted = first_fail.is_some_and(|fail| passes.clone().any(|load| load > fail));
    let high = bracket(&levels).1;
    let binding = high.and_then(|high| levels.iter().find(|level| level.load == high));
    Outcome {
        axis: rules.axis.clone(),
        shape,
        end,
        last_pass,
        first_fail,
        estimate: crossing(&levels).map(|load| within(load, last_pass, first_fail)),
        binds: binding.and_then(|level| level.binds.clone()),
        non_monotone: contradicted || falls(&levels),
        probes: levels.iter().map(|level| level.probes).sum(),
        levels,
    }
}

fn within(load: f64, low: Option<f64>, high: Option<f64>) -> f64 {
    let load = low.map_or(load, |low| load.max(low));
    high.map_or(load, |high| load.min(high))
}

/// Where the rising fit of the margins, weighted by their requests, crosses 0: on the line between
/// the last load at or below it and the first above, in log load.
fn crossing(levels: &[Level]) -> Option<f64> {
    let points: Vec<(f64, f64, f64)> = levels
        .iter()
        .filter_map(|level| Some((level.load, level.margin?, level.requests.max(1) as f64)))
        .collect();
    let margins: Vec<f64> = points.iter().map(|point| point.1).collect();
    let weights: Vec<f64> = points.iter().map(|point| point.2).collect();
    let fit = isotonic(&margins, &weights);
    let above = fit.iter().position(|margin| *margin > 0.0)?;
    let below = above.checked_sub(1)?;
    let (low, high) = (points[below].0.ln(), points[above].0.ln());
    let share = -fit[below] / (fit[above] - fit[below]);
    Some((low + (high - low) * share).exp())
}

/// Whether a margin lies clearly below that of a lesser load, and either is near the limit.
fn falls(levels: &[Level]) -> bool {
    let margins: Vec<f64> = levels.iter().filter_map(|level| level.margin).collect();
    let near = |a: f64, b: f64| a > -FALLS && b < FALLS;
    let mut worst = f64::NEG_INFINITY;
    margins.into_iter().any(|margin| {
        worst = worst.max(margin);
        worst - margin > FALLS && near(worst, margin)
    })
}

#[cfg(test)]
#[path = "outcome_tests.rs"]
mod tests;
