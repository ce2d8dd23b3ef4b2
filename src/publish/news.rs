//! What the watching thread hands over, and how a cell is labelled.

use std::collections::BTreeMap;

use serde_json::Value;

use super::families::RESERVED;
use super::registry::Labels;
use super::tally::Tally;
use crate::event::Live;
use crate::experiment::{Load, Settings};
use crate::measure::{CellSummary, SloStatus, Verdict};
use crate::plan::{Cell, load_in_words};
use crate::record::EndedBy;

/// Axes whose values become labels, at most: the first as written.
const MOST_AXES: usize = 8;
/// Characters of a label's value.
const LONGEST_VALUE: usize = 64;
/// The latencies of a finished cell that are given out, and their statistics.
const LATENCIES: [&str; 5] = ["ttft", "tpot", "e2e", "lag", "chunk_gap"];
const STATS: [&str; 5] = ["mean", "p50", "p90", "p95", "p99"];

/// One thing that happened.
pub(super) enum News {
    Sweep {
        run: String,
        cells: usize,
        finished: usize,
    },
    Cell(Box<CellBegun>),
    /// Of the cell that runs.
    Requests(Box<Tally>),
    Live(Box<Live>),
    Finished(Box<CellEnded>),
    /// Nothing runs any more.
    Over,
}

/// A cell that begins.
pub(super) struct CellBegun {
    /// From 1.
    pub number: u32,
    pub of: usize,
    /// `model`, `cell`, `repeat`, and the axes'.
    pub labels: Labels,
    /// Users of a closed loop, or the rate of an open one, where it has one level.
    pub users: Option<u32>,
    pub offered: Option<f64>,
}

impl CellBegun {
    pub(super) fn of(cell: &Cell, of: usize) -> Self {
        let settings = &cell.settings;
        let (users, offered) = match settings.load {
            _ if settings.level_changes() => (None, None),
            Load::Closed { users } => (Some(users), None),
            Load::Open { qps, .. } => (None, Some(qps)),
        };
        Self { number: cell.index + 1, of, labels: labels(cell), users, offered }
    }
}

/// What a finished cell came to.
#[derive(Clone)]
pub(super) struct CellEnded {
    /// By metric and statistic, in seconds.
    pub latencies: Vec<([String; 2], f64)>,
    pub scalars: BTreeMap<String, f64>,
    pub slo: Vec<([String; 2], SloStatus)>,
    pub verdict: Verdict,
    /// It was cut short, and runs again when the run is gone on with.
    pub interrupted: bool,
    pub started_ms: Option<i64>,
    pub ended_ms: Option<i64>,
    /// The cell and what it came to, in words.
    pub words: String,
}

impl CellEnded {
    pub(super) fn of(cell: &Cell, summary: &CellSummary) -> Self {
        let latency = |metric: &str, stat: &str| {
            let ms = summary.value(metric, stat)?;
            Some(([metric.to_owned(), stat.to_owned()], ms / 1000.0))
        };
        let at = |text: &str| text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
        Self {
            latencies: LATENCIES
                .iter()
                .flat_map(|metric| STATS.iter().filter_map(move |stat| latency(metric, stat)))
                .collect(),
            scalars: summary.scalars.clone(),
            slo: summary.slo.iter().map(|v| ([v.metric.clone(), v.stat.clone()], v.status)).collect(),
            verdict: summary.validity.verdict,
            interrupted: summary.window.ended_by == EndedBy::Interrupt,
            started_ms: at(&summary.started_at),
            ended_ms: at(&summary.ended_at),
            words: words(cell, summary),
        }
    }
}

