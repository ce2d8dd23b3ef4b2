//! The greatest level within the SLO: between which levels it lies, and where in between.

use super::judge::{Judged, is_latency, name};
use super::{Binding, CONFIDENCE, IntervalFrom, LevelResult, Limit, LimitState, RuleResult, Standing};
use crate::analysis::grid::Loop;
use crate::analysis::requests::higher_is_better;
use crate::metrics::rises_with_load;
use crate::stats::{isotonic, paired_t};

/// The limit of levels by rising x.
pub(super) fn find(levels: &[Judged], kind: Loop) -> Limit {
    // Levels that can be judged. At one that misses only a least rate, the load may be too low.
    let judged: Vec<&Judged> = levels.iter().filter(|l| l.result.met.is_some()).collect();
    let met = |l: &&&Judged| l.result.met == Some(true);
    let Some(lowest) = judged.first() else { return nothing(LimitState::Unknown) };
    let Some(greatest_met) = judged.iter().rev().find(met).map(|l| l.result.x) else {
        return below(&judged, lowest);
    };
    let too_low = |l: &Judged| l.result.x < greatest_met && only_rates_missed(&l.result);
    let misses = |l: &&&Judged| !met(l) && !too_low(l);
    let lowest_missed = judged.iter().find(misses).map(|l| l.result.x);
    let above = judged.iter().filter(misses).find(|l| l.result.x > greatest_met);
    let non_monotone = lowest_missed.is_some_and(|x| x < greatest_met);
    let fails = |l: &&&Judged| l.result.verdict == Standing::Fail && misses(l);
    let clean = |l: &&&Judged| lowest_missed.is_none_or(|x| l.result.x < x);
    let last_met = judged.iter().filter(met).rfind(clean).map(|l| l.result.x);
    let passes = |l: &&&Judged| l.result.verdict == Standing::Pass && clean(l);
    let last_pass = judged.iter().filter(passes).map(|l| l.result.x).next_back();
    let first_fail = judged.iter().filter(fails).map(|l| l.result.x).find(|x| *x > greatest_met);
    let mut limit = Limit {
        last_met,
        first_missed: above.map(|l| l.result.x),
        last_pass,
        first_fail,
        sure_low: last_pass.is_some(),
        sure_high: first_fail.is_some(),
        non_monotone,
        ..nothing(LimitState::Between)
    };
    let Some(above) = above else {
        let last = last_met.or(Some(greatest_met));
        limit.state = if non_monotone { LimitState::Between } else { LimitState::AtLeast };
        limit.value = last;
        limit.low = last_pass.or(last_met);
        limit.binding = if non_monotone {
            let missed = judged.iter().find(misses);
            missed.and_then(|l| missed_rule(&l.result)).map(binding)
        } else {
            judged.iter().rev().find(met).and_then(|l| nearest(&l.result)).map(binding)
        };
        return limit;
    };
    between(&mut limit, &judged, above, greatest_met);
    if kind == Loop::Open {
        no_more_than_completed(&mut limit, &judged, above.result.x);
    }
    limit
}

/// An open loop's limit isn't above what the server completes at the levels that miss the SLO: a
/// line through latencies knows nothing of that, and short windows hide a queue.
fn no_more_than_completed(limit: &mut Limit, judged: &[&Judged], missed: f64) {
    let completed = judged.iter().filter(|l| l.result.x >= missed).filter_map(|l| l.result.completed_rps);
    let Some((value, most)) = limit.value.zip(completed.reduce(f64::max)) else { return };
    let value = value.min(most.max(limit.last_met.unwrap_or(0.0)));
    limit.value = Some(value);
    limit.low = limit.low.map(|low| low.min(value));
}

fn nothing(state: LimitState) -> Limit {
    Limit {
        state,
        value: None,
        low: None,
        high: None,
        sure_low: false,
        sure_high: false,
        last_met: None,
        first_missed: None,
        last_pass: None,
        first_fail: None,
        binding: None,
        interval: IntervalFrom::Nothing,
        non_monotone: false,
    }
}

