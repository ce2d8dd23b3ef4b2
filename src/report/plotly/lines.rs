//! Series over two axes, with small multiples.

use serde_json::{Map, Value, json};

use super::{axis, axis_key, axis_name, dash, edge, hue, plain, short, symbol};
use crate::chart::{Axis, Dash, Draw, Lines, Marker, Reference, Series, figure as number};

pub(super) fn of_lines(lines: &Lines) -> Value {
    let (mut data, mut layout, mut named) = (Vec::new(), Map::new(), Vec::new());
    for (i, panel) in lines.panels.iter().enumerate() {
        data.extend((0..lines.references.len()).map(|r| reference_trace(lines, r, i)));
        data.extend(panel.series.iter().filter(|s| s.draw == Draw::LineAndBand).map(|s| band_trace(s, i)));
        // The first is drawn last, over the others: p50 and p95 where p99 is the same.
        for (rank, series) in panel.series.iter().enumerate().rev() {
            let first = !series.name.is_empty() && !named.contains(&&series.name);
            if first {
                named.push(&series.name);
            }
            let mut made = trace(lines, series, i, first);
            // The legend keeps their order, behind the reference lines.
            made["legendrank"] = json!(1001 + rank);
            data.push(made);
        }
        for (letter, source) in [('x', &lines.x), ('y', &lines.y)] {
            let mut made = axis(source);
            let other = if letter == 'x' { 'y' } else { 'x' };
            made.insert("anchor".into(), axis_name(other, i).into());
            if i > 0 {
                made.insert("matches".into(), letter.to_string().into());
            }
            layout.insert(axis_key(letter, i), made.into());
        }
    }
    let titles: Vec<String> = lines.panels.iter().map(|p| plain(&p.title)).collect();
    json!({ "kind": "lines", "panels": titles, "data": data, "layout": layout })
}

/// On which side of each point its text stands: where the line does not go.
fn text_sides(points: &[crate::chart::Point]) -> Vec<&'static str> {
    if points.iter().all(|p| p.tag.is_empty()) {
        return vec!["top center"; points.len()];
    }
    let turns_back = |i: usize| {
        points.get(i + 1).map_or_else(|| i > 0 && points[i - 1].x > points[i].x, |next| next.x < points[i].x)
    };
    (0..points.len()).map(|i| if turns_back(i) { "top right" } else { "top left" }).collect()
}

