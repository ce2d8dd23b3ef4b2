//! Synthetic cells: a healthy one, and for each sign one that shows it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::analysis::RequestPoint;
use crate::experiment::SloRule;
use crate::measure::validity::{NOTHING_ANSWERED_NAME, SIGNALS};
use crate::measure::{Counts, Distribution, Drift, OVERLOAD, Reason, TokenCounts, Validity};
use crate::plan::CellId;
use crate::record::{EndedBy, Outcome, RequestRecord, TICK_US, Tick, Window};
use crate::store::tests::{cell as blank_cell, summary as blank_summary};

fn distribution(p50: f64, p95: f64) -> Distribution {
    let (n, std) = (300, p50 / 10.0);
    Distribution {
        n,
        mean: p50,
        std,
        min: p50 / 2.0,
        p50,
        p75: p50,
        p90: p95,
        p95,
        p99: p95,
        p999: p95,
        max: p95,
    }
}

/// What a synthetic server does at one level of load.
#[derive(Clone, Copy)]
struct Level {
    users: u32,
    rps: f64,
    ttft: f64,
    tpot: f64,
}

const CALM: Level = Level { users: 4, rps: 8.0, ttft: 100.0, tpot: 10.0 };

/// A little up and down, the same in every run.
fn wave(i: u64, size: f64) -> f64 {
    1.0 + size * (i as f64 * 1.7).sin()
}

/// A closed-loop cell of 30 s in which nothing changes.
fn steady(index: u32, level: Level) -> CellData {
    let mut cell = blank_cell(index);
    cell.id = CellId(format!("cell-{index}"));
    cell.repeat = 1;
    cell.factors.insert("load.users".into(), json!(level.users));
    cell.factors.insert("load.qps".into(), Value::Null);
    cell.varying = vec!["load.users".into()];
    let e2e = level.ttft + 40.0 * level.tpot;
    let attempted = (level.rps * 30.0) as u64;
    let mut summary = blank_summary(index);
    summary.window = Window { start_us: 2_000_000, end_us: 32_000_000, ended_by: EndedBy::Duration };
    summary.counts =
        Counts { planned: attempted, attempted, sent: attempted, ok: attempted, ..Counts::default() };
    summary.distributions = BTreeMap::from([
        ("ttft".to_owned(), distribution(level.ttft, level.ttft * 1.3)),
        ("tpot".to_owned(), distribution(level.tpot, level.tpot * 1.1)),
        ("e2e".to_owned(), distribution(e2e, e2e * 1.2)),
        ("chunk_gap".to_owned(), distribution(level.tpot, level.tpot * 1.5)),
        ("max_gap".to_owned(), distribution(level.tpot * 2.0, level.tpot * 3.0)),
    ]);
    summary.scalars = BTreeMap::from([
        ("completed_rps".to_owned(), level.rps),
        ("in_flight_mean".to_owned(), f64::from(level.users)),
        ("error_rate".to_owned(), 0.0),
    ]);
    summary.tokens =
        TokenCounts { output: attempted * 40, max_tokens: attempted * 40, ..TokenCounts::default() };
    summary.validity = Validity { verdict: Verdict::Valid, reasons: Vec::new(), signals: BTreeMap::new() };
    summary.slo = Vec::new();
    let timeline = (0..340)
        .map(|i| Tick {
            t_us: i * TICK_US,
            in_flight: level.users,
            completed: (level.rps / 10.0 * wave(i, 0.2)).round() as u32,
            chunks: (level.rps * 4.0 * wave(i, 0.2)).round() as u32,
            ..Tick::default()
        })
        .collect();
    let points = (0..300)
        .map(|i| RequestPoint {
            sent_s: 1.0 + i as f64 * 0.1,
            ttft_ms: Some(level.ttft * wave(i, 0.1)),
            tpot_ms: Some(level.tpot * wave(i, 0.05)),
            prompt_tokens: Some(128),
            ok: true,
            ..RequestPoint::default()
        })
        .collect();
    CellData {
        cell,
        summary: Some(summary),
        skipped: None,
        timeline,
        records: None,
        points,
        server: Vec::new(),
    }
}

