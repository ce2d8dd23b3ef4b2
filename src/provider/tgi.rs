//! `tgi`: Hugging Face's text-generation-inference by its own API, the prompt as it is. A stream
//! has one token a frame, and its last frame says how many there were.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::answer::{Account, Reader, document};
use super::call::{Key, listed, put};
use super::openai::undecodable;
use super::{Call, DecodeError, Decoder, Delta, Entry, Features, Framing, Provider, WireRequest};

/// Its row in the table of providers.
pub const ENTRY: Entry = Entry {
    name: "tgi",
    help: "text-generation-inference by its own API (/generate_stream where streamed): the prompt as it is.",
    path: "/generate",
    build: |_| Box::new(Tgi),
};

struct Tgi;

impl Provider for Tgi {
    fn request(&self, call: &Call<'_>) -> WireRequest {
        let path = if call.stream { "/generate_stream" } else { "/generate" };
        let mut body = Map::new();
        body.insert("inputs".to_owned(), (*call.whole_prompt()).into());
        body.insert("parameters".to_owned(), json!({ "max_new_tokens": call.max_tokens, "details": true }));
        for (key, value) in call.keys(&[]) {
            match key {
                Key::Setting(key) => put(&mut body, "parameters", &parameters(key, value).into()),
                Key::Written(key) => put(&mut body, key, value),
            }
        }
        WireRequest::json(path, body)
    }

    fn framing(&self, stream: bool) -> Framing {
        if stream { Framing::Sse } else { Framing::Whole }
    }

    fn decoder(&self, stream: bool, keep_text: bool) -> Box<dyn Decoder> {
        Reader::boxed(stream, keep_text, read)
    }

    fn features(&self) -> Features {
        Features { forces_length: false, model: Some("tgi"), ..Features::USUAL }
    }
}

/// What a sampling setting becomes. Its names are OpenAI's, its limits are not: 0 is no
/// temperature but no sampling at all, and 1 no `top_p`.
fn parameters(key: &str, value: &Value) -> Map<String, Value> {
    let number = value.as_f64();
    let mut parameters = Map::new();
    let value = match key {
        "temperature" => {
            let samples = number != Some(0.0);
            parameters.insert("do_sample".to_owned(), samples.into());
            samples.then(|| value.clone())
        }
        "top_p" => Some(value.clone()).filter(|_| number.is_none_or(|p| p < 1.0)),
        "top_k" => Some(value.clone()).filter(|_| number.is_none_or(|k| k >= 1.0)),
        "stop" => Some(listed(value)),
        _ => Some(value.clone()),
    };
    parameters.extend(value.map(|value| (key.to_owned(), value)));
    parameters
}

fn read(account: &mut Account, payload: &[u8]) -> Result<Delta, DecodeError> {
    let doc: Document<'_> = document(payload)?;
    if let Some(error) = doc.error {
        return Ok(account.error(&json!(error)).unwrap_or_default());
    }
    let delta = match (&doc.token, &doc.generated_text) {
        // An end-of-sequence token is counted, but it is no text.
        (Some(token), _) if token.special => Delta::default(),
        (Some(token), _) => account.visible(&token.text),
        (None, Some(text)) => account.visible(text),
        (None, None) => return Err(undecodable("neither token nor text nor error in it", payload)),
    };
    if let Some(details) = doc.details {
        let prefill = details.prefill.filter(|list| !list.is_empty()).and_then(|l| l.len().try_into().ok());
        account.closing.output_tokens = details.generated_tokens;
        account.closing.prompt_tokens = details.input_length.or(prefill);
        account.finish_reason(details.finish_reason.as_deref().unwrap_or_default());
    }
    if doc.generated_text.is_some() {
        account.finish();
    }
    Ok(delta)
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    token: Option<Token<'a>>,
    /// The whole text, again, in the last frame.
    #[serde(borrow)]
    generated_text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    details: Option<Details<'a>>,
    #[serde(borrow)]
    error: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Token<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct Details<'a> {
    #[serde(borrow)]
    finish_reason: Option<Cow<'a, str>>,
    generated_tokens: Option<u32>,
    input_length: Option<u32>,
    prefill: Option<Vec<IgnoredAny>>,
}
