//! Discovery and cooldown against small raw servers on loopback, which answer as real ones
//! did and close the socket after every answer.

mod apis;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Map, json};

use super::*;
use crate::experiment::{
    CellSettings, ClientSettings, Cooldown, ForceLength, HttpVersion, Lengths, Load, Slo, Target, Tls,
    Workload,
};
use crate::workload::Source;

/// What a server was asked: method and path, header lines, body.
#[derive(Debug, Clone)]
struct Asked {
    what: String,
    headers: String,
    body: Value,
}

/// A raw server; it ends with the test's process.
struct Server {
    base: Url,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    fn start(answer: impl Fn(&Asked) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let base =
            Url::parse(&format!("http://{}", listener.local_addr().expect("an address"))).expect("a url");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for mut socket in listener.incoming().flatten() {
                if let Some(request) = read_request(&socket) {
                    let reply = answer(&request);
                    log.lock().expect("no panic").push(request);
                    let _ = socket.write_all(reply.as_bytes());
                }
            }
        });
        Self { base, asked }
    }

    fn asked(&self, what: &str) -> Vec<Asked> {
        self.asked.lock().expect("no panic").iter().filter(|a| a.what == what).cloned().collect()
    }
}

fn read_request(socket: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(socket);
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|n| *n > 0)?;
    let (mut headers, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = n.trim().parse().ok()?;
        }
        headers.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let what = first.rsplit_once(' ').map_or(first.as_str(), |(what, _)| what).to_owned();
    Some(Asked { what, headers, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
}

fn reply(status: u16, kind: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\nServer: raw\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn json_reply(status: u16, body: &Value) -> String {
    reply(status, "application/json", &body.to_string())
}

/// Words of a text as ids; every word outside the list takes two.
fn word_ids(text: &str) -> Vec<u64> {
    let known = |w: &str| ["the", "house"].contains(&w) || Words::common().rest().iter().any(|k| &**k == w);
    let hash = |w: &str| w.bytes().fold(7u64, |h, b| (h * 31 + u64::from(b)) % 1_000_000_007);
    text.split_whitespace().flat_map(|w| if known(w) { vec![hash(w)] } else { vec![1, 2] }).collect()
}

use crate::workload::Words;

/// A completion in the form that was asked for. `template`: tokens beside the text.
fn completion(asked: &Asked, template: usize, tokens: u64) -> String {
    let text =
        asked.body["messages"][0]["content"].as_str().or(asked.body["prompt"].as_str()).unwrap_or_default();
    let usage = json!({ "prompt_tokens": word_ids(text).len() + template, "completion_tokens": tokens });
    if asked.body["stream"] == true {
        let chunk = json!({ "choices": [{ "delta": { "content": "a" }, "finish_reason": "length" }] });
        return reply(200, "text/event-stream", &format!("data: {chunk}\n\ndata: [DONE]\n\n"));
    }
    let choice = json!({ "message": { "content": "a b" }, "finish_reason": "length" });
    json_reply(200, &json!({ "choices": [choice], "usage": usage }))
}

fn max_tokens(asked: &Asked) -> u64 {
    asked.body["max_tokens"].as_u64().unwrap_or_default()
}

fn list(id: &str, owner: &str) -> String {
    json_reply(200, &json!({ "data": [{ "id": id, "owned_by": owner, "max_model_len": 2048 }] }))
}

/// As vLLM answers.
fn vllm(asked: &Asked) -> String {
    match asked.what.as_str() {
        "GET /v1/models" => list("tiny", "vllm"),
        "GET /version" => json_reply(200, &json!({ "version": "0.32.0" })),
        "GET /metrics" => reply(200, "text/plain", "vllm:num_requests_running{m=\"a\"} 0.0\n"),
        "POST /tokenize" => match asked.body["prompt"].as_str() {
            Some(text) => json_reply(200, &json!({ "tokens": word_ids(text) })),
            None => json_reply(400, &json!({ "error": { "message": "no prompt" } })),
        },
        "POST /v1/chat/completions" => completion(asked, 11, max_tokens(asked)),
        _ => reply(404, "text/plain", "Not Found"),
    }
}

/// As `transformers serve` answers.
fn transformers(asked: &Asked) -> String {
    match asked.what.as_str() {
        "GET /v1/models" => reply(500, "text/plain", "Internal Server Error"),
        "POST /v1/chat/completions" if asked.body.get("ignore_eos").is_some() => {
            json_reply(422, &json!({ "detail": "Unexpected field: ignore_eos" }))
        }
        "POST /v1/chat/completions" => completion(asked, 11, max_tokens(asked)),
        _ => json_reply(404, &json!({ "detail": "Not Found" })),
    }
}

pub(super) fn settings() -> Settings {
    Settings {
        target: Target {
            url: "http://127.0.0.1:1".into(),
            api: "openai-chat".into(),
            model: "auto".into(),
            api_key_env: None,
            headers: BTreeMap::new(),
            extra_body: Map::new(),
            max_tokens_field: "max_tokens".to_owned(),
            timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(10),
            first_token_timeout: None,
            stall_timeout: None,
            tls: Tls::default(),
            connections: crate::experiment::Connections::default(),
            custom: None,
        },
        workload: Workload {
            prompt_tokens: Lengths::constant(100),
            max_tokens: Lengths::constant(16),
            prompt: None,
            prefix: None,
            tokenizer: TokenizerChoice::Auto,
            unique_prompts: true,
            stream: true,
            stop_after: crate::experiment::StopAfter::End,
            cancel: None,
            force_length: ForceLength::Auto,
            sampling: Map::new(),
            ..Workload::default()
        },
        load: Load::Closed { users: 1 },
        cell: CellSettings {
            duration: Some(Duration::from_secs(1)),
            requests: None,
            warmup: Duration::ZERO,
            ramp: Duration::ZERO,
            drain: Duration::ZERO,
            cooldown: Cooldown { min: Duration::ZERO, max: Duration::ZERO },
        },
        slo: Slo::default(),
        client: ClientSettings { threads: None, dead_after: 3, pin: false },
        sim: BTreeMap::new(),
        parts: Vec::new(),
        stages: Vec::new(),
        think: None,
        server: None,
    }
}

fn found(server: &Server, settings: &Settings) -> Found {
    discover(settings, server.base.clone()).unwrap_or_else(|e| panic!("{e}"))
}

fn failure(settings: &Settings, base: &Url) -> String {
    discover(settings, base.clone()).err().map(|e| e.to_string()).unwrap_or_default()
}

#[test]
fn a_full_server_is_found_whole() {
    let server = Server::start(vllm);
    let found = found(&server, &settings());
    assert_eq!(found.endpoint.model, "tiny");
    assert_eq!((found.identity.engine, found.identity.version.as_deref()), (Engine::Vllm, Some("0.32.0")));
    assert!(found.endpoint.force_length && found.gauges);
    assert_eq!((found.tokenizer.name(), found.tokenizer.overhead()), ("server", 11));
    assert_eq!(found.notes, Vec::<String>::new());

    let source = Source::new(settings().workload, 1, "s", found.tokenizer);
    let request = source.request(0);
    assert_eq!(word_ids(&request.prompt).len() + 11, 100, "what the server will report is what was asked");
    assert_eq!(request.prompt_tokens_counted, Some(100));
}

#[test]
fn a_base_with_a_version_is_the_same_server() {
    let server = Server::start(vllm);
    let found =
        discover(&settings(), server.base.join("/v1").expect("a url")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((found.tokenizer.name(), found.gauges, found.tokenizer.overhead()), ("server", true, 11));
}

#[test]
fn a_bare_server_is_found_with_notes() {
    let server = Server::start(transformers);
    let words = failure(&settings(), &server.base);
    assert!(words.contains("names no model") && words.contains("HTTP 500: Internal Server Error"), "{words}");

    let mut named = settings();
    named.target.model = "tiny".into();
    let found = found(&server, &named);
    assert!(!found.endpoint.force_length && !found.gauges);
    assert_eq!((found.tokenizer.name(), found.tokenizer.overhead()), ("bundled", 11));
    let notes = found.notes.join("\n");
    assert!(notes.contains("/tokenize") && notes.contains("Unexpected field: ignore_eos"), "{notes}");
    assert!(matches!(found.idle, IdleSign::FirstToken { .. }), "small requests are its sign of idleness");

    named.workload.tokenizer = TokenizerChoice::Server;
    let words = failure(&named, &server.base);
    assert!(words.contains("doesn't tokenize: HTTP 404"), "{words}");
}

#[test]
fn a_model_that_refuses_max_tokens_is_asked_in_its_own_words() {
    let server = Server::start(|asked: &Asked| match asked.what.as_str() {
        "POST /v1/chat/completions" if asked.body.get("max_tokens").is_some() => {
            let words = "Unsupported parameter: 'max_tokens' is not supported with this model. \
                         Use 'max_completion_tokens' instead.";
            json_reply(400, &json!({ "error": { "message": words } }))
        }
        "POST /v1/chat/completions" => {
            completion(asked, 11, asked.body["max_completion_tokens"].as_u64().unwrap_or_default())
        }
        _ => vllm(asked),
    });
    let mut settings = settings();
    let notes = found(&server, &settings).notes.join("\n");
    assert!(notes.contains("target.max_tokens_field = \"max_completion_tokens\""), "{notes}");
    settings.target.max_tokens_field = "max_completion_tokens".into();
    let found = found(&server, &settings);
    assert_eq!((found.notes, found.endpoint.force_length), (Vec::new(), true));
}

#[test]
fn llama_servers_dialect_and_any_model() {
    let server = Server::start(|asked: &Asked| match asked.what.as_str() {
        "GET /v1/models" => list("tiny", "llamacpp"),
        "POST /tokenize" => json_reply(
            200,
            &json!({ "tokens": word_ids(asked.body["content"].as_str().unwrap_or_default()) }),
        ),
        "GET /version" => reply(404, "text/plain", ""),
        _ => vllm(asked),
    });
    let mut other = settings();
    other.target.model = "other".into();
    let found = found(&server, &other);
    assert_eq!((found.identity.engine, found.tokenizer.name()), (Engine::LlamaCpp, "server"));
    assert_eq!(found.endpoint.model, "other");
    assert!(
        found.notes[0].contains("does not list the model \"other\" (it lists tiny)"),
        "{:?}",
        found.notes
    );
}

#[test]
fn a_server_that_stops_early_is_not_said_to_be_forced() {
    let server = Server::start(|asked: &Asked| match asked.what.as_str() {
        "POST /v1/chat/completions" => completion(asked, 11, 1),
        _ => vllm(asked),
    });
    let by = |force| {
        let mut settings = settings();
        settings.workload.force_length = force;
        found(&server, &settings)
    };
    assert!(!by(ForceLength::Auto).endpoint.force_length);
    assert!(by(ForceLength::Always).endpoint.force_length);
    assert!(!by(ForceLength::Never).endpoint.force_length);
}

#[test]
fn another_tokenizer_than_the_servers_is_noted() {
    let server = Server::start(|asked: &Asked| match asked.what.as_str() {
        "POST /tokenize" => reply(404, "text/plain", ""),
        "POST /v1/chat/completions" => {
            let text = asked.body["messages"][0]["content"].as_str().unwrap_or_default();
            let usage =
                json!({ "prompt_tokens": 2 * word_ids(text).len(), "completion_tokens": max_tokens(asked) });
            json_reply(200, &json!({ "choices": [{ "message": { "content": "a" } }], "usage": usage }))
        }
        _ => vllm(asked),
    });
    let found = found(&server, &settings());
    assert_eq!((found.tokenizer.name(), found.tokenizer.overhead()), ("bundled", 0));
    assert!(
        found.notes.iter().any(|n| n.contains("64 words more are 128 tokens more there")),
        "{:?}",
        found.notes
    );
}

#[test]
fn a_server_that_fails_requests_is_still_loaded() {
    let server = Server::start(|asked: &Asked| match asked.what.as_str() {
        "POST /v1/chat/completions" => json_reply(503, &json!({ "error": { "message": "loading" } })),
        _ => vllm(asked),
    });
    let found = found(&server, &settings());
    assert!(found.notes[0].contains("HTTP 503: loading"), "{:?}", found.notes);
}

#[test]
fn unreachable_and_refused_in_a_persons_words() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let free = Url::parse(&format!("http://me:secret@{}", listener.local_addr().expect("an address")))
        .expect("a url");
    drop(listener);
    let words = failure(&settings(), &free);
    assert!(
        words.contains("cannot reach http://127.0.0.1") && words.contains("is the server started"),
        "{words}"
    );
    assert!(!words.contains("secret"), "{words}");

    let server = Server::start(|asked: &Asked| match asked.headers.contains("Bearer") {
        true => json_reply(403, &json!({ "error": "not you" })),
        false => json_reply(401, &json!({ "error": { "message": "no key" } })),
    });
    let words = failure(&settings(), &server.base);
    assert!(
        words.contains("HTTP 401") && words.contains("no key") && words.contains("api_key_env"),
        "{words}"
    );

    let garbage = Server::start(|_: &Asked| "SSH-2.0-OpenSSH\r\n".to_owned());
    assert!(failure(&settings(), &garbage.base).contains("Does an HTTP server listen"));

    let mut newer = settings();
    newer.target.connections.http = HttpVersion::Http2;
    let words = failure(&newer, &garbage.base);
    assert!(words.contains("Does the server speak HTTP/2") && words.contains("\"1.1\""), "{words}");
}

#[test]
fn keys_and_headers_come_from_the_environment() {
    let mut target = settings().target;
    target.api_key_env = Some("KEY".into());
    target.headers.insert("X-Team".into(), "env:TEAM".into());
    target.headers.insert("X-Plain".into(), "a".into());
    let env = |name: &str| match name {
        "KEY" => Some("k".to_owned()),
        "TEAM" => Some("t".to_owned()),
        _ => None,
    };
    let mut notes = Vec::new();
    let headers = client::headers(&target, false, env, &mut notes).unwrap_or_else(|e| panic!("{e}"));
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(headers, [pair("x-plain", "a"), pair("x-team", "t"), pair("authorization", "Bearer k")]);
    assert!(notes.is_empty());

    let words = client::headers(&target, false, |_| None, &mut notes).err().map(|e| e.to_string());
    assert_eq!(
        words.as_deref(),
        Some(
            "the environment variable TEAM, named by target.headers.X-Team, is not set. Set it, or take target.headers.X-Team out"
        )
    );
    let headers = client::headers(&target, true, |_| Some(String::new()), &mut notes).unwrap_or_default();
    assert_eq!((headers.len(), notes.len()), (1, 2), "on this machine a missing key is a note: {notes:?}");

    let broken = client::headers(&target, false, |_| Some("a\nsecret".to_owned()), &mut notes);
    let words = broken.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(words.starts_with("target.headers.X-Team") && !words.contains("secret"), "{words}");
}

#[test]
fn every_question_bears_the_headers() {
    let server = Server::start(transformers);
    let mut named = settings();
    named.target.model = "tiny".into();
    named.target.headers.insert("X-Team".into(), "blue".into());
    let found = found(&server, &named);
    assert_eq!(found.endpoint.headers, [("x-team".to_owned(), "blue".to_owned())]);
    let asked = server.asked.lock().expect("no panic").clone();
    assert!(asked.len() > 6);
    assert!(asked.iter().all(|a| a.headers.contains("x-team: blue")), "{asked:?}");
    let completions = server.asked("POST /v1/chat/completions").len();
    assert!(completions <= 6, "{completions} completions before the run");
}

#[test]
fn a_file_of_authorities_that_does_not_do() {
    let base = Url::parse("https://127.0.0.1:1").expect("a url");
    let mut target = settings().target;
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    target.tls.ca_file = Some(file.path().to_owned());
    let words = client_builder(&target, &base).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(words.contains("holds no PEM certificate"), "{words}");
    target.tls.ca_file = Some("no/such/file".into());
    let words = client_builder(&target, &base).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(words.contains("cannot read no/such/file"), "{words}");
    target.tls = Tls { insecure: true, ..Tls::default() };
    assert!(client_builder(&target, &base).is_ok_and(|b| b.build().is_ok()));
}

const QUICK: idle::Pace = idle::Pace { look: Duration::from_millis(1), stop: Duration::from_millis(1) };

fn cooldown(max: Duration) -> Cooldown {
    Cooldown { min: Duration::from_millis(1), max }
}

fn asker(base: &Url) -> Asker {
    Asker::new(&settings().target, base, Vec::new(), Arc::new(|| false)).unwrap_or_else(|e| panic!("{e}"))
}

/// A server whose gauges say `running`, one after the other, and then the last for ever.
fn gauges_of(running: &'static [u32]) -> (Server, Arc<AtomicU32>) {
    let looks = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&looks);
    let server = Server::start(move |_: &Asked| {
        let at = (count.fetch_add(1, Ordering::Relaxed) as usize).min(running.len() - 1);
        let text = format!("llamacpp:requests_processing {}\nllamacpp:requests_deferred 0\n", running[at]);
        reply(200, "text/plain", &text)
    });
    (server, looks)
}

#[test]
fn idle_is_three_looks_in_a_row() {
    let (server, looks) = gauges_of(&[3, 0, 0, 1, 0]);
    let sign = IdleSign::Gauges(server.base.clone());
    let long = Duration::from_secs(600);
    let got = idle::wait(&asker(&server.base), &sign, &cooldown(long), &|| false, QUICK);
    assert!(matches!(got, Idle::Idle { .. }), "{got:?}");
    assert_eq!(looks.load(Ordering::Relaxed), 7);
}

#[test]
fn a_busy_server_times_out_with_what_was_seen() {
    let (server, _) = gauges_of(&[2]);
    let sign = IdleSign::Gauges(server.base.clone());
    let got = idle::wait(&asker(&server.base), &sign, &cooldown(Duration::from_millis(50)), &|| false, QUICK);
    assert!(
        matches!(&got, Idle::TimedOut { what, .. } if what == "2 requests running or waiting"),
        "{got:?}"
    );
}

#[test]
fn a_wait_can_be_stopped_and_needs_no_gauges() {
    let base = Url::parse("http://127.0.0.1:1").expect("a url");
    let asker = asker(&base);
    let long = Cooldown { min: Duration::from_secs(600), max: Duration::from_secs(600) };
    let asked = AtomicU32::new(0);
    let stop = || asked.fetch_add(1, Ordering::Relaxed) >= 3;
    assert!(matches!(idle::wait(&asker, &IdleSign::None, &long, &stop, QUICK), Idle::Stopped { .. }));
    let none = idle::wait(&asker, &IdleSign::None, &cooldown(Duration::from_secs(600)), &|| false, QUICK);
    assert!(matches!(none, Idle::NoGauges { .. }), "{none:?}");
}

#[test]
fn without_gauges_small_requests_tell() {
    let slow = Arc::new(AtomicU32::new(0));
    let delay = Arc::clone(&slow);
    let server = Server::start(move |asked: &Asked| {
        std::thread::sleep(Duration::from_millis(u64::from(delay.load(Ordering::Relaxed))));
        transformers(asked)
    });
    let mut named = settings();
    named.target.model = "tiny".into();
    let found = found(&server, &named);
    let IdleSign::FirstToken { url, request, provider, .. } = &found.idle else {
        panic!("a sign of idleness")
    };
    let sign = |idle| IdleSign::FirstToken {
        idle,
        url: url.clone(),
        request: request.clone(),
        provider: Arc::clone(provider),
    };

    // So slow an idle server that any probe is fast enough.
    let patient = sign(Duration::from_secs(60));
    let got = idle::wait(&found.asker, &patient, &cooldown(Duration::from_secs(600)), &|| false, QUICK);
    assert!(matches!(got, Idle::Idle { .. }), "{got:?}");

    slow.store(40, Ordering::Relaxed);
    let strict = sign(Duration::from_millis(1));
    let got = idle::wait(&found.asker, &strict, &cooldown(Duration::from_millis(100)), &|| false, QUICK);
    assert!(matches!(&got, Idle::TimedOut { what, .. } if what.contains("to its first token")), "{got:?}");
}
