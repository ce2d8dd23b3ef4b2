//! Wire formats: how each API is asked, and how its answers are read.
//!
//! A provider is one file and one line in [`ALL`]. It does no I/O and knows no clock: it
//! turns a [`Call`] into a [`WireRequest`], and gives a [`Decoder`] that turns the payloads
//! of frames into [`Delta`]s. [`framing`] cuts the bytes into frames.

mod answer;
pub mod anthropic_messages;
pub mod anyscale;
mod call;
pub mod custom;
pub mod error;
mod features;
pub mod fireworks;
mod flavour;
pub mod framing;
mod glance;
pub mod llamacpp;
pub mod ollama;
mod openai;
pub mod openai_chat;
pub mod openai_completions;
pub mod openai_embeddings;
pub mod openai_rerank;
pub mod sglang;
pub mod template;
mod text;
pub mod tgi;
pub mod together;
mod triton;
pub mod triton_generate;
pub mod triton_infer;
pub mod vllm;

pub use call::SAMPLING;
pub use custom::Custom;
pub use error::{DETAIL_CHARS, clip, http_error};
pub use features::Features;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

use crate::record::TokenSource;

/// Who says a turn of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    System,
    User,
    Assistant,
}

impl Role {
    /// The word for it in most APIs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One turn of a conversation, before the prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    pub role: Role,
    pub text: String,
}

/// A picture that goes with a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Such as `image/png`.
    pub media_type: &'static str,
    /// The file's bytes in base64.
    pub base64: String,
}

/// What a provider is built with beside its name: the keys of `[target]` that only some APIs
/// have, and what the server says of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// `[target.custom]`, the whole description of the API `custom`.
    pub custom: Option<Custom>,
    /// Datatypes of the model's inputs by name, such as `INT32`, of a server that tells them.
    pub inputs: BTreeMap<String, String>,
}

static NOTHING: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

/// One request, before it has a wire format.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    pub model: &'a str,
    pub prompt: &'a str,
    /// Earlier turns of the conversation that the prompt goes on with, the oldest first.
    pub history: &'a [Turn],
    /// Further inputs of a request that bears several: texts to embed, documents to rank,
    /// prompts of a batch.
    pub more: &'a [String],
    pub images: &'a [Image],
    /// Number of the arrival, for templates.
    pub seq: u64,
    /// Prompt length asked for, in tokens, for templates.
    pub prompt_tokens: u32,
    /// Output length asked for.
    pub max_tokens: u32,
    /// Key of the body that says so: `max_tokens`, or `max_completion_tokens`.
    pub max_tokens_field: &'a str,
    pub stream: bool,
    /// Ask the server not to stop before `max_tokens` (`ignore_eos`, `min_tokens`), where
    /// it takes such fields.
    pub force_length: bool,
    /// Sampling settings by their wire names: `temperature`, `top_p`, `seed`, `stop`, …
    pub sampling: &'a Map<String, Value>,
    /// Keys that override the body, the user's last word.
    pub extra_body: &'a Map<String, Value>,
    /// Keys that a line of a data set brings for this one request; they win over `extra_body`.
    pub line_body: &'a Map<String, Value>,
}

impl<'a> Call<'a> {
    /// A streamed request for `max_tokens` after `prompt`, and nothing else set.
    #[must_use]
    pub fn new(model: &'a str, prompt: &'a str, max_tokens: u32) -> Self {
        Self {
            model,
            prompt,
            history: &[],
            more: &[],
            images: &[],
            seq: 0,
            prompt_tokens: 0,
            max_tokens,
            max_tokens_field: "max_tokens",
            stream: true,
            force_length: false,
            sampling: &NOTHING,
            extra_body: &NOTHING,
            line_body: &NOTHING,
        }
    }

    /// What the user puts into the body, in the order in which later keys win.
    pub fn overrides(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.sampling.iter().chain(self.extra_body).chain(self.line_body)
    }
}

