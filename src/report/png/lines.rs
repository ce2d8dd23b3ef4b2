//! Series over two axes, with small multiples.

use plotters::style::text_anchor::{HPos, VPos};

use super::DrawError;
use super::canvas::{At, Canvas, GRID, INK, MUTED, Rect, Text, colour};
use crate::chart::{Axis, Dash, Draw, Lines, Panel, Point, Reference, Scale, Series};

const TICK: u32 = 26;
const LABEL: u32 = 28;

/// All panels in a grid, with a legend above and the axes' names once.
pub(super) fn draw(canvas: &Canvas<'_>, lines: &Lines, body: Rect) -> Result<(), DrawError> {
    let top = legend(canvas, lines, body)?;
    let columns = match lines.panels.len() {
        0..=1 => 1,
        2 | 4 => 2,
        _ => 3,
    };
    let rows = lines.panels.len().div_ceil(columns);
    let left = 44 + lines.y.ticks.iter().map(|t| canvas.width(&t.text, TICK, false)).max().unwrap_or(0) + 14;
    let area = Rect { x0: body.x0 + left, y0: top, x1: body.x1 - 12, y1: body.y1 - 84 };
    let (gap_x, gap_y) = (36, 34);
    let titled = lines.panels.iter().any(|p| !p.title.is_empty());
    let head = if titled { 42 } else { 8 };
    let width = (area.width() - gap_x * (columns as i32 - 1)) / columns as i32;
    let height = (area.height() - gap_y * (rows as i32 - 1)) / rows as i32;
    for (i, panel) in lines.panels.iter().enumerate() {
        let (column, row) = ((i % columns) as i32, (i / columns) as i32);
        let x0 = area.x0 + column * (width + gap_x);
        let y0 = area.y0 + row * (height + gap_y);
        let plot = Rect { x0, y0: y0 + head, x1: x0 + width, y1: y0 + height };
        if titled {
            canvas.title(&panel.title, (x0, y0 + 2), width)?;
        }
        let below = i + columns >= lines.panels.len();
        axes(canvas, lines, plot, column == 0, below)?;
        references(canvas, lines, plot)?;
        // The first lies on top: p50 and p95 where p99 is the same.
        for series in panel.series.iter().rev() {
            draw_series(canvas, lines, (panel, series), plot, if lines.panels.len() > 2 { 7 } else { 10 })?;
        }
    }
    let middle = (area.x0 + area.x1) / 2;
    canvas.text(&lines.x.title(), (middle, body.y1 - 4), &Text::new(LABEL).at(HPos::Center, VPos::Bottom))?;
    let upright = Text::new(LABEL).at(HPos::Center, VPos::Top).upright();
    canvas.text(&lines.y.title(), (body.x0 - 8, (area.y0 + area.y1) / 2), &upright)
}

/// A row of samples above the panels; returns where the panels may begin.
fn legend(canvas: &Canvas<'_>, lines: &Lines, body: Rect) -> Result<i32, DrawError> {
    let mut seen: Vec<&Series> = Vec::new();
    for series in lines.panels.iter().flat_map(|p| &p.series) {
        if !series.name.is_empty() && !seen.iter().any(|s| s.name == series.name) {
            seen.push(series);
        }
    }
    let flags = |test: fn(&Point) -> bool| lines.panels.iter().any(|p| any(p, test));
    let (invalid, overloaded) = (flags(|p| p.flags.invalid), flags(|p| p.flags.overloaded));
    let (mut x, mut y) = (body.x0, body.y0 + 18);
    let mut place = |width: i32| -> At {
        if x > body.x0 && x + width > body.x1 {
            (x, y) = (body.x0, y + 40);
        }
        let at = (x, y);
        x += width + 40;
        at
    };
    let text = Text::new(27).at(HPos::Left, VPos::Center);
    let mut last = None;
    for series in &seen {
        let (px, py) = place(124 + canvas.width(&series.name, 27, false));
        let hue = colour(series.look.colour);
        // The sample has what the series has.
        if series.draw == Draw::LineAndBand {
            canvas.band(vec![(px, py - 14), (px + 108, py - 14), (px + 108, py + 14), (px, py + 14)], hue)?;
        }
        match series.draw {
            Draw::Line | Draw::Steps => {
                canvas.dashed(&[(px, py), (px + 108, py)], hue, 4, series.look.dash)?
            }
            Draw::Dots => canvas.marker((px + 54, py), series.look.marker, hue, 10, false)?,
            Draw::LineAndMarkers | Draw::LineAndBand => {
                canvas.dashed(&[(px, py), (px + 46, py)], hue, 4, series.look.dash)?;
                canvas.dashed(&[(px + 62, py), (px + 108, py)], hue, 4, series.look.dash)?;
                canvas.marker((px + 54, py), series.look.marker, hue, 10, false)?;
            }
        }
        canvas.text(&series.name, (px + 122, py), &text)?;
        last = Some(py);
    }
    for (i, reference) in lines.references.iter().enumerate() {
        let (px, py) = place(124 + canvas.width(reference.text(), 27, false));
        canvas.dashed(&[(px, py), (px + 108, py)], INK, 3, Dash::of_reference(i))?;
        canvas.text(reference.text(), (px + 122, py), &text)?;
        last = Some(py);
    }
    if invalid {
        let (px, py) = place(34 + canvas.width("invalid", 27, false));
        canvas.marker((px + 12, py), crate::chart::Marker::Circle, MUTED, 10, true)?;
        canvas.text("invalid", (px + 34, py), &text)?;
        last = Some(py);
    }
    if overloaded {
        let (px, py) = place(34 + canvas.width("overloaded", 27, false));
        canvas.arrow((px + 12, py + 26), MUTED)?;
        canvas.text("overloaded", (px + 34, py), &text)?;
        last = Some(py);
    }
    Ok(last.map_or(body.y0, |y| y + 34))
}

