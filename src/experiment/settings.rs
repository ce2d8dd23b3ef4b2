//! What one cell runs with: the checked, completed form of an experiment's sections.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::content::{
    Conversations, Dataset, Images, LengthFile, Sessions, SharedPrefix, TraceSettings, is_none_left, is_one,
};
use crate::provider::{self, Custom, Provider};

/// Everything one cell needs to know. Serialised into the run's `plan.json`; secrets are
/// named (`api_key_env`), never held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub target: Target,
    pub workload: Workload,
    pub load: Load,
    pub cell: CellSettings,
    pub slo: Slo,
    pub client: ClientSettings,
    /// Knobs of the embedded simulator (`[sim]`), by name; used when the target is `sim:`.
    pub sim: BTreeMap<String, Value>,
    /// The parts of a mix: each task (`[task.NAME]`) at each endpoint (`[endpoint.NAME]`), with
    /// target and workload of its own. Empty where the cell is not mixed: then `target` and
    /// `workload` are all there is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// The stages (`[stage.NAME]`) that the window goes through, in order. Empty: one level.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<Stage>,
    /// What a closed loop's user waits after an answer before its next request is due; `None`:
    /// nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub think: Option<Think>,
}

impl Settings {
    /// Every target that a cell asks, with what it is asked: the parts of a mix, or the one.
    pub fn parts(&self) -> impl Iterator<Item = (&Target, &Workload)> {
        let one = self.parts.is_empty().then_some((&self.target, &self.workload));
        one.into_iter().chain(self.parts.iter().map(|part| (&part.target, &part.workload)))
    }

    /// One part as if it were the whole cell: its target, workload and simulator in the cell's
    /// place. `part` is its number in [`Settings::parts()`].
    #[must_use]
    pub fn of_part(&self, part: usize) -> Cow<'_, Self> {
        let Some(part) = self.parts.get(part) else { return Cow::Borrowed(self) };
        Cow::Owned(Self {
            target: part.target.clone(),
            workload: part.workload.clone(),
            sim: part.sim.as_ref().unwrap_or(&self.sim).clone(),
            parts: Vec::new(),
            ..self.clone()
        })
    }

    /// What `of` says of each target, every word once: `a + b`.
    #[must_use]
    pub fn of_targets<'a>(&'a self, of: impl Fn(&'a Target) -> &'a str) -> String {
        let mut words: Vec<&str> = Vec::new();
        for (target, _) in self.parts() {
            if !words.contains(&of(target)) {
                words.push(of(target));
            }
        }
        words.join(" + ")
    }
}

/// One part of a mix. Arrivals are dealt out to parts by weight, at random by the seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The task's name, if there are tasks.
    pub task: Option<String>,
    /// The endpoint's name, if there are several.
    pub endpoint: Option<String>,
    /// Its share of the arrivals, relative to the other parts' weights; more than 0.
    pub weight: f64,
    pub target: Target,
    pub workload: Workload,
    /// Knobs of its own simulator (`[endpoint.NAME.sim]` over `[sim]`); `None`: the cell's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sim: Option<BTreeMap<String, Value>>,
}

/// One stage of a cell: a level of load for a time, with metrics of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    pub name: String,
    pub duration: Duration,
    /// Time over which the load goes over from the level before, within `duration`.
    pub ramp: Duration,
    /// Users (closed loop), or requests per second (open loop).
    pub level: f64,
    /// What is asked of this stage alone.
    pub slo: Slo,
    /// Latency is to be back at the level of an earlier stage.
    pub recovers: Option<Recovery>,
}

/// A stage's latency held against an earlier stage's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// Name of the earlier stage.
    pub of: String,
    /// How much higher it may be, relative: 0.2 is a fifth.
    pub within: f64,
}

/// What [`Target::max_tokens_field`] may be; the first is the usual one.
pub const MAX_TOKENS_FIELDS: [&str; 2] = ["max_tokens", "max_completion_tokens"];

/// Where load goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Base URL as written, such as `http://127.0.0.1:8000`, or `sim:` for the embedded
    /// simulator.
    pub url: String,
    /// Name of a provider, or `auto`: the one that the server is found to speak.
    pub api: String,
    /// Model name, or `auto`: the first that the server lists.
    pub model: String,
    /// Name of the environment variable that holds the API key.
    pub api_key_env: Option<String>,
    /// Further headers. A value `env:NAME` is read from the environment when it is sent and
    /// never stored.
    pub headers: BTreeMap<String, String>,
    /// Keys that override the request's body.
    pub extra_body: Map<String, Value>,
    /// Key of the body that bears the output length asked for: `max_tokens`, or
    /// `max_completion_tokens` for models that refuse the other. Left out of `plan.json` where
    /// it is the usual one, so that a plan made before the key existed keeps its hash.
    #[serde(default = "usual_max_tokens_field", skip_serializing_if = "is_usual_max_tokens_field")]
    pub max_tokens_field: String,
    /// Limit of a whole request.
    pub timeout: Duration,
    pub connect_timeout: Duration,
    /// Limit until the first content; `None`: `timeout` alone.
    pub first_token_timeout: Option<Duration>,
    /// Limit between two reads of a stream; `None`: `timeout` alone.
    pub stall_timeout: Option<Duration>,
    pub tls: Tls,
    /// How connections are made. Left out of `plan.json` where all is as usual, so that a plan
    /// made before these keys existed keeps its hash.
    #[serde(default, skip_serializing_if = "Connections::is_usual")]
    pub connections: Connections,
    /// `[target.custom]`: the API itself, where `api` is `custom`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<Custom>,
}

