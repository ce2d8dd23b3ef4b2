//! Levels held against the SLO: pass, fail or undecided, with confidence.

use std::cell::RefCell;

use super::{CONFIDENCE, LevelResult, Method, RuleResult, SloSource, Standing, preset_rules};
use crate::analysis::CellData;
use crate::analysis::grid::{Family, Level, Repeats};
use crate::analysis::requests::{Requests, below, higher_is_better, is_per_request, share_asked};
use crate::analysis::text::{count, figure};
use crate::analysis::words::{metric_name, staged_load, value_with_unit, verdict_text};
use crate::experiment::{Slo, SloRule};
use crate::measure::{CellSummary, SloStatus, SloVerdict, Verdict};
use crate::metrics::{Unit, metric};
use crate::stats::{Moments, Share, Stopping, effective_n, effective_share_n, paired_t};

/// Independent requests from which the mean of a single repeat can be judged.
const LEAST_FOR_A_MEAN: f64 = 10.0;

/// Judges levels by one SLO.
pub(super) struct Judge<'a> {
    given: Option<&'a Slo>,
    preset: Option<Vec<SloRule>>,
    unreadable: RefCell<Vec<String>>,
}

/// A level with what the limit needs of it: the figures of each repeat.
pub(super) struct Judged {
    pub(super) result: LevelResult,
    /// Of each rule, the repeats that have a figure: number of the repeat and figure.
    pub(super) values: Vec<Vec<(u32, f64)>>,
    /// Its load changes over the window, so that nothing lies between it and another level.
    pub(super) staged: bool,
}

impl<'a> Judge<'a> {
    pub(super) fn new(given: Option<&'a Slo>, source: &SloSource) -> Self {
        let preset = match source {
            SloSource::Preset(name) => Some(preset_rules(name)),
            _ => None,
        };
        Self { given, preset, unreadable: RefCell::default() }
    }

    /// What could not be read meanwhile.
    pub(super) fn notes(&self) -> Vec<String> {
        self.unreadable.borrow().clone()
    }

    /// The rules for a cell. Of the preset that stands in for an SLO, only those of which
    /// something was measured.
    fn rules(&self, cell: &CellData) -> Vec<SloRule> {
        match (self.given, &self.preset) {
            (Some(slo), _) => slo.rules.clone(),
            (None, Some(rules)) => {
                let known = |r: &&SloRule| {
                    cell.summary.as_ref().is_none_or(|s| s.value(&r.metric, &r.stat).is_some())
                };
                rules.iter().filter(known).cloned().collect()
            }
            (None, None) => cell.cell.settings.slo.rules.clone(),
        }
    }

    /// One level, all its believable repeats together.
    pub(super) fn level(&self, family: &Family<'_>, level: &Level<'_>) -> Judged {
        let repeats = &level.repeats;
        let is_valid = |s: &CellSummary| s.validity.verdict != Verdict::Invalid;
        let cells: Vec<&CellData> =
            repeats.cells.iter().copied().filter(|c| c.summary.as_ref().is_some_and(is_valid)).collect();
        let ran = repeats.summaries().count();
        let staged = repeats.level_changes();
        let (mut rules, mut values) = (Vec::new(), Vec::new());
        if let Some(first) = cells.first() {
            for rule in &self.rules(first) {
                let of = figures(rule, &cells);
                rules.push(if staged { stored(rule, None, &cells) } else { placeholder(rule) });
                values.push(of);
            }
            if !staged {
                self.judge_all(&mut rules, &values, &cells);
            } else if self.given.is_none() {
                rules.extend(of_stages(&cells));
                values.resize(rules.len(), Vec::new());
            }
        }
        let overloaded = !cells.is_empty() && Repeats { cells: cells.clone() }.flags().overloaded;
        let mean = |metric: &str, stat: &str| {
            let estimate = Repeats { cells: cells.clone() }.estimate(metric, stat);
            estimate.filter(|_| !cells.is_empty()).map(|e| e.mean)
        };
        let first = repeats.summaries().next();
        let result = LevelResult {
            x: level.x,
            label: staged_load(repeats.cell())
                .filter(|_| family.x.is_load())
                .unwrap_or_else(|| family.x.level(level.x)),
            verdict: standing(&rules, overloaded, &cells, repeats),
            met: met(&rules, overloaded || repeats.silent() > 0).filter(|_| !cells.is_empty()),
            overloaded,
            repeats: cells.len(),
            left_out: ran - cells.len(),
            goodput_rps: mean("goodput_rps", ""),
            attainment: mean("attainment", ""),
            offered_rps: mean("offered_rps", ""),
            completed_rps: mean("completed_rps", ""),
            output_tps: mean("output_tps", ""),
            user_tps: mean("tpot", "p50").filter(|ms| *ms > 0.0).map(|ms| 1000.0 / ms),
            window: first.map(|s| (s.window.start_us as f64 / 1e6, s.window.end_us as f64 / 1e6)),
            steady: first
                .filter(|s| s.validity.signals.contains_key("mser_cut_s"))
                .map(|s| !s.validity.reasons.iter().any(|r| r.signal == "not_steady")),
            cells: repeats.cells.iter().map(|c| c.cell.index).collect(),
            rules,
        };
        Judged { result, values, staged }
    }

