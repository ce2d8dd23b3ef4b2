//! `runs/baselines.json`: runs that are kept under a name, to be compared with.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::atomic::{self, Lock};
use super::{MANIFEST, StoreError, stored};
use crate::experiment::nearest;

/// Name of the file in the directory of runs.
pub const BASELINES: &str = "baselines.json";

const LOCK: &str = ".baselines.lock";

/// Longest name of a baseline.
const LONGEST: usize = 64;

/// A run that is kept under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// Its directory, relative to the directory of runs: both may be moved together.
    pub run: PathBuf,
    /// When it got the name, RFC 3339, UTC.
    pub set_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// All of them, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baselines {
    schema: u32,
    pub baselines: BTreeMap<String, Baseline>,
}

/// A baseline can't be had or set.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    #[error("there is no baseline {name:?} in {}{}", runs.display(), hint(known, nearest.as_deref()))]
    NoSuch { name: String, runs: PathBuf, known: Vec<String>, nearest: Option<String> },
    /// It has a name, and no directory any more.
    #[error(
        "the run of baseline {name:?} is gone: {} is no run (put it back, name another with plimsoll baseline set {name} RUN, \
         or forget it with plimsoll baseline rm {name})",
        path.display()
    )]
    Gone { name: String, path: PathBuf },
    #[error(
        "{name:?} can't be the name of a baseline: up to {LONGEST} letters, digits, hyphens, points and underscores, \
         beginning with none of the signs"
    )]
    BadName { name: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl BaselineError {
    /// Whether the user named something wrong, and no disk is at fault.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        match self {
            Self::Store(error) => error.is_usage(),
            _ => true,
        }
    }
}

fn hint(known: &[String], nearest: Option<&str>) -> String {
    match (known, nearest) {
        ([], _) => " (there is none yet: plimsoll baseline set NAME RUN)".to_owned(),
        (_, Some(nearest)) => format!("; did you mean {nearest:?}?"),
        (known, None) => format!("; there are {}", known.join(", ")),
    }
}

impl Baselines {
    /// The version that this program writes.
    const SCHEMA: u32 = 1;

    /// Those of the directory `runs`; none where there is no file.
    ///
    /// # Errors
    /// When the file can't be understood, or a later version wrote it.
    pub fn read(runs: &Path) -> Result<Self, StoreError> {
        let path = runs.join(BASELINES);
        let Some(bytes) = atomic::read_if_there(&path)? else {
            return Ok(Self { schema: Self::SCHEMA, baselines: BTreeMap::new() });
        };
        let found: Self = stored::parse(&path, &bytes)?;
        if found.schema > Self::SCHEMA {
            return Err(StoreError::NewerSchema { path, found: found.schema, known: Self::SCHEMA });
        }
        Ok(found)
    }

    /// Keep `run`, a run's directory, under `name`; gives the baseline that had the name before.
    ///
    /// # Errors
    /// When the name can't be one, `run` is no run, or the file can't be written.
    pub fn set(
        runs: &Path,
        name: &str,
        run: &Path,
        note: Option<String>,
    ) -> Result<Option<Baseline>, BaselineError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let first = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
        if !first || name.len() > LONGEST || !name.chars().all(fits) {
            return Err(BaselineError::BadName { name: name.to_owned() });
        }
        if !run.join(MANIFEST).is_file() {
            return Err(StoreError::NotARun { path: run.to_owned() }.into());
        }
        let baseline =
            Baseline { run: relative(runs, run)?, set_at: jiff::Timestamp::now().to_string(), note };
        Self::change(runs, |all| Ok(all.insert(name.to_owned(), baseline)))
    }

    /// Forget the name; the run stays.
    ///
    /// # Errors
    /// When there is no such name, or the file can't be written.
    pub fn remove(runs: &Path, name: &str) -> Result<Baseline, BaselineError> {
        Self::change(runs, |all| all.remove(name).ok_or_else(|| no_such(runs, name, all)))
    }

    /// The baseline of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, runs: &Path, name: &str) -> Result<&Baseline, BaselineError> {
        self.baselines.get(name).ok_or_else(|| no_such(runs, name, &self.baselines))
    }

    /// The directory of the run that is kept under `name`.
    ///
    /// # Errors
    /// When there is no such name, or its run is gone.
    pub fn find(runs: &Path, name: &str) -> Result<PathBuf, BaselineError> {
        let all = Self::read(runs)?;
        let path = runs.join(&all.get(runs, name)?.run);
        if !path.join(MANIFEST).is_file() {
            return Err(BaselineError::Gone { name: name.to_owned(), path });
        }
        Ok(path)
    }

    /// The names under which the run in this directory is kept.
    ///
    /// # Errors
    /// As [`Baselines::read`].
    pub fn names_of(runs: &Path, run: &Path) -> Result<Vec<String>, StoreError> {
        let whole = |path: &Path| path.canonicalize().ok();
        let Some(wanted) = whole(run) else { return Ok(Vec::new()) };
        let all = Self::read(runs)?.baselines.into_iter();
        Ok(all
            .filter(|(_, b)| whole(&runs.join(&b.run)).as_ref() == Some(&wanted))
            .map(|(name, _)| name)
            .collect())
    }

    fn change<T>(
        runs: &Path,
        change: impl FnOnce(&mut BTreeMap<String, Baseline>) -> Result<T, BaselineError>,
    ) -> Result<T, BaselineError> {
        if !runs.is_dir() {
            return Err(StoreError::NoRuns { path: runs.to_owned() }.into());
        }
        let _lock = Lock::wait(&runs.join(LOCK))?;
        let mut all = Self::read(runs)?;
        let done = change(&mut all.baselines)?;
        all.schema = Self::SCHEMA;
        let path = runs.join(BASELINES);
        atomic::write(&path, &stored::to_json(&path, &all)?)?;
        Ok(done)
    }
}

