//! Where load goes, and how its connections are made.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::provider::{self, Custom, Provider};

/// What [`Target::max_tokens_field`] may be; the first is the usual one.
pub const MAX_TOKENS_FIELDS: [&str; 2] = ["max_tokens", "max_completion_tokens"];

/// Where load goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Base URL as written, such as `http://127.0.0.1:8000`, or `sim:` for the embedded
    /// simulator.
    pub url: String,
    /// Name of a provider, or `auto`: the one that the server is found to speak.
    pub api: String,
    /// Model name, or `auto`: the first that the server lists.
    pub model: String,
    /// Name of the environment variable that holds the API key.
    pub api_key_env: Option<String>,
    /// Further headers. A value `env:NAME` is read from the environment when it is sent and
    /// never stored.
    pub headers: BTreeMap<String, String>,
    /// Keys that override the request's body.
    pub extra_body: Map<String, Value>,
    /// Key of the body that bears the output length asked for: `max_tokens`, or
    /// `max_completion_tokens` for models that refuse the other. Left out of `plan.json` where
    /// it is the usual one, so that a plan made before the key existed keeps its hash.
    #[serde(default = "usual_max_tokens_field", skip_serializing_if = "is_usual_max_tokens_field")]
    pub max_tokens_field: String,
    /// Limit of a whole request.
    pub timeout: Duration,
    pub connect_timeout: Duration,
    /// Limit until the first content; `None`: `timeout` alone.
    pub first_token_timeout: Option<Duration>,
    /// Limit between two reads of a stream; `None`: `timeout` alone.
    pub stall_timeout: Option<Duration>,
    pub tls: Tls,
    /// How connections are made. Left out of `plan.json` where all is as usual, so that a plan
    /// made before these keys existed keeps its hash.
    #[serde(default, skip_serializing_if = "Connections::is_usual")]
    pub connections: Connections,
    /// `[target.custom]`: the API itself, where `api` is `custom`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<Custom>,
}

impl Target {
    /// What the provider is built with.
    #[must_use]
    pub fn options(&self) -> provider::Options {
        provider::Options { custom: self.custom.clone(), ..provider::Options::default() }
    }

    /// The provider that `api` names; `None` when there is none of that name, or the server has
    /// to be asked.
    #[must_use]
    pub fn provider(&self) -> Option<Box<dyn Provider>> {
        provider::find(&self.api).map(|entry| (entry.build)(&self.options()))
    }

    /// Whether the embedded simulator is meant.
    #[must_use]
    pub fn is_sim(&self) -> bool {
        self.url == "sim:"
    }
}

fn usual_max_tokens_field() -> String {
    MAX_TOKENS_FIELDS[0].to_owned()
}

fn is_usual_max_tokens_field(field: &str) -> bool {
    field == MAX_TOKENS_FIELDS[0]
}

/// TLS settings of a target.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Tls {
    /// PEM file with further certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the certificate by which this client shows who it is, and its chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// PEM file with that certificate's private key. Only its path is ever stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Accept any certificate. For tests of one's own server.
    pub insecure: bool,
}

/// How connections to a target are made and kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    pub http: HttpVersion,
    /// Use a connection for one request after another; `false`: a fresh one for each.
    pub keep_alive: bool,
    /// Connect to this Unix socket; the URL then only says what is asked for.
    pub unix_socket: Option<PathBuf>,
    pub proxy: Proxy,
    pub dns: Dns,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            http: HttpVersion::Http1,
            keep_alive: true,
            unix_socket: None,
            proxy: Proxy::Environment,
            dns: Dns::Start,
        }
    }
}

impl Connections {
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// The version of HTTP that a target is spoken to with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpVersion {
    #[serde(rename = "1.1")]
    Http1,
    /// Many requests at once on one connection; without TLS by prior knowledge.
    #[serde(rename = "2")]
    Http2,
}

/// What stands between this client and a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proxy {
    /// What `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say; never towards this
    /// machine itself.
    Environment,
    None,
    /// This one: `http://`, `socks5://` or `socks5h://`; or `env:NAME`, a variable that holds
    /// such a URL, which may then bear a name and password.
    Url(String),
}

/// When the target's name is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dns {
    /// Once, before a cell starts: no request waits for it.
    Start,
    /// For every new connection.
    Connect,
}