    /// Fills in the verdicts. The requests of a cell are read once for all rules.
    fn judge_all(&self, rules: &mut [RuleResult], values: &[Vec<(u32, f64)>], cells: &[&CellData]) {
        let wanted: Vec<String> = rules.iter().map(|r| r.metric.clone()).collect();
        let by_requests =
            |r: &RuleResult| is_per_request(&r.metric) && (below(&r.stat).is_some() || r.stat == "mean");
        let failing = |c: &&CellData| c.summary.as_ref().is_some_and(|s| s.counts.failed > 0);
        let of_failures = |r: &RuleResult| r.metric == "error_rate" && cells.iter().any(failing);
        let needed = rules.iter().any(|r| by_requests(r) || of_failures(r));
        let requests = if needed { self.read(cells, &wanted) } else { None };
        for (rule, values) in rules.iter_mut().zip(values) {
            let plain: Vec<f64> = values.iter().map(|(_, v)| *v).collect();
            // As tables have it.
            rule.value = Moments::of(&plain).mean();
            rule.met = rule.value.is_some_and(|v| within(rule, v));
            if rule.value.is_none() {
                // Where nothing was answered it is missed; else too little was measured to say.
                let answered = cells.iter().filter_map(|c| c.summary.as_ref()).any(|s| s.counts.ok > 0);
                rule.verdict = if answered { Standing::Unjudged } else { Standing::Fail };
                rule.text = verdict_text(&SloVerdict::judge(&rule_of(rule), None));
                continue;
            }
            let counted = counted(rule, cells, requests.as_deref());
            let mean = (rule.stat == "mean" && plain.len() == 1)
                .then(|| of_one_mean(rule, requests.as_deref()))
                .flatten();
            match (counted, plain.len()) {
                (Some(counted), _) => by_count(rule, &counted),
                (None, 1) => match mean {
                    Some((low, high)) => by_interval(rule, (low, high), Method::Requests),
                    None => rule.method = Method::Figure,
                },
                (None, _) => {
                    if let Some(interval) = of_repeats(rule, &plain) {
                        by_interval(rule, interval, Method::Repeats);
                    }
                }
            }
            // What its requests deny with confidence isn't met, whatever the mean of repeats says.
            rule.met &= rule.verdict != Standing::Fail;
            rule.text = text_of(rule);
        }
    }

    /// The requests of every cell; `None` unless all are there.
    fn read(&self, cells: &[&CellData], metrics: &[String]) -> Option<Vec<Requests>> {
        let metrics: Vec<&str> = metrics.iter().map(String::as_str).collect();
        let read = |cell: &&CellData| match Requests::read(cell.records.as_deref()?, &metrics) {
            Ok(requests) => Some(requests),
            Err(error) => {
                let note =
                    format!("The requests of a cell can't be read, so that its repeats have to do: {error}.");
                self.unreadable.borrow_mut().push(note);
                None
            }
        };
        cells.iter().map(read).collect()
    }
}

fn within(rule: &RuleResult, value: f64) -> bool {
    if higher_is_better(&rule.metric) { value >= rule.limit } else { value <= rule.limit }
}

/// Whether a figure is positive by nature, so that its logarithm is what is averaged.
pub(super) fn is_latency(name: &str) -> bool {
    metric(name).is_some_and(|m| {
        matches!(m.unit, Unit::Ms | Unit::Seconds | Unit::TokensPerSecond | Unit::RequestsPerSecond)
    })
}

fn figures(rule: &SloRule, cells: &[&CellData]) -> Vec<(u32, f64)> {
    let of = |c: &&CellData| {
        let value = c.summary.as_ref()?.value(&rule.metric, &rule.stat)?;
        value.is_finite().then_some((c.cell.repeat, value))
    };
    cells.iter().filter_map(of).collect()
}

fn rule_of(rule: &RuleResult) -> SloRule {
    SloRule { metric: rule.metric.clone(), stat: rule.stat.clone(), limit: rule.limit, target: None }
}

fn placeholder(rule: &SloRule) -> RuleResult {
    RuleResult {
        metric: rule.metric.clone(),
        stat: rule.stat.clone(),
        stage: None,
        limit: rule.limit,
        value: None,
        met: false,
        verdict: Standing::Undecided,
        method: Method::Figure,
        requests: None,
        violations: None,
        n_eff: None,
        interval: None,
        text: String::new(),
    }
}

