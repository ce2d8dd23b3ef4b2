//! Answers as they go out: vLLM's documents and event-stream frames, in the variants that
//! other servers are known for.

use bytes::{Bytes, BytesMut};
use serde_json::json;

use super::config::{Config, FinishStyle, FirstChunk, LineEnd, UsageStyle};
use super::engine::Finish;

/// Stands for a chunk's words while what is around them is made; no document holds it.
const MARK: &str = "\u{1}";
const FINGERPRINT: &str = "plimsoll-sim";

/// Token counts of one answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub prompt: u32,
    pub output: u32,
    pub cached: u32,
}

impl Usage {
    fn json(self, with_cached: bool) -> String {
        let details = if with_cached {
            format!(r#","prompt_tokens_details":{{"cached_tokens":{}}}"#, self.cached)
        } else {
            String::new()
        };
        format!(
            r#"{{"prompt_tokens":{},"total_tokens":{},"completion_tokens":{}{details}}}"#,
            self.prompt,
            self.prompt + self.output,
            self.output
        )
    }
}

/// A piece of an answer's text. Its words are plain letters: nothing to escape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Text<'a> {
    pub text: &'a str,
    pub reasoning: bool,
}

/// How the chunks of one streamed answer are written.
#[derive(Debug)]
pub(super) struct Frames {
    chat: bool,
    /// The document up to its choices.
    head: String,
    line_end: &'static str,
    reasoning_field: String,
    usage: UsageStyle,
    usage_asked: bool,
    with_cached: bool,
    first: FirstChunk,
    pub finish: FinishStyle,
    pub done: bool,
    /// What stands before and after the words of an ordinary chunk with content.
    around: (String, String),
    /// Room for the chunks to come: they share an allocation.
    room: BytesMut,
    allocated: usize,
}

/// Bytes in a stream's first allocation for chunks, and in the largest: each is twice the
/// one before, so that short answers cost little memory and long ones little time.
const ROOM: std::ops::RangeInclusive<usize> = 2 * 1024..=64 * 1024;

impl Frames {
    pub fn new(config: &Config, id: &str, created: i64, chat: bool, asked: bool, continuous: bool) -> Self {
        let object = if chat { "chat.completion.chunk" } else { "text_completion" };
        let (id, model) = (json!(id), json!(config.model));
        let mut frames = Self {
            chat,
            head: format!(
                r#"{{"id":{id},"object":"{object}","created":{created},"model":{model},"choices":["#
            ),
            line_end: match config.line_end {
                LineEnd::Lf => "\n",
                LineEnd::Crlf => "\r\n",
                LineEnd::Cr => "\r",
            },
            reasoning_field: json!(config.reasoning_field).to_string(),
            usage: match config.usage {
                UsageStyle::Asked if continuous => UsageStyle::EveryChunk,
                style => style,
            },
            usage_asked: asked,
            with_cached: config.usage_cached_tokens,
            first: config.first_chunk,
            finish: config.finish,
            done: config.done,
            around: Default::default(),
            room: BytesMut::new(),
            allocated: 0,
        };
        let sample = frames.payload(Some(Text { text: MARK, reasoning: false }), None, Usage::default());
        if let Some((before, after)) = sample.split_once(MARK) {
            let end = frames.line_end;
            frames.around = (format!("data: {before}"), format!("{after}{end}{end}"));
        }
        frames
    }

    pub fn frame(&self, payload: &str) -> Bytes {
        let end = self.line_end;
        let mut out = String::with_capacity(payload.len() + 6 + 2 * end.len());
        out.push_str("data: ");
        out.push_str(payload);
        out.push_str(end);
        out.push_str(end);
        out.into()
    }

    pub fn comment(&self) -> Bytes {
        format!(": ping{0}{0}", self.line_end).into()
    }

    /// The first chunk of a chat, which has no text.
    pub fn first(&self, usage: Usage) -> Option<Bytes> {
        let delta = match self.first {
            _ if !self.chat => return None,
            FirstChunk::None => return None,
            FirstChunk::RoleEmpty => r#"{"role":"assistant","content":""}"#,
            FirstChunk::RoleOnly => r#"{"role":"assistant"}"#,
            FirstChunk::ContentNull => r#"{"role":"assistant","content":null}"#,
        };
        let usage = self.running_usage(usage);
        Some(self.frame(&format!(
            r#"{}{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":null}}],"prompt_token_ids":null,"prompt_text":null{usage}}}"#,
            self.head
        )))
    }

    /// A chunk with text, empty or not, and perhaps the finish reason.
    pub fn chunk(&mut self, text: Option<Text<'_>>, finish: Option<Finish>, usage: Usage) -> Bytes {
        match text {
            Some(Text { text, reasoning: false })
                if finish.is_none() && self.usage != UsageStyle::EveryChunk =>
            {
                self.ordinary(text)
            }
            _ => self.frame(&self.payload(text, finish, usage)),
        }
    }

