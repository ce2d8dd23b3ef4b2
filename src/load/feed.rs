//! Requests made ready before they are due, on a thread of their own: prompts are generated
//! and bodies serialised where they can't delay the stamps of open streams.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;

use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHORIZATION, TRANSFER_ENCODING, USER_AGENT,
};
use tokio::sync::mpsc;
use url::Position;

use super::deal::Deal;
use super::http::{Dialer, Outgoing};
use super::lanes::Dialers;
use super::{Job, JobPart, LoadError};
use crate::experiment::{HttpVersion, Target, Workload};
use crate::plan;
use crate::provider::{self, Call, Provider, WireRequest};
use crate::record::{Excerpt, PROMPT_CHARS, TraceId, Traces};
use crate::server::{self, Endpoint};
use crate::workload::{Request, Source, random};

/// Most requests that go over at once; waking the thread for each would cost a system call.
const BATCH: usize = 16;
/// Batches that wait on the channel.
const DEPTH: usize = 4;

/// A request, ready to go.
pub(super) struct Prepared {
    pub(super) seq: u64,
    /// The part of the cell that it belongs to.
    pub(super) lane: usize,
    pub(super) request: Outgoing,
    /// What the answer may repeat first.
    pub(super) echo: Option<String>,
    /// Answers that it asks for at once.
    pub(super) choices: u32,
    pub(super) asked: u32,
    pub(super) counted: Option<u32>,
    pub(super) max_tokens: u32,
    /// The conversation that it is a turn of, and its place in it, from 0.
    pub(super) session: Option<u64>,
    pub(super) turn: Option<u32>,
    /// Content chunks of the answer after which it is cut off; `None`: it is read to its end.
    pub(super) cut_after: Option<u32>,
    /// The trace that it bears the name of.
    pub(super) trace: Option<TraceId>,
    /// What it asks, where its texts are to be kept.
    pub(super) asks: Option<Box<Excerpt>>,
}

/// Turns arrivals into HTTP requests, each by the part that it is dealt to.
pub(super) struct Maker {
    deal: Deal,
    parts: Vec<PartMaker>,
}

impl Maker {
    pub(super) fn new(job: &Job<'_>, dialers: &Dialers) -> Result<Self, LoadError> {
        let parts = job.cell.settings.parts().zip(&job.parts).enumerate();
        let parts = parts
            .map(|(i, (asked, part))| PartMaker::new(job.cell, job.traces, asked, part, dialers.of_part(i)));
        Ok(Self { deal: Deal::of(job), parts: parts.collect::<Result<_, _>>()? })
    }

    fn make(&mut self, seq: u64) -> Result<Prepared, LoadError> {
        let lane = self.deal.part(seq);
        let part = &mut self.parts[lane];
        let session = part.source.sessions().then_some((seq, 0));
        let asked = part.source.request(seq);
        part.make(seq, lane, asked, session)
    }

    /// Turn `turn` of a conversation, which goes on with `answers` to those before.
    pub(super) fn turn(
        &mut self,
        lane: usize,
        (session, turn): (u64, u32),
        answers: &[String],
    ) -> Result<Prepared, LoadError> {
        let seq = later_turn(session, turn);
        let part = &mut self.parts[lane];
        let asked = part.source.turn(session, turn, seq, answers);
        part.make(seq, lane, asked, Some((session, turn)))
    }
}

/// The number of a later turn, apart from those of all arrivals: the first turn's, and above its 32
/// bits the turn.
const fn later_turn(session: u64, turn: u32) -> u64 {
    (turn as u64) << 32 | session & 0xffff_ffff
}

/// Turns the arrivals of one part into HTTP requests.
struct PartMaker {
    source: Arc<Source>,
    provider: Arc<dyn Provider>,
    endpoint: Endpoint,
    version: HttpVersion,
    /// Headers that every request has, the user's own among them.
    headers: HeaderMap,
    /// A proxy takes requests for the target: they name its whole URL.
    proxied: bool,
    cell_index: u32,
    traces: Option<Traces>,
    stream: bool,
    sampling: serde_json::Map<String, serde_json::Value>,
    extra_body: serde_json::Map<String, serde_json::Value>,
    max_tokens_field: String,
    /// Share of the requests that are cut off, and the seed that decides which.
    cancel: Option<f64>,
    seed: u64,
    /// Texts of so many first arrivals are kept.
    keep_answers: u64,
    /// The last path asked for and what became of it: it is nearly always the same.
    url: Option<(String, url::Url)>,
}

