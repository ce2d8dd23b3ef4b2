//! What a stored cell says of its SLO, for a search; and what a search found, in words.

use std::path::Path;

use serde_json::Value;

use super::{AnalysisError, read_requests, words};
use crate::experiment::SloRule;
use crate::measure::{self, CellSummary, OVERLOAD, Verdict};
use crate::metrics::{Better, metric};
use crate::plan::Cell;
use crate::record::{Outcome as Ended, Phase, RequestRecord};
use crate::search::{End, Outcome, Probe, RuleEvidence, Share};
use crate::stats::effective_share_n;
use crate::store::{self, StoredCell};

/// The percentiles that a rule can be about, with the share of requests below each.
const PERCENTILES: [(&str, f64); 6] =
    [("p50", 0.5), ("p75", 0.75), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999)];

/// What the finished `cell` of the run at `run` says of its SLO at this `load`; `None` where it
/// has not finished.
///
/// # Errors
/// When its files can't be read.
pub fn probe_of(run: &Path, cell: &Cell, load: f64) -> Result<Option<Probe>, AnalysisError> {
    let dir = run.join(store::cell_dir(cell));
    let stored = StoredCell::read(&dir.join(store::SUMMARY_JSON))?;
    let Some(summary) = stored.filter(|stored| stored.is_of(cell)).map(|stored| stored.summary) else {
        return Ok(None);
    };
    let rules = &cell.settings.slo.rules;
    let mut requests = Vec::new();
    if rules.iter().any(|rule| share_asked(rule).is_some()) {
        requests = read_requests(&dir.join(store::RECORDS))?;
        requests.sort_by_key(|request| (request.intended_us, request.seq));
    }
    let rules = rules.iter().map(|rule| RuleEvidence {
        metric: rule.metric.clone(),
        stat: rule.stat.clone(),
        limit: rule.limit,
        value: summary.value(&rule.metric, &rule.stat),
        share: share_asked(rule).map(|asked| share(rule, asked, &requests)),
    });
    Ok(Some(Probe {
        cell: cell.index,
        load,
        rules: rules.collect(),
        overloaded: summary.validity.reasons.iter().any(|reason| reason.signal == OVERLOAD),
        invalid: invalid(&summary),
        requests: summary.counts.attempted,
        seconds: seconds(&summary),
    }))
}

/// Why the client's figures can't be believed. That nothing was answered is the server's doing,
/// and a verdict.
fn invalid(summary: &CellSummary) -> Option<String> {
    let validity = &summary.validity;
    if validity.verdict != Verdict::Invalid || (summary.counts.ok == 0 && summary.counts.sent > 0) {
        return None;
    }
    validity
        .reasons
        .iter()
        .find(|reason| reason.verdict == Verdict::Invalid)
        .map(|reason| reason.text.clone())
}

fn seconds(summary: &CellSummary) -> f64 {
    let time = |text: &str| text.parse::<jiff::Timestamp>().ok();
    match (time(&summary.started_at), time(&summary.ended_at)) {
        (Some(from), Some(to)) => (to - from).total(jiff::Unit::Second).unwrap_or_default().max(0.0),
        _ => 0.0,
    }
}

fn higher_is_better(rule: &SloRule) -> bool {
    metric(&rule.metric).is_some_and(|metric| metric.better == Better::Higher)
}

/// The share of requests that have to keep the limit of a rule on a percentile of what each
/// request has. Of a figure of which more is better, the p95 is what a twentieth has to reach.
fn share_asked(rule: &SloRule) -> Option<f64> {
    let (_, below) = PERCENTILES.iter().find(|(name, _)| *name == rule.stat)?;
    let of_requests = measure::PER_REQUEST.contains(&rule.metric.as_str());
    of_requests.then(|| if higher_is_better(rule) { 1.0 - below } else { *below })
}

/// How many of the requests due in the window, in the order in which they were due, kept the
/// limit. One that failed, was dropped or was still unanswered in the end did not; one that this
/// client cut off, or that has no such figure, says nothing.
fn share(rule: &SloRule, asked: f64, requests: &[RequestRecord]) -> Share {
    let higher = higher_is_better(rule);
    let missed = |request: &RequestRecord| match request.outcome {
        Ended::Cancelled => None,
        Ended::Ok => {
            let value = measure::of_request(&rule.metric, request)?;
            Some(if higher { value < rule.limit } else { value > rule.limit })
        }
        _ => Some(true),
    };
    let measured = requests.iter().filter(|request| request.phase == Phase::Measure);
    let missed: Vec<bool> = measured.filter_map(missed).collect();
    Share {
        asked,
        requests: missed.len() as u64,
        violations: missed.iter().filter(|missed| **missed).count() as u64,
        effective: effective_share_n(&missed),
    }
}

