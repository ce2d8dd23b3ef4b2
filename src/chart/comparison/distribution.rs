//! All requests of the worst cells: the whole of them, and their tails.

use super::{Samples, text};
use crate::analysis::compare::Row;
use crate::chart::{Axis, Body, Chart, Compared, Draw, Flags, Lines, Look, Panel, Point, Series, lines};
use crate::stats;

/// Points of a curve: a screen shows no more.
const POINTS: usize = 240;

/// Said under every figure that draws requests of several repeats together.
const POOLED: &str = "Requests of all repeats are drawn together; the verdicts never pool them.";

/// Metrics that are drawn, their short name and their long one.
const METRICS: [(&str, &str, &str); 2] =
    [("ttft", "TTFT", "Time to first token"), ("e2e", "E2E", "End-to-end latency")];

/// Share of requests within a latency.
pub(super) fn ecdf(compared: &Compared<'_>) -> Vec<Chart> {
    let make = |sorted: &[f64]| {
        stats::ecdf(sorted, POINTS).into_iter().map(|(x, share)| (x, share * 100.0)).collect()
    };
    let of = |(metric, short, long): (&str, &str, &str)| {
        let panels = panels(compared, metric, short, &make);
        figure(compared, metric, panels, &|panels, x| Chart {
            id: format!("ecdf-{metric}"),
            title: format!("{long}: share of requests within it"),
            subtitle: format!(
                "Share of successful requests whose {short} is at most this, in the cells that changed most for the worse. A curve further left is faster."
            ),
            caption: caption(compared, metric, short, &["p50", "p95"]),
            body: Body::Lines(Lines {
                x,
                // Always to 100 %.
                y: Axis::from_zero("requests within", "%", &[97.5]),
                panels,
                references: Vec::new(),
            }),
        })
    };
    METRICS.into_iter().filter_map(of).collect()
}

/// Share of requests slower than a latency, on a log scale.
pub(super) fn ccdf(compared: &Compared<'_>) -> Vec<Chart> {
    let of = |(metric, short, long): (&str, &str, &str)| {
        let panels = panels(compared, metric, short, &tail);
        figure(compared, metric, panels, &|panels, x| {
            let least = lines::heights(&panels).into_iter().fold(100.0, f64::min);
            Chart {
                id: format!("ccdf-{metric}"),
                title: format!("{long}: the tail"),
                subtitle: format!(
                    "Share of successful requests whose {short} is at least this, on a log scale: each step down is a rarer and slower request. Of the lowest steps there are only a few requests."
                ),
                caption: caption(compared, metric, short, &["p95", "p99"]),
                body: Body::Lines(Lines {
                    x,
                    y: Axis::logarithmic("requests as slow or slower", "%", (least / 1.2, 120.0)),
                    panels,
                    references: Vec::new(),
                }),
            }
        })
    };
    METRICS.into_iter().filter_map(of).collect()
}

/// One chart of the panels that have something; nothing where none has.
fn figure(
    compared: &Compared<'_>,
    metric: &str,
    panels: Vec<Panel>,
    make: &dyn Fn(Vec<Panel>, Axis) -> Chart,
) -> Option<Chart> {
    let panels: Vec<Panel> = panels.into_iter().filter(|p| p.series.len() == 2).collect();
    let short = if metric == "ttft" { "TTFT" } else { "E2E" };
    let values = lines::widths(&panels);
    debug_assert!(panels.len() <= compared.samples.len());
    (!panels.is_empty()).then(|| make(panels, Axis::latency(short, "ms", &values)))
}

/// From ascending samples to the points of a curve.
type Curve<'a> = &'a dyn Fn(&[f64]) -> Vec<(f64, f64)>;

/// A panel per cell with both sides; a side without samples has no series.
fn panels(compared: &Compared<'_>, metric: &str, short: &str, make: Curve<'_>) -> Vec<Panel> {
    let panel = |samples: &Samples| {
        let pair = samples.of(metric);
        let sides = [("baseline", &pair.base), ("candidate", &pair.cand)];
        let series = sides.into_iter().enumerate().filter_map(|(i, (name, repeats))| {
            let mut all: Vec<f64> = repeats.concat();
            all.sort_by(f64::total_cmp);
            let points: Vec<Point> = make(&all)
                .into_iter()
                .map(|(x, y)| Point {
                    x,
                    y,
                    low: None,
                    high: None,
                    note: format!("{short} {} ms, {name}, {}", text::figure(x), samples.label),
                    tag: String::new(),
                    flags: Flags::default(),
                })
                .collect();
            (!points.is_empty()).then(|| Series {
                name: name.into(),
                look: Look::nth(i),
                draw: Draw::Line,
                points,
            })
        });
        Panel { title: samples.label.clone(), series: series.collect() }
    };
    compared.samples.iter().map(panel).collect()
}

/// Places of equal distance in log rank from the slowest request: (latency, share in percent of
/// requests as slow or slower).
fn tail(sorted: &[f64]) -> Vec<(f64, f64)> {
    let n = sorted.len();
    let place = |k: usize| (n as f64).powf(k as f64 / (POINTS - 1) as f64).round() as usize;
    let mut ranks: Vec<usize> = (0..POINTS).map(place).map(|r| r.clamp(1, n.max(1))).collect();
    ranks.dedup();
    if n == 0 {
        return Vec::new();
    }
    ranks.into_iter().rev().map(|rank| (sorted[n - rank], 100.0 * rank as f64 / n as f64)).collect()
}

/// The first cell's figures as they were compared, and that requests are pooled.
fn caption(compared: &Compared<'_>, metric: &str, short: &str, stats: &[&str]) -> String {
    let Some(first) = compared.samples.first() else { return POOLED.to_owned() };
    let row = |stat: &&str| -> Option<&Row> {
        compared.comparison.rows.iter().find(|r| {
            r.cell.as_ref().is_some_and(|c| c.0 == first.cell) && r.metric == metric && r.stat == *stat
        })
    };
    let told: Vec<String> = stats
        .iter()
        .filter_map(|stat| {
            let row = row(stat)?;
            let (base, cand) = (row.base?, row.cand?);
            Some(format!("{short} {stat} goes from {} to {} ms", text::figure(base), text::figure(cand)))
        })
        .collect();
    match told.is_empty() {
        true => POOLED.to_owned(),
        false => format!("At {} {}. {POOLED}", first.label, told.join(", ")),
    }
}
