//! `openai-completions`: text completions, as OpenAI, vLLM, SGLang, llama.cpp and many others serve
//! them.

use super::openai::{self, Api, Reader};
use super::{Call, Decoder, Entry, Framing, Provider, WireRequest};

/// Its row in the table of providers.
pub const ENTRY: Entry = Entry {
    name: "openai-completions",
    help: "Text completions of OpenAI and every server that speaks like it: the prompt as it is, without a chat template.",
    path: "/v1/completions",
    build: |_| Box::new(OpenAiCompletions),
};

struct OpenAiCompletions;

impl Provider for OpenAiCompletions {
    fn request(&self, call: &Call<'_>) -> WireRequest {
        openai::request(Api::Completions, call)
    }

    fn framing(&self, stream: bool) -> Framing {
        openai::framing(stream)
    }

    fn decoder(&self, stream: bool, keep_text: bool) -> Box<dyn Decoder> {
        Box::new(Reader::new(Api::Completions, stream, keep_text))
    }
}
