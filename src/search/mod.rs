//! The search for the greatest load within the SLO, as pure functions: from what was measured
//! to the next load, and to the answer. No clock, no I/O; `docs/search.md` has the method.
//!
//! What was measured is all the state there is: [`next`] looks at every level anew, so that a
//! search that was interrupted goes on by being asked again.

mod outcome;
mod step;
mod verdict;

pub use outcome::{Outcome, outcome};
pub use step::{Next, next};
pub use verdict::{judge_rule, levels};

use serde::{Deserialize, Serialize};

use crate::stats::Share;

/// What one cell says of one SLO rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuleEvidence {
    /// Name in `metrics::METRICS`.
    pub metric: String,
    /// Name in `metrics::STATS`; empty for a scalar.
    pub stat: String,
    /// What is acceptable, in the metric's unit.
    pub limit: f64,
    /// The cell's figure; `None`: nothing was measured, which fails.
    pub value: Option<f64>,
    /// Of a percentile of something that each request has: how many requests kept the limit.
    pub share: Option<Share>,
}

/// One cell of a search, measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// The cell's index in the plan.
    pub cell: u32,
    /// In requests per second or users.
    pub load: f64,
    /// In the order of the rules.
    pub rules: Vec<RuleEvidence>,
    /// Requests piled up.
    pub overloaded: bool,
    /// Why it can't be believed: the client's fault, not the server's.
    pub invalid: Option<String>,
    /// Requests that its figures are about.
    pub requests: u64,
    /// From its start to its end.
    pub seconds: f64,
}

/// Whether a load is within the SLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Pass,
    Fail,
    /// Not sure enough: more requests are needed.
    Undecided,
}

/// All probes of one load together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Level {
    pub load: f64,
    /// `None`: no probe of it is valid.
    pub verdict: Option<Verdict>,
    /// ln(figure / limit) of the rule that binds, above 0 where it is missed; between −3 and 3.
    /// `None`: no probe of it is valid.
    pub margin: Option<f64>,
    /// What binds: a rule's column (`ttft_p95`), or `overload`.
    pub binds: Option<String>,
    /// Cells at this load.
    pub probes: u32,
    /// Those of them that are valid.
    pub valid: u32,
    /// Requests of the valid ones.
    pub requests: u64,
    /// Most of the valid ones saw requests pile up.
    pub overloaded: bool,
    /// Why the last probe can't be believed.
    pub invalid: Option<String>,
    /// What all of them took.
    pub seconds: f64,
}

impl Level {
    /// Whether the search goes on above it: it passes, or is undecided with its figures within
    /// the limits. `None`: nothing is known.
    #[must_use]
    pub fn goes_up(&self) -> Option<bool> {
        Some(match self.verdict? {
            Verdict::Pass => true,
            Verdict::Fail => false,
            Verdict::Undecided => !self.overloaded && self.margin.is_some_and(|margin| margin <= 0.0),
        })
    }
}

/// Why a search ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "why")]
pub enum End {
    /// A load that passes and one that fails are as near as was asked.
    Settled,
    /// The greatest load that may be tried passes.
    AllPass,
    /// The least load that may be tried fails.
    NonePass,
    /// The load at the end of what may be tried is too near to its limit to call.
    Undecided,
    /// As many cells as may be were measured.
    ProbesRanOut,
    /// The next cell would take more time than is left.
    TimeRanOut,
    /// Two cells at one load were invalid.
    Invalid { reason: String },
    /// This machine, or the experiment, can't have a cell at the next load.
    Impossible { reason: String },
}
