//! An address that answers with Prometheus' text.

use std::time::Duration;

use url::Url;

use super::{ObserveError, Reading, Source};
use crate::experiment::{HttpVersion, Target};
use crate::exposition;
use crate::server::{ClientError, client_builder};

/// A longer answer is no table of figures: 5,000 series are about half a megabyte.
const MOST: usize = 16 << 20;
/// What is asked for; most servers have nothing else.
const ACCEPT: &str = "text/plain;version=0.0.4, application/openmetrics-text;version=1.0.0;q=0.8, */*;q=0.1";

/// Asked again and again, by one request after the other, each on a connection of its own:
/// nothing depends on how a server treats kept-alive ones, and nothing is shared with the load.
pub struct Metrics {
    name: String,
    url: Url,
    headers: Vec<(String, String)>,
    timeout: Duration,
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

impl Metrics {
    /// `url`, asked with `headers`, secrets resolved. `own`: it is the target's own, and asked on
    /// the same way as the load; another is asked directly over HTTP/1.1, with the target's TLS
    /// and proxy. A look takes at most `timeout`.
    ///
    /// # Errors
    /// When no client can be set up.
    pub fn new(
        target: &Target,
        (url, own): (Url, bool),
        headers: Vec<(String, String)>,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let mut target = target.clone();
        if !own {
            target.connections.http = HttpVersion::Http1;
            target.connections.unix_socket = None;
        }
        target.connect_timeout = target.connect_timeout.min(timeout);
        let build = |e: &dyn std::fmt::Display| ClientError::Build(e.to_string());
        let client = client_builder(&target, &url)?.pool_max_idle_per_host(0).build();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Self {
            name: name_of(&url),
            url,
            headers,
            timeout,
            client: client.map_err(|e| build(&e))?,
            runtime: runtime.map_err(|e| build(&e))?,
        })
    }

    async fn ask(&self) -> Result<Vec<u8>, ObserveError> {
        let request = self.client.get(self.url.clone()).header("accept", ACCEPT);
        let request = self.headers.iter().fold(request, |r, (name, value)| r.header(name, value));
        let mut response = request.send().await.map_err(failed)?;
        if !response.status().is_success() {
            return Err(ObserveError::Failed(format!("it answers HTTP {}", response.status().as_u16())));
        }
        if response.content_length().is_some_and(|length| length > MOST as u64) {
            return Err(ObserveError::TooLong(MOST));
        }
        let mut body = Vec::new();
        while let Some(bytes) = response.chunk().await.map_err(failed)? {
            if body.len() + bytes.len() > MOST {
                return Err(ObserveError::TooLong(MOST));
            }
            body.extend_from_slice(&bytes);
        }
        Ok(body)
    }
}

impl Source for Metrics {
    fn name(&self) -> &str {
        &self.name
    }

    fn read(&mut self) -> Result<Vec<Reading>, ObserveError> {
        let body = self.runtime.block_on(async {
            let asked = tokio::time::timeout(self.timeout, self.ask()).await;
            asked.unwrap_or(Err(ObserveError::Timeout(self.timeout)))
        })?;
        let parsed = exposition::parse(&String::from_utf8_lossy(&body));
        match parsed.bad {
            Some((line, text)) if parsed.readings.is_empty() => {
                let text: String = text.chars().filter(|c| !c.is_control()).collect();
                Err(ObserveError::Failed(format!("its answer is no Prometheus text, as line {line}: {text}")))
            }
            _ => Ok(parsed.readings),
        }
    }
}

/// The address as it may be seen: without what may be a key.
fn name_of(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Only an address that can't have a password refuses to lose it.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    url.to_string()
}

/// The cause, without the address, whose query may hold a key.
fn failed(error: reqwest::Error) -> ObserveError {
    let error = error.without_url();
    let mut words = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        words = cause.to_string();
        source = cause.source();
    }
    ObserveError::Failed(words)
}
