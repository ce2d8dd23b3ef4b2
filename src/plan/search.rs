//! Searched grids: what they need beside their axis, and the cells that a search decides on.

use super::expand::points;
use super::factors::{GRID, cell_id, cell_seed, factors};
use super::{Cell, Plan, Searched};
use crate::experiment::{Experiment, Grid, Load, Mistake, MistakeKind, Mistakes, Override, Reader, Settings};
use crate::metrics::rises_with_load;

/// A search without an SLO would look for nothing, and one along the axis of the other loop finds
/// nothing.
pub(super) fn hold_to_slo(reader: &Reader<'_>, grid: &Grid, settings: &Settings) {
    let Some(rules) = &grid.search else { return };
    if settings.slo.rules.is_empty() {
        let mistake =
            Mistake::new(MistakeKind::Missing, "a search looks for the greatest load within the SLO");
        reader.add(grid.origin, "slo", mistake.allowed("limits in [slo], such as ttft_p95 = \"1s\""));
    }
    for rule in settings.slo.rules.iter().filter(|rule| rises_with_load(&rule.metric)) {
        let problem = format!(
            "{} rises with the load: a search goes down where its limit is missed, away from where it is met",
            rule.metric
        );
        let mistake = Mistake::new(MistakeKind::Conflict, problem);
        reader.add(
            grid.origin,
            format!("slo.{}", rule.metric),
            mistake.allowed(
                "limits that more load breaks; or a listed axis, of which `capacity` tells both ends",
            ),
        );
    }
    if rules.whole() && matches!(settings.load, Load::Open { .. }) {
        let problem = "users are searched in a closed loop, and there is a rate beside them";
        let mistake = Mistake::new(MistakeKind::Conflict, problem);
        reader.add(grid.origin, "search", mistake.allowed("search = \"qps\", or no qps"));
    }
}

/// The cell of a search at another `load`, for the `repeat`-th time, as the next one of `plan`.
///
/// # Errors
/// What is wrong with its settings at this load.
pub fn probe(
    experiment: &Experiment,
    plan: &Plan,
    search: &Searched,
    load: f64,
    repeat: u32,
) -> Result<Cell, Mistakes> {
    let reader = experiment.reader();
    let grid = &experiment.grids[search.grid as usize];
    let spots = points(&reader, grid);
    let spot = &spots[search.spot as usize];
    let of_axis = |value: &&Override| value.path == search.rules.axis;
    let other =
        spot.values.iter().copied().find(of_axis).map(|first| experiment.at_load(&search.rules, first, load));
    let values: Vec<&Override> = spot
        .values
        .iter()
        .copied()
        .map(|value| other.as_ref().filter(|_| of_axis(&value)).unwrap_or(value))
        .collect();
    let (settings, tree) = experiment.settings(&reader, &values);
    let mut factors = factors(&settings, &tree, Some(grid), &values);
    if reader.mistakes() > 0 {
        return Err(Mistakes::collect(reader.take()));
    }
    let first = &plan.cells[search.cells[0] as usize];
    let id = cell_id(&factors);
    if let Some(name) = first.factors.get(GRID) {
        factors.insert(GRID.to_owned(), name.clone());
    }
    Ok(Cell {
        index: plan.cells.len() as u32,
        seed: cell_seed(experiment.seed, &id, repeat),
        id,
        grid: first.grid.clone(),
        factors,
        varying: first.varying.clone(),
        repeat,
        settings,
    })
}
