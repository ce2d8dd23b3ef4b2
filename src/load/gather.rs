//! A cell that other machines drive: their parts are taken in here, as one.

use std::sync::Arc;

use super::clock::Clock;
use super::collect::{Batch, Collector};
use super::forward::Order;
use super::share::MachineRun;
use super::{Course, Job, LoadError, cell_run};
use crate::event::Look;
use crate::record::{CellRun, EndedBy, RecordSink};

/// Takes in the parts of one cell.
pub struct Gatherer<'a> {
    course: Course,
    collector: Collector<'a>,
    clock: Clock,
    started_at: jiff::Timestamp,
    parts: Vec<MachineRun>,
    /// The window's start and end as the machines know them.
    told: (u64, u64),
}

impl<'a> Gatherer<'a> {
    /// For a cell that begins at `epoch_ns` of this machine's `CLOCK_MONOTONIC` on so many load cores
    /// in all.
    ///
    /// # Errors
    /// When the cell has no end.
    ///
    /// # Panics
    /// When the job has not as many parts as the cell's settings.
    pub fn new(
        job: &Job<'_>,
        (cores, epoch_ns): (u32, u64),
        sink: &'a mut dyn RecordSink,
        look: &'a mut dyn FnMut(Look<'_>),
    ) -> Result<Self, LoadError> {
        let course = Course::of(job, None)?;
        let clock = Clock::starting_at(epoch_ns);
        let told = (course.gate.start(), course.gate.end());
        let collector = Collector::new((sink, look), (clock, Arc::clone(&course.gate)), cores);
        Ok(Self { course, collector, clock, started_at: clock.epoch_at(), parts: Vec::new(), told })
    }

    /// What one load core has reported.
    pub fn take(&mut self, batch: Batch) {
        self.collector.take(batch);
    }

    /// Show how the cell goes, if that is due; to be called often.
    pub fn look(&mut self) {
        self.collector.look_if_due();
    }

    /// One machine has closed its window early, or `by` says why all have to.
    pub fn close(&mut self, at_us: Option<u64>, by: EndedBy) {
        self.course.gate.close(at_us.unwrap_or_else(|| self.clock.now_us()), by);
    }

    /// What every machine is now to be told, each once.
    pub fn orders(&mut self) -> Vec<Order> {
        let gate = &self.course.gate;
        let now = (gate.start(), gate.end());
        let mut orders = Vec::new();
        if now.0 != self.told.0 {
            orders.push(Order::Open { at_us: now.0 });
        }
        if now.1 != self.told.1 {
            orders.push(Order::Close { by: gate.ended_by() });
        }
        self.told = now;
        orders
    }

    /// One machine's part is at its end.
    pub fn ended(&mut self, part: MachineRun) {
        self.parts.push(part);
    }

    /// The whole cell. `lost`: machines whose parts never came to their ends, each with the reason.
    #[must_use]
    pub fn finish(self, lost: Vec<String>) -> CellRun {
        let Self { course, collector, clock, started_at, parts, .. } = self;
        let mut run = cell_run(course, (clock, started_at), parts, collector.lost);
        if !lost.is_empty() && run.window.ended_by != EndedBy::Interrupt {
            run.window.ended_by = EndedBy::WorkerLost;
        }
        run.client.lost_workers = lost;
        run
    }
}
