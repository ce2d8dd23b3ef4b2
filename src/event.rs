//! What happens during a sweep, as data. Progress displays watch events and decide nothing.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::measure::CellSummary;
use crate::plan::Cell;
use crate::record::{KeptAnswer, RequestRecord};

/// One thing that happened.
#[allow(clippy::large_enum_variant, reason = "one at a time, four a second, never stored")]
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event<'a> {
    SweepStarted {
        run: &'a str,
        cells: usize,
        finished_before: usize,
        expected_s: f64,
    },
    /// The next cell is of this run, one of several that take turns.
    Turn {
        /// Its name among them.
        side: &'a str,
    },
    CellStarted {
        cell: &'a Cell,
        of: usize,
        expected_s: f64,
    },
    /// About four times a second while a cell runs.
    Live(Live),
    CellFinished {
        cell: &'a Cell,
        summary: &'a CellSummary,
    },
    /// A text that the cell just finished has kept, where answers are to be shown.
    Answer {
        cell_index: u32,
        answer: &'a KeptAnswer,
    },
    CoolingDown {
        min_s: f64,
        max_s: f64,
    },
    /// Something a person should know, in a sentence.
    Notice {
        text: &'a str,
    },
    SweepFinished {
        run: &'a str,
        finished: usize,
        of: usize,
        interrupted: bool,
    },
}

/// The stage of a cell that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Ramp,
    Warmup,
    Measure,
    Drain,
}

/// A look at a running cell. Counts are since the cell's start, rates and percentiles over
/// the last seconds.
#[derive(Debug, Clone, Serialize)]
pub struct Live {
    pub stage: Stage,
    /// Since the cell's start, in seconds.
    pub elapsed_s: f64,
    /// Until the end of the window as far as known.
    pub left_s: Option<f64>,
    pub in_flight: u32,
    pub sent: u64,
    pub completed: u64,
    pub failed: u64,
    /// Failed requests by class (`RequestRecord::error_class`), and what was dropped.
    pub errors: BTreeMap<String, u64>,
    /// Output tokens of the answers that ended well.
    pub output_tokens: u64,
    /// Sent requests per second.
    pub sent_rps: f64,
    pub completed_rps: f64,
    pub failed_rps: f64,
    pub output_tps: f64,
    pub ttft_p50_ms: Option<f64>,
    pub ttft_p90_ms: Option<f64>,
    pub ttft_p95_ms: Option<f64>,
    pub tpot_p50_ms: Option<f64>,
    pub tpot_p95_ms: Option<f64>,
    pub e2e_p50_ms: Option<f64>,
    pub e2e_p90_ms: Option<f64>,
    pub e2e_p95_ms: Option<f64>,
    pub e2e_p99_ms: Option<f64>,
    pub lag_p99_ms: Option<f64>,
    /// What the server said of itself at the last look, where it is read: `running` and `waiting`
    /// requests, `kv_use` in percent.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub server: BTreeMap<String, f64>,
}

/// What the calling thread sees of a cell that runs.
#[allow(clippy::large_enum_variant, reason = "one at a time, four a second, never stored")]
#[derive(Debug)]
pub enum Look<'a> {
    /// About four times a second.
    Live(Live),
    /// Requests that have ended, as they come in; each once.
    Ended(&'a [RequestRecord]),
}

/// Sees events as they come.
pub trait Watcher {
    fn on(&mut self, event: &Event<'_>);

    /// Requests of the running cell that have ended, each once, in batches: those in the window and
    /// those outside of it. Called on the thread that also writes them, so it must be quick.
    fn ended(&mut self, _requests: &[RequestRecord]) {}

    /// Answers of each cell that it wants to see once the cell is finished, at most; where the
    /// experiment keeps some anyway, those. `None`: none.
    fn answers(&self) -> Option<u32> {
        None
    }

    /// Something that it has to say to people, once; asked after each event.
    fn told(&mut self) -> Option<String> {
        None
    }
}

/// Let the calling thread, which works for a watcher, give way to those that make and measure load. A
/// wish: where it isn't granted, nothing is lost.
pub fn give_way() {
    const NICE: i32 = 15;
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
}

/// Several watchers as one.
#[derive(Default)]
pub struct Watchers(Vec<Box<dyn Watcher>>);

impl Watchers {
    /// Add one that sees what comes after the others.
    pub fn add(&mut self, watcher: Box<dyn Watcher>) {
        self.0.push(watcher);
    }
}

impl Watcher for Watchers {
    fn on(&mut self, event: &Event<'_>) {
        let mut notes = Vec::new();
        for watcher in &mut self.0 {
            watcher.on(event);
            notes.extend(watcher.told());
        }
        for text in notes {
            self.0.iter_mut().for_each(|watcher| watcher.on(&Event::Notice { text: &text }));
        }
    }

    fn ended(&mut self, requests: &[RequestRecord]) {
        for watcher in &mut self.0 {
            watcher.ended(requests);
        }
    }

    /// As many as the one that wants most.
    fn answers(&self) -> Option<u32> {
        self.0.iter().filter_map(|watcher| watcher.answers()).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};

    struct Seen(Sender<&'static str>, Option<u32>);

    struct Teller(Option<String>);

    impl Watcher for Teller {
        fn on(&mut self, _: &Event<'_>) {}
        fn told(&mut self) -> Option<String> {
            self.0.take()
        }
    }

    #[test]
    fn what_one_has_to_say_all_hear_once() {
        let (tell, told) = channel();
        let mut all = Watchers::default();
        all.add(Box::new(Seen(tell, None)));
        all.add(Box::new(Teller(Some("down".to_owned()))));
        for _ in 0..2 {
            all.on(&Event::CoolingDown { min_s: 0.0, max_s: 0.0 });
        }
        drop(all);
        assert_eq!(told.iter().count(), 3, "two events and one notice");
    }

    impl Watcher for Seen {
        fn on(&mut self, _: &Event<'_>) {
            self.0.send("event").unwrap();
        }
        fn ended(&mut self, _: &[RequestRecord]) {
            self.0.send("requests").unwrap();
        }
        fn answers(&self) -> Option<u32> {
            self.1
        }
    }

    #[test]
    fn several_watchers_see_the_same() {
        let (tell, told) = channel();
        let mut all = Watchers::default();
        assert_eq!(all.answers(), None);
        for wanted in [None, Some(3), Some(2)] {
            all.add(Box::new(Seen(tell.clone(), wanted)));
        }
        all.on(&Event::Notice { text: "x" });
        all.ended(&[RequestRecord::blank(0)]);
        drop(tell);
        assert_eq!(all.answers(), Some(3));
        let seen: Vec<_> = (0..6).map(|_| told.recv().unwrap()).collect();
        assert_eq!(seen, ["event", "event", "event", "requests", "requests", "requests"]);
    }
}
