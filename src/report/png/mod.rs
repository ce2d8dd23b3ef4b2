//! A chart as PNG: drawn through plotters' SVG backend, then rasterised, because text in SVG
//! is evenly spaced and plotters' own bitmaps are not.

mod canvas;
mod forest;
mod heat;
mod lines;
mod matrix;
mod strip;

use std::sync::{Arc, OnceLock};

use resvg::{tiny_skia, usvg};

use self::canvas::{Canvas, Rect, SIZE, Text};
use crate::chart::{Body, Chart};

/// A figure could not be drawn. This is a fault of the drawing, never of the data.
#[derive(Debug, thiserror::Error)]
pub enum DrawError {
    #[error("cannot draw: {0}")]
    Backend(String),
    #[error("cannot read the figure's own SVG: {0}")]
    Svg(#[from] usvg::Error),
    #[error("cannot make a picture of {0} × {1} pixels")]
    Pixmap(u32, u32),
    #[error("cannot encode PNG: {0}")]
    Encode(String),
}

/// The chart as PNG, 1600 × 1000 pixels, meant to be shown at half that size; higher where it
/// has more rows than fit.
///
/// # Errors
/// When a drawing step fails; see [`DrawError`].
pub fn render(chart: &Chart) -> Result<Vec<u8>, DrawError> {
    let svg = svg(chart)?;
    let options =
        usvg::Options { fontdb: fonts(), font_family: "DejaVu Sans".into(), ..usvg::Options::default() };
    let tree = usvg::Tree::from_str(&svg, &options)?;
    let (width, height) = size(chart);
    let mut pixmap = tiny_skia::Pixmap::new(width, height).ok_or(DrawError::Pixmap(width, height))?;
    resvg::render(&tree, tiny_skia::Transform::identity(), &mut pixmap.as_mut());
    pixmap.encode_png().map_err(|e| DrawError::Encode(e.to_string()))
}

/// The chart as SVG text.
///
/// # Errors
/// When plotters fails.
pub fn svg(chart: &Chart) -> Result<String, DrawError> {
    let mut out = String::new();
    {
        let size = size(chart);
        let canvas = Canvas::new(&mut out, size)?;
        let body = frame(&canvas, chart, size)?;
        match &chart.body {
            Body::Lines(l) => lines::draw(&canvas, l, body)?,
            Body::HeatMap(h) => heat::draw(&canvas, h, body)?,
            Body::Strip(s) => strip::draw(&canvas, s, body)?,
            Body::Forest(f) => forest::draw(&canvas, f, body)?,
            Body::Matrix(m) => matrix::draw(&canvas, m, body)?,
        }
        canvas.finish()?;
    }
    Ok(out)
}

/// Width and height of a chart in pixels: rows have a height that can be read.
fn size(chart: &Chart) -> (u32, u32) {
    /// What title, subtitle, legend, axis and caption take of the height.
    const AROUND: usize = 500;
    let rows = match &chart.body {
        Body::Forest(f) => f.lines() * forest::ROW as usize,
        Body::Matrix(m) => m.rows.len() * matrix::ROW as usize,
        Body::Strip(s) => s.panels.len() * strip::ROOM as usize,
        Body::Lines(_) | Body::HeatMap(_) => 0,
    };
    (SIZE.0, SIZE.1.max((rows + AROUND) as u32))
}

/// Title and subtitle above, caption below; what is left between them.
fn frame(canvas: &Canvas<'_>, chart: &Chart, size: (u32, u32)) -> Result<Rect, DrawError> {
    const MARGIN: i32 = 48;
    let (width, height) = (size.0 as i32, size.1 as i32);
    let inner = width - 2 * MARGIN;
    let mut y = 36;
    for line in canvas.wrap(&chart.title, 44, true, inner, 2) {
        canvas.text(&line, (MARGIN, y), &Text::new(44).bold())?;
        y += 52;
    }
    y += 4;
    for line in canvas.wrap(&chart.subtitle, 29, false, inner, 2) {
        canvas.text(&line, (MARGIN, y), &Text::new(29).muted())?;
        y += 36;
    }
    let caption = canvas.wrap(&chart.caption, 27, false, inner, 4);
    let mut below = height - 30 - 34 * caption.len() as i32;
    let bottom = below - 16;
    for line in &caption {
        canvas.text(line, (MARGIN, below), &Text::new(27).muted())?;
        below += 34;
    }
    Ok(Rect { x0: MARGIN, y0: y + 12, x1: width - MARGIN, y1: bottom })
}

/// The embedded fonts, read once.
fn fonts() -> Arc<usvg::fontdb::Database> {
    static FONTS: OnceLock<Arc<usvg::fontdb::Database>> = OnceLock::new();
    let load = || {
        let mut db = usvg::fontdb::Database::new();
        db.load_font_data(dejavu::sans::regular().to_vec());
        db.load_font_data(dejavu::sans::bold().to_vec());
        db.set_sans_serif_family("DejaVu Sans");
        Arc::new(db)
    };
    Arc::clone(FONTS.get_or_init(load))
}
