//! A request's way through the server: which endpoint it is for, what becomes of it, and the
//! faults that strike before and instead of an answer.

use std::sync::{Arc, PoisonError};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Request, Response, StatusCode};
use serde_json::json;
use tokio::sync::oneshot;

use super::api::{self, Api, Asked, Endpoint, Tell, Told};
use super::body::{Answer, BROKEN, Stream};
use super::clock::now_ns;
use super::conn::Conn;
use super::driver::Command;
use super::engine::Event;
use super::faults::{self, Fault};
use super::flight::{Flight, Shared};
use super::request::{ApiError, Ask, parse_body};
use super::source::{Source, note};
use super::tokens;
use super::truth::{self, TruthOutcome, TruthRecord};
use super::wire::{Account, Form};

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

/// Seconds since 1970.
fn created() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// Answer one request.
pub(super) async fn route(shared: Arc<Shared>, conn: Arc<Conn>, request: Request<Incoming>) -> Handled {
    let path = request.uri().path();
    match api::find(shared.config.apis, request.method(), path) {
        Ok(Endpoint::Compute(api)) => compute(shared, conn, request, api).await,
        Ok(Endpoint::Tell(tell)) => told(shared, conn, request, tell).await,
        Err(status) => {
            let words = if status == StatusCode::NOT_FOUND { "Not Found" } else { "Method Not Allowed" };
            Ok(json_reply(status, json!({"detail": words}).to_string()))
        }
    }
}

