//! The client under measurement: `plimsoll run` on an experiment file, report and all.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::process::{self, Place, Usage};

/// Exit code of a run whose only cell is invalid.
const INVALID: i32 = 4;

/// What is asked of the client: the parts of an experiment file that rows differ in.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// A line of `[load]`, such as `users = 32`.
    pub load: String,
    pub requests: u64,
    pub prompt_tokens: u32,
    pub max_tokens: u32,
    pub stream: bool,
    /// As `[cell]` has it. None where the CPU time of the process is divided by the requests of the
    /// summary: every request is then in it.
    pub warmup: &'static str,
    /// Further lines of `[cell]`.
    pub cell: &'static str,
}

impl Experiment {
    /// A closed loop of so many users, so many requests in all.
    pub fn users(users: u32, requests: u64, max_tokens: u32) -> Self {
        Self {
            load: format!("users = {users}"),
            requests,
            prompt_tokens: 32,
            max_tokens,
            stream: true,
            warmup: "0s",
            cell: "",
        }
    }

    fn text(&self, url: &str) -> String {
        let Self { load, requests, prompt_tokens, max_tokens, stream, warmup, cell } = self;
        format!(
            "name = \"bench\"\nseed = 1\n[target]\nurl = \"{url}\"\n\
             [workload]\nprompt_tokens = {prompt_tokens}\nmax_tokens = {max_tokens}\nstream = {stream}\n\
             [load]\n{load}\n[cell]\nrequests = {requests}\nwarmup = \"{warmup}\"\n\
             cooldown = {{ min = \"0s\", max = \"0s\" }}\n{cell}\n"
        )
    }
}

/// A run that has ended.
#[derive(Debug)]
pub struct Run {
    pub usage: Usage,
    /// The cell's `summary.json`.
    pub summary: Value,
    /// The cell's records as the client wrote them while it ran.
    pub records: PathBuf,
    /// Largest resident set until the cell was summarised: load, log and column file, no report.
    pub load_peak_kb: u64,
}

impl Run {
    /// Run `program` on the experiment, everything left as it is by default.
    pub fn new(
        program: &Path,
        experiment: &Experiment,
        url: &str,
        dir: &Path,
        place: Place,
    ) -> io::Result<Self> {
        let dir = tempfile::tempdir_in(dir)?.keep();
        let (file, runs) = (dir.join("bench.toml"), dir.join("runs"));
        fs::write(&file, experiment.text(url))?;
        let mut command = Command::new(program);
        command.arg("run").arg(&file).arg("--out").arg(&runs).arg("--reports").arg(dir.join("reports"));
        let records = dir.join("records.jsonl");
        let mut load_peak_kb = 0;
        let usage = process::measure(&mut command, place, |peak_kb| {
            keep_log(&runs, &records);
            if cell_dir(&runs).is_none_or(|cell| !cell.join("summary.json").exists()) {
                load_peak_kb = peak_kb;
            }
        })?;
        // A cell that can't be believed is a result: the row says so.
        if !usage.status.success() && usage.status.code() != Some(INVALID) {
            return Err(io::Error::other(format!("the run ended with {}: {}", usage.status, usage.stderr)));
        }
        let cell = cell_dir(&runs).ok_or_else(|| io::Error::other("the run left no cell"))?;
        let summary =
            serde_json::from_slice(&fs::read(cell.join("summary.json"))?).map_err(io::Error::other)?;
        let run = Self { usage, summary, records, load_peak_kb };
        match run.trouble() {
            Some(trouble) => Err(io::Error::other(trouble)),
            None => Ok(run),
        }
    }

    /// A count of the window, such as `ok`.
    pub fn count(&self, name: &str) -> u64 {
        self.summary["counts"][name].as_u64().unwrap_or(0)
    }

    /// Output tokens of all answers.
    pub fn tokens(&self) -> u64 {
        self.summary["tokens"]["output"].as_u64().unwrap_or(0)
    }

    /// A quantile of a metric, in its unit.
    pub fn quantile(&self, metric: &str, quantile: &str) -> Option<f64> {
        self.summary["distributions"][metric][quantile].as_f64()
    }

    /// The verdict on the cell, with the texts of its reasons.
    pub fn validity(&self) -> String {
        let validity = &self.summary["validity"];
        let verdict = validity["verdict"].as_str().unwrap_or("?");
        let reasons = validity["reasons"].as_array().into_iter().flatten();
        let texts: Vec<&str> = reasons.filter_map(|r| r["text"].as_str()).collect();
        if texts.is_empty() { verdict.to_owned() } else { format!("{verdict}: {}", texts.join("; ")) }
    }

    /// A figure of a run in which something failed would be of something else.
    fn trouble(&self) -> Option<String> {
        let (attempted, ok) = (self.count("attempted"), self.count("ok"));
        (ok == 0 || ok != attempted).then(|| format!("only {ok} of {attempted} requests ended well"))
    }
}

/// The one cell's directory of the one run below `runs`.
fn cell_dir(runs: &Path) -> Option<PathBuf> {
    let dirs = |dir: &Path| fs::read_dir(dir).ok().into_iter().flatten().flatten().map(|e| e.path());
    dirs(runs).filter(|p| p.is_dir()).flat_map(|run| dirs(&run.join("cells"))).next()
}

/// Give the log of records a second name as soon as it is there: the client removes its own when
/// it has made a column file of it, which this program would need polars to read.
fn keep_log(runs: &Path, records: &Path) {
    if !records.exists()
        && let Some(cell) = cell_dir(runs)
    {
        // Not there yet, or no longer: the next look finds it, or the row misses it and says so.
        let _ = fs::hard_link(cell.join("records.jsonl"), records);
    }
}
