//! Figures of the page: a chart as the script draws it, and all its points as a table.

use serde::Serialize;
use serde_json::Value;

use super::tables::{Field, Head, Table};
use crate::chart::{Body, Chart, Forest, ForestRow, Matrix, MatrixField, MatrixRow, figure, percent};
use crate::report::plotly;

#[derive(Serialize)]
pub(in crate::report) struct Figure {
    pub(in crate::report) id: String,
    pub(in crate::report) title: String,
    pub(in crate::report) subtitle: String,
    pub(in crate::report) caption: String,
    pub(in crate::report) json: String,
    /// Its file beside the page, if there is one.
    pub(in crate::report) png: Option<String>,
    pub(in crate::report) table: Table,
    /// Definitions that its caption leads to: anchor and name.
    pub(in crate::report) defs: Vec<(&'static str, &'static str)>,
    /// Of a strip, its cell as people count them.
    pub(in crate::report) cell: Option<u32>,
}

/// Figures that answer one question.
#[derive(Serialize)]
pub(in crate::report) struct FigureGroup {
    pub(in crate::report) id: &'static str,
    pub(in crate::report) title: &'static str,
    pub(in crate::report) figures: Vec<Figure>,
}

/// The groups in their order, with how the ids of their charts begin; what is in none is last.
const GROUPS: [(&str, &str, &[&str]); 4] = [
    ("figures-capacity", "Capacity", &["capacity", "goodput", "attainment", "pareto", "scaling", "replicas"]),
    ("figures-latency", "Latency", &["latency", "heatmap-ttft", "tradeoff", "profile"]),
    ("figures-throughput", "Throughput", &["throughput", "offered", "heatmap-output"]),
    ("figures-more", "More figures", &[""]),
];

/// Definitions by how the ids of charts begin.
const DEFS: [(&str, &[(&str, &str)]); 10] = [
    ("latency-ttft", &[("m-ttft", "TTFT"), ("percentiles", "percentiles")]),
    ("latency-tpot", &[("m-tpot", "TPOT"), ("percentiles", "percentiles")]),
    ("latency-e2e", &[("m-e2e", "E2E"), ("percentiles", "percentiles")]),
    ("throughput", &[("m-output_tps", "output tok/s"), ("window", "window")]),
    ("offered", &[("m-offered_rps", "offered"), ("m-completed_rps", "completed")]),
    ("tradeoff", &[("m-ttft", "TTFT"), ("m-output_tps", "output tok/s")]),
    ("goodput", &[("m-goodput_rps", "goodput"), ("m-completed_rps", "completed")]),
    ("attainment", &[("m-attainment", "attainment")]),
    ("heatmap-ttft", &[("m-ttft", "TTFT"), ("percentiles", "percentiles")]),
    ("heatmap-output", &[("m-output_tps", "output tok/s")]),
];

/// Charts in the groups of the page; empty groups are left out.
pub(in crate::report) fn grouped(charts: &[&Chart]) -> Result<Vec<FigureGroup>, serde_json::Error> {
    let group_of =
        |id: &str| GROUPS.iter().position(|(_, _, of)| of.iter().any(|start| id.starts_with(start)));
    let mut out = Vec::new();
    for (i, (id, title, _)) in GROUPS.into_iter().enumerate() {
        let mine = charts.iter().filter(|c| group_of(&c.id) == Some(i));
        let figures = mine.map(|c| Figure::of(c, true)).collect::<Result<Vec<_>, _>>()?;
        if !figures.is_empty() {
            out.push(FigureGroup { id, title, figures });
        }
    }
    Ok(out)
}

impl Figure {
    pub(in crate::report) fn of(chart: &Chart, file: bool) -> Result<Self, serde_json::Error> {
        Ok(Self {
            id: chart.id.clone(),
            title: chart.title.clone(),
            subtitle: chart.subtitle.clone(),
            caption: chart.caption.clone(),
            json: embedded(&plotly::figure(chart))?,
            png: file.then(|| format!("{}.png", chart.id)),
            table: data_table(chart),
            defs: DEFS
                .iter()
                .find(|(start, _)| chart.id.starts_with(start))
                .map_or_else(Vec::new, |(_, defs)| defs.to_vec()),
            cell: match &chart.body {
                Body::Strip(strip) => Some(strip.index + 1),
                _ => None,
            },
        })
    }
}

/// A place on an axis, by its tick's name where it has one.
pub(in crate::report) fn place(axis: &crate::chart::Axis, x: f64) -> Field {
    let tick = axis.ticks.iter().find(|t| t.at == x);
    Field { text: tick.map_or_else(|| figure(x), |t| t.text.clone()), ..Field::number(Some(x)) }
}

