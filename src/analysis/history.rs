//! A figure over all runs of an experiment, and where its level changed.
//!
//! Read from `run.json`, `plan.json` and the cells' `summary.json`, a run at a time: requests are
//! not looked at.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::grid::Repeats;
use super::{AnalysisError, RunData};
use crate::experiment::Quantity;
use crate::metrics::{self, Better};
use crate::stats::{change_points, quantile};
use crate::store::{self, Manifest, StoreError};

/// Runs that a window of the search for change points spans, as in Apache Otava.
pub const WINDOW: usize = 50;
/// Level at which a change counts, as there.
pub const LEVEL: f64 = 0.001;
/// With fewer valid runs than this hardly any change can be told from noise.
pub const FEW: usize = 6;

/// All runs of an experiment, by some of their figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct History {
    /// The experiment's name.
    pub name: String,
    /// By the time they began.
    pub runs: Vec<PastRun>,
    /// By figure, then by cell; only of cells that have a value in some run.
    pub courses: Vec<Course>,
}

/// A run in a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PastRun {
    /// Its directory's name.
    pub id: String,
    /// When it began, RFC 3339, UTC.
    pub started_at: String,
    /// Version of Plimsoll that measured it.
    pub plimsoll: String,
    /// `sim:` or the target's URL.
    pub target: String,
}

impl PastRun {
    /// The day on which it began: `2026-11-26`.
    #[must_use]
    pub fn day(&self) -> &str {
        self.started_at.get(..10).unwrap_or(&self.started_at)
    }
}

/// One figure of one cell over the runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Course {
    pub metric: Quantity,
    pub cell_id: String,
    /// The cell in words, as the latest run that has it says them.
    pub cell: String,
    /// In the order of the runs; a run without the cell, or without this figure of it, has none.
    pub points: Vec<PastValue>,
    /// Where the level changes, in order. Invalid points have no part in it.
    pub changes: Vec<LevelChange>,
}

/// What one run found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PastValue {
    /// Index into [`History::runs`].
    pub run: usize,
    /// Mean over the valid repeats, or over all where none is valid; in the metric's unit.
    pub value: f64,
    /// Least of the repeats.
    pub low: f64,
    /// Greatest of the repeats.
    pub high: f64,
    /// Repeats that it is the mean of.
    pub repeats: usize,
    /// No repeat can be believed.
    pub invalid: bool,
    /// The server fell behind, so that latencies depend on how long the cell ran.
    pub overloaded: bool,
    /// Why it is invalid.
    pub reasons: Vec<String>,
}

/// From one run on the level is another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LevelChange {
    /// Index into [`History::runs`] of the first run of the new level.
    pub run: usize,
    /// Mean of the level before, in the metric's unit.
    pub before: f64,
    /// Mean of the level from here on.
    pub after: f64,
    /// `after`/`before` − 1; `None` where `before` is 0.
    pub effect: Option<f64>,
    /// Two-sided p value of the t-test between both.
    pub p: f64,
    /// Whether the new level is the worse one.
    pub worse: bool,
}

impl Course {
    /// Values of the valid points, in order.
    #[must_use]
    pub fn valid(&self) -> Vec<f64> {
        self.points.iter().filter(|p| !p.invalid).map(|p| p.value).collect()
    }

    /// Median of the valid points.
    #[must_use]
    pub fn median(&self) -> Option<f64> {
        let mut values = self.valid();
        values.sort_by(f64::total_cmp);
        quantile(&values, 0.5)
    }

    fn find_changes(&mut self) {
        let valid: Vec<&PastValue> = self.points.iter().filter(|p| !p.invalid).collect();
        let values: Vec<f64> = valid.iter().map(|p| p.value).collect();
        let higher = metrics::metric(&self.metric.metric).is_some_and(|m| m.better == Better::Higher);
        let change = |c: crate::stats::ChangePoint| LevelChange {
            run: valid[c.index].run,
            before: c.before,
            after: c.after,
            effect: (c.before != 0.0).then(|| c.after / c.before - 1.0),
            p: c.p,
            worse: if higher { c.after < c.before } else { c.after > c.before },
        };
        self.changes = change_points(&values, WINDOW, LEVEL).into_iter().map(change).collect();
    }
}

