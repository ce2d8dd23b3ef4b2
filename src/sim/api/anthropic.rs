//! Anthropic's messages: streams of named events, and errors in a shape of their own.

use bytes::Bytes;
use hyper::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::super::config::Config;
use super::super::engine::Finish;
use super::super::request::{
    ApiError, Ask, Body, Wanted, check_model, content_into, flag, messages_into, number,
};
use super::super::tokens::{self, mark};
use super::super::wire::{Account, Form, Frames, MARK, Sse, Template, Text};
use super::{Request, Understood};

/// Anthropic's API wants to be told which version of it is meant.
const VERSION: &str = "anthropic-version";
pub(super) const NO_VERSION: &str = "anthropic-version: header is required";

pub(super) fn is_asked(headers: &HeaderMap) -> bool {
    headers.contains_key(VERSION)
}

pub(super) fn models(config: &Config) -> String {
    json!({
        "data": [{
            "type": "model", "id": config.model, "display_name": config.model,
            "created_at": "2026-01-01T00:00:00Z",
        }],
        "has_more": false, "first_id": config.model, "last_id": config.model,
    })
    .to_string()
}

pub(super) fn refusal(error: &ApiError) -> String {
    let kind = match error.status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
        status if status.is_server_error() => "api_error",
        _ => "invalid_request_error",
    };
    json!({"type": "error", "error": {"type": kind, "message": error.message}}).to_string()
}

#[derive(Clone)]
struct Message {
    id: String,
    key: u64,
}

/// `/v1/messages`.
pub(super) fn messages(request: &Request<'_>) -> Understood {
    let (body, config) = (request.body, request.config);
    if !is_asked(request.headers) {
        return Err(ApiError::bad_request(None, NO_VERSION));
    }
    if !body.contains_key("model") {
        return Err(ApiError::bad_request(Some("model"), "model: Field required"));
    }
    check_model(body, config)?;
    let max = number(body, "max_tokens")?
        .ok_or_else(|| ApiError::bad_request(Some("max_tokens"), "max_tokens: Field required"))?;
    let prompt = prompt(body, config)?;
    let sequence = Wanted::of(body, Some(max), None)?.answer(prompt, config)?;
    let form = Message { id: format!("msg_{}", request.id), key: sequence.key };
    Ok((Ask::one(sequence, flag(body, "stream")?, true), Box::new(form)))
}

/// The system prompt stands beside the messages; it counts as one of them.
fn prompt(body: &Body, config: &Config) -> Result<Vec<u64>, ApiError> {
    let mut prompt = Vec::new();
    if let Some(system) = body.get("system").filter(|s| !s.is_null()) {
        prompt.push(mark::SYSTEM);
        content_into(Some(system), config, &mut prompt)?;
        prompt.push(mark::END);
    }
    messages_into(body, true, config, &mut prompt)?;
    Ok(prompt)
}

fn stop_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "end_turn",
        Finish::Length => "max_tokens",
    }
}

/// Cached tokens are counted apart from the others here.
fn usage(account: &Account, output: u32) -> Value {
    let u = account.usage;
    json!({
        "input_tokens": u.prompt - u.cached.min(u.prompt), "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": u.cached, "output_tokens": output,
    })
}

impl Message {
    fn shell(&self, config: &Config, content: &Value, stop: Option<Finish>, usage: &Value) -> Value {
        json!({
            "id": self.id, "type": "message", "role": "assistant", "model": config.model, "content": content,
            "stop_reason": stop.map(stop_reason), "stop_sequence": null, "usage": usage,
        })
    }
}

impl Form for Message {
    fn whole(&self, config: &Config, ask: &Ask, account: &Account) -> String {
        let output = ask.output_tokens();
        let reasoning = config.reasoning_tokens.unwrap_or(0).min(output);
        let mut content = Vec::new();
        if reasoning > 0 {
            let thinking = tokens::answer(self.key, 0, reasoning);
            content.push(json!({"type": "thinking", "thinking": thinking, "signature": "sim"}));
        }
        content.push(json!({"type": "text", "text": tokens::answer(self.key, reasoning, output)}));
        let usage = usage(account, account.usage.output);
        self.shell(config, &content.into(), Some(ask.finish()), &usage).to_string()
    }

