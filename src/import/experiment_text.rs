//! The experiment that would ask what imported cells were asked. Cells are then made from it as
//! from any other file, so that a cell here has the id of ours that asks the same.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use super::{Asked, Found};

/// A URL for a server that isn't known: no such name exists.
const NOWHERE: &str = "http://unknown.invalid";

/// Cells that ask the same: repeats of one another.
pub(super) struct Point<'f> {
    pub(super) first: &'f Found,
    /// Places among the cells found.
    pub(super) members: Vec<usize>,
}

/// Cells by what they ask, in the order found.
pub(super) fn points(cells: &[Found]) -> Vec<Point<'_>> {
    let mut points: Vec<Point<'_>> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (i, cell) in cells.iter().enumerate() {
        let place = *places.entry(key(cell)).or_insert(points.len());
        match points.get_mut(place) {
            Some(point) => point.members.push(i),
            None => points.push(Point { first: cell, members: vec![i] }),
        }
    }
    points
}

/// The same for cells that ask the same, and for no others.
fn key(cell: &Found) -> String {
    let settings: Vec<Option<String>> = SETTINGS.iter().map(|(_, _, of)| of(cell)).collect();
    format!(
        "{:?}",
        (&cell.load, cell.burstiness.map(f64::to_bits), cell.prompt_tokens, cell.max_tokens, settings)
    )
}

/// A setting as TOML, of a cell that says it.
type Setting = (&'static str, &'static str, fn(&Found) -> Option<String>);

/// Settings that are the same for all cells, or axes: section, key, value.
const SETTINGS: [Setting; 6] = [
    ("target", "api", |cell| cell.api.as_deref().map(quoted)),
    ("target", "url", |cell| cell.url.as_deref().map(|url| quoted(&origin(url)))),
    ("target", "model", |cell| cell.model.as_deref().map(quoted)),
    ("workload", "stream", |cell| cell.stream.map(|stream| stream.to_string())),
    ("workload", "temperature", |cell| cell.sampling.get("temperature").cloned()),
    ("workload", "logprobs", |cell| cell.sampling.get("logprobs").cloned()),
];

/// The experiment's text.
pub(super) fn text(name: &str, from: &str, points: &[Point<'_>]) -> String {
    let mut out = format!(
        "# Made by plimsoll import from results of {from}: the experiment that would ask the same.\n\
         # Plimsoll ran none of it. A value that the files don't say stands for \"not known\", and\n\
         # plan.json has null in its place.\n\
         name = {}\n",
        quoted(name)
    );
    let shared = |setting: &Setting| {
        let mut values = points.iter().map(|p| setting.2(p.first));
        let first = values.next().flatten();
        values.all(|value| value == first).then_some(first)
    };
    let axes: Vec<&Setting> = SETTINGS.iter().filter(|s| shared(s).is_none()).collect();
    for section in ["target", "workload"] {
        let _ = write!(out, "\n[{section}]\n");
        for setting in SETTINGS.iter().filter(|s| s.0 == section) {
            if let Some(value) = shared(setting).flatten().or_else(|| stand_in_setting(setting)) {
                let _ = writeln!(out, "{} = {value}", setting.1);
            }
        }
    }
    let spacing = shared_spacing(points);
    if let Some((word, shape)) = spacing {
        let _ = write!(out, "\n[load]\narrivals = {}\n", quoted(word));
        if let Some(shape) = shape {
            let _ = writeln!(out, "burstiness = {shape:?}");
        }
    }
    let _ = write!(out, "\n[cell]\n{}warmup = \"0s\"\n", length(points));
    let unknown = StandIns::of(points);
    for point in points {
        out.push_str(&grid(point, &unknown, &axes));
        if let (None, Some((word, shape))) = (spacing, spacing_of(point)) {
            let _ = writeln!(out, "\"load.arrivals\" = [{}]", quoted(word));
            if let Some(shape) = shape {
                let _ = writeln!(out, "\"load.burstiness\" = [{shape:?}]");
            }
        }
    }
    out
}

/// A word of `load.arrivals`, and the shape that `gamma` wants.
type Spacing<'f> = (&'f str, Option<f64>);

