//! Completed requests per second over users, with the scalability law fitted to them.

use super::axis::Axis;
use super::{Body, Chart, Dash, Draw, Flags, Lines, Look, Panel, Point, Series, lines, text};
use crate::analysis::RunData;
use crate::analysis::capacity::{Shape, UslFit};

/// Points of the fitted line.
const POINTS: usize = 60;

/// A panel for each shape that has a fit.
pub(super) fn build(run: &RunData) -> Vec<Chart> {
    let capacity = run.capacity();
    let fitted: Vec<(&Shape, &UslFit)> =
        capacity.shapes.iter().filter_map(|s| Some((s, s.usl.as_ref()?))).collect();
    let Some((first, usl)) = fitted.first() else { return Vec::new() };
    let panels: Vec<Panel> = fitted
        .iter()
        .map(|(s, usl)| Panel {
            title: if capacity.shapes.len() > 1 { s.label.clone() } else { String::new() },
            series: vec![measured(s, usl), fit(usl, usl.points.first().map_or(1.0, |p| p.0))],
        })
        .collect();
    // The fitted line's points are no levels.
    let levels: Vec<f64> = usl.points.iter().map(|p| p.0).chain([usl.reach]).collect();
    let x = Axis::levels("concurrent users", "", &lines::widths(&panels)).with_ticks(&levels);
    let y = Axis::from_zero("completed", "req/s", &lines::heights(&panels));
    let with = if panels.len() > 1 { format!("With {}: ", first.label) } else { String::new() };
    let caption = lines::upper_first(&format!("{with}{}", words(usl)));
    lines::figures(panels, &|panels, id, title| {
        Chart {
        id: format!("scaling{id}"),
        title: format!("Throughput over users, and the law it follows{title}"),
        subtitle: "Completed requests per second (closed loop), and the universal scalability law, up to 1.5 times the most users measured.".to_owned(),
        caption: caption.clone(),
        body: Body::Lines(Lines { x: x.clone(), y: y.clone(), panels, references: Vec::new() }),
    }
    })
}

fn measured(shape: &Shape, usl: &UslFit) -> Series {
    let point = |(users, measured, fitted): &(f64, f64, f64)| {
        let level = shape.levels.iter().find(|l| l.x == *users);
        Point {
            x: *users,
            y: *measured,
            low: None,
            high: None,
            note: format!(
                "{}; the law has {} req/s, {:+.1} %",
                level.map_or_else(String::new, |l| l.label.clone()),
                text::figure(*fitted),
                (fitted / measured - 1.0) * 100.0
            ),
            tag: String::new(),
            flags: Flags { invalid: false, overloaded: level.is_some_and(|l| l.overloaded) },
        }
    };
    Series {
        name: "measured".to_owned(),
        look: Look::nth(0),
        draw: Draw::Dots,
        points: usl.points.iter().map(point).collect(),
    }
}

fn fit(usl: &UslFit, from: f64) -> Series {
    let ratio = usl.reach / from;
    let at = |i: usize| (from * ratio.powf(i as f64 / (POINTS - 1) as f64)).min(usl.reach);
    let point = |n: f64| {
        Some(Point {
            x: n,
            y: usl.at(n)?,
            low: None,
            high: None,
            note: format!("{} users, by the law", text::figure(n)),
            tag: String::new(),
            flags: Flags::default(),
        })
    };
    Series {
        name: "scalability law".to_owned(),
        look: Look { dash: Dash::Dashed, ..Look::nth(1) },
        draw: Draw::Line,
        points: (0..POINTS).map(at).filter_map(point).collect(),
    }
}

fn words(usl: &UslFit) -> String {
    let peak = match usl.peak {
        Some(peak) => format!("throughput peaks at {} users", text::figure(peak)),
        None => format!("throughput has no peak up to {} users", text::figure(usl.reach)),
    };
    let poor = if usl.r2 < 0.95 || usl.worst > 0.15 { " The fit is poor: don't lean on it." } else { "" };
    format!(
        "by the law {peak}: contention α = {:.4}, coherency β = {:.6}. R² is {:.3}; the largest residual is {:.0} % of what was measured.{poor}",
        usl.alpha,
        usl.beta,
        usl.r2,
        usl.worst * 100.0
    )
}
