//! Latency by percentile: the figure of a run with no numeric axis, such as a single cell.

use super::axis::{Axis, Scale, Tick};
use super::{Body, Chart, Draw, Lines, Look, MAX_PANELS, Panel, Point, Series, lines, text};
use crate::analysis::RunData;
use crate::analysis::grid::{Repeats, families};

/// A statistic and its place: the share of requests above it falls by equal factors.
const PLACES: [(&str, &str, f64); 6] = [
    ("p50", "p50", 0.5),
    ("p75", "p75", 0.25),
    ("p90", "p90", 0.1),
    ("p95", "p95", 0.05),
    ("p99", "p99", 0.01),
    ("p999", "p99.9", 0.001),
];

/// Samples below which p99.9 is the maximum under another name.
const ENOUGH_FOR_P999: f64 = 1000.0;

/// A panel per latency, a series per cell.
pub(super) fn build(run: &RunData) -> Vec<Chart> {
    let cells: Vec<Repeats<'_>> =
        Repeats::all(run).into_iter().filter(|r| r.estimate("ttft", "p50").is_some()).collect();
    if cells.is_empty() || !families(run).is_empty() {
        return Vec::new();
    }
    cells.chunks(MAX_PANELS).enumerate().map(|(i, chunk)| of_cells(i, chunk)).collect()
}

fn of_cells(number: usize, cells: &[Repeats<'_>]) -> Chart {
    let panels: Vec<Panel> = [("ttft", "TTFT"), ("e2e", "E2E")]
        .into_iter()
        .map(|(metric, title)| Panel {
            title: title.into(),
            series: cells.iter().enumerate().map(|(i, r)| series(r, metric, i)).collect(),
        })
        .collect();
    let y = lines::latency_axis("latency", &panels, &[]);
    let widest = lines::widths(&panels).into_iter().fold(1.0, f64::max);
    let shown = PLACES.iter().filter(|(_, _, above)| place(*above) <= widest);
    let ticks = shown.map(|(_, text, above)| Tick { at: place(*above), text: (*text).into() }).collect();
    let x = Axis {
        label: "percentile of requests".into(),
        unit: String::new(),
        scale: Scale::Linear,
        range: (0.2, widest + 0.12),
        ticks,
    };
    Chart {
        id: if number == 0 { "profile".into() } else { format!("profile-{}", number + 1) },
        title: "Latency by percentile".into(),
        subtitle: "TTFT and end-to-end latency below which the given share of requests stayed.".into(),
        caption: caption(cells),
        body: Body::Lines(Lines { x, y, panels, references: Vec::new() }),
    }
}

/// What the first cell shows that something follows from, and which ones don't count.
fn caption(cells: &[Repeats<'_>]) -> String {
    let believable = || cells.iter().filter(|r| !r.flags().invalid);
    let mut out = match (believable().find(|r| !r.level_changes()), believable().next()) {
        (Some(one), _) => of_one(one),
        (None, Some(_)) => lines::BY_STAGE.to_owned(),
        (None, None) => lines::NOTHING_VALID.to_owned(),
    };
    let invalid: Vec<String> = cells
        .iter()
        .filter(|r| r.flags().invalid)
        .map(|r| {
            let reason = r.reasons().first().map(|why| format!(": {why}")).unwrap_or_default();
            format!("{}{reason}", r.label())
        })
        .collect();
    if !invalid.is_empty() {
        out.push_str(&format!(
            " Hollow, because invalid: {}.",
            text::list(&invalid, 3).trim_end_matches('.')
        ));
    }
    out
}

fn of_one(cell: &Repeats<'_>) -> String {
    let value = |metric, stat| cell.estimate(metric, stat).map(|e| e.mean);
    let show = |metric, stat| value(metric, stat).map_or_else(|| "–".into(), text::figure);
    let times = match (value("ttft", "p50"), value("ttft", "p99")) {
        (Some(half), Some(most)) if half > 0.0 => format!(" (×{:.1})", most / half),
        _ => String::new(),
    };
    format!(
        "At {} half of all requests have their first token within {} ms and 99 % within {} ms{times}; half end \
         within {} ms and 99 % within {} ms.",
        cell.label(),
        show("ttft", "p50"),
        show("ttft", "p99"),
        show("e2e", "p50"),
        show("e2e", "p99"),
    )
}

fn series(repeats: &Repeats<'_>, metric: &str, i: usize) -> Series {
    let flags = repeats.flags();
    let enough = repeats.estimate(metric, "n").is_some_and(|n| n.low >= ENOUGH_FOR_P999);
    let mut note = repeats.label();
    if flags.invalid {
        note.push_str(&format!("; INVALID: {}", text::list(&repeats.reasons(), 2)));
    }
    let points =
        PLACES.iter().filter(|(stat, ..)| *stat != "p999" || enough).filter_map(|(stat, _, above)| {
            let e = repeats.estimate(metric, stat)?;
            let spread = (e.n > 1).then_some(e);
            Some(Point {
                x: place(*above),
                y: e.mean,
                low: spread.map(|e| e.low),
                high: spread.map(|e| e.high),
                note: note.clone(),
                tag: String::new(),
                flags,
            })
        });
    Series { name: repeats.label(), look: Look::nth(i), draw: Draw::LineAndMarkers, points: points.collect() }
}

fn place(above: f64) -> f64 {
    -above.log10()
}
