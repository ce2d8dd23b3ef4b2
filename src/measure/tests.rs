use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::experiment::{
    Arrivals, CellSettings, ClientSettings, Cooldown, ForceLength, Lengths, Load, RequestLimit, Settings,
    Slo, Target, Tls, TokenizerChoice, Workload,
};
use crate::plan::CellId;
use crate::record::{Ceiling, ClientHealth, EndedBy, Outcome, Phase, TICK_US, Tick, TokenSource, Window};

fn cell(load: Load) -> Cell {
    let target = Target {
        url: "http://127.0.0.1:1".to_owned(),
        api: "openai-chat".to_owned(),
        model: "m".to_owned(),
        api_key_env: None,
        headers: BTreeMap::new(),
        extra_body: serde_json::Map::new(),
        max_tokens_field: "max_tokens".to_owned(),
        timeout: Duration::from_secs(60),
        connect_timeout: Duration::from_secs(5),
        first_token_timeout: None,
        stall_timeout: None,
        tls: Tls::default(),
        connections: crate::experiment::Connections::default(),
        custom: None,
    };
    let workload = Workload {
        prompt_tokens: Lengths::constant(8),
        max_tokens: Lengths::constant(5),
        prompt: None,
        prefix: None,
        tokenizer: TokenizerChoice::Bundled,
        unique_prompts: true,
        stream: true,
        stop_after: crate::experiment::StopAfter::End,
        cancel: None,
        force_length: ForceLength::Never,
        sampling: serde_json::Map::new(),
        ..Workload::default()
    };
    let cell = CellSettings {
        duration: Some(Duration::from_secs(10)),
        requests: None,
        warmup: Duration::from_secs(1),
        ramp: Duration::ZERO,
        drain: Duration::from_secs(10),
        cooldown: Cooldown { min: Duration::ZERO, max: Duration::ZERO },
    };
    Cell {
        index: 0,
        id: CellId("0".repeat(16)),
        grid: None,
        factors: BTreeMap::new(),
        varying: Vec::new(),
        repeat: 1,
        seed: 1,
        settings: Settings {
            target,
            workload,
            load,
            cell,
            slo: Slo::default(),
            client: ClientSettings { threads: None, dead_after: 3, pin: false },
            sim: BTreeMap::new(),
            parts: Vec::new(),
            stages: Vec::new(),
            think: None,
            server: None,
        },
    }
}

fn open() -> Cell {
    cell(Load::Open { qps: 20.0, arrivals: Arrivals::Constant, max_in_flight: None })
}

/// Arrival `seq` of 20 a second, from 1 s on: TTFT 100 ms, five tokens 10 ms apart.
fn good(seq: u64) -> RequestRecord {
    let due = 1_000_000 + seq * 50_000;
    RequestRecord {
        seq,
        user: None,
        shard: 0,
        phase: Phase::Measure,
        intended_us: due,
        sent_us: Some(due + 1_000),
        headers_us: Some(due + 50_000),
        first_token_us: Some(due + 100_000),
        first_visible_us: Some(due + 110_000),
        second_chunk_us: Some(due + 110_000),
        last_token_us: Some(due + 140_000),
        end_us: Some(due + 141_000),
        prompt_tokens_asked: 8,
        prompt_tokens_counted: Some(8),
        prompt_tokens: Some(8),
        max_tokens: 5,
        output_tokens: Some(5),
        cached_tokens: None,
        token_source: Some(TokenSource::Usage),
        chunks: 5,
        chunks_in_window: 5,
        max_gap_us: Some(10_000),
        bytes: 900,
        status: Some(200),
        finish_reason: Some("length".to_owned()),
        retries: 0,
        cap_blocked: false,
        outcome: Outcome::Ok,
        ..RequestRecord::blank(seq)
    }
}

