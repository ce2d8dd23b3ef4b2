//! Several runs that take turns, cell by cell, so that what drifts on the machine or in the
//! servers hits them alike: what `ab` compares, and what noise is measured with.
//!
//! Each side is an ordinary run of its own. The cells of its plan are those of the others'
//! plans, one by one, with the same ids and seeds; what the sides differ in (the server, or what
//! it is told) is no factor. Who begins alternates: in a cell's next repeat it is the other way
//! round (a b, b a, a b, …), and every second cell begins with the other, so that nobody is always first.

use std::collections::BTreeSet;

use serde_json::Value;

use super::begin::{begin, look_ahead, look_at_files, reopen};
use super::bench::{self, Bench};
use super::observing::Observing;
use super::walk::{Agenda, Turn, Walk};
use super::{Ending, Options, SweepError, Swept, close, fleet};
use crate::event::{Event, Watcher};
use crate::experiment::Experiment;
use crate::load::Control;
use crate::measure::CellSummary;
use crate::plan::{self, Cell, Plan};
use crate::store::{self, Calibrated, RunDir, Status};

/// One of the runs.
#[derive(Debug)]
pub struct Side<'a> {
    /// Its name among them, which ends its directory's: `a`.
    pub name: &'a str,
    pub experiment: &'a Experiment,
    pub plan: &'a Plan,
    /// `--set` overrides, for the record; the run to go on with; where runs are.
    pub options: Options,
}

/// Run every cell of every side that is not finished yet, taking turns.
///
/// # Errors
/// When the plans don't have the same cells, nothing can be measured (a server can't be found
/// at the start) or kept.
pub fn in_turn(
    sides: &[Side<'_>],
    control: &Control,
    watcher: &mut dyn Watcher,
) -> Result<Vec<Swept>, SweepError> {
    let Some(first) = sides.first() else { return Ok(Vec::new()) };
    if let Some(other) = sides.iter().find(|side| !same_cells(first.plan, side.plan)) {
        return Err(SweepError::OtherCells { difference: plan::difference(first.plan, other.plan) });
    }
    let grids = || sides.iter().flat_map(|side| &side.experiment.grids);
    if grids().any(|grid| grid.search.is_some() || grid.prune) {
        return Err(SweepError::NoTurns);
    }
    let mut cells = sides.iter().flat_map(|side| &side.plan.cells);
    if cells.any(|cell| cell.settings.server.is_some())
        || sides.iter().any(|s| !s.experiment.hooks.is_empty())
    {
        let text =
            "runs that take turns ask servers that run already: [server] and [hooks] have no effect on them";
        watcher.on(&Event::Notice { text });
    }
    let mut bench = Bench::new(control);
    bench.keep(sides.iter().flat_map(|side| &side.plan.cells).map(|cell| &cell.settings));
    let calibrated = Calibrated::find();
    let mut ceiling = calibrated.ceiling();
    let names: Vec<&str> = sides.iter().map(|side| side.name).collect();
    let ids = store::ids_of_sides(&first.options.runs, &first.plan.name, &names);
    let fleet = fleet(first.experiment)?;
    let mut resumed = Vec::new();
    for side in sides {
        let run = side.options.resume.as_deref().map(|path| reopen(path, side.plan, watcher)).transpose()?;
        resumed.push(run);
    }
    // All that can fail for want of a file or a server does so before any directory is made.
    let mut identities = Vec::new();
    for (side, run) in sides.iter().zip(&resumed) {
        let done = run.as_ref().map(RunDir::finished).unwrap_or_default();
        let left: Vec<&Cell> = side.plan.cells.iter().filter(|c| !done.contains(&c.index)).collect();
        look_at_files(&left)?;
        look_ahead(&left, fleet.as_ref(), watcher)?;
        identities.push(match left.first() {
            Some(cell) => bench::identity(&cell.settings, &bench.ready(&cell.settings, None, watcher)?),
            None => Value::Null,
        });
    }
    let mut runs = Vec::new();
    for (((side, run), identity), id) in sides.iter().zip(resumed).zip(identities).zip(&ids) {
        runs.push(match run {
            Some(mut run) => {
                // Its cells are judged alike, by what was known when it was begun.
                ceiling = store::noted_ceiling(&run.environment()?);
                run.set_status(Status::Running)?;
                run
            }
            None => {
                let known = (identity, fleet.as_ref());
                begin(side.experiment, side.plan, (&side.options, Some(id)), known, &calibrated)?
            }
        });
    }
    // One file's word for all: they are measured alike.
    let observing = Observing::new(&first.experiment.observe);
    let traced = sides.first().map_or(0.0, |side| super::traced(side.experiment));
    walk(
        sides,
        &mut runs,
        Walk::new(control, watcher, bench, ceiling)
            .with_traced(traced)
            .observed_by(observing)
            .with_fleet(fleet),
    )
}

/// Whether the same is asked, in the same order.
fn same_cells(a: &Plan, b: &Plan) -> bool {
    let what = |plan: &Plan| -> Vec<_> {
        plan.cells.iter().map(|cell| (cell.id.clone(), cell.repeat, cell.seed)).collect()
    };
    what(a) == what(b)
}

fn walk(sides: &[Side<'_>], runs: &mut [RunDir], mut walk: Walk<'_>) -> Result<Vec<Swept>, SweepError> {
    let done: Vec<BTreeSet<u32>> = runs.iter().map(RunDir::finished).collect();
    let turns: Vec<(usize, &Cell)> = order(sides[0].plan, sides.len())
        .into_iter()
        .map(|(side, at)| (side, &sides[side].plan.cells[at]))
        .collect();
    let left: Vec<(usize, &Cell)> =
        turns.iter().copied().filter(|(side, cell)| !done[*side].contains(&cell.index)).collect();
    let expected: Vec<f64> = plan::estimate(sides[0].plan).cells.iter().map(|c| c.expected_s).collect();
    let expected_of = |cell: &Cell| expected[cell.index as usize];
    let name = runs.iter().map(|run| run.manifest().run.as_str()).collect::<Vec<_>>().join(" + ");
    let finished_before = turns.len() - left.len();
    walk.watcher().on(&Event::SweepStarted {
        run: &name,
        cells: turns.len(),
        finished_before,
        expected_s: left.iter().map(|(_, cell)| expected_of(cell)).sum(),
    });
    let mut agenda = InTurn { sides, runs, left: &left, next: 0, expected: &expected };
    let ending = walk.all(&mut agenda);
    let finished = finished_before + walk.finished;
    for run in runs.iter_mut() {
        // A side that has all of its cells is finished, however the other ended.
        let whole = run.finished().len() == run.plan().cells.len();
        match &ending {
            Ok(Ending::Interrupted | Ending::Stopped { .. }) if whole => run.set_status(Status::Finished)?,
            _ => close(run, &ending, walk.watcher())?,
        }
    }
    let ending = ending?;
    let interrupted = ending == Ending::Interrupted;
    walk.watcher().on(&Event::SweepFinished { run: &name, finished, of: turns.len(), interrupted });
    Ok(runs.iter().map(|run| Swept { run: run.path().to_owned(), ending: ending.clone() }).collect())
}

/// Whose turn is when: pairs of a side and the place of a cell in the plan.
fn order(plan: &Plan, sides: usize) -> Vec<(usize, usize)> {
    let mut ids = Vec::new();
    let mut turns = Vec::with_capacity(plan.cells.len() * sides);
    for (at, cell) in plan.cells.iter().enumerate() {
        let ordinal = ids.iter().position(|id| *id == &cell.id).unwrap_or_else(|| {
            ids.push(&cell.id);
            ids.len() - 1
        });
        let backwards = (ordinal + cell.repeat as usize).is_multiple_of(2);
        let turn = |side| (if backwards { sides - 1 - side } else { side }, at);
        turns.extend((0..sides).map(turn));
    }
    turns
}

/// The agenda of runs that take turns.
struct InTurn<'a> {
    sides: &'a [Side<'a>],
    runs: &'a [RunDir],
    left: &'a [(usize, &'a Cell)],
    next: usize,
    /// Expected seconds of each cell of a plan.
    expected: &'a [f64],
}

