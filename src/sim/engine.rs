//! The engine: continuous batching, as a state machine that knows no clock.
//!
//! One step computes tokens for many sequences and takes
//! `step_base + step_per_seq · decoding + step_per_prefill_token · prefill`, with at most
//! `max_num_batched_tokens` tokens in all. Running sequences are served first, in the order
//! of their admission; what is left of the budget admits waiting ones. When the KV cache
//! runs out, the youngest running sequence gives up all its blocks and waits, at the head
//! of the queue, to be computed again with what it had already answered.

use std::collections::VecDeque;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::clock::nanos;
use super::config::Config;
use super::kv::{KvCache, block_hashes};

/// Names a request inside one server.
pub(super) type RequestId = u64;

/// Why a sequence ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    Stop,
    Length,
}

impl Finish {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// A request as the engine sees it.
#[derive(Debug, Clone)]
pub(super) struct NewRequest {
    pub id: RequestId,
    pub prompt: Vec<u64>,
    /// Tokens to answer with, at least 1. Prompt and answer fit `max_model_len`.
    pub output: u32,
    pub finish: Finish,
    /// It takes `slow_factor` times as many steps to each further token.
    pub slow: bool,
}

/// What a step brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// First admission; at the time given to [`Engine::start_step`].
    Admitted { id: RequestId, at_ns: u64, cached_tokens: u32 },
    /// It lost its blocks and waits again.
    Preempted { id: RequestId },
    /// One more token, the `n`-th from 1.
    Token { id: RequestId, n: u32, finish: Option<Finish> },
}

impl Event {
    pub const fn id(&self) -> RequestId {
        match self {
            Self::Admitted { id, .. } | Self::Preempted { id } | Self::Token { id, .. } => *id,
        }
    }
}

/// The queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueueFull;

/// What one step computes, and how long it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub duration_ns: u64,
    pub decoding: u32,
    pub prefill_tokens: u32,
}

/// Gauges and counters of the engine.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct EngineStats {
    pub running: u32,
    pub waiting: u32,
    pub kv_used: u32,
    pub kv_blocks: u32,
    pub steps: u64,
    pub preemptions: u64,
    pub prefix_queries: u64,
    pub prefix_hits: u64,
}

#[derive(Debug)]
struct Seq {
    request: NewRequest,
    hashes: Vec<u64>,
    /// Tokens answered so far.
    answered: u32,
    /// Tokens whose keys and values lie in its blocks.
    computed: u32,
    /// Prompt and, after a preemption, answer have been computed up to the last token.
    prefilled: bool,
    /// Tokens that the running step computes for it.
    scheduled: u32,
    /// Whole prompt blocks that have been made known to the prefix cache.
    published: usize,
    blocks: Vec<u32>,
    admitted_before: bool,
    /// Of a slow one: the part of its next token that is done.
    part: f64,
    /// It decodes in the running step, which doesn't bring it a token yet.
    held: bool,
}

impl Seq {
    fn tokens(&self) -> u32 {
        self.request.prompt.len() as u32 + self.answered
    }

    /// Whether this step brings it no token yet, though it decodes: a slow one's next token is
    /// done by `part` a step.
    fn holds(&mut self, part: f64) -> bool {
        if !self.request.slow || !self.prefilled {
            return false;
        }
        self.part += part;
        // A tenth added up ten times is a little less than one.
        let done = self.part >= 1.0 - 1e-9;
        if done {
            self.part -= 1.0;
        }
        !done
    }
}

/// The state machine. [`Engine::start_step`] and [`Engine::finish_step`] alternate.
#[derive(Debug)]
pub(super) struct Engine {
    base_ns: u64,
    per_seq_ns: u64,
    per_prefill_ns: u64,
    jitter: f64,
    max_seqs: usize,
    max_tokens: u32,
    max_waiting: Option<u32>,
    block_size: u32,
    /// What a step adds to the next token of a slow sequence.
    slow_part: f64,
    kv: KvCache,
    waiting: VecDeque<Seq>,
    running: Vec<Seq>,
    rng: ChaCha8Rng,
    stats: EngineStats,
}

