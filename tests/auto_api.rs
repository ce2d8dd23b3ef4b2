//! `target.api = "auto"`: simulators that serve one family of APIs are found for what they
//! are, asked for their models in their own way, and driven by what was found.

use std::path::Path;
use std::sync::Arc;

use plimsoll::experiment::{Experiment, Settings};
use plimsoll::server::{self, DiscoverError, Spoken};
use plimsoll::sim::Server;
use plimsoll::{plan, provider};
use serde_json::{Value, json};
use url::Url;

use super::rig::program::{directory, only_run, plimsoll, stderr};
use super::rig::scripted;
use super::sim::server as simulator;

fn settings(more: &str) -> Settings {
    let text = format!(
        "[target]\nurl = \"sim:\"\napi = \"auto\"\n{more}\n[load]\nusers = 1\n[workload]\n\
         prompt_tokens = 64\nmax_tokens = 8\n[cell]\nrequests = 4\n"
    );
    let experiment = Experiment::parse(Path::new("auto.toml"), &text, &[])
        .unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"));
    plan::build(&experiment).expect("a plan").cells.remove(0).settings
}

fn url(server: &Server) -> Url {
    server.url().parse().expect("an address")
}

fn spoken(server: &Server) -> Result<Spoken, DiscoverError> {
    server::detect(&settings("").target, &url(server), Arc::new(|| false))
}

#[test]
fn every_make_is_told_by_its_own_sign() {
    for (knobs, api, because) in [
        (json!({}), "openai-chat", "GET / answered that it is the simulator"),
        (json!({"apis": "ollama"}), "ollama", "GET / answered \"Ollama is running\""),
        (json!({"apis": "ollama,openai"}), "ollama", "GET / answered \"Ollama is running\""),
        (json!({"apis": "tgi,chat"}), "tgi", "GET /info answered with model_id \"sim\" and max_total_tokens"),
        (json!({"apis": "triton"}), "triton-generate", "GET /v2/health/ready answered HTTP 200"),
        (json!({"apis": "llamacpp"}), "llamacpp", "GET /props answered with llama.cpp's settings; it has no"),
        (json!({"apis": "llamacpp,openai"}), "openai-chat", "GET /props answered with llama.cpp's settings"),
        (json!({"apis": "anthropic"}), "anthropic-messages", "GET /v1/models answered with Anthropic's kind"),
        (
            json!({"apis": "openai", "owned_by": "vllm"}),
            "openai-chat",
            "GET /v1/models answered with a list, owned_by \"vllm\"",
        ),
        (json!({"apis": "completions"}), "openai-completions", "POST /v1/completions is there"),
        (json!({"apis": "embeddings"}), "openai-embeddings", "POST /v1/embeddings is there"),
        (json!({"apis": "rerank"}), "openai-rerank", "POST /v1/rerank is there"),
    ] {
        let found = spoken(&simulator(knobs.clone())).unwrap_or_else(|e| panic!("{knobs}: {e}"));
        assert_eq!(found.api, api, "{knobs}: {}", found.because);
        assert!(found.because.contains(because), "{knobs}: {}", found.because);
        assert!(found.note().starts_with(&format!("api: {api} (")), "{}", found.note());
    }
}

#[test]
fn hosts_are_told_by_their_names_alone() {
    for (base, api) in [
        ("https://api.fireworks.ai/inference", "fireworks"),
        ("https://api.together.xyz/v1", "openai-chat"),
        ("https://api.anthropic.com", "anthropic-messages"),
        ("https://api.openai.com/v1", "openai-chat"),
    ] {
        let base = base.parse().expect("an address");
        let found = server::detect(&settings("").target, &base, Arc::new(|| false)).expect("no question");
        assert_eq!(found.api, api);
    }
}

