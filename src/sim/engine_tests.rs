//! The engine, step by step: every time and every count exact.

use std::time::Duration;

use proptest::prelude::*;

use super::super::knob::Rate;
use super::*;

/// 1000 ns a step, 10 a decoding sequence, 1 a prefill token; nothing else in the way.
fn config() -> Config {
    Config {
        step_base: Duration::from_nanos(1000),
        step_per_seq: Duration::from_nanos(10),
        step_per_prefill_token: Duration::from_nanos(1),
        step_jitter: Rate(0.0),
        max_num_seqs: 8,
        max_num_batched_tokens: 100,
        block_size: 4,
        kv_blocks: 1000,
        max_model_len: 400,
        prefix_cache: false,
        ..Config::default()
    }
}

fn request(id: RequestId, prompt: u32, output: u32) -> NewRequest {
    let prompt = (0..u64::from(prompt)).map(|n| id * 100_000 + n).collect();
    NewRequest { id, prompt, output, finish: Finish::Length, slow: false }
}

/// One step: what it computed, and its events.
fn step(engine: &mut Engine, now_ns: u64) -> (Option<Step>, Vec<Event>) {
    let mut events = Vec::new();
    let step = engine.start_step(now_ns, &mut events);
    if step.is_some() {
        engine.finish_step(&mut events);
    }
    (step, events)
}

fn token(id: RequestId, n: u32) -> Event {
    Event::Token { id, n, finish: None }
}

fn last(id: RequestId, n: u32) -> Event {
    Event::Token { id, n, finish: Some(Finish::Length) }
}

fn admitted(id: RequestId, at_ns: u64, cached_tokens: u32) -> Event {
    Event::Admitted { id, at_ns, cached_tokens }
}

#[test]
fn a_lone_request_prefills_once_and_decodes_the_rest() {
    let mut e = Engine::new(&config());
    assert_eq!(step(&mut e, 0).0, None);
    e.submit(request(1, 30, 3)).unwrap();
    let (s, events) = step(&mut e, 7);
    assert_eq!(s, Some(Step { duration_ns: 1030, decoding: 0, prefill_tokens: 30 }));
    assert_eq!(events, [admitted(1, 7, 0), token(1, 1)]);
    let (s, events) = step(&mut e, 8);
    assert_eq!(s, Some(Step { duration_ns: 1010, decoding: 1, prefill_tokens: 0 }));
    assert_eq!(events, [token(1, 2)]);
    // 30 of the prompt and one of the answer: the second answered token is not yet stored.
    assert_eq!(e.stats().kv_used, 31_u32.div_ceil(4));
    assert_eq!(step(&mut e, 9).1, [last(1, 3)]);
    assert!(e.is_idle());
    assert_eq!((e.stats().kv_used, e.stats().steps), (0, 3));
}

#[test]
fn long_prompts_are_prefilled_in_chunks_beside_decoding_ones() {
    let mut e = Engine::new(&config());
    e.submit(request(1, 10, 9)).unwrap();
    step(&mut e, 0);
    e.submit(request(2, 250, 2)).unwrap();
    // The decoding one takes 1 of the 100 tokens first.
    let steps: Vec<_> = (0..4).map(|n| step(&mut e, n)).collect();
    let computed: Vec<_> = steps.iter().map(|(s, _)| s.unwrap()).collect();
    assert_eq!(computed[0], Step { duration_ns: 1109, decoding: 1, prefill_tokens: 99 });
    assert_eq!(computed[1].prefill_tokens, 99);
    assert_eq!(computed[2].prefill_tokens, 52);
    assert_eq!(computed[3], Step { duration_ns: 1020, decoding: 2, prefill_tokens: 0 });
    assert_eq!(steps[1].1, [token(1, 3)]);
    assert_eq!(steps[2].1, [token(1, 4), token(2, 1)]);
    assert_eq!(steps[3].1, [token(1, 5), last(2, 2)]);
}

#[test]
fn requests_share_the_step_s_budget_in_the_order_of_arrival() {
    let mut e = Engine::new(&config());
    for id in 1..=3 {
        e.submit(request(id, 60, 1)).unwrap();
    }
    let (s, events) = step(&mut e, 0);
    assert_eq!(s.unwrap().prefill_tokens, 100);
    assert_eq!(events, [admitted(1, 0, 0), admitted(2, 0, 0), last(1, 1)]);
    let (s, events) = step(&mut e, 1);
    assert_eq!(s.unwrap().prefill_tokens, 80);
    assert_eq!(events, [admitted(3, 1, 0), last(2, 1), last(3, 1)]);
}

#[test]
fn slots_are_limited_and_the_queue_too() {
    let mut e = Engine::new(&Config { max_num_seqs: 2, max_waiting: Some(1), ..config() });
    for id in 1..=3 {
        e.submit(request(id, 4, 2)).unwrap();
    }
    assert_eq!(e.submit(request(4, 4, 2)), Err(QueueFull));
    step(&mut e, 0);
    assert_eq!((e.stats().running, e.stats().waiting), (2, 1));
    assert_eq!(e.submit(request(4, 4, 2)), Err(QueueFull));
    step(&mut e, 1);
    let (_, events) = step(&mut e, 2);
    assert_eq!(events, [admitted(3, 2, 0), token(3, 1)]);
    e.submit(request(4, 4, 2)).unwrap();
}

