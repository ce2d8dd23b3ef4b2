//! What tells two plans apart, in words: why a run can't be resumed.

use serde_json::Value;

use super::Plan;
use super::factors::in_words;

/// The first difference that matters between the plan of a run and the one that is to go on
/// with it. Where name, seed and cells are the same, only the salt is left.
#[must_use]
pub fn difference(run: &Plan, now: &Plan) -> String {
    if run.name != now.name {
        return format!("its name is {:?}, not {:?}", run.name, now.name);
    }
    if run.seed != now.seed {
        return format!("its seed is {}, not {}", run.seed, now.seed);
    }
    let rules = |plan: &Plan| plan.searches.iter().map(|search| search.rules.clone()).collect::<Vec<_>>();
    if rules(run) != rules(now) {
        return match (run.searches.is_empty(), now.searches.is_empty()) {
            (true, _) => "it is no search".to_owned(),
            (_, true) => "it is a search".to_owned(),
            _ => "its search has other settings".to_owned(),
        };
    }
    // What a search has decided on since is in the run's plan alone.
    if run.cells.len() != now.cells.len() && run.searches.is_empty() {
        let (theirs, ours) = (run.cells.len(), now.cells.len());
        let cells = if theirs == 1 { "cell" } else { "cells" };
        return format!("it has {theirs} {cells}, not {ours} (repeats counted)");
    }
    for (theirs, ours) in run.cells.iter().zip(&now.cells) {
        let number = theirs.index + 1;
        if (&theirs.id, theirs.repeat) != (&ours.id, ours.repeat) {
            return format!(
                "its cell {number} is {} (repeat {}), not {} (repeat {})",
                in_words(&theirs.factors),
                theirs.repeat,
                in_words(&ours.factors),
                ours.repeat
            );
        }
        let json = |cell: &super::Cell| serde_json::to_value(&cell.settings).unwrap_or_default();
        if let Some((path, theirs, ours)) = first_difference("", &json(theirs), &json(ours)) {
            return format!("in its cell {number} {}", setting_differs(&path, &theirs, &ours));
        }
    }
    "its salt is another".to_owned()
}

/// `cell.duration is 2s, not 1s`.
fn setting_differs(path: &str, theirs: &Value, ours: &Value) -> String {
    // A time is stored as its seconds and the nanoseconds beside them.
    if let Some(time) = path.strip_suffix(".secs") {
        return format!("{time} is {theirs}s, not {ours}s");
    }
    if let Some(time) = path.strip_suffix(".nanos") {
        let part =
            |nanos: &Value| nanos.as_f64().map_or_else(|| nanos.to_string(), |n| format!("{}ms", n / 1e6));
        return format!("{time} ends in {}, not {}", part(theirs), part(ours));
    }
    format!("{path} is {theirs}, not {ours}")
}

/// Dotted path and both values of the first place in which two documents differ.
fn first_difference(path: &str, a: &Value, b: &Value) -> Option<(String, Value, Value)> {
    if a == b {
        return None;
    }
    let (Value::Object(left), Value::Object(right)) = (a, b) else {
        return Some((path.to_owned(), a.clone(), b.clone()));
    };
    let keys = left.keys().chain(right.keys().filter(|k| !left.contains_key(*k)));
    keys.filter_map(|key| {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let at = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
        first_difference(&path, &at(left), &at(right))
    })
    .next()
}
