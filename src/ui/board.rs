//! What is to be seen of a sweep, in bounded memory.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::course::{Course, Points};
use super::tally::Tally;
use crate::analysis::label;
use crate::event::Event;
use crate::measure::{CellSummary, SloStatus};
use crate::plan::{Cell, load_in_words};

/// Most lines of the log, and most finished cells; the oldest go.
const MOST_LINES: usize = 300;
const MOST_CELLS: usize = 5000;

/// Figures of a finished cell that the page has: name there, metric, statistic.
const FIGURES: [(&str, &str, &str); 17] = [
    ("offered_rps", "offered_rps", ""),
    ("completed_rps", "completed_rps", ""),
    ("goodput_rps", "goodput_rps", ""),
    ("output_tps", "output_tps", ""),
    ("error_rate", "error_rate", ""),
    ("in_flight_mean", "in_flight_mean", ""),
    ("ttft_p50_ms", "ttft", "p50"),
    ("ttft_p90_ms", "ttft", "p90"),
    ("ttft_p95_ms", "ttft", "p95"),
    ("ttft_p99_ms", "ttft", "p99"),
    ("tpot_p50_ms", "tpot", "p50"),
    ("tpot_p95_ms", "tpot", "p95"),
    ("e2e_p50_ms", "e2e", "p50"),
    ("e2e_p90_ms", "e2e", "p90"),
    ("e2e_p95_ms", "e2e", "p95"),
    ("e2e_p99_ms", "e2e", "p99"),
    ("lag_p99_ms", "lag", "p99"),
];

/// Where the sweep is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing runs; the page can start it.
    Ready,
    /// The server is looked for or started.
    Starting,
    Running,
    Finished,
    /// Ended early, by Ctrl-C or from the page.
    Interrupted,
    /// Ended early: the server went, or something failed.
    Failed,
}

impl Phase {
    /// Whether there is nothing more to come.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Finished | Self::Interrupted | Self::Failed)
    }
}

/// A cell, as the page lists it.
#[derive(Debug, Clone, Serialize)]
struct Row {
    index: u32,
    id: String,
    repeat: u32,
    /// Its varying factors, such as `users=4 prompt_tokens=128`.
    label: String,
    /// The same without the load: cells of a group make a line in the figures.
    group: String,
    load: Option<Load>,
    /// `running`, `finished`, `interrupted` or `not_measured`.
    status: &'static str,
    /// `valid`, `warn` or `invalid`; null where it isn't known.
    validity: Value,
    reasons: Vec<String>,
    /// `pass`, `warning` or `fail`; null without rules.
    slo: Value,
    attempted: u64,
    ok: u64,
    failed: u64,
    figures: Map<String, Value>,
}

/// Where a cell stands on the axis of the load.
#[derive(Debug, Clone, Serialize)]
struct Load {
    name: &'static str,
    value: f64,
}

impl Row {
    fn of(cell: &Cell) -> Self {
        let label = label(cell);
        let is_load = |part: &&str| part.starts_with("users=") || part.starts_with("qps=");
        let group = label.split(' ').filter(|part| !is_load(part)).collect::<Vec<_>>().join(" ");
        let at = |path: &str| cell.factors.get(path).and_then(Value::as_f64);
        // Beside a rate, users are a cap.
        let load = match (at("load.qps"), at("load.users")) {
            (Some(value), _) => Some(Load { name: "qps", value }),
            (None, Some(value)) => Some(Load { name: "users", value }),
            (None, None) => None,
        };
        Self {
            index: cell.index,
            id: cell.id.0.clone(),
            repeat: cell.repeat,
            label,
            group,
            load,
            status: "running",
            validity: Value::Null,
            reasons: Vec::new(),
            slo: Value::Null,
            attempted: 0,
            ok: 0,
            failed: 0,
            figures: Map::new(),
        }
    }