#[test]
fn what_gives_no_sign_is_an_error_with_all_that_was_tried() {
    let error = spoken(&simulator(json!({"apis": "plain"}))).expect_err("no API that has a provider");
    let words = error.to_string();
    for tried in
        ["GET /: HTTP 404", "GET /info: HTTP 404", "GET /v1/models: HTTP 404", "POST /v1/rerank: HTTP 404"]
    {
        assert!(words.contains(tried), "{words}");
    }
    assert!(words.contains("Name one in target.api"), "{words}");
    assert!(!error.is_usage());
    let gone = {
        let server = simulator(json!({}));
        url(&server)
    };
    let error = server::detect(&settings("").target, &gone, Arc::new(|| false)).expect_err("nobody there");
    assert!(matches!(error, DiscoverError::Unreachable { .. }), "{error}");
}

#[test]
fn what_is_found_is_asked_in_its_own_way() {
    for (apis, api, model) in [
        ("openai", "openai-chat", "sim"),
        ("completions", "openai-completions", "sim"),
        ("embeddings", "openai-embeddings", "sim"),
        ("ollama", "ollama", "sim:latest"),
        ("tgi", "tgi", "sim"),
        ("triton", "triton-generate", "ensemble"),
        ("llamacpp", "llamacpp", "sim"),
    ] {
        let server = simulator(json!({"apis": apis}));
        match server::discover(&settings(""), url(&server)) {
            Ok(found) => {
                assert_eq!((found.api.as_str(), found.endpoint.model.as_str()), (api, model), "{apis}");
                assert!(found.notes[0].starts_with(&format!("api: {api} (")), "{:?}", found.notes);
                assert!(found.provider(&settings("").target).is_some());
            }
            Err(error) => {
                assert!(provider::find(api).is_none(), "{apis}: {error}");
                assert!(error.to_string().contains(&format!("speaks \"{api}\" (")), "{error}");
            }
        }
    }
    // An API that can't be spoken gives way to OpenAI's chat, where that is there too.
    let server = simulator(json!({"apis": "ollama,chat"}));
    let found =
        server::discover(&settings("model = \"sim\""), url(&server)).unwrap_or_else(|e| panic!("{e}"));
    let known = provider::find("ollama").is_some();
    assert_eq!(found.api, if known { "ollama" } else { "openai-chat" });
    assert!(found.notes[0].contains("Ollama is running"), "{:?}", found.notes);
}

#[test]
fn what_the_file_asks_for_is_held_to_what_was_found() {
    let pictures = "[workload.images]\nwidth = 64\nheight = 64\n";
    let asked = |apis: &str| {
        let server = simulator(json!({"apis": apis}));
        let mut settings = settings("");
        let text = format!("[target]\nurl = \"sim:\"\napi = \"auto\"\n[load]\nusers = 1\n{pictures}");
        let with = Experiment::parse(Path::new("auto.toml"), &text, &[]).expect("no mistakes");
        settings.workload.images =
            plan::build(&with).expect("a plan").cells.remove(0).settings.workload.images;
        assert!(settings.workload.images.is_some() && settings.workload.stream);
        server::discover(&settings, url(&server)).map(|found| found.notes)
    };
    for apis in ["llamacpp", "tgi", "completions", "embeddings"] {
        let error = asked(apis).map(|_| ()).expect_err("no place for pictures");
        assert!(error.to_string().contains("workload.images asks for pictures"), "{apis}: {error}");
        assert!(!error.is_usage(), "the file is right at another server");
    }
    for apis in ["chat", "ollama", "anthropic"] {
        let notes = asked(apis).unwrap_or_else(|e| panic!("{apis}: {e}"));
        assert!(notes.iter().all(|note| !note.contains("streams")), "{notes:?}");
    }
    let server = simulator(json!({"apis": "embeddings"}));
    let found = server::discover(&settings(""), url(&server)).unwrap_or_else(|e| panic!("{e}"));
    assert!(
        found.notes.iter().any(|n| n.contains("\"openai-embeddings\" has no streams")),
        "{:?}",
        found.notes
    );
}

