//! What of a run's settings may leave it: everything but the values of headers.

use serde::Serialize;
use serde_json::Value;

/// Any part of a run as JSON, in which the values of headers are null.
pub(super) fn public<T: Serialize>(part: &T) -> Value {
    let mut value = serde_json::to_value(part).unwrap_or(Value::Null);
    blank(&mut value);
    value
}

fn blank(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map.iter_mut() {
                if key == "headers" || key.contains(".headers") {
                    blank_all(inner);
                } else if key == "set" {
                    blank_sets(inner);
                } else {
                    blank(inner);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(blank),
        _ => {}
    }
}

fn blank_all(headers: &mut Value) {
    match headers {
        Value::Object(map) => map.values_mut().for_each(|value| *value = Value::Null),
        other => *other = Value::Null,
    }
}

/// `--set target.headers.X=…` keeps its key alone.
fn blank_sets(sets: &mut Value) {
    for set in sets.as_array_mut().into_iter().flatten() {
        if let Some((key, _)) = set.as_str().and_then(|text| text.split_once('='))
            && key.contains("headers")
        {
            *set = Value::from(format!("{key}="));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_of_headers_never_get_out() {
        let run = json!({
            "set": ["target.headers.X=hidden", "load.users=4"],
            "cells": [{
                "factors": { "target.headers.X": "hidden", "load.users": 4 },
                "settings": { "target": { "headers": { "X": "hidden" }, "custom": { "headers": ["hidden"] } } },
            }],
        });
        let text = public(&run).to_string();
        assert!(!text.contains("hidden"), "{text}");
        assert!(text.contains("load.users=4") && text.contains("\"X\""), "{text}");
    }
}
