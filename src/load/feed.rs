//! Requests made ready before they are due, on a thread of their own: prompts are generated
//! and bodies serialised where they can't delay the stamps of open streams.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::mpsc;

use super::{Job, LoadError};
use crate::provider::{self, Call, Provider, WireRequest};
use crate::server::Endpoint;
use crate::workload::Source;

/// Most requests that go over at once; waking the thread for each would cost a system call.
const BATCH: usize = 16;
/// Batches that wait on the channel.
const DEPTH: usize = 4;

/// A request, ready to go.
pub(super) struct Prepared {
    pub(super) seq: u64,
    pub(super) request: reqwest::Request,
    /// For another try when a kept-alive connection turns out dead. The body is shared.
    pub(super) spare: Option<reqwest::Request>,
    pub(super) asked: u32,
    pub(super) counted: Option<u32>,
    pub(super) max_tokens: u32,
}

/// Turns arrivals into HTTP requests.
pub(super) struct Maker {
    source: Arc<Source>,
    provider: Arc<dyn Provider>,
    endpoint: Endpoint,
    headers: HeaderMap,
    cell_index: u32,
    stream: bool,
    sampling: serde_json::Map<String, serde_json::Value>,
    extra_body: serde_json::Map<String, serde_json::Value>,
    max_tokens_field: String,
    /// The last path asked for and what became of it: it is nearly always the same.
    url: Option<(String, url::Url)>,
}

impl Maker {
    pub(super) fn new(job: &Job<'_>) -> Result<Self, LoadError> {
        let settings = &job.cell.settings;
        let mut headers = HeaderMap::new();
        for (name, value) in &job.endpoint.headers {
            put_header(&mut headers, name, value)?;
        }
        Ok(Self {
            source: Arc::clone(&job.source),
            provider: Arc::clone(&job.provider),
            endpoint: job.endpoint.clone(),
            headers,
            cell_index: job.cell.index,
            stream: settings.workload.stream,
            sampling: settings.workload.sampling.clone(),
            extra_body: settings.target.extra_body.clone(),
            max_tokens_field: settings.target.max_tokens_field.clone(),
            url: None,
        })
    }

    fn make(&mut self, seq: u64) -> Result<Prepared, LoadError> {
        let asked = self.source.request(seq);
        let wire = self.provider.request(&Call {
            model: &self.endpoint.model,
            prompt: &asked.prompt,
            max_tokens: asked.max_tokens,
            max_tokens_field: &self.max_tokens_field,
            stream: self.stream,
            force_length: self.endpoint.force_length,
            sampling: &self.sampling,
            extra_body: &self.extra_body,
        });
        let method = wire
            .method
            .parse()
            .map_err(|_| LoadError::Request(format!("the method `{}` is none of HTTP's", wire.method)))?;
        let mut request = reqwest::Request::new(method, self.url(&wire));
        let headers = request.headers_mut();
        *headers = self.headers.clone();
        for (name, value) in &wire.headers {
            // The user's own header wins over the provider's.
            if !headers.contains_key(name) {
                put_header(headers, name, value)?;
            }
        }
        put_header(headers, "x-request-id", &format!("plimsoll-{}-{seq}", self.cell_index))?;
        *request.body_mut() = Some(wire.body.into());
        Ok(Prepared {
            seq,
            spare: request.try_clone(),
            request,
            asked: asked.prompt_tokens_asked,
            counted: asked.prompt_tokens_counted,
            max_tokens: asked.max_tokens,
        })
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

/// The value may be a secret: it stays out of the error and out of debug output.
fn put_header(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), LoadError> {
    let key: HeaderName =
        name.parse().map_err(|_| LoadError::Request(format!("`{name}` can't be a header's name")))?;
    let mut value: HeaderValue = value.parse().map_err(|_| {
        LoadError::Request(format!("the value of header `{name}` has characters that no header may"))
    })?;
    value.set_sensitive(key == "authorization");
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
    /// The next request; `None` when its thread has ended. `waits` counts the times that a
    /// request was wanted before it was made.
    pub(super) async fn next(&mut self, waits: &Cell<u64>) -> Option<Prepared> {
        if self.ready.is_empty() {
            let batch = match self.batches.try_recv() {
                Ok(batch) => batch,
                Err(_) => {
                    waits.set(waits.get() + 1);
                    self.batches.recv().await?
                }
            };
            self.ready.extend(batch);
        }
        self.ready.pop_front()
    }

    /// Wait until there is something, so that the first request goes out on time.
    pub(super) async fn fill(&mut self) {
        if self.ready.is_empty()
            && let Some(batch) = self.batches.recv().await
        {
            self.ready.extend(batch);
        }
    }
}