/// A healthy cell.
pub(super) fn plain(index: u32) -> CellData {
    steady(index, CALM)
}

pub(super) fn run_of(cells: Vec<CellData>) -> RunData {
    RunData {
        search: None,
        path: "runs/x".into(),
        id: "x".into(),
        name: "x".into(),
        title: "x".into(),
        figures: None,
        environment: Value::Null,
        manifest: Value::Null,
        experiment: String::new(),
        cells,
        carries: std::sync::OnceLock::new(),
    }
}

/// What a sweep finds of a cell's drift: from its requests, each failing where `fails` says so.
fn read_drift(cell: &mut CellData, fails: impl Fn(usize, f64) -> bool) {
    let mut drift = Drift::new(summary_of(cell).window);
    let us = |ms: f64| (ms * 1e3) as u64;
    for (i, p) in cell.points.iter().enumerate() {
        let due = us(p.sent_s * 1e3);
        let first = due + us(p.ttft_ms.unwrap_or(0.0));
        let failed = fails(i, progress(p.sent_s));
        drift.take(&RequestRecord {
            intended_us: due,
            sent_us: Some(due),
            first_token_us: Some(first),
            last_token_us: Some(first + us(p.tpot_ms.unwrap_or(0.0) * 10.0)),
            output_tokens: Some(11),
            outcome: if failed { Outcome::Timeout } else { Outcome::Ok },
            ..RequestRecord::blank(i as u64)
        });
    }
    summary_of(cell).drift = drift.verdicts();
}

/// The calm cell with a change.
fn changed(change: impl FnOnce(&mut CellData)) -> RunData {
    let mut cell = steady(0, CALM);
    change(&mut cell);
    if summary_of(&mut cell).drift.is_empty() {
        read_drift(&mut cell, |_, _| false);
    }
    run_of(vec![cell])
}

fn summary_of(cell: &mut CellData) -> &mut CellSummary {
    cell.summary.as_mut().unwrap()
}

/// Codes of all findings that matter.
fn codes(run: &RunData) -> Vec<&'static str> {
    diagnose(run).iter().filter(|f| f.severity >= Severity::Warning).map(|f| f.kind.code).collect()
}

fn finding(run: &RunData, code: &str) -> Finding {
    let all = diagnose(run);
    all.iter().find(|f| f.kind.code == code).unwrap_or_else(|| panic!("no {code} in {all:#?}")).clone()
}

/// The window's course from 0 to 1.
fn progress(s: f64) -> f64 {
    ((s - 2.0) / 30.0).clamp(0.0, 1.0)
}

fn grow_ticks(cell: &mut CellData, change: impl Fn(&mut Tick, f64)) {
    for tick in &mut cell.timeline {
        let at = progress(tick.t_us as f64 / 1e6);
        change(tick, at);
    }
}

fn grow_points(cell: &mut CellData, change: impl Fn(&mut RequestPoint, f64)) {
    for point in &mut cell.points {
        let at = progress(point.sent_s);
        change(point, at);
    }
}

fn ladder(levels: &[(u32, f64, f64, f64)]) -> RunData {
    let level = |(users, rps, ttft, tpot): (u32, f64, f64, f64)| Level { users, rps, ttft, tpot };
    run_of(levels.iter().enumerate().map(|(i, l)| steady(i as u32, level(*l))).collect())
}

#[test]
fn a_healthy_run_gets_no_warning_and_is_called_so() {
    let calm = changed(|_| ());
    assert_eq!(codes(&calm), Vec::<&str>::new());
    let rising =
        ladder(&[(1, 3.0, 95.0, 9.5), (2, 5.9, 98.0, 9.8), (4, 11.5, 104.0, 10.3), (8, 22.0, 118.0, 11.0)]);
    assert_eq!(codes(&rising), Vec::<&str>::new());
    let text = finding(&rising, "healthy").evidence;
    assert!(text.contains("4 cells and repeats 1,272 requests ended well and 0 failed"), "{text}");
    let told: Vec<_> = diagnose(&rising).iter().map(|f| f.kind.code).collect();
    assert_eq!(told, ["common_limits", "healthy"]);
}

