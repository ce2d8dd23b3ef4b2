//! What is read of the servers while cells run: which sources there are, and what is told of them.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use url::Url;

use super::{bench, inside};
use crate::event::{Event, Watcher};
use crate::experiment::{MetricsFrom, MetricsUrl, ObserveSettings, Target};
use crate::measure::{CellSummary, Inside};
use crate::observe::{Metrics, Observer, OwnServer, Source, Watch};
use crate::plan::Cell;
use crate::record::{CellRun, Observed};
use crate::server::Found;
use crate::units::format_duration;

/// Watches cells, one after the other.
pub(super) struct Observing {
    settings: ObserveSettings,
    /// Of the last cell, and what they are of.
    sources: Vec<Box<dyn Source>>,
    of: Vec<String>,
    /// Remarks that were made: once in a run is enough.
    told: HashSet<String>,
    /// The server that we started, as it is now.
    own: OwnServer,
}

impl Observing {
    pub(super) fn new(settings: &ObserveSettings) -> Self {
        Self {
            settings: settings.clone(),
            sources: Vec::new(),
            of: Vec::new(),
            told: HashSet::new(),
            own: OwnServer::default(),
        }
    }

    /// The server that we started runs in this process group; `None`: none does.
    pub(super) fn own_server(&self, group: Option<u32>) {
        self.own.set(group);
    }

    /// What was read inside the server over a cell, as its figures, held against the limits.
    pub(super) fn inside(&self, run: &CellRun, summary: &CellSummary) -> Option<Inside> {
        let nothing = Observed::default();
        let tokens = summary.value("output_tps", "").map(|tps| tps * run.window.seconds());
        let observed = run.observed.as_ref().unwrap_or(&nothing);
        Inside::of(observed, run.window, tokens, &self.settings.inside.limits)
    }

    /// Begin to watch a cell. Nothing that is amiss here ends it.
    pub(super) fn begin(
        &mut self,
        cell: &Cell,
        found: &[Rc<Found>],
        watcher: &mut dyn Watcher,
    ) -> Option<Watch> {
        let of: Vec<String> = bench::servers(found).iter().map(|one| key(one)).collect();
        let of: Vec<String> = of.into_iter().chain(self.own.group().map(|_| "our own".to_owned())).collect();
        if self.of != of || self.sources.is_empty() {
            self.of = of;
            let (sources, remarks) = self.all(cell, found);
            self.sources = sources;
            remarks.into_iter().for_each(|text| self.tell(text, watcher));
        }
        Observer::new(std::mem::take(&mut self.sources), self.settings.every).watch()
    }

    /// The cell has ended: read everything once more.
    pub(super) fn end(&mut self, watch: Watch, epoch_ns: u64, watcher: &mut dyn Watcher) -> Observed {
        let (observed, sources) = watch.end(epoch_ns);
        self.sources = sources;
        for note in &observed.notes {
            self.tell(note.clone(), watcher);
        }
        observed
    }

    fn tell(&mut self, text: String, watcher: &mut dyn Watcher) {
        // The first failure speaks for the others, whose counts differ.
        if self.told.insert(text.clone()) {
            watcher.on(&Event::Notice { text: &text });
        }
    }

    /// All sources for a cell, and what a person should know of them.
    fn all(&self, cell: &Cell, found: &[Rc<Found>]) -> (Vec<Box<dyn Source>>, Vec<String>) {
        let (mut sources, mut remarks) = (Vec::new(), Vec::new());
        for address in self.addresses(cell, found) {
            let source = address.and_then(|Address { target, url, own, headers }| {
                Metrics::new(target, (url, own), headers, self.settings.timeout).map_err(|e| e.to_string())
            });
            match source {
                Ok(source) => {
                    let every = format_duration(self.settings.every);
                    remarks.push(format!("{} is read every {every} while cells run", source.name()));
                    sources.push(Box::new(source) as Box<dyn Source>);
                }
                Err(why) => remarks.push(format!("observe.metrics: {why}")),
            }
        }
        inside::add(&self.settings, (cell, found), &self.own, (&mut sources, &mut remarks));
        (sources, remarks)
    }

