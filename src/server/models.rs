//! Which models a server has: each make of server is asked in its own way.

use std::collections::BTreeMap;

use serde_json::Value;
use url::Url;

use super::ask::{Answer, Asker};
use super::identity::{Engine, Identity, ModelInfo};
use super::{DiscoverError, client, shown, text_at};
use crate::experiment::Target;
use crate::provider::{self, Custom, join};

/// Makes of servers, as far as they are asked differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kin {
    /// Lists its models at `/v1/models`: most servers.
    OpenAi,
    Ollama,
    Tgi,
    LlamaCpp,
    Triton,
    /// Described by the user: nothing is known of it.
    Custom,
}

impl Kin {
    pub fn of(api: &str) -> Self {
        match api {
            "ollama" => Self::Ollama,
            "tgi" => Self::Tgi,
            "llamacpp" => Self::LlamaCpp,
            "triton-infer" | "triton-generate" => Self::Triton,
            "custom" => Self::Custom,
            _ => Self::OpenAi,
        }
    }

    /// The make, where the API says it.
    const fn engine(self) -> Option<Engine> {
        match self {
            Self::Ollama => Some(Engine::Ollama),
            Self::Tgi => Some(Engine::Tgi),
            Self::LlamaCpp => Some(Engine::LlamaCpp),
            Self::Triton => Some(Engine::Triton),
            Self::OpenAi | Self::Custom => None,
        }
    }

    /// Where its models are asked for.
    const fn path(self) -> &'static str {
        match self {
            Self::OpenAi | Self::LlamaCpp => "/v1/models",
            Self::Ollama => "/api/tags",
            Self::Tgi => "/info",
            Self::Triton => "/v2/models/ensemble",
            Self::Custom => "/",
        }
    }

    /// What `auto` means where nothing is listed.
    const fn usual(self) -> Option<&'static str> {
        match self {
            // Pre-processing, model and post-processing as one.
            Self::Triton => Some("ensemble"),
            // A word for the records: such an endpoint may know of no model.
            Self::Custom => Some("custom"),
            _ => None,
        }
    }
}

/// A server's account of its models.
pub(super) struct Listed {
    pub identity: Identity,
    kin: Kin,
    url: Url,
    answer: Answer,
}

/// Ask a server that speaks `api` for its models. Whatever it says is an answer, but for a
/// refusal.
pub(super) fn list(asker: &Asker, base: &Url, api: &str) -> Result<Listed, DiscoverError> {
    let kin = Kin::of(api);
    let url = match kin {
        Kin::OpenAi | Kin::LlamaCpp => join(base, kin.path()),
        Kin::Custom => base.clone(),
        _ => join(&client::root(base), kin.path()),
    };
    let answer = asker.get(&url).map_err(|e| DiscoverError::unreachable(&url, &e))?;
    if matches!(answer.status, 401 | 403) && kin.usual().is_none() {
        let (_, words) = provider::http_error(answer.status, &answer.body);
        return Err(DiscoverError::Refused { url: shown(&url), status: answer.status, words });
    }
    let mut identity = identity(kin, &answer);
    if kin == Kin::LlamaCpp && identity.models.is_empty() {
        // Older builds, and proxies in front of it, have only its own endpoints.
        let props = asker.get(&join(&client::root(base), "/props")).ok().filter(Answer::is_ok);
        identity.models.extend(props.as_ref().and_then(|answer| of_props(&document(answer))));
    }
    Ok(Listed { identity, kin, url, answer })
}

fn document(answer: &Answer) -> Value {
    if answer.is_ok() { serde_json::from_slice(&answer.body).unwrap_or_default() } else { Value::Null }
}

fn identity(kin: Kin, answer: &Answer) -> Identity {
    let mut identity = Identity { server_header: answer.server.clone(), ..Identity::default() };
    let doc = document(answer);
    let plain = |id: String, max_model_len: Option<u64>| ModelInfo { id, owned_by: None, max_model_len };
    match kin {
        Kin::OpenAi | Kin::LlamaCpp => return Identity::of_models(answer),
        Kin::Ollama => {
            let models = doc.get("models").and_then(Value::as_array).into_iter().flatten();
            identity.models = models.filter_map(|m| Some(plain(text_at(m, "name")?, None))).collect();
        }
        Kin::Tgi => {
            let limit = doc.get("max_total_tokens").and_then(Value::as_u64);
            identity.models = text_at(&doc, "model_id").map(|id| plain(id, limit)).into_iter().collect();
            identity.version = text_at(&doc, "version");
        }
        Kin::Triton => {
            identity.models = text_at(&doc, "name").map(|id| plain(id, None)).into_iter().collect();
        }
        Kin::Custom => {}
    }
    identity
}

/// Datatypes of a model's inputs by name, as a Triton server tells them; none of other servers.
pub(super) fn inputs(asker: &Asker, base: &Url, api: &str, model: &str) -> BTreeMap<String, String> {
    if Kin::of(api) != Kin::Triton {
        return BTreeMap::new();
    }
    let url = join(&client::root(base), &format!("/v2/models/{model}"));
    let told = asker.get(&url).as_ref().map(document).unwrap_or_default();
    let inputs = told.get("inputs").and_then(Value::as_array).into_iter().flatten();
    inputs.filter_map(|input| Some((text_at(input, "name")?, text_at(input, "datatype")?))).collect()
}