#[test]
fn a_run_of_nothing_is_not_called_healthy() {
    let mut cell = steady(0, CALM);
    cell.summary = None;
    assert_eq!(diagnose(&run_of(vec![cell])), Vec::new());
    assert_eq!(diagnose(&run_of(Vec::new())), Vec::new());
}

#[test]
fn what_missed_a_target_was_cut_short_or_comes_from_elsewhere_is_not_called_healthy() {
    let told = |run: &RunData| diagnose(run).iter().any(|f| f.kind.code == "healthy");
    let judged = |target: f64, limit: f64| {
        let rule = SloRule { metric: "ttft".into(), stat: "p95".into(), limit, target: Some(target) };
        changed(|cell| summary_of(cell).slo = vec![SloVerdict::judge(&rule, Some(300.0))])
    };
    assert!(told(&judged(400.0, 500.0)));
    assert!(!told(&judged(200.0, 500.0)) && !told(&judged(100.0, 200.0)));
    let mut cut = steady(1, CALM);
    cut.summary = None;
    assert!(!told(&run_of(vec![steady(0, CALM), cut])));
    let imported = changed(|cell| {
        let (signal, verdict, text) = (IMPORTED.to_owned(), Verdict::Warn, "of another tool".to_owned());
        summary_of(cell).validity.reasons.push(Reason { signal, verdict, text });
    });
    assert!(!told(&imported));
}

#[test]
fn beyond_the_knee_requests_only_wait() {
    let run =
        ladder(&[(1, 3.2, 10.0, 4.1), (8, 20.4, 41.0, 4.8), (24, 35.9, 91.0, 6.3), (64, 35.2, 1316.0, 6.3)]);
    let found = finding(&run, "saturated");
    assert_eq!((found.severity, found.cells.as_slice()), (Severity::Warning, &[3][..]));
    for part in [
        "From 24 users to 64 users",
        "from 35.9 to 35.2 a second",
        "91.0 to 1,316 ms",
        "At 1 user TTFT p50 is 10.0 ms",
    ] {
        assert!(found.evidence.contains(part), "{part}: {}", found.evidence);
    }
    // TPOT rises with what runs at once, and not beyond the knee.
    let tpot = finding(&run, "tpot_load");
    assert_eq!(tpot.severity, Severity::Info);
    assert!(tpot.evidence.contains("4.10 ms at 1 user to 6.30 ms at 24 users"), "{}", tpot.evidence);
    // The server's gauges would tell more.
    assert!(finding(&run, "server_gauges").evidence.contains("num_requests_waiting"));
}

#[test]
fn an_open_loop_is_saturated_where_it_falls_behind_what_is_offered() {
    let levels = [(4.0, 4.0, 100.0), (6.0, 5.1, 11_000.0), (14.0, 5.1, 23_000.0)];
    let cells = levels.iter().enumerate().map(|(i, (qps, rps, ttft))| {
        let mut cell = steady(i as u32, Level { users: 4, rps: *rps, ttft: *ttft, tpot: 20.0 });
        cell.cell.factors.insert("load.users".into(), Value::Null);
        cell.cell.factors.insert("load.qps".into(), json!(qps));
        cell.cell.varying = vec!["load.qps".into()];
        summary_of(&mut cell).scalars.insert("offered_rps".into(), *qps);
        cell
    });
    let run = run_of(cells.collect());
    let found = finding(&run, "saturated");
    assert!(found.evidence.starts_with("From 4 req/s to 14 req/s completed requests went from 4.00 to 5.10"));
    assert_eq!(found.cells, [1, 2]);
}

#[test]
fn a_rate_that_is_flat_without_waiting_is_no_queue() {
    let flat = ladder(&[(4, 8.0, 100.0, 10.0), (8, 8.1, 110.0, 10.0)]);
    assert!(!codes(&flat).contains(&"saturated"));
    let still_rising = ladder(&[(4, 8.0, 100.0, 10.0), (8, 15.0, 400.0, 10.0)]);
    assert!(!codes(&still_rising).contains(&"saturated"));
}