/// What a search found: `greatest load within the SLO: 12.4 req/s (12.1–12.7) at 512 → 128; TTFT
/// p95 binds; 9 probes`.
#[must_use]
pub fn sentence(found: &Outcome) -> String {
    let at = shape(found);
    let level = |load: f64| words::level(&found.axis, round(load));
    let number = |load: f64| super::text::tick(round(load));
    let mut text = match (found.last_pass, found.first_fail, found.estimate) {
        (Some(low), Some(high), Some(estimate)) => {
            format!(
                "greatest load within the SLO: {} ({}–{}){at}",
                level(estimate),
                number(low),
                number(high)
            )
        }
        // The line through undecided ones says nothing between them; the two sides do.
        (Some(low), Some(high), None) => {
            format!("greatest load within the SLO: between {} and {}{at}", number(low), level(high))
        }
        (Some(low), None, None) => format!("greatest load within the SLO: at least {}{at}", level(low)),
        (None, Some(high), None) => format!("no load within the SLO was found, down to {}{at}", level(high)),
        // Undecided ones stand where a side is missing.
        (low, high, Some(estimate)) => {
            let side = |load: Option<f64>| load.map_or_else(|| "not known".to_owned(), number);
            let (low, high) = (side(low), side(high));
            format!("greatest load within the SLO: about {} ({low} to {high}){at}", level(estimate))
        }
        _ => format!("no load was judged{at}"),
    };
    if let Some(binds) = &found.binds {
        text.push_str(&format!("; {} binds", binding(binds)));
    }
    let probes = if found.probes == 1 { "probe" } else { "probes" };
    text.push_str(&format!("; {} {probes}", found.probes));
    if found.non_monotone {
        text.push_str("; not monotone: a greater load fared better than a lesser one");
    }
    text + &end(found)
}

/// The other axes: ` at 512 → 128`, ` at prompt_tokens=512 model=a`.
fn shape(found: &Outcome) -> String {
    const LENGTHS: [&str; 2] = ["workload.prompt_tokens", "workload.max_tokens"];
    let value = |path: &str| found.shape.get(path).filter(|value| !value.is_null()).map(super::plain);
    let lengths = LENGTHS.map(value);
    let mut parts: Vec<String> = Vec::new();
    if let [Some(prompt), Some(output)] = &lengths {
        parts.push(format!("{prompt} → {output}"));
    }
    let named = |path: &String| !(parts.len() == 1 && LENGTHS.contains(&path.as_str()));
    let others = found.shape.iter().filter(|(path, value)| named(path) && **value != Value::Null);
    let others: Vec<String> =
        others.map(|(path, value)| format!("{}={}", super::short_name(path), super::plain(value))).collect();
    parts.extend(others);
    if parts.is_empty() { String::new() } else { format!(" at {}", parts.join(", ")) }
}

/// A rule's column in words.
fn binding(column: &str) -> String {
    match column.rsplit_once('_') {
        Some((name, stat)) if metric(column).is_none() => words::metric_name(name, stat),
        _ => words::metric_name(column, ""),
    }
}

fn end(found: &Outcome) -> String {
    match &found.end {
        None => "; not finished".to_owned(),
        Some(End::Settled) => String::new(),
        Some(End::AllPass) => "; the greatest load that may be tried passes".to_owned(),
        Some(End::NonePass) => "; the least load that may be tried fails".to_owned(),
        Some(End::ProbesRanOut) => "; stopped: as many probes as may be".to_owned(),
        Some(End::TimeRanOut) => "; stopped: no time for another probe".to_owned(),
        Some(End::Invalid { reason }) => format!("; stopped: two probes at one load were invalid: {reason}"),
        Some(End::Impossible { reason }) => format!("; stopped: {reason}"),
    }
}

/// Three digits: more are not known.
fn round(load: f64) -> f64 {
    format!("{load:.2e}").parse().unwrap_or(load)
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
