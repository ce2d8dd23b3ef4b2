//! The phases of a cell and the one decision that its load cores share: when the window
//! closes.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::schedule::Schedule;
use crate::experiment::Settings;
use crate::record::{EndedBy, Phase, StageWindow, Window};

/// Ramp → warm-up → window → drain. Read without a lock by every load core; written once.
pub(super) struct Gate {
    ramp_us: u64,
    start_us: AtomicU64,
    /// `u64::MAX` while not known.
    end_us: AtomicU64,
    /// Closed-loop requests of the window, issued so far.
    tickets: AtomicU64,
    ticket_limit: u64,
    ended_by: Mutex<EndedBy>,
    /// Name and planned start of each stage, in order; empty for a window of one level.
    stages: Vec<(String, u64)>,
}

impl Gate {
    /// The gate of a cell; `None` if nothing would ever close it.
    pub(super) fn of(settings: &Settings, schedule: Option<&Schedule>) -> Option<Self> {
        let cell = &settings.cell;
        let ramp_us = cell.ramp.as_micros() as u64;
        let start_us = ramp_us + cell.warmup.as_micros() as u64;
        let mut gate = match schedule {
            Some(schedule) => {
                let end = schedule.window_end(start_us, cell.duration, cell.requests)?;
                Self::new(ramp_us, start_us, Some(end), None)
            }
            None if cell.duration.is_none() && cell.requests.is_none() => return None,
            None => {
                let end = cell.duration.map(|d| (start_us + d.as_micros() as u64, EndedBy::Duration));
                Self::new(ramp_us, start_us, end, cell.requests)
            }
        };
        let mut at = start_us;
        for stage in &settings.stages {
            gate.stages.push((stage.name.clone(), at));
            at += stage.duration.as_micros() as u64;
        }
        Some(gate)
    }

    /// `end` if it is known beforehand; `ticket_limit`: requests of the window in a closed
    /// loop, at most.
    pub(super) fn new(
        ramp_us: u64,
        start_us: u64,
        end: Option<(u64, EndedBy)>,
        ticket_limit: Option<u64>,
    ) -> Self {
        Self {
            ramp_us,
            start_us: AtomicU64::new(start_us),
            end_us: AtomicU64::new(end.map_or(u64::MAX, |(t, _)| t)),
            tickets: AtomicU64::new(0),
            ticket_limit: ticket_limit.unwrap_or(u64::MAX),
            ended_by: Mutex::new(end.map_or(EndedBy::Requests, |(_, by)| by)),
            stages: Vec::new(),
        }
    }

    /// The same with no more than so many closed-loop requests of the window, where that is a limit:
    /// one machine's part of those that several may send.
    pub(super) fn with_tickets(mut self, most: Option<u64>) -> Self {
        self.ticket_limit = most.map_or(self.ticket_limit, |most| most.min(self.ticket_limit));
        self
    }

