//! Counts, rules, definitions and documents of a run, for the page's template.

use serde::Serialize;
use serde_json::Value;

use crate::analysis::RunData;
use crate::measure::validity::{SIGNALS, Signal};
use crate::metrics;
use crate::report::findings::{self, Findings};
use crate::report::signs::class;

#[derive(Serialize)]
pub(in crate::report) struct Facts {
    ran: Vec<String>,
    figures: Vec<String>,
    rules: Vec<Rule>,
}

#[derive(Serialize)]
pub(in crate::report) struct Rule {
    rule: String,
    word: &'static str,
    class: &'static str,
    /// Of the believable cells, how many meet it.
    share: String,
    worst: String,
}

impl Facts {
    pub(in crate::report) fn of(found: Findings) -> Self {
        let rule = |r: findings::RuleLine| Rule {
            rule: r.rule,
            word: r.status.word(),
            class: class(r.status.into()),
            share: match r.acceptable {
                0 => format!("{} of {}", r.passed, r.of),
                n => format!("{} of {}, acceptable in {n} more", r.passed, r.of),
            },
            worst: r.worst,
        };
        Self { ran: found.ran, figures: found.figures, rules: found.rules.into_iter().map(rule).collect() }
    }
}

#[derive(Serialize)]
pub(in crate::report) struct SignalRow {
    name: &'static str,
    warn: String,
    invalid: String,
    help: &'static str,
}

/// Every signal of validity, with its limits.
pub(in crate::report) fn signals() -> Vec<SignalRow> {
    let row = |s: &Signal| SignalRow {
        name: s.name,
        warn: s.warn.words(s.unit),
        invalid: s.invalid.words(s.unit),
        help: s.help,
    };
    SIGNALS.iter().map(row).collect()
}

#[derive(Serialize)]
pub(in crate::report) struct Definition {
    name: &'static str,
    unit: &'static str,
    better: &'static str,
    help: &'static str,
}

impl Definition {
    pub(in crate::report) fn of(metric: &metrics::Metric) -> Self {
        let better = match metric.better {
            metrics::Better::Lower => "lower",
            metrics::Better::Higher => "higher",
            metrics::Better::Neither => "–",
        };
        Self { name: metric.name, unit: metric.unit.label(), better, help: metric.help }
    }
}

/// The servers that a run asks, each with model and API.
pub(in crate::report) fn under_test(run: &RunData) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for (target, _) in run.cells.iter().flat_map(|c| c.cell.settings.parts()) {
        let server = if target.url.starts_with("sim:") { "the embedded simulator" } else { &target.url };
        let model = match target.model.as_str() {
            "" | "auto" => String::new(),
            model => format!(", model {model}"),
        };
        let text = format!("{server}{model}, by {}", target.api);
        if !out.contains(&text) {
            out.push(text);
        }
    }
    out
}

/// Leaves of a JSON document by dotted path.
pub(in crate::report) fn flat(value: &Value) -> Vec<(String, String)> {
    fn walk(path: &str, value: &Value, out: &mut Vec<(String, String)>) {
        let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        match value {
            Value::Object(map) => map.iter().for_each(|(k, v)| walk(&join(k), v, out)),
            Value::Array(items) if items.iter().any(|i| i.is_object() || i.is_array()) => {
                items.iter().enumerate().for_each(|(i, v)| walk(&join(&i.to_string()), v, out));
            }
            Value::Array(items) => {
                out.push((path.to_owned(), items.iter().map(leaf).collect::<Vec<_>>().join(", ")));
            }
            other => out.push((path.to_owned(), leaf(other))),
        }
    }
    fn leaf(value: &Value) -> String {
        match value {
            Value::Null => "not known".to_owned(),
            Value::String(s) => s.clone(),
            other => other.to_string(),
        }
    }
    let mut out = Vec::new();
    if !value.is_null() {
        walk("", value, &mut out);
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_become_rows() {
        let rows = flat(&json!({ "cpu": { "cores": 2 }, "disks": ["a", "b"], "gpu": null }));
        let expected = [("cpu.cores", "2"), ("disks", "a, b"), ("gpu", "not known")];
        assert_eq!(rows, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert!(flat(&Value::Null).is_empty());
    }
}
