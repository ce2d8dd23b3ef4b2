//! What can it carry: the greatest load within the SLO, how sure that is, and what follows for
//! a given traffic.
//!
//! [`capacity()`] looks at every workload shape of a run, that is at every group of its grid
//! over the load; [`RunData::capacity`] has it once per run, with the run's own SLO and
//! `[capacity]`. [`answers()`] puts it into sentences, the answer first. The methods and their
//! thresholds are in `docs/capacity.md`.

mod answers;
mod judge;
mod limit;
mod plan;
mod pool;
mod shape;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

pub(crate) use answers::money;
pub use answers::{answers, limit_text, load_text};
pub use plan::{WHAT_IFS, replicas};
pub use pool::pool;

use super::RunData;
use super::grid::{self, Loop};
use super::words;
use crate::experiment::{CapacitySettings, Slo, SloRule, presets};
use crate::measure::SloVerdict;

/// Confidence of a verdict, and level of the intervals.
pub const CONFIDENCE: f64 = 0.95;

/// What one run, or several of the same experiment together, can carry.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Capacity {
    /// Ids of the runs: more than one where further runs count as further repeats.
    pub runs: Vec<String>,
    /// By what it is judged.
    pub slo: SloUsed,
    /// One per group of a family, in the order of the grid. Empty where nothing varies that is
    /// a number.
    pub shapes: Vec<Shape>,
    /// Where the grid varies something else than load and workload, which of it carries most;
    /// one per workload.
    pub best: Vec<Best>,
    /// What a given traffic needs. `None` where none was given.
    pub plan: Option<Plan>,
    /// Whatever else a reader has to know, in sentences.
    pub notes: Vec<String>,
}

/// The SLO that levels are judged by.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SloUsed {
    pub source: SloSource,
    /// Its rules; those of the first cell where cells have their own.
    pub rules: Vec<SloRule>,
    /// Each rule in words: `TTFT p95 ≤ 1,000 ms`.
    pub words: Vec<String>,
}

/// Where the SLO comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SloSource {
    /// The experiment's own.
    Experiment,
    /// Given on the command line, in these words.
    Given(Vec<String>),
    /// The experiment has none: a preset, by its name.
    Preset(String),
}

/// A workload shape (and whatever else makes a group of the grid) over one axis.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shape {
    /// What tells it from the run's other shapes, in words; empty where there is only one.
    pub label: String,
    /// Lengths in words, known or not from the grid: `512 → 128 tokens`; empty where they are
    /// not one length.
    pub tokens: String,
    /// Mean lengths asked for, in tokens.
    pub prompt_tokens: Option<f64>,
    pub output_tokens: Option<f64>,
    /// The factors that make it, by dotted path.
    pub factors: BTreeMap<String, Value>,
    /// How load is put on: users in a closed loop, or requests per second in an open one.
    pub kind: Loop,
    /// Dotted path of the axis: `load.users` or `load.qps`, or another number where the load
    /// doesn't vary.
    pub axis: String,
    /// Its name: `concurrent users`, `offered load`.
    pub axis_label: String,
    /// Its unit; empty for users.
    pub axis_unit: String,
    /// Whether the axis is a level of load.
    pub is_load: bool,
    /// By rising level.
    pub levels: Vec<LevelResult>,
    /// The greatest level within the SLO.
    pub limit: Limit,
    /// What one replica carries at the limit's lower end: what planning counts with. `None`
    /// where no level meets the SLO, or the axis isn't the load.
    pub carried: Option<Carried>,
    /// Where the throughput's curve bends most, by Kneedle: a note beside the SLO.
    pub knee: Option<f64>,
    /// The universal scalability law, from six closed-loop levels on.
    pub usl: Option<UslFit>,
    /// Places in `levels` that no other level beats in both tok/s per user and tok/s, by rising
    /// tok/s per user. Levels that fail the SLO or are overloaded are not among them.
    pub pareto: Vec<usize>,
}

