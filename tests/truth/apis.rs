//! Every API, streamed and not, against the simulator's own version of it: what the client says of
//! each request is what the server did. The two were written apart, from the same facts.

use plimsoll::provider::{self, ALL};
use plimsoll::record::{Outcome, RequestRecord, TokenSource};
use plimsoll::sim::{Fault, TruthOutcome, TruthRecord};

use super::accounts::{self, Expected};
use super::times::BOUND_MS;
use super::{Held, Pair, hold, median};

/// How output tokens are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    /// The server reports them.
    Reported,
    /// It doesn't: of a stream its chunks are counted, of a whole answer nothing is known while
    /// the tokenizer is behind the network.
    Unknown,
    /// Nothing is generated.
    Nothing,
}

/// What an API is held to, and what has to be said so that it is asked at all.
struct Case {
    output: Output,
    /// The server reports the prompt's tokens.
    prompt: bool,
    /// Prompts have the length that was asked for: not where each document counts the query again.
    exact: bool,
    /// It tells its own times.
    times: bool,
    /// More of `[target]`, of `[sim]`, and of `[workload]`.
    target: &'static str,
    sim: &'static str,
    workload: &'static str,
}

const USUAL: Case = Case {
    output: Output::Reported,
    prompt: true,
    exact: true,
    times: false,
    target: "",
    sim: "",
    workload: "",
};

/// OpenAI's completions once more, as if nobody knew them.
const DESCRIBED: &str = r#"
custom = { path = "/v1/completions", framing = "sse", text = "/choices/0/text", done = "[DONE]", body = { prompt = "{{prompt}}", max_tokens = "{{max_tokens}}", stream = "{{stream}}", stream_options = { include_usage = true } }, prompt_tokens = "/usage/prompt_tokens", output_tokens = "/usage/completion_tokens", finish = "/choices/0/finish_reason" }
"#;

/// An endpoint without streams: it says the prompt again, unless told not to.
const PLAIN: &str = r#"
custom = { path = "/generate", text = "/text", output_tokens = "/num_generated", body = { prompt = "{{prompt}}", max_tokens = "{{max_tokens}}" } }
"#;

/// A new provider without a row here fails.
fn case(api: &str, stream: bool) -> Case {
    match api {
        "openai-chat"
        | "openai-completions"
        | "vllm"
        | "vllm-completions"
        | "sglang"
        | "sglang-completions"
        | "anyscale"
        | "anyscale-completions"
        | "together"
        | "anthropic-messages" => USUAL,
        // In a whole answer only a list of all the prompt's tokens would tell, at a price.
        "tgi" => Case { prompt: stream, ..USUAL },
        "fireworks" | "fireworks-completions" | "llamacpp" | "ollama" => Case { times: true, ..USUAL },
        "triton-infer" | "triton-generate" => Case { output: Output::Unknown, prompt: false, ..USUAL },
        "openai-embeddings" => {
            Case { output: Output::Nothing, workload: "batch = 3\ndimensions = 32", ..USUAL }
        }
        "openai-rerank" => Case {
            output: Output::Nothing,
            exact: false,
            workload: "batch = 3\nquery_tokens = 7\ntop_n = 2",
            ..USUAL
        },
        "custom" if stream => Case { target: DESCRIBED, ..USUAL },
        "custom" => Case { target: PLAIN, sim: "echo_prompt = false", prompt: false, ..USUAL },
        other => panic!("no case for the provider {other}"),
    }
}

/// Whether an API has streams; `custom` as [`case`] describes it.
fn streams(api: &str) -> bool {
    let entry = provider::find(api).expect("a provider");
    api == "custom" || (entry.build)(&provider::Options::default()).features().streams
}

fn asked(api: &str, stream: bool, case: &Case, more_sim: &str, more_workload: &str) -> Held {
    // Said only where it is not what the API does anyhow.
    let said = if streams(api) { format!("stream = {stream}") } else { String::new() };
    let Case { target, sim, workload, .. } = case;
    hold(&format!(
        r#"
        name = "apis"
        seed = 3
        [target]
        url = "sim:"
        api = "{api}"
        {target}
        [sim]
        step_base = "2ms"
        max_num_seqs = 64
        output_tokens_mean = 9
        {sim}
        {more_sim}
        [workload]
        prompt_tokens = {{ mean = 50, distribution = "uniform", range = 0.5 }}
        max_tokens = {{ mean = 10, distribution = "uniform", range = 0.6 }}
        {said}
        {workload}
        {more_workload}
        [load]
        users = 4
        [cell]
        requests = 40
        duration = "60s"
        warmup = "0s"
        "#
    ))
}

