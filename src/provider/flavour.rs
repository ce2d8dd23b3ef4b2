//! The APIs that are OpenAI's but for a field or two: each is described here, not written again.

use serde_json::{Map, Value, json};

use super::openai::{Api, Reader};
use super::{Call, Decoder, Features, Framing, Provider, WireRequest};

/// How an API differs from OpenAI's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flavour {
    pub api: Api,
    /// Path that it is asked at.
    pub path: &'static str,
    /// Key that asks for a stream.
    pub stream_key: &'static str,
    /// Keys that are always sent as `true`.
    pub always: &'static [&'static str],
    /// An answer of the asked length is forced with `ignore_eos`.
    pub ignore_eos: bool,
    /// It is forced with `min_tokens`.
    pub min_tokens: bool,
}

impl Flavour {
    /// Chat completions as OpenAI, and most servers, have them.
    pub(super) const CHAT: Self = Self {
        api: Api::Chat,
        path: "/v1/chat/completions",
        stream_key: "stream",
        always: &[],
        ignore_eos: true,
        min_tokens: true,
    };

    /// Text completions likewise.
    pub(super) const COMPLETIONS: Self =
        Self { api: Api::Completions, path: "/v1/completions", ..Self::CHAT };

    fn body(&self, call: &Call<'_>) -> Map<String, Value> {
        let mut body = Map::new();
        let mut put = |key: &str, value: Value| {
            body.insert(key.to_owned(), value);
        };
        put("model", call.model.into());
        match self.api {
            Api::Chat => put("messages", call.messages(content(call)).into()),
            Api::Completions => put("prompt", (*call.whole_prompt()).into()),
        }
        put(call.max_tokens_field, call.max_tokens.into());
        put(self.stream_key, call.stream.into());
        if call.stream {
            put("stream_options", json!({ "include_usage": true }));
        }
        for key in self.always {
            put(key, true.into());
        }
        if call.force_length && self.ignore_eos {
            put("ignore_eos", true.into());
        }
        if call.force_length && self.min_tokens {
            put("min_tokens", call.max_tokens.into());
        }
        for (key, value) in call.overrides() {
            put(key, value.clone());
        }
        body
    }
}

/// The prompt, and the pictures that go with it.
fn content(call: &Call<'_>) -> Value {
    if call.images.is_empty() {
        return call.prompt.into();
    }
    let picture = |image: &super::Image| {
        let url = format!("data:{};base64,{}", image.media_type, image.base64);
        json!({ "type": "image_url", "image_url": { "url": url } })
    };
    let text = json!({ "type": "text", "text": call.prompt });
    std::iter::once(text).chain(call.images.iter().map(picture)).collect()
}

/// Answers asked for at once: the last word on `n`.
fn choices(call: &Call<'_>) -> u32 {
    let n = call.overrides().filter(|(key, _)| *key == "n").last().and_then(|(_, n)| n.as_u64());
    n.and_then(|n| u32::try_from(n).ok()).unwrap_or(1).max(1)
}

/// An API of a flavour.
pub(super) struct OpenAi(pub &'static Flavour);

impl Provider for OpenAi {
    fn request(&self, call: &Call<'_>) -> WireRequest {
        WireRequest { choices: choices(call), ..WireRequest::json(self.0.path, self.0.body(call)) }
    }

    fn framing(&self, stream: bool) -> Framing {
        if stream { Framing::Sse } else { Framing::Whole }
    }

    fn decoder(&self, stream: bool, keep_text: bool) -> Box<dyn Decoder> {
        Box::new(Reader::new(self.0.api, stream, keep_text))
    }

    fn features(&self) -> Features {
        Features {
            forces_length: self.0.ignore_eos || self.0.min_tokens,
            takes_images: self.0.api == Api::Chat,
            ..Features::USUAL
        }
    }
}
