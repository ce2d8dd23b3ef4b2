//! Limits on a cell's figures and on its requests.

use serde::{Deserialize, Serialize};

/// Service-level objectives.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Slo {
    /// Limits on a cell's figures, such as `ttft_p95 = "1s"`.
    pub rules: Vec<SloRule>,
    /// Limits that each request has to meet to count as good: those of `[slo.request]`, else
    /// the limits of `rules` on per-request latencies.
    pub request: Vec<RequestLimit>,
    /// Names of the presets that some of `rules` come from, in the order given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub presets: Vec<String>,
    /// Whether a missed SLO sets the exit code.
    #[serde(default, skip_serializing_if = "Gate::is_off")]
    pub gate: Gate,
}

/// Whether a run whose cells miss an SLO exits 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// SLOs are told and change nothing.
    #[default]
    Off,
    /// A cell beyond what is acceptable fails the run.
    Acceptable,
    /// A cell beyond a target does, too.
    Target,
}

impl Gate {
    fn is_off(&self) -> bool {
        *self == Self::Off
    }
}

/// One limit on a figure of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SloRule {
    /// Name in `metrics::METRICS`.
    pub metric: String,
    /// Name in `metrics::STATS`; empty for a scalar.
    pub stat: String,
    /// What is acceptable, in the metric's unit. Beyond it the rule fails.
    pub limit: f64,
    /// What is aimed at, in the same unit: between it and `limit` lies a warning. `None`: there
    /// is one limit only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<f64>,
}

/// One limit on each request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestLimit {
    /// `ttft`, `ttfv`, `tpot` or `e2e`.
    pub metric: String,
    /// Milliseconds.
    pub limit_ms: f64,
}
