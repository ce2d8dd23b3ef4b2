//! `[observe]`: what is read of the server while a cell runs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::inside::InsideSettings;

/// What is read beside the load, and how often. No setting of a cell: it changes nothing that is
/// asked of a server.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ObserveSettings {
    pub metrics: MetricsFrom,
    /// From one look to the next.
    pub every: Duration,
    /// A look at one address takes no longer.
    pub timeout: Duration,
    /// Processes, GPUs, JSON, and the limits on them.
    #[serde(flatten)]
    pub inside: InsideSettings,
}

impl Default for ObserveSettings {
    fn default() -> Self {
        Self {
            metrics: MetricsFrom::Auto,
            every: Duration::from_secs(1),
            timeout: Duration::from_secs(2),
            inside: InsideSettings::default(),
        }
    }
}

/// Where Prometheus' text is to be had.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricsFrom {
    /// `/metrics` of each target, where it answers so.
    Auto,
    Nowhere,
    These(Vec<MetricsUrl>),
}

/// An address that tells figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricsUrl {
    /// A path at the target, or a whole URL.
    pub url: String,
    /// Sent along; a value `env:NAME` is that variable's, which is stored nowhere.
    pub headers: BTreeMap<String, String>,
}