    /// What closes the window, as far as it is known.
    pub(super) fn ended_by(&self) -> EndedBy {
        *self.ended_by.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The part of the cell in which a request due at `t` falls.
    pub(super) fn phase(&self, t: u64) -> Phase {
        let start_us = self.start();
        if t < self.ramp_us && t < start_us {
            Phase::Ramp
        } else if t < start_us {
            Phase::Warmup
        } else {
            Phase::Measure
        }
    }

    /// The stage in which a request due at `t` falls, counted from 0; `None` outside of the
    /// window and where it has no stages. What is due in a window that opened early belongs to
    /// the first.
    pub(super) fn stage(&self, t: u64) -> Option<usize> {
        if self.stages.is_empty() || self.phase(t) != Phase::Measure {
            return None;
        }
        let begun = self.stages.partition_point(|(_, start)| *start <= t);
        Some(begun.saturating_sub(1))
    }

    /// The name of [`Gate::stage`].
    pub(super) fn stage_name(&self, t: u64) -> Option<String> {
        self.stage(t).map(|i| self.stages[i].0.clone())
    }

    /// The stages' parts of `window`; one that the window's end cut off before it began is empty.
    pub(super) fn stage_windows(&self, window: &Window) -> Vec<StageWindow> {
        let starts = self.stages.iter().enumerate();
        let starts =
            starts.map(|(i, (_, at))| if i == 0 { window.start_us } else { (*at).min(window.end_us) });
        let ends = self.stages.iter().skip(1).map(|(_, at)| (*at).min(window.end_us)).chain([window.end_us]);
        let spans = starts.zip(ends).zip(&self.stages);
        spans
            .map(|((start_us, end_us), (name, _))| StageWindow { name: name.clone(), start_us, end_us })
            .collect()
    }

    pub(super) fn start(&self) -> u64 {
        self.start_us.load(Ordering::Relaxed)
    }

    /// `u64::MAX` while it is not known.
    pub(super) fn end(&self) -> u64 {
        self.end_us.load(Ordering::Relaxed)
    }

    /// Whether `t` is in the measured window.
    pub(super) fn contains(&self, t: u64) -> bool {
        t >= self.start() && t < self.end()
    }

    /// Whether the measured window has opened by `t`, closed again or not.
    pub(super) fn opened(&self, t: u64) -> bool {
        t >= self.start()
    }

    /// Leave for one closed-loop request that is due at `t`; it must then be sent. The first
    /// user who asks after the last ticket has gone closes the window: until then the
    /// concurrency was full, so no tail of idle users is ever measured.
    pub(super) fn admit(&self, t: u64) -> bool {
        if t >= self.end() {
            return false;
        }
        if self.phase(t) != Phase::Measure {
            return true;
        }
        if self.tickets.fetch_add(1, Ordering::Relaxed) < self.ticket_limit {
            return true;
        }
        self.close(t, EndedBy::Requests);
        false
    }

    /// Close the window at `t`, unless it closes earlier already.
    pub(super) fn close(&self, t: u64, by: EndedBy) {
        let mut ended_by = self.ended_by.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if t < self.end() {
            self.end_us.store(t, Ordering::Relaxed);
            *ended_by = by;
        }
    }

    /// Open the window at `t`, which is not past, unless it opens earlier already.
    pub(super) fn open(&self, t: u64) {
        self.start_us.fetch_min(t, Ordering::Relaxed);
    }

    /// Whether the cell was closed before its window opened: nothing was measured.
    pub(super) fn never_opened(&self) -> bool {
        self.end() <= self.start()
    }

    /// What was still in flight was dropped at a person's word. Then the cell is not whole,
    /// whatever closed its window.
    pub(super) fn cut(&self) {
        *self.ended_by.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = EndedBy::Interrupt;
    }

    /// The window as it came out; `now` stands for an end that never came. Empty when the
    /// cell was interrupted before it opened.
    pub(super) fn window(&self, now: u64) -> Window {
        let end_us = self.end().min(now);
        let ended_by = self.ended_by();
        Window { start_us: self.start().min(end_us), end_us, ended_by }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_follow_one_another() {
        let gate = Gate::new(10, 30, Some((100, EndedBy::Duration)), None);
        let phases = [0, 9, 10, 29, 30, 99].map(|t| gate.phase(t));
        assert_eq!(
            phases,
            [Phase::Ramp, Phase::Ramp, Phase::Warmup, Phase::Warmup, Phase::Measure, Phase::Measure]
        );
        assert!(!gate.contains(29) && gate.contains(30) && gate.contains(99) && !gate.contains(100));
        assert_eq!(gate.window(500), Window { start_us: 30, end_us: 100, ended_by: EndedBy::Duration });
    }

    #[test]
    fn exactly_so_many_tickets_and_the_next_completion_closes() {
        let gate = Gate::new(0, 10, Some((1000, EndedBy::Duration)), Some(3));
        // Warm-up needs none.
        assert!(gate.admit(5) && gate.admit(6));
        assert!(gate.admit(11) && gate.admit(12) && gate.admit(13));
        assert_eq!(gate.end(), 1000);
        assert!(!gate.admit(40));
        assert!(!gate.admit(41));
        assert_eq!(gate.window(500), Window { start_us: 10, end_us: 40, ended_by: EndedBy::Requests });
    }

    #[test]
    fn the_earliest_end_wins() {
        let gate = Gate::new(0, 10, Some((100, EndedBy::Duration)), None);
        gate.close(120, EndedBy::Interrupt);
        assert_eq!(gate.window(500).ended_by, EndedBy::Duration);
        gate.close(4, EndedBy::Interrupt);
        assert_eq!(gate.window(500), Window { start_us: 4, end_us: 4, ended_by: EndedBy::Interrupt });
        assert_eq!(gate.window(500).seconds(), 0.0);
        assert!(gate.never_opened());
    }

    #[test]
    fn stages_follow_one_another_and_end_with_the_window() {
        let mut gate = Gate::new(0, 30, Some((100, EndedBy::Duration)), None);
        assert_eq!((gate.stage(50), gate.stage_windows(&gate.window(500))), (None, vec![]));
        gate.stages = [("calm", 30), ("spike", 60), ("after", 80)].map(|(n, at)| (n.to_owned(), at)).into();
        assert_eq!([29, 30, 59, 60, 79, 80, 99].map(|t| gate.stage(t)), {
            [None, Some(0), Some(0), Some(1), Some(1), Some(2), Some(2)]
        });
        assert_eq!(gate.stage_name(60).as_deref(), Some("spike"));
        let spans = |gate: &Gate| -> Vec<(String, u64, u64)> {
            let windows = gate.stage_windows(&gate.window(500));
            windows.into_iter().map(|w| (w.name, w.start_us, w.end_us)).collect()
        };
        let named = |spans: [(&str, u64, u64); 3]| spans.map(|(n, a, b)| (n.to_owned(), a, b)).to_vec();
        assert_eq!(spans(&gate), named([("calm", 30, 60), ("spike", 60, 80), ("after", 80, 100)]));
        // Opened early and closed early.
        gate.open(10);
        gate.close(70, EndedBy::Interrupt);
        assert_eq!(gate.stage(15), Some(0));
        assert_eq!(spans(&gate), named([("calm", 10, 60), ("spike", 60, 70), ("after", 70, 70)]));
    }

    #[test]
    fn a_window_may_open_early_but_never_late() {
        let gate = Gate::new(10, 30, Some((100, EndedBy::Duration)), None);
        gate.open(20);
        gate.open(25);
        assert_eq!([9, 19, 20].map(|t| gate.phase(t)), [Phase::Ramp, Phase::Warmup, Phase::Measure]);
        assert_eq!(gate.window(500).start_us, 20);
        assert!(!gate.never_opened());
    }

    #[test]
    fn a_drain_that_was_cut_makes_the_cell_an_interrupted_one() {
        let gate = Gate::new(0, 10, Some((100, EndedBy::Duration)), None);
        gate.cut();
        assert_eq!(gate.window(500), Window { start_us: 10, end_us: 100, ended_by: EndedBy::Interrupt });
    }
}
