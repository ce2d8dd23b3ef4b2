//! The bundled tokenizer: no vocabulary, but words that are one token in nearly all of them.
//!
//! Vocabularies are large and slow to load (4 to 35 MB of binary, 45 to 250 ms), and none
//! is the server's own. Prompts made of common words are as exact without one; any other
//! text is estimated.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::{Tokenizer, Words};

static KNOWN: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| Words::common().rest().iter().map(|w| &**w).collect());

/// Counts generated prompts exactly, as far as the server's vocabulary has the common
/// words, and estimates any other text.
#[derive(Debug, Default, Clone, Copy)]
pub struct BundledTokenizer;

impl Tokenizer for BundledTokenizer {
    fn name(&self) -> &str {
        "bundled"
    }

    fn count(&self, text: &str) -> u32 {
        estimate(text, |word| KNOWN.contains(word))
    }
}

/// What a character is to a byte-pair tokenizer's first cut.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Letter,
    Digit,
    Space,
    Line,
    Wide,
    Mark,
}

fn kind(c: char) -> Kind {
    match c {
        'a'..='z' | 'A'..='Z' => Kind::Letter,
        '0'..='9' => Kind::Digit,
        '\n' | '\r' => Kind::Line,
        c if c.is_whitespace() => Kind::Space,
        // Ideographs and other scripts without spaces are near a token a character.
        c if c as u32 >= 0x2E80 => Kind::Wide,
        c if c.is_alphabetic() => Kind::Letter,
        _ => Kind::Mark,
    }
}

/// Tokens of `text`: one for a word that `known` knows, and by rule of thumb for others.
pub(crate) fn estimate(text: &str, known: impl Fn(&str) -> bool) -> u32 {
    let mut tokens = 0;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is = kind(first);
        let end = rest.find(|c| kind(c) != is).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        tokens += match is {
            Kind::Letter if known(run) => 1,
            Kind::Letter => run.chars().count().div_ceil(7),
            Kind::Digit => run.len().div_ceil(3),
            // One space belongs to the word after it.
            Kind::Space => usize::from(run.len() > 1 || after.is_empty()),
            Kind::Line => 1,
            Kind::Wide => run.chars().count(),
            Kind::Mark => run.chars().count().div_ceil(2),
        };
        rest = after;
    }
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_words_are_exact() {
        let text = Words::common().rest().join(" ");
        assert_eq!(BundledTokenizer.count(&text), 1024);
        assert_eq!(BundledTokenizer.count(""), 0);
    }

    #[test]
    fn other_texts_are_near() {
        let bpe = tiktoken_rs::o200k_base_singleton();
        for (what, text) in [
            ("prose", include_str!("../../docs/adding-a-provider.md")),
            ("code", include_str!("mod.rs")),
            ("numbers", "1, 22, 333, 4444 and 55555; 3.14159\n"),
        ] {
            let (want, got) =
                (bpe.encode_ordinary(text).len() as f64, f64::from(BundledTokenizer.count(text)));
            assert!((got / want - 1.0).abs() < 0.25, "{what}: {got} for {want}");
        }
    }
}
