//! What a reader found of one cell.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::measure::Distribution;
use crate::record::{EndedBy, RequestRecord};

/// The load that was asked for.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Asked {
    /// So many requests at a time, each followed by the next.
    Users(u32),
    /// Requests per second.
    Rate {
        qps: f64,
        /// `poisson`, `constant` or another word of `load.arrivals`.
        arrivals: Option<String>,
        /// Most in flight.
        cap: Option<u32>,
    },
    /// The file doesn't say it.
    #[default]
    Unknown,
}

/// One cell and repeat of another tool. `None` and absent are "the file doesn't say".
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// A reader's name.
    pub tool: &'static str,
    pub version: Option<String>,
    /// The file's name.
    pub file: String,
    pub load: Asked,
    /// Shape of gamma arrivals: 1 is Poisson, less is burstier.
    pub burstiness: Option<f64>,
    /// Lengths asked for of every request.
    pub prompt_tokens: Option<u32>,
    pub max_tokens: Option<u32>,
    pub url: Option<String>,
    /// Name of a provider.
    pub api: Option<String>,
    pub model: Option<String>,
    pub stream: Option<bool>,
    /// Sampling settings that were asked for, by our names in `[workload]`, as TOML.
    pub sampling: BTreeMap<&'static str, String>,
    /// Wall-clock time of the epoch from which the requests' times count.
    pub started_at: Option<Timestamp>,
    /// Where the measured time begins, in microseconds since the epoch.
    pub window_start_us: u64,
    /// Its length in seconds.
    pub seconds: Option<f64>,
    pub ended_by: Option<EndedBy>,
    /// Every request, or none: a sample of them is no record of the cell.
    pub requests: Vec<RequestRecord>,
    /// Whether the times of `requests` count from one epoch. Where each counts from its own
    /// sending, they say how long it took and not when it was.
    pub placed: bool,
    /// Whether `intended_us` of `requests` is when the other tool's schedule wanted them.
    pub due_known: bool,
    /// Gaps between content chunks, in microseconds.
    pub gaps_us: Vec<u64>,
    pub totals: Totals,
    /// By our metrics' names, in our units: what the file says of the whole.
    pub distributions: BTreeMap<String, Distribution>,
    pub scalars: BTreeMap<String, f64>,
    /// Remarks on the cell's figures, each a sentence without its full stop.
    pub notes: Vec<String>,
    /// What the person at the terminal should know.
    pub hints: Vec<String>,
}

/// Counts of a cell of which there are no single requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    pub ok: u64,
    pub failed: u64,
    /// Unfinished when the tool stopped.
    pub censored: u64,
    pub cancelled: u64,
    /// Failures by class.
    pub errors: BTreeMap<String, u64>,
    pub prompt_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
}

impl Found {
    /// Put in what the file says of a metric, if it says anything.
    pub(super) fn put(&mut self, metric: &str, found: Distribution) {
        if super::look::says(&found) {
            self.distributions.insert(metric.to_owned(), found);
        }
    }

    /// For files that don't say whether answers were streamed: a time to first token is known
    /// only of such.
    pub(super) fn tell_streams(&mut self) {
        let first = self.distributions.contains_key("ttft")
            || self.requests.iter().any(|r| r.first_token_us.is_some());
        self.stream = first.then_some(true);
    }

    /// Put in a figure, if it is known.
    pub(super) fn put_scalar(&mut self, metric: &str, value: Option<f64>) {
        if let Some(value) = value.filter(|v| v.is_finite()) {
            self.scalars.insert(metric.to_owned(), value);
        }
    }
}
