//! What differs between the two runs beside their figures.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Difference;
use super::meet::Met;
use crate::analysis::RunData;

/// Leaves that differ between any two runs, by the last part of their path.
const ALWAYS: [&str; 11] = [
    "started_at",
    "ended_at",
    "measured_at",
    "made_at",
    "at",
    "time",
    "date",
    "uptime_s",
    "load_average",
    "memory_free_bytes",
    "pid",
];

/// Parts that say how the machine fared, not what it is, or are said elsewhere.
const PARTS: [&str; 3] = ["calibration", "imported", "imported_by"];

/// Under which the cells' settings are named, beside the paths of `environment.json`.
const SETTINGS: &str = "experiment";

/// Leaves of `environment.json` that differ, by their dotted path, then those of the settings
/// that the cells which met ran with, as `experiment.PATH`, each as the first such cell has it.
pub(super) fn differences(baseline: &RunData, candidate: &RunData, cells: &[Met<'_>]) -> Vec<Difference> {
    let mut out = Vec::new();
    let known = |run: &RunData| run.manifest.get("imported").is_none();
    // Of an imported run's machine nothing is known: that it differs in everything says nothing.
    if known(baseline) && known(candidate) {
        out = between("", &baseline.environment, &candidate.environment);
        let own = |d: &Difference| {
            PARTS.iter().any(|part| d.key == *part || d.key.starts_with(&format!("{part}.")))
        };
        out.retain(|difference| !own(difference));
    }
    let mut seen: BTreeMap<String, Difference> = BTreeMap::new();
    for met in cells {
        let (Some(base), Some(cand)) = (&met.base, &met.cand) else { continue };
        let (base, cand) = (&base.cell().settings, &cand.cell().settings);
        if base == cand {
            continue;
        }
        let json = |settings| serde_json::to_value(settings).unwrap_or_default();
        for difference in between(SETTINGS, &json(base), &json(cand)) {
            seen.entry(difference.key.clone()).or_insert(difference);
        }
    }
    out.extend(seen.into_values());
    out
}

fn between(head: &str, baseline: &Value, candidate: &Value) -> Vec<Difference> {
    let (mut base, mut cand) = (BTreeMap::new(), BTreeMap::new());
    leaves(head.to_owned(), baseline, &mut base);
    leaves(head.to_owned(), candidate, &mut cand);
    let mut keys: Vec<&String> = base.keys().chain(cand.keys()).collect();
    keys.sort();
    keys.dedup();
    let word = |side: &BTreeMap<String, String>, key: &String| {
        side.get(key).cloned().unwrap_or_else(|| "–".to_owned())
    };
    keys.into_iter()
        .filter(|key| !ALWAYS.contains(&key.rsplit('.').next().unwrap_or_default()))
        .map(|key| Difference { key: key.clone(), baseline: word(&base, key), candidate: word(&cand, key) })
        .filter(|d| d.baseline != d.candidate)
        .collect()
}

/// Every leaf by its path; null is not known, and no leaf.
fn leaves(path: String, value: &Value, out: &mut BTreeMap<String, String>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Null => {}
        Value::Object(map) => match duration(map) {
            Some(text) => {
                out.insert(path, text);
            }
            None => map.iter().for_each(|(key, inner)| leaves(below(key), inner, out)),
        },
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, inner)| leaves(below(&(i + 1).to_string()), inner, out));
        }
        Value::String(text) => {
            out.insert(path, text.clone());
        }
        other => {
            out.insert(path, other.to_string());
        }
    }
}

/// A duration as settings are stored, in seconds.
fn duration(map: &serde_json::Map<String, Value>) -> Option<String> {
    let (secs, nanos) = (map.get("secs")?.as_f64()?, map.get("nanos")?.as_f64()?);
    (map.len() == 2).then(|| format!("{} s", secs + nanos / 1e9))
}