/// A request as it goes out. `path` is below the target's base URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireRequest {
    pub method: &'static str,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    /// A text with which the answer may begin before it says anything of its own: the prompt,
    /// in APIs that repeat it.
    pub echo: Option<String>,
    /// Answers that it asks for at once, 1 or more.
    pub choices: u32,
}

impl WireRequest {
    /// A `POST` of a JSON document.
    #[must_use]
    pub fn json(path: impl Into<String>, body: Map<String, Value>) -> Self {
        Self {
            method: "POST",
            path: path.into(),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: Bytes::from(Value::Object(body).to_string()),
            echo: None,
            choices: 1,
        }
    }
}

/// How an answer's bytes are cut into frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// Server-sent events.
    Sse,
    /// One JSON document a line.
    JsonLines,
    /// The whole body is one document.
    Whole,
}

/// What one frame brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delta {
    /// Non-empty content, reasoning or tool call; of an API that generates nothing, such as
    /// embeddings, its result.
    pub content: bool,
    /// Non-empty content that is not reasoning.
    pub visible: bool,
}

/// What an answer says of itself once it has ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Closing {
    /// The end marker (`[DONE]`) or a finish reason was seen, or the body was whole.
    pub complete: bool,
    pub finish_reason: Option<String>,
    pub prompt_tokens: Option<u32>,
    pub output_tokens: Option<u32>,
    pub cached_tokens: Option<u32>,
    /// Time to first token by the server's own clock, in microseconds.
    pub server_ttft_us: Option<u64>,
    /// Time of the whole request by the server's own clock, in microseconds.
    pub server_e2e_us: Option<u64>,
    /// An error object inside the answer, in the server's words.
    pub error: Option<String>,
    /// The answer's text, when the decoder was asked to keep it.
    pub text: Option<String>,
}

impl Closing {
    /// Where the output count comes from, if the server gave one.
    #[must_use]
    pub fn token_source(&self) -> Option<TokenSource> {
        self.output_tokens.map(|_| TokenSource::Usage)
    }
}

/// A frame that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("undecodable frame: {reason}")]
pub struct DecodeError {
    pub reason: String,
}

/// Reads one answer, frame by frame. Cheap per content frame; the rest is done once, at
/// [`Decoder::close`].
pub trait Decoder: Send {
    /// Read one frame's payload (for SSE the data lines, joined).
    ///
    /// # Errors
    /// When the payload is neither a document of this API nor an end marker.
    fn frame(&mut self, payload: &[u8]) -> Result<Delta, DecodeError>;

    /// The text that the answer may repeat first ([`WireRequest::echo`]); called before the first
    /// frame.
    fn expect_echo(&mut self, _prompt: &str) {}

    /// How many answers come at once ([`WireRequest::choices`]), where more than one; called
    /// before the first frame.
    fn expect_choices(&mut self, _choices: u32) {}

    /// The body has come to its end as HTTP tells it, after its last frame. Not called where the
    /// connection broke: in an API without an end marker that is how a whole answer is told.
    fn ended(&mut self) -> Delta {
        Delta::default()
    }

    /// Whether the answer has said all: nothing more need be awaited.
    fn done(&self) -> bool;

    /// The answer's own account, after its last frame.
    fn close(&mut self) -> Closing;
}

