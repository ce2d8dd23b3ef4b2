//! Where the logs of a server's starts lie.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::LaunchError;

/// Lines of a log's end that are told.
const LINES: usize = 8;
/// Bytes of a log's end that are read.
const BYTES: u64 = 16 << 10;
/// Characters that are told at most.
const CHARS: usize = 1200;

/// A directory of logs, `1.log` and so on.
pub(in crate::server) struct Logs {
    dir: PathBuf,
    /// It is the run's own. Else it holds logs only until there is a run, and goes with us.
    settled: bool,
}

impl Logs {
    pub(super) fn new(dir: &Path, settled: bool) -> Self {
        Self { dir: dir.to_owned(), settled }
    }

    /// How a log is called where a run's files are.
    pub(super) fn name(&self, start: u32) -> String {
        format!("server/{start}.log")
    }

    /// The log of the next start: its number, path and file.
    pub(super) fn begin(&self) -> Result<(u32, PathBuf, File), LaunchError> {
        self.make()?;
        for start in 1.. {
            let path = self.dir.join(format!("{start}.log"));
            match OpenOptions::new().append(true).create_new(true).open(&path) {
                Ok(file) => return Ok((start, path, file)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(source) => return Err(LaunchError::Log { what: "create", path, source }),
            }
        }
        unreachable!("numbers don't end before a disk does")
    }

    fn make(&self) -> Result<(), LaunchError> {
        fs::create_dir_all(&self.dir).map_err(|source| LaunchError::Log {
            what: "create",
            path: self.dir.clone(),
            source,
        })
    }

    /// Move to where the run is. Open files go with their directory.
    pub(super) fn settle(&mut self, dir: &Path) -> Result<(), LaunchError> {
        if self.settled {
            return Ok(());
        }
        if self.dir.exists() {
            fs::rename(&self.dir, dir).map_err(|source| LaunchError::Log {
                what: "keep logs in",
                path: dir.to_owned(),
                source,
            })?;
        }
        (self.dir, self.settled) = (dir.to_owned(), true);
        Ok(())
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        if !self.settled {
            // There was no run; what the log said is in the error.
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// The end of a log in one line, its lines parted by ` | `; empty where it says nothing.
pub(in crate::server) fn last_lines(path: &Path) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|mut file| {
        let from = file.metadata()?.len().saturating_sub(BYTES);
        file.seek(SeekFrom::Start(from))?;
        file.take(BYTES).read_to_end(&mut bytes)
    });
    if read.is_err() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let plain = |line: &str| line.chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned();
    let mut lines: Vec<String> =
        text.lines().rev().map(plain).filter(|line| !line.is_empty()).take(LINES).collect();
    lines.reverse();
    let text = lines.join(" | ");
    let over = text.chars().count().saturating_sub(CHARS);
    if over == 0 { text } else { format!("…{}", text.chars().skip(over).collect::<String>()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_one_short_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1.log");
        assert_eq!(last_lines(&path), "");
        fs::write(&path, "a\n\nb\u{1b}[0m\n").unwrap();
        assert_eq!(last_lines(&path), "a | b[0m");
        let many: String = (0..100_000).map(|i| format!("line {i}\n")).collect();
        fs::write(&path, many).unwrap();
        let end = last_lines(&path);
        assert!(end.starts_with("line 99992 | ") && end.ends_with(" | line 99999"), "{end}");
        fs::write(&path, "x".repeat(9000)).unwrap();
        assert_eq!(last_lines(&path).chars().count(), CHARS + 1);
    }

    #[test]
    fn logs_move_to_the_run_and_numbers_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let (early, run) = (dir.path().join("early"), dir.path().join("run"));
        let mut logs = Logs::new(&early, false);
        assert_eq!(logs.begin().unwrap().0, 1);
        logs.settle(&run).unwrap();
        assert_eq!(logs.begin().unwrap().0, 2);
        drop(logs);
        assert!(run.join("1.log").exists() && run.join("2.log").exists() && !early.exists());
        drop(Logs::new(&early, false).begin().unwrap());
        assert!(!early.exists(), "without a run nothing is left");
    }
}
