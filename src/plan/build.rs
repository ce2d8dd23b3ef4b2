//! Builds the plan of an experiment.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::expand::{Spot, order, points, product_size};
use super::factors::{GRID, MAIN, cell_id, cell_seed, factors, hex, in_words};
use super::{Cell, CellId, Plan, Searched, search, trace};
use crate::experiment::{
    Experiment, Grid, Mistake, MistakeKind, Mistakes, Order, Origin, Reader, ServerSettings, Settings,
    canonical_json,
};

/// Most cells, repeats counted, that a plan may have.
pub const MAX_CELLS: usize = 10_000;

/// Most pairs of equal cells that are named one by one.
const MAX_DUPLICATES: usize = 20;

/// One point with all that its repeats share.
struct Shared {
    id: CellId,
    factors: BTreeMap<String, Value>,
    settings: Settings,
    /// SHA-256 of the settings.
    hash: String,
    grid: Option<usize>,
    /// Its number among the points of its grid.
    spot: usize,
}

/// Expands the grids to cells in running order.
///
/// # Errors
/// Mistakes that only the whole grid shows: equal cells, too many cells, exclusions that
/// exclude nothing, combinations that make no sense.
pub fn build(experiment: &Experiment) -> Result<Plan, Mistakes> {
    let reader = experiment.reader();
    refuse_too_many(&reader, &experiment.grids);
    if reader.mistakes() > 0 {
        return Err(Mistakes::collect(reader.take()));
    }
    let shared = all_points(experiment, &reader);
    for point in &shared {
        if let Some(grid) = point.grid.map(|g| &experiment.grids[g]) {
            search::hold_to_slo(&reader, grid, &point.settings);
        }
    }
    if reader.mistakes() > 0 {
        return Err(Mistakes::collect(reader.take()));
    }
    let Varying { paths: varying, by_name } = varying(experiment, &shared);
    let (mut cells, mut searches, mut pruned) = (Vec::new(), Vec::new(), Vec::new());
    let mut digest = Sha256::new();
    digest.update(head(experiment));
    for (index, (at, repeat)) in sequence(experiment, &shared).into_iter().enumerate() {
        let point = &shared[at];
        digest.update(format!("{} {repeat} {}\n", point.id, point.hash));
        let origin = point.grid.map(|g| &experiment.grids[g]);
        if let Some(rules) = origin.and_then(|grid| grid.search.clone()) {
            let (grid, spot) = (point.grid.unwrap_or_default() as u32, point.spot as u32);
            searches.push(Searched { rules, grid, spot, cells: vec![index as u32] });
        }
        pruned.extend(origin.filter(|grid| grid.prune).map(|_| index as u32));
        let grid = origin.and_then(|grid| grid.name.clone());
        let mut factors = point.factors.clone();
        // Not a part of what the cell is: its id is made without it.
        factors.extend(grid.clone().filter(|_| by_name).map(|name| (GRID.to_owned(), Value::from(name))));
        cells.push(Cell {
            index: index as u32,
            id: point.id.clone(),
            grid,
            varying: varying.iter().filter(|path| factors.contains_key(*path)).cloned().collect(),
            factors,
            repeat,
            seed: cell_seed(experiment.seed, &point.id, repeat),
            settings: point.settings.clone(),
        });
    }
    for search in &searches {
        digest.update(format!("{}\n", canonical_json(&serde_json::json!(search.rules))));
    }
    let experiment_hash = hex(&digest.finalize());
    Ok(Plan {
        name: experiment.name.clone(),
        seed: experiment.seed,
        experiment_hash,
        cells,
        searches,
        pruned,
    })
}

/// What the experiment's hash covers beside its cells. Comments, the description and the
/// report may change between a run and its resumption; nothing that is run may.
fn head(experiment: &Experiment) -> String {
    let Experiment { name, seed, salt, hooks, .. } = experiment;
    let hooks = match hooks.is_empty() {
        true => String::new(),
        false => format!("{}\n", canonical_json(&serde_json::json!(hooks))),
    };
    format!("plimsoll experiment 1\n{name}\n{seed}\n{}\n{hooks}", Value::from(salt.clone()))
}

fn refuse_too_many(reader: &Reader<'_>, grids: &[Grid]) {
    let mut total = 0_usize;
    for grid in grids {
        let cells = product_size(grid)
            .and_then(|n| n.checked_add(grid.include.len()))
            .and_then(|n| n.checked_mul(grid.repeats as usize));
        total = cells.map_or(usize::MAX, |n| total.saturating_add(n));
        if total > MAX_CELLS {
            let problem = match total {
                usize::MAX => "more cells than can be counted".to_owned(),
                n => format!("{n} cells and more"),
            };
            let mistake = Mistake::new(MistakeKind::TooMany, problem);
            return reader.add(grid.origin, "grid", mistake.allowed(format!("{MAX_CELLS}, repeats counted")));
        }
    }
}