    fn frames(&self, config: &Config) -> Option<Box<dyn Frames>> {
        Some(Box::new(Events {
            message: self.clone(),
            config: config.clone(),
            sse: Sse::new(config),
            block: None,
            blocks: 0,
            ordinary: Template::default(),
        }))
    }
}

/// The kinds of blocks that an answer is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Thinking,
    Text,
}

struct Events {
    message: Message,
    config: Config,
    sse: Sse,
    /// The block that is open.
    block: Option<Block>,
    /// Blocks that have been opened.
    blocks: u32,
    /// A delta of the open block.
    ordinary: Template,
}

impl Events {
    fn event(&self, name: &str, mut payload: Value) -> Bytes {
        payload["type"] = json!(name);
        self.sse.event(name, &payload.to_string())
    }

    fn stop_block(&mut self) -> Option<Bytes> {
        self.block.take()?;
        Some(self.event("content_block_stop", json!({"type": "", "index": self.blocks - 1})))
    }

    /// Have this block open: what closes another one, and opens it.
    fn open_block(&mut self, block: Block) -> Vec<u8> {
        if self.block == Some(block) {
            return Vec::new();
        }
        let mut out = self.stop_block().map(Vec::from).unwrap_or_default();
        self.block = Some(block);
        let index = self.blocks;
        self.blocks += 1;
        let (empty, delta) = match block {
            Block::Thinking => (
                json!({"type": "thinking", "thinking": "", "signature": ""}),
                json!({"type": "thinking_delta", "thinking": MARK}),
            ),
            Block::Text => (json!({"type": "text", "text": ""}), json!({"type": "text_delta", "text": MARK})),
        };
        let start = json!({"type": "", "index": index, "content_block": empty});
        out.extend_from_slice(&self.event("content_block_start", start));
        let delta = json!({"type": "content_block_delta", "index": index, "delta": delta}).to_string();
        // JSON escapes the mark.
        let delta = delta.replace("\\u0001", MARK);
        let sample = self.sse.event("content_block_delta", &delta);
        self.ordinary = Template::new(&String::from_utf8_lossy(&sample));
        out
    }
}

impl Frames for Events {
    fn open(&mut self, account: &Account, out: &mut Vec<Bytes>) {
        let shell = self.message.shell(&self.config, &json!([]), None, &usage(account, 1));
        out.push(self.event("message_start", json!({"type": "", "message": shell})));
        out.push(self.event("ping", json!({"type": ""})));
    }

    fn text(&mut self, text: Text<'_>, _finish: Option<Finish>, _account: &Account) -> Bytes {
        let mut before = self.open_block(if text.reasoning { Block::Thinking } else { Block::Text });
        let delta = self.ordinary.fill(text.text);
        if before.is_empty() {
            return delta;
        }
        before.extend_from_slice(&delta);
        before.into()
    }

    fn close(&mut self, finish: Finish, account: &Account, out: &mut Vec<Bytes>) {
        out.extend(self.stop_block());
        out.push(self.event(
            "message_delta",
            json!({
                "type": "", "delta": {"stop_reason": stop_reason(finish), "stop_sequence": null},
                "usage": usage(account, account.usage.output),
            }),
        ));
        if self.config.done {
            out.push(self.event("message_stop", json!({"type": ""})));
        }
    }

    fn error(&mut self, message: &str, out: &mut Vec<Bytes>) {
        let error = json!({"type": "error", "error": {"type": "api_error", "message": message}});
        out.push(self.event("error", error));
    }

    fn garbage(&self) -> Bytes {
        self.sse.event("content_block_delta", r#"{"type":"content_block_delta","index":0,"del"#)
    }

    fn comment(&self) -> Option<Bytes> {
        Some(self.event("ping", json!({"type": ""})))
    }
}
