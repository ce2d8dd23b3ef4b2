//! The embedded simulator over real sockets, asked by a small client of its own.

// The lint excuses tests, but not the functions that they share.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use plimsoll::sim::{Config, KNOBS, PRESETS, Server, TruthOutcome, TruthRecord, now_ns, serve_until};
use serde_json::{Value, json};

/// A server that computes as fast as it can, with these knobs.
pub fn server(knobs: Value) -> Server {
    let mut all = json!({"step_base": "200us", "step_per_seq": 0, "step_per_prefill_token": 0});
    for (k, v) in knobs.as_object().unwrap() {
        all[k] = v.clone();
    }
    let knobs: BTreeMap<_, _> = all.as_object().unwrap().clone().into_iter().collect();
    Server::start(Config::from_knobs(&knobs).unwrap(), "127.0.0.1:0".parse().unwrap()).unwrap()
}

/// An answer as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    /// Without the chunked framing.
    pub body: String,
    /// Whether the framing came to its proper end.
    pub whole: bool,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    /// The payloads of an event stream's frames.
    pub fn frames(&self) -> Vec<&str> {
        self.body.split("\n\n").filter_map(|f| f.strip_prefix("data: ")).collect()
    }

    /// The frames that are documents.
    pub fn chunks(&self) -> Vec<Value> {
        self.frames().iter().filter_map(|f| serde_json::from_str(f).ok()).collect()
    }
}

