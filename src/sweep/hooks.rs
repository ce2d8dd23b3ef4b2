//! Runs the hooks of a point, and says what their failures mean.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use url::Url;

use crate::event::{Event, Watcher};
use crate::experiment::{HookPoint, Hooks, OnFailure, Target};
use crate::load::Control;
use crate::plan::Cell;
use crate::server::{HookError, Stop, run_hook};

/// What becomes of the sweep after the hooks of a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum After {
    GoOn,
    /// The cell can't run.
    Fail(String),
    Stop(String),
    Interrupted,
}

/// The hooks of an experiment.
pub(super) struct Runner {
    hooks: Hooks,
    control: Control,
}

impl Runner {
    pub(super) fn new(hooks: &Hooks, control: &Control) -> Self {
        Self { hooks: hooks.clone(), control: control.clone() }
    }

    /// Run the hooks of `point`, one after the other, until one fails that may not. `cell`: the
    /// one at hand, with its run's directory.
    pub(super) fn run(
        &self,
        point: HookPoint,
        at: (&Target, &Url),
        cell: Option<(&Cell, &Path)>,
        watcher: &mut dyn Watcher,
    ) -> After {
        let control = self.control.clone();
        // Also a sweep that was interrupted is tidied up after, unless there is no time for it.
        let stop: Stop = match point {
            HookPoint::AfterCell | HookPoint::AfterSweep => Arc::new(move || control.now()),
            _ => Arc::new(move || control.finish()),
        };
        let variables = variables(at.1, cell);
        for (number, hook) in self.hooks.at(point).iter().enumerate() {
            let reason = match run_hook(hook, at, &variables, &stop) {
                Ok(()) => continue,
                Err(HookError::Stopped) => return After::Interrupted,
                Err(HookError::Failed(reason)) => format!("hooks.{}[{}]: {reason}", point.key(), number + 1),
            };
            match hook.on_failure {
                OnFailure::Fail => return After::Fail(reason),
                OnFailure::Stop => return After::Stop(reason),
                OnFailure::Warn => watcher.on(&Event::Notice { text: &reason }),
            }
        }
        After::GoOn
    }
}

/// What a command may want to know.
fn variables(base: &Url, cell: Option<(&Cell, &Path)>) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let mut put = |name: &str, value: String| variables.insert(name.to_owned(), value);
    let mut base = base.clone();
    // A command finds the key where we do; only an address that can't have one refuses to lose it.
    let _ = base.set_username("").and_then(|()| base.set_password(None));
    put("PLIMSOLL_TARGET", base.to_string());
    if let Some((cell, run)) = cell {
        put("PLIMSOLL_RUN", run.display().to_string());
        put("PLIMSOLL_CELL", (cell.index + 1).to_string());
        put("PLIMSOLL_CELL_ID", cell.id.0.clone());
    }
    variables
}
