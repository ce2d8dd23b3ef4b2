//! Requests to whoever is given figures, and what is said when they fail: once, and never to the load's
//! harm.

use std::time::Duration;

use reqwest::{Client, RequestBuilder};
use url::Url;

use super::PublishError;
use super::feed::{Notes, note};
use crate::server::plain_client;

/// A whole request may take so long.
const LONGEST: Duration = Duration::from_secs(5);
/// Characters of a refusal that are told.
const TOLD: usize = 300;

/// One that is given figures.
pub(super) struct Receiver {
    pub client: Client,
    /// Who it is, in words: "the Pushgateway at …".
    who: String,
    notes: Notes,
    /// What must not be shown.
    secrets: Vec<String>,
    asked: u64,
    failed: u64,
    last: String,
    told: bool,
}

impl Receiver {
    pub(super) fn new(
        what: &str,
        base: &Url,
        secrets: Vec<String>,
        notes: &Notes,
    ) -> Result<Self, PublishError> {
        let build = |reason: String| PublishError::Client { who: what.to_owned(), reason };
        let client = plain_client(base).map_err(|e| build(e.to_string()))?;
        let client = client.timeout(LONGEST).build().map_err(|e| build(e.to_string()))?;
        let who = format!("{what} at {base}");
        let notes = notes.clone();
        Ok(Self { client, who, notes, secrets, asked: 0, failed: 0, last: String::new(), told: false })
    }

    /// Send a request; whether it was taken. The first failure is told.
    pub(super) async fn send(&mut self, request: RequestBuilder) -> bool {
        self.asked += 1;
        let Err(mut reason) = sent(request).await else { return true };
        for secret in self.secrets.iter().filter(|secret| !secret.is_empty()) {
            reason = reason.replace(secret, "[hidden]");
        }
        self.failed += 1;
        if !self.told {
            self.told = true;
            note(&self.notes, format!("{}: {reason}; the load goes on, and it is tried again", self.who));
        }
        self.last = reason;
        false
    }

    /// Say how often it failed, if it did.
    pub(super) fn sum_up(&self) {
        if self.failed > 0 {
            let Self { who, failed, asked, last, .. } = self;
            note(&self.notes, format!("{who}: {failed} of {asked} requests failed, the last one so: {last}"));
        }
    }
}

async fn sent(request: RequestBuilder) -> Result<(), String> {
    let response = request.send().await.map_err(|error| {
        // The innermost says what it was.
        let mut source: &dyn std::error::Error = &error;
        while let Some(inner) = source.source() {
            source = inner;
        }
        source.to_string()
    })?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let words = response.text().await.unwrap_or_default();
    let words: String =
        words.trim().chars().take(TOLD).map(|c| if c.is_control() { ' ' } else { c }).collect();
    Err(format!("HTTP {}: {words}", status.as_u16()))
}

/// `base` with `path` after its own.
pub(super) fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}
