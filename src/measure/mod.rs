//! From records to a cell's figures: windows, quantiles, validity. Pure: no clock, no disk.

mod groups;
mod identity;
mod in_flight;
pub mod inside;
mod samples;
mod select;
mod server_side;
mod slo;
mod stages;
mod totals;
mod trend;
pub mod validity;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use serde::{Deserialize, Serialize};

pub use groups::{GroupKind, GroupSummary};
pub use inside::{Growth, Inside, InsideFigure, LimitVerdict};
pub use samples::of_request;
pub use server_side::{
    CountCheck, Made, SERVER_FIGURES, ServerCourse, ServerFigure, ServerSide, ServerValue, server_courses,
};
pub use slo::{SloStatus, SloVerdict};
pub use stages::{Drift, DriftVerdict, Recovered, RecoveryVerdict, recovery};
pub use trend::{Batches, Course};

/// Name of the validity signal of an open loop in which requests pile up.
pub const OVERLOAD: &str = "overload";

/// Name of the reason that a cell of another tool has: its client's health is not known.
pub const IMPORTED: &str = "imported";

use crate::plan::Cell;
use crate::record::{CellRun, RequestRecord, Window};

/// Everything a cell and repeat came to. Stored as the cell's `summary.json`; every CSV row
/// is made from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellSummary {
    /// Wall-clock time of the cell's epoch, RFC 3339, UTC.
    pub started_at: String,
    /// Wall-clock time of the cell's end.
    pub ended_at: String,
    pub window: Window,
    pub counts: Counts,
    /// Distributions by metric name (`metrics::METRICS`); absent where there is no sample.
    pub distributions: BTreeMap<String, Distribution>,
    /// Scalars by metric name; absent where not applicable.
    pub scalars: BTreeMap<String, f64>,
    pub tokens: TokenCounts,
    pub validity: Validity,
    /// Verdict of each SLO rule.
    pub slo: Vec<SloVerdict>,
    /// What was read of the server's processes, its GPUs and its machine, with the limits on them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<Inside>,
    /// Hash of every prompt length, output length and due time: two runs may be paired only
    /// if it is the same.
    pub workload_hash: String,
    /// The in-flight cap held arrivals back: neither open nor closed.
    pub semi_open: bool,
    /// The same figures for each task, endpoint and stage; empty where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupSummary>,
    /// Whether latency or failures grew over the window: a verdict for each figure that can be
    /// judged. Empty where stages change the load, and so the figures, by plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<DriftVerdict>,
    /// What was read of the server meanwhile; `None` where nobody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerSide>,
}

impl CellSummary {
    /// The value of a column: `("ttft", "p95")`, or `("output_tps", "")`.
    #[must_use]
    pub fn value(&self, metric: &str, stat: &str) -> Option<f64> {
        value_of(&self.scalars, &self.distributions, metric, stat)
    }

    /// The stages, in order.
    pub fn stages(&self) -> impl Iterator<Item = &GroupSummary> {
        self.groups.iter().filter(|g| g.kind == GroupKind::Stage)
    }

    /// How all stands that was asked of the cell: its SLOs, and the limits on its server.
    pub fn statuses(&self) -> impl Iterator<Item = SloStatus> {
        self.slo_statuses().chain(self.limits().iter().map(|verdict| verdict.status))
    }

    /// The limits on its server, judged.
    #[must_use]
    pub fn limits(&self) -> &[LimitVerdict] {
        self.inside.as_ref().map_or(&[], |inside| &inside.limits)
    }

    /// How each rule of its own stands, and each of its stages' rules and recoveries.
    pub fn slo_statuses(&self) -> impl Iterator<Item = SloStatus> {
        let own = self.slo.iter().map(|verdict| verdict.status);
        own.chain(self.groups.iter().flat_map(GroupSummary::statuses))
    }

    /// The drift of this metric.
    #[must_use]
    pub fn drift_of(&self, metric: &str) -> Option<&DriftVerdict> {
        self.drift.iter().find(|verdict| verdict.metric == metric)
    }

    /// The group of this kind and name.
    #[must_use]
    pub fn group(&self, kind: GroupKind, name: &str) -> Option<&GroupSummary> {
        self.groups.iter().find(|g| g.kind == kind && g.name == name)
    }
}

fn value_of(
    scalars: &BTreeMap<String, f64>,
    distributions: &BTreeMap<String, Distribution>,
    metric: &str,
    stat: &str,
) -> Option<f64> {
    if stat.is_empty() {
        return scalars.get(metric).copied();
    }
    distributions.get(metric).and_then(|d| d.stat(stat))
}

