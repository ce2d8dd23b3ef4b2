//! A server of every common API that isn't there: continuous batching over a shared step
//! budget on a real socket, with a log of the truth per request.
//!
//! ```text
//! socket ─ conn ─ routes ─ api ──Command──▶ driver ─ engine ─ kv     one thread each for
//!    ▲      │       │                         │                      the connections and
//!    └── body ─ wire ◀ one Vec<Notice> a step ┘                      for the engine
//!           └─▶ truth                         └─▶ metrics
//! ```
//!
//! `api` has a file for each family of APIs: it reads their requests into one form that the
//! engine answers (`request`), and writes the answers (`wire`).
//!
//! Where `ttft` or `tpot` is set, a timetable stands in for driver and engine.
//!
//! It shares no code with the client side, so that a mistake in one can't be hidden by the
//! same mistake in the other. `docs/simulator.md` describes its model and its knobs.

mod alarm;
mod api;
mod apis;
mod body;
mod clock;
mod config;
mod conn;
mod driver;
mod engine;
mod faults;
mod flight;
mod image;
mod knob;
mod kv;
mod metrics;
mod presets;
mod request;
mod routes;
mod server;
mod source;
mod timetable;
mod tokens;
mod truth;
mod wire;

pub use apis::Apis;
pub use clock::now_ns;
pub use config::{Config, FinishStyle, FirstChunk, KNOBS, LineEnd, UsageStyle};
pub use faults::Fault;
pub use knob::{Knob, KnobError, Rate};
pub use presets::{PRESETS, Preset};
pub use server::{Server, SimError, serve_blocking, serve_until};
pub use truth::{TruthOutcome, TruthRecord};
