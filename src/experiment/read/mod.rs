//! From the tree to [`Settings`]: one file per section, with its defaults and its limits.

mod cell;
mod compare;
mod connections;
mod content;
mod custom;
mod fleet;
mod hooks;
mod inside;
mod lengths;
mod mix;
mod notify;
mod observe;
mod publish;
mod sampling;
mod server;
mod slo;
mod stage;
mod target;
mod tracing;
mod workload;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

pub(crate) use compare::compare;
pub(crate) use fleet::fleet;
pub(crate) use hooks::hooks;
pub(crate) use mix::refuse_strange_axes;
pub(crate) use notify::notify;
pub(crate) use observe::observe;
pub(crate) use publish::publish;
pub(super) use slo::{is_floor, read as slo};
pub(crate) use tracing::tracing;

use super::mistake::{Mistake, MistakeKind, nearest};
use super::reader::{Reader, Section};
use super::settings::{ClientSettings, Part, Settings, Workload};
use super::tree::{Table, Value as Written};
use crate::sim::{Config, KNOBS};

/// The sections that make up a cell's settings: the roots of an axis's dotted path.
pub(crate) const SECTIONS: [&str; 12] = [
    "target", "workload", "load", "cell", "slo", "client", "sim", "task", "endpoint", "mix", "stage",
    "server",
];

/// Those of them in which the user names the keys, or the tables.
pub(crate) const OPEN_SECTIONS: [&str; 4] = ["sim", "task", "endpoint", "stage"];

/// No duration of a cell may be longer.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

/// Reads everything that one cell runs with. Mistakes go to `reader`; the settings are only
/// good if there were none.
pub(crate) fn settings(reader: &Reader<'_>, tree: &Table) -> Settings {
    let mix = mix::read(&reader.root(tree), tree);
    let lent = mix::with_url(tree);
    let root = reader.root(lent.as_ref().unwrap_or(tree));
    let target = target::read(root.sub("target"));
    let mut workload = workload::read(root.sub("workload"));
    let by_trace = workload.trace.as_ref().is_some_and(|trace| trace.times);
    let load = cell::load(&root, stage::first_level(&root), by_trace);
    let stages = stage::read(&root, load);
    let first = stages.first().map_or(load, |stage| load.at(stage.level));
    if mix.parts.is_empty() {
        target::hold_to_api(&root.sub("target"), &root.sub("workload"), &target, &mut workload);
    }
    let once = |workload: &Workload| workload.dataset.as_ref().is_some_and(|data| !data.repeat);
    let ends = once(&workload);
    if mix.parts.iter().any(|part| once(&part.workload)) {
        let problem =
            "no data set without repeats in a mix: each part asks the lines of its own arrivals alone";
        let mistake = Mistake::new(MistakeKind::Conflict, problem).allowed("repeat = true");
        reader.add(root.sub("workload").origin, "workload.dataset.repeat", mistake);
    }
    let timed = |part: &Part| part.workload.trace.as_ref().is_some_and(|trace| trace.times);
    refuse_beside_trace(&root, by_trace, mix.parts.iter().any(timed), !stages.is_empty());
    let own_server = root.get("server").and_then(|f| server::read(f.section(), &target.url));
    let mut settings = Settings {
        target,
        workload,
        load,
        cell: cell::read(&root, first, &stages, ends),
        slo: slo(root.sub("slo")),
        client: client(root.sub("client")),
        sim: sim(&root.sub("sim")),
        parts: mix.parts,
        stages,
        think: cell::think(&root),
        server: own_server,
    };
    if let (true, Some(first)) = (lent.is_some(), settings.parts.first()) {
        // Of those that take part, not of the whole document.
        settings.target.url = first.target.url.clone();
    }
    mix::take_share(&mut settings, mix.share);
    settings
}

/// A trace that says when requests are due is a load of its own.
fn refuse_beside_trace(root: &Section<'_>, by_trace: bool, in_mix: bool, staged: bool) {
    let beside = match (by_trace, in_mix, staged) {
        (true, false, true) => "stages",
        (_, true, _) => "tasks and endpoints",
        _ => return,
    };
    let workload = root.sub("workload");
    let problem = format!("a trace says when requests are due, so there can be no {beside} beside it");
    let mistake =
        Mistake::new(MistakeKind::Conflict, problem).allowed("trace.times = false, for its lengths alone");
    root.reader.add(workload.origin, "workload.trace", mistake);
}

fn client(section: Section<'_>) -> ClientSettings {
    let settings = ClientSettings {
        threads: section.get("threads").and_then(|f| f.u32(1, 1024)),
        dead_after: section.get("dead_after").and_then(|f| f.u32(1, 1_000_000)).unwrap_or(3),
        pin: section.get("pin").and_then(|f| f.bool()).unwrap_or(false),
    };
    section.done();
    settings
}

/// The simulator's knobs, by name.
fn sim(section: &Section<'_>) -> BTreeMap<String, Value> {
    let mut knobs = BTreeMap::new();
    for field in section.entries() {
        match &field.node.value {
            Written::Float(x) if !x.is_finite() => field.wrong_type("a finite number"),
            Written::Date(_) => field.wrong_type("a number, a text, true or false"),
            _ => {
                knobs.insert(field.name().to_owned(), field.node.json());
            }
        }
    }
    check_sim_knobs(section, &knobs);
    knobs
}

/// Holds the knobs to what the simulator knows.
fn check_sim_knobs(section: &Section<'_>, knobs: &BTreeMap<String, Value>) {
    for error in Config::from_knobs(knobs).err().unwrap_or_default() {
        let field = section.entries().find(|f| f.name() == error.key);
        let known = KNOBS.iter().any(|knob| knob.name == error.key);
        match field {
            Some(field) if !known => {
                let near = nearest(field.name(), KNOBS.iter().map(|knob| knob.name));
                let names: Vec<&str> = KNOBS.iter().map(|knob| knob.name).collect();
                let mistake = Mistake::new(MistakeKind::UnknownKey, "unknown knob");
                field.key_mistake(mistake.nearest(near).allowed(names.join(", ")));
            }
            Some(field) => {
                let mistake = Mistake::new(MistakeKind::BadValue, "the simulator cannot take this");
                field.mistake(mistake.found(error.found).allowed(error.allowed));
            }
            // Of several knobs together, such as rates that add up to more than 1.
            None => {
                let mistake = Mistake::new(MistakeKind::Conflict, "the simulator cannot take this");
                let mistake = mistake.found(error.found).allowed(error.allowed);
                section.reader.add(section.origin, section.key(&error.key), mistake);
            }
        }
    }
}
