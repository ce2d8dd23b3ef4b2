//! What a stored cell says of its SLO, for a search; and what a search found, in words.

use std::path::Path;

use serde_json::Value;

use super::requests::{Requests, share_asked};
use super::{AnalysisError, words};
use crate::measure::{CellSummary, OVERLOAD, Verdict};
use crate::metrics::metric;
use crate::plan::Cell;
use crate::search::{End, Outcome, Probe, RuleEvidence};
use crate::store::{self, StoredCell};

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
    let shared = rules.iter().filter(|rule| share_asked(&rule.metric, &rule.stat).is_some());
    let metrics: Vec<&str> = shared.map(|rule| rule.metric.as_str()).collect();
    let requests = match metrics.as_slice() {
        [] => None,
        metrics => Some(Requests::read(&dir.join(store::RECORDS), metrics)?),
    };
    let rules = rules.iter().map(|rule| RuleEvidence {
        metric: rule.metric.clone(),
        stat: rule.stat.clone(),
        limit: rule.limit,
        value: summary.value(&rule.metric, &rule.stat),
        share: requests.as_ref().and_then(|r| r.share(&rule.metric, &rule.stat, rule.limit)),
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
        Some(End::Undecided) => "; of the last load that may be tried it isn't sure which it is".to_owned(),
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