/// Counts, each request and all together.
fn counts(held: &Held, case: &Case, stream: bool) {
    let sum = |of: fn(&TruthRecord) -> u32, pairs: &[Pair<'_>]| -> u64 {
        pairs.iter().map(|p| u64::from(of(p.truth))).sum()
    };
    let pairs = held.all_ok();
    for Pair { record, truth } in &pairs {
        let what = format!("{}: {record:?}\n{truth:?}", held.api);
        assert_eq!(truth.outcome, TruthOutcome::Ok, "{what}");
        assert_eq!(truth.stream, stream, "{what}");
        if case.prompt {
            assert_eq!(record.prompt_tokens, truth.prompt_tokens, "{what}");
        } else {
            assert_eq!(record.prompt_tokens, None, "{what}");
        }
        if case.exact {
            assert_eq!(Some(record.prompt_tokens_asked), truth.prompt_tokens, "{what}");
        }
        match case.output {
            Output::Reported => {
                assert_eq!(record.output_tokens, Some(truth.output_tokens), "{what}");
                assert_eq!(record.token_source, Some(TokenSource::Usage), "{what}");
                assert!(record.output_tokens <= Some(record.max_tokens), "{what}");
            }
            Output::Unknown if stream => {
                assert_eq!(record.output_tokens, Some(truth.output_tokens), "{what}");
                assert_eq!(record.token_source, Some(TokenSource::Chunks), "{what}");
            }
            Output::Unknown | Output::Nothing => {
                assert_eq!((record.output_tokens, record.token_source), (None, None), "{what}");
            }
        }
        match case.output {
            Output::Nothing => assert_eq!((record.chunks, truth.chunks), (1, 0), "{what}"),
            Output::Reported | Output::Unknown => assert_eq!(record.chunks, truth.chunks, "{what}"),
        }
        assert_eq!(record.first_token_us.is_some(), stream, "{what}");
    }
    assert_eq!(pairs.len(), 40, "{}", held.api);
    let (counts, tokens) = (&held.summary.counts, &held.summary.tokens);
    assert_eq!((counts.ok, counts.failed, counts.attempted), (40, 0, 40), "{}", held.api);
    if case.prompt {
        assert_eq!(tokens.prompt, sum(|t| t.prompt_tokens.unwrap_or(0), &pairs), "{}", held.api);
    }
    if case.output == Output::Reported {
        assert_eq!(tokens.output, sum(|t| t.output_tokens, &pairs), "{}", held.api);
    }
}

/// Stamps: never before the server wrote, and in the median soon after.
fn stamps(held: &Held) {
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for Pair { record, truth } in held.all_ok() {
        let off = |ours: Option<u64>, theirs: u64, all: &mut Vec<f64>| {
            let off = held.ns(ours.expect("a stamp")) - theirs as i64;
            assert!(off > -1000, "seen before it was written: {record:?}\n{truth:?}");
            all.push(off as f64 / 1e6);
        };
        // Of what generates nothing the answer's end is all there is.
        off(record.last_token_us, truth.last_token_ns.unwrap_or(truth.end_ns), &mut last);
        if record.first_token_us.is_some() {
            off(record.first_token_us, truth.first_token_ns.expect("a first token"), &mut first);
        }
        assert!(held.ns(record.end_us.expect("an end")) - truth.end_ns as i64 > -1000);
    }
    for (what, off) in [("first", first), ("last", last)] {
        if !off.is_empty() {
            let middle = median(off);
            assert!(middle <= BOUND_MS, "{}: the {what} stamp is {middle} ms off in the median", held.api);
        }
    }
}

