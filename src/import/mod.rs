//! Results of other tools, read into runs of our own form: reports work on them as on ours.
//!
//! Each reader makes [`Found`] cells of a file, and a run is made of them all. What a file
//! doesn't say stays unknown, and every imported cell bears the remark that Plimsoll did not
//! measure it.

mod aiperf;
mod content;
mod experiment_text;
mod failure;
mod found;
mod guidellm;
mod llm_bench;
mod locust;
mod look;
mod run;
mod test_run;
#[cfg(test)]
mod tests;
mod vllm;

use std::path::{Path, PathBuf};

pub use found::{Asked, Found};
pub use run::Told;

use content::Content;

use crate::experiment::Mistakes;
use crate::store::StoreError;

/// One tool whose results can be read.
#[derive(Clone, Copy)]
pub struct Reader {
    /// Its name on the command line and in `run.json`.
    pub name: &'static str,
    /// As people write it.
    pub title: &'static str,
    /// Which files, in one sentence.
    pub help: &'static str,
    /// Whether a file looks like one of its.
    recognise: fn(&Content) -> bool,
    /// Its cells.
    read: fn(&Content) -> Result<Vec<Found>, ImportError>,
}

/// Every tool, in the order in which a file is held against them.
pub const READERS: &[Reader] = &[
    Reader {
        name: "vllm",
        title: "vLLM bench",
        help: "Result JSON of `vllm bench serve --save-result`, best with --save-detailed; several results in one file too.",
        recognise: vllm::recognise,
        read: vllm::read,
    },
    Reader {
        name: "guidellm",
        title: "guidellm",
        help: "benchmarks.json: a cell for each benchmark.",
        recognise: guidellm::recognise,
        read: guidellm::read,
    },
    Reader {
        name: "aiperf",
        title: "AIPerf",
        help: "profile_export.jsonl or profile_export_aiperf.json (each finds the other beside it), or profile_export_aiperf.csv.",
        recognise: aiperf::recognise,
        read: aiperf::read,
    },
    Reader {
        name: "llm-bench",
        title: "llm_bench",
        help: "The CSV of --summary-file: a cell for each row.",
        recognise: llm_bench::recognise,
        read: llm_bench::read,
    },
    Reader {
        name: "locust",
        title: "Locust",
        help: "PREFIX_stats.csv, with PREFIX_stats_history.csv beside it if there is one: a cell.",
        recognise: locust::recognise,
        read: locust::read,
    },
    Reader {
        name: "test-run",
        title: "test_run",
        help: "test_run_TIMESTAMP.json: config, summary and details of each request.",
        recognise: test_run::recognise,
        read: test_run::read,
    },
];

/// The reader of this name.
#[must_use]
pub fn reader(name: &str) -> Option<&'static Reader> {
    READERS.iter().find(|reader| reader.name == name)
}

/// A run that was made of files.
#[derive(Debug)]
pub struct Done {
    /// Its directory.
    pub path: PathBuf,
    /// Cells and repeats in it.
    pub cells: usize,
    /// Cells of which single requests are kept.
    pub with_requests: usize,
    /// What a person should know, such as an unknown version.
    pub notes: Vec<String>,
}

/// Read `files` and make one run of their cells in `runs_root`. `format` is a reader's name;
/// `None` finds it for each file. `told` fills in what files don't say.
///
/// # Errors
/// When a file can't be read or understood, or the run can't be written. Nothing is written
/// before every file has been read.
pub fn import(
    files: &[PathBuf],
    format: Option<&str>,
    told: &Told,
    runs_root: &Path,
) -> Result<Done, ImportError> {
    let mut cells = Vec::new();
    let mut notes = Vec::new();
    for path in files {
        let content = Content::open(path)?;
        let reader = choose(&content, format)?;
        let found = (reader.read)(&content)?;
        if found.is_empty() {
            return Err(content.wrong("", &format!("a result of {}", reader.title), "none in it"));
        }
        if found.iter().all(|cell| cell.version.is_none()) {
            let path = path.display();
            notes.push(format!("{path}: it doesn't say which version of {} wrote it", reader.title));
        }
        notes.extend(found.iter().flat_map(|cell| &cell.hints).map(|h| format!("{}: {h}", path.display())));
        cells.extend(found);
    }
    run::write(cells, told, runs_root, notes)
}

fn choose(content: &Content, format: Option<&str>) -> Result<&'static Reader, ImportError> {
    if let Some(name) = format {
        return reader(name).ok_or_else(|| ImportError::NoSuchFormat { name: name.to_owned() });
    }
    READERS
        .iter()
        .find(|reader| (reader.recognise)(content))
        .ok_or_else(|| ImportError::Unknown { path: content.path.clone(), found: content.outline() })
}

/// A file can't be made a run of.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("there is no format {name:?}; allowed are auto, {}", names())]
    NoSuchFormat { name: String },
    /// No reader knows it.
    #[error(
        "{} is no result of a tool that is known here. Found: {found}. Known are {}; --format takes one of them at your word",
        path.display(),
        titles()
    )]
    Unknown { path: PathBuf, found: String },
    /// Something in it is not as its tool writes it.
    #[error("{}{}: expected {expected}, found {found}", path.display(), at(place))]
    Wrong { path: PathBuf, place: String, expected: String, found: String },
    /// The run can't be put as an experiment.
    #[error("the cells can't be put as an experiment: {0}")]
    Experiment(#[from] Mistakes),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ImportError {
    /// Whether a file or the command line is wrong, not this machine.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        !matches!(self, Self::Store(_))
    }
}

fn at(place: &str) -> String {
    if place.is_empty() { String::new() } else { format!(", {place}") }
}

fn names() -> String {
    READERS.iter().map(|r| r.name).collect::<Vec<_>>().join(", ")
}

fn titles() -> String {
    READERS.iter().map(|r| r.title).collect::<Vec<_>>().join(", ")
}
