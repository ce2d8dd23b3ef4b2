//! The load line: the measured levels of each workload on one axis, the limit marked on it as on
//! a ship's hull.
//!
//! Places are shares of the width, so that the drawing follows the window while its text stays
//! legible.

use serde::Serialize;

use crate::analysis::capacity::{LevelResult, LimitState, Shape, SloSource, Standing, limit_text};
use crate::chart::{figure, list};

/// How a level stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum State {
    Pass,
    /// Within the limits, though too little was measured to be sure.
    Met,
    /// Beyond a limit, though too little was measured to be sure.
    Missed,
    Fail,
    /// Nothing was answered.
    Silent,
    /// Invalid, or not run.
    Invalid,
}

impl State {
    /// By a level's verdict and whether its figures themselves are within the limits.
    const fn of(level: &LevelResult) -> Self {
        match (level.verdict, level.met) {
            (Standing::Pass, _) => Self::Pass,
            (Standing::Fail, _) => Self::Fail,
            (Standing::Undecided, Some(false)) => Self::Missed,
            (Standing::Undecided, _) => Self::Met,
            (Standing::Silent, _) => Self::Silent,
            (Standing::Unjudged, _) => Self::Invalid,
        }
    }

    /// As the legend says it.
    const fn words(self) -> &'static str {
        match self {
            Self::Pass => "meets the SLO",
            Self::Met => "meets it, not for sure",
            Self::Missed => "misses it, not for sure",
            Self::Fail => "misses the SLO",
            Self::Silent => "no answer",
            Self::Invalid => "invalid or not run",
        }
    }

    /// Its class in the drawing.
    const fn class(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Met => "met",
            Self::Missed => "missed",
            Self::Fail => "fail",
            Self::Silent => "silent",
            Self::Invalid => "invalid",
        }
    }
}

/// The drawing, for the template: places in per cent of the width.
#[derive(Serialize)]
pub(in crate::report) struct Drawing {
    axis: String,
    /// Words for the whole, for who can't see it.
    text: String,
    rows: Vec<Row>,
    /// Labels of the axis, from the left.
    ticks: Vec<Tick>,
    /// The kinds of mark that occur, with their words.
    legend: Vec<(&'static str, &'static str)>,
    /// Whether a limit is marked.
    limited: bool,
    ranged: bool,
}

#[derive(Serialize)]
struct Row {
    label: String,
    /// The limit in few words.
    said: String,
    marks: Vec<MarkAt>,
    /// Up to where it is within the SLO.
    within: Option<String>,
    /// Whether that is known with confidence.
    sure: bool,
    interval: Option<Range>,
    limit: Option<String>,
    /// On which side of the limit its words stand.
    anchor: &'static str,
    at_least: bool,
}

#[derive(Serialize)]
struct MarkAt {
    at: String,
    class: &'static str,
    title: String,
}

#[derive(Serialize)]
struct Range {
    from: String,
    to: String,
    width: String,
}

#[derive(Serialize)]
struct Tick {
    at: String,
    text: String,
    /// Left out on a narrow screen.
    minor: bool,
}

/// Draw the shapes of one kind of load, which share the axis. `None` for no levels.
pub(in crate::report) fn draw(shapes: &[&Shape], source: &SloSource) -> Option<Drawing> {
    let first = shapes.first()?;
    let mut xs: Vec<f64> = shapes.iter().flat_map(|s| s.levels.iter().map(|l| l.x)).collect();
    xs.sort_by(f64::total_cmp);
    xs.dedup();
    let place = Place::of(&xs)?;
    let mut seen: Vec<State> = shapes.iter().flat_map(|s| s.levels.iter().map(State::of)).collect();
    seen.sort_unstable();
    seen.dedup();
    let scale = if place.log { " (log scale)" } else { "" };
    let axis = match first.axis_unit.as_str() {
        "" => format!("{}{scale}", first.axis_label),
        unit => format!("{}, {unit}{scale}", first.axis_label),
    };
    let by = match source {
        SloSource::Preset(name) => format!("By the preset {name}: "),
        SloSource::Experiment | SloSource::Given(_) => String::new(),
    };
    let words: Vec<String> = shapes.iter().map(|s| in_words(s)).collect();
    let rows: Vec<Row> = shapes.iter().map(|s| row(s, &place)).collect();
    Some(Drawing {
        axis,
        text: format!("{by}{}", words.join(" ")),
        ticks: ticks(&xs, &place),
        legend: seen.into_iter().map(|s| (s.class(), s.words())).collect(),
        limited: rows.iter().any(|r| r.limit.is_some()),
        ranged: rows.iter().any(|r| r.interval.is_some() && !r.at_least),
        rows,
    })
}

