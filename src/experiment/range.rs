//! Ranges of an axis: `{ from, to, steps, scale }` or `{ from, to, step }`.

use super::mistake::{Mistake, MistakeKind};
use super::reader::Field;
use super::tree::{Node, Value};

/// Most values of one range.
const MOST: i64 = 10_000;

/// Settings that are whole numbers: their ranges are rounded, and equal values merged.
const WHOLE: [&str; 29] = [
    "load.users",
    "workload.prompt_tokens",
    "workload.prompt_tokens.mean",
    "workload.prompt_tokens.width",
    "workload.prompt_tokens.min",
    "workload.prompt_tokens.cap",
    "workload.max_tokens",
    "workload.max_tokens.mean",
    "workload.max_tokens.width",
    "workload.max_tokens.min",
    "workload.max_tokens.cap",
    "workload.query_tokens",
    "workload.query_tokens.mean",
    "workload.top_k",
    "workload.n",
    "workload.seed",
    "workload.batch",
    "workload.random_digits",
    "workload.shared_prefix.tokens",
    "workload.shared_prefix.groups",
    "workload.session.turns",
    "workload.dataset.limit",
    "workload.conversations.limit",
    "workload.images.count",
    "workload.images.width",
    "workload.images.height",
    "workload.images.pool",
    "cell.requests",
    "client.threads",
];

#[derive(Clone, Copy, PartialEq)]
enum Scale {
    Linear,
    Log,
}

/// Whether this is meant as a range.
pub(crate) fn is_range(field: &Field<'_>) -> bool {
    match &field.node.value {
        Value::Table(table) => ["from", "to", "steps", "step"].iter().any(|key| table.entry(key).is_some()),
        _ => false,
    }
}

/// The values of a range for the setting at `path`, each with the range's place.
pub(crate) fn read(field: &Field<'_>, path: &str) -> Option<Vec<Node>> {
    let section = field.section();
    let from_field = section.get("from");
    let to_field = section.get("to");
    let steps_field = section.get("steps");
    let step_field = section.get("step");
    let scale_field = section.get("scale");
    for (name, end) in [("from", &from_field), ("to", &to_field)] {
        if end.is_none() {
            let mistake = Mistake::new(MistakeKind::Missing, "missing").allowed("a number");
            section.reader.add(section.origin, section.key(name), mistake);
        }
    }
    let from = from_field.as_ref().and_then(Field::number);
    let to = to_field.as_ref().and_then(Field::number);
    let steps = steps_field.as_ref().map(|f| f.int(2, MOST));
    let step = step_field.as_ref().map(|f| f.number_in("more than 0", |x| x > 0.0));
    let scale = scale_field
        .as_ref()
        .map(|f| f.word(&[("linear", Scale::Linear), ("log", Scale::Log)]))
        .unwrap_or(Some(Scale::Linear));
    section.done();
    match (&steps_field, &step_field) {
        (Some(_), Some(step)) => {
            step.key_mistake(Mistake::new(MistakeKind::Conflict, "a range has steps or step, not both"));
            return None;
        }
        (None, None) => {
            let mistake =
                Mistake::new(MistakeKind::Missing, "a range needs its number of values or their distance")
                    .allowed("steps = 6 (so many values), or step = 2 (so far apart)");
            field.mistake(mistake);
            return None;
        }
        _ => {}
    }
    let (from, to, scale) = (from?, to?, scale?);
    if to <= from {
        let mistake = Mistake::new(MistakeKind::Conflict, "to has to be above from");
        to_field?.mistake(mistake.found(format!("{from} to {to}")));
        return None;
    }
    let values = match (steps, step) {
        (Some(steps), _) => spread(from, to, steps?, scale, &from_field?)?,
        (None, step) => paces(from, to, step.flatten()?, scale, field)?,
    };
    Some(nodes(field, path, &values))
}

/// `steps` values with both ends.
fn spread(from: f64, to: f64, steps: i64, scale: Scale, from_field: &Field<'_>) -> Option<Vec<f64>> {
    if scale == Scale::Log && from <= 0.0 {
        let mistake = Mistake::new(MistakeKind::OutOfRange, "a logarithmic range starts above 0");
        from_field.mistake(mistake.found(from_field.node.describe()));
        return None;
    }
    let last = (steps - 1) as f64;
    let value = |i: i64| {
        let share = i as f64 / last;
        match (i, scale) {
            (0, _) => from,
            (i, _) if i == steps - 1 => to,
            (_, Scale::Linear) => from + (to - from) * share,
            (_, Scale::Log) => from * (to / from).powf(share),
        }
    };
    Some((0..steps).map(value).collect())
}

/// `from`, `from + step`, … up to `to`.
fn paces(from: f64, to: f64, step: f64, scale: Scale, field: &Field<'_>) -> Option<Vec<f64>> {
    if scale == Scale::Log {
        field.mistake(Mistake::new(MistakeKind::Conflict, "a logarithmic range has steps, not step"));
        return None;
    }
    // The small share lets 0.1 + 2 × 0.1 reach 0.3.
    let count = ((to - from) / step + 1e-9).floor();
    if count >= MOST as f64 {
        field.bad(format!("more than {MOST} values"));
        return None;
    }
    Some((0..=count as i64).map(|i| from + step * i as f64).collect())
}

/// Rounds for people: whole numbers where the setting is one, else four digits.
fn nodes(field: &Field<'_>, path: &str, values: &[f64]) -> Vec<Node> {
    let whole = WHOLE.contains(&path);
    let mut rounded: Vec<f64> =
        values.iter().map(|x| if whole { x.round() } else { significant(*x, 4) }).collect();
    rounded.dedup();
    let node = |x: f64| Node {
        value: if x.fract() == 0.0 && x.abs() < 9e15 { Value::Int(x as i64) } else { Value::Float(x) },
        origin: field.node.origin,
        alias: None,
    };
    rounded.into_iter().map(node).collect()
}

fn significant(x: f64, digits: i32) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    let places = (digits - 1 - x.abs().log10().floor() as i32).clamp(0, 300) as usize;
    format!("{x:.places$}").parse().unwrap_or(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_digits() {
        assert_eq!(significant(3.162_277_66, 4), 3.162);
        assert_eq!(significant(0.001_234_567, 4), 0.001_235);
        assert_eq!(significant(123_456.7, 4), 123_457.0);
        assert_eq!(significant(0.0, 4), 0.0);
    }
}
