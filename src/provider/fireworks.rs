//! `fireworks` and `fireworks-completions`: OpenAI's API as Fireworks serves it. Its answers are asked
//! for the server's own times (`perf_metrics`), and lengths are forced with `min_tokens` alone.

use super::Entry;
use super::flavour::{Flavour, OpenAi};

/// Its row in the table of providers, for chat completions.
pub const ENTRY: Entry = Entry {
    name: "fireworks",
    help: "Chat completions of Fireworks, with the server's own times in perf_metrics.",
    path: CHAT.path,
    build: |_| Box::new(OpenAi(&CHAT)),
};

/// Its row for text completions.
pub const COMPLETIONS: Entry = Entry {
    name: "fireworks-completions",
    help: "Text completions of Fireworks, with the server's own times in perf_metrics.",
    path: TEXT.path,
    build: |_| Box::new(OpenAi(&TEXT)),
};

const CHAT: Flavour = Flavour { ignore_eos: false, always: &[PERF], ..Flavour::CHAT };
const TEXT: Flavour = Flavour { path: Flavour::COMPLETIONS.path, api: Flavour::COMPLETIONS.api, ..CHAT };

/// Asks for the server's own times in the last chunk, or in the body.
const PERF: &str = "perf_metrics_in_response";
