//! llama.cpp's own completions, and what its server tells of its settings.

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::super::config::Config;
use super::super::engine::Finish;
use super::super::request::{ApiError, Ask, Wanted, flag, number_or_all, prompt_into};
use super::super::tokens;
use super::super::wire::{Account, Form, Frames, Sse, Text};
use super::{Request, Understood};

pub(super) fn refusal(error: &ApiError) -> String {
    let code = error.status.as_u16();
    if let Some((limit, prompt)) = error.context {
        let message = format!(
            "request ({prompt} tokens) exceeds the available context size ({limit} tokens), try increasing it"
        );
        return json!({"error": {
            "code": code, "message": message, "type": "exceed_context_size_error",
            "n_prompt_tokens": prompt, "n_ctx": limit,
        }})
        .to_string();
    }
    let kind = match error.status {
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::SERVICE_UNAVAILABLE => "unavailable_error",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    };
    json!({"error": {"code": code, "message": error.message, "type": kind}}).to_string()
}

/// `/props`.
pub(super) fn props(config: &Config) -> String {
    json!({
        "default_generation_settings": {"n_ctx": config.max_model_len, "params": {"n_predict": -1}},
        "total_slots": config.max_num_seqs, "model_alias": config.model,
        "model_path": format!("{}.gguf", config.model),
        "modalities": {"vision": true, "audio": false}, "chat_template": "{{ messages }}",
        "bos_token": "<s>", "eos_token": "</s>", "build_info": "plimsoll-sim", "is_sleeping": false,
    })
    .to_string()
}

/// `/api/tags`: Ollama's list and OpenAI's in one document.
pub(super) fn models(config: &Config, created: i64) -> String {
    json!({
        "models": [{
            "name": config.model, "model": config.model, "modified_at": "", "size": "", "digest": "",
            "type": "model", "tags": [""], "capabilities": ["completion"],
            "details": {"parent_model": "", "format": "gguf", "family": "", "families": [""]},
        }],
        "object": "list",
        "data": [{
            "id": config.model, "object": "model", "created": created, "owned_by": "llamacpp",
            "meta": {"n_ctx": config.max_model_len},
        }],
    })
    .to_string()
}

#[derive(Clone)]
struct Completion {
    model: String,
    prompt: String,
    key: u64,
    stream: bool,
    max: Option<u64>,
    ignore_eos: bool,
    seed: u64,
}

/// `/completion`. `n_predict` of -1, the usual, lets an answer have all the room.
pub(super) fn completion(request: &Request<'_>) -> Understood {
    let (body, config) = (request.body, request.config);
    let mut prompt = Vec::new();
    prompt_into(body, &mut prompt)?;
    let wanted = Wanted::of(body, number_or_all(body, "n_predict")?, None)?;
    let text = tokens::decode(&prompt);
    let sequence = wanted.answer(prompt, config)?;
    let stream = flag(body, "stream")?;
    let form = Completion {
        model: config.model.clone(),
        prompt: text,
        key: sequence.key,
        stream,
        max: wanted.max,
        ignore_eos: wanted.ignore_eos,
        seed: wanted.seed,
    };
    Ok((Ask::one(sequence, stream, false), Box::new(form)))
}

impl Completion {
    /// The document that ends an answer: the whole of it, but for a stream's text.
    fn last(&self, content: &str, finish: Finish, account: &Account) -> Value {
        let u = account.usage;
        let max = self.max.map_or(json!(-1), Into::into);
        json!({
            "index": 0, "content": content, "tokens": [], "id_slot": 0, "stop": true, "model": self.model,
            "tokens_predicted": u.output, "tokens_evaluated": u.prompt,
            "generation_settings": {
                "seed": self.seed, "max_tokens": max, "n_predict": max, "ignore_eos": self.ignore_eos,
                "stream": self.stream,
            },
            "prompt": self.prompt, "has_new_line": false, "truncated": false,
            "stop_type": match finish { Finish::Stop => "eos", Finish::Length => "limit" },
            "stopping_word": "", "tokens_cached": u.prompt + u.output.saturating_sub(1),
            "timings": timings(account),
        })
    }
}

fn timings(account: &Account) -> Value {
    let ms = |ns: u64| ns as f64 / 1e6;
    let (prompt_ms, predicted_ms) = (ms(account.prefill_ns()), ms(account.decode_ns()));
    let u = account.usage;
    let prompt_n = u.prompt - u.cached.min(u.prompt);
    let per_token = |ms: f64, n: u32| if n > 0 { ms / f64::from(n) } else { 0.0 };
    let per_second = |ms: f64, n: u32| if ms > 0.0 { f64::from(n) * 1e3 / ms } else { 0.0 };
    json!({
        "cache_n": u.cached, "prompt_n": prompt_n, "prompt_ms": prompt_ms,
        "prompt_per_token_ms": per_token(prompt_ms, prompt_n),
        "prompt_per_second": per_second(prompt_ms, prompt_n),
        "predicted_n": u.output, "predicted_ms": predicted_ms,
        "predicted_per_token_ms": per_token(predicted_ms, u.output),
        "predicted_per_second": per_second(predicted_ms, u.output),
    })
}

impl Form for Completion {
    fn whole(&self, _config: &Config, ask: &Ask, account: &Account) -> String {
        let text = tokens::answer(self.key, 0, ask.output_tokens());
        self.last(&text, ask.finish(), account).to_string()
    }

    fn stream_type(&self) -> &'static str {
        "text/event-stream"
    }

    fn frames(&self, config: &Config) -> Option<Box<dyn Frames>> {
        Some(Box::new(Chunks { form: self.clone(), sse: Sse::new(config), done: config.done }))
    }
}

struct Chunks {
    form: Completion,
    sse: Sse,
    done: bool,
}

impl Frames for Chunks {
    fn text(&mut self, text: Text<'_>, _finish: Option<Finish>, account: &Account) -> Bytes {
        let ids: Vec<String> =
            (text.from..text.to).map(|n| tokens::answer_id(self.form.key, n).to_string()).collect();
        self.sse.frame(&format!(
            r#"{{"index":0,"content":"{}","tokens":[{}],"stop":false,"id_slot":-1,"tokens_predicted":{},"tokens_evaluated":{}}}"#,
            text.text,
            ids.join(","),
            text.to,
            account.usage.prompt
        ))
    }

    fn close(&mut self, finish: Finish, account: &Account, out: &mut Vec<Bytes>) {
        if self.done {
            out.push(self.sse.frame(&self.form.last("", finish, account).to_string()));
        }
    }

    fn error(&mut self, message: &str, out: &mut Vec<Bytes>) {
        let error = ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "", message);
        out.push(self.sse.frame(&refusal(&error)));
    }

    fn garbage(&self) -> Bytes {
        self.sse.frame(r#"{"index":0,"content":"gar"#)
    }

    fn comment(&self) -> Option<Bytes> {
        Some(self.sse.comment())
    }
}