#[test]
fn a_queue_that_grows_over_the_cell_is_found() {
    let run = changed(|cell| {
        cell.cell.factors.insert("load.qps".into(), json!(12.0));
        cell.cell.factors.insert("load.users".into(), Value::Null);
        cell.cell.varying = vec!["load.qps".into()];
        grow_ticks(cell, |tick, at| tick.in_flight = 10 + (90.0 * at) as u32);
        grow_points(cell, |point, at| point.ttft_ms = Some(200.0 + 4000.0 * at));
    });
    let found = finding(&run, "queue_grows");
    assert!(found.evidence.contains("At 12 req/s requests in flight went from"), "{}", found.evidence);
    assert!(found.evidence.contains("is the wait for its first token"), "{}", found.evidence);
    assert!(!codes(&run).contains(&"ttft_grows"), "the queue says it");
    // By the cell's own mark alone.
    let marked = changed(|cell| {
        summary_of(cell).validity.add(OVERLOAD, Verdict::Warn, "overloaded: 9 % pile up".into());
    });
    assert!(codes(&marked).contains(&"queue_grows"));
    // More in flight, but nobody waits longer.
    let busier = changed(|cell| grow_ticks(cell, |tick, at| tick.in_flight = 10 + (90.0 * at) as u32));
    assert!(!codes(&busier).contains(&"queue_grows"));
}

#[test]
fn latencies_that_rise_over_the_cell_are_found_and_noise_is_not() {
    let ttft = changed(|cell| grow_points(cell, |p, at| p.ttft_ms = p.ttft_ms.map(|t| t * (1.0 + 2.0 * at))));
    assert_eq!(codes(&ttft), ["ttft_grows",]);
    let tpot = changed(|cell| grow_points(cell, |p, at| p.tpot_ms = p.tpot_ms.map(|t| t * (1.0 + at))));
    assert_eq!(codes(&tpot), ["tpot_grows"]);
    assert!(finding(&tpot, "tpot_grows").evidence.contains("At 4 users TPOT grew by "));
    let noise = changed(|cell| {
        for (i, p) in cell.points.iter_mut().enumerate() {
            p.ttft_ms = Some(100.0 * wave(i as u64 * 7, 0.9));
            p.tpot_ms = Some(10.0 * wave(i as u64 * 5, 0.9));
        }
    });
    assert_eq!(codes(&noise), Vec::<&str>::new());
    // A window of less than five seconds has no trend.
    let short = changed(|cell| {
        summary_of(cell).window.end_us = 5_000_000;
        grow_points(cell, |p, at| p.tpot_ms = p.tpot_ms.map(|t| t * (1.0 + 9.0 * at)));
    });
    assert_eq!(codes(&short), Vec::<&str>::new());
}

#[test]
fn throughput_that_falls_or_comes_in_bursts_is_found() {
    let falls =
        changed(|cell| grow_ticks(cell, |t, at| t.chunks = (f64::from(t.chunks) * (1.0 - 0.6 * at)) as u32));
    assert_eq!(codes(&falls), ["throughput_falls"]);
    let bursts = changed(|cell| {
        for tick in &mut cell.timeline {
            tick.chunks = if tick.t_us / 2_000_000 % 2 == 0 { 60 } else { 2 };
        }
    });
    assert_eq!(codes(&bursts), ["throughput_unsteady"]);
    // One short answer a second is uneven by chance.
    let rare = changed(|cell| {
        for (i, tick) in cell.timeline.iter_mut().enumerate() {
            let some = [0, 3, 9, 14, 22, 27].contains(&(i % 60));
            (tick.chunks, tick.completed) = if some { (200, 1) } else { (0, 0) };
        }
    });
    assert!(!codes(&rare).contains(&"throughput_unsteady"));
}

