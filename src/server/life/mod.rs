//! The life of a server that is ours: started before the first cell that needs it, stopped and
//! started again where the next cell's settings differ, stopped at the end.
//!
//! Each start has a log of its own in the run. A start that failed is not tried again: its
//! settings are remembered with the reason.

mod logs;
mod process;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use url::Url;

use super::ask::{AskError, Asker};
use super::{DiscoverError, Secrets, Stop, address, client, is_loopback, shown};
use crate::experiment::{ServerSettings, Settings, Target};
use logs::Logs;
pub(super) use logs::last_lines;
pub(super) use process::{Process, Spec};

/// Between two looks at a server that starts.
const LOOK: Duration = Duration::from_millis(50);

/// Why a server can't be had.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// It can't be started with these settings: their cells fail.
    #[error("{0}")]
    Failed(String),
    /// A person wants no more of it.
    #[error("stopped while the server was starting")]
    Stopped,
    /// The target's own settings can't be used.
    #[error(transparent)]
    Target(#[from] DiscoverError),
    /// Its log can't be written.
    #[error("cannot {what} {}: {source}", path.display())]
    Log { what: &'static str, path: PathBuf, source: std::io::Error },
}

/// A server that is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Up {
    /// Number of its start in the run, from 1: `server/<start>.log`.
    pub start: u32,
    /// It was started just now, so that nothing is known of it yet.
    pub fresh: bool,
}

struct Running {
    settings: ServerSettings,
    process: Process,
    start: u32,
}

/// Starts and stops the one server of a sweep. Dropped, it stops it.
pub struct Launcher {
    /// Directory of the experiment file.
    dir: PathBuf,
    logs: Logs,
    running: Option<Running>,
    failed: Vec<(ServerSettings, String)>,
    stop: Stop,
}

impl Launcher {
    /// `dir`: that of the experiment file. `logs`: where logs are kept; `settled`: it is the
    /// run's own already, and not a place for the time until there is a run.
    #[must_use]
    pub fn new(dir: &Path, logs: &Path, settled: bool, stop: Stop) -> Self {
        let logs = Logs::new(logs, settled);
        Self { dir: dir.to_owned(), logs, running: None, failed: Vec::new(), stop }
    }

    /// There is a run now: its directory takes the logs.
    ///
    /// # Errors
    /// When they can't be moved.
    pub fn settle(&mut self, logs: &Path) -> Result<(), LaunchError> {
        self.logs.settle(logs)
    }

    /// The server that `settings` asks for, started if it isn't up; `None` where it asks for none.
    ///
    /// # Errors
    /// See [`LaunchError`].
    pub fn up(&mut self, settings: &Settings, tell: &mut dyn FnMut(&str)) -> Result<Option<Up>, LaunchError> {
        let Some(server) = &settings.server else { return Ok(None) };
        if let Some((_, reason)) = self.failed.iter().find(|(known, _)| known == server) {
            return Err(LaunchError::Failed(reason.clone()));
        }
        if let Some(running) = self.running.as_mut().filter(|running| running.settings == *server) {
            let Some(end) = running.process.ended() else {
                return Ok(Some(Up { start: running.start, fresh: false }));
            };
            tell(&format!("the server of start {} has ended ({end}) and is started again", running.start));
        }
        // Before the next one: both may want the same port and the same memory.
        self.running = None;
        match self.start(server, settings, tell) {
            Err(LaunchError::Failed(reason)) => {
                self.failed.push((server.clone(), reason.clone()));
                Err(LaunchError::Failed(reason))
            }
            other => other.map(Some),
        }
    }

