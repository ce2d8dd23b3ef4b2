//! A cell's figures held against its SLO rules: within the target, merely acceptable, or missed.

use serde::{Deserialize, Serialize};

use super::CellSummary;
use crate::experiment::SloRule;
use crate::metrics::{Better, metric};

/// How a figure stands to a rule, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SloStatus {
    /// Within the target, or within the limit where there is no target.
    Pass,
    /// Acceptable, but beyond the target.
    Warning,
    /// Beyond what is acceptable, or nothing was measured.
    Fail,
}

impl SloStatus {
    /// The word for it in reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Warning => "WARNING",
            Self::Fail => "FAIL",
        }
    }
}

/// One SLO rule, judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct SloVerdict {
    pub metric: String,
    pub stat: String,
    /// What is acceptable, in the metric's unit.
    pub limit: f64,
    /// What is aimed at, where the rule has two limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<f64>,
    /// `None`: there was nothing to measure, which fails.
    pub value: Option<f64>,
    /// Whether it is acceptable: everything but [`SloStatus::Fail`].
    pub pass: bool,
    pub status: SloStatus,
}

impl SloVerdict {
    /// Judge `value` by `rule`, in the direction that is good for its metric: at least the limit
    /// where more is better, else at most.
    #[must_use]
    pub fn judge(rule: &SloRule, value: Option<f64>) -> Self {
        let within = |limit: f64| {
            value.is_some_and(|v| if higher_is_better(&rule.metric) { v >= limit } else { v <= limit })
        };
        let status = match rule.target {
            _ if !within(rule.limit) => SloStatus::Fail,
            Some(target) if !within(target) => SloStatus::Warning,
            _ => SloStatus::Pass,
        };
        Self {
            metric: rule.metric.clone(),
            stat: rule.stat.clone(),
            limit: rule.limit,
            target: rule.target,
            value,
            pass: status != SloStatus::Fail,
            status,
        }
    }

    /// Judge the figure of `summary` that `rule` is about.
    #[must_use]
    pub fn of(rule: &SloRule, summary: &CellSummary) -> Self {
        Self::judge(rule, summary.value(&rule.metric, &rule.stat))
    }
}

fn higher_is_better(name: &str) -> bool {
    metric(name).is_some_and(|m| m.better == Better::Higher)
}

/// A verdict as it may lie on disk: runs of earlier versions know no `status`.
#[derive(Deserialize)]
struct Stored {
    metric: String,
    stat: String,
    limit: f64,
    #[serde(default)]
    target: Option<f64>,
    value: Option<f64>,
    pass: bool,
    #[serde(default)]
    status: Option<SloStatus>,
}

impl From<Stored> for SloVerdict {
    fn from(stored: Stored) -> Self {
        let Stored { metric, stat, limit, target, value, pass, status } = stored;
        let status = status.unwrap_or(if pass { SloStatus::Pass } else { SloStatus::Fail });
        Self { metric, stat, limit, target, value, pass, status }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(metric: &str, target: Option<f64>, limit: f64) -> SloRule {
        SloRule { metric: metric.to_owned(), stat: String::new(), limit, target }
    }

    #[test]
    fn two_limits_make_three_tiers() {
        use SloStatus::{Fail, Pass, Warning};
        let latency = rule("e2e", Some(200.0), 500.0);
        let rate = rule("completed_rps", Some(50.0), 20.0);
        for (rule, value, status) in [
            (&latency, 200.0, Pass),
            (&latency, 200.1, Warning),
            (&latency, 500.0, Warning),
            (&latency, 500.1, Fail),
            // More is better: the other way round.
            (&rate, 50.0, Pass),
            (&rate, 49.9, Warning),
            (&rate, 20.0, Warning),
            (&rate, 19.9, Fail),
        ] {
            let verdict = SloVerdict::judge(rule, Some(value));
            assert_eq!((verdict.status, verdict.pass), (status, status != Fail), "{value} by {rule:?}");
        }
        let nothing = SloVerdict::judge(&latency, None);
        assert_eq!((nothing.status, nothing.pass), (Fail, false), "what was not measured is not met");
        assert_eq!(SloVerdict::judge(&rule("e2e", None, 500.0), Some(400.0)).status, Pass, "one limit");
    }

    #[test]
    fn a_verdict_of_before_is_read() {
        let old = r#"{"metric":"ttft","stat":"p95","limit":1000.0,"value":null,"pass":false}"#;
        let verdict: SloVerdict = serde_json::from_str(old).unwrap();
        assert_eq!((verdict.status, verdict.target), (SloStatus::Fail, None));
        let new = SloVerdict::judge(&rule("e2e", Some(200.0), 500.0), Some(300.0));
        let json = serde_json::to_value(&new).unwrap();
        assert_eq!((&json["pass"], &json["status"]), (&true.into(), &"warning".into()));
        assert_eq!(serde_json::from_value::<SloVerdict>(json).unwrap(), new);
    }
}