impl Target {
    /// What the provider is built with.
    #[must_use]
    pub fn options(&self) -> provider::Options {
        provider::Options { custom: self.custom.clone(), ..provider::Options::default() }
    }

    /// The provider that `api` names; `None` when there is none of that name, or the server has
    /// to be asked.
    #[must_use]
    pub fn provider(&self) -> Option<Box<dyn Provider>> {
        provider::find(&self.api).map(|entry| (entry.build)(&self.options()))
    }

    /// Whether the embedded simulator is meant.
    #[must_use]
    pub fn is_sim(&self) -> bool {
        self.url == "sim:"
    }
}

fn usual_max_tokens_field() -> String {
    MAX_TOKENS_FIELDS[0].to_owned()
}

fn is_usual_max_tokens_field(field: &str) -> bool {
    field == MAX_TOKENS_FIELDS[0]
}

/// TLS settings of a target.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Tls {
    /// PEM file with further certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the certificate by which this client shows who it is, and its chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// PEM file with that certificate's private key. Only its path is ever stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Accept any certificate. For tests of one's own server.
    pub insecure: bool,
}

/// How connections to a target are made and kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    pub http: HttpVersion,
    /// Use a connection for one request after another; `false`: a fresh one for each.
    pub keep_alive: bool,
    /// Connect to this Unix socket; the URL then only says what is asked for.
    pub unix_socket: Option<PathBuf>,
    pub proxy: Proxy,
    pub dns: Dns,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            http: HttpVersion::Http1,
            keep_alive: true,
            unix_socket: None,
            proxy: Proxy::Environment,
            dns: Dns::Start,
        }
    }
}

impl Connections {
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// The version of HTTP that a target is spoken to with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpVersion {
    #[serde(rename = "1.1")]
    Http1,
    /// Many requests at once on one connection; without TLS by prior knowledge.
    #[serde(rename = "2")]
    Http2,
}

/// What stands between this client and a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proxy {
    /// What `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say; never towards this
    /// machine itself.
    Environment,
    None,
    /// This one: `http://`, `socks5://` or `socks5h://`; or `env:NAME`, a variable that holds
    /// such a URL, which may then bear a name and password.
    Url(String),
}

/// When the target's name is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dns {
    /// Once, before a cell starts: no request waits for it.
    Start,
    /// For every new connection.
    Connect,
}

/// What is asked of the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    pub prompt_tokens: Lengths,
    pub max_tokens: Lengths,
    /// A fixed prompt (text, or the content of `@file`) instead of generated ones.
    pub prompt: Option<String>,
    /// Text put before each generated prompt.
    pub prefix: Option<String>,
    pub tokenizer: TokenizerChoice,
    /// Every prompt differs from every other (the default). `false`: the same prompts in
    /// each repeat and run, for the study of prefix caching.
    pub unique_prompts: bool,
    pub stream: bool,
    /// Ask the server for exactly `max_tokens` (`ignore_eos`, `min_tokens`).
    pub force_length: ForceLength,
    /// Sampling settings by their wire names.
    pub sampling: Map<String, Value>,
    /// Where an answer is left. Left out of `plan.json` where it is the end.
    #[serde(default, skip_serializing_if = "StopAfter::is_end")]
    pub stop_after: StopAfter,
    /// Share of the requests that this client cuts off in mid-answer, as users do: more than 0, at
    /// most 1. `None`: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<f64>,
    /// Text put after each generated prompt. This and what follows is left out of `plan.json`
    /// where it is not asked for, so that a plan made before the key existed keeps its hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suffix: Option<String>,
    /// Random digits put in front of every prompt, against caching.
    #[serde(default, skip_serializing_if = "is_none_left")]
    pub random_digits: u32,
    /// Prompts, or documents to rank, that one request bears; at least 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub batch: u32,
    /// Length of a query apart from the documents to rank, which then have `prompt_tokens`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_tokens: Option<Lengths>,
    /// Prompts from a file instead of generated ones, line by line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<Dataset>,
    /// Conversations of several turns from a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversations: Option<Conversations>,
    /// Conversations of several generated turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Sessions>,
    /// A beginning that generated prompts have in common.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_prefix: Option<SharedPrefix>,
    /// Pictures that go with each prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<Images>,
    /// A recorded load, whose lengths and shared blocks are asked for again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceSettings>,
    /// Send a `seed` of its own with each request (`seed = "per_request"`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub seed_per_request: bool,
    /// Texts of the answers to so many first arrivals of the cell are kept, and of so many
    /// refusals of each load core; a conversation is one arrival. At most [`MAX_KEPT_ANSWERS`].
    #[serde(default, skip_serializing_if = "is_none_left")]
    pub keep_answers: u32,
}

