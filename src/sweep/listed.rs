//! The agenda of a plan that stands: its cells that are left, in order.

use super::SweepError;
use super::walk::{Agenda, Turn};
use crate::event::Watcher;
use crate::measure::CellSummary;
use crate::plan::Cell;
use crate::store::RunDir;

/// See the module.
pub(super) struct Listed<'a> {
    run: &'a RunDir,
    /// Cells of the plan, finished ones too.
    of: usize,
    /// Expected seconds of each cell of the plan.
    expected: &'a [f64],
    left: std::slice::Iter<'a, &'a Cell>,
}

impl<'a> Listed<'a> {
    pub(super) fn new(run: &'a RunDir, of: usize, expected: &'a [f64], left: &'a [&'a Cell]) -> Self {
        Self { run, of, expected, left: left.iter() }
    }
}

impl Agenda for Listed<'_> {
    fn next(&mut self, _: &mut dyn Watcher) -> Result<Option<Turn>, SweepError> {
        Ok(self.left.next().map(|cell| Turn {
            cell: (*cell).clone(),
            expected_s: self.expected[cell.index as usize],
            of: self.of,
        }))
    }

    fn run(&self, _: &Turn) -> &RunDir {
        self.run
    }

    fn finished(&mut self, _: &Turn, _: &CellSummary) -> Result<(), SweepError> {
        Ok(())
    }
}