/// The one model of a llama.cpp server, by its alias or its file.
fn of_props(props: &Value) -> Option<ModelInfo> {
    let file = |path: String| path.rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
    let id = text_at(props, "model_alias").filter(|id| !id.is_empty());
    let id = id.or_else(|| text_at(props, "model_path").map(file))?;
    let limit = props.pointer("/default_generation_settings/n_ctx").and_then(Value::as_u64);
    Some(ModelInfo { id, owned_by: None, max_model_len: limit })
}

impl Listed {
    /// The model to ask for: the one named, or the first that the server lists, or what its API
    /// has for the usual one.
    pub fn choose(&self, wanted: &str, notes: &mut Vec<String>) -> Result<String, DiscoverError> {
        let names: Vec<&str> = self.identity.models.iter().map(|m| m.id.as_str()).collect();
        if wanted != "auto" {
            // One that was asked for by its name alone is not the whole list.
            let whole = self.kin != Kin::Triton;
            if whole && !names.is_empty() && !names.iter().any(|name| is_named(name, wanted)) {
                notes.push(format!(
                    "the server does not list the model \"{wanted}\" (it lists {}); asking for it all the same",
                    names.join(", ")
                ));
            }
            return Ok(wanted.to_owned());
        }
        if let Some(first) = names.first() {
            return Ok((*first).to_owned());
        }
        let words = if self.answer.is_ok() {
            "its list is empty".to_owned()
        } else {
            let words = provider::http_error(self.answer.status, &self.answer.body).1;
            format!("HTTP {}: {words}", self.answer.status)
        };
        let Some(usual) = self.kin.usual() else {
            return Err(DiscoverError::NoModel { url: shown(&self.url), words });
        };
        if self.kin != Kin::Custom {
            notes.push(format!(
                "the server does not tell of a model \"{usual}\" ({words}); asking for it all the same"
            ));
        }
        Ok(usual.to_owned())
    }

    /// The make that the API itself gives away goes before one that is guessed.
    pub fn name_engine(&self, identity: &mut Identity) {
        if let Some(engine) = self.kin.engine() {
            identity.engine = engine;
            identity.engine_from = Some(self.kin.path().to_owned());
        }
    }
}

/// Whether a listed name is what was asked for: Ollama's have a tag that may be left out.
fn is_named(listed: &str, wanted: &str) -> bool {
    listed == wanted || listed.strip_suffix(":latest") == Some(wanted)
}

/// Whether small requests to it tell anything of its prompts or answers: not where documents are
/// ranked, each of which counts the query again, nor where nothing is read out of an answer.
pub(super) fn is_probed(target: &Target) -> bool {
    match target.api.as_str() {
        "openai-rerank" => false,
        "custom" => target.custom.as_ref().is_some_and(Custom::reads_answers),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: u16, body: &Value) -> Answer {
        Answer { status, server: None, body: body.to_string().into() }
    }

    fn chosen(api: &str, body: &Value) -> Result<String, String> {
        let (kin, answer) = (Kin::of(api), answer(if body.is_null() { 404 } else { 200 }, body));
        let url = Url::parse("http://h:1/x").expect("a url");
        Listed { identity: identity(kin, &answer), kin, url, answer }
            .choose("auto", &mut Vec::new())
            .map_err(|e| e.to_string())
    }

    #[test]
    fn each_make_lists_its_models_its_own_way() {
        let list = json!({"data": [{"id": "a"}, {"id": "b"}]});
        for api in ["openai-chat", "openai-rerank", "vllm", "anthropic-messages", "llamacpp"] {
            assert_eq!(chosen(api, &list).as_deref(), Ok("a"), "{api}");
        }
        assert_eq!(chosen("ollama", &json!({"models": [{"name": "a:8b"}]})).as_deref(), Ok("a:8b"));
        assert_eq!(chosen("tgi", &json!({"model_id": "org/a"})).as_deref(), Ok("org/a"));
        assert_eq!(chosen("triton-infer", &Value::Null).as_deref(), Ok("ensemble"));
        assert_eq!(chosen("custom", &Value::Null).as_deref(), Ok("custom"));
        assert!(chosen("ollama", &json!({"models": []})).is_err_and(|e| e.contains("its list is empty")));
        assert!(chosen("tgi", &Value::Null).is_err_and(|e| e.contains("HTTP 404")));
        let props = json!({"model_path": "/models/a.gguf", "default_generation_settings": {"n_ctx": 512}});
        let model = of_props(&props).expect("a model");
        assert_eq!((model.id.as_str(), model.max_model_len), ("a.gguf", Some(512)));
    }

    #[test]
    fn a_tag_may_be_left_out() {
        assert!(is_named("llama3:latest", "llama3") && is_named("llama3:8b", "llama3:8b"));
        assert!(!is_named("llama3:8b", "llama3"));
    }
}
