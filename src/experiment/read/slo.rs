//! `[slo]`: limits on a cell's figures, and on each request.

use std::time::Duration;

use super::LONGEST;
use crate::experiment::mistake::{Mistake, MistakeKind};
use crate::experiment::presets::{self, SloPreset};
use crate::experiment::quantity;
use crate::experiment::reader::{Field, Section};
use crate::experiment::settings::{Gate, RequestLimit, Slo, SloRule};
use crate::experiment::tree::Value as Written;
use crate::metrics::{Better, Metric, Unit};

/// Metrics that a single request can be held to.
const PER_REQUEST: [&str; 4] = ["ttft", "ttfv", "tpot", "e2e"];

const SHORT: Duration = Duration::from_micros(1);

/// Keys of the section that are no rules.
const OTHERS: [&str; 3] = ["request", "preset", "gate"];

pub(crate) fn read(section: Section<'_>) -> Slo {
    let request = section.get("request").map(|f| per_request(f.section()));
    let presets = section.get("preset").map(|f| read_presets(&f)).unwrap_or_default();
    let gate = section.get("gate").and_then(|f| read_gate(&f)).unwrap_or_default();
    let mut rules: Vec<SloRule> = Vec::new();
    // Whoever comes later has the last word: the file's own keys over every preset's.
    let mut put =
        |rule: SloRule| match rules.iter_mut().find(|r| (&r.metric, &r.stat) == (&rule.metric, &rule.stat)) {
            Some(known) => *known = rule,
            None => rules.push(rule),
        };
    presets.iter().flat_map(|preset| preset.rules).for_each(|rule| put(rule.rule()));
    for field in section.entries().filter(|f| !OTHERS.contains(&f.name())) {
        match quantity::find(field.name()) {
            Some((metric, stat)) => read_rule(&field, metric, stat).into_iter().for_each(&mut put),
            None => quantity::unknown(&field, &OTHERS),
        }
    }
    let request = request.unwrap_or_else(|| derived(&rules));
    Slo { rules, request, presets: presets.iter().map(|preset| preset.name.to_owned()).collect(), gate }
}

/// One name, or a list of them.
fn read_presets(field: &Field<'_>) -> Vec<&'static SloPreset> {
    let one = |field: &Field<'_>| {
        let text = field.str()?;
        let found = presets::find(text);
        if found.is_none() {
            let names: Vec<&str> = presets::PRESETS.iter().map(|preset| preset.name).collect();
            field.unknown_word(text, &names);
        }
        found
    };
    let Written::Array(items) = &field.node.value else { return one(field).into_iter().collect() };
    let item = |(i, node)| one(&field.item(node, format!("{}[{}]", field.key(), i + 1)));
    items.iter().enumerate().filter_map(item).collect()
}

/// `true`, `false`, or `"target"`.
fn read_gate(field: &Field<'_>) -> Option<Gate> {
    match &field.node.value {
        Written::Bool(true) => Some(Gate::Acceptable),
        Written::Bool(false) => Some(Gate::Off),
        Written::Str(_) => field.word(&[("target", Gate::Target)]),
        _ => {
            field.wrong_type("true, false or \"target\"");
            None
        }
    }
}

/// One limit, or `{ target, acceptable }`.
fn read_rule(field: &Field<'_>, metric: &Metric, stat: &str) -> Option<SloRule> {
    let rule =
        |limit, target| SloRule { metric: metric.name.to_owned(), stat: stat.to_owned(), limit, target };
    if !field.is_table() {
        return limit(field, metric).map(|limit| rule(limit, None));
    }
    let inner = field.section();
    let (target, acceptable) = (inner.get("target"), inner.get("acceptable"));
    for (key, found) in [("target", &target), ("acceptable", &acceptable)] {
        if found.is_none() {
            let mistake = Mistake::new(MistakeKind::Missing, "missing");
            let allowed = "target and acceptable together; a single limit is written without the braces";
            inner.reader.add(inner.origin, inner.key(key), mistake.allowed(allowed));
        }
    }
    inner.done();
    let target = target.as_ref().and_then(|f| limit(f, metric));
    let acceptable = acceptable.as_ref().and_then(|f| limit(f, metric));
    let (target, acceptable) = (target?, acceptable?);
    let easier = if metric.better == Better::Higher { target < acceptable } else { target > acceptable };
    if easier {
        let side = if metric.better == Better::Higher { "at least" } else { "at most" };
        let problem = format!("the target has to be {side} what is acceptable");
        field.mistake(Mistake::new(MistakeKind::Conflict, problem));
        return None;
    }
    Some(rule(acceptable, Some(target)))
}

/// Whether a limit under this key is a least value. `None` for an unknown key.
pub(crate) fn is_floor(key: &str) -> Option<bool> {
    quantity::find(key).map(|(metric, _)| metric.better == Better::Higher)
}

/// The limit in the metric's unit: a duration for times, a share for ratios, else a number.
pub(super) fn limit(field: &Field<'_>, metric: &Metric) -> Option<f64> {
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
