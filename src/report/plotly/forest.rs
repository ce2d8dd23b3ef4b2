//! Changes with their intervals, a row each. Rows are numbered from the top; the page's script
//! gives them their height.

use serde_json::{Map, Value, json};

use super::{axis, plain, short};
use crate::analysis::compare::Verdict;
use crate::chart::{Forest, ForestRow, percent};

pub(super) fn of_forest(forest: &Forest) -> Value {
    let (mut rows, mut shapes, mut labels, mut names) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut y = 0;
    let mut names_at = Vec::new();
    for group in &forest.groups {
        labels.push(json!({
            "xref": "paper", "yref": "y", "x": 0, "xanchor": "left", "y": y, "showarrow": false,
            "text": format!("<b>{}</b>", plain(&group.title)), "font": { "size": 12, "color": "@ink" },
        }));
        y += 1;
        shapes.push(json!({
            "type": "line", "xref": "x", "yref": "y", "x0": 0, "x1": 0,
            "y0": y as f64 - 0.5, "y1": y as f64 + group.rows.len() as f64 - 0.5,
            "line": { "width": 1.5, "color": "@ink" },
        }));
        for row in &group.rows {
            shapes.push(json!({
                "type": "rect", "xref": "x", "yref": "y", "layer": "below", "line": { "width": 0 },
                "x0": -row.margin, "x1": row.margin, "y0": y as f64 - 0.5, "y1": y as f64 + 0.5,
                "fillcolor": "@shade",
            }));
            labels.push(figure(row, y));
            names.push(plain(&row.name));
            names_at.push(y);
            rows.push((y, row));
            y += 1;
        }
    }
    let mut layout = Map::new();
    let mut x = axis(&forest.x);
    x.insert("anchor".into(), "y".into());
    layout.insert("xaxis".into(), x.into());
    layout.insert(
        "yaxis".into(),
        json!({
            "type": "linear", "range": [y as f64 - 0.5, -0.5], "tickvals": names_at, "ticktext": names,
            "showgrid": false, "anchor": "x",
        }),
    );
    layout.insert("shapes".into(), shapes.into());
    layout.insert("annotations".into(), labels.into());
    let mut data = Vec::new();
    for verdict in Verdict::ALL {
        let mine: Vec<(i32, &ForestRow)> =
            rows.iter().filter(|(_, r)| r.verdict == verdict).copied().collect();
        if !mine.is_empty() {
            data.push(trace(forest, verdict, &mine));
        }
    }
    json!({ "kind": "forest", "panels": [""], "rows": y, "data": data, "layout": layout })
}

/// Sign and figure at the right edge.
fn figure(row: &ForestRow, y: i32) -> Value {
    let effect = row.effect.map_or_else(|| "–".to_owned(), |e| percent(e / 100.0));
    json!({
        "xref": "paper", "yref": "y", "x": 1, "xanchor": "left", "xshift": 6, "y": y, "showarrow": false,
        "text": format!("{} {effect}", row.verdict.glyph()), "font": { "size": 12, "color": ink(row.verdict) },
    })
}

/// The rows of one verdict: a click in the legend hides them.
fn trace(forest: &Forest, verdict: Verdict, rows: &[(i32, &ForestRow)]) -> Value {
    let (least, most) = forest.x.range;
    // A row without a change has a note all the same, at zero and without a marker.
    let at = |r: &ForestRow| r.effect.unwrap_or(0.0).clamp(least, most);
    let reach = |r: &ForestRow, end: Option<f64>| -> f64 {
        let end = end.filter(|v| !v.is_nan() && r.effect.is_some()).map(|v| v.clamp(least, most));
        end.map_or(0.0, |v| short((v - at(r)).abs()))
    };
    let colour = ink(verdict);
    let size = |r: &ForestRow| match (r.effect, r.whole) {
        (None, _) => 0,
        (_, true) => 13,
        (_, false) => 10,
    };
    let symbol = |r: &ForestRow| {
        let sure = matches!(verdict, Verdict::Regressed | Verdict::Improved);
        format!("{}{}", if r.whole { "diamond" } else { "circle" }, if sure { "" } else { "-open" })
    };
    json!({
        "type": "scatter", "mode": "markers",
        "name": format!("{} {}", verdict.glyph(), verdict.word().to_lowercase()),
        "x": rows.iter().map(|(_, r)| short(at(r))).collect::<Vec<_>>(),
        "y": rows.iter().map(|(y, _)| *y).collect::<Vec<_>>(),
        "marker": {
            "color": colour, "size": rows.iter().map(|(_, r)| size(r)).collect::<Vec<_>>(),
            "symbol": rows.iter().map(|(_, r)| symbol(r)).collect::<Vec<_>>(), "line": { "width": 2, "color": colour },
        },
        "error_x": {
            "type": "data", "symmetric": false, "color": colour, "thickness": 2, "width": 4,
            "array": rows.iter().map(|(_, r)| reach(r, r.high)).collect::<Vec<_>>(),
            "arrayminus": rows.iter().map(|(_, r)| reach(r, r.low)).collect::<Vec<_>>(),
        },
        "customdata": rows.iter().map(|(_, r)| format!("<b>{}</b><br>{}", plain(&r.name), plain(&r.note))).collect::<Vec<_>>(),
        "hovertemplate": "%{customdata}<extra></extra>",
        "cliponaxis": false,
    })
}

/// Orange for the worse, blue for the better; what is neither is grey. The signs say it as well.
const fn ink(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Regressed => "@c1",
        Verdict::Improved => "@c0",
        Verdict::Small | Verdict::Equivalent => "@ink",
        _ => "@muted",
    }
}
