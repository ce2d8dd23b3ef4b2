//! Ollama's chat and completions: a JSON document a line, durations in nanoseconds.

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::config::Config;
use super::super::engine::Finish;
use super::super::request::{
    ApiError, Ask, Body, Wanted, messages_into, number, number_or_all, object, text,
};
use super::super::tokens::{self, mark};
use super::super::wire::{Account, Form, Frames, Text};
use super::super::{image, request};
use super::{Request, Understood};

pub(super) fn refusal(error: &ApiError) -> String {
    json!({"error": error.message}).to_string()
}

/// The model's name as the list shows it: a tag is always there.
fn tagged(config: &Config) -> String {
    if config.model.contains(':') { config.model.clone() } else { format!("{}:latest", config.model) }
}

/// `/api/tags`.
pub(super) fn tags(config: &Config) -> String {
    let name = tagged(config);
    json!({"models": [{
        "name": name, "model": name, "modified_at": "2026-01-01T00:00:00Z", "size": 1_000_000_000,
        "digest": format!("{:064x}", tokens::mix(config.seed)),
        "details": {
            "parent_model": "", "format": "gguf", "family": "sim", "families": ["sim"],
            "parameter_size": "8B", "quantization_level": "F16",
        },
    }]})
    .to_string()
}

#[derive(Clone)]
struct Generation {
    chat: bool,
    model: String,
    key: u64,
}

/// `/api/chat`.
pub(super) fn chat(request: &Request<'_>) -> Understood {
    let mut prompt = Vec::new();
    messages_into(request.body, true, request.config, &mut prompt)?;
    answer(request, prompt, true)
}

/// `/api/generate`: the prompt is put into a template, as a single message, unless `raw`.
pub(super) fn generate(request: &Request<'_>) -> Understood {
    let (body, config) = (request.body, request.config);
    let mut prompt = Vec::new();
    let raw = request::flag(body, "raw")?;
    let words = text(body, "prompt")?;
    if !raw {
        if let Some(system) = body.get("system").and_then(Value::as_str).filter(|s| !s.is_empty()) {
            prompt.push(mark::SYSTEM);
            tokens::encode_into(system, &mut prompt);
            prompt.push(mark::END);
        }
        prompt.push(mark::USER);
    }
    tokens::encode_into(words, &mut prompt);
    for picture in body.get("images").and_then(Value::as_array).into_iter().flatten() {
        image::into(picture.as_str().unwrap_or_default(), config, &mut prompt)?;
    }
    if !raw {
        prompt.extend([mark::END, mark::ASSISTANT]);
    }
    answer(request, prompt, false)
}

fn answer(request: &Request<'_>, prompt: Vec<u64>, chat: bool) -> Understood {
    let (body, config) = (request.body, request.config);
    let model = text(body, "model")?;
    if model != config.model && model != tagged(config) {
        let message = format!("model '{model}' not found");
        return Err(ApiError { message, ..ApiError::no_model(model, config) });
    }
    let sequence = wanted(&object(body, "options")?)?.answer(prompt, config)?;
    let form = Generation { chat, model: model.to_owned(), key: sequence.key };
    let stream = body.get("stream").and_then(Value::as_bool).unwrap_or(true);
    Ok((Ask::one(sequence, stream, true), Box::new(form)))
}

/// A negative `num_predict`, and none, let an answer have all the room.
fn wanted(options: &Body) -> Result<Wanted, ApiError> {
    let seed = number(options, "seed")?.unwrap_or(0);
    Ok(Wanted { seed, ..Wanted::of(options, number_or_all(options, "num_predict")?, None)? })
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

impl Generation {
    /// A document with some text; `thinking` and text stand side by side.
    fn document(&self, thinking: &str, text: &str) -> Value {
        let mut document = json!({"model": self.model, "created_at": now()});
        if self.chat {
            document["message"] = json!({"role": "assistant", "content": text});
        } else {
            document["response"] = json!(text);
        }
        if !thinking.is_empty() {
            let holder = if self.chat { &mut document["message"] } else { &mut document };
            holder["thinking"] = json!(thinking);
        }
        document
    }

    /// The document that ends an answer.
    fn last(&self, mut document: Value, finish: Finish, account: &Account) -> String {
        let figures = json!({
            "done": true, "done_reason": finish.name(), "total_duration": account.total_ns(),
            // The model is always there.
            "load_duration": 0, "prompt_eval_count": account.usage.prompt,
            "prompt_eval_duration": account.prefill_ns(), "eval_count": account.usage.output,
            "eval_duration": account.decode_ns(),
        });
        if let (Some(map), Value::Object(figures)) = (document.as_object_mut(), figures) {
            map.extend(figures);
        }
        document.to_string()
    }
}

impl Form for Generation {
    fn whole(&self, config: &Config, ask: &Ask, account: &Account) -> String {
        let output = ask.output_tokens();
        let reasoning = config.reasoning_tokens.unwrap_or(0).min(output);
        let thinking = tokens::answer(self.key, 0, reasoning);
        let text = tokens::answer(self.key, reasoning, output);
        self.last(self.document(&thinking, &text), ask.finish(), account)
    }

    fn stream_type(&self) -> &'static str {
        "application/x-ndjson"
    }

    fn frames(&self, config: &Config) -> Option<Box<dyn Frames>> {
        Some(Box::new(Lines { form: self.clone(), done: config.done }))
    }
}

struct Lines {
    form: Generation,
    done: bool,
}

fn line(document: &str) -> Bytes {
    format!("{document}\n").into()
}

impl Frames for Lines {
    fn text(&mut self, text: Text<'_>, _finish: Option<Finish>, _account: &Account) -> Bytes {
        let (thinking, said) = if text.reasoning { (text.text, "") } else { ("", text.text) };
        let mut document = self.form.document(thinking, said);
        document["done"] = json!(false);
        line(&document.to_string())
    }

    fn close(&mut self, finish: Finish, account: &Account, out: &mut Vec<Bytes>) {
        if self.done {
            out.push(line(&self.form.last(self.form.document("", ""), finish, account)));
        }
    }

    fn error(&mut self, message: &str, out: &mut Vec<Bytes>) {
        out.push(line(&json!({"error": message}).to_string()));
    }

    fn garbage(&self) -> Bytes {
        line(r#"{"model":"garbage","created_at":"#)
    }

    fn comment(&self) -> Option<Bytes> {
        None
    }
}