impl Agenda for InTurn<'_> {
    fn next(&mut self, watcher: &mut dyn Watcher) -> Result<Option<Turn>, SweepError> {
        let Some((side, cell)) = self.left.get(self.next).copied() else { return Ok(None) };
        self.next += 1;
        watcher.on(&Event::Turn { side: self.sides[side].name });
        Ok(Some(Turn {
            cell: cell.clone(),
            expected_s: self.expected[cell.index as usize],
            of: self.sides[side].plan.cells.len(),
        }))
    }

    fn run(&self, _: &Turn) -> &RunDir {
        // The turn at hand is the one that was handed out last.
        &self.runs[self.left[self.next.saturating_sub(1)].0]
    }

    fn finished(&mut self, _: &Turn, _: &CellSummary) -> Result<(), SweepError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::plan::{CellId, build};

    fn plan(text: &str) -> Plan {
        build(&Experiment::parse(Path::new("x.toml"), text, &[]).unwrap()).unwrap()
    }

    #[test]
    fn who_begins_alternates_over_a_cells_repeats_and_from_cell_to_cell() {
        let file = |users: &str| {
            plan(&format!(
                "target.url = \"sim:\"\ncell.duration = \"1s\"\n[grid]\nusers = {users}\nrepeats = 4"
            ))
        };
        let sides = |plan: &Plan| {
            order(plan, 2).iter().map(|(side, _)| "ab".chars().nth(*side).unwrap()).collect::<String>()
        };
        assert_eq!(sides(&file("[1]")), "abbaabba");
        // Of several cells, in whatever order, each begins as often with the one as with the other,
        // and half of them begin with the one while the others begin with the other.
        let plan = file("[1, 2]");
        let turns = order(&plan, 2);
        let first = |id: &CellId| -> Vec<usize> {
            let mut firsts: Vec<(u32, usize)> = turns
                .chunks(2)
                .map(|pair| (&plan.cells[pair[0].1], pair[0].0))
                .filter(|(cell, _)| cell.id == *id)
                .map(|(cell, side)| (cell.repeat, side))
                .collect();
            firsts.sort_unstable();
            firsts.into_iter().map(|(_, side)| side).collect()
        };
        let mut both: Vec<Vec<usize>> =
            plan.cells.iter().filter(|c| c.repeat == 1).map(|c| first(&c.id)).collect();
        both.sort();
        assert_eq!(both, [[0, 1, 0, 1], [1, 0, 1, 0]]);
        assert!(turns.chunks(2).all(|pair| pair[0].1 == pair[1].1 && pair[0].0 != pair[1].0));
    }

    #[test]
    fn sides_must_have_the_same_cells_wherever_their_servers_are() {
        let file =
            "target.url = \"URL\"\nload.users = 1\ncell.duration = \"1s\"\n[sim]\nstep_base = \"STEP\"\n";
        let of = |url: &str, step: &str, more: &str| {
            plan(&(file.replace("URL", url).replace("STEP", step) + more))
        };
        let base = of("http://127.0.0.1:1", "4ms", "");
        assert!(same_cells(&base, &of("http://127.0.0.1:2", "5ms", "")));
        assert!(!same_cells(&base, &of("http://127.0.0.1:1", "4ms", "[workload]\nmax_tokens = 9\n")));
    }
}
