//! Asks a server something and waits for the whole answer.

use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Runtime;
use url::Url;

use super::client::client_builder;
use super::{ClientError, Secrets};
use crate::experiment::Target;
use crate::provider::framing::Framer;
use crate::provider::{Framing, WireRequest};

/// Limit of a question that costs the server nothing.
const SHORT: Duration = Duration::from_secs(5);
/// Limit of a question that it has to compute for.
const LONG: Duration = Duration::from_secs(60);
/// Longest answer that is taken in, in bytes.
const LONGEST: usize = 8 << 20;

/// Between two looks at whether to stop.
const LOOK: Duration = Duration::from_millis(20);

/// Says whether what is under way should stop.
pub type Stop = Arc<dyn Fn() -> bool + Send + Sync>;

/// A small client that blocks.
pub(super) struct Asker {
    runtime: Runtime,
    client: reqwest::Client,
    headers: Vec<(String, String)>,
    secrets: Secrets,
    short: Duration,
    long: Duration,
    stop: Stop,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub status: u16,
    /// The `Server` header.
    pub server: Option<String>,
    pub body: Bytes,
}

impl Answer {
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// No whole answer came.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    #[error("stopped")]
    Stopped,
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("an answer of more than {LONGEST} bytes")]
    TooLong,
}

impl AskError {
    /// Whether no connection could be made, and that was known at once.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Http(e) if e.is_connect() && !e.is_timeout())
    }

    /// What went wrong, and what to check.
    pub fn words(&self, url: &Url) -> (String, String) {
        let mut chain = self.to_string();
        let mut source = match self {
            Self::Http(e) => e.source(),
            _ => None,
        };
        let mut deepest = chain.clone();
        while let Some(e) = source {
            deepest = e.to_string();
            chain.push_str(&deepest);
            source = e.source();
        }
        let has = |what: &str| chain.to_ascii_lowercase().contains(what);
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        let advice = if has("refused") {
            format!("Nothing listens on port {port} of {host}: is the server started, and is the port right?")
        } else if has("dns") || has("lookup") || has("resolve") {
            format!("Is the name {host} spelt right, and can this machine resolve it?")
        } else if has("certificate") {
            "Name the authority in target.tls.ca_file, or set target.tls.insecure for a test of your own server"
                .to_owned()
        } else if has("tls") || has("handshake") || has("corrupt message") {
            format!("Does the server speak TLS on port {port}? If not, write http:// in target.url")
        } else if has("stream closed") || has("http2") || has("frame") {
            // Words of the HTTP/2 library's, about a server that speaks something else.
            format!(
                "Does the server speak HTTP/2 on port {port}? If not, leave target.http at \"1.1\", the usual"
            )
        } else if has("within") || has("timed out") {
            format!("Does a firewall stand between here and {host}, or is the server still starting?")
        } else {
            format!("Does an HTTP server listen on port {port} of {host}?")
        };
        (deepest, advice)
    }
}

