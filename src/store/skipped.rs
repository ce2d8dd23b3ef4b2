//! Cells of a plan that are not to run.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{SCHEMA, SKIPPED_JSON, StoreError, atomic, cell_dir, stored};
use crate::plan::Cell;

/// Content of a cell's `skipped.json`: whose it is, and why it doesn't run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// See [`SCHEMA`].
    pub schema: u32,
    pub run: String,
    pub cell_index: u32,
    pub cell_id: String,
    pub repeat: u32,
    /// When that was decided, RFC 3339, UTC.
    pub at: String,
    /// In words, such as `hopeless already at 16 users: …`.
    pub reason: String,
    /// It was to run and could not, as a server or a hook failed; and not that it needn't.
    #[serde(default)]
    pub failed: bool,
}

impl Skipped {
    pub(super) fn new(run: &str, cell: &Cell, reason: &str, failed: bool) -> Self {
        Self {
            schema: SCHEMA,
            run: run.to_owned(),
            cell_index: cell.index,
            cell_id: cell.id.0.clone(),
            repeat: cell.repeat,
            at: jiff::Timestamp::now().to_string(),
            reason: reason.to_owned(),
            failed,
        }
    }

    /// Why `cell` of the run at `run` does not run; `None` where nothing speaks against it.
    ///
    /// # Errors
    /// When the file is there but can't be understood.
    pub fn of(run: &Path, cell: &Cell) -> Result<Option<Self>, StoreError> {
        let path = run.join(cell_dir(cell)).join(SKIPPED_JSON);
        let Some(bytes) = atomic::read_if_there(&path)? else { return Ok(None) };
        let skipped: Self = stored::parse(&path, &bytes)?;
        let its =
            (skipped.cell_index, &skipped.cell_id, skipped.repeat) == (cell.index, &cell.id.0, cell.repeat);
        Ok(Some(skipped).filter(|_| its))
    }
}
