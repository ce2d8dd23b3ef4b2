//! What was found out about a server, for another machine that is to load it: it asks nothing again,
//! and makes the same prompts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::ask::Asker;
use super::tokenize::Dialect;
use super::{DiscoverError, Endpoint, Found, ServerTokenizer, client, is_loopback, probe, shown, speaker};
use crate::experiment::Target;
use crate::provider::{Provider, join};
use crate::workload::{BundledTokenizer, FileTokenizer, Tokenizer, TokenizerError};

/// See the module. Holds no secret: keys are the other machine's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Base URL, without the API's path.
    pub base: String,
    /// The model's name as the server knows it.
    pub model: String,
    /// Name of the provider that speaks to it.
    pub api: String,
    /// Whether answers' lengths are to be forced.
    pub force_length: bool,
    /// Datatypes of the model's inputs, where the server tells them.
    pub inputs: BTreeMap<String, String>,
    /// What prompts are made of.
    pub vocabulary: Vocabulary,
    /// Tokens that the server adds to each prompt, where that is known.
    pub overhead: Option<u32>,
}

/// What a tokenizer is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vocabulary {
    /// The words that come with Plimsoll.
    Bundled,
    /// A tokenizer's file, at the same path on every machine, and the SHA-256 of what is in it.
    File(PathBuf, String),
    /// The server's own: words that are one token each there.
    Server {
        /// How it is asked for the length of a text.
        dialect: Dialect,
        /// One token each at the start of a text.
        openers: Vec<String>,
        /// One token each after a space.
        rest: Vec<String>,
    },
}

/// Whether the keys that the target names are in this machine's environment, as far as it asks for
/// any without which nothing can be sent.
///
/// # Errors
/// The first that is missing.
pub fn look_for_keys(target: &Target) -> Result<(), DiscoverError> {
    let lenient = target.is_sim() || Url::parse(&target.url).is_ok_and(|url| is_loopback(&url));
    client::headers(target, lenient, |name| std::env::var(name).ok(), &mut Vec::new()).map(drop)
}

/// SHA-256 of a tokenizer's file, in hexadecimal.
pub(super) fn digest(path: &Path) -> Result<String, TokenizerError> {
    let read = |e: std::io::Error| TokenizerError::Read { path: path.to_owned(), reason: e.to_string() };
    let bytes = std::fs::read(path).map_err(read)?;
    Ok(Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What [`Facts::take_up`] gives: where load goes, what speaks to it, and what makes its prompts.
pub type TakenUp = (Endpoint, Arc<dyn Provider>, Arc<dyn Tokenizer>);

impl Found {
    /// What another machine has to know of this server.
    #[must_use]
    pub fn facts(&self) -> Facts {
        Facts {
            base: self.endpoint.base.to_string(),
            model: self.endpoint.model.clone(),
            api: self.api.clone(),
            force_length: self.endpoint.force_length,
            inputs: self.inputs.clone(),
            vocabulary: self.vocabulary.clone(),
            overhead: self.overhead,
        }
    }
}

impl Facts {
    /// Make of it, on this machine and with its environment's keys, what a cell is sent by. Nothing
    /// is asked of the server.
    ///
    /// # Errors
    /// When a variable with a key is not set here, or a tokenizer's file is not here.
    pub fn take_up(&self, target: &Target) -> Result<TakenUp, DiscoverError> {
        let url = |text: &str| {
            Url::parse(text).map_err(|e| DiscoverError::Unreachable {
                url: text.to_owned(),
                reason: e.to_string(),
                advice: String::new(),
            })
        };
        let base = url(&self.base)?;
        // What the API is decides where a key goes.
        let target = &Target { api: self.api.clone(), ..target.clone() };
        let headers =
            client::headers(target, is_loopback(&base), |name| std::env::var(name).ok(), &mut Vec::new())?;
        let tokenizer: Arc<dyn Tokenizer> = match &self.vocabulary {
            Vocabulary::Bundled => Arc::new(BundledTokenizer),
            Vocabulary::File(path, hash) => {
                if digest(path)? != *hash {
                    let reason = "it is another file here than where the run was begun".to_owned();
                    return Err(TokenizerError::Read { path: path.clone(), reason }.into());
                }
                Arc::new(FileTokenizer::read(path)?)
            }
            Vocabulary::Server { dialect, openers, rest } => {
                let asker = Arc::new(Asker::new(target, &base, headers.clone(), Arc::new(|| false))?);
                let at = join(&client::root(&base), "/tokenize");
                let words = (openers.as_slice(), rest.as_slice());
                let made = ServerTokenizer::of(&asker, (at.clone(), &self.model), *dialect, words);
                Arc::new(made.ok_or_else(|| DiscoverError::NoTokenizer {
                    url: shown(&at),
                    reason: "too few words".to_owned(),
                })?)
            }
        };
        let tokenizer = probe::templated(tokenizer, self.overhead);
        let provider =
            speaker(target, &self.api, &self.inputs).ok_or_else(|| DiscoverError::Api(self.api.clone()))?;
        let endpoint = Endpoint { base, model: self.model.clone(), headers, force_length: self.force_length };
        Ok((endpoint, provider.into(), tokenizer))
    }
}
