//! The server under test, seen from outside before and between cells: which model it
//! serves, what it is, whether it can count tokens, whether it is idle.
//!
//! Everything here blocks, on a small runtime of its own, and must not be called from
//! inside another. Each question has its own connection: nothing depends on how a server
//! treats kept-alive ones.

mod ask;
mod client;
mod detect;
mod facts;
mod hook;
mod identity;
mod idle;
mod life;
mod models;
mod post;
mod probe;
mod route;
mod secrets;
mod tls;
mod tokenize;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use url::Url;

use crate::experiment::{Settings, Target, TokenizerChoice};
use crate::exposition;
use crate::provider::{self, Provider, join};
use crate::workload::{BundledTokenizer, FileTokenizer, Tokenizer, TokenizerError};

pub use ask::Stop;
pub use client::{ClientError, USER_AGENT, client_builder, is_loopback, plain_client};
pub use detect::{Spoken, detect};
pub use facts::{Facts, Vocabulary, look_for_keys};
pub use hook::{HookError, run_command, run_hook};
pub use identity::{Engine, Identity, ModelInfo};
pub use idle::{Idle, wait_idle};
pub use life::{LaunchError, Launcher, Up};
pub use post::{Post, PostError, Poster};
pub use route::Route;
pub use secrets::Secrets;
pub use tls::tls_config;
pub use tokenize::ServerTokenizer;

use ask::{Answer, AskError, Asker};
use idle::IdleSign;

/// A server, found and ready to be loaded.
#[derive(Clone)]
pub struct Endpoint {
    /// Base URL, without the API's path.
    pub base: url::Url,
    /// The model's name as the server knows it.
    pub model: String,
    /// Headers of every request, secrets resolved. Never logged, never stored.
    pub headers: Vec<(String, String)>,
    /// Whether the server takes `ignore_eos`/`min_tokens` and they are wanted.
    pub force_length: bool,
}

/// What [`discover`] found out.
pub struct Found {
    pub endpoint: Endpoint,
    /// Name of the provider that speaks to it: `target.api`, or what `auto` was found to be.
    pub api: String,
    /// For the run's record of its environment. Holds no secret.
    pub identity: Identity,
    /// Makes and counts this server's prompts.
    pub tokenizer: Arc<dyn Tokenizer>,
    /// What a person should know, a sentence each.
    pub notes: Vec<String>,
    /// Where the server tells its figures, in Prometheus' text.
    pub metrics: Option<Url>,
    /// Whether the server tells how many requests it has in hand.
    pub gauges: bool,
    /// Datatypes of the model's inputs, where the server tells them.
    inputs: BTreeMap<String, String>,
    /// What `tokenizer` is made of, and what it adds to each prompt.
    vocabulary: Vocabulary,
    overhead: Option<u32>,
    asker: Arc<Asker>,
    idle: IdleSign,
}

/// A server that can't be loaded, in a person's words.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// No answer at all.
    #[error("cannot reach {url}: {reason}. {advice}")]
    Unreachable { url: String, reason: String, advice: String },
    /// A person wants no more of it.
    #[error("stopped while asking the server")]
    Stopped,
    /// 401 or 403.
    #[error("{url} refuses access (HTTP {status}): {words}. Check target.api_key_env and target.headers")]
    Refused { url: String, status: u16, words: String },
    /// `model = "auto"`, and the server names none.
    #[error("target.model is \"auto\", but {url} names no model ({words}). Name one in target.model")]
    NoModel { url: String, words: String },
    /// A variable that the file names is not set.
    #[error("the environment variable {name}, named by {key}, is not set. Set it, or take {key} out")]
    NoVariable { name: String, key: String },
    /// A header that can't be sent. Its value is not shown: it may be a secret.
    #[error("{key}: {reason}")]
    Header { key: String, reason: String },
    /// `target.api` names no provider.
    #[error("target.api = \"{0}\" is not known")]
    Api(String),
    /// `api = "auto"`, and the server gives no sign that is known.
    #[error(
        "target.api is \"auto\", but {url} speaks no API that is known ({tried}). Name one in target.api"
    )]
    NoApi { url: String, tried: String },
    /// `api = "auto"`, and the server speaks one that can't be spoken to.
    #[error(
        "target.api is \"auto\", and {url} speaks \"{api}\" ({because}), which this version has no provider for"
    )]
    NoProvider { url: String, api: String, because: String },
    /// `api = "auto"`, and what the server speaks has no place for pictures.
    #[error(
        "workload.images asks for pictures, and {url} speaks \"{api}\", which has no place for them. Leave them out, or \
         name an API that takes them in target.api"
    )]
    NoImages { url: String, api: String },
    /// Several texts in a request are wanted of a server whose API takes one.
    #[error(
        "workload.batch asks for several texts in a request, and {url} speaks \"{api}\", which takes one. Leave it out, \
         or name an API that takes them in target.api"
    )]
    NoBatches { url: String, api: String },
    /// `workload.tokenizer = "server"`, and the server has no usable one.
    #[error("workload.tokenizer is \"server\", but {url} doesn't tokenize: {reason}. Use \"auto\" or a file")]
    NoTokenizer { url: String, reason: String },
    #[error("workload.tokenizer: {0}")]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl Found {
    /// What speaks to it, with what `target` says beside the API's name.
    #[must_use]
    pub fn provider(&self, target: &Target) -> Option<Box<dyn Provider>> {
        speaker(target, &self.api, &self.inputs)
    }
}

