//! Transcripts of the APIs beside OpenAI's two, from their documents where no server of that make
//! could be asked: what a person reads in them, split at every byte, errors of every kind.

use plimsoll::provider::http_error;

use super::{answer, built, read, read_by, whole};

/// Provider, transcript, chunks with content and visible ones, prompt / output / cached tokens,
/// finish (empty: none is told), the server's own TTFT and E2E in microseconds.
type Row = (&'static str, &'static str, [u32; 2], [Option<u32>; 3], &'static str, [Option<u64>; 2]);

const NONE: [Option<u64>; 2] = [None, None];

#[rustfmt::skip]
pub const TRANSCRIPTS: &[Row] = &[
    ("vllm", "usage", [6, 6], [Some(15), Some(6), None], "length", NONE),
    ("vllm", "nostream", [1, 1], [Some(15), Some(4), None], "length", NONE),
    ("vllm", "reasoning", [4, 2], [Some(11), Some(5), None], "stop", NONE),
    ("vllm-completions", "usage", [6, 6], [Some(4), Some(6), None], "length", NONE),
    ("sglang", "usage", [3, 3], [Some(13), Some(3), Some(12)], "length", NONE),
    ("sglang", "reasoning", [2, 1], [Some(13), Some(2), None], "stop", NONE),
    ("sglang", "nostream", [1, 1], [Some(13), Some(2), None], "length", NONE),
    ("sglang-completions", "usage", [2, 2], [Some(4), Some(2), None], "length", NONE),
    ("fireworks", "usage", [2, 2], [Some(9), Some(2), Some(8)], "length", [Some(41_500), Some(250_000)]),
    ("fireworks", "nostream", [1, 1], [Some(9), Some(2), Some(8)], "length", [Some(40_000), Some(251_000)]),
    ("fireworks-completions", "usage", [2, 2], [Some(5), Some(2), None], "stop", [Some(100_000), Some(200_000)]),
    ("anyscale", "usage", [2, 2], [Some(7), Some(2), None], "stop", NONE),
    ("anyscale", "nostream", [1, 1], [Some(7), Some(2), None], "stop", NONE),
    ("anyscale-completions", "usage", [2, 2], [Some(5), Some(2), None], "length", NONE),
    ("together", "usage", [3, 3], [Some(4), Some(3), None], "length", NONE),
    ("together", "nostream", [1, 1], [Some(4), Some(3), None], "length", NONE),
    ("tgi", "stream", [3, 3], [Some(6), Some(3), None], "length", NONE),
    ("tgi", "eos", [2, 2], [None, Some(3), None], "eos_token", NONE),
    ("tgi", "nostream", [1, 1], [Some(2), Some(2), None], "length", NONE),
    ("triton-infer", "nostream", [1, 1], [None, None, None], "", NONE),
    ("triton-generate", "stream", [3, 3], [None, None, None], "", NONE),
    ("triton-generate", "nostream", [1, 1], [None, None, None], "", NONE),
    ("llamacpp", "stream", [4, 4], [Some(5), Some(4), Some(4)], "limit", [Some(23_558), Some(55_555)]),
    ("llamacpp", "nostream", [1, 1], [Some(9), Some(2), Some(3)], "word", [Some(20_000), Some(30_500)]),
    ("llamacpp", "llama-server-stream", [3, 3], [Some(8), Some(5), Some(0)], "limit", [Some(822), Some(1_784)]),
    ("llamacpp", "llama-server-nostream", [1, 1], [Some(8), Some(5), Some(7)], "limit", [Some(313), Some(1_045)]),
    ("llamacpp", "older", [2, 2], [Some(3), Some(2), Some(0)], "eos", [Some(12_000), Some(20_000)]),
    ("ollama", "stream", [3, 3], [Some(17), Some(3), None], "length", [Some(400_000), Some(900_000)]),
    ("ollama", "thinking", [4, 2], [Some(17), Some(3), None], "stop", [Some(400_000), Some(900_000)]),
    ("ollama", "nostream", [1, 1], [Some(17), Some(3), None], "length", [Some(400_000), Some(900_000)]),
    ("anthropic-messages", "stream", [2, 2], [Some(25), Some(2), None], "max_tokens", NONE),
    ("anthropic-messages", "thinking", [5, 3], [Some(1125), Some(40), Some(1000)], "tool_use", NONE),
    ("anthropic-messages", "nostream", [1, 1], [Some(25), Some(9), Some(0)], "end_turn", NONE),
    ("openai-embeddings", "nostream", [1, 1], [Some(8), None, None], "", NONE),
    ("openai-embeddings", "batch-nostream", [1, 1], [Some(21), None, None], "", NONE),
    ("openai-rerank", "nostream", [1, 1], [Some(40), None, None], "", NONE),
    ("openai-rerank", "jina-nostream", [1, 1], [Some(38), None, None], "", NONE),
    ("openai-rerank", "cohere-nostream", [1, 1], [Some(44), None, None], "", NONE),
    ("openai-rerank", "voyage-nostream", [1, 1], [Some(26), None, None], "", NONE),
    ("openai-rerank", "tei-nostream", [1, 1], [None, None, None], "", NONE),
    ("custom", "stream", [2, 2], [Some(5), Some(2), None], "length", NONE),
    ("custom", "nostream", [1, 1], [Some(5), Some(2), None], "length", NONE),
];

/// What an answer's last frame has in it, where it is known that nothing follows.
const END_MARKS: [&str; 6] =
    ["[DONE]", "message_stop", "\"done\":true", "\"stop\":true", "\"generated_text\":\"", "[END]"];

#[test]
fn transcripts_are_read_as_they_were_meant() {
    for &(api, file, [content, visible], [prompt, output, cached], finish, server) in TRANSCRIPTS {
        let (status, body) = answer(api, file);
        let stream = !file.ends_with("nostream");
        let got = whole(api, stream, &body);
        let closing = &got.closing;
        let what = format!("{api}/{file}");
        assert_eq!(status, 200, "{what}");
        assert_eq!((got.content, got.visible, got.undecodable), (content, visible, 0), "{what}");
        assert_eq!(
            [closing.prompt_tokens, closing.output_tokens, closing.cached_tokens],
            [prompt, output, cached],
            "{what}"
        );
        assert_eq!(closing.finish_reason.as_deref().unwrap_or_default(), finish, "{what}");
        assert_eq!([closing.server_ttft_us, closing.server_e2e_us], server, "{what}");
        assert_eq!((closing.complete, &closing.error), (true, &None), "{what}");
        let text = String::from_utf8_lossy(&body);
        let marked = !stream || END_MARKS.iter().any(|mark| text.contains(mark));
        assert_eq!(got.done, marked, "{what}: done only once nothing more can come");
        let kept = read(api, stream, true, [&body[..]]);
        assert_eq!(
            (kept.content, kept.visible),
            (content, visible),
            "{what}: keeping the text changes nothing"
        );
    }
}

#[test]
fn cuts_between_reads_change_nothing() {
    for &(api, file, ..) in TRANSCRIPTS {
        let (_, body) = answer(api, file);
        let stream = !file.ends_with("nostream");
        let provider = built(api);
        let want = whole(api, stream, &body);
        for cut in 0..=body.len() {
            let (a, b) = body.split_at(cut);
            let got = read_by(provider.as_ref(), stream, false, [a, b]);
            assert_eq!(got, want, "{api}/{file} cut at {cut}");
        }
        assert_eq!(read(api, stream, false, body.chunks(1)), want, "{api}/{file} byte by byte");
    }
}

#[test]
fn what_is_cut_off_is_not_whole() {
    for &(api, file, ..) in TRANSCRIPTS {
        let (_, body) = answer(api, file);
        let stream = !file.ends_with("nostream");
        // Through a frame: where streams have no end marker, a frame less would be no sign.
        let got = whole(api, stream, &body[..body.len() / 2]);
        assert!(!got.closing.complete && !got.done, "{api}/{file}");
    }
}

#[test]
fn texts_are_kept_when_asked_for() {
    for (api, file, text) in [
        ("vllm", "reasoning", "Hm.Yes."),
        ("together", "nostream", "One two three"),
        ("tgi", "stream", "One two three"),
        ("tgi", "eos", "Yes."),
        ("tgi", "nostream", "One two"),
        ("triton-generate", "stream", "One two three"),
        ("triton-generate", "nostream", "Count. One two three"),
        ("llamacpp", "stream", "ckbil'd fus"),
        ("ollama", "thinking", "Hm.Yesweather{\"city\":\"Oslo\"}"),
        ("anthropic-messages", "thinking", "Hm.Let me look.weather{\"city\":\"Oslo\"}"),
        ("anthropic-messages", "nostream", "Hm.Yes."),
        ("openai-embeddings", "nostream", ""),
        ("custom", "stream", "One two"),
    ] {
        let (_, body) = answer(api, file);
        let got = read(api, !file.ends_with("nostream"), true, [&body[..]]);
        assert_eq!(got.closing.text.as_deref(), Some(text), "{api}/{file}");
    }
}

#[test]
fn a_repeated_prompt_is_no_answer() {
    for api in ["triton-infer", "triton-generate"] {
        let (_, body) = answer(api, "nostream");
        let mut decoder = built(api).decoder(false, true);
        decoder.expect_echo("Count.");
        let delta = decoder.frame(&body).expect("a document");
        assert!(delta.content && delta.visible, "{api}");
        assert_eq!(decoder.close().text.as_deref(), Some("One two three"), "{api}");
        let mut decoder = built(api).decoder(false, true);
        decoder.expect_echo("Count. One two three");
        let delta = decoder.frame(&body).expect("a document");
        assert!(!delta.content, "{api}: nothing but the prompt");
    }
}

#[test]
fn errors_keep_the_servers_words() {
    for (api, file, class, words) in [
        ("vllm", "err-model", "4xx", "The model `no-such-model` does not exist."),
        ("vllm-completions", "err-toolong", "4xx", "This model's maximum context length is 2048"),
        ("sglang", "err-toolong", "4xx", "The input (30001 tokens) is longer than the model's context"),
        ("fireworks", "err-model", "4xx", "Model not found, inaccessible, and/or not deployed"),
        ("anyscale", "err-key", "4xx", "Invalid or missing API key"),
        ("together", "err-model", "4xx", "Unable to access model no-such-model."),
        ("tgi", "err-overloaded", "429", "Model is overloaded"),
        ("tgi", "err-toolong", "4xx", "Input validation error: `inputs` must have less than 1024 tokens."),
        ("triton-infer", "err-input", "4xx", "unexpected inference input 'min_length' for model 'ensemble'"),
        ("triton-generate", "err-model", "4xx", "Request for unknown model: 'no-such-model' is not found"),
        ("llamacpp", "err-toolong", "4xx", "request (30002 tokens) exceeds the available context size"),
        ("ollama", "err-model", "4xx", "model 'no-such-model' not found"),
        ("anthropic-messages", "err-overloaded", "5xx", "Overloaded"),
        ("openai-embeddings", "err-toolong", "4xx", "This model's maximum context length is 512 tokens."),
        ("openai-rerank", "err-empty", "4xx", "\"documents\" must be a non-empty string array"),
        ("custom", "err-busy", "503", "no free slot"),
    ] {
        let (status, body) = answer(api, file);
        let (got, detail) = http_error(status, &body);
        assert_eq!(got, class, "{api}/{file}");
        assert!(detail.starts_with(words), "{api}/{file}: {detail}");
        // The same words in an answer that says 200 are an error too.
        if api != "custom" {
            let got = whole(api, false, &body);
            assert!(got.closing.error.is_some_and(|e| e.starts_with(words)), "{api}/{file} with 200");
        }
    }
}

#[test]
fn errors_in_mid_stream_are_told() {
    for (api, words) in [
        ("tgi", "Request failed during generation: Server error: out of memory"),
        ("triton-generate", "Executor failed: out of memory"),
        ("llamacpp", "context shift failed"),
        ("ollama", "an error was encountered while running the model: out of memory"),
        ("anthropic-messages", "Overloaded"),
        ("custom", "out of memory"),
    ] {
        let (_, body) = answer(api, "err-midstream");
        let got = whole(api, true, &body);
        assert_eq!((got.content, got.undecodable), (1, 0), "{api}");
        assert_eq!(got.closing.error.as_deref(), Some(words), "{api}");
    }
}

#[test]
fn what_is_no_document_of_the_api_is_an_error() {
    for api in [
        "tgi",
        "triton-infer",
        "triton-generate",
        "llamacpp",
        "ollama",
        "anthropic-messages",
        "openai-embeddings",
        "openai-rerank",
        "together",
        "custom",
    ] {
        for garbage in ["<html>", "[1]", "{\"hello\":1}", "\"DONE\"", "{\"data\":[],\"results\":[]}"] {
            // A bare list is how one server ranks.
            if (api, garbage) == ("openai-rerank", "[1]") {
                continue;
            }
            let got = whole(api, false, garbage.as_bytes());
            assert_eq!((got.content, got.undecodable), (0, 1), "{api}: {garbage}");
            assert!(!got.closing.complete, "{api}: {garbage}");
        }
        assert_eq!(whole(api, false, b"").frames, 0, "{api}");
    }
}
