//! What a server says of itself.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ask::Answer;
use super::text_at;
use crate::experiment::Settings;

/// The make of a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Engine {
    #[serde(rename = "vllm")]
    Vllm,
    #[serde(rename = "llama.cpp")]
    LlamaCpp,
    #[serde(rename = "sglang")]
    Sglang,
    #[serde(rename = "tgi")]
    Tgi,
    #[serde(rename = "ollama")]
    Ollama,
    #[serde(rename = "triton")]
    Triton,
    /// The embedded simulator.
    #[serde(rename = "sim")]
    Sim,
    #[default]
    #[serde(rename = "unknown")]
    Unknown,
}

/// One model that the server lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    pub id: String,
    pub owned_by: Option<String>,
    /// Longest prompt and answer together, in tokens.
    pub max_model_len: Option<u64>,
}

/// A server's account of itself, kept with each run: two runs compare only if their servers
/// do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The `Server` header.
    pub server_header: Option<String>,
    /// What `/version` answers.
    pub version: Option<String>,
    pub models: Vec<ModelInfo>,
    /// A guess.
    pub engine: Engine,
    /// What the guess rests on, such as `owned_by`.
    pub engine_from: Option<String>,
}

impl Identity {
    /// From the answer to `/v1/models`, whatever it was.
    pub(super) fn of_models(answer: &Answer) -> Self {
        let list: Value = match answer.is_ok() {
            true => serde_json::from_slice(&answer.body).unwrap_or_default(),
            false => Value::Null,
        };
        // Together's is a bare list.
        let models = list.get("data").unwrap_or(&list).as_array().into_iter().flatten();
        let models = models.filter_map(|m| {
            let limit = m.get("max_model_len").or_else(|| m.pointer("/meta/n_ctx"));
            Some(ModelInfo {
                id: text_at(m, "id")?,
                owned_by: text_at(m, "owned_by"),
                max_model_len: limit.and_then(Value::as_u64),
            })
        });
        Self { server_header: answer.server.clone(), models: models.collect(), ..Self::default() }
    }

    /// From the answer to `/version`, if the server has it.
    pub(super) fn take_version(&mut self, answer: &Answer) {
        if answer.is_ok() {
            let doc: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            self.version = text_at(&doc, "version");
        }
    }

    /// The make, by the first of the signs that tells one.
    pub(super) fn guess_engine(&mut self, metrics: Option<&str>) {
        let owner = self.models.first().and_then(|m| m.owned_by.as_deref());
        let gauge = metrics.and_then(|text| {
            text.lines().find(|l| ["vllm:", "sglang:", "llamacpp:", "tgi_"].iter().any(|p| l.starts_with(p)))
        });
        for (from, sign) in
            [("Server header", self.server_header.as_deref()), ("owned_by", owner), ("/metrics", gauge)]
        {
            let sign = sign.unwrap_or_default().to_ascii_lowercase();
            let engine = [
                ("plimsoll", Engine::Sim),
                ("vllm", Engine::Vllm),
                ("sglang", Engine::Sglang),
                ("llama.cpp", Engine::LlamaCpp),
                ("llamacpp", Engine::LlamaCpp),
                ("text-generation-inference", Engine::Tgi),
                ("tgi_", Engine::Tgi),
            ]
            .into_iter()
            .find(|(name, _)| sign.contains(name));
            if let Some((_, engine)) = engine {
                (self.engine, self.engine_from) = (engine, Some(from.to_owned()));
                return;
            }
        }
    }

    /// Say so when what is asked can't fit into the model.
    pub(super) fn note_limits(&self, model: &str, settings: &Settings, notes: &mut Vec<String>) {
        let limit = self.models.iter().find(|m| m.id == model).and_then(|m| m.max_model_len);
        let work = &settings.workload;
        let asked = u64::from(work.prompt_tokens.mean) + u64::from(work.max_tokens.mean);
        if let Some(limit) = limit.filter(|limit| work.prompt.is_none() && asked > *limit) {
            notes.push(format!(
                "{} prompt tokens and {} output tokens are more than the {limit} that {model} takes: \
                 expect refusals",
                work.prompt_tokens.mean, work.max_tokens.mean
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answers of a real server to `GET`s, as `curl -i` printed them.
    fn answers(file: &str) -> impl Fn(&str) -> Answer {
        let path = format!("{}/tests/testdata/server/{file}-get.txt", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).expect(&path);
        move |path: &str| {
            let start = text.find(&format!("== {path}\n")).expect(path);
            let rest = &text[start + path.len() + 4..];
            let (head, body) = rest.split_once("\r\n\r\n").expect("headers");
            let server =
                head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("server: ").map(str::to_owned));
            let body = body.split("\n== /").next().unwrap_or_default();
            Answer { status: head[9..12].parse().expect("a status"), server, body: body.to_owned().into() }
        }
    }

    fn identity(file: &str) -> Identity {
        let get = answers(file);
        let mut identity = Identity::of_models(&get("/v1/models"));
        let metrics = get("/metrics");
        let text = String::from_utf8_lossy(&metrics.body).into_owned();
        identity.take_version(&get("/version"));
        identity.guess_engine(metrics.is_ok().then_some(text.as_str()));
        identity
    }

    #[test]
    fn real_servers_are_told_apart() {
        let vllm = identity("vllm");
        assert_eq!((vllm.engine, vllm.engine_from.as_deref()), (Engine::Vllm, Some("owned_by")));
        assert_eq!(vllm.version.as_deref(), Some("0.32.0"));
        let tiny = ModelInfo { id: "tiny".into(), owned_by: Some("vllm".into()), max_model_len: Some(2048) };
        assert_eq!(vllm.models, [tiny]);

        let llama = identity("llama-server");
        assert_eq!((llama.engine, llama.version.as_deref()), (Engine::LlamaCpp, None));
        assert_eq!(llama.models[0].max_model_len, Some(2048));

        let transformers = identity("transformers-serve");
        assert_eq!((transformers.engine, transformers.models.len()), (Engine::Unknown, 0));
        assert_eq!(transformers.server_header.as_deref(), Some("uvicorn"));
        assert_eq!(identity("guidellm-mock").models[0].id, "tiny");
    }

    #[test]
    fn gauges_tell_a_make_that_the_list_does_not() {
        let mut identity = Identity::default();
        identity.guess_engine(Some("# HELP x\ntgi_queue_size 0\n"));
        assert_eq!((identity.engine, identity.engine_from.as_deref()), (Engine::Tgi, Some("/metrics")));
        let json = serde_json::to_value(&identity).expect("JSON");
        assert_eq!(json["engine"], "tgi");
    }
}