#[test]
fn failures_are_told_by_class_with_their_share() {
    let failing = |class: &str, n: u64| {
        changed(|cell| {
            let counts = &mut summary_of(cell).counts;
            (counts.ok, counts.failed) = (counts.ok - n, n);
            counts.errors.insert(class.to_owned(), n);
            counts.error_words.insert(class.to_owned(), "in its own words".to_owned());
        })
    };
    for (class, code) in [
        ("429", "refused"),
        ("503", "unavailable"),
        ("5xx", "server_errors"),
        ("server_error", "server_errors"),
        ("4xx", "bad_requests"),
        ("timeout_first_token", "timeouts"),
        ("connect", "connections"),
        ("reset", "connections"),
        ("truncated", "broken_answers"),
        ("bad_stream", "broken_answers"),
    ] {
        assert_eq!(codes(&failing(class, 12)), [code], "{class}");
        let found = finding(&failing(class, 12), code);
        let part = format!(
            "At 4 users 12 of 240 requests (5.00 %) failed so: 12 × {class}, first with “in its own words”."
        );
        assert_eq!((found.severity, found.evidence), (Severity::Warning, part));
    }
    assert_eq!(finding(&failing("429", 1), "refused").severity, Severity::Info);
    assert_eq!(finding(&failing("429", 60), "refused").severity, Severity::Fail);
}

#[test]
fn failures_of_a_cell_without_an_answer_are_told_though_it_is_invalid() {
    let run = changed(|cell| {
        let summary = summary_of(cell);
        (summary.counts.ok, summary.counts.failed) = (0, 240);
        summary.counts.errors.insert("connect".to_owned(), 240);
        summary.validity.add(NOTHING_ANSWERED_NAME, Verdict::Invalid, "no request was answered".into());
    });
    assert_eq!(codes(&run), ["connections"]);
}

#[test]
fn of_a_cell_with_a_late_client_only_the_servers_own_words_count() {
    let run = changed(|cell| {
        let summary = summary_of(cell);
        summary.counts.errors.insert("503".to_owned(), 30);
        summary.counts.errors.insert("timeout_total".to_owned(), 30);
        summary.validity.add("lag_p99_ms", Verdict::Invalid, "this client sent late".into());
    });
    assert_eq!(codes(&run), ["client_limit", "unavailable"]);
}

#[test]
fn late_timers_have_other_programs_for_a_likely_cause() {
    let of = |signal: &str| {
        let reason =
            Reason { signal: signal.to_owned(), verdict: Verdict::Warn, text: "it is late".to_owned() };
        finding(&changed(|cell| summary_of(cell).validity.reasons.push(reason)), "client_limit").evidence
    };
    let words = "Other programs on this machine are a likely cause.";
    assert!(of("timer_overshoot_p99_ms").ends_with(words) && !of("throttled_ms").contains(words));
}

#[test]
fn failures_that_become_more_are_found() {
    let growing = changed(|cell| read_drift(cell, |i, at| i % 4 == 0 && at > 0.5));
    assert_eq!(codes(&growing), ["errors_grow"]);
    let text = finding(&growing, "errors_grow").evidence;
    assert!(
        text.starts_with("At 4 users the error rate grew by 3") && text.contains("percentage points"),
        "{text}"
    );
    let even = changed(|cell| read_drift(cell, |i, _| i.is_multiple_of(10)));
    assert_eq!(codes(&even), Vec::<&str>::new());
}

#[test]
fn what_is_high_at_the_lowest_load_is_told_from_what_load_makes_high() {
    let always = ladder(&[(1, 0.2, 3000.0, 150.0), (2, 0.4, 3100.0, 155.0)]);
    let found = codes(&always);
    assert!(found.contains(&"ttft_always") && found.contains(&"tpot_always"), "{found:?}");
    assert!(!found.contains(&"ttft_load"));
    let under_load = ladder(&[(1, 2.0, 100.0, 20.0), (8, 9.0, 900.0, 60.0), (32, 20.0, 2600.0, 140.0)]);
    let found = codes(&under_load);
    assert!(found.contains(&"ttft_load") && found.contains(&"tpot_load"), "{found:?}");
    assert!(!found.contains(&"ttft_always") && !found.contains(&"tpot_always"), "{found:?}");
    let text = finding(&under_load, "ttft_load").evidence;
    assert!(text.contains("100 ms at the median and 130 ms at p95 at 1 user"), "{text}");
    // With 16 others beside it nothing can be said of the request alone.
    let crowded = ladder(&[(16, 3.0, 3000.0, 150.0)]);
    assert!(!codes(&crowded).contains(&"ttft_always"));
}

