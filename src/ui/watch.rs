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
    /// Told while somebody read the board.
    notices: Vec<String>,
}

impl Watch {
    #[must_use]
    pub fn new(live: Arc<Live>) -> Self {
        Self {
            live,
            tally: Tally::default(),
            unnamed: String::new(),
            counted: Instant::now(),
            notices: Vec::new(),
        }
    }

    /// Put what was told meanwhile on the board.
    fn tell(notices: &mut Vec<String>, live: &Live, board: &mut Board) {
        for text in notices.drain(..) {
            board.on(&Event::Notice { text: &text });
            if let Some(index) = board.running()
                && live.is_skipped(index)
            {
                // What is told next is that it was skipped: it has no end of its own.
                board.leave_cell();
            }
        }
    }
}

impl Watcher for Watch {
    fn on(&mut self, event: &Event<'_>) {
        if let Event::Live(live) = event {
            // Made before the board is touched.
            let look = serde_json::json!(live);
            let Some(mut board) = self.live.try_board() else { return };
            Self::tell(&mut self.notices, &self.live, &mut board);
            board.look(live.elapsed_s, look);
            if self.counted.elapsed() >= COUNTS {
                board.tally(self.tally.clone());
                self.counted = Instant::now();
            }
            drop(board);
            return self.live.changed();
        }
        if let Event::Notice { text } = event {
            // A notice may come while load is on.
            self.notices.push((*text).to_owned());
            let Some(mut board) = self.live.try_board() else { return };
            Self::tell(&mut self.notices, &self.live, &mut board);
            drop(board);
            return self.live.changed();
        }
        if let Event::CellStarted { cell, .. } = event {
            self.tally = Tally::default();
            self.unnamed = Board::unnamed(cell);
        }
        let mut board = self.live.board();
        Self::tell(&mut self.notices, &self.live, &mut board);
        if let Event::CellFinished { .. } = event {
            board.tally(self.tally.clone());
        }
        board.on(event);
        drop(board);
        self.live.changed();
    }

    fn ended(&mut self, requests: &[RequestRecord]) {
        for request in requests {
            self.tally.add(request, &self.unnamed);
        }
    }
}
