//! What stands ready between cells: the simulators that are asked for, and what was found out
//! about each server. Both are kept for as long as cells ask for the same.

use std::collections::{BTreeMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::{Value, json};
use url::Url;

use super::SweepError;
use crate::event::{Event, Watcher};
use crate::experiment::{Lengths, Settings};
use crate::load::Control;
use crate::server::{self, DiscoverError, Found, LaunchError, Launcher, Stop};
use crate::sim;

/// What was found out is kept of so many targets at least.
const KEPT: usize = 32;

/// Simulators that stay from cell to cell at most.
const KEPT_SIMS: usize = 8;

type Knobs = BTreeMap<String, Value>;

/// See the module.
pub(super) struct Bench {
    sims: Vec<(Knobs, sim::Server)>,
    /// Starts the server that cells ask for; `None`: it runs already.
    launcher: Option<Launcher>,
    /// Of simulators that stay though the cell at hand asks for none of them.
    kept: Vec<Knobs>,
    /// By what was asked, the latest last.
    found: Vec<(String, Rc<Found>)>,
    /// Remarks that were made: once in a run is enough, though cells ask anew.
    told: HashSet<String>,
    /// Ends a question to a server that is under way.
    stop: Stop,
}

impl Bench {
    pub(super) fn new(control: &Control) -> Self {
        let control = control.clone();
        Self {
            sims: Vec::new(),
            launcher: None,
            kept: Vec::new(),
            found: Vec::new(),
            told: HashSet::new(),
            stop: Arc::new(move || control.finish()),
        }
    }

    /// Let the simulators of these cells stay from one that asks for them to the next, as servers
    /// do that take turns. More than a few are a burden to the machine, and are not kept.
    pub(super) fn keep<'a>(&mut self, cells: impl Iterator<Item = &'a Settings>) {
        for settings in cells {
            for part in (0..settings.parts().count()).map(|part| settings.of_part(part)) {
                if part.target.is_sim() && !self.kept.contains(&part.sim) && self.kept.len() < KEPT_SIMS {
                    self.kept.push(part.sim.clone());
                }
            }
        }
    }

    /// Start and stop the cells' own server by `launcher`.
    pub(super) fn launch_by(&mut self, launcher: Launcher) {
        self.launcher = Some(launcher);
    }

    /// There is a run now: its directory takes the logs of the server.
    pub(super) fn settle(&mut self, logs: &Path) -> Result<(), LaunchError> {
        self.launcher.as_mut().map_or(Ok(()), |launcher| launcher.settle(logs))
    }

    /// The cell's own server, if it has one: it is up when this returns. Gives the number of its
    /// start.
    pub(super) fn up(
        &mut self,
        settings: &Settings,
        watcher: &mut dyn Watcher,
    ) -> Result<Option<u32>, LaunchError> {
        let Some(launcher) = &mut self.launcher else { return Ok(None) };
        let up = launcher.up(settings, &mut |text| watcher.on(&Event::Notice { text }))?;
        if up.is_some_and(|up| up.fresh) {
            // What was found out is of the one before.
            self.found.clear();
        }
        Ok(up.map(|up| up.start))
    }

    /// The process group of the cells' own server, while it runs.
    pub(super) fn group(&self) -> Option<u32> {
        self.launcher.as_ref()?.group()
    }

    /// The servers of a cell's parts, in their order. `silent` is the number of a cell, from 1,
    /// whose servers were there before: one that can't be found any more is then no error, but
    /// asked all the same.
    pub(super) fn ready(
        &mut self,
        settings: &Settings,
        silent: Option<u32>,
        watcher: &mut dyn Watcher,
    ) -> Result<Vec<Rc<Found>>, SweepError> {
        let count = settings.parts().count();
        let asked: Vec<_> = (0..count).map(|part| settings.of_part(part)).collect();
        // The old ones first: their memory and their threads are the machine's.
        let kept = &self.kept;
        self.sims.retain(|(knobs, _)| {
            kept.contains(knobs) || asked.iter().any(|part| part.target.is_sim() && part.sim == *knobs)
        });
        let mut told = std::mem::take(&mut self.told);
        let ready = asked.iter().enumerate().map(|(i, part)| {
            let whose = settings.parts.get(i).and_then(|p| p.endpoint.as_deref().or(p.task.as_deref()));
            let mut tell = |text: &str| {
                let text = whose.map_or_else(|| text.to_owned(), |name| format!("{name}: {text}"));
                if !told.contains(&text) {
                    watcher.on(&Event::Notice { text: &text });
                    told.insert(text);
                }
            };
            self.part(part, silent, &mut tell)
        });
        let ready: Result<Vec<_>, _> = ready.collect();
        self.told = told;
        let ready = ready?;
        let spare = self.found.len().saturating_sub(KEPT.max(count));
        self.found.drain(..spare);
        Ok(ready)
    }

    /// Where the first of a cell's servers is.
    pub(super) fn first_base(&mut self, settings: &Settings) -> Result<Url, SweepError> {
        self.base(&settings.of_part(0))
    }

    /// The server of one part.
    fn part(
        &mut self,
        part: &Settings,
        silent: Option<u32>,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Rc<Found>, SweepError> {
        let base = self.base(part)?;
        let key = found_key(part, &base);
        if let Some(at) = self.found.iter().position(|(known, _)| *known == key) {
            let entry = self.found.remove(at);
            self.found.push(entry);
        } else {
            match server::discover_until(part, base.clone(), Arc::clone(&self.stop)) {
                Ok(found) => {
                    found.notes.iter().for_each(|note| tell(note));
                    self.found.push((key, Rc::new(found)));
                }
                Err(error) => {
                    let cell = silent.filter(|_| !matches!(error, DiscoverError::Stopped));
                    let Some(cell) = cell else { return Err(error.into()) };
                    tell(&format!("cell {cell}: {error}"));
                    return Ok(Rc::new(server::undiscovered(part, base, Arc::clone(&self.stop))?));
                }
            }
        }
        Ok(Rc::clone(&self.found.last().expect("one was put there").1))
    }

    /// A target's base URL; for `sim:` that of a simulator with the asked knobs, which all that
    /// ask for the same share.
    fn base(&mut self, part: &Settings) -> Result<Url, SweepError> {
        if !part.target.is_sim() {
            let url = &part.target.url;
            return Url::parse(url).map_err(|source| SweepError::Url { url: url.clone(), source });
        }
        let url = match self.sims.iter().find(|(knobs, _)| *knobs == part.sim) {
            Some((_, server)) => server.url(),
            None => {
                let config = sim::Config::from_knobs(&part.sim).map_err(|errors| {
                    let first = errors.into_iter().next();
                    let (key, reason) = first.map(|e| (e.key.clone(), e.to_string())).unwrap_or_default();
                    SweepError::Knob { key, reason }
                })?;
                let server = sim::Server::start(config, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
                let url = server.url();
                self.sims.push((part.sim.clone(), server));
                url
            }
        };
        Url::parse(&url).map_err(|source| SweepError::Url { url, source })
    }
}

/// What discovery depends on: everything about target and workload but the lengths, which
/// most sweeps vary.
fn found_key(settings: &Settings, base: &Url) -> String {
    let mut workload = settings.workload.clone();
    workload.prompt_tokens = Lengths::constant(1);
    workload.max_tokens = Lengths::constant(1);
    format!("{base} {:?} {workload:?}", settings.target)
}

/// Of what was found, one for each server.
pub(super) fn servers(found: &[Rc<Found>]) -> Vec<&Found> {
    let mut servers: Vec<&Found> = Vec::new();
    for one in found {
        if servers.iter().all(|other| other.endpoint.base != one.endpoint.base) {
            servers.push(one);
        }
    }
    servers
}

/// What the servers say of themselves, for the run's record: of one its own account; of several
/// that of each endpoint by its name.
pub(super) fn identity(settings: &Settings, found: &[Rc<Found>]) -> Value {
    let account = |found: &Found| serde_json::to_value(&found.identity).unwrap_or_default();
    let named = settings.parts.iter().zip(found);
    let by_name: serde_json::Map<String, Value> =
        named.filter_map(|(part, found)| Some((part.endpoint.clone()?, account(found)))).collect();
    match found.first() {
        None => Value::Null,
        Some(first) if by_name.len() < 2 => account(first),
        Some(_) => json!({ "endpoints": by_name }),
    }
}

/// The APIs that are spoken and the models that are asked for, as the servers know them.
pub(super) fn served(found: &[Rc<Found>]) -> (String, String) {
    let of = |read: fn(&Found) -> &str| {
        let mut names: Vec<&str> = Vec::new();
        for name in found.iter().map(|one| read(one)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.join(" + ")
    };
    (of(|one| &one.api), of(|one| &one.endpoint.model))
}
