//! `custom`: any HTTP endpoint, described in the experiment file.
//!
//! What it is asked is a template; what it answers is read by JSON pointers. Where none is given
//! an answer need not be JSON: that it came, whole, is all there is to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::answer::{Account, document};
use super::openai::undecodable;
use super::template::{self, Document, Text};
use super::{
    Call, Closing, DecodeError, Decoder, Delta, Entry, Features, Framing, Options, Provider, WireRequest,
};

/// Its row in the table of providers.
pub const ENTRY: Entry = Entry {
    name: "custom",
    help: "Any HTTP endpoint: [target.custom] says how it is asked and how its answers are read.",
    path: "/{target.custom.path}",
    build: |options: &Options| Box::new(Endpoint::new(options.custom.clone().unwrap_or_default())),
};

/// Methods that an endpoint can be asked with.
pub const METHODS: [&str; 5] = ["POST", "GET", "PUT", "PATCH", "DELETE"];

/// `[target.custom]`: how an endpoint is asked and how its answers are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Custom {
    /// One of [`METHODS`].
    pub method: String,
    /// Path below the target's URL, with its query if it has one: a template.
    pub path: String,
    /// Headers with placeholders in them; all others are among the target's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// A template: a JSON value, or a text that is sent as it is. `None`: no body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    pub framing: Framing,
    /// JSON pointer to the answer's text, in each frame. `None`: each frame is a piece of the
    /// answer, and its text is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// JSON pointer to the count of prompt tokens, wherever it comes; the last one counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<String>,
    /// JSON pointer to the count of output tokens, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<String>,
    /// JSON pointer to the reason why the answer ends; there, and not empty, the answer is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish: Option<String>,
    /// JSON pointer to an error; where there is something, the answer has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// A frame of a stream that says no more than that it ends, such as `[DONE]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<String>,
}

impl Custom {
    /// Whether it says where an answer's text, or a count of tokens, is found.
    #[must_use]
    pub const fn reads_answers(&self) -> bool {
        self.text.is_some() || self.prompt_tokens.is_some() || self.output_tokens.is_some()
    }
}

impl Default for Custom {
    /// A `GET` of the root, whatever it answers.
    fn default() -> Self {
        Self {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            headers: BTreeMap::new(),
            body: None,
            framing: Framing::Whole,
            text: None,
            prompt_tokens: None,
            output_tokens: None,
            finish: None,
            error: None,
            done: None,
        }
    }
}

impl Custom {
    /// Every name that its templates have a placeholder for.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        Endpoint::new(self.clone()).names
    }

    /// Whether nothing is read out of its answers.
    fn reads_nothing(&self) -> bool {
        let pointers = [&self.text, &self.prompt_tokens, &self.output_tokens, &self.finish, &self.error];
        pointers.iter().all(|pointer| pointer.is_none())
    }

    /// Whether a stream says when it is whole.
    fn says_its_end(&self) -> bool {
        self.finish.is_some() || self.done.is_some()
    }
}

struct Endpoint {
    custom: Arc<Custom>,
    method: &'static str,
    path: Text,
    headers: Vec<(String, Text)>,
    body: Option<Body>,
    names: BTreeSet<String>,
}

enum Body {
    Json(Document),
    Text(Text),
}

impl Endpoint {
    fn new(custom: Custom) -> Self {
        let path = Text::new(&custom.path);
        let headers: Vec<(String, Text)> =
            custom.headers.iter().map(|(name, value)| (name.clone(), Text::new(value))).collect();
        let body = custom.body.as_ref().map(|body| match body {
            Value::String(text) => Body::Text(Text::new(text)),
            value => Body::Json(Document::new(value)),
        });
        let mut texts: Vec<&Text> = headers.iter().map(|(_, text)| text).chain([&path]).collect();
        let mut json = None;
        match &body {
            Some(Body::Json(document)) => json = Some(document),
            Some(Body::Text(text)) => texts.push(text),
            None => {}
        }
        let names = template::names(texts, json);
        let method = METHODS.iter().find(|method| **method == custom.method).unwrap_or(&METHODS[0]);
        Self { custom: Arc::new(custom), method, path, headers, body, names }
    }

    fn body(&self, call: &Call<'_>) -> (Option<&'static str>, Bytes) {
        match &self.body {
            None => (None, Bytes::new()),
            Some(Body::Text(text)) => {
                (Some("text/plain; charset=utf-8"), text.fill(call, str::to_owned).into())
            }
            Some(Body::Json(document)) => {
                let mut value = document.fill(call);
                // What no placeholder takes goes into the body, as in every other API.
                if let Value::Object(table) = &mut value {
                    let rest = call.overrides().filter(|(key, _)| !self.names.contains(key.as_str()));
                    table.extend(rest.map(|(key, value)| (key.clone(), value.clone())));
                }
                (Some("application/json"), value.to_string().into())
            }
        }
    }
}

impl Provider for Endpoint {
    fn request(&self, call: &Call<'_>) -> WireRequest {
        let (content_type, body) = self.body(call);
        let mut headers: Vec<(String, String)> =
            self.headers.iter().map(|(name, text)| (name.clone(), text.fill(call, in_header))).collect();
        let own = |name: &str| headers.iter().any(|(there, _)| there.eq_ignore_ascii_case(name));
        if let Some(content_type) = content_type.filter(|_| !own("content-type")) {
            headers.push(("content-type".to_owned(), content_type.to_owned()));
        }
        WireRequest {
            method: self.method,
            path: self.path.fill(call, in_path),
            headers,
            body,
            echo: None,
            choices: 1,
        }
    }

