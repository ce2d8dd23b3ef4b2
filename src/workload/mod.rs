//! What is asked: lengths and prompt texts, as a pure function of (seed, salt, arrival).
//!
//! Lengths depend on the seed alone, so that two runs of one experiment pair request by
//! request; texts depend on the salt too, so that the second run doesn't find its prompts
//! in the server's prefix cache. A prompt is a row of words, each known to be one token
//! for the tokenizer in use, so its length is exact without tokenizing it.

mod bundled;
mod file;
mod lengths;
pub(crate) mod random;
mod words;

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::experiment::Workload;
use crate::provider::{Image, Turn};

pub use bundled::BundledTokenizer;
pub(crate) use bundled::estimate;
pub use file::{FileTokenizer, TokenizerError};
pub use words::{Words, one_token_words};

/// The content of one request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    pub prompt: String,
    /// Earlier turns of the conversation, the oldest first.
    pub history: Vec<Turn>,
    /// Further inputs of a request that bears several.
    pub more: Vec<String>,
    pub images: Vec<Image>,
    /// Keys that a line of a data set puts into the body.
    pub body: Map<String, Value>,
    /// Prompt length that the experiment asks for, as the server's `usage.prompt_tokens` is
    /// to report it: prefix and chat template included.
    pub prompt_tokens_asked: u32,
    /// As the tokenizer in use counts `prompt`, with the server's overhead where that is
    /// known. It is more than was asked where prefix and template alone exceed that.
    pub prompt_tokens_counted: Option<u32>,
    pub max_tokens: u32,
}

/// Counts and makes tokens.
pub trait Tokenizer: Send + Sync {
    /// `bundled`, `file` or `server`.
    fn name(&self) -> &str;

    /// Tokens of `text`, without special tokens: cheap, without I/O. An estimate unless
    /// [`Tokenizer::is_exact`].
    fn count(&self, text: &str) -> u32;

    /// Whether [`Tokenizer::count`] is what the server's own tokenizer says.
    fn is_exact(&self) -> bool {
        false
    }

    /// As [`Tokenizer::count`], but may ask the server. Once per cell, never per request.
    fn count_exactly(&self, text: &str) -> u32 {
        self.count(text)
    }

    /// Words that are one token each.
    fn words(&self) -> &Words {
        Words::common()
    }

    /// Tokens that the server adds to each prompt's text (chat template, begin of
    /// sequence), where that was found out; else 0.
    fn overhead(&self) -> u32 {
        0
    }
}

/// Makes the requests of one cell. Random access, so that each load core makes its own.
pub struct Source {
    workload: Workload,
    seed: u64,
    /// What decides the texts; empty where prompts repeat.
    salt: Option<String>,
    tokenizer: Arc<dyn Tokenizer>,
    /// Put before each generated prompt, with the space that parts them.
    prefix: String,
    /// Tokens of a prompt beside its words: prefix, template, what the tokenizer makes of
    /// the seam between them.
    around: i64,
    /// The text of every request and its tokens, when it is fixed.
    fixed: Option<(String, u32)>,
}

impl Source {
    /// A source for one cell. `seed` decides the lengths, `salt` with it the texts.
    ///
    /// With `unique_prompts = false` neither has a say in the texts: arrival k has the same
    /// words in every cell, repeat and run, cut to its length.
    #[must_use]
    pub fn new(workload: Workload, seed: u64, salt: &str, tokenizer: Arc<dyn Tokenizer>) -> Self {
        let overhead = tokenizer.overhead();
        let fixed = workload.prompt.clone().map(|text| {
            let tokens = tokenizer.count_exactly(&text) + overhead;
            (text, tokens)
        });
        let mut prefix = workload.prefix.clone().unwrap_or_default();
        if !prefix.is_empty() && !prefix.ends_with(char::is_whitespace) {
            prefix.push(' ');
        }
        let mut source = Self {
            salt: workload.unique_prompts.then(|| salt.to_owned()),
            workload,
            seed,
            tokenizer,
            prefix,
            around: 0,
            fixed,
        };
        if source.fixed.is_none() {
            source.around = source.measure_around() + i64::from(overhead);
        }
        source
    }

    /// The tokenizer in use.
    #[must_use]
    pub fn tokenizer(&self) -> &Arc<dyn Tokenizer> {
        &self.tokenizer
    }

    /// Prompt and output length of arrival `seq`, without making the text.
    #[must_use]
    pub fn lengths(&self, seq: u64) -> (u32, u32) {
        let prompt = match &self.fixed {
            Some((_, tokens)) => *tokens,
            None => lengths::draw(&self.workload.prompt_tokens, self.seed, "prompt_tokens", seq),
        };
        (prompt, lengths::draw(&self.workload.max_tokens, self.seed, "max_tokens", seq))
    }

    /// Arrival `seq`, whole.
    #[must_use]
    pub fn request(&self, seq: u64) -> Request {
        let (prompt_tokens_asked, max_tokens) = self.lengths(seq);
        if let Some((text, tokens)) = &self.fixed {
            return Request {
                prompt: text.clone(),
                prompt_tokens_asked,
                prompt_tokens_counted: Some(*tokens),
                max_tokens,
                ..Request::default()
            };
        }
        let words = (i64::from(prompt_tokens_asked) - self.around).max(1);
        Request {
            prompt: self.text(seq, usize::try_from(words).unwrap_or(1)),
            prompt_tokens_asked,
            prompt_tokens_counted: u32::try_from(words + self.around).ok(),
            max_tokens,
            ..Request::default()
        }
    }

    /// The prefix, and `words` words. The first words already differ from those of other
    /// arrivals, so that no block of a prefix cache is met again.
    fn text(&self, seq: u64, words: usize) -> String {
        let mut rng = match &self.salt {
            Some(salt) => random::stream("text", self.seed, salt, seq),
            None => random::stream("text that repeats", 0, "", seq),
        };
        self.tokenizer.words().text(&self.prefix, words, &mut rng)
    }

    /// Tokens of a generated text beside one per word, by counting a sample exactly.
    fn measure_around(&self) -> i64 {
        const SAMPLE: usize = 64;
        let text = self.text(u64::MAX, SAMPLE);
        i64::from(self.tokenizer.count_exactly(&text)) - SAMPLE as i64
    }
}

#[cfg(test)]
mod tests;