    fn finish(&mut self, summary: &CellSummary) {
        let cut = summary.window.ended_by == crate::record::EndedBy::Interrupt;
        self.status = if cut { "interrupted" } else { "finished" };
        self.validity = json!(summary.validity.verdict);
        self.reasons = summary.validity.reasons.iter().map(|reason| reason.text.clone()).collect();
        self.slo = summary.statuses().max().map_or(Value::Null, |worst: SloStatus| json!(worst));
        let counts = &summary.counts;
        (self.attempted, self.ok, self.failed) = (counts.attempted, counts.ok, counts.failed);
        for (name, metric, stat) in FIGURES {
            let value = summary.value(metric, stat).filter(|value| value.is_finite());
            self.figures.insert(name.to_owned(), value.map_or(Value::Null, |value| json!(value)));
        }
    }
}

/// The cell that runs, or the last that ran.
#[derive(Debug)]
struct Current {
    row: Row,
    of: usize,
    expected_s: f64,
    /// Its load in words.
    load: String,
    live: Value,
    /// When its window was first seen open, and how long it was, both in seconds.
    opened_s: Option<f64>,
    window_s: Option<f64>,
}

/// A line of the log.
#[derive(Debug, Clone, Serialize)]
struct Line {
    /// Wall clock, RFC 3339, UTC.
    at: String,
    text: String,
}

/// How much of a board a reader has seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    course: (u64, usize),
    cells: u64,
    lines: u64,
    sweep: u64,
}

/// What is to be seen of a sweep.
#[derive(Debug)]
pub struct Board {
    phase: Phase,
    /// The experiment's name.
    name: String,
    target: String,
    /// Number of the sweep in this process: a reader forgets what it saw of another.
    sweep: u64,
    run: Option<String>,
    cells: usize,
    finished_before: usize,
    expected_s: f64,
    /// Expected seconds of the cells that ended.
    past_s: f64,
    cooling: bool,
    side: Option<String>,
    current: Option<Current>,
    course: Course,
    rows: VecDeque<Row>,
    /// Rows that ever were.
    rows_ever: u64,
    lines: VecDeque<Line>,
    lines_ever: u64,
    /// What else the sweep told, by the event's name, such as gauges of the server.
    more: Map<String, Value>,
    tally: Arc<Tally>,
    report: bool,
    /// Every cell has ended.
    whole: bool,
    problem: Option<String>,
}

impl Board {
    /// A board of an experiment, on which nothing has happened.
    #[must_use]
    pub fn new(phase: Phase, name: &str, target: &str) -> Self {
        Self {
            phase,
            name: name.to_owned(),
            target: target.to_owned(),
            sweep: 0,
            run: None,
            cells: 0,
            finished_before: 0,
            expected_s: 0.0,
            past_s: 0.0,
            cooling: false,
            side: None,
            current: None,
            course: Course::new(0),
            rows: VecDeque::new(),
            rows_ever: 0,
            lines: VecDeque::new(),
            lines_ever: 0,
            more: Map::new(),
            tally: Arc::default(),
            report: false,
            whole: false,
            problem: None,
        }
    }

    /// Wipe it for another sweep.
    pub fn begin(&mut self, name: &str, target: &str) {
        let sweep = self.sweep + 1;
        *self = Self { sweep, ..Self::new(Phase::Starting, name, target) };
    }

    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether the sweep went through all of its cells.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// The run that the sweep makes; `None` before there is one.
    #[must_use]
    pub fn run(&self) -> Option<&str> {
        self.run.as_deref()
    }

    /// The sweep is over, and why if that was no good end.
    pub fn end(&mut self, phase: Phase, problem: Option<String>) {
        self.leave_cell();
        self.phase = phase;
        self.problem = problem;
    }

    /// There is a report to be seen.
    pub fn reported(&mut self) {
        self.report = true;
    }

    /// The index of the cell that runs.
    pub(super) fn running(&self) -> Option<u32> {
        let current = self.current.as_ref().filter(|current| current.row.status == "running");
        current.filter(|_| self.phase == Phase::Running).map(|current| current.row.index)
    }

