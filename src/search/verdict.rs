//! From what was counted at a load to its verdict.

use super::{Level, Probe, RuleEvidence, Verdict};
use crate::experiment::SearchRules;
use crate::metrics::{Better, metric};
use crate::stats::{Share, Stopping};

/// A margin beyond this says no more: a factor of 20.
const MOST_MARGIN: f64 = 3.0;

/// The name of what binds where no rule does.
const OVERLOAD: &str = "overload";

/// The levels that probes were taken at, in the order of their first ones.
#[must_use]
pub fn levels(rules: &SearchRules, probes: &[Probe]) -> Vec<Level> {
    let mut loads: Vec<f64> = Vec::new();
    for probe in probes {
        if !loads.contains(&probe.load) {
            loads.push(probe.load);
        }
    }
    loads.into_iter().map(|load| level(rules, load, probes)).collect()
}

fn level(rules: &SearchRules, load: f64, probes: &[Probe]) -> Level {
    let here: Vec<&Probe> = probes.iter().filter(|probe| probe.load == load).collect();
    let valid: Vec<&Probe> = here.iter().copied().filter(|probe| probe.invalid.is_none()).collect();
    let mut level = Level {
        load,
        verdict: None,
        margin: None,
        binds: None,
        probes: here.len() as u32,
        valid: valid.len() as u32,
        requests: valid.iter().map(|probe| probe.requests).sum(),
        overloaded: false,
        invalid: here.last().and_then(|probe| probe.invalid.clone()),
        seconds: here.iter().map(|probe| probe.seconds).sum(),
    };
    let Some(first) = valid.first() else { return level };
    let judged: Vec<(Verdict, f64, String)> = (0..first.rules.len())
        .map(|at| {
            let evidence: Vec<&RuleEvidence> = valid.iter().filter_map(|probe| probe.rules.get(at)).collect();
            let rule = &first.rules[at];
            let name = format!("{}_{}", rule.metric, rule.stat).trim_end_matches('_').to_owned();
            let (verdict, margin) = judge_rule(&evidence, rules.confidence, rules.tolerance);
            (verdict, margin, name)
        })
        .collect();
    let worst = |among: &dyn Fn(&Verdict) -> bool| {
        judged.iter().filter(|(verdict, ..)| among(verdict)).max_by(|a, b| a.1.total_cmp(&b.1))
    };
    let all = |wanted: Verdict| judged.iter().all(|(verdict, ..)| *verdict == wanted);
    let piled = valid.iter().filter(|probe| probe.overloaded).count();
    level.overloaded = 2 * piled > valid.len();
    let failed = worst(&|verdict| *verdict == Verdict::Fail);
    let binding = failed.or_else(|| worst(&|_| true));
    level.margin = binding.map(|(_, margin, _)| *margin);
    level.binds = binding.map(|(.., name)| name.clone());
    level.verdict = Some(match (failed.is_some(), level.overloaded) {
        (true, _) => Verdict::Fail,
        // One sign of it alone may be chance.
        (false, true) if valid.len() > 1 => Verdict::Fail,
        (false, true) => Verdict::Undecided,
        (false, false) if all(Verdict::Pass) => Verdict::Pass,
        (false, false) => Verdict::Undecided,
    });
    if level.overloaded && failed.is_none() {
        // Beyond what the server carries, however well its answers still are.
        level.binds = Some(OVERLOAD.to_owned());
        level.margin = level.margin.map(|margin| margin.max(rules.ratio.ln()));
    }
    level
}

/// One rule, by all that was measured at a load: its verdict, and the mean of ln(figure/limit)
/// over the probes, above 0 where it is missed.
#[must_use]
pub fn judge_rule(evidence: &[&RuleEvidence], confidence: f64, tolerance: f64) -> (Verdict, f64) {
    let margins = evidence.iter().map(|one| margin(one));
    let mean = margins.sum::<f64>() / evidence.len().max(1) as f64;
    let shares: Option<Vec<Share>> = evidence.iter().map(|one| one.share).collect();
    match shares.and_then(Share::sum) {
        Some(share) => by_share(&share, confidence, mean),
        None => (by_value(evidence, mean, tolerance), mean),
    }
}

/// By early stopping on the requests of all probes, as many as they are worth.
fn by_share(share: &Share, confidence: f64, margin: f64) -> (Verdict, f64) {
    if share.requests == 0 {
        return (Verdict::Fail, MOST_MARGIN);
    }
    let verdict = match share.stopping(confidence) {
        Stopping::Pass => Verdict::Pass,
        Stopping::Fail => Verdict::Fail,
        Stopping::Undecided => Verdict::Undecided,
    };
    // Requests without a good answer are in no percentile, and violations all the same.
    let missed = share.violations as f64 / share.requests as f64 / (1.0 - share.asked);
    let margin = if missed > 1.0 && margin <= 0.0 { missed.ln().min(MOST_MARGIN) } else { margin };
    (verdict, margin)
}

fn by_value(evidence: &[&RuleEvidence], margin: f64, tolerance: f64) -> Verdict {
    if evidence.iter().any(|one| one.value.is_none()) {
        Verdict::Fail
    } else if margin.abs() < (1.0 + tolerance).ln() {
        Verdict::Undecided
    } else if margin < 0.0 {
        Verdict::Pass
    } else {
        Verdict::Fail
    }
}

/// ln(figure / limit), the other way round where more is better.
fn margin(evidence: &RuleEvidence) -> f64 {
    let Some(value) = evidence.value else { return MOST_MARGIN };
    let higher = metric(&evidence.metric).is_some_and(|metric| metric.better == Better::Higher);
    let (value, limit) = if higher { (evidence.limit, value) } else { (value, evidence.limit) };
    match (value > 0.0, limit > 0.0) {
        (true, true) => (value / limit).ln().clamp(-MOST_MARGIN, MOST_MARGIN),
        (true, false) => MOST_MARGIN,
        (false, _) => -MOST_MARGIN,
    }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
