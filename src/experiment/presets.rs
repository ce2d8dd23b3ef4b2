//! Sets of SLO rules by name: what `[slo] preset` puts in, `plimsoll presets` lists and
//! `docs/experiment-file.md` documents. The numbers are other people's or this project's own
//! choice; each set says whose, and why these.

use std::time::Duration;

use super::settings::SloRule;
use crate::metrics::{Unit, metric};
use crate::units::format_duration;

/// A set of SLO rules with a name.
#[derive(Debug, Clone, Copy)]
pub struct SloPreset {
    /// What `slo.preset` says.
    pub name: &'static str,
    /// One sentence: what it is for.
    pub help: &'static str,
    pub rules: &'static [PresetRule],
    /// Where the numbers come from.
    pub source: &'static str,
}

/// One rule of a preset; limits are in the metric's unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PresetRule {
    /// Name in `metrics::METRICS`.
    pub metric: &'static str,
    /// Name in `metrics::STATS`; empty for a scalar.
    pub stat: &'static str,
    /// What is aimed at, where that is not all that is acceptable.
    pub target: Option<f64>,
    /// What is acceptable.
    pub limit: f64,
}

impl PresetRule {
    /// The rule as settings have it.
    #[must_use]
    pub fn rule(&self) -> SloRule {
        SloRule {
            metric: self.metric.to_owned(),
            stat: self.stat.to_owned(),
            limit: self.limit,
            target: self.target,
        }
    }

    /// The rule as an experiment file would write it: `ttft_p95 = "1s"`.
    #[must_use]
    pub fn written(&self) -> String {
        let unit = metric(self.metric).map(|m| m.unit);
        let value = |x: f64| match unit {
            Some(Unit::Ms) => format!("{:?}", format_duration(Duration::from_secs_f64(x / 1e3))),
            Some(Unit::Seconds) => format!("{:?}", format_duration(Duration::from_secs_f64(x))),
            // Rounded: 0.07 of 1 is not 7.000000000000001 %.
            Some(Unit::Ratio) => format!("\"{}%\"", (x * 1e6).round() / 1e4),
            _ => x.to_string(),
        };
        let limits = match self.target {
            None => value(self.limit),
            Some(target) => format!("{{ target = {}, acceptable = {} }}", value(target), value(self.limit)),
        };
        format!("{} = {limits}", self.key())
    }

    /// Its key in `[slo]`.
    fn key(&self) -> String {
        match self.stat {
            "" => self.metric.to_owned(),
            stat => format!("{}_{stat}", self.metric),
        }
    }
}

/// The preset of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static SloPreset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

/// Name of the preset that a run without any SLO is looked at with.
pub const DEFAULT: &str = "llm-good";

const fn one(metric: &'static str, stat: &'static str, limit: f64) -> PresetRule {
    PresetRule { metric, stat, target: None, limit }
}

const fn tiers(metric: &'static str, stat: &'static str, target: f64, limit: f64) -> PresetRule {
    PresetRule { metric, stat, target: Some(target), limit }
}

const fn errors(limit: f64) -> PresetRule {
    one("error_rate", "", limit)
}