/// Every point of a figure in words; a strip's thousands are left to its file.
pub(in crate::report) fn data_table(chart: &Chart) -> Table {
    match &chart.body {
        Body::Strip(_) => Table::default(),
        Body::Forest(forest) => forest_table(forest),
        Body::Matrix(matrix) => matrix_table(matrix),
        Body::Lines(lines) => {
            let head = vec![
                Head::text("Series"),
                Head::number(&lines.x.label, &lines.x.unit),
                Head::number(&lines.y.label, &lines.y.unit),
                Head::number("least", &lines.y.unit),
                Head::number("greatest", &lines.y.unit),
                Head::text("Remark"),
            ];
            let of = |panel: &crate::chart::Panel| -> Vec<Vec<Field>> {
                let row = |name: &str, p: &crate::chart::Point| {
                    let name = [panel.title.as_str(), name].into_iter().filter(|t| !t.is_empty());
                    vec![
                        Field::text(name.collect::<Vec<_>>().join(": ")),
                        place(&lines.x, p.x),
                        Field::number(Some(p.y)),
                        Field::number(p.low),
                        Field::number(p.high),
                        Field::text(p.note.clone()),
                    ]
                };
                panel
                    .series
                    .iter()
                    .flat_map(|s| s.points.iter().map(|p| row(&s.name, p)).collect::<Vec<_>>())
                    .collect()
            };
            Table { head, rows: lines.panels.iter().flat_map(of).collect() }
        }
        Body::HeatMap(map) => {
            let mut head = vec![Head::text(&format!("{} \\ {}", map.y_label, map.x_label))];
            head.extend(map.xs.iter().map(|x| Head::number(x, "")));
            let of = |panel: &crate::chart::HeatPanel| -> Vec<Vec<Field>> {
                let row = |j: usize| {
                    let name = if panel.title.is_empty() {
                        map.ys[j].clone()
                    } else {
                        format!("{}: {}", panel.title, map.ys[j])
                    };
                    let mut row = vec![Field::text(name)];
                    row.extend(panel.values[j].iter().zip(&panel.flags[j]).map(|(v, f)| {
                        let mut field = Field::number(*v);
                        if f.invalid {
                            field.text.push_str(" (invalid)");
                        } else if f.overloaded {
                            field.text.push_str(" (overloaded)");
                        }
                        field
                    }));
                    row
                };
                (0..map.ys.len()).map(row).collect()
            };
            Table { head, rows: map.panels.iter().flat_map(of).collect() }
        }
    }
}

/// A row per change.
fn forest_table(forest: &Forest) -> Table {
    let number = |v: Option<f64>| Field {
        text: v.map_or_else(|| "–".to_owned(), |v| percent(v / 100.0)),
        ..Field::number(v.filter(|v| v.is_finite()))
    };
    let row = |r: &ForestRow| {
        vec![
            Field::text(r.name.as_str()),
            Field::text(format!("{} {}", r.verdict.glyph(), r.verdict.word())),
            number(r.effect),
            number(r.low),
            number(r.high),
            number(Some(r.margin)),
            Field::text(r.note.as_str()),
        ]
    };
    let head = vec![
        Head::text("Figure"),
        Head::text("Verdict"),
        Head::number("change", ""),
        Head::number("least", ""),
        Head::number("greatest", ""),
        Head::number("margin ±", ""),
        Head::text("Remark"),
    ];
    Table { head, rows: forest.groups.iter().flat_map(|g| g.rows.iter().map(row)).collect() }
}

/// A row per cell, a column per figure.
fn matrix_table(matrix: &Matrix) -> Table {
    let field = |f: &Option<MatrixField>| {
        let text = f.as_ref().map(|f| format!("{} {} {}", f.verdict.glyph(), f.verdict.word(), f.text));
        Field::text(text.map_or_else(|| "–".to_owned(), |t| t.trim_end().to_owned()))
    };
    let row =
        |r: &MatrixRow| [vec![Field::text(r.name.as_str())], r.fields.iter().map(field).collect()].concat();
    let head = [vec![Head::text("Cell")], matrix.columns.iter().map(|c| Head::text(c)).collect()].concat();
    Table { head, rows: matrix.rows.iter().map(row).collect() }
}

/// JSON that may stand inside a script element whatever texts it holds.
pub(in crate::report) fn embedded(value: &Value) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string(value)?.replace('<', "\\u003c"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_cannot_end_its_script_element() {
        let text = embedded(&json!({ "a": "</script><!--" })).unwrap();
        assert!(!text.contains('<'));
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["a"], "</script><!--");
    }
}
