//! Open and closed loops: how many requests, due when, and which of them the window counts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use plimsoll::experiment::{Arrivals, Load};
use plimsoll::record::{EndedBy, Outcome, RequestRecord};

use super::{MS, cell, closed, measured, open, run, summary};
use crate::rig::scripted::serve;

#[test]
fn every_arrival_of_an_open_loop_is_sent_once_and_recorded_once() {
    for threads in [1, 3] {
        let server = serve(|conn| {
            conn.answer(4);
            true
        });
        let mut cell = open(200.0, None);
        cell.settings.client.threads = Some(threads);
        cell.settings.cell.warmup = 200 * MS;
        cell.settings.cell.duration = Some(500 * MS);
        let (run, records) = run(&cell, server.address);
        // 700 ms at 200 a second, from 0.
        assert_eq!(records.iter().map(|r| r.seq).collect::<Vec<_>>(), (0..140).collect::<Vec<_>>());
        assert!(records.iter().all(|r| r.intended_us == r.seq * 5000), "never re-anchored");
        assert_eq!(measured(&records).len(), 100);
        assert_eq!(run.planned, Some(100));
        assert_eq!((run.window.start_us, run.window.end_us), (200_000, 700_000));
        assert_eq!(run.window.ended_by, EndedBy::Duration);
        assert!(records.iter().all(|r| r.outcome == Outcome::Ok && r.output_tokens == Some(4)));
        assert!(records.iter().all(|r| u64::from(r.shard) == r.seq % u64::from(threads)));
        let ids: BTreeSet<String> = server.ids.lock().unwrap().iter().cloned().collect();
        assert_eq!(ids, (0..140).map(|k| format!("plimsoll-7-{k}")).collect());
        assert_eq!(run.timeline.iter().map(|t| t.sent).sum::<u32>(), 140);
        assert_eq!(run.timeline.iter().map(|t| t.due).sum::<u32>(), 140);
        assert_eq!(run.timeline.iter().map(|t| t.completed).sum::<u32>(), 140);
        assert_eq!(run.timeline.iter().map(|t| t.chunks).sum::<u32>(), 560);
        assert_eq!(run.chunk_gaps.len(), 300);
        assert_eq!(summary(&cell, &run, &records).counts.planned, 100);
    }
}

#[test]
fn an_open_loop_of_requests_ends_at_the_arrival_after_them() {
    let server = serve(|conn| {
        conn.answer(1);
        true
    });
    let mut cell = cell(Load::Open { qps: 300.0, arrivals: Arrivals::Poisson, max_in_flight: None });
    cell.settings.cell.warmup = 100 * MS;
    cell.settings.cell.requests = Some(60);
    cell.settings.cell.duration = Some(60_000 * MS);
    let (run, records) = run(&cell, server.address);
    assert_eq!(measured(&records).len(), 60);
    assert_eq!(run.window.ended_by, EndedBy::Requests);
    assert!(records.iter().all(|r| r.intended_us < run.window.end_us));
    // The same file, the same workload.
    let again = self::run(&cell, server.address);
    assert_eq!(
        summary(&cell, &run, &records).workload_hash,
        summary(&cell, &again.0, &again.1).workload_hash
    );
}

#[test]
fn a_closed_loop_measures_exactly_so_many_at_full_concurrency() {
    for threads in [1, 2] {
        let server = serve(|conn| {
            std::thread::sleep(MS);
            conn.answer(4);
            true
        });
        let mut cell = closed(5);
        cell.settings.client.threads = Some(threads);
        cell.settings.cell.warmup = 400 * MS;
        cell.settings.cell.requests = Some(50);
        let (run, records) = run(&cell, server.address);
        assert_eq!(measured(&records).len(), 50);
        assert_eq!(run.window.ended_by, EndedBy::Requests);
        assert!(records.iter().all(|r| r.outcome == Outcome::Ok));
        let users: BTreeSet<u32> = records.iter().filter_map(|r| r.user).collect();
        assert_eq!(users, (0..5).collect());
        // Each user is due again when its last answer ended: never two at once.
        for user in 0..5 {
            let mut mine: Vec<_> = records.iter().filter(|r| r.user == Some(user)).collect();
            mine.sort_by_key(|r| r.intended_us);
            assert!(mine.windows(2).all(|w| w[0].end_us == Some(w[1].intended_us)));
            // None had gone idle when the window closed.
            assert!(mine.last().unwrap().end_us.unwrap() >= run.window.end_us);
        }
        let s = summary(&cell, &run, &records);
        assert_eq!(s.counts.attempted, 50);
        assert!(s.scalars["in_flight_max"] <= 5.0);
    }
}

