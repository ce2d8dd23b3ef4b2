//! One run's directory: begun once, gone on with after an interruption, cell by cell.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::answers::{self, ANSWERS};
use super::atomic::{self, Lock};
use super::columns::{public, without_credentials};
use super::index::{self, Line};
use super::{
    CellLog, Imported, Manifest, NewRun, SCHEMA, SealedLog, Served, Skipped, Status, StoreError, StoredCell,
    hlog, parquet, stored,
};
use crate::measure::{CellSummary, server_courses};
use crate::plan::{Cell, Plan};
use crate::record::{CellRun, KeptAnswer};

/// Name of the manifest in a run's directory.
pub const MANIFEST: &str = "run.json";
/// Name of the copy of the experiment file.
pub const EXPERIMENT: &str = "experiment.toml";
/// Name of the expanded plan.
pub const PLAN: &str = "plan.json";
/// Name of the description of machine, program and server.
pub const ENVIRONMENT: &str = "environment.json";
/// Name of the summary tables, of a run and of all runs.
pub const SUMMARY_CSV: &str = "summary.csv";
/// Name of the table of a run's tasks, endpoints and stages, where it has any.
pub const GROUPS_CSV: &str = "groups.csv";
/// Name of a cell's summary. Its presence means that the cell is finished.
pub const SUMMARY_JSON: &str = "summary.json";
/// Name of the summary of a cell that was cut short by Ctrl-C. It does not finish the cell.
pub const INTERRUPTED_JSON: &str = "interrupted.json";
/// Name of a cell's records, a row per request.
pub const RECORDS: &str = "records.parquet";
/// Name of a cell's time line, a row per tick.
pub const TIMELINE: &str = "timeline.parquet";
/// Name of a cell's histogram of chunk gaps.
pub const CHUNK_GAPS: &str = "chunk_gaps.hlog";
/// Name of all that was read of the server while a cell ran, where something was.
pub const OBSERVED: &str = "observed.parquet";
/// Name of the server's common figures over the time of a cell, made of those.
pub const SERVER: &str = "server.parquet";

/// Name of the file that says why a cell is not to run.
pub const SKIPPED_JSON: &str = "skipped.json";
/// Name of what the searches of a run have found.
pub const SEARCH_JSON: &str = "search.json";

const LOG: &str = "records.jsonl";
const LOCK: &str = ".lock";
const CELLS: &str = "cells";

/// A cell's directory, relative to its run's: `cells/0003-<id>-r1`.
#[must_use]
pub fn cell_dir(cell: &Cell) -> PathBuf {
    PathBuf::from(CELLS).join(format!("{:04}-{}-r{}", cell.index, cell.id, cell.repeat))
}

/// The points of a commit between which a crash can fall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Records,
    Timeline,
    ChunkGaps,
    Summary,
    LogDeleted,
    OwnCsv,
    SharedCsv,
}

/// A run that this process writes. No other process can open it meanwhile.
pub struct RunDir {
    root: PathBuf,
    path: PathBuf,
    manifest: Manifest,
    plan: Plan,
    _lock: Lock,
}

impl RunDir {
    /// Begin a run: `runs_root/<utc>-<name>/` with all that is known before the first cell.
    /// `experiment` is copied byte for byte; credentials in target URLs are left out of all
    /// else.
    ///
    /// # Errors
    /// When the directory can't be written.
    pub fn create(
        runs_root: &Path,
        experiment: &str,
        plan: &Plan,
        new: NewRun,
        environment: &Value,
    ) -> Result<Self, StoreError> {
        let id = run_id(jiff::Timestamp::now(), &plan.name);
        Self::create_as(runs_root, &id, experiment, plan, new, environment)
    }

