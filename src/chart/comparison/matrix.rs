//! Every verdict at one glance: cells down, figures across.

use super::{MAX_ROWS, note, pieces, text, worsening};
use crate::analysis::compare::{Row, Verdict};
use crate::chart::{Body, Chart, Compared, Matrix, MatrixField, MatrixRow};
use crate::metrics::Better;

/// Most columns; the others are in the table of rows.
const MAX_COLUMNS: usize = 12;

pub(super) fn build(compared: &Compared<'_>) -> Vec<Chart> {
    let comparison = compared.comparison;
    let rows: Vec<&Row> = comparison.suite.iter().chain(&comparison.rows).collect();
    let mut columns: Vec<String> = Vec::new();
    // What the gate looks at comes first.
    for row in rows.iter().filter(|r| r.primary).chain(rows.iter().filter(|r| !r.primary)) {
        let name = row.name();
        if !columns.contains(&name) {
            columns.push(name);
        }
    }
    let left_out = columns.len().saturating_sub(MAX_COLUMNS);
    columns.truncate(MAX_COLUMNS);
    // After Benjamini and Hochberg, what counts as more than chance.
    let q = comparison.gate.q;
    let lines = lines(&rows, &columns, q);
    let caption = caption(&rows, left_out, q);
    pieces(&lines, MAX_ROWS, &|piece, id, title| Chart {
        id: format!("verdicts{id}"),
        title: format!("Verdicts by cell and figure{title}"),
        subtitle: format!(
            "Sign: the verdict. Colour: a change by more than chance, by its verdict or over the whole map (Benjamini–Hochberg, q ≤ {}); orange is worse and blue better, in three steps: less than the margin, up to three margins, more.",
            text::tick(q)
        ),
        caption: caption.clone(),
        body: Body::Matrix(Matrix { columns: columns.clone(), rows: piece.to_vec() }),
    })
}

/// A line for each cell, in the order of the comparison.
fn lines(rows: &[&Row], columns: &[String], q: f64) -> Vec<MatrixRow> {
    let mut lines: Vec<(Option<&crate::plan::CellId>, MatrixRow)> = Vec::new();
    for row in rows {
        let Some(column) = columns.iter().position(|c| *c == row.name()) else { continue };
        let at = lines.iter().position(|(id, line)| *id == row.cell.as_ref() && line.name == row.label);
        let at = at.unwrap_or_else(|| {
            let line = MatrixRow { name: row.label.clone(), fields: vec![None; columns.len()] };
            lines.push((row.cell.as_ref(), line));
            lines.len() - 1
        });
        lines[at].1.fields[column] = Some(field(row, q));
    }
    lines.into_iter().map(|(_, line)| line).collect()
}

fn field(row: &Row, q: f64) -> MatrixField {
    let believable = !matches!(row.verdict, Verdict::Invalid | Verdict::Missing);
    MatrixField {
        verdict: row.verdict,
        text: row.effect.filter(|e| believable && e.is_finite()).map(short).unwrap_or_default(),
        step: if believable { step(row, q) } else { 0 },
        note: note(row),
    }
}

/// A change in at most three digits: `+12 %`.
fn short(effect: f64) -> String {
    let value = effect * 100.0;
    match value.abs() {
        size if size < 9.95 => {
            let text = format!("{value:+.1} %").replace('-', "−");
            if matches!(text.as_str(), "+0.0 %" | "−0.0 %") { "0.0 %".to_owned() } else { text }
        }
        _ => format!("{value:+.0} %").replace('-', "−"),
    }
}

/// From −3, much better, to 3, much worse; 0 where it may be chance.
fn step(row: &Row, level: f64) -> i8 {
    let Some(worse) = worsening(row).filter(|_| row.better != Better::Neither) else { return 0 };
    // A figure that decides may be shown to have changed though the whole map, which is stricter
    // with many figures, doesn't show it.
    let told = matches!(row.verdict, Verdict::Regressed | Verdict::Improved | Verdict::Small);
    let more_than_chance = told || row.q.is_some_and(|q| q <= level);
    if !more_than_chance {
        return 0;
    }
    let size = match row.severity() {
        margins if margins < 1.0 => 1,
        margins if margins < 3.0 => 2,
        _ => 3,
    };
    if worse > 0.0 { size } else { -size }
}

fn caption(rows: &[&Row], left_out: usize, q: f64) -> String {
    let single: Vec<&&Row> = rows.iter().filter(|r| r.cell.is_some()).collect();
    let coloured = |test: fn(i8) -> bool| single.iter().filter(|r| test(field(r, q).step)).count();
    let (worse, better) = (coloured(|s| s > 0), coloured(|s| s < 0));
    let mut out = match (worse, better) {
        (0, 0) => format!("None of {} figures changed by more than chance.", single.len()),
        _ => format!(
            "Of {} figures, {worse} changed for the worse and {better} for the better by more than chance.",
            single.len()
        ),
    };
    let mut worst: Vec<&&Row> = single.into_iter().filter(|r| field(r, q).step > 0).collect();
    worst.sort_by(|a, b| super::worst_first(a, b));
    let named: Vec<String> = worst
        .iter()
        .map(|r| format!("{} of {} {}", r.name(), r.label, r.effect_text().unwrap_or_default()))
        .collect();
    if !named.is_empty() {
        out.push_str(&format!(" Worst: {}.", text::list(&named, 3)));
    }
    if left_out > 0 {
        out.push_str(&format!(" {left_out} further figures are in the table of rows."));
    }
    out
}