/// A run of ten seconds from 1 s on, with what its own counter would have said of `records`.
fn run(records: &[RequestRecord]) -> CellRun {
    let mut chunk_gaps = hdrhistogram::Histogram::new_with_bounds(1, 3_600_000_000, 3).unwrap();
    chunk_gaps.record_n(10_000, 4 * records.len().max(1) as u64).unwrap();
    let window = Window { start_us: 1_000_000, end_us: 11_000_000, ended_by: EndedBy::Duration };
    let mut timeline: Vec<Tick> = (0..120).map(|i| Tick { t_us: i * TICK_US, ..Tick::default() }).collect();
    let mut area = 0;
    for r in records {
        let (Some(sent), Some(end)) = (r.sent_us, r.end_us) else { continue };
        area += end.min(window.end_us).saturating_sub(sent);
        for tick in &mut timeline {
            tick.in_flight += u32::from((sent..end).contains(&(tick.t_us + TICK_US - 1)));
            tick.due += u32::from((tick.t_us..tick.t_us + TICK_US).contains(&r.intended_us));
            tick.completed += u32::from((tick.t_us..tick.t_us + TICK_US).contains(&end));
        }
    }
    CellRun {
        epoch_monotonic_ns: 0,
        started_at: jiff::Timestamp::UNIX_EPOCH,
        ended_at: jiff::Timestamp::UNIX_EPOCH,
        stages: Vec::new(),
        window,
        planned: Some(records.len() as u64),
        in_flight_mean: Some(area as f64 / 1e7),
        timeline,
        chunk_gaps,
        foreign_chunks_in_window: 0,
        client: ClientHealth {
            core_cpu: vec![0.2, 0.3],
            timer_overshoot_p99_us: vec![200, 300],
            longest_stall_us: vec![2_000, 3_000],
            throttled_us: Some(0),
            wall_step_us: Some(12),
            suspended_us: Some(0),
            held_reports: 0,
            body_waits: 0,
            core_chunks_per_s: vec![100.0, 300.0],
            core_requests_per_s: vec![10.0, 30.0],
            ceiling: None,
            ..ClientHealth::default()
        },
        lost_records: None,
        observed: None,
    }
}

fn summed(cell: &Cell, run: &CellRun, records: &[RequestRecord]) -> CellSummary {
    summarise(cell, run, records.iter().cloned())
}

fn fired(summary: &CellSummary) -> Vec<(&str, Verdict)> {
    summary.validity.reasons.iter().map(|r| (r.signal.as_str(), r.verdict)).collect()
}

#[test]
fn a_quiet_cell_by_hand() {
    let records: Vec<_> = (0..200).map(good).collect();
    let s = summed(&open(), &run(&records), &records);
    for (metric, want) in [
        ("ttft", 100.0),
        ("ttfv", 110.0),
        ("tpot", 10.0),
        ("e2e", 140.0),
        ("ttft_service", 99.0),
        ("e2e_service", 139.0),
        ("second_chunk_gap", 10.0),
        ("max_gap", 10.0),
        ("normalised_latency", 28.0),
        ("user_tps", 100.0),
        ("lag", 1.0),
        ("output_length", 5.0),
        ("prompt_length", 8.0),
    ] {
        let d = s.distributions[metric];
        assert_eq!(d.n, 200, "{metric}");
        assert!((d.p50 - want).abs() < 1e-9 && (d.mean - want).abs() < 1e-9, "{metric}: {d:?}");
    }
    assert!((s.distributions["chunk_gap"].p50 - 10.0).abs() < 0.01);
    // The last two end after the window: arrivals at 10.90 and 10.95 s, answers 141 ms later.
    for (metric, want) in [
        ("offered_rps", 20.0),
        ("sent_rps", 20.0),
        ("completed_rps", 19.8),
        ("output_tps", 100.0),
        ("goodput_rps", 19.8),
        ("attainment", 1.0),
        ("error_rate", 0.0),
        ("in_flight_max", 3.0),
    ] {
        assert!((s.scalars[metric] - want).abs() < 1e-9, "{metric}: {}", s.scalars[metric]);
    }
    assert_eq!(s.counts.in_flight_at_end, 2);
    assert_eq!((s.tokens.output, s.tokens.prompt, s.tokens.cached), (1000, 1600, None));
    assert_eq!(s.validity.verdict, Verdict::Valid, "{:?}", s.validity.reasons);
    assert!(s.validity.signals.len() >= 10, "{:?}", s.validity.signals);
}