impl Engine {
    pub fn new(config: &Config) -> Self {
        Self {
            base_ns: nanos(config.step_base),
            per_seq_ns: nanos(config.step_per_seq),
            per_prefill_ns: nanos(config.step_per_prefill_token),
            jitter: config.step_jitter.0,
            max_seqs: config.max_num_seqs as usize,
            max_tokens: config.max_num_batched_tokens,
            max_waiting: config.max_waiting,
            block_size: config.block_size,
            slow_part: 1.0 / config.slow_factor,
            kv: KvCache::new(config.kv_blocks, config.prefix_cache),
            waiting: VecDeque::new(),
            running: Vec::new(),
            rng: ChaCha8Rng::seed_from_u64(config.seed),
            stats: EngineStats { kv_blocks: config.kv_blocks, ..EngineStats::default() },
        }
    }

    /// Queue a request.
    ///
    /// # Errors
    /// When as many wait as may, beyond those for which a slot is free.
    pub fn submit(&mut self, request: NewRequest) -> Result<(), QueueFull> {
        let slots = self.max_seqs.saturating_sub(self.running.len());
        let queued = self.waiting.len().saturating_sub(slots);
        let has_slot = self.waiting.len() < slots;
        if !has_slot && self.max_waiting.is_some_and(|max| queued >= max as usize) {
            return Err(QueueFull);
        }
        let hashes = block_hashes(&request.prompt, self.block_size);
        self.waiting.push_back(Seq {
            request,
            hashes,
            answered: 0,
            computed: 0,
            prefilled: false,
            scheduled: 0,
            published: 0,
            blocks: Vec::new(),
            admitted_before: false,
            part: 0.0,
            held: false,
        });
        Ok(())
    }

    /// Forget a request and free what it holds. Whether it was there.
    pub fn abort(&mut self, id: RequestId) -> bool {
        if let Some(at) = self.running.iter().position(|s| s.request.id == id) {
            let mut seq = self.running.remove(at);
            self.kv.give_back(&mut seq.blocks);
            return true;
        }
        let before = self.waiting.len();
        self.waiting.retain(|s| s.request.id != id);
        self.waiting.len() < before
    }

    /// Whether there is nothing to compute.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// Empty the prefix cache, unless a sequence uses a block. Whether it was done.
    pub fn forget_prefixes(&mut self) -> bool {
        self.kv.forget()
    }

    pub fn stats(&self) -> EngineStats {
        EngineStats {
            running: self.running.len() as u32,
            waiting: self.waiting.len() as u32,
            kv_used: self.kv.used(),
            ..self.stats
        }
    }

    /// Choose what the next step computes. `None` when there is nothing.
    pub fn start_step(&mut self, now_ns: u64, events: &mut Vec<Event>) -> Option<Step> {
        let mut budget = self.max_tokens;
        let preempted = self.schedule_running(&mut budget, events);
        if !preempted {
            self.admit(&mut budget, now_ns, events);
        }
        let mut step = Step { duration_ns: 0, decoding: 0, prefill_tokens: 0 };
        for seq in &self.running {
            if seq.prefilled && (seq.scheduled > 0 || seq.held) {
                step.decoding += 1;
            } else {
                step.prefill_tokens += seq.scheduled;
            }
        }
        if step.decoding == 0 && step.prefill_tokens == 0 {
            return None;
        }
        step.duration_ns = self.duration(&step);
        self.stats.steps += 1;
        Some(step)
    }