    /// [`RunDir::create`] in a directory called `id`, or where there is one, `id-2` and so on.
    ///
    /// # Errors
    /// When the directory can't be written.
    pub fn create_as(
        runs_root: &Path,
        id: &str,
        experiment: &str,
        plan: &Plan,
        new: NewRun,
        environment: &Value,
    ) -> Result<Self, StoreError> {
        let now = jiff::Timestamp::now();
        fs::create_dir_all(runs_root).map_err(StoreError::io("create", runs_root))?;
        let path = fresh_dir(runs_root, id)?;
        let lock = lock(&path)?;
        let id = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let manifest = Manifest {
            schema: SCHEMA,
            run: id,
            name: plan.name.clone(),
            plimsoll: env!("CARGO_PKG_VERSION").to_owned(),
            experiment_hash: plan.experiment_hash.clone(),
            salt: new.salt,
            set: new.set.iter().map(|s| public_setting(s)).collect(),
            target: without_credentials(&new.target).into_owned(),
            title: new.title,
            figures: new.figures,
            started_at: now.to_string(),
            ended_at: None,
            resumed_at: Vec::new(),
            status: Status::Running,
            imported: Vec::new(),
        };
        let run = Self { root: runs_root.to_owned(), path, manifest, plan: public_plan(plan), _lock: lock };
        let cells = run.path.join(CELLS);
        fs::create_dir(&cells).map_err(StoreError::io("create", &cells))?;
        atomic::write(&run.path.join(EXPERIMENT), experiment.as_bytes())?;
        run.write_json(PLAN, &run.plan)?;
        run.write_json(ENVIRONMENT, environment)?;
        atomic::write(&run.path.join(SUMMARY_CSV), index::header().as_bytes())?;
        // Last: with it the directory is a run.
        run.write_json(MANIFEST, &run.manifest)?;
        atomic::sync_dir(runs_root)?;
        Ok(run)
    }

    /// Open a run to go on with it. Follow with [`RunDir::repair`].
    ///
    /// # Errors
    /// [`StoreError::NotARun`], [`StoreError::InUse`], [`StoreError::NewerSchema`], or when
    /// its files can't be read.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        // Nothing is made in a directory that is no run; and what it says counts only once
        // nobody else can change it.
        Manifest::read(path)?;
        let lock = lock(path)?;
        let manifest = Manifest::read(path)?;
        let plan = super::read_json(&path.join(PLAN))?;
        let path = fs::canonicalize(path).map_err(StoreError::io("resolve", path))?;
        let root = path.parent().unwrap_or(&path).to_owned();
        Ok(Self { root, path, manifest, plan, _lock: lock })
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What `run.json` says.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What `plan.json` says: the plan with which the run was begun, without credentials.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What `environment.json` says.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn environment(&self) -> Result<Value, StoreError> {
        super::read_json(&self.path.join(ENVIRONMENT))
    }

    /// Indices of the cells that are finished.
    #[must_use]
    pub fn finished(&self) -> BTreeSet<u32> {
        self.plan
            .cells
            .iter()
            .filter(|cell| matches!(self.summary(cell), Ok(Some(_))))
            .map(|cell| cell.index)
            .collect()
    }

    /// The stored summary of a finished cell.
    ///
    /// # Errors
    /// When `summary.json` is there but can't be understood, or is another cell's.
    pub fn summary(&self, cell: &Cell) -> Result<Option<StoredCell>, StoreError> {
        let path = self.dir(cell).join(SUMMARY_JSON);
        match StoredCell::read(&path)? {
            Some(stored) if !stored.is_of(cell) => {
                Err(StoreError::Corrupt { path, line: None, what: "it belongs to another cell".to_owned() })
            }
            found => Ok(found),
        }
    }

    /// Add a cell to the plan, as its last one. Once this returns it is there after a crash too.
    ///
    /// # Errors
    /// When `plan.json` can't be written; the plan is then as before.
    pub fn add_cell(&mut self, cell: &Cell, search: usize) -> Result<(), StoreError> {
        let mut plan = self.plan.clone();
        plan.cells.push(cell.clone());
        if let Some(search) = plan.searches.get_mut(search) {
            search.cells.push(cell.index);
        }
        let plan = public_plan(&plan);
        self.write_json(PLAN, &plan)?;
        self.plan = plan;
        Ok(())
    }

