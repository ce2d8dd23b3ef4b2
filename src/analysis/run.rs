//! Loads a run, and lists those under a directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{AnalysisError, CellData, RunData, records};
use crate::plan::{Cell, Plan};
use crate::store::{self, Manifest, Skipped, StoreError, StoredCell};

impl RunData {
    /// Read a run from its directory, finished or not.
    ///
    /// # Errors
    /// When the directory is no run, or one of its files is missing or can't be understood.
    /// A cell without a summary is no error: it did not finish.
    pub fn load(path: &Path) -> Result<Self, AnalysisError> {
        let checked = Manifest::read(path)?;
        let plan: Plan = store::read_json(&path.join(store::PLAN))?;
        let experiment = path.join(store::EXPERIMENT);
        // Killed before it was written, a run has found nothing yet.
        let search = path.join(store::SEARCH_JSON);
        let search = match (plan.searches.is_empty(), search.exists()) {
            (true, _) => None,
            (false, true) => Some(store::read_json(&search)?),
            (false, false) => Some(Vec::new()),
        };
        let cells = plan.cells.into_iter().map(|cell| load_cell(path, cell)).collect::<Result<_, _>>()?;
        Ok(Self {
            path: path.to_owned(),
            id: checked.run,
            title: checked.title.unwrap_or_else(|| checked.name.clone()),
            figures: checked.figures,
            name: checked.name,
            environment: store::read_json(&path.join(store::ENVIRONMENT))?,
            manifest: store::read_json(&path.join(store::MANIFEST))?,
            experiment: fs::read_to_string(&experiment).map_err(StoreError::io("read", &experiment))?,
            search,
            cells,
        })
    }

    /// Cells that have figures: those that ran to their end, and one that was cut short.
    pub fn finished(&self) -> impl Iterator<Item = &CellData> {
        self.cells.iter().filter(|cell| cell.summary.is_some())
    }
}

impl CellData {
    /// Some columns of its records; `None` where it has none.
    ///
    /// # Errors
    /// When the file can't be read or lacks a column.
    pub fn read_records(&self, columns: &[&str]) -> Result<Option<super::Records>, AnalysisError> {
        self.records.as_deref().map(|path| super::Records::read(path, columns)).transpose()
    }
}

/// Requests that a picture of one cell over time shows.
const POINTS: usize = 2000;

fn load_cell(run: &Path, cell: Cell) -> Result<CellData, AnalysisError> {
    let dir = run.join(store::cell_dir(&cell));
    // A cell that was cut short has figures to look at, though it is not finished.
    let (mut path, mut stored) = (PathBuf::new(), None);
    for name in [store::SUMMARY_JSON, store::INTERRUPTED_JSON] {
        path = dir.join(name);
        stored = StoredCell::read(&path)?;
        if stored.is_some() {
            break;
        }
    }
    let Some(stored) = stored else {
        let skipped = Skipped::of(run, &cell)?.map(|skipped| skipped.reason);
        let (timeline, points) = (Vec::new(), Vec::new());
        return Ok(CellData { cell, summary: None, skipped, timeline, records: None, points });
    };
    if !stored.is_of(&cell) {
        let what = "it belongs to another cell".to_owned();
        return Err(StoreError::Corrupt { path, line: None, what }.into());
    }
    // A run may travel without its bulky files: the figures are in the summary.
    let timeline = dir.join(store::TIMELINE);
    let timeline = if timeline.exists() { records::read_timeline(&timeline)? } else { Vec::new() };
    let records = Some(dir.join(store::RECORDS)).filter(|path| path.exists());
    let points = records.as_deref().map(|path| records::read_points(path, POINTS)).transpose()?;
    Ok(CellData {
        cell,
        summary: Some(stored.summary),
        skipped: None,
        timeline,
        records,
        points: points.unwrap_or_default(),
    })
}

/// A run in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunInfo {
    pub path: PathBuf,
    pub manifest: Manifest,
    /// Cells in the plan.
    pub cells: usize,
    /// Cells with a summary.
    pub finished: usize,
}

/// All runs under `root`, oldest first, and what looks like a run but can't be read. No
/// `root`, no runs.
///
/// # Errors
/// When `root` can't be listed.
pub fn list_runs(root: &Path) -> Result<(Vec<RunInfo>, Vec<StoreError>), StoreError> {
    let entries = match fs::read_dir(root) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), Vec::new())),
        other => other.map_err(StoreError::io("list", root))?,
    };
    let mut runs = Vec::new();
    let mut unreadable = Vec::new();
    for entry in entries {
        let path = entry.map_err(StoreError::io("list", root))?.path();
        if !path.is_dir() {
            continue;
        }
        match info(path) {
            Ok(run) => runs.push(run),
            Err(StoreError::NotARun { .. }) => {}
            Err(error) => unreadable.push(error),
        }
    }
    runs.sort_by(|a, b| (&a.manifest.started_at, &a.path).cmp(&(&b.manifest.started_at, &b.path)));
    Ok((runs, unreadable))
}

fn info(path: PathBuf) -> Result<RunInfo, StoreError> {
    let manifest = Manifest::read(&path)?;
    let plan: Plan = store::read_json(&path.join(store::PLAN))?;
    let finished = plan
        .cells
        .iter()
        .filter(|cell| path.join(store::cell_dir(cell)).join(store::SUMMARY_JSON).exists())
        .count();
    Ok(RunInfo { path, manifest, cells: plan.cells.len(), finished })
}
