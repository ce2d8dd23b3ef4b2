//! The thread that gives the engine its time: it starts steps on an absolute time line,
//! sleeps through them, and hands out what they brought, one message a step.

use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::clock::{now_ns, sleep_unless, tighten_timers};
use super::engine::{Engine, Event, NewRequest, RequestId};
use super::metrics::Metrics;

/// A step that began up to this much late is made up for, so that lateness doesn't add up;
/// one that began later is not: the host was busy, and shorter steps would not be the model.
const MAKE_UP_NS: u64 = 5_000_000;

/// What the connections ask of the engine.
pub(super) enum Command {
    /// All sequences of one request. `pooled`: nothing is generated, and the one token of
    /// each stands for the end of its prompt.
    Submit {
        requests: Vec<NewRequest>,
        arrival_ns: u64,
        pooled: bool,
    },
    Abort(RequestId),
    Forget(oneshot::Sender<bool>),
    /// Take no step until then.
    Pause {
        until_ns: u64,
    },
    Stop,
}

/// What they hear of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    /// It has a place in the queue.
    Queued(RequestId),
    /// The queue is full.
    Refused(RequestId),
    /// What a step brought, and when: for a token, when the step was to end.
    Engine(Event, u64),
}

impl Notice {
    pub const fn id(&self) -> RequestId {
        match self {
            Self::Queued(id) | Self::Refused(id) => *id,
            Self::Engine(event, _) => event.id(),
        }
    }
}

pub(super) struct Driver {
    pub engine: Engine,
    pub commands: Receiver<Command>,
    pub notices: mpsc::UnboundedSender<Vec<Notice>>,
    pub metrics: Arc<Mutex<Metrics>>,
    pub stopping: Arc<AtomicBool>,
    /// Say [`Notice::Queued`]: only where the queue is limited does anyone wait for it.
    pub announce: bool,
}

impl Driver {
    /// Run until told to stop, or until nobody is left to tell.
    pub fn run(mut self) {
        tighten_timers();
        let mut batch = Vec::new();
        let mut events = Vec::new();
        let mut planned_end = None;
        while self.take_commands(&mut batch) {
            let now = now_ns();
            let start = match planned_end {
                Some(end) if now < end + MAKE_UP_NS => end,
                _ => now,
            };
            let step = self.engine.start_step(start, &mut events);
            let mut at_ns = now;
            if let Some(step) = step {
                let end = start + step.duration_ns;
                at_ns = end;
                let stats = self.engine.stats();
                self.metrics().engine(stats);
                if !sleep_unless(&self.stopping, end) {
                    return;
                }
                self.engine.finish_step(&mut events);
                self.account(&events, Some(end));
                // Only the next step of a busy engine follows on; whoever comes to an idle
                // one must not be served from before it came.
                planned_end = (!self.engine.is_idle()).then_some(end);
            } else {
                self.account(&events, None);
                planned_end = None;
            }
            batch.extend(events.drain(..).map(|event| Notice::Engine(event, at_ns)));
            if !self.send(&mut batch) {
                return;
            }
        }
    }

    /// Take what has been asked; wait for it when there is nothing else to do. `false`: stop.
    fn take_commands(&mut self, batch: &mut Vec<Notice>) -> bool {
        while self.engine.is_idle() {
            match self.commands.recv_timeout(Duration::from_secs(3600)) {
                Ok(command) => {
                    if !self.handle(command, batch) {
                        return false;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        while let Ok(command) = self.commands.try_recv() {
            if !self.handle(command, batch) {
                return false;
            }
        }
        // What was refused or queued must not wait for the step's end.
        self.send(batch)
    }

    /// Whether anyone is left to hear it.
    fn send(&self, batch: &mut Vec<Notice>) -> bool {
        batch.is_empty() || self.notices.send(std::mem::take(batch)).is_ok()
    }

    fn metrics(&self) -> MutexGuard<'_, Metrics> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&mut self, command: Command, batch: &mut Vec<Notice>) -> bool {
        match command {
            Command::Submit { requests, arrival_ns, pooled } => {
                for request in requests {
                    let (id, prompt) = (request.id, request.prompt.len() as u32);
                    if self.engine.submit(request).is_ok() {
                        self.metrics().arrived(id, arrival_ns, prompt, pooled);
                        if self.announce {
                            batch.push(Notice::Queued(id));
                        }
                    } else {
                        batch.push(Notice::Refused(id));
                    }
                }
            }
            Command::Abort(id) => {
                if self.engine.abort(id) {
                    self.metrics().aborted(id);
                }
            }
            Command::Forget(answer) => {
                let _ = answer.send(self.engine.forget_prefixes());
            }
            Command::Pause { until_ns } => {
                if !sleep_unless(&self.stopping, until_ns) {
                    return false;
                }
            }
            Command::Stop => return false,
        }
        let stats = self.engine.stats();
        self.metrics().engine(stats);
        true
    }

    fn account(&self, events: &[Event], planned_end: Option<u64>) {
        let now = now_ns();
        let stats = self.engine.stats();
        let mut metrics = self.metrics();
        if let Some(end) = planned_end {
            metrics.step_ended(now.saturating_sub(end));
        }
        events.iter().for_each(|e| metrics.event(e, now));
        metrics.engine(stats);
    }
}
