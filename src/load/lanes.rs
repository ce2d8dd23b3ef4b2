//! What a load core sends and reads by, for each part of a cell: its provider, its limits, and
//! the connections to its target. A cell that is not mixed has one lane.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::flight::Limits;
use super::http::{Dialer, Pool};
use super::{Job, JobPart};
use crate::experiment::{Part, StopAfter, Target, Workload};
use crate::provider::Provider;
use crate::record::Texts;
use crate::server::{ClientError, Secrets};
use crate::workload::Source;

/// One part of a cell, on one load core.
pub(super) struct Lane {
    pub(super) provider: Arc<dyn Provider>,
    pub(super) stream: bool,
    /// Answers are left after their first token.
    pub(super) first_token_only: bool,
    /// Shared by the parts that go to the same target.
    pub(super) pool: Rc<Pool>,
    pub(super) limits: Limits,
    /// What no record may quote.
    pub(super) secrets: Secrets,
    /// Whether answers' texts are to be kept for counting. Ends with the first answer that
    /// brings its own `usage`.
    pub(super) keep_text: Cell<bool>,
    /// Refusals whose bodies are still to be kept.
    pub(super) keep_bodies: Cell<u32>,
    /// Its requests are turns of conversations: the next one needs what was answered.
    pub(super) talks: bool,
    pub(super) source: Arc<Source>,
    /// Names of a mix's task and endpoint, for the records.
    pub(super) task: Option<String>,
    pub(super) endpoint: Option<String>,
}

/// Makers of connections, one for each target that differs. A clone for each load core.
#[derive(Clone)]
pub(super) struct Dialers {
    all: Vec<Dialer>,
    /// By part.
    of_part: Vec<usize>,
}

impl Dialers {
    /// # Errors
    /// When a target's settings can't be used.
    pub(super) fn new(job: &Job<'_>) -> Result<Self, ClientError> {
        let mut dialers = Self { all: Vec::new(), of_part: Vec::new() };
        let mut known = Vec::new();
        for ((target, _), part) in job.cell.settings.parts().zip(&job.parts) {
            let key = (&part.endpoint.base, &target.connections, &target.tls, target.connect_timeout);
            let at = known.iter().position(|other| *other == key);
            if at.is_none() {
                dialers.all.push(Dialer::new(target, &part.endpoint.base)?);
                known.push(key);
            }
            dialers.of_part.push(at.unwrap_or(known.len() - 1));
        }
        Ok(dialers)
    }

    pub(super) fn of_part(&self, part: usize) -> &Dialer {
        &self.all[self.of_part[part]]
    }

    /// The lanes of one load core, by part.
    pub(super) fn lanes(self, job: &Job<'_>) -> Vec<Lane> {
        let pools: Vec<Rc<Pool>> = self.all.into_iter().map(|dialer| Rc::new(Pool::new(dialer))).collect();
        let settings = &job.cell.settings;
        let parts = settings.parts().zip(&job.parts).zip(self.of_part).enumerate();
        let lane = |(i, ((asked, part), pool)): (usize, ((_, &JobPart), usize))| {
            Lane::new(asked, part, Rc::clone(&pools[pool]), settings.parts.get(i))
        };
        parts.map(lane).collect()
    }
}

impl Lane {
    /// Whether an answer's text is wanted.
    pub(super) fn wants_text(&self) -> bool {
        self.talks || self.keep_text.get()
    }

    /// Take out of texts what no file may hold. A text was cut before it comes here, and the cut
    /// may go through a secret.
    pub(super) fn hide_secrets(&self, texts: &mut Texts) {
        for excerpt in [&mut texts.prompt, &mut texts.answer, &mut texts.body].into_iter().flatten() {
            excerpt.text = self.secrets.hide(std::mem::take(&mut excerpt.text));
        }
    }

    fn new(
        (target, workload): (&Target, &Workload),
        part: &JobPart,
        pool: Rc<Pool>,
        named: Option<&Part>,
    ) -> Self {
        let us = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
        let stream = part.streams(workload);
        Self {
            provider: Arc::clone(&part.provider),
            stream,
            first_token_only: stream && workload.stop_after == StopAfter::FirstToken,
            pool,
            limits: Limits {
                total: us(target.timeout),
                first_token: target.first_token_timeout.map(us),
                stall: target.stall_timeout.map(us),
            },
            secrets: Secrets::of(target, &part.endpoint.headers),
            // A count over the network would be another load on the server.
            keep_text: Cell::new(part.source.tokenizer().name() != "server"),
            keep_bodies: Cell::new(workload.keep_answers),
            talks: part.source.sessions(),
            source: Arc::clone(&part.source),
            task: named.and_then(|part| part.task.clone()),
            endpoint: named.and_then(|part| part.endpoint.clone()),
        }
    }
}