#[test]
fn every_outcome_is_counted_once() {
    let mut records: Vec<_> = (0..200).map(good).collect();
    for (i, outcome) in Outcome::ALL.into_iter().enumerate() {
        records[i].outcome = outcome;
        if outcome == Outcome::Dropped {
            records[i].sent_us = None;
        }
        if outcome.is_failure() {
            records[i].error_class = Some("x".to_owned());
        }
    }
    let mut early = good(900);
    early.phase = Phase::Warmup;
    records.push(early);
    let s = summed(&open(), &run(&records), &records);
    let c = &s.counts;
    assert_eq!((c.attempted, c.ok, c.failed, c.dropped, c.censored), (200, 191, 6, 1, 1));
    assert_eq!(c.cancelled, 1);
    assert_eq!((c.sent, c.before_window, c.errors["x"]), (199, 1, 6));
    assert_eq!(s.distributions["ttft"].n, 191);
    // Of 199: one was cut off on purpose.
    assert_eq!(s.scalars["error_rate"], 6.0 / 199.0);
    assert_eq!(s.scalars["attainment"], 191.0 / 199.0);
}

#[test]
fn limits_of_requests_decide_goodput() {
    let mut cell = open();
    let limit = |metric: &str, limit_ms| RequestLimit { metric: metric.to_owned(), limit_ms };
    cell.settings.slo.request = vec![limit("ttft", 100.0), limit("tpot", 9.0)];
    let mut records: Vec<_> = (0..10).map(good).collect();
    let attained =
        |cell: &Cell, records: &[RequestRecord]| summed(cell, &run(records), records).scalars["attainment"];
    assert_eq!(attained(&cell, &records), 0.0);
    // One token has no TPOT and passes; no first token has no TTFT and does not.
    records[0].output_tokens = Some(1);
    assert_eq!(attained(&cell, &records), 0.1);
    records[0].first_token_us = None;
    assert_eq!(attained(&cell, &records), 0.0);
    cell.settings.slo.request = vec![limit("e2e", 140.0)];
    assert_eq!(attained(&cell, &records), 1.0);
}

#[test]
fn chunks_stand_for_their_tokens_and_for_their_place() {
    let mut records: Vec<_> = (0..2).map(good).collect();
    // Ten tokens in five chunks, two of them in the window; the other was due before it.
    records[0].output_tokens = Some(10);
    records[0].chunks_in_window = 2;
    records[1].phase = Phase::Warmup;
    records[1].chunks_in_window = 3;
    let s = summed(&open(), &run(&records), &records);
    assert!((s.scalars["output_tps"] - (4.0 + 3.0) / 10.0).abs() < 1e-12);
    assert_eq!(s.counts.attempted, 1);
}

#[test]
fn tokens_that_nobody_knows_are_no_rate_of_0() {
    // As of a server that answers in one piece and counts nothing.
    let untold = |r: &mut RequestRecord| {
        (r.first_token_us, r.first_visible_us, r.second_chunk_us) = (None, None, None);
        (r.output_tokens, r.token_source, r.chunks, r.chunks_in_window) = (None, None, 1, 1);
    };
    let mut records: Vec<_> = (0..20).map(good).collect();
    records.iter_mut().for_each(untold);
    let s = summed(&open(), &run(&records), &records);
    for unknown in ["output_tps", "whole_run_output_tps"] {
        assert!(!s.scalars.contains_key(unknown), "{unknown}: {:?}", s.scalars);
    }
    assert_eq!(s.scalars["completed_rps"], 2.0);
    // What is known of some is told.
    records[0] = good(0);
    let s = summed(&open(), &run(&records), &records);
    assert_eq!(s.scalars["output_tps"], 0.5);
    // Where nothing was answered, nothing was put out.
    let s = summed(&open(), &run(&[]), &[]);
    assert_eq!(s.scalars["output_tps"], 0.0);
}

