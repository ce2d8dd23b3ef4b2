//! A capacity in sentences, the answer first.

use super::{Capacity, IntervalFrom, LimitState, Need, Plan, Shape, SloSource, Standing};
use crate::analysis::grid::Loop;
use crate::analysis::text::{count, figure, list, tick};
use crate::analysis::words;

/// What is said of a run: for each shape what it carries, then which setting carries most, then
/// what the traffic needs. Empty where no level was judged.
#[must_use]
pub fn answers(capacity: &Capacity) -> Vec<String> {
    let by = match &capacity.slo.source {
        SloSource::Preset(name) => format!("By the preset {name}, for want of an SLO: "),
        SloSource::Experiment | SloSource::Given(_) => String::new(),
    };
    // Of an SLO that somebody asked for it is told that nothing could be judged by it.
    let asked = by.is_empty() && !capacity.slo.rules.is_empty();
    let told = |s: &&Shape| asked || s.levels.iter().any(|l| !l.rules.is_empty());
    let judged = capacity.shapes.iter().filter(told);
    let several = capacity.shapes.len() > 1;
    let mut out: Vec<String> = judged.map(|s| upper(&format!("{by}{}", of_shape(s, several)))).collect();
    out.extend(capacity.best.iter().map(|b| b.text.clone()));
    out.extend(capacity.plan.iter().flat_map(of_plan));
    out
}

