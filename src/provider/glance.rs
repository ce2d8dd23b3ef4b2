//! A glance at a frame of a stream, in place of a parse.
//!
//! Between the first content and the last, frames bear one piece of text each and nothing
//! else of interest. Reading them in full would keep the next frame waiting for its
//! stamp, so only the text's presence is looked for; any frame that could hold more than
//! that (a finish reason, usage, an error, several choices) is read in full by the caller.
//! The price: JSON that is broken outside its text, yet whole at both ends, goes unnoticed.

use std::sync::LazyLock;

use memchr::memchr2;
use memchr::memmem::Finder;

use super::openai::Api;

/// What a glance told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Glance {
    /// Non-empty content and nothing else of interest.
    Visible,
    /// Non-empty reasoning and nothing else of interest.
    Reasoning,
    /// The frame has to be read in full.
    LookCloser,
}

// A key with its quotes and colon can't appear inside a JSON string, where quotes are escaped.
static DELTA: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""delta":"#));
static TEXT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""text":"#));
static FINISH: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""finish_reason""#));
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""usage""#));
static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""error""#));

/// Glance at one frame.
pub(super) fn at(api: Api, frame: &[u8]) -> Glance {
    if frame.first() != Some(&b'{') || frame.last() != Some(&b'}') || std::str::from_utf8(frame).is_err() {
        return Glance::LookCloser;
    }
    let found = match api {
        Api::Chat => DELTA.find(frame).and_then(|at| delta(&frame[at + DELTA.needle().len()..])),
        Api::Completions => TEXT.find(frame).and_then(|at| text(&frame[at + TEXT.needle().len()..])),
    };
    match found {
        Some((seen, rest)) if only_nulls(frame, rest) => seen,
        _ => Glance::LookCloser,
    }
}

/// Whether the frame says nothing of an end, usage or an error. `rest` is what follows
/// the text; the reason to finish may stand before or after it.
fn only_nulls(frame: &[u8], rest: &[u8]) -> bool {
    let null = |key: &Finder<'_>| match key.find(frame) {
        None => true,
        Some(at) => is_null_member(&frame[at + key.needle().len()..]),
    };
    // A second choice would need its own look.
    let single = DELTA.find(rest).is_none() && TEXT.find(rest).is_none();
    single && null(&FINISH) && null(&USAGE) && null(&ERROR)
}

fn is_null_member(after_key: &[u8]) -> bool {
    let value = after_key.trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start);
    value.is_some_and(|v| v.starts_with(b"null"))
}

/// Walk a delta object of plain strings and nulls; what text it holds, and what follows it.
fn delta(after_key: &[u8]) -> Option<(Glance, &[u8])> {
    let mut rest = after_key.trim_ascii_start().strip_prefix(b"{")?;
    let mut seen = None;
    loop {
        let (key, after) = string(rest)?;
        rest = after.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        let filled = if let Some(after) = rest.strip_prefix(b"null") {
            rest = after;
            false
        } else {
            let (value, after) = string(rest)?;
            rest = after;
            !value.is_empty()
        };
        match key {
            b"content" if filled => seen = Some(Glance::Visible),
            b"reasoning" | b"reasoning_content" if filled => seen = seen.or(Some(Glance::Reasoning)),
            b"role" | b"content" | b"reasoning" | b"reasoning_content" => {}
            _ if filled => return None,
            _ => {}
        }
        rest = rest.trim_ascii_start();
        match rest.split_first()? {
            (b',', after) => rest = after,
            (b'}', after) => return Some((seen?, after)),
            _ => return None,
        }
    }
}

/// A non-empty text, and what follows it.
fn text(after_key: &[u8]) -> Option<(Glance, &[u8])> {
    let (value, rest) = string(after_key)?;
    (!value.is_empty()).then_some((Glance::Visible, rest))
}

/// A JSON string's raw content, and what follows it.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = bytes.trim_ascii_start().strip_prefix(b"\"")?;
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', inner.get(at..)?)?;
        if inner[at] == b'"' {
            return Some((&inner[..at], &inner[at + 1..]));
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(frame: &str) -> Glance {
        at(Api::Chat, frame.as_bytes())
    }

    #[test]
    fn plain_chunks_need_no_more() {
        for frame in [
            r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#,
            r#"{"choices": [{"delta": {"role": "assistant", "content": "a"}, "finish_reason": null}], "usage": null}"#,
            r#"{"choices":[{"finish_reason":null,"delta":{"content":"say \"usage\": {} \\"}}],"error":null}"#,
            r#"{"choices":[{"delta":{"content":"é\n","refusal":null,"reasoning":null}}]}"#,
        ] {
            assert_eq!(chat(frame), Glance::Visible, "{frame}");
        }
        assert_eq!(
            chat(r#"{"choices":[{"delta":{"reasoning":"a","reasoning_content":"a"}}]}"#),
            Glance::Reasoning
        );
        assert_eq!(
            chat(r#"{"choices":[{"delta":{"content":null,"reasoning_content":"a"}}]}"#),
            Glance::Reasoning
        );
        let text = br#"{"choices":[{"text":"a","index":0,"finish_reason":null}]}"#;
        assert_eq!(at(Api::Completions, text), Glance::Visible);
    }

    #[test]
    fn anything_else_is_read_in_full() {
        for frame in [
            r#"{"choices":[{"delta":{"content":""}}]}"#,
            r#"{"choices":[{"delta":{"content":null}}]}"#,
            r#"{"choices":[{"delta":{}}]}"#,
            r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}"#,
            r#"{"choices":[{"finish_reason": "stop", "delta":{"content":"a"}}]}"#,
            r#"{"choices":[{"delta":{"content":"a"}}],"usage":{"completion_tokens":1}}"#,
            r#"{"choices":[{"delta":{"content":"a"}}],"error":{"message":"no"}}"#,
            r#"{"choices":[{"delta":{"content":"a"}},{"delta":{"content":""}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#,
            r#"{"choices":[{"delta":{"content":[{"text":"a"}]}}]}"#,
            r#"{"choices":[{"delta":{"content":"a"#,
            r#"{"choices":[{"delta":{"content":"a\"}"#,
            r#"{"error":"no"}"#,
            "garbage",
            "",
        ] {
            assert_eq!(chat(frame), Glance::LookCloser, "{frame}");
        }
        assert_eq!(at(Api::Chat, b"{\"choices\":[{\"delta\":{\"content\":\"\xff\"}}]}"), Glance::LookCloser);
        assert_eq!(at(Api::Completions, br#"{"choices":[{"text":""}]}"#), Glance::LookCloser);
    }
}