/// Every preset, in the order in which they are listed.
pub const PRESETS: &[SloPreset] = &[
    SloPreset {
        name: "llm-good",
        help: "What a common load-test guide for LLM APIs calls good; from 2 s on it calls the p95 TTFT degraded.",
        rules: &[tiers("ttft", "p95", 1_000.0, 2_000.0), one("tpot", "mean", 100.0), errors(0.01)],
        source: "The guide of a Locust suite for LLM APIs: good below 1 s, 100 ms and 1 %; degraded above 2 s.",
    },
    SloPreset {
        name: "verdicts",
        help: "The three lines that a common load tester ends with: errors, p90 latency, median TTFT.",
        rules: &[
            tiers("error_rate", "", 0.01, 0.05),
            tiers("e2e", "p90", 2_000.0, 5_000.0),
            tiers("ttft", "p50", 200.0, 1_000.0),
        ],
        source: "That tester's example passes an error rate of 0.7 %, warns of 2.46 s and calls 0.12 s excellent; \
                 limits chosen so that these verdicts come out.",
    },
    SloPreset {
        name: "service-latency",
        help: "Latency of a service around a 1B model: short requests and short generations.",
        rules: &[
            tiers("e2e", "p50", 100.0, 200.0),
            tiers("e2e", "p95", 200.0, 500.0),
            tiers("e2e", "p99", 500.0, 1_000.0),
        ],
        source: "Target and acceptable latency in the performance targets of an inference server in Rust.",
    },
    SloPreset {
        name: "throughput-health",
        help: "Rate of a health endpoint.",
        rules: &[one("completed_rps", "", 100.0)],
        source: "The same server's throughput targets.",
    },
    SloPreset {
        name: "throughput-tokenize",
        help: "Rate of a tokenize endpoint.",
        rules: &[one("completed_rps", "", 50.0)],
        source: "The same server's throughput targets.",
    },
    SloPreset {
        name: "throughput-generate",
        help: "Rate of a generate endpoint with short answers.",
        rules: &[one("completed_rps", "", 10.0)],
        source: "The same server's throughput targets.",
    },
    SloPreset {
        name: "throughput-batch",
        help: "Rate of batch endpoints, several items in a request.",
        rules: &[one("completed_rps", "", 5.0)],
        source: "The same server's throughput targets.",
    },
    SloPreset {
        name: "reliability-normal",
        help: "Errors under steady traffic.",
        rules: &[errors(0.05)],
        source: "The same server's reliability targets.",
    },
    SloPreset {
        name: "reliability-spike",
        help: "Errors while traffic is ten times as high as usual.",
        rules: &[errors(0.15)],
        source: "The same server's reliability targets.",
    },
    SloPreset {
        name: "reliability-sustained",
        help: "Errors and rate over half a minute and longer.",
        rules: &[errors(0.05), one("completed_rps", "", 5.0)],
        source: "The same server's reliability targets, and what it expects of its sustained load test.",
    },
    SloPreset {
        name: "p95-5s",
        help: "Whole answers of about 200 tokens, and nearly no errors.",
        rules: &[one("e2e", "p95", 5_000.0), errors(0.001)],
        source: "A team's harness for tuning vLLM: 200 tokens in, 200 out, p95 at most 5 s, errors at most 0.1 %.",
    },
    SloPreset {
        name: "interactive",
        help: "An assistant at work in an editor or on a screen: it has to feel immediate.",
        rules: &[
            tiers("ttft", "p95", 200.0, 1_000.0),
            tiers("tpot", "p95", 50.0, 100.0),
            tiers("error_rate", "", 0.001, 0.01),
        ],
        source: "Own choice: up to about 1 s people keep their train of thought (Nielsen 1993); 50 ms is 20 tokens/s.",
    },
    SloPreset {
        name: "chat",
        help: "A chat that people read along with.",
        rules: &[
            tiers("ttft", "p95", 1_000.0, 2_000.0),
            tiers("tpot", "p95", 100.0, 200.0),
            tiers("error_rate", "", 0.001, 0.01),
        ],
        source: "Own choice: people read about 240 words a minute (Brysbaert 2019), some 5 tokens/s, hence 200 ms.",
    },
    SloPreset {
        name: "batch",
        help: "Work that nobody waits for: every answer counts, none in particular.",
        rules: &[tiers("error_rate", "", 0.001, 0.01), tiers("e2e", "p99", 60_000.0, 120_000.0)],
        source: "Own choice: 120 s is the usual time-out of a request here.",
    },
    SloPreset {
        name: "mlperf-server",
        help: "The latency limits of MLPerf's Server scenario for Llama 2 70B, at p99.",
        rules: &[one("ttft", "p99", 2_000.0), one("tpot", "p99", 200.0)],
        source: "MLPerf Inference 4.0 (2024). Meeting them is no MLPerf result.",
    },
    SloPreset {
        name: "mlperf-interactive",
        help: "The latency limits of MLPerf's Interactive scenario for Llama 2 70B, at p99.",
        rules: &[one("ttft", "p99", 450.0), one("tpot", "p99", 40.0)],
        source: "MLPerf Inference 5.0 (2025). Meeting them is no MLPerf result.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Better, Kind, STATS};

    #[test]
    fn every_rule_is_of_a_metric_and_its_target_is_the_harder_limit() {
        for preset in PRESETS {
            assert!(!preset.rules.is_empty() && !preset.source.is_empty(), "{}", preset.name);
            for rule in preset.rules {
                let metric =
                    metric(rule.metric).unwrap_or_else(|| panic!("{}: {}", preset.name, rule.metric));
                assert_ne!(metric.better, Better::Neither, "{}", preset.name);
                assert_eq!(metric.kind == Kind::Scalar, rule.stat.is_empty(), "{}", preset.name);
                assert!(rule.stat.is_empty() || STATS.contains(&rule.stat), "{}: {}", preset.name, rule.stat);
                let harder = |target: f64| {
                    if metric.better == Better::Higher { target > rule.limit } else { target < rule.limit }
                };
                assert!(rule.target.is_none_or(harder), "{}: {rule:?}", preset.name);
            }
        }
    }

    #[test]
    fn names_are_unique_and_the_default_is_one_of_them() {
        let names: std::collections::BTreeSet<_> = PRESETS.iter().map(|p| p.name).collect();
        assert_eq!(names.len(), PRESETS.len());
        assert!(find(DEFAULT).is_some() && find("nothing").is_none());
    }

    #[test]
    fn rules_are_written_as_a_file_has_them() {
        let written = |r: PresetRule| r.written();
        assert_eq!(written(one("e2e", "p95", 5_000.0)), "e2e_p95 = \"5s\"");
        assert_eq!(written(errors(0.001)), "error_rate = \"0.1%\"");
        assert_eq!(written(one("completed_rps", "", 50.0)), "completed_rps = 50");
        let two = tiers("ttft", "p95", 200.0, 1_000.0);
        assert_eq!(written(two), "ttft_p95 = { target = \"200ms\", acceptable = \"1s\" }");
    }
}
