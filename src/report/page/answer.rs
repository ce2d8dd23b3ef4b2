//! The answer of a run, for the page's first screen: what the server carries, within which
//! limit, and how sure that is.

use serde::Serialize;

use super::load_line::{Drawing, draw};
use super::tables::{Table, level_table, shape_table};
use crate::analysis::capacity::{
    self, CONFIDENCE, Capacity, IntervalFrom, LimitState, Shape, SloSource, Standing, limit_text,
};
use crate::analysis::grid::{Loop, Repeats};
use crate::analysis::{RunData, inside};
use crate::chart::{count, list, upper_first};
use crate::measure::{CellSummary, SloStatus, Verdict};
use crate::report::findings::Findings;

/// What the first screen says.
#[derive(Serialize)]
pub(in crate::report) struct Answer {
    /// `good`, `so-so`, `bad` or `none`.
    pub(in crate::report) tone: &'static str,
    pub(in crate::report) headline: String,
    /// `not yet sure`, where it isn't.
    pub(in crate::report) doubt: &'static str,
    /// What binds, or what was found in place of a limit.
    pub(in crate::report) because: Vec<String>,
    /// How sure it is, and of what it is made.
    pub(in crate::report) sure: Vec<String>,
    /// Each rule of the SLO in words.
    slo: Vec<String>,
    /// Where those rules come from, where that is not the experiment.
    slo_from: String,
    /// What the reader can do to learn more; empty where nothing is missing.
    next: Vec<String>,
    drawings: Vec<Drawing>,
    /// The key figures.
    table: Table,
    table_title: &'static str,
    /// Every workload's answer in full, where there are several.
    each: Vec<String>,
}

impl Answer {
    pub(in crate::report) fn of(run: &RunData, found: &Findings) -> Self {
        let capacity = run.capacity();
        let judged: Vec<&Shape> =
            capacity.shapes.iter().filter(|s| s.limit.state != LimitState::Unknown).collect();
        let several = capacity.shapes.len() > 1;
        let mut head = nothing(run, found).unwrap_or_else(|| headline(capacity, &judged, found));
        beyond_limits(run, &mut head);
        let (slo, slo_from) = slo(capacity);
        let silent = head.tone == "bad" && judged.is_empty();
        Self {
            sure: if silent { what_ran(run, found) } else { how_sure(run, found, &judged) },
            next: next(capacity, &judged, silent),
            drawings: if silent { Vec::new() } else { drawings(capacity) },
            table: if several { shape_table(&capacity.shapes) } else { level_table(run, capacity) },
            table_title: if several { "What each workload carries" } else { "Key figures by load" },
            each: if several { capacity::answers(capacity) } else { Vec::new() },
            doubt: if !silent && unsure(&judged).is_some() { "not yet sure" } else { "" },
            tone: head.tone,
            headline: head.text,
            because: head.because,
            slo,
            slo_from,
        }
    }
}

struct Head {
    tone: &'static str,
    text: String,
    because: Vec<String>,
}

/// Limits of the server itself are no part of the SLO, but nobody should miss that one was passed.
fn beyond_limits(run: &RunData, head: &mut Head) {
    let summaries = run.cells.iter().filter_map(|c| c.summary.as_ref());
    let believable = summaries.filter(|s| s.validity.verdict != Verdict::Invalid);
    let failed = |s: &CellSummary| s.limits().iter().find(|l| l.status == SloStatus::Fail).cloned();
    let failed: Vec<_> = believable.filter_map(failed).collect();
    let Some(first) = failed.first() else { return };
    let cells = if failed.len() == 1 { "one cell".to_owned() } else { format!("{} cells", failed.len()) };
    head.because.insert(
        0,
        format!("But a limit of the server isn't kept in {cells}: {}.", inside::limit_text(first)),
    );
    if matches!(head.tone, "good" | "none") {
        head.tone = "so-so";
    }
}

/// What is said of a run from which nothing follows about the server.
fn nothing(run: &RunData, found: &Findings) -> Option<Head> {
    let bad = |text: String, because| Some(Head { tone: "bad", text, because });
    if found.counts.ran == 0 {
        return bad("No cell ran to its end: this run says nothing yet.".to_owned(), Vec::new());
    }
    let summaries = || run.cells.iter().filter_map(|c| c.summary.as_ref());
    let sum = |read: fn(&CellSummary) -> u64| summaries().map(read).sum::<u64>();
    if sum(|s| s.counts.ok) == 0 {
        let failures = found.ran.iter().filter(|s| s.starts_with("Failed with")).cloned().collect();
        let due = count(sum(|s| s.counts.attempted));
        return bad(format!("No request was answered: {due} were due, none ended well."), failures);
    }
    if found.counts.invalid == found.counts.ran {
        let reasons: Vec<String> = Repeats::all(run).iter().flat_map(Repeats::reasons).collect();
        let because = reasons.first().map(|r| format!("{}.", upper_first(r))).into_iter().collect();
        return bad("No cell can be believed: this run says nothing about the server.".to_owned(), because);
    }
    None
}

