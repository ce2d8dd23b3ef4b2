//! `openai-rerank`: documents ordered by a query, at `/v1/rerank` as vLLM, SGLang, llama.cpp,
//! Jina and Cohere have it. Nothing is generated: the order is the one piece of content.
//!
//! Answers differ: `results` or `data`, or the bare list of text-embeddings-inference; tokens
//! under `usage` or `meta.tokens`. That server is asked otherwise, by `custom`: only an answer of
//! its form, as gateways pass it on, is read here.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::answer::{Account, Reader, document};
use super::openai::undecodable;
use super::openai_embeddings::Usage;
use super::{Call, DecodeError, Decoder, Delta, Entry, Features, Framing, Provider, WireRequest};

/// Its row in the table of providers.
pub const ENTRY: Entry = Entry {
    name: "openai-rerank",
    help: "Documents ranked by a query (vLLM, SGLang, llama.cpp, Jina, Cohere); nothing is generated or streamed.",
    path: PATH,
    build: |_| Box::new(Rerank),
};

const PATH: &str = "/v1/rerank";

struct Rerank;

impl Provider for Rerank {
    fn request(&self, call: &Call<'_>) -> WireRequest {
        let query = call.whole_prompt();
        let mut body = Map::new();
        body.insert("model".to_owned(), call.model.into());
        // A server refuses an empty list: the query stands for the one document.
        let documents = if call.more.is_empty() { json!([query]) } else { json!(call.more) };
        body.insert("query".to_owned(), (*query).into());
        body.insert("documents".to_owned(), documents);
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
        Features {
            streams: false,
            forces_length: false,
            counts_prompt: false,
            takes_batches: true,
            ..Features::USUAL
        }
    }
}

fn read(account: &mut Account, payload: &[u8]) -> Result<Delta, DecodeError> {
    let doc = if payload.first() == Some(&b'[') {
        Document { results: Some(document(payload)?), ..Document::default() }
    } else {
        document(payload)?
    };
    if let Some(error) = doc.error.as_ref().and_then(|error| account.error(error)) {
        return Ok(error);
    }
    if doc.results.or(doc.data).is_none_or(|ranked| ranked.is_empty()) {
        return Err(undecodable("no results in it", payload));
    }
    let usage = doc.usage.and_then(|u| u.prompt_tokens.or(u.total_tokens));
    let billed = doc.meta.and_then(|meta| meta.tokens?.input_tokens);
    account.closing.prompt_tokens = usage.or(billed);
    account.finish();
    Ok(Delta { content: true, visible: true })
}

#[derive(Default, Deserialize)]
struct Document {
    results: Option<Vec<IgnoredAny>>,
    data: Option<Vec<IgnoredAny>>,
    usage: Option<Usage>,
    meta: Option<Meta>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Meta {
    tokens: Option<Tokens>,
}

#[derive(Deserialize)]
struct Tokens {
    input_tokens: Option<u32>,
}
