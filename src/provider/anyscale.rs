//! `anyscale` and `anyscale-completions`: OpenAI's API as Anyscale's hosted endpoints serve it. They
//! have no keys that force an answer's length.

use super::Entry;
use super::flavour::{Flavour, OpenAi};

/// Its row in the table of providers, for chat completions.
pub const ENTRY: Entry = Entry {
    name: "anyscale",
    help: "Chat completions of Anyscale's endpoints; no key forces the length of an answer.",
    path: CHAT.path,
    build: |_| Box::new(OpenAi(&CHAT)),
};

/// Its row for text completions.
pub const COMPLETIONS: Entry = Entry {
    name: "anyscale-completions",
    help: "Text completions of Anyscale's endpoints; no key forces the length of an answer.",
    path: TEXT.path,
    build: |_| Box::new(OpenAi(&TEXT)),
};

const CHAT: Flavour = Flavour { ignore_eos: false, min_tokens: false, ..Flavour::CHAT };
const TEXT: Flavour = Flavour { path: Flavour::COMPLETIONS.path, api: Flavour::COMPLETIONS.api, ..CHAT };
