//! A chart for plotly.js, from the same data as the PNG.
//!
//! The page's script lays the panels out (their number in a row depends on the width of the
//! window) and puts in the colours of the theme: a string that begins with `@` names one.

mod forest;
mod heat;
mod lines;
mod matrix;
mod strip;

use serde_json::{Map, Value, json};

use crate::chart::{Axis, Body, COLOURS, Chart, Dash, Marker, Scale};

/// `{ kind, panels: [title], data, layout }`.
pub(super) fn figure(chart: &Chart) -> Value {
    match &chart.body {
        Body::Lines(lines) => lines::of_lines(lines),
        Body::HeatMap(map) => heat::of_heat_map(map),
        Body::Strip(strip) => strip::of_strip(strip),
        Body::Forest(forest) => forest::of_forest(forest),
        Body::Matrix(matrix) => matrix::of_matrix(matrix),
    }
}

/// Plotly takes a little markup in texts; what comes from a run must not be read as such.
fn plain(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Four significant digits are more than a screen shows, and half the bytes.
fn short(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let scale = 10f64.powf(4.0 - value.abs().log10().ceil());
    (value * scale).round() / scale
}

fn axis_name(letter: char, i: usize) -> String {
    if i == 0 { letter.to_string() } else { format!("{letter}{}", i + 1) }
}

fn axis_key(letter: char, i: usize) -> String {
    if i == 0 { format!("{letter}axis") } else { format!("{letter}axis{}", i + 1) }
}

fn axis(axis: &Axis) -> Map<String, Value> {
    let (lo, hi) = axis.range;
    let (kind, range) = match axis.scale {
        Scale::Linear => ("linear", json!([lo, hi])),
        Scale::Log => ("log", json!([lo.log10(), hi.log10()])),
    };
    let at: Vec<f64> = axis.ticks.iter().map(|t| t.at).collect();
    let text: Vec<&str> = axis.ticks.iter().map(|t| t.text.as_str()).collect();
    let mut out = Map::new();
    out.insert("type".into(), kind.into());
    out.insert("range".into(), range);
    out.insert("tickvals".into(), json!(at));
    out.insert("ticktext".into(), json!(text));
    out.insert("title".into(), json!({ "text": plain(&axis.title()) }));
    out
}

/// The theme has each colour of [`COLOURS`] by its number, lighter on a dark ground.
fn hue(i: usize) -> String {
    format!("@c{}", i % COLOURS.len())
}

/// What a marker is edged with: the ground, so that points in a row stay apart; pale colours have
/// too little contrast with it, so theirs is the colour of text.
const fn edge(i: usize) -> &'static str {
    if i % COLOURS.len() < 3 { "@ground" } else { "@ink" }
}

const fn dash(dash: Dash) -> &'static str {
    match dash {
        Dash::Solid => "solid",
        Dash::Dashed => "dash",
        Dash::Dotted => "dot",
        Dash::DashDot => "dashdot",
    }
}

const fn symbol(marker: Marker) -> &'static str {
    match marker {
        Marker::Circle => "circle",
        Marker::Square => "square",
        Marker::Triangle => "triangle-up",
        Marker::Diamond => "diamond",
        Marker::Down => "triangle-down",
        // The thin one without "open" has no colour of its own.
        Marker::Cross => "x-thin-open",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_light_theme_has_the_colours_of_the_pictures() {
        let css = include_str!("../page/page.css");
        for (i, colour) in COLOURS.iter().enumerate() {
            assert!(css.contains(&format!("--c{i}: #{colour:06x};")), "colour {i}");
        }
    }

    #[test]
    fn figures_are_rounded_to_what_a_screen_shows() {
        assert_eq!(
            [0.0, 1.0, 12345.6, 0.001_234_56, f64::NAN].map(short),
            [0.0, 1.0, 12350.0, 0.001_235, 0.0]
        );
    }
}
