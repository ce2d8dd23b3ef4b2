//! p95 TTFT over throughput: the hockey stick.

use super::axis::Axis;
use super::{Body, Chart, Draw, Lines, Look, Point, Series, lines, text};
use crate::analysis::RunData;
use crate::analysis::grid::{Family, Level, families};

/// Needs a load axis: the points are joined in the order of rising load.
pub(super) fn build(run: &RunData) -> Vec<Chart> {
    families(run).iter().filter(|f| f.x.is_load()).flat_map(of_family).collect()
}

fn of_family(family: &Family<'_>) -> Vec<Chart> {
    let panels = lines::panels_by_group(family, &|group, name, i| Series {
        name: name.into(),
        look: Look::nth(i),
        draw: Draw::LineAndMarkers,
        points: group.levels.iter().filter_map(|l| tagged(family, l)).collect(),
    });
    let x = Axis::from_zero("completed", "req/s", &lines::widths(&panels));
    let y = lines::latency_axis("p95 TTFT", &panels, &[]);
    let caption = most(family);
    lines::figures(panels, &|panels, id, title| Chart {
        id: format!("tradeoff{}{id}", family.suffix),
        title: format!("Latency against throughput{title}"),
        subtitle: format!(
            "p95 TTFT over completed requests per second, joined in the order of rising {}.{}",
            family.x.label,
            lines::repeats_sentence(family)
        ),
        caption: format!("{caption}{}", lines::marks(family)),
        body: Body::Lines(Lines { x: x.clone(), y: y.clone(), panels, references: Vec::new() }),
    })
}

/// A point, with its load beside it where there is only one line.
fn tagged(family: &Family<'_>, level: &Level<'_>) -> Option<Point> {
    let x = level.repeats.estimate("completed_rps", "")?.mean;
    let mut point = lines::point(family, level, x, &|l| l.repeats.estimate("ttft", "p95"))?;
    if family.groups.len() == 1 {
        point.tag = family.x.level(level.x);
    }
    Some(point)
}

/// Where throughput is greatest, and at what latency.
fn most(family: &Family<'_>) -> String {
    let best = family
        .groups
        .iter()
        .flat_map(|g| g.levels.iter().map(move |l| (g, l)))
        .filter(|(_, l)| lines::tells(l))
        .filter_map(|(g, l)| {
            let rps = l.repeats.estimate("completed_rps", "")?.mean;
            Some((rps, l.repeats.estimate("ttft", "p95")?.mean, g, l))
        })
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let Some((rps, ttft, group, level)) = best else { return lines::nothing_told(family) };
    let with = if family.groups.len() > 1 { format!(", {}", group.label) } else { String::new() };
    format!(
        "Throughput is greatest at {}{with}: {} req/s with a p95 TTFT of {} ms.",
        family.x.level(level.x),
        text::figure(rps),
        text::figure(ttft)
    )
}
