//! A heat map with labels in its fields and a colour bar.

use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{RGBColor, WHITE};

use super::DrawError;
use super::canvas::{Canvas, INK, MUTED, Rect, Text};
use crate::chart::{HeatMap, HeatPanel, Scale, figure};
use crate::report::palette::{cividis, is_dark};

const TICK: u32 = 26;

/// All panels and one bar for their common colours.
pub(super) fn draw(canvas: &Canvas<'_>, map: &HeatMap, body: Rect) -> Result<(), DrawError> {
    let columns = match map.panels.len() {
        0..=1 => 1,
        2 | 4 => 2,
        _ => 3,
    };
    let rows = map.panels.len().div_ceil(columns);
    let left = 48 + map.ys.iter().map(|t| canvas.width(t, TICK, false)).max().unwrap_or(0).min(240) + 14;
    let area = Rect { x0: body.x0 + left, y0: body.y0, x1: body.x1 - 210, y1: body.y1 - 84 };
    let titled = map.panels.iter().any(|p| !p.title.is_empty());
    let (gap_x, gap_y, head) = (30, 34, if titled { 42 } else { 8 });
    let width = (area.width() - gap_x * (columns as i32 - 1)) / columns as i32;
    let height = (area.height() - gap_y * (rows as i32 - 1)) / rows as i32;
    for (i, panel) in map.panels.iter().enumerate() {
        let (column, row) = ((i % columns) as i32, (i / columns) as i32);
        let (x0, y0) = (area.x0 + column * (width + gap_x), area.y0 + row * (height + gap_y));
        let plot = Rect { x0, y0: y0 + head, x1: x0 + width, y1: y0 + height };
        if titled {
            canvas.title(&panel.title, (x0, y0 + 2), width)?;
        }
        fields(canvas, map, panel, plot)?;
        names(canvas, map, plot, column == 0, i + columns >= map.panels.len())?;
    }
    let middle = ((area.x0 + area.x1) / 2, body.y1 - 4);
    canvas.text(&map.x_label, middle, &Text::new(28).at(HPos::Center, VPos::Bottom))?;
    let upright = Text::new(28).at(HPos::Center, VPos::Top).upright();
    canvas.text(&map.y_label, (body.x0 - 8, (area.y0 + area.y1) / 2), &upright)?;
    bar(canvas, map, Rect { x0: area.x1 + 60, y0: area.y0 + head, x1: area.x1 + 92, y1: area.y1 })
}

fn field(map: &HeatMap, plot: Rect, i: usize, j: usize) -> Rect {
    let (columns, rows) = (map.xs.len() as f64, map.ys.len() as f64);
    Rect {
        x0: plot.x(i as f64 / columns) + 1,
        x1: plot.x((i + 1) as f64 / columns) - 1,
        y0: plot.y((j + 1) as f64 / rows) + 1,
        y1: plot.y(j as f64 / rows) - 1,
    }
}

fn fields(canvas: &Canvas<'_>, map: &HeatMap, panel: &HeatPanel, plot: Rect) -> Result<(), DrawError> {
    for (j, row) in panel.values.iter().enumerate() {
        for (i, value) in row.iter().enumerate() {
            let rect = field(map, plot, i, j);
            let flags = panel.flags[j][i];
            let middle = ((rect.x0 + rect.x1) / 2, (rect.y0 + rect.y1) / 2);
            let Some(value) = value else {
                canvas.outline(rect, super::canvas::GRID, 2)?;
                canvas.text("–", middle, &Text::new(TICK).muted().at(HPos::Center, VPos::Center))?;
                continue;
            };
            let rgb = cividis(map.share(*value));
            let ground = RGBColor(rgb.0, rgb.1, rgb.2);
            let ink = if is_dark(rgb) { WHITE } else { INK };
            canvas.fill(rect, ground)?;
            if flags.invalid {
                canvas.hatch(rect, ink)?;
            }
            let text = if flags.overloaded { format!("{} ↑", figure(*value)) } else { figure(*value) };
            let size = if rect.width() > 130 { 30 } else { 24 };
            let wide = canvas.width(&text, size, true);
            if wide + 8 > rect.width() {
                continue;
            }
            if flags.invalid {
                let half = (wide / 2 + 8, 20);
                let behind = Rect {
                    x0: middle.0 - half.0,
                    x1: middle.0 + half.0,
                    y0: middle.1 - half.1,
                    y1: middle.1 + half.1,
                };
                canvas.fill(behind, ground)?;
            }
            let tag = canvas.shorten(panel.tag(j, i), 20, false, rect.width() - 12);
            let up = if tag.is_empty() { 0 } else { 14 };
            let over = (middle.0, middle.1 - up);
            canvas.text(&text, over, &Text::new(size).bold().colour(ink).at(HPos::Center, VPos::Center))?;
            if !tag.is_empty() {
                let under = Text::new(20).colour(ink).at(HPos::Center, VPos::Center);
                canvas.text(&tag, (middle.0, middle.1 + 20), &under)?;
            }
        }
    }
    Ok(())
}

fn names(canvas: &Canvas<'_>, map: &HeatMap, plot: Rect, left: bool, below: bool) -> Result<(), DrawError> {
    for (i, name) in map.xs.iter().enumerate().filter(|_| below) {
        let rect = field(map, plot, i, 0);
        let name = canvas.shorten(name, TICK, false, rect.width());
        let at = ((rect.x0 + rect.x1) / 2, plot.y1 + 12);
        canvas.text(&name, at, &Text::new(TICK).muted().at(HPos::Center, VPos::Top))?;
    }
    for (j, name) in map.ys.iter().enumerate().filter(|_| left) {
        let rect = field(map, plot, 0, j);
        let name = canvas.shorten(name, TICK, false, 240);
        let at = (plot.x0 - 12, (rect.y0 + rect.y1) / 2);
        canvas.text(&name, at, &Text::new(TICK).muted().at(HPos::Right, VPos::Center))?;
    }
    Ok(())
}

fn bar(canvas: &Canvas<'_>, map: &HeatMap, rect: Rect) -> Result<(), DrawError> {
    const STEPS: i32 = 64;
    for step in 0..STEPS {
        let (r, g, b) = cividis(f64::from(step) / f64::from(STEPS - 1));
        let y = |s: i32| rect.y1 - rect.height() * s / STEPS;
        canvas.fill(Rect { y0: y(step + 1), y1: y(step), ..rect }, RGBColor(r, g, b))?;
    }
    canvas.outline(rect, MUTED, 1)?;
    let (lo, hi) = map.range;
    let middle = match map.scale {
        Scale::Linear => (lo + hi) / 2.0,
        Scale::Log => (lo * hi).sqrt(),
    };
    let marks = if hi > lo { vec![lo, middle, hi] } else { vec![lo] };
    for value in marks {
        let y = rect.y(map.share(value));
        canvas.text(
            &figure(value),
            (rect.x1 + 10, y),
            &Text::new(24).muted().at(HPos::Left, VPos::Center),
        )?;
    }
    let label = Text::new(24).muted().at(HPos::Center, VPos::Bottom).upright();
    canvas.text(&map.value_label, (rect.x0 - 12, (rect.y0 + rect.y1) / 2), &label)
}
