//! Reads runs back: what report, comparison and capacity work on.
//!
//! Nothing here writes. Polars reads the Parquet files and stays behind plain vectors, so
//! that a chart never sees its types.

mod axes;
pub mod capacity;
pub mod compare;
mod contention;
pub mod diagnosis;
pub mod grid;
mod groups;
pub mod history;
pub mod inside;
mod records;
mod requests;
mod run;
mod search;
#[cfg(test)]
mod tests;
pub(crate) mod text;
mod traces;
pub mod words;

use std::path::PathBuf;

pub use axes::{Axis, axes, label, load_axis, number, plain, short_name};
pub use contention::{Apart, Change, Contention, Standing, contention};
pub use groups::{Estimate, Group, Series, groups, series};
pub use records::{Records, read_requests, read_timeline};
pub use run::{RunInfo, list_runs};
pub use search::{probe_of, sentence};
pub use traces::{TracedRequest, slowest_traced};

use crate::measure::{CellSummary, ServerCourse};
use crate::plan::Cell;
use crate::record::Tick;
use crate::search::Outcome;
use crate::store::StoreError;

/// A run could not be read back.
#[derive(Debug, thiserror::Error)]
pub enum AnalysisError {
    /// The run's files are not as they have to be.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A Parquet file can't be read.
    #[error("cannot read {}: {what} (restore the file; the figures in summary.json don't need it)", path.display())]
    Parquet { path: PathBuf, what: String },
    /// A Parquet file has no such column, or one of another type.
    #[error("{}: column {column}: {what}", path.display())]
    Column { path: PathBuf, column: String, what: String },
}

/// One run, read from its directory.
pub struct RunData {
    pub path: PathBuf,
    /// The directory's name.
    pub id: String,
    pub name: String,
    /// Title of its report: the experiment's own, else its name.
    pub title: String,
    /// Names of the figures that its report is to have; `None`: all.
    pub figures: Option<Vec<String>>,
    /// `environment.json`, as written.
    pub environment: serde_json::Value,
    /// `run.json`, as written.
    pub manifest: serde_json::Value,
    /// Text of the experiment file.
    pub experiment: String,
    /// What its searches for the greatest load within the SLO found, so far or in the end; `None`
    /// of a run without one.
    pub search: Option<Vec<Outcome>>,
    /// In plan order; cells that did not run have no summary.
    pub cells: Vec<CellData>,
    /// What [`RunData::capacity`] found, once it was asked.
    pub carries: std::sync::OnceLock<capacity::Capacity>,
}

/// One cell and repeat of a run.
pub struct CellData {
    pub cell: Cell,
    pub summary: Option<CellSummary>,
    /// Why it is not to run.
    pub skipped: Option<crate::store::Skipped>,
    /// The cell's time line, where it ran; empty where not read.
    pub timeline: Vec<Tick>,
    /// Its `records.parquet`, where it ran.
    pub records: Option<PathBuf>,
    /// A sample of its requests by send time; empty where not read.
    pub points: Vec<RequestPoint>,
    /// The server's figures over the time of the cell; empty where not read, or not known.
    pub server: Vec<ServerCourse>,
}

/// What a time strip shows of one request, and the diagnosis looks at.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RequestPoint {
    /// When it was sent, in seconds since the cell's epoch.
    pub sent_s: f64,
    pub ttft_ms: Option<f64>,
    pub e2e_ms: Option<f64>,
    pub lag_ms: Option<f64>,
    /// Time per output token after the first.
    pub tpot_ms: Option<f64>,
    /// Length of its prompt: by the server, else as counted here, else as asked for.
    pub prompt_tokens: Option<u32>,
    /// Whether a whole answer came.
    pub ok: bool,
}