/// A rule as a share of requests: percentiles, and the error rate.
fn counted(rule: &RuleResult, cells: &[&CellData], requests: Option<&[Requests]>) -> Option<Share> {
    if rule.metric == "error_rate" && rule.limit > 0.0 && rule.limit < 1.0 {
        return Some(of_errors(rule.limit, cells, requests));
    }
    let each = requests?.iter().map(|r| r.share(&rule.metric, &rule.stat, rule.limit));
    Share::sum(each.collect::<Option<Vec<Share>>>()?).filter(|share| share.requests > 0)
}

fn of_errors(limit: f64, cells: &[&CellData], requests: Option<&[Requests]>) -> Share {
    let mut out = Share { asked: 1.0 - limit, requests: 0, violations: 0, effective: 0.0 };
    for (i, summary) in cells.iter().filter_map(|c| c.summary.as_ref()).enumerate() {
        let asked = summary.counts.attempted - summary.counts.cancelled;
        out.requests += asked;
        out.violations += summary.counts.failed;
        // Without failures there is nothing that could depend on each other.
        let failing = requests.filter(|_| summary.counts.failed > 0).and_then(|r| r.get(i));
        let effective = failing.map_or(asked as f64, |r| effective_share_n(&r.failures()));
        out.effective += effective.min(asked as f64);
    }
    out
}

fn by_count(rule: &mut RuleResult, counted: &Share) {
    rule.method = Method::Requests;
    rule.requests = Some(counted.requests);
    rule.violations = Some(counted.violations);
    rule.n_eff = Some(counted.effective);
    rule.verdict = match counted.stopping(CONFIDENCE) {
        Stopping::Pass => Standing::Pass,
        Stopping::Fail => Standing::Fail,
        Stopping::Undecided => Standing::Undecided,
    };
}

/// The interval of a figure over its repeats: two-sided 90 %, so that each end holds with 95 %.
fn of_repeats(rule: &RuleResult, values: &[f64]) -> Option<(f64, f64)> {
    let level = 2.0 * CONFIDENCE - 1.0;
    if is_latency(&rule.metric) && values.iter().all(|v| *v > 0.0) {
        let logs: Vec<f64> = values.iter().map(|v| v.ln()).collect();
        let (low, high) = paired_t(&logs)?.interval(level);
        return Some((low.exp(), high.exp()));
    }
    Some(paired_t(values)?.interval(level))
}

/// The interval of the mean of a single repeat, from its requests.
fn of_one_mean(rule: &RuleResult, requests: Option<&[Requests]>) -> Option<(f64, f64)> {
    let samples = requests?.first()?.samples(&rule.metric);
    let n_eff = effective_n(&samples);
    if n_eff < LEAST_FOR_A_MEAN {
        return None;
    }
    let moments = Moments::of(&samples);
    let (mean, std) = (moments.mean()?, moments.std()?);
    let reach = crate::stats::student_t_quantile(CONFIDENCE, n_eff - 1.0) * std / n_eff.sqrt();
    Some((mean - reach, mean + reach))
}

fn by_interval(rule: &mut RuleResult, (low, high): (f64, f64), method: Method) {
    rule.method = method;
    rule.interval = Some((low, high));
    rule.verdict = match (within(rule, low), within(rule, high)) {
        (true, true) => Standing::Pass,
        (false, false) => Standing::Fail,
        _ => Standing::Undecided,
    };
}

/// The figure beside its limit, and why it isn't decided where it isn't.
fn text_of(rule: &RuleResult) -> String {
    let figure_text = verdict_text(&SloVerdict::judge(&rule_of(rule), rule.value));
    if rule.verdict == Standing::Fail
        && let (true, Some(n), Some(beyond)) =
            (rule.value.is_some_and(|v| within(rule, v)), rule.requests, rule.violations)
    {
        // Answers that never came are in no percentile.
        return format!("{figure_text} ({} of {} requests failed or are beyond it)", count(beyond), count(n));
    }
    if rule.verdict != Standing::Undecided {
        return figure_text;
    }
    let unit = |v| value_with_unit(&rule.metric, v);
    let why = match (rule.method, rule.requests, rule.interval) {
        (Method::Requests, Some(n), _) => {
            let worth = rule.n_eff.filter(|e| *e < 0.9 * n as f64);
            let worth = worth.map_or_else(String::new, |e| format!(", worth {} independent ones", figure(e)));
            // Where it seems to be beyond, it isn't a pass that more requests would bring.
            let least = least_without_violation(rule).filter(|_| rule.met);
            let least =
                least.map_or_else(String::new, |n| format!("; {} are the least that can do", count(n)));
            let beyond = rule.violations.unwrap_or(0);
            let what = if rule.metric == "error_rate" { "failed" } else { "beyond it" };
            format!("{} of {} requests {what}{worth}, too few to be sure{least}", count(beyond), count(n))
        }
        (_, _, Some((low, high))) => format!("{} to {} by its spread", unit(low), unit(high)),
        _ => "one repeat, which can't tell how sure it is".to_owned(),
    };
    format!("{figure_text} ({why})")
}

