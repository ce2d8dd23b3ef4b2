//! Plimsoll finds the load line of an LLM inference server.
//!
//! Data goes one way through the house:
//!
//! ```text
//! experiments/*.toml
//!    │  experiment   parse, validate, defaults            text → Experiment
//!    ▼
//!   plan             expand grids to cells, order, seeds  Experiment → Plan { cells }
//!    ▼
//!   load             per core: schedule → send → decode   Cell → RequestRecords
//!    │                 workload (prompts) · provider (wire formats) · client (the only clock and socket)
//!    ▼
//!   measure          windows, quantiles, validity         RequestRecords → CellSummary
//!    ▼
//!   store            runs/<id>/…  (the disk boundary)     atomic, append-only, resumable
//!  ──────────────────────────────────────────────────────  all below can be made again from runs/
//!   analysis         polars: reads runs                   runs/ → Frames
//!    ▼
//!   chart            what to draw, as data                Frames → Chart
//!    ▼
//!   report           PNG, HTML, terminal
//! ```
//!
//! `sim`, the embedded server, stands beside the house: it imports nothing of it but
//! [`units`], so that a shared mistake in wire code can't hide. `sweep` walks the plan,
//! `fleet` has it driven on other machines, `observe` reads the server meanwhile; `progress`, `ui`,
//! `publish` and `tracing` watch, `notify` tells of the end, and `cli` is the door.

pub mod analysis;
pub mod calibrate;
pub mod chart;
pub mod cli;
pub mod event;
pub mod experiment;
pub mod export;
pub mod exposition;
pub mod fleet;
pub mod import;
pub mod load;
pub mod measure;
pub mod metrics;
pub mod notify;
pub mod observe;
pub mod plan;
pub mod progress;
pub mod provider;
pub mod publish;
pub mod record;
pub mod report;
pub mod scenarios;
pub mod search;
pub mod server;
pub mod sim;
pub mod stats;
pub mod store;
pub mod sweep;
pub mod tracing;
pub mod ui;
pub mod units;
pub mod workload;
