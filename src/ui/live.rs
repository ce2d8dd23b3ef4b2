//! A sweep as the server and the command both have it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::watch;

use super::board::{Board, Phase};
use super::form::{Field, FormMistake, Order};
use crate::load::Control;

/// Checks what was filled into the form, and starts it if it is right.
pub type Starter = Box<dyn Fn(&Order) -> Result<(), Vec<FormMistake>> + Send + Sync>;

/// The board of a sweep, and what a person may ask of it.
pub struct Live {
    board: Mutex<Board>,
    changed: watch::Sender<u64>,
    control: Control,
    form: Vec<Field>,
    start: Option<Starter>,
    /// It was the page that ended the sweep.
    stopped: AtomicBool,
    report: Mutex<Option<PathBuf>>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("control", &self.control).finish_non_exhaustive()
    }
}

impl Live {
    /// `start`: what starts a sweep from the page; without it there is no form.
    #[must_use]
    pub fn new(board: Board, control: Control, form: Vec<Field>, start: Option<Starter>) -> Arc<Self> {
        Arc::new(Self {
            board: Mutex::new(board),
            changed: watch::Sender::new(0),
            control,
            form,
            start,
            stopped: AtomicBool::new(false),
            report: Mutex::new(None),
        })
    }

    /// The board.
    pub fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The board, unless somebody is reading it.
    pub(super) fn try_board(&self) -> Option<MutexGuard<'_, Board>> {
        match self.board.try_lock() {
            Ok(board) => Some(board),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }

    /// Tell the readers that the board has changed.
    pub fn changed(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Whether the page ended the sweep, and not a signal.
    #[must_use]
    pub fn was_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Whether a cell was skipped by hand.
    pub(super) fn is_skipped(&self, index: u32) -> bool {
        self.control.skipped(index)
    }

    /// Begin another sweep.
    pub fn begin(&self, name: &str, target: &str) {
        self.stopped.store(false, Ordering::Relaxed);
        *self.report() = None;
        self.board().begin(name, target);
        self.changed();
    }

    /// The sweep is over.
    pub fn end(&self, phase: Phase, problem: Option<String>) {
        self.board().end(phase, problem);
        self.changed();
    }

    /// The report of the sweep lies in this directory.
    pub fn reported(&self, dir: PathBuf) {
        *self.report() = Some(dir);
        self.board().reported();
        self.changed();
    }

    /// The directory of the report.
    pub(super) fn report(&self) -> MutexGuard<'_, Option<PathBuf>> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `/api/state`.
    pub(super) fn state(&self) -> Value {
        let mut state = self.board().state();
        let mut put = |name: &str, value: Value| state.insert(name.to_owned(), value);
        put("paused", self.control.paused().into());
        put("held", self.control.held().into());
        put("stopping", (self.control.finish()).into());
        put("can_start", self.start.is_some().into());
        Value::Object(state)
    }

    /// `/api/form`.
    pub(super) fn form(&self) -> Value {
        serde_json::json!({ "can_start": self.start.is_some(), "fields": self.form })
    }

    /// Press a button. `Err`: why it can't be pressed now.
    pub(super) fn press(&self, button: &str, cell: Option<u32>) -> Result<(), &'static str> {
        let (phase, running) = {
            let board = self.board();
            (board.phase(), board.running())
        };
        if !matches!(phase, Phase::Running | Phase::Starting) {
            return Err("no sweep runs");
        }
        match button {
            "pause" => self.control.pause(true),
            "resume" => self.control.pause(false),
            "skip" => match (cell, running) {
                (Some(cell), Some(running)) if cell == running => self.control.skip(cell),
                (None, _) => return Err("which cell is to be skipped? {\"cell\": its index}"),
                _ => return Err("that cell doesn't run"),
            },
            "stop" => {
                self.stopped.store(true, Ordering::Relaxed);
                // As one Ctrl-C: a second press does not drop what is in flight.
                if !self.control.finish() {
                    self.control.press();
                }
            }
            _ => return Err("there is no such button"),
        }
        self.changed();
        Ok(())
    }

    /// Start a sweep with what was filled in.
    pub(super) fn start(&self, order: &Order) -> Result<(), Vec<FormMistake>> {
        let none = |text: &str| vec![FormMistake { key: String::new(), text: text.to_owned() }];
        let Some(start) = &self.start else { return Err(none("this page can't start a sweep")) };
        if let Some(key) = order.keys().find(|key| !self.form.iter().any(|field| field.key == key.as_str())) {
            return Err(none(&format!("the form has no field {key:?}")));
        }
        {
            let board = self.board();
            if board.phase() != Phase::Ready && !board.phase().is_over() {
                return Err(none("a sweep runs already"));
            }
        }
        start(order)
    }
}
