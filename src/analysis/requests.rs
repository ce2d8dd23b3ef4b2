//! The requests of a cell, as far as a verdict on it needs them; and what they say of a rule.

use std::path::Path;

use super::{AnalysisError, Records};
use crate::measure::of_request;
use crate::metrics::{Better, metric};
use crate::record::{Outcome, Phase, RequestRecord};
use crate::stats::{Share, effective_share_n, quantile};

/// Metrics of which each request has a value, with the columns that it is made of.
const COLUMNS: [(&str, &[&str]); 10] = [
    ("ttft", &["intended_us", "first_token_us"]),
    ("ttfv", &["intended_us", "first_visible_us"]),
    ("tpot", &["first_token_us", "last_token_us", "output_tokens"]),
    ("user_tps", &["first_token_us", "last_token_us", "output_tokens"]),
    ("e2e", &["intended_us", "last_token_us"]),
    ("ttft_service", &["sent_us", "first_token_us"]),
    ("e2e_service", &["sent_us", "last_token_us"]),
    ("second_chunk_gap", &["first_token_us", "second_chunk_us"]),
    ("max_gap", &["max_gap_us"]),
    ("normalised_latency", &["intended_us", "last_token_us", "output_tokens"]),
];

/// The percentiles that a rule can be about, with the share of requests below each.
const PERCENTILES: [(&str, f64); 6] =
    [("p50", 0.5), ("p75", 0.75), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999)];

/// The share of requests below a percentile: 0.95 of `p95`.
pub(super) fn below(stat: &str) -> Option<f64> {
    PERCENTILES.iter().find(|(name, _)| *name == stat).map(|(_, below)| *below)
}

/// The share of requests that have to keep the limit of a rule on a percentile of what each
/// request has. Of a figure of which more is better, the p95 is what a twentieth has to reach.
pub(super) fn share_asked(metric: &str, stat: &str) -> Option<f64> {
    let below = below(stat)?;
    is_per_request(metric).then(|| if higher_is_better(metric) { 1.0 - below } else { below })
}

pub(super) fn higher_is_better(name: &str) -> bool {
    metric(name).is_some_and(|m| m.better == Better::Higher)
}

/// Whether a metric's values can be read from the requests.
pub(super) fn is_per_request(metric: &str) -> bool {
    COLUMNS.iter().any(|(name, _)| *name == metric)
}

/// The requests of one cell and repeat that were due in its window, in the order of sending.
/// Only what the asked metrics need is filled in.
pub(super) struct Requests(Vec<RequestRecord>);

impl Requests {
    /// Read what `metrics` need of the `records.parquet` at `path`.
    ///
    /// # Errors
    /// When the file can't be read.
    pub(super) fn read(path: &Path, metrics: &[&str]) -> Result<Self, AnalysisError> {
        let mut columns = vec!["intended_us", "sent_us", "phase", "outcome"];
        let made_of = COLUMNS.iter().filter(|(name, _)| metrics.contains(name)).flat_map(|(_, of)| *of);
        made_of.for_each(|c| {
            if !columns.contains(c) {
                columns.push(c);
            }
        });
        let by_token = columns.contains(&"output_tokens");
        let has = |name| columns.contains(&name);
        // Runs of earlier versions lack the column.
        let records = Records::read_with(path, &columns, if by_token { &["choices"] } else { &[] })?;
        let n = records.len();
        let micros = |name: &'static str| if has(name) { records.counts(name) } else { Ok(vec![None; n]) };
        let (intended, sent) = (micros("intended_us")?, micros("sent_us")?);
        let (first, last) = (micros("first_token_us")?, micros("last_token_us")?);
        let (visible, second) = (micros("first_visible_us")?, micros("second_chunk_us")?);
        let (gap, tokens) = (micros("max_gap_us")?, micros("output_tokens")?);
        let choices = if records.has("choices") { records.counts("choices")? } else { vec![None; n] };
        let (phase, outcome) = (records.words("phase")?, records.words("outcome")?);
        let small = |value: Option<u64>| value.and_then(|v| u32::try_from(v).ok());
        let of = |word: Option<&str>| Outcome::ALL.into_iter().find(|o| Some(o.name()) == word);
        let mut out: Vec<RequestRecord> = (0..n)
            .filter(|&i| phase[i].as_deref() == Some("measure"))
            .map(|i| RequestRecord {
                phase: Phase::Measure,
                intended_us: intended[i].unwrap_or_default(),
                sent_us: sent[i],
                first_token_us: first[i],
                first_visible_us: visible[i],
                second_chunk_us: second[i],
                last_token_us: last[i],
                output_tokens: small(tokens[i]),
                max_gap_us: gap[i],
                choices: small(choices[i]),
                outcome: of(outcome[i].as_deref()).unwrap_or(Outcome::Dropped),
                ..RequestRecord::blank(i as u64)
            })
            .collect();
        out.sort_by_key(|r| (r.sent_us.unwrap_or(r.intended_us), r.seq));
        Ok(Self(out))
    }

    /// A metric's samples as its distribution has them: of good answers.
    pub(super) fn samples(&self, metric: &str) -> Vec<f64> {
        let good = self.0.iter().filter(|r| r.outcome == Outcome::Ok);
        good.filter_map(|r| of_request(metric, r)).collect()
    }

    /// Of each request that counts into the error rate, whether it failed.
    pub(super) fn failures(&self) -> Vec<bool> {
        let asked = self.0.iter().filter(|r| r.outcome != Outcome::Cancelled);
        asked.map(|r| r.outcome.is_failure()).collect()
    }

    /// How many kept the limit of a rule on a percentile. One that failed, was dropped or was still
    /// unanswered in the end did not; one that this client cut off, or that has no such figure,
    /// says nothing. What they are worth is read from which lie above the percentile itself: above
    /// the limit may be none, however much they hang together. `None` where the rule is on no
    /// percentile of requests.
    pub(super) fn share(&self, metric: &str, stat: &str, limit: f64) -> Option<Share> {
        let (asked, below) = (share_asked(metric, stat)?, below(stat)?);
        let higher = higher_is_better(metric);
        let value = |r: &RequestRecord| match r.outcome {
            Outcome::Cancelled => None,
            Outcome::Ok => of_request(metric, r).map(Some),
            _ => Some(None),
        };
        let values: Vec<Option<f64>> = self.0.iter().filter_map(value).collect();
        let mut good: Vec<f64> = values.iter().copied().flatten().collect();
        good.sort_unstable_by(f64::total_cmp);
        let at = quantile(&good, below).unwrap_or(f64::INFINITY);
        let above: Vec<bool> = values.iter().map(|v| v.is_none_or(|v| v > at)).collect();
        let missed = |v: &f64| if higher { *v < limit } else { *v > limit };
        Some(Share {
            asked,
            requests: values.len() as u64,
            violations: values.iter().filter(|v| v.as_ref().is_none_or(missed)).count() as u64,
            effective: effective_share_n(&above),
        })
    }
}

#[cfg(test)]
#[path = "requests_tests.rs"]
mod tests;
