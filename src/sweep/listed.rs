//! The agenda of a plan that stands: its cells that are left, in order, less those that are pruned.

use super::SweepError;
use super::prune::Pruning;
use super::walk::{Agenda, Turn, pass_over};
use crate::event::Watcher;
use crate::measure::CellSummary;
use crate::plan::{Cell, Plan};
use crate::store::RunDir;

/// See the module.
pub(super) struct Listed<'a> {
    run: &'a RunDir,
    plan: &'a Plan,
    /// Expected seconds of each cell of the plan.
    expected: &'a [f64],
    left: std::slice::Iter<'a, &'a Cell>,
    pruning: Pruning,
    /// Cells that it passed over, as they needn't run.
    pub pruned: usize,
}

impl<'a> Listed<'a> {
    pub(super) fn new(run: &'a RunDir, plan: &'a Plan, expected: &'a [f64], left: &'a [&'a Cell]) -> Self {
        Self { run, plan, expected, left: left.iter(), pruning: Pruning::new(plan, run), pruned: 0 }
    }
}

impl Agenda for Listed<'_> {
    fn next(&mut self, watcher: &mut dyn Watcher) -> Result<Option<Turn>, SweepError> {
        for cell in self.left.by_ref() {
            let Some(reason) = self.pruning.speaks_against(self.plan, cell) else {
                let expected_s = self.expected[cell.index as usize];
                return Ok(Some(Turn { cell: (*cell).clone(), expected_s, of: self.plan.cells.len() }));
            };
            pass_over(self.run, cell, (&reason, false), watcher)?;
            self.pruned += 1;
        }
        Ok(None)
    }

    fn run(&self, _: &Turn) -> &RunDir {
        self.run
    }

    fn finished(&mut self, turn: &Turn, summary: &CellSummary) -> Result<(), SweepError> {
        self.pruning.note(&turn.cell, summary);
        Ok(())
    }
}