/// One level of a shape, all its repeats together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LevelResult {
    pub x: f64,
    /// `16 users`; `2 → 40 → 2 users` where stages change it.
    pub label: String,
    pub verdict: Standing,
    /// Whether the figures themselves are within every limit, sure or not. `None` where
    /// nothing can be believed.
    pub met: Option<bool>,
    /// One per rule, in the SLO's order, then those of stages.
    pub rules: Vec<RuleResult>,
    /// Open loop: the server fell behind.
    pub overloaded: bool,
    /// Repeats that were looked at, and those left out because they can't be believed.
    pub repeats: usize,
    pub left_out: usize,
    /// Good requests per second, mean over the repeats.
    pub goodput_rps: Option<f64>,
    /// Good requests ÷ attempted.
    pub attainment: Option<f64>,
    /// Open loop: requests due in the window per second, mean over the repeats; arrivals at random
    /// come near to the level only where the window is long.
    pub offered_rps: Option<f64>,
    pub completed_rps: Option<f64>,
    pub output_tps: Option<f64>,
    /// tok/s as one user sees them: 1/p50(TPOT).
    pub user_tps: Option<f64>,
    /// The measured window in seconds since the cell's epoch, of its first repeat.
    pub window: Option<(f64, f64)>,
    /// Whether in-flight, TTFT and tok/s had settled before the window (MSER-5). `None` where
    /// that was not looked at.
    pub steady: Option<bool>,
    /// Places of its cells in the run's plan.
    pub cells: Vec<u32>,
}

/// How a level, or one rule at it, stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Standing {
    /// Within the limit with [`CONFIDENCE`].
    Pass,
    /// Too few requests or repeats to tell.
    Undecided,
    /// Beyond it with [`CONFIDENCE`].
    Fail,
    /// No request due in the window was answered.
    Silent,
    /// Not run, or not believable.
    Unjudged,
}

impl Standing {
    /// The word for it in tables.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Undecided => "UNDECIDED",
            Self::Fail => "FAIL",
            Self::Silent => "no answer",
            Self::Unjudged => "not judged",
        }
    }
}

/// One rule at one level.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RuleResult {
    pub metric: String,
    pub stat: String,
    /// The stage that the rule is of, where it is one's own.
    pub stage: Option<String>,
    /// In the metric's unit.
    pub limit: f64,
    /// Mean over the repeats. `None`: not measured.
    pub value: Option<f64>,
    /// Whether `value` is within `limit`.
    pub met: bool,
    pub verdict: Standing,
    pub method: Method,
    /// Requests looked at, those beyond the limit, and how many independent ones they are worth;
    /// only of [`Method::Requests`].
    pub requests: Option<u64>,
    pub violations: Option<u64>,
    pub n_eff: Option<f64>,
    /// Interval of the figure over the repeats; only of [`Method::Repeats`].
    pub interval: Option<(f64, f64)>,
    /// In a sentence: the figure, its limit, and why it is not decided.
    pub text: String,
}

impl RuleResult {
    /// How many times as long a cell would have to be for as good a result to be a pass: of a rule that
    /// is met, with no request beyond its limit, and not decided for want of requests.
    #[must_use]
    pub fn longer(&self) -> Option<f64> {
        let open = self.met && self.verdict == Standing::Undecided && self.violations == Some(0);
        let least = judge::least_without_violation(self).filter(|_| open)?;
        Some(least as f64 / self.n_eff?).filter(|times| times.is_finite())
    }
}

/// How a rule was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Early stopping on the share of requests beyond the limit.
    Requests,
    /// A t interval over the repeats.
    Repeats,
    /// One repeat, and no requests to count: the figure against the limit, never sure.
    Figure,
    /// As the run's own verdict has it: stages and recoveries.
    Stored,
}

/// The greatest level within the SLO, with what is known of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Limit {
    pub state: LimitState,
    /// Best guess, by interpolation between two measured levels; the greatest level that meets
    /// the SLO where nothing can be interpolated.
    pub value: Option<f64>,
    /// Lower end of its interval. `None` where no level meets the SLO.
    pub low: Option<f64>,
    /// Upper end. `None` where every level does.
    pub high: Option<f64>,
    /// Whether a level passes with confidence, so that `low` can be relied on.
    pub sure_low: bool,
    /// Whether a level above fails with confidence.
    pub sure_high: bool,
    /// Greatest level whose figures are within the SLO, and the next one whose are not.
    pub last_met: Option<f64>,
    pub first_missed: Option<f64>,
    /// Greatest level that passes with confidence, and the least above it that fails.
    pub last_pass: Option<f64>,
    pub first_fail: Option<f64>,
    /// What breaks first; where nothing does, what comes nearest to its limit.
    pub binding: Option<Binding>,
    /// How the interval came about.
    pub interval: IntervalFrom,
    /// A lower level misses the SLO while a higher one meets it.
    pub non_monotone: bool,
}

