//! Reads a run as a grid: repeats of one cell together, a load axis, and groups for the rest.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{CellData, RunData, plain, text, words};
use crate::experiment::Load;
use crate::measure::validity::NOTHING_ANSWERED_NAME;
use crate::measure::{CellSummary, Verdict};
use crate::plan::Cell;

/// Validity signal of a cell whose queue grew as long as it ran.
const OVERLOADED: &str = crate::measure::OVERLOAD;

/// What makes a point other than an ordinary one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags {
    /// No repeat of it can be believed: drawn hollow or hatched.
    pub invalid: bool,
    /// The server fell behind: its latencies depend on how long the cell ran.
    pub overloaded: bool,
}

/// Mean over repeats, with their least and greatest value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    pub mean: f64,
    pub low: f64,
    pub high: f64,
    /// Repeats that had a value.
    pub n: usize,
}

/// All repeats of one cell.
#[derive(Clone)]
pub struct Repeats<'a> {
    /// At least one.
    pub cells: Vec<&'a CellData>,
}

impl<'a> Repeats<'a> {
    /// The cells of a run, each with its repeats, in plan order.
    #[must_use]
    pub fn all(run: &'a RunData) -> Vec<Self> {
        let mut out: Vec<Self> = Vec::new();
        for data in &run.cells {
            match out.iter_mut().find(|r| r.cell().id == data.cell.id) {
                Some(repeats) => repeats.cells.push(data),
                None => out.push(Self { cells: vec![data] }),
            }
        }
        out
    }

    /// The cell, as its first repeat has it.
    #[must_use]
    pub fn cell(&self) -> &'a Cell {
        &self.cells[0].cell
    }

    /// Summaries of the repeats that ran.
    pub fn summaries(&self) -> impl Iterator<Item = &'a CellSummary> {
        self.cells.iter().filter_map(|c| c.summary.as_ref())
    }

    /// Summaries that figures may be made of: those not invalid, or all where none is.
    #[must_use]
    pub fn usable(&self) -> Vec<&'a CellSummary> {
        let valid: Vec<_> = self.summaries().filter(|s| s.validity.verdict != Verdict::Invalid).collect();
        if valid.is_empty() { self.summaries().collect() } else { valid }
    }

    /// How many repeats ran but are left out of [`Repeats::usable`].
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.summaries().count() - self.usable().len()
    }

    /// Mean and range of a figure over the usable repeats.
    #[must_use]
    pub fn estimate(&self, metric: &str, stat: &str) -> Option<Estimate> {
        let values: Vec<f64> =
            self.usable().iter().filter_map(|s| s.value(metric, stat)).filter(|v| v.is_finite()).collect();
        let (low, high) = extent(&values)?;
        Some(Estimate { mean: values.iter().sum::<f64>() / values.len() as f64, low, high, n: values.len() })
    }

    /// Whether it is to be marked. A cell that did not run has no flag, for it has no point.
    #[must_use]
    pub fn flags(&self) -> Flags {
        let ran = self.summaries().next().is_some();
        Flags {
            invalid: ran && self.summaries().all(|s| s.validity.verdict == Verdict::Invalid),
            overloaded: self
                .usable()
                .iter()
                .any(|s| s.validity.reasons.iter().any(|r| r.signal == OVERLOADED)),
        }
    }

    /// Why it is marked: the first reason of each marked repeat, without doubles.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let worst =
            |s: &&CellSummary| s.validity.reasons.iter().max_by_key(|r| r.verdict).map(|r| r.text.clone());
        let marked = self.summaries().filter(|s| s.validity.verdict == Verdict::Invalid);
        marked.filter_map(|s| worst(&s)).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// How many repeats had no answer to any request that was due in the window: no figure of theirs
    /// can be believed, but that the server was silent can.
    #[must_use]
    pub fn silent(&self) -> usize {
        self.summaries().filter(|s| is_silent(s)).count()
    }

    /// Whether its load changes over the window, so that its figures are of no one level.
    #[must_use]
    pub fn level_changes(&self) -> bool {
        self.cell().settings.level_changes()
    }

    /// Its varying factors in words: `16 users, prompt tokens 512`.
    #[must_use]
    pub fn label(&self) -> String {
        let cell = self.cell();
        let word = |path: &str| Some(factor_text(path, &value(cell, path))).filter(|text| !text.is_empty());
        let words = words::factor_words(cell, cell.varying.iter(), word);
        if !words.is_empty() {
            return words.join(", ");
        }
        words::staged_load(cell).unwrap_or_else(|| load_text(&cell.settings.load))
    }
}

