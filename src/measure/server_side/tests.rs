//! Figures and counts of servers whose answers are made up.

use super::*;
use crate::record::{EndedBy, ObservedLook, Outcome, ReadingKind, RequestRecord};

/// A look each second from −0.5 s on, of sources that tell these series.
fn observed(looks: usize, series: &[(usize, &str, &str, &[f64])]) -> Observed {
    let sources = series.iter().map(|(source, ..)| source + 1).max().unwrap_or(1);
    let look = |i: usize| ObservedLook {
        at_us: (i / sources) as i64 * 1_000_000 - 500_000 + (i % sources) as i64 * 1000,
        source: i % sources,
    };
    Observed {
        sources: (0..sources).map(|n| format!("s{n}")).collect(),
        looks: (0..looks * sources).map(look).collect(),
        series: series
            .iter()
            .map(|(source, name, labels, values)| ObservedSeries {
                source: *source,
                name: (*name).into(),
                labels: (*labels).into(),
                kind: ReadingKind::Gauge,
                changes: values.iter().enumerate().map(|(i, v)| (i * sources + source, Some(*v))).collect(),
            })
            .collect(),
        ..Observed::default()
    }
}

const WINDOW: Window = Window { start_us: 1_000_000, end_us: 4_000_000, ended_by: EndedBy::Duration };

fn side(observed: &Observed) -> ServerSide {
    server_side(observed, WINDOW, &Asked::new(true, 1))
}

#[test]
fn figures_are_of_the_window() {
    let all = observed(
        6,
        &[
            // At −0.5, 0.5, 1.5, 2.5, 3.5 and 4.5 s.
            (0, "vllm:num_requests_running", "engine=\"0\"", &[0.0, 9.0, 1.0, 2.0, 3.0, 9.0]),
            (0, "vllm:num_requests_running", "engine=\"1\"", &[0.0, 9.0, 1.0, 1.0, 1.0, 9.0]),
            (0, "vllm:kv_cache_usage_perc", "engine=\"0\"", &[0.0, 0.9, 0.1, 0.2, 0.3, 0.9]),
            (0, "vllm:kv_cache_usage_perc", "engine=\"1\"", &[0.0, 0.9, 0.3, 0.4, 0.5, 0.9]),
            (0, "vllm:generation_tokens_total", "", &[0.0, 50.0, 100.0, 200.0, 400.0, 900.0]),
            (0, "vllm:request_queue_time_seconds_sum", "", &[0.0, 0.0, 1.0, 1.5, 3.5, 9.0]),
            (0, "vllm:request_queue_time_seconds_count", "", &[0.0, 0.0, 10.0, 15.0, 20.0, 30.0]),
            (0, "vllm:prefix_cache_queries_total", "", &[5.0; 6]),
            (0, "vllm:prefix_cache_hits_total", "", &[0.0; 6]),
            (0, "nobody_knows", "", &[1.0; 6]),
        ],
    );
    let side = side(&all);
    let of = |name: &str| {
        side.figures.get(name).map(|v| ((v.mean * 1e6).round() / 1e6, (v.max * 1e6).round() / 1e6, v.n))
    };
    assert_eq!(of("running"), Some((3.0, 4.0, 3)));
    assert_eq!(of("kv_use"), Some((30.0, 40.0, 3)));
    assert_eq!(of("output_tps"), Some((150.0, 200.0, 2)));
    // 2.5 s over 10 requests, not the mean of 0.1 and 0.4 s.
    assert_eq!(of("queue_ms"), Some((250.0, 400.0, 2)));
    assert_eq!(of("prefix_hits"), None, "nothing was looked for");
    assert_eq!(of("waiting"), None, "it isn't told");
    assert_eq!((side.series, side.looks), (10, 6));
    let courses = server_courses(&all);
    let names: Vec<&str> = courses.iter().map(|c| c.figure.as_str()).collect();
    assert_eq!(names, ["running", "kv_use", "queue_ms", "output_tps"]);
    assert_eq!(courses[0].points[1], (500_000, 18.0));
    assert_eq!(courses[3].points[0], (0, 50.0), "growth is told in the middle");
}

#[test]
fn a_counter_that_begins_anew_is_no_growth() {
    let all = observed(5, &[(0, "vllm:generation_tokens_total", "", &[0.0, 100.0, 10.0, 30.0, 60.0])]);
    let course = &server_courses(&all)[0];
    assert_eq!(course.points.iter().map(|p| p.1).collect::<Vec<_>>(), [100.0, 20.0, 30.0]);
    assert_eq!(counts::grown(&all, Common::OutputTokens, 0), None);
}

#[test]
fn several_sources_are_one_server() {
    let all = observed(
        5,
        &[
            (0, "vllm:num_requests_waiting", "", &[0.0, 1.0, 2.0, 3.0, 4.0]),
            (1, "llamacpp:requests_deferred", "", &[0.0, 10.0, 20.0, 30.0, 40.0]),
        ],
    );
    let waiting = side(&all).figures["waiting"];
    assert_eq!((waiting.mean, waiting.max), (33.0, 44.0));
}