/// The server's own times lie within the client's: 1 ms for what the two count otherwise.
fn own_times(held: &Held, told: bool) {
    let beyond = |theirs: Option<u64>, until: Option<u64>, record: &RequestRecord| {
        let sent = record.sent_us.expect("it was sent");
        theirs.expect("told") > until.expect("a stamp") - sent + 1000
    };
    for Pair { record, truth } in held.all_ok() {
        let what = format!("{}: {record:?}\n{truth:?}", held.api);
        assert_eq!((record.server_ttft_us.is_some(), record.server_e2e_us.is_some()), (told, told), "{what}");
        if told {
            assert!(record.server_e2e_us > Some(0) && record.server_ttft_us > Some(0), "{what}");
            assert!(record.server_ttft_us <= record.server_e2e_us, "{what}");
            assert!(!beyond(record.server_e2e_us, record.end_us, record), "{what}");
            let first = record.first_token_us.or(record.last_token_us);
            assert!(!beyond(record.server_ttft_us, first, record), "{what}");
        }
    }
}

fn every_api(stream: bool) {
    let mut asked_of = 0;
    for entry in ALL.iter().filter(|entry| !stream || streams(entry.name)) {
        let api = entry.name;
        let case = case(api, stream);
        let held = asked(api, stream, &case, "", "");
        assert_eq!(held.api, api);
        counts(&held, &case, stream);
        stamps(&held);
        own_times(&held, case.times);
        asked_of += 1;
    }
    println!("{asked_of} APIs, stream = {stream}");
    assert!(asked_of + 3 >= ALL.len());
}

#[test]
fn every_api_is_held_to_the_truth_in_streams() {
    every_api(true);
}

#[test]
fn every_api_is_held_to_the_truth_in_whole_answers() {
    every_api(false);
}

#[test]
fn habits_of_servers_change_no_count() {
    const KNOBS: &str = "tokens_per_chunk = 3\nempty_chunks = 0.3\ncomments = 0.3\nsplit_frames = 0.3";
    for (api, more) in [
        ("together", "line_end = \"crlf\""),
        ("tgi", "line_end = \"crlf\""),
        ("llamacpp", "add_bos = true"),
        ("ollama", "reasoning_tokens = 4"),
        ("anthropic-messages", "reasoning_tokens = 4\nline_end = \"cr\""),
        ("fireworks", "usage = \"finish_chunk\""),
        ("custom", "finish = \"own_chunk\""),
    ] {
        let case = case(api, true);
        let held = asked(api, true, &case, &format!("{KNOBS}\n{more}"), "");
        counts(&held, &case, true);
        own_times(&held, case.times);
    }
}

#[test]
fn a_mark_before_each_text_to_embed_is_part_of_its_length() {
    let case = case("openai-embeddings", false);
    let held = asked("openai-embeddings", false, &case, "add_bos = true", "");
    counts(&held, &case, false);
    assert_eq!(held.summary.tokens.prompt_mismatches, 0);
}

#[test]
fn tokens_are_counted_here_where_triton_tells_none() {
    for (api, stream) in [("triton-generate", true), ("triton-generate", false), ("triton-infer", false)] {
        let case = case(api, stream);
        let held = asked(api, stream, &case, "tokens_per_chunk = 4", "tokenizer = \"bundled\"");
        let (mut ours, mut theirs) = (0, 0);
        for Pair { record, truth } in held.all_ok() {
            assert_eq!(record.token_source, Some(TokenSource::Tokenizer), "{api}: {record:?}");
            ours += record.output_tokens.expect("counted");
            theirs += truth.output_tokens;
        }
        // The prompt that is said again would be five times as much.
        let off = f64::from(ours) / f64::from(theirs);
        assert!((0.8..=1.25).contains(&off), "{api}, stream = {stream}: {ours} for {theirs}");
    }
}

#[test]
fn pictures_arrive_and_are_counted() {
    for api in ["openai-chat", "vllm", "anthropic-messages", "ollama"] {
        for stream in [true, false] {
            let images = "images = { count = 2, width = 600, height = 300 }";
            let held = asked(api, stream, &USUAL, "image_tokens_per_tile = 100", images);
            for Pair { record, truth } in held.all_ok() {
                assert_eq!(record.prompt_tokens, truth.prompt_tokens, "{api}: {record:?}\n{truth:?}");
                // Two pictures of two tiles each.
                assert_eq!(truth.prompt_tokens, Some(record.prompt_tokens_asked + 400), "{api}");
                assert_eq!(record.output_tokens, Some(truth.output_tokens), "{api}");
            }
        }
    }
}

