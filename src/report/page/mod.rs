//! Pages: one file each, that works offline and asks nothing of any network.
//!
//! `shell.html` with the style sheets and scripts beside it is the frame of every page, `parts.html`
//! has the macros that they share, and each page has a template of its own: `run.html` is a run's.

mod answer;
mod cells;
mod comparison;
mod facts;
mod figures;
mod history;
mod load_line;
mod overlay;
mod remarks;
mod shell;
mod tables;
mod traces;

pub use comparison::of_comparison;
pub use overlay::of_overlay;
use serde::Serialize;
use serde_json::Value;

pub(super) use self::answer::Answer;
use self::facts::{Definition, Facts, SignalRow, flat, signals, under_test};
use self::figures::{Figure, FigureGroup, embedded, grouped};
pub use self::history::of_history;
use self::remarks::{Recovery, Remark, recoveries, remarks};
use self::shell::Shell;
pub(super) use self::tables::{Field, Head, Table};
use self::tables::{cells, group_table};
use super::findings;
use super::signs::Sign;
use super::{MAX_STRIP_FILES, ReportError, contention, groups};
use crate::analysis::RunData;
use crate::chart::{Body, Chart};
use crate::metrics;

/// How pages look, for one that is no report.
#[must_use]
pub const fn style() -> &'static str {
    shell::STYLE
}

/// The script that draws figures, plotly.js, for one that is no report.
#[must_use]
pub fn drawing_library() -> String {
    shell::plotly_script()
}

/// The answer of a run in a sentence, with its tone: `good`, `so-so`, `bad` or `none`.
#[must_use]
pub fn headline(run: &RunData) -> (&'static str, String) {
    let answer = Answer::of(run, &findings::find(run));
    (answer.tone, answer.headline)
}

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
        answer: Answer::of(run, &found),
        under_test: under_test(run),
        findings: Facts::of(found),
        groups_of_figures: grouped(&figures)?,
        strips: strips
            .into_iter()
            .enumerate()
            .map(|(i, c)| Figure::of(c, i < strip_files))
            .collect::<Result<_, _>>()?,
        strip_cells: run.cells.iter().filter(|cell| !cell.timeline.is_empty()).count(),
        cells: cells(run),
        cell_pages: embedded(&serde_json::to_value(cells::pages(run))?)?,
        kinds: groups::kinds(&groups::breakdowns(run, |_| true)),
        groups: group_table(run),
        recoveries: recoveries(run),
        contention: contention::sentences(run),
        remarks: remarks(run),
        traces: traces::traces(run)?,
        environment: flat(&run.environment),
        manifest: flat(&run.manifest),
        experiment: &run.experiment,
        path: run.path.display().to_string(),
        salt: run.manifest.get("salt").and_then(Value::as_str),
        metrics: metrics::METRICS.iter().map(Definition::of).collect(),
        signals: signals(),
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
    answer: Answer,
    /// What was asked: server, model, API.
    under_test: Vec<String>,
    groups_of_figures: Vec<FigureGroup>,
    strips: Vec<Figure>,
    /// Cells and repeats that could have one.
    strip_cells: usize,
    cells: Table,
    /// JSON of every cell's own page.
    cell_pages: String,
    /// What `groups` are by, such as `task and endpoint`; empty without any.
    kinds: String,
    groups: Table,
    recoveries: Vec<Recovery>,
    contention: Vec<String>,
    remarks: Vec<Remark>,
    traces: Vec<traces::Trace>,
    environment: Vec<(String, String)>,
    manifest: Vec<(String, String)>,
    experiment: &'a str,
    path: String,
    salt: Option<&'a str>,
    metrics: Vec<Definition>,
    signals: Vec<SignalRow>,
}
