//! Which cells of two runs are the same, and why none is.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::analysis::grid::Repeats;
use crate::analysis::{RunData, plain};
use crate::plan::{Cell, CellId};

/// A cell of either run, or of both.
pub(super) struct Met<'a> {
    pub base: Option<Repeats<'a>>,
    pub cand: Option<Repeats<'a>>,
}

impl<'a> Met<'a> {
    /// The cell as the baseline has it, else as the candidate does.
    pub(super) fn cell(&self) -> &'a Cell {
        match (&self.base, &self.cand) {
            (Some(repeats), _) | (None, Some(repeats)) => repeats.cell(),
            (None, None) => unreachable!("a cell is of a run"),
        }
    }

    /// The cell in words.
    pub(super) fn label(&self) -> String {
        self.base.as_ref().or(self.cand.as_ref()).map(Repeats::label).unwrap_or_default()
    }

    pub(super) const fn in_both(&self) -> bool {
        self.base.is_some() && self.cand.is_some()
    }
}

/// All cells, in the order of the baseline's plan, then those that only the candidate has.
pub(super) fn meet<'a>(baseline: &'a RunData, candidate: &'a RunData) -> Vec<Met<'a>> {
    let (base, mut cand) = (repeats(baseline), repeats(candidate));
    let mut places: BTreeMap<&CellId, usize> = cand
        .iter()
        .enumerate()
        .map(|(at, repeats)| (&repeats.as_ref().expect("all are there").cell().id, at))
        .collect();
    let mut met: Vec<Met<'a>> = Vec::with_capacity(base.len());
    for repeats in base.into_iter().flatten() {
        let other = places.remove(&repeats.cell().id).and_then(|at| cand[at].take());
        met.push(Met { base: Some(repeats), cand: other });
    }
    met.extend(cand.into_iter().flatten().map(|repeats| Met { base: None, cand: Some(repeats) }));
    met
}

/// The cells of a run, each with its repeats, in plan order.
fn repeats(run: &RunData) -> Vec<Option<Repeats<'_>>> {
    let mut out: Vec<Option<Repeats<'_>>> = Vec::new();
    let mut places: BTreeMap<&CellId, usize> = BTreeMap::new();
    for data in &run.cells {
        let at = *places.entry(&data.cell.id).or_insert_with(|| {
            out.push(Some(Repeats { cells: Vec::new() }));
            out.len() - 1
        });
        if let Some(repeats) = &mut out[at] {
            repeats.cells.push(data);
        }
    }
    out
}

/// Factors that say how much load there is.
const LOAD: [&str; 2] = ["load.users", "load.qps"];

/// Why no cell of the one run is one of the other, in a sentence.
pub(super) fn why_apart(cells: &[Met<'_>]) -> String {
    let of = |base: bool| {
        let own = move |met: &&Met<'_>| if base { met.base.is_some() } else { met.cand.is_some() };
        cells.iter().filter(own).map(Met::cell).collect::<Vec<_>>()
    };
    let (base, cand) = (of(true), of(false));
    if base.is_empty() || cand.is_empty() {
        return "a run has no cells".to_owned();
    }
    let load = |cell: &Cell| LOAD.map(|path| cell.factors.get(path).cloned().unwrap_or(Value::Null));
    let same = |a: &&Cell| cand.iter().any(|b| load(a) == load(b));
    let shared: Vec<&Cell> = base.iter().copied().filter(same).collect();
    let head = if shared.is_empty() {
        "the two runs have no level of load in common: "
    } else {
        "cells of the same load differ in something else: "
    };
    let others: Vec<&Cell> = match shared.is_empty() {
        true => cand.clone(),
        false => cand.iter().copied().filter(|b| shared.iter().any(|a| load(a) == load(b))).collect(),
    };
    let own = if shared.is_empty() { base } else { shared };
    let mut paths: BTreeSet<&str> = BTreeSet::new();
    for cell in own.iter().chain(&others) {
        paths.extend(cell.factors.keys().map(String::as_str).filter(|path| *path != "grid"));
    }
    let words = |cells: &[&Cell], path: &str| {
        let mut values: Vec<String> = Vec::new();
        for cell in cells {
            let word = match cell.factors.get(path) {
                None => "no factor".to_owned(),
                Some(Value::Null) => "not set".to_owned(),
                Some(value) => plain(value),
            };
            if !values.contains(&word) {
                values.push(word);
            }
        }
        crate::analysis::text::list(&values, 6)
    };
    let differ = paths.into_iter().filter_map(|path| {
        let (a, b) = (words(&own, path), words(&others, path));
        (a != b).then(|| format!("{path} is {a} in the baseline and {b} in the candidate"))
    });
    let differ: Vec<String> = differ.collect();
    match differ.is_empty() {
        true => format!("{head}the combinations of their factors"),
        false => format!("{head}{}", differ.join("; ")),
    }
}
