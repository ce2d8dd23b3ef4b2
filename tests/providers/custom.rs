//! Endpoints that an experiment file describes: what it can say, what is asked, what is read, and
//! the mistakes.

use std::collections::BTreeMap;

use plimsoll::experiment::{MistakeKind, Settings};
use plimsoll::plan::build;
use plimsoll::provider::{Call, Custom, Framing, Options, Provider, find};
use serde_json::{Map, Value, json};

use super::{answer, read_by};
use crate::plan::parse;

/// The endpoint that the transcripts in `tests/testdata/custom` come from.
pub fn transcripts(framing: Framing) -> Custom {
    let pointer = |text: &str| Some(text.to_owned());
    Custom {
        method: "POST".to_owned(),
        path: "/generate".to_owned(),
        body: Some(json!({ "prompt": "{{prompt}}", "stream": "{{stream}}" })),
        framing,
        text: pointer("/token"),
        prompt_tokens: pointer("/usage/in"),
        output_tokens: pointer("/usage/out"),
        finish: pointer("/stop"),
        error: pointer("/failure"),
        done: (framing == Framing::Sse).then(|| "[END]".to_owned()),
        ..Custom::default()
    }
}

fn provider(custom: &Custom) -> Box<dyn Provider> {
    (find("custom").expect("a provider").build)(&Options {
        custom: Some(custom.clone()),
        ..Options::default()
    })
}

/// The settings of the one cell of a file with these sections.
fn settings(text: &str) -> Settings {
    let file = format!("{text}\n[load]\nusers = 1\n");
    let experiment = parse(&file, &[]).unwrap_or_else(|e| panic!("{e}"));
    build(&experiment).expect("a plan").cells[0].settings.clone()
}

/// What a file's cell asks for `prompt`, with `more` beside it.
fn asked(settings: &Settings, prompt: &str, more: &[String]) -> (&'static str, String, Value) {
    let request = settings.target.provider().expect("a provider").request(&Call {
        more,
        seq: 3,
        stream: settings.workload.stream,
        sampling: &settings.workload.sampling,
        extra_body: &settings.target.extra_body,
        ..Call::new("m", prompt, 5)
    });
    let body = match request.body.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(&request.body).expect("JSON"),
    };
    (request.method, request.path, body)
}

#[test]
fn the_endpoints_of_a_server_with_an_api_of_its_own() {
    let batch = |n: usize| (0..n).map(|i| format!("t{i}")).collect::<Vec<String>>();
    for (file, more, want) in [
        ("path = \"/health\"", 0, ("GET", "/health", Value::Null)),
        (
            "path = \"/tokenize\"\nbody = { text = \"{{prompt}}\" }",
            0,
            ("POST", "/tokenize", json!({ "text": "Hello" })),
        ),
        (
            "path = \"/generate\"\nbody = { prompt = \"{{prompt}}\", max_tokens = \"{{max_tokens}}\", \
             strategy = \"{{strategy}}\" }\ntext = \"/text\"\noutput_tokens = \"/num_generated\"",
            0,
            ("POST", "/generate", json!({ "prompt": "Hello", "max_tokens": 5, "strategy": "greedy" })),
        ),
        (
            "path = \"/batch/tokenize\"\nbody = { texts = \"{{prompts}}\" }",
            2,
            ("POST", "/batch/tokenize", json!({ "texts": ["Hello", "t0", "t1"] })),
        ),
        (
            "path = \"/batch/generate\"\ntext = \"/results\"\n\
             body = '{\"prompts\": {{prompts}}, \"max_tokens\": {{max_tokens}}, \"strategy\": \"greedy\"}'",
            1,
            (
                "POST",
                "/batch/generate",
                json!({ "prompts": ["Hello", "t0"], "max_tokens": 5, "strategy": "greedy" }),
            ),
        ),
    ] {
        let extra =
            if file.contains("{{strategy}}") { "extra_body = { strategy = \"greedy\" }\n" } else { "" };
        let settings = settings(&format!(
            "[target]\nurl = \"http://127.0.0.1:8080\"\napi = \"custom\"\n{extra}[target.custom]\n{file}\n"
        ));
        assert!(!settings.workload.stream, "an answer that comes whole is not asked to be streamed");
        let (method, path, body) = asked(&settings, "Hello", &batch(more));
        assert_eq!((method, path.as_str(), body), want);
    }
}

