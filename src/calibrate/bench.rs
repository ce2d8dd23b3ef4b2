//! One measurement: a simulator, a cell built from an experiment's text, and the ordinary
//! way through the load engine.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use url::Url;

use super::CalibrateError;
use crate::experiment::Experiment;
use crate::load::{self, Control, Job, JobPart};
use crate::plan;
use crate::provider;
use crate::record::{CellRun, Outcome, Phase, RecordSink, RequestRecord};
use crate::server;
use crate::sim;
use crate::workload::Source;

/// A simulator that goes by the clock.
pub(super) struct Bench<'a> {
    server: sim::Server,
    control: &'a Control,
}

/// What a measurement is asked to do; the rest is the same for all.
pub(super) struct Ask {
    /// Its name in errors.
    pub what: &'static str,
    /// The lines of `[load]`, `[client]` and `[cell]`, and of `[workload]` where it differs.
    pub text: String,
}

/// What came of it.
pub(super) struct Measured {
    pub run: CellRun,
    pub seen: Seen,
}

/// What the records of a cell tell here; they are not kept.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub ok: u64,
    pub failed: u64,
    /// Of requests due in the window, in milliseconds.
    pub lags_ms: Vec<f64>,
    pub first_sent_us: Option<u64>,
    pub last_headers_us: Option<u64>,
}

impl RecordSink for Seen {
    fn write(&mut self, batch: &[RequestRecord]) -> std::io::Result<()> {
        for record in batch {
            self.ok += u64::from(record.outcome == Outcome::Ok);
            self.failed += u64::from(record.outcome.is_failure());
            self.last_headers_us = self.last_headers_us.max(record.headers_us);
            let Some(sent) = record.sent_us else { continue };
            self.first_sent_us = Some(self.first_sent_us.map_or(sent, |first| first.min(sent)));
            if record.phase == Phase::Measure {
                self.lags_ms.push(sent.saturating_sub(record.intended_us) as f64 / 1000.0);
            }
        }
        Ok(())
    }
}

impl<'a> Bench<'a> {
    /// Start a simulator with these times to the first and to each further token.
    pub fn new(ttft: &str, tpot: &str, control: &'a Control) -> Result<Self, CalibrateError> {
        let knobs = [
            ("preset", json!("flood")),
            ("ttft", json!(ttft)),
            ("tpot", json!(tpot)),
            // Nobody asks for the truth here.
            ("truth_limit", json!(1)),
        ];
        let knobs = knobs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        let config = sim::Config::from_knobs(&knobs).expect("knobs that the tests have tried");
        let server = sim::Server::start(config, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        Ok(Self { server, control })
    }

    /// Put one cell on it.
    pub fn measure(&self, ask: &Ask) -> Result<Measured, CalibrateError> {
        // The URL says that the server's ends of the connections are this process's too.
        let text = format!("name = \"calibrate\"\n[target]\nurl = \"sim:\"\nmodel = \"sim\"\n{}", ask.text);
        let experiment = Experiment::parse(Path::new("calibrate"), &text, &[])?;
        let plan = plan::build(&experiment)?;
        let cell = plan.cells.first().expect("a file without a grid is one cell");
        let base = Url::parse(&self.server.url()).expect("an address and a port make a URL");
        let stop = self.control.clone();
        let found = server::discover_until(&cell.settings, base, Arc::new(move || stop.finish()))?;
        let entry = provider::find(&cell.settings.target.api).expect("the default API is one of the table");
        let source = Source::new(cell.settings.workload.clone(), cell.seed, "", Arc::clone(&found.tokenizer));
        let part = JobPart {
            endpoint: found.endpoint.clone(),
            provider: (entry.build)(&provider::Options::default()).into(),
            source: Arc::new(source),
        };
        let job = Job { cell, parts: vec![part], traces: None };
        let mut seen = Seen::default();
        let run = load::drive(&job, &mut seen, self.control, &mut |_| ())?;
        if self.control.finish() {
            return Err(CalibrateError::Interrupted);
        }
        if seen.ok == 0 || seen.failed > 0 {
            return Err(CalibrateError::Failed { what: ask.what, ok: seen.ok, failed: seen.failed });
        }
        Ok(Measured { run, seen })
    }
}
