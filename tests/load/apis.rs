//! Answers of APIs that generate nothing, end with their body, or repeat the prompt: what the
//! records say of them.

use plimsoll::experiment::Settings;
use plimsoll::provider::{Custom, Framing};
use plimsoll::record::{Outcome, RequestRecord, TokenSource};

use super::{closed, one, run, summary};
use crate::rig::scripted::{Conn, serve};

fn whole(conn: &mut Conn<'_>, body: &str) -> bool {
    conn.raw(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
    true
}

fn health(settings: &mut Settings) {
    settings.target.api = "custom".to_owned();
    settings.target.custom = Some(Custom { path: "/health?deep=1".to_owned(), ..Custom::default() });
    settings.workload.stream = false;
}

fn of_api(api: &'static str) -> impl Fn(&mut Settings) {
    move |settings| {
        settings.target.api = api.to_owned();
        settings.workload.stream = false;
    }
}

/// An answer in one piece, of which nothing was generated.
fn is_bare_result(r: &RequestRecord, what: &str) {
    assert_eq!((r.outcome, &r.detail), (Outcome::Ok, &None), "{what}");
    assert_eq!((r.chunks, r.first_token_us), (1, None), "{what}");
    assert_eq!((r.output_tokens, r.token_source), (None, None), "{what}");
    let (sent, last) = (r.sent_us.expect("sent"), r.last_token_us.expect("it has an E2E"));
    assert!(sent <= last && Some(last) <= r.end_us, "{what}");
}

#[test]
fn a_health_check_is_answered_by_anything() {
    for body in ["OK", "", "{\"status\":\"healthy\"}"] {
        let r = one(health, move |conn| {
            assert!(conn.head.starts_with("GET /health?deep=1 HTTP/1.1\r\n"), "{}", conn.head);
            assert!(conn.body.is_empty());
            whole(conn, body)
        });
        is_bare_result(&r, body);
        assert_eq!(r.bytes, body.len() as u64);
    }
    let r = one(health, |conn| {
        conn.raw("HTTP/1.1 204 No Content\r\n\r\n");
        true
    });
    is_bare_result(&r, "204");
}

#[test]
fn a_body_that_breaks_off_is_no_answer_even_where_nothing_is_read() {
    let r = one(health, |conn| {
        conn.raw("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nO");
        false
    });
    assert_ne!(r.outcome, Outcome::Ok);
    let r = one(health, |conn| {
        conn.raw("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy");
        true
    });
    assert_eq!((r.outcome, r.detail.as_deref()), (Outcome::HttpError, Some("busy")));
}

#[test]
fn vectors_and_orders_have_a_latency_and_no_tokens() {
    for (api, body) in [
        (
            "openai-embeddings",
            r#"{"data":[{"embedding":[0.5]}],"usage":{"prompt_tokens":8,"total_tokens":8}}"#,
        ),
        ("openai-rerank", r#"{"results":[{"index":0,"relevance_score":1}],"usage":{"total_tokens":8}}"#),
    ] {
        let server = serve(move |conn| whole(conn, body));
        let mut cell = closed(1);
        cell.settings.cell.requests = Some(20);
        of_api(api)(&mut cell.settings);
        let (run, records) = run(&cell, server.address);
        for r in &records {
            is_bare_result(r, api);
            assert_eq!(r.prompt_tokens, Some(8), "{api}");
        }
        let summary = summary(&cell, &run, &records);
        assert_eq!(summary.counts.ok, 20);
        assert_eq!(summary.scalars.get("output_tps"), Some(&0.0), "{api}: its one piece is no token");
        assert!(summary.scalars["prompt_tps"] > 0.0, "{api}");
        assert_eq!(summary.distributions["e2e"].n, 20, "{api}");
    }
    // An empty list is told with the reason.
    let r = one(of_api("openai-embeddings"), |conn| whole(conn, "{\"data\":[]}"));
    assert_eq!(r.outcome, Outcome::BadStream);
    assert!(r.detail.is_some_and(|words| words.contains("no embeddings in it")));
}

#[test]
fn tokens_of_a_repeated_prompt_are_not_counted() {
    let r = one(of_api("triton-infer"), |conn| {
        let asked: serde_json::Value = serde_json::from_slice(conn.body).expect("JSON");
        let prompt = asked["inputs"][0]["data"][0][0].as_str().expect("a prompt");
        let text = format!("<s> {prompt} one two three");
        let output =
            serde_json::json!({ "name": "text_output", "datatype": "BYTES", "shape": [1], "data": [text] });
        let body = serde_json::json!({ "model_name": "m", "outputs": [output] }).to_string();
        whole(conn, &body)
    });
    assert_eq!((r.outcome, r.chunks), (Outcome::Ok, 1));
    assert_eq!((r.output_tokens, r.token_source), (Some(3), Some(TokenSource::Tokenizer)));
}

#[test]
fn a_stream_without_an_end_marker_is_whole_where_its_connection_ends_well() {
    let stream = |settings: &mut Settings| settings.target.api = "triton-generate".to_owned();
    let tokens = |conn: &mut Conn<'_>| {
        conn.head();
        conn.event(r#"{"text_output":"one"}"#);
        conn.event(r#"{"text_output":" two"}"#);
    };
    let r = one(stream, move |conn| {
        tokens(conn);
        conn.end();
        true
    });
    assert_eq!((r.outcome, r.chunks, r.output_tokens), (Outcome::Ok, 2, Some(2)));
    assert!(r.first_token_us.is_some() && r.first_token_us <= r.second_chunk_us);
    let r = one(stream, move |conn| {
        tokens(conn);
        false
    });
    assert_ne!(r.outcome, Outcome::Ok, "it broke off");
    assert_eq!(r.chunks, 2);
}

#[test]
fn an_endpoint_of_its_own_is_streamed_and_stamped() {
    let described = |settings: &mut Settings| {
        settings.target.api = "custom".to_owned();
        settings.target.custom = Some(Custom {
            method: "POST".to_owned(),
            path: "/gen".to_owned(),
            body: Some(serde_json::json!({ "p": "{{prompt}}", "n": "{{max_tokens}}", "s": "{{stream}}" })),
            framing: Framing::JsonLines,
            text: Some("/t".to_owned()),
            output_tokens: Some("/n".to_owned()),
            finish: Some("/why".to_owned()),
            ..Custom::default()
        });
    };
    let r = one(described, |conn| {
        let asked: serde_json::Value = serde_json::from_slice(conn.body).expect("JSON");
        assert!(conn.head.starts_with("POST /gen HTTP/1.1\r\n"));
        assert_eq!((&asked["n"], &asked["s"]), (&4.into(), &true.into()));
        let body = "{\"t\":\"a\"}\n{\"t\":\"b\"}\n{\"why\":\"limit\",\"n\":2}\n";
        whole(conn, body)
    });
    assert_eq!((r.outcome, r.chunks, r.output_tokens), (Outcome::Ok, 2, Some(2)));
    assert_eq!(r.finish_reason.as_deref(), Some("limit"));
    assert!(r.first_token_us.is_some());
}
