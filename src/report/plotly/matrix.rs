//! Verdicts over cells and figures. Rows are numbered from the top.

use serde_json::{Map, Value, json};

use super::plain;
use crate::chart::{Matrix, MatrixField};
use crate::report::palette::{DIVERGING, diverging, is_dark};

pub(super) fn of_matrix(matrix: &Matrix) -> Value {
    let each = |of: &dyn Fn(usize, &MatrixField) -> Value| -> Vec<Vec<Value>> {
        let row = |j: usize| {
            matrix.rows[j].fields.iter().map(|f| f.as_ref().map_or(Value::Null, |f| of(j, f))).collect()
        };
        (0..matrix.rows.len()).map(row).collect()
    };
    let notes: Vec<Vec<String>> = matrix
        .rows
        .iter()
        .map(|row| {
            let note = |(column, field): (&String, &Option<MatrixField>)| {
                let text = field.as_ref().map_or("no verdict", |f| f.note.as_str());
                format!("<b>{}</b> · {}<br>{}", plain(&row.name), plain(column), plain(text))
            };
            matrix.columns.iter().zip(&row.fields).map(note).collect()
        })
        .collect();
    let data = json!([{
        "type": "heatmap", "xgap": 2, "ygap": 2, "showscale": false, "zmin": -3.5, "zmax": 3.5,
        "colorscale": colours(), "z": each(&|_, f| f.step.into()), "customdata": notes,
        "hovertemplate": "%{customdata}<extra></extra>", "hoverongaps": true,
    }]);
    let mut labels = Vec::new();
    for (j, row) in matrix.rows.iter().enumerate() {
        for (i, field) in row.fields.iter().enumerate() {
            let Some(field) = field else { continue };
            let whole = format!("{} {}", field.verdict.glyph(), field.text);
            labels.push(json!({
                "xref": "x", "yref": "y", "x": i, "y": j, "showarrow": false, "text": whole.trim(),
                "font": { "size": 12, "color": ink(field.step) },
            }));
        }
    }
    let mut layout = Map::new();
    let (columns, rows) = (matrix.columns.len(), matrix.rows.len());
    layout.insert(
        "xaxis".into(),
        json!({
            "type": "linear", "range": [-0.5, columns as f64 - 0.5], "tickvals": (0..columns).collect::<Vec<_>>(),
            "ticktext": matrix.columns.iter().map(|c| plain(c).replace(' ', "<br>")).collect::<Vec<_>>(),
            "showgrid": false, "side": "top", "anchor": "y",
        }),
    );
    layout.insert(
        "yaxis".into(),
        json!({
            "type": "linear", "range": [rows as f64 - 0.5, -0.5], "tickvals": (0..rows).collect::<Vec<_>>(),
            "ticktext": matrix.rows.iter().map(|r| plain(&r.name)).collect::<Vec<_>>(),
            "showgrid": false, "anchor": "x",
        }),
    );
    layout.insert("annotations".into(), labels.into());
    json!({
        "kind": "matrix", "panels": [""], "rows": rows, "columns": columns, "data": data, "layout": layout,
    })
}

/// A step of the scale for each of the seven; what may be chance takes the theme's own ground.
fn colours() -> Vec<Value> {
    let n = DIVERGING.len() as f64;
    let colour = |i: usize| match DIVERGING[i] {
        _ if i == DIVERGING.len() / 2 => "@shade".to_owned(),
        (r, g, b) => format!("rgb({r},{g},{b})"),
    };
    (0..DIVERGING.len())
        .flat_map(|i| [json!([i as f64 / n, colour(i)]), json!([(i + 1) as f64 / n, colour(i)])])
        .collect()
}

fn ink(step: i8) -> &'static str {
    match step {
        0 => "@ink",
        step if is_dark(diverging(step)) => "#FFFFFF",
        _ => "#1B1F24",
    }
}
