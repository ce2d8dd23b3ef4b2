//! `triton-generate`: a language model behind Triton's generate extension, the prompt as it is.
//! Its streams have no end marker: they end with their body.

use serde_json::{Map, Value};

use super::answer::Reader;
use super::call::Key;
use super::{Call, Decoder, Entry, Features, Framing, Provider, WireRequest, triton};

/// Its row in the table of providers.
pub const ENTRY: Entry = Entry {
    name: "triton-generate",
    help: "Triton's generate extension (generate_stream where streamed); model ensemble unless another is named.",
    path: "/v2/models/{model}/generate",
    build: |_| Box::new(Generate),
};

struct Generate;

impl Provider for Generate {
    fn request(&self, call: &Call<'_>) -> WireRequest {
        let prompt = call.whole_prompt();
        let mut body = Map::new();
        let mut put = |key: &str, value: Value| {
            body.insert(key.to_owned(), value);
        };
        put("text_input", (*prompt).into());
        put("max_tokens", call.max_tokens.into());
        put("stream", call.stream.into());
        // Some ensembles ask for them.
        put("bad_words", "".into());
        put("stop_words", "".into());
        if call.force_length {
            put(triton::FORCE, call.max_tokens.into());
        }
        for (Key::Setting(key) | Key::Written(key), value) in call.keys(triton::NAMES) {
            put(key, value.clone());
        }
        let action = if call.stream { "generate_stream" } else { "generate" };
        let request = WireRequest::json(format!("/v2/models/{}/{action}", call.model), body);
        WireRequest { echo: (!call.stream).then(|| prompt.into_owned()), ..request }
    }

    fn framing(&self, stream: bool) -> Framing {
        if stream { Framing::Sse } else { Framing::Whole }
    }

    fn decoder(&self, stream: bool, keep_text: bool) -> Box<dyn Decoder> {
        Reader::without_end(stream, keep_text, triton::read)
    }

    fn features(&self) -> Features {
        triton::FEATURES
    }
}
