//! Bars for a terminal: the sweep, the cell, and two live lines.

use std::time::Instant;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{plain, text};
use crate::event::{Event, Live, Stage, Watcher};

/// Redraws a second: the eye needs no more, and the load cores need the time.
const HZ: u8 = 4;

/// Steps of a cell's bar.
const STEPS: u64 = 1000;

pub(super) struct Bars {
    all: MultiProgress,
    sweep: ProgressBar,
    cell: ProgressBar,
    load: ProgressBar,
    latency: ProgressBar,
    started: Instant,
    expected_s: f64,
    of: usize,
    finished_before: usize,
    done: usize,
    /// Whose turn it is, where runs take turns: `a `.
    side: String,
    /// What tells the running cell from the others.
    name: String,
}

impl Bars {
    pub(super) fn new() -> Self {
        Self::on_target(ProgressDrawTarget::stderr_with_hz(HZ))
    }

    fn on_target(target: ProgressDrawTarget) -> Self {
        let all = MultiProgress::with_draw_target(target);
        let bar = |template: &str, length| {
            let style = ProgressStyle::with_template(template)
                .expect("the templates below are fixed")
                .progress_chars("━━╌");
            all.add(ProgressBar::new(length).with_style(style))
        };
        Self {
            sweep: bar("sweep {bar:20.blue} {pos}/{len} cells {wide_msg}", 0),
            cell: bar("cell  {bar:20.cyan} {wide_msg}", STEPS),
            load: bar(" {wide_msg:.dim}", 0),
            latency: bar(" {wide_msg:.dim}", 0),
            all,
            started: Instant::now(),
            expected_s: 0.0,
            of: 0,
            finished_before: 0,
            done: 0,
            side: String::new(),
            name: String::new(),
        }
    }

    /// A line above the bars, which stays.
    fn line(&self, text: &str) {
        // A terminal that refuses is no reason to end a sweep.
        let _ = self.all.println(text);
    }

    fn show_sweep(&self) {
        self.sweep.set_position((self.finished_before + self.done) as u64);
        let todo = self.of.saturating_sub(self.finished_before);
        let left = text::sweep_left(self.expected_s, self.started.elapsed().as_secs_f64(), self.done, todo);
        let left = left.map(|s| format!("· about {} left", text::duration(s.round()))).unwrap_or_default();
        self.sweep.set_message(left);
    }

    fn show_cell(&self, live: &Live) {
        let elapsed = text::duration(live.elapsed_s.round());
        let (share, left) = match live.left_s {
            Some(left) => {
                let whole = (live.elapsed_s + left).max(f64::MIN_POSITIVE);
                (live.elapsed_s / whole, format!(", {} left", text::duration(left.round())))
            }
            None => (0.0, String::new()),
        };
        self.cell.set_position((share.clamp(0.0, 1.0) * STEPS as f64) as u64);
        let doing = match live.stage {
            // How long answers take can't be told; how many are still to come can.
            Stage::Drain => format!("drain {elapsed}, {} still in flight", live.in_flight),
            stage => format!("{} {elapsed}{left}", text::stage(stage)),
        };
        self.cell.set_message(format!("{doing} · {}", self.name));
        self.load.set_message(text::live_load(live));
        self.latency.set_message(text::live_latency(live));
    }

    fn clear_cell(&self, message: String) {
        self.cell.set_position(0);
        self.cell.set_message(message);
        self.load.set_message("");
        self.latency.set_message("");
    }
}

impl Watcher for Bars {
    fn on(&mut self, event: &Event<'_>) {
        match event {
            Event::SweepStarted { run, cells, finished_before, expected_s } => {
                (self.of, self.finished_before, self.done) = (*cells, *finished_before, 0);
                (self.started, self.expected_s) = (Instant::now(), *expected_s);
                self.sweep.set_length(*cells as u64);
                self.line(&format!("run {run}"));
                self.show_sweep();
            }
            Event::Turn { side } => self.side = text::side(side),
            Event::CellStarted { cell, of, .. } => {
                self.of = *of;
                // The bar's own line begins with the word.
                let name = text::cell_name(cell, *of);
                self.name = format!("{}{}", self.side, name.trim_start_matches("cell "));
                self.clear_cell(self.name.clone());
                self.show_sweep();
            }
            Event::Live(live) => {
                self.show_cell(live);
                self.show_sweep();
            }
            Event::CellFinished { cell, summary } => {
                self.done += 1;
                self.line(&format!("{}{}", self.side, text::finished(cell, self.of, summary)));
                self.clear_cell(String::new());
                self.show_sweep();
            }
            Event::CoolingDown { min_s, max_s } => self.clear_cell(plain::cooling_down(*min_s, *max_s)),
            Event::Notice { text } => self.line(&format!("note: {text}")),
            Event::SweepFinished { run, finished, of, interrupted } => {
                self.line(&plain::sweep_finished(run, *finished, *of, *interrupted));
                // What stays on the screen are the lines.
                for bar in [&self.latency, &self.load, &self.cell, &self.sweep] {
                    bar.finish_and_clear();
                }
            }
        }
    }
}

impl Drop for Bars {
    /// A sweep that failed must not leave half a bar under its error message.
    fn drop(&mut self) {
        let _ = self.all.clear();
    }
}
