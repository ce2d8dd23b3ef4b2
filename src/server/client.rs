//! How connections to a target are set up, for questions and for load alike.

use std::path::PathBuf;
use std::sync::Once;
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use url::{Host, Url};

use super::DiscoverError;
use super::route::Route;
use super::tls::tls_config;
use crate::experiment::{HttpVersion, Target, Tls};

/// What this client calls itself.
pub const USER_AGENT: &str = concat!("plimsoll/", env!("CARGO_PKG_VERSION"));

/// The header of the key.
pub(super) const AUTHORIZATION: &str = "authorization";

/// A client that can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{key}: cannot read {path}: {source}")]
    File { key: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{key}: {path} holds no PEM {what}{reason}")]
    Pem { key: &'static str, path: PathBuf, what: &'static str, reason: String },
    #[error("target.proxy: {0}")]
    Proxy(String),
    #[error("cannot set up an HTTP client: {0}")]
    Build(String),
}

impl ClientError {
    /// Whether what the user wrote is at fault.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        !matches!(self, Self::Build(_))
    }
}

/// A client for questions to `target` at `base`, on the same way as the load: no redirects
/// (they would hide a hop's time in a request's), `TCP_NODELAY`, the target's settings of TLS,
/// proxy and HTTP version, and its connect time-out. No limit on whole requests: that is for
/// the caller.
///
/// # Errors
/// When a file of certificates can't be read, or what is named as a proxy is none.
pub fn client_builder(target: &Target, base: &Url) -> Result<reqwest::ClientBuilder, ClientError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .tcp_nodelay(true)
        .no_proxy()
        .connect_timeout(target.connect_timeout.max(Duration::from_millis(1)));
    builder = match target.connections.http {
        HttpVersion::Http1 => builder.http1_only(),
        HttpVersion::Http2 => builder.http2_prior_knowledge(),
    };
    builder = match Route::to(base, &target.connections, Route::environment)? {
        Route::Direct => builder,
        Route::Unix(path) => builder.unix_socket(path),
        Route::Http { proxy, auth } => {
            let through = named_proxy(&proxy)?;
            builder.proxy(match auth {
                Some(auth) => through.custom_http_auth(auth),
                None => through,
            })
        }
        Route::Socks { proxy, auth, .. } => {
            let through = named_proxy(&proxy)?;
            builder.proxy(match auth {
                Some((name, password)) => through.basic_auth(&name, &password),
                None => through,
            })
        }
    };
    // Where nothing is encrypted the start is spared the reading of the system's certificates.
    Ok(if base.scheme() == "http" {
        install_crypto();
        builder.tls_certs_only([])
    } else {
        builder.tls_backend_preconfigured(tls_config(&target.tls)?)
    })
}

/// A client for requests to `base`, which is not under test, such as a gateway that takes figures: no
/// redirects, no proxy, the system's authorities.
///
/// # Errors
/// When TLS can't be set up.
pub fn plain_client(base: &Url) -> Result<reqwest::ClientBuilder, ClientError> {
    let builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .http1_only();
    Ok(if base.scheme() == "http" {
        install_crypto();
        builder.tls_certs_only([])
    } else {
        builder.tls_backend_preconfigured(tls_config(&Tls::default())?)
    })
}

fn named_proxy(proxy: &hyper::Uri) -> Result<reqwest::Proxy, ClientError> {
    reqwest::Proxy::all(proxy.to_string())
        .map_err(|_| ClientError::Proxy("it is no URL of a proxy".to_owned()))
}

/// reqwest wants a process-wide one, even where nothing is encrypted.
fn install_crypto() {
    static PROVIDER: Once = Once::new();
    // An error would mean that one is installed already, which is as good.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
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

/// The header that bears the target's key.
pub(super) fn key_header(target: &Target) -> &'static str {
    target.provider().and_then(|provider| provider.features().key_header).unwrap_or(AUTHORIZATION)
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
    let features = target.provider().map(|provider| provider.features());
    let header = key_header(target);
    if let Some(name) = &target.api_key_env
        && !headers.iter().any(|(_, name, _)| name == header)
        && let Some(key) = secret(name, "target.api_key_env")?
    {
        let value = if header == AUTHORIZATION { format!("Bearer {key}") } else { key };
        headers.push(("target.api_key_env".to_owned(), header.to_owned(), value));
    }
    for (name, value) in features.map_or(&[][..], |features| features.headers) {
        if !headers.iter().any(|(_, there, _)| there == name) {
            headers.push(("target.api".to_owned(), (*name).to_owned(), (*value).to_owned()));
        }
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
