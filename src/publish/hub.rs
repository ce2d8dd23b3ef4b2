//! The publishing thread: takes news in, serves, pushes, and stays for a last scrape.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};

use super::feed::Notes;
use super::grafana::Annotator;
use super::news::{CellEnded, News};
use super::otlp::{self, Exporter};
use super::push::Pusher;
use super::registry::Registry;
use super::serve::{Asked, serve};
use super::{PublishError, Stop};
use crate::experiment::{GrafanaSettings, OtlpSettings, PublishSettings, PushSettings};

/// Between two looks at whether to stop.
const LOOK: Duration = Duration::from_millis(50);
/// What all last requests together may take.
const LAST: Duration = Duration::from_secs(15);
/// The same after Ctrl-C.
const HURRIED: Duration = Duration::from_millis(500);

/// Listen on `addr`; port 0 is any free one.
pub(super) fn listen(runtime: &Runtime, addr: SocketAddr) -> Result<TcpListener, PublishError> {
    let _inside = runtime.enter();
    let failed = |source| PublishError::Listen { addr, source };
    let listener = std::net::TcpListener::bind(addr).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    TcpListener::from_std(listener).map_err(failed)
}

/// Everything that is done with figures.
pub(super) struct Hub {
    experiment: String,
    cells: usize,
    linger: Duration,
    pusher: Option<(Pusher, Duration, bool)>,
    exporter: Option<(Exporter, Duration)>,
    annotator: Option<Annotator>,
}

impl Hub {
    pub(super) fn new(
        settings: &PublishSettings,
        experiment: &str,
        environment: &dyn Fn(&str) -> Option<String>,
        notes: &Notes,
    ) -> Result<Self, PublishError> {
        let pusher = |s: &PushSettings| {
            Pusher::new(s, environment, notes).map(|pusher| (pusher, s.interval, s.delete))
        };
        let exporter =
            |s: &OtlpSettings| Exporter::new(s, environment, notes).map(|exporter| (exporter, s.interval));
        let annotator = |s: &GrafanaSettings| Annotator::new(s, experiment, environment, notes);
        Ok(Self {
            experiment: experiment.to_owned(),
            cells: settings.cells,
            linger: settings.linger,
            pusher: settings.pushgateway.as_ref().map(pusher).transpose()?,
            exporter: settings.otlp.as_ref().map(exporter).transpose()?,
            annotator: settings.grafana.as_ref().map(annotator).transpose()?,
        })
    }

    /// Until the news end and the last figures have been given out.
    pub(super) fn run(
        self,
        runtime: &Runtime,
        listener: Option<TcpListener>,
        news: mpsc::Receiver<News>,
        stop: &Stop,
    ) {
        LocalSet::new().block_on(runtime, self.all(listener, news, stop));
    }

    async fn all(self, listener: Option<TcpListener>, mut news: mpsc::Receiver<News>, stop: &Stop) {
        let registry = Rc::new(RefCell::new(Registry::new(&self.experiment, self.cells)));
        let asked = Rc::new(Asked::default());
        let (over, _) = watch::channel(false);
        let delete = self.pusher.as_ref().is_some_and(|(.., delete)| *delete);
        let served = listener.is_some();
        if let Some(listener) = listener {
            spawn_local(serve(listener, Rc::clone(&registry), Rc::clone(&asked)));
        }
        let pushing = self.pusher.map(|(pusher, every, _)| {
            spawn_local(push(pusher, every, Rc::clone(&registry), over.subscribe()))
        });
        let exporting = self.exporter.map(|(exporter, every)| {
            spawn_local(export(exporter, every, Rc::clone(&registry), over.subscribe()))
        });
        let (annotate, waiting) = mpsc::unbounded_channel();
        let annotating = self.annotator.map(|annotator| spawn_local(annotated(annotator, waiting)));
        while let Some(news) = news.recv().await {
            if let (News::Finished(ended), Some(_)) = (&news, &annotating) {
                // Its end is the thread's own: it can't be refused before.
                let _ = annotate.send((registry.borrow().run().to_owned(), (**ended).clone()));
            }
            registry.borrow_mut().take(news);
        }
        registry.borrow_mut().take(News::Over);
        asked.complete.set(true);
        drop(annotate);
        over.send_replace(true);
        let until = Instant::now() + self.linger;
        let last = Instant::now() + LAST;
        let pusher = last_word(pushing, last, stop).await;
        last_word(exporting, last, stop).await;
        last_word(annotating, last, stop).await;
        let enough = || stop() || (served && asked.had_all.get() && !delete);
        while (served || delete) && Instant::now() < until && !enough() {
            sleep(LOOK).await;
        }
        if let Some(mut pusher) = pusher {
            if delete {
                let _ =
                    timeout_at(Instant::now() + if stop() { HURRIED } else { LAST }, pusher.delete()).await;
            }
            pusher.sum_up();
        }
    }
}

/// What a task leaves when it ends in time.
async fn last_word<T>(task: Option<JoinHandle<T>>, until: Instant, stop: &Stop) -> Option<T> {
    let mut task = task?;
    let mut stopped = None;
    loop {
        // Who has pressed Ctrl-C doesn't wait for a collector that doesn't answer.
        if stop() {
            stopped.get_or_insert_with(|| Instant::now() + HURRIED);
        }
        let until = stopped.map_or(until, |stopped: Instant| stopped.min(until));
        match timeout_at((Instant::now() + LOOK).min(until), &mut task).await {
            Ok(ended) => return ended.ok(),
            Err(_) if Instant::now() >= until => return None,
            Err(_) => {}
        }
    }
}

/// Send again and again, and once more at the end; nothing before the run has a name.
async fn again(
    every: Duration,
    registry: &RefCell<Registry>,
    mut over: watch::Receiver<bool>,
    mut send: impl AsyncFnMut(),
) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        let last = tokio::select! {
            _ = ticks.tick() => false,
            _ = over.wait_for(|over| *over) => true,
        };
        if registry.borrow().has_begun() {
            send().await;
        }
        if last {
            return;
        }
    }
}

async fn push(
    mut pusher: Pusher,
    every: Duration,
    registry: Rc<RefCell<Registry>>,
    over: watch::Receiver<bool>,
) -> Pusher {
    let send = async || {
        let body = pusher.body(&registry.borrow());
        pusher.push(body).await;
    };
    again(every, &registry, over, send).await;
    pusher
}

async fn export(
    mut exporter: Exporter,
    every: Duration,
    registry: Rc<RefCell<Registry>>,
    over: watch::Receiver<bool>,
) {
    let send = async || {
        let body = otlp::render(&registry.borrow());
        exporter.post(body).await;
    };
    again(every, &registry, over, send).await;
    exporter.sum_up();
}

/// Annotations as cells end.
async fn annotated(mut annotator: Annotator, mut ended: mpsc::UnboundedReceiver<(String, CellEnded)>) {
    while let Some((run, cell)) = ended.recv().await {
        annotator.add(&run, &cell);
        annotator.write().await;
    }
    annotator.write().await;
    annotator.sum_up();
}