/// One API.
pub trait Provider: Send + Sync {
    /// The request on the wire.
    fn request(&self, call: &Call<'_>) -> WireRequest;

    /// How its answers are framed.
    fn framing(&self, stream: bool) -> Framing;

    /// A reader for one answer. `keep_text` asks it to keep the text, for counting tokens.
    fn decoder(&self, stream: bool, keep_text: bool) -> Box<dyn Decoder>;

    /// What it can do, and what it wants beside its requests.
    fn features(&self) -> Features {
        Features::USUAL
    }
}

/// One row of the table of providers.
pub struct Entry {
    /// As `target.api` names it.
    pub name: &'static str,
    /// One sentence for `plimsoll providers`.
    pub help: &'static str,
    /// The path it asks, for people.
    pub path: &'static str,
    pub build: fn(&Options) -> Box<dyn Provider>,
}

/// Every provider.
pub const ALL: &[Entry] = &[
    openai_chat::ENTRY,
    openai_completions::ENTRY,
    openai_embeddings::ENTRY,
    openai_rerank::ENTRY,
    vllm::ENTRY,
    vllm::COMPLETIONS,
    sglang::ENTRY,
    sglang::COMPLETIONS,
    fireworks::ENTRY,
    fireworks::COMPLETIONS,
    anyscale::ENTRY,
    anyscale::COMPLETIONS,
    together::ENTRY,
    tgi::ENTRY,
    triton_infer::ENTRY,
    triton_generate::ENTRY,
    llamacpp::ENTRY,
    ollama::ENTRY,
    anthropic_messages::ENTRY,
    custom::ENTRY,
];

/// The row of `name`, if there is one.
#[must_use]
pub fn find(name: &str) -> Option<&'static Entry> {
    ALL.iter().find(|e| e.name == name)
}

/// The address of `path` below `base`. A base that already ends in the path's first
/// segment, as the `…/v1` that most clients ask for does, doesn't get it twice.
#[must_use]
pub fn join(base: &Url, path: &str) -> Url {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let path = path.trim_start_matches('/');
    let root = base.path().trim_end_matches('/');
    let first = path.split('/').next().unwrap_or(path);
    let below = match root.rsplit('/').next() {
        Some(last) if !last.is_empty() && last == first => path[first.len()..].trim_start_matches('/'),
        _ => path,
    };
    let mut url = base.clone();
    // A base that is the endpoint itself stays as it is written.
    let slash = if below.is_empty() && !path.is_empty() { "" } else { "/" };
    url.set_path(&format!("{root}{slash}{below}"));
    if query.is_some() {
        url.set_query(query);
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_with_and_without_a_version() {
        for (base, path, want) in [
            ("http://h:1", "/v1/chat/completions", "http://h:1/v1/chat/completions"),
            ("http://h:1/", "/v1/models", "http://h:1/v1/models"),
            ("http://h:1/v1", "/v1/models", "http://h:1/v1/models"),
            ("http://h:1/v1/", "/v1/models", "http://h:1/v1/models"),
            ("http://h:1/api/v1", "/v1/models", "http://h:1/api/v1/models"),
            ("http://h:1/api", "/v1/models", "http://h:1/api/v1/models"),
            ("http://h:1/v1?key=a", "/v1/models", "http://h:1/v1/models?key=a"),
            ("http://h:1/v1", "/v1/embed?truncate=true", "http://h:1/v1/embed?truncate=true"),
            ("http://h:1", "/", "http://h:1/"),
            ("http://h:1/api/", "/", "http://h:1/api/"),
            ("http://h:1/completion", "/completion", "http://h:1/completion"),
            ("http://h:1/a/embed/", "/embed?x=1", "http://h:1/a/embed?x=1"),
            // Together's path: the root, with and without the version below it.
            ("http://h:1", "/v1/..", "http://h:1/"),
            ("http://h:1/v1", "/v1/..", "http://h:1/"),
            ("http://h:1/proxy/v1", "/v1/..", "http://h:1/proxy/"),
        ] {
            let base = Url::parse(base).expect("a url");
            assert_eq!(join(&base, path).as_str(), want);
        }
    }

    #[test]
    fn names_are_unique_and_found() {
        for entry in ALL {
            assert_eq!(ALL.iter().filter(|e| e.name == entry.name).count(), 1, "{}", entry.name);
            assert!(find(entry.name).is_some_and(|e| e.path == entry.path));
        }
        assert!(find("nothing").is_none());
    }
}
