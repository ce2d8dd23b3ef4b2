//! The chunks of OpenAI's streams: vLLM's documents, in the variants that other servers are
//! known for.

use bytes::Bytes;
use serde_json::json;

use super::super::config::{Config, FinishStyle, FirstChunk, UsageStyle};
use super::super::engine::Finish;
use super::super::request::ApiError;
use super::super::wire::{Account, Frames, MARK, Sse, Template, Text};
use super::openai::{FINGERPRINT, OpenAi, Shape, usage};

/// How the chunks of one streamed answer are written.
pub(super) struct ChunkFrames {
    form: OpenAi,
    /// The document up to its choices.
    head: String,
    sse: Sse,
    reasoning_field: String,
    usage: UsageStyle,
    with_cached: bool,
    first: FirstChunk,
    finish: FinishStyle,
    done: bool,
    /// An ordinary chunk with content.
    ordinary: Template,
    /// Some of a tool's arguments are out.
    calling: bool,
}

impl ChunkFrames {
    pub fn new(form: OpenAi, config: &Config) -> Self {
        let object = if form.is_chat() { "chat.completion.chunk" } else { "text_completion" };
        let (id, model, created) = (json!(form.id), json!(config.model), form.created);
        let mut frames = Self {
            head: format!(
                r#"{{"id":{id},"object":"{object}","created":{created},"model":{model},"choices":["#
            ),
            sse: Sse::new(config),
            usage: match config.usage {
                UsageStyle::Asked if form.continuous_usage => UsageStyle::EveryChunk,
                style => style,
            },
            form,
            reasoning_field: json!(config.reasoning_field).to_string(),
            with_cached: config.usage_cached_tokens,
            first: config.first_chunk,
            finish: config.finish,
            done: config.done,
            ordinary: Template::default(),
            calling: false,
        };
        let text = Text { text: MARK, reasoning: false, from: 0, to: 0 };
        let sample = frames.payload(Some(text), None, false, &Account::default());
        frames.ordinary = frames.sse.template(&sample);
        frames
    }

    /// Whether all but the words is the same in every chunk with content.
    fn is_ordinary(&self) -> bool {
        self.usage != UsageStyle::EveryChunk && self.form.logprobs.is_none() && self.form.tool.is_none()
    }

