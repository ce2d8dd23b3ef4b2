//! What went on in one cell, over time.

use serde_json::{Map, Value, json};

use super::{axis, axis_key, axis_name, dash, hue, plain, short, symbol};
use crate::chart::{Axis, Draw, Point, Series, Strip};

pub(super) fn of_strip(strip: &Strip) -> Value {
    let (mut data, mut layout) = (Vec::new(), Map::new());
    let mut x = axis(&strip.x);
    x.insert("anchor".into(), axis_name('y', strip.panels.len().saturating_sub(1)).into());
    layout.insert("xaxis".into(), x.into());
    let mut titles = Vec::new();
    for (i, panel) in strip.panels.iter().enumerate() {
        let mut y = axis(&panel.y);
        y.remove("title");
        layout.insert(axis_key('y', i), y.into());
        let names: Vec<String> = panel.series.iter().map(|s| s.name.clone()).collect();
        let series = if names.len() > 1 { format!(" · {}", names.join(" and ")) } else { String::new() };
        titles.push(plain(&format!("{}{series}", panel.y.title())));
        data.extend(panel.series.iter().map(|s| strip_trace(s, &panel.y, i)));
    }
    let span = |from: f64, to: f64, fill: &str| {
        json!({
            "type": "rect", "xref": "x", "yref": "paper", "x0": from, "x1": to, "y0": 0, "y1": 1,
            "layer": "below", "fillcolor": fill, "line": { "width": 0 },
        })
    };
    let edge = |x: f64| {
        json!({
            "type": "line", "xref": "x", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1,
            "layer": "below", "line": { "width": 1, "dash": "dash", "color": "@muted" },
        })
    };
    let mut shapes: Vec<Value> = strip.spans.iter().map(|s| span(s.from, s.to, "@shade")).collect();
    shapes.extend(strip.stages.iter().skip(1).map(|stage| edge(stage.from)));
    layout.insert("shapes".into(), shapes.into());
    // Where there are stages, their names stand below the window's.
    let mark = |from: f64, to: f64, text: &str, strong: bool, row: u8| json!({ "from": from, "to": to, "text": plain(text), "strong": strong, "row": row });
    let named = strip.spans.iter().chain(&strip.stages);
    let mut spans: Vec<Value> = named.map(|s| mark(s.from, s.to, &s.name, false, 0)).collect();
    let row = u8::from(!strip.stages.is_empty());
    spans.push(mark(strip.window.0, strip.window.1, "measured window", true, row));
    json!({ "kind": "strip", "panels": titles, "spans": spans, "data": data, "layout": layout })
}

/// Whether each point is as far from the last as the second from the first.
fn even(points: &[Point]) -> bool {
    let gap = |pair: &[Point]| pair[1].x - pair[0].x;
    let first = points.windows(2).next().map_or(0.0, gap);
    points.windows(2).all(|pair| (gap(pair) - first).abs() < 1e-6)
}

fn strip_trace(series: &Series, y: &Axis, panel: usize) -> Value {
    let colour = hue(series.look.colour);
    let dots = series.draw == Draw::Dots;
    let unit = if y.unit.is_empty() { String::new() } else { format!(" {}", y.unit) };
    let symbol = symbol(series.look.marker);
    let mut out = json!({
        "type": "scatter",
        "mode": if dots { "markers" } else { "lines" },
        "name": plain(&series.name),
        "showlegend": false,
        "xaxis": "x",
        "yaxis": axis_name('y', panel),
        "y": series.points.iter().map(|p| short(p.y)).collect::<Vec<_>>(),
        "line": { "color": colour, "width": 1.5, "dash": dash(series.look.dash) },
        "marker": { "color": colour, "size": if symbol == "circle" { 4 } else { 6 }, "symbol": symbol, "opacity": 0.6 },
        "hovertemplate": format!("%{{y:,.4~g}}{unit} at %{{x:.1f}} s<extra>{}</extra>", plain(&series.name)),
    });
    // Bins lie evenly: where they begin and their length say it all. Looks at a server nearly do.
    match series.points.as_slice() {
        [first, second, ..] if !dots && even(&series.points) => {
            out["x0"] = json!(first.x);
            out["dx"] = json!(second.x - first.x);
        }
        points => out["x"] = json!(points.iter().map(|p| short(p.x)).collect::<Vec<_>>()),
    }
    out
}
