//! Panels over a common time axis.

use plotters::style::WHITE;
use plotters::style::text_anchor::{HPos, VPos};

use super::DrawError;
use super::canvas::{At, Canvas, GRID, INK, MUTED, Rect, SHADE, Text, colour};
use super::lines::horizontal_grid;
use crate::chart::{Dash, Draw, Marker, Series, Strip, StripPanel};

const TICK: u32 = 23;
/// What a panel needs at least, with the gap below it.
pub(super) const ROOM: i32 = 116;
/// Height of a row of names.
const ROW: i32 = 34;

/// All panels, one above the other.
pub(super) fn draw(canvas: &Canvas<'_>, strip: &Strip, body: Rect) -> Result<(), DrawError> {
    let panels = strip.panels.len().max(1) as i32;
    let gap = 26;
    // Names of stages stand in a row of their own below the window's.
    let names = if strip.stages.is_empty() { 0 } else { ROW };
    let area = Rect { x0: body.x0 + 330, y0: body.y0 + 30 + names, x1: body.x1 - 12, y1: body.y1 - 74 };
    let height = (area.height() - gap * (panels - 1)) / panels;
    for (i, panel) in strip.panels.iter().enumerate() {
        let y0 = area.y0 + i as i32 * (height + gap);
        let plot = Rect { y0, y1: y0 + height, ..area };
        ground(canvas, strip, plot)?;
        draw_panel(canvas, strip, panel, plot, body.x0)?;
    }
    for span in strip.spans.iter().chain(&strip.stages) {
        let (a, b) = (area.x(strip.x.share(span.from)), area.x(strip.x.share(span.to)));
        if b - a > canvas.width(&span.name, TICK, false) {
            let at = ((a + b) / 2, area.y0 - 4);
            canvas.text(&span.name, at, &Text::new(TICK).muted().at(HPos::Center, VPos::Bottom))?;
        }
    }
    let (a, b) = (area.x(strip.x.share(strip.window.0)), area.x(strip.x.share(strip.window.1)));
    let how = Text::new(TICK).bold().at(HPos::Center, VPos::Bottom);
    canvas.text("measured window", ((a + b) / 2, area.y0 - 4 - names), &how)?;
    if names > 0 {
        // A bracket holds the stages together as the window.
        let (top, bottom) = (area.y0 - names, area.y0 - names + 6);
        canvas.line(&[(a, bottom), (a, top), (b, top), (b, bottom)], MUTED, 2)?;
    }
    for tick in &strip.x.ticks {
        let x = area.x(strip.x.share(tick.at));
        canvas.text(&tick.text, (x, area.y1 + 8), &Text::new(TICK).muted().at(HPos::Center, VPos::Top))?;
    }
    let at = ((area.x0 + area.x1) / 2, body.y1 - 2);
    canvas.text(&strip.x.title(), at, &Text::new(26).at(HPos::Center, VPos::Bottom))
}

/// What is not measured is shaded; the window's edges are lines, those between stages dashed.
fn ground(canvas: &Canvas<'_>, strip: &Strip, plot: Rect) -> Result<(), DrawError> {
    for span in &strip.spans {
        let (x0, x1) = (plot.x(strip.x.share(span.from)), plot.x(strip.x.share(span.to)));
        canvas.fill(Rect { x0, x1, ..plot }, SHADE)?;
    }
    for tick in &strip.x.ticks {
        let x = plot.x(strip.x.share(tick.at));
        canvas.line(&[(x, plot.y0), (x, plot.y1)], GRID, 1)?;
    }
    for stage in strip.stages.iter().skip(1) {
        let x = plot.x(strip.x.share(stage.from));
        canvas.dashed(&[(x, plot.y0), (x, plot.y1)], MUTED, 2, Dash::Dashed)?;
    }
    for edge in [strip.window.0, strip.window.1] {
        let x = plot.x(strip.x.share(edge));
        canvas.line(&[(x, plot.y0), (x, plot.y1)], MUTED, 2)?;
    }
    Ok(())
}

fn draw_panel(
    canvas: &Canvas<'_>,
    strip: &Strip,
    panel: &StripPanel,
    plot: Rect,
    left: i32,
) -> Result<(), DrawError> {
    let middle = (plot.y0 + plot.y1) / 2;
    let scale = (panel.y.scale == crate::chart::Scale::Log).then_some("log scale");
    let unit = Some(panel.y.unit.as_str()).filter(|unit| !unit.is_empty());
    let below = unit.into_iter().chain(scale).collect::<Vec<_>>().join(", ");
    let lift = if below.is_empty() { 0 } else { 15 };
    canvas.text(&panel.y.label, (left, middle - lift), &Text::new(26).bold().at(HPos::Left, VPos::Center))?;
    canvas.text(&below, (left, middle + 17), &Text::new(TICK).muted().at(HPos::Left, VPos::Center))?;
    horizontal_grid(canvas, &panel.y, plot, true)?;
    canvas.line(&[(plot.x0, plot.y1), (plot.x1, plot.y1)], MUTED, 1)?;
    for series in &panel.series {
        draw_series(canvas, strip, panel, series, plot)?;
    }
    if panel.series.len() > 1 {
        key(canvas, &panel.series, plot)?;
    }
    Ok(())
}

fn draw_series(
    canvas: &Canvas<'_>,
    strip: &Strip,
    panel: &StripPanel,
    series: &Series,
    plot: Rect,
) -> Result<(), DrawError> {
    let hue = colour(series.look.colour);
    let place = |x: f64, y: f64| (plot.x(strip.x.share(x)), plot.y(panel.y.share(y)));
    let path: Vec<At> = series.points.iter().map(|p| place(p.x, p.y)).collect();
    if series.draw == Draw::Dots {
        for at in path {
            match series.look.marker {
                Marker::Cross => canvas.marker(at, Marker::Cross, hue, 6, false)?,
                _ => canvas.dot(at, 4, hue)?,
            }
        }
        return Ok(());
    }
    canvas.dashed(&path, hue, 3, series.look.dash)
}

/// Names of the series, at the upper right on white.
fn key(canvas: &Canvas<'_>, series: &[Series], plot: Rect) -> Result<(), DrawError> {
    let widths: Vec<i32> = series.iter().map(|s| 56 + canvas.width(&s.name, TICK, false)).collect();
    let total: i32 = widths.iter().sum::<i32>() + 14;
    let mut x = plot.x1 - total - 6;
    canvas.fill(Rect { x0: x, y0: plot.y0 + 2, x1: plot.x1 - 6, y1: plot.y0 + 34 }, WHITE)?;
    for (series, width) in series.iter().zip(widths) {
        let (at, y) = (x + 10, plot.y0 + 18);
        let hue = colour(series.look.colour);
        if series.draw == Draw::Dots {
            canvas.marker((at + 12, y), series.look.marker, hue, 8, false)?;
        } else {
            canvas.dashed(
                &[(at, y), (at + 32, y)],
                hue,
                4,
                if series.look.dash == Dash::Solid { Dash::Solid } else { Dash::Dashed },
            )?;
        }
        canvas.text(&series.name, (at + 40, y), &Text::new(TICK).colour(INK).at(HPos::Left, VPos::Center))?;
        x += width;
    }
    Ok(())
}