fn headline(capacity: &Capacity, judged: &[&Shape], found: &Findings) -> Head {
    let preset = matches!(capacity.slo.source, SloSource::Preset(_));
    let mut head = match judged {
        [] => Head {
            tone: "none",
            text: found.figures.first().cloned().unwrap_or_else(|| "Nothing was judged.".to_owned()),
            because: found.figures.iter().skip(1).cloned().collect(),
        },
        [one] => of_one(one, capacity.shapes.len() > 1),
        many => of_many(many),
    };
    if preset && !judged.is_empty() {
        // Nobody asked for those limits: what was measured comes first.
        let mut figures = found.figures.iter();
        let throughput = found.figures.iter().find(|f| f.starts_with("Output throughput"));
        let text = throughput.or_else(|| figures.next()).cloned().unwrap_or_default();
        let by =
            format!("No SLO is set. By common limits it {}.", lower_first(head.text.trim_end_matches('.')));
        let others = found.figures.iter().filter(|f| **f != text).cloned();
        let because = others.chain([by]).chain(head.because).collect();
        head = Head { tone: "none", text, because };
    }
    head
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_lowercase().chain(chars).collect())
}

/// ` at 512 → 128 tokens`.
fn workload(shape: &Shape, several: bool) -> String {
    let mut parts = Vec::new();
    if !shape.tokens.is_empty() && !shape.label.contains(&shape.tokens) {
        parts.push(shape.tokens.as_str());
    }
    if several && !shape.label.is_empty() {
        parts.push(shape.label.as_str());
    }
    if parts.is_empty() { String::new() } else { format!(" at {}", parts.join(", ")) }
}

fn of_one(shape: &Shape, several: bool) -> Head {
    let limit = &shape.limit;
    let at = workload(shape, several);
    let level = |x: Option<f64>| {
        let known = shape.levels.iter().find(|l| Some(l.x) == x);
        known.map_or_else(String::new, |l| l.label.clone())
    };
    let bound = limit.binding.as_ref();
    match limit.state {
        LimitState::Between if limit.non_monotone => {
            let met = shape.levels.iter().rfind(|l| l.met == Some(true));
            let missed = shape.levels.iter().find(|l| l.met == Some(false));
            let words = |l: Option<&capacity::LevelResult>| l.map_or_else(String::new, |l| l.label.clone());
            let why = bound.map(|b| format!("With {} {}.", words(missed), b.text));
            Head {
                tone: "so-so",
                text: format!(
                    "Meets the SLO with {} but not with {}{at}: no clean limit.",
                    words(met),
                    words(missed)
                ),
                because: why.into_iter().collect(),
            }
        }
        LimitState::Between => {
            let binds = bound.map_or_else(String::new, |b| format!("; {} binds", b.name));
            let why = bound.map(|b| format!("With {} {}.", level(limit.first_missed), b.text));
            Head {
                tone: "good",
                text: format!("Meets the SLO up to {}{at}{binds}.", limit_text(shape)),
                because: why.into_iter().chain(up_to(shape)).collect(),
            }
        }
        LimitState::AtLeast => {
            let last = level(limit.value);
            let nearest = bound.map(|b| format!("Nearest to its limit: {}.", b.text)).into_iter().collect();
            let believable = shape.levels.iter().filter(|l| l.met.is_some()).count();
            let text = match believable {
                1 => format!("Meets the SLO with {last}{at}, the only load measured."),
                _ => format!("Meets the SLO at every load measured{at}, up to {last}."),
            };
            Head { tone: "good", text, because: nearest }
        }
        LimitState::TooLow => {
            let last = level(limit.low);
            let why = bound.map(|b| format!("With {last} {}.", b.text)).into_iter().collect();
            let text =
                format!("Misses the SLO at every load measured{at}, up to {last}: it brings too little.");
            Head { tone: "bad", text, because: why }
        }
        LimitState::Below | LimitState::Unknown => {
            let first = level(limit.first_missed);
            let why = bound.map(|b| format!("With {first} {}.", b.text)).into_iter().collect();
            let believable = shape.levels.iter().filter(|l| l.met.is_some()).count();
            let text = match believable {
                1 => format!("Misses the SLO with {first}{at}, the only load measured."),
                _ => format!("Misses the SLO at every load measured{at}, from {first} on."),
            };
            Head { tone: "bad", text, because: why }
        }
    }
}

