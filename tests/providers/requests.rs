//! What each API is asked: its own names, its own places, and who has the last word.

use plimsoll::provider::{Call, Image, Role, Turn};
use serde_json::{Map, Value, json};

use super::built;

fn body(api: &str, call: &Call<'_>) -> Value {
    let request = built(api).request(call);
    assert_eq!(request.method, "POST", "{api}");
    assert!(request.headers.contains(&("content-type".to_owned(), "application/json".to_owned())), "{api}");
    serde_json::from_slice(&request.body).expect("JSON")
}

fn path(api: &str, call: &Call<'_>) -> String {
    built(api).request(call).path
}

fn map(value: Value) -> Map<String, Value> {
    value.as_object().cloned().expect("a table")
}

#[test]
fn flavours_differ_in_their_own_fields_alone() {
    let plain = Call::new("m", "p", 9);
    let forced = Call { force_length: true, ..plain };
    for (api, path_of, keys) in [
        ("vllm", "/v1/chat/completions", json!({ "ignore_eos": true, "min_tokens": 9 })),
        ("vllm-completions", "/v1/completions", json!({ "ignore_eos": true, "min_tokens": 9 })),
        ("sglang", "/v1/chat/completions", json!({ "ignore_eos": true, "min_tokens": 9 })),
        ("sglang-completions", "/v1/completions", json!({ "ignore_eos": true, "min_tokens": 9 })),
        ("fireworks", "/v1/chat/completions", json!({ "min_tokens": 9 })),
        ("fireworks-completions", "/v1/completions", json!({ "min_tokens": 9 })),
        ("anyscale", "/v1/chat/completions", json!({})),
        ("anyscale-completions", "/v1/completions", json!({})),
        ("together", "/v1/..", json!({ "ignore_eos": true })),
    ] {
        assert_eq!(path(api, &plain), path_of, "{api}");
        let mut want = json!({ "model": "m", "max_tokens": 9, "stream_options": { "include_usage": true } });
        want[if api == "together" { "stream_tokens" } else { "stream" }] = true.into();
        if api.starts_with("fireworks") {
            want["perf_metrics_in_response"] = true.into();
        }
        match path_of.contains("chat") {
            true => want["messages"] = json!([{ "role": "user", "content": "p" }]),
            false => want["prompt"] = "p".into(),
        }
        assert_eq!(body(api, &plain), want, "{api}");
        want.as_object_mut().expect("a table").extend(map(keys.clone()));
        assert_eq!(body(api, &forced), want, "{api}, forced");
        let can = built(api).features().forces_length;
        assert_eq!(can, keys != json!({}), "{api} says whether it can");
    }
}

#[test]
fn sampling_goes_by_each_apis_own_names() {
    let sampling = map(json!({
        "temperature": 0.5, "top_p": 0.9, "top_k": 40, "seed": 7, "stop": "END", "repetition_penalty": 1.1,
    }));
    let call = Call { sampling: &sampling, stream: false, ..Call::new("m", "p", 9) };
    assert_eq!(
        body("tgi", &call),
        json!({ "inputs": "p", "parameters": {
            "max_new_tokens": 9, "details": true, "do_sample": true, "temperature": 0.5, "top_p": 0.9,
            "top_k": 40, "seed": 7, "stop": ["END"], "repetition_penalty": 1.1 } })
    );
    assert_eq!(
        body("llamacpp", &call),
        json!({ "prompt": "p", "n_predict": 9, "stream": false, "temperature": 0.5, "top_p": 0.9,
                "top_k": 40, "seed": 7, "stop": ["END"], "repeat_penalty": 1.1 })
    );
    assert_eq!(
        body("ollama", &call),
        json!({ "model": "m", "messages": [{ "role": "user", "content": "p" }], "stream": false,
                "options": { "num_predict": 9, "temperature": 0.5, "top_p": 0.9, "top_k": 40, "seed": 7,
                             "stop": ["END"], "repeat_penalty": 1.1 } })
    );
    assert_eq!(
        body("anthropic-messages", &call),
        json!({ "model": "m", "max_tokens": 9, "messages": [{ "role": "user", "content": "p" }],
                "stream": false, "temperature": 0.5, "top_p": 0.9, "top_k": 40, "seed": 7,
                "stop_sequences": ["END"], "repetition_penalty": 1.1 })
    );
    assert_eq!(
        body("triton-generate", &call),
        json!({ "text_input": "p", "max_tokens": 9, "stream": false, "bad_words": "", "stop_words": "END",
                "temperature": 0.5, "top_p": 0.9, "top_k": 40, "random_seed": 7, "repetition_penalty": 1.1 })
    );
    // Greedy decoding has no temperature there, and 1 is no limit.
    let greedy = map(json!({ "temperature": 0, "top_p": 1, "top_k": -1 }));
    assert_eq!(
        body("tgi", &Call { sampling: &greedy, ..call })["parameters"],
        json!({ "max_new_tokens": 9, "details": true, "do_sample": false })
    );
    let thinking = map(json!({ "reasoning_effort": "none", "logprobs": true }));
    let got = body("ollama", &Call { sampling: &thinking, ..call });
    assert_eq!((&got["think"], &got["logprobs"]), (&json!(false), &json!(true)));
    let thinking = map(json!({ "reasoning_effort": "high" }));
    assert_eq!(body("ollama", &Call { sampling: &thinking, ..call })["think"], "high");
}

