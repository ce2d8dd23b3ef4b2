//! Several runs over each other: page and figures.

use std::path::Path;

use super::{ReportError, Written, page, write_page};
use crate::chart::{Chart, Overlaid, of_runs};

/// Longest name of a directory that lists all runs.
const LONGEST: usize = 150;

/// Name of an overlay's own directory among the reports.
#[must_use]
pub fn directory(runs: &[Overlaid<'_>]) -> String {
    let ids: Vec<&str> = runs.iter().map(|r| r.run.id.as_str()).collect();
    let name = format!("overlay-{}", ids.join("-"));
    match ids.first() {
        Some(first) if name.len() > LONGEST => format!("overlay-{first}-and-{}-more", ids.len() - 1),
        _ => name,
    }
}

/// Write `index.html` and a PNG per figure into `out`, which is made if need be. `None`, and
/// nothing written, where the runs have no figure over a load in common.
///
/// # Errors
/// When a file cannot be written or a figure cannot be drawn.
pub fn write(runs: &[Overlaid<'_>], out: &Path) -> Result<Option<Written>, ReportError> {
    let charts = of_runs(runs);
    if charts.is_empty() {
        return Ok(None);
    }
    let page = page::of_overlay(runs, &charts)?;
    write_page(&page, &charts.iter().collect::<Vec<&Chart>>(), out).map(Some)
}
