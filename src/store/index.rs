//! The two `summary.csv` files, and a run's `groups.csv`: appending lines, repairing, and making
//! them anew.
//!
//! No field holds a line break ([`super::row`]), so a line is a row and a file that doesn't
//! end in a line break ends in a torn one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use memchr::memmem;

use super::atomic::{self, Lock};
use super::{
    GROUPS_CSV, Manifest, SUMMARY_CSV, SUMMARY_JSON, Skipped, StoreError, StoredCell, cell_dir, columns,
    group_columns, group_rows, groups, row, row_of_skipped,
};
use crate::plan::Plan;

const LOCK: &str = ".summary.lock";

/// One line and what it is sorted and found by.
pub(super) struct Line {
    pub(super) run: String,
    pub(super) cell_index: u32,
    ended_at: Option<jiff::Timestamp>,
    /// With its line break.
    pub(super) text: String,
    /// The cell's lines of `groups.csv`, each with its key.
    groups: Vec<(String, String)>,
}

impl Line {
    pub(super) fn new(manifest: &Manifest, cell: &crate::plan::Cell, stored: &StoredCell) -> Self {
        let key = |group| groups::line_key(&manifest.run, cell.index, group);
        let rows = group_rows(manifest, cell, stored);
        let groups = stored.summary.groups.iter().zip(rows);
        Self {
            run: manifest.run.clone(),
            cell_index: cell.index,
            ended_at: stored.summary.ended_at.parse().ok(),
            text: csv_line(&row(manifest, cell, stored)),
            groups: groups.map(|(group, row)| (key(group), csv_line(&row))).collect(),
        }
    }

    pub(super) fn of_skipped(manifest: &Manifest, cell: &crate::plan::Cell, skipped: &Skipped) -> Self {
        Self {
            run: manifest.run.clone(),
            cell_index: cell.index,
            ended_at: skipped.at.parse().ok(),
            text: csv_line(&row_of_skipped(manifest, cell, skipped)),
            groups: Vec::new(),
        }
    }

    fn key(&self) -> String {
        super::columns::line_key(&self.run, self.cell_index)
    }
}

pub(super) fn header() -> String {
    csv_line(&columns())
}

fn csv_line(fields: &[String]) -> String {
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    writer.write_record(fields).expect("memory takes every write");
    let bytes = writer.into_inner().expect("memory takes every write");
    String::from_utf8(bytes).expect("made of strings")
}

/// In the order in which they came to be.
fn text(mut lines: Vec<Line>) -> String {
    lines.sort_by(|a, b| (a.ended_at, &a.run, a.cell_index).cmp(&(b.ended_at, &b.run, b.cell_index)));
    lines.into_iter().fold(header(), |all, line| all + &line.text)
}

/// Append `lines` to `runs/summary.csv`, leaving out those that it has. Safe beside other
/// processes that do the same.
pub(super) fn append_shared(runs_root: &Path, lines: Vec<Line>) -> Result<(), StoreError> {
    let _lock = Lock::wait(&runs_root.join(LOCK))?;
    let path = runs_root.join(SUMMARY_CSV);
    if let Some(other) = foreign_header(&path)? {
        move_aside(&path, &other)?;
        return rebuild_locked(runs_root).map(drop);
    }
    append(&path, lines)
}

/// Append `lines` to a file that nobody else writes: one write of whole lines, then a sync.
/// A torn last line is cut off first; lines that are there are not written again.
pub(super) fn append(path: &Path, lines: Vec<Line>) -> Result<(), StoreError> {
    append_lines(path, &header(), lines.iter().map(|line| (line.key(), line.text.as_str())))
}

/// Append the lines of a run's groups to its `groups.csv`, as [`append`] does; without any there
/// is no such file.
pub(super) fn append_groups(run: &Path, lines: &[Line]) -> Result<(), StoreError> {
    let groups = || lines.iter().flat_map(|line| &line.groups);
    if groups().next().is_none() {
        return Ok(());
    }
    let lines = groups().map(|(key, text)| (key.clone(), text.as_str()));
    append_lines(&run.join(GROUPS_CSV), &csv_line(&group_columns()), lines)
}

