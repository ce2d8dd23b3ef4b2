//! What formats are made from: a run's finished cells, their records read when asked for.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::Value;

use super::ExportError;
use crate::analysis;
use crate::measure::CellSummary;
use crate::plan::{Cell, Plan};
use crate::record::{Phase, RequestRecord};
use crate::store::{self, Manifest, StoredCell};

/// A run, or one cell of it.
pub struct Input {
    pub path: PathBuf,
    pub manifest: Manifest,
    /// `environment.json`, as written.
    pub environment: Value,
    /// Finished ones, in plan order; at least one.
    pub cells: Vec<Measured>,
}

/// One finished cell and repeat.
pub struct Measured {
    /// The run's id.
    pub run: String,
    pub cell: Cell,
    pub stored: StoredCell,
    /// Its directory.
    pub dir: PathBuf,
}

impl Input {
    /// Read a run, or of it the cell with this index alone.
    ///
    /// # Errors
    /// When the directory is no run, its files can't be read, or no such cell is finished.
    pub fn load(path: &Path, only: Option<u32>) -> Result<Self, ExportError> {
        let manifest = Manifest::read(path)?;
        let plan: Plan = store::read_json(&path.join(store::PLAN))?;
        let mut cells = Vec::new();
        for cell in plan.cells {
            let dir = path.join(store::cell_dir(&cell));
            if let Some(stored) = StoredCell::read(&dir.join(store::SUMMARY_JSON))? {
                cells.push(Measured { run: manifest.run.clone(), cell, stored, dir });
            }
        }
        if cells.is_empty() {
            return Err(ExportError::NothingFinished { run: manifest.run });
        }
        if let Some(index) = only {
            let finished: Vec<String> = cells.iter().map(|c| c.cell.index.to_string()).collect();
            cells.retain(|c| c.cell.index == index);
            if cells.is_empty() {
                let finished = finished.join(", ");
                return Err(ExportError::NoSuchCell { run: manifest.run, cell: index, finished });
            }
        }
        let environment = store::read_json(&path.join(store::ENVIRONMENT))?;
        Ok(Self { path: path.to_owned(), manifest, environment, cells })
    }
}

impl Measured {
    /// Its summary.
    #[must_use]
    pub fn summary(&self) -> &CellSummary {
        &self.stored.summary
    }

    /// How its files begin: run and index.
    #[must_use]
    pub fn stem(&self) -> String {
        format!("{}-{:04}", self.run, self.cell.index)
    }

    /// Its `records.parquet`, where it has one.
    #[must_use]
    pub fn records(&self) -> Option<PathBuf> {
        Some(self.dir.join(store::RECORDS)).filter(|path| path.exists())
    }

    /// Every request, as it was recorded.
    ///
    /// # Errors
    /// When the cell has no records, or they can't be read.
    pub fn requests(&self) -> Result<Vec<RequestRecord>, ExportError> {
        let path = self.records().ok_or_else(|| self.lacks(store::RECORDS))?;
        Ok(analysis::read_requests(&path)?)
    }

    /// The requests that the figures count: due in the measured window, by their due time.
    ///
    /// # Errors
    /// As of [`Measured::requests`].
    pub fn measured(&self) -> Result<Vec<RequestRecord>, ExportError> {
        let mut requests = self.requests()?;
        requests.retain(|r| r.phase == Phase::Measure);
        requests.sort_by_key(|r| (r.intended_us, r.seq));
        Ok(requests)
    }

    /// That a file is missing.
    #[must_use]
    pub fn lacks(&self, file: &'static str) -> ExportError {
        ExportError::NoRequests { run: self.run.clone(), cell: self.cell.index, file }
    }

    /// Wall-clock time of the epoch; `None` where an imported cell doesn't know it.
    #[must_use]
    pub fn epoch(&self) -> Option<Timestamp> {
        self.summary().started_at.parse().ok()
    }

    /// A time of a record in seconds since 1970.
    #[must_use]
    pub fn unix_s(&self, us: Option<u64>) -> Option<f64> {
        let epoch = self.epoch()?.as_microsecond();
        Some((epoch + i64::try_from(us?).ok()?) as f64 / 1e6)
    }

    /// A factor as a number; `None` where it isn't set.
    #[must_use]
    pub fn number(&self, path: &str) -> Option<f64> {
        self.cell.factors.get(path).and_then(Value::as_f64)
    }

    /// How an open loop's arrivals are spaced.
    #[must_use]
    pub fn arrivals(&self) -> Option<String> {
        let load = &self.cell.settings.load;
        let load = serde_json::to_value(load).ok()?;
        load.get("arrivals")?.as_str().map(str::to_owned)
    }

    /// The target's URL without credentials.
    #[must_use]
    pub fn url(&self) -> String {
        store::without_credentials(&self.cell.settings.target.url).into_owned()
    }

    /// Where a request went: the endpoint's name, else the model's, else the URL.
    #[must_use]
    pub fn endpoint(&self, r: &RequestRecord) -> String {
        let model = || Some(self.stored.model.clone()).filter(|m| !m.is_empty());
        r.endpoint.clone().or_else(model).unwrap_or_else(|| self.url())
    }
}
