//! The simulator's further APIs over real sockets, asked by the small client of `sim`: what
//! each says in its own words, and that the log of the truth agrees.

use plimsoll::sim::{Fault, Server, TruthOutcome, TruthRecord};
use serde_json::{Value, json};

use super::sim::{Answer, ask, connect, keys, metric, post, receive, send, server, truths};

/// Ask under a name, and with what else a header says.
fn named(server: &Server, path: &str, body: &Value, id: &str, headers: &str) -> Answer {
    let mut socket = connect(server.addr());
    let headers = format!("X-Request-Id: {id}\r\n{headers}");
    send(&mut socket, "POST", path, &body.to_string(), &headers);
    receive(&mut socket).expect("an answer")
}

/// The record of the request with that name.
fn record(server: &Server, id: &str) -> TruthRecord {
    super::rig::wait_for(id, || server.truth().into_iter().find(|r| r.request_id == id))
}

/// That the truth says the same as an answer: prompt and output tokens, chunks, outcome.
fn agrees(server: &Server, id: &str, path: &str, prompt: u32, output: u32, chunks: u32) {
    let t = record(server, id);
    assert_eq!(t.path, path);
    assert_eq!((t.prompt_tokens, t.output_tokens, t.chunks), (Some(prompt), output, chunks), "{t:?}");
    assert_eq!((t.outcome, t.status), (TruthOutcome::Ok, Some(200)));
    let computed = t.admitted_ns.unwrap();
    assert!(t.arrival_ns <= computed && computed < t.end_ns, "{t:?}");
    assert_eq!(t.first_token_ns.is_some(), output > 0);
}

/// The events of a stream with names: name and payload.
fn events(answer: &Answer) -> Vec<(String, Value)> {
    let frames = answer.body.split("\n\n").filter(|f| !f.is_empty());
    let event = |frame: &str| {
        let (name, data) = frame.split_once('\n').unwrap();
        let data = data.strip_prefix("data: ").unwrap();
        (name.strip_prefix("event: ").unwrap().to_owned(), serde_json::from_str(data).unwrap())
    };
    frames.map(event).collect()
}

