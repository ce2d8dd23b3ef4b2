//! Goodput and attainment over load, where the experiment has per-request SLOs.

use super::axis::Axis;
use super::{Body, Chart, Lines, Panel, lines, text};
use crate::analysis::RunData;
use crate::analysis::grid::{Estimate, Family, Level, families};

/// Completed and good requests per second, a panel per group.
pub(super) fn goodput(run: &RunData) -> Vec<Chart> {
    families(run).iter().filter(|f| has(f, "goodput_rps")).flat_map(|f| goodput_of(run, f)).collect()
}

fn goodput_of(run: &RunData, family: &Family<'_>) -> Vec<Chart> {
    let several = family.groups.len() > 1;
    let panels: Vec<Panel> = family
        .groups
        .iter()
        .map(|group| Panel {
            title: if several { group.label.clone() } else { String::new() },
            series: [("completed", "completed_rps"), ("good: meets every SLO", "goodput_rps")]
                .iter()
                .enumerate()
                .map(|(i, (name, metric))| {
                    lines::series(family, group, name, i, &|l| l.repeats.estimate(metric, ""))
                })
                .collect(),
        })
        .collect();
    let y = Axis::from_zero("requests", "req/s", &lines::heights(&panels));
    let x = lines::x_axis(family);
    let caption = lines::trend(family, "goodput", "req/s", &|l| l.repeats.estimate("goodput_rps", ""));
    lines::figures(panels, &|panels, id, title| Chart {
        id: format!("goodput{}{id}", family.suffix),
        title: format!("Goodput over {}{title}", family.x.label),
        subtitle: format!(
            "Requests per second completed, and those that meet every per-request SLO ({}).{}",
            limits(run),
            lines::repeats_sentence(family)
        ),
        caption: format!("{caption}{}", lines::marks(family)),
        body: Body::Lines(Lines { x: x.clone(), y: y.clone(), panels, references: Vec::new() }),
    })
}

/// Share of good requests among all attempted, in percent.
pub(super) fn attainment(run: &RunData) -> Vec<Chart> {
    families(run).iter().filter(|f| has(f, "attainment")).flat_map(|f| attainment_of(run, f)).collect()
}

fn attainment_of(run: &RunData, family: &Family<'_>) -> Vec<Chart> {
    let read = |l: &Level<'_>| -> Option<Estimate> {
        let e = l.repeats.estimate("attainment", "")?;
        Some(Estimate { mean: e.mean * 100.0, low: e.low * 100.0, high: e.high * 100.0, n: e.n })
    };
    let panels = lines::panels_by_group(family, &|g, name, i| lines::series(family, g, name, i, &read));
    // Always to 100 %, whatever was reached.
    let y = Axis::from_zero("attainment", "%", &[97.5]);
    let x = lines::x_axis(family);
    let caption = lines::trend(family, "attainment", "%", &read);
    lines::figures(panels, &|panels, id, title| Chart {
        id: format!("attainment{}{id}", family.suffix),
        title: format!("SLO attainment over {}{title}", family.x.label),
        subtitle: format!(
            "Share of attempted requests, errors and time-outs included, that meet every per-request SLO ({}).{}",
            limits(run),
            lines::repeats_sentence(family)
        ),
        caption: format!("{caption}{}", lines::marks(family)),
        body: Body::Lines(Lines { x: x.clone(), y: y.clone(), panels, references: Vec::new() }),
    })
}

/// Whether cells have the metric and were asked for something: without per-request limits
/// every answer would be good.
fn has(family: &Family<'_>, metric: &str) -> bool {
    family.groups.iter().flat_map(|g| &g.levels).any(|l| {
        !l.repeats.cell().settings.slo.request.is_empty() && l.repeats.estimate(metric, "").is_some()
    })
}

fn limits(run: &RunData) -> String {
    let mut out: Vec<String> = Vec::new();
    for limit in run.cells.iter().flat_map(|c| &c.cell.settings.slo.request) {
        let text = format!("{} ≤ {} ms", limit.metric.to_uppercase(), text::figure(limit.limit_ms));
        if !out.contains(&text) {
            out.push(text);
        }
    }
    text::list(&out, 4)
}
