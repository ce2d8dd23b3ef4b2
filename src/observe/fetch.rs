//! Asks one address again and again, by one request after the other, each on a connection of its
//! own: nothing depends on how a server treats kept-alive ones, and nothing is shared with the
//! load.

use std::time::Duration;

use url::Url;

use super::ObserveError;
use crate::experiment::{HttpVersion, Target};
use crate::server::{ClientError, client_builder};

/// A longer answer is no table of figures: 5,000 series are about half a megabyte.
const MOST: usize = 16 << 20;

/// See the module.
pub(super) struct Fetch {
    url: Url,
    headers: Vec<(String, String)>,
    timeout: Duration,
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

impl Fetch {
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
            url,
            headers,
            timeout,
            client: client.map_err(|e| build(&e))?,
            runtime: runtime.map_err(|e| build(&e))?,
        })
    }

    /// The body of a good answer.
    pub fn get(&self, accept: &str) -> Result<Vec<u8>, ObserveError> {
        self.runtime.block_on(async {
            let asked = tokio::time::timeout(self.timeout, self.ask(accept)).await;
            asked.unwrap_or(Err(ObserveError::Timeout(self.timeout)))
        })
    }

    async fn ask(&self, accept: &str) -> Result<Vec<u8>, ObserveError> {
        let request = self.client.get(self.url.clone()).header("accept", accept);
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
