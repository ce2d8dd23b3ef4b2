//! Verdicts over cells and figures.

use plotters::style::RGBColor;
use plotters::style::text_anchor::{HPos, VPos};

use super::DrawError;
use super::canvas::{Canvas, INK, MUTED, Rect, SHADE, Text};
use crate::analysis::compare::Verdict;
use crate::chart::{Matrix, MatrixField};
use crate::report::palette::{DIVERGING, diverging, is_dark};

/// Height of a row.
pub(super) const ROW: i32 = 44;
const LABEL: u32 = 24;
const HEAD: u32 = 20;
/// Greatest width of the cells' names.
const NAMES: i32 = 440;

/// The signs' words above, the colours' below.
pub(super) fn draw(canvas: &Canvas<'_>, matrix: &Matrix, body: Rect) -> Result<(), DrawError> {
    let widest =
        matrix.rows.iter().map(|r| canvas.width(&r.name, LABEL, false)).max().unwrap_or(0).min(NAMES);
    let top = legend(canvas, matrix, body)?;
    let area = Rect { x0: body.x0 + widest + 20, y0: top + 76, x1: body.x1, y1: body.y1 - 66 };
    let rows = matrix.rows.len().max(1) as i32;
    let height = (area.height() / rows).clamp(24, 2 * ROW);
    let columns = matrix.columns.len().max(1) as i32;
    // A few columns don't need all of the width.
    let width = (area.width() / columns).min(260);
    for (i, name) in matrix.columns.iter().enumerate() {
        let middle = area.x0 + i as i32 * width + width / 2;
        for (k, line) in canvas.wrap(name, HEAD, true, width - 4, 2).iter().enumerate() {
            let at = (middle, area.y0 - 62 + 28 * k as i32);
            canvas.text(line, at, &Text::new(HEAD).bold().at(HPos::Center, VPos::Top))?;
        }
    }
    for (j, row) in matrix.rows.iter().enumerate() {
        let y0 = area.y0 + j as i32 * height;
        let name = canvas.shorten(&row.name, LABEL, false, widest);
        let how = Text::new(LABEL).at(HPos::Right, VPos::Center);
        canvas.text(&name, (area.x0 - 14, y0 + height / 2), &how)?;
        for (i, field) in row.fields.iter().enumerate() {
            let x0 = area.x0 + i as i32 * width;
            let place = Rect { x0: x0 + 1, y0: y0 + 1, x1: x0 + width - 1, y1: y0 + height - 1 };
            match field {
                Some(field) => draw_field(canvas, field, place)?,
                None => canvas.outline(place, SHADE, 2)?,
            }
        }
    }
    colours(canvas, Rect { y0: body.y1 - 46, ..body })
}

fn draw_field(canvas: &Canvas<'_>, field: &MatrixField, place: Rect) -> Result<(), DrawError> {
    let (r, g, b) = diverging(field.step);
    canvas.fill(place, RGBColor(r, g, b))?;
    let ink = if is_dark((r, g, b)) { RGBColor(0xFF, 0xFF, 0xFF) } else { INK };
    let middle = ((place.x0 + place.x1) / 2, (place.y0 + place.y1) / 2);
    let whole = format!("{} {}", field.verdict.glyph(), field.text);
    let sign = field.verdict.glyph().to_string();
    let fits = canvas.width(whole.trim(), LABEL, false) + 8 <= place.width();
    let text = if fits { whole.trim() } else { sign.as_str() };
    canvas.text(text, middle, &Text::new(LABEL).colour(ink).at(HPos::Center, VPos::Center))
}

/// The signs that occur, with their words; returns where the fields may begin.
fn legend(canvas: &Canvas<'_>, matrix: &Matrix, body: Rect) -> Result<i32, DrawError> {
    let seen: Vec<Verdict> =
        matrix.rows.iter().flat_map(|r| r.fields.iter().flatten()).map(|f| f.verdict).collect();
    let (mut x, mut y) = (body.x0, body.y0 + 16);
    for verdict in Verdict::ALL.into_iter().filter(|v| seen.contains(v)) {
        let text = format!("{} {}", verdict.glyph(), verdict.word().to_lowercase());
        let width = canvas.width(&text, LABEL, false) + 30;
        if x > body.x0 && x + width > body.x1 {
            (x, y) = (body.x0, y + 34);
        }
        canvas.text(&text, (x, y), &Text::new(LABEL).at(HPos::Left, VPos::Center))?;
        x += width;
    }
    Ok(y + 20)
}

/// The steps of the colours, from much better to much worse.
fn colours(canvas: &Canvas<'_>, place: Rect) -> Result<(), DrawError> {
    let how = || Text::new(22).colour(MUTED).at(HPos::Left, VPos::Center);
    let y = place.y0 + 22;
    let mut x = place.x0;
    canvas.text("better", (x, y), &how())?;
    x += canvas.width("better", 22, false) + 14;
    for (r, g, b) in DIVERGING {
        canvas.fill(Rect { x0: x, x1: x + 54, y0: y - 14, y1: y + 14 }, RGBColor(r, g, b))?;
        x += 58;
    }
    canvas.text("worse; grey: may be chance", (x + 10, y), &how())
}
