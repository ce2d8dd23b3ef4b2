//! The one integration-test binary: each further one would cost a link of every dependency.
//!
//! A file here is about one room of the house (`plan`, `providers`, `load`, `sim`, `sim_apis`, `store`,
//! `report`, `calibrate`, `export`, `import`), or about what shows only from outside: the command line
//! (`cli`), who is told of a run's end (`notify`), figures on a terminal (`screen`), requests that bear the name of a trace (`tracing`), two servers in turns (`ab`), texts of `answers` that are kept, a sweep that
//! is killed (`resume`) or gets into other `trouble`, a client that is starved or stopped
//! (`validity`), the `life` of a server that is started for the cells, a cell's `memory`, the client held to the simulator's truth (`truth`) and to a real server's
//! (`real_server`), one run held against another (`compare`), what many runs have in common (`history`), the
//! API that a server is found to speak (`auto_api`), a cell that several machines drive (`fleet`), the load that a file gives (`determinism`), what a
//! run's figures point to (`diagnosis`), mistakes in files (`mistakes`), several tasks and
//! endpoints in a cell (`mix`), what the stages of a cell ask for (`stages`), what is read `inside` a server, the ready
//! experiments (`scenarios`), what is given out while it runs (`publish`), the live page in a browser (`ui`), documents held
//! to the tables they describe (`docs`) and to the tests they name (`coverage`), examples
//! in them that are run (`examples`), and the
//! imports (`architecture`).
//! `rig` is what their tests share.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod ab;
mod answers;
mod architecture;
mod auto_api;
mod calibrate;
mod capacity;
mod cli;
mod compare;
mod coverage;
mod determinism;
mod diagnosis;
mod docs;
mod examples;
mod export;
mod fleet;
mod history;
mod import;
mod inside;
mod life;
mod load;
mod memory;
mod mistakes;
mod mix;
mod notify;
mod observe;
mod plan;
mod providers;
mod publish;
mod real_server;
mod report;
mod resume;
mod rig;
mod scenarios;
mod screen;
mod search;
mod sim;
mod sim_apis;
mod stages;
mod store;
mod tracing;
mod trouble;
mod truth;
mod ui;
mod validity;