fn asked(ok: u32, failed: u32) -> Asked {
    let mut asked = Asked::new(true, 1);
    let record = |seq: u32| {
        let mut record = RequestRecord::blank(u64::from(seq));
        record.sent_us = Some(1);
        record.outcome = if seq < ok { Outcome::Ok } else { Outcome::Timeout };
        record.prompt_tokens = Some(10);
        record.output_tokens = Some(20);
        record.max_tokens = 20;
        record
    };
    (0..ok + failed).map(record).for_each(|r| asked.take(&r));
    asked
}

fn counted(requests: f64, prompt: f64, output: f64) -> Observed {
    let success = "vllm:request_success_total";
    observed(
        2,
        &[
            (0, success, "finished_reason=\"stop\"", &[7.0, 7.0]),
            (0, success, "finished_reason=\"length\"", &[5.0, 5.0 + requests]),
            (0, success, "finished_reason=\"abort\"", &[0.0, 99.0]),
            (0, "vllm:prompt_tokens_total", "", &[1.0, 1.0 + prompt]),
            (0, "vllm:generation_tokens_total", "", &[0.0, output]),
        ],
    )
}

#[test]
fn counts_are_held_against_each_other() {
    let verdict = |asked: &Asked, all: &Observed| {
        let counts = asked.against(all);
        assert_eq!(counts.len(), 3);
        asked.verdict(&counts).unwrap()
    };
    assert_eq!(verdict(&asked(1000, 0), &counted(1000.0, 10_000.0, 20_000.0)), (0.0, String::new()));
    // Those that did not end well here may have done so there.
    assert_eq!(verdict(&asked(1000, 50), &counted(1050.0, 10_500.0, 20_400.0)).0, 0.0);
    // Two requests are not worth a word, even of ten.
    assert_eq!(verdict(&asked(10, 0), &counted(12.0, 120.0, 240.0)).0, 0.0);
    let (off, text) = verdict(&asked(1000, 0), &counted(1200.0, 12_000.0, 20_000.0));
    assert!((off - 0.2).abs() < 1e-9, "{off}");
    for words in ["here", "there", "20.0 %", "somebody else"] {
        assert!(text.contains(words), "{text}");
    }
    let (off, text) = verdict(&asked(1000, 0), &counted(1000.0, 10_000.0, 15_000.0));
    assert!(
        (off - 0.25).abs() < 1e-9 && text.contains("output tokens") && text.contains("20000 here"),
        "{text}"
    );
}

#[test]
fn growth_is_counted_series_by_series_from_before_the_load_to_after_it() {
    let tokens = "vllm:generation_tokens_total";
    let grown = |series: &[(usize, &str, &str, &[f64])], until| {
        counts::grown(&observed(4, series), Common::OutputTokens, until)
    };
    assert_eq!(grown(&[(0, tokens, "", &[5.0, 6.0, 9.0, 9.0])], 2_500_000), Some(4));
    // The last look was before the last request had ended.
    assert_eq!(grown(&[(0, tokens, "", &[5.0, 6.0, 9.0, 9.0])], 2_600_000), None);
    // One that began anew isn't hidden by another.
    let two: [(usize, &str, &str, &[f64]); 2] =
        [(0, tokens, "m=\"a\"", &[0.0, 50.0, 90.0, 200.0]), (0, tokens, "m=\"b\"", &[70.0, 80.0, 2.0, 3.0])];
    assert_eq!(grown(&two, 0), None);
    // One that is first told when there is something to count began at 0.
    let mut late = observed(4, &[(0, tokens, "", &[1.0; 4]), (0, tokens, "m=\"b\"", &[8.0])]);
    late.series[1].changes = vec![(2, Some(8.0))];
    assert_eq!(counts::grown(&late, Common::OutputTokens, 0), Some(8));
}

#[test]
fn processes_are_added_up_and_what_a_server_says_of_its_memory_is_not() {
    let memory = crate::record::inside::MEMORY;
    let mut all =
        observed(2, &[(0, memory, "process=\"a\"", &[3.0, 3.0]), (1, memory, "process=\"b\"", &[4.0, 4.0])]);
    all.series.push(ObservedSeries { labels: String::new(), ..all.series[0].clone() });
    let of = |all: &Observed| Commons::of(all).0[&Common::ServerMemory][0].1;
    assert_eq!(of(&all), 7.0);
}

#[test]
fn a_server_that_counts_nothing_is_noted_and_not_blamed() {
    let side = server_side(&counted(0.0, 0.0, 0.0), WINDOW, &asked(10, 0));
    assert_eq!(side.counts, []);
    assert_eq!(
        side.notes,
        ["s0 counted none of the 10 requests that ended well: is that the server that was asked?"]
    );
}

#[test]
fn what_is_not_known_is_not_compared() {
    let all = counted(10.0, 100.0, 200.0);
    assert_eq!(Asked::new(false, 1).against(&all), []);
    let mut two = asked(10, 0);
    two.servers = 2;
    assert_eq!(two.against(&all), [], "one of two is read");
    let mut some = asked(10, 0);
    some.prompt_unknown = true;
    let what: Vec<String> = some.against(&all).into_iter().map(|c| c.what).collect();
    assert_eq!(what, ["requests", "output_tokens"]);
    assert_eq!(some.verdict(&[]), None);
}
