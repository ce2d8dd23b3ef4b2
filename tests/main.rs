//! The one integration-test binary: each further one would cost a link of every dependency.
//!
//! A file here is about one room of the house (`plan`, `providers`, `load`, `sim`, `sim_apis`, `store`,
//! `report`, `calibrate`, `export`, `import`), or about what shows only from outside: the command line
//! (`cli`), two servers in turns (`ab`), a sweep that
//! is killed (`resume`) or gets into other `trouble`, a client that is starved or stopped
//! (`validity`), a cell's `memory`, the client held to the simulator's truth (`truth`) and to a real server's
//! (`real_server`), the API that a server is found to speak (`auto_api`), the load that a file gives
//! (`determinism`), what a run's figures point to (`diagnosis`), mistakes in files (`mistakes`), several tasks and
//! endpoints in a cell (`mix`), what the stages of a cell ask for (`stages`), the ready experiments
//! (`scenarios`), documents held to the tables they describe (`docs`) and to the tests they name (`coverage`), examples
//! in them that are run (`examples`), and the
//! imports (`architecture`).
//! `rig` is what their tests share.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod ab;
mod architecture;
mod auto_api;
mod calibrate;
mod cli;
mod coverage;
mod determinism;
mod diagnosis;
mod docs;
mod examples;
mod export;
mod import;
mod load;
mod memory;
mod mistakes;
mod mix;
mod plan;
mod providers;
mod real_server;
mod report;
mod resume;
mod rig;
mod scenarios;
mod sim;
mod sim_apis;
mod stages;
mod store;
mod trouble;
mod truth;
mod validity;
