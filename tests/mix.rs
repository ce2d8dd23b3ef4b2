//! Mixes of tasks and endpoints: read from a file, dealt and sent, summed up for each apart, and
//! the endpoints held against each other.

mod reading;
mod sending;
mod sweep;
