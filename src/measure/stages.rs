//! What stages are for: is latency back where it was, and did it stay where it was?
//!
//! Recovery holds a stage's median and p95 of TTFT and of end-to-end latency against those of an
//! earlier stage. Drift looks for a trend over the window in TTFT, TPOT and the share of
//! failures: a server that slows down or fails more by the hour shows it there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::samples::of_request;
use super::trend::{Batches, Course};
use super::{Distribution, SloStatus};
use crate::experiment::Recovery;
use crate::record::{Outcome, Phase, RequestRecord, Window};

/// What has to be back, by metric and statistic.
const RECOVERED: [(&str, &str); 4] = [("ttft", "p50"), ("ttft", "p95"), ("e2e", "p50"), ("e2e", "p95")];

/// A trend of a latency that is less than this share of where it began does not matter.
const MATTERS: f64 = 0.10;
/// A trend of the share of failures that is less than this does not.
const MATTERS_ERRORS: f64 = 0.01;
/// Requests below which a trend says nothing.
const ENOUGH: u64 = 100;
/// The greatest t that is told.
const MOST_T: f64 = 1e6;

/// One figure of a stage against the same of an earlier one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recovered {
    pub metric: String,
    pub stat: String,
    /// In milliseconds; `None`: nothing was measured, which fails.
    pub value: Option<f64>,
    pub before: Option<f64>,
    /// The most that it may be.
    pub limit: Option<f64>,
    pub pass: bool,
}

/// Whether a stage's latency is back at an earlier stage's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecoveryVerdict {
    pub stage: String,
    /// The earlier stage.
    pub of: String,
    /// How much higher it may be, relative.
    pub within: f64,
    pub figures: Vec<Recovered>,
    pub pass: bool,
    /// In a sentence.
    pub text: String,
}

impl Recovered {
    /// Its value over that of before; `None` where either is missing or was 0.
    fn over(&self) -> Option<f64> {
        Some(self.value? / self.before.filter(|before| *before > 0.0)?)
    }
}

impl RecoveryVerdict {
    /// The greatest of its figures over that of before: 1.2 is a fifth more.
    #[must_use]
    pub fn worst(&self) -> Option<f64> {
        worst(&self.figures).map(|(share, _)| share)
    }

    /// Recovered or not, as an SLO passes or fails.
    #[must_use]
    pub const fn status(&self) -> SloStatus {
        if self.pass { SloStatus::Pass } else { SloStatus::Fail }
    }
}

/// Hold the latencies of `stage` against those of the stage that it is to recover to. Both are
/// distributions by metric name. A metric that neither has, such as TTFT where answers are not
/// streamed, is left out; one that only the earlier has fails.
#[must_use]
pub fn recovery(
    stage: &str,
    rule: &Recovery,
    own: &BTreeMap<String, Distribution>,
    earlier: &BTreeMap<String, Distribution>,
) -> RecoveryVerdict {
    let value = |from: &BTreeMap<String, Distribution>, metric: &str, stat: &str| {
        from.get(metric).and_then(|distribution| distribution.stat(stat))
    };
    let figures: Vec<Recovered> = RECOVERED
        .iter()
        .map(|(metric, stat)| {
            let (now, before) = (value(own, metric, stat), value(earlier, metric, stat));
            let limit = before.map(|before| before * (1.0 + rule.within));
            let pass = matches!((now, limit), (Some(now), Some(limit)) if now <= limit);
            let (metric, stat) = ((*metric).to_owned(), (*stat).to_owned());
            Recovered { metric, stat, value: now, before, limit, pass }
        })
        .filter(|figure| figure.value.is_some() || figure.before.is_some())
        .collect();
    let pass = !figures.is_empty() && figures.iter().all(|figure| figure.pass);
    let text = recovery_text(stage, rule, &figures);
    RecoveryVerdict { stage: stage.to_owned(), of: rule.of.clone(), within: rule.within, figures, pass, text }
}

fn worst(figures: &[Recovered]) -> Option<(f64, &Recovered)> {
    let by_share = figures.iter().filter_map(|figure| Some((figure.over()?, figure)));
    by_share.max_by(|a, b| a.0.total_cmp(&b.0))
}

fn recovery_text(stage: &str, rule: &Recovery, figures: &[Recovered]) -> String {
    let of = &rule.of;
    let label = |figure: &Recovered| format!("{} {}", figure.stat, figure.metric.to_uppercase());
    if figures.is_empty() {
        return format!("nothing was answered in {stage} or in {of}: whether latency recovered is not known");
    }
    if let Some(missing) = figures.iter().find(|figure| figure.value.is_none() || figure.before.is_none()) {
        let at = if missing.value.is_none() { stage } else { of };
        return format!("{} is not known of {at}: whether latency recovered is not known", label(missing));
    }
    let percent = |share: f64| share * 100.0;
    match worst(figures) {
        Some((share, figure)) => {
            let label = label(figure);
            let recovered = figures.iter().all(|figure| figure.pass);
            format!(
                "{} {label} of {stage} is {:+.1} % against {of} (limit +{:.0} %)",
                if recovered { "recovered:" } else { "not recovered:" },
                percent(share - 1.0),
                percent(rule.within)
            )
        }
        None => format!("latency of {of} is 0: whether {stage} recovered is not known"),
    }
}

