//! p50, p95 and p99 of a latency over load.

use super::{Body, Chart, Lines, Panel, Reference, lines, text};
use crate::analysis::RunData;
use crate::analysis::grid::{Family, families};

/// Time to first token.
pub(super) fn ttft(run: &RunData) -> Vec<Chart> {
    build(run, "ttft", "TTFT", "Time to first token")
}

/// Time per output token.
pub(super) fn tpot(run: &RunData) -> Vec<Chart> {
    build(run, "tpot", "TPOT", "Time per output token")
}

/// End-to-end latency.
pub(super) fn e2e(run: &RunData) -> Vec<Chart> {
    build(run, "e2e", "E2E", "End-to-end latency")
}

const STATS: [&str; 3] = ["p50", "p95", "p99"];

fn build(run: &RunData, metric: &'static str, short: &str, long: &str) -> Vec<Chart> {
    families(run).iter().flat_map(|family| of_family(run, family, metric, short, long)).collect()
}

fn of_family(
    run: &RunData,
    family: &Family<'_>,
    metric: &'static str,
    short: &str,
    long: &str,
) -> Vec<Chart> {
    let several = family.groups.len() > 1;
    let panels = family.groups.iter().map(|group| Panel {
        title: if several { group.label.clone() } else { String::new() },
        series: STATS
            .iter()
            .enumerate()
            .map(|(i, stat)| lines::series(family, group, stat, i, &|l| l.repeats.estimate(metric, stat)))
            .collect(),
    });
    let panels: Vec<Panel> = panels.collect();
    let limits = limits(run, metric);
    // One scale for all figures of the metric, so that they can be laid side by side.
    let at: Vec<f64> = limits.iter().map(|(y, _)| *y).collect();
    let y = lines::latency_axis(short, &panels, &within(&at, &lines::heights(&panels)));
    let references: Vec<Reference> = limits
        .iter()
        .filter(|(limit, _)| *limit <= y.range.1)
        .map(|(y, text)| Reference::Horizontal { y: *y, text: text.clone() })
        .collect();
    let x = lines::x_axis(family);
    let caption = lines::trend(family, &format!("p95 {short}"), "ms", &|l| l.repeats.estimate(metric, "p95"));
    lines::figures(panels, &|panels, id, title| Chart {
        id: format!("latency-{metric}{}{id}", family.suffix),
        title: format!("{long} over {}{title}", family.x.label),
        subtitle: format!(
            "p50, p95 and p99 of {short} over {} ({}).{}",
            family.x.label,
            family.kind.words(),
            lines::repeats_sentence(family)
        ),
        caption: format!("{caption}{}{}", lines::marks(family), beyond(&at, y.range.1, short)),
        body: Body::Lines(Lines { x: x.clone(), y: y.clone(), panels, references: references.clone() }),
    })
}

/// Limits that a reader can still see beside the data: not above five times its greatest.
fn within(limits: &[f64], heights: &[f64]) -> Vec<f64> {
    let top = heights.iter().copied().fold(0.0, f64::max);
    limits.iter().copied().filter(|l| *l <= top * 5.0).collect()
}

fn beyond(limits: &[f64], top: f64, short: &str) -> String {
    let far: Vec<String> =
        limits.iter().filter(|l| **l > top).map(|l| format!("{} ms", text::figure(*l))).collect();
    if far.is_empty() {
        return String::new();
    }
    format!(" The {short} limit of {} lies above the figure.", text::list(&far, 3))
}

/// The run's SLO limits on percentiles of `metric`, each once.
fn limits(run: &RunData, metric: &str) -> Vec<(f64, String)> {
    let mut out: Vec<(f64, String)> = Vec::new();
    let rules = run.cells.iter().flat_map(|c| &c.cell.settings.slo.rules);
    for rule in rules.filter(|rule| rule.metric == metric) {
        let tiers = [("SLO target", rule.target), ("SLO", Some(rule.limit))];
        for (name, limit) in tiers.into_iter().filter_map(|(name, limit)| Some((name, limit?))) {
            let text = format!("{name}: {} ≤ {} ms", rule.stat, text::figure(limit));
            if !out.iter().any(|(_, t)| *t == text) {
                out.push((limit, text));
            }
        }
    }
    out
}
