//! The few strokes that figures are made of, on a white ground, in pixels.

use std::sync::Once;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::DrawError;
use crate::chart::{COLOURS, Dash, Marker};

/// Width and height of most figures: twice the size at which it is shown. Those with many rows
/// are higher.
pub(super) const SIZE: (u32, u32) = (1600, 1000);

pub(super) const INK: RGBColor = RGBColor(0x1B, 0x1F, 0x24);
pub(super) const MUTED: RGBColor = RGBColor(0x57, 0x60, 0x6A);
pub(super) const GRID: RGBColor = RGBColor(0xE4, 0xE7, 0xEB);
pub(super) const SHADE: RGBColor = RGBColor(0xEE, 0xF0, 0xF3);

/// A place in pixels.
pub(super) type At = (i32, i32);

/// A rectangle in pixels; `y0` is its upper edge.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rect {
    pub x0: i32,
    pub y0: i32,
    pub x1: i32,
    pub y1: i32,
}

impl Rect {
    pub fn width(&self) -> i32 {
        self.x1 - self.x0
    }

    pub fn height(&self) -> i32 {
        self.y1 - self.y0
    }

    /// The x pixel of a share of the width.
    pub fn x(&self, share: f64) -> i32 {
        self.x0 + (share * f64::from(self.width())).round() as i32
    }

    /// The y pixel of a share of the height, from the bottom.
    pub fn y(&self, share: f64) -> i32 {
        self.y1 - (share * f64::from(self.height())).round() as i32
    }
}

/// How a text is set.
pub(super) struct Text {
    size: u32,
    colour: RGBColor,
    bold: bool,
    h: HPos,
    v: VPos,
    upright: bool,
}

impl Text {
    /// Dark, from its upper left corner.
    pub fn new(size: u32) -> Self {
        Self { size, colour: INK, bold: false, h: HPos::Left, v: VPos::Top, upright: false }
    }

    pub fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    pub fn muted(self) -> Self {
        self.colour(MUTED)
    }

    pub fn colour(self, colour: RGBColor) -> Self {
        Self { colour, ..self }
    }

    pub fn at(self, h: HPos, v: VPos) -> Self {
        Self { h, v, ..self }
    }

    /// Read from below.
    pub fn upright(self) -> Self {
        Self { upright: true, ..self }
    }

    fn style(&self) -> TextStyle<'_> {
        let weight = if self.bold { FontStyle::Bold } else { FontStyle::Normal };
        let font = FontDesc::new(FontFamily::SansSerif, f64::from(self.size), weight);
        let turn = if self.upright { FontTransform::Rotate270 } else { FontTransform::None };
        TextStyle::from(font.transform(turn)).color(&self.colour).pos(Pos::new(self.h, self.v))
    }
}

/// Colour `i` of the palette.
pub(super) fn colour(i: usize) -> RGBColor {
    let [_, r, g, b] = COLOURS[i % COLOURS.len()].to_be_bytes();
    RGBColor(r, g, b)
}

/// A drawing area with the strokes.
pub(super) struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
}

/// Any failure of plotters: the backend writes to memory, so there is only one kind.
fn failed<E: std::fmt::Display>(error: E) -> DrawError {
    DrawError::Backend(error.to_string())
}

impl<'a> Canvas<'a> {
    pub fn new(out: &'a mut String, size: (u32, u32)) -> Result<Self, DrawError> {
        static FONT: Once = Once::new();
        // Without system fonts plotters cannot even lay text out before a font is registered.
        FONT.call_once(|| {
            let fonts =
                [(FontStyle::Normal, dejavu::sans::regular()), (FontStyle::Bold, dejavu::sans::bold())];
            for (style, bytes) in fonts {
                let _ = register_font("sans-serif", style, bytes);
            }
        });
        let area = SVGBackend::with_string(out, size).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        Ok(Self { area })
    }

    pub fn finish(&self) -> Result<(), DrawError> {
        self.area.present().map_err(failed)
    }