    fn framing(&self, stream: bool) -> Framing {
        // An endpoint that isn't told whether to stream does the one or the other.
        let told = self.names.contains("stream");
        if stream || !told { self.custom.framing } else { Framing::Whole }
    }

    fn decoder(&self, stream: bool, keep_text: bool) -> Box<dyn Decoder> {
        let whole = self.framing(stream) == Framing::Whole;
        let account = Account::new(!whole, keep_text);
        Box::new(Reader { custom: Arc::clone(&self.custom), account, whole, readable: false, texts: false })
    }

    fn features(&self) -> Features {
        Features {
            streams: self.custom.framing != Framing::Whole,
            forces_length: false,
            takes_batches: self.names.contains("prompts"),
            counts_prompt: self.custom.prompt_tokens.is_some(),
            model: (!self.names.contains("model")).then_some("custom"),
            ..Features::USUAL
        }
    }
}

/// A value as a part of a path: nothing in it parts the path further.
fn in_path(value: &str) -> String {
    percent(value, |b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
}

/// A value as a header can bear it: line breaks, and what is not ASCII, in percent coding.
fn in_header(value: &str) -> String {
    percent(value, |b| b == b' ' || b.is_ascii_graphic())
}

fn percent(value: &str, plain: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if plain(byte) {
            out.push(byte.into());
        } else {
            // Writing to a text can't fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A piece of an answer of which it isn't known what in it is text: none of it is kept, as its
/// tokens would not be output.
const PIECE: Delta = Delta { content: true, visible: true };

struct Reader {
    custom: Arc<Custom>,
    account: Account,
    whole: bool,
    /// There was a frame, and the last one could be read.
    readable: bool,
    /// The pointer to the text has found something.
    texts: bool,
}

impl Reader {
    /// Read a document by the pointers.
    fn read(&mut self, payload: &[u8]) -> Result<Delta, DecodeError> {
        let custom = Arc::clone(&self.custom);
        let doc: Value = document(payload)?;
        let at = |pointer: &Option<String>| pointer.as_ref().and_then(|pointer| doc.pointer(pointer));
        // Where the file doesn't say it, an error stands where most APIs have it.
        let error = if custom.error.is_some() { at(&custom.error) } else { doc.get("error") };
        if let Some(error) = error.filter(|value| says_something(value)) {
            return Ok(self.account.error(error).unwrap_or_default());
        }
        let count = |pointer| at(pointer).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
        let closing = &mut self.account.closing;
        closing.prompt_tokens = count(&custom.prompt_tokens).or(closing.prompt_tokens);
        closing.output_tokens = count(&custom.output_tokens).or(closing.output_tokens);
        match at(&custom.finish).filter(|value| says_something(value)) {
            Some(Value::Bool(_)) => self.account.closing.complete = true,
            Some(Value::String(reason)) => self.account.finish_reason(reason),
            Some(other) => self.account.finish_reason(&other.to_string()),
            None => {}
        }
        let delta = match (&custom.text, at(&custom.text)) {
            (None, _) => PIECE,
            (Some(_), Some(text)) => {
                self.texts = true;
                self.account.visible(&text_of(text))
            }
            (Some(pointer), None) if self.whole => {
                return Err(undecodable(&format!("nothing at {pointer}, nor an error"), payload));
            }
            (Some(_), None) => Delta::default(),
        };
        if self.whole {
            self.account.finish();
        }
        Ok(delta)
    }
}

impl Decoder for Reader {
    fn frame(&mut self, payload: &[u8]) -> Result<Delta, DecodeError> {
        let payload = payload.trim_ascii();
        if payload.is_empty() {
            return Ok(Delta::default());
        }
        self.readable = true;
        if !self.whole && self.custom.done.as_ref().is_some_and(|done| done.as_bytes() == payload) {
            self.account.finish();
            return Ok(Delta::default());
        }
        if self.custom.reads_nothing() {
            return Ok(PIECE);
        }
        let read = self.read(payload);
        self.readable = read.is_ok();
        read
    }

    fn ended(&mut self) -> Delta {
        let custom = &self.custom;
        let closing = &mut self.account.closing;
        if self.whole && custom.reads_nothing() {
            closing.complete = true;
            // An empty answer is an answer, and this is when it came.
            return if self.readable { Delta::default() } else { PIECE };
        }
        // Without a sign of its end a stream is known by its text: one that has none is no answer.
        let answered = self.readable && (self.texts || custom.text.is_none());
        closing.complete |= !self.whole && answered && !custom.says_its_end();
        Delta::default()
    }

    fn done(&self) -> bool {
        self.account.done
    }

    fn close(&mut self) -> Closing {
        self.account.close()
    }
}

/// Neither `null` nor `false` nor an empty text.
fn says_something(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false)) && value.as_str() != Some("")
}

/// The text of a value: of a list that of all its items, of anything else what it is.
fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text_of).collect(),
        other => other.to_string(),
    }
}