fn any(panel: &Panel, test: impl Fn(&Point) -> bool) -> bool {
    panel.series.iter().flat_map(|s| &s.points).any(test)
}

fn axes(canvas: &Canvas<'_>, lines: &Lines, plot: Rect, left: bool, below: bool) -> Result<(), DrawError> {
    horizontal_grid(canvas, &lines.y, plot, left)?;
    let mut free_from = i32::MIN;
    for tick in &lines.x.ticks {
        let x = plot.x(lines.x.share(tick.at));
        canvas.line(&[(x, plot.y0), (x, plot.y1)], GRID, 2)?;
        let half = canvas.width(&tick.text, TICK, false) / 2;
        if below && x - half >= free_from {
            canvas.text(
                &tick.text,
                (x, plot.y1 + 12),
                &Text::new(TICK).muted().at(HPos::Center, VPos::Top),
            )?;
            free_from = x + half + 12;
        }
    }
    canvas.line(&[(plot.x0, plot.y1), (plot.x1, plot.y1)], MUTED, 2)
}

/// Pale lines at the ticks of a y axis, and their labels.
pub(super) fn horizontal_grid(
    canvas: &Canvas<'_>,
    y: &Axis,
    plot: Rect,
    labels: bool,
) -> Result<(), DrawError> {
    let places: Vec<i32> = y.ticks.iter().map(|t| plot.y(y.share(t.at))).collect();
    // In a low panel a log axis keeps its decades, a linear one every other tick.
    let crowded = places.windows(2).any(|p| p[0] - p[1] < 32);
    let decade = |v: f64| (v.log10() - v.log10().round()).abs() < 1e-9;
    for (i, (tick, at)) in y.ticks.iter().zip(places).enumerate() {
        let kept = !crowded || if y.scale == Scale::Log { decade(tick.at) } else { i % 2 == 0 };
        if !kept {
            continue;
        }
        canvas.line(&[(plot.x0, at), (plot.x1, at)], GRID, 2)?;
        if labels {
            canvas.text(
                &tick.text,
                (plot.x0 - 12, at),
                &Text::new(TICK).muted().at(HPos::Right, VPos::Center),
            )?;
        }
    }
    Ok(())
}

/// The lines that are not data. Their names stand in the legend, where nothing crosses them.
fn references(canvas: &Canvas<'_>, lines: &Lines, plot: Rect) -> Result<(), DrawError> {
    for (i, reference) in lines.references.iter().enumerate() {
        let ends = match reference {
            Reference::Horizontal { y, .. } => {
                let at = plot.y(lines.y.share(*y));
                [(plot.x0, at), (plot.x1, at)]
            }
            Reference::Diagonal { .. } => {
                let top = lines.x.range.1.min(lines.y.range.1);
                let from = lines.x.range.0.max(lines.y.range.0);
                [from, top].map(|v| (plot.x(lines.x.share(v)), plot.y(lines.y.share(v))))
            }
        };
        canvas.dashed(&ends, INK, 3, Dash::of_reference(i))?;
    }
    Ok(())
}

