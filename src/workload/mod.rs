//! What is asked: lengths and prompt texts, as a pure function of (seed, salt, arrival).

use std::sync::Arc;

use crate::experiment::Workload;

/// The content of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub prompt: String,
    pub prompt_tokens_asked: u32,
    /// As the tokenizer in use counts `prompt`.
    pub prompt_tokens_counted: Option<u32>,
    pub max_tokens: u32,
}

/// Counts and makes tokens.
pub trait Tokenizer: Send + Sync {
    /// `bundled`, `file` or `server`.
    fn name(&self) -> &str;
    /// Tokens of `text`, without special tokens.
    fn count(&self, text: &str) -> u32;
}

/// Makes the requests of one cell. Random access, so that each load core makes its own.
pub struct Source {
    #[allow(dead_code)]
    workload: Workload,
    #[allow(dead_code)]
    seed: u64,
    #[allow(dead_code)]
    salt: String,
    tokenizer: Arc<dyn Tokenizer>,
}

impl Source {
    /// A source for one cell. `seed` decides the lengths, `salt` with it the texts.
    #[must_use]
    pub fn new(workload: Workload, seed: u64, salt: &str, tokenizer: Arc<dyn Tokenizer>) -> Self {
        Self { workload, seed, salt: salt.to_owned(), tokenizer }
    }

    /// The tokenizer in use.
    #[must_use]
    pub fn tokenizer(&self) -> &Arc<dyn Tokenizer> {
        &self.tokenizer
    }

    /// Prompt and output length of arrival `seq`, without making the text.
    #[must_use]
    pub fn lengths(&self, seq: u64) -> (u32, u32) {
        let _ = seq;
        unreachable!("written next")
    }

    /// Arrival `seq`, whole.
    #[must_use]
    pub fn request(&self, seq: u64) -> Request {
        let _ = seq;
        unreachable!("written next")
    }
}
