//! Where an answer ends that has no end of its own, and what is not the server's fault.

use std::io::Write as _;
use std::sync::Arc;

use plimsoll::load::{Control, Job, JobPart, LoadError, drive};
use plimsoll::provider::{self, Call, Decoder, Framing, Provider, WireRequest};
use plimsoll::record::Outcome;

use super::{MS, closed, one, run, with_job};
use crate::rig::Memory;
use crate::rig::scripted::{Conn, serve};

#[test]
fn a_long_prefill_is_no_stall_where_the_first_token_has_its_own_limit() {
    let slow = |conn: &mut Conn<'_>| {
        conn.head();
        std::thread::sleep(700 * MS);
        conn.token();
        conn.finish(1);
        true
    };
    let patient = one(
        |s| {
            s.target.first_token_timeout = Some(15_000 * MS);
            s.target.stall_timeout = Some(300 * MS);
        },
        slow,
    );
    assert_eq!(patient.outcome, Outcome::Ok, "{patient:?}");
    let strict = one(|s| s.target.stall_timeout = Some(300 * MS), slow);
    assert_eq!(strict.error_class.as_deref(), Some("timeout_stall"));
}

#[test]
fn a_server_that_outruns_its_client_is_still_held_to_the_limits() {
    let endless = one(
        |s| s.target.timeout = 500 * MS,
        |conn| {
            conn.head();
            let frame = r#"data: {"choices":[{"index":0,"delta":{"content":"word "}}]}"#;
            let many = format!("{frame}\n\n").repeat(2000);
            let chunk = format!("{:x}\r\n{many}\r\n", many.len());
            while conn.stream.write_all(chunk.as_bytes()).is_ok() {}
            false
        },
    );
    assert_eq!(endless.error_class.as_deref(), Some("timeout_total"));
    assert!(endless.chunks > 0);
}

#[test]
fn a_refusal_without_an_end_is_known_by_its_status() {
    let refused = one(
        |s| s.target.timeout = 20_000 * MS,
        |conn| {
            conn.raw("HTTP/1.1 429 Too Many Requests\r\n\r\nlater");
            std::thread::sleep(8_000 * MS);
            false
        },
    );
    assert_eq!((refused.outcome, refused.status), (Outcome::HttpError, Some(429)));
    assert_eq!((refused.error_class.as_deref(), refused.detail.as_deref()), (Some("429"), Some("later")));
    let waited = refused.end_us.unwrap() - refused.headers_us.unwrap();
    assert!(waited < 6_000_000, "{waited} us for words that never ended");
}

#[test]
fn a_compressed_answer_is_told_as_one() {
    let packed = one(
        |_| (),
        |conn| {
            assert!(conn.head.to_ascii_lowercase().contains("accept-encoding: identity"), "{}", conn.head);
            conn.raw("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc");
            true
        },
    );
    assert_eq!(packed.outcome, Outcome::BadStream);
    assert!(packed.detail.as_deref().is_some_and(|words| words.contains("gzip")), "{packed:?}");
}

#[test]
fn waiting_for_the_end_of_a_body_is_not_the_next_requests_lag() {
    let server = serve(|conn| {
        conn.head();
        conn.token();
        conn.event(r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#);
        conn.event("[DONE]");
        // The last chunk never comes.
        std::thread::sleep(1_000 * MS);
        false
    });
    let mut cell = closed(1);
    cell.settings.cell.requests = Some(3);
    let (_, records) = run(&cell, server.address);
    assert_eq!(records.len(), 3);
    for pair in records.windows(2) {
        let (end, due) = (pair[0].end_us.unwrap(), pair[1].intended_us);
        assert_eq!(end, due, "due as soon as the last one is over");
        assert!(end - pair[0].last_token_us.unwrap() >= 100_000, "and it was held that long");
    }
    assert!(records.iter().all(|r| r.outcome == Outcome::Ok));
}

/// A provider whose reader breaks down.
struct Broken;

impl Provider for Broken {
    fn request(&self, call: &Call<'_>) -> WireRequest {
        (provider::find("openai-chat").unwrap().build)(&plimsoll::provider::Options::default()).request(call)
    }

    fn framing(&self, _: bool) -> Framing {
        Framing::Sse
    }

    fn decoder(&self, _: bool, _: bool) -> Box<dyn Decoder> {
        panic!("a mistake of this program's (meant by the test)")
    }
}

#[test]
fn a_mistake_of_our_own_is_an_error_and_no_censored_request() {
    let server = serve(|conn| {
        conn.answer(2);
        true
    });
    let mut cell = closed(2);
    cell.settings.cell.duration = Some(60_000 * MS);
    let mut sink = Memory::default();
    let ended = with_job(&cell, server.address, |job| {
        let part = JobPart { provider: Arc::new(Broken), ..job.parts[0].clone() };
        let job = Job { cell: job.cell, parts: vec![part], traces: None };
        drive(&job, &mut sink, &Control::default(), &mut |_| {})
    });
    assert!(matches!(ended, Err(LoadError::Panicked { .. })), "{:?}", ended.err());
}
