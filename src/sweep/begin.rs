//! What comes before a run's first cell: a look at its files, at this machine, and the directory.

use std::collections::HashSet;
use std::path::Path;

use serde_json::Value;

use super::{Options, SweepError};
use crate::event::{Event, Watcher};
use crate::experiment::{Experiment, Figures, Workload};
use crate::fleet::Fleet;
use crate::load;
use crate::plan::{self, Cell, Plan};
use crate::store::{self, Calibrated, NewRun, RunDir};
use crate::workload;

/// Read every file that the cells ask from: a wrong line is an error before the first cell has
/// run, and not after hours.
///
/// # Errors
/// The first file with a mistake, with the line; of a data set all wrong lines.
pub fn look_at_files(cells: &[&Cell]) -> Result<(), SweepError> {
    let mut seen = HashSet::new();
    for (_, workload) in cells.iter().flat_map(|cell| cell.settings.parts()) {
        let Workload { dataset, conversations, trace, images, .. } = workload;
        let lengths =
            [Some(&workload.prompt_tokens), Some(&workload.max_tokens), workload.query_tokens.as_ref()];
        let lengths = lengths.map(|lengths| lengths.and_then(|lengths| lengths.file.as_ref()));
        // Cells share their files, and differ in what has no say in them.
        if seen.insert(format!("{dataset:?} {conversations:?} {trace:?} {images:?} {lengths:?}")) {
            workload::check(workload)?;
        }
    }
    Ok(())
}

/// Hold every cell against what this machine allows: what can't be is an error before the
/// first one has run, and not after hours.
pub(super) fn look_ahead(
    cells: &[&Cell],
    fleet: Option<&Fleet>,
    watcher: &mut dyn Watcher,
) -> Result<(), SweepError> {
    if let Some(fleet) = fleet {
        // The load is theirs, and so is what it needs.
        for text in fleet.preflight(cells)? {
            watcher.on(&Event::Notice { text: &text });
        }
        return Ok(fleet.look_at_files(cells)?);
    }
    let (beyond, at_risk): (Vec<_>, Vec<_>) =
        load::preflight(cells, &load::Allowed::of_this_process()).into_iter().partition(|f| f.certain);
    if !beyond.is_empty() {
        let texts: Vec<String> = beyond.into_iter().map(|finding| finding.text).collect();
        return Err(SweepError::BeyondThisMachine(texts.join("\n")));
    }
    for finding in at_risk {
        watcher.on(&Event::Notice { text: &finding.text });
    }
    Ok(())
}

/// Open a run to go on with it, if it was made by the same experiment.
pub(super) fn reopen(path: &Path, plan: &Plan, watcher: &mut dyn Watcher) -> Result<RunDir, SweepError> {
    let run = RunDir::open(path)?;
    if run.manifest().experiment_hash != plan.experiment_hash {
        return Err(SweepError::OtherExperiment {
            run: path.to_owned(),
            difference: plan::difference(run.plan(), plan),
            set: run.manifest().set.clone(),
        });
    }
    for (file, why) in run.repair()? {
        watcher.on(&Event::Notice {
            text: &format!("{} can't be read, its cell runs again: {why}", file.display()),
        });
    }
    Ok(run)
}

/// Begin a run's directory with everything that is known before the first cell. `id`: what it is
/// called; `None`: after the time and the experiment.
pub(super) fn begin(
    experiment: &Experiment,
    plan: &Plan,
    (options, id): (&Options, Option<&str>),
    (identity, fleet): (Value, Option<&Fleet>),
    calibrated: &Calibrated,
) -> Result<RunDir, SweepError> {
    let new = NewRun {
        salt: experiment.salt.clone().unwrap_or_else(fresh_salt),
        set: options.sets.clone(),
        target: plan.cells.first().map(|c| c.settings.of_targets(|target| &target.url)).unwrap_or_default(),
        title: experiment.report.title.clone(),
        figures: match &experiment.report.figures {
            Figures::All => None,
            Figures::Only(names) => Some(names.clone()),
        },
    };
    let mut environment = store::environment(identity);
    environment["calibration"] = calibrated.note();
    if let Some(fleet) = fleet {
        environment["workers"] = fleet.note();
    }
    Ok(match id {
        Some(id) => RunDir::create_as(&options.runs, id, &experiment.text, plan, new, &environment)?,
        None => RunDir::create(&options.runs, &experiment.text, plan, new, &environment)?,
    })
}

/// A salt that no other run has: 64 random bits.
fn fresh_salt() -> String {
    format!("{:016x}", rand::random::<u64>())
}
