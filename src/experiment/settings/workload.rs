//! What is asked of the server: prompts, lengths, how much of an answer is read.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::experiment::content::{
    Conversations, Dataset, Images, LengthFile, Sessions, SharedPrefix, TraceSettings, is_none_left, is_one,
};

/// What is asked of the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    pub prompt_tokens: Lengths,
    pub max_tokens: Lengths,
    /// A fixed prompt (text, or the content of `@file`) instead of generated ones.
    pub prompt: Option<String>,
    /// Text put before each generated prompt.
    pub prefix: Option<String>,
    pub tokenizer: TokenizerChoice,
    /// Every prompt differs from every other (the default). `false`: the same prompts in
    /// each repeat and run, for the study of prefix caching.
    pub unique_prompts: bool,
    pub stream: bool,
    /// Ask the server for exactly `max_tokens` (`ignore_eos`, `min_tokens`).
    pub force_length: ForceLength,
    /// Sampling settings by their wire names.
    pub sampling: Map<String, Value>,
    /// Where an answer is left. Left out of `plan.json` where it is the end.
    #[serde(default, skip_serializing_if = "StopAfter::is_end")]
    pub stop_after: StopAfter,
    /// Share of the requests that this client cuts off in mid-answer, as users do: more than 0, at
    /// most 1. `None`: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<f64>,
    /// Text put after each generated prompt. This and what follows is left out of `plan.json`
    /// where it is not asked for, so that a plan made before the key existed keeps its hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suffix: Option<String>,
    /// Random digits put in front of every prompt, against caching.
    #[serde(default, skip_serializing_if = "is_none_left")]
    pub random_digits: u32,
    /// Prompts, or documents to rank, that one request bears; at least 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub batch: u32,
    /// Length of a query apart from the documents to rank, which then have `prompt_tokens`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_tokens: Option<Lengths>,
    /// Prompts from a file instead of generated ones, line by line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<Dataset>,
    /// Conversations of several turns from a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversations: Option<Conversations>,
    /// Conversations of several generated turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Sessions>,
    /// A beginning that generated prompts have in common.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_prefix: Option<SharedPrefix>,
    /// Pictures that go with each prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<Images>,
    /// A recorded load, whose lengths and shared blocks are asked for again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceSettings>,
    /// Send a `seed` of its own with each request (`seed = "per_request"`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub seed_per_request: bool,
    /// Texts of the answers to so many first arrivals of the cell are kept, and of so many
    /// refusals of each load core; a conversation is one arrival. At most 10,000.
    #[serde(default, skip_serializing_if = "is_none_left")]
    pub keep_answers: u32,
}

/// Most answers of a cell whose texts are kept.
pub const MAX_KEPT_ANSWERS: u32 = 10_000;

const fn one() -> u32 {
    1
}

impl Default for Workload {
    /// What a file without `[workload]` asks for.
    fn default() -> Self {
        Self {
            prompt_tokens: Lengths::constant(512),
            max_tokens: Lengths::constant(128),
            prompt: None,
            prefix: None,
            tokenizer: TokenizerChoice::Auto,
            unique_prompts: true,
            stream: true,
            force_length: ForceLength::Auto,
            sampling: Map::new(),
            stop_after: StopAfter::End,
            cancel: None,
            suffix: None,
            random_digits: 0,
            batch: 1,
            query_tokens: None,
            dataset: None,
            conversations: None,
            session: None,
            shared_prefix: None,
            images: None,
            trace: None,
            seed_per_request: false,
            keep_answers: 0,
        }
    }
}

impl Workload {
    /// Whether `prompt_tokens` has a say: prompts are generated, and not after a trace.
    #[must_use]
    pub const fn asks_prompt_lengths(&self) -> bool {
        self.prompt.is_none()
            && self.dataset.is_none()
            && self.conversations.is_none()
            && self.trace.is_none()
    }

    /// Whether `max_tokens` has a say.
    #[must_use]
    pub fn asks_output_lengths(&self) -> bool {
        self.trace.is_none() && !self.conversations.as_ref().is_some_and(|c| c.recorded_lengths)
    }

    /// Whether it can be told before what a server counts as a request's prompt: not where it
    /// bears texts that nobody measured, pictures, or a conversation's template.
    #[must_use]
    pub const fn foretells_prompt_tokens(&self) -> bool {
        self.dataset.is_none()
            && self.conversations.is_none()
            && self.session.is_none()
            && self.images.is_none()
            && self.query_tokens.is_none()
    }
}

/// How much of each answer is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopAfter {
    #[default]
    End,
    /// Hang up after the first token: for the study of prefill alone.
    FirstToken,
}

impl StopAfter {
    fn is_end(&self) -> bool {
        *self == Self::End
    }
}

/// Whether to send `ignore_eos` and `min_tokens`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForceLength {
    /// Ask once before the run; send them if the server takes them.
    Auto,
    Always,
    Never,
}

/// A distribution of lengths in tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lengths {
    /// Of `empirical` lengths, what the file's come to, rounded.
    pub mean: u32,
    pub shape: LengthShape,
    /// Width relative to the mean: half-width of `uniform`, standard deviation of `normal` and
    /// `lognormal`.
    pub range: f64,
    /// Upper bound.
    pub cap: Option<u32>,
    /// Lower bound; `None`: 1. Left out of `plan.json`, as the two below, where it is not asked
    /// for, so that a plan made before the key existed keeps its hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    /// Each length is up to this share longer or shorter than it was drawn, evenly; 0 to 1.
    #[serde(default, skip_serializing_if = "is_none_left")]
    pub jitter: f64,
    /// Where `empirical` lengths are from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<LengthFile>,
}

impl Lengths {
    /// Always `tokens`.
    #[must_use]
    pub const fn constant(tokens: u32) -> Self {
        Self::shaped(LengthShape::Constant, tokens, 0.0)
    }

    /// Lengths of a shape, mean and relative width, without further bounds.
    #[must_use]
    pub const fn shaped(shape: LengthShape, mean: u32, range: f64) -> Self {
        Self { mean, shape, range, cap: None, min: None, jitter: 0.0, file: None }
    }

    /// Whether every length is the mean.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        self.shape == LengthShape::Constant && self.jitter == 0.0
    }
}

/// Shape of a [`Lengths`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LengthShape {
    Constant,
    Uniform,
    Normal,
    Exponential,
    Lognormal,
    /// Drawn from a file's lengths.
    Empirical,
}

/// Which tokenizer makes prompts of the asked length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenizerChoice {
    /// The server's `/tokenize` if it has one, else the bundled one.
    Auto,
    /// A Hugging Face `tokenizer.json`.
    File(PathBuf),
    /// The server's `/tokenize`; an error if it has none.
    Server,
    Bundled,
}
