//! One figure of a cell by its key: `ttft_p95`, `output_tps`.

use std::fmt;

use serde::{Serialize, Serializer};

use super::mistake::nearest;
use super::reader::Field;
use crate::metrics::{Better, Kind, METRICS, Metric, STATS};

/// A metric and, of a distribution, a statistic of it. Only of metrics that have a good
/// direction: the others can neither regress nor miss a limit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity {
    /// As in `metrics::METRICS`.
    pub metric: String,
    /// As in `metrics::STATS`; empty for a scalar.
    pub stat: String,
}

impl Quantity {
    /// Of these names, which are taken as they are.
    #[must_use]
    pub fn new(metric: &str, stat: &str) -> Self {
        Self { metric: metric.to_owned(), stat: stat.to_owned() }
    }

    /// By its key.
    ///
    /// # Errors
    /// The nearest key, if one is near, when there is none of this name.
    pub fn parse(key: &str) -> Result<Self, Option<String>> {
        find(key).map(|(metric, stat)| Self::new(metric.name, stat)).ok_or_else(|| near(key, &[]))
    }
}

impl Quantity {
    /// Every key in words.
    #[must_use]
    pub fn allowed() -> String {
        allowed()
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stat.as_str() {
            "" => f.write_str(&self.metric),
            stat => write!(f, "{}_{stat}", self.metric),
        }
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Statistics that can have a limit: all but the number of samples.
fn stats() -> impl Iterator<Item = &'static str> {
    STATS.into_iter().filter(|s| *s != "n")
}

/// The metrics that have a good direction, so that a limit means something.
fn metrics(kind: Kind) -> impl Iterator<Item = &'static Metric> {
    METRICS.iter().filter(move |m| m.kind == kind && m.better != Better::Neither)
}

/// Metric and statistic of a key: `ttft_p95`, `error_rate`.
pub(super) fn find(key: &str) -> Option<(&'static Metric, &'static str)> {
    if let Some(metric) = metrics(Kind::Scalar).find(|m| m.name == key) {
        return Some((metric, ""));
    }
    let (name, stat) = key.rsplit_once('_')?;
    Some((metrics(Kind::Distribution).find(|m| m.name == name)?, stats().find(|s| *s == stat)?))
}

/// The key that was likely meant; `others` are keys that are no quantities.
fn near(key: &str, others: &[&str]) -> Option<String> {
    if metrics(Kind::Distribution).any(|m| m.name == key) {
        return Some(format!("{key}_p95"));
    }
    let keys: Vec<String> = metrics(Kind::Distribution)
        .flat_map(|m| stats().map(move |s| format!("{}_{s}", m.name)))
        .chain(metrics(Kind::Scalar).map(|m| m.name.to_owned()))
        .chain(others.iter().map(|other| (*other).to_owned()))
        .collect();
    nearest(key, keys.iter().map(String::as_str)).map(str::to_owned)
}

/// Every key in words.
pub(super) fn allowed() -> String {
    let names = |kind| metrics(kind).map(|m| m.name).collect::<Vec<_>>().join(", ");
    format!(
        "<metric>_<statistic> with metric {} and statistic {}; or {}",
        names(Kind::Distribution),
        stats().collect::<Vec<_>>().join(", "),
        names(Kind::Scalar),
    )
}

/// A mistake: the key is no quantity, nor one of `others`, which may stand there too.
pub(super) fn unknown(field: &Field<'_>, others: &[&str]) {
    let more = if others.is_empty() { String::new() } else { format!("; or {}", others.join(", ")) };
    field.unknown_key(near(field.name(), others), format!("{}{more}", allowed()));
}

/// The text of a field as a quantity; one that is none is a mistake.
pub(super) fn of_text(field: &Field<'_>) -> Option<Quantity> {
    let text = field.str()?;
    match Quantity::parse(text) {
        Ok(quantity) => Some(quantity),
        Err(near) => {
            field.unknown_figure(near.as_deref(), &allowed());
            None
        }
    }
}
