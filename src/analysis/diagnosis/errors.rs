//! Failures by class.

use std::collections::BTreeMap;

use super::{Hit, Kind, Severity, kinds, usable};
use crate::analysis::grid::is_silent;
use crate::analysis::text::{count, figure};
use crate::analysis::{CellData, RunData, words};
use crate::measure::CellSummary;

/// Shares of a cell's requests from which on failures are a warning, and failing.
const WARNS: f64 = 0.01;
const FAILS: f64 = 0.1;

/// The finding that a class of failure belongs to.
fn kind_of(class: &str) -> &'static Kind {
    match class {
        "429" => &kinds::REFUSED,
        "503" => &kinds::UNAVAILABLE,
        "5xx" | "server_error" => &kinds::SERVER_ERRORS,
        "3xx" | "4xx" => &kinds::BAD_REQUESTS,
        "connect" | "connect_error" | "reset" => &kinds::CONNECTIONS,
        _ if class.starts_with("timeout") => &kinds::TIMEOUTS,
        "truncated" | "bad_stream" => &kinds::BROKEN_ANSWERS,
        _ => &kinds::OTHER_FAILURES,
    }
}

/// Whether failures of a kind are the server's own words, whatever the client's state was.
fn is_said(kind: &Kind) -> bool {
    let said = [&kinds::REFUSED, &kinds::UNAVAILABLE, &kinds::SERVER_ERRORS, &kinds::BAD_REQUESTS];
    said.iter().any(|k| k.code == kind.code)
}

pub(super) fn look(run: &RunData) -> Vec<Hit> {
    let mut hits = Vec::new();
    for cell in &run.cells {
        let Some(summary) = &cell.summary else { continue };
        // That nothing was answered makes a cell invalid, and is what is looked for here.
        let silent = is_silent(summary);
        let sound = usable(cell).is_some();
        hits.extend(by_class(cell, summary).into_iter().filter(|hit| sound || silent || is_said(hit.kind)));
    }
    hits
}

fn by_class(cell: &CellData, summary: &CellSummary) -> Vec<Hit> {
    let counts = &summary.counts;
    let mut kinds: BTreeMap<&str, (&'static Kind, u64, Vec<&str>)> = BTreeMap::new();
    for (class, n) in &counts.errors {
        let kind = kind_of(class);
        let (_, sum, classes) = kinds.entry(kind.code).or_insert((kind, 0, Vec::new()));
        *sum += n;
        classes.push(class);
    }
    let place = words::place(&cell.cell);
    let hit = |(kind, n, classes): (&'static Kind, u64, Vec<&str>)| {
        let share = n as f64 / counts.attempted.max(1) as f64;
        let severity = match share {
            _ if share >= FAILS => Severity::Fail,
            _ if share >= WARNS => Severity::Warning,
            _ => Severity::Info,
        };
        let by = classes.iter().map(|class| format!("{} × {class}", count(counts.errors[*class])));
        let said = classes.iter().find_map(|class| counts.error_words.get(*class));
        let said = said.map_or_else(String::new, |said| format!(", first with “{said}”"));
        Hit {
            kind,
            severity,
            weight: share,
            evidence: format!(
                "At {place} {} of {} requests ({} %) failed so: {}{said}.",
                count(n),
                count(counts.attempted),
                figure(share * 100.0),
                by.collect::<Vec<_>>().join(", ")
            ),
            place: place.clone(),
            cells: vec![cell.cell.index],
        }
    };
    kinds.into_values().map(hit).collect()
}
