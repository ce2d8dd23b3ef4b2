//! Stages against the server's own log: how many were there, at what rate they came, and whose
//! request belongs to which stage.

use plimsoll::record::{Outcome, Phase, StageWindow};

use super::{Held, hold};

fn staged(load: &str, stages: &str, threads: u32) -> Held {
    hold(&format!(
        r#"
        name = "staged"
        seed = 5
        target.url = "sim:"
        [sim]
        step_base = "2ms"
        max_num_seqs = 64
        [workload]
        prompt_tokens = 16
        max_tokens = 8
        [load]
        {load}
        [cell]
        warmup = "500ms"
        drain = "60s"
        [client]
        threads = {threads}
        {stages}
        "#
    ))
}

/// The window's stages, and what each record says of the one that it was due in.
fn holds_together(held: &Held, lengths_ms: &[(&str, u64)]) {
    let mut at = 500_000;
    let planned = lengths_ms.iter().map(|(name, ms)| {
        let start_us = at;
        at += ms * 1000;
        StageWindow { name: (*name).to_owned(), start_us, end_us: at }
    });
    assert_eq!(held.run.stages, planned.collect::<Vec<_>>());
    assert_eq!((held.run.window.start_us, held.run.window.end_us), (500_000, at));
    for r in &held.records {
        let stage = held.run.stages.iter().find(|s| (s.start_us..s.end_us).contains(&r.intended_us));
        assert_eq!(r.stage, stage.map(|s| s.name.clone()), "{r:?}");
        assert_eq!(r.stage.is_some(), r.phase == Phase::Measure);
        assert_eq!(r.outcome, Outcome::Ok);
    }
    let signals = &held.summary.validity.signals;
    for changes in ["overload", "not_steady", "mser_cut_s"] {
        assert!(!signals.contains_key(changes), "{changes} of a load that changes by plan");
    }
    assert!(signals.contains_key("little"), "{signals:?}");
}

/// Most requests at the server at one time between two times since the epoch, in microseconds, by
/// its log.
fn most_at_the_server(held: &Held, from_us: u64, to_us: u64) -> i64 {
    let us = |ns: u64| ns.saturating_sub(held.run.epoch_monotonic_ns) / 1000;
    let mut steps: Vec<(u64, i64)> = Vec::new();
    for truth in held.truth.values().flatten() {
        let (came, went) = (us(truth.arrival_ns).max(from_us), us(truth.end_ns).min(to_us));
        if came < went {
            steps.extend([(came, 1), (went, -1)]);
        }
    }
    // One that leaves when another comes makes room first.
    steps.sort_unstable();
    let (mut now, mut most) = (0, 0);
    for (_, step) in steps {
        now += step;
        most = most.max(now);
    }
    most
}

#[test]
fn a_spike_of_users_comes_and_goes_at_the_server() {
    for threads in [1, 3] {
        let held = staged(
            "users = 2",
            r#"
            [stage.baseline]
            duration = "1s"
            [stage.spike]
            duration = "2s"
            times = 10
            [stage.after]
            duration = "2s"
            recovers = "baseline"
            "#,
            threads,
        );
        holds_together(&held, &[("baseline", 1000), ("spike", 2000), ("after", 2000)]);
        let users = |stage: &str| -> Vec<u32> {
            let mut users: Vec<u32> = held
                .records
                .iter()
                .filter(|r| r.stage.as_deref() == Some(stage))
                .filter_map(|r| r.user)
                .collect();
            users.sort_unstable();
            users.dedup();
            users
        };
        assert_eq!(users("baseline"), [0, 1]);
        assert_eq!(users("spike"), (0..20).collect::<Vec<_>>());
        assert_eq!(users("after"), [0, 1], "the others left when they had their answer");
        // Newcomers are due when the spike begins, all at once.
        for user in 2..20 {
            let first = held.records.iter().filter(|r| r.user == Some(user)).map(|r| r.intended_us).min();
            assert_eq!(first, Some(1_500_000));
        }
        // By the server's own log, which sees a request a little later than it is sent.
        assert!(most_at_the_server(&held, 0, 1_500_000) <= 2);
        let spike = most_at_the_server(&held, 1_500_000, 3_500_000);
        assert!((15..=20).contains(&spike), "{spike} at the server in the spike");
        let last = held.records.iter().filter(|r| r.user >= Some(2)).filter_map(|r| r.end_us).max();
        let quiet = last.expect("the spike's").max(3_500_000) + 100_000;
        assert!(most_at_the_server(&held, quiet, u64::MAX) <= 2);
    }
}

