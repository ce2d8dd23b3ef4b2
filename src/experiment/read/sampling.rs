//! Sampling settings: keys of `[workload]` that go to the wire under their own names.

use serde_json::{Map, Value};

use crate::experiment::reader::{Field, Section};
use crate::experiment::tree::Value as Written;

/// The word for a seed of each request's own.
const PER_REQUEST: &str = "per_request";

/// What a sampling key may hold.
enum Takes {
    Number(&'static str, fn(f64) -> bool),
    Int(i64, i64),
    /// `stop`: a text or a list of texts.
    Texts,
    /// `logprobs`: true or false (chat), or a number (completions).
    BoolOrInt(i64, i64),
    Bool,
    Word(&'static [&'static str]),
    /// `seed`: a number, or [`PER_REQUEST`].
    Seed,
    /// `tools`: a list of tables, or `@file.json` with one.
    Tables,
    /// `response_format`: a table, or `@file.json` with one.
    Table,
    /// `tool_choice`: a word or a table.
    WordOrTable,
}

/// Sampling settings, by their names on the wire.
const SAMPLING: [(&str, Takes); 22] = [
    ("temperature", Takes::Number("0 to 2", |x| (0.0..=2.0).contains(&x))),
    ("top_p", Takes::Number("more than 0, at most 1", |x| x > 0.0 && x <= 1.0)),
    ("top_k", Takes::Int(-1, 1_000_000)),
    ("min_p", Takes::Number("0 to 1", |x| (0.0..=1.0).contains(&x))),
    ("typical_p", Takes::Number("more than 0, at most 1", |x| x > 0.0 && x <= 1.0)),
    ("seed", Takes::Seed),
    ("stop", Takes::Texts),
    ("n", Takes::Int(1, 128)),
    ("best_of", Takes::Int(1, 128)),
    ("logprobs", Takes::BoolOrInt(0, 100)),
    ("top_logprobs", Takes::Int(0, 100)),
    ("prompt_logprobs", Takes::Int(0, 100)),
    ("presence_penalty", Takes::Number("-2 to 2", |x| (-2.0..=2.0).contains(&x))),
    ("frequency_penalty", Takes::Number("-2 to 2", |x| (-2.0..=2.0).contains(&x))),
    ("repetition_penalty", Takes::Number("more than 0, at most 10", |x| x > 0.0 && x <= 10.0)),
    ("reasoning_effort", Takes::Word(&["none", "minimal", "low", "medium", "high", "xhigh"])),
    ("tools", Takes::Tables),
    ("tool_choice", Takes::WordOrTable),
    ("parallel_tool_calls", Takes::Bool),
    ("response_format", Takes::Table),
    ("dimensions", Takes::Int(1, 1_000_000)),
    ("top_n", Takes::Int(1, 1_000_000)),
];

/// The names of sampling settings.
pub(super) fn sampling_names() -> impl Iterator<Item = &'static str> {
    SAMPLING.iter().map(|(name, _)| *name)
}

/// The settings, and whether each request has a seed of its own.
pub(super) fn read(section: &Section<'_>) -> (Map<String, Value>, bool) {
    let mut sampling = Map::new();
    let mut seed_per_request = false;
    for (name, takes) in &SAMPLING {
        let Some(field) = section.get(name) else { continue };
        let value = match takes {
            Takes::Number(allowed, fits) => field.number_in(allowed, fits).map(|_| field.node.json()),
            Takes::Int(min, max) => field.int(*min, *max).map(Value::from),
            Takes::Texts => texts(&field),
            Takes::Bool => field.bool().map(Value::Bool),
            Takes::BoolOrInt(min, max) => match &field.node.value {
                Written::Bool(b) => Some(Value::Bool(*b)),
                Written::Int(_) => field.int(*min, *max).map(Value::from),
                _ => {
                    field.wrong_type("true, false or a number");
                    None
                }
            },
            Takes::Word(words) => word(&field, words),
            Takes::Seed => match &field.node.value {
                // `"10k"` is a number too.
                Written::Str(text) if text.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                    seed_per_request = field.word(&[(PER_REQUEST, ())]).is_some();
                    None
                }
                _ => field.int(i64::MIN, i64::MAX).map(Value::from),
            },
            Takes::Tables => json(&field, "a list of tables, or \"@file.json\"", |value| {
                value.as_array().is_some_and(|items| !items.is_empty() && items.iter().all(Value::is_object))
            }),
            Takes::Table => json(&field, "a table, or \"@file.json\"", Value::is_object),
            Takes::WordOrTable => match &field.node.value {
                Written::Table(_) => Some(field.node.json()),
                _ => word(&field, &["none", "auto", "required"]),
            },
        };
        if let Some(value) = value {
            sampling.insert((*name).to_owned(), value);
        }
    }
    (sampling, seed_per_request)
}

fn word(field: &Field<'_>, words: &[&str]) -> Option<Value> {
    let words: Vec<(&str, &str)> = words.iter().map(|w| (*w, *w)).collect();
    field.word(&words).map(Value::from)
}

/// What is written here, or in the file that `@` names, if `fits` holds for it.
fn json(field: &Field<'_>, wanted: &str, fits: fn(&Value) -> bool) -> Option<Value> {
    let value = if matches!(&field.node.value, Written::Str(text) if text.starts_with('@')) {
        match serde_json::from_str(&field.text_or_file()?) {
            Ok(value) => value,
            Err(error) => {
                field.bad(format!("the file is not JSON: {error}"));
                return None;
            }
        }
    } else {
        field.node.json()
    };
    if !fits(&value) {
        field.wrong_type(wanted);
        return None;
    }
    Some(value)
}

fn texts(field: &Field<'_>) -> Option<Value> {
    if let Written::Str(text) = &field.node.value {
        return Some(Value::from(text.clone()));
    }
    let Written::Array(items) = &field.node.value else {
        field.wrong_type("a text or a list of texts");
        return None;
    };
    let texts = items.iter().enumerate().map(|(i, node)| {
        let item = field.item(node, format!("{}[{}]", field.key(), i + 1));
        item.str().map(Value::from)
    });
    texts.collect::<Option<Vec<_>>>().map(Value::Array)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_know_the_same_names() {
        let ours: Vec<&str> = sampling_names().collect();
        assert_eq!(ours, crate::provider::SAMPLING);
    }
}
