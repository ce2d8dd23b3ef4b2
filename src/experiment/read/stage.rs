//! `[stage.NAME]`: the levels of load that a cell's window goes through, in the order written.

use std::time::Duration;

use super::cell::{MAX_USERS, SHORT, rate};
use super::{LONGEST, slo};
use crate::experiment::mistake::{Mistake, MistakeKind};
use crate::experiment::reader::{Field, Section};
use crate::experiment::settings::{Arrivals, Load, Recovery, Stage};

/// How much higher a latency may be that is to have recovered, where nothing is said.
const WITHIN: f64 = 0.2;

/// What the first stage gives where `[load]` says nothing: its users or its rate.
pub(super) fn first_level(root: &Section<'_>) -> Option<Load> {
    let stage = root.sub("stage").entries().find(Field::is_table)?.section();
    if let Some(users) = stage.get("users").and_then(|f| f.u32(1, MAX_USERS)) {
        return Some(Load::Closed { users });
    }
    let qps = stage.get("qps").and_then(|f| rate(&f))?;
    Some(Load::Open { qps, arrivals: Arrivals::Poisson, max_in_flight: None })
}

pub(super) fn read(root: &Section<'_>, load: Load) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    for field in root.sub("stage").entries() {
        if !field.is_table() {
            field.wrong_type("a table: [stage.NAME]");
            continue;
        }
        if matches!(load, Load::Open { arrivals: Arrivals::Burst { .. }, .. }) {
            let problem = "no stages beside burst: each burst is as large as the others";
            field.key_mistake(Mistake::new(MistakeKind::Conflict, problem));
            return Vec::new();
        }
        let stage = one(&field, load, &stages);
        stages.push(stage);
    }
    stages
}

fn one(field: &Field<'_>, load: Load, before: &[Stage]) -> Stage {
    let section = field.section();
    let duration_field = section.get("duration");
    if duration_field.is_none() && section.reader.whole() {
        let mistake = Mistake::new(MistakeKind::Missing, "missing").allowed("a duration such as \"30s\"");
        section.reader.add(section.origin, section.key("duration"), mistake);
    }
    let duration = duration_field.and_then(|f| f.duration(SHORT, LONGEST));
    let stage = Stage {
        name: field.name().to_owned(),
        duration: duration.unwrap_or(SHORT),
        level: level(&section, load),
        ramp: ramp(&section, duration, before.is_empty()),
        slo: slo::read(section.sub("slo")),
        recovers: recovery(&section, before),
    };
    for field in section.sub("slo").entries().filter(|f| of_cells_alone(f.name())) {
        let problem = "no figure of a stage: it is taken over the whole window, and belongs into [slo]";
        field.key_mistake(Mistake::new(MistakeKind::Conflict, problem));
    }
    section.done();
    stage
}

/// Whether a limit of this name is on a metric that a cell has as a whole.
fn of_cells_alone(name: &str) -> bool {
    ["chunk_gap", "whole_run_output_tps"]
        .iter()
        .any(|metric| name.strip_prefix(metric).is_some_and(|rest| rest.is_empty() || rest.starts_with('_')))
}

/// `users` or `qps`, as the load has it; or `times` the load's own.
fn level(section: &Section<'_>, load: Load) -> f64 {
    let (users, qps, times) = (section.get("users"), section.get("qps"), section.get("times"));
    let given: Vec<&Field<'_>> = [&users, &qps, &times].into_iter().flatten().collect();
    if let [_, second, ..] = given.as_slice() {
        let problem = format!("beside {}: a stage has one level", given[0].name());
        second.key_mistake(Mistake::new(MistakeKind::Conflict, problem));
    }
    let (other, kind) = match load {
        Load::Closed { .. } => (&qps, "the load is a closed loop: its stages have users, or times"),
        Load::Open { .. } => (&users, "the load is an open loop: its stages have qps, or times"),
    };
    if let Some(field) = other {
        field.key_mistake(Mistake::new(MistakeKind::Conflict, kind));
    }
    let times = times.and_then(|f| f.number_in("more than 0, at most 1000000", |x| x > 0.0 && x <= 1e6));
    let level = match load {
        Load::Closed { .. } => users.and_then(|f| f.u32(1, MAX_USERS)).map(f64::from),
        Load::Open { .. } => qps.as_ref().and_then(rate),
    };
    let level = level.unwrap_or(load.level() * times.unwrap_or(1.0));
    load.at(level).level()
}

/// The time over which the level is gone over to, within the stage.
fn ramp(section: &Section<'_>, duration: Option<Duration>, first: bool) -> Duration {
    let Some(field) = section.get("ramp") else { return Duration::ZERO };
    let Some(ramp) = field.duration(Duration::ZERO, LONGEST) else { return Duration::ZERO };
    if first && !ramp.is_zero() {
        let problem = "no stage comes before the first: cell.ramp raises the load before the warm-up";
        field.key_mistake(Mistake::new(MistakeKind::Conflict, problem));
    }
    if duration.is_some_and(|duration| ramp > duration) {
        let problem = "longer than the stage that it is a part of";
        field.mistake(Mistake::new(MistakeKind::Conflict, problem).found(field.node.describe()));
    }
    ramp
}

/// `recovers`, the name of an earlier stage, and `within`.
fn recovery(section: &Section<'_>, before: &[Stage]) -> Option<Recovery> {
    let (recovers, within_field) = (section.get("recovers"), section.get("within"));
    let within = within_field.as_ref().and_then(Field::share);
    let Some(field) = recovers else {
        if let Some(field) = within_field {
            let problem = "has no effect without recovers, the name of an earlier stage";
            field.key_mistake(Mistake::new(MistakeKind::Conflict, problem));
        }
        return None;
    };
    let name = field.text()?;
    if before.is_empty() {
        let problem = "no stage comes before the first, to recover its latency";
        field.key_mistake(Mistake::new(MistakeKind::Conflict, problem));
        return None;
    }
    if before.iter().all(|stage| stage.name != name) {
        let names: Vec<&str> = before.iter().map(|stage| stage.name.as_str()).collect();
        field.unknown_word(&name, &names);
        return None;
    }
    Some(Recovery { of: name, within: within.unwrap_or(WITHIN) })
}