#[test]
fn sampling_keys_go_to_openai_as_they_are() {
    let sampling = map(json!({ "temperature": 0.7, "top_k": 40, "n": 2, "reasoning_effort": "high",
                               "logprobs": true, "top_logprobs": 5 }));
    for api in ["openai-chat", "openai-completions", "vllm", "fireworks"] {
        let body = body(api, &Call { sampling: &sampling, ..Call::new("m", "p", 9) });
        for (key, value) in &sampling {
            assert_eq!(body.get(key), Some(value), "{api}: {key}");
        }
    }
    let pooled = map(json!({ "dimensions": 256, "top_n": 3 }));
    let call = Call { sampling: &pooled, ..Call::new("m", "p", 9) };
    assert_eq!(body("openai-embeddings", &call)["dimensions"], 256);
    assert_eq!(body("openai-rerank", &call)["top_n"], 3);
}

#[test]
fn every_setting_of_triton_infer_is_a_tensor() {
    let sampling = map(json!({ "temperature": 0, "seed": 7, "stop": ["A", "B"], "top_k": 3 }));
    let extra = map(json!({ "return_log_probs": true, "max_tokens": 5, "id": "x", "beam": -1, "p": 0.5 }));
    let call = Call {
        sampling: &sampling,
        extra_body: &extra,
        force_length: true,
        ..Call::new("ensemble", "p \"q\"", 9)
    };
    let request = built("triton-infer").request(&call);
    assert_eq!(
        (request.path.as_str(), request.echo.as_deref()),
        ("/v2/models/ensemble/infer", Some("p \"q\""))
    );
    let got = body("triton-infer", &call);
    assert_eq!(got["id"], "x");
    let inputs = got["inputs"].as_array().expect("a list");
    let tensor = |name: &str| inputs.iter().find(|input| input["name"] == name).expect(name).clone();
    for (name, datatype, data) in [
        ("text_input", "BYTES", json!([["p \"q\""]])),
        ("max_tokens", "INT32", json!([[5]])),
        ("bad_words", "BYTES", json!([[""]])),
        ("temperature", "FP32", json!([[0]])),
        ("random_seed", "UINT64", json!([[7]])),
        ("top_k", "INT32", json!([[3]])),
        ("min_length", "INT32", json!([[9]])),
        ("return_log_probs", "BOOL", json!([[true]])),
        ("beam", "INT32", json!([[-1]])),
        ("p", "FP32", json!([[0.5]])),
    ] {
        assert_eq!(
            tensor(name),
            json!({ "name": name, "datatype": datatype, "shape": [1, 1], "data": data })
        );
    }
    assert_eq!(
        tensor("stop_words"),
        json!({ "name": "stop_words", "datatype": "BYTES", "shape": [1, 2], "data": [["A", "B"]] })
    );
    assert_eq!(inputs.len(), 11, "each once");
    let inputs = map(json!({ "inputs": [] }));
    assert_eq!(body("triton-infer", &Call { line_body: &inputs, ..call })["inputs"], json!([]));
}

#[test]
fn each_api_is_asked_at_its_path() {
    let streamed = Call::new("m", "p", 9);
    let whole = Call { stream: false, ..streamed };
    for (api, stream, without) in [
        ("openai-embeddings", "/v1/embeddings", "/v1/embeddings"),
        ("openai-rerank", "/v1/rerank", "/v1/rerank"),
        ("tgi", "/generate_stream", "/generate"),
        ("triton-generate", "/v2/models/m/generate_stream", "/v2/models/m/generate"),
        ("triton-infer", "/v2/models/m/infer", "/v2/models/m/infer"),
        ("llamacpp", "/completion", "/completion"),
        ("ollama", "/api/chat", "/api/chat"),
        ("anthropic-messages", "/v1/messages", "/v1/messages"),
    ] {
        assert_eq!((path(api, &streamed).as_str(), path(api, &whole).as_str()), (stream, without));
    }
    assert_eq!(built("triton-generate").request(&streamed).echo, None, "only a whole answer repeats it");
    assert_eq!(built("triton-generate").request(&whole).echo.as_deref(), Some("p"));
    let anthropic = built("anthropic-messages");
    let version = ("anthropic-version".to_owned(), "2023-06-01".to_owned());
    assert!(anthropic.request(&whole).headers.contains(&version));
    assert_eq!(anthropic.features().key_header, Some("x-api-key"));
}

