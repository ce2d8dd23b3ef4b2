//! What the two OpenAI APIs and their flavours share: a reader for their answers.
//!
//! Servers differ in where they put things, so the reader takes them wherever they come:
//! usage in a chunk without choices, inside the last chunk, beside an empty delta or in
//! every chunk (the last word counts); a first chunk that bears only a role; reasoning under
//! two names; an error object in mid-stream; an end with or without `[DONE]`; the whole answer
//! under `output`; the server's own timings in the last chunk or the body.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::error::{clip, words_of};
use super::glance::{Glance, Pattern};
use super::text::Text;
use super::{Closing, DecodeError, Decoder, Delta};

/// Which of the two APIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    Chat,
    Completions,
}

/// Reads one answer of either API.
pub(super) struct Reader {
    api: Api,
    stream: bool,
    /// The answer's text so far, if it was asked for.
    text: Option<String>,
    /// Content has come: from now on a glance at most frames is enough.
    begun: bool,
    pattern: Pattern,
    ended: bool,
    /// Answers that come at once, and those that have given their reason to end.
    choices: usize,
    finished: Vec<u64>,
    closing: Closing,
}

impl Reader {
    pub(super) fn new(api: Api, stream: bool, keep_text: bool) -> Self {
        Self {
            api,
            stream,
            text: keep_text.then(String::new),
            begun: false,
            pattern: Pattern::default(),
            ended: false,
            choices: 1,
            finished: Vec::new(),
            closing: Closing::default(),
        }
    }

    /// Read a frame in full; `inner`: what lay under its `output`.
    fn parse(&mut self, payload: &[u8], inner: bool) -> Result<Delta, DecodeError> {
        let doc: Document<'_> =
            serde_json::from_slice(payload).map_err(|e| undecodable(&e.to_string(), payload))?;
        if let Some(words) = doc.error_words() {
            self.closing.error = Some(words);
            return Ok(Delta::default());
        }
        if let (None, Some(inner), false) = (&doc.choices, doc.output, inner) {
            return self.parse(inner.get().as_bytes(), true);
        }
        if doc.choices.is_none() && doc.usage.is_none() && !doc.is_chunk() {
            return Err(undecodable("no choices, usage or error in it", payload));
        }
        if let Some(usage) = &doc.usage {
            self.closing.take_usage(usage);
        }
        if let Some(perf) = &doc.perf_metrics {
            self.closing.take_perf(perf);
        }
        let mut delta = Delta::default();
        for choice in doc.choices.iter().flatten() {
            self.choice(choice, &mut delta);
        }
        self.begun |= delta.content;
        if !self.stream {
            self.ended = true;
            self.closing.complete = true;
        }
        Ok(delta)
    }

    fn choice(&mut self, choice: &Choice<'_>, delta: &mut Delta) {
        if let Some(error) = choice.error.as_ref().filter(|error| !error.is_null()) {
            self.closing.error = Some(words_of(error));
        }
        if let Some(reason) = choice.finish_reason.as_ref().filter(|r| !r.is_empty()) {
            // The server gave it up: neither the model nor a limit ended this answer.
            if matches!(&**reason, "abort" | "error") && self.closing.error.is_none() {
                self.closing.error = Some(format!("finish_reason {reason:?}"));
            }
            self.closing.finish_reason = Some(reason.to_string());
            let index = choice.index.unwrap_or(0);
            if !self.finished.contains(&index) {
                self.finished.push(index);
            }
            self.closing.complete |= self.finished.len() >= self.choices;
        }
        let bodies = [&choice.delta, &choice.message];
        let visible = bodies
            .into_iter()
            .flatten()
            .flat_map(Message::visible)
            .chain(choice.text.as_ref().map(Text::as_str))
            .filter(|t| !t.is_empty());
        for text in visible {
            *delta = Delta { content: true, visible: true };
            if let Some(kept) = &mut self.text {
                kept.push_str(text);
            }
        }
        for text in bodies.into_iter().flatten().flat_map(Message::hidden).filter(|t| !t.is_empty()) {
            delta.content = true;
            if let Some(kept) = &mut self.text {
                kept.push_str(text);
            }
        }
    }
}

impl Decoder for Reader {
    fn frame(&mut self, payload: &[u8]) -> Result<Delta, DecodeError> {
        let payload = payload.trim_ascii();
        if payload.is_empty() {
            return Ok(Delta::default());
        }
        if payload == b"[DONE]" {
            self.ended = true;
            self.closing.complete = true;
            return Ok(Delta::default());
        }
        if self.begun && self.text.is_none() && self.stream {
            match self.pattern.at(self.api, payload) {
                Glance::Visible => return Ok(Delta { content: true, visible: true }),
                Glance::Reasoning => return Ok(Delta { content: true, visible: false }),
                Glance::LookCloser => {}
            }
        }
        self.parse(payload, false)
    }

