//! Tokens per second in all over those that one user sees: how much of the one the other costs.

use super::axis::Axis;
use super::{Body, Chart, Draw, Flags, Lines, Look, Marker, Panel, Point, Series, lines, text};
use crate::analysis::RunData;
use crate::analysis::capacity::{Capacity, LevelResult, Shape};
use crate::analysis::grid::Loop;

/// Most shapes of one panel.
const MOST: usize = 6;

/// One figure per kind of loop, where a shape has at least two levels on its front.
pub(super) fn build(run: &RunData) -> Vec<Chart> {
    let capacity = run.capacity();
    let both = [Loop::Closed, Loop::Open].map(|k| capacity.shapes.iter().any(|s| s.kind == k));
    [Loop::Closed, Loop::Open]
        .into_iter()
        .flat_map(|kind| {
            let shown = |s: &&Shape| s.kind == kind && s.is_load && s.pareto.len() > 1;
            let shapes: Vec<&Shape> = capacity.shapes.iter().filter(shown).collect();
            let suffix = if kind == Loop::Open && both == [true, true] { "-open" } else { "" };
            of_kind(capacity, &shapes, suffix)
        })
        .collect()
}

fn of_kind(capacity: &Capacity, shapes: &[&Shape], suffix: &str) -> Vec<Chart> {
    let Some(first) = shapes.first() else { return Vec::new() };
    let gpus = capacity.plan.as_ref().and_then(|p| p.gpus).filter(|g| *g != 1.0);
    let alone = shapes.len() == 1;
    let panels: Vec<Panel> = shapes
        .chunks(MOST)
        .map(|chunk| {
            let fronts = chunk.iter().enumerate();
            let mut series: Vec<Series> =
                fronts.map(|(i, s)| front(s, i, gpus.unwrap_or(1.0), alone)).collect();
            if alone {
                series.extend(others(chunk[0], gpus.unwrap_or(1.0)));
            }
            Panel { title: String::new(), series }
        })
        .collect();
    let per = if gpus.is_some() { " per GPU" } else { "" };
    let x = Axis::from_zero("speed for one user, 1/p50 TPOT", "tok/s", &lines::widths(&panels));
    let y = Axis::from_zero(&format!("output throughput{per}"), "tok/s", &lines::heights(&panels));
    let caption = caption(first, gpus.unwrap_or(1.0), per);
    lines::figures(panels, &|panels, id, title| Chart {
        id: format!("pareto{suffix}{id}"),
        title: format!("Speed for one user against throughput{per}{title}"),
        subtitle: format!(
            "Each point is a level of {}; joined are those that no other beats in both, of levels that don't miss the SLO.",
            first.axis_label
        ),
        caption: caption.clone(),
        body: Body::Lines(Lines { x: x.clone(), y: y.clone(), panels, references: Vec::new() }),
    })
}

fn point(level: &LevelResult, gpus: f64, tag: bool) -> Option<Point> {
    Some(Point {
        x: level.user_tps?,
        y: level.output_tps? / gpus,
        low: None,
        high: None,
        note: format!("{}, {}", level.label, level.verdict.word()),
        tag: if tag { level.label.clone() } else { String::new() },
        flags: Flags { invalid: false, overloaded: level.overloaded },
    })
}

fn front(shape: &Shape, i: usize, gpus: f64, alone: bool) -> Series {
    let points = shape.pareto.iter().filter_map(|at| point(&shape.levels[*at], gpus, alone)).collect();
    let name = if alone { "no other beats it in both".to_owned() } else { shape.label.clone() };
    Series { name, look: Look::nth(i), draw: Draw::LineAndMarkers, points }
}

/// The levels that are not on the front, by why.
fn others(shape: &Shape, gpus: f64) -> Vec<Series> {
    let mut out = Vec::new();
    let rest = || shape.levels.iter().enumerate().filter(|(i, l)| !shape.pareto.contains(i) && l.repeats > 0);
    let beyond = |l: &LevelResult| l.overloaded || l.met == Some(false);
    for (name, look, wanted) in [
        ("beaten in both", Look { marker: Marker::Square, ..Look::nth(4) }, false),
        ("beyond the SLO", Look { marker: Marker::Cross, ..Look::nth(1) }, true),
    ] {
        let points: Vec<Point> =
            rest().filter(|(_, l)| beyond(l) == wanted).filter_map(|(_, l)| point(l, gpus, true)).collect();
        if !points.is_empty() {
            out.push(Series { name: name.to_owned(), look, draw: Draw::Dots, points });
        }
    }
    out
}

fn caption(shape: &Shape, gpus: f64, per: &str) -> String {
    let at = |i: usize| &shape.levels[i];
    let (Some(slow), Some(fast)) = (shape.pareto.first(), shape.pareto.last()) else { return String::new() };
    let (slow, fast) = (at(*slow), at(*fast));
    let show = |v: Option<f64>| v.map_or_else(|| "–".to_owned(), text::figure);
    let with = if shape.label.is_empty() { String::new() } else { format!("With {}: ", shape.label) };
    lines::upper_first(&format!(
        "{with}most throughput within the SLO is {} tok/s{per} at {}, where a user sees {} tok/s; a user sees most, {} tok/s, at {}, where it is {} tok/s{per}.",
        show(slow.output_tps.map(|v| v / gpus)),
        slow.label,
        show(slow.user_tps),
        show(fast.user_tps),
        fast.label,
        show(fast.output_tps.map(|v| v / gpus)),
    ))
}