    /// Write what the searches have found so far.
    ///
    /// # Errors
    /// When `search.json` can't be written.
    pub fn write_search<T: serde::Serialize>(&self, found: &T) -> Result<(), StoreError> {
        self.write_json(SEARCH_JSON, found)
    }

    /// Note that a cell is not to run, and why; it gets a line in both tables.
    ///
    /// # Errors
    /// When the cell isn't in the plan, or the disk refuses.
    pub fn skip_cell(&self, cell: &Cell, reason: &str, failed: bool) -> Result<(), StoreError> {
        self.check(cell)?;
        let dir = self.dir(cell);
        fs::create_dir_all(&dir).map_err(StoreError::io("create", &dir))?;
        let skipped = Skipped::new(&self.manifest.run, cell, reason, failed);
        let path = dir.join(SKIPPED_JSON);
        atomic::write(&path, &stored::to_json(&path, &skipped)?)?;
        let line = || vec![Line::of_skipped(&self.manifest, cell, &skipped)];
        index::append(&self.path.join(SUMMARY_CSV), line())?;
        index::append_shared(&self.root, line())
    }

    /// Indices of the cells that are not to run.
    #[must_use]
    pub fn skipped(&self) -> BTreeSet<u32> {
        let skipped = |cell: &&Cell| matches!(Skipped::of(&self.path, cell), Ok(Some(_)));
        self.plan.cells.iter().filter(skipped).map(|cell| cell.index).collect()
    }

