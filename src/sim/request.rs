//! Requests as they come in: read, checked, and refused in vLLM's words.

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::config::Config;
use super::engine::Finish;
use super::tokens::{self, mark};

/// An answer that is an error, in vLLM's shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    pub status: StatusCode,
    pub kind: &'static str,
    pub param: Option<&'static str>,
    pub message: String,
}

impl ApiError {
    pub fn bad_request(param: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind: "BadRequestError", param, message: message.into() }
    }

    /// A body of the wrong form.
    fn form(param: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { kind: "Bad Request", ..Self::bad_request(param, message) }
    }

    pub fn context_length(limit: u32, prompt: u64, output: u64) -> Self {
        let total = prompt + output;
        Self::bad_request(
            Some("input_tokens"),
            format!(
                "This model's maximum context length is {limit} tokens. However, you requested {output} output \
                 tokens and your prompt contains at least {prompt} input tokens, for a total of at least {total} \
                 tokens. Please reduce the length of the input prompt or the number of requested output tokens."
            ),
        )
    }

    pub fn body(&self) -> String {
        json!({"error": {
            "message": self.message, "type": self.kind, "param": self.param, "code": self.status.as_u16(),
        }})
        .to_string()
    }
}

/// A generation request, understood.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ask {
    pub chat: bool,
    pub stream: bool,
    pub include_usage: bool,
    pub continuous_usage: bool,
    pub prompt: Vec<u64>,
    /// Tokens to answer with.
    pub output: u32,
    pub finish: Finish,
    /// Names the answer's text.
    pub key: u64,
}

type Body = Map<String, Value>;

/// A request body as a JSON object.
pub(super) fn parse_body(bytes: &[u8]) -> Result<Body, ApiError> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(ApiError::form(Some("body"), "1 validation error: Input should be a valid dictionary")),
        Err(e) => Err(ApiError::form(Some("body"), format!("1 validation error: JSON decode error: {e}"))),
    }
}

/// Read a chat or text completion.
pub(super) fn parse_ask(bytes: &[u8], chat: bool, config: &Config) -> Result<Ask, ApiError> {
    let body = parse_body(bytes)?;
    check_model(&body, config)?;
    let mut prompt = Vec::new();
    if config.add_bos {
        prompt.push(mark::BOS);
    }
    if chat {
        messages_into(&body, true, &mut prompt)?;
    } else {
        prompt_into(&body, &mut prompt)?;
    }
    if prompt.is_empty() {
        return Err(ApiError::bad_request(Some("prompt"), "The decoder prompt cannot be empty"));
    }
    if number(&body, "n")?.is_some_and(|n| n != 1) {
        return Err(ApiError::bad_request(Some("n"), "This server answers with one choice: n must be 1"));
    }
    let stream = flag(&body, "stream")?;
    let options = body.get("stream_options").filter(|o| !o.is_null());
    if options.is_some() && !stream {
        return Err(ApiError::bad_request(
            Some("stream_options"),
            "Stream options can only be defined when `stream=True`.",
        ));
    }
    let option = |name: &str| options.and_then(|o| o.get(name)).and_then(Value::as_bool).unwrap_or(false);
    let salt = body.get("seed").and_then(Value::as_u64).unwrap_or(0);
    let key = tokens::hash(tokens::mix(config.seed ^ salt), &prompt);
    let (output, finish) = output_length(&body, chat, prompt.len() as u64, key, config)?;
    Ok(Ask {
        chat,
        stream,
        include_usage: option("include_usage"),
        continuous_usage: option("include_usage") && option("continuous_usage_stats"),
        prompt,
        output,
        finish,
        key,
    })
}

