//! `[publish]`: where this client's own figures go while a sweep runs.

use std::net::SocketAddr;
use std::time::Duration;

/// Where figures go. Changes nothing of what is measured, so it is no part of a cell's identity, and a
/// run may be gone on with under another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishSettings {
    /// Where Prometheus may scrape; `None`: nowhere.
    pub listen: Option<SocketAddr>,
    /// How long the figures stay after the sweep, at most, for a last scrape.
    pub linger: Duration,
    /// Cells whose figures are kept, the latest; at least 1.
    pub cells: usize,
    pub pushgateway: Option<PushSettings>,
    pub otlp: Option<OtlpSettings>,
    pub grafana: Option<GrafanaSettings>,
}

impl PublishSettings {
    /// A little more than Prometheus' usual interval of 15 s.
    pub const LINGER: Duration = Duration::from_secs(20);
    /// Usual number of cells that are kept.
    pub const CELLS: usize = 64;
}

impl Default for PublishSettings {
    fn default() -> Self {
        let (linger, cells) = (Self::LINGER, Self::CELLS);
        Self { listen: None, linger, cells, pushgateway: None, otlp: None, grafana: None }
    }
}

impl PublishSettings {
    /// Whether figures go anywhere.
    #[must_use]
    pub const fn is_wanted(&self) -> bool {
        self.listen.is_some() || self.pushgateway.is_some() || self.otlp.is_some() || self.grafana.is_some()
    }
}

/// `[publish.pushgateway]`. The password is named, never held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushSettings {
    /// Base URL.
    pub url: String,
    pub job: String,
    pub instance: Option<String>,
    /// Further labels of the grouping key.
    pub grouping: Vec<(String, String)>,
    pub interval: Duration,
    pub method: PushMethod,
    /// Delete the group at the end, once `linger` has passed.
    pub delete: bool,
    pub user: Option<String>,
    /// Environment variable that holds the password.
    pub password_env: Option<String>,
    /// Push the figures under the names `llm_…` too.
    pub aliases: bool,
}

/// What a push does with what the group held before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushMethod {
    /// All of it goes.
    Put,
    /// What has another name stays.
    Post,
}

/// `[publish.otlp]`. Values of headers may be `env:NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpSettings {
    pub endpoint: OtlpEndpoint,
    pub headers: Vec<(String, String)>,
    pub interval: Duration,
}

/// Where metrics are posted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OtlpEndpoint {
    /// A base URL; `/v1/metrics` is added unless it ends so.
    Url(String),
    /// As `OTEL_EXPORTER_OTLP_ENDPOINT` and `OTEL_EXPORTER_OTLP_HEADERS` say.
    Environment,
}

/// `[publish.grafana]`: an annotation for each cell. The token is named, never held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrafanaSettings {
    /// Base URL.
    pub url: String,
    /// Environment variable that holds the token of a service account.
    pub token_env: Option<String>,
    /// UID of the dashboard; `None`: of all of the organisation.
    pub dashboard: Option<String>,
    /// Tags beside `plimsoll` and the experiment's name.
    pub tags: Vec<String>,
}