    /// The texts of answers that are kept of a cell, in the order in which they ended.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn answers(&self, cell: &Cell) -> Result<Vec<KeptAnswer>, StoreError> {
        answers::read_answers(&self.dir(cell).join(ANSWERS))
    }

    /// Start a cell's log. What an interrupted attempt left is kept aside as
    /// `interrupted-N.jsonl` and never counted.
    ///
    /// # Errors
    /// When the cell isn't in the plan, is finished, or its directory can't be written.
    pub fn begin_cell(&self, cell: &Cell) -> Result<CellLog, StoreError> {
        self.check(cell)?;
        let dir = self.dir(cell);
        if self.summary(cell).is_ok_and(|s| s.is_some()) {
            return Err(StoreError::Finished { path: dir });
        }
        fs::create_dir_all(&dir).map_err(StoreError::io("create", &dir))?;
        set_aside(&dir)?;
        let log = CellLog::create(dir.join(LOG))?;
        atomic::sync_dir(&dir)?;
        Ok(log)
    }

    /// Store a cell that ended: records, time line and gaps, then the summary, with which
    /// the cell is finished, then a line in both tables. A cell that was cut short gets an
    /// `interrupted.json` instead: it stays unfinished, and no table has a line of it. After an
    /// error before the summary, `log` is still there and the cell unfinished; after one behind
    /// it, [`RunDir::repair`] adds the missing lines.
    ///
    /// # Errors
    /// When the cell isn't in the plan or the disk refuses.
    pub fn commit_cell<'a>(
        &self,
        cell: &Cell,
        log: &SealedLog,
        run: &CellRun,
        summary: &CellSummary,
        served: impl Into<Served<'a>>,
    ) -> Result<(), StoreError> {
        self.commit_steps(cell, log, run, summary, served, &mut |_| true)
    }

    /// [`RunDir::commit_cell`] that ends, as a crash would, after the step for which
    /// `go_on` says no.
    pub(super) fn commit_steps<'a>(
        &self,
        cell: &Cell,
        log: &SealedLog,
        run: &CellRun,
        summary: &CellSummary,
        served: impl Into<Served<'a>>,
        go_on: &mut dyn FnMut(Step) -> bool,
    ) -> Result<(), StoreError> {
        self.check(cell)?;
        let dir = self.dir(cell);
        let cut = summary.window.ended_by.is_cut();
        let summary_path = dir.join(if cut { INTERRUPTED_JSON } else { SUMMARY_JSON });
        let stored = StoredCell::new(&self.manifest.run, cell, served.into(), summary);
        let bytes = stored::to_json(&summary_path, &stored)?;
        // A summary that can't be read again must never finish a cell.
        let stored: StoredCell = stored::parse(&summary_path, &bytes)
            .map_err(|e| StoreError::Encode { path: summary_path.clone(), what: e.to_string() })?;

        atomic::replace(&dir.join(RECORDS), |file, temp| parquet::write_records(file, temp, log))?;
        if !go_on(Step::Records) {
            return Ok(());
        }
        atomic::replace(&dir.join(TIMELINE), |file, temp| {
            parquet::write_timeline(file, temp, &run.timeline)
        })?;
        if !go_on(Step::Timeline) {
            return Ok(());
        }
        atomic::replace(&dir.join(CHUNK_GAPS), |file, temp| hlog::write(file, temp, run))?;
        if let Some(observed) = &run.observed {
            atomic::replace(&dir.join(OBSERVED), |file, temp| parquet::write_observed(file, temp, observed))?;
            let courses = server_courses(observed);
            atomic::replace(&dir.join(SERVER), |file, temp| parquet::write_server(file, temp, &courses))?;
        }
        if !go_on(Step::ChunkGaps) {
            return Ok(());
        }
        atomic::write(&summary_path, &bytes)?;
        if !go_on(Step::Summary) {
            return Ok(());
        }
        atomic::remove_if_there(log.path())?;
        if !go_on(Step::LogDeleted) || cut {
            return Ok(());
        }
        let line = || vec![Line::new(&self.manifest, cell, &stored)];
        index::append(&self.path.join(SUMMARY_CSV), line())?;
        index::append_groups(&self.path, &line())?;
        if !go_on(Step::OwnCsv) {
            return Ok(());
        }
        index::append_shared(&self.root, line())?;
        go_on(Step::SharedCsv);
        Ok(())
    }

    /// Store the summary of a cell of which there is no record of single requests, as another
    /// tool's summary has none. With it the cell is finished.
    ///
    /// # Errors
    /// When the cell isn't in the plan, is finished, or the disk refuses.
    pub fn commit_summary(&self, cell: &Cell, summary: &CellSummary, model: &str) -> Result<(), StoreError> {
        self.check(cell)?;
        let dir = self.dir(cell);
        if self.summary(cell)?.is_some() {
            return Err(StoreError::Finished { path: dir });
        }
        fs::create_dir_all(&dir).map_err(StoreError::io("create", &dir))?;
        let path = dir.join(SUMMARY_JSON);
        let bytes =
            stored::to_json(&path, &StoredCell::new(&self.manifest.run, cell, model.into(), summary))?;
        let stored: StoredCell = stored::parse(&path, &bytes)
            .map_err(|e| StoreError::Encode { path: path.clone(), what: e.to_string() })?;
        atomic::write(&path, &bytes)?;
        let line = || vec![Line::new(&self.manifest, cell, &stored)];
        index::append(&self.path.join(SUMMARY_CSV), line())?;
        index::append_shared(&self.root, line())
    }

    /// Note that the run's cells come from files of other tools.
    ///
    /// # Errors
    /// When `run.json` can't be written.
    pub fn mark_imported(&mut self, from: Vec<Imported>) -> Result<(), StoreError> {
        self.manifest.imported = from;
        self.write_json(MANIFEST, &self.manifest)
    }

    /// Write how far the run came.
    ///
    /// # Errors
    /// When `run.json` can't be written.
    pub fn set_status(&mut self, status: Status) -> Result<(), StoreError> {
        let now = jiff::Timestamp::now().to_string();
        self.manifest.status = status;
        if status == Status::Running {
            self.manifest.ended_at = None;
            self.manifest.resumed_at.push(now);
        } else {
            self.manifest.ended_at = Some(now);
        }
        self.write_json(MANIFEST, &self.manifest)
    }

    /// Bring everything that is derived in order after a crash: the run's table is made
    /// anew, `runs/summary.csv` loses torn lines and gains missing ones, and what lies about
    /// of finished cells goes. Returns the summaries that can't be read, and why.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn repair(&self) -> Result<Vec<(PathBuf, String)>, StoreError> {
        for cell in &self.plan.cells {
            if matches!(self.summary(cell), Ok(Some(_))) {
                atomic::remove_if_there(&self.dir(cell).join(LOG))?;
            }
        }
        let (lines, unreadable) = index::lines_of(&self.path, &self.manifest, &self.plan);
        index::rebuild_own(&self.path, lines)?;
        let (lines, _) = index::lines_of(&self.path, &self.manifest, &self.plan);
        index::repair_shared(&self.root, lines)?;
        Ok(unreadable)
    }

    fn dir(&self, cell: &Cell) -> PathBuf {
        self.path.join(cell_dir(cell))
    }

    fn check(&self, cell: &Cell) -> Result<(), StoreError> {
        let known =
            self.plan.cells.iter().any(|c| (c.index, &c.id, c.repeat) == (cell.index, &cell.id, cell.repeat));
        if known {
            return Ok(());
        }
        Err(StoreError::UnknownCell { path: self.path.clone(), index: cell.index, id: cell.id.0.clone() })
    }

    fn write_json<T: serde::Serialize>(&self, name: &str, value: &T) -> Result<(), StoreError> {
        let path = self.path.join(name);
        atomic::write(&path, &stored::to_json(&path, value)?)
    }
}

