//! The agenda of searches: the plan's own cells first, then one probe of each search in turn, as
//! [`crate::search`] decides on what was measured so far.
//!
//! All that it knows it reads from the run: a search that was killed goes on where it was.

use std::collections::{BTreeSet, VecDeque};

use super::SweepError;
use super::walk::{Agenda, Turn};
use crate::analysis;
use crate::event::{Event, Watcher};
use crate::experiment::Experiment;
use crate::load;
use crate::measure::CellSummary;
use crate::plan::{self, Cell, Plan, Searched};
use crate::search::{self, End, Next, Outcome, Probe};
use crate::store::{self, RunDir, Skipped};

/// See the module.
pub(super) struct Searching<'a> {
    run: &'a mut RunDir,
    experiment: &'a Experiment,
    plan: Plan,
    /// Cells of the plan that have not run.
    pending: VecDeque<u32>,
    /// What was measured, for each search.
    probes: Vec<Vec<Probe>>,
    ended: Vec<Option<End>>,
    /// Whose turn it is.
    turn: usize,
}

impl<'a> Searching<'a> {
    /// Goes on from what lies in the run. `plan` is caught up with the run's.
    pub(super) fn new(
        run: &'a mut RunDir,
        experiment: &'a Experiment,
        plan: Plan,
        done: &BTreeSet<u32>,
    ) -> Result<Self, SweepError> {
        let pending =
            plan.cells.iter().map(|cell| cell.index).filter(|index| !done.contains(index)).collect();
        let probes = plan.searches.iter().map(|search| measured(run, &plan, search));
        let probes = probes.collect::<Result<Vec<_>, _>>()?;
        let ended = plan.searches.iter().map(|search| ended_before(run, &plan, search));
        let ended = ended.collect::<Result<Vec<_>, _>>()?;
        let searching = Self { run, experiment, plan, pending, probes, ended, turn: 0 };
        searching.write()?;
        Ok(searching)
    }

    /// How many cells there are, as far as is known.
    pub(super) fn cells(&self) -> usize {
        self.plan.cells.len()
    }

    fn turn_of(&self, cell: Cell) -> Turn {
        Turn { expected_s: plan::estimate_cell(&cell).expected_s, of: self.cells(), cell }
    }

    /// What the search of this number does next.
    fn decide(&self, number: usize) -> Next {
        let found = &self.plan.searches[number];
        let levels = search::levels(&found.rules, &self.probes[number]);
        let cost = |load| {
            let cell = plan::probe(self.experiment, &self.plan, found, load, 1);
            cell.map_or(0.0, |cell| plan::estimate_cell(&cell).expected_s)
        };
        search::next(&found.rules, &levels, &cost)
    }

    /// The cell at `load`, as the plan's next one; else why there can be none.
    fn add(&mut self, number: usize, load: f64, repeat: u32) -> Result<Result<Cell, End>, SweepError> {
        let found = &self.plan.searches[number];
        let cell = match plan::probe(self.experiment, &self.plan, found, load, repeat) {
            Ok(cell) => cell,
            Err(mistakes) => {
                let first = mistakes.0.first().map(|mistake| mistake.problem.clone());
                return Ok(Err(End::Impossible { reason: first.unwrap_or_default() }));
            }
        };
        let findings = load::preflight(&[&cell], &load::Allowed::of_this_process());
        if let Some(beyond) = findings.into_iter().find(|finding| finding.certain) {
            return Ok(Err(End::Impossible { reason: beyond.text }));
        }
        self.run.add_cell(&cell, number)?;
        self.plan.searches[number].cells.push(cell.index);
        self.plan.cells.push(cell.clone());
        Ok(Ok(cell))
    }

    fn outcome(&self, number: usize) -> Outcome {
        let found = &self.plan.searches[number];
        let first = &self.plan.cells[found.cells[0] as usize];
        let mut shape = first.factors.clone();
        shape.retain(|path, value| *path != found.rules.axis && !value.is_null());
        let levels = search::levels(&found.rules, &self.probes[number]);
        search::outcome(&found.rules, shape, &levels, self.ended[number].clone())
    }

    fn write(&self) -> Result<(), SweepError> {
        let found: Vec<Outcome> = (0..self.probes.len()).map(|number| self.outcome(number)).collect();
        Ok(self.run.write_search(&found)?)
    }