/// Independent requests, none beyond the limit, that it takes to pass; told where there are fewer.
pub(super) fn least_without_violation(rule: &RuleResult) -> Option<u64> {
    let share =
        if rule.metric == "error_rate" { 1.0 - rule.limit } else { share_asked(&rule.metric, &rule.stat)? };
    let least = ((1.0 - CONFIDENCE).ln() / share.ln()).ceil();
    (rule.n_eff? < least).then_some(least as u64)
}

/// A rule as the summaries have it, every repeat for itself.
fn stored(rule: &SloRule, stage: Option<&str>, cells: &[&CellData]) -> RuleResult {
    let verdicts = cells.iter().filter_map(|c| c.summary.as_ref()).map(|s| SloVerdict::of(rule, s));
    of_verdicts(stage, &verdicts.collect::<Vec<_>>()).unwrap_or_else(|| placeholder(rule))
}

/// The worst of one rule's verdicts.
fn of_verdicts(stage: Option<&str>, verdicts: &[SloVerdict]) -> Option<RuleResult> {
    let worst = verdicts.iter().max_by_key(|v| v.status)?;
    let met = worst.status != SloStatus::Fail;
    let rule =
        SloRule { metric: worst.metric.clone(), stat: worst.stat.clone(), limit: worst.limit, target: None };
    let within = stage.map_or_else(String::new, |stage| format!("in {stage} "));
    Some(RuleResult {
        stage: stage.map(str::to_owned),
        value: worst.value,
        met,
        verdict: if met { Standing::Pass } else { Standing::Fail },
        method: Method::Stored,
        text: format!("{within}{}", verdict_text(worst)),
        ..placeholder(&rule)
    })
}

/// What is asked of stages: their own rules, and that latency is back.
fn of_stages(cells: &[&CellData]) -> Vec<RuleResult> {
    let summaries = || cells.iter().filter_map(|c| c.summary.as_ref());
    let mut out = Vec::new();
    let Some(first) = summaries().next() else { return out };
    for stage in first.stages() {
        let same = || summaries().flat_map(|s| s.stages().filter(|g| g.name == stage.name));
        for (i, _) in stage.slo.iter().enumerate() {
            let verdicts: Vec<SloVerdict> = same().filter_map(|g| g.slo.get(i).cloned()).collect();
            out.extend(of_verdicts(Some(&stage.name), &verdicts));
        }
        let recoveries = same().filter_map(|g| g.recovery.as_ref());
        if let Some(worst) = recoveries.max_by_key(|r| r.status()) {
            let met = worst.status() != SloStatus::Fail;
            let rule = SloRule {
                metric: "recovery".to_owned(),
                stat: String::new(),
                limit: worst.within,
                target: None,
            };
            out.push(RuleResult {
                stage: Some(stage.name.clone()),
                value: worst.worst().map(|over| over - 1.0),
                met,
                verdict: if met { Standing::Pass } else { Standing::Fail },
                method: Method::Stored,
                text: worst.text.clone(),
                ..placeholder(&rule)
            });
        }
    }
    out
}

/// The worst of the rules; overload fails, whatever they say.
fn standing(rules: &[RuleResult], overloaded: bool, cells: &[&CellData], repeats: &Repeats<'_>) -> Standing {
    if cells.is_empty() {
        let ran = repeats.summaries().count();
        return if ran > 0 && repeats.silent() == ran { Standing::Silent } else { Standing::Unjudged };
    }
    if repeats.silent() > 0 {
        return Standing::Silent;
    }
    if overloaded {
        return Standing::Fail;
    }
    // One that is surely missed decides, whatever can't be judged beside it.
    let missed = rules.iter().any(|r| r.verdict == Standing::Fail);
    let worst = rules.iter().map(|r| r.verdict).max().unwrap_or(Standing::Unjudged);
    if missed { Standing::Fail } else { worst }
}

/// Whether every figure is within its limit. `None` where some have no figure, and the others are.
fn met(rules: &[RuleResult], broken: bool) -> Option<bool> {
    let judged = || rules.iter().filter(|r| r.verdict != Standing::Unjudged);
    let missed = broken || judged().any(|r| !r.met);
    (missed || (!rules.is_empty() && judged().count() == rules.len())).then_some(!missed)
}

/// A rule's name: `TTFT p95`; with the stage that it is of.
pub(super) fn name(rule: &RuleResult) -> String {
    let name = metric_name(&rule.metric, &rule.stat);
    rule.stage.as_ref().map_or_else(|| name.clone(), |stage| format!("{name} in {stage}"))
}