#[test]
fn users_of_a_ramp_come_and_go_one_after_another() {
    let held = staged(
        "users = 1",
        r#"
        [stage.start]
        duration = "400ms"
        [stage.up]
        duration = "1s"
        ramp = "800ms"
        users = 5
        [stage.down]
        duration = "1500ms"
        ramp = "800ms"
        users = 1
        "#,
        2,
    );
    holds_together(&held, &[("start", 400), ("up", 1000), ("down", 1500)]);
    for user in 1..5u32 {
        let due = held.records.iter().filter(|r| r.user == Some(user)).map(|r| r.intended_us);
        let (first, last) = (due.clone().min().unwrap(), due.max().unwrap());
        assert_eq!(first, 900_000 + u64::from(user - 1) * 200_000);
        let goes = 1_900_000 + u64::from(5 - user) * 200_000;
        assert!(last < goes, "user {user} sent at {last}, after {goes}");
    }
}

#[test]
fn rates_of_stages_are_those_of_the_schedule_on_every_number_of_cores() {
    let stages = r#"
        [stage.low]
        duration = "1s"
        [stage.high]
        duration = "2s"
        ramp = "1s"
        qps = 150
        [stage.back]
        duration = "1s"
        times = 1
        "#;
    let due = |threads: u32| {
        let held = staged("qps = 30\narrivals = \"constant\"", stages, threads);
        holds_together(&held, &[("low", 1000), ("high", 2000), ("back", 1000)]);
        let of = |stage: &str| {
            let of = held.records.iter().filter(|r| r.stage.as_deref() == Some(stage));
            of.map(|r| r.seq).collect::<Vec<_>>()
        };
        // 30 a second; from 30 to 150 over a second and a second of 150; 30 again.
        for (stage, want) in [("low", 30), ("high", 90 + 150), ("back", 30)] {
            let seqs = of(stage);
            assert!(seqs.len().abs_diff(want) <= 1, "{stage}: {} for {want}", seqs.len());
            // Each of them arrived, by the server's log.
            assert!(seqs.iter().all(|seq| held.truth.contains_key(seq)));
        }
        assert_eq!(held.summary.counts.planned, held.summary.counts.sent);
        held.records.iter().map(|r| r.intended_us).collect::<Vec<_>>()
    };
    assert_eq!(due(1), due(4));
}

#[test]
fn requests_that_are_cut_off_are_gone_at_the_server() {
    let held = hold(
        r#"
        name = "cut"
        seed = 3
        target.url = "sim:"
        [sim]
        step_base = "20ms"
        [workload]
        prompt_tokens = 16
        max_tokens = 12
        cancel = 0.4
        [load]
        users = 8
        [cell]
        duration = "2s"
        warmup = "100ms"
        [client]
        threads = 2
        "#,
    );
    let mut seen = 0;
    for pair in held.pairs() {
        let gone = pair.truth.outcome == plimsoll::sim::TruthOutcome::ClientGone;
        match pair.record.outcome {
            Outcome::Ok => assert!(!gone, "{:?}", pair.truth),
            // One that was cut off at its later chunks may have been written whole before a busy client
            // hung up.
            Outcome::Cancelled if pair.record.chunks <= 6 => {
                assert!(gone, "{:?} {:?}", pair.record, pair.truth);
                seen += 1;
            }
            Outcome::Cancelled => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(seen >= 5, "{seen} were cut off");
    let c = &held.summary.counts;
    assert_eq!((c.failed, c.censored, c.dropped), (0, 0, 0));
    assert!(c.cancelled > 0 && c.ok > 0);
}