fn draw_series(
    canvas: &Canvas<'_>,
    lines: &Lines,
    (panel, series): (&Panel, &Series),
    plot: Rect,
    size: i32,
) -> Result<(), DrawError> {
    let hue = colour(series.look.colour);
    let place = |x: f64, y: f64| (plot.x(lines.x.share(x)), plot.y(lines.y.share(y)));
    let path: Vec<At> = series.points.iter().map(|p| place(p.x, p.y)).collect();
    if series.draw == Draw::Steps {
        // Level to the next point, and up there.
        let corners = path.windows(2).flat_map(|ends| [ends[0], (ends[1].0, ends[0].1)]);
        let stairs: Vec<At> = corners.chain(path.last().copied()).collect();
        return canvas.dashed(&stairs, hue, 4, series.look.dash);
    }
    if series.draw == Draw::LineAndBand {
        band(canvas, lines, series, plot)?;
    }
    if series.draw != Draw::Dots && path.len() > 1 {
        canvas.dashed(&path, hue, 4, series.look.dash)?;
    }
    if series.draw == Draw::Line {
        return Ok(());
    }
    let mut free: Option<At> = None;
    for (i, (point, at)) in series.points.iter().zip(&path).enumerate() {
        if let (Some(low), Some(high), true) = (point.low, point.high, series.draw != Draw::LineAndBand) {
            let (lo, hi) = (place(point.x, low), place(point.x, high));
            canvas.line(&[lo, hi], hue, 3)?;
            for end in [lo, hi] {
                canvas.line(&[(end.0 - 8, end.1), (end.0 + 8, end.1)], hue, 3)?;
            }
        }
        canvas.marker(*at, series.look.marker, hue, size, point.flags.invalid)?;
        let room = |(x, y): At| (at.0 - x).abs() > 125 || (at.1 - y).abs() > 44;
        if !point.tag.is_empty() && free.is_none_or(room) {
            tag(canvas, &point.tag, &path, i, plot)?;
            free = Some(*at);
        }
        // Where series lie close above each other, the topmost arrow stands for all.
        let covered = |p: &Point| {
            let above = at.1 - place(p.x, p.y).1;
            p.x == point.x && p.flags.overloaded && above > 0 && above < 60
        };
        if point.flags.overloaded && !any(panel, covered) {
            canvas.arrow(*at, hue)?;
        }
    }
    Ok(())
}

/// The area between the points' ends, cut where the axis ends.
fn band(canvas: &Canvas<'_>, lines: &Lines, series: &Series, plot: Rect) -> Result<(), DrawError> {
    let place = |x: f64, y: f64| (plot.x(lines.x.share(x)), plot.y(lines.y.share(y).clamp(0.0, 1.0)));
    let ends: Vec<(f64, f64, f64)> =
        series.points.iter().filter_map(|p| Some((p.x, p.low?, p.high?))).collect();
    if ends.len() < 2 {
        return Ok(());
    }
    let upper = ends.iter().map(|(x, _, high)| place(*x, *high));
    let lower = ends.iter().rev().map(|(x, low, _)| place(*x, *low));
    canvas.band(upper.chain(lower).collect(), colour(series.look.colour))
}

/// A name beside a point, in the first corner that no line of its series crosses; above and
/// to the left where all are crossed.
fn tag(canvas: &Canvas<'_>, text: &str, path: &[At], i: usize, plot: Rect) -> Result<(), DrawError> {
    let at = path[i];
    let (width, height) = (canvas.width(text, 24, false), 28);
    let lines: Vec<(At, At)> = path[i.saturating_sub(1)..(i + 2).min(path.len())]
        .windows(2)
        .map(|ends| (ends[0], ends[1]))
        .collect();
    let corners =
        [(HPos::Right, -14), (HPos::Left, -14), (HPos::Left, 14 + height), (HPos::Right, 14 + height)];
    let ground = |side: HPos, down: i32| {
        let x0 = if matches!(side, HPos::Right) { at.0 - 18 - width } else { at.0 + 18 };
        let bottom = at.1 + down;
        Rect { x0, y0: bottom - height, x1: x0 + width, y1: bottom }
    };
    let free = |(side, down): &(HPos, i32)| {
        let ground = ground(*side, *down);
        let inside = ground.x0 > plot.x0 - 90 && ground.x1 < plot.x1 + 50 && ground.y1 < plot.y1;
        inside && !lines.iter().any(|&(from, to)| crosses(from, to, ground))
    };
    let (side, down) = *corners.iter().find(|c| free(c)).unwrap_or(&corners[0]);
    let x = if matches!(side, HPos::Right) { at.0 - 18 } else { at.0 + 18 };
    canvas.text(text, (x, at.1 + down), &Text::new(24).muted().at(side, VPos::Bottom))
}

/// Whether the line between two places touches a rectangle, looked at every few pixels.
fn crosses(from: At, to: At, ground: Rect) -> bool {
    let steps = ((to.0 - from.0).abs().max((to.1 - from.1).abs()) / 4).max(1);
    (0..=steps).any(|k| {
        let x = from.0 + (to.0 - from.0) * k / steps;
        let y = from.1 + (to.1 - from.1) * k / steps;
        (ground.x0 - 4..=ground.x1 + 4).contains(&x) && (ground.y0 - 2..=ground.y1 + 2).contains(&y)
    })
}