fn below(judged: &[&Judged], lowest: &Judged) -> Limit {
    // Where the load is merely too low for a least rate, the greatest level says most.
    let telling = if only_rates_missed(&lowest.result) { judged.last() } else { judged.first() };
    if judged.iter().all(|l| only_rates_missed(&l.result)) {
        return Limit {
            low: judged.last().map(|l| l.result.x),
            binding: telling.and_then(|l| missed(&l.result)),
            interval: IntervalFrom::Bracket,
            ..nothing(LimitState::TooLow)
        };
    }
    let first_fail = judged.iter().find(|l| l.result.verdict == Standing::Fail).map(|l| l.result.x);
    Limit {
        high: Some(lowest.result.x),
        first_missed: Some(lowest.result.x),
        first_fail,
        sure_high: lowest.result.verdict == Standing::Fail,
        binding: telling.and_then(|l| missed(&l.result)),
        interval: IntervalFrom::Bracket,
        ..nothing(LimitState::Below)
    }
}

/// Whether all that a level misses are least rates, which more load may bring.
fn only_rates_missed(level: &LevelResult) -> bool {
    let mut missed = level.rules.iter().filter(|r| !r.met).peekable();
    !level.overloaded && missed.peek().is_some() && missed.all(|r| rises_with_load(&r.metric))
}

fn binding(rule: &RuleResult) -> Binding {
    // How sure it is is told of the limit, not of what breaks it.
    let text = match rule.verdict {
        Standing::Undecided => rule.text.split(" (").next().unwrap_or_default(),
        _ => &rule.text,
    };
    Binding { metric: rule.metric.clone(), stat: rule.stat.clone(), name: name(rule), text: text.to_owned() }
}

/// What breaks other than a rule.
fn without_rule(name: &str, text: &str) -> Binding {
    Binding { metric: String::new(), stat: String::new(), name: name.to_owned(), text: text.to_owned() }
}

/// What a level misses most.
fn missed(level: &LevelResult) -> Option<Binding> {
    let silent = level.verdict == Standing::Silent;
    missed_rule(level)
        .map(binding)
        .or_else(|| level.overloaded.then(|| without_rule("overload", "the server is overloaded")))
        .or_else(|| silent.then(|| without_rule("silence", "a repeat had no answer at all")))
}

fn missed_rule(level: &LevelResult) -> Option<&RuleResult> {
    let missed = level.rules.iter().filter(|r| !r.met);
    missed.max_by(|a, b| excess_of(a).total_cmp(&excess_of(b)))
}

/// What a level that meets the SLO comes nearest to; nothing of rates, which only rise.
fn nearest(level: &LevelResult) -> Option<&RuleResult> {
    let other = level.rules.iter().filter(|r| !rises_with_load(&r.metric) && r.value.is_some());
    other.max_by(|a, b| used(a).total_cmp(&used(b)))
}

/// The share of its limit that a figure takes up.
fn used(rule: &RuleResult) -> f64 {
    let share = |value: f64| {
        if higher_is_better(&rule.metric) { rule.limit / value } else { value / rule.limit }
    };
    rule.value.map(share).filter(|share| share.is_finite()).unwrap_or(0.0)
}

fn excess_of(rule: &RuleResult) -> f64 {
    rule.value.map_or(f64::INFINITY, |v| excess(rule, v))
}

/// By how much a figure is beyond its limit: more than 0 where it is. Logarithms of latencies,
/// whose distance from the limit is a ratio; shares as they are.
fn excess(rule: &RuleResult, value: f64) -> f64 {
    let sign = if higher_is_better(&rule.metric) { -1.0 } else { 1.0 };
    if is_latency(&rule.metric) && value > 0.0 && rule.limit > 0.0 {
        return sign * (value / rule.limit).ln();
    }
    let scale = if rule.limit > 0.0 { rule.limit } else { 1.0 };
    sign * (value - rule.limit) / scale
}

