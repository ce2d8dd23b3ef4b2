//! The test rig: what several rooms' tests need to put the program under load and look at it.

// The lint excuses tests, but not the functions that they share.
#![allow(clippy::unwrap_used)]

pub mod browser;
pub mod program;
pub mod relay;
pub mod scripted;
pub mod worker;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use plimsoll::record::{RecordSink, RequestRecord};
use plimsoll::sim::{Config, Server};

/// Keeps records in memory, in the order in which they came.
#[derive(Default)]
pub struct Memory(pub Vec<RequestRecord>);

impl RecordSink for Memory {
    fn write(&mut self, batch: &[RequestRecord]) -> std::io::Result<()> {
        self.0.extend_from_slice(batch);
        Ok(())
    }
}

/// The embedded simulator with these knobs, on a free port.
pub fn simulator(knobs: &BTreeMap<String, serde_json::Value>) -> Server {
    let config = Config::from_knobs(knobs).unwrap_or_else(|errors| panic!("{errors:?}"));
    Server::start(config, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a simulator")
}

/// Wait until `found` finds something.
pub fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(thing) = found() {
            return thing;
        }
        assert!(Instant::now() < until, "{what} never came");
        std::thread::sleep(Duration::from_millis(10));
    }
}
