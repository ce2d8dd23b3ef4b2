//! Where the noise of a server and this client is kept: beside the calibration of this machine,
//! by what was asked of whom.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{
    PLAN, SUMMARY_JSON, StoreError, StoredCell, atomic, calibration_path, cell_dir, read_json, stored,
};
use crate::experiment::canonical_json;
use crate::plan::Plan;

/// Name of the file in the directory of a run that noise was measured with.
pub const NOISE: &str = "noise.json";

/// Where the noise of what this run asked of its server is kept: `noise/<key>.json` beside the
/// calibration, whose place `$PLIMSOLL_CALIBRATION` may name. The key is a hash of the target as
/// the experiment has it, of the model as the server calls it, and of each cell's settings; not of
/// SLOs, of this client's settings, of seeds or of how often a cell is repeated. `None` where no
/// place is known, or the run has no plan that can be read.
#[must_use]
pub fn noise_path(run: &Path) -> Option<PathBuf> {
    let plan: Plan = read_json(&run.join(PLAN)).ok()?;
    let first = plan
        .cells
        .iter()
        .find_map(|cell| StoredCell::read(&run.join(cell_dir(cell)).join(SUMMARY_JSON)).ok().flatten());
    let model = first.map(|cell| cell.model).unwrap_or_default();
    Some(calibration_path()?.parent()?.join("noise").join(format!("{}.json", key(&plan, &model))))
}

/// 16 hexadecimal digits.
fn key(plan: &Plan, model: &str) -> String {
    let cells: BTreeSet<String> = plan
        .cells
        .iter()
        .map(|cell| {
            let mut settings = serde_json::to_value(&cell.settings).unwrap_or_default();
            if let Some(map) = settings.as_object_mut() {
                map.retain(|name, _| name != "slo" && name != "client");
            }
            format!("{} {}", cell.id, canonical_json(&settings))
        })
        .collect();
    let mut digest = Sha256::new();
    digest.update(format!("plimsoll noise 1\n{model}\n"));
    cells.iter().for_each(|cell| digest.update(format!("{cell}\n")));
    digest.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a file of noise, whole or not at all; directories are made.
///
/// # Errors
/// When the disk refuses.
pub fn write_noise(path: &Path, noise: &impl Serialize) -> Result<(), StoreError> {
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        std::fs::create_dir_all(dir).map_err(StoreError::io("create", dir))?;
    }
    atomic::write(path, &stored::to_json(path, noise)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Experiment;
    use crate::plan::build;

    fn key_of(more: &[&str], model: &str) -> String {
        let file = "target.url = \"http://127.0.0.1:1\"\ncell.duration = \"1s\"\n[grid]\nusers = [1, 2]\nrepeats = 2";
        let sets: Vec<String> = more.iter().map(|set| (*set).to_owned()).collect();
        let experiment = Experiment::parse(Path::new("x.toml"), file, &sets).unwrap();
        key(&build(&experiment).unwrap(), model)
    }

    #[test]
    fn noise_is_that_of_what_is_asked_of_whom() {
        let own = key_of(&[], "m");
        assert_eq!(own.len(), 16);
        for same in ["grid.repeats=9", "seed=4", "slo.ttft_p95=1s", "name=other"] {
            assert_eq!(key_of(&[same], "m"), own, "{same}");
        }
        for other in
            ["cell.duration=2s", "target.url=http://127.0.0.1:2", "grid.users=[1]", "workload.max_tokens=7"]
        {
            assert_ne!(key_of(&[other], "m"), own, "{other}");
        }
        assert_ne!(key_of(&[], "another"), own);
    }
}