/// What runs that take turns are called: one time and name for all, and each side's own name
/// behind it, `20261122T054000Z-capacity-a`. None of them is there yet.
#[must_use]
pub fn ids_of_sides(runs_root: &Path, name: &str, sides: &[&str]) -> Vec<String> {
    let base = run_id(jiff::Timestamp::now(), name);
    let ids = |base: &str| sides.iter().map(|side| format!("{base}-{side}")).collect::<Vec<_>>();
    let free = |ids: &Vec<String>| ids.iter().all(|id| !runs_root.join(id).exists());
    let numbered = (2..u32::MAX).map(|n| ids(&format!("{base}.{n}")));
    std::iter::once(ids(&base)).chain(numbered).find(free).unwrap_or_else(|| ids(&base))
}

/// The run that took turns with this one, as the other side: of `…-a` that is `…-b`. `None`
/// where the name is no side's.
#[must_use]
pub fn other_side(run: &Path, side: &str, other: &str) -> Option<PathBuf> {
    let name = run.file_name()?.to_str()?;
    let base = name.strip_suffix(side)?.strip_suffix('-')?;
    Some(run.with_file_name(format!("{base}-{other}")))
}

/// `20261122T054000Z-capacity`.
fn run_id(now: jiff::Timestamp, name: &str) -> String {
    let mut safe = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() || matches!(c, '_' | '.') {
            safe.push(c);
        } else if !safe.ends_with('-') {
            safe.push('-');
        }
        if safe.len() == 60 {
            break;
        }
    }
    let safe = safe.trim_matches(['-', '.']);
    format!("{}-{}", now.strftime("%Y%m%dT%H%M%SZ"), if safe.is_empty() { "run" } else { safe })
}

/// Make a directory that wasn't there: `id`, else `id-2`, and so on.
fn fresh_dir(root: &Path, id: &str) -> Result<PathBuf, StoreError> {
    let mut path = root.join(id);
    for n in 2u32.. {
        match fs::create_dir(&path) {
            Ok(()) => break,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => path = root.join(format!("{id}-{n}")),
            Err(e) => return Err(StoreError::io("create", &path)(e)),
        }
    }
    Ok(path)
}