#[test]
fn answers_that_came_in_a_single_read_are_told() {
    let of = |n: usize, change: &dyn Fn(&mut RequestRecord)| {
        let mut records: Vec<_> = (0..100).map(good).collect();
        for r in records.iter_mut().take(n) {
            (r.first_token_us, r.second_chunk_us) = (r.last_token_us, r.last_token_us);
            change(r);
        }
        summed(&open(), &run(&records), &records)
    };
    let share = |s: &CellSummary| s.validity.signals.get("single_read").copied();
    let told = |s: &CellSummary| fired(s).contains(&("single_read", Verdict::Warn));
    let s = of(6, &|_| {});
    assert!(told(&s), "{:?}", s.validity);
    let words = &s.validity.reasons.iter().find(|r| r.signal == "single_read").unwrap().text;
    assert!(words.starts_with("6 % of the answers came in a single read"), "{words}");
    // As many as may be.
    let s = of(5, &|_| {});
    assert_eq!((share(&s), told(&s)), (Some(0.05), false));
    // Of one chunk, of one token or of a failure it says nothing.
    for change in [
        &(|r: &mut RequestRecord| r.chunks = 1) as &dyn Fn(&mut RequestRecord),
        &|r| r.output_tokens = Some(1),
        &|r| r.outcome = Outcome::Truncated,
    ] {
        assert_eq!(share(&of(50, change)), Some(0.0));
        assert_eq!(share(&of(100, change)), None);
    }
}

#[test]
fn a_load_core_is_not_judged_by_a_blink() {
    let cores = ["busiest_core", "chunk_rate", "request_rate"];
    let records: Vec<_> = (0..2).map(good).collect();
    let of = |window_us: u64| {
        let mut run = run(&records);
        run.window.end_us = run.window.start_us + window_us;
        run.client.core_cpu = vec![0.99];
        run.client.ceiling = Some(Ceiling { chunks_per_s: 1.0, requests_per_s: 1.0 });
        let s = summed(&open(), &run, &records);
        cores.map(|signal| s.validity.signals.contains_key(signal))
    };
    assert_eq!(of(999_999), [false; 3]);
    assert_eq!(of(1_000_000), [true; 3]);
}

#[test]
fn nothing_is_none_and_not_zero() {
    let s = summed(&open(), &run(&[]), &[]);
    assert!(!s.distributions.contains_key("ttft"));
    assert!(!s.scalars.contains_key("error_rate") && !s.scalars.contains_key("attainment"));
    assert_eq!(fired(&s), [("nothing_due", Verdict::Invalid)]);
    let mut empty = run(&[]);
    empty.window.end_us = empty.window.start_us;
    assert!(summed(&open(), &empty, &[]).scalars.is_empty());
}

#[test]
fn a_few_retries_are_told_by_the_counts_alone() {
    let retried = |n: usize, of: u64| {
        let mut records: Vec<_> = (0..of).map(good).collect();
        records.iter_mut().take(n).for_each(|r| r.retries = 1);
        summed(&open(), &run(&records), &records)
    };
    // Two load cores: below ten of each a server that closes every connection may be the cause.
    let s = retried(19, 200);
    assert_eq!((s.counts.retries, s.validity.signals.get("retries")), (19, None));
    // As many as may be, of more requests than they matter for.
    let s = retried(20, 2_000);
    assert_eq!(s.validity.signals.get("retries"), Some(&0.01));
    assert!(!fired(&s).iter().any(|(signal, _)| *signal == "retries"), "{:?}", s.validity.reasons);
}