#[test]
fn what_has_not_ended_at_the_drains_limit_is_censored() {
    let server = serve(|conn| {
        conn.head();
        conn.token();
        std::thread::sleep(60_000 * MS);
        false
    });
    let mut cell = closed(3);
    cell.settings.cell.duration = Some(300 * MS);
    cell.settings.cell.drain = 200 * MS;
    let (run, records) = run(&cell, server.address);
    assert_eq!(records.len(), 3);
    for r in &records {
        assert_eq!((r.outcome, r.end_us, r.status), (Outcome::Censored, None, Some(200)));
        assert!(r.first_token_us.is_some() && r.chunks == 1);
    }
    let s = summary(&cell, &run, &records);
    assert_eq!((s.counts.censored, s.counts.in_flight_at_end, s.counts.failed), (3, 3, 0));
}

#[test]
fn a_cap_holds_back_and_drops_and_says_so() {
    let now = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (here, top) = (Arc::clone(&now), Arc::clone(&most));
    let server = serve(move |conn| {
        top.fetch_max(here.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(50 * MS);
        here.fetch_sub(1, Ordering::SeqCst);
        conn.answer(1);
        true
    });
    let mut cell = open(100.0, Some(2));
    // Two slots on three cores: no core may take more than its share.
    cell.settings.client.threads = Some(3);
    cell.settings.cell.duration = Some(600 * MS);
    cell.settings.cell.drain = 100 * MS;
    let (run, records) = run(&cell, server.address);
    assert_eq!(records.iter().map(|r| r.seq).collect::<Vec<_>>(), (0..60).collect::<Vec<_>>());
    assert!(records.iter().all(|r| r.intended_us == r.seq * 10_000), "due when it was due, sent or not");
    assert!(most.load(Ordering::SeqCst) <= 2, "the server saw more than the cap");
    let dropped: Vec<_> = records.iter().filter(|r| r.outcome == Outcome::Dropped).collect();
    assert!(dropped.len() >= 20, "{} dropped", dropped.len());
    assert!(dropped.iter().all(|r| r.sent_us.is_none() && r.cap_blocked && r.prompt_tokens_asked == 8));
    assert!(records.iter().any(|r| r.cap_blocked && r.outcome == Outcome::Ok), "held back, then sent");
    let s = summary(&cell, &run, &records);
    assert!(s.semi_open && s.counts.planned == 60 && s.counts.dropped == dropped.len() as u64);
    let fired: Vec<&str> = s.validity.reasons.iter().map(|r| r.signal.as_str()).collect();
    assert!(fired.contains(&"cap_blocked") && fired.contains(&"sent_off_plan"), "{fired:?}");
}

#[test]
fn a_stall_of_the_server_shows_from_when_requests_were_due() {
    let server = serve(|conn| {
        if conn.number == 20 {
            std::thread::sleep(400 * MS);
        }
        conn.answer(1);
        true
    });
    // One in flight at a time, as a client with one connection has it.
    let mut cell = open(100.0, Some(1));
    cell.settings.cell.duration = Some(1000 * MS);
    let (run, records) = run(&cell, server.address);
    assert!(records.iter().all(|r| r.outcome == Outcome::Ok), "{records:?}");
    let late = |from: fn(&RequestRecord) -> u64| {
        records.iter().filter(|r| r.first_token_us.unwrap() - from(r) > 100_000).count()
    };
    let (from_due, from_sent) = (late(|r| r.intended_us), late(|r| r.sent_us.unwrap()));
    // About thirty were due in its first 300 ms; only one of them was at the server.
    assert!(from_due >= 25, "{from_due} late from when they were due");
    assert!((1..=from_due / 3).contains(&from_sent), "{from_sent} late from when they were sent");
    let s = summary(&cell, &run, &records);
    assert!(s.distributions["ttft"].p90 > s.distributions["ttft_service"].p90);
    assert!(s.distributions["ttft"].p90 > 100.0);
}
