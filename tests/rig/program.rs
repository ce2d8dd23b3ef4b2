//! The program as its users have it: begun in a directory of its own, waited for, killed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// The binary under test, with `args`, in `dir`.
pub fn plimsoll(dir: &Path, args: &[&str]) -> Output {
    plimsoll_with(dir, args, &[])
}

/// The same with these variables in its environment.
pub fn plimsoll_with(dir: &Path, args: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.args(args).current_dir(dir).envs(environment.iter().copied()).output().unwrap()
}

/// Standard output as text.
pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Standard error as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A sweep of a few short cells against the embedded simulator.
pub const SMALL: &str = r#"
name = "small"
seed = 7
[target]
url = "sim:"
[grid]
users = [1, 2]
prompt_tokens = [16]
max_tokens = [8]
repeats = 2
[cell]
requests = 12
warmup = "100ms"
cooldown = { min = "50ms", max = "2s" }
[slo]
ttft_p95 = "10s"
error_rate = 0.01
"#;

/// The one run below `dir`.
pub fn only_run(dir: &Path) -> std::path::PathBuf {
    let mut runs: Vec<_> = std::fs::read_dir(dir.join("runs"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_dir())
        .collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs.remove(0)
}

/// A directory with `file` as its experiment.
pub fn directory(file: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("small.toml"), file).unwrap();
    dir
}

/// The program under way; ended with the test that fails.
pub struct Started(Option<Child>);

impl Started {
    /// Begin it in `dir`, with `environment` beside this one.
    pub fn new(dir: &Path, args: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
        command.args(args).current_dir(dir).envs(environment.iter().copied());
        Self(Some(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()))
    }

    /// Send it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.0.as_ref().unwrap().id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Wait for its end.
    pub fn output(mut self) -> Output {
        self.0.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The first file of this name below `dir` that holds something.
pub fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    for entry in std::fs::read_dir(dir).ok()?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if let Some(found) = find(&path, name) {
                return Some(found);
            }
        } else if entry.file_name() == name && entry.metadata().is_ok_and(|m| m.len() > 0) {
            return Some(path);
        }
    }
    None
}

/// Files below `dir` that hold `bytes`. Parquet's pages are compressed: records are read.
pub fn holding(dir: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, bytes));
        } else if memchr::memmem::find(&std::fs::read(&path).unwrap(), bytes).is_some() {
            found.push(path);
        }
    }
    found
}
