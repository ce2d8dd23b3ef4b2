//! How connections to a target are set up, for questions and for load alike.

use std::path::PathBuf;
use std::sync::Once;
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use url::{Host, Url};

use super::DiscoverError;
use crate::experiment::Target;

/// The header of the key.
pub(super) const AUTHORIZATION: &str = "authorization";

/// A client that can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("target.tls.ca_file: cannot read {path}: {source}")]
    CaFile { path: PathBuf, source: std::io::Error },
    #[error("target.tls.ca_file: {path} holds no PEM certificate{reason}")]
    CaFormat { path: PathBuf, reason: String },
    #[error("cannot set up an HTTP client: {0}")]
    Build(String),
}

/// A client for `target` at `base`: HTTP/1.1, no redirects (they would hide a hop's time in a
/// request's), `TCP_NODELAY`, the target's TLS settings and connect time-out. Proxies of
/// the environment are used, but never towards this machine. No limit on whole requests:
/// that is for the caller.
///
/// # Errors
/// When the file of certificate authorities can't be read.
pub fn client_builder(target: &Target, base: &Url) -> Result<reqwest::ClientBuilder, ClientError> {
    static PROVIDER: Once = Once::new();
    // An error would mean that one is installed already, which is as good.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("plimsoll/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .tcp_nodelay(true)
        .connect_timeout(target.connect_timeout.max(Duration::from_millis(1)));
    if is_loopback(base) {
        builder = builder.no_proxy();
    }
    if base.scheme() == "http" {
        // Nothing is encrypted: spare the start the reading of the system's certificates.
        return Ok(builder.tls_certs_only([]));
    }
    if let Some(path) = &target.tls.ca_file {
        let pem = std::fs::read(path).map_err(|source| ClientError::CaFile { path: path.clone(), source })?;
        let format = |reason: String| ClientError::CaFormat { path: path.clone(), reason };
        let certs = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| format(format!(": {e}")))?;
        if certs.is_empty() {
            return Err(format(String::new()));
        }
        builder = builder.tls_certs_merge(certs);
    }
    if target.tls.insecure {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    Ok(builder)
}

/// Whether `base` is on this machine.
#[must_use]
pub fn is_loopback(base: &Url) -> bool {
    match base.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// Where a server has what is not of the OpenAI API: above the `/v1` that a base may end in.
pub(super) fn root(base: &Url) -> Url {
    let mut root = base.clone();
    let path = base.path().trim_end_matches('/');
    root.set_path(path.strip_suffix("/v1").unwrap_or(path));
    root
}

/// The headers of every request, with keys from the environment. `lenient`: a variable that
/// is not set is noted, not refused, as servers on this machine seldom ask for a key.
pub(super) fn headers(
    target: &Target,
    lenient: bool,
    variable: impl Fn(&str) -> Option<String>,
    notes: &mut Vec<String>,
) -> Result<Vec<(String, String)>, DiscoverError> {
    let mut headers = Vec::new();
    let mut secret = |name: &str, key: &str| match variable(name).filter(|v| !v.is_empty()) {
        Some(value) => Ok(Some(value)),
        None if lenient => {
            notes.push(format!("{name}, named by {key}, is not set: sending none"));
            Ok(None)
        }
        None => Err(DiscoverError::NoVariable { name: name.to_owned(), key: key.to_owned() }),
    };
    for (name, value) in &target.headers {
        let key = format!("target.headers.{name}");
        let value = match value.strip_prefix("env:") {
            Some(variable) => secret(variable, &key)?,
            None => Some(value.clone()),
        };
        headers.extend(value.map(|v| (key, name.to_ascii_lowercase(), v)));
    }
    if let Some(name) = &target.api_key_env
        && !headers.iter().any(|(_, name, _)| name == AUTHORIZATION)
        && let Some(key) = secret(name, "target.api_key_env")?
    {
        headers.push(("target.api_key_env".to_owned(), AUTHORIZATION.to_owned(), format!("Bearer {key}")));
    }
    for (key, name, value) in &headers {
        let reason = if HeaderName::try_from(name).is_err() {
            "is no name of an HTTP header"
        } else if HeaderValue::try_from(value).is_err() {
            "the value has characters that no HTTP header may have, such as a line break"
        } else {
            continue;
        };
        return Err(DiscoverError::Header { key: key.clone(), reason: reason.to_owned() });
    }
    Ok(headers.into_iter().map(|(_, name, value)| (name, value)).collect())
}
