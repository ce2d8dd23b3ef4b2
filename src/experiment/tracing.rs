//! `[tracing]`: requests that bear the name of a trace, and where to look at it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::gate::alone;
use super::mistake::Mistakes;
use super::read;

/// What stands in a link for the name of the trace.
pub const TRACE_ID: &str = "{trace_id}";

/// Which requests are traced, and where their traces are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tracing {
    /// Share of the arrivals that bear a `traceparent`, more than 0 and at most 1.
    pub share: f64,
    /// URL of a trace, with `{trace_id}` in its place.
    pub link: Option<String>,
    /// Base URL of an OTLP/HTTP receiver that this client's own spans are sent to.
    pub otlp: Option<String>,
    /// Headers of what is sent there; a value `env:NAME` is read from the environment when it is
    /// sent, and never stored.
    pub headers: BTreeMap<String, String>,
}

impl Tracing {
    /// The `[tracing]` section of an experiment file's text, with the `--set` overrides that it ran
    /// with, and nothing else of it. `None` without such a section.
    ///
    /// # Errors
    /// Every mistake in that section.
    pub fn of_experiment(path: &Path, text: &str, sets: &[String]) -> Result<Option<Self>, Mistakes> {
        alone(path, text, sets, "tracing", read::tracing)
    }

    /// Where a trace can be looked at.
    #[must_use]
    pub fn link_to(&self, trace_id: &str) -> Option<String> {
        self.link.as_ref().map(|link| link.replace(TRACE_ID, trace_id))
    }
}
