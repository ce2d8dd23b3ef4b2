//! The shift function: by how much each quantile of a latency changed.

use super::{Samples, text};
use crate::analysis::compare::percent;
use crate::chart::{
    Axis, Body, Chart, Compared, Dash, Draw, Flags, Lines, Look, Marker, Panel, Point, Reference, Scale,
    Series, Tick, lines,
};
use crate::stats;

/// Confidence of the band.
const LEVEL: f64 = 0.95;
/// Requests of each repeat above a quantile that make it worth drawing.
const ABOVE: f64 = 10.0;

pub(super) fn build(compared: &Compared<'_>) -> Vec<Chart> {
    [("ttft", "TTFT", "Time to first token"), ("e2e", "E2E", "End-to-end latency")]
        .into_iter()
        .filter_map(|(metric, short, long)| of_metric(compared, metric, short, long))
        .collect()
}

fn of_metric(compared: &Compared<'_>, metric: &str, short: &str, long: &str) -> Option<Chart> {
    let panels: Vec<Panel> = compared.samples.iter().filter_map(|s| panel(s, metric, short)).collect();
    let worst = panels.first()?;
    let caption = caption(worst, short, compared.samples.iter().all(|s| s.paired));
    Some(Chart {
        id: format!("shift-{metric}"),
        title: format!("{long}: change by quantile"),
        subtitle: format!(
            "How much each quantile of {short} changed from baseline to candidate. A level line: all requests changed alike; a rise to the right: the tail did."
        ),
        caption,
        body: Body::Lines(Lines {
            x: quantile_axis(),
            y: y_axis(short, &panels),
            panels,
            references: vec![Reference::Horizontal { y: 0.0, text: "no change".into() }],
        }),
    })
}

/// Every fifth percentile and the 99th, as far as enough requests of each repeat lie above.
fn quantiles(fewest: usize) -> Vec<f64> {
    let all = (1..=19).map(|k| f64::from(k) * 0.05).chain([0.975, 0.99]);
    all.filter(|q| (1.0 - q) * fewest as f64 >= ABOVE && q * fewest as f64 >= 1.0).collect()
}

fn panel(samples: &Samples, metric: &str, short: &str) -> Option<Panel> {
    let pair = samples.of(metric);
    let n = pair.base.len().min(pair.cand.len());
    // Repeats are pairs where both sides drew the same requests; else order pairs them for nothing.
    let fewest = pair.base.iter().chain(&pair.cand).map(Vec::len).min()?;
    let quantiles = quantiles(fewest);
    if n == 0 || quantiles.is_empty() {
        return None;
    }
    let shifts = if samples.paired {
        stats::shift_function(&pair.base[..n], &pair.cand[..n], &quantiles, LEVEL)
    } else {
        let pooled = |side: &[Vec<f64>]| vec![side.concat()];
        stats::shift_function(&pooled(&pair.base), &pooled(&pair.cand), &quantiles, LEVEL)
    };
    let points: Vec<Point> =
        shifts.iter().filter(|s| s.effect.is_finite()).map(|s| point(s, samples, short)).collect();
    (!points.is_empty()).then(|| Panel {
        title: samples.label.clone(),
        series: vec![Series {
            name: format!("{short}, candidate against baseline"),
            look: Look { dash: Dash::Solid, marker: Marker::Circle, ..Look::nth(1) },
            draw: Draw::LineAndBand,
            points,
        }],
    })
}

fn point(shift: &stats::Shift, samples: &Samples, short: &str) -> Point {
    let band =
        shift.low.zip(shift.high).filter(|(low, high)| samples.paired && low.is_finite() && high.is_finite());
    Point {
        x: shift.q * 100.0,
        y: shift.effect * 100.0,
        low: band.map(|b| b.0 * 100.0),
        high: band.map(|b| b.1 * 100.0),
        note: format!(
            "{short} p{} {} → {} ms, {}",
            text::tick(shift.q * 100.0),
            text::figure(shift.base),
            text::figure(shift.cand),
            samples.label
        ),
        tag: String::new(),
        flags: Flags::default(),
    }
}

fn quantile_axis() -> Axis {
    let at = [5.0, 25.0, 50.0, 75.0, 95.0];
    Axis {
        label: "quantile of requests".into(),
        unit: String::new(),
        scale: Scale::Linear,
        range: (0.0, 102.0),
        ticks: at.map(|at| Tick { at, text: format!("p{at:.0}") }).into(),
    }
}

/// Every change, and bands as far as they don't squeeze the rest; at least ±1 %.
fn y_axis(short: &str, panels: &[Panel]) -> Axis {
    let points = || panels.iter().flat_map(|p| &p.series).flat_map(|s| &s.points);
    let reach = points().map(|p| p.y.abs()).fold(1.0, f64::max) * 3.0;
    let all = || lines::heights(panels).into_iter().map(|v| v.clamp(-reach, reach));
    let (low, high) = (all().fold(-1.0, f64::min), all().fold(1.0, f64::max));
    let pad = (high - low) * 0.05;
    Axis::change(&format!("change of {short}"), (low - pad).max(-105.0), high + pad)
}

fn caption(worst: &Panel, short: &str, paired: bool) -> String {
    let points = &worst.series[0].points;
    let at = |x: f64| points.iter().min_by(|a, b| (a.x - x).abs().total_cmp(&(b.x - x).abs()));
    let mut out = String::new();
    if let (Some(middle), Some(last)) = (at(50.0), points.last()) {
        let name = |p: &Point| format!("{} at p{}", percent(p.y / 100.0), text::tick(p.x));
        out = format!("At {} {short} changed by {}", worst.title, name(middle));
        if last.x > middle.x {
            out.push_str(&format!(" and {}", name(last)));
        }
        out.push('.');
    }
    let how = if paired {
        " Quantiles are taken within each repeat; the band is over the pairs of repeats."
    } else {
        " Without pairs of repeats there is no band, and requests of all repeats are taken together."
    };
    format!("{out}{how}").trim().to_owned()
}
