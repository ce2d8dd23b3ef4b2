//! Who may see the page and who may press its buttons.
//!
//! - **Host**: a page of another site whose name was made to lead here (DNS rebinding) still says its
//!   own name, and is refused.
//! - **Origin**: what another site's page sends says where it comes from, and is refused.
//! - **The page's token**: new with each process, known to the page alone; every change needs it.
//! - **The access token**: for addresses that others can reach; it becomes a cookie.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, COOKIE, HOST, HeaderName, ORIGIN};

use super::{Place, UiError};

/// Header that carries the page's token.
pub(super) const PAGE_TOKEN: &str = "x-plimsoll-token";

/// Least length of an access token that is given.
pub(super) const TOKEN_LENGTH: usize = 16;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Host,
    Origin,
    PageToken,
    /// The access token is wanted.
    SignIn,
}

impl Refusal {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Host => "this page is not served under that name",
            Self::Origin => "another site's page may not ask for this",
            Self::PageToken => "the page's token is missing or old: load the page again",
            Self::SignIn => "the access token is wanted: open the address that the terminal shows",
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Guard {
    loopback: bool,
    /// The machine's own name.
    machine: String,
    /// Where set, whoever comes must have it.
    access: Option<String>,
    /// What the cookie holds: not the access token, so that it doesn't lie in a browser's files.
    session: String,
    cookie: String,
    page: String,
}

/// 128 bits that nobody can guess, as text.
fn secret() -> String {
    format!("{:032x}", rand::random::<u128>())
}

impl Guard {
    /// # Errors
    /// When the token that was given is too short, or could not stand in an address.
    pub(super) fn new(place: &Place, port: u16) -> Result<Self, UiError> {
        let loopback = place.addr.ip().is_loopback();
        let plain = |token: &str| {
            token.len() >= TOKEN_LENGTH
                && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        let access = match &place.token {
            Some(token) if !plain(token) => return Err(UiError::Token),
            Some(token) => Some(token.clone()),
            None => (!loopback).then(secret),
        };
        Ok(Self {
            loopback,
            machine: rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase(),
            access,
            session: secret(),
            cookie: format!("plimsoll-{port}"),
            page: secret(),
        })
    }

    /// The token that the page sends along with changes.
    pub(super) fn page_token(&self) -> &str {
        &self.page
    }

    /// The access token, where there is one.
    pub(super) fn access(&self) -> Option<&str> {
        self.access.as_deref()
    }

    /// Whether this is the access token.
    pub(super) fn lets_in(&self, token: &str) -> bool {
        self.access.as_deref().is_some_and(|access| same(access, token))
    }

    /// The header that makes a browser keep what shows that it was let in.
    pub(super) fn cookie(&self) -> String {
        format!("{}={}; Path=/; HttpOnly; SameSite=Strict", self.cookie, self.session)
    }

    /// Whether anyone at this name may be answered.
    pub(super) fn check_host(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        match text(headers, HOST) {
            Some(host) if self.is_ours(host) => Ok(()),
            _ => Err(Refusal::Host),
        }
    }

    fn is_ours(&self, host: &str) -> bool {
        let name = name_of(host).to_ascii_lowercase();
        let ip = name.trim_matches(&['[', ']'][..]).parse::<IpAddr>();
        match ip {
            // No name is looked up for an address, so none can be made to lead elsewhere.
            Ok(ip) => !self.loopback || ip.is_loopback(),
            Err(_) => name == "localhost" || (!self.loopback && name == self.machine),
        }
    }

    /// Whether a request to look at something may be answered.
    pub(super) fn check_look(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        self.check_host(headers)?;
        // Another site's page, and not a person who follows a link.
        let site = text(headers, HeaderName::from_static("sec-fetch-site"));
        let mode = text(headers, HeaderName::from_static("sec-fetch-mode"));
        if site.is_some_and(|site| site == "cross-site" || site == "same-site") && mode != Some("navigate") {
            return Err(Refusal::Origin);
        }
        self.check_origin(headers)?;
        if self.access.is_some() && !self.is_in(headers) { Err(Refusal::SignIn) } else { Ok(()) }
    }

    /// Whether a request to change something may be answered.
    pub(super) fn check_change(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        self.check_look(headers)?;
        match text(headers, HeaderName::from_static(PAGE_TOKEN)) {
            Some(token) if same(token, &self.page) => Ok(()),
            _ => Err(Refusal::PageToken),
        }
    }

    /// What a browser says of whence a request comes must be here.
    pub(super) fn check_origin(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
        let host = text(headers, HOST).unwrap_or_default();
        // A proxy in front may speak TLS.
        let ours = ["http://", "https://"]
            .iter()
            .any(|scheme| origin.to_str().ok().and_then(|origin| origin.strip_prefix(scheme)) == Some(host));
        if ours { Ok(()) } else { Err(Refusal::Origin) }
    }

    /// Whether the access token was shown, now or before.
    fn is_in(&self, headers: &HeaderMap) -> bool {
        let bearer = text(headers, AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        if bearer.is_some_and(|token| self.lets_in(token)) {
            return true;
        }
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        cookies.flat_map(|line| line.split(';')).any(|cookie| {
            cookie
                .trim()
                .split_once('=')
                .is_some_and(|(name, value)| name == self.cookie && same(value, &self.session))
        })
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// The name in `name:port`.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// Whether two secrets are equal, in a time that doesn't tell where they differ.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn guard(addr: &str) -> Guard {
        Guard::new(&Place { addr: addr.parse().unwrap(), token: None }, 8089).unwrap()
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn names_of_others_are_refused() {
        let local = guard("127.0.0.1:8089");
        for ours in ["127.0.0.1:8089", "localhost:8089", "LOCALHOST", "[::1]:9000", "127.0.0.1"] {
            assert_eq!(local.check_look(&headers(&[("host", ours)])), Ok(()), "{ours}");
        }
        for other in ["evil.example:8089", "localhost.evil.example", "10.0.0.1:8089", "", "127.0.0.1.nip.io"]
        {
            assert_eq!(local.check_look(&headers(&[("host", other)])), Err(Refusal::Host), "{other:?}");
        }
        assert_eq!(local.check_look(&headers(&[])), Err(Refusal::Host));
        let open = guard("0.0.0.0:8089");
        assert_eq!(open.check_look(&headers(&[("host", "evil.example:8089")])), Err(Refusal::Host));
        assert_eq!(open.check_look(&headers(&[("host", "10.0.0.1:8089")])), Err(Refusal::SignIn));
    }

    #[test]
    fn what_another_site_sends_is_refused() {
        let guard = guard("127.0.0.1:8089");
        let host = ("host", "localhost:8089");
        let token = (PAGE_TOKEN, guard.page_token());
        assert_eq!(guard.check_change(&headers(&[host, token])), Ok(()));
        assert_eq!(guard.check_change(&headers(&[host, token, ("origin", "http://localhost:8089")])), Ok(()));
        for origin in
            ["http://evil.example", "null", "http://localhost:8080", "http://localhost:8089.evil.example"]
        {
            let asked = headers(&[host, token, ("origin", origin)]);
            assert_eq!(guard.check_change(&asked), Err(Refusal::Origin), "{origin}");
        }
        assert_eq!(guard.check_change(&headers(&[host])), Err(Refusal::PageToken));
        assert_eq!(guard.check_change(&headers(&[host, (PAGE_TOKEN, "x")])), Err(Refusal::PageToken));
        let framed = headers(&[host, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")]);
        assert_eq!(guard.check_look(&framed), Err(Refusal::Origin));
        let followed = headers(&[host, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]);
        assert_eq!(guard.check_look(&followed), Ok(()));
    }

    #[test]
    fn other_addresses_need_a_token_that_becomes_a_cookie() {
        let guard = guard("0.0.0.0:8089");
        let host = ("host", "10.0.0.1:8089");
        let access = guard.access().unwrap().to_owned();
        assert!(guard.lets_in(&access) && !guard.lets_in("x") && !guard.lets_in(""));
        let bearer = format!("Bearer {access}");
        assert_eq!(guard.check_look(&headers(&[host, ("authorization", &bearer)])), Ok(()));
        let cookie = guard.cookie();
        assert!(
            cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains(&access)
        );
        let pair = format!("a=b; {}", cookie.split(';').next().unwrap());
        assert_eq!(guard.check_look(&headers(&[host, ("cookie", &pair)])), Ok(()));
        assert_eq!(guard.check_look(&headers(&[host, ("cookie", "plimsoll-8089=1")])), Err(Refusal::SignIn));
        let short = Place { addr: "0.0.0.0:1".parse().unwrap(), token: Some("short".to_owned()) };
        assert!(matches!(Guard::new(&short, 1), Err(UiError::Token)));
    }
}