#[test]
fn no_queue_at_all_still_fills_the_slots() {
    let mut e = Engine::new(&Config { max_num_seqs: 2, max_waiting: Some(0), ..config() });
    e.submit(request(1, 4, 9)).unwrap();
    e.submit(request(2, 4, 9)).unwrap();
    assert_eq!(e.submit(request(3, 4, 9)), Err(QueueFull));
}

#[test]
fn preemption_frees_the_youngest_and_computes_it_again() {
    // 5 blocks of 4: two requests of 8 tokens fit until one wants a third block.
    let mut e = Engine::new(&Config { kv_blocks: 5, max_model_len: 20, ..config() });
    e.submit(request(1, 8, 6)).unwrap();
    e.submit(request(2, 8, 6)).unwrap();
    let (s, _) = step(&mut e, 0);
    assert_eq!(s.unwrap().prefill_tokens, 16);
    // Both want a third block; there is one. The younger gives up its two.
    let (s, events) = step(&mut e, 1);
    assert_eq!(events, [Event::Preempted { id: 2 }, token(1, 2)]);
    assert_eq!(s, Some(Step { duration_ns: 1010, decoding: 1, prefill_tokens: 0 }));
    assert_eq!((e.stats().kv_used, e.stats().waiting, e.stats().preemptions), (3, 1, 1));
    // It needs 9 tokens, so 3 blocks, and two are free until the first request ends.
    for n in 3..=5 {
        assert_eq!(step(&mut e, u64::from(n)).1, [token(1, n)]);
    }
    assert_eq!(step(&mut e, 6).1, [last(1, 6)]);
    // Computed again: 8 of the prompt and the 1 already answered; then its second token.
    let (s, events) = step(&mut e, 7);
    assert_eq!(s, Some(Step { duration_ns: 1009, decoding: 0, prefill_tokens: 9 }));
    assert_eq!(events, [token(2, 2)], "no second admission, no token twice");
    for n in 3..=5 {
        assert_eq!(step(&mut e, 9).1, [token(2, n)]);
    }
    assert_eq!(step(&mut e, 9).1, [last(2, 6)]);
    assert_eq!(e.stats().kv_used, 0);
}

#[test]
fn the_youngest_preempts_itself_when_it_is_the_one_that_lacks_a_block() {
    let mut e = Engine::new(&Config { kv_blocks: 5, max_model_len: 20, ..config() });
    e.submit(request(1, 9, 9)).unwrap();
    e.submit(request(2, 8, 3)).unwrap();
    step(&mut e, 0);
    assert_eq!(e.stats().kv_used, 5);
    let (s, events) = step(&mut e, 1);
    assert_eq!(events, [Event::Preempted { id: 2 }, token(1, 2)]);
    assert_eq!(s.unwrap().decoding, 1);
    assert_eq!(e.stats().kv_used, 3);
}

#[test]
fn a_prompt_that_finds_too_few_blocks_waits() {
    let mut e =
        Engine::new(&Config { kv_blocks: 5, max_model_len: 20, max_num_batched_tokens: 12, ..config() });
    e.submit(request(1, 8, 3)).unwrap();
    step(&mut e, 0);
    e.submit(request(2, 16, 1)).unwrap();
    // The second gets 11 tokens, which would be 3 blocks where 2 are left: it waits.
    assert_eq!(step(&mut e, 1).1, [token(1, 2)]);
    assert_eq!(e.stats().waiting, 1);
    assert_eq!(step(&mut e, 2).1, [last(1, 3)]);
    let (s, events) = step(&mut e, 3);
    assert_eq!((s.unwrap().prefill_tokens, events), (12, vec![admitted(2, 3, 0)]));
    e.submit(request(3, 4, 2)).unwrap();
    // 4 left of the prompt; the newcomer gets the fifth block and a token.
    let (s, events) = step(&mut e, 4);
    assert_eq!(s.unwrap().prefill_tokens, 8);
    assert_eq!(events, [admitted(3, 4, 0), last(2, 1), token(3, 1)]);
    assert_eq!(e.stats().preemptions, 0);
}

#[test]
fn prompts_that_begin_alike_reuse_whole_blocks() {
    let mut e = Engine::new(&Config { prefix_cache: true, ..config() });
    let long = request(1, 18, 1);
    let mut alike = NewRequest { id: 2, ..long.clone() };
    alike.prompt[10] = 5;
    let same = NewRequest { id: 3, prompt: long.prompt[..16].to_vec(), ..long.clone() };
    e.submit(long).unwrap();
    step(&mut e, 0);
    // Two whole blocks before the difference.
    e.submit(alike).unwrap();
    let (s, events) = step(&mut e, 1);
    assert_eq!((s.unwrap().prefill_tokens, events[0]), (10, admitted(2, 1, 8)));
    // All four blocks are cached, but the last token must be computed.
    e.submit(same.clone()).unwrap();
    let (s, events) = step(&mut e, 2);
    assert_eq!((s.unwrap().prefill_tokens, events[0]), (4, admitted(3, 2, 12)));
    assert_eq!((e.stats().prefix_queries, e.stats().prefix_hits), (18 + 18 + 16, 20));
    assert!(e.forget_prefixes());
    e.submit(NewRequest { id: 4, ..same }).unwrap();
    assert_eq!(step(&mut e, 3).1[0], admitted(4, 3, 0));
}

