//! Answers of every kind, whole and broken, and what their records say.

use std::time::Duration;

use plimsoll::experiment::{RequestLimit, SloRule, StopAfter};
use plimsoll::record::{Outcome, TokenSource};

use super::{MS, closed, one, run, summary};
use crate::rig::scripted::serve;

#[test]
fn each_limit_has_its_name() {
    let first = one(
        |s| s.target.first_token_timeout = Some(150 * MS),
        |conn| {
            conn.head();
            std::thread::sleep(30_000 * MS);
            false
        },
    );
    assert_eq!(first.error_class.as_deref(), Some("timeout_first_token"));
    assert!(first.headers_us.is_some() && first.first_token_us.is_none());

    let stall = one(
        |s| {
            s.target.first_token_timeout = Some(10_000 * MS);
            s.target.stall_timeout = Some(200 * MS);
        },
        |conn| {
            conn.head();
            conn.token();
            std::thread::sleep(30_000 * MS);
            false
        },
    );
    assert_eq!(stall.error_class.as_deref(), Some("timeout_stall"));
    assert_eq!((stall.chunks, stall.token_source), (1, Some(TokenSource::Tokenizer)));

    // Tokens keep coming: only the limit on the whole can end it.
    let total = one(
        |s| {
            s.target.timeout = 1_500 * MS;
            s.target.stall_timeout = Some(20_000 * MS);
        },
        |conn| {
            conn.head();
            for _ in 0..400 {
                conn.token();
                std::thread::sleep(10 * MS);
            }
            false
        },
    );
    assert_eq!(total.error_class.as_deref(), Some("timeout_total"));
    assert!(total.first_token_us.is_some());
    for r in [first, stall, total] {
        assert_eq!(r.outcome, Outcome::Timeout);
        assert!(r.end_us.is_some());
    }
}

