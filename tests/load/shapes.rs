//! Shapes of load at a scripted server: users who think, who are spawned, who come in bursts and
//! wait for their answers; requests that this client cuts off.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use plimsoll::experiment::{Arrivals, Load, Think};
use plimsoll::record::{Outcome, RequestRecord, TokenSource};
use plimsoll::sim::now_ns;

use super::{MS, cell, closed, measured, open, run, summary};
use crate::plan::plan_of;
use crate::rig::scripted::{Scripted, serve};

fn quick() -> Scripted {
    serve(|conn| {
        conn.answer(1);
        true
    })
}

/// The records of each user, in the order in which they were due.
fn by_user(records: &[RequestRecord]) -> BTreeMap<u32, Vec<&RequestRecord>> {
    let mut users: BTreeMap<u32, Vec<&RequestRecord>> = BTreeMap::new();
    for record in records {
        users.entry(record.user.expect("a closed loop's")).or_default().push(record);
    }
    users.values_mut().for_each(|mine| mine.sort_by_key(|r| r.intended_us));
    users
}

#[test]
fn a_user_is_due_again_when_it_has_thought() {
    for threads in [1, 2] {
        // When each answer had been written, and when the next request on its connection came.
        let log: Arc<Mutex<Vec<(usize, u64, u64)>>> = Arc::default();
        let writer = Arc::clone(&log);
        let server = serve(move |conn| {
            let came = now_ns();
            conn.answer(1);
            writer.lock().unwrap().push((conn.on_connection, came, now_ns()));
            true
        });
        let mut cell = closed(3);
        cell.settings.think = Some(Think::Constant(60 * MS));
        cell.settings.client.threads = Some(threads);
        cell.settings.cell.duration = Some(900 * MS);
        let (run, records) = run(&cell, server.address);
        assert!(records.iter().all(|r| r.outcome == Outcome::Ok));
        for (user, mine) in by_user(&records) {
            assert!(mine.len() >= 2, "user {user}: {}", mine.len());
            assert!(mine.windows(2).all(|w| w[1].intended_us == w[0].end_us.unwrap() + 60_000));
        }
        // No user of three can come more often than each 60 ms.
        assert!(records.len() <= 3 * 16, "{}", records.len());
        let longest = records.iter().map(|r| r.sent_us.unwrap() - r.intended_us).min().unwrap();
        assert!(longest < 60_000, "think time is not lag: {longest} µs");
        let log = log.lock().unwrap();
        assert_eq!(log.len(), records.len());
        let s = summary(&cell, &run, &records);
        assert!(s.scalars["in_flight_max"] <= 3.0);
    }
}

#[test]
fn think_times_are_the_seed_s() {
    let thought = || {
        let server = quick();
        let mut cell = closed(1);
        cell.settings.think = Some(Think::Uniform(5 * MS, 40 * MS));
        cell.settings.cell.requests = Some(15);
        let (_, records) = run(&cell, server.address);
        let pauses: Vec<u64> =
            records.windows(2).map(|w| w[1].intended_us - w[0].end_us.unwrap()).take(14).collect();
        assert!(pauses.iter().all(|us| (5_000..=40_000).contains(us)), "{pauses:?}");
        assert!(pauses.iter().collect::<BTreeSet<_>>().len() > 10, "{pauses:?}");
        pauses
    };
    assert_eq!(thought(), thought());
}

#[test]
fn a_window_that_closes_waits_for_nobody_who_thinks() {
    let server = quick();
    let mut cell = closed(4);
    cell.settings.think = Some(Think::Constant(Duration::from_secs(3600)));
    cell.settings.cell.duration = Some(200 * MS);
    cell.settings.cell.drain = Duration::from_secs(3600);
    let (run, records) = run(&cell, server.address);
    assert_eq!(records.len(), 4, "each asked once");
    assert_eq!((run.window.start_us, run.window.end_us), (0, 200_000));
}

#[test]
fn users_are_spawned_at_their_rate() {
    let text = "target.url = \"sim:\"\n[load]\nusers = 6\nspawn_rate = 20\n[cell]\nduration = \"100ms\"\nwarmup = \"0s\"\n";
    for threads in [1, 4] {
        let server = quick();
        let mut cell = closed(6);
        let planned = plan_of(text).cells.remove(0).settings;
        cell.settings.load = planned.load;
        cell.settings.cell = planned.cell;
        cell.settings.client.threads = Some(threads);
        let (run, records) = run(&cell, server.address);
        assert_eq!(run.window.start_us, 300_000, "the last one of six comes at 250 ms");
        for (user, mine) in by_user(&records) {
            assert_eq!(mine[0].intended_us, u64::from(user) * 50_000);
        }
        assert_eq!(by_user(&records).len(), 6);
    }
}

