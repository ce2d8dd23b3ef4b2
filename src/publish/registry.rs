//! All figures as they stand, fed by news, given out as series.

use std::collections::VecDeque;

use super::families::{ALIASES, FAMILIES, Family, Of};
use super::news::{CellBegun, CellEnded, News};
use super::tally::{Histo, PHASES, Tally};
use crate::event::{Live, Stage};
use crate::measure::{SloStatus, Verdict};

/// Labels of a series, by name.
pub(super) type Labels = Vec<(String, String)>;

/// All that there is of one family.
pub(super) struct Series {
    pub family: &'static Family,
    pub points: Vec<Point>,
}

/// One series, as it stands.
pub(super) struct Point {
    pub labels: Labels,
    pub value: Value,
    /// From when on it is counted, in nanoseconds since 1970.
    pub since_ns: i128,
}

/// What a series is at.
pub(super) enum Value {
    Whole(u64),
    Number(f64),
    Buckets(Histo),
}

/// A cell that runs or has ended.
struct CellFigures {
    begun: CellBegun,
    since_ns: i128,
    tally: Tally,
    live: Option<Live>,
    ended: Option<Box<CellEnded>>,
}

/// The figures of a sweep.
pub(super) struct Registry {
    experiment: String,
    run: String,
    /// Cells that are kept, at most.
    keep: usize,
    cells: VecDeque<CellFigures>,
    number: u32,
    of: usize,
    finished: usize,
    running: bool,
    since_ns: i128,
}

impl Registry {
    pub(super) fn new(experiment: &str, keep: usize) -> Self {
        Self {
            experiment: experiment.to_owned(),
            run: String::new(),
            keep: keep.max(1),
            cells: VecDeque::new(),
            number: 0,
            of: 0,
            finished: 0,
            running: true,
            since_ns: now_ns(),
        }
    }

    /// Name of the run; empty before it has begun.
    pub(super) fn run(&self) -> &str {
        &self.run
    }

    /// Take in what happened.
    pub(super) fn take(&mut self, news: News) {
        match news {
            News::Sweep { run, cells, finished } => {
                (self.run, self.of, self.finished) = (run, cells, finished);
            }
            News::Cell(begun) => {
                (self.number, self.of) = (begun.number, begun.of);
                // One that could not be ended has no live figures any more.
                if let Some(last) = self.cells.back_mut() {
                    last.live = None;
                }
                while self.cells.len() >= self.keep {
                    self.cells.pop_front();
                }
                let (begun, tally) = (*begun, Tally::default());
                self.cells.push_back(CellFigures {
                    begun,
                    since_ns: now_ns(),
                    tally,
                    live: None,
                    ended: None,
                });
            }
            News::Requests(tally) => {
                if let Some(cell) = self.cells.back_mut() {
                    cell.tally.add(&tally);
                }
            }
            News::Live(live) => {
                if let Some(cell) = self.cells.back_mut().filter(|cell| cell.ended.is_none()) {
                    cell.live = Some(*live);
                }
            }
            News::Finished(ended) => {
                self.finished += usize::from(!ended.interrupted);
                if let Some(cell) = self.cells.back_mut() {
                    (cell.live, cell.ended) = (None, Some(ended));
                }
            }
            News::Over => {
                self.running = false;
                if let Some(last) = self.cells.back_mut() {
                    last.live = None;
                }
            }
        }
    }

    /// Whether the run has begun: before, it has no name, and so nothing has.
    pub(super) fn has_begun(&self) -> bool {
        !self.run.is_empty()
    }

    /// Every series.
    pub(super) fn series(&self) -> Vec<Series> {
        if !self.has_begun() {
            return Vec::new();
        }
        FAMILIES.iter().map(|family| Series { family, points: self.points(family) }).collect()
    }

