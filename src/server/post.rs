//! Posts a text to an address that is not the server under test.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Map;
use url::Url;

use super::ask::{AskError, Asker};
use super::hook::words;
use super::{Stop, client, is_loopback};
use crate::experiment::{Connections, MAX_TOKENS_FIELDS, Target, Tls};

/// Where texts are posted to.
pub struct Post<'a> {
    /// A URL, or `env:NAME` of a variable that holds one.
    pub url: &'a str,
    /// A value `env:NAME` is read from the environment.
    pub headers: &'a BTreeMap<String, String>,
    /// Longest that one may take.
    pub timeout: Duration,
}

/// It did not arrive, in words that hold neither the URL's path nor a secret.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    #[error("{0}")]
    Address(String),
    #[error("{host}: {reason}")]
    Failed { host: String, reason: String },
}

/// Posts texts to one address. Redirects are not followed, and of proxies those of the environment are
/// used.
pub struct Poster {
    asker: Asker,
    url: Url,
    /// What is told of the address: it may be a secret beyond its host.
    host: String,
    timeout: Duration,
}

impl Poster {
    /// To this address, given up as soon as `stop` says so.
    ///
    /// # Errors
    /// When it can't be made sense of, or a variable that it names is not set.
    pub fn new(post: &Post<'_>, stop: &Stop) -> Result<Self, PostError> {
        let text = match post.url.strip_prefix("env:") {
            Some(name) => match std::env::var(name) {
                Ok(value) if !value.is_empty() => value,
                _ => return Err(PostError::Address(format!("{name}, which is to hold the URL, is not set"))),
            },
            None => post.url.to_owned(),
        };
        // A URL from the environment may be a secret whatever is wrong with it.
        let url = Url::parse(text.trim())
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| {
                PostError::Address(format!("{} is no http:// or https:// URL", named(post.url)))
            })?;
        let host = match url.port() {
            Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
            None => url.host_str().unwrap_or_default().to_owned(),
        };
        let failed = |reason: String| PostError::Failed { host: host.clone(), reason };
        let target = stranger(&text, post);
        let variable = |name: &str| std::env::var(name).ok();
        let headers = client::headers(&target, is_loopback(&url), variable, &mut Vec::new())
            .map_err(|error| failed(error.to_string().replace("target.headers", "headers")))?;
        let asker =
            Asker::new(&target, &url, headers, Stop::clone(stop)).map_err(|e| failed(e.to_string()))?;
        Ok(Self { asker, url, host, timeout: post.timeout })
    }

    /// POST a text; any answer of 200 to 299 is a good one.
    ///
    /// # Errors
    /// When it can't be sent, is answered otherwise, or takes too long.
    pub fn send(&self, content_type: &str, body: String) -> Result<(), PostError> {
        let failed = |reason: String| PostError::Failed { host: self.host.clone(), reason };
        let answer = self.asker.post_as(&self.url, (content_type, body), self.timeout).map_err(|e| {
            // A request's error names the whole URL.
            let error = match e {
                AskError::Http(error) => AskError::Http(error.without_url()),
                other => other,
            };
            failed(error.words(&self.url).0)
        })?;
        if answer.is_ok() {
            return Ok(());
        }
        let said = words(&answer.body);
        let path = self.url.path();
        let said = if path.len() > 1 { said.replace(path, "[hidden]") } else { said };
        Err(failed(format!("HTTP {}: {said}", answer.status)))
    }
}

/// How a URL as written is called in an error.
fn named(url: &str) -> &str {
    url.strip_prefix("env:").unwrap_or("the address")
}

/// A target that has nothing of the server under test but its type.
fn stranger(url: &str, post: &Post<'_>) -> Target {
    Target {
        url: url.to_owned(),
        api: String::new(),
        model: String::new(),
        api_key_env: None,
        headers: post.headers.clone(),
        extra_body: Map::new(),
        max_tokens_field: MAX_TOKENS_FIELDS[0].to_owned(),
        timeout: post.timeout,
        connect_timeout: post.timeout,
        first_token_timeout: None,
        stall_timeout: None,
        tls: Tls::default(),
        connections: Connections::default(),
        custom: None,
    }
}
