//! `[compare]`: what a comparison with a baseline is held to.

use std::collections::BTreeMap;

use super::slo;
use crate::experiment::gate::GateSettings;
use crate::experiment::mistake::{Mistake, MistakeKind};
use crate::experiment::quantity::{self, Quantity};
use crate::experiment::reader::{Field, Section};
use crate::metrics::{Better, Metric};

/// Most repeats that can be asked for.
const MOST_REPEATS: u32 = 1000;

pub(crate) fn compare(section: Section<'_>) -> GateSettings {
    let usual = GateSettings::default();
    let chance = |key: &'static str, otherwise: f64| {
        let value =
            section.get(key).and_then(|f| f.number_in("more than 0, at most 0.5", |x| x > 0.0 && x <= 0.5));
        value.unwrap_or(otherwise)
    };
    let rules = |key: &'static str, read: &dyn Fn(&Field<'_>, &'static Metric) -> Option<f64>| {
        section.get(key).map(|field| by_quantity(field.section(), read)).unwrap_or_default()
    };
    let gate = GateSettings {
        baseline: section.get("baseline").and_then(|f| f.text()),
        primary: section.get("primary").and_then(|f| primary(&f)),
        alpha: chance("alpha", usual.alpha),
        q: chance("q", usual.q),
        margin: rules("margin", &|field, _| field.share()),
        limit: rules("limit", &limit),
        max: rules("max", &|field, metric| bound(field, metric, Better::Lower, "min")),
        min: rules("min", &|field, metric| bound(field, metric, Better::Higher, "max")),
        min_repeats: section
            .get("min_repeats")
            .and_then(|f| f.u32(1, MOST_REPEATS))
            .unwrap_or(usual.min_repeats),
        strict: section.get("strict").and_then(|f| f.bool()).unwrap_or(usual.strict),
    };
    section.done();
    gate
}

/// A list of keys; at least one.
fn primary(field: &Field<'_>) -> Option<Vec<Quantity>> {
    let items = field.items()?;
    if items.is_empty() {
        field.bad("names no figure, so that nothing would decide");
        return None;
    }
    let mut named: Vec<Quantity> = Vec::new();
    for (i, node) in items.iter().enumerate() {
        let quantity = quantity::of_text(&field.item(node, format!("{}[{}]", field.key(), i + 1)))?;
        if !named.contains(&quantity) {
            named.push(quantity);
        }
    }
    Some(named)
}

/// A table of values by the keys of figures.
fn by_quantity(
    section: Section<'_>,
    read: &dyn Fn(&Field<'_>, &'static Metric) -> Option<f64>,
) -> BTreeMap<Quantity, f64> {
    let mut found = BTreeMap::new();
    for field in section.entries() {
        match quantity::find(field.name()) {
            Some((metric, stat)) => {
                found.extend(read(&field, metric).map(|value| (Quantity::new(metric.name, stat), value)));
            }
            None => quantity::unknown(&field, &[]),
        }
    }
    found
}

/// How many times the baseline is still good.
fn limit(field: &Field<'_>, metric: &Metric) -> Option<f64> {
    if metric.better == Better::Higher {
        return field.number_in("more than 0, at most 1: 0.9 fails below 0.9 × the baseline", |x| {
            x > 0.0 && x <= 1.0
        });
    }
    field.number_in("1 to 1000: 1.2 fails above 1.2 × the baseline", |x| (1.0..=1000.0).contains(&x))
}

/// A limit in the metric's unit, on the side where it is worse.
fn bound(field: &Field<'_>, metric: &Metric, wanted: Better, other: &str) -> Option<f64> {
    if metric.better != wanted {
        let side = if wanted == Better::Lower { "more of it is better" } else { "less of it is better" };
        let problem = format!("cannot be a limit: {side}");
        let right = format!("{other}.{}", field.name());
        field.key_mistake(Mistake::new(MistakeKind::Conflict, problem).nearest(Some(right)));
        return None;
    }
    slo::limit(field, metric)
}