#[test]
fn aborting_frees_slot_and_blocks() {
    let mut e = Engine::new(&Config { max_num_seqs: 1, ..config() });
    e.submit(request(1, 8, 50)).unwrap();
    e.submit(request(2, 8, 50)).unwrap();
    e.submit(request(3, 8, 50)).unwrap();
    step(&mut e, 0);
    assert!(e.abort(1) && e.abort(2));
    assert!(!e.abort(1));
    assert_eq!((e.stats().kv_used, e.stats().running, e.stats().waiting), (0, 0, 1));
    assert_eq!(step(&mut e, 1).1, [admitted(3, 1, 0), token(3, 1)]);
}

#[test]
fn jitter_is_small_and_repeats_with_the_seed() {
    let durations = |seed| {
        let mut e = Engine::new(&Config { step_jitter: Rate(0.05), seed, ..config() });
        e.submit(request(1, 1, 50)).unwrap();
        (0..50).map(|n| step(&mut e, n).0.unwrap().duration_ns).collect::<Vec<_>>()
    };
    let a = durations(1);
    assert_eq!(a, durations(1));
    assert_ne!(a, durations(2));
    assert!(a.iter().all(|d| (950..=1061).contains(d)));
}

proptest! {
    /// Whatever comes, every request gets each of its tokens once and in order, the KV cache
    /// and the slots are never exceeded, no step computes more than its budget, and in the
    /// end nothing is held.
    #[test]
    fn every_token_comes_once(
        requests in prop::collection::vec((1_u32..30, 1_u32..20, 0_u64..40), 1..25),
        reuse: bool,
        blocks in 13_u32..40,
    ) {
        let c = Config { kv_blocks: blocks, max_model_len: 52, prefix_cache: reuse, max_num_seqs: 5, max_num_batched_tokens: 17, ..config() };
        let mut e = Engine::new(&c);
        let mut pending: Vec<_> = requests.iter().enumerate().collect();
        let mut seen = vec![0_u32; requests.len()];
        let mut ended = 0;
        for now in 0..5_000_u64 {
            pending.retain(|(id, (prompt, output, at))| {
                if *at <= now {
                    // Few distinct prompts, so that blocks are shared.
                    let new = NewRequest { id: *id as u64, ..request((id % 3) as u64, *prompt, *output) };
                    e.submit(new).unwrap();
                }
                *at > now
            });
            let (s, events) = step(&mut e, now);
            if let Some(s) = s {
                prop_assert!(s.decoding + s.prefill_tokens <= 17);
            }
            let stats = e.stats();
            prop_assert!(stats.running <= 5 && stats.kv_used <= blocks);
            for event in events {
                if let Event::Token { id, n, finish } = event {
                    seen[id as usize] += 1;
                    prop_assert_eq!(n, seen[id as usize]);
                    prop_assert_eq!(finish.is_some(), n == requests[id as usize].1);
                    ended += usize::from(finish.is_some());
                }
            }
            if ended == requests.len() { break }
        }
        prop_assert_eq!(ended, requests.len());
        prop_assert!(e.is_idle());
        prop_assert_eq!(e.stats().kv_used, 0);
    }
}

#[test]
fn a_slow_sequence_takes_longer_between_tokens_and_holds_up_nobody() {
    let mut e = Engine::new(&Config { slow_factor: 1.5, ..config() });
    e.submit(NewRequest { slow: true, ..request(1, 4, 5) }).unwrap();
    e.submit(request(2, 4, 5)).unwrap();
    let steps: Vec<_> = (0..7).map(|n| step(&mut e, n)).collect();
    // The first token as anyone's; of the next steps two in three bring one.
    let tokens = |id| {
        let came = |(_, events): &(Option<Step>, Vec<Event>)| {
            events.iter().any(|e| matches!(e, Event::Token { id: whose, .. } if *whose == id))
        };
        steps.iter().map(came).collect::<Vec<_>>()
    };
    assert_eq!(tokens(1), [true, false, true, true, false, true, true]);
    assert_eq!(tokens(2), [true, true, true, true, true, false, false]);
    // It decodes in every step, and costs its part of the time.
    let durations: Vec<_> = steps.iter().map(|(s, _)| s.map(|s| (s.duration_ns, s.decoding))).collect();
    assert_eq!(durations[1], Some((1020, 2)));
    assert_eq!(durations[5], Some((1010, 1)));
    assert!(e.is_idle());
}
