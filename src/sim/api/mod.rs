//! The APIs: which path belongs to which, and what each makes of a request, of its answer
//! and of a refusal. A family is one file here.
//!
//! All of them turn their bodies into the same [`Ask`], which the engine answers; a
//! [`Form`] then puts the answer into the API's own words.

mod anthropic;
mod info;
mod llamacpp;
mod ollama;
mod openai;
mod openai_stream;
mod plain;
mod pooled;
mod tgi;
mod tokenize;
mod triton;

use hyper::{HeaderMap, Method, StatusCode};

pub(super) use info::{Asked, Told, not_ready, tell};

use super::apis::Apis;
use super::config::Config;
use super::request::{ApiError, Ask, Body};
use super::wire::Form;

/// What a path stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// The engine has to compute.
    Compute(Api),
    /// Known at once.
    Tell(Tell),
}

/// A way of asking for computation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    Chat,
    Completions,
    Together,
    Embeddings,
    Rerank,
    Messages,
    LlamaCpp,
    OllamaChat,
    OllamaGenerate,
    /// TGI's or the plain one: the body tells, see [`Api::settle`].
    Generate,
    Tgi,
    TgiStream,
    Plain,
    PlainBatch,
    TritonInfer,
    TritonGenerate,
    TritonStream,
}

/// What is answered without the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tell {
    Health,
    Metrics,
    Truth,
    ResetCache,
    Version,
    Root,
    Models,
    Tokenize,
    Detokenize,
    BatchTokenize,
    Props,
    LlamaModels,
    OllamaTags,
    OllamaVersion,
    TgiInfo,
    TritonReady,
    TritonServer,
    TritonModel,
    PlainModel,
}

const GET: &str = "GET";
const POST: &str = "POST";

/// Paths, the families that have them, and what they stand for. `*` is any one segment.
const TABLE: &[(&str, &str, Apis, Endpoint)] = {
    use Api::*;
    use Endpoint::{Compute, Tell as Say};
    use Tell::*;
    const LISTED: Apis = Apis::OPENAI.or(Apis::ANTHROPIC);
    const TOKENS: Apis = Apis::OPENAI.or(Apis::LLAMACPP).or(Apis::TGI).or(Apis::PLAIN);
    const GENERATE: Apis = Apis::TGI.or(Apis::PLAIN);
    &[
        (GET, "/health", Apis::ALL, Say(Health)),
        (GET, "/metrics", Apis::ALL, Say(Metrics)),
        (GET, "/truth", Apis::ALL, Say(Truth)),
        (GET, "/", Apis::OLLAMA, Say(Root)),
        (POST, "/v1/chat/completions", Apis::CHAT, Compute(Chat)),
        (POST, "/v1/completions", Apis::COMPLETIONS, Compute(Completions)),
        (POST, "/v1/embeddings", Apis::EMBEDDINGS, Compute(Embeddings)),
        (POST, "/v1/rerank", Apis::RERANK, Compute(Rerank)),
        (POST, "/rerank", Apis::RERANK, Compute(Rerank)),
        (GET, "/v1/models", LISTED, Say(Models)),
        (GET, "/version", Apis::OPENAI, Say(Version)),
        (POST, "/reset_prefix_cache", Apis::OPENAI, Say(ResetCache)),
        (POST, "/tokenize", TOKENS, Say(Tokenize)),
        (POST, "/detokenize", Apis::OPENAI, Say(Detokenize)),
        (POST, "/v1/messages", Apis::ANTHROPIC, Compute(Messages)),
        (POST, "/completion", Apis::LLAMACPP, Compute(LlamaCpp)),
        (GET, "/props", Apis::LLAMACPP, Say(Props)),
        (POST, "/api/chat", Apis::OLLAMA, Compute(OllamaChat)),
        (POST, "/api/generate", Apis::OLLAMA, Compute(OllamaGenerate)),
        (GET, "/api/tags", Apis::OLLAMA, Say(OllamaTags)),
        // Served beside Ollama, it is Ollama's.
        (GET, "/api/tags", Apis::LLAMACPP, Say(LlamaModels)),
        (GET, "/api/version", Apis::OLLAMA, Say(OllamaVersion)),
        (POST, "/generate", GENERATE, Compute(Generate)),
        (POST, "/generate_stream", Apis::TGI, Compute(TgiStream)),
        (GET, "/info", Apis::TGI, Say(TgiInfo)),
        (POST, "/batch/generate", Apis::PLAIN, Compute(PlainBatch)),
        (POST, "/batch/tokenize", Apis::PLAIN, Say(BatchTokenize)),
        (GET, "/model/info", Apis::PLAIN, Say(PlainModel)),
        (GET, "/v2", Apis::TRITON, Say(TritonServer)),
        (GET, "/v2/health/live", Apis::TRITON, Say(TritonReady)),
        (GET, "/v2/health/ready", Apis::TRITON, Say(TritonReady)),
        (GET, "/v2/models/*", Apis::TRITON, Say(TritonModel)),
        (GET, "/v2/models/*/ready", Apis::TRITON, Say(TritonReady)),
        (POST, "/v2/models/*/infer", Apis::TRITON, Compute(TritonInfer)),
        (POST, "/v2/models/*/generate", Apis::TRITON, Compute(TritonGenerate)),
        (POST, "/v2/models/*/generate_stream", Apis::TRITON, Compute(TritonStream)),
        (POST, "/", Apis::TOGETHER, Compute(Together)),
    ]
};