fn row(shape: &Shape, place: &Place) -> Row {
    let limit = &shape.limit;
    let at_least = limit.state == LimitState::AtLeast;
    let clean = limit.state != LimitState::Between || !limit.non_monotone;
    let low = limit.low.or(limit.value).filter(|_| clean);
    let high = if at_least { Some(f64::INFINITY) } else { limit.high };
    let interval = low.zip(high).filter(|(low, high)| high > low).map(|(low, high)| {
        let (a, b) = (place.at(low), place.at(high));
        Range { from: percent(a), to: percent(b), width: percent(b - a) }
    });
    let value = limit.value.filter(|_| clean);
    let mark = |level: &LevelResult| {
        let state = State::of(level);
        let why = level.rules.iter().find(|r| !r.met).map(|r| format!(": {}", r.text)).unwrap_or_default();
        let overload = if level.overloaded { ", overloaded" } else { "" };
        MarkAt {
            at: percent(place.at(level.x)),
            class: state.class(),
            title: format!("{}: {}{overload}{why}", level.label, state.words()),
        }
    };
    let at = value.map(|v| place.at(v));
    Row {
        label: shape.label.clone(),
        said: if clean { limit_text(shape) } else { "no clean limit".to_owned() },
        marks: shape.levels.iter().map(mark).collect(),
        within: low.map(|low| percent(place.at(low))),
        sure: limit.sure_low,
        interval,
        limit: at.map(percent),
        anchor: match at {
            Some(at) if at > 0.8 => "end",
            Some(at) if at < 0.2 => "start",
            _ => "middle",
        },
        at_least,
    }
}

/// All of a shape's line as a sentence.
fn in_words(shape: &Shape) -> String {
    let of = |state: State| -> Vec<String> {
        shape.levels.iter().filter(|l| State::of(l) == state).map(|l| l.label.clone()).collect()
    };
    let all = [State::Pass, State::Met, State::Missed, State::Fail, State::Silent, State::Invalid];
    let parts: Vec<String> = all
        .into_iter()
        .map(|state| (state.words(), of(state)))
        .filter(|(_, labels)| !labels.is_empty())
        .map(|(words, labels)| format!("{words} at {}", list(&labels, 12)))
        .collect();
    let with = if shape.label.is_empty() { String::new() } else { format!("{}: ", shape.label) };
    format!("{with}limit {}; {}.", limit_text(shape), parts.join("; "))
}

/// Every level as a tick, those marked minor that would touch their neighbours on a narrow
/// screen, and those left out that would on a wide one.
fn ticks(xs: &[f64], place: &Place) -> Vec<Tick> {
    const WIDE: f64 = 0.045;
    const NARROW: f64 = 0.16;
    let mut out: Vec<Tick> = Vec::new();
    let (mut last, mut last_major) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
    for x in xs {
        let at = place.at(*x);
        if at - last < WIDE {
            continue;
        }
        last = at;
        let minor = at - last_major < NARROW;
        if !minor {
            last_major = at;
        }
        out.push(Tick { at: percent(at), text: number(*x), minor });
    }
    out
}

/// A level's number as people say it.
fn number(x: f64) -> String {
    let text = figure(x);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn percent(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}

/// Where a load lies on the axis, 0 to 1, with room on both sides.
struct Place {
    low: f64,
    high: f64,
    log: bool,
}

impl Place {
    fn of(xs: &[f64]) -> Option<Self> {
        let (first, last) = (*xs.first()?, *xs.last()?);
        // Levels that go up by factors would crowd at the left of an even scale.
        let log = first > 0.0 && last / first > 8.0;
        Some(if log {
            let room = (last / first).powf(0.07);
            Self { low: (first / room).ln(), high: (last * room).ln(), log }
        } else {
            Self { low: 0.0_f64.min(first), high: if last > 0.0 { last * 1.08 } else { 1.0 }, log }
        })
    }

    fn at(&self, x: f64) -> f64 {
        let x = if self.log { x.ln() } else { x };
        ((x - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_that_double_are_spread_evenly() {
        let place = Place::of(&[1.0, 2.0, 4.0, 8.0, 16.0]).unwrap();
        let at = [1.0, 2.0, 4.0, 8.0, 16.0].map(|x| place.at(x));
        let steps: Vec<f64> = at.windows(2).map(|w| w[1] - w[0]).collect();
        assert!(steps.iter().all(|s| (s - steps[0]).abs() < 1e-9), "{at:?}");
        assert!(at[0] > 0.02 && at[4] < 0.98);
    }

    #[test]
    fn an_even_scale_begins_at_nothing() {
        let place = Place::of(&[8.0, 16.0, 48.0]).unwrap();
        assert_eq!(place.at(0.0), 0.0);
        assert!((place.at(24.0) - 24.0 / 51.84).abs() < 1e-9 && place.at(1e9) == 1.0);
        assert!(Place::of(&[]).is_none());
    }

    #[test]
    fn ticks_do_not_touch() {
        let xs: Vec<f64> = (1..=60).map(f64::from).collect();
        let place = Place::of(&xs).unwrap();
        let at: Vec<f64> =
            ticks(&xs, &place).iter().map(|t| t.at.trim_end_matches('%').parse().unwrap()).collect();
        assert!(at.len() > 8 && at.windows(2).all(|w| w[1] - w[0] >= 4.49), "{at:?}");
    }
}
