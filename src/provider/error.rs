//! Failures in the server's own words.

use serde_json::Value;

/// Longest detail that a record keeps, in characters.
pub const DETAIL_CHARS: usize = 300;

/// Classify an answer whose status is not 2xx: the class as a record names it
/// (`429`, `4xx`, `503`, `5xx`, and `3xx` for a redirect, which is not followed), and what
/// the server said, at most [`DETAIL_CHARS`] characters. An empty body says its status.
#[must_use]
pub fn http_error(status: u16, body: &[u8]) -> (&'static str, String) {
    let class = match status {
        429 => "429",
        503 => "503",
        500.. => "5xx",
        400..=499 => "4xx",
        _ => "3xx",
    };
    let words = match serde_json::from_slice::<Value>(body) {
        Ok(value) => words_of(&value),
        Err(_) => clip(&String::from_utf8_lossy(body), DETAIL_CHARS),
    };
    (class, if words.is_empty() { format!("HTTP {status} without a body") } else { words })
}

/// The message inside an error object of any of the forms in use; else the object itself.
pub(super) fn words_of(value: &Value) -> String {
    let mut at = value;
    // {"error": {"message": …}}, {"error": "…"}, {"message": …}, {"detail": …}
    while let Some(inner) = ["error", "message", "detail", "msg"]
        .iter()
        .filter_map(|key| at.get(key))
        .find(|inner| inner.is_string() || inner.is_object() || inner.is_array())
    {
        at = inner;
    }
    match at {
        Value::String(text) => clip(text, DETAIL_CHARS),
        other => clip(&other.to_string(), DETAIL_CHARS),
    }
}

/// `text` on one line, at most `chars` characters of it.
#[must_use]
pub fn clip(text: &str, chars: usize) -> String {
    let mut line = String::with_capacity(text.len().min(chars + 4));
    let mut left = chars;
    for word in text.split_whitespace() {
        let gap = usize::from(!line.is_empty());
        let length = word.chars().count();
        if gap + length > left {
            line.extend(std::iter::once(' ').take(gap).chain(word.chars()).take(left.saturating_sub(1)));
            line.push('…');
            break;
        }
        if gap == 1 {
            line.push(' ');
        }
        line.push_str(word);
        left -= gap + length;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_words_are_found() {
        for (status, body, class, words) in [
            (400, r#"{"error":{"message":"too long","code":400}}"#, "4xx", "too long"),
            (429, r#"{"error":"slow down"}"#, "429", "slow down"),
            (500, "Internal Server Error", "5xx", "Internal Server Error"),
            (503, r#"{"object":"error","message":"loading","code":503}"#, "503", "loading"),
            (404, r#"{"detail":"Not Found"}"#, "4xx", "Not Found"),
            (
                422,
                r#"{"detail":[{"loc":["body"],"msg":"extra"}]}"#,
                "4xx",
                r#"[{"loc":["body"],"msg":"extra"}]"#,
            ),
            (502, "<html>\n  <h1>Bad\tGateway</h1>\n", "5xx", "<html> <h1>Bad Gateway</h1>"),
            (308, "", "3xx", "HTTP 308 without a body"),
        ] {
            assert_eq!(http_error(status, body.as_bytes()), (class, words.to_owned()), "{body}");
        }
    }

    #[test]
    fn long_words_are_cut_by_characters() {
        let (_, detail) = http_error(500, "é ".repeat(400).as_bytes());
        assert_eq!(detail.chars().count(), DETAIL_CHARS);
        assert!(detail.ends_with('…'));
        assert_eq!(clip("abcdef", 6), "abcdef");
        assert_eq!(clip("abcdefg", 6), "abcde…");
        assert_eq!(clip("ab cdefg", 6), "ab cd…");
    }
}
