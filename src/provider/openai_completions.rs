//! `openai-completions`: text completions, as OpenAI, vLLM, SGLang, llama.cpp and many others serve
//! them.

use super::Entry;
use super::flavour::{Flavour, OpenAi};

/// Its row in the table of providers.
pub const ENTRY: Entry = Entry {
    name: "openai-completions",
    help: "Text completions of OpenAI and every server that speaks like it: the prompt as it is, without a chat template.",
    path: Flavour::COMPLETIONS.path,
    build: |_| Box::new(OpenAi(&Flavour::COMPLETIONS)),
};