/// Whether something went up over the window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DriftVerdict {
    /// `ttft`, `tpot` or `error_rate`.
    pub metric: String,
    /// By how much it grew from the window's start to its end, by the line through its batch
    /// means: relative for a latency, in shares of 1 for the error rate. Negative: it fell.
    pub growth: f64,
    /// Where that line begins and ends: in ms, or in shares of 1. A beginning below 0 is its
    /// middle instead.
    pub from: f64,
    pub to: f64,
    /// The slope over its standard error, and its degrees of freedom.
    pub t: f64,
    pub df: u64,
    /// More than chance (one-sided 99 %), and enough to matter.
    pub drifts: bool,
    /// In a sentence.
    pub text: String,
}

/// Looks for drift over a window. Takes records in any order; what it holds does not grow with
/// them.
#[derive(Debug, Clone)]
pub struct Drift {
    window: Window,
    ttft: Figure,
    tpot: Figure,
    errors: Figure,
}

/// A figure over the window.
#[derive(Debug, Clone)]
struct Figure {
    batches: Batches,
    n: u64,
}

impl Figure {
    const fn new(window: Window) -> Self {
        Self { batches: Batches::new(window), n: 0 }
    }

    fn add(&mut self, due: u64, value: f64) {
        self.batches.add(due, value);
        self.n += 1;
    }

    fn course(&self) -> Option<Course> {
        self.batches.course().filter(|_| self.n >= ENOUGH)
    }
}

impl Drift {
    /// Over `window`: a cell's, or one stage's.
    #[must_use]
    pub const fn new(window: Window) -> Self {
        let (ttft, tpot, errors) = (Figure::new(window), Figure::new(window), Figure::new(window));
        Self { window, ttft, tpot, errors }
    }

    /// Take in a record; one that was not due in the window, or was cut off on purpose, says
    /// nothing.
    pub fn take(&mut self, r: &RequestRecord) {
        let due = r.intended_us;
        let inside = due >= self.window.start_us && due < self.window.end_us;
        if r.phase != Phase::Measure || !inside || r.outcome == Outcome::Cancelled {
            return;
        }
        self.errors.add(due, f64::from(u8::from(r.outcome.is_failure())));
        if r.outcome != Outcome::Ok {
            return;
        }
        if let Some(ttft) = of_request("ttft", r) {
            self.ttft.add(due, ttft);
        }
        if let Some(tpot) = of_request("tpot", r) {
            self.tpot.add(due, tpot);
        }
    }

    /// A verdict for each figure that has enough of a course to be judged by: 100 requests, 5 s,
    /// and one in each tenth of the window.
    #[must_use]
    pub fn verdicts(&self) -> Vec<DriftVerdict> {
        let latency = |name: &str, figure: &Figure| {
            let course = figure.course()?;
            (course.from > 0.0).then(|| verdict(name, course.rise / course.from, MATTERS, &course))
        };
        let errors = |figure: &Figure| {
            let course = figure.course()?;
            Some(verdict("error_rate", course.rise, MATTERS_ERRORS, &course))
        };
        [latency("ttft", &self.ttft), latency("tpot", &self.tpot), errors(&self.errors)]
            .into_iter()
            .flatten()
            .collect()
    }
}

fn verdict(name: &str, growth: f64, matters: f64, course: &Course) -> DriftVerdict {
    let line = &course.line;
    let drifts = course.is_sure() && growth > matters;
    let percent = |share: f64| format!("{:.1}", share * 100.0);
    let (what, unit, ends) = match name {
        "error_rate" => {
            let ends = format!("{} to {} %", percent(course.from.max(0.0)), percent(course.to.max(0.0)));
            ("the error rate".to_owned(), "percentage points", ends)
        }
        latency => {
            (latency.to_uppercase(), "%", format!("{:.1} to {:.1} ms", course.from, course.to.max(0.0)))
        }
    };
    let figures =
        format!("{} {unit} over the window (t = {:.1}), from {ends}", percent(growth.abs()), line.t);
    let went = if growth < 0.0 { "fell" } else { "grew" };
    let text = match (drifts, growth == 0.0) {
        (true, _) => format!("{what} {went} by {figures}"),
        (_, true) => format!("{what} did not drift"),
        _ => format!("{what} did not drift: it {went} by {figures}"),
    };
    // A line without any scatter has no finite t, and files have no word for that.
    let t = if line.t.is_nan() { 0.0 } else { line.t.clamp(-MOST_T, MOST_T) };
    let (from, to) = (course.from, course.to);
    DriftVerdict { metric: name.to_owned(), growth, from, to, t, df: line.df, drifts, text }
}

#[cfg(test)]
#[path = "stages_tests.rs"]
mod tests;