pub fn connect(addr: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(addr).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

pub fn send(socket: &mut TcpStream, method: &str, path: &str, body: &str, headers: &str) {
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: sim\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(text.as_bytes()).unwrap();
}

/// Read one answer. `None`: the connection broke before its head was whole.
pub fn receive(socket: &mut TcpStream) -> Option<Answer> {
    let mut bytes = Vec::new();
    let mut part = [0; 16 * 1024];
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        match socket.read(&mut part) {
            Ok(0) | Err(_) => return None,
            Ok(n) => bytes.extend_from_slice(&part[..n]),
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap().to_ascii_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length =
        head.lines().find_map(|l| l.strip_prefix("content-length: ")).map(|n| n.trim().parse().unwrap());
    let mut raw = bytes[head_end..].to_vec();
    let (body, whole) = loop {
        if let Some(n) = length {
            if raw.len() >= n {
                break (raw[..n].to_vec(), true);
            }
        } else {
            let (body, whole) = unchunk(&raw);
            if whole {
                break (body, true);
            }
        }
        match socket.read(&mut part) {
            Ok(0) | Err(_) => break (unchunk(&raw).0, false),
            Ok(n) => raw.extend_from_slice(&part[..n]),
        }
    };
    Some(Answer { status, head, body: String::from_utf8(body).unwrap(), whole })
}

/// The content of a chunked body so far, and whether its end has come.
fn unchunk(mut raw: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(line) = raw.windows(2).position(|w| w == b"\r\n") else { return (body, false) };
        let size = usize::from_str_radix(std::str::from_utf8(&raw[..line]).unwrap(), 16).unwrap();
        let rest = &raw[line + 2..];
        if size == 0 {
            return (body, rest.starts_with(b"\r\n"));
        }
        if rest.len() < size + 2 {
            return (body, false);
        }
        body.extend_from_slice(&rest[..size]);
        raw = &rest[size + 2..];
    }
}

pub fn ask(server: &Server, method: &str, path: &str, body: &str) -> Answer {
    let mut socket = connect(server.addr());
    send(&mut socket, method, path, body, "");
    receive(&mut socket).expect("an answer")
}

pub fn post(server: &Server, path: &str, body: Value) -> Answer {
    ask(server, "POST", path, &body.to_string())
}

fn chat(extra: Value) -> Value {
    let mut body = json!({
        "model": "sim", "messages": [{"role": "user", "content": "the tide is high"}],
        "max_tokens": 6, "ignore_eos": true, "stream": true,
    });
    for (k, v) in extra.as_object().unwrap() {
        body[k] = v.clone();
    }
    body
}

const CHAT: &str = "/v1/chat/completions";

/// Wait until something is so: the truth is written a moment after the client has its bytes.
fn wait_for(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(30), "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn truths(server: &Server, n: usize) -> Vec<TruthRecord> {
    wait_for("records of the truth", || server.truth().len() >= n);
    server.truth()
}

fn outcome(record: &TruthRecord) -> String {
    String::from(record.outcome)
}

pub fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

pub fn metric(server: &Server, line: &str) -> f64 {
    let text = ask(server, "GET", "/metrics", "").body;
    let found = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {line} in\n{text}")).parse().unwrap()
}

#[test]
fn a_streamed_chat_has_vllm_s_chunks() {
    let s = server(json!({"usage_cached_tokens": false}));
    let a = post(&s, CHAT, chat(json!({"stream_options": {"include_usage": true}})));
    assert_eq!((a.status, a.whole), (200, true));
    assert!(a.head.contains("content-type: text/event-stream; charset=utf-8\r\n"), "{}", a.head);
    assert!(a.head.contains("transfer-encoding: chunked\r\n"));
    assert_eq!(a.frames().last(), Some(&"[DONE]"));
    let chunks = a.chunks();
    assert_eq!(chunks.len(), 1 + 6 + 1);
    let first = &chunks[0];
    assert_eq!(
        keys(first),
        ["id", "object", "created", "model", "choices", "prompt_token_ids", "prompt_text"]
    );
    assert_eq!(first["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    assert_eq!(first["object"], "chat.completion.chunk");
    for chunk in &chunks[1..6] {
        assert_eq!(keys(chunk), ["id", "object", "created", "model", "choices"]);
        let choice = &chunk["choices"][0];
        assert_eq!(keys(choice), ["index", "delta", "logprobs", "finish_reason", "token_ids"]);
        assert_eq!(keys(&choice["delta"]), ["content"]);
        assert_eq!(choice["finish_reason"], Value::Null);
    }
    let finish = &chunks[6];
    assert_eq!(keys(finish), ["id", "object", "created", "model", "choices", "system_fingerprint"]);
    assert_eq!(finish["choices"][0]["finish_reason"], "length");
    let usage = &chunks[7];
    assert_eq!(keys(usage), ["id", "object", "created", "model", "choices", "usage", "system_fingerprint"]);
    assert_eq!(usage["choices"], json!([]));
    // Four words, two marks for the message, one for the answer.
    assert_eq!(usage["usage"], json!({"prompt_tokens": 7, "total_tokens": 13, "completion_tokens": 6}));
    assert!(chunks.iter().all(|c| c["id"] == chunks[0]["id"]));
}

#[test]
fn streamed_completions_and_whole_answers_too() {
    let s = server(json!({}));
    let body = json!({"model": "sim", "prompt": "the tide is high", "max_tokens": 3, "ignore_eos": true});
    let mut streamed = body.clone();
    streamed["stream"] = json!(true);
    let a = post(&s, "/v1/completions", streamed);
    let chunks = a.chunks();
    assert_eq!(chunks.len(), 3, "usage was not asked for");
    assert_eq!(chunks[0]["object"], "text_completion");
    assert_eq!(
        keys(&chunks[0]["choices"][0]),
        ["index", "text", "logprobs", "finish_reason", "stop_reason", "prompt_token_ids", "token_ids"]
    );
    let text: String = chunks.iter().map(|c| c["choices"][0]["text"].as_str().unwrap()).collect();

    let whole = post(&s, "/v1/completions", body).json();
    assert_eq!(whole["choices"][0]["text"], json!(text), "the same prompt is answered alike");
    assert_eq!(whole["usage"]["completion_tokens"], 3);
    let counted = post(&s, "/tokenize", json!({"model": "sim", "prompt": text})).json();
    assert_eq!(counted["count"], 3);

    let mut asked = chat(json!({"stream": false}));
    let whole = post(&s, CHAT, asked.take()).json();
    assert_eq!(
        keys(&whole),
        [
            "id",
            "object",
            "created",
            "model",
            "choices",
            "service_tier",
            "system_fingerprint",
            "usage",
            "prompt_logprobs",
            "prompt_token_ids",
            "prompt_text",
            "kv_transfer_params",
            "ec_transfer_params",
            "metrics",
        ]
    );
    assert_eq!(
        keys(&whole["choices"][0]),
        ["index", "message", "logprobs", "finish_reason", "stop_reason", "token_ids", "routed_experts"]
    );
    assert_eq!(
        keys(&whole["choices"][0]["message"]),
        ["role", "content", "refusal", "annotations", "audio", "function_call", "reasoning"]
    );
    assert_eq!(
        keys(&whole["usage"]),
        [
            "prompt_tokens",
            "total_tokens",
            "completion_tokens",
            "prompt_tokens_details",
            "completion_tokens_details"
        ]
    );
    let t = truths(&s, 3);
    assert!(t.iter().all(|r| r.outcome == TruthOutcome::Ok && r.status == Some(200)));
    assert_eq!((t[2].output_tokens, t[2].chunks, t[2].stream), (6, 1, false));
    assert_eq!(t[2].first_token_ns, Some(t[2].end_ns));
}

#[test]
fn the_other_endpoints_answer_as_vllm_s() {
    let s = server(json!({"max_model_len": 2048}));
    let a = ask(&s, "GET", "/health", "");
    assert_eq!((a.status, a.body.as_str()), (200, ""));
    let models = ask(&s, "GET", "/v1/models", "").json();
    assert_eq!(models["data"][0]["id"], "sim");
    assert_eq!(
        keys(&models["data"][0]),
        ["id", "object", "created", "owned_by", "root", "parent", "max_model_len", "permission"]
    );
    assert!(ask(&s, "GET", "/version", "").json()["version"].is_string());

    let t = post(&s, "/tokenize", json!({"model": "sim", "prompt": "the elephants are calm"})).json();
    assert_eq!(keys(&t), ["count", "max_model_len", "tokens", "token_strs"]);
    assert_eq!((&t["count"], &t["max_model_len"], &t["token_strs"]), (&json!(5), &json!(2048), &Value::Null));
    let back = post(&s, "/detokenize", json!({"model": "sim", "tokens": t["tokens"]})).json();
    assert_eq!(back, json!({"prompt": "the elephants are calm"}));
    let t = post(&s, "/tokenize", chat(json!({}))).json();
    assert_eq!(t["count"], 7, "as the usage of that chat says");

    assert_eq!(post(&s, "/reset_prefix_cache", json!({})).json(), json!({"success": true}));
    assert_eq!(ask(&s, "GET", "/nowhere", "").status, 404);
    assert_eq!(ask(&s, "GET", CHAT, "").status, 405);
    assert_eq!(ask(&s, "POST", CHAT, "{oops").status, 400);
    let e = post(&s, CHAT, chat(json!({"model": "no-such-model"})));
    assert_eq!(e.status, 404);
    assert_eq!(
        e.json(),
        json!({"error": {"message": "The model `no-such-model` does not exist. Valid aliases: sim.",
            "type": "NotFoundError", "param": "model", "code": 404}})
    );
    let e = post(&s, CHAT, chat(json!({"max_tokens": 3000})));
    assert_eq!((e.status, &e.json()["error"]["code"]), (400, &json!(400)));
    let t = truths(&s, 3);
    assert!(t.iter().all(|r| r.outcome == TruthOutcome::Rejected && r.first_token_ns.is_none()));
    assert_eq!(t.iter().map(|r| r.status.unwrap()).collect::<Vec<_>>(), [400, 404, 400]);
}

#[test]
fn the_truth_is_in_order_and_no_client_sees_a_byte_before_it() {
    let s = server(json!({"step_base": "2ms", "step_jitter": 0}));
    let mut socket = connect(s.addr());
    for n in 0..3 {
        let before = now_ns();
        send(&mut socket, "POST", CHAT, &chat(json!({})).to_string(), &format!("X-Request-Id: mine-{n}\r\n"));
        let a = receive(&mut socket).unwrap();
        let after = now_ns();
        assert!(a.chunks()[0]["id"].as_str().unwrap().ends_with(&format!("mine-{n}")));
        let t = &truths(&s, n + 1)[n];
        assert_eq!(t.request_id, format!("mine-{n}"));
        let times = [
            before,
            t.arrival_ns,
            t.prompt_read_ns.unwrap(),
            t.admitted_ns.unwrap(),
            t.first_token_ns.unwrap(),
            t.last_token_ns.unwrap(),
            t.end_ns,
            after,
        ];
        assert!(times.is_sorted(), "{times:?}");
        // Never shorter than the model: the first token takes one step, the sixth five more.
        assert!(t.first_token_ns.unwrap() - t.admitted_ns.unwrap() >= 2_000_000);
        assert!(t.last_token_ns.unwrap() - t.admitted_ns.unwrap() >= 12_000_000);
        assert_eq!((t.prompt_tokens, t.output_tokens, t.chunks), (Some(7), 6, 6));
    }
    // Over the wire and in the process it is the same.
    let lines = ask(&s, "GET", "/truth", "").body;
    let read: Vec<TruthRecord> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(read, s.truth());
}

#[test]
fn lengths_follow_the_seed() {
    let lengths = |seed: u64| {
        let s = server(json!({"seed": seed, "output_tokens_mean": 20}));
        let asked = |n: i32| {
            let body = json!({"model": "sim", "prompt": format!("prompt {n}"), "max_tokens": 60});
            let a = post(&s, "/v1/completions", body).json();
            let n = a["usage"]["completion_tokens"].as_u64().unwrap();
            let reason = a["choices"][0]["finish_reason"].as_str().unwrap();
            assert_eq!(reason, if n == 60 { "length" } else { "stop" });
            n
        };
        (0..12).map(asked).collect::<Vec<_>>()
    };
    let a = lengths(1);
    assert_eq!(a, lengths(1));
    assert_ne!(a, lengths(2));
}

#[test]
fn a_client_that_goes_away_frees_its_slot() {
    let s = server(json!({"max_num_seqs": 1, "step_base": "1ms"}));
    let mut gone = connect(s.addr());
    send(&mut gone, "POST", CHAT, &chat(json!({"max_tokens": 8000})).to_string(), "");
    let mut byte = [0; 600];
    assert!(gone.read(&mut byte).unwrap() > 0);
    drop(gone);
    // The only slot: this is answered only if it was freed, long before 8000 ms.
    assert_eq!(post(&s, CHAT, chat(json!({}))).chunks().len(), 7);
    let t = truths(&s, 2);
    let lost = t.iter().find(|r| r.outcome == TruthOutcome::ClientGone).expect("a record of it");
    assert!(lost.output_tokens < 8000);
    wait_for("the abort to be counted", || {
        metric(&s, r#"vllm:request_success_total{engine="0",finished_reason="abort",model_name="sim"}"#)
            == 1.0
    });
    // One that waits for a whole answer, too.
    let mut gone = connect(s.addr());
    send(&mut gone, "POST", CHAT, &chat(json!({"max_tokens": 8000, "stream": false})).to_string(), "");
    wait_for("it to run", || metric(&s, r#"vllm:num_requests_running{engine="0",model_name="sim"}"#) == 1.0);
    drop(gone);
    wait_for("it to be gone", || {
        metric(&s, r#"vllm:num_requests_running{engine="0",model_name="sim"}"#) == 0.0
    });
    assert_eq!(metric(&s, r#"vllm:kv_cache_usage_perc{engine="0",model_name="sim"}"#), 0.0);
    assert_eq!(truths(&s, 3)[2].outcome, TruthOutcome::ClientGone);
}

#[test]
fn the_metrics_agree_with_the_truth() {
    let s = server(json!({"output_tokens_mean": 10, "max_num_seqs": 4}));
    std::thread::scope(|scope| {
        for user in 0..8 {
            let s = &s;
            scope.spawn(move || {
                for n in 0..5 {
                    let mut body = chat(json!({"ignore_eos": false, "max_tokens": 20, "stream": n % 2 == 0}));
                    body["messages"][0]["content"] = json!(format!("user {user} asks {n} things"));
                    assert_eq!(post(s, CHAT, body).status, 200);
                }
            });
        }
    });
    let t = truths(&s, 40);
    let m = |name: &str| metric(&s, &format!("vllm:{name}{{engine=\"0\",model_name=\"sim\"}}"));
    let sum = |f: &dyn Fn(&TruthRecord) -> u32| f64::from(t.iter().map(f).sum::<u32>());
    assert_eq!(m("prompt_tokens_total"), sum(&|r| r.prompt_tokens.unwrap()));
    assert_eq!(m("generation_tokens_total"), sum(&|r| r.output_tokens));
    assert_eq!(m("prefix_cache_hits_total"), sum(&|r| r.cached_tokens.unwrap()));
    for name in ["time_to_first_token", "e2e_request_latency", "request_queue_time", "request_decode_time"] {
        assert_eq!(m(&format!("{name}_seconds_count")), 40.0, "{name}");
    }
    assert_eq!(m("inter_token_latency_seconds_count"), sum(&|r| r.output_tokens - 1));
    let ended = |why: &str| {
        metric(
            &s,
            &format!(
                "vllm:request_success_total{{engine=\"0\",finished_reason=\"{why}\",model_name=\"sim\"}}"
            ),
        )
    };
    assert_eq!(ended("stop") + ended("length"), 40.0);
    assert_eq!(
        (m("num_requests_running"), m("num_requests_waiting"), m("kv_cache_usage_perc")),
        (0.0, 0.0, 0.0)
    );
}

#[test]
fn a_full_queue_refuses() {
    for (knobs, status) in [(json!({}), 429), (json!({"full_queue_503": true}), 503)] {
        let mut all = json!({"max_num_seqs": 1, "max_waiting": 0, "step_base": "20ms"});
        for (k, v) in knobs.as_object().unwrap() {
            all[k] = v.clone();
        }
        let s = server(all);
        let mut busy = connect(s.addr());
        send(&mut busy, "POST", CHAT, &chat(json!({"max_tokens": 8000})).to_string(), "");
        wait_for("it to run", || {
            metric(&s, r#"vllm:num_requests_running{engine="0",model_name="sim"}"#) == 1.0
        });
        let a = post(&s, CHAT, chat(json!({})));
        assert_eq!(a.status, status);
        assert_eq!(a.head.contains("retry-after: 1"), status == 429);
        assert_eq!(truths(&s, 1)[0].outcome, TruthOutcome::Rejected);
        let all = s.stop();
        assert_eq!(all[1].outcome, TruthOutcome::Stopped);
    }
}

#[test]
fn it_is_not_ready_until_it_is() {
    let s = server(json!({"startup_delay": "1h"}));
    assert_eq!(ask(&s, "GET", "/health", "").status, 503);
    assert_eq!(ask(&s, "GET", "/v1/models", "").status, 503);
    assert_eq!(post(&s, CHAT, chat(json!({}))).status, 503);
    let s = server(json!({"startup_delay": "100ms"}));
    wait_for("readiness", || ask(&s, "GET", "/health", "").status == 200);
}

#[test]
fn stopping_frees_the_port() {
    let s = server(json!({"step_base": "60s"}));
    let addr = s.addr();
    assert_eq!(s.url(), format!("http://{addr}"));
    let mut busy = connect(addr);
    send(&mut busy, "POST", CHAT, &chat(json!({})).to_string(), "");
    wait_for("it to run", || metric(&s, r#"vllm:num_requests_running{engine="0",model_name="sim"}"#) == 1.0);
    let records = s.stop();
    assert_eq!(records.last().map(outcome).as_deref(), Some("stopped"));
    assert!(TcpStream::connect(addr).is_err());
    let again = Server::start(Config::default(), addr);
    assert!(again.is_ok(), "the port is free again: {:?}", again.err());
    let twice = Server::start(Config::default(), addr).err().expect("the port is taken");
    assert!(twice.to_string().contains(&addr.to_string()), "{twice}");
}

#[test]
fn http_faults() {
    let cases = [
        ("fault_429", 429, "application/json"),
        ("fault_500", 500, "text/plain"),
        ("fault_503", 503, "application/json"),
        ("fault_400", 400, "application/json"),
        ("fault_context_length", 400, "application/json"),
    ];
    for (knob, status, kind) in cases {
        let s = server(json!({knob: 1}));
        let a = post(&s, CHAT, chat(json!({})));
        assert_eq!(a.status, status, "{knob}");
        assert!(a.head.contains(&format!("content-type: {kind}")), "{}", a.head);
        if kind == "application/json" {
            assert_eq!(a.json()["error"]["code"], status);
        }
        let t = truths(&s, 1);
        assert_eq!(outcome(&t[0]), format!("fault:{}", &knob["fault_".len()..]));
        assert_eq!((t[0].status, t[0].output_tokens), (Some(status), 0));
    }
}

#[test]
fn broken_connections() {
    let s = server(json!({"fault_reset": 1}));
    let mut socket = connect(s.addr());
    send(&mut socket, "POST", CHAT, &chat(json!({})).to_string(), "");
    assert_eq!(socket.read(&mut [0; 9]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    let t = truths(&s, 1);
    assert_eq!((outcome(&t[0]).as_str(), t[0].status), ("fault:reset", None));

    let s = server(json!({"fault_reset_mid": 1, "step_base": "2ms"}));
    let mut socket = connect(s.addr());
    send(&mut socket, "POST", CHAT, &chat(json!({"max_tokens": 50})).to_string(), "");
    // A reset may overtake what a slow reader has not read yet, even the head.
    if let Some(a) = receive(&mut socket) {
        assert_eq!((a.status, a.whole), (200, false));
        assert!(!a.body.contains("finish_reason\":\"length"));
    }
    let t = truths(&s, 1);
    assert_eq!(outcome(&t[0]), "fault:reset_mid");
    assert!((1..=50).contains(&t[0].output_tokens), "{t:?}");
}

#[test]
fn faults_in_mid_stream() {
    let s = server(json!({"fault_no_end": 1}));
    let a = post(&s, CHAT, chat(json!({"max_tokens": 50, "stream_options": {"include_usage": true}})));
    assert!(a.whole && !a.body.contains("[DONE]") && !a.body.contains("usage"), "{}", a.body);
    assert!(!a.body.contains("finish_reason\":\"length"));
    let t = truths(&s, 1);
    assert_eq!(a.chunks().len() as u32, 1 + t[0].output_tokens);
    assert_eq!(outcome(&t[0]), "fault:no_end");

    let s = server(json!({"fault_garbage": 1}));
    let a = post(&s, CHAT, chat(json!({})));
    let bad =
        a.frames().iter().filter(|f| **f != "[DONE]" && serde_json::from_str::<Value>(f).is_err()).count();
    assert_eq!((bad, a.chunks().len()), (1, 7));
    assert_eq!(outcome(&truths(&s, 1)[0]), "fault:garbage");

    let s = server(json!({"fault_error_object": 1}));
    let a = post(&s, CHAT, chat(json!({})));
    assert_eq!(a.chunks().last().unwrap()["error"]["code"], 500);
    assert_eq!(a.frames().last(), Some(&"[DONE]"));
    assert_eq!(outcome(&truths(&s, 1)[0]), "fault:error_object");

    let s = server(json!({"fault_stall": 1, "fault_stall_time": "300ms"}));
    let before = Instant::now();
    let a = post(&s, CHAT, chat(json!({})));
    assert!(before.elapsed() >= Duration::from_millis(300));
    assert_eq!(a.chunks().len(), 7);
    assert_eq!(outcome(&truths(&s, 1)[0]), "fault:stall");
}

#[test]
fn chunks_of_other_servers() {
    let deltas = |knobs: Value, extra: Value| {
        let s = server(knobs);
        let a = post(&s, CHAT, chat(extra));
        assert!(a.whole);
        let t = truths(&s, 1).remove(0);
        assert_eq!((t.outcome, t.output_tokens), (TruthOutcome::Ok, 6));
        (a.chunks(), a.frames().last().map(|f| (*f).to_owned()), t)
    };
    let (c, _, t) = deltas(json!({"tokens_per_chunk": 4}), json!({}));
    assert_eq!((c.len(), t.chunks), (3, 2));
    assert_eq!(c[1]["choices"][0]["delta"]["content"].as_str().unwrap().split(' ').count(), 4);

    let (c, _, _) = deltas(json!({"first_chunk": "role_only"}), json!({}));
    assert_eq!(c[0]["choices"][0]["delta"], json!({"role": "assistant"}));
    let (c, _, _) = deltas(json!({"first_chunk": "content_null"}), json!({}));
    assert_eq!(c[0]["choices"][0]["delta"], json!({"role": "assistant", "content": null}));
    let (c, _, _) = deltas(json!({"first_chunk": "none"}), json!({}));
    assert_eq!(c.len(), 6);

    let (c, last, _) = deltas(json!({"finish": "own_chunk", "done": false}), json!({}));
    assert_eq!(c[7]["choices"][0]["delta"], json!({}));
    assert_eq!(c[7]["choices"][0]["finish_reason"], "length");
    assert!(last.is_some_and(|f| f != "[DONE]"));

    let (c, _, t) = deltas(json!({"reasoning_tokens": 2}), json!({}));
    assert!(c[2]["choices"][0]["delta"]["reasoning_content"].is_string());
    assert!(c[3]["choices"][0]["delta"]["content"].is_string());
    assert_eq!(t.chunks, 6);

    let (c, _, t) = deltas(json!({"empty_chunks": 1}), json!({}));
    let filled =
        c.iter().filter(|c| c["choices"][0]["delta"]["content"].as_str().is_some_and(|s| !s.is_empty()));
    assert_eq!((c.len(), filled.count(), t.chunks), (7, 1, 1));

    let usage = json!({"stream_options": {"include_usage": true}});
    let (c, _, _) = deltas(json!({"usage": "never"}), usage.clone());
    assert!(c.iter().all(|c| c.get("usage").is_none()));
    let (c, _, _) = deltas(json!({"usage": "finish_chunk"}), json!({}));
    assert_eq!(c[6]["usage"]["completion_tokens"], 6);
    let (c, _, _) = deltas(json!({"usage": "every_chunk"}), usage);
    let counts: Vec<_> = c.iter().map(|c| c["usage"]["completion_tokens"].as_u64().unwrap()).collect();
    assert_eq!(counts, [0, 1, 2, 3, 4, 5, 6, 6]);
    let (c, _, _) = deltas(json!({"usage": "empty_choice"}), json!({}));
    assert_eq!((&c[7]["choices"][0]["delta"], &c[7]["usage"]["completion_tokens"]), (&json!({}), &json!(6)));
}

#[test]
fn frames_in_pieces_with_comments_and_other_line_ends() {
    let s = server(json!({"split_frames": 1, "split_gap": "1ms", "comments": 1}));
    let a = post(&s, CHAT, chat(json!({})));
    assert_eq!(a.chunks().len(), 7);
    assert_eq!(a.body.matches(": ping\n\n").count(), 8, "one before each frame");
    let t = truths(&s, 1);
    assert_eq!((t[0].outcome, t[0].chunks), (TruthOutcome::Ok, 6));

    for (name, end) in [("crlf", "\r\n"), ("cr", "\r")] {
        let s = server(json!({"line_end": name}));
        let a = post(&s, CHAT, chat(json!({})));
        let frames: Vec<_> = a.body.split(&format!("{end}{end}")).filter(|f| !f.is_empty()).collect();
        assert_eq!(frames.len(), 8);
        assert_eq!(frames[7], "data: [DONE]");
        assert_eq!(name == "cr", !a.body.contains('\n'));
    }
}

#[test]
fn a_socket_is_closed_although_keep_alive_was_promised() {
    let s = server(json!({"close_after_stream": true}));
    let mut socket = connect(s.addr());
    send(&mut socket, "POST", CHAT, &chat(json!({})).to_string(), "");
    let a = receive(&mut socket).unwrap();
    assert!(
        a.whole && a.head.contains("keep-alive: timeout=5, max=100") && !a.head.contains("connection: close")
    );
    assert_eq!(socket.read(&mut [0; 9]).unwrap(), 0, "closed in order");
    assert_eq!(truths(&s, 1)[0].outcome, TruthOutcome::Ok);
}

#[test]
fn cached_tokens_are_told_and_the_cache_can_be_emptied() {
    let s = server(json!({}));
    let body = json!({
        "model": "sim", "prompt": "one two three four ".repeat(20), "max_tokens": 2, "ignore_eos": true,
    });
    let cached = || {
        let a = post(&s, "/v1/completions", body.clone()).json();
        a["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
    };
    assert_eq!((cached(), cached()), (0, 80));
    assert_eq!(truths(&s, 2)[1].cached_tokens, Some(80));
    wait_for("the cache to be unused", || {
        post(&s, "/reset_prefix_cache", json!({})).json()["success"] == json!(true)
    });
    assert_eq!(cached(), 0);
}

#[test]
fn the_truth_is_written_out_as_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("truth.jsonl");
    let s = server(json!({}));
    let addr = s.addr();
    let stop = AtomicBool::new(false);
    let lines = || std::fs::read_to_string(&path).map_or(0, |t| t.lines().count());
    std::thread::scope(|scope| {
        let served = scope.spawn(|| serve_until(s, Some(&path), || stop.load(Ordering::Relaxed)));
        for n in 1..=3 {
            let mut socket = connect(addr);
            send(&mut socket, "POST", CHAT, &chat(json!({})).to_string(), "");
            assert!(receive(&mut socket).unwrap().whole);
            if n == 1 {
                wait_for("the first line", || lines() == 1);
            }
        }
        stop.store(true, Ordering::Relaxed);
        served.join().unwrap().unwrap();
    });
    assert_eq!(lines(), 3);
    let bad = serve_until(server(json!({})), Some(dir.path()), || true).unwrap_err();
    assert!(bad.to_string().contains(&dir.path().display().to_string()), "{bad}");
}

#[test]
fn hundreds_of_clients_at_once_are_all_served() {
    let s = server(json!({"max_num_seqs": 300, "step_base": "2ms"}));
    let mut sockets: Vec<_> = (0..300).map(|_| connect(s.addr())).collect();
    for (n, socket) in sockets.iter_mut().enumerate() {
        let mut body = chat(json!({"max_tokens": 20}));
        body["messages"][0]["content"] = json!(format!("client {n}"));
        send(socket, "POST", CHAT, &body.to_string(), "");
    }
    for socket in &mut sockets {
        assert_eq!(receive(socket).unwrap().chunks().len(), 21);
    }
    let t = truths(&s, 300);
    assert!(t.iter().all(|r| r.outcome == TruthOutcome::Ok && r.output_tokens == 20 && r.chunks == 20));
}

/// A server that goes by the clock.
fn by_the_clock(knobs: Value) -> Server {
    let knobs: BTreeMap<_, _> = knobs.as_object().unwrap().clone().into_iter().collect();
    Server::start(Config::from_knobs(&knobs).unwrap(), "127.0.0.1:0".parse().unwrap()).unwrap()
}

#[test]
fn a_flood_is_whole_in_order_and_true() {
    // Longer than any socket's buffers: many writes, some of them cut short.
    const TOKENS: u64 = 40_000;
    let s = by_the_clock(json!({"preset": "flood"}));
    let asked = chat(json!({"max_tokens": TOKENS, "stream_options": {"include_usage": true}}));
    let mut socket = connect(s.addr());
    let before = now_ns();
    send(&mut socket, "POST", CHAT, &asked.to_string(), "");
    // A client that doesn't read holds the server back, and nothing is lost.
    std::thread::sleep(Duration::from_millis(100));
    let middle = now_ns();
    assert!(s.truth().is_empty(), "the answer can't have ended: nobody read it");
    let mut bytes = Vec::new();
    let mut part = [0; 64 * 1024];
    while !bytes.ends_with(b"0\r\n\r\n") {
        let n = socket.read(&mut part).unwrap();
        assert!(n > 0, "the stream broke off");
        bytes.extend_from_slice(&part[..n]);
    }
    let after = now_ns();
    let head_end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    // Each event has an HTTP chunk of its own.
    let events = bytes.windows(8).filter(|w| *w == b"\r\ndata: ").count() as u64;
    assert_eq!(events, 1 + TOKENS + 1 + 1);
    let (body, whole) = unchunk(&bytes[head_end..]);
    assert!(whole);
    let a = Answer { status: 200, head: String::new(), body: String::from_utf8(body).unwrap(), whole };
    let chunks = a.chunks();
    let text: String = chunks.iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text.split(' ').count() as u64, TOKENS);
    assert_eq!(chunks.last().unwrap()["usage"]["completion_tokens"], TOKENS);
    assert_eq!(a.frames().last(), Some(&"[DONE]"));

    let t = &truths(&s, 1)[0];
    assert_eq!(
        (t.outcome, u64::from(t.output_tokens), u64::from(t.chunks)),
        (TruthOutcome::Ok, TOKENS, TOKENS)
    );
    let (first, last) = (t.first_token_ns.unwrap(), t.last_token_ns.unwrap());
    assert!(before < t.arrival_ns && t.arrival_ns <= t.prompt_read_ns.unwrap());
    assert!(t.prompt_read_ns <= t.admitted_ns && t.admitted_ns.unwrap() <= first);
    assert!(first < middle, "the first chunks went out while nobody read");
    // The end was held back until somebody did, and the truth knows.
    assert!((middle..after).contains(&last) && last <= t.end_ns && t.end_ns < after);
}

#[test]
fn by_the_clock_no_token_is_early_and_load_changes_nothing() {
    let s = by_the_clock(json!({"ttft": "20ms", "tpot": "3ms", "max_num_seqs": 1, "max_waiting": 0}));
    let mut sockets: Vec<_> = (0..40).map(|_| connect(s.addr())).collect();
    for socket in &mut sockets {
        send(socket, "POST", CHAT, &chat(json!({"max_tokens": 11})).to_string(), "");
    }
    for socket in &mut sockets {
        assert_eq!(receive(socket).unwrap().chunks().len(), 12);
    }
    let whole = post(&s, CHAT, chat(json!({"stream": false, "max_tokens": 11}))).json();
    assert_eq!(whole["usage"]["completion_tokens"], 11);
    let t = truths(&s, 41);
    for r in &t {
        assert_eq!((r.outcome, r.output_tokens, r.preemptions), (TruthOutcome::Ok, 11, 0));
        // Never early; a busy host may be late.
        let last = r.last_token_ns.unwrap();
        assert!(last >= r.arrival_ns + 20_000_000 + 10 * 3_000_000);
        if r.stream {
            assert_eq!(r.chunks, 11);
            let first = r.first_token_ns.unwrap();
            assert!(first >= r.arrival_ns + 20_000_000);
        } else {
            assert_eq!((r.chunks, r.first_token_ns), (1, r.last_token_ns));
        }
    }
    // One at a time, as an engine with one slot would, takes longer than this by far.
    let (from, to) = (t.iter().map(|r| r.arrival_ns).min(), t[..40].iter().map(|r| r.end_ns).max());
    let in_a_row = 40 * (20_000_000 + 10 * 3_000_000);
    assert!(to.unwrap() - from.unwrap() < in_a_row, "the answers must overlap");
}

#[test]
fn faults_and_habits_work_by_the_clock_too() {
    let s =
        by_the_clock(json!({"preset": "flood", "fault_no_end": 1, "tokens_per_chunk": 4, "comments": 0.5}));
    let a = post(&s, CHAT, chat(json!({"max_tokens": 1000})));
    assert!(a.whole && !a.body.contains("[DONE]"));
    let t = &truths(&s, 1)[0];
    assert_eq!(outcome(t), "fault:no_end");
    assert_eq!(t.chunks, t.output_tokens.div_ceil(4));
    assert_eq!(a.chunks().len() as u32, 1 + t.chunks);
}

/// `docs/simulator.md` has the tables of knobs and presets as the code has them.
#[test]
fn the_documentation_lists_every_knob_and_preset() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/simulator.md")).unwrap();
    let mut wanted = String::from("| knob | unit | default | meaning |\n|---|---|---|---|\n");
    for k in KNOBS {
        wanted += &format!("| `{}` | {} | `{}` | {} |\n", k.name, k.unit, k.default, k.help);
    }
    assert!(page.contains(&wanted), "docs/simulator.md needs this table:\n{wanted}");
    let mut wanted = String::from("| preset | class |\n|---|---|\n");
    for p in PRESETS {
        wanted += &format!("| `{}` | {} |\n", p.name, p.help);
    }
    assert!(page.contains(&wanted), "docs/simulator.md needs this table:\n{wanted}");
}
