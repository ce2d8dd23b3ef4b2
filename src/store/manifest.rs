//! `run.json`: what a run is, and how far it came.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::StoreError;

/// Version of everything that is written under `runs/`. It goes up when a file or a column
/// changes its meaning or goes away, and when a column comes.
pub const SCHEMA: u32 = 2;

/// How far a run came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// A process works on it, or was killed while it did.
    Running,
    /// Every cell is finished.
    Finished,
    /// Ended by Ctrl-C.
    Interrupted,
    /// Ended by the sweep itself, such as after a dead server.
    Stopped,
}

impl Status {
    /// The word for it in files and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Interrupted => "interrupted",
            Self::Stopped => "stopped",
        }
    }
}

/// What the caller knows of a new run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// Makes prompt texts differ from those of every other run.
    pub salt: String,
    /// The `--set` arguments, as given.
    pub set: Vec<String>,
    /// `sim:` or the target's URL; credentials in it are cut out here.
    pub target: String,
    /// Title of its report; `None`: the experiment's name.
    pub title: Option<String>,
    /// Names of the figures of its report; `None`: all.
    pub figures: Option<Vec<String>>,
}

/// A file of another tool from which cells of an imported run were made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// The tool, such as `vllm`.
    pub tool: String,
    /// Its version as the file says it; `None` where it doesn't.
    pub version: Option<String>,
    /// The file's name, without its directory.
    pub file: String,
}

/// Content of `run.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// See [`SCHEMA`].
    pub schema: u32,
    /// The run's id: its directory's name.
    pub run: String,
    /// The experiment's name.
    pub name: String,
    /// Version of plimsoll that began it.
    pub plimsoll: String,
    /// As in the plan: a run may be resumed only with the same.
    pub experiment_hash: String,
    /// See [`NewRun::salt`].
    pub salt: String,
    /// The `--set` arguments.
    pub set: Vec<String>,
    /// `sim:` or the target's URL without credentials.
    pub target: String,
    /// See [`NewRun::title`].
    #[serde(default)]
    pub title: Option<String>,
    /// See [`NewRun::figures`].
    #[serde(default)]
    pub figures: Option<Vec<String>>,
    /// When it began, RFC 3339, UTC.
    pub started_at: String,
    /// When it ended; `None` while it runs or if it was killed.
    pub ended_at: Option<String>,
    /// When it was resumed, each time.
    pub resumed_at: Vec<String>,
    pub status: Status,
    /// Where the cells come from, if Plimsoll didn't measure them; empty if it did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub imported: Vec<Imported>,
}

impl Manifest {
    /// Read `run.json` in `run`.
    ///
    /// # Errors
    /// [`StoreError::NotARun`] without the file, [`StoreError::Corrupt`] if it can't be
    /// read, [`StoreError::NewerSchema`] if a later version wrote it.
    pub fn read(run: &Path) -> Result<Self, StoreError> {
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        let path = run.join(super::MANIFEST);
        let bytes = super::atomic::read_if_there(&path)?
            .ok_or_else(|| StoreError::NotARun { path: run.to_owned() })?;
        // The version first: a later file need not fit today's fields.
        let version: Version = super::stored::parse(&path, &bytes)?;
        if version.schema > SCHEMA {
            return Err(StoreError::NewerSchema { path, found: version.schema, known: SCHEMA });
        }
        super::stored::parse(&path, &bytes)
    }
}
