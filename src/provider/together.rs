//! `together`: text completions as Together serves them at its root. A stream is asked for with
//! `stream_tokens`, lengths are forced with `ignore_eos`, and an answer that isn't streamed lies
//! under `output`.

use super::Entry;
use super::flavour::{Flavour, OpenAi};

/// Its row in the table of providers.
pub const ENTRY: Entry = Entry {
    name: "together",
    help: "Text completions of Together, asked at the root; stream is called stream_tokens.",
    path: "/",
    build: |_| Box::new(OpenAi(&TOGETHER)),
};

/// Its path is the root, also of a base that ends in the `/v1` of its documentation.
const TOGETHER: Flavour =
    Flavour { path: "/v1/..", stream_key: "stream_tokens", min_tokens: false, ..Flavour::COMPLETIONS };