    /// The same under another tool's names.
    pub(super) fn aliases(&self) -> Vec<Series> {
        let point = |family: &'static Family| {
            let cell = self.cells.back()?;
            let value = Value::Number(alias(family.name, cell)?);
            let model = cell.begun.labels.iter().find(|(name, _)| name == "model").cloned();
            let labels =
                [("experiment".to_owned(), self.experiment.clone())].into_iter().chain(model).collect();
            Some(Point { labels, value, since_ns: cell.since_ns })
        };
        ALIASES.iter().map(|family| Series { family, points: point(family).into_iter().collect() }).collect()
    }

    fn points(&self, family: &Family) -> Vec<Point> {
        let base =
            || vec![("run".to_owned(), self.run.clone()), ("experiment".to_owned(), self.experiment.clone())];
        let with = |mut labels: Labels, own: &[&str]| {
            labels.extend(family.labels.iter().zip(own).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
            labels
        };
        if family.of == Of::Sweep {
            let own = if family.labels.is_empty() { &[][..] } else { &[env!("CARGO_PKG_VERSION")] };
            let value = Value::Number(self.of_sweep(family.name));
            return vec![Point { labels: with(base(), own), value, since_ns: self.since_ns }];
        }
        let mut points = Vec::new();
        for cell in &self.cells {
            let labels: Labels = base().into_iter().chain(cell.begun.labels.iter().cloned()).collect();
            points.extend(of_cell(family.name, cell).into_iter().map(|(own, value)| Point {
                labels: with(labels.clone(), &own),
                value,
                since_ns: cell.since_ns,
            }));
        }
        points
    }

    fn of_sweep(&self, name: &str) -> f64 {
        match name {
            "plimsoll_sweep_running" => f64::from(u8::from(self.running)),
            "plimsoll_cell_number" => f64::from(self.number),
            "plimsoll_cells" => self.of as f64,
            "plimsoll_cells_finished" => self.finished as f64,
            _ => 1.0,
        }
    }
}

/// The values of one family in one cell, each with its own labels.
fn of_cell<'a>(name: &str, cell: &'a CellFigures) -> Vec<(Vec<&'a str>, Value)> {
    let tally = &cell.tally;
    let by_phase = |of: fn(&super::tally::InPhase) -> u64| {
        let phases = PHASES.iter().zip(&tally.phases);
        phases.map(|((_, word), counts)| (vec![*word], Value::Whole(of(counts)))).collect()
    };
    let measured = |histo: &Histo| vec![(vec!["measure"], Value::Buckets(histo.clone()))];
    let one = |x: Option<f64>| x.map(|x| (Vec::new(), Value::Number(x))).into_iter().collect();
    let live = |of: fn(&Live) -> Option<f64>| one(cell.live.as_ref().and_then(of));
    let ended = cell.ended.as_deref();
    let seconds = |ms: Option<i64>| one(ms.map(|ms| ms as f64 / 1000.0));
    match name {
        "plimsoll_requests_total" => {
            tally.requests().into_iter().map(|(own, n)| (own.to_vec(), Value::Whole(n))).collect()
        }
        "plimsoll_prompt_tokens_total" => by_phase(|counts| counts.prompt_tokens),
        "plimsoll_output_tokens_total" => by_phase(|counts| counts.output_tokens),
        "plimsoll_retries_total" => by_phase(|counts| counts.retries),
        "plimsoll_ttft_seconds" => measured(&tally.ttft),
        "plimsoll_tpot_seconds" => measured(&tally.tpot),
        "plimsoll_e2e_seconds" => measured(&tally.e2e),
        "plimsoll_in_flight" => live(|live| Some(f64::from(live.in_flight))),
        "plimsoll_users" => one(cell.live.as_ref().and(cell.begun.users).map(f64::from)),
        "plimsoll_offered_requests_per_second" => one(cell.live.as_ref().and(cell.begun.offered)),
        "plimsoll_sent_requests_per_second" => live(|live| Some(live.sent_rps)),
        "plimsoll_completed_requests_per_second" => live(|live| Some(live.completed_rps)),
        "plimsoll_failed_requests_per_second" => live(|live| Some(live.failed_rps)),
        "plimsoll_output_tokens_per_second" => live(|live| Some(live.output_tps)),
        "plimsoll_lag_p99_seconds" => live(|live| live.lag_p99_ms.map(|ms| ms / 1000.0)),
        "plimsoll_stage" => cell.live.iter().flat_map(stages).collect(),
        "plimsoll_cell_start_timestamp_seconds" => seconds(
            ended.map_or_else(|| i64::try_from(cell.since_ns / 1_000_000).ok(), |ended| ended.started_ms),
        ),
        "plimsoll_cell_end_timestamp_seconds" => seconds(ended.and_then(|ended| ended.ended_ms)),
        _ => ended.map(|ended| of_ended(name, ended)).unwrap_or_default(),
    }
}