/// Requests due inside the window, by what became of them. They add up to `attempted`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Arrivals that the schedule had in the window (open loop), else those that were due.
    pub planned: u64,
    /// Records with phase `measure`.
    pub attempted: u64,
    pub sent: u64,
    pub ok: u64,
    pub failed: u64,
    pub dropped: u64,
    /// Still in flight when the drain ran out.
    pub censored: u64,
    /// Cut off by this client on purpose.
    #[serde(default)]
    pub cancelled: u64,
    /// In flight at the window's end, whether they then finished or were censored.
    pub in_flight_at_end: u64,
    pub cap_blocked: u64,
    pub retries: u64,
    /// Failures by class.
    pub errors: BTreeMap<String, u64>,
    /// The first failure of each class in the server's or the system's words.
    #[serde(default)]
    pub error_words: BTreeMap<String, String>,
    /// Records of ramp and warm-up, which no figure counts.
    pub before_window: u64,
}

impl Counts {
    /// Failures of a server that had too much in hand: time-outs, and refusals with 503.
    #[must_use]
    pub fn of_contention(&self) -> u64 {
        let crowded = |class: &str| class.starts_with("timeout") || class == "503";
        self.errors.iter().filter(|(class, _)| crowded(class)).map(|(_, n)| n).sum()
    }
}

/// Token totals over the successful requests due in the window.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCounts {
    pub prompt_asked: u64,
    pub prompt: u64,
    pub max_tokens: u64,
    pub output: u64,
    pub cached: Option<u64>,
    pub chunks: u64,
    /// Requests by the source of their output count.
    pub sources: BTreeMap<String, u64>,
    /// Requests whose reported prompt length differs from the one asked for.
    pub prompt_mismatches: u64,
    /// Requests whose output length differs from the one asked for.
    pub output_mismatches: u64,
}

/// Summary of one metric's samples. Quantiles are type 7 on the samples themselves. A summary
/// that was imported may lack statistics: those are NaN here and absent in files; ask
/// [`Distribution::stat`], which says `None` then.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// Number of samples; 0 where an imported summary doesn't say it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub n: u64,
    #[serde(default = "not_known", skip_serializing_if = "is_not_known")]
    pub mean: f64,
    #[serde(default = "not_known", skip_serializing_if = "is_not_known")]
    pub std: f64,
    #[serde(default = "not_known", skip_serializing_if = "is_not_known")]
    pub min: f64,
    #[serde(default = "not_known", skip_serializing_if = "is_not_known")]
    pub p50: f64,
    #[serde(default = "not_known", skip_serializing_if = "is_not_known")]
    pub p75: f64,
    #[serde(default = "not_known", skip_serializing_if = "is_not_known")]
    pub p90: f64,
    #[serde(default = "not_known", skip_serializing_if = "is_not_known")]
    pub p95: f64,
    #[serde(default = "not_known", skip_serializing_if = "is_not_known")]
    pub p99: f64,
    #[serde(default = "not_known", skip_serializing_if = "is_not_known")]
    pub p999: f64,
    #[serde(default = "not_known", skip_serializing_if = "is_not_known")]
    pub max: f64,
}

const fn not_known() -> f64 {
    f64::NAN
}

const fn is_not_known(value: &f64) -> bool {
    value.is_nan()
}

const fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Default for Distribution {
    /// Nothing is known.
    fn default() -> Self {
        let nan = not_known();
        Self {
            n: 0,
            mean: nan,
            std: nan,
            min: nan,
            p50: nan,
            p75: nan,
            p90: nan,
            p95: nan,
            p99: nan,
            p999: nan,
            max: nan,
        }
    }
}

impl Distribution {
    /// A statistic by its name in `metrics::STATS`; `None` where it isn't known.
    #[must_use]
    pub fn stat(&self, name: &str) -> Option<f64> {
        let value = match name {
            "n" => return (self.n > 0).then_some(self.n as f64),
            "mean" => self.mean,
            "std" => self.std,
            "min" => self.min,
            "p50" => self.p50,
            "p75" => self.p75,
            "p90" => self.p90,
            "p95" => self.p95,
            "p99" => self.p99,
            "p999" => self.p999,
            "max" => self.max,
            _ => return None,
        };
        (!value.is_nan()).then_some(value)
    }
}

/// Whether the cell's figures can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Valid,
    /// Usable, with a remark.
    Warn,
    /// Stored, drawn hatched, left out of comparison and capacity.
    Invalid,
}

/// The verdict and what led to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Validity {
    pub verdict: Verdict,
    /// One per signal that fired.
    pub reasons: Vec<Reason>,
    /// Every signal's measured value by name, whether it fired or not.
    pub signals: BTreeMap<String, f64>,
}