#[test]
fn a_burst_s_users_have_one_request_each_at_a_time() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (here, top) = (Arc::clone(&now), Arc::clone(&most));
    let server = serve(move |conn| {
        top.fetch_max(here.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        // Longer than a period.
        std::thread::sleep(150 * MS);
        here.fetch_sub(1, Ordering::SeqCst);
        conn.answer(1);
        true
    });
    // Six users and four cores: three of them, with two users each.
    let arrivals = Arrivals::Burst { size: 6 };
    let mut cell = cell(Load::Open { qps: 60.0, arrivals, max_in_flight: Some(6) });
    cell.settings.client.threads = Some(4);
    cell.settings.cell.duration = Some(600 * MS);
    let (run, records) = run(&cell, server.address);
    assert_eq!(records.len(), 36);
    assert!(records.iter().all(|r| r.intended_us == r.seq / 6 * 100_000));
    assert_eq!(records.iter().map(|r| r.shard).collect::<BTreeSet<_>>(), (0..3).collect());
    assert!(records.iter().all(|r| r.outcome == Outcome::Ok));
    assert!(most.load(Ordering::SeqCst) <= 6, "the server saw more than the users");
    // The first burst finds everybody free; of later ones each is held back until its user is.
    assert!(records[..6].iter().all(|r| !r.cap_blocked));
    assert!(records[30..].iter().all(|r| r.cap_blocked && r.sent_us.unwrap() > r.intended_us));
    let s = summary(&cell, &run, &records);
    assert!(s.semi_open && s.counts.cap_blocked >= 24, "{:?}", s.counts);
    let signals = s.validity.signals;
    assert!(!signals.contains_key("overload") && signals.contains_key("cap_blocked"), "{signals:?}");
}

/// Cells of the same seed, on one core and on four; answers of eight chunks, one by one.
fn cut_off(threads: u32) -> (Vec<RequestRecord>, plimsoll::measure::CellSummary, usize) {
    let gone = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&gone);
    let server = serve(move |conn| {
        conn.head();
        for _ in 0..8 {
            conn.token();
        }
        conn.finish(8);
        // A connection that is cut off is used by no one again.
        let mut byte = [0u8; 1];
        let peeked = conn.stream.peek(&mut byte);
        let cut = !matches!(peeked, Ok(n) if n > 0);
        count.fetch_add(usize::from(cut), Ordering::SeqCst);
        !cut
    });
    let mut cell = open(200.0, None);
    cell.settings.workload.max_tokens = plimsoll::experiment::Lengths::constant(8);
    cell.settings.workload.cancel = Some(0.3);
    cell.settings.client.threads = Some(threads);
    cell.settings.cell.duration = Some(3_000 * MS);
    let (run, records) = run(&cell, server.address);
    let s = summary(&cell, &run, &records);
    (records, s, gone.load(Ordering::SeqCst))
}

#[test]
fn a_share_of_the_requests_is_cut_off_at_a_random_chunk() {
    let (records, s, _) = cut_off(1);
    let n = records.len();
    assert_eq!((n, measured(&records).len()), (600, 600));
    let cancelled: Vec<&RequestRecord> = records.iter().filter(|r| r.outcome == Outcome::Cancelled).collect();
    let (share, error) = (cancelled.len() as f64 / n as f64, (0.3 * 0.7 / n as f64).sqrt());
    assert!((share - 0.3).abs() < 4.0 * error, "{share}");
    for r in &cancelled {
        assert!((1..=8).contains(&r.chunks));
        assert_eq!((r.output_tokens, r.token_source), (Some(r.chunks), Some(TokenSource::Chunks)));
        assert!(r.first_token_us.is_some() && r.last_token_us <= r.end_us && r.error_class.is_none());
        assert!(r.finish_reason.is_none(), "its end was not read");
    }
    // Any number of chunks is as likely: a χ² of seven degrees of freedom, below its 99.9 % point.
    let expected = cancelled.len() as f64 / 8.0;
    let counts = (1..=8).map(|k| cancelled.iter().filter(|r| r.chunks == k).count() as f64);
    let chi: f64 = counts.map(|count| (count - expected).powi(2) / expected).sum();
    assert!(chi < 24.3, "χ² {chi}");
    let c = &s.counts;
    assert_eq!((c.cancelled, c.failed), (cancelled.len() as u64, 0));
    assert_eq!((s.scalars["attainment"], s.scalars["error_rate"]), (1.0, 0.0));
    assert_eq!(s.distributions["ttft"].n, c.ok, "latencies are those of whole answers");
}

#[test]
fn the_same_requests_are_cut_off_whatever_the_number_of_cores() {
    let cut = |records: &[RequestRecord]| -> Vec<(u64, Option<u32>)> {
        records.iter().map(|r| (r.seq, (r.outcome == Outcome::Cancelled).then_some(r.chunks))).collect()
    };
    let ((one, ..), (four, _, gone)) = (cut_off(1), cut_off(4));
    assert_eq!(cut(&one), cut(&four));
    let cancelled = four.iter().filter(|r| r.outcome == Outcome::Cancelled).count();
    assert!(gone >= cancelled / 2, "the server saw {gone} connections closed of {cancelled} cut off");
}