#[test]
fn llamacpp_forces_lengths_and_triton_asks_for_them() {
    let call = Call { force_length: true, ..Call::new("m", "p", 9) };
    assert_eq!(
        body("llamacpp", &call),
        json!({ "prompt": "p", "n_predict": 9, "stream": true, "ignore_eos": true })
    );
    assert_eq!(body("triton-generate", &call)["min_length"], 9);
    for api in ["tgi", "ollama", "anthropic-messages", "openai-embeddings", "openai-rerank"] {
        assert!(!built(api).features().forces_length, "{api}");
        assert_eq!(body(api, &call), body(api, &Call { force_length: false, ..call }), "{api}");
    }
}

#[test]
fn embeddings_and_ranking_bear_several_texts() {
    let more = ["b".to_owned(), "c".to_owned()];
    let extra = map(json!({ "dimensions": 256 }));
    let one = Call { extra_body: &extra, ..Call::new("m", "a", 9) };
    let many = Call { more: &more, ..one };
    assert_eq!(body("openai-embeddings", &one), json!({ "model": "m", "input": "a", "dimensions": 256 }));
    assert_eq!(body("openai-embeddings", &many)["input"], json!(["a", "b", "c"]));
    assert_eq!(
        body("openai-rerank", &many),
        json!({ "model": "m", "query": "a", "documents": ["b", "c"], "dimensions": 256 })
    );
    assert_eq!(body("openai-rerank", &one)["documents"], json!(["a"]), "an empty list is refused everywhere");
}

#[test]
fn conversations_are_turns_or_one_text() {
    let turn = |role, text: &str| Turn { role, text: text.to_owned() };
    let history = [turn(Role::System, "s"), turn(Role::User, "u"), turn(Role::Assistant, "a")];
    let call = Call { history: &history, ..Call::new("m", "p", 9) };
    let turns = json!([
        { "role": "system", "content": "s" }, { "role": "user", "content": "u" },
        { "role": "assistant", "content": "a" }, { "role": "user", "content": "p" },
    ]);
    for api in ["openai-chat", "vllm", "sglang", "fireworks", "anyscale", "ollama"] {
        assert_eq!(body(api, &call)["messages"], turns, "{api}");
    }
    let anthropic = body("anthropic-messages", &call);
    assert_eq!(anthropic["system"], "s");
    assert_eq!(anthropic["messages"], json!(turns.as_array().expect("a list")[1..]));
    let text = "s\n\nu\n\na\n\np";
    for (api, key) in [
        ("openai-completions", "prompt"),
        ("together", "prompt"),
        ("llamacpp", "prompt"),
        ("tgi", "inputs"),
        ("triton-generate", "text_input"),
        ("openai-embeddings", "input"),
    ] {
        assert_eq!(body(api, &call)[key], text, "{api}");
    }
    assert_eq!(body("triton-infer", &call)["inputs"][0]["data"], json!([[text]]));
}

#[test]
fn pictures_go_where_each_api_has_them() {
    let images = [Image { media_type: "image/png", base64: "iVBORw0=".to_owned() }];
    let call = Call { images: &images, ..Call::new("m", "p", 9) };
    let parts = json!([{ "type": "text", "text": "p" },
                       { "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBORw0=" } }]);
    for api in ["openai-chat", "vllm", "sglang", "fireworks", "anyscale"] {
        assert_eq!(body(api, &call)["messages"], json!([{ "role": "user", "content": parts }]), "{api}");
    }
    assert_eq!(
        body("ollama", &call)["messages"],
        json!([{ "role": "user", "content": "p", "images": ["iVBORw0="] }])
    );
    let source = json!({ "type": "base64", "media_type": "image/png", "data": "iVBORw0=" });
    assert_eq!(
        body("anthropic-messages", &call)["messages"][0]["content"],
        json!([{ "type": "image", "source": source }, { "type": "text", "text": "p" }])
    );
    let takes = |api: &str| built(api).features().takes_images;
    assert!(takes("openai-chat") && takes("ollama") && takes("anthropic-messages"));
    assert!(!takes("openai-completions") && !takes("llamacpp") && !takes("tgi"));
}

