//! Is the candidate slower than the baseline: yes, no, or can't tell.
//!
//! Cells meet by their id, repeats by their seed and workload hash. What is compared is one
//! figure of each repeat, never the pooled requests, since requests of one repeat are not
//! independent.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::metrics::Better;
use crate::plan::CellId;

/// A candidate held against a baseline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    pub baseline: Side,
    pub candidate: Side,
    /// What differs between the two environments: machine, server, client.
    pub environment: Vec<Difference>,
    /// One per cell, metric and statistic, in the order of the baseline's plan, then those
    /// that only the candidate has.
    pub rows: Vec<Row>,
    /// One per compared figure: all cells together, by a paired t-test on the means over cells
    /// of each repeat's log ratios.
    pub suite: Vec<Row>,
    /// What the gate says.
    pub outcome: Outcome,
    /// Why, in sentences; the first is the answer.
    pub reasons: Vec<String>,
}

/// One of the two runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Side {
    /// The run's id.
    pub run: String,
    /// The experiment's name.
    pub name: String,
    /// When it began, RFC 3339.
    pub started_at: String,
    /// Under which it was kept as a baseline, if it was.
    pub baseline: Option<String>,
    /// The tool that made it, if that wasn't Plimsoll.
    pub imported: Option<String>,
}

/// Something in which two environments differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Dotted path in `environment.json`.
    pub key: String,
    pub baseline: String,
    pub candidate: String,
}

/// One figure of one cell on both sides.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// `None` in the suite's rows.
    pub cell: Option<CellId>,
    /// The cell in words; `all cells` in the suite's rows.
    pub label: String,
    pub factors: BTreeMap<String, Value>,
    /// As in `metrics::METRICS`.
    pub metric: String,
    /// As in `metrics::STATS`; empty for a scalar.
    pub stat: String,
    #[serde(skip)]
    pub better: Better,
    /// Whether the gate looks at it.
    pub primary: bool,
    /// Geometric means over the repeats, in the metric's unit.
    pub base: Option<f64>,
    pub cand: Option<f64>,
    /// `cand/base − 1`, from the mean of the log ratios.
    pub effect: Option<f64>,
    /// 95 % interval of the effect.
    pub interval: Option<(f64, f64)>,
    /// Two-sided.
    pub p: Option<f64>,
    /// After Holm, over the primary rows.
    pub p_adjusted: Option<f64>,
    /// After Benjamini and Hochberg, over all rows: what colours the map.
    pub q: Option<f64>,
    /// Smallest change that matters, as a share.
    pub margin: f64,
    /// Repeats that were compared: pairs, or the smaller side's.
    pub repeats: u32,
    /// Whether repeats were paired by seed and workload.
    pub paired: bool,
    /// Least effective number of independent requests of a repeat, where it was looked at.
    pub n_eff: Option<f64>,
    pub verdict: Verdict,
    pub reasons: Vec<String>,
    /// The values of the repeats, in the order of the pairs where they are paired.
    pub base_values: Vec<f64>,
    pub cand_values: Vec<f64>,
}

/// What is said of one figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// Worse by more than chance and by at least the margin.
    Regressed,
    /// Better by more than chance and by at least the margin.
    Improved,
    /// A change by more than chance, of less than the margin.
    Small,
    /// No change beyond the margin either way, at 90 %.
    Equivalent,
    /// Too few repeats or too much noise to tell.
    Inconclusive,
    /// A side's cell can't be believed.
    Invalid,
    /// One repeat: held against limits, not tested.
    Unverified,
    /// One side lacks the cell, or the figure.
    Missing,
}

/// What the whole comparison comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Outcome {
    /// No primary figure regressed.
    Pass,
    /// At least one did, or a limit of the gate is broken.
    Fail,
    /// None regressed, but for some nobody can tell.
    Inconclusive,
    /// No cell of the one is in the other, or their workloads differ.
    NotComparable,
    /// What should have been compared can't be believed.
    Invalid,
}