#[test]
fn each_signal_fires_past_its_limit() {
    let records: Vec<_> = (0..200).map(good).collect();
    let check = |change: &dyn Fn(&mut CellRun, &mut Vec<RequestRecord>), want: (&str, Verdict)| {
        let (mut run, mut records) = (run(&records), records.clone());
        change(&mut run, &mut records);
        let s = summed(&open(), &run, &records);
        assert!(fired(&s).contains(&want), "{want:?} not in {:?}", s.validity.reasons);
        assert!(s.validity.verdict >= want.1);
        assert!(s.validity.signals.keys().all(|name| validity::SIGNALS.iter().any(|s| s.name == name)));
        assert!(s.validity.signals.contains_key(want.0));
    };
    check(&|run, _| run.planned = Some(202), ("sent_off_plan", Verdict::Warn));
    check(
        &|_, records| records.iter_mut().for_each(|r| r.outcome = Outcome::Timeout),
        ("nothing_answered", Verdict::Invalid),
    );
    check(&|run, _| run.planned = Some(210), ("sent_off_plan", Verdict::Invalid));
    check(&|run, _| run.client.core_cpu[0] = 0.8, ("busiest_core", Verdict::Warn));
    check(&|run, _| run.client.core_cpu[1] = 0.95, ("busiest_core", Verdict::Invalid));
    let ceiling = |chunks_per_s, requests_per_s| Some(Ceiling { chunks_per_s, requests_per_s });
    check(&|run, _| run.client.ceiling = ceiling(590.0, 1e9), ("chunk_rate", Verdict::Warn));
    check(&|run, _| run.client.ceiling = ceiling(370.0, 1e9), ("chunk_rate", Verdict::Invalid));
    check(&|run, _| run.client.ceiling = ceiling(1e9, 59.0), ("request_rate", Verdict::Warn));
    check(&|run, _| run.client.ceiling = ceiling(1e9, 37.0), ("request_rate", Verdict::Invalid));
    check(&|run, _| run.client.timer_overshoot_p99_us[0] = 6_000, ("timer_overshoot_p99_ms", Verdict::Warn));
    check(
        &|run, _| run.client.timer_overshoot_p99_us[0] = 26_000,
        ("timer_overshoot_p99_ms", Verdict::Invalid),
    );
    check(&|run, _| run.client.longest_stall_us[1] = 101_000, ("longest_stall_ms", Verdict::Warn));
    check(&|run, _| run.client.longest_stall_us[0] = 201_000, ("longest_stall_ms", Verdict::Invalid));
    check(&|run, _| run.client.wall_step_us = Some(51_000), ("wall_step_ms", Verdict::Warn));
    check(&|run, _| run.client.suspended_us = Some(11_000), ("suspended_ms", Verdict::Invalid));
    check(&|run, _| run.client.throttled_us = Some(1), ("throttled_ms", Verdict::Invalid));
    check(&|run, _| run.lost_records = Some((3, "full".to_owned())), ("lost_records", Verdict::Invalid));
    check(&|run, _| run.in_flight_mean = Some(4.0), ("little", Verdict::Invalid));
    check(&|run, _| run.window.ended_by = EndedBy::Interrupt, ("interrupted", Verdict::Invalid));
    check(&|run, _| run.window.ended_by = EndedBy::Unanswered, ("unanswered", Verdict::Warn));
    let worker =
        |run: &mut CellRun| run.client.core_worker = vec!["a:1".to_owned(); run.client.core_cpu.len()];
    check(
        &|run, _| run.client.lost_workers = vec!["a:1: it hung up".to_owned()],
        ("workers_lost", Verdict::Invalid),
    );
    let doubt = |us: u64| {
        move |run: &mut CellRun, _: &mut Vec<RequestRecord>| {
            worker(run);
            run.client.clock_doubt_us = Some(us);
        }
    };
    check(&doubt(12_000), ("clock_doubt_ms", Verdict::Warn));
    check(&doubt(60_000), ("clock_doubt_ms", Verdict::Invalid));
    check(&|_, records| records[0].cap_blocked = true, ("cap_blocked", Verdict::Warn));
    check(&|_, records| records[0].prompt_tokens = Some(9), ("prompt_mismatch", Verdict::Warn));
    check(
        &|_, records| records[0].token_source = Some(TokenSource::Chunks),
        ("tokens_guessed", Verdict::Warn),
    );
    check(&|_, records| records.iter_mut().take(20).for_each(|r| r.retries = 1), ("retries", Verdict::Warn));
    let late = |us: u64| {
        move |_: &mut CellRun, records: &mut Vec<RequestRecord>| {
            for r in records.iter_mut().take(5) {
                r.sent_us = Some(r.intended_us + us);
            }
        }
    };
    check(&late(15_000), ("lag_p99_ms", Verdict::Warn));
    check(&late(60_000), ("lag_p99_ms", Verdict::Invalid));
    check(
        &|_, records| {
            for (r, i) in records.iter_mut().zip(0..) {
                r.sent_us = Some(r.intended_us + i * 100);
            }
        },
        ("lag_growth_ms_per_s", Verdict::Invalid),
    );
    check(
        &|_, records| {
            for r in records.iter_mut().take(3) {
                r.outcome = Outcome::Censored;
                r.end_us = None;
            }
        },
        ("censored", Verdict::Warn),
    );
}

