//! Is the candidate slower than the baseline: yes, no, or can't tell.
//!
//! Cells meet by their id, repeats by their seed and workload hash. What is compared is one
//! figure of each repeat, never the pooled requests, since requests of one repeat are not
//! independent. `docs/compare.md` says how, with the reasons.

mod checks;
mod differences;
mod draft;
mod figures;
mod meet;
mod noise;
mod outcome;
mod sides;
mod suite;
mod tail;
#[cfg(test)]
pub(crate) mod tests;
mod text;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::RunData;
use crate::metrics::{self, Better};
use crate::plan::CellId;

pub use crate::experiment::{GateSettings, Quantity};
pub use noise::{Noise, NoiseOf};
pub use text::percent;

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
    /// of each repeat's log ratios. Empty where fewer than two cells can be compared. The gate
    /// doesn't look at it.
    pub suite: Vec<Row>,
    /// The plain rules of the gate, for each cell that both runs have.
    pub checks: Vec<Check>,
    /// What it was held to.
    pub gate: GateSettings,
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
    /// Geometric means over the repeats that were compared, in the metric's unit; of shares, and
    /// where a repeat has 0, arithmetic ones.
    pub base: Option<f64>,
    pub cand: Option<f64>,
    /// `cand/base − 1`, from the mean of the log ratios. Of shares (`error_rate`), which may be
    /// 0, the difference `cand − base`: see [`Row::is_difference`].
    pub effect: Option<f64>,
    /// 95 % interval of the effect.
    pub interval: Option<(f64, f64)>,
    /// Two-sided.
    pub p: Option<f64>,
    /// After Holm, over the primary rows.
    pub p_adjusted: Option<f64>,
    /// After Benjamini and Hochberg, over all rows: what colours the map.
    pub q: Option<f64>,
    /// Smallest change that matters, as a share of the baseline's value; of shares as their
    /// difference. A ratio is beyond it from `1 + margin` on, or from `1/(1 + margin)` down.
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

impl Row {
    /// The figure.
    #[must_use]
    pub fn quantity(&self) -> Quantity {
        Quantity::new(&self.metric, &self.stat)
    }

    /// Whether `effect`, `interval` and `margin` are differences of shares, not ratios less 1.
    #[must_use]
    pub fn is_difference(&self) -> bool {
        figures::is_share(&self.metric)
    }

    /// Whether the candidate is worse, by however little; `None` where nothing is known.
    #[must_use]
    pub fn is_worse(&self) -> Option<bool> {
        self.effect.map(|effect| if self.better == Better::Higher { effect < 0.0 } else { effect > 0.0 })
    }
}

/// A plain rule of the gate at one cell, such as `ttft_p95 ≤ 1.2 × baseline`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    pub cell: CellId,
    /// The cell in words.
    pub label: String,
    pub metric: String,
    pub stat: String,
    /// The rule in words.
    pub rule: String,
    /// The candidate's value and what it was held against, in the metric's unit.
    pub value: Option<f64>,
    pub bound: Option<f64>,
    /// Whether it holds; `None` where it can't be told.
    pub held: Option<bool>,
}

/// What is said of one figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// Worse by more than chance, and not shown to be within the margin.
    Regressed,
    /// Better by more than chance, and not shown to be within the margin.
    Improved,
    /// A change by more than chance, and shown to be within the margin.
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

impl Verdict {
    /// All, what matters most first.
    pub const ALL: [Self; 8] = [
        Self::Regressed,
        Self::Invalid,
        Self::Missing,
        Self::Inconclusive,
        Self::Unverified,
        Self::Small,
        Self::Improved,
        Self::Equivalent,
    ];

    /// As people and machines read it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Regressed => "REGRESSED",
            Self::Improved => "IMPROVED",
            Self::Small => "SMALL",
            Self::Equivalent => "EQUIVALENT",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::Invalid => "INVALID",
            Self::Unverified => "UNVERIFIED",
            Self::Missing => "MISSING",
        }
    }

    /// A sign that needs no colour to be told from the others.
    #[must_use]
    pub const fn glyph(self) -> char {
        match self {
            Self::Regressed => '✗',
            Self::Improved => '✓',
            Self::Small => '~',
            Self::Equivalent => '=',
            Self::Inconclusive => '?',
            Self::Invalid => '!',
            Self::Unverified => '·',
            Self::Missing => '–',
        }
    }

    /// What it means, in one sentence.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Regressed => "worse by more than chance, and not shown to be within the margin",
            Self::Improved => "better by more than chance, and not shown to be within the margin",
            Self::Small => "a change by more than chance, shown to be within the margin",
            Self::Equivalent => "no change beyond the margin either way, at 90 %",
            Self::Inconclusive => "too few repeats or too much noise to tell",
            Self::Invalid => "a side's figure can't be believed",
            Self::Unverified => "one repeat: held against limits, not tested",
            Self::Missing => "one side lacks the cell, or the figure",
        }
    }
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
    /// No cell of the one is in the other.
    NotComparable,
    /// What should have been compared can't be believed.
    Invalid,
}

impl Outcome {
    /// As people and machines read it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::NotComparable => "NOT COMPARABLE",
            Self::Invalid => "INVALID",
        }
    }

    /// A sign that needs no colour to be told from the others.
    #[must_use]
    pub const fn glyph(self) -> char {
        match self {
            Self::Pass => '✓',
            Self::Fail => '✗',
            Self::Inconclusive => '?',
            Self::NotComparable => '≠',
            Self::Invalid => '!',
        }
    }
}

/// Holds `candidate` against `baseline`, by this gate.
#[must_use]
pub fn compare(baseline: &RunData, candidate: &RunData, gate: &GateSettings) -> Comparison {
    compare_with(baseline, candidate, gate, None)
}

/// As [`compare`], with margins raised to twice the noise that an A/A calibration measured.
///
/// Reads `records.parquet` only where a p99 or p999 is among the figures that decide.
#[must_use]
pub fn compare_with(
    baseline: &RunData,
    candidate: &RunData,
    gate: &GateSettings,
    noise: Option<&Noise>,
) -> Comparison {
    let cells = meet::meet(baseline, candidate);
    let mut drafts = draft::all(&cells, gate, noise);
    draft::decide(&mut drafts, gate);
    let suite = suite::suite(&drafts, gate);
    let rows: Vec<Row> = drafts.into_iter().map(|draft| draft.row).collect();
    let checks = checks::checks(&cells, &rows, gate);
    let (outcome, reasons) = outcome::outcome(&cells, &rows, &suite, &checks, gate);
    Comparison {
        baseline: Side::of(baseline),
        candidate: Side::of(candidate),
        environment: differences::differences(baseline, candidate, &cells),
        rows,
        suite,
        checks,
        gate: gate.clone(),
        outcome,
        reasons,
    }
}

impl Side {
    fn of(run: &RunData) -> Self {
        let text = |key: &str| run.manifest.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let imported = run.manifest.get("imported").and_then(Value::as_array);
        let tools = imported.into_iter().flatten().filter_map(|one| one.get("tool")?.as_str());
        let mut names: Vec<&str> = tools.collect();
        names.dedup();
        Self {
            run: run.id.clone(),
            name: run.name.clone(),
            started_at: text("started_at"),
            baseline: None,
            imported: (!names.is_empty()).then(|| names.join(" and ")),
        }
    }
}

/// Whether a metric's values are of single requests, and so depend on how long an overloaded
/// cell ran.
fn is_of_requests(metric: &str) -> bool {
    metrics::metric(metric).is_some_and(|m| m.kind == metrics::Kind::Distribution)
}
