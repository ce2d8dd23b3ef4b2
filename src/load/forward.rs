//! A machine's part of a cell: driven here, and told to whoever holds the parts together.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock::Clock;
use super::collect::{Batch, Tokens};
use super::crew::{self, Crew};
use super::share::{MachineRun, Share};
use super::tally::Report;
use super::window::Gate;
use super::{Control, Course, Job, LoadError, preflight, system};
use crate::record::EndedBy;

/// Between two looks for an order, and at whether the window was closed here.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// A window is opened early no sooner than this after the order, so that every core knows of it, in
/// microseconds.
const OPEN_IN_US: u64 = 20_000;

/// What a machine tells while it drives its part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum News {
    Batch(Batch),
    /// Its window was closed earlier than planned, in microseconds since the epoch.
    Closed {
        at_us: u64,
        by: EndedBy,
    },
}

/// What it is told meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Open the window at this time, unless it opens earlier already.
    Open { at_us: u64 },
    /// Close the window now, for this reason.
    Close { by: EndedBy },
}

/// The line to whoever holds the parts together.
pub trait Line {
    /// Every load core is ready: wait for the epoch, in nanoseconds of this machine's
    /// `CLOCK_MONOTONIC`. `None`: the cell is called off.
    fn ready(&mut self) -> Option<u64>;

    /// Tell something; may block, and what the load cores report then waits with them.
    fn tell(&mut self, news: News);

    /// The next order, if there is one.
    fn order(&mut self) -> Option<Order>;
}

/// Drive one machine's part of a cell: [`super::drive`] for a range of its load cores, whose records
/// go over the line.
///
/// # Errors
/// Only when this client cannot do its work, or the cell was called off.
///
/// # Panics
/// When the job has not as many parts as the cell's settings.
pub fn drive_share(
    job: &Job<'_>,
    share: Share,
    control: &Control,
    line: &mut dyn Line,
) -> Result<MachineRun, LoadError> {
    let Course { schedule, gate } = Course::of(job, share.tickets)?;
    let (sure, most) = preflight::open_files(&share.scaled(&job.cell.settings), crew::machine_cores());
    system::raise_file_limit(sure, most)?;
    let crew = Crew { job, control, schedule: schedule.as_ref(), gate: &gate, share };
    let tokens = Tokens::of(job);
    // Both closures need it, one after the other.
    let line = std::cell::RefCell::new(line);
    let ended =
        crew.run(&mut || line.borrow_mut().ready().map(Clock::starting_at), &mut |clock, reports| {
            let planned_end = gate.end();
            let mut forwarder =
                Forwarder { line: &mut **line.borrow_mut(), clock, gate: &gate, planned_end, told: false };
            forwarder.run(&tokens, reports);
        })?;
    Ok(MachineRun::of(ended, &gate))
}

struct Forwarder<'a> {
    line: &'a mut dyn Line,
    clock: Clock,
    gate: &'a Arc<Gate>,
    planned_end: u64,
    /// That the window was closed early.
    told: bool,
}

impl Forwarder<'_> {
    /// Until the last load core has hung up.
    fn run(&mut self, tokens: &Tokens<'_>, reports: &Receiver<Report>) {
        loop {
            match reports.recv_timeout(LOOK_EVERY) {
                Ok(report) => self.line.tell(News::Batch(tokens.batch(report))),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            while let Some(order) = self.line.order() {
                self.obey(order);
            }
            let at_us = self.gate.end();
            if !self.told && at_us < self.planned_end {
                self.told = true;
                self.line.tell(News::Closed { at_us, by: self.gate.ended_by() });
            }
        }
    }

    fn obey(&self, order: Order) {
        let now = self.clock.now_us();
        match order {
            Order::Open { at_us } => self.gate.open(at_us.max(now + OPEN_IN_US)),
            Order::Close { by } => self.gate.close(now, by),
        }
    }
}