    /// What an event changes. A look at a running cell is [`Board::look`]'s.
    pub(super) fn on(&mut self, event: &Event<'_>) {
        match event {
            Event::SweepStarted { run, cells, finished_before, expected_s } => {
                self.phase = Phase::Running;
                self.run = Some((*run).to_owned());
                (self.cells, self.finished_before) = (*cells, *finished_before);
                self.expected_s = *expected_s;
                self.line(&format!("run {run} begins"));
            }
            Event::Turn { side } => self.side = Some((*side).to_owned()),
            Event::CellStarted { cell, of, expected_s } => self.start_cell(cell, *of, *expected_s),
            Event::Live(live) => self.look(live.elapsed_s, json!(live)),
            Event::CellFinished { cell, summary } => {
                if let Some(current) = self.current.as_mut().filter(|c| c.row.index == cell.index) {
                    current.row.finish(summary);
                    let window = &summary.window;
                    current.window_s = Some(window.end_us.saturating_sub(window.start_us) as f64 / 1e6);
                }
                self.leave_cell();
                let remarks: Vec<&str> = summary.validity.reasons.iter().map(|r| r.text.as_str()).collect();
                let remarks =
                    if remarks.is_empty() { String::new() } else { format!(": {}", remarks.join("; ")) };
                self.line(&format!("cell {} has ended{remarks}", cell.index + 1));
            }
            Event::CoolingDown { .. } => self.cooling = true,
            Event::Notice { text } => self.line(text),
            Event::SweepFinished { interrupted, finished, of, .. } => {
                self.whole = finished >= of;
                self.leave_cell();
                self.cooling = false;
                self.line(if *interrupted { "the sweep was ended early" } else { "the sweep has ended" });
            }
            // Texts of answers are for `--show-response`.
            Event::Answer { .. } => {}
            #[allow(
                unreachable_patterns,
                reason = "what is added to events is drawn without being known here"
            )]
            other => self.note(&json!(other)),
        }
    }

    /// Keep what an event says that this page doesn't know, and draw its numbers.
    fn note(&mut self, event: &Value) {
        let name = event.get("event").and_then(Value::as_str).unwrap_or_default().to_owned();
        if self.more.len() < 32 || self.more.contains_key(&name) {
            self.more.insert(name, event.clone());
        }
    }

    fn start_cell(&mut self, cell: &Cell, of: usize, expected_s: f64) {
        self.leave_cell();
        self.line(&format!("cell {} begins: {}", cell.index + 1, label(cell)));
        self.cooling = false;
        self.cells = self.cells.max(of);
        self.course = Course::new(self.course.generation + 1);
        self.tally = Arc::default();
        self.current = Some(Current {
            row: Row::of(cell),
            of,
            expected_s,
            load: load_in_words(cell),
            live: Value::Null,
            opened_s: None,
            window_s: None,
        });
    }

    /// The current cell has ended, or will not.
    pub(super) fn leave_cell(&mut self) {
        let Some(current) = self.current.as_mut() else { return };
        if current.row.status == "running" {
            current.row.status = "not_measured";
        } else if self.rows.back().is_some_and(|row| row.index == current.row.index) {
            return;
        }
        self.past_s += current.expected_s;
        if self.rows.back().is_none_or(|row| row.index != current.row.index) {
            self.rows.push_back(current.row.clone());
            self.rows_ever += 1;
        }
        if self.rows.len() > MOST_CELLS {
            self.rows.pop_front();
        }
    }

    /// A look at the cell that runs.
    pub(super) fn look(&mut self, at_s: f64, mut live: Value) {
        let Some(current) = self.current.as_mut() else { return };
        // What others said of this moment is drawn with it.
        for (name, event) in &self.more {
            if let (Some(live), Some(_)) = (live.as_object_mut(), event.as_object()) {
                live.insert(name.clone(), event.clone());
            }
        }
        self.course.add(at_s, &live);
        if live.get("stage").and_then(Value::as_str) == Some("measure") {
            current.opened_s.get_or_insert(at_s);
        }
        current.live = live;
    }

    /// What counts the requests of the current cell now.
    pub(super) fn tally(&mut self, tally: Tally) {
        self.tally = Arc::new(tally);
    }

    fn line(&mut self, text: &str) {
        let at = jiff::Timestamp::now().to_string();
        let text = text.chars().take(2000).collect();
        self.lines.push_back(Line { at, text });
        self.lines_ever += 1;
        if self.lines.len() > MOST_LINES {
            self.lines.pop_front();
        }
    }

    /// Seconds until the sweep's end, if all goes as expected; a pause does not count.
    fn left_s(&self) -> Option<f64> {
        if self.phase != Phase::Running || self.expected_s <= 0.0 {
            return None;
        }
        let current = self.current.as_ref().filter(|current| current.row.status == "running");
        let gone = current.map_or(0.0, |current| {
            let elapsed = current.live.get("elapsed_s").and_then(Value::as_f64).unwrap_or(0.0);
            elapsed.min(current.expected_s)
        });
        Some((self.expected_s - self.past_s - gone).max(0.0))
    }

    /// `/api/state`, without what a control adds.
    pub(super) fn state(&self) -> Map<String, Value> {
        let cell = self.current.as_ref().map(|current| {
            json!({
                "index": current.row.index,
                "of": current.of,
                "id": current.row.id,
                "label": current.row.label,
                "repeat": current.row.repeat,
                "load": current.load,
                "expected_s": current.expected_s,
                "status": current.row.status,
            })
        });
        let live = self.current.as_ref().map(|current| current.live.clone());
        let state = json!({
            "phase": self.phase,
            "name": self.name,
            "target": self.target,
            "run": self.run,
            "sweep": self.sweep,
            "cells": self.cells,
            "finished_before": self.finished_before,
            "ended": self.rows_ever,
            "expected_s": (self.expected_s > 0.0).then_some(self.expected_s),
            "left_s": self.left_s(),
            "side": self.side,
            "cooling_down": self.cooling && self.phase == Phase::Running,
            "cell": cell,
            "live": live,
            "report": self.report.then_some("/report/index.html"),
            "problem": self.problem,
        });
        match state {
            Value::Object(state) => state,
            _ => Map::new(),
        }
    }

    /// `/api/cells`.
    pub(super) fn cells(&self) -> Value {
        json!({ "left_out": self.rows_ever - self.rows.len() as u64, "cells": self.rows })
    }

    /// `/stats/requests`, without the state of a control.
    pub(super) fn requests(&self) -> Value {
        let live = self.current.as_ref().map(|current| &current.live);
        let of = |name: &str| live.and_then(|live| live.get(name)).cloned().unwrap_or_default();
        let now_s = of("elapsed_s").as_f64().unwrap_or(0.0);
        let window = self.current.as_ref().and_then(|c| c.window_s.or(Some(now_s - c.opened_s?)));
        let mut out = self.tally.json((now_s, window.unwrap_or(0.0)), (of("e2e_p50_ms"), of("e2e_p95_ms")));
        out.insert("state".to_owned(), self.locust_state().into());
        let running = self.running().is_some();
        let users = if running { of("in_flight").as_u64().unwrap_or(0) } else { 0 };
        out.insert("user_count".to_owned(), users.into());
        Value::Object(out)
    }

    fn locust_state(&self) -> &'static str {
        let live = self.current.as_ref().map(|current| &current.live);
        let stage = live.and_then(|live| live.get("stage")).and_then(Value::as_str);
        match (self.phase, stage) {
            (Phase::Ready, _) => "ready",
            (Phase::Starting, _) => "spawning",
            (Phase::Running, _) if self.running().is_none() => "spawning",
            (Phase::Running, None | Some("ramp" | "warmup")) => "spawning",
            (Phase::Running, Some("drain")) => "cleanup",
            (Phase::Running, _) => "running",
            (Phase::Finished | Phase::Interrupted | Phase::Failed, _) => "stopped",
        }
    }

    /// What the requests of the current cell are called that have no name.
    pub(super) fn unnamed(cell: &Cell) -> String {
        cell.settings.target.api.clone()
    }

    /// What a reader has not seen yet: points, cells, lines; each `None` where there is nothing new.
    pub(super) fn news(&self, seen: &mut Seen) -> News {
        if seen.sweep != self.sweep {
            *seen = Seen { sweep: self.sweep, course: (u64::MAX, 0), ..Seen::default() };
        }
        let behind = |ever: u64, kept: usize, seen: u64| (ever - seen).min(kept as u64) as usize;
        let fresh = self.course.generation != seen.course.0 || self.course.len() > seen.course.1;
        let course = fresh.then(|| self.course.since(seen.course));
        seen.course = (self.course.generation, self.course.len());
        let cells = behind(self.rows_ever, self.rows.len(), seen.cells);
        let lines = behind(self.lines_ever, self.lines.len(), seen.lines);
        let first = seen.lines == 0;
        (seen.cells, seen.lines) = (self.rows_ever, self.lines_ever);
        News {
            course,
            cells: (cells > 0).then(|| json!(self.rows.range(self.rows.len() - cells..).collect::<Vec<_>>())),
            lines: (lines > 0).then(|| {
                json!({ "first": first, "lines": self.lines.range(self.lines.len() - lines..).collect::<Vec<_>>() })
            }),
        }
    }
}

