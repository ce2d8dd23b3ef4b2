use std::collections::HashSet;
use std::sync::Arc;

use super::*;
use crate::experiment::{LengthShape, Lengths, TokenizerChoice, Workload};

fn workload(prompt_tokens: u32) -> Workload {
    Workload {
        prompt_tokens: Lengths::constant(prompt_tokens),
        max_tokens: Lengths::shaped(LengthShape::Uniform, 64, 0.5),
        tokenizer: TokenizerChoice::Bundled,
        ..Workload::default()
    }
}

fn source(workload: Workload, seed: u64, salt: &str) -> Source {
    Source::new(workload, seed, salt, Arc::new(BundledTokenizer))
}

fn prompts(source: &Source) -> Vec<String> {
    (0..20).map(|seq| source.request(seq).prompt).collect()
}

/// The bundled tokenizer before a server that adds `0` tokens around each prompt.
struct Templated(u32);

impl Tokenizer for Templated {
    fn name(&self) -> &str {
        "templated"
    }
    fn count(&self, text: &str) -> u32 {
        BundledTokenizer.count(text)
    }
    fn overhead(&self) -> u32 {
        self.0
    }
}

#[test]
fn prompts_have_the_length_asked_for() {
    let bpe = tiktoken_rs::o200k_base_singleton();
    for tokens in [1, 2, 7, 128, 2048] {
        let request = source(workload(tokens), 1, "salt").request(3);
        assert_eq!(bpe.encode_ordinary(&request.prompt).len(), tokens as usize);
        assert_eq!((request.prompt_tokens_asked, request.prompt_tokens_counted), (tokens, Some(tokens)));
    }
}

#[test]
fn the_same_seed_and_salt_give_the_same_requests() {
    let (a, b) = (source(workload(32), 1, "s"), source(workload(32), 1, "s"));
    for seq in [9, 0, u64::MAX - 1, 4] {
        assert_eq!(a.request(seq), b.request(seq), "whatever the order");
        let request = a.request(seq);
        assert_eq!(a.lengths(seq), (request.prompt_tokens_asked, request.max_tokens));
    }
}

#[test]
fn lengths_follow_the_seed_alone() {
    let lengths = |s: &Source| (0..50).map(|k| s.lengths(k)).collect::<Vec<_>>();
    let base = source(workload(32), 1, "s");
    assert_eq!(lengths(&base), lengths(&source(workload(32), 1, "another")));
    assert_ne!(lengths(&base), lengths(&source(workload(32), 2, "s")));
}

#[test]
fn prompts_differ_from_their_first_tokens_on() {
    let mut first_blocks = HashSet::new();
    for (seed, salt) in [(1, "a"), (1, "b"), (2, "a")] {
        for prompt in prompts(&source(workload(64), seed, salt)) {
            let block: Vec<&str> = prompt.split(' ').take(4).collect();
            assert!(first_blocks.insert(block.join(" ")), "{prompt}");
        }
    }
}

#[test]
fn prompts_that_repeat_do_so_across_seeds_salts_and_lengths() {
    let repeating = |tokens| Workload { unique_prompts: false, ..workload(tokens) };
    let base = prompts(&source(repeating(32), 1, "a"));
    assert_eq!(base, prompts(&source(repeating(32), 2, "b")));
    let longer = prompts(&source(repeating(64), 3, "c"));
    assert!(base.iter().zip(&longer).all(|(short, long)| long.starts_with(short)));
    assert_ne!(base[0], base[1]);
}

#[test]
fn prefix_and_template_are_part_of_the_length() {
    for prefix in ["You are a kind assistant.", "Answer briefly: ", "System:\n"] {
        let with = Workload { prefix: Some(prefix.to_owned()), ..workload(100) };
        let source = Source::new(with, 1, "s", Arc::new(Templated(11)));
        let request = source.request(0);
        assert!(request.prompt.starts_with(prefix));
        assert_eq!(BundledTokenizer.count(&request.prompt) + 11, 100, "{prefix:?}");
        assert_eq!(request.prompt_tokens_counted, Some(100));
    }
    let short = Source::new(workload(4), 1, "s", Arc::new(Templated(11)));
    let request = short.request(0);
    assert_eq!(request.prompt.split(' ').count(), 1, "a prompt has at least one word");
    assert_eq!((request.prompt_tokens_asked, request.prompt_tokens_counted), (4, Some(12)));
}

#[test]
fn a_fixed_prompt_is_what_is_asked() {
    let fixed = |prompt: &str| Workload { prompt: Some(prompt.to_owned()), ..workload(5) };
    let text = source(fixed("great house"), 1, "s").request(7);
    assert_eq!((text.prompt.as_str(), text.prompt_tokens_counted), ("great house", Some(2)));
    assert_eq!(text.prompt_tokens_asked, 2, "what a fixed prompt has is what is asked");
    // The experiment has read any `@file`: what begins with the sign now is text.
    assert_eq!(source(fixed("@home"), 1, "s").request(0).prompt, "@home");
}
