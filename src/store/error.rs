//! What can go wrong at the disk, with the path and a way out.

use std::io;
use std::path::{Path, PathBuf};

/// The disk, or what lies on it, is not as it has to be. What was measured stays where it
/// is.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}{}", path.display(), remedy(source))]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// The directory holds no `run.json`.
    #[error(
        "{} is not a run: it has no run.json (name a directory under runs/; one that was \
         interrupted before its first cell holds nothing and may be deleted)",
        path.display()
    )]
    NotARun { path: PathBuf },
    /// There is no such directory of runs.
    #[error("there is no directory {} (name the one that holds the runs, usually runs)", path.display())]
    NoRuns { path: PathBuf },
    /// Another process writes this run.
    #[error("{} is in use by another process: wait for it to end, or start a new run", path.display())]
    InUse { path: PathBuf },
    /// A file's content can't be understood.
    #[error("{}: {what} (restore the file, or, of a cell, delete it and go on with --resume)", at(path, *line))]
    Corrupt { path: PathBuf, line: Option<u64>, what: String },
    /// A later version wrote this.
    #[error(
        "{} has schema {found}, and this plimsoll knows up to {known}: use the plimsoll that wrote it, or a later one",
        path.display()
    )]
    NewerSchema { path: PathBuf, found: u32, known: u32 },
    /// The cell is not one of this run's plan.
    #[error("cell {index} ({id}) is not in the plan of {}: resume with the experiment that it was started with", path.display())]
    UnknownCell { path: PathBuf, index: u32, id: String },
    /// The cell's summary is there already.
    #[error("{} is finished: a cell is run once", path.display())]
    Finished { path: PathBuf },
    /// Data could not be turned into the file's format: a mistake of this program.
    #[error("cannot encode {}: {what} (please report this; records.jsonl beside it is kept)", path.display())]
    Encode { path: PathBuf, what: String },
}

impl StoreError {
    /// Whether the user named a wrong directory.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::NotARun { .. } | Self::NoRuns { .. })
    }

    /// For `map_err`: what was being done, and to which path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

fn at(path: &Path, line: Option<u64>) -> String {
    match line {
        Some(line) => format!("{}:{line}", path.display()),
        None => path.display().to_string(),
    }
}

/// What a person can do about it.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            " (free some space; what was measured is kept, and --resume goes on from there)"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            " (make it writable, or choose another directory with --out)"
        }
        io::ErrorKind::NotFound => " (check the path)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_names_the_path_and_the_way_out() {
        let error = StoreError::io("write", Path::new("runs/x/records.jsonl"))(io::Error::from(
            io::ErrorKind::StorageFull,
        ));
        let text = error.to_string();
        assert!(text.contains("runs/x/records.jsonl") && text.contains("--resume"), "{text}");
    }
}
