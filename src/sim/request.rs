//! Requests as they come in: what the bodies of all APIs have in common, and how they are
//! refused.

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::config::Config;
use super::engine::Finish;
use super::image;
use super::tokens::{self, mark};

/// A refusal, in vLLM's words. Each API puts it into a shape of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    pub status: StatusCode,
    pub kind: &'static str,
    pub param: Option<&'static str>,
    pub message: String,
    /// For a request beyond the context length: the limit, and the prompt's tokens.
    pub context: Option<(u32, u64)>,
}

impl ApiError {
    pub fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, param: None, message: message.into(), context: None }
    }

    pub fn bad_request(param: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { param, ..Self::new(StatusCode::BAD_REQUEST, "BadRequestError", message) }
    }

    /// A body of the wrong form.
    pub fn form(param: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { kind: "Bad Request", ..Self::bad_request(param, message) }
    }

    /// A key that should hold something else.
    pub fn wanted(key: &'static str, what: &str) -> Self {
        Self::form(Some(key), format!("1 validation error: {key} should be {what}"))
    }

    pub fn no_model(found: &str, config: &Config) -> Self {
        let message = format!("The model `{found}` does not exist. Valid aliases: {}.", config.model);
        Self { param: Some("model"), ..Self::new(StatusCode::NOT_FOUND, "NotFoundError", message) }
    }

    pub fn context_length(limit: u32, prompt: u64, output: u64) -> Self {
        let total = prompt + output;
        let words = format!(
            "This model's maximum context length is {limit} tokens. However, you requested {output} output \
             tokens and your prompt contains at least {prompt} input tokens, for a total of at least {total} \
             tokens. Please reduce the length of the input prompt or the number of requested output tokens."
        );
        Self { context: Some((limit, prompt)), ..Self::bad_request(Some("input_tokens"), words) }
    }

    /// In vLLM's shape.
    pub fn body(&self) -> String {
        json!({"error": {
            "message": self.message, "type": self.kind, "param": self.param, "code": self.status.as_u16(),
        }})
        .to_string()
    }
}

/// One prompt and its answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sequence {
    pub prompt: Vec<u64>,
    /// Tokens to answer with.
    pub output: u32,
    pub finish: Finish,
    /// Names the answer's text.
    pub key: u64,
}

/// A request, understood.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ask {
    pub stream: bool,
    /// Reasoning may come before the answer's visible text.
    pub thinks: bool,
    /// Only the prompts are computed: nothing is generated.
    pub pooled: bool,
    /// At least one; several in a batch, or where texts are embedded or ranked.
    pub sequences: Vec<Sequence>,
}

impl Ask {
    pub fn one(sequence: Sequence, stream: bool, thinks: bool) -> Self {
        Self { stream, thinks, pooled: false, sequences: vec![sequence] }
    }

    /// One prefill a prompt. The engine's one token stands for the end of it.
    pub fn pooled(prompts: Vec<Vec<u64>>, config: &Config) -> Result<Self, ApiError> {
        let limit = u64::from(config.max_model_len);
        let mut sequences = Vec::with_capacity(prompts.len());
        for mut prompt in prompts {
            if config.add_bos && !prompt.is_empty() {
                prompt.insert(0, mark::BOS);
            }
            let length = prompt.len() as u64;
            if length == 0 || length > limit {
                return Err(match length {
                    0 => empty_prompt(),
                    _ => ApiError::context_length(config.max_model_len, length, 0),
                });
            }
            let key = tokens::hash(tokens::mix(config.seed), &prompt);
            sequences.push(Sequence { prompt, output: 1, finish: Finish::Stop, key });
        }
        Ok(Self { stream: false, thinks: false, pooled: true, sequences })
    }

    pub fn prompt_tokens(&self) -> u32 {
        self.sequences.iter().map(|s| s.prompt.len() as u32).sum()
    }

    /// Tokens whose text the answer bears.
    pub fn output_tokens(&self) -> u32 {
        if self.pooled { 0 } else { self.sequences.iter().map(|s| s.output).sum() }
    }

    /// The first answer's name.
    pub fn key(&self) -> u64 {
        self.sequences.first().map_or(0, |s| s.key)
    }

    /// How the first answer ends.
    pub fn finish(&self) -> Finish {
        self.sequences.first().map_or(Finish::Stop, |s| s.finish)
    }
}

pub(super) type Body = Map<String, Value>;

