//! What the API in use changes about discovery: the header of the key, headers that every
//! question needs, and what is learnt where a server has no models or counts no tokens.

use super::*;
use crate::provider::Custom;

/// A server that knows nothing but its API's path.
fn only(what: &'static str, body: &'static str) -> Server {
    Server::start(move |asked| match asked.what == what {
        true => reply(200, "application/json", body),
        false => reply(404, "application/json", "{\"detail\":\"Not Found\"}"),
    })
}

fn of_api(api: &str) -> Settings {
    let mut settings = settings();
    settings.target.api = api.to_owned();
    settings.target.model = "auto".to_owned();
    settings
}

#[test]
fn a_key_goes_where_its_api_has_it_and_is_hidden_there() {
    let mut target = of_api("anthropic-messages").target;
    target.api_key_env = Some("KEY".to_owned());
    let env = |_: &str| Some("sk-ant-0123".to_owned());
    let headers = client::headers(&target, false, env, &mut Vec::new()).unwrap_or_else(|e| panic!("{e}"));
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(headers, [pair("x-api-key", "sk-ant-0123"), pair("anthropic-version", "2023-06-01")]);
    let secrets = Secrets::of(&target, &headers);
    assert_eq!(secrets.hide("not sk-ant-0123".to_owned()), "not [hidden]");
    assert_eq!(secrets.hide("since 2023-06-01".to_owned()), "since 2023-06-01");
    target.headers.insert("Anthropic-Version".to_owned(), "2099-01-01".to_owned());
    let headers = client::headers(&target, false, env, &mut Vec::new()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(headers, [pair("anthropic-version", "2099-01-01"), pair("x-api-key", "sk-ant-0123")]);
}

#[test]
fn every_question_bears_the_apis_own_headers_once() {
    let body = r#"{"type":"message","content":[{"type":"text","text":"a"}],"stop_reason":"max_tokens",
                   "usage":{"input_tokens":16,"output_tokens":8}}"#;
    let server = Server::start(move |asked| match asked.what.as_str() {
        "GET /v1/models" => list("claude", "anthropic"),
        "POST /v1/messages" => reply(200, "application/json", body),
        _ => reply(404, "application/json", "{}"),
    });
    let found = found(&server, &of_api("anthropic-messages"));
    assert_eq!((found.endpoint.model.as_str(), found.endpoint.force_length), ("claude", false));
    let asked = server.asked.lock().expect("no panic").clone();
    let once =
        |a: &Asked| a.headers.to_ascii_lowercase().matches("anthropic-version: 2023-06-01").count() == 1;
    assert!(!asked.is_empty() && asked.iter().all(once), "{asked:?}");
    assert!(!found.notes.iter().any(|note| note.contains("ignore_eos")), "{:?}", found.notes);
}

#[test]
fn an_endpoint_without_models_or_tokens_is_found_without_a_word_about_them() {
    let server = only("GET /health", "{\"status\":\"healthy\"}");
    let mut health = of_api("custom");
    health.target.custom = Some(Custom { path: "/health".to_owned(), ..Custom::default() });
    health.workload.stream = false;
    let found = found(&server, &health);
    assert_eq!(found.endpoint.model, "custom");
    assert!(
        server.asked("GET /health").is_empty(),
        "where nothing is read out of an answer, none is asked for"
    );
    let about = |word: &str| found.notes.iter().any(|note| note.contains(word));
    assert!(!about("usage") && !about("failed") && !about("model"), "{:?}", found.notes);
}

#[test]
fn a_triton_server_has_its_usual_model() {
    let body = r#"{"outputs":[{"name":"text_output","datatype":"BYTES","shape":[1],"data":["a"]}]}"#;
    let server = only("POST /v2/models/ensemble/infer", body);
    assert_eq!(found(&server, &of_api("triton-infer")).endpoint.model, "ensemble");
    assert!(!server.asked("POST /v2/models/ensemble/infer").is_empty());
    let mut named = of_api("triton-infer");
    named.target.model = "llm".to_owned();
    assert_eq!(found(&server, &named).endpoint.model, "llm");
    let base = server.base.clone();
    let unseen =
        undiscovered(&of_api("triton-infer"), base, Arc::new(|| false)).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(unseen.endpoint.model, "ensemble");
}
