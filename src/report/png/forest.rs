//! Changes with their intervals, one below the other, over bands that are the margins.

use plotters::style::RGBColor;
use plotters::style::text_anchor::{HPos, VPos};

use super::DrawError;
use super::canvas::{Canvas, GRID, INK, MUTED, Rect, SHADE, Text, colour};
use crate::analysis::compare::Verdict;
use crate::chart::{Forest, ForestRow, Marker, percent};

/// Height of a row.
pub(super) const ROW: i32 = 38;
const LABEL: u32 = 24;
const TICK: u32 = 24;
/// Greatest width of the rows' names.
const NAMES: i32 = 560;
/// Width of the figures at the right.
const FIGURES: i32 = 190;
/// An ink between the grid and the texts, for rows that say nothing for sure.
const UNSURE: RGBColor = RGBColor(0x6B, 0x74, 0x7E);

/// All groups over one axis, with the verdicts' signs at the left and the figures at the right.
pub(super) fn draw(canvas: &Canvas<'_>, forest: &Forest, body: Rect) -> Result<(), DrawError> {
    let rows = || forest.groups.iter().flat_map(|g| &g.rows);
    let widest = rows().map(|r| canvas.width(&r.name, LABEL, r.whole)).max().unwrap_or(0).min(NAMES);
    let lines = forest.lines().max(1) as i32;
    let top = body.y0 + 44;
    let area = Rect { x0: body.x0 + widest + 60, y0: top, x1: body.x1 - FIGURES, y1: body.y1 - 84 };
    let height = (area.height() / lines).clamp(20, 2 * ROW);
    let area = Rect { y1: area.y0 + height * lines, ..area };
    legend(canvas, rows(), body)?;
    let mut y0 = area.y0;
    let zero = area.x(forest.x.share(0.0));
    for group in &forest.groups {
        let at = (area.x0, y0 + height / 2);
        canvas.text(&group.title, at, &Text::new(LABEL).bold().at(HPos::Left, VPos::Center))?;
        y0 += height;
        let span = Rect { y0, y1: y0 + height * group.rows.len() as i32, ..area };
        grid(canvas, forest, span)?;
        for row in &group.rows {
            let place = Rect { y0, y1: y0 + height, ..area };
            margin(canvas, forest, row, place)?;
            y0 += height;
        }
        canvas.line(&[(zero, span.y0), (zero, span.y1)], INK, 2)?;
        for (i, row) in group.rows.iter().enumerate() {
            let top = span.y0 + i as i32 * height;
            draw_row(canvas, forest, row, Rect { y0: top, y1: top + height, ..area }, body)?;
        }
    }
    let mut free_from = i32::MIN;
    for tick in &forest.x.ticks {
        let x = area.x(forest.x.share(tick.at));
        let half = canvas.width(&tick.text, TICK, false) / 2;
        if x - half >= free_from {
            let how = Text::new(TICK).muted().at(HPos::Center, VPos::Top);
            canvas.text(&tick.text, (x, area.y1 + 10), &how)?;
            free_from = x + half + 14;
        }
    }
    let middle = ((area.x0 + area.x1) / 2, area.y1 + 74);
    canvas.text(&forest.x.title(), middle, &Text::new(26).at(HPos::Center, VPos::Bottom))
}

/// The signs that occur, with their words.
fn legend<'r>(
    canvas: &Canvas<'_>,
    rows: impl Iterator<Item = &'r ForestRow>,
    body: Rect,
) -> Result<(), DrawError> {
    let seen: Vec<Verdict> = rows.map(|r| r.verdict).collect();
    let mut x = body.x0;
    for verdict in Verdict::ALL.into_iter().filter(|v| seen.contains(v)) {
        let text = format!("{} {}", verdict.glyph(), verdict.word().to_lowercase());
        canvas.text(
            &text,
            (x, body.y0 + 16),
            &Text::new(LABEL).colour(ink(verdict)).at(HPos::Left, VPos::Center),
        )?;
        x += canvas.width(&text, LABEL, false) + 30;
    }
    Ok(())
}

fn grid(canvas: &Canvas<'_>, forest: &Forest, span: Rect) -> Result<(), DrawError> {
    for tick in &forest.x.ticks {
        let x = span.x(forest.x.share(tick.at));
        canvas.line(&[(x, span.y0), (x, span.y1)], GRID, 2)?;
    }
    Ok(())
}

/// From minus to plus; the rows' bands together look like one where margins are the same.
fn margin(canvas: &Canvas<'_>, forest: &Forest, row: &ForestRow, place: Rect) -> Result<(), DrawError> {
    let [x0, x1] = [-row.margin, row.margin].map(|m| place.x(forest.x.share(m).clamp(0.0, 1.0)));
    canvas.fill(Rect { x0, x1, ..place }, SHADE)
}

fn draw_row(
    canvas: &Canvas<'_>,
    forest: &Forest,
    row: &ForestRow,
    place: Rect,
    body: Rect,
) -> Result<(), DrawError> {
    let y = (place.y0 + place.y1) / 2;
    let hue = ink(row.verdict);
    let name = canvas.shorten(&row.name, LABEL, row.whole, place.x0 - body.x0 - 60);
    let how = Text::new(LABEL).at(HPos::Right, VPos::Center);
    canvas.text(&name, (place.x0 - 52, y), &if row.whole { how.bold() } else { how })?;
    let sign = Text::new(28).bold().colour(hue).at(HPos::Center, VPos::Center);
    canvas.text(&row.verdict.glyph().to_string(), (place.x0 - 26, y), &sign)?;
    let figure = row.effect.map_or_else(|| "–".to_owned(), |e| percent(e / 100.0));
    canvas.text(&figure, (body.x1, y), &Text::new(LABEL).colour(hue).at(HPos::Right, VPos::Center))?;
    if let (Some(low), Some(high)) = (row.low, row.high) {
        let share = [low, high].map(|v| forest.x.share(v));
        let [x0, x1] = share.map(|s| place.x(if s.is_nan() { 0.5 } else { s.clamp(0.0, 1.0) }));
        canvas.line(&[(x0, y), (x1, y)], hue, 4)?;
        for (x, beyond, way) in [(x0, share[0] < 0.0, 1), (x1, share[1] > 1.0, -1)] {
            if beyond {
                canvas.line(&[(x + 12 * way, y - 9), (x, y), (x + 12 * way, y + 9)], hue, 3)?;
            } else {
                canvas.line(&[(x, y - 8), (x, y + 8)], hue, 3)?;
            }
        }
    }
    let Some(effect) = row.effect else { return Ok(()) };
    let share = forest.x.share(effect).clamp(0.0, 1.0);
    let shape = if row.whole { Marker::Diamond } else { Marker::Circle };
    let hollow = !matches!(row.verdict, Verdict::Regressed | Verdict::Improved);
    canvas.marker((place.x(share), y), shape, hue, if row.whole { 11 } else { 9 }, hollow)
}

/// Orange for the worse, blue for the better; what is neither is grey. The signs say it as well.
fn ink(verdict: Verdict) -> RGBColor {
    match verdict {
        Verdict::Regressed => colour(1),
        Verdict::Improved => colour(0),
        Verdict::Small | Verdict::Equivalent => INK,
        Verdict::Inconclusive | Verdict::Unverified => UNSURE,
        Verdict::Invalid | Verdict::Missing => MUTED,
    }
}
