//! `vllm` and `vllm-completions`: as vLLM serves OpenAI's API. An answer of the asked length is
//! forced with `ignore_eos` and `min_tokens`.

use super::Entry;
use super::flavour::{Flavour, OpenAi};

/// Its row in the table of providers, for chat completions.
pub const ENTRY: Entry = Entry {
    name: "vllm",
    help: "Chat completions of vLLM; forces lengths with ignore_eos and min_tokens.",
    path: CHAT.path,
    build: |_| Box::new(OpenAi(&CHAT)),
};

/// Its row for text completions.
pub const COMPLETIONS: Entry = Entry {
    name: "vllm-completions",
    help: "Text completions of vLLM: the prompt as it is, without a chat template.",
    path: TEXT.path,
    build: |_| Box::new(OpenAi(&TEXT)),
};

const CHAT: Flavour = Flavour::CHAT;
const TEXT: Flavour = Flavour::COMPLETIONS;
