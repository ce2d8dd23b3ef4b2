//! The page of several runs over each other.

use serde::Serialize;
use serde_json::Value;

use super::comparison::second;
use super::figures::Figure;
use super::shell::{self, Shell};
use super::tables::{Field, Head, Table};
use crate::chart::{self, Chart, Overlaid};
use crate::report::ReportError;

/// The page. `charts` are those of [`crate::chart::of_runs`].
///
/// # Errors
/// When the template cannot be filled in.
pub fn of_overlay(runs: &[Overlaid<'_>], charts: &[Chart]) -> Result<String, ReportError> {
    let mut environment = shell::environment()?;
    environment.add_template("overlay.html", include_str!("overlay.html"))?;
    let names: Vec<&str> = runs.iter().map(|r| r.name.as_str()).collect();
    let context = Page {
        shell: Shell::new(&format!("{} · Plimsoll overlay", names.join(", "))),
        runs: runs.iter().map(Row::of).collect(),
        difference: difference(runs),
        figures: charts.iter().map(|c| Figure::of(c, true)).collect::<Result<_, _>>()?,
    };
    Ok(environment.get_template("overlay.html")?.render(minijinja::value::Serde(&context))?)
}

#[derive(Serialize)]
struct Page<'a> {
    shell: Shell,
    runs: Vec<Row<'a>>,
    difference: Table,
    figures: Vec<Figure>,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    experiment: &'a str,
    started_at: String,
    /// That ran.
    cells: usize,
    id: &'a str,
}

impl<'a> Row<'a> {
    fn of(run: &'a Overlaid<'a>) -> Self {
        Self {
            name: &run.name,
            experiment: &run.run.name,
            started_at: second(
                run.run.manifest.get("started_at").and_then(Value::as_str).unwrap_or("not known"),
            ),
            cells: run.run.finished().count(),
            id: &run.run.id,
        }
    }
}

fn difference(runs: &[Overlaid<'_>]) -> Table {
    let mut head = vec![Head::text("Factor")];
    head.extend(runs.iter().map(|r| Head::text(&r.name)));
    let row = |(path, values): (String, Vec<String>)| {
        std::iter::once(path).chain(values).map(Field::text).collect()
    };
    Table { head, rows: chart::difference(runs).into_iter().map(row).collect() }
}