    fn expect_choices(&mut self, choices: u32) {
        self.choices = choices as usize;
    }

    fn done(&self) -> bool {
        self.ended
    }

    fn close(&mut self) -> Closing {
        let mut closing = std::mem::take(&mut self.closing);
        closing.text = self.text.take();
        closing
    }
}

impl Closing {
    /// What a later usage object says counts; what it leaves out stays.
    fn take_usage(&mut self, usage: &Usage) {
        self.prompt_tokens = usage.prompt_tokens.or(self.prompt_tokens);
        self.output_tokens = usage.completion_tokens.or(self.output_tokens);
        let cached = usage.prompt_tokens_details.as_ref().and_then(|d| d.cached_tokens);
        self.cached_tokens = cached.or(self.cached_tokens);
    }

    /// Fireworks' account of its own times, in seconds, as numbers or texts.
    fn take_perf(&mut self, perf: &Value) {
        let number = |key: &str| {
            let value = perf.get(key).or_else(|| perf.get(format!("fireworks-{key}")))?;
            value.as_f64().or_else(|| value.as_str()?.parse().ok())
        };
        let us = |key| number(key).filter(|s| *s >= 0.0).map(|s| (s * 1e6).round() as u64);
        self.server_ttft_us = us("server-time-to-first-token").or(self.server_ttft_us);
        self.server_e2e_us = us("server-processing-time").or(self.server_e2e_us);
        let cached = number("cached-prompt-tokens").map(|n| n as u32);
        self.cached_tokens = self.cached_tokens.or(cached);
    }
}

pub(super) fn undecodable(why: &str, payload: &[u8]) -> DecodeError {
    let start = clip(&String::from_utf8_lossy(payload), 120);
    DecodeError { reason: format!("{why}: {start}") }
}

/// A chunk of a stream, a whole answer, or an error, in the fields that matter here.
#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    object: Option<Text<'a>>,
    #[serde(borrow)]
    choices: Option<Vec<Choice<'a>>>,
    usage: Option<Usage>,
    /// Together's place for the whole answer.
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    perf_metrics: Option<Value>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
}

impl Document<'_> {
    /// The error in the server's words, if the document is one.
    fn error_words(&self) -> Option<String> {
        let bare = self.choices.is_none() && self.usage.is_none();
        let raw = self.error.or_else(|| if bare { self.message.or(self.detail) } else { None })?;
        let value: Value = serde_json::from_str(raw.get()).ok()?;
        (!value.is_null()).then(|| words_of(&value))
    }

    /// A chunk that says no more than what it is.
    fn is_chunk(&self) -> bool {
        let object = self.object.as_ref().map_or("", Text::as_str);
        object.starts_with("chat.completion") || object.starts_with("text_completion")
    }
}

#[derive(Deserialize)]
struct Choice<'a> {
    index: Option<u64>,
    error: Option<Value>,
    #[serde(borrow)]
    delta: Option<Message<'a>>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<Text<'a>>,
    #[serde(borrow)]
    refusal: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning_content: Option<Text<'a>>,
    #[serde(borrow)]
    tool_calls: Option<Vec<ToolCall<'a>>>,
    #[serde(borrow)]
    function_call: Option<Function<'a>>,
}

impl Message<'_> {
    /// Output that a reader or a program would be shown.
    fn visible(&self) -> impl Iterator<Item = &str> {
        let calls = self.tool_calls.iter().flatten().filter_map(|c| c.function.as_ref());
        let named = calls.chain(&self.function_call).flat_map(|f| [&f.name, &f.arguments]);
        [&self.content, &self.refusal].into_iter().chain(named).flatten().map(Text::as_str)
    }

    /// Reasoning. A server that sends it under both names sends it once.
    fn hidden(&self) -> impl Iterator<Item = &str> {
        self.reasoning_content.as_ref().or(self.reasoning.as_ref()).into_iter().map(Text::as_str)
    }
}

