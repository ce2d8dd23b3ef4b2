//! When the engine gives up: on a server that answers nothing, and at a person's word.
//!
//! Every cell here would last ten minutes and more: a test that ends at all has passed half.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use plimsoll::event::{Look, Stage};
use plimsoll::load::{Control, Job, drive};
use plimsoll::record::{EndedBy, Outcome, Phase};

use super::{MS, closed, open, run, run_with, summary, with_job};
use crate::rig::Memory;
use crate::rig::scripted::{Scripted, serve};

const LONG: Duration = Duration::from_secs(600);

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn a_dead_server_closes_a_cell_early_in_both_loops() {
    for mut cell in [closed(16), open(2_000.0, None)] {
        cell.settings.cell.duration = Some(LONG);
        let (run, records) = run(&cell, nobody());
        assert_eq!(run.window.ended_by, EndedBy::Unanswered);
        let s = summary(&cell, &run, &records);
        assert!(s.counts.failed >= 100, "{:?}", s.counts);
        assert_eq!(s.counts.failed, s.counts.attempted);
        assert_eq!(s.counts.planned, s.counts.attempted);
        assert_eq!(s.scalars["error_rate"], 1.0);
    }
}

#[test]
fn a_server_that_is_dead_in_the_warm_up_is_measured_at_once() {
    let mut cell = closed(16);
    cell.settings.cell.duration = Some(LONG);
    cell.settings.cell.warmup = LONG;
    // All sixteen start within the first half of the warm-up, which is long.
    cell.settings.cell.ramp = 10 * MS;
    let (run, records) = run(&cell, nobody());
    assert_eq!(run.window.ended_by, EndedBy::Unanswered);
    let s = summary(&cell, &run, &records);
    assert!(s.counts.failed >= 100 && s.counts.before_window >= 100, "{:?}", s.counts);
    assert!(s.counts.errors.contains_key("connect"), "{:?}", s.counts.errors);
}

#[test]
fn a_server_that_turns_most_away_but_works_at_some_is_not_dead() {
    // The first four are worked at until three hundred others have been turned away.
    let turned_away = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&turned_away);
    let server = serve(move |conn| {
        if conn.number < 4 {
            while count.load(Ordering::SeqCst) < 300 {
                std::thread::sleep(MS);
            }
            conn.answer(1);
            return true;
        }
        count.fetch_add(1, Ordering::SeqCst);
        let refusal = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}";
        conn.stream.write_all(refusal.as_bytes()).is_ok()
    });
    let mut cell = open(400.0, None);
    cell.settings.cell.requests = Some(400);
    let (run, records) = run(&cell, server.address);
    assert_eq!(run.window.ended_by, EndedBy::Requests);
    let s = summary(&cell, &run, &records);
    assert_eq!((s.counts.attempted, s.counts.ok, s.counts.failed), (400, 4, 396));
}

/// A server that takes requests and never answers.
fn silent() -> Scripted {
    serve(|_| {
        std::thread::sleep(LONG);
        false
    })
}

#[test]
fn one_press_closes_the_window_and_two_end_it_all() {
    let server = serve(|conn| {
        conn.head();
        conn.token();
        std::thread::sleep(300 * MS);
        conn.finish(1);
        true
    });
    let mut cell = closed(2);
    cell.settings.cell.duration = Some(600_000 * MS);
    let once = Control::default();
    once.press();
    let (run, records) = run_with(&cell, server.address, &once);
    assert_eq!(run.window.ended_by, EndedBy::Interrupt);
    assert!(records.iter().all(|r| r.outcome == Outcome::Ok), "what flew was awaited: {records:?}");
    assert!(!records.is_empty());

    let twice = Control::default();
    let mut sink = Memory::default();
    let run = with_job(&cell, server.address, |job| {
        drive(job, &mut sink, &twice, &mut |look| {
            if matches!(look, Look::Live(live) if live.sent > 0) {
                twice.press();
                twice.press();
            }
        })
    })
    .unwrap();
    assert_eq!(run.window.ended_by, EndedBy::Interrupt);
    assert!(sink.0.iter().all(|r| matches!(r.outcome, Outcome::Ok | Outcome::Censored)));
}

#[test]
fn a_press_before_the_window_awaits_nothing() {
    let server = silent();
    for (ramp, warmup) in [(LONG, Duration::ZERO), (Duration::ZERO, LONG)] {
        let mut cell = closed(1);
        cell.settings.cell.duration = Some(LONG);
        cell.settings.cell.drain = LONG;
        cell.settings.target.timeout = LONG;
        (cell.settings.cell.ramp, cell.settings.cell.warmup) = (ramp, warmup);
        let (control, mut sink) = (Control::default(), Memory::default());
        let run = with_job(&cell, server.address, |job| {
            drive(job, &mut sink, &control, &mut |look| {
                if matches!(look, Look::Live(live) if live.sent > 0) && !control.finish() {
                    control.press();
                }
            })
        })
        .unwrap();
        assert_eq!(run.window.ended_by, EndedBy::Interrupt);
        assert_eq!(run.window.seconds(), 0.0);
        assert_eq!(sink.0.len(), 1);
        assert_eq!(sink.0[0].outcome, Outcome::Censored);
        assert_ne!(sink.0[0].phase, Phase::Measure);
    }
}

#[test]
fn a_drain_cut_by_two_presses_leaves_an_interrupted_cell() {
    let server = silent();
    let mut cell = closed(2);
    cell.settings.cell.duration = Some(50 * MS);
    cell.settings.cell.drain = LONG;
    cell.settings.target.timeout = LONG;
    let (control, mut sink) = (Control::default(), Memory::default());
    let run = with_job(&cell, server.address, |job| {
        drive(job, &mut sink, &control, &mut |look| {
            if matches!(look, Look::Live(live) if live.stage == Stage::Drain) {
                control.press();
                control.press();
            }
        })
    })
    .unwrap();
    assert_eq!(run.window.ended_by, EndedBy::Interrupt, "else it would count as finished");
    assert!(sink.0.iter().all(|r| r.outcome == Outcome::Censored));
}

#[test]
fn a_record_never_quotes_a_key() {
    let server = serve(|conn| {
        let words = r#"{"error":{"message":"Incorrect API key provided: sk-do-not-tell"}}"#;
        let refusal = format!("HTTP/1.1 401 Unauthorized\r\ncontent-length: {}\r\n\r\n{words}", words.len());
        conn.stream.write_all(refusal.as_bytes()).is_ok()
    });
    let mut cell = closed(1);
    cell.settings.cell.requests = Some(2);
    let mut sink = Memory::default();
    let run = with_job(&cell, server.address, |job| {
        let headers = vec![("authorization".to_owned(), "Bearer sk-do-not-tell".to_owned())];
        let mut part = job.parts[0].clone();
        part.endpoint.headers = headers;
        let job = Job { cell: job.cell, parts: vec![part], traces: None };
        drive(&job, &mut sink, &Control::default(), &mut |_| {})
    });
    run.unwrap();
    let detail = sink.0[0].detail.as_deref().unwrap();
    assert!(detail.contains("Incorrect API key provided: [hidden]"), "{detail}");
}
