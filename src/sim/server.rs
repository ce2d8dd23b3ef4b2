//! The server: a listening socket, a thread for the connections and one for the engine.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc as channel, oneshot};

use super::clock::{nanos, now_ns};
use super::config::Config;
use super::conn::{Conn, Watched};
use super::driver::{Command, Driver, Notice};
use super::engine::Engine;
use super::flight::Shared;
use super::metrics::Metrics;
use super::routes::route;
use super::timetable::Timetable;
use super::truth::{TruthLog, TruthRecord, write_lines};

/// The simulator could not serve.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    #[error("the simulator can't listen on {addr}: choose another address or port")]
    Bind { addr: SocketAddr, source: std::io::Error },
    #[error("the simulator can't start its {what}")]
    Start { what: &'static str, source: std::io::Error },
    #[error("can't write the simulator's log of the truth to {}", path.display())]
    Truth { path: PathBuf, source: std::io::Error },
}

/// A running simulator. It stops, and frees its port, when dropped.
pub struct Server {
    addr: SocketAddr,
    truth: Arc<TruthLog>,
    stopping: Arc<AtomicBool>,
    commands: mpsc::Sender<Command>,
    quit: Option<oneshot::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Listen on `addr` (port 0: any free one) and serve on two threads of its own.
    ///
    /// # Errors
    /// When the address can't be listened on, or a thread can't be started.
    pub fn start(config: Config, addr: SocketAddr) -> Result<Self, SimError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| SimError::Start { what: "runtime", source })?;
        let bind = |source| SimError::Bind { addr, source };
        let listener = listen(&runtime, addr).map_err(bind)?;
        let addr = listener.local_addr().map_err(bind)?;
        let timetable = {
            let _inside = runtime.enter();
            Timetable::new(&config).map_err(|source| SimError::Start { what: "timer", source })?
        };
        let truth = Arc::new(TruthLog::new(config.truth_limit));
        let stopping = Arc::new(AtomicBool::new(false));
        let (commands, orders) = mpsc::channel();
        let (notices, heard) = channel::unbounded_channel();
        let (quit, told) = oneshot::channel();
        let engine = Engine::new(&config);
        let metrics = Arc::new(Mutex::new(Metrics::new(engine.stats())));
        let driver = Driver {
            engine,
            commands: orders,
            notices,
            metrics: Arc::clone(&metrics),
            stopping: Arc::clone(&stopping),
            announce: config.max_waiting.is_some(),
        };
        let shared = Arc::new(Shared {
            ready_ns: now_ns() + nanos(config.startup_delay),
            config,
            timetable,
            commands: commands.clone(),
            metrics,
            truth: Arc::clone(&truth),
            stopping: Arc::clone(&stopping),
            desks: Mutex::default(),
            arrivals: AtomicU64::new(0),
        });
        let mut server = Self { addr, truth, stopping, commands, quit: Some(quit), threads: Vec::new() };
        server.spawn("sim-engine", move || driver.run())?;
        server.spawn("sim-http", move || {
            runtime.block_on(serve(listener, shared, heard, told));
            // Dropping the runtime drops every connection, and with them their requests.
        })?;
        Ok(server)
    }

    fn spawn(&mut self, name: &'static str, run: impl FnOnce() + Send + 'static) -> Result<(), SimError> {
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(run)
            .map_err(|source| SimError::Start { what: name, source })?;
        self.threads.push(thread);
        Ok(())
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its base URL, such as `http://127.0.0.1:40123`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Every finished inference request so far, in the order in which they ended.
    #[must_use]
    pub fn truth(&self) -> Vec<TruthRecord> {
        self.truth.all()
    }

    /// Break off what is in flight, end both threads, free the port; the whole truth.
    pub fn stop(mut self) -> Vec<TruthRecord> {
        self.shut_down();
        self.truth.all()
    }

    fn shut_down(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        let _ = self.commands.send(Command::Stop);
        if let Some(quit) = self.quit.take() {
            let _ = quit.send(());
        }
        for thread in self.threads.drain(..) {
            // A thread that panicked has already said so.
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// Clients that open a connection per user do so all at once; a short queue of connections
/// would cost some of them a second's wait or a reset, which is not what is simulated.
const BACKLOG: u32 = 16_384;

fn listen(runtime: &Runtime, addr: SocketAddr) -> std::io::Result<TcpListener> {
    let _inside = runtime.enter();
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A port that served a moment ago may be taken again.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut heard: channel::UnboundedReceiver<Vec<Notice>>,
    told: oneshot::Receiver<()>,
) {
    let desk = Arc::clone(&shared);
    tokio::spawn(async move {
        while let Some(batch) = heard.recv().await {
            desk.hand_out(&batch);
        }
    });
    if let Some(timetable) = shared.timetable.clone() {
        tokio::spawn(async move { timetable.run().await });
    }
    let accept = async {
        loop {
            match listener.accept().await {
                Ok((socket, _)) => {
                    let _ = socket.set_nodelay(true);
                    tokio::spawn(connection(socket, Arc::clone(&shared)));
                }
                // Out of descriptors, most likely: wait for some to be freed.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::select! {
        () = accept => {}
        _ = told => {}
    }
}

/// Most bytes that one system call writes when answers go by the clock: about 250 chunks,
/// and what a processor's nearer caches hold.
const COALESCED: usize = 64 * 1024;

async fn connection(socket: TcpStream, shared: Arc<Shared>) {
    let conn = Conn::new(Arc::clone(&shared.truth), Arc::clone(&shared.stopping));
    let io = TokioIo::new(Watched::new(socket, Arc::clone(&conn)));
    let mut http = http1::Builder::new();
    if shared.timetable.is_some() {
        // Chunks that are due together are copied into one buffer and go out with one
        // system call, each in its own HTTP chunk as ever.
        http.writev(false).max_buf_size(COALESCED);
    }
    let service = service_fn(move |request| route(Arc::clone(&shared), Arc::clone(&conn), request));
    // A broken connection is the client's doing, or a fault: the truth has it.
    let _ = http.serve_connection(io, service).await;
}

/// How often the log of the truth is written out, and `stop` asked.
const TICK: Duration = Duration::from_millis(100);

/// Serve until `stop` says so, for `plimsoll sim`. With `truth_file`, every finished request
/// is appended to it as a JSON line within a tenth of a second.
///
/// # Errors
/// As [`Server::start`] and [`serve_until`].
pub fn serve_blocking(
    config: Config,
    addr: SocketAddr,
    truth_file: Option<&Path>,
    stop: impl Fn() -> bool,
) -> Result<(), SimError> {
    serve_until(Server::start(config, addr)?, truth_file, stop)
}

/// As [`serve_blocking`], with a server that runs already and whose address can be told first.
///
/// # Errors
/// When the file can't be written.
pub fn serve_until(
    mut server: Server,
    truth_file: Option<&Path>,
    stop: impl Fn() -> bool,
) -> Result<(), SimError> {
    let truth_error =
        |source| SimError::Truth { path: truth_file.map(Path::to_owned).unwrap_or_default(), source };
    let mut file = truth_file
        .map(|path| std::fs::OpenOptions::new().create(true).append(true).open(path))
        .transpose()
        .map_err(truth_error)?;
    let mut next = 0;
    loop {
        let stopping = stop();
        if stopping {
            server.shut_down();
        }
        if let Some(file) = &mut file {
            let (records, after) = server.truth.since(next);
            next = after;
            let mut lines = Vec::new();
            write_lines(&records, &mut lines).map_err(truth_error)?;
            file.write_all(&lines).map_err(truth_error)?;
        }
        if stopping {
            return Ok(());
        }
        std::thread::sleep(TICK);
    }
}
