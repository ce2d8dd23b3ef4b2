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

/// What the frames of one stream have in common. Nearly every frame differs from the one before
/// in its piece of text alone: comparing what is around it is far cheaper than searching it again.
#[derive(Debug, Default)]
pub(super) struct Pattern {
    seen: Option<Glance>,
    before: Vec<u8>,
    after: Vec<u8>,
    learned: u32,
}

impl Pattern {
    /// Patterns learned of one stream, at most: where the rest changes too, learning costs more
    /// than it saves.
    const LEARNED: u32 = 4;

    /// Glance at one frame.
    pub(super) fn at(&mut self, api: Api, frame: &[u8]) -> Glance {
        if let Some(seen) = self.seen
            && self.fits(frame)
        {
            return seen;
        }
        let Some(found) = search(api, frame) else { return Glance::LookCloser };
        if self.learned < Self::LEARNED
            && let Some((from, to)) = found.text
        {
            self.learned += 1;
            self.seen = Some(found.seen);
            self.before.clear();
            self.before.extend_from_slice(&frame[..from]);
            self.after.clear();
            self.after.extend_from_slice(&frame[to..]);
        }
        found.seen
    }

    /// Whether all but the text is as it was, and the text is one: not empty, and without a quote
    /// or backslash, so that it can't reach into what follows.
    fn fits(&self, frame: &[u8]) -> bool {
        let text = frame.strip_prefix(&*self.before).and_then(|rest| rest.strip_suffix(&*self.after));
        text.is_some_and(|text| {
            !text.is_empty() && memchr2(b'"', b'\\', text).is_none() && std::str::from_utf8(text).is_ok()
        })
    }
}

/// What a search found.
struct Found {
    seen: Glance,
    /// Where the text lies, between its quotes; `None` where there are several.
    text: Option<(usize, usize)>,
}

/// Search one frame; `None`: it has to be read in full.
fn search(api: Api, frame: &[u8]) -> Option<Found> {
    if frame.first() != Some(&b'{') || frame.last() != Some(&b'}') || std::str::from_utf8(frame).is_err() {
        return None;
    }
    let Piece { seen, text, rest } = match api {
        Api::Chat => delta(&frame[DELTA.find(frame)? + DELTA.needle().len()..])?,
        Api::Completions => text(&frame[TEXT.find(frame)? + TEXT.needle().len()..])?,
    };
    let from = |text: &[u8]| text.as_ptr().addr() - frame.as_ptr().addr();
    only_nulls(frame, rest)
        .then(|| Found { seen, text: text.map(|text| (from(text), from(text) + text.len())) })
}

/// The text of a frame, and what follows the object or string that it is in.
struct Piece<'a> {
    seen: Glance,
    /// Raw, without its quotes; `None` where there are several.
    text: Option<&'a [u8]>,
    rest: &'a [u8],
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

/// Walk a delta object of plain strings and nulls.
fn delta(after_key: &[u8]) -> Option<Piece<'_>> {
    let mut rest = after_key.trim_ascii_start().strip_prefix(b"{")?;
    let mut seen = None;
    let mut texts = 0;
    let mut text = None;
    loop {
        let (key, after) = string(rest)?;
        rest = after.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        let filled = if let Some(after) = rest.strip_prefix(b"null") {
            rest = after;
            false
        } else {
            let (value, after) = string(rest)?;
            rest = after;
            if !value.is_empty() && key != b"role" {
                texts += 1;
                text = Some(value);
            }
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
            (b'}', after) => {
                return Some(Piece { seen: seen?, text: text.filter(|_| texts == 1), rest: after });
            }
            _ => return None,
        }
    }
}

/// A non-empty text.
fn text(after_key: &[u8]) -> Option<Piece<'_>> {
    let (value, rest) = string(after_key)?;
    (!value.is_empty()).then_some(Piece { seen: Glance::Visible, text: Some(value), rest })
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

    fn at(api: Api, frame: &[u8]) -> Glance {
        Pattern::default().at(api, frame)
    }

    fn chat(frame: &str) -> Glance {
        at(Api::Chat, frame.as_bytes())
    }

    #[test]
    fn a_pattern_fits_only_where_the_text_alone_differs() {
        let frame = |id: u32, text: &str, finish: &str| {
            format!(
                r#"{{"id":{id},"choices":[{{"delta":{{"content":"{text}"}},"finish_reason":{finish}}}]}}"#
            )
        };
        let mut pattern = Pattern::default();
        let mut look = |text: &str| pattern.at(Api::Chat, text.as_bytes());
        assert_eq!(look(&frame(1, "a", "null")), Glance::Visible);
        assert_eq!(look(&frame(1, "b c é", "null")), Glance::Visible);
        assert_eq!(look(&frame(1, "", "null")), Glance::LookCloser);
        assert_eq!(look(&frame(1, "b", "\"stop\"")), Glance::LookCloser);
        assert_eq!(look(&frame(1, r#"b"},"finish_reason":"stop","x":{"y":""#, "null")), Glance::LookCloser);
        assert_eq!(look(&frame(1, r#"say \"so\""#, "null")), Glance::Visible, "searched, as it has quotes");
        assert_eq!(look(&frame(2, "b", "null")), Glance::Visible, "searched, as the rest has changed");
        // What a stream's patterns may cost is bounded.
        for id in 3..20 {
            assert_eq!(look(&frame(id, "b", "null")), Glance::Visible);
        }
        assert_eq!(pattern.learned, Pattern::LEARNED);
        let mut pattern = Pattern::default();
        let invalid = [b"{\"choices\":[{\"delta\":{\"content\":\"".as_slice(), b"\xff", b"\"}}]}"].concat();
        assert_eq!(pattern.at(Api::Chat, br#"{"choices":[{"delta":{"content":"a"}}]}"#), Glance::Visible);
        assert_eq!(pattern.at(Api::Chat, &invalid), Glance::LookCloser);
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