/// Most answers of a cell whose texts are kept.
pub const MAX_KEPT_ANSWERS: u32 = 10_000;

const fn one() -> u32 {
    1
}

impl Default for Workload {
    /// What a file without `[workload]` asks for.
    fn default() -> Self {
        Self {
            prompt_tokens: Lengths::constant(512),
            max_tokens: Lengths::constant(128),
            prompt: None,
            prefix: None,
            tokenizer: TokenizerChoice::Auto,
            unique_prompts: true,
            stream: true,
            force_length: ForceLength::Auto,
            sampling: Map::new(),
            stop_after: StopAfter::End,
            cancel: None,
            suffix: None,
            random_digits: 0,
            batch: 1,
            query_tokens: None,
            dataset: None,
            conversations: None,
            session: None,
            shared_prefix: None,
            images: None,
            trace: None,
            seed_per_request: false,
            keep_answers: 0,
        }
    }
}

impl Workload {
    /// Whether `prompt_tokens` has a say: prompts are generated, and not after a trace.
    #[must_use]
    pub const fn asks_prompt_lengths(&self) -> bool {
        self.prompt.is_none()
            && self.dataset.is_none()
            && self.conversations.is_none()
            && self.trace.is_none()
    }

    /// Whether `max_tokens` has a say.
    #[must_use]
    pub fn asks_output_lengths(&self) -> bool {
        self.trace.is_none() && !self.conversations.as_ref().is_some_and(|c| c.recorded_lengths)
    }

    /// Whether it can be told before what a server counts as a request's prompt: not where it
    /// bears texts that nobody measured, pictures, or a conversation's template.
    #[must_use]
    pub const fn foretells_prompt_tokens(&self) -> bool {
        self.dataset.is_none()
            && self.conversations.is_none()
            && self.session.is_none()
            && self.images.is_none()
            && self.query_tokens.is_none()
    }
}

/// How much of each answer is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopAfter {
    #[default]
    End,
    /// Hang up after the first token: for the study of prefill alone.
    FirstToken,
}

impl StopAfter {
    fn is_end(&self) -> bool {
        *self == Self::End
    }
}

/// Whether to send `ignore_eos` and `min_tokens`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForceLength {
    /// Ask once before the run; send them if the server takes them.
    Auto,
    Always,
    Never,
}

/// A distribution of lengths in tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lengths {
    /// Of `empirical` lengths, what the file's come to, rounded.
    pub mean: u32,
    pub shape: LengthShape,
    /// Width relative to the mean: half-width of `uniform`, standard deviation of `normal` and
    /// `lognormal`.
    pub range: f64,
    /// Upper bound.
    pub cap: Option<u32>,
    /// Lower bound; `None`: 1. Left out of `plan.json`, as the two below, where it is not asked
    /// for, so that a plan made before the key existed keeps its hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    /// Each length is up to this share longer or shorter than it was drawn, evenly; 0 to 1.
    #[serde(default, skip_serializing_if = "is_none_left")]
    pub jitter: f64,
    /// Where `empirical` lengths are from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<LengthFile>,
}

impl Lengths {
    /// Always `tokens`.
    #[must_use]
    pub const fn constant(tokens: u32) -> Self {
        Self::shaped(LengthShape::Constant, tokens, 0.0)
    }

    /// Lengths of a shape, mean and relative width, without further bounds.
    #[must_use]
    pub const fn shaped(shape: LengthShape, mean: u32, range: f64) -> Self {
        Self { mean, shape, range, cap: None, min: None, jitter: 0.0, file: None }
    }

    /// Whether every length is the mean.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        self.shape == LengthShape::Constant && self.jitter == 0.0
    }
}

/// Shape of a [`Lengths`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LengthShape {
    Constant,
    Uniform,
    Normal,
    Exponential,
    Lognormal,
    /// Drawn from a file's lengths.
    Empirical,
}

/// Which tokenizer makes prompts of the asked length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenizerChoice {
    /// The server's `/tokenize` if it has one, else the bundled one.
    Auto,
    /// A Hugging Face `tokenizer.json`.
    File(PathBuf),
    /// The server's `/tokenize`; an error if it has none.
    Server,
    Bundled,
}

