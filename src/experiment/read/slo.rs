//! `[slo]`: limits on a cell's figures, and on each request.

use std::time::Duration;

use super::LONGEST;
use crate::experiment::mistake::{Mistake, MistakeKind, nearest};
use crate::experiment::reader::{Field, Section};
use crate::experiment::settings::{RequestLimit, Slo, SloRule};
use crate::metrics::{Better, Kind, METRICS, Metric, STATS, Unit};

/// Metrics that a single request can be held to.
const PER_REQUEST: [&str; 4] = ["ttft", "ttfv", "tpot", "e2e"];

const SHORT: Duration = Duration::from_micros(1);

pub(super) fn read(section: Section<'_>) -> Slo {
    let request = section.get("request").map(|f| per_request(f.section()));
    let mut rules = Vec::new();
    for field in section.entries().filter(|f| f.name() != "request") {
        match find(field.name()) {
            Some((metric, stat)) => {
                let rule = |limit| SloRule { metric: metric.name.to_owned(), stat: stat.to_owned(), limit };
                rules.extend(limit(&field, metric).map(rule));
            }
            None => unknown(&field),
        }
    }
    let request = request.unwrap_or_else(|| derived(&rules));
    Slo { rules, request }
}

/// Statistics that can have a limit: all but the number of samples.
fn stats() -> impl Iterator<Item = &'static str> {
    STATS.into_iter().filter(|s| *s != "n")
}

/// The metrics that have a good direction, so that a limit means something.
fn metrics(kind: Kind) -> impl Iterator<Item = &'static Metric> {
    METRICS.iter().filter(move |m| m.kind == kind && m.better != Better::Neither)
}

/// Metric and statistic of a key: `ttft_p95`, `error_rate`.
fn find(key: &str) -> Option<(&'static Metric, &'static str)> {
    if let Some(metric) = metrics(Kind::Scalar).find(|m| m.name == key) {
        return Some((metric, ""));
    }
    let (name, stat) = key.rsplit_once('_')?;
    Some((metrics(Kind::Distribution).find(|m| m.name == name)?, stats().find(|s| *s == stat)?))
}

fn unknown(field: &Field<'_>) {
    let names = |kind| metrics(kind).map(|m| m.name).collect::<Vec<_>>();
    let keys: Vec<String> = metrics(Kind::Distribution)
        .flat_map(|m| stats().map(move |s| format!("{}_{s}", m.name)))
        .chain(metrics(Kind::Scalar).map(|m| m.name.to_owned()))
        .collect();
    let allowed = format!(
        "<metric>_<statistic> with metric {} and statistic {}; or {}; or request",
        names(Kind::Distribution).join(", "),
        stats().collect::<Vec<_>>().join(", "),
        names(Kind::Scalar).join(", ")
    );
    let near = if metrics(Kind::Distribution).any(|m| m.name == field.name()) {
        Some(format!("{}_p95", field.name()))
    } else {
        nearest(field.name(), keys.iter().map(String::as_str)).map(str::to_owned)
    };
    field.key_mistake(Mistake::new(MistakeKind::UnknownKey, "unknown key").nearest(near).allowed(allowed));
}

/// The limit in the metric's unit: a duration for times, a share for ratios, else a number.
fn limit(field: &Field<'_>, metric: &Metric) -> Option<f64> {
    match metric.unit {
        Unit::Ms => field.duration(SHORT, LONGEST).map(millis),
        Unit::Seconds => field.duration(SHORT, LONGEST).map(|d| d.as_secs_f64()),
        Unit::Ratio => field.share(),
        _ => field.number_in("at least 0", |x| x >= 0.0),
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e6
}

fn per_request(section: Section<'_>) -> Vec<RequestLimit> {
    let limits = PER_REQUEST.iter().filter_map(|metric| {
        let limit = section.get(metric)?.duration(SHORT, LONGEST)?;
        Some(RequestLimit { metric: (*metric).to_owned(), limit_ms: millis(limit) })
    });
    let limits = limits.collect();
    section.done();
    limits
}

/// Without `[slo.request]`: the limits of the rules, the widest where a metric has several
/// (one request may well be above the median's limit).
fn derived(rules: &[SloRule]) -> Vec<RequestLimit> {
    let widest = |metric: &&'static str| {
        let limits = rules.iter().filter(|r| r.metric == **metric).map(|r| r.limit);
        let limit_ms = limits.reduce(f64::max)?;
        Some(RequestLimit { metric: (**metric).to_owned(), limit_ms })
    };
    PER_REQUEST.iter().filter_map(widest).collect()
}
