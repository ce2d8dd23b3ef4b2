//! What the charts over load have in common: points, series and panels from a family, and
//! the sentences of their captions.

use super::axis::Axis;
use super::{Chart, Draw, Look, MAX_PANELS, Panel, Point, Series, pieces, text};
use crate::analysis::grid::{Estimate, Family, Group, Level};

/// Most series of one panel.
const MAX_SERIES: usize = 6;

/// In place of a conclusion where there is no valid cell to draw it from.
pub(super) const NOTHING_VALID: &str = "No cell is valid: nothing follows about the server.";

/// In place of a conclusion where every valid cell is of more than one load.
pub(super) const BY_STAGE: &str =
    "The load changes over the window, so that figures of all of it are of no one level: see those by stage.";

/// The axis through all levels of a family.
pub(super) fn x_axis(family: &Family<'_>) -> Axis {
    let levels: Vec<f64> = family.groups.iter().flat_map(|g| g.levels.iter().map(|l| l.x)).collect();
    Axis::levels(&family.x.label, &family.x.unit, &levels)
}

/// Reads a figure from a level.
pub(super) type Read<'r> = &'r dyn Fn(&Level<'_>) -> Option<Estimate>;

/// A level's point at `x`; nothing where it has no value.
pub(super) fn point(family: &Family<'_>, level: &Level<'_>, x: f64, read: Read<'_>) -> Option<Point> {
    let estimate = read(level)?;
    let flags = level.repeats.flags();
    let mut note = family.x.level(level.x);
    if estimate.n > 1 {
        note.push_str(&format!(", mean of {} repeats", estimate.n));
    }
    match level.repeats.left_out() {
        0 => {}
        1 => note.push_str("; one invalid repeat left out"),
        n => note.push_str(&format!("; {n} invalid repeats left out")),
    }
    if flags.invalid {
        note.push_str(&format!("; INVALID: {}", text::list(&level.repeats.reasons(), 2)));
    }
    if flags.overloaded {
        note.push_str("; overloaded");
    }
    let spread = (estimate.n > 1).then_some(estimate);
    Some(Point {
        x,
        y: estimate.mean,
        low: spread.map(|e| e.low),
        high: spread.map(|e| e.high),
        note,
        tag: String::new(),
        flags,
    })
}

/// A series over the family's x axis.
pub(super) fn series(family: &Family<'_>, group: &Group<'_>, name: &str, i: usize, read: Read<'_>) -> Series {
    let points = group.levels.iter().filter_map(|l| point(family, l, l.x, read)).collect();
    Series { name: name.into(), look: Look::nth(i), draw: Draw::LineAndMarkers, points }
}

/// One panel with a series per group where they are few, else panels by the first of the
/// remaining factors.
pub(super) fn panels_by_group(
    family: &Family<'_>,
    make: &dyn Fn(&Group<'_>, &str, usize) -> Series,
) -> Vec<Panel> {
    let groups = &family.groups;
    if groups.len() <= MAX_SERIES {
        let series = groups.iter().enumerate().map(|(i, g)| make(g, &g.label, i)).collect();
        return vec![Panel { title: String::new(), series }];
    }
    // Colours follow the group's words beyond the first, so that they mean the same in every panel.
    let mut tails: Vec<String> = Vec::new();
    let mut panels: Vec<Panel> = Vec::new();
    for group in groups {
        let (head, tail) =
            group.words.split_first().map_or(("", String::new()), |(h, t)| (h.as_str(), t.join(", ")));
        let i = tails.iter().position(|t| *t == tail).unwrap_or_else(|| {
            tails.push(tail.clone());
            tails.len() - 1
        });
        let (title, name, look) =
            if tail.is_empty() { (group.label.as_str(), String::new(), 0) } else { (head, tail, i) };
        let series = make(group, &name, look);
        match panels.iter_mut().find(|p| p.title == title && p.series.len() < MAX_SERIES) {
            Some(panel) => panel.series.push(series),
            None => panels.push(Panel { title: title.into(), series: vec![series] }),
        }
    }
    panels
}

/// Drops empty series and panels, and spreads the rest over figures of at most
/// [`MAX_PANELS`]; `make` gets the panels and a suffix for id and title.
pub(super) fn figures(panels: Vec<Panel>, make: &dyn Fn(Vec<Panel>, &str, &str) -> Chart) -> Vec<Chart> {
    let panels: Vec<Panel> = panels
        .into_iter()
        .map(|mut p| {
            p.series.retain(|s| !s.points.is_empty());
            p
        })
        .filter(|p| !p.series.is_empty())
        .collect();
    // Nothing but zeros, such as where every request failed, is no figure.
    if heights(&panels).iter().all(|y| *y == 0.0) {
        return Vec::new();
    }
    pieces(&panels, MAX_PANELS, &|panels, id, title| make(panels.to_vec(), id, title))
}

/// Every y of `panels`, with the ends of their bars.
pub(super) fn heights(panels: &[Panel]) -> Vec<f64> {
    let points = panels.iter().flat_map(|p| &p.series).flat_map(|s| &s.points);
    points.flat_map(|p| [Some(p.y), p.low, p.high]).flatten().collect()
}

/// Every x of `panels`.
pub(super) fn widths(panels: &[Panel]) -> Vec<f64> {
    panels.iter().flat_map(|p| &p.series).flat_map(|s| s.points.iter().map(|p| p.x)).collect()
}

/// ` Points are means over 3 repeats, …`, or nothing.
pub(super) fn repeats_sentence(family: &Family<'_>) -> String {
    match family.repeats() {
        0 | 1 => String::new(),
        n => format!(" Points are means over {n} repeats, bars go from the least to the greatest."),
    }
}

/// What one figure does over the x axis: in each group where they are few, else in the two
/// that end lowest and highest. Invalid cells and those whose load changes don't count.
pub(super) fn trend(family: &Family<'_>, what: &str, unit: &str, read: Read<'_>) -> String {
    let mut groups: Vec<(&Group<'_>, f64)> =
        family.groups.iter().filter_map(|g| Some((g, telling(g, read).last()?.1))).collect();
    if groups.is_empty() {
        return nothing_told(family);
    }
    let several = groups.len() > 2;
    if several {
        groups.sort_by(|a, b| a.1.total_cmp(&b.1));
        groups = [groups.first().copied(), groups.last().copied()].into_iter().flatten().collect();
    }
    let sentences: Vec<String> =
        groups.iter().filter_map(|(g, _)| trend_of(family, g, what, unit, read)).collect();
    let lead = if several {
        format!("Lowest and highest of {} groups. ", family.groups.len())
    } else {
        String::new()
    };
    format!("{lead}{}", sentences.join(" "))
}

/// The levels of a group that something follows from, with their figures.
fn telling(group: &Group<'_>, read: Read<'_>) -> Vec<(f64, f64)> {
    group.levels.iter().filter(|l| tells(l)).filter_map(|l| read(l).map(|e| (l.x, e.mean))).collect()
}

/// Whether something follows from a level: it can be believed, and is of one load.
pub(super) fn tells(level: &Level<'_>) -> bool {
    !level.repeats.flags().invalid && !level.repeats.level_changes()
}

/// What is said of a family of which no level tells anything.
pub(super) fn nothing_told(family: &Family<'_>) -> String {
    let levels = || family.groups.iter().flat_map(|g| &g.levels);
    match levels().find(|l| !l.repeats.flags().invalid && l.repeats.summaries().next().is_some()) {
        None => NOTHING_VALID.to_owned(),
        Some(_) if levels().any(tells) => String::new(),
        Some(_) => BY_STAGE.to_owned(),
    }
}

fn trend_of(
    family: &Family<'_>,
    group: &Group<'_>,
    what: &str,
    unit: &str,
    read: Read<'_>,
) -> Option<String> {
    let values = telling(group, read);
    let (&(x0, first), &(x1, last)) = (values.first()?, values.last()?);
    let &(xm, most) = values.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let at = |x: f64| family.x.level(x);
    let show = |v: f64| format!("{} {unit}", text::figure(v)).trim_end().to_owned();
    let from = format!("from {} at {}", show(first), at(x0));
    let who =
        if family.groups.len() == 1 { what.to_owned() } else { format!("With {}, {what}", group.label) };
    let mut sentence = if values.len() == 1 {
        format!("{who} is {} at {}", show(first), at(x0))
    } else if most > 1.1 * first.max(last) {
        format!(
            "{who} goes {from} to its peak of {} at {}, and is {} at {}",
            show(most),
            at(xm),
            show(last),
            at(x1)
        )
    } else if first > 0.0 && last / first >= 1.25 {
        format!("{who} rises {from} to {} at {}, ×{}", show(last), at(x1), times(last / first))
    } else if first > 0.0 && last / first <= 0.8 {
        format!("{who} falls {from} to {} at {}", show(last), at(x1))
    } else {
        format!("{who} is {} at {} and {} at {}", show(first), at(x0), show(last), at(x1))
    };
    // A step is steep where the figure grows by more than the load does.
    let steepness = |p: &[(f64, f64)]| (p[1].1 / p[0].1) / (p[1].0 / p[0].0).max(1.0);
    let step =
        values.windows(2).filter(|p| p[0].1 > 0.0).max_by(|a, b| steepness(a).total_cmp(&steepness(b)));
    if let Some(pair @ [(xa, ya), (xb, yb)]) = step
        && values.len() > 2
        && yb / ya >= 2.0
        && steepness(pair) > 1.2
    {
        sentence.push_str(&format!(
            "; the steepest step is ×{} from {} to {}",
            times(yb / ya),
            at(*xa),
            at(*xb)
        ));
    }
    Some(format!("{}.", upper_first(&sentence)))
}

fn times(ratio: f64) -> String {
    if ratio >= 10.0 { format!("{ratio:.0}") } else { format!("{ratio:.1}") }
}

/// `sentence` with its first letter large, but for a percentile's name.
#[must_use]
pub fn upper_first(sentence: &str) -> String {
    if sentence.starts_with('p') && sentence[1..].starts_with(|c: char| c.is_ascii_digit()) {
        return sentence.to_owned();
    }
    let mut chars = sentence.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

/// Which cells are drawn hollow or with an arrow, and why, and which are missing; empty where
/// all is well.
pub(super) fn marks(family: &Family<'_>) -> String {
    let of = |test: &dyn Fn(&Level<'_>) -> bool, why: bool| -> Vec<String> {
        let levels = family.groups.iter().flat_map(|g| g.levels.iter().map(move |l| (g, l)));
        levels
            .filter(|(_, l)| test(l))
            .map(|(g, l)| {
                let group = if family.groups.len() > 1 { format!(" ({})", g.label) } else { String::new() };
                let reasons = l.repeats.reasons();
                let reason = reasons.first().filter(|_| why).map(|r| format!(": {r}")).unwrap_or_default();
                format!("{}{group}{reason}", family.x.level(l.x))
            })
            .collect()
    };
    let mut out = String::new();
    let invalid = of(&|l| l.repeats.flags().invalid, true);
    if !invalid.is_empty() {
        out.push_str(&format!(
            " Hollow, because invalid: {}.",
            text::list(&invalid, 3).trim_end_matches('.')
        ));
    }
    let overloaded = of(&|l| l.repeats.flags().overloaded, false);
    if !overloaded.is_empty() {
        out.push_str(&format!(
            " Overloaded (arrow), so that latencies there depend on how long the cell ran: {}.",
            text::list(&overloaded, 4)
        ));
    }
    let in_part = of(&|l| l.repeats.left_out() > 0, true);
    if !in_part.is_empty() {
        out.push_str(&format!(" Invalid repeats left out of the mean: {}.", text::list(&in_part, 3)));
    }
    let missing = of(&|l| l.repeats.summaries().next().is_none(), false);
    if !missing.is_empty() {
        out.push_str(&format!(" Not run: {}.", text::list(&missing, 4)));
    }
    out
}

/// The y axis of a latency, or one from zero.
pub(super) fn latency_axis(label: &str, panels: &[Panel], also: &[f64]) -> Axis {
    let mut values = heights(panels);
    values.extend_from_slice(also);
    Axis::latency(label, "ms", &values)
}
