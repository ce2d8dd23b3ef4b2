//! The first figure of a comparison: how much each primary figure changed, and how sure that is.

use super::{MAX_ROWS, change, note, pieces, primary, text, worst_first};
use crate::analysis::compare::{Comparison, Row, Verdict};
use crate::chart::{Axis, Body, Chart, Compared, Forest, ForestGroup, ForestRow};
use crate::metrics::Better;

/// Intervals are drawn to at most this many times the greatest change or margin.
const REACH: f64 = 2.5;

/// All cells together first, then the primary figures of each, the worst first.
pub(super) fn build(compared: &Compared<'_>) -> Vec<Chart> {
    let comparison = compared.comparison;
    let mut rows = primary(comparison);
    rows.sort_by(|a, b| worst_first(a, b));
    // All cells together, of what decides somewhere.
    let decides = |r: &&Row| rows.iter().any(|row| (&row.metric, &row.stat) == (&r.metric, &r.stat));
    let mut suite: Vec<&Row> = comparison.suite.iter().filter(decides).collect();
    suite.sort_by(|a, b| worst_first(a, b));
    // Of a single cell, all cells together say the same again.
    let cells = rows.iter().map(|r| &r.cell).collect::<std::collections::BTreeSet<_>>().len();
    let all: Vec<&Row> = if cells > 1 { suite.into_iter().chain(rows).collect() } else { rows };
    if all.is_empty() {
        return Vec::new();
    }
    let x = axis(&all);
    let caption = caption(comparison, &all, &x);
    pieces(&all, MAX_ROWS, &|piece, id, title| {
        Chart {
        id: format!("forest{id}"),
        title: format!("What changed{title}"),
        subtitle: "Candidate against baseline in percent, with its 95 % interval, for each cell and each figure that decides. Shaded: the margin, below which a change doesn't matter."
            .into(),
        caption: caption.clone(),
        body: Body::Forest(Forest { x: x.clone(), groups: groups(piece) }),
    }
    })
}

/// Room for every change and margin, and for intervals as far as they don't squeeze the rest.
fn axis(rows: &[&Row]) -> Axis {
    let effects = || rows.iter().filter_map(|r| r.effect).filter(|e| e.is_finite());
    let least = rows.iter().map(|r| r.margin * 1.4).fold(0.01, f64::max);
    let reach = REACH * effects().map(f64::abs).fold(least, f64::max);
    let ends = rows.iter().filter_map(|r| r.interval).flat_map(|(low, high)| [low, high]);
    let ends = || ends.clone().filter(|e| !e.is_nan()).map(|e| e.clamp(-reach, reach)).chain(effects());
    let (low, high) = (ends().fold(-least, f64::min), ends().fold(least, f64::max));
    let pad = (high - low) * 0.03;
    // Nothing falls by more than all of it.
    Axis::change("change", (low - pad).max(-1.05) * 100.0, (high + pad) * 100.0)
}

fn groups(rows: &[&Row]) -> Vec<ForestGroup> {
    [
        (Better::Lower, "Lower is better: right of zero is worse"),
        (Better::Higher, "Higher is better: left of zero is worse"),
        (Better::Neither, "Neither way is better"),
    ]
    .into_iter()
    .map(|(better, title)| ForestGroup {
        title: title.into(),
        rows: rows.iter().filter(|r| r.better == better).map(|r| row(r)).collect(),
    })
    .filter(|g| !g.rows.is_empty())
    .collect()
}

fn row(row: &Row) -> ForestRow {
    let share = |v: f64| Some(v * 100.0).filter(|v| !v.is_nan());
    ForestRow {
        name: format!("{} · {}{}", row.label, row.name(), if row.is_difference() { " (points)" } else { "" }),
        effect: row.effect.filter(|e| e.is_finite()).and_then(share),
        low: row.interval.and_then(|(low, _)| share(low)),
        high: row.interval.and_then(|(_, high)| share(high)),
        margin: row.margin * 100.0,
        verdict: row.verdict,
        whole: row.cell.is_none(),
        note: note(row),
    }
}

/// How many of which verdict, the worst in words, and what the axis leaves out.
fn caption(comparison: &Comparison, all: &[&Row], x: &Axis) -> String {
    let rows: Vec<&Row> = all.iter().copied().filter(|r| r.cell.is_some()).collect();
    let mut counts: Vec<String> = Vec::new();
    for verdict in Verdict::ALL {
        let n = rows.iter().filter(|r| r.verdict == verdict).count();
        if n > 0 {
            counts.push(format!("{n} {}", verdict.word().to_lowercase()));
        }
    }
    let figures = if rows.len() == 1 { "figure" } else { "figures" };
    let mut out = format!("Of {} deciding {figures}: {}.", rows.len(), counts.join(", "));
    if let Some(worst) = rows.iter().find(|r| r.effect.is_some()) {
        let lead = match worst.verdict {
            Verdict::Regressed => "The worst",
            _ => "The largest change for the worse",
        };
        out.push_str(&format!(
            " {lead}: {} of {}, {} ({}).",
            worst.name(),
            worst.label,
            change(worst),
            worst.verdict.word().to_lowercase()
        ));
    }
    let cut: Vec<String> = comparison
        .suite
        .iter()
        .chain(rows.iter().copied())
        .filter(|r| r.interval.is_some_and(|(a, b)| a * 100.0 < x.range.0 || b * 100.0 > x.range.1))
        .map(|r| format!("{} of {}", r.name(), r.label))
        .collect();
    if !cut.is_empty() {
        out.push_str(&format!(
            " Intervals that go on beyond the axis end in an arrow: {}.",
            text::list(&cut, 2)
        ));
    }
    let unknown = rows.iter().filter(|r| r.effect.is_none()).count();
    if unknown > 0 {
        out.push_str(&format!(" Without a point, because no change is known: {unknown}."));
    }
    out
}