    /// The step is over: its tokens.
    pub fn finish_step(&mut self, events: &mut Vec<Event>) {
        let kv = &mut self.kv;
        let block_size = self.block_size;
        self.running.retain_mut(|seq| {
            seq.computed += std::mem::take(&mut seq.scheduled);
            let whole = (seq.computed / block_size) as usize;
            while seq.published < whole.min(seq.hashes.len()) {
                kv.publish(seq.blocks[seq.published], seq.hashes[seq.published]);
                seq.published += 1;
            }
            if seq.computed < seq.tokens() {
                return true;
            }
            seq.prefilled = true;
            seq.answered += 1;
            let ended = seq.answered >= seq.request.output;
            let finish = ended.then_some(seq.request.finish);
            events.push(Event::Token { id: seq.request.id, n: seq.answered, finish });
            if ended {
                kv.give_back(&mut seq.blocks);
            }
            !ended
        });
    }

    /// Whether a sequence had to be preempted.
    fn schedule_running(&mut self, budget: &mut u32, events: &mut Vec<Event>) -> bool {
        let mut preempted = false;
        let mut at = 0;
        while at < self.running.len() {
            let seq = &mut self.running[at];
            let n = (seq.tokens() - seq.computed).min(*budget);
            seq.held = n > 0 && seq.holds(self.slow_part);
            if n == 0 || seq.held {
                at += 1;
                continue;
            }
            loop {
                let seq = &mut self.running[at];
                let need = blocks_missing(seq, n, self.block_size);
                if self.kv.take(need, &mut seq.blocks) {
                    seq.scheduled = n;
                    *budget -= n;
                    break;
                }
                preempted = true;
                let youngest = self.running.len() - 1;
                self.preempt_youngest(events);
                if youngest == at {
                    break;
                }
            }
            at += 1;
        }
        preempted
    }

    /// Sequences are scheduled in the order of admission, so the youngest has nothing
    /// scheduled yet and no budget to give back.
    fn preempt_youngest(&mut self, events: &mut Vec<Event>) {
        let Some(mut seq) = self.running.pop() else { return };
        self.kv.give_back(&mut seq.blocks);
        seq.computed = 0;
        seq.published = 0;
        seq.prefilled = false;
        self.stats.preemptions += 1;
        events.push(Event::Preempted { id: seq.request.id });
        self.waiting.push_front(seq);
    }

    fn admit(&mut self, budget: &mut u32, now_ns: u64, events: &mut Vec<Event>) {
        while *budget > 0 && self.running.len() < self.max_seqs {
            let Some(mut seq) = self.waiting.pop_front() else { break };
            // The last token is always computed: its result is what is sampled from.
            let reusable = ((seq.tokens() - 1) / self.block_size) as usize;
            seq.blocks = self.kv.take_cached(&seq.hashes[..reusable.min(seq.hashes.len())]);
            seq.published = seq.blocks.len();
            seq.computed = seq.published as u32 * self.block_size;
            let n = (seq.tokens() - seq.computed).min(*budget);
            let need = blocks_missing(&seq, n, self.block_size);
            if !self.kv.take(need, &mut seq.blocks) {
                self.kv.give_back(&mut seq.blocks);
                (seq.computed, seq.published) = (0, 0);
                self.waiting.push_front(seq);
                break;
            }
            *budget -= n;
            seq.scheduled = n;
            if !seq.admitted_before {
                seq.admitted_before = true;
                self.stats.prefix_queries += u64::from(seq.tokens());
                self.stats.prefix_hits += u64::from(seq.computed);
                events.push(Event::Admitted {
                    id: seq.request.id,
                    at_ns: now_ns,
                    cached_tokens: seq.computed,
                });
            }
            self.running.push(seq);
        }
    }

    fn duration(&mut self, step: &Step) -> u64 {
        let exact = self.base_ns
            + self.per_seq_ns * u64::from(step.decoding)
            + self.per_prefill_ns * u64::from(step.prefill_tokens);
        if self.jitter == 0.0 {
            return exact;
        }
        let factor = 1.0 + self.jitter * self.rng.random_range(-1.0..1.0);
        (exact as f64 * factor) as u64
    }
}

/// Blocks that a sequence lacks to hold `n` more tokens.
fn blocks_missing(seq: &Seq, n: u32, block_size: u32) -> u32 {
    (seq.computed + n).div_ceil(block_size).saturating_sub(seq.blocks.len() as u32)
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
