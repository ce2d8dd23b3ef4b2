//! Every request accounted for: the server's log and the records agree one by one, whatever
//! became of each.

use std::collections::BTreeMap;

use plimsoll::record::Outcome;
use plimsoll::sim::{Fault, TruthOutcome};

use super::{Held, Pair, hold};

/// All eleven faults, each as often as the others, half of all requests together.
fn every_fault() -> String {
    Fault::ALL.iter().map(|f| format!("fault_{} = 0.045\n", f.name())).collect()
}

/// What a client should say of a request of which this is the truth: its outcome and class.
pub(super) type Expected = fn(TruthOutcome) -> (Outcome, Option<&'static str>);

/// What a client should say of each fault in a stream.
pub(super) fn in_a_stream(truth: TruthOutcome) -> (Outcome, Option<&'static str>) {
    let fault = match truth {
        TruthOutcome::Ok => return (Outcome::Ok, None),
        TruthOutcome::Fault(fault) => fault,
        other => panic!("{other:?}"),
    };
    let (outcome, class) = match fault {
        Fault::Status429 => (Outcome::HttpError, "429"),
        Fault::Status500 => (Outcome::HttpError, "5xx"),
        Fault::Status503 => (Outcome::HttpError, "503"),
        Fault::Status400 | Fault::ContextLength => (Outcome::HttpError, "4xx"),
        Fault::Reset | Fault::ResetMid => (Outcome::Reset, "reset"),
        Fault::Stall => (Outcome::Timeout, "timeout_stall"),
        Fault::NoEnd => (Outcome::Truncated, "truncated"),
        Fault::Garbage => (Outcome::BadStream, "bad_stream"),
        Fault::ErrorObject => (Outcome::BadStream, "server_error"),
    };
    (outcome, Some(class))
}

/// What a client should say of each in an answer that comes whole: one that never comes runs
/// into the whole limit, and half of a JSON document under a whole body is one that can't be read.
pub(super) fn in_one_piece(truth: TruthOutcome) -> (Outcome, Option<&'static str>) {
    match truth {
        TruthOutcome::ClientGone | TruthOutcome::Fault(Fault::Stall) => {
            (Outcome::Timeout, Some("timeout_total"))
        }
        TruthOutcome::Fault(Fault::Garbage | Fault::NoEnd) => (Outcome::BadStream, Some("bad_stream")),
        TruthOutcome::Fault(Fault::ErrorObject) => (Outcome::HttpError, Some("5xx")),
        other => in_a_stream(other),
    }
}

/// Hold each pair to `expected`, and the summary's counts to the sums over the truth.
pub(super) fn agree(held: &Held, expected: Expected) {
    let mut classes: BTreeMap<String, u64> = BTreeMap::new();
    let mut ok = 0;
    for Pair { record, truth } in held.pairs() {
        let (outcome, class) = expected(truth.outcome);
        assert_eq!(record.outcome, outcome, "{record:?}\n{truth:?}");
        assert_eq!(record.error_class.as_deref(), class, "{record:?}\n{truth:?}");
        if let (Some(ours), Some(theirs)) = (record.status, truth.status) {
            assert_eq!(ours, theirs);
        }
        ok += u64::from(outcome == Outcome::Ok);
        if let Some(class) = class {
            *classes.entry(class.to_owned()).or_default() += 1;
        }
        // Only a reset before an answer is asked again, and only once.
        let tries = &held.truth[&record.seq];
        assert!(record.retries <= 1);
        for earlier in &tries[..tries.len() - 1] {
            let reset = TruthOutcome::Fault(Fault::Reset);
            let mid = TruthOutcome::Fault(Fault::ResetMid);
            assert!(earlier.outcome == reset || earlier.outcome == mid, "{record:?}\n{earlier:?}");
        }
    }
    let counts = &held.summary.counts;
    assert_eq!(held.records.len() as u64, counts.attempted, "no warm-up here");
    assert_eq!((counts.ok, &counts.errors), (ok, &classes));
    assert_eq!((counts.dropped, counts.censored), (0, 0));
    assert_eq!(counts.failed, classes.values().sum::<u64>());
}

#[test]
fn every_fault_at_once_is_told_class_by_class() {
    for (api, threads) in [("openai-chat", 1), ("openai-completions", 2)] {
        let held = hold(&format!(
            r#"
            name = "faults"
            seed = 11
            [target]
            url = "sim:"
            api = "{api}"
            stall_timeout = "3s"
            [sim]
            step_base = "2ms"
            max_num_seqs = 512
            fault_stall_time = "10m"
            {}
            [workload]
            prompt_tokens = 16
            max_tokens = 12
            [load]
            qps = 150
            [cell]
            requests = 500
            warmup = "0s"
            drain = "60s"
            [client]
            threads = {threads}
            "#,
            every_fault()
        ));
        agree(&held, in_a_stream);
        assert_eq!(held.records.len(), 500);
        // Every kind did happen, and each content chunk that came was counted.
        for fault in Fault::ALL {
            let is = |t: &plimsoll::sim::TruthRecord| t.outcome == TruthOutcome::Fault(fault);
            assert!(held.truth.values().flatten().any(is), "{} never struck", fault.name());
        }
        for Pair { record, truth } in held.pairs() {
            match truth.outcome {
                // The client leaves at the garbage; a reset may overtake what was written.
                TruthOutcome::Fault(Fault::Garbage | Fault::ResetMid) => {
                    assert!(record.chunks <= truth.chunks, "{record:?}\n{truth:?}");
                }
                _ => assert_eq!(record.chunks, truth.chunks, "{record:?}\n{truth:?}"),
            }
        }
    }
}

#[test]
fn so_they_are_in_answers_of_one_piece() {
    let held = hold(&format!(
        r#"
        name = "faults"
        seed = 12
        [target]
        url = "sim:"
        timeout = "5s"
        [sim]
        step_base = "2ms"
        max_num_seqs = 512
        fault_stall_time = "10m"
        {}
        [workload]
        prompt_tokens = 16
        max_tokens = 12
        stream = false
        [load]
        qps = 150
        [cell]
        requests = 300
        warmup = "0s"
        drain = "60s"
        "#,
        every_fault()
    ));
    agree(&held, in_one_piece);
    let ok = held.records.iter().filter(|r| r.outcome == Outcome::Ok);
    for record in ok {
        assert_eq!((record.first_token_us, record.output_tokens), (None, Some(12)), "{record:?}");
    }
}

#[test]
fn what_a_full_server_refuses_is_its_refusal() {
    for (knob, class) in [("false", "429"), ("true", "503")] {
        let held = hold(&format!(
            r#"
            name = "full"
            [target]
            url = "sim:"
            [sim]
            step_base = "5ms"
            max_num_seqs = 2
            max_waiting = 1
            full_queue_503 = {knob}
            [workload]
            prompt_tokens = 16
            max_tokens = 8
            [load]
            users = 6
            [cell]
            requests = 80
            warmup = "0s"
            "#
        ));
        let (mut ok, mut refused) = (0, 0);
        for Pair { record, truth } in held.pairs() {
            match truth.outcome {
                TruthOutcome::Ok => ok += 1,
                TruthOutcome::Rejected => {
                    refused += 1;
                    assert_eq!(record.error_class.as_deref(), Some(class), "{record:?}");
                    assert_eq!((record.chunks, record.output_tokens), (0, None));
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(ok > 0 && refused > 0);
        assert_eq!((held.summary.counts.ok, held.summary.counts.failed), (ok, refused));
    }
}

#[test]
fn what_the_client_cuts_off_the_server_saw_go() {
    // Ten users, answers of a minute; the drain cuts all of them.
    let held = hold(
        r#"
        name = "cut"
        [target]
        url = "sim:"
        [sim]
        step_base = "20ms"
        [workload]
        prompt_tokens = 16
        max_tokens = 3000
        [load]
        users = 10
        [cell]
        duration = "1s"
        warmup = "0s"
        drain = "100ms"
        "#,
    );
    let pairs = held.pairs();
    assert_eq!((pairs.len(), held.summary.counts.censored), (10, 10));
    for Pair { record, truth } in pairs {
        assert_eq!((record.outcome, truth.outcome), (Outcome::Censored, TruthOutcome::ClientGone));
        // What was on its way when the client left is in the server's count alone.
        assert!(record.chunks > 0 && record.chunks <= truth.chunks, "{record:?}\n{truth:?}");
        assert!(truth.end_ns as i64 >= held.window_ns().1);
        assert_eq!(record.end_us, None);
    }
    // The same with the client's own limit.
    let held = hold(
        r#"
        name = "late"
        [target]
        url = "sim:"
        timeout = "300ms"
        [sim]
        step_base = "20ms"
        [workload]
        prompt_tokens = 16
        max_tokens = 3000
        [load]
        qps = 20
        [cell]
        requests = 10
        warmup = "0s"
        "#,
    );
    let pairs = held.pairs();
    assert_eq!(pairs.len(), 10);
    for Pair { record, truth } in pairs {
        let ours = (record.outcome, record.error_class.as_deref());
        assert_eq!(ours, (Outcome::Timeout, Some("timeout_total")));
        assert_eq!(truth.outcome, TruthOutcome::ClientGone);
    }
}
