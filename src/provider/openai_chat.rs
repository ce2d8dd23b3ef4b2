//! `openai-chat`: chat completions, as OpenAI, vLLM, SGLang, llama.cpp and many others serve
//! them.

use super::openai::{self, Api, Reader};
use super::{Call, Decoder, Entry, Framing, Provider, WireRequest};

/// Its row in the table of providers.
pub const ENTRY: Entry = Entry {
    name: "openai-chat",
    help: "Chat completions of OpenAI and every server that speaks like it (vLLM, SGLang, llama.cpp, …).",
    path: "/v1/chat/completions",
    build: |_| Box::new(OpenAiChat),
};

struct OpenAiChat;

impl Provider for OpenAiChat {
    fn request(&self, call: &Call<'_>) -> WireRequest {
        openai::request(Api::Chat, call)
    }

    fn framing(&self, stream: bool) -> Framing {
        openai::framing(stream)
    }

    fn decoder(&self, stream: bool, keep_text: bool) -> Box<dyn Decoder> {
        Box::new(Reader::new(Api::Chat, stream, keep_text))
    }
}
