//! Triton with TensorRT-LLM behind it: tensors in JSON (`infer`), and the generate extension.

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::super::config::{Config, TritonInt};
use super::super::engine::Finish;
use super::super::request::{ApiError, Ask, Body, Wanted, number, text};
use super::super::tokens;
use super::super::wire::{Account, Form, Frames, MARK, Sse, Template, Text};
use super::info::{Asked, Told};
use super::{Request, Understood, model_of};

/// The name under which pre-processing, model and post-processing stand together.
const ENSEMBLE: &str = "ensemble";

pub(super) fn refusal(error: &ApiError) -> (StatusCode, String) {
    // Triton calls all that is wrong with a request bad, an unknown model too.
    let status = if error.status.is_client_error() && error.status != StatusCode::TOO_MANY_REQUESTS {
        StatusCode::BAD_REQUEST
    } else {
        error.status
    };
    (status, json!({"error": error.message}).to_string())
}

/// `/v2`.
pub(super) fn server() -> String {
    json!({
        "name": "triton", "version": env!("CARGO_PKG_VERSION"),
        "extensions": ["classification", "model_repository", "schedule_policy", "generate"],
    })
    .to_string()
}

/// `/v2/models/{m}`.
pub(super) fn model(asked: &Asked<'_>) -> Result<Told, ApiError> {
    let name = model_of(asked.path);
    if let Err(error) = known(name, asked.config) {
        let (status, body) = refusal(&error);
        return Ok(Told { status, ..Told::ok(body) });
    }
    let tensor =
        |(name, datatype): &(&str, &str)| json!({"name": name, "datatype": datatype, "shape": [-1, 1]});
    let inputs = inputs(asked.config);
    Ok(Told::ok(
        json!({
            "name": name, "versions": ["1"], "platform": "ensemble",
            "inputs": inputs.iter().map(tensor).collect::<Vec<_>>(),
            "outputs": [tensor(&("text_output", "BYTES"))],
        })
        .to_string(),
    ))
}

/// The ensemble's inputs and their types.
fn inputs(config: &Config) -> [(&'static str, &'static str); 15] {
    let int = match config.triton_int {
        TritonInt::Int32 => "INT32",
        TritonInt::Uint32 => "UINT32",
    };
    [
        ("text_input", "BYTES"),
        ("max_tokens", int),
        ("bad_words", "BYTES"),
        ("stop_words", "BYTES"),
        ("end_id", int),
        ("pad_id", int),
        ("top_k", int),
        ("top_p", "FP32"),
        ("temperature", "FP32"),
        ("repetition_penalty", "FP32"),
        ("presence_penalty", "FP32"),
        ("min_length", int),
        ("beam_width", int),
        ("random_seed", "UINT64"),
        ("stream", "BOOL"),
    ]
}

/// A tensor of a type that the model doesn't take is refused, as Triton does.
fn check_types(body: &Body, model: &str, config: &Config) -> Result<(), ApiError> {
    for given in body.get("inputs").and_then(Value::as_array).into_iter().flatten() {
        let of = |key: &str| given.get(key).and_then(Value::as_str).unwrap_or_default();
        let found = of("datatype");
        let known = inputs(config).into_iter().find(|(name, _)| *name == of("name"));
        if let Some((name, wanted)) = known.filter(|(_, wanted)| *wanted != found) {
            let message = format!(
                "inference input '{name}' data-type is '{found}', but model '{model}' expects '{wanted}'"
            );
            return Err(ApiError::bad_request(Some(name), message));
        }
    }
    Ok(())
}

fn known(name: &str, config: &Config) -> Result<(), ApiError> {
    if name == ENSEMBLE || name == config.model {
        return Ok(());
    }
    let message = format!("Request for unknown model: '{name}' is not found");
    Err(ApiError { message, ..ApiError::no_model(name, config) })
}

