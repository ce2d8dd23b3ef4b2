//! The disk boundary: everything that a run leaves behind is written here.
//!
//! ```text
//! runs/summary.csv                    one line per finished cell and repeat of every run
//! runs/baselines.json                 runs that are kept under a name
//! runs/<utc>-<name>/
//!    run.json  experiment.toml  plan.json  environment.json  summary.csv  groups.csv
//!    cells/0003-<cell id>-r1/
//!       records.jsonl                 only until the cell is finished
//!       records.parquet  timeline.parquet  chunk_gaps.hlog
//!       observed.parquet  server.parquet    only where the server's figures were read
//!       answers.jsonl                 only where texts of answers are asked for
//!       summary.json                  written last: the cell is finished once it is there
//!       skipped.json                  of a cell that is not to run: why
//! ```
//!
//! One rule makes every crash harmless: whatever is not `summary.json` is made first and
//! synced, and `summary.json` comes into being by a rename. The CSV files are derived from
//! the `summary.json` files and can be made again from them at any time.

mod answers;
mod atomic;
mod baselines;
mod calibration;
mod cell_log;
mod columns;
mod environment;
mod error;
mod groups;
mod hlog;
mod index;
mod manifest;
mod noise;
mod parquet;
mod run_dir;
mod skipped;
mod stored;
#[cfg(test)]
pub(crate) mod tests;

pub use answers::{ANSWERS, read_answers};
pub use atomic::write_file;
pub use baselines::{BASELINES, Baseline, BaselineError, Baselines};
pub use calibration::{
    CALIBRATION_VARIABLE, Calibrated, Calibration, Connections, LagAt, Machine, Rates, calibration_path,
    noted_ceiling,
};
pub use cell_log::{CellLog, Records, SealedLog};
pub use columns::{columns, row, row_of_skipped, without_credentials};
pub use environment::environment;
pub use error::StoreError;
pub use groups::{group_columns, group_rows};
pub use index::{Rebuilt, rebuild_summary};
pub use manifest::{Imported, Manifest, NewRun, SCHEMA, Status};
pub use noise::{NOISE, noise_path, write_noise};
pub use run_dir::{
    CHUNK_GAPS, ENVIRONMENT, EXPERIMENT, GROUPS_CSV, INTERRUPTED_JSON, MANIFEST, OBSERVED, PLAN, RECORDS,
    RunDir, SEARCH_JSON, SERVER, SKIPPED_JSON, SUMMARY_CSV, SUMMARY_JSON, TIMELINE, cell_dir, ids_of_sides,
    other_side,
};
pub use skipped::Skipped;
pub use stored::{Served, StoredCell, read_json};
