//! What a coordinator and a worker say to each other.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::experiment::{Target, Workload};
use crate::load::{Allowed, MachineRun, News, Order, Share};
use crate::plan::Cell;
use crate::record::{Ceiling, Traces};
use crate::server::Facts;

/// What a worker says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// What its system lets it do.
    pub allowed: Allowed,
    /// What a load core of it can do, if it was calibrated.
    pub ceiling: Option<Ceiling>,
    /// For the run's record: processor, system, build, limits.
    pub environment: Value,
}

/// A worker's part of a cell, and all that it needs to send it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct CellJob {
    pub(super) cell: Cell,
    pub(super) salt: String,
    /// By part of the cell.
    pub(super) facts: Vec<Facts>,
    pub(super) share: Share,
    pub(super) traces: Option<Traces>,
}

/// From the coordinator.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToWorker {
    /// A sign of life, with the time at which it was sent, in nanoseconds of the coordinator's
    /// clock.
    Ping {
        sent_ns: u64,
    },
    /// Are the files and keys for this there?
    Look {
        asked: Vec<(Target, Workload)>,
    },
    /// Make ready for a cell.
    Prepare(Box<CellJob>),
    /// Begin it at this time of the worker's own clock.
    Start {
        epoch_ns: u64,
    },
    /// Ctrl-C was pressed, once more.
    Press,
    Order(Order),
}

/// From a worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToCoordinator {
    /// The answer to a ping: its time, and the worker's own when it was read.
    Pong {
        sent_ns: u64,
        at_ns: u64,
    },
    /// What is wrong with the files or keys, if anything.
    Looked {
        mistake: Option<String>,
    },
    /// Every load core waits for the epoch.
    Ready,
    News(News),
    /// Its part of the cell is at its end.
    Ended(Box<MachineRun>),
    /// It could not be driven, for this reason.
    Failed {
        reason: String,
    },
    /// The worker ends, for this reason.
    Farewell {
        reason: String,
    },
}
