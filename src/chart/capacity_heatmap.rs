//! The greatest load within the SLO over prompt and output length.

use super::axis::Scale;
use super::{Body, Chart, Flags, HeatMap, HeatPanel, MAX_PANELS, pieces, text};
use crate::analysis::RunData;
use crate::analysis::capacity::{LimitState, Shape, limit_text};
use crate::analysis::grid::{self, Loop};

const PROMPT: &str = "workload.prompt_tokens";
const OUTPUT: &str = "workload.max_tokens";
/// From this ratio on the colours are logarithmic.
const LOG_FROM: f64 = 20.0;

/// One per kind of loop, where both lengths vary.
pub(super) fn build(run: &RunData) -> Vec<Chart> {
    let capacity = run.capacity();
    let both = [Loop::Closed, Loop::Open].map(|k| capacity.shapes.iter().any(|s| s.kind == k));
    [Loop::Closed, Loop::Open]
        .into_iter()
        .flat_map(|kind| {
            let shapes: Vec<&Shape> =
                capacity.shapes.iter().filter(|s| s.kind == kind && s.is_load).collect();
            let suffix = if kind == Loop::Open && both == [true, true] { "-open" } else { "" };
            of_kind(kind, &shapes, suffix)
        })
        .collect()
}

/// The values of a factor, rising.
fn lengths(shapes: &[&Shape], path: &str) -> Vec<f64> {
    let mut out: Vec<f64> =
        shapes.iter().filter_map(|s| s.factors.get(path).and_then(serde_json::Value::as_f64)).collect();
    out.sort_by(f64::total_cmp);
    out.dedup();
    out
}

fn of_kind(kind: Loop, shapes: &[&Shape], suffix: &str) -> Vec<Chart> {
    let (xs, ys) = (lengths(shapes, PROMPT), lengths(shapes, OUTPUT));
    if xs.len() < 2 || ys.len() < 2 {
        return Vec::new();
    }
    let mut panels: Vec<HeatPanel> = Vec::new();
    for shape in shapes {
        let at = |path: &str, among: &[f64]| {
            let value = shape.factors.get(path).and_then(serde_json::Value::as_f64)?;
            among.iter().position(|v| *v == value)
        };
        let (Some(i), Some(j)) = (at(PROMPT, &xs), at(OUTPUT, &ys)) else { continue };
        let rest = shape.factors.iter().filter(|(path, _)| *path != PROMPT && *path != OUTPUT);
        let title: Vec<String> = rest.map(|(path, value)| grid::factor_text(path, value)).collect();
        let title = title.join(", ");
        let k = panels.iter().position(|p| p.title == title).unwrap_or_else(|| {
            panels.push(HeatPanel {
                title,
                values: vec![vec![None; xs.len()]; ys.len()],
                flags: vec![vec![Flags::default(); xs.len()]; ys.len()],
                tags: vec![vec![String::new(); xs.len()]; ys.len()],
            });
            panels.len() - 1
        });
        // There are no parts of a user.
        let whole = |x: f64| if kind == Loop::Closed { x.floor() } else { x };
        panels[k].values[j][i] = shape.limit.value.map(whole);
        panels[k].tags[j][i] = tag(shape);
    }
    let found: Vec<f64> = panels.iter().flat_map(|p| p.values.iter().flatten().flatten().copied()).collect();
    let Some(range) = grid::extent(&found).filter(|(lo, _)| *lo > 0.0) else { return Vec::new() };
    let log = range.1 / range.0 > LOG_FROM;
    // From nothing on, so that loads that are nearly alike look so.
    let range = if log { range } else { (0.0, range.1) };
    let first = shapes[0];
    let unit = if first.axis_unit.is_empty() { "users" } else { &first.axis_unit };
    let value_label = format!("greatest load ({unit}){}", if log { ", log scale" } else { "" });
    let caption = caption(shapes);
    pieces(&panels, MAX_PANELS, &|panels, id, title| Chart {
        id: format!("capacity-heatmap{suffix}{id}"),
        title: format!("Greatest load within the SLO by prompt and output length{title}"),
        subtitle: format!(
            "The figure is the load in {unit}; under it stands what breaks first. ≥: no measured load fails."
        ),
        caption: caption.clone(),
        body: Body::HeatMap(HeatMap {
            x_label: "prompt tokens".to_owned(),
            y_label: "output tokens asked for".to_owned(),
            xs: xs.iter().copied().map(text::tick).collect(),
            ys: ys.iter().copied().map(text::tick).collect(),
            value_label: value_label.clone(),
            scale: if log { Scale::Log } else { Scale::Linear },
            range,
            panels: panels.to_vec(),
        }),
    })
}

/// What stands under a limit.
fn tag(shape: &Shape) -> String {
    let limit = &shape.limit;
    match limit.state {
        LimitState::AtLeast => "≥, none fails".to_owned(),
        LimitState::Between => limit.binding.as_ref().map_or_else(String::new, |b| b.name.clone()),
        LimitState::Below | LimitState::TooLow | LimitState::Unknown => String::new(),
    }
}

fn caption(shapes: &[&Shape]) -> String {
    let mut known: Vec<&&Shape> = shapes.iter().filter(|s| s.limit.value.is_some()).collect();
    known.sort_by(|a, b| a.limit.value.unwrap_or(0.0).total_cmp(&b.limit.value.unwrap_or(0.0)));
    let mut out = match (known.first(), known.last()) {
        (Some(least), Some(most)) if known.len() > 1 => format!(
            "It goes from {} with {} to {} with {}.",
            limit_text(least),
            least.label,
            limit_text(most),
            most.label
        ),
        _ => String::new(),
    };
    let mut bound: Vec<(String, usize)> = Vec::new();
    for shape in shapes.iter().filter(|s| s.limit.state == LimitState::Between) {
        let Some(binding) = &shape.limit.binding else { continue };
        match bound.iter_mut().find(|(name, _)| *name == binding.name) {
            Some((_, n)) => *n += 1,
            None => bound.push((binding.name.clone(), 1)),
        }
    }
    let bound: Vec<String> = bound.iter().map(|(name, n)| format!("{name} in {n}")).collect();
    if !bound.is_empty() {
        out.push_str(&format!(" What breaks first, by shape: {}.", bound.join(", ")));
    }
    let below: Vec<String> = shapes
        .iter()
        .filter(|s| s.limit.state == LimitState::Below)
        .map(|s| format!("{} ({})", s.label, limit_text(s)))
        .collect();
    if !below.is_empty() {
        out.push_str(&format!(" No measured load is within the SLO with {}.", text::list(&below, 4)));
    }
    out
}