    fn end(&mut self, number: usize, end: End, watcher: &mut dyn Watcher) -> Result<(), SweepError> {
        self.ended[number] = Some(end);
        self.write()?;
        let text = analysis::sentence(&self.outcome(number));
        watcher.on(&Event::Notice { text: &text });
        Ok(())
    }
}

impl Agenda for Searching<'_> {
    fn next(&mut self, watcher: &mut dyn Watcher) -> Result<Option<Turn>, SweepError> {
        if let Some(index) = self.pending.pop_front() {
            return Ok(Some(self.turn_of(self.plan.cells[index as usize].clone())));
        }
        for _ in 0..self.probes.len() {
            let number = self.turn;
            self.turn = (self.turn + 1) % self.probes.len();
            if self.ended[number].is_some() {
                continue;
            }
            let end = match self.decide(number) {
                Next::Done(end) => end,
                Next::Probe { load, repeat } => match self.add(number, load, repeat)? {
                    Ok(cell) => return Ok(Some(self.turn_of(cell))),
                    Err(end) => end,
                },
            };
            self.end(number, end, watcher)?;
        }
        Ok(None)
    }

    fn run(&self, _: &Turn) -> &RunDir {
        self.run
    }

    fn finished(&mut self, turn: &Turn, _: &CellSummary) -> Result<(), SweepError> {
        let index = turn.cell.index;
        let Some(number) = self.plan.searches.iter().position(|search| search.cells.contains(&index)) else {
            return Ok(());
        };
        self.probes[number].extend(probe(self.run, &self.plan.searches[number], &turn.cell)?);
        self.write()
    }

    fn passed_over(
        &mut self,
        turn: &Turn,
        reason: &str,
        watcher: &mut dyn Watcher,
    ) -> Result<(), SweepError> {
        let index = turn.cell.index;
        // A load that can't be had leaves a gap in what is known: nothing is guessed over it.
        match self.plan.searches.iter().position(|search| search.cells.contains(&index)) {
            Some(number) => self.end(number, impossible(reason), watcher),
            None => Ok(()),
        }
    }
}

fn impossible(reason: &str) -> End {
    End::Impossible { reason: reason.to_owned() }
}

/// Why a search of the run has ended before now: one of its loads could not be had.
fn ended_before(run: &RunDir, plan: &Plan, search: &Searched) -> Result<Option<End>, SweepError> {
    for cell in search.cells.iter().filter_map(|index| plan.cells.get(*index as usize)) {
        if let Some(skipped) = Skipped::of(run.path(), cell)? {
            return Ok(Some(impossible(&skipped.reason)));
        }
    }
    Ok(None)
}

/// What the finished cells of a search say.
fn measured(run: &RunDir, plan: &Plan, search: &Searched) -> Result<Vec<Probe>, SweepError> {
    let cells = search.cells.iter().filter_map(|index| plan.cells.get(*index as usize));
    let probes = cells.map(|cell| probe(run, search, cell)).collect::<Result<Vec<_>, _>>()?;
    Ok(probes.into_iter().flatten().collect())
}

fn probe(run: &RunDir, search: &Searched, cell: &Cell) -> Result<Option<Probe>, SweepError> {
    let Some(load) = search.load(cell) else { return Ok(None) };
    Ok(analysis::probe_of(run.path(), cell, load)?)
}

/// Adds to a plan made anew what the searches of `run` have decided on since.
pub(super) fn catch_up(experiment: &Experiment, plan: &mut Plan, run: &Plan) -> Result<(), SweepError> {
    for cell in run.cells.iter().skip(plan.cells.len()) {
        let of = |(number, found): (usize, &Searched)| {
            let search = plan.searches.get(number).filter(|_| found.cells.contains(&cell.index))?;
            Some((number, plan::probe(experiment, plan, search, search.load(cell)?, cell.repeat)))
        };
        let Some((number, again)) = run.searches.iter().enumerate().find_map(of) else {
            return Err(SweepError::NoSearch { cell: cell.index + 1 });
        };
        let again = again?;
        plan.searches[number].cells.push(again.index);
        plan.cells.push(again);
    }
    Ok(())
}

/// Whether every search of the run has found what it looked for, or why it can't.
pub(super) fn is_over(run: &RunDir) -> Result<bool, SweepError> {
    let path = run.path().join(store::SEARCH_JSON);
    // Killed before it was written, a run has found nothing yet.
    if !path.exists() {
        return Ok(false);
    }
    let found: Vec<Outcome> = store::read_json(&path)?;
    Ok(found.iter().all(|one| one.end.is_some()))
}