#[test]
fn an_open_loop_that_piles_up_is_overloaded_and_a_closed_one_is_not() {
    // Each answer takes 40 ms longer than the one before: a queue that grows by the second.
    let records: Vec<_> = (0..200)
        .map(|seq| {
            let mut r = good(seq);
            r.last_token_us = Some(r.intended_us + 140_000 + seq * 40_000);
            r.end_us = r.last_token_us;
            r
        })
        .collect();
    let run = run(&records);
    let s = summed(&open(), &run, &records);
    assert!(fired(&s).contains(&("overload", Verdict::Warn)), "{:?}", s.validity);
    let reason = s.validity.reasons.iter().find(|r| r.signal == "overload").unwrap();
    assert!(reason.text.contains("depend on how long"), "{}", reason.text);
    assert!(s.validity.signals["completed_of_due_last_half"] < 0.8);
    assert!(
        !fired(&summed(&cell(Load::Closed { users: 8 }), &run, &records)).iter().any(|f| f.0 == "overload")
    );
    // Stages of one level are no excuse; levels that change by plan are, and so are bursts.
    let mut staged = open();
    let stage = |level| crate::experiment::Stage {
        name: format!("at {level}"),
        duration: Duration::from_secs(5),
        ramp: Duration::ZERO,
        level,
        slo: Slo::default(),
        recovers: None,
    };
    staged.settings.stages = vec![stage(20.0), stage(20.0)];
    assert!(fired(&summed(&staged, &run, &records)).contains(&("overload", Verdict::Warn)));
    staged.settings.stages[1].level = 30.0;
    let burst = cell(Load::Open { qps: 20.0, arrivals: Arrivals::Burst { size: 4 }, max_in_flight: None });
    for cell in [staged, burst] {
        let signals = summed(&cell, &run, &records).validity.signals;
        assert!(!signals.contains_key("overload") && signals.contains_key("little"), "{signals:?}");
    }
}

#[test]
fn a_stall_weighs_by_the_window_it_is_in() {
    let records: Vec<_> = (0..200).map(good).collect();
    let mut run = run(&records);
    run.client.longest_stall_us[0] = 300_000;
    let verdict = |run: &CellRun| fired(&summed(&open(), run, &records))[0].1;
    assert_eq!(verdict(&run), Verdict::Invalid);
    // 300 ms are 3 % of ten seconds, and 0.5 % of a minute.
    run.window.end_us = 61_000_000;
    let s = summed(&open(), &run, &records);
    assert!(fired(&s).contains(&("longest_stall_ms", Verdict::Warn)), "{:?}", s.validity);
}

#[test]
fn a_window_of_which_half_is_a_beginning_is_not_steady() {
    // Each answer begins 3 ms later than the one before.
    let records: Vec<_> = (0..200)
        .map(|seq| {
            let mut r = good(seq);
            r.first_token_us = Some(r.intended_us + 100_000 + seq * 3_000);
            r.last_token_us = Some(r.intended_us + 140_000 + seq * 3_000);
            r.end_us = r.last_token_us;
            r
        })
        .collect();
    let s = summed(&cell(Load::Closed { users: 8 }), &run(&records), &records);
    assert!(fired(&s).contains(&("not_steady", Verdict::Warn)), "{:?}", s.validity);
    assert!((4.5..=5.5).contains(&s.validity.signals["mser_cut_s"]), "{:?}", s.validity);
}

