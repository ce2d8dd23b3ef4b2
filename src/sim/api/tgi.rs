//! Text Generation Inference: a token an event, details at the end.

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::super::config::Config;
use super::super::engine::Finish;
use super::super::request::{ApiError, Ask, Wanted, flag, number, object, text};
use super::super::tokens;
use super::super::wire::{Account, Form, Frames, Sse, Text};
use super::{Request, Understood};

/// Tokens of an answer where none are asked for, as TGI's own default.
const USUAL: u64 = 100;

pub(super) fn refusal(error: &ApiError) -> (StatusCode, String) {
    let (status, kind) = match error.status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => (error.status, "overloaded"),
        // What goes wrong while generating is a failed dependency of TGI's router.
        status if status.is_server_error() => (StatusCode::FAILED_DEPENDENCY, "generation"),
        _ => (StatusCode::UNPROCESSABLE_ENTITY, "validation"),
    };
    let message = match kind {
        "validation" => format!("Input validation error: {}", error.message),
        "generation" => format!("Request failed during generation: {}", error.message),
        _ => error.message.clone(),
    };
    (status, json!({"error": message, "error_type": kind}).to_string())
}

/// `/info`.
pub(super) fn info(config: &Config) -> String {
    json!({
        "model_id": config.model, "model_sha": null, "model_pipeline_tag": "text-generation",
        "max_concurrent_requests": config.max_waiting.map_or(128, |n| n + config.max_num_seqs),
        "max_best_of": 1, "max_stop_sequences": 4,
        "max_input_tokens": config.max_model_len.saturating_sub(1), "max_total_tokens": config.max_model_len,
        "validation_workers": 1, "max_client_batch_size": 4, "router": "plimsoll-sim",
        "version": env!("CARGO_PKG_VERSION"), "sha": null, "docker_label": null,
    })
    .to_string()
}

#[derive(Clone)]
struct Generation {
    key: u64,
    details: bool,
    seed: Option<u64>,
    /// Alternatives told with each token.
    top: u32,
    /// The prompt's tokens, where a whole answer is to tell them.
    prefill: Vec<u64>,
}

/// `/generate` and `/generate_stream`.
pub(super) fn generate(request: &Request<'_>, stream: bool) -> Understood {
    let (body, config) = (request.body, request.config);
    let prompt = tokens::encode(text(body, "inputs")?);
    let parameters = object(body, "parameters")?;
    let seed = number(&parameters, "seed")?;
    let top = number(&parameters, "top_n_tokens")?.unwrap_or(0);
    if top > 5 {
        return Err(ApiError::bad_request(None, "`top_n_tokens` must be >= 0 and <= 5"));
    }
    let prefill = flag(&parameters, "decoder_input_details")?;
    if prefill && stream {
        let message = "`decoder_input_details` == true is not supported when streaming tokens";
        return Err(ApiError::bad_request(None, message));
    }
    let wanted = Wanted::of(&parameters, number(&parameters, "max_new_tokens")?, Some(USUAL))?;
    let sequence = wanted.answer(prompt, config)?;
    let details = flag(&parameters, "details")?;
    let prefill = if prefill { sequence.prompt.clone() } else { Vec::new() };
    let form = Generation { key: sequence.key, details, seed, top: top as u32, prefill };
    Ok((Ask::one(sequence, stream, false), Box::new(form)))
}

impl Generation {
    fn token(&self, n: u32) -> Value {
        json!({
            "id": tokens::answer_id(self.key, n), "text": tokens::answer(self.key, n, n + 1),
            "logprob": tokens::logprob(self.key, n), "special": false,
        })
    }

    fn top(&self, n: u32) -> Value {
        (0..self.top).map(|k| self.token(n + k)).collect()
    }

    fn details(&self, finish: Finish, account: &Account) -> Value {
        json!({
            "finish_reason": match finish { Finish::Stop => "eos_token", Finish::Length => "length" },
            "generated_tokens": account.usage.output, "seed": self.seed,
        })
    }
}

impl Form for Generation {
    fn whole(&self, _config: &Config, ask: &Ask, account: &Account) -> String {
        let output = ask.output_tokens();
        let mut answer = json!({"generated_text": tokens::answer(self.key, 0, output)});
        if self.details {
            let mut details = self.details(ask.finish(), account);
            // How long the prompt was shows in this list alone, and it is empty unless asked for.
            let token = |id: &u64| json!({"id": id, "text": tokens::piece_of(*id), "logprob": null});
            details["prefill"] = self.prefill.iter().map(token).collect();
            details["tokens"] = (0..output).map(|n| self.token(n)).collect();
            if self.top > 0 {
                details["top_tokens"] = (0..output).map(|n| self.top(n)).collect();
            }
            answer["details"] = details;
        }
        answer.to_string()
    }

    fn stream_type(&self) -> &'static str {
        "text/event-stream"
    }

    fn frames(&self, config: &Config) -> Option<Box<dyn Frames>> {
        Some(Box::new(Events { form: self.clone(), sse: Sse::tight(config), done: config.done }))
    }
}

struct Events {
    form: Generation,
    sse: Sse,
    done: bool,
}

impl Frames for Events {
    /// TGI knows only tokens: text of several is told as one, an empty one as special.
    fn text(&mut self, text: Text<'_>, finish: Option<Finish>, account: &Account) -> Bytes {
        let last = text.to.saturating_sub(1);
        let mut token = self.form.token(last);
        token["text"] = json!(text.text);
        token["special"] = json!(text.text.is_empty());
        let end = finish.filter(|_| self.done);
        let details = |finish| {
            let mut details = self.form.details(finish, account);
            details["input_length"] = json!(account.usage.prompt);
            details
        };
        let mut event = json!({
            "index": text.to, "token": token,
            "generated_text": end.map(|_| tokens::answer(self.form.key, 0, text.to)),
            "details": end.map(details),
        });
        if self.form.top > 0 {
            event["top_tokens"] = self.form.top(last);
        }
        self.sse.frame(&event.to_string())
    }

    /// The last token's event has said all.
    fn close(&mut self, _finish: Finish, _account: &Account, _out: &mut Vec<Bytes>) {}

    fn error(&mut self, message: &str, out: &mut Vec<Bytes>) {
        let error = ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "", message);
        out.push(self.sse.frame(&refusal(&error).1));
    }

    fn garbage(&self) -> Bytes {
        self.sse.frame(r#"{"index":1,"token":{"id":7,"te"#)
    }

    fn comment(&self) -> Option<Bytes> {
        Some(self.sse.comment())
    }
}