fn lock(path: &Path) -> Result<Lock, StoreError> {
    Lock::try_now(&path.join(LOCK))?.ok_or_else(|| StoreError::InUse { path: path.to_owned() })
}

/// Keep what was measured in an interrupted attempt under `interrupted-N`, and clear away
/// what was derived from it.
fn set_aside(dir: &Path) -> Result<(), StoreError> {
    let log = dir.join(LOG);
    let records = dir.join(RECORDS);
    // Without the log the Parquet file is the only copy.
    let (kept, extension) = if log.exists() { (&log, "jsonl") } else { (&records, "parquet") };
    if kept.exists() {
        let mut n = 1u32;
        while ["jsonl", "parquet"].iter().any(|e| dir.join(format!("interrupted-{n}.{e}")).exists()) {
            n += 1;
        }
        let aside = dir.join(format!("interrupted-{n}.{extension}"));
        fs::rename(kept, &aside).map_err(StoreError::io("keep aside", kept))?;
    }
    let derived =
        [TIMELINE, CHUNK_GAPS, SUMMARY_JSON, INTERRUPTED_JSON, ANSWERS, SKIPPED_JSON, OBSERVED, SERVER];
    for name in [RECORDS].into_iter().chain(derived) {
        let path = dir.join(name);
        atomic::remove_if_there(&path)?;
        atomic::remove_if_there(&atomic::temporary(&path))?;
    }
    Ok(())
}

fn public_plan(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    for cell in &mut plan.cells {
        let settings = &mut cell.settings;
        let parts = settings.parts.iter_mut().map(|part| &mut part.target);
        for target in parts.chain([&mut settings.target]) {
            target.url = without_credentials(&target.url).into_owned();
        }
        for (path, value) in &mut cell.factors {
            *value = public(path, value);
        }
    }
    plan
}

/// A `--set` argument without credentials in a URL.
fn public_setting(set: &str) -> String {
    match set.split_once('=') {
        Some((key, url)) if key.trim() == "target.url" => {
            let bare = url.trim().trim_matches('"');
            set.replacen(bare, &without_credentials(bare), 1)
        }
        _ => set.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_sortable_and_safe_in_a_file_system_and_in_csv() {
        let now: jiff::Timestamp = "2026-11-22T05:40:00.7Z".parse().unwrap();
        for (name, id) in [
            ("capacity", "20261122T054000Z-capacity"),
            ("../a b,\"c\"", "20261122T054000Z-a-b-c"),
            ("ü", "20261122T054000Z-run"),
            ("", "20261122T054000Z-run"),
        ] {
            assert_eq!(run_id(now, name), id);
        }
        assert!(run_id(now, &"x".repeat(500)).len() < 100);
    }

    #[test]
    fn runs_that_take_turns_have_names_that_lead_to_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let ids = ids_of_sides(dir.path(), "capacity", &["a", "b"]);
        let base = ids[0].strip_suffix("-a").unwrap();
        assert_eq!(ids[1], format!("{base}-b"));
        // One that is there, and both go elsewhere, still side by side.
        fs::create_dir(dir.path().join(&ids[1])).unwrap();
        let again = ids_of_sides(dir.path(), "capacity", &["a", "b"]);
        assert!(!again.iter().any(|id| ids.contains(id)), "{again:?}");
        let a = dir.path().join(&again[0]);
        assert_eq!(other_side(&a, "a", "b"), Some(dir.path().join(&again[1])));
        assert_eq!(other_side(&a, "b", "a"), None);
        assert_eq!(other_side(Path::new("runs/capacity"), "a", "b"), None);
    }

    #[test]
    fn settings_lose_the_credentials_of_a_url() {
        assert_eq!(public_setting("target.url=\"http://a:b@h/\""), "target.url=\"http://h/\"");
        assert_eq!(public_setting("load.users=4"), "load.users=4");
    }
}
