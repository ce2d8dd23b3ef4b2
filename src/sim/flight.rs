//! What all connections of one server share, and one request's passage through the engine.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::clock::{nanos, now_ns, sleep_unless};
use super::config::Config;
use super::conn::Conn;
use super::driver::{Command, Notice};
use super::engine::{NewRequest, RequestId};
use super::faults;
use super::metrics::Metrics;
use super::request::Ask;
use super::timetable::Timetable;
use super::truth::TruthLog;

/// Where each sequence's notices go; those of one request go to one place. There are at most
/// as many as tokens asked for.
type Desks = HashMap<RequestId, UnboundedSender<Notice>>;

pub(super) struct Shared {
    pub config: Config,
    /// What answers go by, where it is not the engine.
    pub timetable: Option<Arc<Timetable>>,
    pub commands: mpsc::Sender<Command>,
    pub metrics: Arc<Mutex<Metrics>>,
    pub truth: Arc<TruthLog>,
    pub stopping: Arc<AtomicBool>,
    /// When requests begin to be served.
    pub ready_ns: u64,
    pub desks: Mutex<Desks>,
    pub arrivals: AtomicU64,
}

impl Shared {
    fn desks(&self) -> MutexGuard<'_, Desks> {
        self.desks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hand a step's notices to their requests: all on the server's own thread, so that one
    /// wake-up from outside serves them all.
    pub fn hand_out(&self, batch: &[Notice]) {
        let desks = self.desks();
        for notice in batch {
            // A request that is gone has no desk.
            if let Some(desk) = desks.get(&notice.id()) {
                let _ = desk.send(*notice);
            }
        }
    }

    /// The number of the next request to arrive. The one that is to meet the pause meets it
    /// here.
    pub fn next_arrival(&self) -> u64 {
        let number = self.arrivals.fetch_add(1, Ordering::Relaxed);
        if self.config.pause_after.is_some_and(|n| u64::from(n) == number) {
            self.pause();
        }
        number
    }

    /// Stop the whole server. The thread of the connections is the caller's and does nothing
    /// else meanwhile: nothing is accepted, read or written, and the system's buffers fill, as
    /// if the process had been suspended.
    fn pause(&self) {
        let until_ns = now_ns() + nanos(self.config.pause_for);
        // A stopped engine is as still as it can be.
        let _ = self.commands.send(Command::Pause { until_ns });
        let _ = sleep_unless(&self.stopping, until_ns);
    }
}

/// The engine's name for the `k`-th sequence of a request.
const fn sequence_id(request: u64, k: u32) -> RequestId {
    // No server lives to see this many requests.
    request | (k as u64) << 40
}

/// One request in the engine, with all of its sequences. Dropping it before it is done
/// aborts it.
pub(super) struct Flight {
    number: u64,
    sequences: u32,
    shared: Arc<Shared>,
    conn: Arc<Conn>,
    /// The engine has given its last token.
    computed: bool,
    done: bool,
}

impl Flight {
    /// Send the `number`-th request to the engine. The prompts go with it.
    pub fn start(
        shared: &Arc<Shared>,
        conn: &Arc<Conn>,
        number: u64,
        ask: &mut Ask,
        arrival_ns: u64,
    ) -> (Self, UnboundedReceiver<Notice>) {
        let (desk, notices) = unbounded_channel();
        let slow = faults::is_slow(&shared.config, number);
        let mut requests = Vec::with_capacity(ask.sequences.len());
        {
            let mut desks = shared.desks();
            for (k, sequence) in (0_u32..).zip(&mut ask.sequences) {
                let id = sequence_id(number, k);
                desks.insert(id, desk.clone());
                let prompt = std::mem::take(&mut sequence.prompt);
                let (output, finish) = (sequence.output, sequence.finish);
                requests.push(NewRequest { id, prompt, output, finish, slow });
            }
        }
        let sequences = requests.len() as u32;
        let pooled = ask.pooled;
        // A stopped engine answers nothing; the request then ends with the server.
        let _ = shared.commands.send(Command::Submit { requests, arrival_ns, pooled });
        let (shared, conn) = (Arc::clone(shared), Arc::clone(conn));
        (Self { number, sequences, shared, conn, computed: false, done: false }, notices)
    }

    /// One that the engine has no part in.
    pub fn by_the_clock(shared: &Arc<Shared>, conn: &Arc<Conn>, number: u64) -> Self {
        let (shared, conn) = (Arc::clone(shared), Arc::clone(conn));
        Self { number, sequences: 0, shared, conn, computed: true, done: false }
    }

    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    pub fn conn(&self) -> &Arc<Conn> {
        &self.conn
    }

    /// The engine has given its last token.
    pub fn computed(&mut self) {
        self.computed = true;
    }

    /// Nothing more is wanted of the engine, and the record's end is in the socket's hands.
    pub fn done(&mut self) {
        self.done = true;
        self.leave();
    }

    fn leave(&self) {
        let ids = (0..self.sequences).map(|k| sequence_id(self.number, k));
        {
            let mut desks = self.shared.desks();
            ids.clone().for_each(|id| drop(desks.remove(&id)));
        }
        if !self.computed {
            ids.for_each(|id| drop(self.shared.commands.send(Command::Abort(id))));
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.leave();
        self.conn.gone();
    }
}
