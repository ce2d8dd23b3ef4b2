//! Replicas over traffic: a step for each further one.

use super::axis::Axis;
use super::{Body, Chart, Draw, Flags, Lines, Look, Marker, Panel, Point, Series, lines, text};
use crate::analysis::RunData;
use crate::analysis::capacity::{Capacity, LimitState, Plan, Shape, SloSource, replicas};
use crate::experiment::HEADROOM;

/// Most shapes of the figure.
const MOST: usize = 6;
/// Steps that are drawn where no traffic is given.
const STEPS: u32 = 8;

/// Of the planned traffic where there is one, else of each shape that carries anything.
pub(super) fn build(run: &RunData) -> Vec<Chart> {
    let capacity = run.capacity();
    let planned = capacity.plan.as_ref().and_then(of_plan);
    planned.or_else(|| of_shapes(capacity)).into_iter().collect()
}

fn point(x: f64, y: f64, note: String) -> Point {
    Point { x, y, low: None, high: None, note, tag: String::new(), flags: Flags::default() }
}

/// The points at which the number rises, from no traffic to `most` requests per second;
/// `carried` is what one replica takes at its share of the capacity.
fn stairs(carried: f64, spares: u32, most: f64) -> Vec<Point> {
    let steps = (most / carried - 1e-9).ceil().max(1.0) as u32;
    let mut out: Vec<Point> = (0..steps)
        .map(|k| {
            let n = k + 1 + spares;
            let up_to = text::figure(f64::from(k + 1) * carried);
            point(f64::from(k) * carried, f64::from(n), format!("{n} replicas, up to {up_to} req/s"))
        })
        .collect();
    let n = steps + spares;
    out.push(point(most, f64::from(n), format!("{n} replicas")));
    out
}

fn chart(panels: Vec<Panel>, subtitle: String, caption: String) -> Option<Chart> {
    let x = Axis::from_zero("traffic at its peak", "req/s", &lines::widths(&panels));
    let y = Axis::from_zero("replicas", "", &lines::heights(&panels));
    let make = |panels: Vec<Panel>, _: &str, _: &str| Chart {
        id: "replicas".to_owned(),
        title: "Replicas that a traffic needs".to_owned(),
        subtitle: subtitle.clone(),
        caption: caption.clone(),
        body: Body::Lines(Lines { x: x.clone(), y: y.clone(), panels, references: Vec::new() }),
    };
    lines::figures(panels, &make).into_iter().next()
}

fn of_plan(plan: &Plan) -> Option<Chart> {
    let need = plan.need.as_ref()?;
    let now: f64 = plan.flows.iter().map(|f| f.rps).sum();
    let grown = now * (1.0 + plan.growth);
    // In its mix, one replica takes so much of the whole traffic.
    let carried = grown / need.exact;
    let most = (2.0 * grown).max(carried);
    let at = |rps: f64| {
        let n = (rps / carried - 1e-9).ceil() + f64::from(plan.spares);
        (rps, n)
    };
    let mark = |(x, y): (f64, f64), name: &str, look: Look| Series {
        name: name.to_owned(),
        look,
        draw: Draw::Dots,
        points: vec![point(x, y, format!("{name}: {} req/s, {y} replicas", text::figure(x)))],
    };
    let mut series = vec![mark(at(now), "peak of today", Look { marker: Marker::Diamond, ..Look::nth(1) })];
    if plan.growth > 0.0 {
        series.push(mark(at(grown), "peak, grown", Look { marker: Marker::Square, ..Look::nth(2) }));
    }
    series.push(Series {
        name: "replicas".to_owned(),
        look: Look::nth(0),
        draw: Draw::Steps,
        points: stairs(carried, plan.spares, most),
    });
    let spares = match plan.spares {
        0 => String::new(),
        n => format!(", {n} of them spare"),
    };
    let (_, today) = at(now);
    let subtitle = format!(
        "Each at no more than {} % of the lower end of what it carries{spares}; the mix of the traffic stays what it is.",
        text::tick(plan.headroom * 100.0)
    );
    let later = match plan.growth > 0.0 {
        true => format!("; grown to {} req/s, {}", text::figure(grown), need.replicas),
        false => String::new(),
    };
    let caption = format!(
        "{} req/s take {today} replicas{later}. A further one is needed for every {} req/s more.",
        text::figure(now),
        text::figure(carried)
    );
    chart(vec![Panel { title: String::new(), series }], subtitle, caption)
}

fn of_shapes(capacity: &Capacity) -> Option<Chart> {
    // What is merely "at least" is no capacity to count with, nor one by limits nobody asked for.
    if matches!(capacity.slo.source, SloSource::Preset(_)) {
        return None;
    }
    let known = capacity.shapes.iter().filter(|s| s.limit.state == LimitState::Between);
    let shapes: Vec<(&Shape, f64)> =
        known.filter_map(|s| Some((s, s.carried?.rps * HEADROOM))).take(MOST).collect();
    let most = shapes.iter().map(|(_, c)| c * f64::from(STEPS)).fold(0.0, f64::max);
    // Where one carries far more than another, the other's steps would be too many to see.
    let most = shapes.iter().map(|(_, c)| c * 40.0).fold(most, f64::min);
    let (first, carried) = *shapes.first()?;
    let series = shapes.iter().enumerate().map(|(i, (s, carried))| Series {
        name: if capacity.shapes.len() > 1 { s.label.clone() } else { String::new() },
        look: Look::nth(i),
        draw: Draw::Steps,
        points: stairs(*carried, 0, most),
    });
    let panels = vec![Panel { title: String::new(), series: series.collect() }];
    let with = if shapes.len() > 1 { format!(" with {}", first.label) } else { String::new() };
    let subtitle = format!(
        "Each at no more than {} % of the lower end of what one carries within the SLO, without spares.",
        HEADROOM * 100.0
    );
    let caption = format!(
        "A further replica is needed for every {} req/s{with}; 100 req/s take {}.",
        text::figure(carried),
        text::count(replicas(100.0, carried, 1.0).ceil() as u64)
    );
    chart(panels, subtitle, caption)
}