fn append_lines<'a>(
    path: &Path,
    header: &str,
    lines: impl Iterator<Item = (String, &'a str)>,
) -> Result<(), StoreError> {
    let mut file = OpenOptions::new()
        .create(true)
        .read(true)
        .append(true)
        .open(path)
        .map_err(StoreError::io("open", path))?;
    let mut there = Vec::new();
    file.read_to_end(&mut there).map_err(StoreError::io("read", path))?;
    let whole = memchr::memrchr(b'\n', &there).map_or(0, |at| at + 1);
    if whole < there.len() {
        cut(&mut file, whole as u64).map_err(StoreError::io("cut a torn line off", path))?;
        there.truncate(whole);
    }
    let mut new = if there.is_empty() { header.to_owned() } else { String::new() };
    for (key, text) in lines {
        if memmem::find(&there, format!("\n{key}").as_bytes()).is_none() {
            new.push_str(text);
        }
    }
    if !new.is_empty()
        && let Err(error) = file.write_all(new.as_bytes()).and_then(|()| file.sync_all())
    {
        // Whole lines or none: what a full disk left half written goes away again.
        let _ = cut(&mut file, whole as u64);
        return Err(StoreError::io("append to", path)(error));
    }
    Ok(())
}

fn cut(file: &mut File, len: u64) -> std::io::Result<()> {
    file.set_len(len)?;
    file.rewind()?;
    file.sync_all()
}

/// The first line, if it is whole and not today's header.
fn foreign_header(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(bytes) = atomic::read_if_there(path)? else { return Ok(None) };
    let Some(end) = memchr::memchr(b'\n', &bytes) else { return Ok(None) };
    let first = &bytes[..=end];
    Ok((first != header().as_bytes()).then(|| bytes[end + 1..].to_vec()))
}

/// Keep a file of another version under a name of its own. Its rows may be of runs that are
/// no more.
fn move_aside(path: &Path, rows: &[u8]) -> Result<(), StoreError> {
    let schema: String =
        rows.iter().take_while(|b| b.is_ascii_digit()).map(|b| char::from(*b)).take(6).collect();
    let schema = if schema.is_empty() { "unknown".to_owned() } else { schema };
    let mut target = path.with_file_name(format!("summary-schema-{schema}.csv"));
    for n in 2.. {
        if !target.exists() {
            break;
        }
        target = path.with_file_name(format!("summary-schema-{schema}-{n}.csv"));
    }
    fs::rename(path, &target).map_err(StoreError::io("move aside", path))
}

/// Bring `runs/summary.csv` in order for one run: torn and malformed lines go, doubled ones
/// too, and `lines` are there once each.
pub(super) fn repair_shared(runs_root: &Path, lines: Vec<Line>) -> Result<(), StoreError> {
    {
        let _lock = Lock::wait(&runs_root.join(LOCK))?;
        let path = runs_root.join(SUMMARY_CSV);
        if foreign_header(&path)?.is_none()
            && let Some(bytes) = atomic::read_if_there(&path)?
        {
            let kept = well_formed(&bytes);
            // A torn tail alone is cut off by the append.
            let whole = memchr::memrchr(b'\n', &bytes).map_or(0, |at| at + 1);
            if kept != bytes[..whole] {
                atomic::write(&path, &kept)?;
            }
        }
    }
    append_shared(runs_root, lines)
}

/// The header and every line with the right number of fields, the first of each key.
fn well_formed(bytes: &[u8]) -> Vec<u8> {
    let width = columns().len();
    let mut seen = BTreeSet::new();
    let mut kept = Vec::with_capacity(bytes.len());
    for line in bytes.split_inclusive(|b| *b == b'\n').filter(|line| line.ends_with(b"\n")) {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(line);
        let Some(Ok(fields)) = reader.byte_records().next() else { continue };
        if fields.len() == width && seen.insert((fields[1].to_vec(), fields[2].to_vec())) {
            kept.extend_from_slice(line);
        }
    }
    kept
}