#[derive(Clone)]
struct Generation {
    model: String,
    /// What a whole answer begins with.
    echo: String,
    key: u64,
    infer: bool,
}

/// The value of one tensor of shape `[1,1]`, or of one nested as deep.
fn tensor<'a>(body: &'a Body, name: &str) -> Option<&'a Value> {
    let inputs = body.get("inputs")?.as_array()?;
    let one = inputs.iter().find(|t| t.get("name").and_then(Value::as_str) == Some(name))?;
    let mut value = one.get("data")?;
    while let Value::Array(list) = value {
        value = list.first()?;
    }
    Some(value)
}

/// `/v2/models/{m}/infer`: never a stream.
pub(super) fn infer(request: &Request<'_>) -> Understood {
    check_types(request.body, model_of(request.path), request.config)?;
    let mut body = Body::new();
    for name in ["text_input", "max_tokens"] {
        if let Some(value) = tensor(request.body, name) {
            body.insert(name.to_owned(), value.clone());
        }
    }
    answer(request, &body, true, false)
}

/// `/v2/models/{m}/generate` and `…/generate_stream`.
pub(super) fn generate(request: &Request<'_>, stream: bool) -> Understood {
    answer(request, request.body, false, stream)
}

fn answer(request: &Request<'_>, body: &Body, infer: bool, stream: bool) -> Understood {
    let config = request.config;
    let model = model_of(request.path);
    known(model, config)?;
    let prompt = text(body, "text_input")?;
    let max = number(body, "max_tokens")?.ok_or_else(|| {
        ApiError::bad_request(Some("max_tokens"), "expected a value for the input 'max_tokens'")
    })?;
    let sequence = Wanted::of(body, Some(max), None)?.answer(tokens::encode(prompt), config)?;
    let mut echo = String::new();
    if infer && config.triton_bos {
        echo.push_str("<s> ");
    }
    if config.echo_prompt {
        echo.push_str(prompt);
        echo.push(' ');
    }
    let form = Generation { model: model.to_owned(), echo, key: sequence.key, infer };
    Ok((Ask::one(sequence, stream, false), Box::new(form)))
}

impl Generation {
    fn document(&self, text: &str) -> String {
        json!({
            "model_name": self.model, "model_version": "1", "sequence_end": false, "sequence_id": 0,
            "sequence_start": false, "text_output": text,
        })
        .to_string()
    }
}

impl Form for Generation {
    fn whole(&self, _config: &Config, ask: &Ask, _account: &Account) -> String {
        let text = format!("{}{}", self.echo, tokens::answer(self.key, 0, ask.output_tokens()));
        if !self.infer {
            return self.document(&text);
        }
        json!({
            "model_name": self.model, "model_version": "1",
            "outputs": [{"name": "text_output", "datatype": "BYTES", "shape": [1], "data": [text]}],
        })
        .to_string()
    }

    fn frames(&self, config: &Config) -> Option<Box<dyn Frames>> {
        let sse = Sse::new(config);
        // JSON escapes the mark.
        let sample = self.document(MARK).replace("\\u0001", MARK);
        Some(Box::new(Events { sse, ordinary: sse.template(&sample) }))
    }
}

struct Events {
    sse: Sse,
    ordinary: Template,
}

impl Frames for Events {
    fn text(&mut self, text: Text<'_>, _finish: Option<Finish>, _account: &Account) -> Bytes {
        self.ordinary.fill(text.text)
    }

    /// The stream's end is all that tells of it.
    fn close(&mut self, _finish: Finish, _account: &Account, _out: &mut Vec<Bytes>) {}

    fn error(&mut self, message: &str, out: &mut Vec<Bytes>) {
        out.push(self.sse.frame(&json!({"error": message}).to_string()));
    }

    fn garbage(&self) -> Bytes {
        self.sse.frame(r#"{"model_name":"garbage","text_out"#)
    }

    fn comment(&self) -> Option<Bytes> {
        Some(self.sse.comment())
    }
}
