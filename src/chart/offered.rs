//! Completed over offered requests per second: open loop only, for a closed loop offers what
//! is completed.

use super::axis::Axis;
use super::{Body, Chart, Draw, Lines, Look, Reference, Series, lines, text};
use crate::analysis::RunData;
use crate::analysis::grid::{Family, Level, Loop, families};

/// At most one family has offered load.
pub(super) fn build(run: &RunData) -> Vec<Chart> {
    families(run).iter().filter(|f| f.kind == Loop::Open && f.x.is_load()).flat_map(of_family).collect()
}

fn of_family(family: &Family<'_>) -> Vec<Chart> {
    let offered = |l: &Level<'_>| l.repeats.estimate("offered_rps", "").map(|e| e.mean);
    let panels = lines::panels_by_group(family, &|group, name, i| Series {
        name: if name.is_empty() { "completed".into() } else { name.into() },
        look: Look::nth(i),
        draw: Draw::LineAndMarkers,
        points: group
            .levels
            .iter()
            .filter_map(|l| {
                lines::point(family, l, offered(l)?, &|l| l.repeats.estimate("completed_rps", ""))
            })
            .collect(),
    });
    let mut values = lines::heights(&panels);
    values.extend(lines::widths(&panels));
    // Both axes span the same, so that y = x is the diagonal.
    let x = Axis::from_zero("offered", "req/s", &values);
    let y = Axis { label: "completed".into(), ..x.clone() };
    let caption = short_of(family);
    lines::figures(panels, &|panels, id, title| Chart {
        id: format!("offered-completed{}{id}", family.suffix),
        title: format!("Offered and completed requests{title}"),
        subtitle: format!(
            "Answers completed per second over arrivals offered per second; on y = x the server keeps up.{}",
            lines::repeats_sentence(family)
        ),
        caption: format!("{caption}{}", lines::marks(family)),
        body: Body::Lines(Lines {
            x: x.clone(),
            y: y.clone(),
            panels,
            references: vec![Reference::Diagonal { text: "y = x".into() }],
        }),
    })
}

/// Standard deviations of the number in flight by which answers must fall short of arrivals:
/// what was in flight at a window's ends is missing there by chance.
const CHANCE_SD: f64 = 2.0;

/// Whether a level leaves so much unanswered in its windows that chance doesn't explain it.
fn falls_behind(level: &Level<'_>, offered: f64, completed: f64) -> bool {
    let seconds: f64 = level.repeats.usable().iter().map(|s| s.window.seconds()).sum();
    let in_flight = level.repeats.estimate("in_flight_mean", "").map_or(0.0, |e| e.mean);
    let windows = level.repeats.usable().len() as f64;
    let missing = (offered - completed) * seconds;
    completed < 0.95 * offered && missing > CHANCE_SD * (windows * in_flight).sqrt()
}

/// The first level at which the server falls behind: less than 95 % of what was offered is
/// completed, and that is not chance.
fn short_of(family: &Family<'_>) -> String {
    let mut first: Option<(f64, f64, f64)> = None;
    let levels = || family.groups.iter().flat_map(|g| &g.levels).filter(|l| lines::tells(l));
    if levels().next().is_none() {
        return lines::nothing_told(family);
    }
    for level in levels() {
        let offered = level.repeats.estimate("offered_rps", "").map(|e| e.mean);
        let completed = level.repeats.estimate("completed_rps", "").map(|e| e.mean);
        if let (Some(offered), Some(completed)) = (offered, completed)
            && falls_behind(level, offered, completed)
            && first.is_none_or(|(x, ..)| level.x < x)
        {
            first = Some((level.x, offered, completed));
        }
    }
    match first {
        None => "The server keeps up at every level: at least 95 % of what is offered is completed, or what is missing was in flight at the window's ends.".into(),
        Some((x, offered, completed)) => format!(
            "From {} on the server falls behind: of {} req/s offered there it completes {} ({} %).",
            family.x.level(x),
            text::figure(offered),
            text::figure(completed),
            text::figure(100.0 * completed / offered)
        ),
    }
}
