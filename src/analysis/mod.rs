//! Reads runs back: what report, comparison and capacity work on.

use std::path::PathBuf;

use crate::measure::{CellSummary, Tick};
use crate::plan::Cell;

/// One run, read from its directory.
pub struct RunData {
    pub path: PathBuf,
    /// The directory's name.
    pub id: String,
    pub name: String,
    /// `environment.json`, as written.
    pub environment: serde_json::Value,
    /// `run.json`, as written.
    pub manifest: serde_json::Value,
    /// Text of the experiment file.
    pub experiment: String,
    /// In plan order; cells that did not run have no summary.
    pub cells: Vec<CellData>,
}

/// One cell and repeat of a run.
pub struct CellData {
    pub cell: Cell,
    pub summary: Option<CellSummary>,
    /// The cell's time line, where it ran.
    pub timeline: Vec<Tick>,
    /// Its `records.parquet`, where it ran.
    pub records: Option<PathBuf>,
    /// A sample of its requests by send time, for the time strip; empty where not read.
    pub points: Vec<RequestPoint>,
}

/// What a time strip shows of one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RequestPoint {
    /// When it was sent, in seconds since the cell's epoch.
    pub sent_s: f64,
    pub ttft_ms: Option<f64>,
    pub e2e_ms: Option<f64>,
    pub lag_ms: Option<f64>,
    /// Whether a whole answer came.
    pub ok: bool,
}