/// Whether no request that was due in the window was answered.
#[must_use]
pub fn is_silent(summary: &CellSummary) -> bool {
    summary.validity.reasons.iter().any(|r| r.signal == NOTHING_ANSWERED_NAME)
}

/// How load is put on: the two kinds don't share an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Loop {
    Closed,
    Open,
}

impl Loop {
    /// Of a cell.
    #[must_use]
    pub const fn of(load: &Load) -> Self {
        match load {
            Load::Closed { .. } => Self::Closed,
            Load::Open { .. } => Self::Open,
        }
    }

    /// As a sentence has it.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Closed => "closed loop",
            Self::Open => "open loop",
        }
    }
}

/// What a family's x axis is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct X {
    /// Dotted path of the factor.
    pub path: String,
    pub label: String,
    pub unit: String,
}

impl X {
    fn of(path: &str) -> Self {
        let (label, unit) = match path {
            "load.users" => ("concurrent users", ""),
            "load.qps" => ("offered load", "req/s"),
            "workload.prompt_tokens" => ("prompt length", "tokens"),
            "workload.max_tokens" => ("output length asked for", "tokens"),
            _ => (short_name(path), ""),
        };
        Self { path: path.into(), label: label.into(), unit: unit.into() }
    }

    /// Whether it is a level of load, for which saturation has a meaning.
    #[must_use]
    pub fn is_load(&self) -> bool {
        self.path == "load.users" || self.path == "load.qps"
    }

    /// One level in words: `16 users`.
    #[must_use]
    pub fn level(&self, x: f64) -> String {
        let v = text::tick(x);
        match self.path.as_str() {
            "load.users" if x == 1.0 => "1 user".to_owned(),
            "load.users" => format!("{v} users"),
            "load.qps" => format!("{v} req/s"),
            _ => format!("{} {v}", short_name(&self.path)),
        }
    }
}

/// Cells that share everything but the x axis.
#[derive(Clone)]
pub struct Group<'a> {
    /// Empty where the family has only one.
    pub label: String,
    /// The factors that make the group, in words, in the order of the family's `rest`.
    pub words: Vec<String>,
    /// By rising x.
    pub levels: Vec<Level<'a>>,
}

/// One place on the x axis.
#[derive(Clone)]
pub struct Level<'a> {
    pub x: f64,
    pub repeats: Repeats<'a>,
}

/// The cells of one kind of loop over one numeric axis.
pub struct Family<'a> {
    pub kind: Loop,
    pub x: X,
    /// Varying factors that are not x.
    pub rest: Vec<String>,
    pub groups: Vec<Group<'a>>,
    /// Appended to the ids of charts where a run has both kinds: `-open`.
    pub suffix: &'static str,
}

impl Family<'_> {
    /// The greatest number of repeats that any level has.
    #[must_use]
    pub fn repeats(&self) -> usize {
        let levels = self.groups.iter().flat_map(|g| &g.levels);
        levels.map(|l| l.repeats.summaries().count()).max().unwrap_or(0)
    }
}

/// The run's cells, split by kind of loop, over the load where it varies, else over the
/// first numeric axis that varies. Nothing where no numeric axis varies.
#[must_use]
pub fn families(run: &RunData) -> Vec<Family<'_>> {
    families_of(Repeats::all(run))
}

/// As [`families`], of any cells: those of several runs meet by their factors.
#[must_use]
pub fn families_of(all: Vec<Repeats<'_>>) -> Vec<Family<'_>> {
    let both = [Loop::Closed, Loop::Open].map(|k| all.iter().any(|r| Loop::of(&r.cell().settings.load) == k));
    [Loop::Closed, Loop::Open]
        .into_iter()
        .filter_map(|kind| {
            let mine: Vec<_> =
                all.iter().filter(|r| Loop::of(&r.cell().settings.load) == kind).cloned().collect();
            let suffix = match kind {
                Loop::Open if both == [true, true] => "-open",
                _ => "",
            };
            family(kind, suffix, mine)
        })
        .collect()
}

/// [`families`] over the load or a length, and of each kind of loop that has none its cells as groups
/// of one level over the load: that one setting of a server is a greater number than another doesn't
/// make it a heavier load.
#[must_use]
pub fn ladders(run: &RunData) -> Vec<Family<'_>> {
    let mut out = families(run);
    out.retain(|family| family.x.is_load() || family.x.path.starts_with("workload."));
    let all = Repeats::all(run);
    for kind in [Loop::Closed, Loop::Open] {
        let mine: Vec<_> =
            all.iter().filter(|r| Loop::of(&r.cell().settings.load) == kind).cloned().collect();
        if mine.is_empty() || out.iter().any(|family| family.kind == kind) {
            continue;
        }
        let rest = varying(&mine);
        let groups = mine.into_iter().map(|repeats| {
            let words = rest.iter().map(|p| factor_text(p, &value(repeats.cell(), p)));
            let words: Vec<String> = words.filter(|word| !word.is_empty()).collect();
            let x = match repeats.cell().settings.load {
                Load::Closed { users } => f64::from(users),
                Load::Open { qps, .. } => qps,
            };
            Group { label: words.join(", "), words, levels: vec![Level { x, repeats }] }
        });
        let x = X::of(if kind == Loop::Closed { "load.users" } else { "load.qps" });
        let groups: Vec<_> = groups.collect();
        out.push(Family { kind, x, rest: rest.clone(), groups, suffix: "" });
    }
    out
}