/// A finished cell in a few lines.
fn words(cell: &Cell, summary: &CellSummary) -> String {
    let Settings { target, .. } = &cell.settings;
    let counts = &summary.counts;
    let repeat = if cell.repeat > 1 { format!(", repeat {}", cell.repeat) } else { String::new() };
    let mut text = format!("Cell {}{repeat}: {}", cell.index + 1, load_in_words(cell));
    if target.model != "auto" && cell.settings.parts.is_empty() {
        text.push_str(&format!(" of {}", target.model));
    }
    let dropped = if counts.dropped > 0 { format!(", {} dropped", counts.dropped) } else { String::new() };
    text.push_str(&format!("\n{} ok, {} failed{dropped}", counts.ok, counts.failed));
    for (metric, name) in [("ttft", "TTFT"), ("tpot", "TPOT"), ("e2e", "E2E")] {
        if let Some(ms) = summary.value(metric, "p95") {
            text.push_str(&format!(" · {name} p95 {ms:.1} ms"));
        }
    }
    if let Some(worst) = summary.statuses().max() {
        text.push_str(&format!("\nSLO {}", worst.word()));
    }
    match summary.validity.verdict {
        Verdict::Valid => {}
        Verdict::Warn => text.push_str("\nvalid with a remark"),
        Verdict::Invalid => text.push_str("\ninvalid"),
    }
    text
}

/// Which cell it is, as labels: a bounded number of bounded values.
fn labels(cell: &Cell) -> Labels {
    let mut labels = vec![
        ("model".to_owned(), shortened(&cell.settings.of_targets(|target| &target.model))),
        ("cell".to_owned(), (cell.index + 1).to_string()),
        ("repeat".to_owned(), cell.repeat.to_string()),
    ];
    if let Some(grid) = &cell.grid {
        labels.push(("grid".to_owned(), shortened(grid)));
    }
    let axes: Vec<&str> =
        cell.varying.iter().map(String::as_str).filter(|path| *path != "grid").take(MOST_AXES).collect();
    for path in &axes {
        let value = match cell.factors.get(*path) {
            None | Some(Value::Null) => continue,
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        labels.push((label_of(path, &axes), shortened(&value)));
    }
    labels
}

fn shortened(value: &str) -> String {
    value.chars().take(LONGEST_VALUE).collect()
}

/// The label of an axis: the last part of its path, the whole where that is not its alone.
fn label_of(path: &str, axes: &[&str]) -> String {
    let plain = |text: &str| -> String {
        let text: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let text = text.trim_start_matches('_');
        if text.starts_with(|c: char| c.is_ascii_alphabetic()) {
            text.to_owned()
        } else {
            format!("axis_{text}")
        }
    };
    let last = |path: &str| plain(path.rsplit('.').next().unwrap_or(path));
    let short = last(path);
    let taken =
        RESERVED.contains(&short.as_str()) || axes.iter().any(|axis| *axis != path && last(axis) == short);
    if taken { plain(path) } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{cell, summary};

    #[test]
    fn an_axis_has_a_label_of_its_own() {
        let axes = [
            "load.users",
            "target.model",
            "server.args.\"top-k\"",
            "sim.top_k",
            "task.a.weight",
            "task.b.weight",
        ];
        let labels: Vec<String> = axes.iter().map(|path| label_of(path, &axes)).collect();
        assert_eq!(labels, ["users", "target_model", "top_k_", "top_k", "task_a_weight", "task_b_weight"]);
        assert_eq!(label_of("sim.__9", &[]), "axis_9");
    }

    #[test]
    fn labels_are_few_and_short() {
        let mut cell = cell(3);
        cell.varying = (0..20).map(|i| format!("sim.k{i}")).collect();
        for path in &cell.varying {
            cell.factors.insert(path.clone(), Value::from("x".repeat(1_000)));
        }
        let labels = labels(&cell);
        assert!(labels.len() <= 4 + MOST_AXES, "{labels:?}");
        assert!(labels.iter().all(|(_, value)| value.len() <= LONGEST_VALUE));
        assert!(labels.contains(&("cell".to_owned(), "4".to_owned())));
    }

    #[test]
    fn a_finished_cell_is_told_in_words() {
        let ended = CellEnded::of(&cell(0), &summary(0));
        assert!(ended.words.starts_with("Cell 1"), "{}", ended.words);
        assert!(ended.started_ms.is_some() && ended.ended_ms >= ended.started_ms);
    }
}
