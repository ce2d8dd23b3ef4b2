//! The calibration: what this machine's client can do, kept where every run finds it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{StoreError, atomic, environment};
use crate::record::Ceiling;

/// Version of the file.
const SCHEMA: u32 = 1;
/// The variable that names the file.
pub const CALIBRATION_VARIABLE: &str = "PLIMSOLL_CALIBRATION";

/// What `plimsoll calibrate` found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    pub schema: u32,
    /// RFC 3339, UTC.
    pub made_at: String,
    /// Made with `--quick`: short windows, once each.
    pub quick: bool,
    pub machine: Machine,
    /// Content chunks of streams in flood: as many to a read as there are.
    pub chunks: Rates,
    /// Content chunks that come one to a read, as most servers send them.
    pub paced_chunks: Rates,
    /// Short answers that are not streamed, each about 1 KB.
    pub requests: Rates,
    pub connections: Connections,
    /// By rising rate.
    pub lag: Vec<LagAt>,
}

/// Events per second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// For each second of a load core's CPU time: its ceiling.
    pub per_core_s: f64,
    /// As it went with one load core, the simulator beside it.
    pub one_core_s: f64,
    /// As it went with a load core for each of the machine's; `None` where it was not taken.
    pub all_cores_s: Option<f64>,
}

/// Streams opened all at once, each on a connection of its own.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Connections {
    /// Most that were open at one time.
    pub held: u32,
    /// From the first send to the last answer's headers.
    pub opened_s: f64,
}

/// How late an open loop sent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LagAt {
    /// Asked for, in requests per second.
    pub rate: f64,
    /// As sent, in requests per second.
    pub sent_s: f64,
    pub lag_p50_ms: f64,
    pub lag_p99_ms: f64,
    /// How late a 10 ms timer beside the load woke; `None` where too few were taken.
    pub canary_p99_ms: Option<f64>,
    /// Lag p99 is within the limit of a valid cell.
    pub valid: bool,
}

/// What a calibration depends on. One made elsewhere, or by another build, is not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: u32,
    pub kernel: String,
    pub plimsoll: String,
    pub optimised_build: bool,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn here() -> Self {
        Self {
            cpu: environment::cpu().unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism()
                .map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            plimsoll: env!("CARGO_PKG_VERSION").to_owned(),
            optimised_build: !cfg!(debug_assertions),
        }
    }

    /// The first thing that differs, in words.
    fn difference(&self, here: &Self) -> Option<String> {
        let cores = |m: &Self| format!("{} cores", m.cores);
        let build = |m: &Self| if m.optimised_build { "a release build" } else { "a debug build" }.to_owned();
        let pairs = [
            (self.cpu.clone(), here.cpu.clone()),
            (cores(self), cores(here)),
            (format!("kernel {}", self.kernel), format!("kernel {}", here.kernel)),
            (format!("plimsoll {}", self.plimsoll), format!("plimsoll {}", here.plimsoll)),
            (build(self), build(here)),
        ];
        pairs.into_iter().find(|(a, b)| a != b).map(|(then, now)| format!("made with {then}, this is {now}"))
    }
}

/// A calibration's file, looked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Calibrated {
    /// It fits this machine and build.
    Yes(Box<Calibration>),
    /// Why there is none to use.
    No(String),
}

impl Calibrated {
    /// Look where [`calibration_path`] says. What can't be used is no error: a run goes on
    /// without it.
    #[must_use]
    pub fn find() -> Self {
        match calibration_path() {
            Some(path) => Self::read(&path, &Machine::here()),
            None => Self::No("not calibrated: run `plimsoll calibrate`".to_owned()),
        }
    }

    fn read(path: &Path, here: &Machine) -> Self {
        let again = "run `plimsoll calibrate` again";
        let bytes = match atomic::read_if_there(path) {
            Ok(None) => return Self::No("not calibrated: run `plimsoll calibrate`".to_owned()),
            Err(error) => return Self::No(format!("not calibrated: {error}")),
            Ok(Some(bytes)) => bytes,
        };
        match serde_json::from_slice::<Calibration>(&bytes) {
            Ok(found) if found.schema == SCHEMA => match found.machine.difference(here) {
                None => Self::Yes(Box::new(found)),
                Some(why) => Self::No(format!("the calibration is not used: {why}; {again}")),
            },
            _ => Self::No(format!("the calibration {} can't be read; {again}", path.display())),
        }
    }

    /// What a load core can do, if it is known.
    #[must_use]
    pub fn ceiling(&self) -> Option<Ceiling> {
        match self {
            Self::Yes(found) => Some(found.ceiling()),
            Self::No(_) => None,
        }
    }

    /// For `environment.json`: which calibration a run was judged by, or why by none.
    #[must_use]
    pub fn note(&self) -> Value {
        match self {
            Self::Yes(found) => json!({
                "made_at": found.made_at,
                "quick": found.quick,
                "chunks_per_core_s": found.chunks.per_core_s,
                "requests_per_core_s": found.requests.per_core_s,
            }),
            Self::No(why) => json!({ "none": why }),
        }
    }
}