/// Value, interval and binding rule of a limit with a level that meets the SLO under one that
/// doesn't.
fn between(limit: &mut Limit, judged: &[&Judged], above: &Judged, greatest_met: f64) {
    let (from, to) = (limit.last_met.unwrap_or(greatest_met), above.result.x);
    let rules = above.result.rules.len();
    let crossing = |rule: usize, repeat: Option<u32>| crossing(judged, rule, repeat);
    // Between levels whose load changes lies nothing, and a rule can't be followed over levels
    // that have other rules.
    let can = judged.iter().all(|l| !l.staged && l.result.rules.len() == rules);
    let missed_here = |i: &usize| can && !above.result.rules[*i].met;
    let first = (0..rules)
        .filter(missed_here)
        .filter_map(|i| Some((crossing(i, None)?, i)))
        .min_by(|a, b| a.0.total_cmp(&b.0));
    limit.binding = match first {
        Some((_, i)) => Some(binding(&above.result.rules[i])),
        None => missed(&above.result),
    };
    limit.value = Some(first.map_or(from, |(x, _)| x.clamp(from, to)));
    limit.low = limit.last_pass.or(limit.last_met);
    limit.high = limit.first_fail.or(Some(to));
    limit.interval = IntervalFrom::Bracket;
    if limit.non_monotone || first.is_none() {
        return;
    }
    // One crossing for each repeat: where its first rule breaks.
    let mut repeats: Vec<u32> =
        judged.iter().flat_map(|l| l.values.iter().flatten().map(|(r, _)| *r)).collect();
    repeats.sort_unstable();
    repeats.dedup();
    let of = |repeat: u32| {
        let all = (0..rules).filter_map(|i| crossing(i, Some(repeat)));
        all.min_by(f64::total_cmp).map(f64::ln)
    };
    let Some(logs) = repeats.into_iter().map(of).collect::<Option<Vec<f64>>>() else { return };
    let Some(test) = paired_t(&logs) else { return };
    let (low, high) = test.interval(CONFIDENCE);
    let value = test.mean.exp().clamp(from, to);
    // The line between two levels is a guess: half of the way to either is left to it.
    let (low, high) = (low.exp().min((from * value).sqrt()), high.exp().max((value * to).sqrt()));
    // Latencies of an overloaded level depend on how long it ran: it says that it fails, not
    // by how much.
    let high = if above.result.overloaded { high.max(to) } else { high };
    let (least, most) = (judged[0].result.x, judged[judged.len() - 1].result.x);
    limit.value = Some(value);
    limit.low = Some(low.max(limit.last_pass.unwrap_or(least).min(value)));
    limit.high = Some(high.min(limit.first_fail.unwrap_or(most).max(value)));
    limit.interval = IntervalFrom::Repeats;
}

/// Where a rule is crossed, by a rising line through all levels of its figure (over repeats, or
/// of one). `None` where it isn't between measured levels.
fn crossing(judged: &[&Judged], rule: usize, repeat: Option<u32>) -> Option<f64> {
    let (mut xs, mut ys) = (Vec::new(), Vec::new());
    for level in judged {
        let of = level.result.rules.get(rule)?;
        let value = match repeat {
            None => of.value,
            Some(repeat) => level.values[rule].iter().find(|(r, _)| *r == repeat).map(|(_, v)| *v),
        };
        // A rate that is to be high rises first: it has no crossing of this kind.
        if rises_with_load(&of.metric) {
            return None;
        }
        if let Some(value) = value {
            xs.push(level.result.x);
            ys.push(excess(of, value));
        }
    }
    let ys = isotonic(&ys, &vec![1.0; ys.len()]);
    let i = ys.iter().position(|y| *y > 0.0).filter(|i| *i > 0)?;
    let (y0, y1) = (ys[i - 1], ys[i]);
    let share = -y0 / (y1 - y0);
    let (x0, x1) = (xs[i - 1], xs[i]);
    if x0 <= 0.0 {
        return Some(x0 + (x1 - x0) * share);
    }
    Some((x0.ln() + (x1 / x0).ln() * share).exp())
}
