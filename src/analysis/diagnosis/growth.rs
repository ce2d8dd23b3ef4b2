//! What the server's processes and GPUs did that they should not: grow, begin anew, throttle.

use std::collections::HashSet;

use super::{Hit, Kind, Severity, kinds, usable};
use crate::analysis::inside::growing;
use crate::analysis::text::{figure, list};
use crate::analysis::{RunData, words};
use crate::measure::inside::{GROWING, Growing, steps_grow, whose};
use crate::measure::{CellSummary, Growth, InsideFigure};
use crate::plan::Cell;
use crate::record::inside;

/// Share of looks at which a GPU was throttled from which it is a warning.
const THROTTLED: f64 = 0.1;
/// Two beginnings that are further apart than this are two, in seconds.
const ANOTHER: f64 = 2.0;

/// What one cell shows.
pub(super) fn look(cell: &Cell, summary: &CellSummary) -> Vec<Hit> {
    let Some(read) = &summary.inside else { return Vec::new() };
    let place = words::place(cell);
    let hit = |kind: &'static Kind, severity, weight, evidence: String| Hit {
        kind,
        severity,
        weight,
        place: place.clone(),
        evidence,
        cells: vec![cell.index],
    };
    let mut hits = Vec::new();
    for growth in read.growth.iter().filter(|growth| growth.grows) {
        let evidence = format!("At {place} {}.", grown(growth));
        let weight = growth.to / growth.from.max(1.0);
        hits.push(hit(&kinds::SERVER_GROWS, Severity::Warning, weight, evidence));
    }
    for labels in &read.restarted {
        let evidence = format!(
            "At {place} {} was another at the end of the cell than at its beginning: what the cell measured is \
             of both, and of the time between.",
            whose(labels)
        );
        hits.push(hit(&kinds::SERVER_RESTARTED, Severity::Warning, 1.0, evidence));
    }
    for figure in read.named(inside::GPU_THROTTLED).filter(|figure| figure.mean > 0.0) {
        let severity = if figure.mean >= THROTTLED { Severity::Warning } else { Severity::Info };
        hits.push(hit(
            &kinds::GPU_THROTTLED,
            severity,
            figure.mean,
            throttled(&place, figure, read.named(inside::GPU_THROTTLE)),
        ));
    }
    hits
}

/// `resident memory of process server went from 512 MB to 613 MB over the window, 1.2 GB an hour`.
fn grown(growth: &Growth) -> String {
    let (what, from) = growing(&growth.name, growth.from);
    let ((_, to), (_, rate)) = (growing(&growth.name, growth.to), growing(&growth.name, growth.per_hour));
    let of = whose(&growth.labels);
    format!(
        "{what} of {of} went from {from} to {to} over the window, {rate} an hour if it goes on, by steps that are more than chance"
    )
}

fn throttled<'a>(
    place: &str,
    figure: &InsideFigure,
    reasons: impl Iterator<Item = &'a InsideFigure>,
) -> String {
    let mine = format!("{},reason=", figure.labels);
    let reason = |one: &InsideFigure| {
        let word = one.labels.strip_prefix(&mine)?.trim_matches('"').replace('_', " ");
        (one.mean > 0.0).then_some(word)
    };
    let words: Vec<String> = reasons.filter_map(reason).collect();
    let share = self::figure(figure.mean * 100.0);
    format!(
        "At {place} {} was throttled at {share} % of the looks ({}).",
        whose(&figure.labels),
        list(&words, 6)
    )
}

/// What one process was at over the sweep.
struct Life<'a> {
    growing: &'static Growing,
    labels: &'a str,
    /// When it began, where that is known.
    started: Option<f64>,
    /// Before its first cell.
    first: f64,
    last: f64,
    /// What each cell added, and whether the same had run before in this life.
    steps: Vec<(f64, bool)>,
    ran: HashSet<&'a str>,
    cells: Vec<u32>,
}

/// What stays after each cell, over the sweep: of one that had run before nothing should.
pub(super) fn sweep(run: &RunData) -> Vec<Hit> {
    let mut cells: Vec<_> = run.cells.iter().filter_map(|cell| Some((&cell.cell, usable(cell)?))).collect();
    cells.sort_by(|a, b| a.1.started_at.cmp(&b.1.started_at));
    let mut lives: Vec<Life<'_>> = Vec::new();
    for (cell, summary) in cells {
        let Some(read) = &summary.inside else { continue };
        for one in &read.figures {
            let Some(growing) = GROWING.iter().find(|growing| growing.name == one.name) else { continue };
            let (Some(before), Some(after)) = (one.before, one.after) else { continue };
            if read.restarted.contains(&one.labels) {
                continue;
            }
            let started = read.named(inside::STARTED).find(|f| f.labels == one.labels).map(|f| f.mean);
            let same = |life: &Life<'_>| {
                let began = match (life.started, started) {
                    (Some(a), Some(b)) => (a - b).abs() <= ANOTHER,
                    (a, b) => a.is_none() && b.is_none(),
                };
                life.growing.name == growing.name && life.labels == one.labels && began
            };
            let place = lives.iter().position(same).unwrap_or_else(|| {
                let labels = one.labels.as_str();
                let (steps, ran, cells) = (Vec::new(), HashSet::new(), Vec::new());
                lives.push(Life { growing, labels, started, first: before, last: before, steps, ran, cells });
                lives.len() - 1
            });
            let life = &mut lives[place];
            let again = !life.ran.insert(cell.id.0.as_str());
            life.steps.push((after - life.last, again));
            life.last = after;
            life.cells.push(cell.index);
        }
    }
    lives.iter().filter_map(Life::hit).collect()
}

impl Life<'_> {
    fn hit(&self) -> Option<Hit> {
        let again: Vec<f64> = self.steps.iter().filter(|(_, again)| *again).map(|(step, _)| *step).collect();
        let all: Vec<f64> = self.steps.iter().map(|(step, _)| *step).collect();
        let enough = |steps: &[f64]| {
            let rise: f64 = steps.iter().sum();
            steps_grow(steps) && rise >= f64::max(self.growing.least, self.growing.share * self.first)
        };
        let name = self.growing.name;
        let ((what, from), (_, to)) = (growing(name, self.first), growing(name, self.last));
        let (severity, steps, why) = if enough(&again) {
            (Severity::Warning, &again, "also where the same cell had run before")
        } else if enough(&all) && again.len() < 3 {
            (Severity::Info, &all, "no cell ran again, so that a higher load may be what keeps it")
        } else {
            return None;
        };
        let (_, each) = growing(name, steps.iter().sum::<f64>() / steps.len() as f64);
        let evidence = format!(
            "{} of {} went from {from} before the first of {} cells and repeats to {to} after the last, {each} with each: \
             by steps that are more than chance, {why}.",
            capital(what),
            whose(self.labels),
            self.steps.len(),
        );
        let (place, cells) = (String::new(), self.cells.clone());
        Some(Hit {
            kind: &kinds::SERVER_KEEPS,
            severity,
            weight: self.last / self.first.max(1.0),
            place,
            evidence,
            cells,
        })
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests;
