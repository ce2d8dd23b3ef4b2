//! `openai-chat`: chat completions, as OpenAI, vLLM, SGLang, llama.cpp and many others serve
//! them.

use super::Entry;
use super::flavour::{Flavour, OpenAi};

/// Its row in the table of providers.
pub const ENTRY: Entry = Entry {
    name: "openai-chat",
    help: "Chat completions of OpenAI and every server that speaks like it (vLLM, SGLang, llama.cpp, …).",
    path: Flavour::CHAT.path,
    build: |_| Box::new(OpenAi(&Flavour::CHAT)),
};
