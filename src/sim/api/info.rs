//! What a server tells of itself at once, without the engine.

use hyper::{HeaderMap, StatusCode};
use serde_json::json;

use super::super::apis::Apis;
use super::super::config::Config;
use super::super::request::ApiError;
use super::{Tell, anthropic, llamacpp, ollama, plain, tgi, tokenize, triton};

pub(super) const JSON: &str = "application/json";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// A question that needs no computing.
pub(in super::super) struct Asked<'a> {
    pub path: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
    /// Whether the server has come up.
    pub ready: bool,
    /// Seconds since 1970.
    pub created: i64,
    pub config: &'a Config,
}

/// Its answer.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Told {
    pub status: StatusCode,
    pub kind: &'static str,
    pub body: String,
}

impl Told {
    pub fn ok(body: String) -> Self {
        Self { status: StatusCode::OK, kind: JSON, body }
    }

    fn text(body: &str) -> Self {
        Self { status: StatusCode::OK, kind: TEXT, body: body.to_owned() }
    }
}

/// Answer it. What needs the running server (`/metrics`, `/truth`, emptying the cache) has
/// been answered before.
pub(in super::super) fn tell(tell: Tell, asked: &Asked<'_>) -> Result<Told, ApiError> {
    let config = asked.config;
    match tell {
        Tell::Version => return Ok(Told::ok(json!({"version": env!("CARGO_PKG_VERSION")}).to_string())),
        Tell::TritonReady => {
            let status = if asked.ready { StatusCode::OK } else { StatusCode::BAD_REQUEST };
            return Ok(Told { status, ..Told::text("") });
        }
        _ if !asked.ready => return Err(not_ready()),
        _ => {}
    }
    Ok(match tell {
        Tell::Health | Tell::Metrics | Tell::Truth | Tell::ResetCache => Told::text(""),
        Tell::Root => root(config),
        Tell::Models => return models(asked),
        Tell::Tokenize => Told::ok(tokenize::tokenize(asked.body, config)?),
        Tell::Detokenize => Told::ok(tokenize::detokenize(asked.body, config)?),
        Tell::BatchTokenize => Told::ok(tokenize::batch(asked.body)?),
        Tell::Props => Told::ok(llamacpp::props(config)),
        Tell::LlamaModels => Told::ok(llamacpp::models(config, asked.created)),
        Tell::OllamaTags => Told::ok(ollama::tags(config)),
        Tell::OllamaVersion | Tell::Version => {
            Told::ok(json!({"version": env!("CARGO_PKG_VERSION")}).to_string())
        }
        Tell::TgiInfo => Told::ok(tgi::info(config)),
        Tell::TritonServer | Tell::TritonReady => Told::ok(triton::server()),
        Tell::TritonModel => return triton::model(asked),
        Tell::PlainModel => Told::ok(plain::model(config)),
    })
}

pub(in super::super) fn not_ready() -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableError", "The server is starting up.")
}

/// A server of one make says here which; one that serves every API is none of them.
fn root(config: &Config) -> Told {
    if config.apis == Apis::ALL {
        return Told::text("plimsoll simulator: every API is served\n");
    }
    Told::text("Ollama is running")
}

/// OpenAI's list, or Anthropic's where that is what is asked for.
fn models(asked: &Asked<'_>) -> Result<Told, ApiError> {
    let openai = asked.config.apis.meets(Apis::OPENAI);
    if anthropic::is_asked(asked.headers) && asked.config.apis.meets(Apis::ANTHROPIC) {
        return Ok(Told::ok(anthropic::models(asked.config)));
    }
    if !openai {
        let status = StatusCode::BAD_REQUEST;
        let error = ApiError::new(status, "BadRequestError", anthropic::NO_VERSION);
        return Ok(Told { status, ..Told::ok(anthropic::refusal(&error)) });
    }
    let c = asked.config;
    Ok(Told::ok(
        json!({"object": "list", "data": [{
            "id": c.model, "object": "model", "created": asked.created, "owned_by": c.owned_by,
            "root": c.preset, "parent": null, "max_model_len": c.max_model_len, "permission": [{
                "id": "modelperm-sim", "object": "model_permission", "created": asked.created,
                "allow_create_engine": false, "allow_sampling": true, "allow_logprobs": true,
                "allow_search_indices": false, "allow_view": true, "allow_fine_tuning": false,
                "organization": "*", "group": null, "is_blocking": false,
            }],
        }]})
        .to_string(),
    ))
}