#[test]
fn a_few_more_in_flight_at_the_end_are_no_overload() {
    // The same slope share, but of a pile that chance arrivals make as well.
    let records: Vec<_> = (0..200)
        .map(|seq| {
            let mut r = good(seq);
            r.last_token_us = Some(r.intended_us + 140_000 + seq * 1_500);
            r.end_us = r.last_token_us;
            r
        })
        .collect();
    let s = summed(&open(), &run(&records), &records);
    assert!(!fired(&s).iter().any(|f| f.0 == "overload"), "{:?}", s.validity);
}

#[test]
fn a_warm_up_shorter_than_an_answer_is_told() {
    let records: Vec<_> = (0..200)
        .map(|seq| {
            let mut r = good(seq);
            r.last_token_us = Some(r.intended_us + 60_000_000);
            r.end_us = r.last_token_us;
            r
        })
        .collect();
    let s = summed(&open(), &run(&records), &records);
    assert!(fired(&s).contains(&("e2e_per_warmup", Verdict::Warn)), "{:?}", s.validity);
}

#[test]
fn a_cap_explains_its_own_lag() {
    let mut records: Vec<_> = (0..200).map(good).collect();
    for r in records.iter_mut().take(100) {
        r.sent_us = Some(r.intended_us + 99_000);
        r.cap_blocked = true;
    }
    let s = summed(&open(), &run(&records), &records);
    assert!(s.semi_open);
    // In flight differs between the halves as well, and truly so.
    assert_eq!(fired(&s), [("cap_blocked", Verdict::Warn), ("not_steady", Verdict::Warn)]);
    assert!(s.distributions["lag"].p90 > 98.0, "reported all the same");
}

#[test]
fn the_workload_hash_is_of_what_was_asked_and_nothing_else() {
    let records: Vec<_> = (0..20).map(good).collect();
    let hash = |cell: &Cell, records: &[RequestRecord]| summed(cell, &run(records), records).workload_hash;
    let base = hash(&open(), &records);
    assert_eq!(base.len(), 16);
    let mut changed = records.clone();
    changed.reverse();
    changed[3].sent_us = None;
    changed[3].output_tokens = Some(99);
    assert_eq!(hash(&open(), &changed), base, "neither order nor answers matter");
    changed[3].max_tokens = 6;
    assert_ne!(hash(&open(), &changed), base);
    // A closed loop is known by the first request of each user.
    let closed = cell(Load::Closed { users: 4 });
    let few = hash(&closed, &records[..4]);
    assert_eq!(hash(&closed, &records), few);
    assert_ne!(hash(&cell(Load::Closed { users: 5 }), &records), few);
}

#[test]
fn summaries_survive_their_file() {
    let records: Vec<_> = (0..20).map(good).collect();
    let s = summed(&open(), &run(&records), &records);
    let text = serde_json::to_string(&s).unwrap();
    let back: CellSummary = serde_json::from_str(&text).unwrap();
    assert_eq!((&back.counts, &back.tokens, back.window), (&s.counts, &s.tokens, s.window));
    assert_eq!(back.validity.signals.len(), s.validity.signals.len());
    // The reader of JSON may miss a float's last bit.
    assert_eq!(back.scalars.len(), s.scalars.len());
    for (name, value) in &s.scalars {
        assert!((back.scalars[name] - value).abs() <= 1e-12 * value.abs(), "{name}");
    }
    for (name, d) in &s.distributions {
        for stat in crate::metrics::STATS {
            let (a, b) = (d.stat(stat).unwrap(), back.value(name, stat).unwrap());
            assert!((a - b).abs() <= 1e-12 * a.abs(), "{name} {stat}");
        }
    }
}

#[test]
fn of_request_knows_every_distribution_but_the_pooled_one() {
    for m in crate::metrics::METRICS.iter().filter(|m| m.kind == crate::metrics::Kind::Distribution) {
        assert_eq!(of_request(m.name, &good(0)).is_some(), m.name != "chunk_gap", "{}", m.name);
    }
    assert_eq!(of_request("nonsense", &good(0)), None);
}