#[test]
fn a_llama_server_that_lists_its_models_as_ollama_does_is_none() {
    // Some builds have Ollama's path too, with OpenAI's list beside its own.
    let server = super::rig::scripted::serve(|conn| {
        let body = match conn.head.lines().next().unwrap() {
            "GET /api/tags HTTP/1.1" => {
                r#"{"models":[{"name":"tiny"}],"object":"list","data":[{"id":"tiny"}]}"#
            }
            "GET /props HTTP/1.1" => {
                let props = include_str!("testdata/llamacpp/llama-server-props.txt");
                props.split_once("\r\n\r\n").unwrap().1
            }
            _ => {
                conn.raw("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
                return true;
            }
        };
        conn.raw(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
        true
    });
    let base = format!("http://{}", server.address).parse().unwrap();
    let found = server::detect(&settings("").target, &base, Arc::new(|| false)).expect("an API");
    assert_eq!(found.api, "llamacpp", "{}", found.because);
}

#[test]
fn a_sweep_runs_with_what_was_found_and_says_so() {
    let file = "[target]\nurl = \"sim:\"\napi = \"auto\"\n[sim]\napis = [\"completions\"]\nstep_base = \"200us\"\n\
                [load]\nusers = 2\n[workload]\nprompt_tokens = 16\nmax_tokens = 4\n\
                [cell]\nrequests = 8\nwarmup = \"50ms\"\ncooldown = { min = \"10ms\", max = \"1s\" }\n";
    let dir = directory(file);
    let output = plimsoll(dir.path(), &["run", "small.toml"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("api: openai-completions (GET /v1/models"), "{}", stderr(&output));
    let run = only_run(dir.path());
    let mut reader = csv::Reader::from_path(run.join("summary.csv")).unwrap();
    let rows: Vec<std::collections::BTreeMap<String, String>> =
        reader.deserialize().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0]["api"].as_str(), rows[0]["failed"].as_str()), ("openai-completions", "0"));
    assert_ne!(rows[0]["ok"], "0");
    let plan = std::fs::read_to_string(run.join("plan.json")).unwrap();
    let plan: Value = serde_json::from_str(&plan).unwrap();
    assert_eq!(plan["cells"][0]["settings"]["target"]["api"], "auto", "the plan holds what was asked for");
}

#[test]
fn whole_numbers_go_to_triton_in_the_type_that_its_model_states() {
    for int in ["INT32", "UINT32"] {
        let server = simulator(json!({"apis": "triton", "triton_int": int}));
        let mut wanted = settings("model = \"ensemble\"");
        wanted.target.api = "triton-infer".to_owned();
        wanted.workload.stream = false;
        let found = server::discover(&wanted, url(&server)).unwrap_or_else(|e| panic!("{e}"));
        assert!(!found.notes.iter().any(|note| note.contains("failed")), "{:?}", found.notes);
        let request = found
            .provider(&wanted.target)
            .expect("a provider")
            .request(&provider::Call { force_length: true, ..provider::Call::new("ensemble", "p", 3) });
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        let inputs = body["inputs"].as_array().expect("a list");
        for name in ["max_tokens", "min_length"] {
            let input = inputs.iter().find(|input| input["name"] == name).expect(name);
            assert_eq!(input["datatype"], int, "{name}");
        }
    }
}

/// Neither a page elsewhere nor a closed door says that an API is there.
#[test]
fn redirects_are_no_sign_and_refusals_are_told_as_such() {
    let answering = |status: &'static str| {
        let server = scripted::serve(move |conn| {
            conn.raw(&format!("HTTP/1.1 {status}\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n"));
            true
        });
        let base = format!("http://{}", server.address).parse().expect("an address");
        server::detect(&settings("").target, &base, Arc::new(|| false)).expect_err("no API")
    };
    let error = answering("302 Found");
    assert!(matches!(error, DiscoverError::NoApi { .. }), "{error}");
    let error = answering("401 Unauthorized");
    assert!(matches!(error, DiscoverError::Refused { status: 401, .. }), "{error}");
}