    pub fn text(&self, text: &str, at: At, how: &Text) -> Result<(), DrawError> {
        self.area.draw_text(text, &how.style(), at).map_err(failed)
    }

    /// Width of a line of text.
    pub fn width(&self, text: &str, size: u32, bold: bool) -> i32 {
        let how = if bold { Text::new(size).bold() } else { Text::new(size) };
        // The estimate is of plotters' size, of which SVG text is drawn at 1/1.24.
        let estimate = self.area.estimate_text_size(text, &how.style());
        estimate.map_or_else(|_| text.chars().count() as i32 * size as i32 / 2, |(w, _)| w as i32)
    }

    /// `text` broken into at most `most` lines of `width`; what does not fit ends in `…`.
    pub fn wrap(&self, text: &str, size: u32, bold: bool, width: i32, most: usize) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        let mut line = String::new();
        for word in text.split_whitespace() {
            let longer = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
            if self.width(&longer, size, bold) <= width || line.is_empty() {
                line = longer;
                continue;
            }
            lines.push(std::mem::replace(&mut line, word.to_owned()));
        }
        if !line.is_empty() {
            lines.push(line);
        }
        if lines.len() > most {
            lines.truncate(most);
            if let Some(last) = lines.last_mut() {
                *last = self.shorten(&format!("{last} …"), size, bold, width);
            }
        }
        lines.into_iter().map(|l| self.shorten(&l, size, bold, width)).collect()
    }

    /// `text`, cut to `width` with `…` where it is too long.
    pub fn shorten(&self, text: &str, size: u32, bold: bool, width: i32) -> String {
        if self.width(text, size, bold) <= width {
            return text.to_owned();
        }
        let mut kept: Vec<char> = text.trim_end_matches('…').chars().collect();
        while kept.pop().is_some() {
            let cut = format!("{}…", kept.iter().collect::<String>().trim_end());
            if self.width(&cut, size, bold) <= width {
                return cut;
            }
        }
        String::new()
    }

    pub fn line(&self, points: &[At], colour: RGBColor, width: u32) -> Result<(), DrawError> {
        self.area.draw(&PathElement::new(points.to_vec(), colour.stroke_width(width))).map_err(failed)
    }

    /// A polyline with a dash; the pattern goes on around its corners.
    pub fn dashed(&self, points: &[At], colour: RGBColor, width: u32, dash: Dash) -> Result<(), DrawError> {
        let pattern: &[f64] = match dash {
            Dash::Solid => return self.line(points, colour, width),
            Dash::Dashed => &[18.0, 10.0],
            Dash::Dotted => &[4.0, 8.0],
            Dash::DashDot => &[18.0, 8.0, 4.0, 8.0],
        };
        let (mut i, mut left) = (0, pattern[0]);
        for pair in points.windows(2) {
            let (a, b) =
                ((f64::from(pair[0].0), f64::from(pair[0].1)), (f64::from(pair[1].0), f64::from(pair[1].1)));
            let length = (b.0 - a.0).hypot(b.1 - a.1);
            let mut done = 0.0;
            while done < length {
                let step = f64::min(left, length - done);
                let at = |d: f64| {
                    let share = d / length;
                    ((a.0 + (b.0 - a.0) * share).round() as i32, (a.1 + (b.1 - a.1) * share).round() as i32)
                };
                if i % 2 == 0 {
                    self.line(&[at(done), at(done + step)], colour, width)?;
                }
                done += step;
                left -= step;
                if left <= 1e-9 {
                    i = (i + 1) % pattern.len();
                    left = pattern[i];
                }
            }
        }
        Ok(())
    }

    pub fn fill(&self, rect: Rect, colour: RGBColor) -> Result<(), DrawError> {
        let corners = [(rect.x0, rect.y0), (rect.x1, rect.y1)];
        self.area.draw(&Rectangle::new(corners, colour.filled())).map_err(failed)
    }

    pub fn outline(&self, rect: Rect, colour: RGBColor, width: u32) -> Result<(), DrawError> {
        let corners = [(rect.x0, rect.y0), (rect.x1, rect.y1)];
        self.area.draw(&Rectangle::new(corners, colour.stroke_width(width))).map_err(failed)
    }

    /// An area behind a line, through which the grid shows.
    pub fn band(&self, points: Vec<At>, colour: RGBColor) -> Result<(), DrawError> {
        self.area.draw(&Polygon::new(points, colour.mix(0.18).filled())).map_err(failed)
    }

    pub fn polygon(&self, points: Vec<At>, colour: RGBColor) -> Result<(), DrawError> {
        self.area.draw(&Polygon::new(points, colour.filled())).map_err(failed)
    }

    /// A small dot of one of many.
    pub fn dot(&self, at: At, radius: i32, colour: RGBColor) -> Result<(), DrawError> {
        self.area.draw(&Circle::new(at, radius, colour.mix(0.55).filled())).map_err(failed)
    }

    /// A panel's title, in a smaller size where it would be too wide.
    pub fn title(&self, text: &str, at: At, width: i32) -> Result<(), DrawError> {
        let size = [27, 25, 23, 21].into_iter().find(|s| self.width(text, *s, true) <= width).unwrap_or(21);
        self.text(&self.shorten(text, size, true, width), at, &Text::new(size).bold())
    }

    /// A marker of radius `r` with a white halo; `hollow` ones have a white heart.
    pub fn marker(
        &self,
        at: At,
        shape: Marker,
        colour: RGBColor,
        r: i32,
        hollow: bool,
    ) -> Result<(), DrawError> {
        if shape == Marker::Cross {
            let (x, y) = at;
            self.line(&[(x - 6, y - 6), (x + 6, y + 6)], colour, 3)?;
            return self.line(&[(x - 6, y + 6), (x + 6, y - 6)], colour, 3);
        }
        self.shape(at, shape, r + 3, WHITE)?;
        self.shape(at, shape, r, colour)?;
        if hollow { self.shape(at, shape, r - 4, WHITE) } else { Ok(()) }
    }

    fn shape(&self, (x, y): At, shape: Marker, r: i32, colour: RGBColor) -> Result<(), DrawError> {
        let points = match shape {
            Marker::Square => vec![
                (x - r + 1, y - r + 1),
                (x + r - 1, y - r + 1),
                (x + r - 1, y + r - 1),
                (x - r + 1, y + r - 1),
            ],
            Marker::Triangle => vec![(x, y - r - 1), (x + r + 1, y + r - 1), (x - r - 1, y + r - 1)],
            Marker::Down => vec![(x, y + r + 1), (x + r + 1, y - r + 1), (x - r - 1, y - r + 1)],
            Marker::Diamond => vec![(x, y - r - 2), (x + r + 2, y), (x, y + r + 2), (x - r - 2, y)],
            Marker::Circle | Marker::Cross => {
                return self.area.draw(&Circle::new((x, y), r, colour.filled())).map_err(failed);
            }
        };
        self.polygon(points, colour)
    }

    /// The sign of an overloaded cell: an arrow upwards, above the marker.
    pub fn arrow(&self, (x, y): At, colour: RGBColor) -> Result<(), DrawError> {
        self.line(&[(x, y - 17), (x, y - 34)], colour, 3)?;
        self.line(&[(x - 7, y - 27), (x, y - 35), (x + 7, y - 27)], colour, 3)
    }

    /// Diagonal strokes over a rectangle.
    pub fn hatch(&self, rect: Rect, colour: RGBColor) -> Result<(), DrawError> {
        let mut offset = 14;
        while offset < rect.width() + rect.height() {
            // From the left or lower edge up to the top or right edge.
            let from = (rect.x0 + (offset - rect.height()).max(0), rect.y0 + offset.min(rect.height()));
            let to = (rect.x0 + offset.min(rect.width()), rect.y0 + (offset - rect.width()).max(0));
            self.line(&[from, to], colour, 2)?;
            offset += 16;
        }
        Ok(())
    }
}