/// What a reader hadn't seen.
#[derive(Debug)]
pub(super) struct News {
    pub course: Option<Points>,
    pub cells: Option<Value>,
    pub lines: Option<Value>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{cell, summary};

    fn running() -> Board {
        let mut board = Board::new(Phase::Starting, "a", "sim:");
        board.on(&Event::SweepStarted { run: "r", cells: 3, finished_before: 0, expected_s: 30.0 });
        board.on(&Event::CellStarted { cell: &cell(0), of: 3, expected_s: 10.0 });
        board
    }

    #[test]
    fn time_left_is_that_of_cells_that_are_left() {
        let mut board = running();
        board.look(4.0, json!({ "elapsed_s": 4.0, "stage": "measure" }));
        assert_eq!(board.state()["left_s"], 26.0);
        assert_eq!(board.requests()["state"], "running");
        board.on(&Event::CellFinished { cell: &cell(0), summary: &summary(0) });
        assert_eq!((board.state()["left_s"].as_f64(), board.running()), (Some(20.0), None));
        board.on(&Event::CellStarted { cell: &cell(1), of: 3, expected_s: 10.0 });
        // It never ended by itself.
        board.leave_cell();
        board.on(&Event::SweepFinished { run: "r", finished: 3, of: 3, interrupted: false });
        board.end(Phase::Finished, None);
        let cells = board.cells();
        let states: Vec<&str> =
            cells["cells"].as_array().unwrap().iter().map(|c| c["status"].as_str().unwrap()).collect();
        assert_eq!(states, ["finished", "not_measured"]);
        assert!(board.is_whole() && board.state()["left_s"].is_null());
    }

