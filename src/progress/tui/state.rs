//! What the screen shows, as plain data that events feed.

use std::collections::VecDeque;

use crate::event::{Event, Live};
use crate::measure::{CellSummary, SloStatus, Verdict};
use crate::progress::{plain, text};

/// Looks at a cell that are kept; from there on every second one goes, so that the whole cell stays.
const MOST_SAMPLES: usize = 480;
/// Notices and finished cells that are kept.
const MOST_NOTICES: usize = 200;
const MOST_ROWS: usize = 500;

/// Everything that can be seen.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) run: String,
    /// Cells of the sweep, those finished before it began, and those since.
    pub(super) of: usize,
    pub(super) finished_before: usize,
    pub(super) done: usize,
    pub(super) expected_s: f64,
    /// Since the sweep began, in seconds.
    pub(super) elapsed_s: f64,
    side: String,
    /// The running cell's name, or what is done between cells.
    pub(super) doing: String,
    pub(super) live: Option<Live>,
    pub(super) course: Course,
    pub(super) rows: VecDeque<Row>,
    pub(super) notices: VecDeque<String>,
    pub(super) ending: Option<String>,
}

/// A finished cell.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) label: String,
    pub(super) ok: u64,
    /// Failed and dropped.
    pub(super) failed: u64,
    pub(super) rps: Option<f64>,
    pub(super) tps: Option<f64>,
    pub(super) ttft_p50: Option<f64>,
    pub(super) ttft_p95: Option<f64>,
    pub(super) e2e_p95: Option<f64>,
    pub(super) valid: &'static str,
    pub(super) slo: &'static str,
}

/// What a look at the cell found.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Sample {
    pub(super) t: f64,
    pub(super) sent: f64,
    pub(super) completed: f64,
    pub(super) tokens: f64,
    pub(super) in_flight: f64,
    pub(super) ttft: [Option<f64>; 2],
    pub(super) tpot: [Option<f64>; 2],
    pub(super) e2e: [Option<f64>; 2],
    pub(super) lag: Option<f64>,
}

/// The running cell from its start until now.
#[derive(Debug, Clone, Default)]
pub(super) struct Course {
    pub(super) samples: Vec<Sample>,
    /// Of so many looks one is kept, less one.
    skip: u32,
    skipped: u32,
}

impl Course {
    fn push(&mut self, sample: Sample) {
        if self.skipped < self.skip {
            self.skipped += 1;
            return;
        }
        self.skipped = 0;
        self.samples.push(sample);
        if self.samples.len() > MOST_SAMPLES {
            let mut n = 0;
            self.samples.retain(|_| {
                n += 1;
                n % 2 == 1
            });
            self.skip = self.skip * 2 + 1;
        }
    }
}

impl State {
    /// Take in what happened.
    pub(super) fn take(&mut self, event: &Event<'_>) {
        match event {
            Event::SweepStarted { run, cells, finished_before, expected_s } => {
                self.run = (*run).to_owned();
                (self.of, self.finished_before, self.done) = (*cells, *finished_before, 0);
                self.expected_s = *expected_s;
            }
            Event::Turn { side } => self.side = text::side(side),
            Event::CellStarted { cell, of, .. } => {
                self.of = *of;
                self.doing = format!("{}{}", self.side, text::cell_name(cell, *of));
                (self.live, self.course) = (None, Course::default());
            }
            Event::Live(live) => {
                self.course.push(sample(live));
                self.live = Some(live.clone());
            }
            Event::CellFinished { cell, summary } => {
                self.done += 1;
                let name = text::cell_name(cell, self.of);
                let label = name.strip_prefix("cell ").unwrap_or(&name);
                self.rows.push_back(row(format!("{}{label}", self.side), summary));
                if self.rows.len() > MOST_ROWS {
                    self.rows.pop_front();
                }
                self.doing.clear();
            }
            Event::Answer { cell_index, answer } => {
                text::answer(*cell_index, answer).lines().for_each(|line| self.note(line));
            }
            Event::CoolingDown { min_s, max_s } => self.doing = plain::cooling_down(*min_s, *max_s),
            Event::Notice { text } => self.note(text),
            Event::SweepFinished { run, finished, of, interrupted } => {
                self.ending = Some(plain::sweep_finished(run, *finished, *of, *interrupted));
            }
        }
    }

    /// Something that a person should know.
    pub(super) fn note(&mut self, words: &str) {
        // What came from elsewhere can't steer the terminal.
        self.notices.push_back(words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect());
        if self.notices.len() > MOST_NOTICES {
            self.notices.pop_front();
        }
    }

    /// Share of the sweep's cells that are finished, 0 to 1.
    pub(super) fn share(&self) -> f64 {
        let done = (self.finished_before + self.done) as f64;
        if self.of == 0 { 0.0 } else { (done / self.of as f64).clamp(0.0, 1.0) }
    }

    /// Time left of the sweep as far as known, in seconds.
    pub(super) fn left_s(&self) -> Option<f64> {
        let todo = self.of.saturating_sub(self.finished_before);
        text::sweep_left(self.expected_s, self.elapsed_s, self.done, todo)
    }

