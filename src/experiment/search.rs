//! `[search]`, and the axis of a grid that is searched instead of listed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::grid::Axis;
use super::mistake::{Mistake, MistakeKind};
use super::reader::{Field, Section};
use super::tree::{Node, Origin, Table, Value, split_path};

/// The axes that can be searched, as short names and as paths.
const AXES: [(&str, &str); 2] = [("qps", QPS), ("users", USERS)];
const QPS: &str = "load.qps";
const USERS: &str = "load.users";

/// Ends of a search whose file gives none.
const LEAST_QPS: f64 = 0.001;
const MOST: f64 = 10_000.0;

const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// How one search goes: its axis, where it looks, and when it is content or gives up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SearchRules {
    /// `load.qps` or `load.users`.
    pub axis: String,
    /// The first load that is tried, in requests per second or users.
    pub start: f64,
    /// No load below is tried.
    pub min: f64,
    /// No load above is tried.
    pub max: f64,
    /// The search ends once a load that fails is at most so many times one that passes.
    pub ratio: f64,
    /// Most cells that one search takes, repeats among them.
    pub probes: u32,
    /// Most further repeats of a load of which it isn't sure whether it passes.
    pub extend: u32,
    /// How sure a verdict on a share of requests has to be, 0 to 1.
    pub confidence: f64,
    /// A figure that is no share of requests is too near to its limit to call within this
    /// part of it.
    pub tolerance: f64,
    /// Most seconds that the cells of one search take together; `None`: no limit.
    pub time_s: Option<f64>,
}

impl SearchRules {
    /// Whether loads are whole numbers.
    #[must_use]
    pub fn whole(&self) -> bool {
        self.axis == USERS
    }

    /// `req/s` or `users`.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        if self.whole() { "users" } else { "req/s" }
    }
}

/// What `[search]` says, before there is a grid to say it of.
#[derive(Clone)]
pub(super) struct Asked<'r> {
    /// The axis along which every grid is searched, and where that is written.
    pub axis: Option<(&'static str, Field<'r>)>,
    start: Option<Field<'r>>,
    min: Option<Field<'r>>,
    max: Option<Field<'r>>,
    ratio: f64,
    probes: u32,
    extend: u32,
    confidence: f64,
    tolerance: f64,
    time: Option<Duration>,
}

pub(super) fn read(section: Section<'_>) -> Asked<'_> {
    let share = |key, allowed: &str, fits: fn(f64) -> bool| {
        section.get(key).and_then(|f: Field<'_>| f.number_in(allowed, fits))
    };
    let axis_field = section.get("axis");
    let asked = Asked {
        start: section.get("start"),
        min: section.get("min"),
        max: section.get("max"),
        ratio: share("ratio", "1.001 to 2", |x| (1.001..=2.0).contains(&x)).unwrap_or(1.05),
        probes: section.get("probes").and_then(|f| f.u32(2, 1000)).unwrap_or(24),
        extend: section.get("extend").and_then(|f| f.u32(0, 100)).unwrap_or(2),
        confidence: share("confidence", "0.5 to 0.9999", |x| (0.5..=0.9999).contains(&x)).unwrap_or(0.95),
        tolerance: share("tolerance", "0 to 0.5", |x| (0.0..=0.5).contains(&x)).unwrap_or(0.02),
        time: section.get("time").and_then(|f| f.duration(Duration::from_secs(1), LONGEST)),
        axis: axis_field.and_then(|f| Some((word(&f)?, f))),
    };
    section.done();
    asked
}

/// `qps` or `users`.
pub(super) fn word(field: &Field<'_>) -> Option<&'static str> {
    field.word(&AXES)
}

/// Puts the searched axis among `axes`, with the load that the search starts with for its only
/// value. An axis that is there already gives the bounds: its least and its greatest value.
pub(super) fn apply(
    asked: &Asked<'_>,
    axis: &'static str,
    place: &Field<'_>,
    axes: &mut Vec<Axis>,
) -> Option<SearchRules> {
    let listed = axes.iter().position(|known| known.path == axis);
    let levels: Vec<f64> = listed.iter().flat_map(|at| &axes[*at].values).filter_map(level).collect();
    let whole = axis == USERS;
    let bound = |field: &Option<Field<'_>>| field.as_ref().and_then(|f| load(f, whole));
    let least = levels.iter().copied().reduce(f64::min);
    let most = levels.iter().copied().reduce(f64::max);
    let min = bound(&asked.min).or(least).unwrap_or(if whole { 1.0 } else { LEAST_QPS });
    let max = bound(&asked.max).or(most.filter(|most| *most > min)).unwrap_or(MOST.max(min));
    let start = bound(&asked.start).or(least).unwrap_or(1.0_f64.clamp(min, max.max(min)));
    let wrong = |field: &Option<Field<'_>>, problem: &str, found: String| {
        let mistake = Mistake::new(MistakeKind::Conflict, problem).found(found);
        field.as_ref().unwrap_or(place).mistake(mistake);
    };
    if max < min {
        wrong(&asked.max, "search.max is below search.min", format!("{min} to {max}"));
        return None;
    }
    if !(min..=max).contains(&start) {
        wrong(&asked.start, "search.start is not between search.min and search.max", start.to_string());
        return None;
    }
    let rules = SearchRules {
        axis: axis.to_owned(),
        start,
        min,
        max,
        ratio: asked.ratio,
        probes: asked.probes,
        extend: asked.extend,
        confidence: asked.confidence,
        tolerance: asked.tolerance,
        time_s: asked.time.map(|time| time.as_secs_f64()),
    };
    let parts = split_path(axis)?;
    let first = Axis::of_one(parts, load_node(&rules, start, place.node.origin), place.key_origin);
    match listed {
        Some(at) => axes[at] = first,
        None => axes.insert(0, first),
    }
    Some(rules)
}

/// A load as the document would have it.
pub(super) fn load_node(rules: &SearchRules, load: f64, origin: Origin) -> Node {
    let value = if rules.whole() { Value::Int(load.round() as i64) } else { Value::Float(load) };
    Node { value, origin, alias: Some("search".into()) }
}

/// A listed value of the axis, as far as it is a number.
fn level(value: &super::Override) -> Option<f64> {
    match value.node.value {
        Value::Int(n) => Some(n as f64),
        Value::Float(x) => Some(x),
        _ => None,
    }
    .filter(|load| *load > 0.0)
}

/// A bound of the search.
fn load(field: &Field<'_>, whole: bool) -> Option<f64> {
    if whole {
        return field.u32(1, 1_000_000).map(f64::from);
    }
    field.number_in("more than 0, at most 1000000", |x| x > 0.0 && x <= 1e6)
}

/// A mistake where loads come from elsewhere, so that there is nothing to search.
pub(super) fn refuse_other_loads(place: &Field<'_>, base: &Table) {
    let there = |path: &[&str]| {
        let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
        base.lookup(&path).is_some()
    };
    let trace = there(&["workload", "trace"])
        && !matches!(
            base.lookup(&["workload", "trace", "times"].map(str::to_owned)).map(|node| &node.value),
            Some(Value::Bool(false))
        );
    for (what, is) in
        [("stages", there(&["stage"])), ("bursts", there(&["load", "burst"])), ("a trace", trace)]
    {
        if is {
            let problem = format!("no search beside {what}: a search sets one level of load for each cell");
            place.mistake(Mistake::new(MistakeKind::Conflict, problem));
        }
    }
}