/// The same of a finished cell.
fn of_ended<'a>(name: &str, ended: &'a CellEnded) -> Vec<(Vec<&'a str>, Value)> {
    let both = |[metric, stat]: &'a [String; 2]| vec![metric.as_str(), stat.as_str()];
    match name {
        "plimsoll_result_seconds" => {
            ended.latencies.iter().map(|(own, x)| (both(own), Value::Number(*x))).collect()
        }
        "plimsoll_result" => {
            ended.scalars.iter().map(|(metric, x)| (vec![metric.as_str()], Value::Number(*x))).collect()
        }
        "plimsoll_slo_status" => {
            let grade = |status| match status {
                SloStatus::Pass => 2.0,
                SloStatus::Warning => 1.0,
                SloStatus::Fail => 0.0,
            };
            ended.slo.iter().map(|(own, status)| (both(own), Value::Number(grade(*status)))).collect()
        }
        "plimsoll_cell_validity" => {
            let grade = match ended.verdict {
                Verdict::Valid => 2.0,
                Verdict::Warn => 1.0,
                Verdict::Invalid => 0.0,
            };
            vec![(Vec::new(), Value::Number(grade))]
        }
        _ => Vec::new(),
    }
}

fn stages(live: &Live) -> [(Vec<&'static str>, Value); 4] {
    let all = [
        (Stage::Ramp, "ramp"),
        (Stage::Warmup, "warmup"),
        (Stage::Measure, "measure"),
        (Stage::Drain, "drain"),
    ];
    all.map(|(stage, word)| (vec![word], Value::Number(f64::from(u8::from(stage == live.stage)))))
}

/// The value under another tool's name; `None` where it isn't known.
fn alias(name: &str, cell: &CellFigures) -> Option<f64> {
    let scalar = |metric: &str| cell.ended.as_ref().and_then(|ended| ended.scalars.get(metric).copied());
    let live = |of: fn(&Live) -> f64| cell.live.as_ref().map(of);
    // Of a finished cell it is known exactly.
    let latency = |metric: &str, stat: &str, histo: &Histo, q: f64| match &cell.ended {
        Some(ended) => ended.latencies.iter().find(|([m, s], _)| m == metric && s == stat).map(|(_, x)| *x),
        None => histo.quantile(q),
    };
    let share = |of: fn((u64, u64, u64)) -> u64| {
        let measured = cell.tally.measured();
        (measured.0 > 0).then(|| of(measured) as f64 / measured.0 as f64)
    };
    match name {
        "llm_client_lag_p50_seconds" => latency("e2e", "p50", &cell.tally.e2e, 0.5),
        "llm_client_lag_p90_seconds" => latency("e2e", "p90", &cell.tally.e2e, 0.9),
        "llm_client_lag_p99_seconds" => latency("e2e", "p99", &cell.tally.e2e, 0.99),
        "llm_ttft_p50_seconds" => latency("ttft", "p50", &cell.tally.ttft, 0.5),
        "llm_ttft_p90_seconds" => latency("ttft", "p90", &cell.tally.ttft, 0.9),
        "llm_ttft_p99_seconds" => latency("ttft", "p99", &cell.tally.ttft, 0.99),
        "llm_tokens_per_second" => scalar("output_tps").or_else(|| live(|live| live.output_tps)),
        "llm_request_rate_per_second" => scalar("completed_rps").or_else(|| live(|live| live.completed_rps)),
        "llm_error_rate" => share(|(_, failed, _)| failed),
        "llm_contention_error_rate" => share(|(_, _, crowded)| crowded),
        "llm_active_users" => live(|live| f64::from(live.in_flight)),
        _ => None,
    }
}

/// Nanoseconds since 1970.
pub(super) fn now_ns() -> i128 {
    jiff::Timestamp::now().as_nanosecond()
}
