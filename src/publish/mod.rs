//! This client's own figures, given to others while a sweep runs: scraped by Prometheus, pushed to a
//! Pushgateway, sent by OTLP, and cells as annotations in Grafana.
//!
//! A watcher counts on the calling thread and hands over without waiting; everything else is done by
//! one thread of its own, so that a receiver that is slow, wrong or away can't touch the load.

mod families;
mod feed;
mod grafana;
mod hub;
mod news;
mod otlp;
mod post;
mod push;
mod registry;
#[cfg(test)]
mod registry_tests;
mod serve;
mod tally;
mod text;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::mpsc::{Sender, channel};
use url::Url;

pub use families::{ALIASES, FAMILIES, Family, Kind, Of};

use crate::event::{Watcher, give_way};
use crate::experiment::PublishSettings;
use feed::{Feed, Notes};
use hub::Hub;
use news::News;

/// News that wait to be taken in, at most; further ones are added up before.
const WAITING: usize = 256;

/// Why nothing can be published. All are found out before the sweep.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("publish.listen: cannot listen on {addr}: {source}")]
    Listen { addr: SocketAddr, source: std::io::Error },
    #[error("{name}, named by {key}, is not set")]
    NoVariable { name: String, key: String },
    #[error("{key}: {source}")]
    Url { key: String, source: url::ParseError },
    #[error("{who}: cannot set up an HTTP client: {reason}")]
    Client { who: String, reason: String },
    #[error("cannot start the publishing thread: {0}")]
    Thread(std::io::Error),
}

/// Says whether to wait no longer.
pub type Stop = Arc<dyn Fn() -> bool + Send + Sync>;

/// Figures on their way.
pub struct Publishing {
    addr: Option<SocketAddr>,
    to: Sender<News>,
    notes: Notes,
    hurry: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Publishing {
    /// Begin to publish `experiment` as `settings` say. `environment` has the secrets that they name;
    /// once `stop` says so, nobody is waited for.
    ///
    /// # Errors
    /// When an address can't be listened on, or a variable isn't set.
    pub fn start(
        settings: &PublishSettings,
        experiment: &str,
        environment: impl Fn(&str) -> Option<String>,
        stop: Stop,
    ) -> Result<Self, PublishError> {
        let notes = Notes::default();
        let (to, from) = channel(WAITING);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(PublishError::Thread)?;
        let listener = settings.listen.map(|addr| hub::listen(&runtime, addr)).transpose()?;
        let addr = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let hub = Hub::new(settings, experiment, &environment, &notes)?;
        let hurry = Arc::new(AtomicBool::new(false));
        let hurried = Arc::clone(&hurry);
        let stop: Stop = Arc::new(move || stop() || hurried.load(Ordering::Relaxed));
        let thread = std::thread::Builder::new()
            .name("publish".to_owned())
            .spawn(move || {
                give_way();
                hub.run(&runtime, listener, from, &stop);
            })
            .map_err(PublishError::Thread)?;
        Ok(Self { addr, to, notes, hurry, thread })
    }

    /// Where figures can be scraped.
    #[must_use]
    pub const fn addr(&self) -> Option<SocketAddr> {
        self.addr
    }

    /// What is to watch the sweep. The sweep is over for this when it is dropped.
    #[must_use]
    pub fn watcher(self) -> (Box<dyn Watcher>, Ended) {
        let Self { to, notes, hurry, thread, .. } = self;
        (Box::new(Feed::new(to, Arc::clone(&notes))), Ended { notes, hurry, thread })
    }
}

/// A sweep that was published.
pub struct Ended {
    notes: Notes,
    hurry: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Ended {
    /// Whether the last figures have been given out.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.thread.is_finished()
    }

    /// Wait for no scrape any more.
    pub fn hurry(&self) {
        self.hurry.store(true, Ordering::Relaxed);
    }

    /// Wait until they have, and say what there is to say of it, a sentence each.
    #[must_use]
    pub fn wait(self) -> Vec<String> {
        // A thread that panicked has already said so.
        let _ = self.thread.join();
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }
}

/// A secret or an address from the environment.
fn variable(
    environment: &dyn Fn(&str) -> Option<String>,
    name: &str,
    key: &str,
) -> Result<String, PublishError> {
    let missing = || PublishError::NoVariable { name: name.to_owned(), key: key.to_owned() };
    environment(name).filter(|value| !value.is_empty()).ok_or_else(missing)
}

fn parse(key: &str, text: &str) -> Result<Url, PublishError> {
    Url::parse(text).map_err(|source| PublishError::Url { key: key.to_owned(), source })
}
