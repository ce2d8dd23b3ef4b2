//! What `run` and `plan` work on: an experiment file or a scenario's name, and what the command
//! line changes in it. Every flag here is short for a `--set`, and recorded as one, so that a
//! run can be gone on with by `--set` alone.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;

use super::scenarios::unknown;
use super::{Failure, check_figures, say_err};
use crate::experiment::Experiment;
use crate::plan::{self, Plan};
use crate::scenarios;

/// The arguments.
#[derive(Debug, Clone, Args)]
pub(super) struct SourceArgs {
    /// The experiment file, or the name of a scenario; `plimsoll scenarios` lists them.
    file: PathBuf,
    /// Override a setting by its dotted path, such as `cell.duration=10s`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Base URL of the server: short for `--set target.url=URL`.
    #[arg(short = 'H', long, visible_alias = "host", value_name = "URL", help_heading = SHORT)]
    target: Option<String>,
    /// Name of the model: `target.model`.
    #[arg(short = 'm', long, value_name = "NAME", help_heading = SHORT)]
    model: Option<String>,
    /// Wire format, as `plimsoll providers` lists them: `target.api`.
    #[arg(long, visible_alias = "provider", value_name = "NAME", help_heading = SHORT)]
    api: Option<String>,
    /// Closed-loop users, or beside a rate the cap on requests in flight: `load.users`.
    #[arg(short = 'u', long, value_name = "N", help_heading = SHORT)]
    users: Option<String>,
    /// Users that start per second: `load.spawn_rate`.
    #[arg(short = 'r', long, value_name = "RATE", help_heading = SHORT)]
    spawn_rate: Option<String>,
    /// Requests per second, an open loop: `load.qps`.
    #[arg(long, value_name = "RATE", help_heading = SHORT)]
    qps: Option<String>,
    /// Length of each cell's window, such as `5m`: `cell.duration`.
    #[arg(short = 't', long, visible_alias = "run-time", value_name = "TIME", help_heading = SHORT)]
    duration: Option<String>,
    /// Multiply every planned time (window, stages, ramp, warm-up, cooldown): `scale_time`.
    #[arg(long, value_name = "FACTOR", help_heading = SHORT)]
    scale_time: Option<String>,
    /// Have these workers drive the load, `host:port` each; `plimsoll worker` starts one:
    /// `fleet.workers`.
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',', help_heading = SHORT)]
    workers: Vec<String>,
    /// What the command itself sets.
    #[arg(skip)]
    own: Vec<String>,
}

const SHORT: &str = "Short for --set (-H, -u, -r and -t as in Locust)";

/// What was asked for, read and planned.
pub(super) struct Planned {
    pub experiment: Experiment,
    pub plan: Plan,
}

impl SourceArgs {
    /// Reads the file or the scenario, with all overrides, and plans it. Tells of a scenario
    /// that has no server to go to.
    ///
    /// # Errors
    /// Usage: there is neither such a file nor such a scenario, or it has mistakes.
    pub(super) fn plan(&self) -> Result<Planned, Failure> {
        let scenario = self.scenario()?;
        let experiment = self.experiment(&self.sets())?;
        let plan = plan::build(&experiment).map_err(Failure::usage)?;
        let only_sim = plan.cells.iter().flat_map(|c| c.settings.parts()).all(|(target, _)| target.is_sim());
        if scenario.is_some() && only_sim {
            let name = &experiment.name;
            say_err(&format!("{name}: no --target URL, so it goes to the embedded simulator"));
        }
        Ok(Planned { experiment, plan })
    }

    /// Add what the command itself sets.
    pub(super) fn add(&mut self, sets: impl IntoIterator<Item = String>) {
        self.own.extend(sets);
    }

    /// Add overrides that have the last word.
    pub(super) fn add_last(&mut self, sets: impl IntoIterator<Item = String>) {
        self.set.extend(sets);
    }

    /// [`SourceArgs::plan`] with the overrides `more` after all others, for one of several sides.
    ///
    /// # Errors
    /// As there.
    pub(super) fn plan_side(&self, more: &[String]) -> Result<Planned, Failure> {
        let sets: Vec<String> = self.sets().into_iter().chain(more.iter().cloned()).collect();
        let experiment = self.experiment(&sets)?;
        let plan = plan::build(&experiment).map_err(Failure::usage)?;
        Ok(Planned { experiment, plan })
    }

    /// The file or the scenario, with these overrides.
    fn experiment(&self, sets: &[String]) -> Result<Experiment, Failure> {
        let experiment = match self.scenario()? {
            Some(scenario) => scenario.experiment(sets).map_err(Failure::usage)?,
            None => Experiment::load(&self.file, sets).map_err(Failure::usage)?,
        };
        check_figures(&experiment)?;
        Ok(experiment)
    }