    /// What answers with Prometheus' text, or why it can't be asked.
    fn addresses<'c>(&self, cell: &'c Cell, found: &[Rc<Found>]) -> Vec<Result<Address<'c>, String>> {
        let mut parts = cell.settings.parts().map(|(target, _)| target).zip(found);
        match &self.settings.metrics {
            MetricsFrom::Nowhere => Vec::new(),
            MetricsFrom::Auto => {
                let mut seen: Vec<&Url> = Vec::new();
                let mut all = Vec::new();
                for (target, one) in parts {
                    if let Some(url) = one.metrics.as_ref().filter(|url| !seen.contains(url)) {
                        seen.push(url);
                        let headers = one.endpoint.headers.clone();
                        all.push(Ok(Address { target, url: url.clone(), own: true, headers }));
                    }
                }
                all
            }
            MetricsFrom::These(urls) => {
                let Some((target, first)) = parts.next() else { return Vec::new() };
                urls.iter().map(|wanted| named(target, first, wanted)).collect()
            }
        }
    }
}

/// Where to ask, and how.
pub(super) struct Address<'c> {
    pub target: &'c Target,
    pub url: Url,
    /// It is the target's own.
    pub own: bool,
    pub headers: Vec<(String, String)>,
}

/// An address that the file names; the target's key is for the target alone.
pub(super) fn named<'c>(
    target: &'c Target,
    found: &Found,
    wanted: &MetricsUrl,
) -> Result<Address<'c>, String> {
    let (url, own) = place(&found.endpoint.base, wanted).map_err(|e| format!("{}: {e}", wanted.url))?;
    let mut headers = resolved(&wanted.headers, |name| std::env::var(name).ok())?;
    if own {
        let given: Vec<String> = headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        let more =
            found.endpoint.headers.iter().filter(|(name, _)| !given.contains(&name.to_ascii_lowercase()));
        headers.extend(more.cloned());
    }
    Ok(Address { target, url, own, headers })
}

/// What a source of a server is made of.
fn key(found: &Found) -> String {
    format!("{} {:?}", found.endpoint.base, found.metrics.as_ref().map(Url::as_str))
}

/// Where to ask, and whether that is the target's own.
fn place(base: &Url, wanted: &MetricsUrl) -> Result<(Url, bool), url::ParseError> {
    let path = wanted.url.starts_with('/');
    let url = if path { base.join(&wanted.url)? } else { Url::parse(&wanted.url)? };
    let own = path && url.origin() == base.origin();
    Ok((url, own))
}

/// Headers with their secrets from the environment; else the name of what is not set.
fn resolved(
    headers: &BTreeMap<String, String>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Vec<(String, String)>, String> {
    let one = |(name, value): (&String, &String)| match value.strip_prefix("env:") {
        None => Ok((name.clone(), value.clone())),
        Some(key) => match variable(key).filter(|value| !value.is_empty()) {
            Some(value) => Ok((name.clone(), value)),
            None => Err(format!("the environment variable {key} is not set")),
        },
    };
    headers.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_come_from_the_environment() {
        let headers =
            BTreeMap::from([("A".to_owned(), "env:KEY".to_owned()), ("B".to_owned(), "plain".to_owned())]);
        let set = resolved(&headers, |name| (name == "KEY").then(|| "hush".to_owned())).unwrap();
        assert_eq!(set, [("A".to_owned(), "hush".to_owned()), ("B".to_owned(), "plain".to_owned())]);
        assert!(resolved(&headers, |_| None).unwrap_err().contains("KEY is not set"));
    }

    #[test]
    fn a_path_is_the_targets_own_and_a_whole_address_is_not() {
        let base = Url::parse("http://h:8000/v1").unwrap();
        let at = |url: &str| {
            let wanted = MetricsUrl { url: url.to_owned(), headers: BTreeMap::new() };
            place(&base, &wanted).map(|(url, own)| (url.to_string(), own)).unwrap()
        };
        assert_eq!(at("/m?x=1"), ("http://h:8000/m?x=1".to_owned(), true));
        assert_eq!(at("http://h:9100/metrics"), ("http://h:9100/metrics".to_owned(), false));
    }
}
