//! The coordinator's end of the line to one worker.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::hello::{Token, knock};
use super::message::{Machine, ToCoordinator, ToWorker};
use super::offset::{Offset, Sample};
use super::wire::{Reader, Sender, Way};
use super::{FleetError, LIFE};
use crate::load::monotonic_ns;

/// For a connection to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// Questions by which clocks are compared.
const QUESTIONS: usize = 24;
/// An answer to one of them is awaited so long.
const ANSWER: Duration = Duration::from_secs(2);
/// Answers that are kept while nobody asks for them.
const PONGS: usize = 64;

/// What came of a worker.
#[derive(Debug)]
pub(super) enum Heard {
    Message(ToCoordinator),
    /// Nothing will come any more, for this reason.
    Lost(String),
}

/// What workers say goes here, with their number.
pub(super) type Heards = SyncSender<(usize, Heard)>;

/// One worker.
pub(super) struct Member {
    /// As it was named.
    pub(super) address: String,
    pub(super) machine: Machine,
    /// Whether it is on this machine.
    pub(super) is_here: bool,
    pub(super) sender: Arc<Mutex<Sender>>,
    pongs: Receiver<Sample>,
}

impl Member {
    /// Shake hands, and have what it says go to `heard` under this number.
    pub(super) fn connect(
        address: &str,
        number: usize,
        token: &Token,
        heard: Heards,
    ) -> Result<Self, FleetError> {
        let unreachable =
            |e: io::Error| FleetError::Unreachable { address: address.to_owned(), reason: e.to_string() };
        let mut stream = dial(address).map_err(unreachable)?;
        let (machine, key) = knock(&mut stream, address, token)?;
        let is_here = stream.peer_addr().is_ok_and(|peer| peer.ip().is_loopback());
        stream.set_read_timeout(Some(LIFE)).map_err(unreachable)?;
        stream.set_write_timeout(Some(LIFE)).map_err(unreachable)?;
        let reader = Reader::new(stream.try_clone().map_err(unreachable)?, key, Way::ToCoordinator);
        let sender = Arc::new(Mutex::new(Sender::new(stream, key, Way::ToWorker)));
        let (answers, pongs) = sync_channel(PONGS);
        thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || listen(reader, number, &answers, &heard))
            .map_err(FleetError::Thread)?;
        Ok(Self { address: address.to_owned(), machine, is_here, sender, pongs })
    }

    pub(super) fn send(&self, message: &ToWorker) -> Result<(), FleetError> {
        self.sender
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .send(message)
            .map_err(|error| self.lost(in_words(&error)))
    }

    pub(super) fn lost(&self, reason: String) -> FleetError {
        FleetError::Lost { address: self.address.clone(), reason }
    }

    /// Compare its clock with ours; takes as long as a few dozen ways there and back.
    pub(super) fn compare_clocks(&self) -> Result<Offset, FleetError> {
        while self.pongs.try_recv().is_ok() {}
        let mut samples = Vec::new();
        for _ in 0..QUESTIONS {
            self.send(&ToWorker::Ping { sent_ns: monotonic_ns() })?;
            samples.extend(self.pongs.recv_timeout(ANSWER));
        }
        Offset::of(&samples).ok_or_else(|| self.lost("it does not say what time it is".to_owned()))
    }
}

fn dial(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for at in address.to_socket_addrs()?.collect::<Vec<SocketAddr>>() {
        match TcpStream::connect_timeout(&at, CONNECT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Hand on what a worker says, until it says nothing any more or nobody listens.
fn listen(mut reader: Reader, number: usize, answers: &SyncSender<Sample>, heard: &Heards) {
    loop {
        let what = match reader.next() {
            Ok(ToCoordinator::Pong { sent_ns, at_ns }) => {
                let sample = Sample { sent_ns, at_ns, answered_ns: monotonic_ns() };
                match answers.try_send(sample) {
                    Err(TrySendError::Disconnected(_)) => return,
                    _ => continue,
                }
            }
            Ok(ToCoordinator::Farewell { reason }) => Heard::Lost(reason),
            Ok(message) => Heard::Message(message),
            Err(error) => Heard::Lost(in_words(&error)),
        };
        let last = matches!(what, Heard::Lost(_));
        if heard.send((number, what)).is_err() || last {
            return;
        }
    }
}

/// Why nothing comes any more.
pub(super) fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "it hung up".to_owned()
        }
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("nothing was heard of it for {} s", LIFE.as_secs())
        }
        _ => error.to_string(),
    }
}
