//! Lines for logs and pipes: one every ten seconds, and one at each cell's start and end.

use std::io::Write;

use super::text;
use crate::event::{Event, Watcher};

/// Seconds between two lines.
const EVERY_S: f64 = 10.0;

/// Writes lines to `W`; a writer that refuses is no reason to end a sweep.
pub(super) struct Plain<W> {
    out: W,
    /// Whose turn it is, where runs take turns: `a `.
    side: String,
    of: usize,
    /// Lines that this cell has had.
    lines: u64,
}

impl<W: Write> Plain<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, side: String::new(), of: 0, lines: 0 }
    }

    fn line(&mut self, text: &str) {
        // One write, so that lines of several programs don't mix.
        let _ = self.out.write_all(format!("{text}\n").as_bytes()).and_then(|()| self.out.flush());
    }
}

impl<W: Write> Watcher for Plain<W> {
    fn on(&mut self, event: &Event<'_>) {
        match event {
            Event::SweepStarted { run, cells, finished_before, expected_s } => {
                self.of = *cells;
                let before = match finished_before {
                    0 => String::new(),
                    n => format!(", {n} finished before"),
                };
                let about = text::duration(*expected_s);
                let cells = cells_of(*cells);
                self.line(&format!("run {run}: {cells}{before}, about {about}"));
            }
            Event::Turn { side } => self.side = text::side(side),
            Event::CellStarted { cell, of, expected_s } => {
                (self.of, self.lines) = (*of, 0);
                let about = text::duration(*expected_s);
                let name = text::cell_name(cell, *of);
                self.line(&format!("{}{name}: started, about {about}", self.side));
            }
            Event::Live(live) => {
                // By the cell's own clock, so that a late look neither doubles nor skips.
                let due = (live.elapsed_s / EVERY_S) as u64;
                if due > self.lines {
                    self.lines = due;
                    self.line(&text::plain_line(live));
                }
            }
            Event::CellFinished { cell, summary } => {
                self.line(&format!("{}{}", self.side, text::finished(cell, self.of, summary)));
            }
            Event::CoolingDown { min_s, max_s } => self.line(&cooling_down(*min_s, *max_s)),
            Event::Notice { text } => self.line(&format!("note: {text}")),
            Event::SweepFinished { run, finished, of, interrupted } => {
                self.line(&sweep_finished(run, *finished, *of, *interrupted));
            }
        }
    }
}

pub(super) fn cooling_down(min_s: f64, max_s: f64) -> String {
    let (min, max) = (text::duration(min_s), text::duration(max_s.max(min_s)));
    format!("cooling down: {min}, then until the server is idle, at most {max}")
}

pub(super) fn sweep_finished(run: &str, finished: usize, of: usize, interrupted: bool) -> String {
    let how = match (interrupted, finished == of) {
        (true, _) => "interrupted",
        (false, true) => "finished",
        (false, false) => "stopped",
    };
    format!("run {run}: {how}, {finished} of {}", cells_of(of))
}

fn cells_of(n: usize) -> String {
    if n == 1 { "1 cell".to_owned() } else { format!("{n} cells") }
}

#[cfg(test)]
mod tests {
    use super::text::tests::live;
    use super::*;
    use crate::store::tests::{cell, summary};

    fn lines(events: &[Event<'_>]) -> Vec<String> {
        let mut plain = Plain::new(Vec::new());
        events.iter().for_each(|event| plain.on(event));
        String::from_utf8(plain.out).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_line_every_ten_seconds_of_each_cell() {
        let cell = cell(0);
        let start = || Event::CellStarted { cell: &cell, of: 2, expected_s: 35.0 };
        let look = |s| Event::Live(live(s));
        let found = lines(&[
            start(),
            look(9.9),
            look(10.1),
            look(10.4),
            look(35.0),
            look(39.9),
            start(),
            look(0.2),
            look(10.0),
        ]);
        let at: Vec<_> = found.iter().map(|l| l.split(']').next().unwrap()).collect();
        assert_eq!(
            at,
            [
                "cell 1/2: qps=2.5, repeat 1: started, about 35s",
                "[Progress @ 10s",
                "[Progress @ 35s",
                "cell 1/2: qps=2.5, repeat 1: started, about 35s",
                "[Progress @ 10s",
            ]
        );
    }

    #[test]
    fn a_sweep_from_its_start_to_its_end() {
        let (cell, summary) = (cell(1), summary(1));
        let found = lines(&[
            Event::SweepStarted { run: "r", cells: 2, finished_before: 1, expected_s: 65.0 },
            Event::CellFinished { cell: &cell, summary: &summary },
            Event::CoolingDown { min_s: 2.0, max_s: 60.0 },
            Event::Notice { text: "the server is gone" },
            Event::SweepFinished { run: "r", finished: 2, of: 2, interrupted: false },
            Event::SweepFinished { run: "r", finished: 1, of: 2, interrupted: false },
            Event::SweepFinished { run: "r", finished: 0, of: 1, interrupted: false },
            Event::SweepFinished { run: "r", finished: 2, of: 2, interrupted: true },
        ]);
        assert_eq!(found[0], "run r: 2 cells, 1 finished before, about 1m 05s");
        assert!(found[1].starts_with("cell 2/2: qps=2.5, repeat 2: 9/10 ok"), "{}", found[1]);
        assert_eq!(
            found[2..],
            [
                "cooling down: 2s, then until the server is idle, at most 1m 00s",
                "note: the server is gone",
                "run r: finished, 2 of 2 cells",
                "run r: stopped, 1 of 2 cells",
                "run r: stopped, 0 of 1 cell",
                "run r: interrupted, 2 of 2 cells",
            ]
        );
    }
}
