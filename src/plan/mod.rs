//! The plan: an experiment's grids expanded to cells, in order, each with its seed.

mod build;
mod difference;
mod estimate;
mod expand;
mod factors;
mod search;
mod table;
mod trace;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::experiment::{SearchRules, Settings};

pub use build::{MAX_CELLS, build};
pub use difference::difference;
pub use estimate::{Amount, CellEstimate, Estimate, Span, estimate, estimate_cell};
pub use search::probe;
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
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The experiment's name.
    pub name: String,
    pub seed: u64,
    /// SHA-256 of the experiment as it will run (file, `--set`), in hexadecimal. A run may
    /// be resumed only if it is the same.
    pub experiment_hash: String,
    pub cells: Vec<Cell>,
    /// Searches for the greatest load within the SLO, one for each combination of the other axes.
    /// Their cells beyond the first of each are added to `cells` as they are decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub searches: Vec<Searched>,
    /// Indices of the cells that are skipped once a lighter one is hopeless: those of grids with
    /// `prune`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pruned: Vec<u32>,
}

/// One search: cells that differ in their load alone, which is searched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Searched {
    pub rules: SearchRules,
    /// Number of its grid, and of its combination of the other axes there.
    pub(crate) grid: u32,
    pub(crate) spot: u32,
    /// Indices of its cells, in the order in which they run.
    pub cells: Vec<u32>,
}

impl Searched {
    /// The load of one of its cells; `None` of a cell that has none.
    #[must_use]
    pub fn load(&self, cell: &Cell) -> Option<f64> {
        cell.factors.get(&self.rules.axis).and_then(Value::as_f64)
    }
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
