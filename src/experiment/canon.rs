//! The one way to write a JSON value, so that equal values have equal bytes.

use serde_json::Value;

/// Canonical JSON: keys sorted by their bytes, no white space, whole numbers without a
/// fraction (1 and 1.0 are the same), other numbers as the shortest decimal that reads back,
/// without an exponent, strings as JSON escapes them.
#[must_use]
pub fn canonical_json(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(x) if !number.is_i64() && !number.is_u64() => {
                // Adding 0 makes -0 the plain 0.
                out.push_str(&(x + 0.0).to_string());
            }
            _ => out.push_str(&number.to_string()),
        },
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_bytes());
            out.push('{');
            for (i, (key, value)) in entries.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write(value, out);
            }
            out.push('}');
        }
        Value::Null | Value::Bool(_) | Value::String(_) => out.push_str(&value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn equal_values_have_equal_bytes() {
        assert_eq!(canonical_json(&json!(1.0)), canonical_json(&json!(1)));
        assert_eq!(canonical_json(&json!(-0.0)), "0");
        assert_eq!(canonical_json(&json!(0.1)), "0.1");
        assert_eq!(canonical_json(&json!(1e-7)), "0.0000001");
        assert_eq!(canonical_json(&json!(u64::MAX)), "18446744073709551615");
        assert_eq!(
            canonical_json(&json!({"b": [1.50, null, true], "a": "x\"y"})),
            r#"{"a":"x\"y","b":[1.5,null,true]}"#
        );
    }
}