/// A request body as a JSON object.
pub(super) fn parse_body(bytes: &[u8]) -> Result<Body, ApiError> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(ApiError::form(Some("body"), "1 validation error: Input should be a valid dictionary")),
        Err(e) => Err(ApiError::form(Some("body"), format!("1 validation error: JSON decode error: {e}"))),
    }
}

pub(super) fn empty_prompt() -> ApiError {
    ApiError::bad_request(Some("prompt"), "The decoder prompt cannot be empty")
}

/// How long an answer is to be.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted {
    pub max: Option<u64>,
    /// Where no length is asked for; `None`: all the room that there is.
    pub usual: Option<u64>,
    pub min: u64,
    pub ignore_eos: bool,
    pub seed: u64,
}

impl Wanted {
    /// As the OpenAI-like APIs ask for it, all at the top of the body.
    pub fn of(body: &Body, max: Option<u64>, usual: Option<u64>) -> Result<Self, ApiError> {
        Ok(Self {
            max,
            usual,
            min: number(body, "min_tokens")?.unwrap_or(0),
            ignore_eos: flag(body, "ignore_eos")?,
            seed: body.get("seed").and_then(Value::as_u64).unwrap_or(0),
        })
    }

    /// The answer to `prompt`. With `ignore_eos` it has `max` tokens; else a number from an
    /// exponential distribution with the configured mean, at least `min`, at most `max`.
    pub fn answer(self, mut prompt: Vec<u64>, config: &Config) -> Result<Sequence, ApiError> {
        if config.add_bos {
            prompt.insert(0, mark::BOS);
        }
        if prompt.is_empty() {
            return Err(empty_prompt());
        }
        let key = tokens::hash(tokens::mix(config.seed ^ self.seed), &prompt);
        let (output, finish) = self.length(prompt.len() as u64, key, config)?;
        Ok(Sequence { prompt, output, finish, key })
    }

    fn length(self, prompt: u64, key: u64, config: &Config) -> Result<(u32, Finish), ApiError> {
        let limit = u64::from(config.max_model_len);
        if self.max == Some(0) {
            return Err(ApiError::bad_request(Some("max_tokens"), "max_tokens must be at least 1, got 0."));
        }
        let room = limit.saturating_sub(prompt);
        let max = self.max.unwrap_or_else(|| room.min(self.usual.unwrap_or(room)).max(1));
        if prompt.saturating_add(max) > limit {
            return Err(ApiError::context_length(config.max_model_len, prompt, max));
        }
        let min = self.min;
        if min > max {
            return Err(ApiError::bad_request(
                Some("min_tokens"),
                format!("min_tokens must be less than or equal to max_tokens={max}, got {min}."),
            ));
        }
        // `max` is at most `limit`, which has 32 bits.
        let max_u32 = max as u32;
        if self.ignore_eos {
            return Ok((max_u32, Finish::Length));
        }
        let drawn = (-config.output_tokens_mean * (1.0 - tokens::unit(key ^ 0x1e57)).ln()).round();
        let length = (drawn as u64).max(min).max(1);
        Ok(if length >= max { (max_u32, Finish::Length) } else { (length as u32, Finish::Stop) })
    }
}

pub(super) fn check_model(body: &Body, config: &Config) -> Result<(), ApiError> {
    match body.get("model") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(name)) if *name == config.model => Ok(()),
        Some(Value::String(name)) => Err(ApiError::no_model(name, config)),
        Some(_) => {
            Err(ApiError::form(Some("body.model"), "1 validation error: Input should be a valid string"))
        }
    }
}

pub(super) fn flag(body: &Body, key: &'static str) -> Result<bool, ApiError> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(b)) => Ok(*b),
        Some(_) => Err(ApiError::form(Some(key), "1 validation error: Input should be a valid boolean")),
    }
}

pub(super) fn number(body: &Body, key: &'static str) -> Result<Option<u64>, ApiError> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(v) => v.as_u64().map(Some).ok_or_else(|| {
            ApiError::form(
                Some(key),
                format!("1 validation error: {key} should be a whole number, found {v}"),
            )
        }),
    }
}

/// A number of tokens of which a negative one means "as many as there is room for".
pub(super) fn number_or_all(body: &Body, key: &'static str) -> Result<Option<u64>, ApiError> {
    if body.get(key).and_then(Value::as_i64).is_some_and(|n| n < 0) { Ok(None) } else { number(body, key) }
}