#[test]
fn a_line_of_a_data_set_has_the_last_word() {
    let sampling = map(json!({ "temperature": 0.1 }));
    let extra =
        map(json!({ "temperature": 0.2, "prompt": "x", "inputs": "x", "text_input": "x", "input": "x" }));
    let line =
        map(json!({ "temperature": 0.3, "prompt": "l", "inputs": "l", "text_input": "l", "input": "l",
                           "messages": [], "query": "l" }));
    let call = Call { sampling: &sampling, extra_body: &extra, line_body: &line, ..Call::new("m", "p", 9) };
    for (api, key) in [
        ("openai-chat", "messages"),
        ("vllm-completions", "prompt"),
        ("together", "prompt"),
        ("llamacpp", "prompt"),
        ("tgi", "inputs"),
        ("triton-generate", "text_input"),
        ("ollama", "messages"),
        ("anthropic-messages", "messages"),
        ("openai-embeddings", "input"),
        ("openai-rerank", "query"),
    ] {
        let got = body(api, &call);
        let settings = match api {
            "tgi" => &got["parameters"],
            "ollama" => &got["options"],
            _ => &got,
        };
        assert_eq!((&got[key], &settings["temperature"]), (&line[key], &json!(0.3)), "{api}");
    }
    // Tables that an API nests its settings in are added to, not replaced.
    let extra = map(json!({ "options": { "num_ctx": 4096 }, "parameters": { "truncate": 5 } }));
    let line = map(json!({ "options": { "num_predict": 1 }, "parameters": { "max_new_tokens": 1 } }));
    let call = Call { extra_body: &extra, line_body: &line, ..Call::new("m", "p", 9) };
    assert_eq!(body("ollama", &call)["options"], json!({ "num_predict": 1, "num_ctx": 4096 }));
    assert_eq!(
        body("tgi", &call)["parameters"],
        json!({ "max_new_tokens": 1, "details": true, "truncate": 5 })
    );
}

#[test]
fn a_seed_of_each_requests_own_goes_where_seeds_go() {
    let sampling = map(json!({ "seed": 1, "top_p": 0.5 }));
    let line = map(json!({ "seed": 9, "stop": "END" }));
    let call = Call { sampling: &sampling, line_body: &line, ..Call::new("m", "p", 9) };
    for (api, seed, stop, list) in [
        ("openai-chat", "/seed", "/stop", false),
        ("openai-completions", "/seed", "/stop", false),
        ("together", "/seed", "/stop", false),
        ("tgi", "/parameters/seed", "/parameters/stop", true),
        ("llamacpp", "/seed", "/stop", true),
        ("ollama", "/options/seed", "/options/stop", true),
        ("anthropic-messages", "/seed", "/stop_sequences", true),
        ("triton-generate", "/random_seed", "/stop_words", false),
    ] {
        let got = body(api, &call);
        assert_eq!(got.pointer(seed), Some(&json!(9)), "{api}: {got}");
        let want = if list { json!(["END"]) } else { json!("END") };
        assert_eq!(got.pointer(stop), Some(&want), "{api}: {got}");
        let plain = seed.rsplit('/').next().expect("a name") == "seed" && seed != "/seed";
        assert!(!plain || got.get("seed").is_none(), "{api}: nor anywhere else: {got}");
    }
    let inputs = &body("triton-infer", &call)["inputs"];
    let seeds: Vec<_> =
        inputs.as_array().expect("a list").iter().filter(|i| i["name"] == "random_seed").collect();
    assert_eq!(
        json!(seeds),
        json!([{ "name": "random_seed", "datatype": "UINT64", "shape": [1, 1], "data": [[9]] }])
    );
    // What stands in extra_body for all requests gives way to what is one request's own.
    let extra = map(json!({ "parameters": { "seed": 5 }, "options": { "seed": 5 } }));
    let call = Call { extra_body: &extra, ..call };
    assert_eq!(body("tgi", &call)["parameters"]["seed"], 9);
    assert_eq!(body("ollama", &call)["options"]["seed"], 9);
}

#[test]
fn tools_stand_beside_ollamas_options() {
    let sampling = map(json!({ "tools": [{ "type": "function", "function": { "name": "look" } }] }));
    let got = body("ollama", &Call { sampling: &sampling, ..Call::new("m", "p", 9) });
    assert_eq!((&got["tools"], &got["options"]), (&sampling["tools"], &json!({ "num_predict": 9 })));
}
