//! The stream of state: server-sent events.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::mpsc;

use super::board::Seen;
use super::live::Live;

/// Least time between two messages, and most time without one.
const LEAST: Duration = Duration::from_millis(250);
const MOST: Duration = Duration::from_secs(10);

/// Send a reader what it hasn't seen until it goes: `state` each time, `course`, `cells` and `log` where
/// there is something new.
pub(super) async fn stream(live: Arc<Live>, out: mpsc::Sender<Bytes>) {
    let mut changes = live.changes();
    let mut seen = Seen::default();
    // The browser comes back on its own, soon.
    let mut text = "retry: 1000\n\n".to_owned();
    loop {
        changes.mark_unchanged();
        // The board is held as long as copies take; they are written out behind it.
        let news = live.board().news(&mut seen);
        message(&mut text, "state", &live.state());
        if let Some(course) = &news.course {
            message(&mut text, "course", course);
        }
        if let Some(cells) = &news.cells {
            message(&mut text, "cells", cells);
        }
        if let Some(lines) = &news.lines {
            message(&mut text, "log", lines);
        }
        if out.send(std::mem::take(&mut text).into()).await.is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(LEAST) => {}
            () = out.closed() => return,
        }
        tokio::select! {
            change = changes.changed() => if change.is_err() { return },
            () = tokio::time::sleep(MOST) => {}
            () = out.closed() => return,
        }
    }
}

fn message(text: &mut String, event: &str, data: &impl Serialize) {
    // JSON of serde_json has no line breaks.
    if let Ok(data) = serde_json::to_string(data) {
        let _ = write!(text, "event: {event}\ndata: {data}\n\n");
    }
}