#[test]
fn answers_need_not_be_json_where_nothing_is_read_from_them() {
    let health = provider(&Custom { path: "/health".to_owned(), ..Custom::default() });
    let (_, body) = answer("custom", "health-nostream");
    for body in [&body[..], b"", b"{\"status\":\"healthy\"}", b"[]"] {
        let got = read_by(health.as_ref(), false, false, [body]);
        assert_eq!((got.content, got.undecodable, got.closing.complete), (1, 0, true), "{body:?}");
        assert_eq!((got.closing.output_tokens, got.closing.error), (None, None));
    }
    // Where the connection breaks nobody says that the body has ended.
    let mut decoder = health.decoder(false, false);
    assert!(decoder.frame(b"O").expect("any text").content);
    assert!(!decoder.done() && !decoder.close().complete);
}

#[test]
fn lines_are_read_like_events() {
    let lines = provider(&transcripts(Framing::JsonLines));
    let (_, body) = answer("custom", "lines");
    for cut in 0..=body.len() {
        let (a, b) = body.split_at(cut);
        let got = read_by(lines.as_ref(), true, true, [a, b]);
        assert_eq!((got.content, got.visible, got.undecodable), (2, 2, 0));
        assert_eq!(got.closing.text.as_deref(), Some("One two"));
        assert_eq!((got.closing.prompt_tokens, got.closing.output_tokens), (Some(5), Some(2)));
        assert_eq!((got.closing.finish_reason.as_deref(), got.closing.complete), (Some("eos"), true));
    }
    let got = read_by(lines.as_ref(), true, false, [&b"{\"token\":\"One\"}\n"[..]]);
    assert!(!got.closing.complete, "a stream that says its end has not come to it");
    let bare = Custom { finish: None, ..transcripts(Framing::JsonLines) };
    let got = read_by(provider(&bare).as_ref(), true, false, [&b"{\"token\":\"One\"}\n"[..]]);
    assert!(got.closing.complete, "one that never says so ends with its body");
    assert!(!read_by(provider(&bare).as_ref(), true, false, [&b""[..]]).closing.complete);
}

