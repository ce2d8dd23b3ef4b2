//! Every provider reads what real servers sent: raw answers (`curl -i`) in
//! `tests/testdata/<provider>/`, whole, split at every byte, and byte by byte. Here are those of
//! OpenAI's two APIs, and what holds for every provider; `apis` has the others, `requests` what
//! they ask, `custom` the endpoints that a file describes.

mod apis;
mod custom;
mod requests;

use std::path::{Path, PathBuf};

use plimsoll::provider::framing::Framer;
use plimsoll::provider::{self, ALL, Call, Closing, Framing, Options, Provider, http_error};
use serde_json::{Map, Value, json};

/// The provider of this name; of `custom` the one that its transcripts come from.
fn built(name: &str) -> Box<dyn Provider> {
    let custom = custom::transcripts(Framing::Sse);
    (provider::find(name).expect("a provider").build)(&Options { custom: Some(custom), ..Options::default() })
}

fn testdata(dir: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata").join(dir)
}

/// Status and body of a raw answer. `curl` has already taken the chunked coding off.
fn answer(provider: &str, file: &str) -> (u16, Vec<u8>) {
    let path = testdata(provider).join(format!("{file}.txt"));
    let raw = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let head = raw.windows(4).position(|w| w == b"\r\n\r\n").expect("an end of headers");
    let status = std::str::from_utf8(&raw[9..12]).ok().and_then(|s| s.parse().ok()).expect("a status");
    (status, raw[head + 4..].to_vec())
}

/// What an answer came to.
#[derive(Debug, Default, PartialEq)]
struct Read {
    content: u32,
    visible: u32,
    frames: u32,
    undecodable: u32,
    done: bool,
    closing: Closing,
}

fn read<'a>(
    provider: &str,
    stream: bool,
    keep_text: bool,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Read {
    read_by(built(provider).as_ref(), stream, keep_text, pieces)
}

fn read_by<'a>(
    provider: &dyn Provider,
    stream: bool,
    keep_text: bool,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Read {
    let mut framer = Framer::new(provider.framing(stream));
    let mut decoder = provider.decoder(stream, keep_text);
    let mut read = Read::default();
    let mut take = |payload: &[u8]| {
        read.frames += 1;
        match decoder.frame(payload) {
            Ok(delta) => {
                read.content += u32::from(delta.content);
                read.visible += u32::from(delta.visible);
            }
            Err(_) => read.undecodable += 1,
        }
    };
    for piece in pieces {
        framer.push(piece, &mut take).expect("frames of a sane length");
    }
    framer.end(&mut take);
    let end = decoder.ended();
    read.content += u32::from(end.content);
    read.visible += u32::from(end.visible);
    read.done = decoder.done();
    read.closing = decoder.close();
    read
}

fn whole(provider: &str, stream: bool, body: &[u8]) -> Read {
    read(provider, stream, false, [body])
}