/// What [`rebuild_summary`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Runs read.
    pub runs: usize,
    /// Rows written.
    pub rows: usize,
    /// Directories and files that could not be read, and why.
    pub skipped: Vec<(PathBuf, String)>,
}

/// Make `runs/summary.csv` anew from the `summary.json` files of all runs under
/// `runs_root`, in the order in which the cells ended. The old file is there until the new
/// one is whole.
///
/// # Errors
/// When `runs_root` can't be read or written. A run that can't be read is skipped and named.
pub fn rebuild_summary(runs_root: &Path) -> Result<Rebuilt, StoreError> {
    if !runs_root.is_dir() {
        return Err(StoreError::NoRuns { path: runs_root.to_owned() });
    }
    let _lock = Lock::wait(&runs_root.join(LOCK))?;
    rebuild_locked(runs_root)
}

fn rebuild_locked(runs_root: &Path) -> Result<Rebuilt, StoreError> {
    let mut rebuilt = Rebuilt::default();
    let mut lines = Vec::new();
    for run in directories(runs_root)? {
        match run_lines(&run) {
            Ok((of_run, unreadable)) => {
                rebuilt.runs += 1;
                lines.extend(of_run);
                rebuilt.skipped.extend(unreadable);
            }
            Err(StoreError::NotARun { .. }) => {}
            Err(error) => rebuilt.skipped.push((run, error.to_string())),
        }
    }
    rebuilt.rows = lines.len();
    atomic::write(&runs_root.join(SUMMARY_CSV), text(lines).as_bytes())?;
    Ok(rebuilt)
}

/// Sub-directories, by name.
pub(super) fn directories(root: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).map_err(StoreError::io("list", root))? {
        let path = entry.map_err(StoreError::io("list", root))?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

type RunLines = (Vec<Line>, Vec<(PathBuf, String)>);

fn run_lines(run: &Path) -> Result<RunLines, StoreError> {
    let manifest = Manifest::read(run)?;
    let plan: Plan = super::read_json(&run.join(super::PLAN))?;
    Ok(lines_of(run, &manifest, &plan))
}

/// The lines of all finished cells of a run, and the summaries that can't be read.
pub(super) fn lines_of(run: &Path, manifest: &Manifest, plan: &Plan) -> RunLines {
    let mut lines = Vec::new();
    let mut unreadable = Vec::new();
    for cell in &plan.cells {
        let path = run.join(cell_dir(cell)).join(SUMMARY_JSON);
        match StoredCell::read(&path) {
            Ok(Some(stored)) if stored.is_of(cell) => lines.push(Line::new(manifest, cell, &stored)),
            Ok(Some(_)) => unreadable.push((path, "it belongs to another cell".to_owned())),
            Ok(None) => match Skipped::of(run, cell) {
                Ok(skipped) => {
                    lines.extend(skipped.map(|skipped| Line::of_skipped(manifest, cell, &skipped)));
                }
                Err(error) => {
                    unreadable.push((run.join(cell_dir(cell)).join(super::SKIPPED_JSON), error.to_string()));
                }
            },
            Err(error) => unreadable.push((path, error.to_string())),
        }
    }
    (lines, unreadable)
}

/// Make a run's own `summary.csv` and `groups.csv` anew.
pub(super) fn rebuild_own(run: &Path, lines: Vec<Line>) -> Result<(), StoreError> {
    // By key, should the plan ever name a cell twice.
    let unique: BTreeMap<u32, Line> = lines.into_iter().map(|line| (line.cell_index, line)).collect();
    let groups = || unique.values().flat_map(|line| &line.groups);
    if groups().next().is_some() {
        let text = groups().fold(csv_line(&group_columns()), |all, (_, line)| all + line);
        atomic::write(&run.join(GROUPS_CSV), text.as_bytes())?;
    } else {
        atomic::remove_if_there(&run.join(GROUPS_CSV))?;
    }
    atomic::write(&run.join(SUMMARY_CSV), text(unique.into_values().collect()).as_bytes())
}
