//! The watcher: hands over what happens, and never waits for it to be taken.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use super::news::{CellBegun, CellEnded, News};
use super::tally::Tally;
use crate::event::{Event, Watcher};
use crate::record::RequestRecord;

/// What the publishing thread has to say to people.
pub(super) type Notes = Arc<Mutex<VecDeque<String>>>;

/// Say something.
pub(super) fn note(notes: &Notes, text: String) {
    notes.lock().unwrap_or_else(PoisonError::into_inner).push_back(text);
}

/// Sees a sweep and hands it over. What can't be handed over at once waits here and is added up, so that
/// nothing is lost and little is held.
pub(super) struct Feed {
    to: Sender<News>,
    waiting: VecDeque<News>,
    notes: Notes,
}

impl Feed {
    pub(super) const fn new(to: Sender<News>, notes: Notes) -> Self {
        Self { to, waiting: VecDeque::new(), notes }
    }

    fn hand_over(&mut self, news: News) {
        match (self.waiting.back_mut(), news) {
            (Some(News::Requests(tally)), News::Requests(more)) => tally.add(&more),
            (Some(News::Live(last)), News::Live(live)) => *last = live,
            (_, news) => self.waiting.push_back(news),
        }
        while let Some(news) = self.waiting.pop_front() {
            match self.to.try_send(news) {
                Ok(()) => {}
                Err(TrySendError::Full(news)) => return self.waiting.push_front(news),
                // Nobody is there any more.
                Err(TrySendError::Closed(_)) => return self.waiting.clear(),
            }
        }
    }
}

impl Watcher for Feed {
    fn on(&mut self, event: &Event<'_>) {
        self.hand_over(match event {
            Event::SweepStarted { run, cells, finished_before, .. } => {
                // The run's directory: its name is what people call it.
                let run = run.rsplit('/').next().unwrap_or(run).to_owned();
                News::Sweep { run, cells: *cells, finished: *finished_before }
            }
            Event::CellStarted { cell, of, .. } => News::Cell(Box::new(CellBegun::of(cell, *of))),
            Event::Live(live) => News::Live(Box::new(live.clone())),
            Event::CellFinished { cell, summary } => News::Finished(Box::new(CellEnded::of(cell, summary))),
            Event::SweepFinished { .. } => News::Over,
            _ => return,
        });
    }

    fn ended(&mut self, requests: &[RequestRecord]) {
        let mut tally = Box::<Tally>::default();
        requests.iter().for_each(|r| tally.take(r));
        self.hand_over(News::Requests(tally));
    }

    fn told(&mut self) -> Option<String> {
        self.notes.try_lock().ok()?.pop_front()
    }
}

impl Drop for Feed {
    /// The sweep is over: what still waits may take its time.
    fn drop(&mut self) {
        for news in self.waiting.drain(..) {
            if self.to.blocking_send(news).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Outcome, Phase};

    #[test]
    fn what_is_not_taken_at_once_is_added_up_and_not_lost() {
        let (to, mut taken) = tokio::sync::mpsc::channel(1);
        let mut feed = Feed::new(to, Notes::default());
        let mut record = RequestRecord::blank(0);
        (record.phase, record.outcome) = (Phase::Measure, Outcome::Ok);
        for _ in 0..1_000 {
            feed.ended(&[record.clone(), record.clone()]);
        }
        assert!(feed.waiting.len() <= 1, "they are one");
        let other = std::thread::spawn(move || drop(feed));
        let mut all = Tally::default();
        while let Some(news) = taken.blocking_recv() {
            if let News::Requests(tally) = news {
                all.add(&tally);
            }
        }
        other.join().unwrap();
        assert_eq!(all.measured(), (2_000, 0, 0));
    }

    #[test]
    fn nobody_who_listens_is_no_trouble() {
        let (to, taken) = tokio::sync::mpsc::channel(1);
        drop(taken);
        let notes = Notes::default();
        note(&notes, "heard".to_owned());
        let mut feed = Feed::new(to, notes);
        for _ in 0..10 {
            feed.on(&Event::SweepFinished { run: "r", finished: 1, of: 1, interrupted: false });
        }
        assert!(feed.waiting.is_empty());
        assert_eq!((feed.told(), feed.told()), (Some("heard".to_owned()), None));
    }
}