/// How load is put on the server.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "loop")]
pub enum Load {
    /// Each user sends, waits for the answer, and sends again.
    Closed { users: u32 },
    /// Requests are due at their times, whatever the server does.
    Open {
        qps: f64,
        arrivals: Arrivals,
        /// Cap on requests in flight (`users` beside `qps`). What it holds back is counted.
        max_in_flight: Option<u32>,
    },
}

/// How open-loop arrivals are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    Constant,
    Poisson,
    /// Gaps from a gamma distribution of shape `burstiness`, more than 0: 1 is Poisson, less is
    /// burstier. Their standard deviation over their mean is 1/√burstiness.
    Gamma {
        burstiness: f64,
    },
    /// Gaps evenly distributed between 0 and twice their mean.
    Uniform,
    /// So many at once, each time that a period has passed: as many users, each of whom asks once
    /// a period. The rate is `size` over the period, the cap on what is in flight `size`.
    Burst {
        size: u32,
    },
    /// At the times that `workload.trace` has; the rate is their mean.
    Trace,
}

impl Arrivals {
    /// The word for it in files and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Poisson => "poisson",
            Self::Gamma { .. } => "gamma",
            Self::Uniform => "uniform",
            Self::Burst { .. } => "burst",
            Self::Trace => "trace",
        }
    }
}

/// A closed loop's time between an answer and the user's next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Think {
    Constant(Duration),
    /// Evenly distributed between the two.
    Uniform(Duration, Duration),
    Exponential {
        mean: Duration,
        /// No longer than this.
        max: Option<Duration>,
    },
}

impl Think {
    /// Its mean; of an exponential with a limit, what the limit leaves of it.
    #[must_use]
    pub fn mean(&self) -> Duration {
        match *self {
            Self::Constant(time) => time,
            Self::Uniform(from, to) => (from + to) / 2,
            Self::Exponential { mean, max: None } => mean,
            // E min(X, m) of an exponential.
            Self::Exponential { mean, max: Some(max) } => {
                mean.mul_f64(-(-max.as_secs_f64() / mean.as_secs_f64()).exp_m1())
            }
        }
    }
}

/// How long a cell lasts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellSettings {
    /// Length of the measured window. At least one of `duration` and `requests` is set.
    pub duration: Option<Duration>,
    /// Requests due in the window, at most.
    pub requests: Option<u64>,
    /// At least this much load before the window.
    pub warmup: Duration,
    /// Time over which users start, or the rate rises, before the warm-up.
    pub ramp: Duration,
    /// How long requests in flight at the window's end are awaited before they are censored.
    pub drain: Duration,
    pub cooldown: Cooldown,
}

/// The pause between two cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cooldown {
    pub min: Duration,
    /// After `min`, wait until the server is idle, but at most until `max`.
    pub max: Duration,
}

/// Service-level objectives.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Slo {
    /// Limits on a cell's figures, such as `ttft_p95 = "1s"`.
    pub rules: Vec<SloRule>,
    /// Limits that each request has to meet to count as good: those of `[slo.request]`, else
    /// the limits of `rules` on per-request latencies.
    pub request: Vec<RequestLimit>,
    /// Names of the presets that some of `rules` come from, in the order given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub presets: Vec<String>,
    /// Whether a missed SLO sets the exit code.
    #[serde(default, skip_serializing_if = "Gate::is_off")]
    pub gate: Gate,
}

/// Whether a run whose cells miss an SLO exits 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// SLOs are told and change nothing.
    #[default]
    Off,
    /// A cell beyond what is acceptable fails the run.
    Acceptable,
    /// A cell beyond a target does, too.
    Target,
}

impl Gate {
    fn is_off(&self) -> bool {
        *self == Self::Off
    }
}

/// One limit on a figure of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SloRule {
    /// Name in `metrics::METRICS`.
    pub metric: String,
    /// Name in `metrics::STATS`; empty for a scalar.
    pub stat: String,
    /// What is acceptable, in the metric's unit. Beyond it the rule fails.
    pub limit: f64,
    /// What is aimed at, in the same unit: between it and `limit` lies a warning. `None`: there
    /// is one limit only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<f64>,
}

/// One limit on each request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestLimit {
    /// `ttft`, `ttfv`, `tpot` or `e2e`.
    pub metric: String,
    /// Milliseconds.
    pub limit_ms: f64,
}

/// Settings of this client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientSettings {
    /// Load cores; `None`: as many as the machine has, and no more than needed.
    pub threads: Option<u32>,
    /// Cells in a row in which nothing was answered, after which the sweep stops.
    pub dead_after: u32,
    /// Each load core on a processor of its own. Left out of `plan.json` where it is not asked
    /// for, so that a plan made before the key existed keeps its hash.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pin: bool,
}