    /// Failures of the running cell by class, the most frequent first.
    pub(super) fn errors(&self) -> Vec<(&str, u64)> {
        let all = self.live.iter().flat_map(|live| &live.errors);
        let mut all: Vec<(&str, u64)> = all.map(|(class, n)| (class.as_str(), *n)).collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        all
    }
}

fn sample(live: &Live) -> Sample {
    Sample {
        t: live.elapsed_s,
        sent: live.sent_rps,
        completed: live.completed_rps,
        tokens: live.output_tps,
        in_flight: f64::from(live.in_flight),
        ttft: [live.ttft_p50_ms, live.ttft_p95_ms],
        tpot: [live.tpot_p50_ms, live.tpot_p95_ms],
        e2e: [live.e2e_p50_ms, live.e2e_p95_ms],
        lag: live.lag_p99_ms,
    }
}

fn row(label: String, summary: &CellSummary) -> Row {
    let value = |metric: &str, stat: &str| summary.value(metric, stat);
    Row {
        label,
        ok: summary.counts.ok,
        failed: summary.counts.failed + summary.counts.dropped,
        rps: value("completed_rps", ""),
        tps: value("output_tps", ""),
        ttft_p50: value("ttft", "p50"),
        ttft_p95: value("ttft", "p95"),
        e2e_p95: value("e2e", "p95"),
        valid: match summary.validity.verdict {
            Verdict::Valid => "yes",
            Verdict::Warn => "warn",
            Verdict::Invalid => "INVALID",
        },
        slo: summary.statuses().max().map_or("–", SloStatus::word),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::progress::text::tests::live;
    use crate::store::tests::{cell, summary};

    /// A sweep under way: two cells finished, the third measured for half a minute.
    pub(in crate::progress::tui) fn under_way() -> State {
        let mut state = State::default();
        state.take(&Event::SweepStarted {
            run: "20260101T000000Z-demo",
            cells: 12,
            finished_before: 1,
            expected_s: 600.0,
        });
        for n in 0..2 {
            let cell = cell(n);
            state.take(&Event::CellStarted { cell: &cell, of: 12, expected_s: 50.0 });
            state.take(&Event::CellFinished { cell: &cell, summary: &summary(n) });
        }
        state.take(&Event::Notice { text: "the server counts prompts with a template of 9 tokens" });
        state.take(&Event::Notice { text: "cell 2: this client sent late\u{1b}[31m" });
        state.take(&Event::CellStarted { cell: &cell(2), of: 12, expected_s: 50.0 });
        for n in 0..120_u32 {
            let wave = (f64::from(n) / 9.0).sin();
            let mut live = live(f64::from(n) / 4.0);
            live.sent_rps = 36.0 + wave * 4.0;
            live.completed_rps = 34.0 + wave * 3.0;
            live.output_tps = 2_200.0 + 300.0 * wave;
            live.in_flight = 20 + n / 2;
            live.ttft_p50_ms = Some(40.0 + f64::from(n));
            live.ttft_p95_ms = Some(250.0 + 4.0 * f64::from(n)).filter(|_| n > 8);
            live.failed = 15;
            live.errors = BTreeMap::from([("429".to_owned(), 12), ("timeout_total".to_owned(), 3)]);
            state.take(&Event::Live(live));
        }
        state.elapsed_s = 128.0;
        state
    }

    #[test]
    fn events_become_what_is_seen() {
        let state = under_way();
        assert_eq!((state.of, state.finished_before, state.done, state.rows.len()), (12, 1, 2, 2));
        assert!((state.share() - 0.25).abs() < 1e-9);
        assert_eq!(state.errors(), [("429", 12), ("timeout_total", 3)]);
        assert_eq!(state.doing, "cell 3/12: qps=2.5, repeat 1");
        assert_eq!((state.rows[0].label.as_str(), state.rows[0].valid), ("1/12: qps=2.5, repeat 1", "warn"));
        assert!(state.notices.iter().all(|line| !line.contains('\u{1b}')), "{:?}", state.notices);
        let mut state = state;
        state.take(&Event::SweepFinished { run: "r", finished: 3, of: 12, interrupted: true });
        assert_eq!(state.ending.as_deref(), Some("run r: interrupted, 3 of 12 cells"));
    }

    #[test]
    fn a_long_cell_stays_whole_in_bounded_room() {
        let mut course = Course::default();
        for n in 0..10_000 {
            course.push(Sample { t: f64::from(n), ..Sample::default() });
        }
        let (first, last) = (course.samples[0], course.samples[course.samples.len() - 1]);
        assert!(course.samples.len() <= MOST_SAMPLES && course.samples.len() > MOST_SAMPLES / 4);
        assert!(first.t == 0.0 && last.t > 9_900.0, "{} {}", first.t, last.t);
        let steps: Vec<f64> = course.samples.windows(2).map(|w| w[1].t - w[0].t).collect();
        assert!(steps.iter().all(|step| (step - steps[0]).abs() <= 1.0), "{steps:?}");
    }
}