fn all_points(experiment: &Experiment, reader: &Reader<'_>) -> Vec<Shared> {
    let mut shared = Vec::new();
    // By settings and by id: neither may come twice.
    let mut seen: HashMap<String, Origin> = HashMap::new();
    let mut duplicates = 0;
    let mut traces = trace::Traces::default();
    let mut add = |spot: &Spot<'_>, grid: Option<usize>, number: usize| {
        let (mut settings, tree) = experiment.settings(reader, &spot.values);
        if let Err(error) = trace::fit(&mut settings, &mut traces) {
            let mistake = Mistake::new(MistakeKind::BadValue, error.to_string());
            let place = tree.lookup(&["workload".to_owned(), "trace".to_owned()]).map(|node| node.origin);
            reader.add(place.unwrap_or(spot.origin), "workload.trace", mistake);
        }
        let factors = factors(&settings, &tree, grid.map(|g| &experiment.grids[g]), &spot.values);
        let hash = settings_hash(&settings);
        let id = cell_id(&factors);
        if let Some(first) = seen.get(&hash).or_else(|| seen.get(&id.0)) {
            duplicates += 1;
            if duplicates <= MAX_DUPLICATES {
                duplicate(reader, spot.origin, *first, &factors);
            }
        } else {
            seen.insert(hash.clone(), spot.origin);
            seen.insert(id.0.clone(), spot.origin);
        }
        shared.push(Shared { id, factors, settings, hash, grid, spot: number });
    };
    if experiment.grids.is_empty() {
        add(&Spot { values: Vec::new(), origin: experiment.origin() }, None, 0);
    }
    for (number, grid) in experiment.grids.iter().enumerate() {
        let spots = points(reader, grid);
        if spots.is_empty() {
            let mistake = Mistake::new(MistakeKind::Missing, "every cell of this grid is excluded");
            reader.add(grid.origin, "grid", mistake);
        }
        for (at, spot) in spots.iter().enumerate() {
            add(spot, Some(number), at);
        }
    }
    shared
}

fn duplicate(reader: &Reader<'_>, origin: Origin, first: Origin, factors: &BTreeMap<String, Value>) {
    let problem = format!(
        "the same cell as on {}: {}; for several runs of a cell use repeats",
        reader.sources.name_place(first),
        in_words(factors)
    );
    reader.add(origin, "grid", Mistake::new(MistakeKind::Duplicate, problem));
}

fn settings_hash(settings: &Settings) -> String {
    let mut json = serde_json::to_value(settings).expect("settings are plain data with text keys");
    forget_paths(&mut json);
    hex(&Sha256::digest(canonical_json(&json)))
}

/// What a file holds counts, not where it lies: a run is resumed from another directory too.
fn forget_paths(json: &mut Value) {
    match json {
        Value::Object(map) => {
            if map.contains_key("sha256") {
                map.remove("path");
            }
            map.values_mut().for_each(forget_paths);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_paths),
        _ => {}
    }
}

/// Running order over all grids: grid by grid as written, each in its own order.
fn sequence(experiment: &Experiment, shared: &[Shared]) -> Vec<(usize, u32)> {
    if experiment.grids.is_empty() {
        return order(Order::AsWritten, &[shared[0].id.clone()], 1, 0, 0);
    }
    let mut sequence: Vec<(usize, u32)> = Vec::new();
    for (number, grid) in experiment.grids.iter().enumerate() {
        let own: Vec<usize> = (0..shared.len()).filter(|i| shared[*i].grid == Some(number)).collect();
        let ids: Vec<CellId> = own.iter().map(|i| shared[*i].id.clone()).collect();
        let ordered = order(grid.order, &ids, grid.repeats, experiment.seed, number);
        let mut ordered: Vec<_> = ordered.into_iter().map(|(i, repeat)| (own[i], repeat)).collect();
        if !grid.ordered {
            let running = sequence.last().map(|(at, _)| &shared[*at].settings.server);
            by_server(&mut ordered, shared, running);
        }
        sequence.extend(ordered);
    }
    sequence
}

/// Brings the cells of each server together, otherwise in their order, so that it restarts least.
/// The one that is `running` already comes first.
fn by_server(ordered: &mut [(usize, u32)], shared: &[Shared], running: Option<&Option<ServerSettings>>) {
    let mut servers: Vec<&Option<ServerSettings>> = Vec::new();
    let there =
        |of: &&Option<ServerSettings>| ordered.iter().any(|(at, _)| shared[*at].settings.server == **of);
    servers.extend(running.filter(there));
    for (at, _) in ordered.iter() {
        let server = &shared[*at].settings.server;
        if !servers.contains(&server) {
            servers.push(server);
        }
    }
    ordered.sort_by_key(|(at, _)| servers.iter().position(|one| **one == shared[*at].settings.server));
}

/// What tells the cells of a plan apart.
struct Varying {
    /// Factors with more than one value: axes in the order written, then the others.
    paths: Vec<String>,
    /// Whether the grids' names are among them, and stand for all that only differs between grids.
    by_name: bool,
}

fn varying(experiment: &Experiment, shared: &[Shared]) -> Varying {
    let axes = experiment.grids.iter().flat_map(|g| g.axes.iter().map(|a| a.path.clone()));
    let included = experiment.grids.iter().flat_map(|g| &g.include).flat_map(|p| &p.values);
    let mut paths: Vec<String> = Vec::new();
    for path in axes.chain(included.map(|v| v.path.clone())).chain(MAIN.map(str::to_owned)) {
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    let value =
        |point: &Shared, path: &String| canonical_json(point.factors.get(path).unwrap_or(&Value::Null));
    let searched = |path: &String| {
        experiment.grids.iter().any(|grid| grid.search.as_ref().is_some_and(|rules| rules.axis == *path))
    };
    let differs = |path: &String| shared.iter().any(|point| value(point, path) != value(&shared[0], path));
    paths.retain(|path| searched(path) || differs(path));
    let named = experiment.grids.iter().all(|grid| grid.name.is_some());
    let within = |path: &String| {
        MAIN.contains(&path.as_str())
            || shared.iter().any(|point| {
                let first = shared.iter().find(|other| other.grid == point.grid);
                first.is_some_and(|first| value(first, path) != value(point, path))
            })
    };
    let by_name = named && !paths.iter().all(within);
    if by_name {
        paths.retain(within);
        paths.insert(0, GRID.to_owned());
    }
    Varying { paths, by_name }
}