/// What kind of limit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitState {
    /// Between two measured levels.
    Between,
    /// Every measured level is within the SLO: at least the greatest.
    AtLeast,
    /// None is: below the least.
    Below,
    /// None is, as every one brings too little of a rate that rises with the load: above the
    /// greatest, if anywhere.
    TooLow,
    /// No level can be judged.
    Unknown,
}

impl Limit {
    /// Whether every end of it that there is holds with confidence. `None` where nothing is known.
    #[must_use]
    pub const fn is_sure(&self) -> Option<bool> {
        match self.state {
            LimitState::Between => Some(self.sure_low && self.sure_high),
            LimitState::AtLeast => Some(self.sure_low),
            LimitState::Below => Some(self.sure_high),
            LimitState::TooLow | LimitState::Unknown => None,
        }
    }
}

/// How the interval of a limit came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IntervalFrom {
    /// One crossing per repeat, t on their logarithms.
    Repeats,
    /// The levels on either side.
    Bracket,
    /// There is none.
    Nothing,
}

/// The rule that breaks first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Binding {
    /// Empty where it is overload.
    pub metric: String,
    pub stat: String,
    /// `TTFT p95`; `overload`.
    pub name: String,
    /// In a sentence, at the first level that misses it.
    pub text: String,
}

/// Throughput at the lower end of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Carried {
    /// Requests per second that one replica carries: the offered load of an open loop, what a
    /// closed loop completed.
    pub rps: f64,
    /// Output tokens per second there. `None` where nobody knows them.
    pub output_tps: Option<f64>,
    /// Whether that level was found within the SLO with confidence.
    pub sure: bool,
}

/// X(N) = γN/(1 + α(N − 1) + βN(N − 1)), fitted to completed requests per second over users.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UslFit {
    /// Requests per second of one user.
    pub gamma: f64,
    /// Contention.
    pub alpha: f64,
    /// Coherency.
    pub beta: f64,
    pub r2: f64,
    /// Users, measured and fitted requests per second of each level.
    pub points: Vec<(f64, f64, f64)>,
    /// Users at which it peaks. `None` where it doesn't within reach.
    pub peak: Option<f64>,
    /// Largest residual as a share of what was measured.
    pub worst: f64,
    /// Nothing is said beyond: 1.5 × the most users measured.
    pub reach: f64,
}

impl UslFit {
    /// Requests per second with `users`; `None` beyond what may be said.
    #[must_use]
    pub fn at(&self, users: f64) -> Option<f64> {
        let n = users;
        let below = 1.0 + self.alpha * (n - 1.0) + self.beta * n * (n - 1.0);
        (n >= 0.0 && n <= self.reach).then(|| self.gamma * n / below)
    }
}

/// Which setting carries most within the SLO.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Best {
    /// The workload and kind of load, in words; empty where there is only one.
    pub of: String,
    /// The setting in words: `max num seqs 64`.
    pub setting: String,
    /// Place in [`Capacity::shapes`].
    pub shape: usize,
    /// Settings whose intervals overlap the best one's: not told apart.
    pub ties: Vec<String>,
    /// In a sentence.
    pub text: String,
}

/// What a given traffic needs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    pub flows: Vec<FlowPlan>,
    /// Share by which the traffic is to grow: 0.2 is a fifth more.
    pub growth: f64,
    /// Share of its capacity at which a replica is to run, more than 0 and at most 1.
    pub headroom: f64,
    pub spares: u32,
    /// GPUs of one replica.
    pub gpus: Option<f64>,
    /// Of one GPU.
    pub gpu_price_per_hour: Option<f64>,
    pub currency: String,
    /// What it comes to. `None` where it was refused.
    pub need: Option<Need>,
    /// Why nothing can be said: a sentence each.
    pub refusals: Vec<String>,
    /// What to keep in mind of what is said: a sentence each.
    pub cautions: Vec<String>,
    pub what_if: Vec<WhatIf>,
}

/// One part of the traffic.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FlowPlan {
    /// Peak, requests per second, before growth.
    pub rps: f64,
    /// `512 → 128 tokens`; empty where none was given.
    pub tokens: String,
    /// Place in [`Capacity::shapes`] of the shape it was matched to.
    pub shape: Option<usize>,
    /// What one replica carries of it for sure, requests per second.
    pub replica_rps: Option<f64>,
    /// Replicas that it takes alone, before rounding up and spares.
    pub replicas: Option<f64>,
}