#[test]
fn broken_answers_are_told_apart() {
    let truncated = one(
        |_| {},
        |conn| {
            conn.head();
            conn.token();
            conn.end();
            true
        },
    );
    assert_eq!(
        (truncated.outcome, truncated.error_class.as_deref()),
        (Outcome::Truncated, Some("truncated"))
    );
    assert_eq!(truncated.chunks, 1);

    let cut_off = one(
        |_| {},
        |conn| {
            conn.head();
            conn.token();
            false
        },
    );
    assert_eq!(cut_off.outcome, Outcome::Truncated);

    let spoken = one(
        |_| {},
        |conn| {
            conn.head();
            conn.token();
            conn.event(r#"{"error":{"message":"out of memory","type":"server_error"}}"#);
            conn.event("[DONE]");
            conn.end();
            true
        },
    );
    assert_eq!((spoken.outcome, spoken.error_class.as_deref()), (Outcome::BadStream, Some("server_error")));
    assert!(spoken.detail.unwrap().contains("out of memory"));

    let garbage = one(
        |_| {},
        |conn| {
            conn.head();
            conn.event("{not json");
            conn.finish(1);
            true
        },
    );
    assert_eq!((garbage.outcome, garbage.error_class.as_deref()), (Outcome::BadStream, Some("bad_stream")));

    let busy = one(
        |_| {},
        |conn| {
            let body = r#"{"error":{"message":"too many"}}"#;
            conn.raw(&format!("HTTP/1.1 503 Busy\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
            true
        },
    );
    assert_eq!((busy.outcome, busy.error_class.as_deref()), (Outcome::HttpError, Some("503")));
    assert_eq!((busy.status, busy.detail.as_deref()), (Some(503), Some("too many")));
}

#[test]
fn without_streaming_there_is_no_first_token() {
    let r = one(
        |s| s.workload.stream = false,
        |conn| {
            let body = r#"{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"a b c d"},"finish_reason":"length"}],"usage":{"prompt_tokens":8,"completion_tokens":4,"total_tokens":12}}"#;
            conn.raw(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
            true
        },
    );
    assert_eq!((r.outcome, r.output_tokens, r.chunks), (Outcome::Ok, Some(4), 1));
    assert_eq!((r.first_token_us, r.first_visible_us, r.second_chunk_us), (None, None, None));
    assert!(r.last_token_us.is_some() && r.last_token_us <= r.end_us);
}

#[test]
fn an_answer_without_a_word_is_whole_and_has_no_first_token() {
    let r = one(
        |_| {},
        |conn| {
            conn.answer(0);
            true
        },
    );
    assert_eq!((r.outcome, r.first_token_us, r.last_token_us), (Outcome::Ok, None, None));
    assert_eq!((r.output_tokens, r.chunks), (Some(0), 0));
}

#[test]
fn tokens_without_usage_are_counted_here() {
    let r = one(
        |_| {},
        |conn| {
            conn.head();
            for _ in 0..3 {
                conn.token();
            }
            conn.event("[DONE]");
            conn.end();
            true
        },
    );
    assert_eq!((r.outcome, r.token_source, r.chunks), (Outcome::Ok, Some(TokenSource::Tokenizer), 3));
    assert!(r.output_tokens.unwrap() >= 3);
}

#[test]
fn a_full_cell_has_every_metric() {
    let server = serve(|conn| {
        conn.head();
        for _ in 0..4 {
            conn.token();
            std::thread::sleep(2 * MS);
        }
        conn.finish(4);
        true
    });
    let mut cell = closed(2);
    cell.settings.cell.warmup = 100 * MS;
    cell.settings.cell.requests = Some(20);
    let limit = |metric: &str, limit_ms| RequestLimit { metric: metric.to_owned(), limit_ms };
    cell.settings.slo.request = vec![limit("ttft", 60_000.0), limit("tpot", 60_000.0)];
    let rule = |metric: &str, stat: &str, limit| SloRule {
        metric: metric.to_owned(),
        stat: stat.to_owned(),
        limit,
        target: None,
    };
    cell.settings.slo.rules = vec![
        rule("ttft", "p95", 60_000.0),
        rule("ttft", "p95", 0.0),
        rule("output_tps", "", 0.001),
        rule("output_tps", "", 1e12),
    ];
    let (run, records) = run(&cell, server.address);
    let s = summary(&cell, &run, &records);
    for metric in plimsoll::metrics::METRICS {
        let found = match metric.kind {
            plimsoll::metrics::Kind::Distribution => s.distributions.contains_key(metric.name),
            plimsoll::metrics::Kind::Scalar => s.scalars.contains_key(metric.name),
        };
        assert!(found, "{} is missing", metric.name);
    }
    assert_eq!(s.distributions.len() + s.scalars.len(), plimsoll::metrics::METRICS.len());
    assert_eq!(s.slo.iter().map(|v| v.pass).collect::<Vec<_>>(), [true, false, true, false]);
    assert_eq!((s.scalars["attainment"], s.scalars["error_rate"]), (1.0, 0.0));
    assert_eq!(s.tokens.output, 80);
    assert_eq!(s.tokens.prompt_mismatches, 0);
    assert_eq!(s.distributions["chunk_gap"].n, 60);
}

#[test]
fn an_answer_can_be_left_after_its_first_token() {
    let server = serve(|conn| {
        conn.head();
        let token = r#"data: {"choices":[{"index":0,"delta":{"content":"word "}}]}"#;
        let two = format!("{token}\n\n{token}\n\n");
        conn.raw(&format!("{:x}\r\n{two}\r\n", two.len()));
        // It would go on: a client that stays sees the rest, or that it never comes.
        std::thread::sleep(20 * MS);
        conn.finish(4);
        true
    });
    let mut cell = closed(2);
    cell.settings.cell.requests = Some(10);
    cell.settings.workload.stop_after = StopAfter::FirstToken;
    let (run, records) = run(&cell, server.address);
    for r in &records {
        assert_eq!((r.outcome, r.chunks, r.output_tokens), (Outcome::Ok, 2, None), "{r:?}");
        assert!(r.first_token_us.is_some() && r.end_us == r.first_token_us && r.last_token_us.is_none());
    }
    let summary = summary(&cell, &run, &records);
    assert_eq!(summary.distributions["ttft"].n, 10);
    for unknown in ["e2e", "tpot", "second_chunk_gap", "chunk_gap", "max_gap"] {
        assert!(!summary.distributions.contains_key(unknown), "{unknown}");
    }
    for unknown in ["output_tps", "whole_run_output_tps"] {
        assert!(!summary.scalars.contains_key(unknown), "{unknown}");
    }
}

#[test]
fn what_is_in_flight_at_the_end_can_be_cancelled() {
    let server = serve(|conn| {
        conn.head();
        conn.token();
        // Until the client hangs up.
        (0..500).all(|_| {
            std::thread::sleep(10 * MS);
            conn.token();
            true
        })
    });
    let mut cell = closed(3);
    cell.settings.cell.duration = Some(200 * MS);
    cell.settings.cell.drain = Duration::ZERO;
    let (run, records) = run(&cell, server.address);
    assert_eq!(records.len(), 3);
    assert!(records.iter().all(|r| r.outcome == Outcome::Censored && r.first_token_us.is_some()));
    assert_eq!(run.window.end_us - run.window.start_us, 200_000);
}

/// Two answers at once: whole when both have ended, and their tokens are nobody's pace.
#[test]
fn several_answers_at_once_have_no_pace_of_one() {
    let send = |both: bool| {
        one(
            |s| {
                s.workload.sampling.insert("n".to_owned(), 2.into());
            },
            move |conn| {
                conn.head();
                conn.token();
                conn.token();
                let end = |index: u32| {
                    format!(r#"{{"choices":[{{"index":{index},"delta":{{}},"finish_reason":"length"}}]}}"#)
                };
                conn.event(&end(0));
                if both {
                    conn.event(&end(1));
                    conn.event(r#"{"choices":[],"usage":{"completion_tokens":8}}"#);
                }
                conn.end();
                true
            },
        )
    };
    let whole = send(true);
    assert_eq!((whole.outcome, whole.choices, whole.output_tokens), (Outcome::Ok, Some(2), Some(8)));
    assert_eq!((whole.max_tokens, whole.output_asked()), (4, 8));
    for metric in ["tpot", "user_tps", "normalised_latency"] {
        assert_eq!(plimsoll::measure::of_request(metric, &whole), None, "{metric}");
    }
    assert_eq!(send(false).outcome, Outcome::Truncated);
}

/// A page in the place of a document came whole: it is no answer, and none that was cut.
#[test]
fn a_whole_body_that_cannot_be_read_is_a_bad_answer() {
    let page = one(
        |s| s.workload.stream = false,
        |conn| {
            conn.raw("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 13\r\n\r\n<html></html>");
            true
        },
    );
    assert_eq!((page.outcome, page.error_class.as_deref()), (Outcome::BadStream, Some("bad_stream")));
}
