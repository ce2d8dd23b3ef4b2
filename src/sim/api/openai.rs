//! Chat and text completions as OpenAI, vLLM and Fireworks serve them, and Together's
//! variant of the latter.

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use serde_json::{Value, json};

use super::super::config::{Config, UsageStyle};
use super::super::engine::Finish;
use super::super::request::{
    ApiError, Ask, Body, Wanted, check_model, flag, messages_into, number, prompt_into,
};
use super::super::tokens;
use super::super::wire::{Account, Form, Frames, seconds};
use super::openai_stream::ChunkFrames;
use super::{Request, Understood};

pub(super) const FINGERPRINT: &str = "plimsoll-sim";

/// Which of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Chat,
    Text,
    /// Text, and whole answers inside of an `output`.
    Together,
}

/// How one request wants its answer.
#[derive(Debug, Clone)]
pub(super) struct OpenAi {
    pub shape: Shape,
    pub id: String,
    pub created: i64,
    pub include_usage: bool,
    pub continuous_usage: bool,
    /// Names the answer's text.
    pub key: u64,
    /// Log-probabilities, with so many alternatives for each token.
    pub logprobs: Option<u32>,
    /// The tool that is called instead of answering.
    pub tool: Option<String>,
    /// Tell the server's own times in the answer.
    pub perf: bool,
}

/// `/v1/chat/completions`.
pub(super) fn chat(request: &Request<'_>) -> Understood {
    let body = request.body;
    check_model(body, request.config)?;
    let mut prompt = Vec::new();
    messages_into(body, true, request.config, &mut prompt)?;
    let max = match number(body, "max_completion_tokens")? {
        Some(n) => Some(n),
        None => number(body, "max_tokens")?,
    };
    // vLLM's default: a chat may use all the room.
    let wanted = Wanted::of(body, max, None)?;
    let alternatives = number(body, "top_logprobs")?.unwrap_or(0);
    let logprobs = flag(body, "logprobs")?.then_some(alternatives);
    let form =
        OpenAi { tool: tool(body, request.config)?, ..form(request, Shape::Chat, "chatcmpl", logprobs)? };
    answer(request, prompt, wanted, form, flag(body, "stream")?)
}

/// `/v1/completions`.
pub(super) fn completion(request: &Request<'_>) -> Understood {
    text(request, Shape::Text, "stream")
}

/// `/`, Together's: the same, but for the name of `stream`.
pub(super) fn together(request: &Request<'_>) -> Understood {
    text(request, Shape::Together, "stream_tokens")
}

fn text(request: &Request<'_>, shape: Shape, stream: &'static str) -> Understood {
    let body = request.body;
    check_model(body, request.config)?;
    let mut prompt = Vec::new();
    prompt_into(body, &mut prompt)?;
    // vLLM's default: 16 tokens.
    let wanted = Wanted::of(body, number(body, "max_tokens")?, Some(16))?;
    let logprobs = match body.get("logprobs") {
        Some(Value::Bool(yes)) => yes.then_some(0),
        _ => number(body, "logprobs")?,
    };
    answer(request, prompt, wanted, form(request, shape, "cmpl", logprobs)?, flag(body, stream)?)
}

fn form(
    request: &Request<'_>,
    shape: Shape,
    prefix: &str,
    logprobs: Option<u64>,
) -> Result<OpenAi, ApiError> {
    let options = request.body.get("stream_options").filter(|o| !o.is_null());
    let option = |name: &str| options.and_then(|o| o.get(name)).and_then(Value::as_bool).unwrap_or(false);
    if number(request.body, "n")?.is_some_and(|n| n != 1) {
        return Err(ApiError::bad_request(Some("n"), "This server answers with one choice: n must be 1"));
    }
    let logprobs = match logprobs.map(u32::try_from) {
        None => None,
        Some(Ok(n @ 0..=20)) => Some(n),
        Some(_) => {
            return Err(ApiError::bad_request(
                Some("logprobs"),
                "Requested logprobs are more than the 20 allowed",
            ));
        }
    };
    Ok(OpenAi {
        shape,
        id: format!("{prefix}-{}", request.id),
        created: request.created,
        include_usage: option("include_usage"),
        continuous_usage: option("include_usage") && option("continuous_usage_stats"),
        key: 0,
        logprobs,
        tool: None,
        perf: flag(request.body, "perf_metrics_in_response")?,
    })
}