fn family<'a>(kind: Loop, suffix: &'static str, mine: Vec<Repeats<'a>>) -> Option<Family<'a>> {
    let varying = varying(&mine);
    let load = if kind == Loop::Closed { "load.users" } else { "load.qps" };
    let numeric = |p: &&String| mine.iter().all(|r| number(r.cell(), p).is_some());
    let path = match varying.iter().find(|p| *p == load) {
        Some(path) => path,
        None => varying.iter().find(numeric)?,
    };
    let rest: Vec<String> = varying.iter().filter(|p| *p != path).cloned().collect();
    let mut groups: Vec<Group<'a>> = Vec::new();
    for repeats in mine {
        let Some(x) = number(repeats.cell(), path) else { continue };
        let words: Vec<String> = rest.iter().map(|p| factor_text(p, &value(repeats.cell(), p))).collect();
        let level = Level { x, repeats };
        match groups.iter_mut().find(|g| g.words == words) {
            Some(group) => group.levels.push(level),
            None => groups.push(Group { label: words.join(", "), words, levels: vec![level] }),
        }
    }
    for group in &mut groups {
        group.levels.sort_by(|a, b| a.x.total_cmp(&b.x));
    }
    Some(Family { kind, x: X::of(path), rest, groups, suffix })
}

/// Paths with more than one value among `cells`, in the order written.
pub(crate) fn varying(cells: &[Repeats<'_>]) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    for path in cells.iter().flat_map(|r| &r.cell().varying) {
        let first = cells.first().map(|r| value(r.cell(), path));
        let differs = cells.iter().any(|r| Some(value(r.cell(), path)) != first);
        if differs && !paths.contains(path) {
            paths.push(path.clone());
        }
    }
    paths
}

/// A factor's value; null where the cell has none.
pub(crate) fn value(cell: &Cell, path: &str) -> Value {
    cell.factors.get(path).cloned().unwrap_or(Value::Null)
}

fn number(cell: &Cell, path: &str) -> Option<f64> {
    cell.factors.get(path).and_then(Value::as_f64)
}

/// An axis as people name it: the last part of its path, in words.
#[must_use]
pub fn short_name(path: &str) -> &str {
    match path {
        "workload.prompt_tokens" => "prompt tokens",
        "workload.max_tokens" => "max tokens",
        _ => path.rsplit('.').next().unwrap_or(path),
    }
}

/// A factor's value as people read it; empty for null.
#[must_use]
pub fn value_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(s) => s.clone(),
        Value::Number(n) => n.as_f64().map_or_else(|| n.to_string(), text::tick),
        other => plain(other),
    }
}

pub(crate) fn factor_text(path: &str, value: &Value) -> String {
    match (path, value.as_f64()) {
        (_, None) if value.is_null() => String::new(),
        ("load.users" | "load.qps", Some(x)) => X::of(path).level(x),
        _ => format!("{} {}", short_name(path), value_text(value)),
    }
}

/// Least and greatest finite value; `None` where there is none.
pub(crate) fn extent(values: &[f64]) -> Option<(f64, f64)> {
    let finite = values.iter().copied().filter(|v| v.is_finite());
    finite.fold(None, |seen, v| match seen {
        None => Some((v, v)),
        Some((lo, hi)) => Some((lo.min(v), hi.max(v))),
    })
}

fn load_text(load: &Load) -> String {
    match load {
        // Of an imported cell whose file doesn't say it.
        Load::Closed { users: 0 } => "load not known".to_owned(),
        Load::Closed { users } => X::of("load.users").level(f64::from(*users)),
        Load::Open { qps, .. } => X::of("load.qps").level(*qps),
    }
}