/// What the lower end of a limit is worth: to plan with, and in requests where users are the load.
fn up_to(shape: &Shape) -> Option<String> {
    let low = capacity::load_text(shape, shape.limit.low?);
    let completes = shape.carried.filter(|_| shape.kind == Loop::Closed).map(|c| crate::chart::figure(c.rps));
    match (shape.limit.sure_low, completes) {
        (true, None) => Some(format!("Sure up to {low}.")),
        (true, Some(rps)) => Some(format!("Sure up to {low}, with which it completes {rps} req/s.")),
        (false, None) => None,
        (false, Some(rps)) => Some(format!("With {low} it completes {rps} req/s.")),
    }
}

/// Several workloads: from which limit to which, and where.
fn of_many(shapes: &[&Shape]) -> Head {
    let carries: Vec<&&Shape> = shapes.iter().filter(|s| s.limit.value.is_some()).collect();
    let by_value =
        |a: &&&Shape, b: &&&Shape| a.limit.value.unwrap_or(0.0).total_cmp(&b.limit.value.unwrap_or(0.0));
    let (least, most) =
        (carries.iter().min_by(|a, b| by_value(a, b)), carries.iter().max_by(|a, b| by_value(a, b)));
    let of = if carries.len() == shapes.len() {
        String::new()
    } else {
        format!(" in {} of {} workloads", carries.len(), shapes.len())
    };
    let one_axis = shapes.iter().all(|s| s.axis == shapes[0].axis);
    let text = match (least, most) {
        (None, _) | (_, None) => {
            format!("Misses the SLO at every load measured, in all {} workloads.", shapes.len())
        }
        (Some(a), Some(b)) if one_axis && a.limit.value != b.limit.value => format!(
            "Within the SLO{of} it carries {} at {}, and {} at {}.",
            limit_text(a),
            a.label,
            limit_text(b),
            b.label
        ),
        (Some(a), _) if one_axis => {
            format!("Within the SLO{of} it carries {}, whatever the workload.", limit_text(a))
        }
        _ => format!("Meets the SLO{of}; the limits are of two kinds of load, below."),
    };
    let tone = if carries.is_empty() {
        "bad"
    } else if of.is_empty() {
        "good"
    } else {
        "so-so"
    };
    let mut names: Vec<(String, usize)> = Vec::new();
    for name in shapes
        .iter()
        .filter(|s| s.limit.state != LimitState::AtLeast)
        .filter_map(|s| s.limit.binding.as_ref())
    {
        match names.iter_mut().find(|(known, _)| *known == name.name) {
            Some((_, n)) => *n += 1,
            None => names.push((name.name.clone(), 1)),
        }
    }
    names.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let binds: Vec<String> =
        names.iter().map(|(name, n)| format!("{name} binds in {n} of {} workloads", shapes.len())).collect();
    let because = if binds.is_empty() { Vec::new() } else { vec![format!("{}.", list(&binds, 3))] };
    Head { tone, text, because }
}

/// Repeats, validity, what the brackets mean, and what is not sure yet.
fn how_sure(run: &RunData, found: &Findings, judged: &[&Shape]) -> Vec<String> {
    let c = found.counts;
    let repeats = Repeats::all(run).iter().map(|r| r.cells.len()).max().unwrap_or(1);
    let measured = match repeats {
        0 | 1 => "Measured once at each load".to_owned(),
        n => format!("Measured with {n} repeats of each load"),
    };
    let not_run = c.planned - c.ran;
    let mut valid = match c.invalid {
        0 if c.warned == 0 => "all valid".to_owned(),
        0 => format!("all believable, {} of {} with a remark", c.warned, c.ran),
        n => format!("{n} of {} invalid and left out", c.ran),
    };
    if not_run > 0 {
        valid.push_str(&format!("; {not_run} of {} planned did not run", c.planned));
    }
    let mut out = vec![format!("{measured}, {valid}.")];
    let limits = || judged.iter().map(|s| &s.limit).filter(|l| l.state == LimitState::Between);
    if limits().any(|l| l.interval == IntervalFrom::Repeats) {
        out.push(format!(
            "In brackets: where the limit lies with {:.0} % confidence, by the spread of the repeats.",
            CONFIDENCE * 100.0
        ));
    } else if limits().any(|l| l.interval == IntervalFrom::Bracket) {
        out.push("In brackets: the measured loads on either side of it.".to_owned());
    }
    out.extend(unsure(judged));
    out
}

