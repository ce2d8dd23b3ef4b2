//! What one cell runs with: the checked, completed form of an experiment's sections.

mod load;
mod server;
mod slo;
mod target;
mod workload;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use load::{Arrivals, Load, Think};
pub use server::{Ready, ServerSettings, ServerStop, StopSignal};
pub use slo::{Gate, RequestLimit, Slo, SloRule};
pub use target::{Connections, Dns, HttpVersion, MAX_TOKENS_FIELDS, Proxy, Target, Tls};
pub use workload::{
    ForceLength, LengthShape, Lengths, MAX_KEPT_ANSWERS, StopAfter, TokenizerChoice, Workload,
};

/// Everything one cell needs to know. Serialised into the run's `plan.json`; secrets are
/// named (`api_key_env`), never held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub target: Target,
    pub workload: Workload,
    pub load: Load,
    pub cell: CellSettings,
    pub slo: Slo,
    pub client: ClientSettings,
    /// Knobs of the embedded simulator (`[sim]`), by name; used when the target is `sim:`.
    pub sim: BTreeMap<String, Value>,
    /// The parts of a mix: each task (`[task.NAME]`) at each endpoint (`[endpoint.NAME]`), with
    /// target and workload of its own. Empty where the cell is not mixed: then `target` and
    /// `workload` are all there is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// The stages (`[stage.NAME]`) that the window goes through, in order. Empty: one level.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<Stage>,
    /// What a closed loop's user waits after an answer before its next request is due; `None`:
    /// nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub think: Option<Think>,
    /// The server that is started for the cell; `None`: it runs already, or is the simulator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerSettings>,
}

impl Settings {
    /// Every target that a cell asks, with what it is asked: the parts of a mix, or the one.
    pub fn parts(&self) -> impl Iterator<Item = (&Target, &Workload)> {
        let one = self.parts.is_empty().then_some((&self.target, &self.workload));
        one.into_iter().chain(self.parts.iter().map(|part| (&part.target, &part.workload)))
    }

    /// One part as if it were the whole cell: its target, workload and simulator in the cell's
    /// place. `part` is its number in [`Settings::parts()`].
    #[must_use]
    pub fn of_part(&self, part: usize) -> Cow<'_, Self> {
        let Some(part) = self.parts.get(part) else { return Cow::Borrowed(self) };
        Cow::Owned(Self {
            target: part.target.clone(),
            workload: part.workload.clone(),
            sim: part.sim.as_ref().unwrap_or(&self.sim).clone(),
            parts: Vec::new(),
            ..self.clone()
        })
    }

    /// What `of` says of each target, every word once: `a + b`.
    #[must_use]
    pub fn of_targets<'a>(&'a self, of: impl Fn(&'a Target) -> &'a str) -> String {
        let mut words: Vec<&str> = Vec::new();
        for (target, _) in self.parts() {
            if !words.contains(&of(target)) {
                words.push(of(target));
            }
        }
        words.join(" + ")
    }
}

/// One part of a mix. Arrivals are dealt out to parts by weight, at random by the seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The task's name, if there are tasks.
    pub task: Option<String>,
    /// The endpoint's name, if there are several.
    pub endpoint: Option<String>,
    /// Its share of the arrivals, relative to the other parts' weights; more than 0.
    pub weight: f64,
    pub target: Target,
    pub workload: Workload,
    /// Knobs of its own simulator (`[endpoint.NAME.sim]` over `[sim]`); `None`: the cell's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sim: Option<BTreeMap<String, Value>>,
}

/// One stage of a cell: a level of load for a time, with metrics of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    pub name: String,
    pub duration: Duration,
    /// Time over which the load goes over from the level before, within `duration`.
    pub ramp: Duration,
    /// Users (closed loop), or requests per second (open loop).
    pub level: f64,
    /// What is asked of this stage alone.
    pub slo: Slo,
    /// Latency is to be back at the level of an earlier stage.
    pub recovers: Option<Recovery>,
}

/// A stage's latency held against an earlier stage's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// Name of the earlier stage.
    pub of: String,
    /// How much higher it may be, relative: 0.2 is a fifth.
    pub within: f64,
}

/// How long a cell lasts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellSettings {
    /// Length of the measured window. At least one of `duration` and `requests` is set.
    pub duration: Option<Duration>,
    /// Requests due in the window, at most.
    pub requests: Option<u64>,
    /// At least this much load before the window.
    pub warmup: Duration,
    /// Time over which users start, or the rate rises, before the warm-up.
    pub ramp: Duration,
    /// How long requests in flight at the window's end are awaited before they are censored.
    pub drain: Duration,
    pub cooldown: Cooldown,
}

/// The pause between two cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cooldown {
    pub min: Duration,
    /// After `min`, wait until the server is idle, but at most until `max`.
    pub max: Duration,
}

/// Settings of this client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientSettings {
    /// Load cores; `None`: as many as the machine has, and no more than needed.
    pub threads: Option<u32>,
    /// Cells in a row in which nothing was answered, after which the sweep stops.
    pub dead_after: u32,
    /// Each load core on a processor of its own. Left out of `plan.json` where it is not asked
    /// for, so that a plan made before the key existed keeps its hash.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pin: bool,
}