#[test]
fn the_slope_over_prompts_is_given_per_thousand_tokens() {
    let cells = [(128, 40.0), (1128, 140.0), (2128, 240.0)].iter().enumerate().map(|(i, (prompt, ttft))| {
        let mut cell = steady(i as u32, Level { ttft: *ttft, ..CALM });
        cell.cell.factors.insert("workload.prompt_tokens".into(), json!(prompt));
        cell.cell.varying = vec!["workload.prompt_tokens".into()];
        cell
    });
    let found = finding(&run_of(cells.collect()), "prefill");
    assert_eq!(found.severity, Severity::Info, "nothing is beyond a limit");
    assert!(found.evidence.contains("about 100 ms for each 1,000 tokens"), "{}", found.evidence);
    // And within one cell.
    let mixed = changed(|cell| {
        for (i, p) in cell.points.iter_mut().enumerate() {
            let tokens = 100 + (i as u32 * 37) % 2000;
            p.prompt_tokens = Some(tokens);
            p.ttft_ms = Some(20.0 + f64::from(tokens) / 10.0);
        }
    });
    assert!(finding(&mixed, "prefill").evidence.contains("100 ms for each 1,000 tokens"));
    assert!(diagnose(&changed(|_| ())).iter().all(|f| f.kind.code != "prefill"));
}

#[test]
fn a_first_request_that_loads_the_model_is_found() {
    let cold = |sent_s: f64| {
        changed(|cell| {
            cell.points[0].ttft_ms = Some(4000.0);
            cell.points[0].sent_s = sent_s;
        })
    };
    let found = finding(&cold(1.0), "first_request");
    assert_eq!(found.severity, Severity::Info, "the warm-up took it in");
    assert!(found.evidence.contains("waited 4,000 ms"), "{}", found.evidence);
    assert_eq!(finding(&cold(2.0), "first_request").severity, Severity::Warning);
    let slow_at_times = changed(|cell| {
        cell.points[0].ttft_ms = Some(4000.0);
        cell.points[250].ttft_ms = Some(3900.0);
    });
    assert!(diagnose(&slow_at_times).iter().all(|f| f.kind.code != "first_request"));
}

#[test]
fn stalls_retries_and_lengths() {
    let gap = |p99: f64, own: f64| {
        changed(|cell| {
            let summary = summary_of(cell);
            summary.distributions.insert("max_gap".into(), distribution(20.0, p99));
            summary.validity.signals.insert("longest_stall_ms".into(), own);
        })
    };
    assert_eq!(codes(&gap(900.0, 5.0)), ["stalls"]);
    assert_eq!(codes(&gap(200.0, 5.0)), Vec::<&str>::new(), "nobody notices");
    assert_eq!(codes(&gap(900.0, 700.0)), Vec::<&str>::new(), "this client stood still itself");
    let retried = changed(|cell| {
        let summary = summary_of(cell);
        summary.counts.retries = 30;
        summary.validity.add("retries", Verdict::Warn, "12.5 % were sent a second time".into());
    });
    assert_eq!(codes(&retried), ["retries"]);
    let short = changed(|cell| {
        let tokens = &mut summary_of(cell).tokens;
        (tokens.output, tokens.output_mismatches) = (tokens.max_tokens / 2, 240);
    });
    let found = finding(&short, "short_answers");
    assert!(found.evidence.contains("20.0 tokens on average instead of 40.0"), "{}", found.evidence);
    assert_eq!(found.severity, Severity::Info);
}