#[test]
fn each_class_of_failure_keeps_its_first_words() {
    let records: Vec<_> = (0..200)
        .map(|seq| {
            let mut r = good(seq);
            if seq >= 190 {
                r.outcome = Outcome::HttpError;
                r.error_class = Some("4xx".to_owned());
                r.detail = Some(format!("refused number {seq}"));
            }
            r
        })
        .collect();
    let s = summed(&open(), &run(&records), &records);
    assert_eq!(s.counts.errors["4xx"], 10);
    assert_eq!(s.counts.error_words["4xx"], "refused number 190");
    assert_eq!(s.counts.ok + s.counts.failed, s.counts.attempted);
}

/// Latencies with some spread, up to 64 at a time, in the order of their ends.
fn many(seq: u64) -> RequestRecord {
    let mut r = good(seq);
    let spread = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44;
    r.intended_us = 1_000_000 + seq * 10;
    r.sent_us = Some(r.intended_us + spread % 900);
    r.first_token_us = Some(r.intended_us + 1_000 + spread % 50_000);
    r.second_chunk_us = Some(r.intended_us + 60_000 + spread % 7_000);
    r.last_token_us = Some(r.intended_us + 80_000 + spread % 100_000);
    r.end_us = r.last_token_us;
    r.max_gap_us = Some(10_000 + spread % 1_000);
    r.prompt_tokens = Some(100 + (spread % 64) as u32);
    r.output_tokens = Some(5 + (spread % 3) as u32);
    r
}

#[test]
fn what_a_summary_holds_does_not_grow_with_the_requests() {
    let cell = open();
    let held = |n: u64| {
        let mut totals =
            totals::Totals::new(&cell.settings, totals::Scope::cell(&cell.settings), run(&[]).window);
        let mut most = 0;
        (0..n).for_each(|seq| totals.take(&many(seq)));
        let mut walks = 1;
        loop {
            most = most.max(totals.held_bytes());
            if !totals.end_walk() {
                return (most, walks);
            }
            (0..n).for_each(|seq| totals.take_again(&many(seq)));
            walks += 1;
        }
    };
    let ((few, once), (many, walks)) = (held(30_000), held(600_000));
    assert_eq!(once, 1, "a small cell is walked once");
    assert!(walks <= 4, "{walks} walks");
    assert!(many <= few + few / 5, "{few} bytes of 30,000 requests, {many} of 600,000");
}

#[test]
fn walks_give_the_figures_of_all_samples_at_once() {
    let n = 40_000;
    let records: Vec<_> = (0..n).map(many).collect();
    let mut run = run(&[]);
    run.planned = Some(n);
    let s = summed(&open(), &run, &records);
    for metric in samples::PER_REQUEST {
        let mut all: Vec<f64> = records.iter().filter_map(|r| of_request(metric, r)).collect();
        let mean = crate::stats::Moments::of(&all).mean().unwrap();
        all.sort_unstable_by(f64::total_cmp);
        let d = s.distributions[metric];
        assert_eq!((d.n, d.mean, d.min, d.max), (n, mean, all[0], all[all.len() - 1]), "{metric}");
        for (stat, q) in [("p50", 0.5), ("p75", 0.75), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999)] {
            assert_eq!(d.stat(stat), crate::stats::quantile(&all, q), "{metric} {stat}");
        }
    }
    let mut lags: Vec<f64> = records.iter().filter_map(|r| of_request("lag", r)).collect();
    lags.sort_unstable_by(f64::total_cmp);
    assert_eq!(s.validity.signals["lag_p99_ms"], crate::stats::quantile(&lags, 0.99).unwrap());
    let mut reversed = records;
    reversed.reverse();
    assert_eq!(summed(&open(), &run, &reversed).workload_hash, s.workload_hash);
}

#[test]
fn an_unreadable_record_ends_the_walk() {
    let walk = || Ok([Ok(good(0)), Err("torn")].into_iter());
    assert_eq!(summarise_walks(&open(), &run(&[]), walk).err(), Some("torn"));
}

#[path = "groups_tests.rs"]
mod groups;
