//! What a person may ask of a sweep that runs: stop, pause, skip.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// Asks a running cell to stop, and a sweep to pause or to skip a cell. Set from the signal handler
/// and from the live page; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Control {
    wishes: Arc<Wishes>,
    /// The cell that this one is of: wishes to skip it are wishes to stop.
    cell: Option<u32>,
}

#[derive(Debug, Default)]
struct Wishes {
    pressed: AtomicU8,
    pause: AtomicBool,
    /// The pause has come: a cell waits.
    held: AtomicBool,
    /// The cell to skip, its index + 1; 0: none.
    skip: AtomicU64,
}

impl Control {
    /// One step further: run → finish (close the window, drain) → now (censor all at once).
    pub fn press(&self) {
        let _ = self
            .wishes
            .pressed
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |v| Some(v.saturating_add(1).min(2)));
    }

    /// Whether the window is to be closed.
    #[must_use]
    pub fn finish(&self) -> bool {
        self.wishes.pressed.load(Ordering::Relaxed) >= 1 || self.is_skipped()
    }

    /// Whether to drop everything in flight.
    #[must_use]
    pub fn now(&self) -> bool {
        self.wishes.pressed.load(Ordering::Relaxed) >= 2 || self.is_skipped()
    }

    /// The same, as the cell with this index in the plan is to see it: it stops at once when it is
    /// skipped, of which the rest of the sweep sees nothing.
    #[must_use]
    pub fn of_cell(&self, index: u32) -> Self {
        Self { cell: Some(index), ..self.clone() }
    }

    fn is_skipped(&self) -> bool {
        self.cell.is_some_and(|index| self.skipped(index))
    }

    /// Skip the cell with this index. A cell that isn't running is not skipped by it.
    pub fn skip(&self, index: u32) {
        self.wishes.skip.store(u64::from(index) + 1, Ordering::Relaxed);
    }

    /// Whether the cell with this index was to be skipped, the last of those that were.
    #[must_use]
    pub fn skipped(&self, index: u32) -> bool {
        self.wishes.skip.load(Ordering::Relaxed) == u64::from(index) + 1
    }

    /// Let no further cell begin, or go on.
    pub fn pause(&self, pause: bool) {
        self.wishes.pause.store(pause, Ordering::Relaxed);
    }

    /// Whether no further cell is to begin.
    #[must_use]
    pub fn paused(&self) -> bool {
        self.wishes.pause.load(Ordering::Relaxed)
    }

    /// Whether a cell waits because of it.
    #[must_use]
    pub fn held(&self) -> bool {
        self.wishes.held.load(Ordering::Relaxed)
    }

    /// Say that a cell waits while `wait` does.
    pub fn held_while(&self, wait: impl FnOnce(&Self)) {
        self.wishes.held.store(true, Ordering::Relaxed);
        wait(self);
        self.wishes.held.store(false, Ordering::Relaxed);
    }

    /// Forget every wish, for another sweep.
    pub fn reset(&self) {
        self.wishes.pressed.store(0, Ordering::Relaxed);
        self.wishes.skip.store(0, Ordering::Relaxed);
        self.pause(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_is_for_its_cell_alone() {
        let control = Control::default();
        let (third, fourth) = (control.of_cell(2), control.of_cell(3));
        control.skip(2);
        assert!(third.finish() && third.now());
        assert!(!fourth.finish() && !control.finish() && !control.now());
        control.press();
        assert!(fourth.finish() && !fourth.now());
        control.reset();
        assert!(!third.finish() && !fourth.finish());
    }
}
