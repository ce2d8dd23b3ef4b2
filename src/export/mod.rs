//! A run in the formats of others: one pure file per format, from what lies in its directory to
//! bytes. [`FORMATS`] is the table of them; `docs/export-import.md` has a row for each.
//!
//! Nothing here measures again. What our records can't say stays empty or null, and percentiles
//! are by our own rule, whatever the other tool does.

mod figures;
mod input;
mod llm_bench;
mod llm_metrics;
mod locust;
mod public;
mod requests_csv;
mod test_run;
#[cfg(test)]
mod tests;
mod trace;
mod vllm;
mod whole;

pub use input::{Input, Measured};

use crate::analysis::AnalysisError;
use crate::store::StoreError;

/// One format of a run.
#[derive(Clone, Copy)]
pub struct Format {
    /// Its name on the command line.
    pub name: &'static str,
    /// One sentence: what it is.
    pub help: &'static str,
    /// The names of its files, with `RUN`, `CELL` and `TIME` to be filled in.
    pub files: &'static str,
    /// The run as this format has it.
    pub write: fn(&Input) -> Result<Vec<File>, ExportError>,
}

/// Every format, in the order in which they are listed.
pub const FORMATS: &[Format] = &[
    Format {
        name: "csv",
        help: "Summary table: a row per cell and repeat, the columns of summary.csv.",
        files: "RUN.csv",
        write: whole::csv,
    },
    Format {
        name: "requests-csv",
        help: "A row per request of every cell, the columns of records.parquet.",
        files: "RUN-requests.csv",
        write: requests_csv::write,
    },
    Format {
        name: "json",
        help: "Everything but the single requests: manifest, environment, cells, summaries.",
        files: "RUN.json",
        write: whole::json,
    },
    Format {
        name: "parquet",
        help: "Each cell's records, as they were stored.",
        files: "RUN-CELL.parquet",
        write: whole::parquet,
    },
    Format {
        name: "hlog",
        help: "Each cell's histogram of chunk gaps, for HdrHistogram's tools.",
        files: "RUN-CELL.hlog",
        write: whole::hlog,
    },
    Format {
        name: "llm-metrics",
        help: "LLM metrics as a Locust suite keeps them: TTFT, TPOT, token counts and throughput, in all and per request; seconds.",
        files: "metrics_TIME.json",
        write: llm_metrics::write,
    },
    Format {
        name: "test-run",
        help: "Config, summary and details of each request with its endpoint; seconds.",
        files: "test_run_TIME.json",
        write: test_run::write,
    },
    Format {
        name: "vllm",
        help: "Result file of vLLM's serving benchmark, with the arrays of --save-detailed.",
        files: "RUN-CELL.json",
        write: vllm::write,
    },
    Format {
        name: "llm-bench",
        help: "Summary CSV of fw-ai's llm_bench: a row per cell and repeat; milliseconds.",
        files: "RUN-llm-bench.csv",
        write: llm_bench::write,
    },
    Format {
        name: "locust-stats",
        help: "Locust's statistics, with their history by second; a row per task; milliseconds.",
        files: "RUN-CELL_stats.csv, RUN-CELL_stats_history.csv",
        write: locust::write,
    },
    Format {
        name: "mooncake",
        help: "The measured arrivals as a Mooncake trace: a JSON line per request; milliseconds.",
        files: "RUN-CELL.jsonl",
        write: trace::mooncake,
    },
    Format {
        name: "trace-csv",
        help: "The measured arrivals as a trace: at_s, prompt_tokens, max_tokens.",
        files: "RUN-CELL-trace.csv",
        write: trace::csv,
    },
];

/// The format of this name.
#[must_use]
pub fn format(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

/// A file to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name, without a directory.
    pub name: String,
    pub bytes: Vec<u8>,
}

/// A run can't be given out in a format.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Analysis(#[from] AnalysisError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No cell of that number is finished.
    #[error("{run} has no finished cell {cell}; finished are: {finished}")]
    NoSuchCell { run: String, cell: u32, finished: String },
    /// Nothing is finished.
    #[error("{run} has no finished cell: go on with it by plimsoll run --resume")]
    NothingFinished { run: String },
    /// The format is about single requests.
    #[error(
        "cell {cell} of {run} has no {file}, and this format is made from it: it was imported from a summary, or the file was left behind"
    )]
    NoRequests { run: String, cell: u32, file: &'static str },
    /// A file of the run can't be read.
    #[error("cannot read {}: {source}", path.display())]
    Io { path: std::path::PathBuf, source: std::io::Error },
}

impl ExportError {
    /// Whether the command line asked for what can't be.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        match self {
            Self::NoSuchCell { .. } | Self::NothingFinished { .. } | Self::NoRequests { .. } => true,
            Self::Store(error) => error.is_usage(),
            Self::Analysis(_) | Self::Io { .. } => false,
        }
    }
}
