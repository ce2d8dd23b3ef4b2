//! The way to a target: straight, to a Unix socket, or by a proxy.

use std::path::PathBuf;

use hyper::Uri;
use hyper::header::HeaderValue;
use hyper_util::client::proxy::matcher::Matcher;
use url::Url;

use super::client::{ClientError, is_loopback};
use crate::experiment::{Connections, Proxy};

/// How a target is reached. Holds a proxy's password: never logged, never stored.
#[derive(Clone)]
pub enum Route {
    /// By the host and port of its URL.
    Direct,
    Unix(PathBuf),
    /// By a proxy that speaks HTTP. A plain request is handed to it whole; TLS and HTTP/2 go
    /// through a tunnel that it opens.
    Http {
        proxy: Uri,
        auth: Option<HeaderValue>,
    },
    /// By a SOCKS5 proxy. `local_dns`: the target's name is looked up here.
    Socks {
        proxy: Uri,
        auth: Option<(String, String)>,
        local_dns: bool,
    },
}

impl Route {
    /// The way to `base`. `variable` gives the environment variable that `proxy = "env:NAME"`
    /// names.
    ///
    /// # Errors
    /// When what is named as a proxy is none.
    pub fn to(
        base: &Url,
        connections: &Connections,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ClientError> {
        if let Some(path) = &connections.unix_socket {
            return Ok(Self::Unix(path.clone()));
        }
        let matcher = match &connections.proxy {
            Proxy::None => return Ok(Self::Direct),
            Proxy::Environment if is_loopback(base) => return Ok(Self::Direct),
            Proxy::Environment => Matcher::from_env(),
            Proxy::Url(text) => {
                let written = match text.strip_prefix("env:") {
                    Some(name) => variable(name).filter(|v| !v.is_empty()).ok_or_else(|| {
                        ClientError::Proxy(format!("the environment variable {name} is not set"))
                    })?,
                    None => text.clone(),
                };
                Matcher::builder().all(written).build()
            }
        };
        let dst: Uri =
            base.as_str().parse().map_err(|_| ClientError::Proxy(format!("{base} has no host")))?;
        let Some(found) = matcher.intercept(&dst) else {
            return match &connections.proxy {
                Proxy::Url(_) => Err(ClientError::Proxy("it is no URL of a proxy".to_owned())),
                _ => Ok(Self::Direct),
            };
        };
        let proxy = found.uri().clone();
        match proxy.scheme_str() {
            Some("http") => Ok(Self::Http { proxy, auth: found.basic_auth().cloned() }),
            Some(scheme @ ("socks5" | "socks5h")) => {
                let auth = found.raw_auth().map(|(name, password)| (name.to_owned(), password.to_owned()));
                let local_dns = scheme == "socks5";
                Ok(Self::Socks { proxy, auth, local_dns })
            }
            scheme => Err(ClientError::Proxy(format!(
                "{} proxies are not spoken to; http, socks5 and socks5h are",
                scheme.unwrap_or("such")
            ))),
        }
    }

    /// What of it nobody may quote: a proxy's password, and the name and password as they are
    /// sent to it.
    pub(super) fn secrets(&self) -> Vec<String> {
        match self {
            Self::Direct | Self::Unix(_) => Vec::new(),
            Self::Http { auth, .. } => {
                let sent = auth.as_ref().and_then(|value| value.to_str().ok()?.strip_prefix("Basic "));
                let password = sent.and_then(from_base64).and_then(|both| {
                    let both = String::from_utf8(both).ok()?;
                    Some(both.split_once(':')?.1.to_owned())
                });
                sent.map(str::to_owned).into_iter().chain(password).collect()
            }
            Self::Socks { auth, .. } => auth.iter().map(|(_, password)| password.clone()).collect(),
        }
    }

    /// The environment's answer for [`Route::to`].
    #[must_use]
    pub fn environment(name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        held = held << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(base: &str, proxy: Proxy) -> Result<Route, ClientError> {
        let connections = Connections { proxy, ..Connections::default() };
        let held = |name: &str| (name == "P").then(|| "http://me:secret@proxy:3128".to_owned());
        Route::to(&base.parse().unwrap(), &connections, held)
    }

    #[test]
    fn proxies_are_found_by_what_is_written() {
        let url = |text: &str| Proxy::Url(text.to_owned());
        assert!(matches!(route("http://h:1", Proxy::None), Ok(Route::Direct)));
        assert!(matches!(route("http://127.0.0.1:1", Proxy::Environment), Ok(Route::Direct)));
        match route("http://127.0.0.1:1", url("http://proxy:3128")) {
            Ok(Route::Http { proxy, auth: None }) => assert_eq!(proxy.authority().unwrap(), "proxy:3128"),
            _ => panic!("one that is named is used even towards this machine"),
        }
        match route("https://h", url("env:P")) {
            Ok(route @ Route::Http { .. }) => assert_eq!(route.secrets(), ["bWU6c2VjcmV0", "secret"]),
            _ => panic!("its name and password come from the variable"),
        }
        assert!(matches!(route("http://h", url("socks5://p:1")), Ok(Route::Socks { local_dns: true, .. })));
        assert!(matches!(route("http://h", url("socks5h://p:1")), Ok(Route::Socks { local_dns: false, .. })));
        assert!(matches!(route("http://h", url("env:NONE")), Err(ClientError::Proxy(_))));
    }
}
