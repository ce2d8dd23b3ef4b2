//! Figures that go elsewhere while a sweep runs: the flags, and what is said of it.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::source::{SourceArgs, text};
use super::{Failure, say_err};
use crate::event::Watchers;
use crate::experiment::{Experiment, PublishSettings};
use crate::load::Control;
use crate::publish::{Ended, Publishing};

const OUT: &str = "Figures for others, while it runs (docs/publish.md)";
/// The end is told to be waited for if it takes longer.
const SOON: Duration = Duration::from_millis(500);

/// The arguments; all else is in the file's publish section, or `--set publish.…`.
#[derive(Debug, Clone, Args)]
pub(super) struct PublishArgs {
    /// Let Prometheus scrape this client's figures, such as at 9464 of this machine alone or at
    /// 0.0.0.0:9464: `publish.listen`.
    #[arg(long, value_name = "[ADDR:]PORT", help_heading = OUT)]
    metrics: Option<String>,
    /// Push them to a Prometheus Pushgateway: `publish.pushgateway.url`.
    #[arg(long, value_name = "URL", help_heading = OUT)]
    pushgateway: Option<String>,
    /// Send them to an OpenTelemetry collector, or to the one that `OTEL_EXPORTER_OTLP_ENDPOINT`
    /// names: `publish.otlp.endpoint`.
    #[arg(long, value_name = "URL|env", help_heading = OUT)]
    otlp: Option<String>,
}

impl PublishArgs {
    /// Where figures go: as the file says, and these flags over it.
    pub(super) fn settings(
        &self,
        source: &SourceArgs,
        experiment: &Experiment,
    ) -> Result<PublishSettings, Failure> {
        let flags = [
            ("publish.listen", &self.metrics),
            ("publish.pushgateway.url", &self.pushgateway),
            ("publish.otlp.endpoint", &self.otlp),
        ];
        let sets =
            flags.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", text(value.as_deref()?))));
        let sets: Vec<String> = sets.collect();
        if sets.is_empty() {
            return Ok(experiment.publish.clone());
        }
        Ok(source.plan_side(&sets)?.experiment.publish)
    }
}

/// Begin, if figures are to go anywhere, and let it watch.
pub(super) fn start(
    settings: &PublishSettings,
    experiment: &str,
    control: &Control,
    watchers: &mut Watchers,
) -> Result<Option<Ended>, Failure> {
    if !settings.is_wanted() {
        return Ok(None);
    }
    let control = control.clone();
    let stop = Arc::new(move || control.finish());
    let publishing = Publishing::start(settings, experiment, |name| std::env::var(name).ok(), stop)
        .map_err(Failure::usage)?;
    if let Some(addr) = publishing.addr() {
        let anyone = if addr.ip().is_loopback() { "" } else { ", for everyone who reaches this machine" };
        say_err(&format!("figures for Prometheus: http://{addr}/metrics{anyone}"));
    }
    let (watcher, ended) = publishing.watcher();
    watchers.add(watcher);
    Ok(Some(ended))
}

/// Wait until the last figures are out. Where the sweep could not be `ran` nobody is waited for.
pub(super) fn finish(ended: Option<Ended>, ran: bool) {
    let Some(ended) = ended else { return };
    if !ran {
        ended.hurry();
    }
    let step = SOON / 10;
    for _ in 0..10 {
        if !ended.is_done() {
            std::thread::sleep(step);
        }
    }
    if !ended.is_done() {
        say_err(
            "the last figures are on their way, and kept for a last scrape (publish.linger; Ctrl-C ends it)",
        );
    }
    for note in ended.wait() {
        say_err(&note);
    }
}