    /// A chunk. `ends`: it bears the last of an answer that came to its own end.
    fn payload(
        &self,
        text: Option<Text<'_>>,
        finish: Option<Finish>,
        ends: bool,
        account: &Account,
    ) -> String {
        let mut out = String::with_capacity(self.head.len() + 192);
        out.push_str(&self.head);
        if self.form.is_chat() {
            out.push_str(r#"{"index":0,"delta":{"#);
            if let Some(text) = text {
                self.delta(text, ends, &mut out);
            }
            out.push('}');
        } else {
            out.push_str(r#"{"index":0,"text":""#);
            out.push_str(text.map_or("", |t| t.text));
            out.push('"');
        }
        out.push_str(r#","logprobs":"#);
        match (text, self.form.logprobs) {
            (Some(text), Some(_)) => out.push_str(&self.form.logprobs(text.from, text.to).to_string()),
            _ => out.push_str("null"),
        }
        out.push_str(r#","finish_reason":"#);
        match finish {
            None if self.form.is_chat() => out.push_str(r#"null,"token_ids":null}]"#),
            None => out.push_str(r#"null,"stop_reason":null,"prompt_token_ids":null,"token_ids":null}]"#),
            Some(finish) => {
                out.push('"');
                out.push_str(self.form.finish(finish));
                out.push_str(r#"","stop_reason":null,"token_ids":null}],"system_fingerprint":""#);
                out.push_str(FINGERPRINT);
                out.push('"');
            }
        }
        if finish.is_some() && self.usage == UsageStyle::FinishChunk {
            out.push_str(",\"usage\":");
            out.push_str(&usage(account, self.with_cached));
        } else {
            out.push_str(&self.running_usage(account));
        }
        if finish.is_some() && self.form.perf {
            out.push_str(",\"perf_metrics\":");
            out.push_str(&OpenAi::perf(account).to_string());
        }
        out.push('}');
        out
    }

    fn delta(&self, text: Text<'_>, ends: bool, out: &mut String) {
        match &self.form.tool {
            Some(tool) if !text.reasoning => {
                let begins = !self.calling && text.to > text.from;
                let arguments = json!(self.form.arguments(text.text, begins, ends));
                out.push_str(r#""tool_calls":[{"index":0,"#);
                if begins {
                    let (id, name) = (json!(format!("call_{}", self.form.id)), json!(tool));
                    out.push_str(&format!(
                        r#""id":{id},"type":"function","function":{{"name":{name},"arguments":{arguments}}}}}]"#
                    ));
                } else {
                    out.push_str(&format!(r#""function":{{"arguments":{arguments}}}}}]"#));
                }
            }
            _ => {
                if text.reasoning {
                    out.push_str(&self.reasoning_field);
                } else {
                    out.push_str("\"content\"");
                }
                out.push_str(":\"");
                out.push_str(text.text);
                out.push('"');
            }
        }
    }

    fn running_usage(&self, account: &Account) -> String {
        if self.usage == UsageStyle::EveryChunk {
            format!(",\"usage\":{}", usage(account, self.with_cached))
        } else {
            String::new()
        }
    }

    /// The chunk of usage after the last one with text, where this server sends one.
    fn usage_chunk(&self, account: &Account) -> Option<Bytes> {
        let choices = match self.usage {
            // Together tells its usage unasked.
            UsageStyle::Asked if self.form.shape == Shape::Together => "",
            UsageStyle::Asked | UsageStyle::EveryChunk if self.form.include_usage => "",
            UsageStyle::EmptyChoice if self.form.is_chat() => r#"{"index":0,"delta":{}}"#,
            UsageStyle::EmptyChoice => r#"{"index":0,"text":""}"#,
            _ => return None,
        };
        Some(self.sse.frame(&format!(
            r#"{}{choices}],"usage":{},"system_fingerprint":"{FINGERPRINT}"}}"#,
            self.head,
            usage(account, self.with_cached)
        )))
    }

    fn end(&self, out: &mut Vec<Bytes>) {
        if self.done {
            out.push(self.sse.frame("[DONE]"));
        }
    }
}

impl Frames for ChunkFrames {
    /// The first chunk of a chat, which has no text.
    fn open(&mut self, account: &Account, out: &mut Vec<Bytes>) {
        let delta = match self.first {
            _ if !self.form.is_chat() => return,
            FirstChunk::None => return,
            FirstChunk::RoleEmpty => r#"{"role":"assistant","content":""}"#,
            FirstChunk::RoleOnly => r#"{"role":"assistant"}"#,
            FirstChunk::ContentNull => r#"{"role":"assistant","content":null}"#,
        };
        let usage = self.running_usage(account);
        out.push(self.sse.frame(&format!(
            r#"{}{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":null}}],"prompt_token_ids":null,"prompt_text":null{usage}}}"#,
            self.head
        )));
    }

    fn text(&mut self, text: Text<'_>, finish: Option<Finish>, account: &Account) -> Bytes {
        let ends = finish == Some(Finish::Stop);
        let finish = finish.filter(|_| self.finish == FinishStyle::WithText);
        if finish.is_none() && !text.reasoning && self.is_ordinary() {
            return self.ordinary.fill(text.text);
        }
        let chunk = self.sse.frame(&self.payload(Some(text), finish, ends, account));
        self.calling |= !text.reasoning && text.to > text.from;
        chunk
    }

    fn close(&mut self, finish: Finish, account: &Account, out: &mut Vec<Bytes>) {
        if self.finish == FinishStyle::OwnChunk {
            out.push(self.sse.frame(&self.payload(None, Some(finish), false, account)));
        }
        out.extend(self.usage_chunk(account));
        self.end(out);
    }

    fn error(&mut self, message: &str, out: &mut Vec<Bytes>) {
        let error = ApiError::new(hyper::StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", message);
        out.push(self.sse.frame(&error.body()));
        self.end(out);
    }

    fn garbage(&self) -> Bytes {
        self.sse.frame(r#"{"id":"chatcmpl-garbage","choices":[{"index":0,"del"#)
    }

    fn comment(&self) -> Option<Bytes> {
        Some(self.sse.comment())
    }
}