#[test]
fn the_server_is_not_blamed_for_what_the_client_did() {
    let knee = [(1, 3.2, 10.0, 4.1), (24, 35.9, 91.0, 6.3), (64, 35.2, 1316.0, 6.3)];
    let late = |verdict, lag: f64| {
        let mut run = ladder(&knee);
        let validity = &mut run.cells[2].summary.as_mut().unwrap().validity;
        validity.add("lag_p99_ms", verdict, "this client sent late".into());
        validity.signals.insert("lag_p99_ms".into(), lag);
        run
    };
    // Beside the figures, which are what they are.
    let codes = |run: &RunData| -> Vec<&str> {
        codes(run).into_iter().filter(|code| *code != "common_limits").collect()
    };
    let invalid = late(Verdict::Invalid, 900.0);
    assert_eq!(codes(&invalid), ["client_limit"]);
    let found = diagnose(&invalid);
    assert_eq!((found[0].kind.code, found[0].severity), ("client_limit", Severity::Fail));
    assert!(found[0].evidence.contains("At 64 users: this client sent late"), "{}", found[0].evidence);
    // A usable cell whose lag could explain the rise says nothing; one whose lag is small does.
    assert_eq!(codes(&late(Verdict::Warn, 600.0)), ["client_limit"]);
    assert_eq!(codes(&late(Verdict::Warn, 12.0)), ["client_limit", "saturated"]);
}

#[test]
fn the_signals_of_the_client_are_signals() {
    for name in CLIENT_SIGNALS {
        assert!(SIGNALS.iter().any(|s| s.name == name), "{name}");
    }
}

#[test]
fn what_several_cells_show_is_told_once() {
    let mut run = ladder(&[(1, 3.0, 95.0, 9.5), (2, 5.9, 98.0, 9.8), (4, 11.5, 104.0, 10.3)]);
    for (i, cell) in run.cells.iter_mut().enumerate() {
        summary_of(cell).counts.errors.insert("429".into(), 2 + i as u64);
    }
    let all = diagnose(&run);
    assert_eq!(all.iter().filter(|f| f.kind.code == "refused").count(), 1);
    let found = finding(&run, "refused");
    assert!(found.evidence.starts_with("At 1 user 2 of 90"), "the largest share speaks: {}", found.evidence);
    assert!(found.evidence.ends_with("Likewise at 2 users, 4 users."), "{}", found.evidence);
    assert_eq!(found.cells, [0, 1, 2]);
}

#[test]
fn verdict_lines_have_figure_and_limit() {
    let mut cell = steady(0, Level { users: 20, rps: 4.79, ttft: 123.0, tpot: 30.0 });
    let lines = |cell: &CellData| -> Vec<(Severity, String)> {
        verdicts(cell).into_iter().map(|l| (l.severity, l.text)).collect()
    };
    // Without an SLO: the common limits, marked as such, and figures without any.
    let mark = "(of the preset llm-good: no SLO is set)";
    assert_eq!(
        lines(&cell),
        [
            (Severity::Pass, format!("TTFT p95 is 160 ms, target 1,000 ms, acceptable 2,000 ms {mark}")),
            (Severity::Pass, format!("TPOT mean is 30.0 ms, limit 100 ms {mark}")),
            (Severity::Pass, format!("error rate is 0 %, limit 1.00 % {mark}")),
            (Severity::Info, "E2E p90 is 1,588 ms, no limit set".to_owned()),
            (Severity::Info, "TTFT p50 is 123 ms, no limit set".to_owned()),
        ]
    );
    // With the preset that the three lines of a common load tester come from.
    let summary = cell.summary.as_mut().unwrap();
    summary.scalars.insert("error_rate".into(), 0.007);
    summary.distributions.insert("e2e".into(), distribution(1234.0, 2456.0));
    let rules: Vec<SloRule> =
        crate::experiment::presets::find("verdicts").unwrap().rules.iter().map(|r| r.rule()).collect();
    summary.slo = rules.iter().map(|rule| SloVerdict::of(rule, summary)).collect();
    assert_eq!(
        lines(&cell),
        [
            (Severity::Pass, "error rate is 0.700 %, target 1.00 %, acceptable 5.00 %".to_owned()),
            (Severity::Warning, "E2E p90 is 2,456 ms, target 2,000 ms, acceptable 5,000 ms".to_owned()),
            (Severity::Pass, "TTFT p50 is 123 ms, target 200 ms, acceptable 1,000 ms".to_owned()),
        ]
    );
    cell.summary.as_mut().unwrap().validity.verdict = Verdict::Invalid;
    assert_eq!(lines(&cell), [(Severity::Info, "not judged: the cell is invalid".to_owned())]);
}