/// How long the answer will be. With `ignore_eos` it is `max_tokens`; else exponential with
/// the configured mean, at least `min_tokens`, at most `max_tokens`.
fn output_length(
    body: &Body,
    chat: bool,
    prompt: u64,
    key: u64,
    config: &Config,
) -> Result<(u32, Finish), ApiError> {
    let limit = u64::from(config.max_model_len);
    let asked = match number(body, "max_completion_tokens")? {
        Some(n) => Some(n),
        None => number(body, "max_tokens")?,
    };
    if asked == Some(0) {
        return Err(ApiError::bad_request(Some("max_tokens"), "max_tokens must be at least 1, got 0."));
    }
    let room = limit.saturating_sub(prompt);
    // vLLM's defaults: a chat may use all the room, a completion 16 tokens.
    let max = asked.unwrap_or(if chat { room.max(1) } else { room.clamp(1, 16) });
    if prompt.saturating_add(max) > limit {
        return Err(ApiError::context_length(config.max_model_len, prompt, max));
    }
    let min = number(body, "min_tokens")?.unwrap_or(0);
    if min > max {
        return Err(ApiError::bad_request(
            Some("min_tokens"),
            format!("min_tokens must be less than or equal to max_tokens={max}, got {min}."),
        ));
    }
    // `max` is at most `limit`, which has 32 bits.
    let max_u32 = max as u32;
    if flag(body, "ignore_eos")? {
        return Ok((max_u32, Finish::Length));
    }
    let drawn = (-config.output_tokens_mean * (1.0 - tokens::unit(key ^ 0x1e57)).ln()).round();
    let length = (drawn as u64).max(min).max(1);
    Ok(if length >= max { (max_u32, Finish::Length) } else { (length as u32, Finish::Stop) })
}

pub(super) fn check_model(body: &Body, config: &Config) -> Result<(), ApiError> {
    match body.get("model") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(name)) if *name == config.model => Ok(()),
        Some(Value::String(name)) => Err(ApiError {
            status: StatusCode::NOT_FOUND,
            kind: "NotFoundError",
            param: Some("model"),
            message: format!("The model `{name}` does not exist. Valid aliases: {}.", config.model),
        }),
        Some(_) => {
            Err(ApiError::form(Some("body.model"), "1 validation error: Input should be a valid string"))
        }
    }
}

fn flag(body: &Body, key: &'static str) -> Result<bool, ApiError> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(b)) => Ok(*b),
        Some(_) => Err(ApiError::form(Some(key), "1 validation error: Input should be a valid boolean")),
    }
}