impl Asker {
    pub fn new(
        target: &Target,
        base: &Url,
        headers: Vec<(String, String)>,
        stop: Stop,
    ) -> Result<Self, ClientError> {
        let build = |e: &dyn std::fmt::Display| ClientError::Build(e.to_string());
        let client = client_builder(target, base)?.pool_max_idle_per_host(0).build();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Self {
            runtime: runtime.map_err(|e| build(&e))?,
            client: client.map_err(|e| build(&e))?,
            secrets: Secrets::of(target, &headers),
            headers,
            short: SHORT.min(target.timeout),
            long: LONG.min(target.timeout),
            stop,
        })
    }

    /// GET `url`.
    pub fn get(&self, url: &Url) -> Result<Answer, AskError> {
        self.whole(self.headed(self.client.get(url.clone())), self.short)
    }

    /// Ask by any method, for as long as `limit`. A body is JSON.
    pub fn send(
        &self,
        method: &str,
        url: &Url,
        body: Option<String>,
        limit: Duration,
    ) -> Result<Answer, AskError> {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap_or(reqwest::Method::GET);
        let mut request = self.client.request(method, url.clone());
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        self.whole(self.headed(request), limit)
    }

    /// POST a text of any type, for as long as `limit`.
    pub fn post_as(
        &self,
        url: &Url,
        (content_type, body): (&str, String),
        limit: Duration,
    ) -> Result<Answer, AskError> {
        let request = self.client.post(url.clone()).header("content-type", content_type).body(body);
        self.whole(self.headed(request), limit)
    }

    /// POST a JSON document.
    pub fn post(&self, url: &Url, body: String) -> Result<Answer, AskError> {
        let request = self.client.post(url.clone()).header("content-type", "application/json").body(body);
        self.whole(self.headed(request), self.short)
    }

    /// Send a provider's request, and have its whole answer.
    pub fn complete(&self, url: &Url, request: &WireRequest) -> Result<Answer, AskError> {
        self.whole(self.wire(url, request), self.long)
    }

    /// Send a provider's streaming request; the time until `first` takes a payload, or `None`
    /// when it takes none of a successful answer's, or the answer is a failure.
    pub fn time_to(
        &self,
        url: &Url,
        request: &WireRequest,
        framing: Framing,
        mut first: impl FnMut(&[u8]) -> bool,
    ) -> Result<Option<Duration>, AskError> {
        let sending = self.wire(url, request);
        let sent = Instant::now();
        self.within(self.long, async {
            let mut response = sending.send().await?;
            if !response.status().is_success() {
                return Ok(None);
            }
            let (mut framer, mut taken, mut at) = (Framer::new(framing), false, None);
            while let Some(bytes) = response.chunk().await? {
                let now = sent.elapsed();
                framer.push(&bytes, |p| taken = taken || first(p)).map_err(|_| AskError::TooLong)?;
                at = at.or(taken.then_some(now));
            }
            framer.end(|p| taken = taken || first(p));
            Ok(at.or_else(|| taken.then(|| sent.elapsed())))
        })
    }

    fn wire(&self, url: &Url, request: &WireRequest) -> reqwest::RequestBuilder {
        // Providers name methods in capitals, which all are methods.
        let method = reqwest::Method::from_bytes(request.method.as_bytes()).unwrap_or(reqwest::Method::POST);
        let start = self.headed(self.client.request(method, url.clone()).body(request.body.clone()));
        // As for load: the user's own header wins over the provider's.
        let own = |name: &str| self.headers.iter().any(|(there, _)| there.eq_ignore_ascii_case(name));
        let more = request.headers.iter().filter(|(name, _)| !own(name));
        more.fold(start, |r, (name, value)| r.header(name, value))
    }

    fn headed(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        self.headers.iter().fold(request, |r, (name, value)| r.header(name, value))
    }

    fn whole(&self, request: reqwest::RequestBuilder, limit: Duration) -> Result<Answer, AskError> {
        self.within(limit, async {
            let mut response = request.send().await?;
            let server = response.headers().get("server").and_then(|v| v.to_str().ok()).map(str::to_owned);
            let status = response.status().as_u16();
            let mut body = Vec::new();
            while let Some(bytes) = response.chunk().await? {
                body.extend_from_slice(&bytes);
                if body.len() > LONGEST {
                    return Err(AskError::TooLong);
                }
            }
            Ok(Answer { status, server, body: self.secrets.hide_in_body(body).into() })
        })
    }

    fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, AskError>>,
    ) -> Result<T, AskError> {
        let stopped = async {
            while !(self.stop)() {
                tokio::time::sleep(LOOK).await;
            }
        };
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = stopped => Err(AskError::Stopped),
                done = tokio::time::timeout(limit, work) => done.unwrap_or(Err(AskError::Timeout(limit))),
            }
        })
    }
}