#[test]
fn common_limits_warn_and_never_fail() {
    let run = ladder(&[(1, 2.0, 100.0, 20.0), (8, 9.0, 5000.0, 60.0)]);
    let found = finding(&run, "common_limits");
    assert_eq!((found.severity, found.cells.as_slice()), (Severity::Warning, &[1][..]));
    let part = "TTFT p95 ≤ 1,000 ms (acceptable 2,000 ms) in 1 of 2, at most 6,500 ms at 8 users";
    assert!(found.evidence.contains(part), "{}", found.evidence);
    let mut asked = ladder(&[(1, 2.0, 100.0, 20.0)]);
    let rule = SloRule { metric: "ttft".into(), stat: "p95".into(), limit: 9e3, target: None };
    summary_of(&mut asked.cells[0]).slo = vec![SloVerdict::judge(&rule, Some(130.0))];
    assert!(diagnose(&asked).iter().all(|f| f.kind.code != "common_limits"));
}

#[test]
fn every_kind_has_a_name_of_its_own_and_something_to_try() {
    let codes: std::collections::BTreeSet<_> = KINDS.iter().map(|k| k.code).collect();
    assert_eq!(codes.len(), KINDS.len());
    for kind in KINDS {
        assert!(
            !kind.when.is_empty() && (kind.code == "healthy" || !kind.remedies.is_empty()),
            "{}",
            kind.code
        );
        assert!(!kind.server || !kind.causes.is_empty(), "{}", kind.code);
    }
}

/// A server that has these figures a look each second.
fn tells(cell: &mut CellData, figure: &str, value: impl Fn(usize) -> f64) {
    let points = (0..34).map(|s| (s as i64 * 1_000_000 + 50_000, value(s))).collect();
    cell.server.push(crate::measure::ServerCourse { figure: figure.to_owned(), points });
}

#[test]
fn ttft_that_follows_the_servers_queue_is_pointed_out() {
    let waits = |s: usize| ((s * 7) % 5) as f64;
    let run = changed(|cell| {
        tells(cell, "waiting", waits);
        tells(cell, "kv_use", |s| ((s * 11) % 7) as f64);
        for point in &mut cell.points {
            point.ttft_ms = Some(100.0 + 100.0 * waits((point.sent_s - 0.05).round() as usize));
        }
    });
    let found = finding(&run, "ttft_queue");
    assert_eq!((found.severity, found.cells.as_slice()), (Severity::Info, &[0][..]));
    for part in [
        "At 4 users TTFT rises and falls with the requests that wait",
        "ρ is",
        "p < 0.001",
        "100 ms where it is lowest",
    ] {
        assert!(found.evidence.contains(part), "{part}: {}", found.evidence);
    }
    let none = |run: &RunData, code: &str| diagnose(run).iter().all(|f| f.kind.code != code);
    assert!(none(&run, "ttft_kv"), "the cache goes its own way");
    // The same queue, and a TTFT that has nothing to do with it.
    let apart = changed(|cell| tells(cell, "waiting", waits));
    assert!(none(&apart, "ttft_queue"));
}

#[test]
fn the_servers_own_figures_stand_behind_what_points_to_it() {
    let mut run = ladder(&[(1, 3.2, 10.0, 4.1), (24, 35.9, 91.0, 6.3), (64, 35.2, 1316.0, 6.3)]);
    assert!(finding(&run, "server_gauges").evidence.contains("Only the client's side"));
    let figures = BTreeMap::from([
        ("running".to_owned(), crate::measure::ServerValue { mean: 16.0, max: 16.0, n: 30 }),
        ("waiting".to_owned(), crate::measure::ServerValue { mean: 47.5, max: 48.0, n: 30 }),
    ]);
    summary_of(&mut run.cells[2]).server = Some(crate::measure::ServerSide { figures, ..Default::default() });
    let found = finding(&run, "server_gauges");
    let want = "at 64 users: running 16.0 (at most 16.0), waiting 47.5 (at most 48.0).";
    assert!(found.evidence.ends_with(want), "{}", found.evidence);
    assert_eq!(found.cells, [2]);
}
