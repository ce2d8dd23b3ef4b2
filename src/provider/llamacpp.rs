//! `llamacpp`: llama.cpp's own `/completion`, the prompt as it is. The last frame has the
//! server's own times, and tells how much of the prompt its cache held.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::answer::{Account, Reader, document, micros};
use super::call::{Key, listed};
use super::openai::undecodable;
use super::text::Text;
use super::{Call, DecodeError, Decoder, Delta, Entry, Features, Framing, Provider, WireRequest};

/// Its row in the table of providers.
pub const ENTRY: Entry = Entry {
    name: "llamacpp",
    help: "llama.cpp's own completions, with the server's own times: the prompt as it is.",
    path: PATH,
    build: |_| Box::new(LlamaCpp),
};

const PATH: &str = "/completion";

/// OpenAI's names of sampling settings, and its own.
const NAMES: &[(&str, &str)] = &[("repetition_penalty", "repeat_penalty"), ("logprobs", "n_probs")];

struct LlamaCpp;

impl Provider for LlamaCpp {
    fn request(&self, call: &Call<'_>) -> WireRequest {
        let mut body = Map::new();
        let mut put = |key: &str, value: Value| {
            body.insert(key.to_owned(), value);
        };
        put("prompt", (*call.whole_prompt()).into());
        put("n_predict", call.max_tokens.into());
        put("stream", call.stream.into());
        if call.force_length {
            put("ignore_eos", true.into());
        }
        for (key, value) in call.keys(NAMES) {
            match key {
                // One text it would pass over.
                Key::Setting(key @ "stop") => put(key, listed(value)),
                Key::Setting(key) | Key::Written(key) => put(key, value.clone()),
            }
        }
        WireRequest::json(PATH, body)
    }

    fn framing(&self, stream: bool) -> Framing {
        if stream { Framing::Sse } else { Framing::Whole }
    }

    fn decoder(&self, stream: bool, keep_text: bool) -> Box<dyn Decoder> {
        Reader::boxed(stream, keep_text, read)
    }

    fn features(&self) -> Features {
        Features { model: Some("default"), ..Features::USUAL }
    }
}

fn read(account: &mut Account, payload: &[u8]) -> Result<Delta, DecodeError> {
    let doc: Document<'_> = document(payload)?;
    if let Some(error) = doc.error.as_ref().and_then(|error| account.error(error)) {
        return Ok(error);
    }
    let Some(text) = &doc.content else { return Err(undecodable("no content or error in it", payload)) };
    let delta = account.visible(text.as_str());
    // Every frame counts as far as it has come; the last word counts.
    let closing = &mut account.closing;
    closing.output_tokens = doc.tokens_predicted.or(closing.output_tokens);
    closing.prompt_tokens = doc.tokens_evaluated.or(closing.prompt_tokens);
    if let Some(timings) = &doc.timings {
        // `tokens_cached` is what the cache holds in the end, the answer among it.
        let cached = match (timings.cache_n, doc.tokens_evaluated, timings.prompt_n) {
            (Some(cached), ..) => Some(cached),
            (None, Some(all), Some(read)) => all.checked_sub(read),
            _ => None,
        };
        closing.cached_tokens = cached;
        closing.server_ttft_us = timings.prompt_ms.and_then(|ms| micros(ms, 1e-3));
        let both = timings.prompt_ms.zip(timings.predicted_ms);
        closing.server_e2e_us = both.and_then(|(prompt, predicted)| micros(prompt + predicted, 1e-3));
    }
    if doc.stop == Some(true) || !account.stream {
        account.finish_reason(doc.reason());
        account.finish();
    }
    Ok(delta)
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    content: Option<Text<'a>>,
    stop: Option<bool>,
    tokens_predicted: Option<u32>,
    tokens_evaluated: Option<u32>,
    timings: Option<Timings>,
    #[serde(borrow)]
    stop_type: Option<Cow<'a, str>>,
    // The reason as it was told before there was a `stop_type`.
    stopped_eos: Option<bool>,
    stopped_word: Option<bool>,
    stopped_limit: Option<bool>,
    error: Option<Value>,
}

impl Document<'_> {
    fn reason(&self) -> &str {
        let flags = [(self.stopped_eos, "eos"), (self.stopped_word, "word"), (self.stopped_limit, "limit")];
        let flag = flags.into_iter().find(|(set, _)| *set == Some(true)).map(|(_, reason)| reason);
        self.stop_type.as_deref().filter(|reason| *reason != "none").or(flag).unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct Timings {
    /// Prompt tokens found in the cache.
    cache_n: Option<u32>,
    /// Prompt tokens that were read.
    prompt_n: Option<u32>,
    prompt_ms: Option<f64>,
    predicted_ms: Option<f64>,
}