    /// Every override as a `--set`. What was given as `--set` comes last: it has the last word.
    pub(super) fn sets(&self) -> Vec<String> {
        let flags = [
            ("target.url", self.target.as_deref().map(text)),
            ("target.model", self.model.as_deref().map(text)),
            ("target.api", self.api.as_deref().map(text)),
            ("load.users", self.users.clone()),
            ("load.spawn_rate", self.spawn_rate.clone()),
            ("load.qps", self.qps.clone()),
            ("cell.duration", self.duration.clone()),
            ("scale_time", self.scale_time.clone()),
            ("fleet.workers", (!self.workers.is_empty()).then(|| list(&self.workers))),
        ];
        let short = flags.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value?)));
        short.chain(self.own.iter().chain(&self.set).cloned()).collect()
    }

    /// The arguments that name the same experiment again.
    pub(super) fn again(&self) -> String {
        let sets: String = self.sets().iter().map(|set| format!(" --set '{set}'")).collect();
        format!("{}{sets}", self.file.display())
    }

    /// The scenario that is meant; `None` for a file.
    fn scenario(&self) -> Result<Option<&'static scenarios::Scenario>, Failure> {
        // A directory of a scenario's name is no file, a pipe is one.
        let there = self.file.exists() && !self.file.is_dir();
        let bare = self.file.components().count() == 1 && self.file.extension().is_none();
        let Some(name) = self.file.to_str().filter(|_| bare && !there) else {
            return if there { Ok(None) } else { self.no_file() };
        };
        scenarios::find(name).map(Some).ok_or_else(|| unknown("file and no scenario", name))
    }

    /// A path that leads nowhere, when its file name is a scenario's.
    fn no_file(&self) -> Result<Option<&'static scenarios::Scenario>, Failure> {
        let stem = self.file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        match scenarios::find(stem).filter(|_| !self.file.exists()) {
            Some(scenario) => Err(Failure::usage(anyhow!(
                "there is no file {}; the scenario is called {:?}, without a path and an ending",
                Path::new(&self.file).display(),
                scenario.name
            ))),
            // The reader says why it can't be read.
            None => Ok(None),
        }
    }
}

/// Texts as a list of a `--set`.
fn list(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", quoted.join(", "))
}

/// `target.url` as an override.
pub(super) fn target(url: &str) -> String {
    format!("target.url={}", text(url))
}

/// A text as the right-hand side of a `--set`: bare where it reads back as text, else in quotes.
pub(super) fn text(value: &str) -> String {
    let bare = value.starts_with(|c: char| c.is_ascii_alphabetic());
    if bare && !["true", "false", "inf", "nan"].contains(&value) {
        return value.to_owned();
    }
    // What JSON escapes, TOML reads.
    serde_json::Value::from(value).to_string()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        source: SourceArgs,
    }

    fn sets(args: &str) -> Vec<String> {
        Line::try_parse_from(format!("x {args}").split(' ')).unwrap_or_else(|e| panic!("{e}")).source.sets()
    }

    #[test]
    fn flags_are_sets() {
        assert_eq!(
            sets("smoke -u 8 -r 2 -t 30s -H http://h:1 -m 7b"),
            [
                "target.url=http://h:1",
                "target.model=\"7b\"",
                "load.users=8",
                "load.spawn_rate=2",
                "cell.duration=30s"
            ]
        );
        assert_eq!(
            sets("smoke --host http://h:1 --run-time 1m --provider tgi --scale-time 0.1 --qps 3"),
            ["target.url=http://h:1", "target.api=tgi", "load.qps=3", "cell.duration=1m", "scale_time=0.1"]
        );
    }

    #[test]
    fn a_set_has_the_last_word() {
        assert_eq!(sets("smoke --set load.users=9 -u 8"), ["load.users=8", "load.users=9"]);
    }

    #[test]
    fn texts_read_back_as_texts() {
        for value in ["http://h:1", "true", "7b", "a\"b", "-1", "gpt-4o", "inf", "2026-01-01", "日本"] {
            let file = "target.url = \"sim:\"\nload.users = 1";
            let set = format!("target.model={}", text(value));
            let experiment = Experiment::parse(Path::new("f.toml"), file, std::slice::from_ref(&set))
                .unwrap_or_else(|m| panic!("{set}: {m}"));
            let plan = plan::build(&experiment).unwrap_or_else(|m| panic!("{set}: {m}"));
            assert_eq!(plan.cells[0].settings.target.model, value, "{set}");
        }
    }
}