/// What needs no computing. It has a record in the log of the truth only where the request
/// has a name: what is asked beside the load has none.
async fn told(shared: Arc<Shared>, conn: Arc<Conn>, request: Request<Incoming>, tell: Tell) -> Handled {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let id = header_id(&head.headers);
    let mut abandoned = Abandoned { conn: &conn, armed: id.is_some() };
    if let Some(id) = &id {
        conn.begin(record(id, &head, conn.read_ns()));
    }
    let body = read(body).await?;
    abandoned.armed = false;
    conn.note(|r| r.prompt_read_ns = Some(now_ns()));
    let reply = match tell {
        Tell::Metrics => {
            let metrics = shared.metrics.lock().unwrap_or_else(PoisonError::into_inner);
            let text = metrics.render(&shared.config.model);
            reply(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
        }
        Tell::Truth => {
            let mut lines = Vec::new();
            // Writing to memory cannot fail.
            let _ = truth::write_lines(&shared.truth.all(), &mut lines);
            reply(StatusCode::OK, "application/jsonl", lines)
        }
        Tell::ResetCache => {
            let (answer, done) = oneshot::channel();
            let _ = shared.commands.send(Command::Forget(answer));
            let success = done.await.unwrap_or(false);
            json_reply(StatusCode::OK, json!({"success": success}).to_string())
        }
        tell => {
            let (config, headers) = (&shared.config, &head.headers);
            let ready = now_ns() >= shared.ready_ns;
            match api::tell(tell, &Asked { path, headers, body: &body, ready, created: created(), config }) {
                Ok(Told { status, kind, body }) => reply(status, kind, body),
                Err(error) => json_reply(error.status, error.body()),
            }
        }
    };
    if id.is_none() {
        return Ok(reply);
    }
    let outcome = if reply.status().is_success() { TruthOutcome::Ok } else { TruthOutcome::Rejected };
    Ok(ending(&conn, reply, 0, outcome))
}

async fn read(body: Incoming) -> Result<bytes::Bytes, std::io::Error> {
    Ok(body.collect().await.map_err(std::io::Error::other)?.to_bytes())
}

fn record(id: &str, head: &hyper::http::request::Parts, arrival_ns: u64) -> TruthRecord {
    let traceparent = head.headers.get("traceparent").and_then(|value| value.to_str().ok());
    TruthRecord {
        request_id: id.to_owned(),
        path: head.uri.path().to_owned(),
        traceparent: traceparent.map(str::to_owned),
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

async fn compute(shared: Arc<Shared>, conn: Arc<Conn>, request: Request<Incoming>, api: Api) -> Handled {
    let arrival_ns = conn.read_ns();
    let number = shared.next_arrival();
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let id = header_id(&head.headers).unwrap_or_else(|| format!("{:016x}", tokens::mix(number + 1)));
    conn.begin(record(&id, &head, arrival_ns));
    let mut abandoned = Abandoned { conn: &conn, armed: true };
    let bytes = read(body).await?;
    abandoned.armed = false;
    conn.note(|r| r.prompt_read_ns = Some(now_ns()));

    let config = &shared.config;
    let body = match parse_body(&bytes) {
        _ if now_ns() < shared.ready_ns => Err(api::not_ready()),
        body => body,
    };
    let body = match body {
        Ok(body) => body,
        Err(e) => return Ok(refuse(&conn, api, &e, TruthOutcome::Rejected)),
    };
    drop(bytes);
    let api = api.settle(&body, config.apis);
    let headers = &head.headers;
    let request = api::Request { path, headers, body: &body, id: &id, created: created(), config };
    let (ask, form) = match api.read(&request) {
        Ok(understood) => understood,
        Err(e) => return Ok(refuse(&conn, api, &e, TruthOutcome::Rejected)),
    };
    drop(body);
    let account = Account::new(ask.prompt_tokens(), arrival_ns);
    conn.note(|r| {
        r.prompt_tokens = Some(account.usage.prompt);
        r.stream = ask.stream;
    });
    let fault = faults::draw(config, number);
    if let Some(done) = fault.and_then(|fault| fail_early(&shared, &conn, api, fault, &ask)) {
        return done;
    }
    let job = Job { api, ask, form, fault, number, account };
    start(&shared, &conn, job).await
}

/// A request that is in order.
struct Job {
    api: Api,
    ask: Ask,
    form: Box<dyn Form>,
    fault: Option<Fault>,
    /// Of its arrival.
    number: u64,
    account: Account,
}

/// Hand it to the engine, and answer from that.
async fn start(shared: &Arc<Shared>, conn: &Arc<Conn>, mut job: Job) -> Handled {
    let config = &shared.config;
    let sequences = job.ask.sequences.len();
    let arrival_ns = job.account.arrival_ns;
    let (flight, mut source) = if let Some(timetable) = &shared.timetable {
        // Nothing is ever waited for but the clock: of several answers, for the longest.
        let at_ns = now_ns();
        let admitted = Event::Admitted { id: job.number, at_ns, cached_tokens: 0 };
        note(conn, &admitted, at_ns, &mut job.account);
        let slow = faults::is_slow(config, job.number);
        let longest = job.ask.sequences.iter().map(|s| s.output).max().unwrap_or(1);
        let row = timetable.row(job.number, arrival_ns, longest, job.ask.finish(), slow);
        (Flight::by_the_clock(shared, conn, job.number), Source::Timetable(row))
    } else {
        let (flight, notices) = Flight::start(shared, conn, job.number, &mut job.ask, arrival_ns);
        (flight, Source::Engine(notices))
    };
    if config.max_waiting.is_some() && !source.queued(sequences).await {
        let mut flight = flight;
        flight.done();
        return Ok(refuse(conn, job.api, &queue_full(config.full_queue_503), TruthOutcome::Rejected));
    }
    let Some(frames) = job.form.frames(config).filter(|_| job.ask.stream) else {
        return whole(flight, source, job).await;
    };
    let fault = job.fault.map(|f| (f, faults::strikes_after(config, job.number, job.ask.output_tokens())));
    conn.note(|r| r.status = Some(200));
    let stream = Stream::new(flight, source, frames, &job.ask, job.account, fault);
    let mut response = Response::new(Answer::Stream(Box::new(stream)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(job.form.stream_type()));
    if config.close_after_stream {
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
    ApiError::new(status, kind, "The waiting queue is full. Try again later.")
}

/// An error answer that ends the record.
fn refuse(conn: &Arc<Conn>, api: Api, error: &ApiError, outcome: TruthOutcome) -> Reply {
    let (status, body) = api.refusal(error);
    let mut response = json_reply(status, body);
    if status == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert("retry-after", HeaderValue::from_static("1"));
    }
    ending(conn, response, 0, outcome)
}

/// Tie the record's end to the writing of this answer.
fn ending(conn: &Arc<Conn>, mut response: Reply, tokens: u32, outcome: TruthOutcome) -> Reply {
    let status = response.status().as_u16();
    conn.note(|r| (r.status, r.outcome) = (Some(status), outcome));
    if let Answer::Whole(whole) = response.body_mut() {
        if whole.bytes.as_ref().is_none_or(bytes::Bytes::is_empty) {
            // Nobody asks for a body of no bytes: it ends with its head.
            conn.end();
        } else {
            whole.record = Some((Arc::clone(conn), tokens));
        }
    }
    response
}

/// The faults that strike before any computation.
fn fail_early(shared: &Shared, conn: &Arc<Conn>, api: Api, fault: Fault, ask: &Ask) -> Option<Handled> {
    let outcome = TruthOutcome::Fault(fault);
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
        Fault::Status429 => {
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "RateLimitError", "Rate limit reached.")
        }
        Fault::Status503 => ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailableError",
            "The server is overloaded.",
        ),
        Fault::Status400 => ApiError::bad_request(None, "Invalid request."),
        Fault::ContextLength => {
            let limit = shared.config.max_model_len;
            ApiError::context_length(limit, u64::from(ask.prompt_tokens()), u64::from(limit))
        }
        Fault::ResetMid | Fault::Stall | Fault::NoEnd | Fault::Garbage | Fault::ErrorObject => return None,
    };
    Some(Ok(refuse(conn, api, &error, outcome)))
}

/// Reset the connection instead of answering.
fn broken(conn: &Conn, fault: Fault) -> std::io::Error {
    conn.give_up(TruthOutcome::Fault(fault));
    conn.reset();
    std::io::ErrorKind::ConnectionReset.into()
}

/// An answer that is not streamed: wait for the last token, then say it all.
async fn whole(mut flight: Flight, mut source: Source, job: Job) -> Handled {
    let conn = Arc::clone(flight.conn());
    let Job { api, ask, form, fault, mut account, .. } = job;
    if !source.whole(&conn, ask.sequences.len(), &mut account).await {
        return Err(std::io::ErrorKind::BrokenPipe.into());
    }
    account.usage.output = ask.output_tokens();
    flight.computed();
    if fault == Some(Fault::Stall) {
        tokio::time::sleep(flight.config().fault_stall_time).await;
    }
    flight.done();
    let outcome = fault.map_or(TruthOutcome::Ok, TruthOutcome::Fault);
    let mut body = form.whole(flight.config(), &ask, &account);
    match fault {
        Some(Fault::ResetMid) => return Err(broken(&conn, Fault::ResetMid)),
        Some(Fault::ErrorObject) => {
            let error = ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", BROKEN);
            return Ok(refuse(&conn, api, &error, outcome));
        }
        Some(Fault::Garbage | Fault::NoEnd) => body.truncate(body.len() / 2),
        _ => {}
    }
    let mut response = json_reply(StatusCode::OK, body);
    form.headers(&account, response.headers_mut());
    Ok(ending(&conn, response, ask.output_tokens(), outcome))
}