    #[test]
    fn numbers_of_events_that_are_not_known_here_are_drawn() {
        let mut board = running();
        board.note(&json!({ "event": "gauges", "running": 3, "waiting": null, "model": "m" }));
        board.look(1.0, json!({ "elapsed_s": 1.0, "in_flight": 2 }));
        let points = board.news(&mut Seen::default()).course.unwrap();
        assert_eq!(points.series["gauges.running"], json!([3.0]));
        assert_eq!(points.series["in_flight"], json!([2.0]));
        assert!(!points.series.contains_key("gauges.model"));
    }

    #[test]
    fn a_reader_gets_each_thing_once_and_another_sweep_anew() {
        let mut board = running();
        let mut seen = Seen::default();
        assert!(board.news(&mut seen).lines.is_some());
        board.on(&Event::Notice { text: "x" });
        let lines = board.news(&mut seen).lines.unwrap();
        assert_eq!((lines["first"].as_bool(), lines["lines"].as_array().unwrap().len()), (Some(false), 1));
        assert!(board.news(&mut seen).lines.is_none() && board.news(&mut seen).cells.is_none());
        for _ in 0..2 * MOST_LINES {
            board.on(&Event::Notice { text: "y" });
        }
        assert_eq!(board.news(&mut seen).lines.unwrap()["lines"].as_array().unwrap().len(), MOST_LINES);
        board.begin("b", "sim:");
        board.on(&Event::Notice { text: "z" });
        let lines = board.news(&mut seen).lines.unwrap();
        assert_eq!((lines["first"].as_bool(), lines["lines"].as_array().unwrap().len()), (Some(true), 1));
    }
}