/// The ceiling that a run was judged by so far, from its note in `environment.json`; `None`
/// where it was judged by none.
#[must_use]
pub fn noted_ceiling(environment: &Value) -> Option<Ceiling> {
    let note = environment.get("calibration")?;
    let rate = |key: &str| note.get(key).and_then(Value::as_f64);
    Some(Ceiling { chunks_per_s: rate("chunks_per_core_s")?, requests_per_s: rate("requests_per_core_s")? })
}

impl Calibration {
    /// The version that is written.
    pub const SCHEMA: u32 = SCHEMA;

    /// What a load core can do at most.
    #[must_use]
    pub const fn ceiling(&self) -> Ceiling {
        Ceiling { chunks_per_s: self.chunks.per_core_s, requests_per_s: self.requests.per_core_s }
    }

    /// Write it to `path`, whole or not at all; directories are made.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, path: &Path) -> Result<(), StoreError> {
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            std::fs::create_dir_all(dir).map_err(StoreError::io("create", dir))?;
        }
        let text = serde_json::to_vec_pretty(self)
            .map_err(|e| StoreError::Encode { path: path.to_owned(), what: e.to_string() })?;
        atomic::write(path, &text)
    }
}

/// Where the calibration is: `$PLIMSOLL_CALIBRATION`, else `plimsoll/calibration.json` under
/// `$XDG_CACHE_HOME`, else under `~/.cache`. `None` where not even a home is known.
#[must_use]
pub fn calibration_path() -> Option<PathBuf> {
    path_by(|name| std::env::var_os(name))
}

fn path_by(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = set(CALIBRATION_VARIABLE) {
        return Some(path);
    }
    // The convention has it that a relative cache directory is to be ignored.
    let cache = set("XDG_CACHE_HOME").filter(|dir| dir.is_absolute());
    let cache = cache.or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(cache.join("plimsoll/calibration.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Calibration {
        let rates = Rates { per_core_s: 1e6, one_core_s: 8e5, all_cores_s: None };
        Calibration {
            schema: SCHEMA,
            made_at: "2026-01-01T00:00:00Z".to_owned(),
            quick: true,
            machine: Machine::here(),
            chunks: rates,
            paced_chunks: rates,
            requests: Rates { per_core_s: 2e4, ..rates },
            connections: Connections { held: 100, opened_s: 5e3 },
            lag: Vec::new(),
        }
    }

    #[test]
    fn it_is_found_where_the_variables_say() {
        let vars = |pairs: &'static [(&str, &str)]| {
            path_by(move |name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).into()))
        };
        assert_eq!(vars(&[("HOME", "/h")]), Some("/h/.cache/plimsoll/calibration.json".into()));
        assert_eq!(
            path_by(|n| if n == "XDG_CACHE_HOME" { Some("/x".into()) } else { None }),
            Some("/x/plimsoll/calibration.json".into())
        );
        assert_eq!(
            vars(&[("HOME", "/h"), ("XDG_CACHE_HOME", "relative"), (CALIBRATION_VARIABLE, "")]),
            Some("/h/.cache/plimsoll/calibration.json".into())
        );
        assert_eq!(vars(&[("HOME", "/h"), (CALIBRATION_VARIABLE, "c.json")]), Some("c.json".into()));
        assert_eq!(vars(&[]), None);
    }

    #[test]
    fn what_is_written_is_read_again_by_the_same_machine_and_build_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er/calibration.json");
        let here = Machine::here();
        assert!(
            matches!(Calibrated::read(&path, &here), Calibrated::No(why) if why.contains("plimsoll calibrate"))
        );
        let written = sample();
        written.write(&path).unwrap();
        let read = Calibrated::read(&path, &here);
        assert_eq!(read, Calibrated::Yes(Box::new(written)));
        assert_eq!(read.ceiling(), Some(Ceiling { chunks_per_s: 1e6, requests_per_s: 2e4 }));
        assert_eq!(read.note()["chunks_per_core_s"], 1e6);
        assert_eq!(noted_ceiling(&json!({ "calibration": read.note() })), read.ceiling());
        let none = Calibrated::No("why".to_owned()).note();
        assert_eq!(noted_ceiling(&json!({ "calibration": none })), None);
        assert_eq!(noted_ceiling(&json!({})), None);
        let others = [
            Machine { cpu: "another".to_owned(), ..here.clone() },
            Machine { cores: here.cores + 1, ..here.clone() },
            Machine { kernel: "9.9".to_owned(), ..here.clone() },
            Machine { plimsoll: "9.9".to_owned(), ..here.clone() },
            Machine { optimised_build: !here.optimised_build, ..here.clone() },
        ];
        for other in others {
            let read = Calibrated::read(&path, &other);
            assert_eq!(read.ceiling(), None, "{other:?}");
            assert!(read.note()["none"].as_str().unwrap().contains("made with"), "{other:?}");
        }
        std::fs::write(&path, "{}").unwrap();
        assert!(
            matches!(Calibrated::read(&path, &here), Calibrated::No(why) if why.contains("can't be read"))
        );
    }
}