#[test]
fn pointers_lead_to_texts_of_every_form() {
    let text = |body: &str| {
        let whole = Custom { text: Some("/r".to_owned()), ..Custom::default() };
        let got = read_by(provider(&whole).as_ref(), false, true, [body.as_bytes()]);
        (got.content, got.undecodable, got.closing.text.unwrap_or_default())
    };
    assert_eq!(text(r#"{"r":"a"}"#), (1, 0, "a".to_owned()));
    assert_eq!(text(r#"{"r":["a","b"]}"#), (1, 0, "ab".to_owned()));
    assert_eq!(text(r#"{"r":7}"#), (1, 0, "7".to_owned()));
    assert_eq!(text(r#"{"r":null}"#), (0, 0, String::new()));
    assert_eq!(text(r#"{"s":"a"}"#), (0, 1, String::new()), "nothing there is another API's answer");
    let flag = Custom { finish: Some("/end".to_owned()), ..transcripts(Framing::JsonLines) };
    let got = |body: &str| read_by(provider(&flag).as_ref(), true, false, [body.as_bytes()]).closing;
    assert!(got("{\"end\":true}\n").complete && got("{\"end\":true}\n").finish_reason.is_none());
    assert!(!got("{\"end\":false}\n").complete && !got("{\"end\":\"\"}\n").complete);
}

#[test]
fn an_endpoint_that_is_not_told_to_stream_always_does() {
    let told = provider(&transcripts(Framing::Sse));
    assert_eq!((told.framing(true), told.framing(false)), (Framing::Sse, Framing::Whole));
    let body = Some(json!({ "prompt": "{{prompt}}" }));
    let untold = provider(&Custom { body, ..transcripts(Framing::Sse) });
    assert_eq!((untold.framing(true), untold.framing(false)), (Framing::Sse, Framing::Sse));
}

#[test]
fn placeholders_stand_in_paths_and_headers_too() {
    let custom = Custom {
        method: "PUT".to_owned(),
        path: "/m/{{model}}?q={{prompt}}".to_owned(),
        headers: BTreeMap::from([
            ("x-call".to_owned(), "n {{seq}} {{prompt}}".to_owned()),
            ("Content-Type".to_owned(), "text/{{strategy}}".to_owned()),
        ]),
        body: Some("{{prompt}}: {{max_tokens}} {{prompts}}".into()),
        ..Custom::default()
    };
    let extra = Map::from_iter([("strategy".to_owned(), json!("x")), ("unused".to_owned(), json!(1))]);
    let call = Call { seq: 4, extra_body: &extra, ..Call::new("a/b", "é &\n", 9) };
    let request = provider(&custom).request(&call);
    assert_eq!((request.method, request.path.as_str()), ("PUT", "/m/a%2Fb?q=%C3%A9%20%26%0A"));
    assert_eq!(
        request.headers,
        [
            ("Content-Type".to_owned(), "text/x".to_owned()),
            ("x-call".to_owned(), "n 4 %C3%A9 &%0A".to_owned()),
        ]
    );
    assert_eq!(std::str::from_utf8(&request.body), Ok("é &\n: 9 [\"é &\\n\"]"));
    // Keys that no placeholder takes go into a body that is a table.
    let table = Custom { body: Some(json!({ "p": "{{prompt}}" })), ..custom };
    let request = provider(&table).request(&call);
    assert_eq!(
        serde_json::from_slice::<Value>(&request.body).expect("JSON"),
        json!({ "p": "é &\n", "unused": 1 })
    );
}

const FULL: &str = r#"
[target]
url = "http://127.0.0.1:8080"
api = "custom"
headers = { x-team = "blue" }
extra_body = { strategy = "greedy" }

[target.custom]
method = "POST"
path = "/v2/{{model}}/generate"
headers = { x-api-key = "env:KEY", x-seq = "{{seq}}", accept = "text/event-stream" }
framing = "sse"
text = "/choices/0/text"
prompt_tokens = "/usage/in"
output_tokens = "/usage/out"
finish = "/choices/0/finish"
error = "/error"
done = "[DONE]"

[target.custom.body]
prompt = "{{prompt}}"
stream = "{{stream}}"
options = { temperature = "{{temperature}}", how = ["{{strategy}}"] }

[workload]
temperature = 0.5
"#;

#[test]
fn a_whole_description_is_read() {
    let settings = settings(FULL);
    let custom = settings.target.custom.clone().expect("a description");
    assert_eq!(custom.framing, Framing::Sse);
    assert_eq!(custom.headers, BTreeMap::from([("x-seq".to_owned(), "{{seq}}".to_owned())]));
    // Headers without placeholders are the target's: its secrets are read, sent and hidden there.
    let target: Vec<&str> = settings.target.headers.keys().map(String::as_str).collect();
    assert_eq!(target, ["accept", "x-api-key", "x-team"]);
    assert!(settings.workload.stream);
    let (_, path, body) = asked(&settings, "Hi", &[]);
    assert_eq!(path, "/v2/m/generate");
    assert_eq!(
        body,
        json!({ "prompt": "Hi", "stream": true, "options": { "temperature": 0.5, "how": ["greedy"] } })
    );
    // What a plan stores is read back as it was.
    let stored = serde_json::to_value(&settings.target).expect("JSON");
    let back: plimsoll::experiment::Target = serde_json::from_value(stored).expect("a target");
    assert_eq!(back, settings.target);
    let axis =
        format!("{FULL}\n[grid]\nusers = [1]\n\"target.extra_body.strategy\" = [\"greedy\", \"beam\"]\n");
    let plan = build(&parse(&axis, &[]).unwrap_or_else(|e| panic!("{e}"))).expect("a plan");
    let bodies = plan.cells.iter().map(|cell| asked(&cell.settings, "Hi", &[]).2["options"]["how"].clone());
    assert_eq!(bodies.collect::<Vec<_>>(), [json!(["greedy"]), json!(["beam"])]);
}

/// Key, kind and words of each mistake in a file with these sections.
fn mistakes(text: &str) -> Vec<(String, MistakeKind, String)> {
    let file = format!("[target]\nurl = \"http://h\"\n{text}\n[load]\nusers = 1\n");
    let found = parse(&file, &[]).and_then(|experiment| build(&experiment)).expect_err(text);
    found.0.into_iter().map(|m| (m.key.clone(), m.kind, m.to_string())).collect()
}

#[test]
fn mistakes_are_told_with_what_would_be_right() {
    for (text, key, kind, words) in [
        ("api = \"custom\"", "target.custom", MistakeKind::Missing, "[target.custom] with at least a path"),
        ("api = \"custom\"\n[target.custom]", "target.custom.path", MistakeKind::Missing, "\"/generate\""),
        (
            "[target.custom]\npath = \"/a\"",
            "target.custom",
            MistakeKind::Conflict,
            "has no effect: target.api is \"openai-chat\"",
        ),
        (
            "api = \"custom\"\n[target.custom]\npath = \"health\"",
            "target.custom.path",
            MistakeKind::BadValue,
            "did you mean \"/health\"?",
        ),
        (
            "api = \"custom\"\n[target.custom]\npath = \"/a\"\nmethod = \"post\"",
            "target.custom.method",
            MistakeKind::UnknownWord,
            "\"POST\", \"GET\"",
        ),
        (
            "api = \"custom\"\n[target.custom]\npath = \"/a\"\nmethod = \"GET\"\nbody = { a = 1 }",
            "target.custom.body",
            MistakeKind::Conflict,
            "a GET has no body",
        ),
        (
            "api = \"custom\"\n[target.custom]\npath = \"/a\"\nbody = { a = { b = [\"x {{promt}}\"] } }",
            "target.custom.body.a.b[1]",
            MistakeKind::UnknownWord,
            "unknown placeholder; found {{promt}}; did you mean \"{{prompt}}\"?",
        ),
        (
            "api = \"custom\"\n[target.custom]\npath = \"/a/{{modell}}\"",
            "target.custom.path",
            MistakeKind::UnknownWord,
            "did you mean \"{{model}}\"? Allowed: prompt, prompts, messages, model, ",
        ),
        (
            "api = \"custom\"\n[target.custom]\npath = \"/a\"\nheaders = { x-a = \"{{strategy}}\" }",
            "target.custom.headers.x-a",
            MistakeKind::UnknownWord,
            "any other name is given its value in target.extra_body",
        ),
        (
            "api = \"custom\"\n[target.custom]\npath = \"/a\"\nbody = \"say {{prompt\"",
            "target.custom.body",
            MistakeKind::BadValue,
            "{{ without }}",
        ),
        (
            "api = \"custom\"\n[target.custom]\npath = \"/a\"\nbody = { t = \"{{temperature}}\" }",
            "workload.temperature",
            MistakeKind::Missing,
            "not set, but target.custom has {{temperature}}",
        ),
        (
            "api = \"custom\"\n[target.custom]\npath = \"/a\"\ntext = \"$.choices[0].text\"",
            "target.custom.text",
            MistakeKind::BadValue,
            "did you mean \"/choices/0/text\"?",
        ),
        (
            "api = \"custom\"\n[target.custom]\npath = \"/a\"\ndone = \"[DONE]\"",
            "target.custom.done",
            MistakeKind::Conflict,
            "framing = \"sse\" or \"json_lines\"",
        ),
        (
            "api = \"custom\"\n[target.custom]\npath = \"/a\"\nframing = \"SSE\"",
            "target.custom.framing",
            MistakeKind::UnknownWord,
            "did you mean \"sse\"?",
        ),
        (
            "api = \"custom\"\n[target.custom]\npath = \"/a\"\ntxt = \"/a\"",
            "target.custom.txt",
            MistakeKind::UnknownKey,
            "did you mean \"text\"?",
        ),
        (
            "api = \"custom\"\nheaders = { X-A = \"1\" }\n[target.custom]\npath = \"/a\"\nheaders = { x-a = \"1\" }",
            "target.custom.headers.x-a",
            MistakeKind::Duplicate,
            "this header is in target.headers too",
        ),
        (
            "api = \"custom\"\nextra_body = { a = 1 }\n[target.custom]\npath = \"/a\"",
            "target.extra_body.a",
            MistakeKind::Conflict,
            "the body of target.custom is no table, and has no placeholder of this name",
        ),
        (
            "api = \"custom\"\n[target.custom]\npath = \"/a\"\n[workload]\ntop_p = 0.5",
            "workload.top_p",
            MistakeKind::Conflict,
            "has no effect",
        ),
        (
            "api = \"custom\"\n[target.custom]\npath = \"/a\"\n[workload]\nstream = true",
            "workload.stream",
            MistakeKind::Conflict,
            "cannot be: target.custom.framing is \"whole\"",
        ),
        (
            "api = \"custom\"\n[target.custom]\npath = \"/a\"\nframing = \"sse\"\n[workload]\nstream = false",
            "workload.stream",
            MistakeKind::Conflict,
            "target.custom has no {{stream}} by which the server is told",
        ),
    ] {
        let found = mistakes(text);
        assert_eq!(found.len(), 1, "{text}: {found:#?}");
        assert_eq!((found[0].0.as_str(), found[0].1), (key, kind), "{text}");
        assert!(found[0].2.contains(words), "{text}\n{}", found[0].2);
    }
    let secret =
        "api = \"custom\"\n[target.custom]\npath = \"/a\"\nheaders = { x-api-key = \"very-secret\" }";
    let found = mistakes(secret);
    assert_eq!((found.len(), found[0].1), (1, MistakeKind::Secret));
    assert!(!found[0].2.contains("very-secret"));
}

#[test]
fn settings_are_held_to_what_an_api_can_do() {
    let cell = |api: &str, more: &str| {
        settings(&format!("[target]\nurl = \"http://h\"\napi = \"{api}\"\n[workload]\n{more}\n"))
    };
    for api in ["triton-infer", "openai-embeddings", "openai-rerank"] {
        assert!(!cell(api, "").workload.stream, "{api} comes whole without being asked to");
        assert!(!cell(api, "stream = false").workload.stream);
    }
    assert!(cell("tgi", "").workload.stream && !cell("tgi", "stream = false").workload.stream);
    for (text, key, words) in [
        (
            "api = \"triton-infer\"\n[workload]\nstream = true",
            "workload.stream",
            "cannot be: the API \"triton-infer\" has no streams. Allowed: false, or leave it out",
        ),
        (
            "api = \"openai-embeddings\"\n[workload]\nstop_after = \"first_token\"",
            "workload.stop_after",
            "there is no first token to stop after",
        ),
        (
            "api = \"ollama\"\n[workload]\nforce_length = \"always\"",
            "workload.force_length",
            "the API \"ollama\" has no keys that force the length of an answer",
        ),
        (
            "api = \"llamacpp\"\n[workload]\nimages = { width = 64, height = 64 }",
            "workload.images",
            "the API \"llamacpp\" has no place for pictures. Allowed: an API that takes them",
        ),
        (
            "api = \"custom\"\ncustom = { path = \"/a\" }\n[workload]\nimages = { width = 64, height = 64 }",
            "workload.images",
            "the API \"custom\" has no place for pictures",
        ),
        (
            "api = \"custom\"\ncustom = { path = \"/a\", body = \"x\" }\n[workload]\nseed = \"per_request\"",
            "workload.seed",
            "has no placeholder of this name",
        ),
        ("api = \"triton\"", "target.api", "did you mean \"triton-generate\"?"),
        ("api = \"Claude\"", "target.api", "did you mean \"anthropic-messages\"?"),
        ("api = \"openai\"", "target.api", "did you mean \"openai-chat\"?"),
        ("api = \"rerank\"", "target.api", "did you mean \"openai-rerank\"?"),
        ("api = \"llama.cpp\"", "target.api", "did you mean \"llamacpp\"?"),
    ] {
        let found = mistakes(text);
        assert_eq!(found.len(), 1, "{text}: {found:#?}");
        assert_eq!(found[0].0, key, "{text}");
        assert!(found[0].2.contains(words), "{text}\n{}", found[0].2);
    }
}

#[test]
fn a_seed_of_each_requests_own_can_stand_in_a_template() {
    let text = "[target]\nurl = \"http://h\"\napi = \"custom\"\ncustom = { path = \"/a\", body = { s = \"{{seed}}\" } }\n\
                [workload]\nseed = \"per_request\"\n";
    let settings = settings(text);
    assert!(settings.workload.seed_per_request);
    let line = json!({ "seed": 9 });
    let call = Call { line_body: line.as_object().expect("a table"), ..Call::new("m", "p", 3) };
    let body = settings.target.provider().expect("a provider").request(&call).body;
    assert_eq!(serde_json::from_slice::<Value>(&body).expect("JSON"), json!({ "s": 9 }));
}

#[test]
fn a_part_of_a_mix_goes_without_pictures_where_there_is_no_place_for_them() {
    let text = "[target]\nurl = \"http://h\"\n[workload]\nimages = { width = 64, height = 64 }\n[task.look]\n\
                [task.read]\ntarget.api = \"llamacpp\"\n";
    let settings = settings(text);
    let has: Vec<bool> = settings.parts.iter().map(|part| part.workload.images.is_some()).collect();
    assert_eq!(has, [true, false]);
}

#[test]
fn a_stream_that_says_an_error_alone_is_no_answer() {
    let bare = Custom { finish: None, error: None, done: None, ..transcripts(Framing::JsonLines) };
    let told = read_by(provider(&bare).as_ref(), true, false, [&b"{\"error\":\"no room\"}\n"[..]]);
    assert_eq!(told.closing.error.as_deref(), Some("no room"));
    // By another name it is not known for an error, but there is no text either.
    let other = read_by(provider(&bare).as_ref(), true, false, [&b"{\"problem\":\"no room\"}\n"[..]]);
    assert_eq!((other.closing.error, other.closing.complete), (None, false));
    let fine = read_by(provider(&bare).as_ref(), true, false, [&b"{\"token\":\"a\",\"error\":null}\n"[..]]);
    assert_eq!((fine.closing.error, fine.closing.complete), (None, true));
}
