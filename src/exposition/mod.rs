//! Prometheus' text: read, and understood by the names of servers that are known.
//!
//! A leaf that knows text alone: who asks for it, when, and what becomes of it is for others.

mod known;
mod parse;

pub use known::{Common, KNOWN, Known, Merge, in_hand};
pub use parse::{Parsed, label_pairs, parse};
