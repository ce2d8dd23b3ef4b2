//! Makes prompt texts of exact lengths: digits, prefix, shared words, own words, suffix.
//!
//! What stands around the words is measured once, by counting a sample; a text is then made of
//! as many words as are left of the asked length.

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;

use super::Tokenizer;
use super::random;
use super::trace::BLOCK_TOKENS;
use crate::experiment::{SharedLength, SharedPrefix, Workload};

/// Words of the texts that are counted to measure what stands around them.
const SAMPLE: usize = 64;

/// What is told apart: texts of different keys differ.
#[derive(Clone, Copy)]
pub(super) struct Key<'a> {
    /// Kind of text, such as `text` or `query`.
    pub(super) kind: &'a str,
    pub(super) seq: u64,
    /// Whether it stands first in its request or conversation: digits, prefix and shared words
    /// come before it.
    pub(super) opens: bool,
    /// Shared blocks that it begins with, and the round of the trace that they are asked for in.
    pub(super) blocks: (&'a [u64], u64),
}

impl<'a> Key<'a> {
    pub(super) const fn new(kind: &'a str, seq: u64) -> Self {
        Self { kind, seq, opens: true, blocks: (&[], 0) }
    }
}

/// A text, and its tokens with all that the server adds.
pub(super) struct Made {
    pub(super) text: String,
    pub(super) tokens: u32,
}

/// Makes the texts of one cell.
pub(super) struct Texts {
    tokenizer: Arc<dyn Tokenizer>,
    seed: u64,
    salt: String,
    /// Texts repeat in every cell and run: neither seed nor salt has a say in them.
    repeats: bool,
    prefix: String,
    suffix: String,
    shared: Option<SharedPrefix>,
    digits: usize,
    /// Tokens of the digits of the sample, to correct those of others by.
    sample_digits: u32,
    /// Tokens of a generated text beside its words, for one that opens and one that doesn't:
    /// digits, prefix and suffix, template, what the tokenizer makes of the seams between them.
    around: [i64; 2],
}

impl Texts {
    pub(super) fn new(workload: &Workload, seed: u64, salt: &str, tokenizer: Arc<dyn Tokenizer>) -> Self {
        let mut prefix = workload.prefix.clone().unwrap_or_default();
        if !prefix.is_empty() && !prefix.ends_with(char::is_whitespace) {
            prefix.push(' ');
        }
        let mut suffix = workload.suffix.clone().unwrap_or_default();
        if !suffix.is_empty() && !suffix.starts_with(char::is_whitespace) {
            suffix.insert(0, ' ');
        }
        let mut texts = Self {
            tokenizer,
            seed,
            salt: salt.to_owned(),
            repeats: !workload.unique_prompts,
            prefix,
            suffix,
            shared: workload.shared_prefix,
            digits: workload.random_digits as usize,
            sample_digits: 0,
            around: [0, 0],
        };
        texts.sample_digits = texts.tokenizer.count(&texts.digits_of(u64::MAX));
        texts
    }

    /// Measures what stands around generated words: may ask the server.
    pub(super) fn measure(&mut self, with_later_turns: bool) {
        let measure = |opens: bool| {
            let text = self.compose(&Key { opens, ..Key::new("text", u64::MAX) }, SAMPLE, 0);
            i64::from(self.tokenizer.count_exactly(&text)) - SAMPLE as i64
        };
        let opening = measure(true) + i64::from(self.tokenizer.overhead());
        let later = if with_later_turns { measure(false) } else { 0 };
        self.around = [opening, later];
    }

    /// A generated text of `asked` tokens, but at least one word.
    pub(super) fn generate(&self, key: &Key<'_>, asked: u32) -> Made {
        let around = self.around[usize::from(!key.opens)] + self.correction(key);
        let words = (i64::from(asked) - around).max(1);
        Made {
            text: self.compose(key, usize::try_from(words).unwrap_or(1), asked),
            tokens: u32::try_from(words + around).unwrap_or(0),
        }
    }

    /// A given text with what is put around it.
    pub(super) fn around(&self, text: &str, opens: bool) -> String {
        let prefix = if opens { self.prefix.as_str() } else { "" };
        [prefix, text, &self.suffix].concat()
    }

    /// `text` with its digits in front, where there are any.
    pub(super) fn numbered(&self, text: &str, seq: u64) -> String {
        match self.digits {
            0 => text.to_owned(),
            _ => format!("{} {text}", self.digits_of(seq)),
        }
    }

    /// Tokens by which the digits of `seq` differ from the sample's.
    pub(super) fn digits_differ(&self, seq: u64) -> i64 {
        // An estimate knows no difference between digits.
        if self.digits == 0 || !self.tokenizer.is_exact() {
            return 0;
        }
        i64::from(self.tokenizer.count(&self.digits_of(seq))) - i64::from(self.sample_digits)
    }

    /// Tokens of the digits of `seq`.
    pub(super) fn digit_tokens(&self, seq: u64) -> u32 {
        if self.digits == 0 { 0 } else { self.tokenizer.count(&self.digits_of(seq)) }
    }

    /// Random numbers that decide a text.
    pub(super) fn stream(&self, kind: &str, seq: u64) -> ChaCha8Rng {
        if self.repeats {
            return random::stream(&format!("{kind} that repeats"), 0, "", seq);
        }
        random::stream(kind, self.seed, &self.salt, seq)
    }

    fn correction(&self, key: &Key<'_>) -> i64 {
        if key.opens { self.digits_differ(key.seq) } else { 0 }
    }

    /// Digits are there against caching: they differ even where texts repeat.
    fn digits_of(&self, seq: u64) -> String {
        let mut rng = random::stream("digits", self.seed, &self.salt, seq);
        (0..self.digits).map(|_| char::from(b'0' + random::below(&mut rng, 10) as u8)).collect()
    }

    /// A text of `count` words and what stands around them. The first words that are not
    /// shared already differ from those of other arrivals, so that no block of a prefix cache
    /// is met again by chance.
    fn compose(&self, key: &Key<'_>, count: usize, asked: u32) -> String {
        let words = self.tokenizer.words();
        let mut text = String::with_capacity(self.prefix.len() + self.suffix.len() + 9 * count);
        let mut left = count;
        if key.opens {
            if self.digits > 0 {
                text.push_str(&self.digits_of(key.seq));
                text.push(' ');
            }
            text.push_str(&self.prefix);
            if let Some(shared) = self.shared {
                let mut rng = random::stream("shared prefix", self.seed, "", key.seq);
                let group = random::below(&mut rng, shared.groups as usize);
                let take = shared_words(shared, asked, left);
                words.push(&mut text, take, &mut self.stream("shared prefix text", group as u64));
                left -= take;
            }
        }
        let (blocks, round) = key.blocks;
        if !blocks.is_empty() {
            // In another round of the trace the blocks are others: the first ones are cached.
            let kind = format!("block of round {round}");
            for id in blocks {
                let take = left.min(BLOCK_TOKENS);
                words.push(&mut text, take, &mut self.stream(&kind, *id));
                left -= take;
            }
        }
        words.push(&mut text, left, &mut self.stream(key.kind, key.seq));
        text.push_str(&self.suffix);
        text
    }
}

/// Of `words`, those that are shared: all but one at most, or the prompt would not be new.
fn shared_words(shared: SharedPrefix, asked: u32, words: usize) -> usize {
    let wanted = match shared.length {
        SharedLength::Tokens(tokens) => tokens as usize,
        SharedLength::Share(share) => (f64::from(asked) * share).round() as usize,
    };
    wanted.min(words.saturating_sub(1))
}