/// An experiment of which there are runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PastExperiment {
    pub name: String,
    /// Number of its runs.
    pub runs: usize,
    /// When the first began, RFC 3339, UTC.
    pub first: String,
    /// When the last began.
    pub last: String,
}

/// Directories of runs with what their `run.json` says.
type Found = Vec<(PathBuf, Manifest)>;

/// The runs under `root` by the time they began, and what could not be read. No `root`, no runs.
fn manifests(root: &Path) -> Result<(Found, Vec<AnalysisError>), StoreError> {
    let entries = match fs::read_dir(root) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), Vec::new())),
        other => other.map_err(StoreError::io("list", root))?,
    };
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    for entry in entries {
        let path = entry.map_err(StoreError::io("list", root))?.path();
        match Manifest::read(&path) {
            _ if !path.is_dir() => {}
            Ok(_) if took_turns(&path) => {}
            Ok(manifest) => found.push((path, manifest)),
            Err(StoreError::NotARun { .. }) => {}
            Err(error) => unreadable.push(error.into()),
        }
    }
    // Texts of times with and without a fraction don't sort as the times do.
    found.sort_by_cached_key(|(path, m)| (m.started_at.parse::<Timestamp>().ok(), path.clone()));
    Ok((found, unreadable))
}

/// Whether a run took turns with another: of `ab` and `calibrate --server`, whose servers and settings
/// need not be those of the experiment's other runs.
fn took_turns(run: &Path) -> bool {
    let sides = [("a", "b"), ("b", "a"), ("aa1", "aa2"), ("aa2", "aa1")];
    sides.iter().any(|(side, other)| store::other_side(run, side, other).is_some_and(|path| path.exists()))
}