#[test]
fn what_more_is_asked_for_changes_no_count() {
    const TOOLS: &str = "tools = [{ type = \"function\", function = { name = \"look\", parameters = { type = \"object\" } } }]";
    for (api, sim, workload) in [
        ("openai-chat", "", "n = 1\nlogprobs = true\ntop_logprobs = 2\nseed = \"per_request\""),
        ("openai-chat", "tool_calls = true", TOOLS),
        ("fireworks", "tool_calls = true\ntokens_per_chunk = 2", TOOLS),
        ("openai-completions", "", "n = 1\nlogprobs = 2\nstop = [\"never\"]"),
        ("vllm-completions", "", "top_k = 5\nrepetition_penalty = 1.1"),
        ("together", "", "logprobs = 1\nseed = 7"),
        ("tgi", "", "temperature = 0\ntop_p = 1\nseed = \"per_request\""),
        ("llamacpp", "", "logprobs = 2\nstop = \"never\"\nseed = \"per_request\""),
        ("ollama", "", "seed = \"per_request\"\nstop = \"never\"\ntemperature = 0.5"),
        ("anthropic-messages", "", "stop = \"never\"\ntop_k = 4"),
        ("triton-infer", "", "seed = \"per_request\"\ntemperature = 0.5"),
        ("triton-generate", "", "seed = \"per_request\"\nstop = \"never\""),
    ] {
        for stream in [true, false] {
            if stream && !streams(api) {
                continue;
            }
            let case = case(api, stream);
            counts(&asked(api, stream, &case, sim, workload), &case, stream);
        }
    }
}

#[test]
fn an_api_that_was_found_is_held_to_the_truth_too() {
    for (apis, api, stream) in [
        ("completions", "openai-completions", true),
        ("tgi", "tgi", true),
        ("llamacpp", "llamacpp", true),
        ("ollama", "ollama", true),
        ("anthropic", "anthropic-messages", true),
        ("triton", "triton-generate", true),
        // These have no streams, though none was told so: the answers come whole.
        ("embeddings", "openai-embeddings", false),
        ("rerank", "openai-rerank", false),
    ] {
        let held = hold(&format!(
            r#"
            name = "found"
            [target]
            url = "sim:"
            api = "auto"
            [sim]
            apis = "{apis}"
            step_base = "2ms"
            [workload]
            prompt_tokens = 30
            max_tokens = 6
            cancel = {}
            [load]
            users = 2
            [cell]
            requests = 10
            warmup = "0s"
            "#,
            // There is no middle to cut a whole answer off in.
            if stream { 0.0 } else { 0.5 }
        ));
        assert_eq!(held.api, api);
        assert!(held.notes[0].starts_with(&format!("api: {api} (")), "{:?}", held.notes);
        let told = held.notes.iter().any(|note| note.contains("has no streams"));
        assert_eq!(told, !stream, "{:?}", held.notes);
        for Pair { record, truth } in held.all_ok() {
            assert_eq!((record.first_token_us.is_some(), truth.stream), (stream, stream), "{record:?}");
        }
        assert!(held.summary.distributions["e2e"].n == 10, "{api}");
        assert_eq!(held.summary.distributions.get("ttft").is_some_and(|d| d.n > 0), stream, "{api}");
    }
}

