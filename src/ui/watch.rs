//! What puts a sweep on the board.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::board::Board;
use super::live::Live;
use super::tally::Tally;
use crate::event::{Event, Watcher};
use crate::record::RequestRecord;

/// How often the counts of requests are put on the board.
const COUNTS: Duration = Duration::from_secs(1);

/// Puts events on a board. While load is on it never waits for a reader: a look that finds the board
/// in use is left out, and the next comes in a quarter of a second. What happens once, between
/// cells, is put there in any case.
#[derive(Debug)]
pub struct Watch {
    live: Arc<Live>,
    tally: Tally,
    /// What requests without a name are called.
    unnamed: String,
    counted: Instant,
}

impl Watch {
    #[must_use]
    pub fn new(live: Arc<Live>) -> Self {
        Self { live, tally: Tally::default(), unnamed: String::new(), counted: Instant::now() }
    }
}

impl Watcher for Watch {
    fn on(&mut self, event: &Event<'_>) {
        if let Event::Live(live) = event {
            // Made before the board is touched.
            let look = serde_json::json!(live);
            let counts = (self.counted.elapsed() >= COUNTS).then(|| self.tally.clone());
            let Some(mut board) = self.live.try_board() else { return };
            board.look(live.elapsed_s, look);
            if let Some(counts) = counts {
                board.tally(counts);
                self.counted = Instant::now();
            }
            drop(board);
            return self.live.changed();
        }
        if let Event::CellStarted { cell, .. } = event {
            self.tally = Tally::default();
            self.unnamed = Board::unnamed(cell);
        }
        let mut board = self.live.board();
        if let Event::CellFinished { .. } = event {
            board.tally(self.tally.clone());
        }
        board.on(event);
        if let Event::Notice { .. } = event
            && let Some(index) = board.running()
            && self.live.is_skipped(index)
        {
            // What is told next is that it was skipped: it has no end of its own.
            board.leave_cell();
        }
        drop(board);
        self.live.changed();
    }

    fn ended(&mut self, requests: &[RequestRecord]) {
        for request in requests {
            self.tally.add(request, &self.unnamed);
        }
    }
}
