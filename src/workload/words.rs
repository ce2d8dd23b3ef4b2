//! Words that are one token each, to make prompts of an exact length from.

use std::collections::HashMap;
use std::sync::LazyLock;

use rand_chacha::ChaCha8Rng;

use super::random;

/// Fewest words that prompts are made from: 16 of them, the usual block of a prefix cache,
/// still make 10²⁴ different blocks.
const FEWEST: usize = 32;

/// Words of which each is one token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// One token each at the start of a text.
    openers: Vec<Box<str>>,
    /// One token each after a space, before a space or the end.
    rest: Vec<Box<str>>,
}

/// Common English words, each one token alone and after a space in GPT-2's, GPT-3's, GPT-4's
/// and GPT-4o's vocabularies, of which those of Llama 3 and Qwen are descendants.
static COMMON: LazyLock<Words> = LazyLock::new(|| {
    let words: Vec<Box<str>> = include_str!("words.txt").lines().map(Box::from).collect();
    Words { openers: words.clone(), rest: words }
});

impl Words {
    /// `None` when there are too few: no opener, or fewer than 32 others.
    #[must_use]
    pub fn new(openers: Vec<Box<str>>, rest: Vec<Box<str>>) -> Option<Self> {
        (!openers.is_empty() && rest.len() >= FEWEST).then_some(Self { openers, rest })
    }

    /// The words that come with Plimsoll.
    #[must_use]
    pub fn common() -> &'static Self {
        &COMMON
    }

    /// Words that may begin a text.
    #[must_use]
    pub fn openers(&self) -> &[Box<str>] {
        &self.openers
    }

    /// Words that may follow another.
    #[must_use]
    pub fn rest(&self) -> &[Box<str>] {
        &self.rest
    }

    /// Adds `count` words drawn from `rng` to a text, with a space between each two. The text is
    /// empty, ends in a word, or in white space that parts it from what comes.
    pub(super) fn push(&self, text: &mut String, count: usize, rng: &mut ChaCha8Rng) {
        let goes_on = !text.is_empty() && !text.ends_with(char::is_whitespace);
        // After a prefix that ends in a space, too, a word is one after a space.
        let first = if goes_on || text.ends_with(' ') { &self.rest } else { &self.openers };
        for k in 0..count {
            let from = if k == 0 { first } else { &self.rest };
            if k > 0 || goes_on {
                text.push(' ');
            }
            text.push_str(&from[random::below(rng, from.len())]);
        }
    }
}

/// Of `candidates`, those that are one token after a space, by one question to a tokenizer.
///
/// The question has each candidate between two separators whose id is known; what lies
/// between two of them in the answer is the candidate. `ids` gives a text's token ids.
/// Empty when no separator can be told in the answer, as with tokenizers that take a space
/// for a token of its own.
///
/// # Errors
/// Those of `ids`.
pub fn one_token_words<'a, E>(
    candidates: &[&'a str],
    ids: &mut dyn FnMut(&str) -> Result<Vec<u64>, E>,
) -> Result<Vec<&'a str>, E> {
    for separator in ["the", "and", "of", "in", "is"] {
        let row = ids(&[separator; 5].join(" "))?;
        let Some([a, b, c]) = row.last_chunk::<3>() else { continue };
        // One special token may stand before the five.
        if a != b || b != c || !(5..=6).contains(&row.len()) {
            continue;
        }
        let candidates: Vec<&'a str> = candidates.iter().copied().filter(|w| *w != separator).collect();
        let mut question = separator.to_owned();
        for word in &candidates {
            question.push(' ');
            question.push_str(word);
            question.push(' ');
            question.push_str(separator);
        }
        let answer = ids(&question)?;
        // Before the first separator that is told by its id there is the opening one, which
        // may have another id than one after a space.
        let opening = usize::from(row.len() == 6) + usize::from(row[row.len() - 5] != *a);
        let Some(answer) = answer.get(opening..) else { continue };
        let mut parts: Vec<&[u64]> = answer.split(|id| id == a).collect();
        if opening == usize::from(row.len() == 6) {
            parts.remove(0);
        }
        if parts.len() == candidates.len() + 1 && parts.last().is_some_and(|p| p.is_empty()) {
            // An id that stands for several words is that of the unknown.
            let mut seen: HashMap<u64, usize> = HashMap::new();
            parts.iter().filter(|p| p.len() == 1).for_each(|p| *seen.entry(p[0]).or_default() += 1);
            let one = |part: &[u64]| part.len() == 1 && seen.get(&part[0]) == Some(&1);
            return Ok(candidates.into_iter().zip(parts).filter(|(_, p)| one(p)).map(|(w, _)| w).collect());
        }
    }
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn the_words_are_plain_and_many() {
        let words = Words::common();
        let unique: HashSet<_> = words.rest.iter().collect();
        assert_eq!(unique.len(), 1024);
        assert!(words.rest.iter().all(|w| w.len() >= 5 && w.bytes().all(|b| b.is_ascii_lowercase())));
    }

    #[test]
    fn the_words_are_one_token_in_common_vocabularies() {
        for (name, bpe) in [
            ("gpt-2", tiktoken_rs::r50k_base_singleton()),
            ("gpt-4", tiktoken_rs::cl100k_base_singleton()),
            ("gpt-4o", tiktoken_rs::o200k_base_singleton()),
        ] {
            let all = Words::common().rest.join(" ");
            assert_eq!(bpe.encode_ordinary(&all).len(), 1024, "{name}: after a space");
            let alone = Words::common().openers.join("\n");
            assert_eq!(bpe.encode_ordinary(&alone).len(), 2 * 1024 - 1, "{name}: without a space");
        }
    }

    /// A tokenizer that knows some words, takes two tokens for any other, and may put a
    /// special token first or give a text's first word another id.
    fn ids(text: &str, known: &[&str], special: bool, first_differs: bool) -> Vec<u64> {
        let table: HashMap<&str, u64> = known.iter().copied().zip(10..).collect();
        let mut out = vec![1; usize::from(special)];
        for (k, word) in text.split(' ').enumerate() {
            match table.get(word) {
                Some(id) => out.push(id + if k == 0 && first_differs { 1000 } else { 0 }),
                None => out.extend([2, 3]),
            }
        }
        out
    }

    #[test]
    fn one_question_finds_the_one_token_words() {
        let known = ["and", "house", "water", "time"];
        let candidates = ["house", "plimsoll", "water", "zyzzyva", "time"];
        for special in [false, true] {
            for first_differs in [false, true] {
                let mut asked = 0;
                let found = one_token_words(&candidates, &mut |text| {
                    asked += 1;
                    Ok::<_, Infallible>(ids(text, &known, special, first_differs))
                });
                assert_eq!(found, Ok(vec!["house", "water", "time"]), "{special} {first_differs}");
                assert_eq!(asked, 3, "the first separator is no token, the second one is");
            }
        }
    }

    #[test]
    fn odd_tokenizers_yield_nothing_rather_than_wrong_words() {
        let candidates = ["house", "water"];
        // Every space is a token.
        let spaced = one_token_words(&candidates, &mut |text| {
            Ok::<_, Infallible>(text.split_inclusive(' ').flat_map(|w| [w.len() as u64, 0]).collect())
        });
        assert_eq!(spaced, Ok(Vec::new()));
        assert_eq!(one_token_words(&candidates, &mut |_| Ok::<_, Infallible>(Vec::new())), Ok(Vec::new()));
        assert_eq!(one_token_words(&candidates, &mut |_| Err::<Vec<u64>, _>("gone")), Err("gone"));
    }
}