/// Every experiment that has runs under `root`, by name, and what could not be read.
///
/// # Errors
/// When `root` can't be listed.
pub fn experiments(root: &Path) -> Result<(Vec<PastExperiment>, Vec<AnalysisError>), StoreError> {
    let (found, unreadable) = manifests(root)?;
    let mut all: Vec<PastExperiment> = Vec::new();
    for (_, manifest) in found {
        let began = manifest.started_at;
        match all.iter_mut().find(|e| e.name == manifest.name) {
            Some(known) => (known.runs, known.last) = (known.runs + 1, began),
            None => {
                all.push(PastExperiment { name: manifest.name, runs: 1, first: began.clone(), last: began });
            }
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((all, unreadable))
}

/// The history of experiment `name`: each of `quantities` of each cell, over its runs under `root`;
/// and what could not be read. Without runs of that name it is empty.
///
/// # Errors
/// When `root` can't be listed.
pub fn history(
    root: &Path,
    name: &str,
    quantities: &[Quantity],
) -> Result<(History, Vec<AnalysisError>), StoreError> {
    let (found, mut unreadable) = manifests(root)?;
    let mut history = History { name: name.to_owned(), runs: Vec::new(), courses: Vec::new() };
    for (path, manifest) in found.into_iter().filter(|(_, m)| m.name == name) {
        match RunData::load_figures(&path) {
            Ok(run) => history.add(&run, &manifest, quantities),
            Err(error) => unreadable.push(error),
        }
    }
    history.finish(quantities);
    Ok((history, unreadable))
}

impl History {
    /// Take in the next run.
    fn add(&mut self, run: &RunData, manifest: &Manifest, quantities: &[Quantity]) {
        let at = self.runs.len();
        self.runs.push(PastRun {
            id: run.id.clone(),
            started_at: manifest.started_at.clone(),
            plimsoll: manifest.plimsoll.clone(),
            target: manifest.target.clone(),
        });
        for repeats in Repeats::all(run) {
            for quantity in quantities {
                let Some(estimate) = repeats.estimate(&quantity.metric, &quantity.stat) else { continue };
                let flags = repeats.flags();
                let point = PastValue {
                    run: at,
                    value: estimate.mean,
                    low: estimate.low,
                    high: estimate.high,
                    repeats: estimate.n,
                    invalid: flags.invalid,
                    overloaded: flags.overloaded,
                    reasons: if flags.invalid { repeats.reasons() } else { Vec::new() },
                };
                let id = repeats.cell().id.0.as_str();
                let known = self.courses.iter_mut().find(|c| c.metric == *quantity && c.cell_id == id);
                match known {
                    Some(course) => {
                        course.cell = repeats.label();
                        course.points.push(point);
                    }
                    None => self.courses.push(Course {
                        metric: quantity.clone(),
                        cell_id: id.to_owned(),
                        cell: repeats.label(),
                        points: vec![point],
                        changes: Vec::new(),
                    }),
                }
            }
        }
    }

    /// Order by figure, tell apart cells with the same words, and look for changes.
    fn finish(&mut self, quantities: &[Quantity]) {
        // Stable: within a figure, cells stay in the order of the plans.
        self.courses.sort_by_key(|c| quantities.iter().position(|q| *q == c.metric));
        let labels: Vec<(Quantity, String)> =
            self.courses.iter().map(|c| (c.metric.clone(), c.cell.clone())).collect();
        for (course, mine) in self.courses.iter_mut().zip(&labels) {
            if labels.iter().filter(|other| *other == mine).count() > 1 {
                let short: String = course.cell_id.chars().take(8).collect();
                course.cell = format!("{} [{short}]", course.cell);
            }
            course.find_changes();
        }
    }

    /// Its courses by figure, in order.
    pub fn by_metric(&self) -> impl Iterator<Item = &[Course]> {
        self.courses.chunk_by(|a, b| a.metric == b.metric)
    }

    /// Days of its first and last run: `2026-11-01 to 2026-11-26`, or the one day.
    #[must_use]
    pub fn span(&self) -> String {
        match (self.runs.first(), self.runs.last()) {
            (Some(first), Some(last)) if first.day() == last.day() => first.day().to_owned(),
            (Some(first), Some(last)) => format!("{} to {}", first.day(), last.day()),
            _ => String::new(),
        }
    }
}

impl LevelChange {
    /// The effect in words: `+8.3 %`, or `from 0` where there is no share.
    #[must_use]
    pub fn effect_text(&self) -> String {
        match self.effect {
            None => "from 0".to_owned(),
            Some(effect) => {
                let sign = if effect < 0.0 { "−" } else { "+" };
                format!("{sign}{} %", super::text::figure((effect * 100.0).abs()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::measure::Verdict;
    use crate::plan::Plan;
    use crate::store::tests::{cell, summary};
    use crate::store::{NewRun, RunDir};

    /// A run of `name` in `root` that began on this day, with one cell of two repeats, whose
    /// TTFT p95 is `value` in both; `invalid`: so many of them.
    fn write(root: &Path, name: &str, day: u32, value: f64, invalid: usize) {
        let cells = vec![cell(0), cell(1)];
        let plan = Plan { name: name.into(), seed: 1, cells: cells.clone(), ..Plan::default() };
        let new =
            NewRun { salt: "s".into(), set: Vec::new(), target: "sim:".into(), title: None, figures: None };
        let id = format!("202611{day:02}T101500Z-{name}");
        let run = RunDir::create_as(root, &id, "name = \"x\"\n", &plan, new, &json!({})).unwrap();
        for (i, cell) in cells.iter().enumerate() {
            let mut summary = summary(cell.index);
            summary.distributions.get_mut("ttft").unwrap().p95 = value;
            summary.validity.verdict = if i < invalid { Verdict::Invalid } else { Verdict::Valid };
            run.commit_summary(cell, &summary, "m").unwrap();
        }
        // When it began is what orders runs, not the directory's name.
        let path = run.path().join("run.json");
        let mut manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        manifest["started_at"] = json!(format!("2026-11-{day:02}T10:15:00Z"));
        std::fs::write(&path, manifest.to_string()).unwrap();
    }

    fn quantities() -> Vec<Quantity> {
        vec![Quantity::new("ttft", "p95"), Quantity::new("output_tps", "")]
    }

    /// Level 100 for ten days, then 120 for ten.
    fn stepped(root: &Path) {
        for day in (1..=20).rev() {
            let level = if day <= 10 { 100.0 } else { 120.0 };
            write(root, "nightly", day, level + f64::from(day * day).sin(), 0);
        }
    }

    #[test]
    fn a_step_is_found_with_its_day_and_its_size() {
        let root = tempfile::tempdir().unwrap();
        stepped(root.path());
        let (history, unreadable) = history(root.path(), "nightly", &quantities()).unwrap();
        assert!(unreadable.is_empty());
        assert_eq!((history.runs.len(), history.span().as_str()), (20, "2026-11-01 to 2026-11-20"));
        let metrics: Vec<String> = history.courses.iter().map(|c| c.metric.to_string()).collect();
        assert_eq!(metrics, ["ttft_p95", "output_tps"]);
        let [change] = history.courses[0].changes.as_slice() else {
            panic!("{:?}", history.courses[0].changes)
        };
        assert_eq!((change.run, history.runs[change.run].day()), (10, "2026-11-11"));
        assert!((change.effect.unwrap() - 0.2).abs() < 0.01 && change.worse && change.p < 1e-6, "{change:?}");
        assert!(change.effect_text().starts_with('+'), "{}", change.effect_text());
        assert!(history.courses[0].points.iter().all(|p| p.repeats == 2 && !p.invalid));
        // The throughput of all is the same.
        assert!(history.courses[1].changes.is_empty());
    }

    #[test]
    fn what_is_invalid_is_shown_and_has_no_part_in_changes() {
        let root = tempfile::tempdir().unwrap();
        for day in 1..=20 {
            // The last five are ten times as slow, and none can be believed; of one, half can.
            let (value, invalid) = if day > 15 { (1000.0, 2) } else { (100.0, usize::from(day == 3)) };
            write(root.path(), "nightly", day, value + f64::from(day * day).sin(), invalid);
        }
        let (history, _) = history(root.path(), "nightly", &quantities()[..1]).unwrap();
        let course = &history.courses[0];
        assert!(course.changes.is_empty(), "{:?}", course.changes);
        assert_eq!((course.points.len(), course.valid().len()), (20, 15));
        assert_eq!((course.points[2].repeats, course.points[2].invalid), (1, false));
        assert!(course.points[19].invalid && !course.points[19].reasons.is_empty());
        assert!((course.median().unwrap() - 100.0).abs() < 1.0);
    }

    #[test]
    fn experiments_are_kept_apart_and_broken_runs_are_told() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "nightly", 2, 1.0, 0);
        write(root.path(), "nightly", 1, 1.0, 0);
        write(root.path(), "weekly", 3, 1.0, 0);
        let broken = root.path().join("20261105T101500Z-nightly");
        std::fs::create_dir(&broken).unwrap();
        std::fs::write(broken.join("run.json"), "{").unwrap();
        std::fs::create_dir(root.path().join("notes")).unwrap();
        let (all, unreadable) = experiments(root.path()).unwrap();
        assert_eq!(unreadable.len(), 1);
        assert_eq!(
            all.iter().map(|e| (e.name.as_str(), e.runs)).collect::<Vec<_>>(),
            [("nightly", 2), ("weekly", 1)]
        );
        assert_eq!(all[0].last, "2026-11-02T10:15:00Z");
        let (history, unreadable) = history(root.path(), "weekly", &quantities()).unwrap();
        assert_eq!((history.runs.len(), unreadable.len()), (1, 1));
        assert_eq!(experiments(&root.path().join("none")).unwrap().0, []);
    }
}
