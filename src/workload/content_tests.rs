//! What a source makes of data sets, conversations, shared prefixes, pictures and traces.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::experiment::{
    Conversations, DataFile, Dataset, ImageSize, Images, LengthShape, Lengths, Pause, Sessions, SharedLength,
    SharedPrefix, Shuffle, TokenizerChoice, TraceSettings, Workload,
};
use crate::provider::Role;

/// Counts as GPT-4o does.
struct Gpt4o;

impl Tokenizer for Gpt4o {
    fn name(&self) -> &str {
        "file"
    }
    fn count(&self, text: &str) -> u32 {
        tiktoken_rs::o200k_base_singleton().encode_ordinary(text).len() as u32
    }
    fn is_exact(&self) -> bool {
        true
    }
    fn overhead(&self) -> u32 {
        7
    }
}

fn workload(prompt_tokens: u32) -> Workload {
    Workload {
        prompt_tokens: Lengths::constant(prompt_tokens),
        max_tokens: Lengths::constant(16),
        tokenizer: TokenizerChoice::Bundled,
        ..Workload::default()
    }
}

fn exact(workload: Workload, seed: u64, salt: &str) -> Source {
    Source::open(workload, seed, salt, Arc::new(Gpt4o)).expect("a source")
}

fn tokens(text: &str) -> u32 {
    Gpt4o.count(text)
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[test]
fn prompts_are_as_long_as_asked_whatever_stands_around_them() {
    let shared = |length| Some(SharedPrefix { length, groups: 3 });
    for (what, with) in [
        ("suffix", Workload { suffix: Some("Answer in one word:".to_owned()), ..workload(100) }),
        ("lines", Workload { suffix: Some("\n\nAnswer:".to_owned()), ..workload(100) }),
        ("digits", Workload { random_digits: 20, ..workload(100) }),
        ("tokens", Workload { shared_prefix: shared(SharedLength::Tokens(64)), ..workload(100) }),
        ("share", Workload { shared_prefix: shared(SharedLength::Share(0.7)), ..workload(100) }),
        (
            "more shared than asked",
            Workload { shared_prefix: shared(SharedLength::Tokens(512)), ..workload(100) },
        ),
        (
            "all",
            Workload {
                prefix: Some("You are kind.".to_owned()),
                suffix: Some("Go on.".to_owned()),
                random_digits: 7,
                ..workload(100)
            },
        ),
    ] {
        let source = exact(with, 1, "s");
        for seq in 0..10 {
            let request = source.request(seq);
            assert_eq!(tokens(&request.prompt) + 7, 100, "{what}: {}", request.prompt);
            assert_eq!(
                (request.prompt_tokens_asked, request.prompt_tokens_counted),
                (100, Some(100)),
                "{what}"
            );
        }
    }
}

#[test]
fn a_suffix_stands_last() {
    let with = Workload { suffix: Some("Answer:".to_owned()), ..workload(30) };
    assert!(exact(with, 1, "s").request(0).prompt.ends_with(" Answer:"));
}

#[test]
fn digits_differ_in_every_request_and_run() {
    for prompt in [None, Some("great house".to_owned())] {
        let with = Workload { random_digits: 12, unique_prompts: prompt.is_none(), prompt, ..workload(40) };
        let mut seen = HashSet::new();
        for salt in ["a", "b"] {
            let source = exact(with.clone(), 1, salt);
            for seq in 0..20 {
                let request = source.request(seq);
                let (digits, rest) = request.prompt.split_once(' ').expect("digits and a text");
                assert!(digits.len() == 12 && digits.bytes().all(|b| b.is_ascii_digit()), "{digits}");
                assert!(seen.insert(digits.to_owned()), "{digits} twice");
                assert!(with.prompt.is_none() || rest == "great house");
                assert_eq!(request.prompt_tokens_counted, Some(tokens(&request.prompt) + 7));
                assert_eq!(request.prompt_tokens_asked, tokens(&request.prompt) + 7);
            }
        }
    }
}

#[test]
fn a_batch_is_several_prompts_and_their_sum() {
    let lengths = Lengths::shaped(LengthShape::Uniform, 50, 0.5);
    let source = exact(Workload { batch: 4, prompt_tokens: lengths, ..workload(1) }, 1, "s");
    let mut seen = HashSet::new();
    for seq in 0..5 {
        let request = source.request(seq);
        assert_eq!(request.more.len(), 3);
        let texts: Vec<&String> = request.more.iter().chain([&request.prompt]).collect();
        let sum: u32 = texts.iter().map(|text| tokens(text) + 7).sum();
        assert_eq!((request.prompt_tokens_asked, request.prompt_tokens_counted), (sum, Some(sum)));
        assert_eq!(source.lengths(seq), (sum, 16));
        assert!(texts.into_iter().all(|text| seen.insert(text.clone())), "every prompt is another");
    }
    let fixed = Workload { batch: 2, prompt: Some("great house".to_owned()), ..workload(1) };
    let request = exact(fixed, 1, "s").request(0);
    assert_eq!(
        (request.prompt.as_str(), &request.more[..]),
        ("great house", &["great house".to_owned()][..])
    );
    assert_eq!(request.prompt_tokens_asked, 2 * (2 + 7));
}

#[test]
fn a_query_stands_apart_from_its_documents() {
    let with = Workload { batch: 3, query_tokens: Some(Lengths::constant(20)), ..workload(90) };
    let request = exact(with, 1, "s").request(2);
    assert_eq!(tokens(&request.prompt) + 7, 20);
    assert_eq!(request.more.iter().map(|text| tokens(text) + 7).collect::<Vec<_>>(), [90, 90, 90]);
    assert_eq!(request.prompt_tokens_asked, 20 + 3 * 90);
}

#[test]
fn each_request_has_a_seed_of_its_own() {
    let with = Workload { seed_per_request: true, ..workload(10) };
    let source = exact(with.clone(), 1, "s");
    let seeds: HashSet<u64> = (0..50).map(|seq| source.request(seq).body["seed"].as_u64().unwrap()).collect();
    assert_eq!(seeds.len(), 50);
    assert!(seeds.iter().all(|seed| *seed < 1 << 31));
    assert_eq!(source.request(3).body, exact(with, 1, "other").request(3).body, "in every run the same");
}

#[test]
fn groups_share_their_beginnings_within_a_cell() {
    let shared = Some(SharedPrefix { length: SharedLength::Tokens(40), groups: 4 });
    let with = |seed, salt| exact(Workload { shared_prefix: shared, ..workload(100) }, seed, salt);
    let beginnings = |source: &Source| {
        let mut seen: HashMap<String, u32> = HashMap::new();
        let mut own = HashSet::new();
        for seq in 0..400 {
            let prompt = source.request(seq).prompt;
            let words = words(&prompt);
            *seen.entry(words[..40].join(" ")).or_default() += 1;
            assert!(own.insert(words[40..44].join(" ")), "what is not shared is new");
        }
        seen
    };
    let seen = beginnings(&with(1, "a"));
    assert_eq!(seen.len(), 4);
    // Four standard errors of a binomial count with p = 1/4.
    assert!(seen.values().all(|n| n.abs_diff(100) <= 35), "{seen:?}");
    for (seed, salt) in [(1, "b"), (2, "a")] {
        assert!(beginnings(&with(seed, salt)).keys().all(|text| !seen.contains_key(text)), "{seed} {salt}");
    }
}

#[test]
fn a_shared_share_grows_with_the_prompt() {
    let shared_prefix = Some(SharedPrefix { length: SharedLength::Share(0.5), groups: 1 });
    let prompt_tokens = Lengths::shaped(LengthShape::Uniform, 100, 0.8);
    let source = exact(Workload { shared_prefix, prompt_tokens, ..workload(1) }, 1, "s");
    let requests: Vec<Request> = (0..30).map(|seq| source.request(seq)).collect();
    let longest = requests.iter().max_by_key(|r| r.prompt_tokens_asked).unwrap();
    for request in &requests {
        let common =
            words(&request.prompt).into_iter().zip(words(&longest.prompt)).take_while(|(a, b)| a == b);
        let (common, half) = (common.count(), (f64::from(request.prompt_tokens_asked) * 0.5).round());
        assert!(request == longest || common == half as usize, "{common} of {}", request.prompt_tokens_asked);
    }
}

fn dataset(file: DataFile) -> Workload {
    let dataset = Dataset { file, limit: None, shuffle: Shuffle::No, repeat: false };
    Workload { dataset: Some(dataset), unique_prompts: false, ..workload(1) }
}

#[test]
fn lines_of_a_data_set_become_requests() {
    let text = [
        json!({"prompt": "great house", "max_tokens": 5, "temperature": 0.5, "seed": 9}),
        json!({"messages": [
            {"role": "user", "content": "one"}, {"role": "assistant", "content": "two"},
            {"role": "user", "content": "three"},
        ]}),
    ]
    .map(|line| line.to_string())
    .join("\n");
    let (_file, found) = data::written(&text);
    let plain = exact(dataset(found.clone()), 1, "s");
    let request = plain.request(0);
    assert_eq!((request.prompt.as_str(), request.max_tokens), ("great house", 5));
    assert_eq!(json!(request.body), json!({"temperature": 0.5, "seed": 9}));
    assert_eq!((request.prompt_tokens_asked, request.prompt_tokens_counted), (9, Some(9)));
    let talk = plain.request(1);
    assert_eq!((talk.prompt.as_str(), talk.history.len(), talk.max_tokens), ("three", 2, 16));
    assert_eq!((talk.prompt_tokens_asked, plain.lengths(1)), (3 + 7, (3 + 7, 16)));
    assert_eq!(plain.request(2), request, "after the last, the first again");
    assert_eq!((plain.period(), plain.limit()), (Some(2), Some(2)));
    assert!(!plain.sessions());

    let more = Workload {
        prefix: Some("Please:".to_owned()),
        suffix: Some("Go.".to_owned()),
        random_digits: 6,
        seed_per_request: true,
        ..dataset(found)
    };
    let more = exact(more, 1, "s");
    let request = more.request(0);
    assert!(request.prompt.ends_with(" Please: great house Go."), "{}", request.prompt);
    assert_eq!(request.prompt_tokens_asked, tokens(&request.prompt) + 7);
    assert_eq!(request.body["seed"], json!(9), "a line's own seed wins");
    let talk = more.request(1);
    assert!(talk.history[0].text.ends_with(" one") && talk.history[0].text.len() == 10, "{talk:?}");
    assert!(talk.body.contains_key("seed"));
}

#[test]
fn a_file_that_changed_is_noticed() {
    let (file, found) = data::written("{\"prompt\": \"a\"}");
    let with = dataset(found);
    assert!(check(&with).is_ok());
    std::fs::write(file.path(), "{\"prompt\": \"b\"}").unwrap();
    let Err(DataError::Named { key, error }) = check(&with) else { panic!("it has changed") };
    assert!(key == "workload.dataset" && matches!(*error, DataError::Changed { .. }), "{key}: {error}");
    let error = Source::open(with, 1, "s", Arc::new(BundledTokenizer)).err().expect("an error").to_string();
    assert!(error.contains("has changed since the experiment was read"), "{error}");
}

#[test]
fn a_look_ahead_reads_what_a_sample_leaves_out() {
    let (_file, found) = data::written("{\"prompt\": \"a\"}\n{\"prompt\": 3}");
    let mut with = dataset(found);
    let change = |with: &mut Workload, shuffle| {
        let dataset = with.dataset.as_mut().unwrap();
        (dataset.limit, dataset.shuffle) = (Some(1), shuffle);
    };
    change(&mut with, Shuffle::No);
    assert!(check(&with).is_ok(), "the first line alone is asked for");
    change(&mut with, Shuffle::Cell);
    assert!(check(&with).is_err(), "any line may be asked for");
}

fn talks() -> (tempfile::NamedTempFile, Workload) {
    let talk = json!([
        {"conversations": [
            {"from": "system", "value": "be kind"},
            {"from": "human", "value": "first question"}, {"from": "gpt", "value": "first answer"},
            {"from": "human", "value": "second question"}, {"from": "gpt", "value": "second long answer"},
            {"from": "human", "value": "third question"},
        ]},
        {"conversations": [{"from": "human", "value": "only"}, {"from": "gpt", "value": "one"}]},
    ]);
    let (kept, file) = data::written(&talk.to_string());
    let conversations = Conversations {
        file,
        min_turns: 1,
        max_turns: None,
        limit: None,
        shuffle: Shuffle::No,
        think: Some(Pause::Constant { mean: Duration::from_secs(2) }),
        recorded_lengths: false,
    };
    (kept, Workload { conversations: Some(conversations), unique_prompts: false, ..workload(1) })
}

fn history(request: &Request) -> Vec<(Role, &str)> {
    request.history.iter().map(|turn| (turn.role, turn.text.as_str())).collect()
}

#[test]
fn a_conversation_goes_on_with_the_servers_answers() {
    let (_kept, with) = talks();
    let source = exact(with.clone(), 1, "s");
    assert!(source.sessions());
    assert_eq!([source.session_len(0), source.session_len(1), source.session_len(2)], [3, 1, 3]);
    assert_eq!((source.period(), source.limit()), (Some(2), None));
    assert_eq!([source.think(0, 0), source.think(0, 1)], [Duration::ZERO, Duration::from_secs(2)]);
    let first = source.turn(0, 0, 10, &[]);
    assert_eq!((first.prompt.as_str(), history(&first)), ("first question", vec![(Role::System, "be kind")]));
    assert_eq!(first.prompt_tokens_asked, 7 + 2 + 2);
    assert_eq!(source.request(2), first, "without answers an arrival is a conversation's first turn");
    let answers = ["really said".to_owned(), String::new()];
    let third = source.turn(0, 2, 12, &answers);
    assert_eq!(third.prompt, "third question");
    let want = [
        (Role::System, "be kind"),
        (Role::User, "first question"),
        (Role::Assistant, "really said"),
        (Role::User, "second question"),
        (Role::Assistant, "second long answer"),
    ];
    assert_eq!(history(&third), want, "the file's answer stands in for an empty one");
    let texts = third.history.iter().map(|turn| &turn.text).chain([&third.prompt]);
    let counted: u32 = 7 + texts.map(|text| tokens(text)).sum::<u32>();
    assert_eq!((third.prompt_tokens_asked, third.prompt_tokens_counted), (counted, Some(counted)));
    assert_eq!(history(&source.turn(0, 1, 11, &[]))[2], (Role::Assistant, "first answer"));

    let mut lengths = with.clone();
    lengths.conversations.as_mut().unwrap().recorded_lengths = true;
    let lengths = exact(lengths, 1, "s");
    assert_eq!([lengths.turn(0, 1, 0, &[]).max_tokens, lengths.turn(0, 2, 0, &[]).max_tokens], [3, 1]);
    assert_eq!(source.turn(0, 1, 0, &[]).max_tokens, 16);
    assert_eq!(lengths.turn(1, 7, 0, &[]).prompt, "only", "a turn beyond the last is the last");
}

#[test]
fn digits_stand_before_the_whole_conversation() {
    let (_kept, with) = talks();
    let source = exact(Workload { random_digits: 8, ..with }, 1, "s");
    let [first, second] = [source.turn(0, 0, 0, &[]), source.turn(0, 1, 1, &[])];
    assert_eq!(first.history[0], second.history[0], "a turn finds what the one before left in the cache");
    assert!(first.history[0].text.ends_with(" be kind"), "{:?}", first.history[0]);
    assert_ne!(source.turn(2, 0, 2, &[]).history[0], first.history[0]);
    let alone = source.turn(1, 0, 3, &[]);
    assert_eq!((alone.prompt.len(), alone.prompt_tokens_asked), (13, tokens(&alone.prompt) + 7));
}

fn sessions(prompt_tokens: u32, turns: Lengths) -> Workload {
    let think = Some(Pause::Exponential { mean: Duration::from_secs(1) });
    Workload { session: Some(Sessions { turns, think }), ..workload(prompt_tokens) }
}

#[test]
fn generated_turns_are_as_long_as_asked_and_keep_their_words() {
    let with = Workload {
        prefix: Some("You are kind.".to_owned()),
        suffix: Some("Go on.".to_owned()),
        shared_prefix: Some(SharedPrefix { length: SharedLength::Tokens(10), groups: 1 }),
        ..sessions(50, Lengths::constant(3))
    };
    let source = exact(with, 1, "s");
    let answers = ["a first answer".to_owned()];
    let turns = [0, 1, 2].map(|turn| source.turn(5, turn, turn.into(), &answers[..turn.min(1) as usize]));
    assert_eq!(source.session_len(5), 3);
    assert_eq!(tokens(&turns[0].prompt) + 7, 50);
    assert!(turns[0].prompt.starts_with("You are kind. ") && turns[0].prompt.ends_with(" Go on."));
    assert_eq!(turns[0].prompt_tokens_asked, 50);
    assert_eq!(tokens(&turns[1].prompt), 50);
    assert!(!turns[1].prompt.contains("You are kind."), "only a conversation's beginning has the prefix");
    assert_eq!(turns[1].prompt_tokens_asked, 50 + 3 + 50);
    let last = history(&turns[2]);
    assert_eq!(last[..2], [(Role::User, turns[0].prompt.as_str()), (Role::Assistant, "a first answer")]);
    assert_eq!(last[2], (Role::User, turns[1].prompt.as_str()));
    assert_eq!(tokens(last[3].1), 16, "an answer of the asked length stands in");
    assert_eq!(turns[2].prompt_tokens_asked, 50 + 3 + 50 + 16 + 50);
    let shared = words(&turns[0].prompt)[3..13].join(" ");
    let other = source.turn(6, 0, 9, &[]);
    assert_eq!(words(&other.prompt)[3..13].join(" "), shared);
    assert_ne!(words(&other.prompt)[13..], words(&turns[0].prompt)[13..]);
}

#[test]
fn numbers_of_turns_and_pauses_follow_their_distributions() {
    let source = exact(sessions(10, Lengths::shaped(LengthShape::Uniform, 4, 0.5)), 1, "s");
    let n = 2000;
    let mut turns = [0_u32; 8];
    let mut pause = 0.0;
    for session in 0..n {
        turns[source.session_len(session) as usize] += 1;
        pause += source.think(session, 1).as_secs_f64();
        assert_eq!(source.think(session, 0), Duration::ZERO);
    }
    // Four standard errors: of a binomial count with p = 1/5, of an exponential mean.
    assert!(turns[2..=6].iter().all(|count| count.abs_diff(400) <= 72), "{turns:?}");
    assert_eq!(turns[2..=6].iter().sum::<u32>(), 2000);
    assert!((pause / n as f64 - 1.0).abs() <= 4.0 / (n as f64).sqrt(), "{pause}");
    assert_ne!(source.think(1, 1), source.think(1, 2));
}

fn trace(text: &str) -> (tempfile::NamedTempFile, Workload) {
    let (kept, file) = data::written(text);
    let trace = TraceSettings { file, format: None, scale: 1.0, skip: 0, limit: None, times: true };
    (kept, Workload { trace: Some(trace), ..workload(1) })
}

#[test]
fn prompts_of_a_trace_share_the_blocks_that_it_says() {
    let text = [
        json!({"timestamp": 0, "input_length": 1600, "output_length": 9, "hash_ids": [0, 1, 2, 3]}),
        json!({"timestamp": 10, "input_length": 1300, "output_length": 8, "hash_ids": [0, 1, 7]}),
        json!({"timestamp": 20, "input_length": 700, "output_length": 7, "hash_ids": [0]}),
        json!({"timestamp": 20, "input_length": 700, "output_length": 7, "hash_ids": [0]}),
    ]
    .map(|line| line.to_string())
    .join("\n");
    let (_kept, with) = trace(&text);
    let source = exact(with.clone(), 1, "s");
    let prompts: Vec<String> = (0..8).map(|seq| source.request(seq).prompt).collect();
    for (seq, (asked, output)) in
        [(1600, 9), (1300, 8), (700, 7), (700, 7), (1600, 9)].into_iter().enumerate()
    {
        let request = source.request(seq as u64);
        assert_eq!((request.prompt_tokens_asked, request.max_tokens), (asked, output));
        assert_eq!(tokens(&request.prompt) + 7, asked);
    }
    let common = |a: &str, b: &str| words(a).into_iter().zip(words(b)).take_while(|(a, b)| a == b).count();
    assert_eq!(common(&prompts[0], &prompts[1]), 1024);
    assert_eq!(common(&prompts[0], &prompts[2]), 512);
    assert_eq!(common(&prompts[2], &prompts[3]), 512, "what lies behind the last block is each one's own");
    assert!(common(&prompts[0], &prompts[4]) < 4, "the next round is not met in the cache");
    assert_eq!(common(&prompts[4], &prompts[5]), 1024);
    assert!(common(&prompts[0], &exact(with, 1, "other").request(0).prompt) < 4);
    let at: Vec<u64> = source.trace().unwrap().entries.iter().map(|entry| entry.at_us).collect();
    assert_eq!((at, source.period()), (vec![0, 10_000, 20_000, 20_000], Some(4)));
}

#[test]
fn pictures_go_with_prompts() {
    let sizes = vec![ImageSize { width: 16, height: 8 }];
    let images = Some(Images { count: 2, sizes, pool: 8, files: Vec::new() });
    let with = |salt| exact(Workload { images: images.clone(), ..workload(20) }, 1, salt);
    let request = with("a").request(3);
    assert_eq!((request.images.len(), request.prompt_tokens_asked), (2, 20));
    assert_eq!(request, with("a").request(3));
    assert_ne!(request.images, with("b").request(3).images, "another run's pictures are others");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_generated_request_is_what_was_asked_and_a_pure_function(
        asked in 40..400_u32, seed in any::<u64>(), seq in any::<u64>(), batch in 1..4_u32, digits in 0..30_u32,
        share in 0.01..1.0_f64, groups in 1..5_u32, shares in any::<bool>(), unique in any::<bool>(),
    ) {
        let shared = SharedPrefix { length: SharedLength::Share(share), groups };
        let with = Workload {
            batch,
            random_digits: if shares { 0 } else { digits },
            shared_prefix: shares.then_some(shared),
            unique_prompts: unique,
            ..workload(asked)
        };
        let request = exact(with.clone(), seed, "s").request(seq);
        for text in request.more.iter().chain([&request.prompt]) {
            prop_assert_eq!(tokens(text) + 7, asked);
        }
        prop_assert_eq!(request.prompt_tokens_asked, asked * batch);
        prop_assert_eq!(request, exact(with, seed, "s").request(seq));
    }
}
