//! The page of an experiment's history.

use serde::Serialize;

use super::figures::Figure;
use super::shell::{self, Shell};
use super::tables::Table;
use crate::analysis::history::{History, WINDOW};
use crate::chart::Chart;
use crate::report::{ReportError, history};

#[derive(Serialize)]
struct Page<'a> {
    name: &'a str,
    shell: Shell,
    runs: usize,
    span: String,
    changes: usize,
    worse: usize,
    window: usize,
    figures: Vec<Figure>,
    table_of_changes: Table,
}

/// The page of a history. `charts` are those of [`crate::chart::history`].
///
/// # Errors
/// When the template cannot be filled in.
pub fn of_history(past: &History, charts: &[Chart]) -> Result<String, ReportError> {
    let mut environment = shell::environment()?;
    environment.add_template("history.html", include_str!("history.html"))?;
    let changes = || past.courses.iter().flat_map(|c| &c.changes);
    let mut figures = Vec::new();
    for courses in past.by_metric() {
        let Some(metric) = courses.first().map(|c| c.metric.to_string()) else { continue };
        let stem = format!("history-{}", metric.replace('_', "-"));
        let of_metric = |c: &&Chart| {
            c.id == stem || c.id.strip_prefix(&stem).is_some_and(|rest| rest[1..].parse::<u32>().is_ok())
        };
        for (i, chart) in charts.iter().filter(of_metric).enumerate() {
            let mut figure = Figure::of(chart, true)?;
            // All values once, with the first of the metric's figures.
            figure.table = if i == 0 { history::values_table(past, &metric) } else { Table::default() };
            figures.push(figure);
        }
    }
    let context = Page {
        name: &past.name,
        shell: Shell::new(&format!("{} · history · Plimsoll report", past.name)),
        runs: past.runs.len(),
        span: past.span(),
        changes: changes().count(),
        worse: changes().filter(|c| c.worse).count(),
        window: WINDOW,
        figures,
        table_of_changes: history::changes_table(past),
    };
    Ok(environment.get_template("history.html")?.render(minijinja::value::Serde(&context))?)
}
