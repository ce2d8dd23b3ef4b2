//! A chart for plotly.js, from the same data as the PNG.
//!
//! The page's script lays the panels out (their number in a row depends on the width of the
//! window) and puts in the colours of the theme: a string that begins with `@` names one.

use serde_json::{Map, Value, json};

use super::palette::{CIVIDIS, cividis, is_dark};
use crate::chart::{
    Axis, Body, COLOURS, Chart, Dash, Draw, HeatMap, HeatPanel, Lines, Marker, Reference, Scale, Series,
    Strip, figure as number,
};

/// `{ kind, panels: [title], data, layout }`.
pub(super) fn figure(chart: &Chart) -> Value {
    match &chart.body {
        Body::Lines(lines) => of_lines(lines),
        Body::HeatMap(map) => of_heat_map(map),
        Body::Strip(strip) => of_strip(strip),
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
        Marker::Cross => "x-thin",
    }
}

fn of_lines(lines: &Lines) -> Value {
    let (mut data, mut layout, mut named) = (Vec::new(), Map::new(), Vec::new());
    for (i, panel) in lines.panels.iter().enumerate() {
        data.extend((0..lines.references.len()).map(|r| reference_trace(lines, r, i)));
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
    let legend = !named.is_empty() || !lines.references.is_empty();
    json!({ "kind": "lines", "panels": titles, "legend": legend, "data": data, "layout": layout })
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
    let open = |p: &crate::chart::Point| if p.flags.invalid { "-open" } else { "" };
    let symbols: Vec<String> =
        points.iter().map(|p| format!("{}{}", symbol(series.look.marker), open(p))).collect();
    let texts: Vec<String> = points
        .iter()
        .map(|p| format!("{} {}", if p.flags.overloaded { "↑" } else { "" }, plain(&p.tag)).trim().to_owned())
        .collect();
    let has_text = texts.iter().any(|t| !t.is_empty());
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
    let parts = match series.draw {
        Draw::Line | Draw::Steps => "lines",
        Draw::Dots => "markers",
        _ => "lines+markers",
    };
    let mut out = json!({
        "type": "scatter",
        "mode": if has_text { format!("{parts}+text") } else { parts.to_owned() },
        "name": plain(&series.name),
        "legendgroup": plain(&series.name),
        "showlegend": legend,
        "xaxis": axis_name('x', panel),
        "yaxis": axis_name('y', panel),
        "x": points.iter().map(|p| p.x).collect::<Vec<_>>(),
        "y": points.iter().map(|p| p.y).collect::<Vec<_>>(),
        "line": { "color": colour, "width": 2, "dash": dash(series.look.dash) },
        "marker": { "color": colour, "size": 10, "symbol": symbols, "line": { "width": 1.5, "color": edge(series.look.colour) } },
        "customdata": notes,
        "hovertemplate": "%{customdata}<extra>%{fullData.name}</extra>",
        "cliponaxis": false,
    });
    if series.draw == Draw::Steps {
        out["line"]["shape"] = json!("hv");
    }
    if has_text {
        out["text"] = json!(texts);
        out["textposition"] = json!(text_sides(points));
        out["textfont"] = json!({ "color": "@muted", "size": 11 });
    }
    if points.iter().any(|p| p.high.is_some()) {
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

fn of_heat_map(map: &HeatMap) -> Value {
    let (mut data, mut layout) = (Vec::new(), Map::new());
    let (mut shapes, mut labels) = (Vec::new(), Vec::new());
    for (i, panel) in map.panels.iter().enumerate() {
        data.push(heat_trace(map, panel, i));
        shapes.extend(hatches(map, panel, i));
        labels.extend(field_labels(map, panel, i));
        for (letter, names, label) in [('x', &map.xs, &map.x_label), ('y', &map.ys, &map.y_label)] {
            let mut made = Map::new();
            made.insert("type".into(), "linear".into());
            made.insert("range".into(), json!([-0.5, names.len() as f64 - 0.5]));
            made.insert("tickvals".into(), json!((0..names.len()).collect::<Vec<_>>()));
            made.insert("ticktext".into(), json!(names.iter().map(|n| plain(n)).collect::<Vec<_>>()));
            made.insert("title".into(), json!({ "text": plain(label) }));
            made.insert("showgrid".into(), false.into());
            made.insert("anchor".into(), axis_name(if letter == 'x' { 'y' } else { 'x' }, i).into());
            if i > 0 {
                made.insert("matches".into(), letter.to_string().into());
            }
            layout.insert(axis_key(letter, i), made.into());
        }
    }
    let (lo, hi) = map.range;
    let place = |v: f64| if map.scale == Scale::Log { v.log10() } else { v };
    let middle = if map.scale == Scale::Log { (lo * hi).sqrt() } else { (lo + hi) / 2.0 };
    let marks = if hi > lo { vec![lo, middle, hi] } else { vec![lo] };
    let steps = (CIVIDIS.len() - 1) as f64;
    let scale: Vec<Value> = CIVIDIS
        .iter()
        .enumerate()
        .map(|(i, (r, g, b))| json!([i as f64 / steps, format!("rgb({r},{g},{b})")]))
        .collect();
    layout.insert(
        "coloraxis".into(),
        json!({
            "colorscale": scale, "cmin": place(lo), "cmax": if hi > lo { place(hi) } else { place(lo) + 1.0 },
            "colorbar": {
                "title": { "text": plain(&map.value_label), "side": "right", "font": { "size": 12 } }, "thickness": 14, "outlinewidth": 0,
                "tickvals": marks.iter().map(|m| place(*m)).collect::<Vec<_>>(),
                // Spaces, so that the title beside them doesn't touch the numbers.
                "ticktext": marks.iter().map(|m| format!("{}\u{a0}\u{a0}", number(*m))).collect::<Vec<_>>(),
            },
        }),
    );
    layout.insert("shapes".into(), shapes.into());
    layout.insert("annotations".into(), labels.into());
    let titles: Vec<String> = map.panels.iter().map(|p| plain(&p.title)).collect();
    json!({ "kind": "heat", "panels": titles, "legend": false, "data": data, "layout": layout })
}

fn heat_trace(map: &HeatMap, panel: &HeatPanel, i: usize) -> Value {
    let place = |v: f64| if map.scale == Scale::Log { v.log10() } else { v };
    let each = |f: &dyn Fn(usize, usize) -> Value| -> Vec<Vec<Value>> {
        (0..map.ys.len()).map(|j| (0..map.xs.len()).map(|i| f(j, i)).collect()).collect()
    };
    let z = each(&|j, i| panel.values[j][i].map_or(Value::Null, |v| json!(place(v))));
    let notes = each(&|j, i| {
        let flags = panel.flags[j][i];
        let value = panel.values[j][i].map_or_else(|| "no figure".to_owned(), number);
        let mark = match (flags.invalid, flags.overloaded) {
            (true, _) => "<br>invalid",
            (_, true) => "<br>overloaded",
            _ => "",
        };
        format!(
            "<b>{value}</b><br>{} {}<br>{} {}{mark}",
            plain(&map.x_label),
            plain(&map.xs[i]),
            plain(&map.y_label),
            plain(&map.ys[j])
        )
        .into()
    });
    json!({
        "type": "heatmap", "coloraxis": "coloraxis", "xgap": 1, "ygap": 1,
        "xaxis": axis_name('x', i), "yaxis": axis_name('y', i),
        "z": z, "customdata": notes,
        "hovertemplate": "%{customdata}<extra></extra>", "hoverongaps": false,
    })
}

/// The figures in the fields, dark on light and light on dark. Plotly's own choice of colour
/// has too little contrast in the middle of the scale.
fn field_labels(map: &HeatMap, panel: &HeatPanel, i: usize) -> Vec<Value> {
    let mut out = Vec::new();
    for (j, row) in panel.values.iter().enumerate() {
        for (k, value) in row.iter().enumerate() {
            let Some(value) = value else { continue };
            let arrow = if panel.flags[j][k].overloaded { " ↑" } else { "" };
            out.push(json!({
                "xref": axis_name('x', i), "yref": axis_name('y', i), "x": k, "y": j, "showarrow": false,
                "text": match panel.tag(j, k) {
                    "" => format!("{}{arrow}", number(*value)),
                    tag => format!("<b>{}</b>{arrow}<br>{}", number(*value), plain(tag)),
                },
                "font": { "size": 12, "color": ink_on(map, *value) },
            }));
        }
    }
    out
}

fn ink_on(map: &HeatMap, value: f64) -> &'static str {
    if is_dark(cividis(map.share(value))) { "#FFFFFF" } else { "#1B1F24" }
}

/// Strokes over the corners of invalid fields, so that the figure in the middle stays legible.
fn hatches(map: &HeatMap, panel: &HeatPanel, i: usize) -> Vec<Value> {
    let mut out = Vec::new();
    for (j, row) in panel.flags.iter().enumerate() {
        for (k, flags) in row.iter().enumerate() {
            let Some(value) = panel.values[j][k].filter(|_| flags.invalid) else { continue };
            let colour = ink_on(map, value);
            let (x, y) = (k as f64 - 0.5, j as f64 - 0.5);
            for d in [0.15, 0.3, 0.45, 0.6, 1.4, 1.55, 1.7, 1.85_f64] {
                let (from, to) = ((d.min(1.0), (d - 1.0).max(0.0)), ((d - 1.0).max(0.0), d.min(1.0)));
                out.push(json!({
                    "type": "line", "xref": axis_name('x', i), "yref": axis_name('y', i),
                    "x0": x + from.0, "y0": y + from.1, "x1": x + to.0, "y1": y + to.1,
                    "line": { "color": colour, "width": 1.5 },
                }));
            }
        }
    }
    out
}

fn of_strip(strip: &Strip) -> Value {
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
    json!({ "kind": "strip", "panels": titles, "legend": false, "spans": spans, "data": data, "layout": layout })
}

fn strip_trace(series: &Series, y: &Axis, panel: usize) -> Value {
    let colour = hue(series.look.colour);
    let dots = series.draw == Draw::Dots;
    let unit = if y.unit.is_empty() { String::new() } else { format!(" {}", y.unit) };
    let symbol = if series.look.marker == Marker::Cross { "x-thin-open" } else { "circle" };
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
    // Bins lie evenly: where they begin and their length say it all.
    match series.points.as_slice() {
        [first, second, ..] if !dots => {
            out["x0"] = json!(first.x);
            out["dx"] = json!(second.x - first.x);
        }
        points => out["x"] = json!(points.iter().map(|p| short(p.x)).collect::<Vec<_>>()),
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_light_theme_has_the_colours_of_the_pictures() {
        let css = include_str!("page/page.css");
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
