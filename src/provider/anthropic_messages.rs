//! `anthropic-messages`: Anthropic's Messages. The system's turn stands apart, the key has a
//! header of its own, and a stream has named events, each of which also bears its name.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::borrow::Cow;

use super::answer::{Account, Reader, both, document};
use super::call::{Key, listed};
use super::openai::undecodable;
use super::text::Text;
use super::{
    Call, DecodeError, Decoder, Delta, Entry, Features, Framing, Image, Provider, Role, WireRequest,
};

/// Its row in the table of providers.
pub const ENTRY: Entry = Entry {
    name: "anthropic-messages",
    help: "Anthropic's Messages; the key goes into x-api-key, and no key forces the length of an answer.",
    path: PATH,
    build: |_| Box::new(Messages),
};

const PATH: &str = "/v1/messages";

/// The version of the API, without which it answers nothing.
const HEADERS: &[(&str, &str)] = &[("anthropic-version", "2023-06-01")];

struct Messages;

impl Provider for Messages {
    fn request(&self, call: &Call<'_>) -> WireRequest {
        let of_system = |role| role == Role::System;
        let system: Vec<&str> =
            call.history.iter().filter(|t| of_system(t.role)).map(|t| t.text.as_str()).collect();
        let mut messages = call.messages(content(call));
        messages.retain(|message| message["role"] != Role::System.name());
        let mut body = Map::new();
        let mut put = |key: &str, value: Value| {
            body.insert(key.to_owned(), value);
        };
        put("model", call.model.into());
        put("max_tokens", call.max_tokens.into());
        put("messages", messages.into());
        if !system.is_empty() {
            put("system", system.join("\n\n").into());
        }
        put("stream", call.stream.into());
        for (key, value) in call.keys(&[("stop", "stop_sequences")]) {
            match key {
                Key::Setting(key @ "stop_sequences") => put(key, listed(value)),
                Key::Setting(key) | Key::Written(key) => put(key, value.clone()),
            }
        }
        let mut request = WireRequest::json(PATH, body);
        request.headers.extend(HEADERS.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        request
    }

    fn framing(&self, stream: bool) -> Framing {
        if stream { Framing::Sse } else { Framing::Whole }
    }

    fn decoder(&self, stream: bool, keep_text: bool) -> Box<dyn Decoder> {
        Reader::boxed(stream, keep_text, read)
    }

    fn features(&self) -> Features {
        Features {
            forces_length: false,
            takes_images: true,
            key_header: Some("x-api-key"),
            headers: HEADERS,
            ..Features::USUAL
        }
    }
}

/// The prompt, after the pictures that go with it.
fn content(call: &Call<'_>) -> Value {
    if call.images.is_empty() {
        return call.prompt.into();
    }
    let picture = |image: &Image| {
        let source = json!({ "type": "base64", "media_type": image.media_type, "data": image.base64 });
        json!({ "type": "image", "source": source })
    };
    let text = json!({ "type": "text", "text": call.prompt });
    call.images.iter().map(picture).chain([text]).collect()
}

fn read(account: &mut Account, payload: &[u8]) -> Result<Delta, DecodeError> {
    let event: Event<'_> = document(payload)?;
    match event.kind.as_deref() {
        None => match event.error.as_ref().and_then(|error| account.error(error)) {
            Some(error) => Ok(error),
            None => Err(undecodable("no type in it", payload)),
        },
        Some("error") => {
            Ok(account.error(&event.error.unwrap_or(json!("an error without a word"))).unwrap_or_default())
        }
        Some("message_start") => {
            // Its count of output tokens is where the count begins.
            let usage = event.message.and_then(|message| message.usage);
            take(account, usage.map(|usage| Usage { output_tokens: None, ..usage }));
            Ok(Delta::default())
        }
        Some("content_block_start") => {
            Ok(event.content_block.map_or_else(Delta::default, |b| block(account, &b)))
        }
        Some("content_block_delta") => {
            Ok(event.delta.map_or_else(Delta::default, |delta| piece(account, &delta)))
        }
        Some("message_delta") => {
            take(account, event.usage);
            stop(account, event.delta.and_then(|delta| delta.stop_reason));
            Ok(Delta::default())
        }
        Some("message_stop") => {
            account.finish();
            Ok(Delta::default())
        }
        Some("message") => {
            let mut all = Delta::default();
            for part in event.content.iter().flatten() {
                all = both(all, block(account, part));
            }
            take(account, event.usage);
            stop(account, event.stop_reason);
            account.finish();
            Ok(all)
        }
        // `ping`, `content_block_stop`, and whatever is added to the API.
        Some(_) => Ok(Delta::default()),
    }
}

/// A block of content, at its beginning or whole.
fn block(account: &mut Account, block: &Block<'_>) -> Delta {
    let text = |piece: &Option<Text<'_>>| piece.as_ref().map(|t| t.as_str().to_owned()).unwrap_or_default();
    let mut all = account.hidden(&text(&block.thinking));
    all = both(all, account.visible(&text(&block.text)));
    if block.kind.as_deref() == Some("tool_use") {
        all = both(all, account.visible(block.name.as_deref().unwrap_or_default()));
        let input = block.input.map_or("", RawValue::get);
        // A call's arguments come later; until then there is an empty table in their place.
        all = both(all, account.visible(if input == "{}" { "" } else { input }));
    }
    all
}

fn piece(account: &mut Account, delta: &BlockDelta<'_>) -> Delta {
    let hidden = account.hidden(delta.thinking.as_ref().map_or("", Text::as_str));
    let text = account.visible(delta.text.as_ref().map_or("", Text::as_str));
    let json = account.visible(delta.partial_json.as_ref().map_or("", Text::as_str));
    both(hidden, both(text, json))
}

fn stop(account: &mut Account, reason: Option<Cow<'_, str>>) {
    account.finish_reason(reason.as_deref().unwrap_or_default());
}

/// What a later usage object says counts; what it leaves out stays. `input_tokens` are those that
/// were neither read from a cache nor written to one.
fn take(account: &mut Account, usage: Option<Usage>) {
    let Some(usage) = usage else { return };
    let cache = [usage.cache_read_input_tokens, usage.cache_creation_input_tokens];
    let prompt =
        usage.input_tokens.map(|fresh| cache.iter().flatten().fold(fresh, |n, more| n.saturating_add(*more)));
    let closing = &mut account.closing;
    closing.prompt_tokens = prompt.or(closing.prompt_tokens);
    closing.cached_tokens = usage.cache_read_input_tokens.or(closing.cached_tokens);
    closing.output_tokens = usage.output_tokens.or(closing.output_tokens);
}

/// An event of a stream, a whole answer, or an error.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    message: Option<Start>,
    #[serde(borrow)]
    content_block: Option<Block<'a>>,
    #[serde(borrow)]
    delta: Option<BlockDelta<'a>>,
    #[serde(borrow)]
    content: Option<Vec<Block<'a>>>,
    #[serde(borrow)]
    stop_reason: Option<Cow<'a, str>>,
    usage: Option<Usage>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Start {
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

/// A piece of a block, or, in `message_delta`, why the message ends.
#[derive(Deserialize)]
struct BlockDelta<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<Text<'a>>,
    #[serde(borrow)]
    partial_json: Option<Text<'a>>,
    #[serde(borrow)]
    stop_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Usage {
    input_tokens: Option<u32>,
    cache_read_input_tokens: Option<u32>,
    cache_creation_input_tokens: Option<u32>,
    output_tokens: Option<u32>,
}