fn number(body: &Body, key: &'static str) -> Result<Option<u64>, ApiError> {
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

/// Text, a list with one text, token ids, or a list with one list of them.
fn prompt_into(body: &Body, out: &mut Vec<u64>) -> Result<(), ApiError> {
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
fn messages_into(body: &Body, open_answer: bool, out: &mut Vec<u64>) -> Result<(), ApiError> {
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
        match message.get("content") {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => tokens::encode_into(text, out),
            Some(Value::Array(parts)) => {
                let texts = parts.iter().filter_map(|p| p.get("text").and_then(Value::as_str));
                texts.for_each(|text| tokens::encode_into(text, out));
            }
            Some(_) => {
                return Err(ApiError::form(
                    Some("body.messages"),
                    "1 validation error: content should be a string or a list of parts",
                ));
            }
        }
        out.push(mark::END);
    }
    if open_answer {
        out.push(mark::ASSISTANT);
    }
    Ok(())
}

/// What `/tokenize` is asked for: the tokens of a prompt or of messages, and whether their
/// texts are wanted too.
pub(super) fn parse_tokenize(bytes: &[u8], config: &Config) -> Result<(Vec<u64>, bool), ApiError> {
    let body = parse_body(bytes)?;
    check_model(&body, config)?;
    let mut out = Vec::new();
    // vLLM's defaults: special tokens for a prompt, none beyond the template for a chat.
    let chat = body.contains_key("messages");
    let special = body.get("add_special_tokens").and_then(Value::as_bool).unwrap_or(!chat);
    if config.add_bos && (special || chat) {
        out.push(mark::BOS);
    }
    if chat {
        let open = body.get("add_generation_prompt").and_then(Value::as_bool).unwrap_or(true);
        messages_into(&body, open, &mut out)?;
    } else {
        prompt_into(&body, &mut out)?;
    }
    Ok((out, flag(&body, "return_token_strs")?))
}

/// What `/detokenize` is asked for.
pub(super) fn parse_detokenize(bytes: &[u8], config: &Config) -> Result<Vec<u64>, ApiError> {
    let body = parse_body(bytes)?;
    check_model(&body, config)?;
    let ids = body.get("tokens").and_then(Value::as_array).map(|a| a.iter().map(Value::as_u64).collect());
    match ids {
        Some(Some(ids)) => Ok(ids),
        _ => Err(ApiError::form(
            Some("body.tokens"),
            "1 validation error: tokens should be a list of token ids",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(chat: bool, body: Value) -> Result<Ask, ApiError> {
        parse_ask(body.to_string().as_bytes(), chat, &Config::default())
    }

    #[test]
    fn a_chat_prompt_has_two_marks_a_message_and_one_more() {
        let a = ask(
            true,
            json!({"model": "sim", "max_tokens": 5, "ignore_eos": true, "messages": [
                {"role": "system", "content": "be calm"},
                {"role": "user", "content": [{"type": "text", "text": "the sea"}, {"type": "image_url"}]},
            ]}),
        )
        .unwrap();
        assert_eq!(a.prompt.len(), 2 + 2 + 2 + 2 + 1);
        assert_eq!((a.output, a.finish, a.stream), (5, Finish::Length, false));
    }

    #[test]
    fn prompts_come_as_text_or_ids() {
        let same = [json!("the sea"), json!(["the sea"]), json!(tokens::encode("the sea")), json!([[1, 2]])];
        let lengths: Vec<_> =
            same.into_iter().map(|p| ask(false, json!({"prompt": p})).unwrap().prompt.len()).collect();
        assert_eq!(lengths, [2, 2, 2, 2]);
        for bad in [json!({}), json!({"prompt": 5}), json!({"prompt": ["a", "b"]}), json!({"prompt": ""})] {
            assert_eq!(ask(false, bad).unwrap_err().status, StatusCode::BAD_REQUEST);
        }
    }

    #[test]
    fn lengths_are_drawn_within_their_bounds() {
        let mut sum = 0;
        for n in 0..2000 {
            let a = ask(false, json!({"prompt": format!("p{n}"), "max_tokens": 4000})).unwrap();
            let again = ask(false, json!({"prompt": format!("p{n}"), "max_tokens": 4000})).unwrap();
            assert_eq!(a, again);
            assert!(a.output >= 1);
            sum += a.output;
        }
        let mean = f64::from(sum) / 2000.0;
        assert!((115.0..141.0).contains(&mean), "mean {mean} of an exponential with mean 128");
        let a = ask(false, json!({"prompt": "x", "min_tokens": 40, "max_tokens": 40})).unwrap();
        assert_eq!((a.output, a.finish), (40, Finish::Length));
    }

    #[test]
    fn refusals_speak_as_vllm_does() {
        let e = ask(false, json!({"prompt": "x", "max_tokens": 9000})).unwrap_err();
        assert_eq!((e.status, e.param), (StatusCode::BAD_REQUEST, Some("input_tokens")));
        assert!(
            e.message.starts_with("This model's maximum context length is 8192 tokens."),
            "{}",
            e.message
        );
        let e = ask(false, json!({"prompt": "x", "model": "other"})).unwrap_err();
        assert_eq!(
            e.body(),
            r#"{"error":{"message":"The model `other` does not exist. Valid aliases: sim.","type":"NotFoundError","param":"model","code":404}}"#
        );
        let e = ask(true, json!({"messages": "oops"})).unwrap_err();
        assert_eq!((e.kind, e.param), ("Bad Request", Some("body.messages")));
        assert!(parse_body(b"{").is_err());
        assert!(ask(false, json!({"prompt": "x", "n": 2})).is_err());
        assert!(ask(false, json!({"prompt": "x", "max_tokens": 0})).is_err());
        assert!(ask(false, json!({"prompt": "x", "max_tokens": 3, "min_tokens": 4})).is_err());
    }
}