impl Validity {
    /// Add a reason; the verdict is the worst of all.
    pub fn add(&mut self, signal: &str, verdict: Verdict, text: String) {
        self.verdict = self.verdict.max(verdict);
        self.reasons.push(Reason { signal: signal.to_owned(), verdict, text });
    }
}

/// A validity signal that fired.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    pub signal: String,
    pub verdict: Verdict,
    /// A sentence with the figure and the limit.
    pub text: String,
}

/// Everything a cell came to: its records (in any order, each once) and what the engine
/// knows beside them. As [`summarise_walks`], of records that are at hand.
#[must_use]
pub fn summarise(
    cell: &Cell,
    run: &CellRun,
    records: impl Iterator<Item = RequestRecord> + Clone,
) -> CellSummary {
    let walk = || Ok::<_, Infallible>(records.clone().map(Ok));
    match summarise_walks(cell, run, walk) {
        Ok(summary) => summary,
        Err(never) => match never {},
    }
}

/// Everything a cell came to, from records that lie on disk. `walk` begins at the first one
/// each time that it is called and brings the same ones: once for a cell of up to 32,768
/// samples, as a rule two or three times for a larger one. What is held meanwhile does not
/// grow with their number: figures are exact all the same, as `docs/methods.md` says.
///
/// # Errors
/// The first of `walk`.
pub fn summarise_walks<E, I>(
    cell: &Cell,
    run: &CellRun,
    mut walk: impl FnMut() -> Result<I, E>,
) -> Result<CellSummary, E>
where
    I: Iterator<Item = Result<RequestRecord, E>>,
{
    let settings = &cell.settings;
    let mut totals = totals::Totals::new(settings, totals::Scope::cell(settings), run.window);
    let mut groups = groups::Groups::of(settings, run);
    let mut drift = (!settings.level_changes()).then(|| Drift::new(run.window));
    let servers: BTreeSet<&str> = settings.parts().map(|(target, _)| target.url.as_str()).collect();
    let mut asked = server_side::Asked::new(totals.whole_answers(), servers.len());
    for record in walk()? {
        let record = record?;
        totals.take(&record);
        asked.take(&record);
        groups.take(&record);
        if let Some(drift) = &mut drift {
            drift.take(&record);
        }
    }
    // Each is asked, whatever the other says.
    while totals.end_walk() | groups.end_walk() {
        for record in walk()? {
            let record = record?;
            totals.take_again(&record);
            groups.take_again(&record);
        }
    }
    let mut summary = summary_of(cell, run, totals);
    summary.groups = groups.finish();
    summary.drift = drift.map(|drift| drift.verdicts()).unwrap_or_default();
    if let Some(observed) = &run.observed {
        let side = server_side::server_side(observed, run.window, &asked);
        validity::hear_server(&mut summary.validity, asked.verdict(&side.counts));
        summary.server = Some(side);
    }
    Ok(summary)
}

/// What the totals come to, once all is known.
fn summary_of(cell: &Cell, run: &CellRun, mut totals: totals::Totals<'_>) -> CellSummary {
    let settings = &cell.settings;
    totals.counts.planned =
        run.planned.map_or(totals.counts.attempted, |planned| planned + totals.later_turns);
    let scalars = totals.scalars();
    let workload_hash = totals.workload_hash();
    let lags = totals.lags();
    let in_flight_by_records = totals.in_flight_mean();
    let single_read = totals.single_read();
    let mut distributions = totals.samples.distributions();
    if let Some(gaps) = samples::of_histogram(&run.chunk_gaps)
        && totals.whole_answers()
    {
        distributions.insert("chunk_gap".to_owned(), gaps);
    }
    let mut summary = CellSummary {
        started_at: run.started_at.to_string(),
        ended_at: run.ended_at.to_string(),
        window: run.window,
        semi_open: totals.counts.cap_blocked > 0,
        counts: totals.counts,
        distributions,
        scalars,
        tokens: totals.tokens,
        validity: Validity { verdict: Verdict::Valid, reasons: Vec::new(), signals: BTreeMap::new() },
        slo: Vec::new(),
        inside: None,
        workload_hash,
        groups: Vec::new(),
        drift: Vec::new(),
        server: None,
    };
    summary.slo = settings.slo.rules.iter().map(|rule| SloVerdict::of(rule, &summary)).collect();
    let ttft = totals.ttft;
    summary.validity = validity::judge(&validity::Evidence {
        settings,
        run,
        summary: &summary,
        lags: &lags,
        ttft: &ttft,
        in_flight_by_records,
        single_read,
    });
    summary
}

#[cfg(test)]
mod tests;
