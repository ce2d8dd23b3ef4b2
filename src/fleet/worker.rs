//! A worker: waits for a coordinator, sends its share of the cells that it is told, hands over what
//! came of them, and waits for the next.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::hello::{Token, answer};
use super::member::in_words;
use super::message::{CellJob, Machine, ToCoordinator, ToWorker};
use super::wire::{Reader, Sender, Way};
use super::{FleetError, LIFE};
use crate::experiment::{Target, Workload};
use crate::load::{self, Control, Job, JobPart, Line, LoadError, MachineRun, News, Order, monotonic_ns};
use crate::server;
use crate::workload::{self, Source};

/// Between two looks for somebody at the door.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Strangers that are spoken to at once.
const STRANGERS: usize = 16;

/// What a worker does, for a person to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Listening(SocketAddr),
    TakenIn(SocketAddr),
    /// Somebody was not taken in, for this reason.
    Turned(SocketAddr, String),
    /// A cell begins: its number, from 1, and the load cores of it that are this worker's.
    Cell {
        number: u32,
        cores: u32,
        of: u32,
    },
    /// A coordinator has gone, for this reason.
    Left(SocketAddr, String),
}

type Tell = Arc<dyn Fn(Told) + Send + Sync>;
type Talk = Arc<Mutex<Sender>>;

/// What the threads of a worker share.
struct House {
    token: Token,
    machine: Machine,
    tell: Tell,
    /// The line to the coordinator that is here.
    guest: Mutex<Option<Guest>>,
    strangers: AtomicUsize,
}

/// Whoever is here, or is about to be.
enum Guest {
    Coming,
    Here(Talk),
}