    /// All but the words is the same in every such chunk of a stream.
    fn ordinary(&mut self, text: &str) -> Bytes {
        let (before, after) = &self.around;
        let length = before.len() + text.len() + after.len();
        if self.room.capacity() < length {
            self.allocated = (self.allocated * 2).clamp(*ROOM.start(), *ROOM.end());
            self.room = BytesMut::with_capacity(self.allocated.max(length));
        }
        self.room.extend_from_slice(before.as_bytes());
        self.room.extend_from_slice(text.as_bytes());
        self.room.extend_from_slice(after.as_bytes());
        self.room.split().freeze()
    }

    fn payload(&self, text: Option<Text<'_>>, finish: Option<Finish>, usage: Usage) -> String {
        let mut out = String::with_capacity(self.head.len() + 192);
        out.push_str(&self.head);
        let said = text.map_or("", |t| t.text);
        if self.chat {
            out.push_str(r#"{"index":0,"delta":{"#);
            if let Some(text) = text {
                out.push_str(if text.reasoning { &self.reasoning_field } else { "\"content\"" });
                out.push_str(":\"");
                out.push_str(said);
                out.push('"');
            }
            out.push('}');
        } else {
            out.push_str(r#"{"index":0,"text":""#);
            out.push_str(said);
            out.push('"');
        }
        out.push_str(r#","logprobs":null,"finish_reason":"#);
        match finish {
            None if self.chat => out.push_str(r#"null,"token_ids":null}]"#),
            None => out.push_str(r#"null,"stop_reason":null,"prompt_token_ids":null,"token_ids":null}]"#),
            Some(finish) => {
                out.push('"');
                out.push_str(finish.name());
                out.push_str(r#"","stop_reason":null,"token_ids":null}],"system_fingerprint":""#);
                out.push_str(FINGERPRINT);
                out.push('"');
            }
        }
        if finish.is_some() && self.usage == UsageStyle::FinishChunk {
            out.push_str(",\"usage\":");
            out.push_str(&usage.json(self.with_cached));
        } else {
            out.push_str(&self.running_usage(usage));
        }
        out.push('}');
        out
    }

    /// The chunk of usage after the last one with text, where this server sends one.
    pub fn usage(&self, usage: Usage) -> Option<Bytes> {
        let choices = match self.usage {
            UsageStyle::Asked | UsageStyle::EveryChunk if self.usage_asked => "",
            UsageStyle::EmptyChoice if self.chat => r#"{"index":0,"delta":{}}"#,
            UsageStyle::EmptyChoice => r#"{"index":0,"text":""}"#,
            _ => return None,
        };
        Some(self.frame(&format!(
            r#"{}{choices}],"usage":{},"system_fingerprint":"{FINGERPRINT}"}}"#,
            self.head,
            usage.json(self.with_cached)
        )))
    }

    fn running_usage(&self, usage: Usage) -> String {
        if self.usage == UsageStyle::EveryChunk {
            format!(",\"usage\":{}", usage.json(self.with_cached))
        } else {
            String::new()
        }
    }
}

/// A whole answer, not streamed.
pub(super) struct Whole<'a> {
    pub id: &'a str,
    pub created: i64,
    pub chat: bool,
    pub text: &'a str,
    pub reasoning: Option<&'a str>,
    pub finish: Finish,
    pub usage: Usage,
}

impl Whole<'_> {
    pub fn json(&self, config: &Config) -> String {
        let details = config.usage_cached_tokens.then(|| json!({"cached_tokens": self.usage.cached}));
        let usage = (config.usage != UsageStyle::Never).then(|| {
            json!({
                "prompt_tokens": self.usage.prompt,
                "total_tokens": self.usage.prompt + self.usage.output,
                "completion_tokens": self.usage.output,
                "prompt_tokens_details": details,
                "completion_tokens_details": null,
            })
        });
        let finish = self.finish.name();
        let (object, choice) = if self.chat {
            let mut message = json!({
                "role": "assistant", "content": self.text, "refusal": null, "annotations": null, "audio": null,
                "function_call": null, "reasoning": self.reasoning,
            });
            if self.reasoning.is_some() {
                message[&config.reasoning_field] = json!(self.reasoning);
            }
            let choice = json!({
                "index": 0, "message": message, "logprobs": null, "finish_reason": finish, "stop_reason": null,
                "token_ids": null, "routed_experts": null,
            });
            ("chat.completion", choice)
        } else {
            let choice = json!({
                "index": 0, "text": self.text, "logprobs": null, "finish_reason": finish, "stop_reason": null,
                "token_ids": null, "prompt_logprobs": null, "prompt_token_ids": null, "routed_experts": null,
            });
            ("text_completion", choice)
        };
        let mut answer = json!({
            "id": self.id, "object": object, "created": self.created, "model": config.model, "choices": [choice],
            "service_tier": null, "system_fingerprint": FINGERPRINT, "usage": usage,
            "prompt_logprobs": null, "prompt_token_ids": null, "prompt_text": null, "kv_transfer_params": null,
            "ec_transfer_params": null, "metrics": null,
        });
        if usage.is_none()
            && let Some(map) = answer.as_object_mut()
        {
            map.shift_remove("usage");
        }
        answer.to_string()
    }
}