fn answer(request: &Request<'_>, prompt: Vec<u64>, wanted: Wanted, form: OpenAi, stream: bool) -> Understood {
    if !stream && request.body.get("stream_options").is_some_and(|o| !o.is_null()) {
        return Err(ApiError::bad_request(
            Some("stream_options"),
            "Stream options can only be defined when `stream=True`.",
        ));
    }
    let sequence = wanted.answer(prompt, request.config)?;
    let form = OpenAi { key: sequence.key, ..form };
    Ok((Ask::one(sequence, stream, form.shape == Shape::Chat), Box::new(form)))
}

/// The tool that this request will be answered with: the first that it defines, where the
/// server is set to call tools at all.
fn tool(body: &Body, config: &Config) -> Result<Option<String>, ApiError> {
    let tools = match body.get("tools") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(tools)) => tools,
        Some(_) => return Err(ApiError::wanted("tools", "a list of tools")),
    };
    let mut names = Vec::with_capacity(tools.len());
    for tool in tools {
        let name = tool.pointer("/function/name").and_then(Value::as_str);
        names.push(name.ok_or_else(|| ApiError::wanted("tools", "a list of functions with a name"))?);
    }
    let none = body.get("tool_choice").and_then(Value::as_str) == Some("none");
    Ok(names.first().filter(|_| config.tool_calls && !none).map(|name| (*name).to_owned()))
}

