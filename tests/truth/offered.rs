//! Offered against sent, by counts alone: what the schedule planned is what was sent and what
//! was dropped, one record each, and what was sent is what the server had.

use plimsoll::experiment::Load;
use plimsoll::load::Schedule;
use plimsoll::measure::Verdict;
use plimsoll::record::{Outcome, Phase};
use plimsoll::sim::Fault;

use super::{Held, hold};

fn offer(load: &str, threads: u32, knobs: &str) -> Held {
    hold(&format!(
        r#"
        name = "offered"
        seed = 8
        [target]
        url = "sim:"
        stall_timeout = "2s"
        timeout = "60s"
        [sim]
        step_base = "2ms"
        max_num_seqs = 64
        fault_stall_time = "10m"
        {knobs}
        [workload]
        prompt_tokens = 16
        max_tokens = 8
        [load]
        {load}
        [cell]
        duration = "1500ms"
        warmup = "300ms"
        drain = "60s"
        [client]
        threads = {threads}
        "#
    ))
}

/// One record an arrival, each arrival of the schedule and no other; planned = sent + dropped.
fn balance(held: &Held) {
    let counts = &held.summary.counts;
    let measured = held.records.iter().filter(|r| r.phase == Phase::Measure).count() as u64;
    let dropped = held.records.iter().filter(|r| r.outcome == Outcome::Dropped).count() as u64;
    assert_eq!(counts.attempted, measured);
    assert_eq!(counts.planned, counts.sent + counts.dropped, "{counts:?}");
    assert_eq!(counts.before_window + measured, held.records.len() as u64);
    if let Load::Open { qps, arrivals, .. } = held.cell.settings.load {
        let schedule = || Schedule::new(held.cell.seed, qps, arrivals, held.cell.settings.cell.ramp);
        let end = held.run.window.end_us;
        let due: Vec<u64> = schedule().take_while(|&t| t < end).collect();
        assert_eq!(held.records.iter().map(|r| r.intended_us).collect::<Vec<_>>(), due);
        assert_eq!(counts.planned, schedule().arrivals_in(held.run.window.start_us, end));
    }
    // Whoever was sent arrived, and nobody else did.
    let pairs = held.pairs();
    // But for what the drain cut off on its way.
    let on_its_way =
        held.records.iter().filter(|r| r.sent_us.is_some() && !held.truth.contains_key(&r.seq)).count()
            as u64;
    assert!(on_its_way <= counts.censored, "{on_its_way} never arrived, {} were cut off", counts.censored);
    assert_eq!(pairs.len() as u64 + dropped + on_its_way, held.records.len() as u64);
    if held.summary.validity.verdict == Verdict::Valid {
        assert_eq!(counts.sent, counts.planned, "a valid cell offered what it sent");
    }
}

#[test]
fn what_was_offered_was_sent() {
    for word in ["constant", "poisson"] {
        for (qps, threads) in [("7.5", 1), ("60", 3), ("240", 2)] {
            let held = offer(&format!("qps = {qps}\narrivals = \"{word}\""), threads, "");
            balance(&held);
            held.all_ok();
            // Without a cap nothing is ever dropped, however busy the machine is.
            assert_eq!(held.summary.counts.sent, held.summary.counts.planned);
        }
    }
    for users in [1, 7] {
        // On one core: the numbers of a closed loop's requests have gaps where users of one core
        // ask more often than those of another.
        let held = offer(&format!("users = {users}"), 1, "");
        balance(&held);
        held.all_ok();
    }
}

#[test]
fn under_faults_as_well() {
    let faults: String = Fault::ALL.iter().map(|f| format!("fault_{} = 0.04\n", f.name())).collect();
    for (load, threads) in [("qps = 120", 2), ("users = 12", 1)] {
        let held = offer(load, threads, &faults);
        balance(&held);
        assert_eq!(held.summary.counts.sent, held.summary.counts.planned);
        assert!(held.summary.counts.failed > 0 && held.summary.counts.ok > 0, "{:?}", held.summary.counts);
    }
}

#[test]
fn under_a_cap_what_was_not_sent_was_dropped() {
    // Answers of 80 ms, three at a time: hardly forty a second of two hundred.
    for (threads, faults) in [(1, ""), (3, "fault_500 = 0.2\nfault_reset = 0.1")] {
        let held = hold(&format!(
            r#"
            name = "capped"
            seed = 8
            [target]
            url = "sim:"
            [sim]
            step_base = "10ms"
            {faults}
            [workload]
            prompt_tokens = 16
            max_tokens = 8
            [load]
            qps = 200
            users = 3
            [cell]
            duration = "1500ms"
            warmup = "0s"
            drain = "200ms"
            [client]
            threads = {threads}
            "#
        ));
        balance(&held);
        let counts = &held.summary.counts;
        assert!(counts.dropped > counts.planned / 4 && counts.sent > 0, "{counts:?}");
        assert!(held.records.iter().all(|r| r.outcome != Outcome::Dropped || r.cap_blocked));
        // Not offered as planned, and the verdict says so.
        assert_eq!(held.summary.validity.verdict, Verdict::Invalid);
        assert!(held.summary.validity.reasons.iter().any(|r| r.signal == "sent_off_plan"));
    }
}