/// What `path` stands for among the families that are served.
///
/// # Errors
/// 404 when there is no such path, 405 when it wants another method.
pub(super) fn find(served: Apis, method: &Method, path: &str) -> Result<Endpoint, StatusCode> {
    let mut status = StatusCode::NOT_FOUND;
    for (wanted, pattern, families, endpoint) in TABLE {
        if families.meets(served) && matches(pattern, path) {
            if *wanted == method.as_str() {
                return Ok(*endpoint);
            }
            status = StatusCode::METHOD_NOT_ALLOWED;
        }
    }
    Err(status)
}

fn matches(pattern: &str, path: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == path };
    let Some(rest) = path.strip_prefix(before) else { return false };
    let segment = rest.strip_suffix(after).unwrap_or_default();
    !segment.is_empty() && !segment.contains('/')
}

/// The `*` of a path that matched: its third segment.
fn model_of(path: &str) -> &str {
    path.split('/').nth(3).unwrap_or_default()
}

/// A request for computation, read so far.
pub(super) struct Request<'a> {
    pub path: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a Body,
    /// The request's own name.
    pub id: &'a str,
    /// Seconds since 1970.
    pub created: i64,
    pub config: &'a Config,
}

type Understood = Result<(Ask, Box<dyn Form>), ApiError>;

impl Api {
    /// Which of two APIs on one path is meant: TGI's bodies have `inputs`, the plain ones
    /// `prompt`. A body with neither is told off by the one that is served.
    pub fn settle(self, body: &Body, served: Apis) -> Self {
        let tgi = served.meets(Apis::TGI);
        match self {
            Self::Generate if tgi && body.contains_key("inputs") => Self::Tgi,
            Self::Generate if served.meets(Apis::PLAIN) && body.contains_key("prompt") => Self::Plain,
            Self::Generate if tgi => Self::Tgi,
            Self::Generate => Self::Plain,
            other => other,
        }
    }

    /// Understand a request.
    pub fn read(self, request: &Request<'_>) -> Understood {
        match self {
            Self::Chat => openai::chat(request),
            Self::Completions => openai::completion(request),
            Self::Together => openai::together(request),
            Self::Embeddings => pooled::embeddings(request),
            Self::Rerank => pooled::rerank(request),
            Self::Messages => anthropic::messages(request),
            Self::LlamaCpp => llamacpp::completion(request),
            Self::OllamaChat => ollama::chat(request),
            Self::OllamaGenerate => ollama::generate(request),
            Self::Generate | Self::Tgi => tgi::generate(request, false),
            Self::TgiStream => tgi::generate(request, true),
            Self::Plain => plain::generate(request),
            Self::PlainBatch => plain::batch(request),
            Self::TritonInfer => triton::infer(request),
            Self::TritonGenerate => triton::generate(request, false),
            Self::TritonStream => triton::generate(request, true),
        }
    }

    /// A refusal in this API's shape.
    pub fn refusal(self, error: &ApiError) -> (StatusCode, String) {
        match self {
            Self::Chat | Self::Completions | Self::Together | Self::Embeddings | Self::Rerank => {
                (error.status, error.body())
            }
            Self::Messages => (error.status, anthropic::refusal(error)),
            Self::LlamaCpp => (error.status, llamacpp::refusal(error)),
            Self::OllamaChat | Self::OllamaGenerate => (error.status, ollama::refusal(error)),
            Self::Generate | Self::Tgi | Self::TgiStream => tgi::refusal(error),
            Self::Plain | Self::PlainBatch => (error.status, plain::refusal(error)),
            Self::TritonInfer | Self::TritonGenerate | Self::TritonStream => triton::refusal(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_are_found_among_what_is_served() {
        let all = Apis::ALL;
        let find = |apis, method: &str, path: &str| find(apis, &method.parse().unwrap(), path);
        assert_eq!(find(all, POST, "/v2/models/ensemble/infer"), Ok(Endpoint::Compute(Api::TritonInfer)));
        assert_eq!(find(all, GET, "/v2/models/a"), Ok(Endpoint::Tell(Tell::TritonModel)));
        assert_eq!(model_of("/v2/models/ensemble/infer"), "ensemble");
        for (path, status) in [
            ("/v2/models/", StatusCode::NOT_FOUND),
            ("/v2/models/a/b/infer", StatusCode::NOT_FOUND),
            ("/v1/chat/completions", StatusCode::METHOD_NOT_ALLOWED),
        ] {
            assert_eq!(find(all, GET, path), Err(status), "{path}");
        }
        assert_eq!(find(Apis::TGI, POST, "/v1/completions"), Err(StatusCode::NOT_FOUND));
        assert_eq!(find(Apis::TGI, POST, "/generate"), Ok(Endpoint::Compute(Api::Generate)));
        assert!(find(Apis::TRITON, GET, "/health").is_ok(), "everyone has it");
    }

    #[test]
    fn one_path_two_apis() {
        let body = |v: serde_json::Value| v.as_object().cloned().unwrap_or_default();
        let settle = |v, apis| Api::Generate.settle(&body(v), apis);
        assert_eq!(settle(json!({"inputs": "a"}), Apis::ALL), Api::Tgi);
        assert_eq!(settle(json!({"prompt": "a"}), Apis::ALL), Api::Plain);
        assert_eq!(settle(json!({"prompt": "a"}), Apis::TGI), Api::Tgi);
        assert_eq!(settle(json!({"inputs": "a"}), Apis::PLAIN), Api::Plain);
        assert_eq!(settle(json!({}), Apis::ALL), Api::Tgi);
        assert_eq!(Api::Chat.settle(&body(json!({"inputs": "a"})), Apis::ALL), Api::Chat);
    }
}