/// The object at `key`; an empty one where there is none.
pub(super) fn object(body: &Body, key: &'static str) -> Result<Body, ApiError> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(Body::new()),
        Some(Value::Object(map)) => Ok(map.clone()),
        Some(_) => Err(ApiError::wanted(key, "an object")),
    }
}

pub(super) fn text<'a>(body: &'a Body, key: &'static str) -> Result<&'a str, ApiError> {
    body.get(key).and_then(Value::as_str).ok_or_else(|| ApiError::wanted(key, "a string"))
}

/// A list of texts, or a single one.
pub(super) fn texts<'a>(body: &'a Body, key: &'static str) -> Result<Vec<&'a str>, ApiError> {
    let wrong = || ApiError::wanted(key, "a string or a list of strings");
    match body.get(key) {
        Some(Value::String(text)) => Ok(vec![text]),
        Some(Value::Array(list)) if !list.is_empty() => {
            list.iter().map(|text| text.as_str().ok_or_else(wrong)).collect()
        }
        _ => Err(wrong()),
    }
}

/// Text, a list with one text, token ids, or a list with one list of them.
pub(super) fn prompt_into(body: &Body, out: &mut Vec<u64>) -> Result<(), ApiError> {
    const WANTED: &str = "1 validation error: prompt should be a string or a list of token ids";
    let wrong = || ApiError::form(Some("body.prompt"), WANTED);
    let mut value = body.get("prompt").ok_or_else(wrong)?;
    if let Value::Array(list) = value
        && let [only @ (Value::String(_) | Value::Array(_))] = list.as_slice()
    {
        value = only;
    }
    match value {
        Value::String(text) => tokens::encode_into(text, out),
        Value::Array(ids) => {
            for id in ids {
                out.push(id.as_u64().ok_or_else(wrong)?);
            }
        }
        _ => return Err(wrong()),
    }
    Ok(())
}

/// Each message is a mark for its role, its text, and a mark for its end; a mark for the
/// assistant opens the answer: 2 tokens a message and 1 more.
pub(super) fn messages_into(
    body: &Body,
    open_answer: bool,
    config: &Config,
    out: &mut Vec<u64>,
) -> Result<(), ApiError> {
    const WANTED: &str = "1 validation error:\n  {'type': 'list_type', 'loc': 'body.messages', 'msg': 'Input should be a valid list'}";
    let Some(Value::Array(messages)) = body.get("messages") else {
        return Err(ApiError::form(Some("body.messages"), WANTED));
    };
    for message in messages {
        let role = match message.get("role").and_then(Value::as_str) {
            Some("system" | "developer") => mark::SYSTEM,
            Some("user") => mark::USER,
            Some("assistant") => mark::ASSISTANT,
            Some("tool") => mark::TOOL,
            _ => {
                return Err(ApiError::form(
                    Some("body.messages"),
                    "1 validation error: each message needs a role: system, developer, user, assistant or tool",
                ));
            }
        };
        out.push(role);
        content_into(message.get("content"), config, out)?;
        // Ollama's messages have their pictures beside the text.
        for picture in message.get("images").and_then(Value::as_array).into_iter().flatten() {
            image::into(picture.as_str().unwrap_or_default(), config, out)?;
        }
        out.push(mark::END);
    }
    if open_answer {
        out.push(mark::ASSISTANT);
    }
    Ok(())
}

/// A text, or a list of parts: texts, and pictures as OpenAI and as Anthropic write them.
pub(super) fn content_into(
    content: Option<&Value>,
    config: &Config,
    out: &mut Vec<u64>,
) -> Result<(), ApiError> {
    match content {
        None | Some(Value::Null) => {}
        Some(Value::String(text)) => tokens::encode_into(text, out),
        Some(Value::Array(parts)) => {
            for part in parts {
                let at = |path: &str| part.pointer(path).and_then(Value::as_str).unwrap_or_default();
                match part.get("type").and_then(Value::as_str) {
                    Some("image_url") => image::url_into(at("/image_url/url"), config, out)?,
                    Some("image") => match at("/source/type") {
                        "base64" => image::into(at("/source/data"), config, out)?,
                        _ => image::url_into(at("/source/url"), config, out)?,
                    },
                    _ => tokens::encode_into(at("/text"), out),
                }
            }
        }
        Some(_) => {
            return Err(ApiError::form(
                Some("body.messages"),
                "1 validation error: content should be a string or a list of parts",
            ));
        }
    }
    Ok(())
}
