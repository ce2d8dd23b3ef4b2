//! Each repeat on both sides: whether all say the same, or one speaks for the rest.

use super::{primary, text, worst_first};
use crate::analysis::compare::Row;
use crate::analysis::words;
use crate::chart::{
    Axis, Body, Chart, Compared, Draw, Flags, Lines, Look, MAX_PANELS, Panel, Point, Scale, Series, Tick,
    lines,
};
use crate::metrics::Better;

const WORSE: &str = "worse in the candidate";
const BETTER: &str = "better, or the same";
const ALONE: &str = "a repeat, not paired";

pub(super) fn build(compared: &Compared<'_>) -> Vec<Chart> {
    let mut rows = primary(compared.comparison);
    rows.retain(|r| centre(r).is_some());
    rows.sort_by(|a, b| worst_first(a, b));
    rows.truncate(MAX_PANELS);
    let Some(worst) = rows.first() else { return Vec::new() };
    let panels: Vec<Panel> = rows.iter().filter_map(|r| panel(r)).collect();
    vec![Chart {
        id: "slopes".into(),
        title: "Repeat by repeat".into(),
        subtitle: "Each repeat's figure in the baseline and in the candidate, in percent of the baseline's mean; a line joins the two repeats that sent the same requests."
            .into(),
        caption: caption(worst),
        body: Body::Lines(Lines { x: sides(), y: y_axis(&panels), panels, references: Vec::new() }),
    }]
}

/// Geometric mean of the baseline's repeats; `None` where a figure can't be put in proportion.
fn centre(row: &Row) -> Option<f64> {
    let fine = |values: &[f64]| !values.is_empty() && values.iter().all(|v| v.is_finite() && *v > 0.0);
    if !fine(&row.base_values) || !fine(&row.cand_values) {
        return None;
    }
    let n = row.base_values.len() as f64;
    Some((row.base_values.iter().map(|v| v.ln()).sum::<f64>() / n).exp())
}

fn panel(row: &Row) -> Option<Panel> {
    let centre = centre(row)?;
    let unit = |v: f64| words::value_with_unit(&row.metric, v);
    let point = |x: f64, value: f64, note: String| Point {
        x,
        y: 100.0 * value / centre,
        low: None,
        high: None,
        note,
        tag: String::new(),
        flags: Flags::default(),
    };
    let series = if row.paired && row.base_values.len() == row.cand_values.len() {
        let of = |(i, (a, b)): (usize, (&f64, &f64))| {
            let note = format!("pair {}: {} → {}", i + 1, unit(*a), unit(*b));
            let (name, look) = if is_worse(row, *a, *b) { (WORSE, 1) } else { (BETTER, 0) };
            Series {
                name: name.into(),
                look: Look::nth(look),
                draw: Draw::LineAndMarkers,
                points: vec![point(0.0, *a, note.clone()), point(1.0, *b, note)],
            }
        };
        row.base_values.iter().zip(&row.cand_values).enumerate().map(of).collect()
    } else {
        let side = |x: f64, values: &[f64]| -> Vec<Point> {
            let note = |(i, v): (usize, &f64)| point(x, *v, format!("repeat {}: {}", i + 1, unit(*v)));
            values.iter().enumerate().map(note).collect()
        };
        let points = [side(0.0, &row.base_values), side(1.0, &row.cand_values)].concat();
        vec![Series { name: ALONE.into(), look: Look::nth(0), draw: Draw::Dots, points }]
    };
    Some(Panel { title: format!("{}, {}", row.name(), row.label), series })
}

fn is_worse(row: &Row, base: f64, cand: f64) -> bool {
    if row.better == Better::Higher { cand < base } else { cand > base }
}

fn sides() -> Axis {
    let tick = |at: f64, text: &str| Tick { at, text: text.into() };
    Axis {
        label: "side".into(),
        unit: String::new(),
        scale: Scale::Linear,
        range: (-0.35, 1.35),
        ticks: vec![tick(0.0, "baseline"), tick(1.0, "candidate")],
    }
}

/// The repeats with some room; it doesn't start at 0, for the slopes are what is looked at.
fn y_axis(panels: &[Panel]) -> Axis {
    let all = || lines::heights(panels).into_iter();
    let (low, high) = (all().fold(99.0, f64::min), all().fold(101.0, f64::max));
    let pad = (high - low) * 0.08;
    Axis::between("baseline's mean = 100", "%", (low - pad).max(0.0), high + pad)
}

fn caption(row: &Row) -> String {
    let mut out = String::new();
    if row.paired && row.base_values.len() == row.cand_values.len() {
        let n = row.base_values.len();
        let worse =
            row.base_values.iter().zip(&row.cand_values).filter(|(a, b)| is_worse(row, **a, **b)).count();
        let pairs = if n == 1 { "pair" } else { "pairs" };
        out = format!("At {} {} is worse in {worse} of {n} {pairs} of repeats", row.label, row.name());
    } else {
        out.push_str(&format!(
            "At {} {} has {} repeats in the baseline and {} in the candidate, which don't pair",
            row.label,
            row.name(),
            text::count(row.base_values.len() as u64),
            text::count(row.cand_values.len() as u64)
        ));
    }
    format!("{out} ({}). The y axis does not start at 0.", row.verdict.word().to_lowercase())
}
