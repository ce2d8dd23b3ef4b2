//! The endpoints.

use std::sync::{Arc, PoisonError};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use serde_json::json;
use tokio::sync::oneshot;

use super::body::{Answer, Source, Stream, note};
use super::clock::now_ns;
use super::conn::Conn;
use super::driver::Command;
use super::engine::{Event, NewRequest};
use super::faults::{self, Fault};
use super::flight::{Flight, Shared};
use super::request::{ApiError, Ask, parse_ask, parse_detokenize, parse_tokenize};
use super::tokens;
use super::truth::{self, TruthOutcome, TruthRecord};
use super::wire::{self, Frames, Usage};

type Reply = Response<Answer>;
/// `Err`: no answer at all, the connection breaks.
type Handled = Result<Reply, std::io::Error>;

fn reply(status: StatusCode, kind: &'static str, body: impl Into<bytes::Bytes>) -> Reply {
    let mut response = Response::new(Answer::of(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn json_reply(status: StatusCode, body: String) -> Reply {
    reply(status, "application/json", body)
}

fn error_reply(error: &ApiError) -> Reply {
    json_reply(error.status, error.body())
}

/// Seconds since 1970.
fn created() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// Answer one request.
pub(super) async fn route(shared: Arc<Shared>, conn: Arc<Conn>, request: Request<Incoming>) -> Handled {
    let path = request.uri().path().to_owned();
    let wanted = match path.as_str() {
        "/health" | "/v1/models" | "/version" | "/metrics" | "/truth" => Method::GET,
        "/v1/chat/completions" | "/v1/completions" | "/tokenize" | "/detokenize" | "/reset_prefix_cache" => {
            Method::POST
        }
        _ => return Ok(json_reply(StatusCode::NOT_FOUND, r#"{"detail":"Not Found"}"#.into())),
    };
    if *request.method() != wanted {
        return Ok(json_reply(StatusCode::METHOD_NOT_ALLOWED, r#"{"detail":"Method Not Allowed"}"#.into()));
    }
    let ready = now_ns() >= shared.ready_ns;
    Ok(match path.as_str() {
        "/v1/chat/completions" | "/v1/completions" => {
            return generate(shared, conn, request, path, ready).await;
        }
        "/health" if ready => reply(StatusCode::OK, "text/plain; charset=utf-8", ""),
        "/version" => json_reply(StatusCode::OK, json!({"version": env!("CARGO_PKG_VERSION")}).to_string()),
        "/metrics" => {
            let metrics = shared.metrics.lock().unwrap_or_else(PoisonError::into_inner);
            let text = metrics.render(&shared.config.model);
            reply(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
        }
        "/truth" => {
            let mut lines = Vec::new();
            // Writing to memory cannot fail.
            let _ = truth::write_lines(&shared.truth.all(), &mut lines);
            reply(StatusCode::OK, "application/jsonl", lines)
        }
        _ if !ready => error_reply(&not_ready()),
        "/v1/models" => json_reply(StatusCode::OK, models(&shared)),
        "/reset_prefix_cache" => {
            let (answer, done) = oneshot::channel();
            let _ = shared.commands.send(Command::Forget(answer));
            let success = done.await.unwrap_or(false);
            json_reply(StatusCode::OK, json!({"success": success}).to_string())
        }
        "/tokenize" => match tokenize(&shared, &read(request).await?) {
            Ok(body) => json_reply(StatusCode::OK, body),
            Err(e) => error_reply(&e),
        },
        _ => match parse_detokenize(&read(request).await?, &shared.config) {
            Ok(ids) => json_reply(StatusCode::OK, json!({"prompt": tokens::decode(&ids)}).to_string()),
            Err(e) => error_reply(&e),
        },
    })
}

async fn read(request: Request<Incoming>) -> Result<bytes::Bytes, std::io::Error> {
    Ok(request.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes())
}

fn not_ready() -> ApiError {
    ApiError {
        status: StatusCode::SERVICE_UNAVAILABLE,
        kind: "ServiceUnavailableError",
        param: None,
        message: "The server is starting up.".into(),
    }
}

fn models(shared: &Shared) -> String {
    let c = &shared.config;
    json!({"object": "list", "data": [{
        "id": c.model, "object": "model", "created": created(), "owned_by": "plimsoll", "root": c.preset,
        "parent": null, "max_model_len": c.max_model_len, "permission": [{
            "id": "modelperm-sim", "object": "model_permission", "created": created(),
            "allow_create_engine": false, "allow_sampling": true, "allow_logprobs": false,
            "allow_search_indices": false, "allow_view": true, "allow_fine_tuning": false,
            "organization": "*", "group": null, "is_blocking": false,
        }],
    }]})
    .to_string()
}

fn tokenize(shared: &Shared, body: &[u8]) -> Result<String, ApiError> {
    let (ids, with_texts) = parse_tokenize(body, &shared.config)?;
    let texts = with_texts.then(|| ids.iter().map(|id| tokens::piece_of(*id)).collect::<Vec<_>>());
    Ok(json!({
        "count": ids.len(), "max_model_len": shared.config.max_model_len, "tokens": ids, "token_strs": texts,
    })
    .to_string())
}

fn record(id: &str, path: String, arrival_ns: u64) -> TruthRecord {
    TruthRecord {
        request_id: id.to_owned(),
        path,
        stream: false,
        arrival_ns,
        prompt_read_ns: None,
        admitted_ns: None,
        first_token_ns: None,
        last_token_ns: None,
        end_ns: arrival_ns,
        prompt_tokens: None,
        cached_tokens: None,
        output_tokens: 0,
        chunks: 0,
        preemptions: 0,
        status: None,
        // Until more is known, whoever goes away without an answer is the client.
        outcome: TruthOutcome::ClientGone,
    }
}

/// Ends the record of a request whose client went away before an answer began.
struct Abandoned<'a> {
    conn: &'a Conn,
    armed: bool,
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.conn.gone();
        }
    }
}

async fn generate(
    shared: Arc<Shared>,
    conn: Arc<Conn>,
    request: Request<Incoming>,
    path: String,
    ready: bool,
) -> Handled {
    let arrival_ns = conn.read_ns();
    let number = shared.next_arrival();
    let chat = path == "/v1/chat/completions";
    let id = header_id(request.headers()).unwrap_or_else(|| format!("{:016x}", tokens::mix(number + 1)));
    conn.begin(record(&id, path, arrival_ns));
    let mut abandoned = Abandoned { conn: &conn, armed: true };
    let body = read(request).await?;
    abandoned.armed = false;
    conn.note(|r| r.prompt_read_ns = Some(now_ns()));

    if !ready {
        return Ok(refuse(&conn, &not_ready(), TruthOutcome::Rejected));
    }
    let ask = match parse_ask(&body, chat, &shared.config) {
        Ok(ask) => ask,
        Err(e) => return Ok(refuse(&conn, &e, TruthOutcome::Rejected)),
    };
    drop(body);
    conn.note(|r| {
        r.prompt_tokens = Some(ask.prompt.len() as u32);
        r.stream = ask.stream;
    });
    let fault = faults::draw(&shared.config, number);
    if let Some(done) = fault.and_then(|fault| fail_early(&shared, &conn, fault, &ask)) {
        return done;
    }
    start(&shared, &conn, ask, fault, number, arrival_ns, &id).await
}

/// Hand a request that is in order to the engine, and answer from it.
async fn start(
    shared: &Arc<Shared>,
    conn: &Arc<Conn>,
    ask: Ask,
    fault: Option<Fault>,
    number: u64,
    arrival_ns: u64,
    id: &str,
) -> Handled {
    let config = &shared.config;
    let (mut flight, mut source) = if let Some(timetable) = &shared.timetable {
        // Nothing is ever waited for but the clock.
        let admitted = Event::Admitted { id: number, at_ns: now_ns(), cached_tokens: 0 };
        note(conn, &admitted, &mut Usage::default());
        let row = timetable.row(number, arrival_ns, ask.output, ask.finish);
        (Flight::by_the_clock(shared, conn, number), Source::Timetable(row))
    } else {
        let prompt = ask.prompt.clone();
        let new = NewRequest { id: number, prompt, output: ask.output, finish: ask.finish };
        let (flight, notices) = Flight::start(shared, conn, new, arrival_ns);
        (flight, Source::Engine(notices))
    };
    if config.max_waiting.is_some() && !source.queued().await {
        flight.computed();
        flight.done();
        return Ok(refuse(conn, &queue_full(config.full_queue_503), TruthOutcome::Rejected));
    }
    let id = format!("{}-{id}", if ask.chat { "chatcmpl" } else { "cmpl" });
    if !ask.stream {
        return whole(flight, source, &ask, fault, &id).await;
    }
    let fault = fault.map(|f| (f, faults::strikes_after(config, number, ask.output)));
    let frames = Frames::new(config, &id, created(), ask.chat, ask.include_usage, ask.continuous_usage);
    conn.note(|r| r.status = Some(200));
    let close = config.close_after_stream;
    let stream = Stream::new(flight, source, frames, &ask, fault);
    let mut response = Response::new(Answer::Stream(Box::new(stream)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    if close {
        headers.insert("keep-alive", HeaderValue::from_static("timeout=5, max=100"));
    }
    Ok(response)
}

fn header_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get("x-request-id")?.to_str().ok()?;
    (!id.is_empty()).then(|| id.to_owned())
}

fn queue_full(unavailable: bool) -> ApiError {
    let (status, kind) = if unavailable {
        (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableError")
    } else {
        (StatusCode::TOO_MANY_REQUESTS, "RateLimitError")
    };
    ApiError { status, kind, param: None, message: "The waiting queue is full. Try again later.".into() }
}

/// An error answer that ends the record.
fn refuse(conn: &Arc<Conn>, error: &ApiError, outcome: TruthOutcome) -> Reply {
    let mut response = error_reply(error);
    if error.status == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert("retry-after", HeaderValue::from_static("1"));
    }
    ending(conn, response, 0, outcome)
}

/// Tie the record's end to the writing of this answer.
fn ending(conn: &Arc<Conn>, mut response: Reply, tokens: u32, outcome: TruthOutcome) -> Reply {
    let status = response.status().as_u16();
    conn.note(|r| (r.status, r.outcome) = (Some(status), outcome));
    if let Answer::Whole(whole) = response.body_mut() {
        whole.record = Some((Arc::clone(conn), tokens));
    }
    response
}

/// The faults that strike before any computation.
fn fail_early(shared: &Shared, conn: &Arc<Conn>, fault: Fault, ask: &Ask) -> Option<Handled> {
    let outcome = TruthOutcome::Fault(fault);
    let error = |status, kind, message: &str| ApiError { status, kind, param: None, message: message.into() };
    let error = match fault {
        Fault::Reset => return Some(Err(broken(conn, fault))),
        Fault::Status500 => {
            let plain = reply(
                StatusCode::INTERNAL_SERVER_ERROR,
                "text/plain; charset=utf-8",
                "Internal Server Error",
            );
            return Some(Ok(ending(conn, plain, 0, outcome)));
        }
        Fault::Status429 => error(StatusCode::TOO_MANY_REQUESTS, "RateLimitError", "Rate limit reached."),
        Fault::Status503 => {
            error(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableError", "The server is overloaded.")
        }
        Fault::Status400 => error(StatusCode::BAD_REQUEST, "BadRequestError", "Invalid request."),
        Fault::ContextLength => {
            let limit = shared.config.max_model_len;
            ApiError::context_length(limit, ask.prompt.len() as u64, u64::from(limit))
        }
        Fault::ResetMid | Fault::Stall | Fault::NoEnd | Fault::Garbage | Fault::ErrorObject => return None,
    };
    Some(Ok(refuse(conn, &error, outcome)))
}

/// Reset the connection instead of answering.
fn broken(conn: &Conn, fault: Fault) -> std::io::Error {
    conn.give_up(TruthOutcome::Fault(fault));
    conn.reset();
    std::io::ErrorKind::ConnectionReset.into()
}

/// An answer that is not streamed: wait for the last token, then say it all.
async fn whole(mut flight: Flight, mut source: Source, ask: &Ask, fault: Option<Fault>, id: &str) -> Handled {
    let conn = Arc::clone(flight.conn());
    let mut usage = Usage { prompt: ask.prompt.len() as u32, output: ask.output, cached: 0 };
    if !source.whole(&conn, &mut usage).await {
        return Err(std::io::ErrorKind::BrokenPipe.into());
    }
    flight.computed();
    if fault == Some(Fault::Stall) {
        tokio::time::sleep(flight.config().fault_stall_time).await;
    }
    flight.done();
    let outcome = fault.map_or(TruthOutcome::Ok, TruthOutcome::Fault);
    let config = flight.config();
    let reasoning = config.reasoning_tokens.filter(|_| ask.chat).unwrap_or(0).min(ask.output);
    let join = |from: u32, to: u32| {
        let mut text = String::new();
        for n in from..to {
            text.push_str(if n > 0 { " " } else { "" });
            text.push_str(tokens::word(ask.key, n));
        }
        text
    };
    let (thought, text) = (join(0, reasoning), join(reasoning, ask.output));
    let answer = wire::Whole {
        id,
        created: created(),
        chat: ask.chat,
        text: &text,
        reasoning: (reasoning > 0).then_some(thought.as_str()),
        finish: ask.finish,
        usage,
    };
    let mut body = answer.json(config);
    match fault {
        Some(Fault::ResetMid) => return Err(broken(&conn, Fault::ResetMid)),
        Some(Fault::ErrorObject) => {
            let error = ApiError {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                kind: "InternalServerError",
                param: None,
                message: "EngineCore encountered an issue (injected fault).".into(),
            };
            return Ok(refuse(&conn, &error, outcome));
        }
        Some(Fault::Garbage | Fault::NoEnd) => body.truncate(body.len() / 2),
        _ => {}
    }
    Ok(ending(&conn, json_reply(StatusCode::OK, body), ask.output, outcome))
}