fn trace(lines: &Lines, series: &Series, panel: usize, legend: bool) -> Value {
    let points = &series.points;
    let colour = hue(series.look.colour);
    let open = |p: &crate::chart::Point| {
        if p.flags.invalid && series.look.marker != Marker::Cross { "-open" } else { "" }
    };
    let symbols: Vec<String> =
        points.iter().map(|p| format!("{}{}", symbol(series.look.marker), open(p))).collect();
    let texts: Vec<String> = points
        .iter()
        .map(|p| format!("{} {}", if p.flags.overloaded { "↑" } else { "" }, plain(&p.tag)).trim().to_owned())
        .collect();
    let has_text = texts.iter().any(|t| !t.is_empty());
    // A curve of hundreds of points is drawn in as many digits as a screen shows.
    let place = |v: f64| if series.draw == Draw::Line { short(v) } else { v };
    let unit = |a: &Axis| if a.unit.is_empty() { String::new() } else { format!(" {}", a.unit) };
    let notes: Vec<String> = points
        .iter()
        .map(|p| {
            let range = match (p.low, p.high) {
                (Some(low), Some(high)) => format!(" ({}–{})", number(low), number(high)),
                _ => String::new(),
            };
            format!("<b>{}{}</b>{range}<br>{}", number(p.y), unit(&lines.y), plain(&p.note))
        })
        .collect();
    let mut out = json!({
        "type": "scatter",
        "mode": mode(series.draw, has_text),
        "name": plain(&series.name),
        "legendgroup": plain(&series.name),
        "showlegend": legend,
        "xaxis": axis_name('x', panel),
        "yaxis": axis_name('y', panel),
        "x": points.iter().map(|p| place(p.x)).collect::<Vec<_>>(),
        "y": points.iter().map(|p| place(p.y)).collect::<Vec<_>>(),
        "line": { "color": colour, "width": 2, "dash": dash(series.look.dash) },
        "marker": { "color": colour, "size": 10, "symbol": symbols, "line": { "width": 1.5, "color": edge(series.look.colour) } },
        "customdata": notes,
        "hovertemplate": "%{customdata}<extra>%{fullData.name}</extra>",
        "cliponaxis": false,
    });
    if series.draw == Draw::Line {
        // Curves of many points go on where a zoomed axis ends.
        out["cliponaxis"] = true.into();
    }
    if series.draw == Draw::Steps {
        out["line"]["shape"] = json!("hv");
    }
    if has_text {
        out["text"] = json!(texts);
        out["textposition"] = json!(text_sides(points));
        out["textfont"] = json!({ "color": "@muted", "size": 11 });
    }
    if series.draw != Draw::LineAndBand && points.iter().any(|p| p.high.is_some()) {
        let reach = |end: fn(&crate::chart::Point) -> Option<f64>| -> Vec<f64> {
            points.iter().map(|p| end(p).map_or(0.0, |v| (v - p.y).abs())).collect()
        };
        out["error_y"] = json!({
            "type": "data", "symmetric": false, "array": reach(|p| p.high), "arrayminus": reach(|p| p.low),
            "color": colour, "thickness": 1.5, "width": 4,
        });
    }
    out
}

const fn mode(draw: Draw, text: bool) -> &'static str {
    match draw {
        Draw::Line | Draw::Steps => "lines",
        Draw::Dots if text => "markers+text",
        Draw::Dots => "markers",
        Draw::LineAndMarkers | Draw::LineAndBand if text => "lines+markers+text",
        Draw::LineAndMarkers | Draw::LineAndBand => "lines+markers",
    }
}

/// The area from the points' lower to their upper ends; it comes and goes with its series.
fn band_trace(series: &Series, panel: usize) -> Value {
    let ends: Vec<(f64, f64, f64)> =
        series.points.iter().filter_map(|p| Some((p.x, p.low?, p.high?))).collect();
    let upper = ends.iter().map(|(x, _, high)| (*x, *high));
    let lower = ends.iter().rev().map(|(x, low, _)| (*x, *low));
    let (x, y): (Vec<f64>, Vec<f64>) = upper.chain(lower).map(|(x, y)| (short(x), short(y))).unzip();
    json!({
        "type": "scatter", "mode": "lines", "fill": "toself", "hoverinfo": "skip",
        "name": plain(&series.name), "legendgroup": plain(&series.name), "showlegend": false,
        "xaxis": axis_name('x', panel), "yaxis": axis_name('y', panel),
        "x": x, "y": y, "opacity": 0.2,
        "fillcolor": hue(series.look.colour), "line": { "width": 0, "color": hue(series.look.colour) },
    })
}

fn reference_trace(lines: &Lines, i: usize, panel: usize) -> Value {
    let reference = &lines.references[i];
    let (x, y) = match reference {
        Reference::Horizontal { y, .. } => (lines.x.range, (*y, *y)),
        Reference::Diagonal { .. } => {
            let ends = (lines.x.range.0.max(lines.y.range.0), lines.x.range.1.min(lines.y.range.1));
            (ends, ends)
        }
    };
    let name = plain(reference.text());
    json!({
        "type": "scatter", "mode": "lines", "hoverinfo": "skip",
        "name": name, "legendgroup": name, "showlegend": panel == 0,
        "xaxis": axis_name('x', panel), "yaxis": axis_name('y', panel),
        "x": [x.0, x.1], "y": [y.0, y.1],
        "line": { "color": "@ink", "width": 1.5, "dash": dash(Dash::of_reference(i)) },
    })
}
