//! What is asked: lengths and prompt texts, as a pure function of (seed, salt, arrival).
//!
//! Lengths depend on the seed alone, so that two runs of one experiment pair request by
//! request; texts depend on the salt too, so that the second run doesn't find its prompts
//! in the server's prefix cache. A prompt is a row of words, each known to be one token
//! for the tokenizer in use, so its length is exact without tokenizing it.
//!
//! Prompts may also come from files: data sets, conversations, traces. Those are read when a
//! [`Source`] is opened, and held to the hash that the plan has of them.

mod bundled;
mod conversations;
mod data;
mod dataset;
mod file;
mod images;
mod lengths;
mod messages;
pub(crate) mod random;
mod sessions;
mod source;
mod texts;
mod trace;
mod words;

use serde_json::{Map, Value};

use crate::provider::{Image, Turn};

pub use bundled::BundledTokenizer;
pub(crate) use bundled::estimate;
pub use data::DataError;
pub use file::{FileTokenizer, TokenizerError};
pub use source::{Source, check};
pub use trace::{BLOCK_TOKENS, Trace, TraceEntry};
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
    /// to report it: prefix and chat template included, all texts of a request together. Of
    /// texts that come from a file it is what the tokenizer counts; pictures, and the template
    /// of earlier turns, are left out.
    pub prompt_tokens_asked: u32,
    /// As the tokenizer in use counts all texts, with the server's overhead where that is
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

#[cfg(test)]
mod content_tests;
#[cfg(test)]
mod tests;