fn upper(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

/// A level of a shape's axis in words: whole users, rates to three digits, measured levels as
/// they are.
#[must_use]
pub fn load_text(shape: &Shape, x: f64) -> String {
    if let Some(level) = shape.levels.iter().find(|l| l.x == x) {
        return level.label.clone();
    }
    match shape.axis.as_str() {
        "load.users" => words::level("load.users", x.floor().max(1.0)),
        "load.qps" => format!("{} req/s", figure(x)),
        path => words::level(path, x.floor()),
    }
}

/// The number of a level alone.
fn bare(shape: &Shape, x: f64) -> String {
    if shape.levels.iter().any(|l| l.x == x) {
        return tick(x);
    }
    if shape.axis == "load.qps" { figure(x) } else { tick(x.floor()) }
}

/// `12.4 req/s (11.9–12.9)`; `at least 16 users`; `less than 1 req/s`.
#[must_use]
pub fn limit_text(shape: &Shape) -> String {
    let limit = &shape.limit;
    match (limit.state, limit.value) {
        (LimitState::Between, Some(value)) => {
            let plain = load_text(shape, value);
            match (limit.low, limit.high, limit.interval) {
                (Some(low), Some(high), _) if !staged(shape) => {
                    format!("{plain} ({}–{})", bare(shape, low), bare(shape, high))
                }
                _ => plain,
            }
        }
        (LimitState::AtLeast, Some(value)) => format!("at least {}", load_text(shape, value)),
        (LimitState::TooLow, _) => "none measured".to_owned(),
        (LimitState::Below, _) => {
            let least = limit.first_missed.map(|x| load_text(shape, x));
            least.map_or_else(|| "nothing".to_owned(), |least| format!("less than {least}"))
        }
        _ => "not known".to_owned(),
    }
}

/// Whether its levels are of more than one load each.
fn staged(shape: &Shape) -> bool {
    shape.levels.iter().any(|l| l.label.contains('→'))
}

/// ` at 512 → 128 tokens, max num seqs 64`.
fn at(shape: &Shape, several: bool) -> String {
    let mut parts: Vec<&str> = Vec::new();
    // The lengths are told where they are known; the label has them where they vary.
    if !shape.tokens.is_empty() && !shape.label.contains(&shape.tokens) {
        parts.push(&shape.tokens);
    }
    if several && !shape.label.is_empty() {
        parts.push(&shape.label);
    }
    if parts.is_empty() { String::new() } else { format!(" at {}", parts.join(", ")) }
}

fn of_shape(shape: &Shape, several: bool) -> String {
    let limit = &shape.limit;
    let at = at(shape, several);
    let load = if shape.is_load { "load" } else { "level" };
    let bound = limit.binding.as_ref();
    let mut out = match limit.state {
        LimitState::Unknown => format!("the SLO could not be judged{at}: no level has a valid cell."),
        LimitState::TooLow => {
            let last = limit.low.map_or_else(String::new, |x| load_text(shape, x));
            let why = bound.map_or_else(String::new, |b| format!(" ({})", b.text));
            format!(
                "no measured {load} meets the SLO{at}: up to {last} it brings too little{why}. More may do; measure it."
            )
        }
        LimitState::Below => {
            let first = limit.first_missed.map_or_else(String::new, |x| load_text(shape, x));
            let why = bound.map_or_else(String::new, |b| format!(" ({})", b.text));
            format!("no measured {load} meets the SLO{at}: the limit lies below {first}{why}.")
        }
        LimitState::AtLeast => {
            let last = limit.value.map_or_else(String::new, |x| load_text(shape, x));
            let nearest =
                bound.map_or_else(String::new, |b| format!(" Nearest to its limit there: {}.", b.text));
            match shape.levels.iter().filter(|l| l.met.is_some()).count() {
                1 => format!("meets the SLO with {last}{at}, the only {load} measured.{nearest}"),
                _ => format!(
                    "meets the SLO at every measured {load}{at}: at least {last}, and no {load} that fails was measured.{nearest}"
                ),
            }
        }
        LimitState::Between if limit.non_monotone => no_clean_limit(shape, &at),
        LimitState::Between => {
            let binds = bound.map_or_else(String::new, |b| {
                let first = limit.first_missed.map_or_else(String::new, |x| load_text(shape, x));
                format!("; {} binds: with {first} {}", b.name, b.text)
            });
            let completes = shape
                .carried
                .filter(|_| shape.kind == Loop::Closed)
                .map_or_else(String::new, |c| format!(", at least {} req/s completed,", figure(c.rps)));
            format!("meets the SLO up to {}{completes}{at}{binds}.", limit_text(shape))
                .replace(",;", ";")
                .replace(",.", ".")
        }
    };
    out.push_str(&how_sure(shape));
    out.push_str(&left_out(shape));
    out
}

fn no_clean_limit(shape: &Shape, at: &str) -> String {
    let met: Vec<&super::LevelResult> = shape.levels.iter().filter(|l| l.met == Some(true)).collect();
    let greatest = met.last().map_or_else(String::new, |l| l.label.clone());
    let missed = shape.levels.iter().find(|l| l.met == Some(false));
    let lower = missed.map_or_else(String::new, |l| l.label.clone());
    let why = missed.and_then(|l| l.rules.iter().find(|r| !r.met)).map_or("it is overloaded", |r| &r.text);
    let up_to = shape
        .limit
        .last_met
        .map_or_else(String::new, |x| format!(" Without a miss it holds up to {}.", load_text(shape, x)));
    format!(
        "meets the SLO with {greatest}{at} but not with {lower}, where {why}: there is no clean limit.{up_to}"
    )
}

/// What is not sure about the limit.
fn how_sure(shape: &Shape) -> String {
    let limit = &shape.limit;
    if staged(shape) || limit.state == LimitState::Unknown {
        return String::new();
    }
    let undecided = |x: Option<f64>| {
        let level = shape.levels.iter().find(|l| Some(l.x) == x)?;
        let rule = level.rules.iter().find(|r| r.verdict == Standing::Undecided)?;
        // Its figure was told as what comes nearest.
        let told = limit.binding.as_ref().filter(|_| limit.state == LimitState::AtLeast);
        let why = told.and_then(|b| rule.text.strip_prefix(b.text.as_str())).map(str::trim_start);
        let why = why.and_then(|w| w.strip_prefix('(')?.strip_suffix(')'));
        if let Some(why) = why {
            return Some(why.to_owned());
        }
        Some(format!("with {}, {}", level.label, rule.text))
    };
    let mut out = String::new();
    if let (LimitState::AtLeast, Some(pass)) =
        (limit.state, limit.last_pass.filter(|_| limit.last_pass < limit.last_met))
    {
        out.push_str(&format!(" Sure up to {}", load_text(shape, pass)));
        out.push_str(&undecided(limit.last_met).map_or_else(|| ".".to_owned(), |why| format!(": {why}.")));
    }
    if limit.low.is_some() && !limit.sure_low {
        out.push_str(" These are figures, not yet sure");
        out.push_str(&undecided(limit.last_met).map_or_else(|| ".".to_owned(), |why| format!(": {why}.")));
    } else if limit.high.is_some() && !limit.sure_high {
        out.push_str(" That it breaks there is not yet sure");
        out.push_str(
            &undecided(limit.first_missed).map_or_else(|| ".".to_owned(), |why| format!(": {why}.")),
        );
    }
    out.push_str(&other_rates(shape));
    if limit.interval == IntervalFrom::Bracket && limit.state == LimitState::Between && limit.sure_low {
        out.push_str(" The interval is that of the levels on either side.");
    }
    out
}

/// How far the rate of what was due in a level's windows may be from the level, as a share of it.
const RATE_OFF: f64 = 0.05;

/// The levels on either side of the limit whose windows were too short for arrivals at random to
/// come at the level's rate.
fn other_rates(shape: &Shape) -> String {
    let limit = &shape.limit;
    if shape.axis != "load.qps" {
        return String::new();
    }
    let beside = |l: &&super::LevelResult| Some(l.x) == limit.last_met || Some(l.x) == limit.first_missed;
    let off = |l: &super::LevelResult| {
        let rate = l.offered_rps.filter(|rate| (rate / l.x - 1.0).abs() > RATE_OFF)?;
        Some(format!("{} req/s in that of {}", figure(rate), l.label))
    };
    let off: Vec<String> = shape.levels.iter().filter(beside).filter_map(off).collect();
    if off.is_empty() {
        return String::new();
    }
    format!(
        " Arrivals at random came at another rate in so short a window: {}; longer windows place the limit better.",
        list(&off, 2)
    )
}

/// Levels that say nothing.
fn left_out(shape: &Shape) -> String {
    let of = |wanted: Standing| -> Vec<String> {
        shape.levels.iter().filter(|l| l.verdict == wanted).map(|l| l.label.clone()).collect()
    };
    let (silent, unjudged) = (of(Standing::Silent), of(Standing::Unjudged));
    let mut out = String::new();
    if !silent.is_empty() {
        out.push_str(&format!(" No request due in the window was answered at {}.", list(&silent, 5)));
    }
    if !unjudged.is_empty() && shape.limit.state != LimitState::Unknown {
        out.push_str(&format!(" Not judged, for want of valid repeats: {}.", list(&unjudged, 5)));
    }
    out
}

fn of_plan(plan: &Plan) -> Vec<String> {
    let mut out: Vec<String> = plan.need.iter().map(|need| needed(plan, need)).collect();
    out.extend(plan.refusals.iter().cloned());
    out.extend(plan.cautions.iter().cloned());
    out
}

/// `$1,234.50`, or `EUR 1,234.50`.
pub(crate) fn money(currency: &str, amount: f64) -> String {
    let digits = if amount >= 1000.0 {
        count(amount.round() as u64)
    } else if amount >= 0.1 {
        format!("{amount:.2}")
    } else {
        figure(amount)
    };
    let gap = if currency.chars().count() > 1 { " " } else { "" };
    format!("{currency}{gap}{digits}")
}

fn needed(plan: &Plan, need: &Need) -> String {
    let flow = |f: &super::FlowPlan| {
        let at = if f.tokens.is_empty() { String::new() } else { format!(" at {}", f.tokens) };
        format!("{} req/s{at}", tick(f.rps))
    };
    let flows: Vec<String> = plan.flows.iter().map(flow).collect();
    let growth =
        if plan.growth > 0.0 { format!(", grown by {} %", tick(plan.growth * 100.0)) } else { String::new() };
    let spares = match plan.spares {
        0 => String::new(),
        1 => ", one of them spare".to_owned(),
        n => format!(", {n} of them spare"),
    };
    let replicas = if need.replicas == 1 {
        "1 replica".to_owned()
    } else {
        format!("{} replicas", count(need.replicas))
    };
    let gpus = need.gpus.map_or_else(String::new, |g| format!(" ({} GPUs)", tick(g)));
    let mut out = format!(
        "For {}{growth}: {replicas}{gpus}{spares}, each at no more than {} % of what it carries.",
        flows.join(" and "),
        tick(plan.headroom * 100.0)
    );
    if let Some(per_hour) = need.cost_per_hour {
        out.push_str(&format!(" That is {} per hour", money(&plan.currency, per_hour)));
        if let (Some(all), Some(full)) = (need.cost_per_million, need.cost_per_million_full) {
            out.push_str(&format!(
                ", {} per million output tokens at that traffic ({} if every replica did all it carries within the SLO)",
                money(&plan.currency, all),
                money(&plan.currency, full)
            ));
        }
        out.push('.');
    }
    out
}