/// vLLM's usage.
pub(super) fn usage(account: &Account, with_cached: bool) -> String {
    let u = account.usage;
    let details = if with_cached {
        format!(r#","prompt_tokens_details":{{"cached_tokens":{}}}"#, u.cached)
    } else {
        String::new()
    };
    format!(
        r#"{{"prompt_tokens":{},"total_tokens":{},"completion_tokens":{}{details}}}"#,
        u.prompt,
        u.prompt + u.output,
        u.output
    )
}

impl OpenAi {
    pub fn is_chat(&self) -> bool {
        self.shape == Shape::Chat
    }

    /// The word for the end: a call that came to its end is one, one that was cut off isn't.
    pub fn finish(&self, finish: Finish) -> &'static str {
        if self.tool.is_some() && finish == Finish::Stop { "tool_calls" } else { finish.name() }
    }

    /// A tool's arguments are JSON around the answer's words.
    pub fn arguments(&self, words: &str, begins: bool, ends: bool) -> String {
        [if begins { r#"{"text":""# } else { "" }, words, if ends { r#""}"# } else { "" }].concat()
    }

    /// Fireworks' figures of its own, in seconds.
    pub fn perf(account: &Account) -> Value {
        json!({
            "prompt-tokens": account.usage.prompt, "cached-prompt-tokens": account.usage.cached,
            "server-time-to-first-token": seconds(account.ttft_ns()),
            "server-processing-time": seconds(account.total_ns()),
        })
    }

    /// The tokens `from` to `to`, each with how likely it was; null where that isn't asked.
    pub fn logprobs(&self, from: u32, to: u32) -> Value {
        let Some(alternatives) = self.logprobs else { return Value::Null };
        let token = |n: u32| tokens::answer(self.key, n, n + 1);
        let likely = |n: u32| tokens::logprob(self.key, n);
        // The first alternative is the token itself; the others are its neighbours in the text,
        // each less likely than the one before.
        let others = |n: u32| (0..alternatives).map(move |k| (token(n + k), likely(n) - f64::from(k)));
        if self.is_chat() {
            let one = |token: String, logprob: f64| json!({"token": token, "logprob": logprob, "bytes": token.as_bytes()});
            let entry = |n: u32| {
                let mut entry = one(token(n), likely(n));
                entry["top_logprobs"] = others(n).map(|(t, l)| one(t, l)).collect();
                entry
            };
            return json!({"content": (from..to).map(entry).collect::<Value>()});
        }
        let offsets = (from..to).map(|n| tokens::answer(self.key, 0, n).len());
        let tops = |n: u32| others(n).map(|(t, l)| (t, json!(l))).collect::<serde_json::Map<_, _>>();
        json!({
            "text_offset": offsets.collect::<Vec<_>>(),
            "token_logprobs": (from..to).map(likely).collect::<Vec<_>>(),
            "tokens": (from..to).map(token).collect::<Vec<_>>(),
            "top_logprobs": (from..to).map(tops).collect::<Vec<_>>(),
        })
    }

    fn message(&self, config: &Config, ask: &Ask) -> Value {
        let output = ask.output_tokens();
        let reasoning = config.reasoning_tokens.unwrap_or(0).min(output);
        let text = tokens::answer(self.key, reasoning, output);
        let thought = (reasoning > 0).then(|| tokens::answer(self.key, 0, reasoning));
        let mut message = json!({
            "role": "assistant", "content": text, "refusal": null, "annotations": null, "audio": null,
            "function_call": null, "reasoning": thought,
        });
        if thought.is_some() {
            message[&config.reasoning_field] = json!(thought);
        }
        if let Some(tool) = &self.tool {
            let arguments = self.arguments(&text, true, ask.finish() == Finish::Stop);
            message["content"] = Value::Null;
            message["tool_calls"] = json!([{
                "id": format!("call_{}", self.id), "type": "function",
                "function": {"name": tool, "arguments": arguments},
            }]);
        }
        message
    }

    fn document(&self, config: &Config, ask: &Ask, account: &Account) -> Value {
        let usage = (config.usage != UsageStyle::Never).then(|| {
            let u = account.usage;
            let details = config.usage_cached_tokens.then(|| json!({"cached_tokens": u.cached}));
            json!({
                "prompt_tokens": u.prompt, "total_tokens": u.prompt + u.output,
                "completion_tokens": u.output, "prompt_tokens_details": details,
                "completion_tokens_details": null,
            })
        });
        let finish = self.finish(ask.finish());
        let logprobs = self.logprobs(0, ask.output_tokens());
        let (object, choice) = if self.is_chat() {
            let choice = json!({
                "index": 0, "message": self.message(config, ask), "logprobs": logprobs, "finish_reason": finish,
                "stop_reason": null, "token_ids": null, "routed_experts": null,
            });
            ("chat.completion", choice)
        } else {
            let choice = json!({
                "index": 0, "text": tokens::answer(self.key, 0, ask.output_tokens()), "logprobs": logprobs,
                "finish_reason": finish, "stop_reason": null, "token_ids": null, "prompt_logprobs": null,
                "prompt_token_ids": null, "routed_experts": null,
            });
            ("text_completion", choice)
        };
        let mut answer = json!({
            "id": self.id, "object": object, "created": self.created, "model": config.model, "choices": [choice],
            "service_tier": null, "system_fingerprint": FINGERPRINT, "usage": usage,
            "prompt_logprobs": null, "prompt_token_ids": null, "prompt_text": null, "kv_transfer_params": null,
            "ec_transfer_params": null, "metrics": null,
        });
        if let Some(map) = answer.as_object_mut() {
            if usage.is_none() {
                map.shift_remove("usage");
            }
            if self.perf {
                map.insert("perf_metrics".to_owned(), Self::perf(account));
            }
        }
        answer
    }
}

impl Form for OpenAi {
    fn whole(&self, config: &Config, ask: &Ask, account: &Account) -> String {
        let document = self.document(config, ask, account);
        match self.shape {
            Shape::Chat | Shape::Text => document.to_string(),
            Shape::Together => json!({
                "id": self.id, "status": "finished", "model": config.model,
                "output": {
                    "choices": document["choices"], "usage": document["usage"],
                    "result_type": "language-model-inference",
                },
            })
            .to_string(),
        }
    }

    fn frames(&self, config: &Config) -> Option<Box<dyn Frames>> {
        Some(Box::new(ChunkFrames::new(self.clone(), config)))
    }

    /// Fireworks has its figures in headers too, whether they are asked for or not; here only
    /// where they are, as other servers have none.
    fn headers(&self, account: &Account, headers: &mut HeaderMap) {
        let figures = Self::perf(account);
        for (name, value) in figures.as_object().into_iter().flatten().filter(|_| self.perf) {
            let name = hyper::header::HeaderName::try_from(format!("fireworks-{name}"));
            if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value.to_string())) {
                headers.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
#[path = "openai_tests.rs"]
mod tests;