/// At which of the levels that matter the figures don't suffice.
fn unsure(judged: &[&Shape]) -> Option<String> {
    let n = judged.iter().filter(|shape| shape.limit.is_sure() == Some(false)).count();
    let confidence = CONFIDENCE * 100.0;
    match (n, judged) {
        (0, _) => None,
        (_, [shape]) => {
            let limit = &shape.limit;
            let near = |x: f64| Some(x) == limit.last_met || Some(x) == limit.first_missed;
            let levels = || shape.levels.iter().filter(|l| near(l.x) && l.verdict == Standing::Undecided);
            let labels: Vec<String> = levels().map(|l| l.label.clone()).collect();
            let longer = levels().flat_map(|l| &l.rules).filter_map(capacity::RuleResult::longer);
            let longer = longer.reduce(f64::max).map_or_else(String::new, |times| {
                format!(" Cells {:.0} times as long should do.", times.ceil())
            });
            let at = if labels.is_empty() {
                String::new()
            } else {
                format!("with {} ", labels.join(" and with "))
            };
            Some(format!(
                "Not for sure: {at}there were too few requests or repeats to say it with {confidence:.0} % confidence.{longer}",
            ))
        }
        (n, many) => Some(format!(
            "Not for sure in {n} of {} workloads: too few requests or repeats there to say it with {confidence:.0} % confidence.",
            many.len()
        )),
    }
}

fn what_ran(run: &RunData, found: &Findings) -> Vec<String> {
    let c = found.counts;
    let summaries = run.cells.iter().filter_map(|cell| cell.summary.as_ref());
    let invalid = summaries.filter(|s| s.validity.verdict == Verdict::Invalid).count();
    vec![format!(
        "{} of {} planned cells ran; {invalid} of them are invalid. Nothing follows about what the server carries.",
        c.ran, c.planned
    )]
}

fn slo(capacity: &Capacity) -> (Vec<String>, String) {
    let from = match &capacity.slo.source {
        SloSource::Experiment => String::new(),
        SloSource::Given(_) => "as given on the command line".to_owned(),
        SloSource::Preset(name) => format!("of the preset {name}, for want of an [slo] in the experiment"),
    };
    (capacity.slo.words.clone(), from)
}

fn next(capacity: &Capacity, judged: &[&Shape], silent: bool) -> Vec<String> {
    let mut out = Vec::new();
    if matches!(capacity.slo.source, SloSource::Preset(_)) && !silent {
        out.push("Set limits of your own: [slo] with ttft_p95 = \"500ms\" in the experiment, or plimsoll capacity RUN --slo.".to_owned());
    }
    let alone = |s: &&Shape| s.levels.iter().filter(|l| l.met.is_some()).count() == 1;
    let open = |s: &&Shape| s.limit.state == LimitState::AtLeast;
    if judged.is_empty() {
        return out;
    }
    if judged.iter().all(alone) {
        out.push("How much more it carries is not known: measure several loads, such as users = [1, 4, 16, 64] under [grid].".to_owned());
    } else if judged.iter().any(open) {
        let n = judged.iter().filter(|s| open(s)).count();
        let of = if n < judged.len() || n > 1 {
            format!("In {n} of {} workloads the", judged.len())
        } else {
            "The".to_owned()
        };
        out.push(format!(
            "{of} limit lies beyond the greatest load that can be believed: measure greater ones to find it."
        ));
    }
    out
}

/// A drawing for each kind of load, where there is more than one level to draw.
fn drawings(capacity: &Capacity) -> Vec<Drawing> {
    let mut axes: Vec<&str> = Vec::new();
    for shape in &capacity.shapes {
        if !axes.contains(&shape.axis.as_str()) {
            axes.push(&shape.axis);
        }
    }
    let of = |axis: &&str| {
        let shapes: Vec<&Shape> = capacity.shapes.iter().filter(|s| s.axis == **axis).collect();
        let levels = shapes.iter().map(|s| s.levels.len()).max().unwrap_or(0);
        if levels < 2 { None } else { draw(&shapes, &capacity.slo.source) }
    };
    axes.iter().filter_map(of).collect()
}
