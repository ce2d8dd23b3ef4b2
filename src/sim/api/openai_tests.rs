//! Reading requests in OpenAI's form, and what is refused in it.

use hyper::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::super::super::config::Config;
use super::super::super::engine::Finish;
use super::super::super::request::{ApiError, Ask, parse_body};
use super::super::super::tokens;
use super::super::{Api, Request};

fn read(api: Api, body: &Value, config: &Config) -> Result<Ask, ApiError> {
    let body = parse_body(body.to_string().as_bytes())?;
    let headers = HeaderMap::new();
    let request = Request { path: "/", headers: &headers, body: &body, id: "id", created: 0, config };
    api.read(&request).map(|(ask, _)| ask)
}

fn ask(api: Api, body: Value) -> Result<Ask, ApiError> {
    read(api, &body, &Config::default())
}

#[test]
fn a_chat_prompt_has_two_marks_a_message_and_one_more() {
    let a = ask(
        Api::Chat,
        json!({"model": "sim", "max_tokens": 5, "ignore_eos": true, "messages": [
            {"role": "system", "content": "be calm"},
            {"role": "user", "content": [{"type": "text", "text": "the sea"}]},
        ]}),
    )
    .unwrap();
    assert_eq!(a.prompt_tokens(), 2 + 2 + 2 + 2 + 1);
    assert_eq!((a.output_tokens(), a.finish(), a.stream), (5, Finish::Length, false));
    let e = ask(
        Api::Chat,
        json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}),
    );
    assert_eq!(e.unwrap_err().status, StatusCode::BAD_REQUEST, "a picture without a picture");
}

#[test]
fn prompts_come_as_text_or_ids() {
    let same = [json!("the sea"), json!(["the sea"]), json!(tokens::encode("the sea")), json!([[1, 2]])];
    let lengths: Vec<_> = same
        .into_iter()
        .map(|p| ask(Api::Completions, json!({"prompt": p})).unwrap().prompt_tokens())
        .collect();
    assert_eq!(lengths, [2, 2, 2, 2]);
    for bad in [json!({}), json!({"prompt": 5}), json!({"prompt": ["a", "b"]}), json!({"prompt": ""})] {
        assert_eq!(ask(Api::Completions, bad).unwrap_err().status, StatusCode::BAD_REQUEST);
    }
    let config = Config { add_bos: true, ..Config::default() };
    assert_eq!(read(Api::Completions, &json!({"prompt": ""}), &config).unwrap().prompt_tokens(), 1);
}

#[test]
fn lengths_are_drawn_within_their_bounds() {
    let mut sum = 0;
    for n in 0..2000 {
        let body = json!({"prompt": format!("p{n}"), "max_tokens": 4000});
        let a = ask(Api::Completions, body.clone()).unwrap();
        assert_eq!(a, ask(Api::Completions, body).unwrap());
        assert!(a.output_tokens() >= 1);
        sum += a.output_tokens();
    }
    let mean = f64::from(sum) / 2000.0;
    assert!((115.0..141.0).contains(&mean), "mean {mean} of an exponential with mean 128");
    let a = ask(Api::Completions, json!({"prompt": "x", "min_tokens": 40, "max_tokens": 40})).unwrap();
    assert_eq!((a.output_tokens(), a.finish()), (40, Finish::Length));
}

#[test]
fn refusals_speak_as_vllm_does() {
    let e = ask(Api::Completions, json!({"prompt": "x", "max_tokens": 9000})).unwrap_err();
    assert_eq!((e.status, e.param), (StatusCode::BAD_REQUEST, Some("input_tokens")));
    assert!(e.message.starts_with("This model's maximum context length is 8192 tokens."), "{}", e.message);
    let e = ask(Api::Completions, json!({"prompt": "x", "model": "other"})).unwrap_err();
    assert_eq!(
        e.body(),
        r#"{"error":{"message":"The model `other` does not exist. Valid aliases: sim.","type":"NotFoundError","param":"model","code":404}}"#
    );
    let e = ask(Api::Chat, json!({"messages": "oops"})).unwrap_err();
    assert_eq!((e.kind, e.param), ("Bad Request", Some("body.messages")));
    assert!(parse_body(b"{").is_err());
    for bad in [
        json!({"prompt": "x", "n": 2}),
        json!({"prompt": "x", "max_tokens": 0}),
        json!({"prompt": "x", "max_tokens": 3, "min_tokens": 4}),
        json!({"prompt": "x", "logprobs": 21}),
        json!({"prompt": "x", "stream_options": {"include_usage": true}}),
    ] {
        assert!(ask(Api::Completions, bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn tools_are_understood_and_called_where_the_server_calls_tools() {
    let body = |extra: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "x"}],
            "tools": [{"type": "function", "function": {"name": "look_up", "parameters": {}}}]});
        body["tool_choice"] = extra;
        body
    };
    let tool = |value: Value, tool_calls: bool| {
        let config = Config { tool_calls, ..Config::default() };
        super::tool(&parse_body(body(value).to_string().as_bytes()).unwrap(), &config).unwrap()
    };
    assert_eq!(tool(json!("auto"), true).as_deref(), Some("look_up"));
    assert_eq!(tool(json!("auto"), false), None);
    assert_eq!(tool(json!("none"), true), None);
    let bad = json!({"messages": [{"role": "user", "content": "x"}], "tools": [{"type": "function"}]});
    assert!(ask(Api::Chat, bad).is_err(), "a function without a name");
}
