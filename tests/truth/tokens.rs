//! Token counts are the server's own, to the token.

use plimsoll::record::TokenSource;

use super::{Held, Pair, hold};

/// Sixty requests of four users with lengths that differ, answered as `sim` says.
fn answers(api: &str, sim: &str, workload: &str) -> Held {
    answers_in_steps("1ms", api, sim, workload)
}

fn answers_in_steps(step: &str, api: &str, sim: &str, workload: &str) -> Held {
    hold(&format!(
        r#"
        name = "tokens"
        seed = 5
        [target]
        url = "sim:"
        api = "{api}"
        [sim]
        step_base = "{step}"
        {sim}
        [workload]
        prompt_tokens = {{ mean = 60, distribution = "uniform", range = 0.5 }}
        max_tokens = {{ mean = 14, distribution = "uniform", range = 0.7 }}
        {workload}
        [load]
        users = 4
        [cell]
        requests = 60
        duration = "60s"
        warmup = "0s"
        "#
    ))
}

/// Counts of each request and their sums in the summary against the truth.
fn agree(held: &Held) {
    let (mut prompt, mut output, mut cached) = (0, 0, 0);
    for Pair { record, truth } in held.all_ok() {
        assert_eq!(record.prompt_tokens, truth.prompt_tokens, "{record:?}\n{truth:?}");
        assert_eq!(record.prompt_tokens, Some(record.prompt_tokens_asked), "the length that was asked for");
        assert_eq!(record.prompt_tokens_counted, record.prompt_tokens);
        assert_eq!(record.output_tokens, Some(truth.output_tokens), "{record:?}\n{truth:?}");
        assert_eq!(record.token_source, Some(TokenSource::Usage));
        assert_eq!(record.chunks, truth.chunks);
        assert_eq!(record.cached_tokens, truth.cached_tokens);
        prompt += u64::from(truth.prompt_tokens.unwrap_or(0));
        output += u64::from(truth.output_tokens);
        cached += u64::from(truth.cached_tokens.unwrap_or(0));
    }
    let tokens = &held.summary.tokens;
    assert_eq!((tokens.prompt, tokens.output, tokens.cached), (prompt, output, Some(cached)));
    assert_eq!((tokens.prompt_mismatches, tokens.prompt_asked), (0, prompt));
    assert_eq!(held.records.len(), 60);
}

#[test]
fn counts_are_exact_however_the_server_tells_them() {
    let ways = [
        "",
        "add_bos = true",
        "tokens_per_chunk = 3",
        "tokens_per_chunk = 3\nempty_chunks = 0.4\ncomments = 0.3\nsplit_frames = 0.3\nline_end = \"crlf\"",
        "usage = \"finish_chunk\"\nfinish = \"own_chunk\"\nfirst_chunk = \"content_null\"",
        "usage = \"every_chunk\"\ntokens_per_chunk = 2",
        "usage = \"empty_choice\"\nfirst_chunk = \"role_only\"\ndone = false",
        "close_after_stream = true",
    ];
    for api in ["openai-chat", "openai-completions"] {
        for way in ways {
            let held = answers(api, way, "");
            agree(&held);
            assert_eq!(held.summary.tokens.output_mismatches, 0, "{way}");
        }
    }
}

#[test]
fn lengths_that_the_server_chooses_are_told_as_they_were() {
    let held = answers("openai-chat", "output_tokens_mean = 6", "force_length = \"never\"");
    agree(&held);
    let short = held.all_ok().iter().filter(|p| p.truth.output_tokens < p.record.max_tokens).count() as u64;
    assert!(short > 0, "no answer ended by itself");
    assert_eq!(held.summary.tokens.output_mismatches, short);
    for Pair { record, truth } in held.all_ok() {
        if truth.output_tokens < record.max_tokens {
            assert_eq!(record.finish_reason.as_deref(), Some("stop"));
        }
    }
}

#[test]
fn cached_tokens_are_the_servers() {
    let prefix = "the tide comes in and the tide goes out again ".repeat(2);
    let held = answers("openai-completions", "block_size = 8", &format!("prefix = \"{prefix}\""));
    agree(&held);
    assert!(held.summary.tokens.cached.is_some_and(|n| n >= 50 * 16), "{:?}", held.summary.tokens);
}

#[test]
fn without_usage_the_source_is_named() {
    // A tokenizer behind the network is not asked while load is on: chunks stand for tokens.
    for (per_chunk, exact) in [(1, true), (3, false)] {
        let knobs = format!("usage = \"never\"\ntokens_per_chunk = {per_chunk}");
        let held = answers("openai-chat", &knobs, "tokenizer = \"server\"");
        for Pair { record, truth } in held.all_ok() {
            assert_eq!(record.token_source, Some(TokenSource::Chunks));
            assert_eq!(record.output_tokens, Some(truth.chunks));
            assert_eq!(record.output_tokens == Some(truth.output_tokens), exact || truth.output_tokens == 1);
            assert_eq!(record.prompt_tokens, None);
            // What a chat's template adds can't be known either: two marks and one that opens the
            // answer.
            assert_eq!(record.prompt_tokens_counted.map(|n| n + 3), truth.prompt_tokens);
        }
    }
    // The bundled one counts the words that came: the server's are one token each here and there.
    let knobs = "usage = \"never\"\ntokens_per_chunk = 3";
    let held = answers("openai-completions", knobs, "tokenizer = \"bundled\"");
    let (mut ours, mut theirs) = (0, 0);
    for Pair { record, truth } in held.all_ok() {
        assert_eq!(record.token_source, Some(TokenSource::Tokenizer));
        ours += record.output_tokens.expect("counted");
        theirs += truth.output_tokens;
        assert_eq!(record.chunks, truth.chunks);
    }
    let off = f64::from(ours) / f64::from(theirs);
    println!("bundled tokenizer: {ours} tokens for {theirs}");
    assert!((0.8..=1.25).contains(&off), "an estimate that is no estimate: {ours} for {theirs}");
}

#[test]
fn reasoning_is_output_and_first_but_not_visible() {
    for field in ["reasoning_content", "reasoning"] {
        let knobs = format!("reasoning_tokens = 4\nreasoning_field = \"{field}\"");
        // Four of them lie between first and visible: far more than a busy machine keeps a reader
        // from its socket.
        let held = answers_in_steps("10ms", "openai-chat", &knobs, "");
        agree(&held);
        let mut later = 0;
        for Pair { record, truth } in held.all_ok() {
            let first = record.first_token_us.expect("a first token");
            assert_eq!(record.first_visible_us.is_some(), truth.output_tokens > 4, "{record:?}\n{truth:?}");
            assert!(record.first_visible_us.is_none_or(|visible| visible >= first));
            later += u32::from(record.first_visible_us.is_some_and(|visible| visible > first));
        }
        // Four steps of the engine lie between, unless one read brought all.
        assert!(later > 30, "{later} of 60");
        let figure = |name| held.summary.value(name, "p50").expect("a figure");
        assert!(figure("ttft") < figure("ttfv"));
    }
}
