//! A tokenizer on the other side of the wire: the server's own `/tokenize`.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::ask::Asker;
use super::{Engine, Vocabulary};
use crate::provider::http_error;
use crate::workload::{Tokenizer, Words, estimate, one_token_words};

/// Words asked about in one question: with separators and odd words it stays below the
/// context of the smallest models.
const PER_QUESTION: usize = 256;
/// Words tried as the first of a prompt, each by its own question.
const OPENERS: usize = 16;

/// How `/tokenize` is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// `{"model", "prompt"}`: vLLM, SGLang, the simulator.
    Prompt,
    /// `{"content"}`: llama.cpp.
    Content,
    /// `{"inputs"}`: TGI, whose answer is a list.
    Inputs,
}

/// Makes prompts by the server's own vocabulary. It is asked when it is found, and once per
/// cell; [`Tokenizer::count`] asks nothing and is an estimate for texts other than prompts.
pub struct ServerTokenizer {
    asker: Arc<Asker>,
    url: Url,
    model: String,
    dialect: Dialect,
    words: Words,
    known: HashSet<Box<str>>,
}

impl ServerTokenizer {
    /// Find out how the server tokenizes, and which words to make prompts from. The error
    /// says why it can't be used.
    pub(super) fn find(asker: &Arc<Asker>, url: &Url, model: &str, engine: Engine) -> Result<Self, String> {
        let dialects = match engine {
            Engine::LlamaCpp => &[Dialect::Content, Dialect::Prompt][..],
            Engine::Tgi => &[Dialect::Inputs],
            _ => &[Dialect::Prompt, Dialect::Content],
        };
        let mut reason = String::new();
        for &dialect in dialects {
            let mut ids = |text: &str| ids(asker, url, model, dialect, text);
            match ids("the first of all") {
                // llama.cpp finds no text where it doesn't look, and says that it has no tokens.
                Ok(row) if !row.is_empty() => {
                    let words = find_words(&mut ids)?;
                    let known = words.rest().iter().cloned().collect();
                    let model = model.to_owned();
                    return Ok(Self {
                        asker: Arc::clone(asker),
                        url: url.clone(),
                        model,
                        dialect,
                        words,
                        known,
                    });
                }
                Ok(_) => reason = "it finds no tokens in a text".to_owned(),
                Err(e) => reason = e,
            }
        }
        Err(reason)
    }

    /// The same by what another process has found, without asking again. `None` when these are too
    /// few words.
    pub(super) fn of(
        asker: &Arc<Asker>,
        (url, model): (Url, &str),
        dialect: Dialect,
        (openers, rest): (&[String], &[String]),
    ) -> Option<Self> {
        let boxed = |words: &[String]| words.iter().map(|word| Box::from(word.as_str())).collect();
        let words = Words::new(boxed(openers), boxed(rest))?;
        let known = words.rest().iter().cloned().collect();
        Some(Self { asker: Arc::clone(asker), url, model: model.to_owned(), dialect, words, known })
    }

    /// What [`ServerTokenizer::of`] makes it again from.
    pub(super) fn vocabulary(&self) -> Vocabulary {
        let owned = |words: &[Box<str>]| words.iter().map(|word| word.to_string()).collect();
        Vocabulary::Server {
            dialect: self.dialect,
            openers: owned(self.words.openers()),
            rest: owned(self.words.rest()),
        }
    }
}

impl Tokenizer for ServerTokenizer {
    fn name(&self) -> &str {
        "server"
    }

    fn count(&self, text: &str) -> u32 {
        estimate(text, |word| self.known.contains(word))
    }

    fn count_exactly(&self, text: &str) -> u32 {
        let counted = ids(&self.asker, &self.url, &self.model, self.dialect, text);
        // What it could tell a moment ago it can't now: the estimate is the best there is, and
        // the server's usage will show a difference.
        counted.ok().and_then(|ids| u32::try_from(ids.len()).ok()).unwrap_or_else(|| self.count(text))
    }

    fn words(&self) -> &Words {
        &self.words
    }
}

fn find_words(ids: &mut dyn FnMut(&str) -> Result<Vec<u64>, String>) -> Result<Words, String> {
    let common: Vec<&str> = Words::common().rest().iter().map(|w| &**w).collect();
    let mut found: Vec<Box<str>> = Vec::new();
    for some in common.chunks(PER_QUESTION) {
        found.extend(one_token_words(some, ids)?.into_iter().map(Box::from));
    }
    let mut openers = Vec::new();
    for word in &found {
        if openers.len() == OPENERS {
            break;
        }
        if ids(word)?.len() == 1 {
            openers.push(word.clone());
        }
    }
    Words::new(openers, found)
        .ok_or_else(|| "too few common words are one token in its vocabulary".to_owned())
}

/// The token ids of `text`, without special tokens.
fn ids(asker: &Asker, url: &Url, model: &str, dialect: Dialect, text: &str) -> Result<Vec<u64>, String> {
    let body = match dialect {
        Dialect::Prompt => json!({ "model": model, "prompt": text, "add_special_tokens": false }),
        Dialect::Content => json!({ "content": text, "add_special": false }),
        Dialect::Inputs => json!({ "inputs": text, "add_special_tokens": false }),
    };
    let answer = asker.post(url, body.to_string()).map_err(|e| e.words(url).0)?;
    if !answer.is_ok() {
        return Err(format!("HTTP {}: {}", answer.status, http_error(answer.status, &answer.body).1));
    }
    let doc: Value = serde_json::from_slice(&answer.body).map_err(|e| format!("no JSON: {e}"))?;
    let tokens = doc.get("tokens").unwrap_or(&doc).as_array().ok_or("no \"tokens\" in the answer")?;
    tokens
        .iter()
        .map(|t| t.as_u64().or_else(|| t.get("id").and_then(Value::as_u64)))
        .collect::<Option<_>>()
        .ok_or_else(|| "tokens that are no numbers".to_owned())
}