/// Listen at `address` and do as coordinators say, one at a time, until `control` is pressed. `variable`
/// is the one that the token came from.
///
/// # Errors
/// When it can't listen, or would listen to strangers without a token.
pub fn serve(
    (address, variable): (SocketAddr, &str),
    token: Token,
    machine: Machine,
    control: &Control,
    tell: Tell,
) -> Result<(), FleetError> {
    if !address.ip().is_loopback() && !token.is_secret() {
        return Err(FleetError::Open {
            address: address.to_string(),
            variable: variable.to_owned(),
            least: Token::least(),
        });
    }
    let cannot = |source| FleetError::Listen { address: address.to_string(), source };
    let listener = TcpListener::bind(address).map_err(cannot)?;
    listener.set_nonblocking(true).map_err(cannot)?;
    tell(Told::Listening(listener.local_addr().map_err(cannot)?));
    let house =
        Arc::new(House { token, machine, tell, guest: Mutex::new(None), strangers: AtomicUsize::new(0) });
    let mut visits: Vec<JoinHandle<()>> = Vec::new();
    while !control.finish() {
        visits.retain(|visit| !visit.is_finished());
        match listener.accept() {
            Ok((stream, peer)) => {
                // One too many is hung up on.
                if house.strangers.fetch_add(1, Ordering::Relaxed) >= STRANGERS {
                    house.strangers.fetch_sub(1, Ordering::Relaxed);
                    continue;
                }
                let house = Arc::clone(&house);
                let visit =
                    thread::Builder::new().name("visit".to_owned()).spawn(move || house.visit(stream, peer));
                visits.push(visit.map_err(FleetError::Thread)?);
            }
            // Nobody, or somebody who has gone again.
            Err(_) => thread::sleep(LOOK_EVERY),
        }
    }
    if let Some(Guest::Here(line)) = &*lock(&house.guest) {
        let mut line = lock(line);
        let _ = line.send(&ToCoordinator::Farewell { reason: "it was stopped there".to_owned() });
        line.hang_up();
    }
    for visit in visits {
        let _ = visit.join();
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl House {
    /// Somebody is at the door.
    fn visit(&self, mut stream: TcpStream, peer: SocketAddr) {
        let take = || {
            let mut guest = lock(&self.guest);
            let free = guest.is_none();
            if free {
                *guest = Some(Guest::Coming);
            }
            free
        };
        let mut taken = false;
        let shaken = stream
            .set_nonblocking(false)
            .and_then(|()| {
                answer(&mut stream, &self.token, &self.machine, || {
                    taken = take();
                    taken
                })
            })
            .map_err(|error| in_words(&error))
            .and_then(|shaken| shaken.map_err(|turned| turned.to_string()));
        self.strangers.fetch_sub(1, Ordering::Relaxed);
        match shaken {
            Ok(key) => {
                (self.tell)(Told::TakenIn(peer));
                let why = self.host(stream, key).unwrap_or_else(|error| in_words(&error));
                (self.tell)(Told::Left(peer, why));
            }
            Err(reason) => (self.tell)(Told::Turned(peer, reason)),
        }
        if taken {
            *lock(&self.guest) = None;
        }
    }

    /// Do as the coordinator says, until it has gone. Gives why.
    fn host(&self, stream: TcpStream, key: [u8; 32]) -> std::io::Result<String> {
        stream.set_read_timeout(Some(LIFE))?;
        stream.set_write_timeout(Some(LIFE))?;
        let mut reader = Reader::new(stream.try_clone()?, key, Way::ToWorker);
        let line = Arc::new(Mutex::new(Sender::new(stream, key, Way::ToCoordinator)));
        *lock(&self.guest) = Some(Guest::Here(Arc::clone(&line)));
        let mut at_work = None;
        let why = self.converse(&mut reader, &line, &mut at_work);
        if let Some(cell) = at_work {
            AtWork::leave(cell);
        }
        Ok(in_words(&why))
    }

    /// Do as is said, until nothing is said or can be answered any more.
    fn converse(&self, reader: &mut Reader, line: &Talk, at_work: &mut Option<AtWork>) -> std::io::Error {
        loop {
            let done = reader.next().and_then(|message| self.obey(message, line, at_work));
            if let Err(error) = done {
                return error;
            }
        }
    }

    fn obey(&self, message: ToWorker, line: &Talk, at_work: &mut Option<AtWork>) -> std::io::Result<()> {
        match message {
            ToWorker::Ping { sent_ns } => {
                // Before the line is waited for.
                let at_ns = monotonic_ns();
                lock(line).send(&ToCoordinator::Pong { sent_ns, at_ns })?;
            }
            ToWorker::Look { asked } => {
                let mistake = asked.iter().find_map(|(target, workload)| {
                    let files = workload::check(workload).map_err(|e| e.to_string());
                    files.and_then(|()| server::look_for_keys(target).map_err(|e| e.to_string())).err()
                });
                lock(line).send(&ToCoordinator::Looked { mistake })?;
            }
            ToWorker::Prepare(job) => {
                // The last one's thread is at its end, or the coordinator is not in its senses.
                if let Some(last) = at_work.take() {
                    last.leave();
                }
                let (number, share) = (job.cell.index + 1, job.share);
                (self.tell)(Told::Cell { number, cores: share.ranks, of: share.of });
                *at_work = Some(AtWork::begin(*job, Arc::clone(line))?);
            }
            ToWorker::Start { epoch_ns } => {
                if let Some(cell) = at_work {
                    let _ = cell.epoch.try_send(epoch_ns);
                }
            }
            ToWorker::Press => {
                if let Some(cell) = at_work {
                    cell.control.press();
                }
            }
            ToWorker::Order(order) => {
                if let Some(cell) = at_work {
                    let _ = cell.orders.send(order);
                }
            }
        }
        Ok(())
    }
}

/// A cell that is driven, on a thread of its own: the coordinator is listened to meanwhile.
struct AtWork {
    control: Control,
    epoch: SyncSender<u64>,
    orders: mpsc::Sender<Order>,
    thread: JoinHandle<()>,
}

impl AtWork {
    fn begin(job: CellJob, line: Talk) -> std::io::Result<Self> {
        let control = Control::default();
        let (epoch, begins) = sync_channel(1);
        let (orders, ordered) = mpsc::channel();
        let mut wire = Wire { line, control: control.clone(), begins, ordered };
        let thread = thread::Builder::new().name("cell".to_owned()).spawn(move || {
            let control = wire.control.clone();
            let done = catch_unwind(AssertUnwindSafe(|| drive(&job, &control, &mut wire)));
            let word = match done {
                Ok(Ok(run)) => ToCoordinator::Ended(Box::new(run)),
                Ok(Err(reason)) => ToCoordinator::Failed { reason },
                Err(_) => ToCoordinator::Failed { reason: "it panicked".to_owned() },
            };
            // A coordinator that has gone has no use for it.
            let _ = lock(&wire.line).send(&word);
        })?;
        Ok(Self { control, epoch, orders, thread })
    }

    /// Drop all that is in flight, and wait for the end of the thread.
    fn leave(self) {
        self.control.press();
        self.control.press();
        drop((self.epoch, self.orders));
        let _ = self.thread.join();
    }
}

/// The line, as the load half sees it.
struct Wire {
    line: Talk,
    control: Control,
    begins: Receiver<u64>,
    ordered: Receiver<Order>,
}

impl Line for Wire {
    fn ready(&mut self) -> Option<u64> {
        lock(&self.line).send(&ToCoordinator::Ready).ok()?;
        self.begins.recv().ok()
    }

    fn tell(&mut self, news: News) {
        if lock(&self.line).send(&ToCoordinator::News(news)).is_err() {
            // Load that nobody hears of is no load.
            self.control.press();
            self.control.press();
        }
    }

    fn order(&mut self) -> Option<Order> {
        self.ordered.try_recv().ok()
    }
}

/// Drive this worker's part of a cell.
fn drive(job: &CellJob, control: &Control, wire: &mut Wire) -> Result<MachineRun, String> {
    let cell = &job.cell;
    let part = |((target, workload), facts): ((&Target, &Workload), &server::Facts)| {
        let (endpoint, provider, tokenizer) = facts.take_up(target).map_err(|e| e.to_string())?;
        let source =
            Source::open(workload.clone(), cell.seed, &job.salt, tokenizer).map_err(|e| e.to_string())?;
        Ok(JobPart { endpoint, provider, source: Arc::new(source) })
    };
    let parts = cell.settings.parts().zip(&job.facts).map(part).collect::<Result<Vec<_>, String>>()?;
    load::drive_share(&Job { cell, parts, traces: job.traces }, job.share, control, wire)
        .map_err(|error: LoadError| error.to_string())
}
