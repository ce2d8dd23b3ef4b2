//! Which API a server speaks, found by asking it: `target.api = "auto"`.
//!
//! Each make of server has an answer that no other gives. They are asked for one after the
//! other, the most particular first, as many servers speak OpenAI's API beside their own.

use serde_json::{Value, json};
use url::Url;

use super::ask::{Answer, Asker, Stop};
use super::{DiscoverError, client, shown};
use crate::experiment::Target;
use crate::provider::{self, join};

/// The word for it in `target.api`.
pub(super) const AUTO: &str = "auto";

/// Hosted services, told by their hosts. Together's speaks OpenAI's chat below `/v1`, the address
/// that it documents; text completions at its root are the provider `together`.
const HOSTS: [(&str, &str); 6] = [
    ("api.fireworks.ai", "fireworks"),
    ("api.together.xyz", "openai-chat"),
    ("api.together.ai", "openai-chat"),
    ("api.endpoints.anyscale.com", "anyscale"),
    ("api.anthropic.com", "anthropic-messages"),
    ("api.openai.com", "openai-chat"),
];

/// OpenAI's APIs, the most usual first.
const OPENAI: [(&str, &str); 4] = [
    ("/v1/chat/completions", "openai-chat"),
    ("/v1/completions", "openai-completions"),
    ("/v1/embeddings", "openai-embeddings"),
    ("/v1/rerank", "openai-rerank"),
];

/// What a server was found to speak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoken {
    /// As `target.api` would name it.
    pub api: &'static str,
    /// How it was known, such as `GET /info answered with TGI's limits`.
    pub because: String,
}

impl Spoken {
    fn new(api: &'static str, because: impl Into<String>) -> Self {
        Self { api, because: because.into() }
    }

    /// In a sentence for people.
    #[must_use]
    pub fn note(&self) -> String {
        format!("api: {} ({})", self.api, self.because)
    }
}

/// Find out which API the server at `base` speaks. Sends a few questions that cost it nothing,
/// and to servers that look like OpenAI's some requests too empty to be answered.
///
/// # Errors
/// When it can't be reached, refuses access, or gives no answer that is known.
pub fn detect(target: &Target, base: &Url, stop: Stop) -> Result<Spoken, DiscoverError> {
    Seeker::new(target, base, stop)?.seek()
}

/// `target` with the API that its server speaks, and the note that says so. An API that this
/// build has no provider for gives way to OpenAI's chat, where the server has that too.
pub(super) fn resolve(target: &Target, base: &Url, stop: Stop) -> Result<(Target, String), DiscoverError> {
    let mut seeker = Seeker::new(target, base, stop)?;
    let mut spoken = seeker.seek()?;
    if provider::find(spoken.api).is_none() {
        let (path, chat) = OPENAI[0];
        if !seeker.takes(path)? {
            return Err(DiscoverError::NoProvider {
                url: shown(base),
                api: spoken.api.to_owned(),
                because: spoken.because,
            });
        }
        let because = format!("the server speaks {} too, by {}", spoken.api, spoken.because);
        spoken = Spoken::new(chat, because);
    }
    let note = spoken.note();
    Ok((Target { api: spoken.api.to_owned(), ..target.clone() }, note))
}

/// Asks one server, and keeps what it answered.
struct Seeker {
    asker: Asker,
    base: Url,
    root: Url,
    tried: Vec<String>,
}

impl Seeker {
    fn new(target: &Target, base: &Url, stop: Stop) -> Result<Self, DiscoverError> {
        // What is missing is told when the server has been found.
        let headers = client::headers(target, true, |name| std::env::var(name).ok(), &mut Vec::new())?;
        let asker = Asker::new(target, base, headers, stop)?;
        Ok(Self { asker, root: client::root(base), base: base.clone(), tried: Vec::new() })
    }

    fn seek(&mut self) -> Result<Spoken, DiscoverError> {
        let host = self.base.host_str().unwrap_or_default();
        if let Some((host, api)) = HOSTS.iter().find(|(name, _)| *name == host) {
            return Ok(Spoken::new(api, format!("the host is {host}")));
        }
        // The first question also tells whether anybody is there.
        let url = join(&self.root, "/");
        let first = self.asker.get(&url).map_err(|e| DiscoverError::unreachable(&url, &e))?;
        self.note("GET /", &first);
        let words = String::from_utf8_lossy(&first.body);
        if words.starts_with("Ollama is running") {
            return Ok(Spoken::new("ollama", "GET / answered \"Ollama is running\""));
        }
        if words.starts_with("plimsoll simulator") {
            return Ok(Spoken::new("openai-chat", "GET / answered that it is the simulator, with every API"));
        }
        // llama.cpp has Ollama's /api/tags too.
        if let Some(spoken) = self.llama()? {
            return Ok(spoken);
        }
        let own = [Self::ollama, Self::tgi, Self::triton];
        if let Some(spoken) = own.iter().find_map(|ask| ask(self)) {
            return Ok(spoken);
        }
        self.listed()
    }

    /// Others that have this path answer it with OpenAI's list beside Ollama's.
    fn ollama(&mut self) -> Option<Spoken> {
        let tags = self.document("/api/tags")?;
        tags.get("models")?.as_array()?;
        if tags.get("object").is_some() || tags.get("data").is_some() {
            return None;
        }
        Some(Spoken::new("ollama", "GET /api/tags answered with a list of models"))
    }

