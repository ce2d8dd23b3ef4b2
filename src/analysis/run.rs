//! Loads a run, and lists those under a directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::capacity::{self, Capacity};
use super::requests::Requests;
use super::{AnalysisError, CellData, RunData, records};
use crate::plan::{Cell, Plan};
use crate::store::{self, Manifest, Skipped, StoreError, StoredCell};

impl RunData {
    /// Read a run from its directory, finished or not: its figures, time lines and a sample of
    /// each cell's requests. Of the records themselves no more than a slice is in memory at a
    /// time for each core.
    ///
    /// # Errors
    /// When the directory is no run, or one of its files is missing or can't be understood.
    /// A cell without a summary is no error: it did not finish.
    pub fn load(path: &Path) -> Result<Self, AnalysisError> {
        Self::read(path, Depth::Samples)
    }

    /// [`RunData::load`] without time lines and samples of requests: no Parquet file is touched.
    /// For what is made of figures alone. [`CellData::samples`] still reads records.
    ///
    /// # Errors
    /// As [`RunData::load`], Parquet files excepted.
    pub fn load_figures(path: &Path) -> Result<Self, AnalysisError> {
        Self::read(path, Depth::Figures)
    }

    fn read(path: &Path, depth: Depth) -> Result<Self, AnalysisError> {
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
        let cells = parallel(plan.cells, |cell| load_cell(path, cell, depth))?;
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
            carries: std::sync::OnceLock::new(),
        })
    }

    /// What it can carry, by its own SLO and `[capacity]`. Worked out once: requests are read
    /// for it.
    pub fn capacity(&self) -> &Capacity {
        self.carries.get_or_init(|| capacity::capacity(self, &capacity::Options::default()))
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

    /// What each good answer that was due in the window has of these metrics, as their
    /// distributions have it, in the order of sending; a vector for each metric. `None` without records.
    ///
    /// # Errors
    /// When the file can't be read or lacks a column.
    pub fn samples(&self, metrics: &[&str]) -> Result<Option<Vec<Vec<f64>>>, AnalysisError> {
        let Some(path) = self.records.as_deref() else { return Ok(None) };
        let requests = Requests::read(path, metrics)?;
        Ok(Some(metrics.iter().map(|metric| requests.samples(metric)).collect()))
    }
}

/// Requests that a picture of one cell over time shows.
const POINTS: usize = 2000;

/// How much of a run is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// What `summary.json` has.
    Figures,
    /// That, time lines and samples of requests.
    Samples,
}

/// `work` on each item by a thread per core, results in the order of the items. Of several
/// errors the one of the first item in that order that failed is told; the threads stop early.
fn parallel<I: Send, O: Send, E: Send>(
    items: Vec<I>,
    work: impl Fn(I) -> Result<O, E> + Sync,
) -> Result<Vec<O>, E> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(items.len());
    if threads < 2 {
        return items.into_iter().map(work).collect();
    }
    let mut done: Vec<Option<Result<O, E>>> = Vec::new();
    done.resize_with(items.len(), || None);
    let (queue, failed) = (Mutex::new(items.into_iter().enumerate()), AtomicBool::new(false));
    let slots = Mutex::new(&mut done);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let Some((place, item)) = lock(&queue).next() else { break };
                    let result = work(item);
                    failed.fetch_or(result.is_err(), Ordering::Relaxed);
                    lock(&slots)[place] = Some(result);
                }
            });
        }
    });
    // Items are taken in order, so that before the first failure there is no gap.
    done.into_iter().flatten().collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn load_cell(run: &Path, cell: Cell, depth: Depth) -> Result<CellData, AnalysisError> {
    let dir = run.join(store::cell_dir(&cell));
    let mut path = dir.join(store::SUMMARY_JSON);
    let mut stored = StoredCell::read(&path)?;
    let skipped = if stored.is_none() { Skipped::of(run, &cell)? } else { None };
    // A cell that was cut short has figures to look at, though it is not finished; one that was
    // skipped while it ran was to have none.
    if stored.is_none() && skipped.is_none() {
        path = dir.join(store::INTERRUPTED_JSON);
        stored = StoredCell::read(&path)?;
    }
    let Some(stored) = stored else {
        let (timeline, points) = (Vec::new(), Vec::new());
        return Ok(CellData {
            cell,
            summary: None,
            skipped,
            timeline,
            records: None,
            points,
            server: Vec::new(),
        });
    };
    if !stored.is_of(&cell) {
        let what = "it belongs to another cell".to_owned();
        return Err(StoreError::Corrupt { path, line: None, what }.into());
    }
    // A run may travel without its bulky files: the figures are in the summary.
    let records = Some(dir.join(store::RECORDS)).filter(|path| path.exists());
    let mut data = CellData {
        cell,
        summary: Some(stored.summary),
        skipped: None,
        timeline: Vec::new(),
        records,
        points: Vec::new(),
        server: Vec::new(),
    };
    if depth == Depth::Figures {
        return Ok(data);
    }
    let timeline = dir.join(store::TIMELINE);
    if timeline.exists() {
        data.timeline = records::read_timeline(&timeline)?;
    }
    let server = dir.join(store::SERVER);
    if server.exists() {
        data.server = records::read_server(&server)?;
    }
    if let Some(path) = &data.records {
        data.points = records::read_points(path, POINTS)?;
    }
    Ok(data)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_on_all_cores_keeps_the_order_and_tells_the_first_failure() {
        let square = |n: u32| Ok::<u32, u32>(n * n);
        assert_eq!(parallel((0..100).collect(), square), Ok((0..100).map(|n| n * n).collect()));
        assert_eq!(parallel(Vec::new(), square), Ok(Vec::new()));
        let odd_fails = |n: u32| if n % 2 == 1 { Err(n) } else { Ok(n) };
        for _ in 0..20 {
            assert_eq!(parallel((0..100).collect(), odd_fails), Err(1));
        }
        let done = AtomicBool::new(false);
        let last_fails = |n: u32| {
            done.fetch_or(n == 99, Ordering::Relaxed);
            if n == 99 { Err(n) } else { Ok(n) }
        };
        assert_eq!(parallel((0..100).collect(), last_fails), Err(99));
        assert!(done.into_inner());
    }
}
