//! The history of an experiment: terminal, figures and page.

use std::path::Path;

use super::page::{self, Table};
use super::terminal::align;
use super::{ReportError, Written, write_page};
use crate::analysis::history::{Course, FEW, History, LevelChange};
use crate::analysis::text::probability;
use crate::analysis::words;
use crate::chart::{self, figure};
use crate::metrics;

/// A table for each figure with a row per cell, and the changes below it. Plain text; every line
/// ends in a newline.
#[must_use]
pub fn terminal(history: &History, page: Option<&Path>) -> String {
    let runs = match history.runs.len() {
        1 => "one run".to_owned(),
        n => format!("{n} runs"),
    };
    let mut out = format!("=== {} · {runs}, {} ===\n", history.name, history.span());
    for courses in history.by_metric() {
        out.push_str(&of_metric(history, courses));
    }
    if history.courses.is_empty() {
        out.push_str("\nNo run has one of these figures.\n");
    } else {
        let most = history.courses.iter().map(|c| c.valid().len()).max().unwrap_or(0);
        if most < FEW {
            out.push_str(&format!("\n{most} valid runs are too few to tell a change from noise.\n"));
        }
        out.push_str("\nA change of level is a remark: it gates nothing.\n");
    }
    if let Some(page) = page {
        out.push_str(&format!("\nReport: {}\n", page.display()));
    }
    out
}

fn of_metric(history: &History, courses: &[Course]) -> String {
    let Some(first) = courses.first() else { return String::new() };
    let unit = metrics::metric(&first.metric.metric).map_or("", |m| m.unit.label());
    let unit = if unit.is_empty() { String::new() } else { format!(", {unit}") };
    let name = chart::upper_first(&words::metric_name(&first.metric.metric, &first.metric.stat));
    let mut rows =
        vec![["cell", "runs", "invalid", "first", "last", "median", "changes"].map(String::from).to_vec()];
    for course in courses {
        let valid = course.valid();
        let or_dash = |v: Option<f64>| v.map_or_else(|| "–".to_owned(), figure);
        rows.push(vec![
            course.cell.clone(),
            course.points.len().to_string(),
            (course.points.len() - valid.len()).to_string(),
            or_dash(valid.first().copied()),
            or_dash(valid.last().copied()),
            or_dash(course.median()),
            course.changes.len().to_string(),
        ]);
    }
    let mut out = format!("\n{name}{unit}\n{}", align(&rows));
    for course in courses {
        for change in &course.changes {
            out.push_str(&format!("  {}: {}\n", course.cell, change_text(history, course, change)));
        }
    }
    out
}

/// `+8.3 %, worse, from 2026-11-12 on (run …): 120 ms → 130 ms, p <0.001`.
fn change_text(history: &History, course: &Course, change: &LevelChange) -> String {
    let run = &history.runs[change.run];
    let value = |v| words::value_with_unit(&course.metric.metric, v);
    format!(
        "{}, {}, from {} on (run {}): {} → {}, {}",
        change.effect_text(),
        if change.worse { "worse" } else { "better" },
        run.day(),
        run.id,
        value(change.before),
        value(change.after),
        p_of(change)
    )
}

/// `p 0.034`
fn p_of(change: &LevelChange) -> String {
    format!("p {}", probability(change.p))
}

/// Write `index.html` and a PNG per figure into `out`, which is made if need be.
///
/// # Errors
/// When a file cannot be written or a figure cannot be drawn.
pub fn write(history: &History, out: &Path) -> Result<Written, ReportError> {
    let charts = chart::history(history);
    write_page(&page::of_history(history, &charts)?, &charts.iter().collect::<Vec<_>>(), out)
}

/// Every change in a row.
pub(super) fn changes_table(history: &History) -> Table {
    use page::{Field, Head};
    let mut head: Vec<Head> = Vec::from(["Figure", "Cell", "From", "Run"].map(Head::text));
    head.extend([Head::number("Change", "%"), Head::text("Better or worse")]);
    head.extend([Head::number("Before", ""), Head::number("After", ""), Head::text("Significance")]);
    let row = |course: &Course, change: &LevelChange| {
        let run = &history.runs[change.run];
        let class = if change.worse { "bad" } else { "good" };
        let value = |v: f64| Field {
            text: words::value_with_unit(&course.metric.metric, v),
            ..Field::number(Some(v))
        };
        let effect = Field { text: change.effect_text(), ..Field::number(change.effect.map(|e| e * 100.0)) };
        vec![
            Field::text(words::metric_name(&course.metric.metric, &course.metric.stat)),
            Field::text(course.cell.clone()),
            Field::text(run.day()),
            Field::text(run.id.clone()),
            effect,
            Field {
                text: if change.worse { "worse" } else { "better" }.into(),
                sort: None,
                class,
                to: String::new(),
            },
            value(change.before),
            value(change.after),
            Field::text(p_of(change)),
        ]
    };
    let rows = history.courses.iter().flat_map(|c| c.changes.iter().map(move |change| row(c, change)));
    Table { head, rows: rows.collect() }
}

/// Every value of one figure's courses in a row.
pub(super) fn values_table(history: &History, metric: &str) -> Table {
    use page::{Field, Head};
    let mut head: Vec<Head> = Vec::from(["Began", "Run", "Cell"].map(Head::text));
    head.extend([Head::number(metric, ""), Head::number("Repeats", ""), Head::text("Valid")]);
    let mine: Vec<&Course> = history.courses.iter().filter(|c| c.metric.to_string() == metric).collect();
    let row = |course: &Course, at: usize| {
        let run = &history.runs[at];
        let point = course.points.iter().find(|p| p.run == at)?;
        let (word, class) = match (point.invalid, point.overloaded) {
            (true, _) => ("INVALID", "bad"),
            (_, true) => ("overloaded", "so-so"),
            _ => ("yes", "good"),
        };
        Some(vec![
            Field::text(run.started_at.clone()),
            Field::text(run.id.clone()),
            Field::text(course.cell.clone()),
            Field::number(Some(point.value)),
            Field::count(Some(point.repeats as u64)),
            Field { text: word.into(), sort: None, class, to: String::new() },
        ])
    };
    let rows = (0..history.runs.len()).flat_map(|at| mine.iter().filter_map(move |c| row(c, at)));
    Table { head, rows: rows.collect() }
}