    fn tgi(&mut self) -> Option<Spoken> {
        let info = self.document("/info")?;
        info.get("max_total_tokens")?;
        let model = info.get("model_id")?.as_str()?;
        Some(Spoken::new("tgi", format!("GET /info answered with model_id {model:?} and max_total_tokens")))
    }

    fn triton(&mut self) -> Option<Spoken> {
        // Its body is empty. A server that answers every path with a page has another.
        let ready = self.get("/v2/health/ready")?;
        ready
            .body
            .is_empty()
            .then(|| Spoken::new("triton-generate", "GET /v2/health/ready answered HTTP 200"))
    }

    fn llama(&mut self) -> Result<Option<Spoken>, DiscoverError> {
        let props = self.document("/props").unwrap_or_default();
        if props.get("default_generation_settings").is_none() {
            return Ok(None);
        }
        let because = "GET /props answered with llama.cpp's settings";
        Ok(Some(if self.takes(OPENAI[0].0)? {
            Spoken::new("openai-chat", format!("{because}; it has OpenAI's chat too"))
        } else {
            Spoken::new("llamacpp", format!("{because}; it has no /v1/chat/completions"))
        }))
    }

    /// By the list of models, which says who made it, and by what else is there.
    fn listed(&mut self) -> Result<Spoken, DiscoverError> {
        let url = join(&self.base, "/v1/models");
        let answer = self.ask("/v1/models", &url);
        let document = answer.as_ref().map(json_of).unwrap_or_default();
        if is_anthropic_error(&document) {
            return Ok(Spoken::new(
                "anthropic-messages",
                "GET /v1/models answered with Anthropic's kind of error",
            ));
        }
        if let Some(answer) = answer.filter(is_refusal) {
            return Err(refused(&url, &answer));
        }
        if document.get("has_more").is_some() && document.get("first_id").is_some() {
            return Ok(Spoken::new("anthropic-messages", "GET /v1/models answered with Anthropic's list"));
        }
        let list = document.get("data").unwrap_or(&document).as_array();
        let owner = list.and_then(|l| l.first()).and_then(|m| m.get("owned_by")).and_then(Value::as_str);
        let because = match (list, owner) {
            (Some(_), Some(owner)) => format!("GET /v1/models answered with a list, owned_by {owner:?}"),
            (Some(_), None) => "GET /v1/models answered with a list".to_owned(),
            (None, _) => String::new(),
        };
        for (place, (path, api)) in OPENAI.into_iter().enumerate() {
            if self.takes(path)? {
                // That of the usual one needs no words.
                let there = format!("POST {path} is there");
                return Ok(Spoken::new(
                    api,
                    match (because.is_empty(), place) {
                        (true, _) => there,
                        (false, 0) => because,
                        (false, _) => format!("{because}; {there}"),
                    },
                ));
            }
        }
        if self.empty("/v1/messages").is_some_and(|a| is_anthropic_error(&json_of(&a))) {
            return Ok(Spoken::new(
                "anthropic-messages",
                "POST /v1/messages answered with Anthropic's kind of error",
            ));
        }
        Err(DiscoverError::NoApi { url: shown(&self.base), tried: self.tried.join(", ") })
    }

    /// Whether requests can be sent to `path`: an empty one is refused otherwise than what is
    /// sent to nowhere. A server that lets nobody in, or sends elsewhere, has not said so.
    fn takes(&mut self, path: &str) -> Result<bool, DiscoverError> {
        let Some(answer) = self.empty(path) else { return Ok(false) };
        if is_refusal(&answer) {
            return Err(refused(&join(&self.base, path), &answer));
        }
        Ok(!matches!(answer.status, 300..=399 | 404 | 405 | 501..=504))
    }

    fn empty(&mut self, path: &str) -> Option<Answer> {
        let answer = self.asker.post(&join(&self.base, path), json!({}).to_string());
        let what = format!("POST {path}");
        match &answer {
            Ok(answer) => self.note(&what, answer),
            Err(e) => self.tried.push(format!("{what}: {e}")),
        }
        answer.ok()
    }

    /// The document at `path` above any `/v1`.
    fn document(&mut self, path: &str) -> Option<Value> {
        self.get(path).map(|answer| json_of(&answer))
    }

    fn get(&mut self, path: &str) -> Option<Answer> {
        let url = join(&self.root, path);
        self.ask(path, &url).filter(Answer::is_ok)
    }

    fn ask(&mut self, path: &str, url: &Url) -> Option<Answer> {
        let what = format!("GET {path}");
        match self.asker.get(url) {
            Ok(answer) => {
                self.note(&what, &answer);
                Some(answer)
            }
            Err(e) => {
                self.tried.push(format!("{what}: {e}"));
                None
            }
        }
    }

    fn note(&mut self, what: &str, answer: &Answer) {
        let kind = if answer.is_ok() { ", nothing that is known" } else { "" };
        self.tried.push(format!("{what}: HTTP {}{kind}", answer.status));
    }
}

/// No entry.
fn is_refusal(answer: &Answer) -> bool {
    matches!(answer.status, 401 | 403)
}

fn refused(url: &Url, answer: &Answer) -> DiscoverError {
    let (_, words) = provider::http_error(answer.status, &answer.body);
    DiscoverError::Refused { url: shown(url), status: answer.status, words }
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

/// `{"type": "error", "error": {"type": …}}`
fn is_anthropic_error(document: &Value) -> bool {
    document.get("type").and_then(Value::as_str) == Some("error") && document.pointer("/error/type").is_some()
}
