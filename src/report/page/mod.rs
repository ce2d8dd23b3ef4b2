//! Pages: one file each, that works offline and asks nothing of any network.
//!
//! `shell.html` with `page.css` and `page.js` is the frame of every page, `parts.html` has the
//! macros that they share, and each page has a template of its own: `run.html` is a run's.

mod comparison;
mod facts;
mod figures;
mod overlay;
mod remarks;
mod shell;
mod tables;

pub use comparison::of_comparison;
pub use overlay::of_overlay;
use serde::Serialize;
use serde_json::Value;

use self::facts::{Definition, Facts, flat};
use self::figures::Figure;
use self::remarks::{Recovery, Remark, recoveries, remarks};
use self::shell::Shell;
use self::tables::{Table, cells, group_table};
use super::findings;
use super::signs::{CellVerdicts, Sign, verdicts};
use super::{MAX_STRIP_FILES, ReportError, contention, groups};
use crate::analysis::RunData;
use crate::chart::{Body, Chart};
use crate::metrics;

/// The page of a run. `charts` are those of [`crate::chart::all`].
///
/// # Errors
/// When the template cannot be filled in.
pub fn of_run(run: &RunData, charts: &[Chart]) -> Result<String, ReportError> {
    let mut environment = shell::environment()?;
    environment.add_template("run.html", include_str!("run.html"))?;
    let (strips, figures): (Vec<&Chart>, Vec<&Chart>) =
        charts.iter().partition(|c| matches!(c.body, Body::Strip(_)));
    let strip_files = strips.len().min(MAX_STRIP_FILES);
    let found = findings::find(run);
    let context = Page {
        name: &run.title,
        id: &run.id,
        shell: Shell::new(&format!("{} · Plimsoll report", run.title)),
        signs: found.diagnosis.iter().map(|f| Sign::of(f, run)).collect(),
        verdicts: verdicts(run),
        findings: Facts::of(found),
        figures: figures.into_iter().map(|c| Figure::of(c, true)).collect::<Result<_, _>>()?,
        strips: strips
            .into_iter()
            .enumerate()
            .map(|(i, c)| Figure::of(c, i < strip_files))
            .collect::<Result<_, _>>()?,
        cells: cells(run),
        kinds: groups::kinds(&groups::breakdowns(run, |_| true)),
        groups: group_table(run),
        recoveries: recoveries(run),
        contention: contention::sentences(run),
        remarks: remarks(run),
        environment: flat(&run.environment),
        manifest: flat(&run.manifest),
        experiment: &run.experiment,
        path: run.path.display().to_string(),
        salt: run.manifest.get("salt").and_then(Value::as_str),
        metrics: metrics::METRICS.iter().map(Definition::of).collect(),
    };
    Ok(environment.get_template("run.html")?.render(minijinja::value::Serde(&context))?)
}

#[derive(Serialize)]
struct Page<'a> {
    name: &'a str,
    id: &'a str,
    shell: Shell,
    findings: Facts,
    signs: Vec<Sign>,
    verdicts: Vec<CellVerdicts>,
    figures: Vec<Figure>,
    strips: Vec<Figure>,
    cells: Table,
    /// What `groups` are by, such as `task and endpoint`; empty without any.
    kinds: String,
    groups: Table,
    recoveries: Vec<Recovery>,
    contention: Vec<String>,
    remarks: Vec<Remark>,
    environment: Vec<(String, String)>,
    manifest: Vec<(String, String)>,
    experiment: &'a str,
    path: String,
    salt: Option<&'a str>,
    metrics: Vec<Definition>,
}
