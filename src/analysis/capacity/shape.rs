//! One workload shape over its levels, and which setting carries most.

use std::collections::BTreeMap;

use serde_json::Value;

use super::judge::{Judge, Judged};
use super::{Best, Carried, LevelResult, Limit, LimitState, Shape, UslFit, limit, limit_text};
use crate::analysis::grid::{self, Family, Group, Loop};
use crate::plan::Cell;
use crate::stats::{kneedle, usl};

/// Closed-loop levels that the scalability law needs.
const LEAST_FOR_USL: usize = 6;
/// Levels that a knee needs.
const LEAST_FOR_KNEE: usize = 5;
/// Nothing is said of more than so many times the most users measured.
const REACH: f64 = 1.5;

/// A group of a family, judged.
pub(super) fn build(family: &Family<'_>, group: &Group<'_>, judge: &Judge<'_>) -> Shape {
    let judged: Vec<Judged> = group.levels.iter().map(|level| judge.level(family, level)).collect();
    let limit = limit::find(&judged, family.kind);
    let levels: Vec<LevelResult> = judged.into_iter().map(|j| j.result).collect();
    let cell = group.levels[0].repeats.cell();
    let lengths = (!family.x.path.starts_with("workload.")).then(|| lengths(cell)).flatten();
    let length = |path: &str| matches!(path, "workload.prompt_tokens" | "workload.max_tokens");
    let tokens = lengths.map_or_else(String::new, |(prompt, output)| {
        format!("{} → {} tokens", grid_number(prompt), grid_number(output))
    });
    let words = family.rest.iter().zip(&group.words);
    let mut words: Vec<String> = words
        .filter(|(path, word)| !word.is_empty() && (lengths.is_none() || !length(path)))
        .map(|(_, word)| word.clone())
        .collect();
    if family.rest.iter().any(|path| length(path)) && lengths.is_some() {
        words.insert(0, tokens.clone());
    }
    Shape {
        label: words.join(", "),
        prompt_tokens: lengths.map(|(prompt, _)| prompt),
        output_tokens: lengths.map(|(_, output)| output),
        tokens,
        factors: family.rest.iter().map(|p| (p.clone(), grid::value(cell, p))).collect(),
        kind: family.kind,
        axis: family.x.path.clone(),
        axis_label: family.x.label.clone(),
        axis_unit: family.x.unit.clone(),
        is_load: family.x.is_load(),
        carried: family.x.is_load().then(|| carried(family.kind, &levels, &limit)).flatten(),
        knee: knee(family, &levels),
        usl: scalability(family, &levels),
        pareto: pareto(&levels),
        limit,
        levels,
    }
}

fn grid_number(tokens: f64) -> String {
    crate::analysis::text::tick(tokens)
}

/// Mean prompt and output length asked for; not of a mix, a data set or a trace.
fn lengths(cell: &Cell) -> Option<(f64, f64)> {
    let settings = &cell.settings;
    let workload = &settings.workload;
    let known = settings.parts.is_empty() && workload.asks_prompt_lengths() && workload.asks_output_lengths();
    let (prompt, output) = (workload.prompt_tokens.mean, workload.max_tokens.mean);
    // Of an imported cell they may not be known.
    (known && prompt > 0 && output > 0).then(|| (f64::from(prompt), f64::from(output)))
}

/// What one replica carries at the limit's lower end, between two measured levels by a line.
fn carried(kind: Loop, levels: &[LevelResult], limit: &Limit) -> Option<Carried> {
    let low = limit.low?;
    let at = |read: fn(&LevelResult) -> Option<f64>| {
        let known: Vec<(f64, f64)> = levels.iter().filter_map(|l| Some((l.x, read(l)?))).collect();
        let i = known.iter().position(|(x, _)| *x >= low)?;
        let (x1, y1) = known[i];
        if x1 == low || i == 0 {
            return (x1 == low).then_some(y1);
        }
        let (x0, y0) = known[i - 1];
        Some(y0 + (y1 - y0) * (low - x0) / (x1 - x0))
    };
    let completed = at(|l| l.completed_rps);
    let rps = match kind {
        Loop::Open => low,
        Loop::Closed => completed?,
    };
    (rps > 0.0).then(|| Carried { rps, output_tps: at(|l| l.output_tps), sure: limit.sure_low })
}

/// Load and completed requests per second of the levels that can be believed.
fn curve(levels: &[LevelResult]) -> (Vec<f64>, Vec<f64>) {
    let believable = levels.iter().filter(|l| l.repeats > 0);
    believable.filter_map(|l| Some((l.x, l.completed_rps.filter(|r| *r > 0.0)?))).unzip()
}

fn knee(family: &Family<'_>, levels: &[LevelResult]) -> Option<f64> {
    let (x, y) = curve(levels);
    if !family.x.is_load() || x.len() < LEAST_FOR_KNEE || changes(family) {
        return None;
    }
    kneedle(&x, &y, 1.0).map(|i| x[i])
}

/// Whether any level of the family changes its load over the window.
fn changes(family: &Family<'_>) -> bool {
    family.groups.iter().flat_map(|g| &g.levels).any(|l| l.repeats.level_changes())
}

