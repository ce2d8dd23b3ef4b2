//! What goes on in the server, and on its machine, while a cell runs.
//!
//! One thread, on its own, reads a list of sources about once a second: once before the cell's
//! load begins, while it runs, and once when it has ended. Nothing of it is on the load cores, and
//! nothing that a source does can end a cell or hold its load up: a source that fails is noted, and
//! one that never returns is left behind.

mod fetch;
mod gpu;
mod json;
mod machine;
mod metrics;
mod observer;
mod proc;
mod process;

use std::time::Duration;

pub use gpu::Gpus;
pub use json::Json;
pub use machine::Machine;
pub use metrics::Metrics;
pub use observer::{Observer, Watch};
pub use process::{Find, OwnServer, Processes};

pub use crate::record::{Reading, ReadingKind};

/// Something that can be read again and again.
///
/// A source lives from cell to cell, so it may keep what it needs: a connection, a library, what
/// it read last.
pub trait Source: Send {
    /// What it is, for people and for the table of readings: such as `http://host:8000/metrics`.
    /// The same each time, free of secrets, and no other source's.
    fn name(&self) -> &str;

    /// Read it now. Has to come back within a few seconds, whatever happens.
    ///
    /// # Errors
    /// When nothing could be read this time. It is asked again.
    fn read(&mut self) -> Result<Vec<Reading>, ObserveError>;
}

/// Why a source could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObserveError {
    /// In a person's words, without the source's name and free of secrets.
    #[error("{0}")]
    Failed(String),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("an answer of more than {0} bytes")]
    TooLong(usize),
}
