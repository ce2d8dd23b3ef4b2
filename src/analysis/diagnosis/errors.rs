//! Failures by class, and whether they became more.

use std::collections::BTreeMap;

use super::{Hit, Kind, Severity, kinds, usable};
use crate::analysis::text::{count, figure};
use crate::analysis::{CellData, RunData, words};
use crate::measure::CellSummary;
use crate::measure::validity::NOTHING_ANSWERED_NAME;

/// Shares of a cell's requests from which on failures are a warning, and failing.
const WARNS: f64 = 0.01;
const FAILS: f64 = 0.1;
/// Standard errors that two shares have to differ by: one-sided 99 %.
const CHANCE: f64 = 2.33;

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
        let silent = summary.validity.reasons.iter().any(|r| r.signal == NOTHING_ANSWERED_NAME);
        let sound = usable(cell).is_some();
        hits.extend(by_class(cell, summary).into_iter().filter(|hit| sound || silent || is_said(hit.kind)));
        if sound && cell.cell.settings.stages.is_empty() {
            hits.extend(growth(cell, summary));
        }
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

/// Failures and all that ended in the ticks of a stretch of the window.
fn ended(cell: &CellData, from: f64, to: f64) -> (f64, f64) {
    let inside = |t_us: u64| (from..to).contains(&(t_us as f64));
    let ticks = cell.timeline.iter().filter(|tick| inside(tick.t_us));
    ticks.fold((0.0, 0.0), |(failed, all), tick| {
        (failed + f64::from(tick.failed), all + f64::from(tick.failed) + f64::from(tick.completed))
    })
}

fn growth(cell: &CellData, summary: &CellSummary) -> Option<Hit> {
    let (start, end) = (summary.window.start_us as f64, summary.window.end_us as f64);
    let third = (end - start) / 3.0;
    let (first, of_first) = ended(cell, start, start + third);
    let (last, of_last) = ended(cell, end - third, end);
    if of_first < 10.0 || of_last < 10.0 {
        return None;
    }
    let (before, after) = (first / of_first, last / of_last);
    let pooled = (first + last) / (of_first + of_last);
    let error = (pooled * (1.0 - pooled) * (1.0 / of_first + 1.0 / of_last)).sqrt();
    if after - before < WARNS || after - before <= CHANCE * error {
        return None;
    }
    let place = words::place(&cell.cell);
    Some(Hit {
        kind: &kinds::ERRORS_GROW,
        severity: Severity::Warning,
        weight: after - before,
        evidence: format!(
            "At {place} {} % of what ended in the window's first third had failed, and {} % in its last.",
            figure(before * 100.0),
            figure(after * 100.0)
        ),
        place,
        cells: vec![cell.cell.index],
    })
}
