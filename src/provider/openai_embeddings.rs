//! `openai-embeddings`: texts to vectors, as OpenAI, vLLM, SGLang, llama.cpp and others serve
//! them. Nothing is generated, so an answer has no output tokens: the vectors are its one piece
//! of content, and their arrival is the request's end.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::answer::{Account, Reader, document};
use super::openai::undecodable;
use super::{Call, DecodeError, Decoder, Delta, Entry, Features, Framing, Provider, WireRequest};

/// Its row in the table of providers.
pub const ENTRY: Entry = Entry {
    name: "openai-embeddings",
    help: "Embeddings of OpenAI and every server that speaks like it; nothing is generated or streamed.",
    path: PATH,
    build: |_| Box::new(Embeddings),
};

const PATH: &str = "/v1/embeddings";

struct Embeddings;

impl Provider for Embeddings {
    fn request(&self, call: &Call<'_>) -> WireRequest {
        let mut body = Map::new();
        body.insert("model".to_owned(), call.model.into());
        body.insert("input".to_owned(), call.inputs());
        body.extend(call.overrides().map(|(key, value)| (key.clone(), value.clone())));
        WireRequest::json(PATH, body)
    }

    fn framing(&self, _stream: bool) -> Framing {
        Framing::Whole
    }

    fn decoder(&self, _stream: bool, keep_text: bool) -> Box<dyn Decoder> {
        Reader::boxed(false, keep_text, read)
    }

    fn features(&self) -> Features {
        Features { streams: false, forces_length: false, takes_batches: true, ..Features::USUAL }
    }
}

fn read(account: &mut Account, payload: &[u8]) -> Result<Delta, DecodeError> {
    let doc: Document = document(payload)?;
    if let Some(error) = doc.error.as_ref().and_then(|error| account.error(error)) {
        return Ok(error);
    }
    if doc.data.as_ref().is_none_or(Vec::is_empty) {
        return Err(undecodable("no embeddings in it", payload));
    }
    account.closing.prompt_tokens = doc.usage.and_then(|u| u.prompt_tokens.or(u.total_tokens));
    account.finish();
    Ok(Delta { content: true, visible: true })
}

#[derive(Deserialize)]
struct Document {
    /// The numbers themselves are only looked over.
    data: Option<Vec<IgnoredAny>>,
    usage: Option<Usage>,
    error: Option<Value>,
}

/// What was read; of an answer that generates nothing that is all.
#[derive(Deserialize)]
pub(super) struct Usage {
    pub prompt_tokens: Option<u32>,
    pub total_tokens: Option<u32>,
}
