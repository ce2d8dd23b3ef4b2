//! `summary.json` of a cell, and JSON files in general.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{SCHEMA, StoreError, atomic};
use crate::measure::{CellSummary, Distribution};
use crate::metrics::STATS;
use crate::plan::Cell;

/// Whom a cell's requests were sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served<'a> {
    /// Name of the provider, never `auto`; empty where it is the one that the settings name.
    pub api: &'a str,
    /// The model's name as the server knows it.
    pub model: &'a str,
    /// Number of the start of our own server that answered it, from 1.
    pub start: Option<u32>,
}

impl<'a> From<&'a str> for Served<'a> {
    fn from(model: &'a str) -> Self {
        Self { api: "", model, start: None }
    }
}

impl<'a> From<&'a String> for Served<'a> {
    fn from(model: &'a String) -> Self {
        model.as_str().into()
    }
}

/// Content of a cell's `summary.json`: whose it is, and the summary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredCell {
    /// See [`SCHEMA`].
    pub schema: u32,
    pub run: String,
    pub cell_index: u32,
    pub cell_id: String,
    pub repeat: u32,
    /// The model's name as the server knows it (never `auto`).
    pub model: String,
    /// The API that the server was found to speak, where the settings don't name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
    /// Number of the start of our own server that answered the cell: its log is
    /// `server/<number>.log` of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_start: Option<u32>,
    #[serde(flatten)]
    pub summary: CellSummary,
}

impl StoredCell {
    /// `summary` with the identity of its cell. Figures that are not finite numbers are left
    /// out: JSON has no word for them, and "absent" is what they mean.
    pub(super) fn new(run: &str, cell: &Cell, served: Served<'_>, summary: &CellSummary) -> Self {
        let mut summary = summary.clone();
        summary.scalars.retain(|_, v| v.is_finite());
        summary.validity.signals.retain(|_, v| v.is_finite());
        let finite = |d: &Distribution| STATS.iter().all(|stat| d.stat(stat).is_none_or(f64::is_finite));
        summary.distributions.retain(|_, d| finite(d));
        for group in &mut summary.groups {
            group.scalars.retain(|_, v| v.is_finite());
            group.distributions.retain(|_, d| finite(d));
        }
        let verdicts = summary.groups.iter_mut().flat_map(|group| &mut group.slo);
        for verdict in verdicts.chain(&mut summary.slo) {
            verdict.value = verdict.value.filter(|v| v.is_finite());
        }
        Self {
            schema: SCHEMA,
            run: run.to_owned(),
            cell_index: cell.index,
            cell_id: cell.id.0.clone(),
            repeat: cell.repeat,
            model: served.model.to_owned(),
            api: Some(served.api)
                .filter(|api| !api.is_empty() && *api != cell.settings.target.api)
                .map(str::to_owned),
            server_start: served.start,
            summary,
        }
    }

    /// Whether it is `cell`'s.
    #[must_use]
    pub fn is_of(&self, cell: &Cell) -> bool {
        self.cell_index == cell.index && self.cell_id == cell.id.0 && self.repeat == cell.repeat
    }

    /// Read `summary.json`; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it can't be understood, [`StoreError::NewerSchema`].
    pub fn read(path: &Path) -> Result<Option<Self>, StoreError> {
        let Some(bytes) = atomic::read_if_there(path)? else { return Ok(None) };
        let stored: Self = parse(path, &bytes)?;
        if stored.schema > SCHEMA {
            return Err(StoreError::NewerSchema {
                path: path.to_owned(),
                found: stored.schema,
                known: SCHEMA,
            });
        }
        Ok(Some(stored))
    }
}

/// Indented JSON with a newline at the end.
pub(super) fn to_json<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|e| StoreError::Encode { path: path.to_owned(), what: e.to_string() })?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Read a JSON file.
///
/// # Errors
/// When it is not there or can't be understood.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, StoreError> {
    parse(path, &std::fs::read(path).map_err(StoreError::io("read", path))?)
}

pub(super) fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|e| StoreError::Corrupt {
        path: path.to_owned(),
        line: Some(e.line() as u64).filter(|l| *l > 0),
        what: e.to_string(),
    })
}
