//! `ollama`: Ollama's own chat, one JSON document a line. The last line has the counts and the
//! server's own times.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::answer::{Account, Reader, both, document, micros};
use super::call::{Key, listed, put};
use super::openai::undecodable;
use super::text::Text;
use super::{Call, DecodeError, Decoder, Delta, Entry, Features, Framing, Provider, WireRequest};

/// Its row in the table of providers.
pub const ENTRY: Entry = Entry {
    name: "ollama",
    help: "Ollama's own chat, with the server's own times; no key forces the length of an answer.",
    path: PATH,
    build: |_| Box::new(Ollama),
};

const PATH: &str = "/api/chat";

/// OpenAI's names of sampling settings, and its own.
const NAMES: &[(&str, &str)] = &[("repetition_penalty", "repeat_penalty"), ("reasoning_effort", "think")];

/// Settings that stand beside `options`, not in them.
const OUTSIDE: [&str; 4] = ["think", "logprobs", "top_logprobs", "tools"];

struct Ollama;

impl Provider for Ollama {
    fn request(&self, call: &Call<'_>) -> WireRequest {
        let mut messages = call.messages(call.prompt.into());
        if let Some(last) = messages.last_mut().filter(|_| !call.images.is_empty()) {
            last["images"] = call.images.iter().map(|image| image.base64.as_str()).collect();
        }
        let mut body = Map::new();
        body.insert("model".to_owned(), call.model.into());
        body.insert("messages".to_owned(), messages.into());
        body.insert("stream".to_owned(), call.stream.into());
        body.insert("options".to_owned(), json!({ "num_predict": call.max_tokens }));
        for (key, value) in call.keys(NAMES) {
            let key = match key {
                Key::Setting(key) => key,
                Key::Written(key) => {
                    put(&mut body, key, value);
                    continue;
                }
            };
            let value = match key {
                "stop" => listed(value),
                "think" if value == "none" => false.into(),
                _ => value.clone(),
            };
            if OUTSIDE.contains(&key) {
                body.insert(key.to_owned(), value);
            } else {
                put(&mut body, "options", &json!({ key: value }));
            }
        }
        WireRequest::json(PATH, body)
    }

    fn framing(&self, stream: bool) -> Framing {
        if stream { Framing::JsonLines } else { Framing::Whole }
    }

    fn decoder(&self, stream: bool, keep_text: bool) -> Box<dyn Decoder> {
        Reader::boxed(stream, keep_text, read)
    }

    fn features(&self) -> Features {
        Features { forces_length: false, takes_images: true, ..Features::USUAL }
    }
}

fn read(account: &mut Account, payload: &[u8]) -> Result<Delta, DecodeError> {
    let doc: Document<'_> = document(payload)?;
    if let Some(error) = doc.error.as_ref().and_then(|error| account.error(error)) {
        return Ok(error);
    }
    if doc.message.is_none() && doc.done.is_none() {
        return Err(undecodable("no message or error in it", payload));
    }
    let mut delta = Delta::default();
    for message in doc.message.iter() {
        delta = both(delta, account.hidden(message.thinking.as_ref().map_or("", Text::as_str)));
        delta = both(delta, account.visible(message.content.as_ref().map_or("", Text::as_str)));
        for function in message.tool_calls.iter().flatten().filter_map(|call| call.function.as_ref()) {
            delta = both(delta, account.visible(function.name.as_deref().unwrap_or_default()));
            delta = both(delta, account.visible(function.arguments.map_or("", RawValue::get)));
        }
    }
    if doc.done == Some(true) {
        let closing = &mut account.closing;
        closing.prompt_tokens = doc.prompt_eval_count;
        closing.output_tokens = doc.eval_count;
        // Until the first token the model is loaded, where it was not, and the prompt read.
        let first = doc.prompt_eval_duration.map(|ns| ns + doc.load_duration.unwrap_or(0.0));
        closing.server_ttft_us = first.and_then(|ns| micros(ns, 1e3));
        closing.server_e2e_us = doc.total_duration.and_then(|ns| micros(ns, 1e3));
        account.finish_reason(doc.done_reason.as_deref().unwrap_or_default());
        account.finish();
    }
    Ok(delta)
}

/// A line; the durations are nanoseconds.
#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    message: Option<Message<'a>>,
    done: Option<bool>,
    #[serde(borrow)]
    done_reason: Option<Cow<'a, str>>,
    prompt_eval_count: Option<u32>,
    eval_count: Option<u32>,
    total_duration: Option<f64>,
    load_duration: Option<f64>,
    prompt_eval_duration: Option<f64>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<Text<'a>>,
    #[serde(borrow)]
    tool_calls: Option<Vec<ToolCall<'a>>>,
}

#[derive(Deserialize)]
struct ToolCall<'a> {
    #[serde(borrow)]
    function: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}