/// Replicas and what they cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Need {
    /// Spares included.
    pub replicas: u64,
    /// Before rounding up and spares.
    pub exact: f64,
    pub gpus: Option<f64>,
    pub cost_per_hour: Option<f64>,
    /// Of output tokens, where every replica does all that it may within the SLO.
    pub cost_per_million_full: Option<f64>,
    /// Of output tokens, at this traffic: headroom, rounding and spares are paid for.
    pub cost_per_million: Option<f64>,
}

/// A table of what changes with one setting of the plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WhatIf {
    /// One of [`WHAT_IFS`].
    pub key: String,
    pub rows: Vec<(f64, Option<Need>)>,
}

/// What a capacity is asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// To judge by in place of the experiment's own SLO, with the words that made it.
    pub slo: Option<(Vec<String>, Slo)>,
    /// In place of the run's own `[capacity]`.
    pub traffic: Option<CapacitySettings>,
    /// Values of a setting of the plan to try: a table each.
    pub what_if: Vec<(String, Vec<f64>)>,
}

/// What `run` can carry.
#[must_use]
pub fn capacity(run: &RunData, options: &Options) -> Capacity {
    let source = source(run, options);
    let mut notes = Vec::new();
    let families = grid::ladders(run);
    let judge = judge::Judge::new(options.slo.as_ref().map(|(_, slo)| slo), &source);
    let mut shapes: Vec<Shape> = families
        .iter()
        .flat_map(|family| family.groups.iter().map(|group| shape::build(family, group, &judge)))
        .collect();
    if shapes.len() == 1 {
        shapes[0].label.clear();
    }
    notes.extend(judge.notes());
    let rules = used_rules(run, options, &source);
    let traffic = options.traffic.clone().or_else(|| own_traffic(run, &mut notes));
    if matches!(source, SloSource::Given(_)) {
        let attained = "Goodput and attainment are by the limits that the run itself had per request.";
        notes.push(attained.to_owned());
    }
    Capacity {
        runs: vec![run.id.clone()],
        slo: SloUsed { words: rules.iter().map(rule_words).collect(), rules, source },
        best: shape::best(&shapes),
        plan: traffic.filter(|t| !t.peak.is_empty()).map(|t| plan::plan(&t, &shapes, &options.what_if)),
        shapes,
        notes,
    }
}

fn source(run: &RunData, options: &Options) -> SloSource {
    if let Some((words, _)) = &options.slo {
        return SloSource::Given(words.clone());
    }
    let own = run.cells.iter().any(|c| {
        let settings = &c.cell.settings;
        !settings.slo.rules.is_empty()
            || settings.stages.iter().any(|s| !s.slo.rules.is_empty() || s.recovers.is_some())
            || c.summary.as_ref().is_some_and(|s| s.slo_statuses().next().is_some())
    });
    if own { SloSource::Experiment } else { SloSource::Preset(presets::DEFAULT.to_owned()) }
}

/// The rules that a reader is shown.
fn used_rules(run: &RunData, options: &Options, source: &SloSource) -> Vec<SloRule> {
    match (source, &options.slo) {
        (_, Some((_, slo))) => slo.rules.clone(),
        (SloSource::Preset(name), None) => preset_rules(name),
        _ => run.cells.first().map(|c| c.cell.settings.slo.rules.clone()).unwrap_or_default(),
    }
}

fn preset_rules(name: &str) -> Vec<SloRule> {
    let rules = presets::find(name).map(|preset| preset.rules).unwrap_or_default();
    rules.iter().map(presets::PresetRule::rule).collect()
}

fn rule_words(rule: &SloRule) -> String {
    words::rule_text(&SloVerdict::judge(rule, None))
}

/// The `[capacity]` of the run's own experiment file. What is wrong with it goes to `notes`.
pub fn own_traffic(run: &RunData, notes: &mut Vec<String>) -> Option<CapacitySettings> {
    let sets = run.manifest.get("set").and_then(Value::as_array);
    let sets: Vec<String> = sets.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    CapacitySettings::of_experiment(&run.experiment, &sets).unwrap_or_else(|error| {
        notes.push(format!("The run's [capacity] can't be read: {error}."));
        None
    })
}