/// How an open loop's arrivals are spaced, where the file says it.
fn spacing_of<'f>(point: &Point<'f>) -> Option<Spacing<'f>> {
    match &point.first.load {
        Asked::Rate { arrivals, .. } => arrivals.as_deref().map(|word| (word, point.first.burstiness)),
        _ => None,
    }
}

/// The spacing of all open loops, if it is one.
fn shared_spacing<'f>(points: &[Point<'f>]) -> Option<Spacing<'f>> {
    let open = points.iter().filter(|p| matches!(p.first.load, Asked::Rate { .. }));
    super::look::same(open.map(spacing_of)).flatten()
}

fn stand_in_setting(setting: &Setting) -> Option<String> {
    (setting.1 == "url").then(|| quoted(NOWHERE))
}

/// How long the first cell lasted: the rest have theirs in the plan.
fn length(points: &[Point<'_>]) -> String {
    let first = points.first().and_then(|p| p.first.seconds).filter(|s| *s >= 0.001);
    first.map(|s| format!("duration = \"{}ms\"\n", (s * 1000.0).round() as u64)).unwrap_or_default()
}

/// What stands for values that aren't known, each a number that no cell really has.
struct StandIns {
    users: u32,
    prompt_tokens: u32,
    max_tokens: u32,
}

impl StandIns {
    fn of(points: &[Point<'_>]) -> Self {
        let users = |p: &Found| match p.load {
            Asked::Users(users) => Some(users),
            _ => None,
        };
        Self {
            users: stand_in(points, users),
            prompt_tokens: stand_in(points, |p| p.prompt_tokens),
            max_tokens: stand_in(points, |p| p.max_tokens),
        }
    }
}

fn grid(point: &Point<'_>, unknown: &StandIns, axes: &[&Setting]) -> String {
    let cell = point.first;
    let mut out = format!("\n[[grid]]\nrepeats = {}\n", point.members.len());
    match &cell.load {
        Asked::Users(users) => {
            let _ = writeln!(out, "users = [{users}]");
        }
        Asked::Rate { qps, cap, .. } => {
            let _ = writeln!(out, "qps = [{qps:?}]");
            if let Some(cap) = cap {
                let _ = writeln!(out, "users = [{cap}]");
            }
        }
        Asked::Unknown => {
            let _ = writeln!(out, "users = [{}] # not known", unknown.users);
        }
    }
    for (axis, tokens, unknown) in [
        ("prompt_tokens", cell.prompt_tokens, unknown.prompt_tokens),
        ("max_tokens", cell.max_tokens, unknown.max_tokens),
    ] {
        let _ = match tokens {
            Some(tokens) => writeln!(out, "{axis} = [{tokens}]"),
            None => writeln!(out, "{axis} = [{unknown}] # not known"),
        };
    }
    for (section, key, of) in axes {
        if let Some(value) = of(cell) {
            let _ = writeln!(out, "\"{section}.{key}\" = [{value}]");
        }
    }
    out
}

/// The least number from 1 on that no cell really has.
fn stand_in(points: &[Point<'_>], of: impl Fn(&Found) -> Option<u32>) -> u32 {
    let taken: HashSet<u32> = points.iter().filter_map(|p| of(p.first)).collect();
    (1..).find(|n| !taken.contains(n)).unwrap_or(1)
}

/// Scheme, host and port: where a path would be the API's.
pub(super) fn origin(url: &str) -> String {
    let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    match url::Url::parse(&full) {
        Ok(parsed) if parsed.host_str().is_some() && matches!(parsed.scheme(), "http" | "https") => {
            parsed.origin().ascii_serialization()
        }
        _ => NOWHERE.to_owned(),
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