/// Provider, transcript, chunks with content, prompt / output / cached tokens, finish.
type Row = (&'static str, &'static str, u32, [Option<u32>; 3], &'static str);

#[rustfmt::skip]
const TRANSCRIPTS: &[Row] = &[
    ("openai-chat", "vllm-usage", 6, [Some(15), Some(6), None], "length"),
    ("openai-chat", "vllm-nousage", 4, [None, None, None], "length"),
    ("openai-chat", "vllm-nostream", 1, [Some(15), Some(4), None], "length"),
    ("openai-chat", "llama-server-usage", 5, [Some(16), Some(6), Some(0)], "length"),
    ("openai-chat", "llama-server-nousage", 4, [None, None, None], "length"),
    ("openai-chat", "llama-server-nostream", 1, [Some(16), Some(4), Some(15)], "length"),
    ("openai-chat", "transformers-serve-usage", 6, [Some(15), Some(6), None], "length"),
    ("openai-chat", "transformers-serve-nousage", 4, [Some(15), Some(4), None], "length"),
    ("openai-chat", "transformers-serve-nostream", 1, [Some(15), Some(4), None], "length"),
    ("openai-chat", "guidellm-mock-usage", 6, [Some(3), Some(6), None], "stop"),
    ("openai-chat", "guidellm-mock-nousage", 4, [None, None, None], "stop"),
    ("openai-chat", "guidellm-mock-nostream", 1, [Some(3), Some(4), None], "stop"),
    ("openai-chat", "llama-server-err-model", 4, [None, None, None], "length"),
    ("openai-chat", "guidellm-mock-err-model", 4, [None, None, None], "stop"),
    ("openai-completions", "vllm-usage", 6, [Some(4), Some(6), None], "length"),
    ("openai-completions", "llama-server-usage", 6, [Some(5), Some(6), Some(1)], "length"),
    ("openai-completions", "transformers-serve-usage", 4, [Some(4), Some(6), None], "length"),
    ("openai-completions", "guidellm-mock-usage", 6, [Some(3), Some(6), None], "stop"),
    ("openai-completions", "transformers-serve-err-toolong", 4, [Some(30001), Some(4), None], "length"),
    ("openai-completions", "guidellm-mock-err-toolong", 4, [None, None, None], "stop"),
];

#[test]
fn transcripts_are_read_as_they_were_meant() {
    for &(api, file, content, [prompt, output, cached], finish) in TRANSCRIPTS {
        let (status, body) = answer(api, file);
        let stream = !file.ends_with("nostream");
        let got = whole(api, stream, &body);
        let closing = &got.closing;
        let what = format!("{api}/{file}");
        assert_eq!(status, 200, "{what}");
        assert_eq!((got.content, got.visible, got.undecodable), (content, content, 0), "{what}");
        assert_eq!(
            [closing.prompt_tokens, closing.output_tokens, closing.cached_tokens],
            [prompt, output, cached],
            "{what}"
        );
        assert_eq!(closing.finish_reason.as_deref(), Some(finish), "{what}");
        assert_eq!((closing.complete, &closing.error), (true, &None), "{what}");
        let marked = !stream || body.windows(6).any(|w| w == b"[DONE]");
        assert_eq!(got.done, marked, "{what}: done only once nothing more can come");
    }
}

#[test]
fn cuts_between_reads_change_nothing() {
    for &(api, file, ..) in TRANSCRIPTS {
        let (_, body) = answer(api, file);
        let stream = !file.ends_with("nostream");
        let want = whole(api, stream, &body);
        for cut in 0..=body.len() {
            let (a, b) = body.split_at(cut);
            assert_eq!(read(api, stream, false, [a, b]), want, "{api}/{file} cut at {cut}");
        }
        assert_eq!(read(api, stream, false, body.chunks(1)), want, "{api}/{file} byte by byte");
    }
}

#[test]
fn text_is_kept_when_asked_for() {
    let (_, body) = answer("openai-chat", "vllm-usage");
    let text = |api, stream, body: &[u8]| read(api, stream, true, [body]).closing.text;
    assert_eq!(text("openai-chat", true, &body).as_deref(), Some("stched triumibetxious"));
    let (_, body) = answer("openai-chat", "vllm-nostream");
    assert_eq!(text("openai-chat", false, &body).as_deref(), Some("tire tooters putment"));
    let (_, body) = answer("openai-completions", "guidellm-mock-usage");
    assert_eq!(text("openai-completions", true, &body).as_deref(), Some("Score each cause."));
}

#[test]
fn errors_before_the_stream_keep_the_servers_words() {
    for (api, file, class, start) in [
        ("openai-chat", "vllm-err-badmessages", "4xx", "1 validation error: {'type': 'list_type'"),
        ("openai-chat", "vllm-err-model", "4xx", "The model `no-such-model` does not exist."),
        ("openai-chat", "llama-server-err-badmessages", "4xx", "Expected 'messages' to be an array"),
        ("openai-chat", "transformers-serve-err-model", "5xx", "Internal Server Error"),
        ("openai-chat", "transformers-serve-err-badmessages", "5xx", "Internal Server Error"),
        ("openai-chat", "guidellm-mock-err-badmessages", "4xx", "Invalid request: 1 validation error"),
        ("openai-completions", "vllm-err-toolong", "4xx", "This model's maximum context length is 2048"),
        ("openai-completions", "llama-server-err-toolong", "4xx", "request (30002 tokens) exceeds"),
    ] {
        let (status, body) = answer(api, file);
        let (got, detail) = http_error(status, &body);
        assert_eq!(got, class, "{file}");
        assert!(detail.starts_with(start), "{file}: {detail}");
        assert!(detail.chars().count() <= 300, "{file}");
    }
}

fn sse(frames: &[Value]) -> Vec<u8> {
    frames.iter().map(|f| format!("data: {f}\n\n")).collect::<String>().into_bytes()
}

fn delta(delta: Value) -> Value {
    json!({ "object": "chat.completion.chunk", "choices": [{ "index": 0, "delta": delta }] })
}

#[test]
fn usage_counts_wherever_it_comes() {
    let usage = |n| json!({ "prompt_tokens": 7, "completion_tokens": n, "prompt_tokens_details": { "cached_tokens": 4 } });
    let with = |mut chunk: Value, n: u32| {
        chunk["usage"] = usage(n);
        chunk
    };
    let text = || delta(json!({ "content": "a" }));
    for (what, frames) in [
        ("beside an empty delta", vec![text(), text(), with(delta(json!({})), 2)]),
        (
            "in every chunk",
            vec![with(delta(json!({ "role": "assistant" })), 0), with(text(), 1), with(text(), 2)],
        ),
        ("without choices", vec![text(), text(), json!({ "usage": usage(2) })]),
        (
            "null until the end",
            vec![
                text(),
                {
                    let mut t = text();
                    t["usage"] = Value::Null;
                    t
                },
                with(delta(json!({})), 2),
            ],
        ),
    ] {
        let got = whole("openai-chat", true, &sse(&frames));
        assert_eq!((got.content, got.undecodable), (2, 0), "{what}");
        assert_eq!(got.closing.output_tokens, Some(2), "{what}");
        assert_eq!((got.closing.prompt_tokens, got.closing.cached_tokens), (Some(7), Some(4)), "{what}");
        assert!(!got.closing.complete, "{what}: neither a finish reason nor an end marker");
    }
}

#[test]
fn reasoning_and_tool_calls_are_content() {
    let frames = [
        delta(json!({ "role": "assistant", "content": null })),
        delta(json!({ "reasoning": "hm", "reasoning_content": "hm" })),
        delta(json!({ "reasoning_content": "hm" })),
        delta(json!({ "content": "", "reasoning": "hm" })),
        delta(json!({ "tool_calls": [{ "index": 0, "function": { "name": "", "arguments": "" } }] })),
        delta(json!({ "tool_calls": [{ "index": 0, "function": { "name": "f", "arguments": "" } }] })),
        delta(json!({ "tool_calls": [{ "index": 0, "function": { "arguments": "{\"a\":" } }] })),
        delta(json!({ "content": [{ "type": "text", "text": "a" }] })),
        delta(json!({ "content": "a" })),
    ];
    let got = read("openai-chat", true, true, [&sse(&frames)[..]]);
    assert_eq!((got.content, got.visible, got.undecodable), (7, 4, 0));
    assert_eq!(
        got.closing.text.as_deref(),
        Some("hmhmhmf{\"a\":aa"),
        "reasoning that comes twice counts once"
    );
    assert_eq!(whole("openai-chat", true, &sse(&frames)).content, 7, "a glance sees what a parse sees");
}

#[test]
fn errors_in_mid_stream_are_told() {
    for (error, words) in [
        (json!({ "error": { "message": "out of memory", "code": 500 } }), "out of memory"),
        (json!({ "error": "out of memory" }), "out of memory"),
        (json!({ "object": "error", "message": "out of memory", "code": 500 }), "out of memory"),
        (json!({ "choices": [], "error": { "message": "out of memory" } }), "out of memory"),
    ] {
        let got = whole("openai-chat", true, &sse(&[delta(json!({ "content": "a" })), error]));
        assert_eq!((got.content, got.undecodable), (1, 0));
        assert_eq!(got.closing.error.as_deref(), Some(words));
        assert!(!got.closing.complete);
    }
}

#[test]
fn garbage_is_an_error_and_a_cut_is_seen() {
    let text = sse(&[delta(json!({ "content": "a" })), delta(json!({ "content": "b" }))]);
    let cut = whole("openai-chat", true, &text[..text.len() - 9]);
    assert_eq!((cut.content, cut.undecodable, cut.closing.complete), (1, 1, false));
    for garbage in ["data: <html>\n\n", "data: {\"hello\":1}\n\n", "data: [1]\n\n", "data: \"DONE\"\n\n"] {
        let got = whole("openai-chat", true, &[&text[..], garbage.as_bytes()].concat());
        assert_eq!((got.content, got.undecodable), (2, 1), "{garbage:?}");
    }
    let bytes = whole(
        "openai-chat",
        true,
        &[&text[..], b"data: {\"choices\":[{\"delta\":{\"content\":\"\xff\"}}]}\n\n"].concat(),
    );
    assert_eq!((bytes.content, bytes.undecodable), (2, 1), "bytes that are no UTF-8");
    let nothing = whole("openai-chat", true, b": ping\n\ndata:\n\ndata: [DONE]\n\n");
    assert_eq!((nothing.content, nothing.undecodable, nothing.done), (0, 0, true));
}

#[test]
fn a_document_in_place_of_a_stream_is_read() {
    let (_, body) = answer("openai-chat", "vllm-nostream");
    let got = whole("openai-chat", true, &body);
    assert_eq!((got.content, got.closing.output_tokens, got.closing.complete), (1, Some(4), true));
    let got = whole("openai-chat", true, br#"{"error":{"message":"busy"}}"#);
    assert_eq!(got.closing.error.as_deref(), Some("busy"));
}

#[test]
fn requests_say_what_was_asked() {
    let sampling: Map<String, Value> = [("temperature".to_owned(), json!(0.5))].into_iter().collect();
    let mut extra = Map::new();
    let mut call = Call {
        force_length: true,
        sampling: &sampling,
        extra_body: &extra.clone(),
        ..Call::new("m", "say \"hi\"\n", 9)
    };
    let chat = built("openai-chat");
    let body = |call: &Call<'_>| serde_json::from_slice::<Value>(&chat.request(call).body).expect("JSON");
    assert_eq!(
        body(&call),
        json!({
            "model": "m", "messages": [{ "role": "user", "content": "say \"hi\"\n" }], "max_tokens": 9,
            "stream": true, "stream_options": { "include_usage": true }, "ignore_eos": true, "min_tokens": 9,
            "temperature": 0.5,
        })
    );
    extra.insert("temperature".to_owned(), json!(0));
    extra.insert("max_tokens".to_owned(), json!(3));
    call.extra_body = &extra;
    call.stream = false;
    call.force_length = false;
    assert_eq!(
        body(&call),
        json!({
            "model": "m", "messages": [{ "role": "user", "content": "say \"hi\"\n" }],
            "max_tokens": 3, "stream": false, "temperature": 0,
        }),
        "extra_body has the last word"
    );
    let none = Map::new();
    let newer =
        Call { max_tokens_field: "max_completion_tokens", sampling: &none, extra_body: &none, ..call };
    assert_eq!(
        body(&newer),
        json!({
            "model": "m", "messages": [{ "role": "user", "content": "say \"hi\"\n" }],
            "max_completion_tokens": 9, "stream": false,
        }),
        "the newest OpenAI models refuse max_tokens, even beside the other"
    );
    let plain = built("openai-completions").request(&call);
    assert_eq!((plain.method, plain.path.as_str()), ("POST", "/v1/completions"));
    assert_eq!(serde_json::from_slice::<Value>(&plain.body).expect("JSON")["prompt"], "say \"hi\"\n");
}

#[test]
fn every_provider_has_a_transcript_and_a_word_in_the_docs() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/adding-a-provider.md");
    let docs = std::fs::read_to_string(&docs).expect("docs/adding-a-provider.md");
    assert!(!ALL.is_empty());
    for entry in ALL {
        let name = entry.name;
        let files = std::fs::read_dir(testdata(name))
            .unwrap_or_else(|e| panic!("no transcripts of {name} in tests/testdata/{name}: {e}"));
        assert!(files.count() > 0, "no transcripts of {name} in tests/testdata/{name}");
        let checked = TRANSCRIPTS.iter().map(|row| row.0).chain(apis::TRANSCRIPTS.iter().map(|row| row.0));
        assert!(checked.into_iter().any(|api| api == name), "no transcript of {name} is checked here");
        assert!(docs.contains(&format!("`{name}`")), "docs/adding-a-provider.md says nothing of {name}");
        assert!(entry.path.starts_with('/') && !entry.help.is_empty(), "{name}");
    }
}