fn speaker(target: &Target, api: &str, inputs: &BTreeMap<String, String>) -> Option<Box<dyn Provider>> {
    let options = provider::Options { inputs: inputs.clone(), ..target.options() };
    provider::find(api).map(|entry| (entry.build)(&options))
}

impl DiscoverError {
    /// Whether what the user asked for is at fault, and not the server.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        match self {
            Self::NoVariable { .. } | Self::Header { .. } | Self::Api(_) | Self::Tokenizer(_) => true,
            Self::Client(e) => e.is_usage(),
            Self::Unreachable { .. } | Self::Stopped | Self::Refused { .. } => false,
            Self::NoModel { .. } | Self::NoTokenizer { .. } => false,
            Self::NoApi { .. } | Self::NoProvider { .. } | Self::NoImages { .. } | Self::NoBatches { .. } => {
                false
            }
        }
    }

    fn unreachable(url: &Url, error: &AskError) -> Self {
        let (reason, advice) = error.words(url);
        Self::Unreachable { url: shown(url), reason, advice }
    }
}

/// Find out all that a run has to know of the server at `base`: the target's URL, or where
/// the embedded simulator listens.
///
/// Sends a few small requests (at most six completions of at most 8 tokens).
///
/// # Errors
/// When the server can't be reached, refuses access, or lacks what the settings ask for.
/// A server that merely fails some requests is noted, not refused: its cells will tell.
pub fn discover(settings: &Settings, base: Url) -> Result<Found, DiscoverError> {
    discover_until(settings, base, Arc::new(|| false))
}

/// [`discover`], given up as soon as `stop` says so, as are all later questions to what was
/// found.
///
/// # Errors
/// As [`discover`], and [`DiscoverError::Stopped`].
pub fn discover_until(settings: &Settings, base: Url, stop: Stop) -> Result<Found, DiscoverError> {
    // Past a stop each question fails at once, so the outcome is worth nothing.
    let found = ask_all(settings, base, Arc::clone(&stop));
    if stop() { Err(DiscoverError::Stopped) } else { found }
}

fn ask_all(settings: &Settings, base: Url, stop: Stop) -> Result<Found, DiscoverError> {
    let mut notes = Vec::new();
    let settings = &resolved(settings, &base, &stop, &mut notes)?;
    let target = &settings.target;
    let provider = target.provider().ok_or_else(|| DiscoverError::Api(target.api.clone()))?;
    hold_to_found(settings, provider.as_ref(), &base, &mut notes)?;
    let lenient = target.is_sim() || is_loopback(&base);
    let headers = client::headers(target, lenient, |name| std::env::var(name).ok(), &mut notes)?;
    let asker = Arc::new(Asker::new(target, &base, headers.clone(), stop)?);

    let listed = models::list(&asker, &base, &target.api)?;
    let mut identity = listed.identity.clone();
    let model = listed.choose(&target.model, &mut notes)?;
    let inputs = models::inputs(&asker, &base, &target.api, &model);
    let provider =
        speaker(target, &target.api, &inputs).ok_or_else(|| DiscoverError::Api(target.api.clone()))?;
    let root = client::root(&base);
    let metrics_url = join(&root, "/metrics");
    let metrics = asker.get(&metrics_url).ok().filter(Answer::is_ok);
    let metrics = metrics.map(|a| String::from_utf8_lossy(&a.body).into_owned());
    if let Ok(version) = asker.get(&join(&root, "/version")) {
        identity.take_version(&version);
    }
    identity.guess_engine(metrics.as_deref());
    listed.name_engine(&mut identity);
    identity.note_limits(&model, settings, &mut notes);
    let told = exposition::parse(metrics.as_deref().unwrap_or_default());
    let gauges = exposition::in_hand(&told.readings).is_some();
    // A page for people at that path has lines that are none of Prometheus'.
    let metrics = (told.bad.is_none() && !told.readings.is_empty()).then(|| metrics_url.clone());

    let (vocabulary, tokenizer) = tokenizer(settings, &asker, &root, &model, &identity, &mut notes)?;
    let probe =
        probe::Probe { asker: &asker, settings, provider: provider.into(), base: &base, model: &model };
    let learnt = match models::is_probed(target) {
        true => probe.learn(&tokenizer, &mut notes)?,
        false => probe::Learnt { answered: false, force_length: false, overhead: None },
    };
    let tokenizer = probe::templated(tokenizer, learnt.overhead);
    let idle = match (gauges, learnt.answered) {
        (true, _) => IdleSign::Gauges(metrics_url),
        (false, true) => probe.idle_sign(),
        (false, false) => IdleSign::None,
    };
    let api = target.api.clone();
    let endpoint = Endpoint { base, model, headers, force_length: learnt.force_length };
    let overhead = learnt.overhead;
    Ok(Found {
        endpoint,
        api,
        identity,
        tokenizer,
        notes,
        metrics,
        gauges,
        inputs,
        vocabulary,
        overhead,
        asker,
        idle,
    })
}