impl PartMaker {
    fn new(
        cell: &plan::Cell,
        traces: Option<Traces>,
        (target, workload): (&Target, &Workload),
        part: &JobPart,
        dialer: &Dialer,
    ) -> Result<Self, LoadError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        // Nothing said would mean that anything goes.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, HeaderValue::from_static(server::USER_AGENT));
        if !dialer.keep_alive() && dialer.version() == HttpVersion::Http1 {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let proxied = dialer.asks_a_proxy();
        if let Some(Some(auth)) = proxied {
            headers.insert(PROXY_AUTHORIZATION, auth.clone());
        }
        for (name, value) in &part.endpoint.headers {
            put_header(&mut headers, name, value)?;
        }
        // How long the body is and how it comes is not for a setting to say.
        headers.remove(CONTENT_LENGTH);
        headers.remove(TRANSFER_ENCODING);
        let stream = part.streams(workload);
        Ok(Self {
            source: Arc::clone(&part.source),
            provider: Arc::clone(&part.provider),
            endpoint: part.endpoint.clone(),
            version: dialer.version(),
            headers,
            proxied: proxied.is_some(),
            cell_index: cell.index,
            traces,
            seed: cell.seed,
            stream,
            sampling: workload.sampling.clone(),
            extra_body: target.extra_body.clone(),
            max_tokens_field: target.max_tokens_field.clone(),
            cancel: workload.cancel.filter(|_| stream),
            keep_answers: u64::from(workload.keep_answers),
            url: None,
        })
    }

    fn make(
        &mut self,
        seq: u64,
        lane: usize,
        asked: Request,
        session: Option<(u64, u32)>,
    ) -> Result<Prepared, LoadError> {
        let mut wire = self.provider.request(&Call {
            model: &self.endpoint.model,
            prompt: &asked.prompt,
            max_tokens: asked.max_tokens,
            max_tokens_field: &self.max_tokens_field,
            stream: self.stream,
            force_length: self.endpoint.force_length,
            sampling: &self.sampling,
            extra_body: &self.extra_body,
            history: &asked.history,
            more: &asked.more,
            images: &asked.images,
            line_body: &asked.body,
            seq,
            prompt_tokens: asked.prompt_tokens_asked,
        });
        let mut headers = self.headers.clone();
        for (name, value) in &wire.headers {
            // The user's own header wins over the provider's.
            if !headers.contains_key(name) {
                put_header(&mut headers, name, value)?;
            }
        }
        put_header(&mut headers, "x-request-id", &format!("plimsoll-{}-{seq}", self.cell_index))?;
        let trace = self.traces.and_then(|traces| traces.of(seq));
        if let Some(trace) = trace {
            put_header(&mut headers, "traceparent", &trace.traceparent())?;
        }
        let url = self.url(&wire);
        let (echo, choices) = (wire.echo.take(), wire.choices);
        let request = match self.version {
            HttpVersion::Http1 => self.http1(&wire, &url, &headers),
            HttpVersion::Http2 => http2(wire, &url, headers)?,
        };
        // Of a conversation all turns, by the number of its first.
        let kept = session.map_or(seq, |(first, _)| first) < self.keep_answers;
        Ok(Prepared {
            seq,
            lane,
            asks: kept.then(|| Box::new(Excerpt::of(&asked.prompt, PROMPT_CHARS))),
            request,
            echo,
            choices,
            asked: asked.prompt_tokens_asked,
            counted: asked.prompt_tokens_counted,
            max_tokens: asked.max_tokens,
            session: session.map(|(session, _)| session),
            turn: session.map(|(_, turn)| turn),
            trace,
            cut_after: self.cancel.and_then(|share| cut_after(share, self.seed, seq, asked.max_tokens)),
        })
    }