    /// The process group of what runs, if something does.
    #[must_use]
    pub fn group(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.process.group())
    }

    /// Stop what runs.
    pub fn down(&mut self) {
        self.running = None;
    }

    fn start(
        &mut self,
        server: &ServerSettings,
        settings: &Settings,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Up, LaunchError> {
        let Some(target) = settings.parts().next().map(|(target, _)| target) else {
            return Err(LaunchError::Failed("the cell has no target".to_owned()));
        };
        let look = Look::new(server, target, Arc::clone(&self.stop))?;
        look.refuse_stranger()?;
        let (start, path, file) = self.logs.begin()?;
        let words = server.words();
        let mut cwd = server.cwd.as_ref().map(|cwd| self.dir.join(cwd));
        if cwd.as_ref().is_some_and(|cwd| cwd.as_os_str().is_empty()) {
            cwd = None;
        }
        let spec = Spec {
            input: None,
            words: &words,
            cwd: cwd.as_deref(),
            env: &server.env,
            signal: server.stop.signal,
            grace: server.stop.grace,
        };
        tell(&format!("starting the server ({start}): {}", look.secrets.hide(words.join(" "))));
        let began = Instant::now();
        let process = Process::start(&spec, &file)
            .map_err(|error| LaunchError::Failed(format!("the server can't be started: {error}")))?;
        let mut running = Running { settings: server.clone(), process, start };
        if let Err(error) = look.until_ready(&mut running.process, server.ready.timeout) {
            // What it says while it is stopped may be what matters.
            drop(running);
            let LaunchError::Failed(reason) = error else { return Err(error) };
            let end = look.secrets.hide(logs::last_lines(&path));
            let name = self.logs.name(start);
            return Err(LaunchError::Failed(match end.is_empty() {
                true => format!("{reason}; {name} is empty"),
                false => format!("{reason}. The end of {name}: {end}"),
            }));
        }
        tell(&format!("the server ({start}) is ready after {:.1} s", began.elapsed().as_secs_f64()));
        self.running = Some(running);
        Ok(Up { start, fresh: true })
    }
}

/// Looks at whether a server is ready.
struct Look {
    asker: Asker,
    url: Url,
    status: u16,
    secrets: Secrets,
}

impl Look {
    fn new(server: &ServerSettings, target: &Target, stop: Stop) -> Result<Self, LaunchError> {
        let bad = |e: url::ParseError| LaunchError::Failed(format!("server.ready.url: {e}"));
        let ready = &server.ready.url;
        let (url, own) = match ready.starts_with('/') {
            true => Url::parse(&target.url).and_then(|base| address(&base, ready)).map_err(bad)?,
            false => (Url::parse(ready).map_err(bad)?, false),
        };
        let lenient = target.is_sim() || is_loopback(&url);
        let headers = client::headers(target, lenient, |name| std::env::var(name).ok(), &mut Vec::new())?;
        let secrets = Secrets::of(target, &headers);
        // The target's key is for the target alone.
        let headers = if own { headers } else { Vec::new() };
        let asker = Asker::new(target, &url, headers, stop).map_err(DiscoverError::from)?;
        Ok(Self { asker, url, status: server.ready.status, secrets })
    }

    /// What answers before ours has started is somebody else's, and would be taken for it.
    fn refuse_stranger(&self) -> Result<(), LaunchError> {
        match self.asker.get(&self.url) {
            Ok(_) => Err(LaunchError::Failed(format!(
                "something answers at {} before the server is started: end it, or use it with --no-server",
                shown(&self.url)
            ))),
            Err(AskError::Stopped) => Err(LaunchError::Stopped),
            Err(_) => Ok(()),
        }
    }

    fn until_ready(&self, process: &mut Process, limit: Duration) -> Result<(), LaunchError> {
        let until = Instant::now() + limit;
        let mut last;
        loop {
            last = match self.asker.get(&self.url) {
                Err(AskError::Stopped) => return Err(LaunchError::Stopped),
                Err(error) => error.words(&self.url).0,
                Ok(answer) if answer.status == self.status => String::new(),
                Ok(answer) => format!("HTTP {}", answer.status),
            };
            // Also where it is ready: what answered was then another.
            if let Some(end) = process.ended() {
                return Err(LaunchError::Failed(format!("the server ended before it was ready ({end})")));
            }
            if last.is_empty() {
                return Ok(());
            }
            if Instant::now() >= until {
                break;
            }
            std::thread::sleep(LOOK.min(until.saturating_duration_since(Instant::now())));
        }
        Err(LaunchError::Failed(format!(
            "the server was not ready after {} s ({}: {last})",
            limit.as_secs_f64(),
            shown(&self.url)
        )))
    }
}
