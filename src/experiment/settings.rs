//! What one cell runs with: the checked, completed form of an experiment's sections.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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
}

/// What [`Target::max_tokens_field`] may be; the first is the usual one.
pub const MAX_TOKENS_FIELDS: [&str; 2] = ["max_tokens", "max_completion_tokens"];

/// Where load goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Base URL as written, such as `http://127.0.0.1:8000`, or `sim:` for the embedded
    /// simulator.
    pub url: String,
    /// Name of a provider.
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
}

impl Target {
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
    /// Accept any certificate. For tests of one's own server.
    pub insecure: bool,
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

/// A distribution of lengths in tokens. The lower bound is always 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Lengths {
    pub mean: u32,
    pub shape: LengthShape,
    /// Width relative to the mean: half-width of `uniform`, standard deviation of `normal`.
    pub range: f64,
    /// Upper bound.
    pub cap: Option<u32>,
}

impl Lengths {
    /// Always `tokens`.
    #[must_use]
    pub const fn constant(tokens: u32) -> Self {
        Self { mean: tokens, shape: LengthShape::Constant, range: 0.0, cap: None }
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    Constant,
    Poisson,
}

impl Arrivals {
    /// The word for it in files and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Poisson => "poisson",
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
}

/// One limit on a figure of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SloRule {
    /// Name in `metrics::METRICS`.
    pub metric: String,
    /// Name in `metrics::STATS`; empty for a scalar.
    pub stat: String,
    /// In the metric's unit.
    pub limit: f64,
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