    /// Head and body as they go over the wire (RFC 9112).
    fn http1(&self, wire: &WireRequest, url: &url::Url, headers: &HeaderMap) -> Outgoing {
        let target =
            if self.proxied { url.as_str() } else { &url[Position::BeforePath..Position::AfterQuery] };
        let mut bytes = Vec::with_capacity(wire.body.len() + 512);
        bytes.extend_from_slice(format!("{} {target} HTTP/1.1\r\n", wire.method).as_bytes());
        if !headers.contains_key(HOST) {
            bytes.extend_from_slice(format!("host: {}\r\n", authority(url)).as_bytes());
        }
        for (name, value) in headers {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", wire.body.len()).as_bytes());
        bytes.extend_from_slice(&wire.body);
        Outgoing::H1(bytes.into())
    }

    fn url(&mut self, wire: &WireRequest) -> url::Url {
        if let Some((path, url)) = &self.url
            && *path == wire.path
        {
            return url.clone();
        }
        let url = provider::join(&self.endpoint.base, &wire.path);
        self.url = Some((wire.path.clone(), url.clone()));
        url
    }
}

/// Whether arrival `seq` is one of the `share` that are cut off, and after how many content
/// chunks: any number up to `max_tokens` is as likely.
fn cut_after(share: f64, seed: u64, seq: u64, max_tokens: u32) -> Option<u32> {
    let mut rng = random::stream("cancel", seed, "", seq);
    let cut = random::unit(&mut rng) < share;
    cut.then(|| 1 + random::below(&mut rng, max_tokens.max(1) as usize) as u32)
}

/// Host and port as `Host` has them: without a port that goes without saying.
fn authority(url: &url::Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn http2(wire: WireRequest, url: &url::Url, headers: HeaderMap) -> Result<Outgoing, LoadError> {
    let request = hyper::Request::builder().method(wire.method).uri(url.as_str()).body(());
    let (mut parts, ()) = request.map_err(|e| LoadError::Request(e.to_string()))?.into_parts();
    parts.headers = headers;
    // The authority says it; some servers refuse both.
    parts.headers.remove(HOST);
    Ok(Outgoing::H2(Box::new(parts), wire.body))
}

/// The value may be a secret: it stays out of the error and out of debug output.
fn put_header(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), LoadError> {
    let key: HeaderName =
        name.parse().map_err(|_| LoadError::Request(format!("`{name}` can't be a header's name")))?;
    let mut value: HeaderValue = value.parse().map_err(|_| {
        LoadError::Request(format!("the value of header `{name}` has characters that no header may"))
    })?;
    value.set_sensitive(key == "authorization" || key == "x-api-key");
    headers.insert(key, value);
    Ok(())
}

/// The thread's work: make the requests `numbers` in order until nobody wants more.
pub(super) fn make_all(
    maker: &mut Maker,
    numbers: impl Iterator<Item = u64>,
    out: &mpsc::Sender<Vec<Prepared>>,
) -> Result<(), LoadError> {
    let mut numbers = numbers;
    // Small batches first, so that the first request need not wait for fifteen others.
    let mut size = 1;
    loop {
        let batch = numbers.by_ref().take(size).map(|seq| maker.make(seq)).collect::<Result<Vec<_>, _>>()?;
        if batch.is_empty() || out.blocking_send(batch).is_err() {
            return Ok(());
        }
        size = (size * 2).min(BATCH);
    }
}

/// The load core's end.
pub(super) struct Feed {
    batches: mpsc::Receiver<Vec<Prepared>>,
    ready: VecDeque<Prepared>,
}

/// Both ends of a feed.
pub(super) fn feed() -> (mpsc::Sender<Vec<Prepared>>, Feed) {
    let (tx, batches) = mpsc::channel(DEPTH);
    (tx, Feed { batches, ready: VecDeque::with_capacity(BATCH) })
}

impl Feed {
    /// The next request; `None` when its thread has ended.
    pub(super) async fn next(&mut self, waits: &Cell<u64>) -> Option<Prepared> {
        self.stock_up(waits).await;
        self.ready.pop_front()
    }

    /// See to it that the next request is at hand. `waits` counts the times that one was wanted
    /// before it was made.
    pub(super) async fn stock_up(&mut self, waits: &Cell<u64>) {
        if !self.ready.is_empty() {
            return;
        }
        let batch = match self.batches.try_recv() {
            Ok(batch) => Some(batch),
            Err(_) => {
                waits.set(waits.get() + 1);
                self.batches.recv().await
            }
        };
        self.ready.extend(batch.into_iter().flatten());
    }
}