#[test]
fn the_doors_of_a_small_server_are_held_to_the_truth() {
    for (path, custom, workload) in [
        ("/health", "", ""),
        (
            "/tokenize",
            "body = { text = \"{{prompt}}\" }, text = \"/token_ids\", prompt_tokens = \"/num_tokens\"",
            "",
        ),
        (
            "/generate",
            "body = { prompt = \"{{prompt}}\", max_tokens = \"{{max_tokens}}\", strategy = \"greedy\" }, output_tokens = \"/num_generated\"",
            "",
        ),
        ("/batch/tokenize", "body = { texts = \"{{prompts}}\" }", "batch = 3"),
        (
            "/batch/generate",
            "body = { prompts = \"{{prompts}}\", max_tokens = \"{{max_tokens}}\" }",
            "batch = 2",
        ),
    ] {
        let comma = if custom.is_empty() { "" } else { ", " };
        let held = hold(&format!(
            r#"
            name = "doors"
            [target]
            url = "sim:"
            api = "custom"
            custom = {{ path = "{path}"{comma}{custom} }}
            [sim]
            apis = "plain"
            step_base = "1ms"
            [workload]
            prompt_tokens = 12
            max_tokens = 5
            {workload}
            [load]
            users = 3
            [cell]
            requests = 30
            warmup = "0s"
            "#
        ));
        for Pair { record, truth } in held.all_ok() {
            let what = format!("{record:?}\n{truth:?}");
            assert_eq!((truth.path.as_str(), truth.outcome), (path, TruthOutcome::Ok), "{what}");
            assert_eq!((record.status, record.first_token_us), (Some(200), None), "{what}");
            match path {
                "/tokenize" => assert_eq!(record.prompt_tokens, Some(12), "{what}"),
                "/generate" => {
                    assert_eq!(record.output_tokens, Some(truth.output_tokens), "{what}");
                    assert_eq!(truth.prompt_tokens, Some(12), "{what}");
                }
                "/batch/generate" => assert_eq!(truth.prompt_tokens, Some(24), "{what}"),
                _ => assert_eq!((record.output_tokens, truth.output_tokens), (None, 0), "{what}"),
            }
        }
        assert_eq!(held.summary.counts.ok, 30, "{path}");
        stamps(&held);
    }
}

/// Half of the requests go wrong, in every way but a stall.
fn wrong() -> String {
    let faults = Fault::ALL.iter().filter(|fault| **fault != Fault::Stall);
    faults.map(|fault| format!("fault_{} = 0.05\n", fault.name())).collect()
}

/// TGI's router has a status of its own for what goes wrong behind it.
fn tgi_in_one_piece(truth: TruthOutcome) -> (Outcome, Option<&'static str>) {
    match truth {
        TruthOutcome::Fault(Fault::ErrorObject) => (Outcome::HttpError, Some("4xx")),
        other => accounts::in_one_piece(other),
    }
}

/// A stream of Triton's has no end but that of its body: nobody can tell that more was to come.
fn triton_in_a_stream(truth: TruthOutcome) -> (Outcome, Option<&'static str>) {
    match truth {
        TruthOutcome::Fault(Fault::NoEnd) => (Outcome::Ok, None),
        other => accounts::in_a_stream(other),
    }
}

#[test]
fn faults_end_in_the_same_outcomes_in_every_family() {
    let (stream, whole): (Expected, Expected) = (accounts::in_a_stream, accounts::in_one_piece);
    for (api, streamed, expected) in [
        ("tgi", true, stream),
        ("tgi", false, tgi_in_one_piece),
        ("llamacpp", true, stream),
        ("llamacpp", false, whole),
        ("ollama", true, stream),
        ("ollama", false, whole),
        ("anthropic-messages", true, stream),
        ("anthropic-messages", false, whole),
        ("triton-generate", true, triton_in_a_stream),
        ("triton-generate", false, whole),
        ("together", true, stream),
        ("openai-embeddings", false, whole),
    ] {
        let said = if streams(api) { format!("stream = {streamed}") } else { String::new() };
        let held = hold(&format!(
            r#"
            name = "faults"
            seed = 11
            [target]
            url = "sim:"
            api = "{api}"
            [sim]
            step_base = "1ms"
            max_num_seqs = 512
            output_tokens_mean = 200
            {}
            [workload]
            prompt_tokens = 16
            max_tokens = 12
            {said}
            [load]
            qps = 150
            [cell]
            requests = 240
            warmup = "0s"
            drain = "60s"
            "#,
            wrong()
        ));
        println!("{api}, stream = {streamed}: {:?}", held.summary.counts.errors);
        accounts::agree(&held, expected);
        for fault in Fault::ALL.iter().filter(|fault| **fault != Fault::Stall) {
            let is = |t: &TruthRecord| t.outcome == TruthOutcome::Fault(*fault);
            assert!(held.truth.values().flatten().any(is), "{api}: {} never struck", fault.name());
        }
        // Each error is told in the server's own words, without the brackets around them.
        for record in held.records.iter().filter(|r| matches!(r.error_class.as_deref(), Some("429"))) {
            let words = record.detail.as_deref().unwrap_or_default();
            assert!(words.contains("Rate limit reached") && !words.contains('{'), "{api}: {words}");
        }
    }
}
