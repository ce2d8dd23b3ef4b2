//! A value over two categorical axes, its figures in the fields.

use serde_json::{Map, Value, json};

use super::{axis_key, axis_name, plain};
use crate::chart::{HeatMap, HeatPanel, Scale, figure as number};
use crate::report::palette::{CIVIDIS, cividis, is_dark};

pub(super) fn of_heat_map(map: &HeatMap) -> Value {
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
    json!({ "kind": "heat", "panels": titles, "data": data, "layout": layout })
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