/// The settings with the API that the server speaks in the place of `auto`.
fn resolved(
    settings: &Settings,
    base: &Url,
    stop: &Stop,
    notes: &mut Vec<String>,
) -> Result<Settings, DiscoverError> {
    let mut settings = settings.clone();
    if settings.target.api == detect::AUTO {
        let (target, note) = detect::resolve(&settings.target, base, Arc::clone(stop))?;
        settings.target = target;
        notes.push(note);
    }
    Ok(settings)
}

/// What the file asks for, held to the API that was found: where it names the API itself, that
/// was done when it was read, and nothing is left to tell.
fn hold_to_found(
    settings: &Settings,
    provider: &dyn Provider,
    base: &Url,
    notes: &mut Vec<String>,
) -> Result<(), DiscoverError> {
    let (features, api) = (provider.features(), &settings.target.api);
    if settings.workload.images.is_some() && !features.takes_images {
        return Err(DiscoverError::NoImages { url: shown(base), api: api.clone() });
    }
    let several = settings.workload.batch > 1 || settings.workload.query_tokens.is_some();
    if several && !features.takes_batches {
        return Err(DiscoverError::NoBatches { url: shown(base), api: api.clone() });
    }
    if settings.workload.stream && !features.streams {
        notes.push(format!("the API \"{api}\" has no streams: answers come whole, and have no TTFT"));
    }
    Ok(())
}

/// What is known of a server without asking it: enough to send it a cell's requests and
/// record how they fail. For a server that can't be found once a sweep is under way.
///
/// # Errors
/// When the settings themselves can't be used.
pub fn undiscovered(settings: &Settings, base: Url, stop: Stop) -> Result<Found, DiscoverError> {
    let target = &settings.target;
    let headers = client::headers(target, true, |name| std::env::var(name).ok(), &mut Vec::new())?;
    let asker = Arc::new(Asker::new(target, &base, headers.clone(), stop)?);
    // Something has to be sent, and it is answered by nobody.
    let api = if target.api == detect::AUTO { "openai-chat" } else { &target.api };
    let usual = target.provider().and_then(|provider| provider.features().model);
    let model = usual.filter(|_| target.model == "auto").unwrap_or(&target.model).to_owned();
    Ok(Found {
        endpoint: Endpoint { base, model, headers, force_length: false },
        api: api.to_owned(),
        identity: Identity::default(),
        tokenizer: Arc::new(BundledTokenizer),
        notes: Vec::new(),
        metrics: None,
        gauges: false,
        inputs: BTreeMap::new(),
        vocabulary: Vocabulary::Bundled,
        overhead: None,
        asker,
        idle: IdleSign::None,
    })
}

/// The tokenizer that the settings choose.
fn tokenizer(
    settings: &Settings,
    asker: &Arc<Asker>,
    root: &Url,
    model: &str,
    identity: &Identity,
    notes: &mut Vec<String>,
) -> Result<(Vocabulary, Arc<dyn Tokenizer>), DiscoverError> {
    let ask = || ServerTokenizer::find(asker, &join(root, "/tokenize"), model, identity.engine);
    let bundled = || (Vocabulary::Bundled, Arc::new(BundledTokenizer) as Arc<dyn Tokenizer>);
    let own = |found: ServerTokenizer| (found.vocabulary(), Arc::new(found) as Arc<dyn Tokenizer>);
    Ok(match &settings.workload.tokenizer {
        TokenizerChoice::File(path) => {
            (Vocabulary::File(path.clone(), facts::digest(path)?), Arc::new(FileTokenizer::read(path)?))
        }
        TokenizerChoice::Bundled => bundled(),
        TokenizerChoice::Server => own(ask()
            .map_err(|reason| DiscoverError::NoTokenizer { url: shown(&join(root, "/tokenize")), reason })?),
        TokenizerChoice::Auto => match ask() {
            Ok(found) => own(found),
            Err(reason) => {
                notes.push(format!(
                    "no exact prompt lengths from the server's /tokenize ({reason}); prompts are made of \
                     common words that are one token each in most vocabularies"
                ));
                bundled()
            }
        },
    })
}

/// Where a path at the target `base`, or a whole URL, leads; and whether that is the target itself,
/// whose key is for it alone.
fn address(base: &Url, text: &str) -> Result<(Url, bool), url::ParseError> {
    let path = text.starts_with('/');
    let url = if path { base.join(text)? } else { Url::parse(text)? };
    let own = path && url.origin() == base.origin();
    Ok((url, own))
}

/// An address as people may see it: without the password or key that it may hold.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    // Only an address that can't have a password refuses to lose it.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    url.to_string()
}

/// The string at `key` of an object.
fn text_at(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests;