fn no_such(runs: &Path, name: &str, all: &BTreeMap<String, Baseline>) -> BaselineError {
    let known: Vec<String> = all.keys().cloned().collect();
    let nearest = nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
    BaselineError::NoSuch { name: name.to_owned(), runs: runs.to_owned(), known, nearest }
}

/// The way from `runs` to `run`.
fn relative(runs: &Path, run: &Path) -> Result<PathBuf, StoreError> {
    let whole = |path: &Path| path.canonicalize().map_err(StoreError::io("find", path));
    let (from, to) = (whole(runs)?, whole(run)?);
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(shared).map(|_| Component::ParentDir);
    Ok(up.chain(to.components().skip(shared)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(root: &Path, name: &str) -> PathBuf {
        let path = root.join(name);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join(MANIFEST), "{}").unwrap();
        path
    }

    #[test]
    fn a_name_moves_with_its_runs() {
        let dir = tempfile::tempdir().unwrap();
        let runs = dir.path().join("runs");
        let (first, second) = (run(&runs, "a"), run(&runs, "b"));
        assert_eq!(Baselines::set(&runs, "main", &first, Some("1.0".to_owned())).unwrap(), None);
        let before = Baselines::set(&runs, "main", &second, None).unwrap().unwrap();
        assert_eq!((before.run.as_path(), before.note.as_deref()), (Path::new("a"), Some("1.0")));
        let moved = dir.path().join("elsewhere");
        std::fs::rename(&runs, &moved).unwrap();
        assert_eq!(Baselines::find(&moved, "main").unwrap(), moved.join("b"));
        assert_eq!(Baselines::names_of(&moved, &moved.join("b")).unwrap(), ["main"]);
        assert_eq!(Baselines::remove(&moved, "main").unwrap().run, Path::new("b"));
        assert!(Baselines::read(&moved).unwrap().baselines.is_empty());
    }

    #[test]
    fn a_run_outside_is_found_by_a_way_up() {
        let dir = tempfile::tempdir().unwrap();
        let runs = dir.path().join("runs");
        std::fs::create_dir(&runs).unwrap();
        let outside = run(dir.path(), "kept/old");
        Baselines::set(&runs, "old", &outside, None).unwrap();
        assert_eq!(Baselines::read(&runs).unwrap().baselines["old"].run, Path::new("../kept/old"));
        assert!(Baselines::find(&runs, "old").unwrap().join(MANIFEST).is_file());
    }

    #[test]
    fn what_is_wrong_is_said_with_a_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let runs = dir.path();
        let none = Baselines::find(runs, "main").unwrap_err();
        assert!(none.is_usage() && none.to_string().contains("baseline set NAME RUN"), "{none}");
        let path = run(runs, "a");
        Baselines::set(runs, "main", &path, None).unwrap();
        let near = Baselines::find(runs, "mian").unwrap_err().to_string();
        assert!(near.contains("did you mean \"main\"?"), "{near}");
        std::fs::remove_dir_all(&path).unwrap();
        let gone = Baselines::find(runs, "main").unwrap_err();
        assert!(gone.is_usage() && gone.to_string().contains("is gone"), "{gone}");
        for name in ["", "-x", "a b", "../a", &"x".repeat(65)] {
            let bad = Baselines::set(runs, name, &path, None).unwrap_err();
            assert!(matches!(bad, BaselineError::BadName { .. }), "{name}: {bad}");
        }
        assert!(matches!(
            Baselines::set(runs, "b", &path, None).unwrap_err(),
            BaselineError::Store(StoreError::NotARun { .. })
        ));
    }
}
