//! One cell, driven by several machines: workers send its load, one coordinator tells them what,
//! and takes in what came of it as if it had been one machine.
//!
//! The global schedule is dealt out to the load cores of all workers, so that together they send
//! exactly what one machine would. A worker is told all that it needs (the cell, what was found out
//! about the server, its share, when to begin by its own clock) and no secret: keys come from its own
//! environment. Every time stamp of a request is of one worker's clock; only when requests of
//! different workers were sent, against each other, hangs on how well their clocks were compared.

mod coordinator;
mod hello;
mod member;
mod message;
mod offset;
mod wire;
mod worker;

use std::time::Duration;

use crate::load::LoadError;

pub use coordinator::{Fleet, Task};
pub use hello::Token;
pub use message::Machine;
pub use worker::{Told, serve};

/// The version of what goes over the wire; it changes with any message.
const PROTOCOL: u32 = 1;
/// What this program is, for whoever is on the other side.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// A machine of which nothing was heard for so long is lost.
const LIFE: Duration = Duration::from_secs(20);
/// Between two signs of life.
const PULSE: Duration = Duration::from_secs(2);

/// Why workers can't be used, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    #[error(
        "cannot reach the worker {address}: {reason}. Start it there with `plimsoll worker --listen ADDRESS:PORT`, an address of that machine"
    )]
    Unreachable { address: String, reason: String },
    #[error(
        "the worker {address} is plimsoll {theirs}, and this is plimsoll {ours}: a run needs the same version on \
         every machine"
    )]
    Version { address: String, theirs: String, ours: String },
    #[error("the worker {address} refuses: {reason}")]
    Refused { address: String, reason: String },
    #[error(
        "the worker {address} has another token than this machine: set the same in the environment variable that \
         fleet.token_env (or --token-env) names, on both"
    )]
    Token { address: String },
    #[error("the worker {address} is named twice: {why}")]
    Twice { address: String, why: String },
    #[error(
        "the target is the embedded simulator, which listens on this machine's loopback alone: the worker {address} \
         can't reach it. Start `plimsoll sim` where all can, and name its URL"
    )]
    SimulatorAbroad { address: String },
    #[error("the worker {address} can't run the plan: {reason}")]
    Beyond { address: String, reason: String },
    #[error("the worker {address} was lost: {reason}")]
    Lost { address: String, reason: String },
    #[error("the worker {address} failed: {reason}")]
    Failed { address: String, reason: String },
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: String, source: std::io::Error },
    #[error(
        "a worker on {address} could be told by anybody to send load: put a secret of at least {least} characters \
         into the environment variable {variable}, here and where runs are begun, or listen on 127.0.0.1"
    )]
    Open { address: String, variable: String, least: usize },
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

impl FleetError {
    /// Whether what the user asked for is at fault, and not what happened on the way.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        !matches!(self, Self::Lost { .. } | Self::Failed { .. } | Self::Load(_) | Self::Thread(_))
    }
}