fn scalability(family: &Family<'_>, levels: &[LevelResult]) -> Option<UslFit> {
    let (n, x) = curve(levels);
    let closed = family.kind == Loop::Closed && family.x.is_load();
    if !closed || n.len() < LEAST_FOR_USL || changes(family) {
        return None;
    }
    let fit = usl(&n, &x)?;
    let reach = REACH * n.iter().copied().fold(0.0, f64::max);
    let mut out = UslFit {
        gamma: fit.gamma,
        alpha: fit.alpha,
        beta: fit.beta,
        r2: fit.r2,
        points: Vec::new(),
        peak: fit.peak.filter(|peak| *peak <= reach),
        worst: 0.0,
        reach,
    };
    for (users, measured) in n.into_iter().zip(x) {
        let fitted = out.at(users)?;
        out.points.push((users, measured, fitted));
        out.worst = out.worst.max((fitted / measured - 1.0).abs());
    }
    Some(out)
}

/// Levels that no other beats in both tok/s per user and tok/s.
fn pareto(levels: &[LevelResult]) -> Vec<usize> {
    let feasible = |l: &LevelResult| l.repeats > 0 && !l.overloaded && l.met != Some(false);
    let mut points: Vec<(usize, f64, f64)> = levels
        .iter()
        .enumerate()
        .filter(|(_, l)| feasible(l))
        .filter_map(|(i, l)| Some((i, l.user_tps?, l.output_tps?)))
        .collect();
    // From the fastest for a user on, each that brings more in all.
    points.sort_by(|a, b| b.1.total_cmp(&a.1).then(b.2.total_cmp(&a.2)));
    let mut most = f64::NEG_INFINITY;
    points.retain(|(_, _, y)| {
        let better = *y > most;
        most = most.max(*y);
        better
    });
    points.reverse();
    points.into_iter().map(|(i, _, _)| i).collect()
}

/// Whether a factor is of what is asked, not of who answers.
fn is_workload(path: &str) -> bool {
    ["workload.", "load.", "mix.", "task.", "stage.", "cell."].iter().any(|root| path.starts_with(root))
}

/// For each workload, the setting that carries most; nothing where no setting varies.
pub(super) fn best(shapes: &[Shape]) -> Vec<Best> {
    let mut kinds: Vec<(String, Vec<usize>)> = Vec::new();
    for (i, shape) in shapes.iter().enumerate().filter(|(_, s)| s.is_load) {
        let same = words(shape, is_workload);
        let same = if same.is_empty() {
            shape.kind.words().to_owned()
        } else {
            format!("{same}, {}", shape.kind.words())
        };
        match kinds.iter_mut().find(|(words, _)| *words == same) {
            Some((_, members)) => members.push(i),
            None => kinds.push((same, vec![i])),
        }
    }
    let several = kinds.len() > 1;
    let settings = |path: &str| !is_workload(path);
    kinds
        .iter()
        .filter(|(_, members)| members.len() > 1)
        .filter_map(|(of, members)| {
            let carries = |i: &&usize| shapes[**i].limit.value.is_some();
            let rank = |i: &usize| {
                let limit = &shapes[*i].limit;
                (limit.value.unwrap_or(0.0), limit.state == LimitState::AtLeast)
            };
            let best = *members.iter().filter(carries).max_by(|a, b| {
                let ((a, open_a), (b, open_b)) = (rank(a), rank(b));
                a.total_cmp(&b).then(open_a.cmp(&open_b))
            })?;
            let low = shapes[best].limit.low.unwrap_or(0.0);
            let overlaps = |limit: &Limit| limit.value.is_some() && limit.high.is_none_or(|high| high >= low);
            let ties: Vec<String> = members
                .iter()
                .filter(|i| **i != best && overlaps(&shapes[**i].limit))
                .map(|i| words(&shapes[*i], settings))
                .collect();
            let setting = words(&shapes[best], settings);
            let of = if several { of.clone() } else { String::new() };
            let text = best_text(&shapes[best], &of, &setting, &ties);
            Some(Best { of, setting, shape: best, ties, text })
        })
        .collect()
}

fn best_text(shape: &Shape, of: &str, setting: &str, ties: &[String]) -> String {
    let of = if of.is_empty() { String::new() } else { format!(" of {of}") };
    let carries = format!("Most{of} is carried with {setting}: {} within the SLO", limit_text(shape));
    match ties.len() {
        0 => format!("{carries}."),
        _ => format!("{carries}; not told apart from it: {}.", crate::analysis::text::list(ties, 4)),
    }
}

/// The factors of a shape for which `wanted` holds, in words.
fn words(shape: &Shape, wanted: impl Fn(&str) -> bool) -> String {
    let wanted = shape.factors.iter().filter(|(path, value)| wanted(path) && **value != Value::Null);
    let factors: BTreeMap<_, _> = wanted.collect();
    factors.iter().map(|(path, value)| grid::factor_text(path, value)).collect::<Vec<_>>().join(", ")
}
