//! Where an answer's tokens come from, the engine or the clock, and what each of them is noted
//! down as.

use std::task::{Context, Poll};

use tokio::sync::mpsc::UnboundedReceiver;

use super::clock::now_ns;
use super::conn::Conn;
use super::driver::Notice;
use super::engine::Event;
use super::timetable::Row;
use super::wire::Account;

/// Where an answer's tokens come from.
pub(super) enum Source {
    Engine(UnboundedReceiver<Notice>),
    Timetable(Row),
}

impl Source {
    /// What comes next; nothing after the last token.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Notice>> {
        match self {
            Self::Engine(notices) => notices.poll_recv(cx),
            Self::Timetable(row) => {
                row.poll(cx).map(|event| event.map(|(event, at)| Notice::Engine(event, at)))
            }
        }
    }

    /// Whether all of the request's sequences have found a place in the queue; a timetable
    /// has room for all.
    pub async fn queued(&mut self, sequences: usize) -> bool {
        let Self::Engine(notices) = self else { return true };
        for _ in 0..sequences {
            // They are submitted together, so that nothing else comes between these notices.
            if !matches!(notices.recv().await, Some(Notice::Queued(_))) {
                return false;
            }
        }
        true
    }

    /// Wait for the last token of every sequence. `false`: the engine has stopped.
    pub async fn whole(&mut self, conn: &Conn, sequences: usize, account: &mut Account) -> bool {
        let notices = match self {
            Self::Engine(notices) => notices,
            Self::Timetable(row) => {
                row.whole().await;
                (account.first_ns, account.last_ns) = (row.first_ns(), now_ns());
                return true;
            }
        };
        let mut left = sequences;
        while let Some(notice) = notices.recv().await {
            let Notice::Engine(event, at_ns) = notice else { continue };
            note(conn, &event, at_ns, account);
            if matches!(event, Event::Token { finish: Some(_), .. }) {
                left -= 1;
                if left == 0 {
                    return true;
                }
            }
        }
        false
    }
}

/// Write what the engine did into the record and the answer's account.
pub(super) fn note(conn: &Conn, event: &Event, at_ns: u64, account: &mut Account) {
    match *event {
        Event::Admitted { at_ns, cached_tokens, .. } => {
            account.usage.cached += cached_tokens;
            conn.note(|r| {
                // A step may begin on the time line a little before the thread takes it up.
                let at_ns = at_ns.max(r.prompt_read_ns.unwrap_or(r.arrival_ns));
                account.admitted_ns = *r.admitted_ns.get_or_insert(at_ns);
                r.cached_tokens = Some(account.usage.cached);
            });
        }
        Event::Preempted { .. } => conn.note(|r| r.preemptions += 1),
        Event::Token { n, .. } => {
            if n == 1 && account.first_ns == 0 {
                account.first_ns = at_ns;
            }
            account.last_ns = at_ns;
        }
    }
}