fn lines(answer: &Answer) -> Vec<Value> {
    answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const VERSION: &str = "anthropic-version: 2023-06-01\r\n";

#[test]
fn embeddings_cost_their_prefill_and_nothing_is_generated() {
    // A step takes 1 ms and 1 ms more for each prompt token.
    let s = server(
        json!({"step_base": "1ms", "step_per_prefill_token": "1ms", "step_jitter": 0, "prefix_cache": false}),
    );
    let path = "/v1/embeddings";
    let a =
        named(&s, path, &json!({"model": "sim", "input": "the tide is high", "dimensions": 8}), "one", "");
    let one = a.json();
    assert_eq!((a.status, &one["object"]), (200, &json!("list")));
    assert_eq!(one["data"][0]["embedding"].as_array().unwrap().len(), 8);
    assert_eq!(one["usage"]["prompt_tokens"], 4);
    assert_eq!(one["usage"]["total_tokens"], 4);
    agrees(&s, "one", path, 4, 0, 0);
    let t = record(&s, "one");
    assert!(t.end_ns - t.admitted_ns.unwrap() >= 5_000_000, "one step of 1 + 4 ms: {t:?}");

    let input = json!(["the tide is high", "the sea"]);
    let many = named(&s, path, &json!({"model": "sim", "input": input}), "many", "").json();
    assert_eq!(many["data"].as_array().unwrap().len(), 2);
    assert_eq!(many["data"][1]["index"], 1);
    assert_eq!(many["data"][0]["embedding"].as_array().unwrap().len(), 768);
    assert_ne!(many["data"][0]["embedding"], many["data"][1]["embedding"]);
    agrees(&s, "many", path, 6, 0, 0);

    let packed = json!({"input": [[7, 8], [9]], "encoding_format": "base64", "dimensions": 3});
    let packed = post(&s, path, packed).json();
    assert_eq!(packed["data"][1]["embedding"].as_str().unwrap().len(), 16, "three floats in base64");
    assert_eq!(metric(&s, r#"vllm:generation_tokens_total{engine="0",model_name="sim"}"#), 0.0);
    for bad in [json!({}), json!({"input": []}), json!({"input": "x", "dimensions": 1000})] {
        assert_eq!(post(&s, path, bad.clone()).status, 400, "{bad}");
    }
}

#[test]
fn rankings_are_sorted_and_cut() {
    let s = server(json!({}));
    let body =
        json!({"model": "sim", "query": "the tide", "documents": ["low", "high", "deep sea"], "top_n": 2});
    for (path, id) in [("/v1/rerank", "v1"), ("/rerank", "bare")] {
        let a = named(&s, path, &body, id, "").json();
        let results = a["results"].as_array().unwrap();
        assert_eq!(results.len(), 2);
        assert_eq!(keys(&results[0]), ["index", "relevance_score", "document"]);
        assert!(results[0]["relevance_score"].as_f64() >= results[1]["relevance_score"].as_f64());
        let index = results[0]["index"].as_u64().unwrap() as usize;
        assert_eq!(results[0]["document"]["text"], body["documents"][index]);
        // The query stands before each document.
        assert_eq!(a["usage"]["total_tokens"], 3 * 2 + 4);
        agrees(&s, id, path, 10, 0, 0);
    }
    assert_eq!(post(&s, "/rerank", json!({"query": "x", "documents": []})).status, 400);
}

#[test]
fn anthropic_s_events_come_in_their_order() {
    let s = server(json!({"reasoning_tokens": 2}));
    let body = json!({"model": "sim", "max_tokens": 5, "ignore_eos": true, "system": "be calm",
        "messages": [{"role": "user", "content": "the tide is high"}], "stream": true});
    let path = "/v1/messages";
    let a = named(&s, path, &body, "m", VERSION);
    assert!(a.head.contains("content-type: text/event-stream"));
    let events = events(&a);
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "message_start",
            "ping",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
    );
    assert!(events.iter().all(|(name, payload)| payload["type"] == json!(name)));
    // 2 marks for each of system and user, one that opens the answer, 2 and 4 words.
    assert_eq!(events[0].1["message"]["usage"]["input_tokens"], 11);
    assert_eq!(events[3].1["delta"]["type"], "thinking_delta");
    assert_eq!(events[7].1["delta"]["type"], "text_delta");
    let delta = &events[11].1;
    assert_eq!(delta["delta"]["stop_reason"], "max_tokens");
    assert_eq!(delta["usage"]["output_tokens"], 5);
    agrees(&s, "m", path, 11, 5, 5);

    let mut whole = body.clone();
    whole["stream"] = json!(false);
    let text: String =
        events.iter().filter_map(|(_, p)| p["delta"]["text"].as_str()).collect::<Vec<_>>().concat();
    let whole = named(&s, path, &whole, "w", VERSION).json();
    assert_eq!(whole["content"][1]["text"], json!(text), "the same prompt is answered alike");
    assert_eq!(whole["content"][0]["type"], "thinking");
    agrees(&s, "w", path, 11, 5, 1);

    let e = named(&s, path, &body, "no-version", "");
    assert_eq!(e.status, 400);
    assert_eq!(e.json()["type"], "error");
    assert_eq!(e.json()["error"]["type"], "invalid_request_error");
    let mut unknown = body.clone();
    unknown["model"] = json!("other");
    assert_eq!(named(&s, path, &unknown, "u", VERSION).json()["error"]["type"], "not_found_error");
    let mut socket = connect(s.addr());
    send(&mut socket, "GET", "/v1/models", "", VERSION);
    assert_eq!(receive(&mut socket).unwrap().json()["data"][0]["display_name"], "sim");
}

#[test]
fn llama_cpp_s_completions_end_with_a_stop() {
    let s = server(json!({}));
    let body = json!({"prompt": "the tide is high", "n_predict": 4, "ignore_eos": true, "stream": true});
    let a = named(&s, "/completion", &body, "s", "");
    let chunks = a.chunks();
    assert_eq!(chunks.len(), 5, "no end marker of its own: {}", a.body);
    assert_eq!(
        keys(&chunks[0]),
        ["index", "content", "tokens", "stop", "id_slot", "tokens_predicted", "tokens_evaluated"]
    );
    assert_eq!((&chunks[3]["stop"], &chunks[3]["tokens_predicted"]), (&json!(false), &json!(4)));
    let last = &chunks[4];
    assert_eq!(
        (&last["stop"], &last["content"], &last["stop_type"]),
        (&json!(true), &json!(""), &json!("limit"))
    );
    assert_eq!((&last["tokens_predicted"], &last["tokens_evaluated"]), (&json!(4), &json!(4)));
    assert!(last["timings"]["prompt_ms"].as_f64().unwrap() > 0.0);
    assert!(last["timings"]["predicted_ms"].as_f64().unwrap() > 0.0);
    agrees(&s, "s", "/completion", 4, 4, 4);

    let mut whole = body.clone();
    whole["stream"] = json!(false);
    let whole = named(&s, "/completion", &whole, "w", "").json();
    let text: String = chunks.iter().map(|c| c["content"].as_str().unwrap()).collect();
    assert_eq!((&whole["content"], &whole["stop"]), (&json!(text), &json!(true)));
    agrees(&s, "w", "/completion", 4, 4, 1);

    let e = post(&s, "/completion", json!({"prompt": "x", "n_predict": 9000}));
    assert_eq!((e.status, &e.json()["error"]["type"]), (400, &json!("exceed_context_size_error")));
    assert_eq!(e.json()["error"]["n_ctx"], 8192);
    let props = ask(&s, "GET", "/props", "").json();
    assert_eq!(props["default_generation_settings"]["n_ctx"], 8192);
    assert_eq!(
        post(&s, "/tokenize", json!({"content": "the sea"})).json()["tokens"].as_array().unwrap().len(),
        2
    );
}

#[test]
fn ollama_speaks_in_lines() {
    let s = server(json!({"apis": "ollama", "step_base": "2ms", "step_jitter": 0}));
    let options = json!({"num_predict": 3, "ignore_eos": true});
    let message = json!({"role": "user", "content": "the tide is high"});
    let body = json!({"model": "sim:latest", "messages": [message], "options": options});
    let a = named(&s, "/api/chat", &body, "c", "");
    assert!(a.head.contains("content-type: application/x-ndjson\r\n"), "{}", a.head);
    let chunks = lines(&a);
    assert_eq!(chunks.len(), 4, "streamed unasked");
    assert_eq!(keys(&chunks[0]), ["model", "created_at", "message", "done"]);
    let last = &chunks[3];
    assert_eq!((&last["done"], &last["done_reason"]), (&json!(true), &json!("length")));
    assert_eq!((&last["prompt_eval_count"], &last["eval_count"]), (&json!(7), &json!(3)));
    let ns = |key: &str| last[key].as_u64().unwrap();
    assert!(ns("prompt_eval_duration") >= 2_000_000 && ns("eval_duration") >= 3_000_000, "{last}");
    assert!(ns("total_duration") >= ns("prompt_eval_duration") + ns("eval_duration"));
    agrees(&s, "c", "/api/chat", 7, 3, 3);

    let body = json!({"model": "sim", "prompt": "the tide is high", "stream": false, "options": options});
    let whole = named(&s, "/api/generate", &body, "g", "").json();
    let text: String = chunks.iter().map(|c| c["message"]["content"].as_str().unwrap()).collect();
    assert_eq!(whole["response"], json!(text), "the prompt is one message of a chat");
    assert_eq!((&whole["done"], &whole["eval_count"]), (&json!(true), &json!(3)));
    agrees(&s, "g", "/api/generate", 7, 3, 1);

    let e = post(&s, "/api/chat", json!({"model": "other", "messages": [message]}));
    assert_eq!((e.status, e.json()), (404, json!({"error": "model 'other' not found"})));
    assert_eq!(ask(&s, "GET", "/api/tags", "").json()["models"][0]["name"], "sim:latest");
    assert!(ask(&s, "GET", "/api/version", "").json()["version"].is_string());
    assert_eq!(ask(&s, "GET", "/", "").body, "Ollama is running");
}

#[test]
fn tgi_tells_a_token_an_event_and_details_at_the_end() {
    let s = server(json!({"apis": "tgi"}));
    let parameters = json!({"max_new_tokens": 3, "ignore_eos": true, "details": true, "top_n_tokens": 2});
    let body = json!({"inputs": "the tide is high", "parameters": parameters});
    let a = named(&s, "/generate_stream", &body, "s", "");
    let frames: Vec<Value> = a
        .body
        .split("\n\n")
        .filter_map(|f| f.strip_prefix("data:"))
        .map(|f| serde_json::from_str(f).unwrap())
        .collect();
    assert_eq!(frames.len(), 3);
    assert_eq!(keys(&frames[0]), ["index", "token", "generated_text", "details", "top_tokens"]);
    assert_eq!(keys(&frames[0]["token"]), ["id", "text", "logprob", "special"]);
    assert_eq!((&frames[0]["generated_text"], &frames[0]["details"]), (&Value::Null, &Value::Null));
    assert_eq!(frames[0]["top_tokens"].as_array().unwrap().len(), 2);
    let text: String = frames.iter().map(|f| f["token"]["text"].as_str().unwrap()).collect();
    assert_eq!(frames[2]["generated_text"], json!(text));
    let details = &frames[2]["details"];
    assert_eq!((&details["finish_reason"], &details["generated_tokens"]), (&json!("length"), &json!(3)));
    assert_eq!(details["input_length"], 4);
    agrees(&s, "s", "/generate_stream", 4, 3, 3);

    let whole = named(&s, "/generate", &body, "w", "").json();
    assert_eq!(whole["generated_text"], json!(text));
    assert_eq!(whole["details"]["tokens"].as_array().unwrap().len(), 3);
    // A whole answer doesn't say how long the prompt was, unless all its tokens are asked for.
    assert_eq!((&whole["details"]["prefill"], whole["details"].get("input_length")), (&json!([]), None));
    agrees(&s, "w", "/generate", 4, 3, 1);
    let mut told = body.clone();
    told["parameters"]["decoder_input_details"] = true.into();
    let whole = post(&s, "/generate", told.clone()).json();
    assert_eq!(whole["details"]["prefill"].as_array().unwrap().len(), 4);
    assert_eq!(post(&s, "/generate_stream", told).status, 422);
    let e = post(&s, "/generate", json!({"inputs": ""}));
    assert_eq!((e.status, &e.json()["error_type"]), (422, &json!("validation")));
    let info = ask(&s, "GET", "/info", "").json();
    assert_eq!((&info["model_id"], &info["max_total_tokens"]), (&json!("sim"), &json!(8192)));
}

#[test]
fn the_plain_api_shares_a_path_and_answers_in_its_own_shape() {
    let s = server(json!({}));
    let body = json!({"prompt": "the tide", "max_tokens": 3, "strategy": "greedy", "ignore_eos": true});
    let one = named(&s, "/generate", &body, "p", "").json();
    assert_eq!(keys(&one), ["token_ids", "text", "num_generated"]);
    assert!(one["text"].as_str().unwrap().starts_with("the tide "), "{one}");
    assert_eq!(one["token_ids"].as_array().unwrap().len(), 2 + 3);
    agrees(&s, "p", "/generate", 2, 3, 1);
    let tgi =
        post(&s, "/generate", json!({"inputs": "the tide", "parameters": {"max_new_tokens": 3}})).json();
    assert_eq!(keys(&tgi), ["generated_text"]);

    let body = json!({"prompts": ["the tide", "a calm sea"], "max_tokens": 4, "ignore_eos": true});
    let many = named(&s, "/batch/generate", &body, "b", "").json();
    let results = many["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    assert!(results[1]["text"].as_str().unwrap().starts_with("a calm sea "));
    agrees(&s, "b", "/batch/generate", 5, 8, 1);
    let e = post(&s, "/generate", json!({"prompt": "x", "strategy": "beam"}));
    assert_eq!(e.json()["error"], "Invalid strategy: must be 'greedy', 'top_k', or 'top_p'");

    let one = named(&s, "/tokenize", &json!({"text": "the sea"}), "t", "").json();
    assert_eq!(one["num_tokens"], 2);
    let many = named(&s, "/batch/tokenize", &json!({"texts": ["the sea", "calm"]}), "bt", "").json();
    assert_eq!((&many["results"][0], &many["results"][1]["num_tokens"]), (&one, &json!(1)));
    // Whoever asks under a name has a record of it, though nothing was computed.
    let t = record(&s, "bt");
    assert_eq!((t.outcome, t.admitted_ns, t.output_tokens), (TruthOutcome::Ok, None, 0));
    assert_eq!(ask(&s, "GET", "/model/info", "").json()["model_name"], "sim");
    assert_eq!(ask(&s, "GET", "/health", "").status, 200);
    let before = s.truth().len();
    assert_eq!(post(&s, "/tokenize", json!({"text": "the sea"})).status, 200);
    assert_eq!(s.truth().len(), before, "and nobody else");
}

#[test]
fn triton_echoes_the_prompt_unless_it_streams() {
    let s = server(json!({"apis": "triton"}));
    let tensor = |name: &str, kind: &str, value: Value| json!({"name": name, "datatype": kind, "shape": [1, 1], "data": [[value]]});
    let body = json!({"inputs": [
        tensor("text_input", "BYTES", json!("the tide is high")), tensor("max_tokens", "INT32", json!(3)),
        tensor("bad_words", "BYTES", json!("")), tensor("temperature", "FP32", json!(1.0)),
    ]});
    let path = "/v2/models/ensemble/infer";
    let mut wrong = body.clone();
    wrong["inputs"][1]["datatype"] = json!("UINT32");
    let refused = post(&s, path, wrong);
    assert_eq!(refused.status, 400);
    let words = refused.json()["error"].to_string();
    assert!(
        words.contains("'max_tokens' data-type is 'UINT32', but model 'ensemble' expects 'INT32'"),
        "{words}"
    );
    let infer = named(&s, path, &body, "i", "").json();
    let output = &infer["outputs"][0];
    assert_eq!((&output["name"], &output["datatype"]), (&json!("text_output"), &json!("BYTES")));
    let text = output["data"][0].as_str().unwrap();
    let said = text.strip_prefix("<s> the tide is high ").unwrap_or_else(|| panic!("{text}")).to_owned();
    agrees(&s, "i", path, 4, 3, 1);

    let body = json!({"text_input": "the tide is high", "max_tokens": 3});
    let path = "/v2/models/sim/generate";
    let whole = named(&s, path, &body, "g", "").json();
    assert_eq!(whole["text_output"], json!(format!("the tide is high {said}")));
    agrees(&s, "g", path, 4, 3, 1);
    let path = "/v2/models/sim/generate_stream";
    let streamed = named(&s, path, &body, "s", "").chunks();
    let text: String = streamed.iter().map(|c| c["text_output"].as_str().unwrap()).collect();
    assert_eq!(text, said);
    agrees(&s, "s", path, 4, 3, 3);

    assert_eq!(ask(&s, "GET", "/v2/health/ready", "").status, 200);
    assert_eq!(ask(&s, "GET", "/v2/models/ensemble", "").json()["platform"], "ensemble");
    let e = post(&s, "/v2/models/other/generate", body);
    assert_eq!(
        (e.status, e.json()),
        (400, json!({"error": "Request for unknown model: 'other' is not found"}))
    );
    let bare = server(json!({"triton_bos": false, "echo_prompt": false}));
    let body = json!({"inputs": [
        {"name": "text_input", "datatype": "BYTES", "data": ["the tide is high"]},
        {"name": "max_tokens", "datatype": "INT32", "data": [3]},
    ]});
    assert_eq!(post(&bare, "/v2/models/sim/infer", body).json()["outputs"][0]["data"][0], json!(said));
}

#[test]
fn together_has_its_own_word_for_streaming_and_an_output() {
    let s = server(json!({}));
    let body = json!({"model": "sim", "prompt": "the tide is high", "max_tokens": 3, "ignore_eos": true});
    let whole = named(&s, "/", &body, "w", "").json();
    let text = whole["output"]["choices"][0]["text"].as_str().unwrap();
    assert_eq!(whole["output"]["usage"]["completion_tokens"], 3);
    agrees(&s, "w", "/", 4, 3, 1);
    let mut body = body;
    body["stream_tokens"] = json!(true);
    let a = named(&s, "/", &body, "s", "");
    assert_eq!(a.frames().last(), Some(&"[DONE]"));
    let chunks = a.chunks();
    let streamed: String =
        chunks.iter().filter_map(|c| c["choices"][0]["text"].as_str()).collect::<Vec<_>>().concat();
    assert_eq!(streamed, text);
    assert_eq!(chunks.last().unwrap()["usage"]["prompt_tokens"], 4);
    agrees(&s, "s", "/", 4, 3, 3);
}

fn chat(extra: Value) -> Value {
    let mut body = json!({
        "model": "sim", "messages": [{"role": "user", "content": "the tide is high"}],
        "max_tokens": 4, "ignore_eos": true, "stream": true,
    });
    for (k, v) in extra.as_object().unwrap() {
        body[k] = v.clone();
    }
    body
}

const CHAT: &str = "/v1/chat/completions";

#[test]
fn fireworks_tells_its_own_times_where_asked() {
    let s = server(json!({"step_base": "2ms", "step_jitter": 0}));
    let chunks = post(&s, CHAT, chat(json!({"perf_metrics_in_response": true}))).chunks();
    let told: Vec<&Value> = chunks.iter().filter(|c| c.get("perf_metrics").is_some()).collect();
    assert_eq!(told.len(), 1, "in the chunk that finishes");
    assert_eq!(told[0]["choices"][0]["finish_reason"], "length");
    let perf = &told[0]["perf_metrics"];
    let seconds = |key: &str| perf[key].as_f64().unwrap();
    assert!(seconds("server-time-to-first-token") >= 0.002, "{perf}");
    assert!(seconds("server-processing-time") >= seconds("server-time-to-first-token") + 0.005, "{perf}");
    assert_eq!(perf["prompt-tokens"], 7);

    let whole = post(&s, CHAT, chat(json!({"perf_metrics_in_response": true, "stream": false})));
    let body = whole.json();
    let header = |name: &str| {
        let line = whole.head.lines().find_map(|l| l.strip_prefix(&format!("fireworks-{name}: ")));
        line.unwrap_or_else(|| panic!("{}", whole.head)).parse::<f64>().unwrap()
    };
    for name in ["server-processing-time", "server-time-to-first-token"] {
        assert_eq!(header(name), body["perf_metrics"][name].as_f64().unwrap());
    }
    assert!(post(&s, CHAT, chat(json!({"stream": false}))).json().get("perf_metrics").is_none());
}

#[test]
fn pictures_count_as_so_many_tokens_a_tile() {
    let s = server(json!({"image_tokens_per_tile": 10}));
    // The head of a PNG of 600 by 300 pixels: two tiles.
    let png = "iVBORw0KGgoAAAANSUhEUgAAAlgAAAEs";
    let part = json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{png}")}});
    let content = json!([{"type": "text", "text": "the tide"}, part]);
    let body = chat(json!({"messages": [{"role": "user", "content": content}], "stream": false}));
    let a = named(&s, CHAT, &body, "p", "").json();
    assert_eq!(a["usage"]["prompt_tokens"], 3 + 2 + 20);
    assert_eq!(record(&s, "p").prompt_tokens, Some(25));
    assert_eq!(post(&s, "/tokenize", body).json()["count"], 25);
    let source = json!({"type": "base64", "media_type": "image/png", "data": png});
    let content = json!([{"type": "image", "source": source}, {"type": "text", "text": "the tide"}]);
    let body = json!({"model": "sim", "max_tokens": 2, "messages": [{"role": "user", "content": content}]});
    assert_eq!(named(&s, "/v1/messages", &body, "a", VERSION).json()["usage"]["input_tokens"], 25);
    let body = json!({"model": "sim", "stream": false, "options": {"num_predict": 2},
        "messages": [{"role": "user", "content": "the tide", "images": [png]}]});
    assert_eq!(post(&s, "/api/chat", body).json()["prompt_eval_count"], 25);
    let far = json!([{"type": "image_url", "image_url": {"url": "https://example.com/sea.png"}}]);
    assert_eq!(post(&s, CHAT, chat(json!({"messages": [{"role": "user", "content": far}]}))).status, 400);
}

#[test]
fn tools_are_called_and_log_probabilities_told() {
    let s = server(json!({"tool_calls": true, "output_tokens_mean": 5}));
    let tools = json!([{"type": "function", "function": {"name": "look_up", "parameters": {}}}]);
    let body = chat(json!({"tools": tools, "ignore_eos": false, "max_tokens": 500}));
    let chunks = post(&s, CHAT, body.clone()).chunks();
    let calls: Vec<&Value> =
        chunks.iter().map(|c| &c["choices"][0]["delta"]["tool_calls"][0]).filter(|c| !c.is_null()).collect();
    assert_eq!(calls[0]["function"]["name"], "look_up");
    assert!(calls[0]["id"].as_str().unwrap().starts_with("call_"));
    assert!(calls[1..].iter().all(|c| c["function"].get("name").is_none()));
    let arguments: String = calls.iter().map(|c| c["function"]["arguments"].as_str().unwrap()).collect();
    let parsed: Value = serde_json::from_str(&arguments).unwrap_or_else(|e| panic!("{e}: {arguments}"));
    assert!(!parsed["text"].as_str().unwrap().is_empty());
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(truths(&s, 1)[0].output_tokens as usize, calls.len());
    let mut whole = body;
    whole["stream"] = json!(false);
    let whole = post(&s, CHAT, whole).json();
    assert_eq!(whole["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"], json!(arguments));

    let a = post(&s, CHAT, chat(json!({"logprobs": true, "top_logprobs": 2})));
    let with_text: Vec<Value> = a.chunks().split_off(1);
    assert_eq!(with_text.len(), 4);
    for chunk in &with_text {
        let choice = &chunk["choices"][0];
        let entry = &choice["logprobs"]["content"][0];
        assert_eq!(entry["token"], choice["delta"]["content"]);
        assert!(entry["logprob"].as_f64().unwrap() <= 0.0);
        assert_eq!(entry["top_logprobs"].as_array().unwrap().len(), 2);
    }
    let body =
        json!({"model": "sim", "prompt": "the tide", "max_tokens": 3, "ignore_eos": true, "logprobs": 1});
    let logprobs = post(&s, "/v1/completions", body).json()["choices"][0]["logprobs"].clone();
    assert_eq!(keys(&logprobs), ["text_offset", "token_logprobs", "tokens", "top_logprobs"]);
    assert!(logprobs.as_object().unwrap().values().all(|v| v.as_array().unwrap().len() == 3));
}

#[test]
fn only_what_is_asked_for_is_served() {
    let paths = [
        ("chat", "/v1/chat/completions"),
        ("completions", "/v1/completions"),
        ("embeddings", "/v1/embeddings"),
        ("rerank", "/rerank"),
        ("anthropic", "/v1/messages"),
        ("llamacpp", "/completion"),
        ("ollama", "/api/chat"),
        ("tgi", "/generate_stream"),
        ("triton", "/v2/models/sim/generate"),
        ("together", "/"),
        ("plain", "/batch/generate"),
    ];
    let all = server(json!({}));
    for (served, _) in paths {
        let s = server(json!({"apis": [served]}));
        for (name, path) in paths {
            // An empty body is never answered well, but only by whom it reaches; Ollama has the
            // path `/` for another method.
            let status = post(&s, path, json!({})).status;
            let missing = [404, 405].contains(&status);
            assert_eq!(missing, name != served, "{path} of a server of {served}: {status}");
            assert_ne!(post(&all, path, json!({})).status, 404, "{path}");
        }
        assert_eq!(ask(&s, "GET", "/health", "").status, 200);
    }
    assert_eq!(ask(&all, "GET", "/", "").body, "plimsoll simulator: every API is served\n");
    assert_eq!(ask(&server(json!({"apis": "tgi"})), "GET", "/", "").status, 404);
}

#[test]
fn faults_strike_every_api_in_its_own_shape() {
    let messages = json!([{"role": "user", "content": "the tide is high"}]);
    let asks = [
        ("/v1/messages", json!({"model": "sim", "max_tokens": 4, "messages": messages, "stream": true})),
        ("/completion", json!({"prompt": "the tide", "n_predict": 4, "stream": true})),
        ("/api/chat", json!({"model": "sim", "messages": messages, "options": {"num_predict": 4}})),
        ("/generate_stream", json!({"inputs": "the tide", "parameters": {"max_new_tokens": 4}})),
        ("/v2/models/sim/generate_stream", json!({"text_input": "the tide", "max_tokens": 4})),
        ("/", json!({"prompt": "the tide", "max_tokens": 4, "stream_tokens": true})),
    ];
    let outcome = |s: &Server, path: &str, body: &Value, fault: Fault| {
        let id = format!("{path}-{}", fault.name());
        let a = named(s, path, body, &id, VERSION);
        assert_eq!(record(s, &id).outcome, TruthOutcome::Fault(fault), "{path}");
        a
    };
    let error = server(json!({"fault_error_object": 1.0}));
    let no_end = server(json!({"fault_no_end": 1.0}));
    let garbage = server(json!({"fault_garbage": 1.0}));
    let limited = server(json!({"fault_429": 1.0}));
    for (path, body) in &asks {
        let a = outcome(&error, path, body, Fault::ErrorObject);
        assert!(a.whole && a.body.contains("injected fault"), "{path}: {}", a.body);
        let a = outcome(&no_end, path, body, Fault::NoEnd);
        let ends = ["message_stop", "\"stop\":true", "\"done\":true", "generated_tokens", "[DONE]"];
        assert!(a.whole && !ends.iter().any(|end| a.body.contains(end)), "{path}: {}", a.body);
        let a = outcome(&garbage, path, body, Fault::Garbage);
        let payloads = a.body.lines().map(|l| l.trim_start_matches("data:").trim());
        let broken = payloads.filter(|p| p.starts_with('{') && serde_json::from_str::<Value>(p).is_err());
        assert_eq!(broken.count(), 1, "{path}: {}", a.body);
        let a = outcome(&limited, path, body, Fault::Status429);
        assert_eq!((a.status, a.head.contains("retry-after: 1")), (429, true));
        assert!(a.json().get("error").is_some(), "{path}: {}", a.body);
    }
    // Habits and the clock work for all of them too.
    let odd = server(
        json!({"ttft": "1ms", "tpot": 0, "tokens_per_chunk": 2, "comments": 0.5, "split_frames": 0.5}),
    );
    for (path, body) in &asks {
        let a = named(&odd, path, body, path, VERSION);
        assert!(a.whole && a.status == 200, "{path}: {}", a.body);
        let t = record(&odd, path);
        assert_eq!((t.outcome, t.chunks), (TruthOutcome::Ok, t.output_tokens.div_ceil(2)), "{path}");
    }
}

#[test]
fn a_batch_that_finds_no_room_is_refused_as_a_whole() {
    let s = server(json!({"max_num_seqs": 1, "max_waiting": 1, "step_base": "1ms"}));
    let body = json!({"prompts": ["a", "b", "c"], "max_tokens": 4, "ignore_eos": true});
    let a = named(&s, "/batch/generate", &body, "b", "");
    assert_eq!(a.status, 429, "one runs, one waits, the third has no place: {}", a.body);
    assert_eq!(record(&s, "b").outcome, TruthOutcome::Rejected);
    // What had found a place has left it again.
    let body = json!({"prompts": ["a", "b"], "max_tokens": 4, "ignore_eos": true});
    super::rig::wait_for("room", || (post(&s, "/batch/generate", body.clone()).status == 200).then_some(()));
}