#[derive(Deserialize)]
struct ToolCall<'a> {
    #[serde(borrow)]
    function: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    arguments: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: Option<u32>,
    completion_tokens: Option<u32>,
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u32>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    #[test]
    fn several_answers_end_when_each_has_ended() {
        let chunk = |index: u32| {
            format!(r#"{{"choices":[{{"index":{index},"delta":{{}},"finish_reason":"length"}}]}}"#)
        };
        let mut reader = Reader::new(Api::Chat, true, false);
        reader.expect_choices(2);
        for (index, frames) in [(0, 2), (1, 1)] {
            assert!(!reader.closing.complete, "before {index}");
            for _ in 0..frames {
                reader.frame(chunk(index).as_bytes()).expect("a chunk");
            }
        }
        assert!(reader.close().complete);
        let mut one = Reader::new(Api::Chat, true, false);
        one.frame(chunk(0).as_bytes()).expect("a chunk");
        assert!(one.close().complete);
    }

    #[test]
    fn an_answer_that_the_server_gave_up_is_an_error() {
        for (choice, words) in [
            (r#""finish_reason":"abort""#, "finish_reason \"abort\""),
            (r#""finish_reason":"error""#, "finish_reason \"error\""),
            (r#""finish_reason":"error","error":{"message":"upstream died"}"#, "upstream died"),
        ] {
            let frame = format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"a"}},{choice}}}]}}"#);
            let mut reader = in_mid_stream(Api::Chat, false);
            reader.frame(frame.as_bytes()).expect("a chunk");
            assert_eq!(reader.close().error.as_deref(), Some(words), "{choice}");
        }
    }

    /// A reader in mid-stream; with `keep_text` it reads every frame in full.
    fn in_mid_stream(api: Api, keep_text: bool) -> Reader {
        Reader { begun: true, ..Reader::new(api, true, keep_text) }
    }

    /// `"key":value` for each value given, joined.
    fn members(pairs: &[(&str, &str)]) -> String {
        let given = pairs.iter().filter(|(_, value)| !value.is_empty());
        given.map(|(key, value)| format!("\"{key}\":{value}")).collect::<Vec<_>>().join(",")
    }

    fn text() -> impl Strategy<Value = &'static str> {
        select(vec!["", "null", r#""""#, r#""a""#, r#""\"usage\":{}\\""#, r#""é{""#, r#"[{"text":"b"}]"#])
    }

    fn chunk() -> impl Strategy<Value = String> {
        let finish = select(vec!["", "null", r#""""#, r#""stop""#]);
        let usage = select(vec!["", "null", "{}", r#"{"completion_tokens":3}"#]);
        let error = select(vec!["", "", "", "null", r#"{"message":"no"}"#]);
        let calls = select(vec!["", "", "null", "[]", r#"[{"function":{"name":"f"}}]"#]);
        (text(), text(), text(), calls, finish, usage, error, 0..3usize, any::<bool>()).prop_map(
            |(content, reasoning, plain, calls, finish, usage, error, choices, finish_first)| {
                let delta = members(&[
                    ("role", r#""assistant""#),
                    ("reasoning", reasoning),
                    ("content", content),
                    ("tool_calls", calls),
                ]);
                let (before, after) = if finish_first { (finish, "") } else { ("", finish) };
                let choice = members(&[
                    ("finish_reason", before),
                    ("delta", &format!("{{{delta}}}")),
                    ("text", plain),
                    ("finish_reason", after),
                ]);
                let choices = vec![format!("{{{choice}}}"); choices].join(",");
                format!(
                    "{{{}}}",
                    members(&[("error", error), ("choices", &format!("[{choices}]")), ("usage", usage)])
                )
            },
        )
    }

    proptest! {
        /// A glance and a full reading come to the same.
        #[test]
        fn a_glance_tells_what_a_reading_tells(chunk in chunk()) {
            let mut glancing = in_mid_stream(Api::Chat, false);
            let mut reading = in_mid_stream(Api::Chat, true);
            // In a chat, `text` beside a delta is no part of the API: leave it out.
            prop_assume!(!chunk.contains("\"text\":\"") && !chunk.contains("\"text\":["));
            prop_assert_eq!(glancing.frame(chunk.as_bytes()), reading.frame(chunk.as_bytes()), "{}", chunk);
            let read = Closing { text: None, ..reading.close() };
            prop_assert_eq!(glancing.close(), read, "{}", chunk);
        }

        /// The same for text completions.
        #[test]
        fn so_it_does_for_plain_text(plain in text(), finish in select(vec!["", "null", r#""stop""#])) {
            let choice = members(&[("index", "0"), ("text", plain), ("finish_reason", finish)]);
            let chunk = format!("{{\"choices\":[{{{choice}}}]}}");
            let mut glancing = in_mid_stream(Api::Completions, false);
            let mut reading = in_mid_stream(Api::Completions, true);
            prop_assert_eq!(glancing.frame(chunk.as_bytes()), reading.frame(chunk.as_bytes()), "{}", chunk);
            prop_assert_eq!(glancing.close().finish_reason, reading.close().finish_reason);
        }

        /// No bytes bring a reader down.
        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in prop::collection::vec(select(b"{}[]\":,\\ delta content text null ax\xff".to_vec()), 0..80),
            prefix in select(vec!["", r#"{"choices":[{"delta":{"content":"#, r#"{"delta":"#, r#"{"text":"#]),
        ) {
            let bytes = [prefix.as_bytes(), &bytes].concat();
            for api in [Api::Chat, Api::Completions] {
                let glanced = in_mid_stream(api, false).frame(&bytes).is_ok_and(|d| d.content);
                // What a reading refuses a glance may pass, but only when there is text in it.
                prop_assert!(!glanced || bytes.windows(6).any(|w| w == b"delta\"" || w == b"\"text\""));
            }
        }
    }
}
