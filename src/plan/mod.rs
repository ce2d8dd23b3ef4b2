//! The plan: an experiment's grids expanded to cells, in order, each with its seed.

mod build;
mod difference;
mod estimate;
mod expand;
mod factors;
mod table;
mod trace;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::experiment::Settings;

pub use build::{MAX_CELLS, build};
pub use difference::difference;
pub use estimate::{Amount, CellEstimate, Estimate, Span, estimate};
pub use table::{load_in_words, render_table};

/// What a cell *is*: a hash of its canonical factors, without repeat and index. Comparison
/// joins on it. 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CellId(pub String);

impl std::fmt::Display for CellId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// One point of a grid, once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Place in the plan, from 0. Each repeat has its own.
    pub index: u32,
    pub id: CellId,
    /// Name of the grid it comes from.
    pub grid: Option<String>,
    /// What was asked, by dotted path; always with `load.users`, `load.qps`,
    /// `workload.prompt_tokens` and `workload.max_tokens` (null where not set). Also `grid`, the
    /// name, where it stands for settings that only differ between grids; no part of the id.
    pub factors: BTreeMap<String, Value>,
    /// The paths of `factors` that vary within the experiment, in the order written.
    pub varying: Vec<String>,
    /// From 1.
    pub repeat: u32,
    /// H(experiment seed, id, repeat): decides lengths and arrivals.
    pub seed: u64,
    pub settings: Settings,
}

/// All cells of a run, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The experiment's name.
    pub name: String,
    pub seed: u64,
    /// SHA-256 of the experiment as it will run (file, `--set`), in hexadecimal. A run may
    /// be resumed only if it is the same.
    pub experiment_hash: String,
    pub cells: Vec<Cell>,
}

impl Cell {
    /// Note that these factors are not known: they become null, and the cell's id and seed what
    /// they are without them. For cells that were not made from an experiment.
    pub fn forget(&mut self, paths: &[&str], seed: u64) {
        for path in paths {
            self.factors.insert((*path).to_owned(), Value::Null);
        }
        self.id = factors::cell_id(&self.factors);
        self.seed = factors::cell_seed(seed, &self.id, self.repeat);
    }
}
