//! A tokenizer read from a Hugging Face `tokenizer.json`.

use std::path::{Path, PathBuf};

use super::{Tokenizer, Words, one_token_words};

/// Candidates taken from a vocabulary when it has few of the common words.
const FROM_VOCABULARY: usize = 4096;
/// Common words below which the vocabulary's own are taken too.
const ENOUGH: usize = 256;

/// A tokenizer that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// No file, or not one of Hugging Face's.
    #[error("cannot read {path} as a Hugging Face tokenizer.json: {reason}")]
    Read { path: PathBuf, reason: String },
    /// Prompts of an exact length can't be made with it.
    #[error("{path} has too few words that are one token each, to make prompts from")]
    Words { path: PathBuf },
}

/// Counts exactly as the model does whose file it is.
pub struct FileTokenizer {
    inner: tokenizers::Tokenizer,
    words: Words,
}

impl FileTokenizer {
    /// Read a `tokenizer.json` and find the words to make prompts from.
    ///
    /// # Errors
    /// When the file can't be read, or has no such words.
    pub fn read(path: &Path) -> Result<Self, TokenizerError> {
        let unreadable =
            |e: tokenizers::Error| TokenizerError::Read { path: path.to_owned(), reason: e.to_string() };
        let mut inner = tokenizers::Tokenizer::from_file(path).map_err(unreadable)?;
        // A file may say that texts are cut or filled up to a length.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(unreadable)?;
        let words = find_words(&inner).map_err(unreadable)?;
        let words = words.ok_or_else(|| TokenizerError::Words { path: path.to_owned() })?;
        Ok(Self { inner, words })
    }
}

impl Tokenizer for FileTokenizer {
    fn name(&self) -> &str {
        "file"
    }

    fn count(&self, text: &str) -> u32 {
        // Encoding fails only in models that were built wrong, which `read` would have met.
        self.inner.encode_fast(text, false).map_or(0, |e| u32::try_from(e.len()).unwrap_or(u32::MAX))
    }

    fn is_exact(&self) -> bool {
        true
    }

    fn words(&self) -> &Words {
        &self.words
    }
}

fn find_words(inner: &tokenizers::Tokenizer) -> Result<Option<Words>, tokenizers::Error> {
    let mut ids = |text: &str| -> Result<Vec<u64>, tokenizers::Error> {
        Ok(inner.encode_fast(text, false)?.get_ids().iter().map(|id| u64::from(*id)).collect())
    };
    let common: Vec<&str> = Words::common().rest().iter().map(|w| &**w).collect();
    let mut found: Vec<String> = one_token_words(&common, &mut ids)?.into_iter().map(str::to_owned).collect();
    if found.len() < ENOUGH {
        let own = own_words(inner);
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        for word in one_token_words(&own, &mut ids)? {
            if !found.iter().any(|f| f == word) {
                found.push(word.to_owned());
            }
        }
    }
    let mut openers = Vec::new();
    for word in &found {
        if ids(word)?.len() == 1 {
            openers.push(Box::from(word.as_str()));
        }
    }
    Ok(Words::new(openers, found.into_iter().map(String::into_boxed_str).collect()))
}

/// Words in the vocabulary itself, in the order of their ids.
fn own_words(inner: &tokenizers::Tokenizer) -> Vec<String> {
    let mut words: Vec<(u32, String)> = inner
        .get_vocab(false)
        .into_iter()
        .filter_map(|(token, id)| {
            // How byte-level and SentencePiece vocabularies write a space before a word.
            let word = token.strip_prefix('Ġ').or_else(|| token.strip_prefix('▁')).unwrap_or(&token);
            let plain = (3..=12).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_lowercase());
            plain.then(|| (id, word.to_owned()))
        })
        .collect();
    words.sort();
    words.dedup_by(|a, b| a.1 == b.1);
    words.truncate(FROM_VOCABULARY);
    words.into_iter().map(|(_, word)| word).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn write(words: &[&str]) -> tempfile::NamedTempFile {
        let vocab: BTreeMap<&str, usize> = words.iter().copied().chain(["<unk>"]).zip(0..).collect();
        let doc = json!({
            "version": "1.0", "truncation": { "direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0 },
            "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": { "type": "Whitespace" }, "post_processor": null, "decoder": null,
            "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "<unk>" },
        });
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), doc.to_string()).expect("written");
        file
    }

    #[test]
    fn common_words_and_the_files_own() {
        let mut words: Vec<&str> = Words::common().rest().iter().take(100).map(|w| &**w).collect();
        words.extend(["the", "plimsoll", "kedge"]);
        let file = write(&words);
        let tokenizer = FileTokenizer::read(file.path()).expect("a tokenizer");
        assert_eq!(tokenizer.count("the plimsoll, kedge"), 4);
        assert_eq!(tokenizer.count(&"the ".repeat(50)), 50, "a length limit in the file is lifted");
        let found = tokenizer.words().rest();
        assert!(found.iter().any(|w| &**w == "kedge"), "own words fill up the common ones");
        assert_eq!(found.len(), 102, "all but the separator");
        assert!(tokenizer.is_exact());
    }

    #[test]
    fn files_that_do_not_do() {
        let few = write(&["the", "plimsoll"]);
        assert!(matches!(FileTokenizer::read(few.path()), Err(TokenizerError::Words { .. })));
        let missing = FileTokenizer::read(Path::new("no/such/tokenizer.json"));
        let words = missing.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(words.starts_with("cannot read no/such/tokenizer.json"), "{words}");
    }
}
