//! An address that answers with Prometheus' text.

use std::time::Duration;

use url::Url;

use super::fetch::Fetch;
use super::{ObserveError, Reading, Source};
use crate::experiment::Target;
use crate::exposition;
use crate::server::ClientError;

/// What is asked for; most servers have nothing else.
const ACCEPT: &str = "text/plain;version=0.0.4, application/openmetrics-text;version=1.0.0;q=0.8, */*;q=0.1";

/// See the module.
pub struct Metrics {
    name: String,
    fetch: Fetch,
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
        Ok(Self { name: name_of(&url), fetch: Fetch::new(target, (url, own), headers, timeout)? })
    }
}

impl Source for Metrics {
    fn name(&self) -> &str {
        &self.name
    }

    fn read(&mut self) -> Result<Vec<Reading>, ObserveError> {
        let body = self.fetch.get(ACCEPT)?;
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
