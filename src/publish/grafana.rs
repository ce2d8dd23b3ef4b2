//! An annotation in Grafana for each finished cell, over the time that it took.

use std::collections::VecDeque;

use serde::Serialize;
use url::Url;

use super::feed::Notes;
use super::news::CellEnded;
use super::post::{Receiver, below};
use super::{PublishError, variable};
use crate::experiment::GrafanaSettings;

/// Annotations that wait for a Grafana that is away, at most.
const MOST: usize = 1_000;

/// Writes annotations.
pub(super) struct Annotator {
    receiver: Receiver,
    url: Url,
    token: Option<String>,
    dashboard: Option<String>,
    tags: Vec<String>,
    waiting: VecDeque<String>,
}

#[derive(Serialize)]
struct Annotation<'a> {
    #[serde(rename = "dashboardUID", skip_serializing_if = "Option::is_none")]
    dashboard: Option<&'a str>,
    /// Milliseconds since 1970.
    time: i64,
    #[serde(rename = "timeEnd")]
    time_end: i64,
    tags: Vec<&'a str>,
    text: &'a str,
}

impl Annotator {
    pub(super) fn new(
        settings: &GrafanaSettings,
        experiment: &str,
        environment: &dyn Fn(&str) -> Option<String>,
        notes: &Notes,
    ) -> Result<Self, PublishError> {
        let base = super::parse("publish.grafana.url", &settings.url)?;
        let token = settings.token_env.as_deref();
        let token = token.map(|name| variable(environment, name, "publish.grafana.token")).transpose()?;
        let mut tags = vec!["plimsoll".to_owned(), experiment.to_owned()];
        tags.extend(settings.tags.iter().cloned());
        Ok(Self {
            receiver: Receiver::new("Grafana", &base, token.iter().cloned().collect(), notes)?,
            url: below(&base, "/api/annotations"),
            token,
            dashboard: settings.dashboard.clone(),
            tags,
            waiting: VecDeque::new(),
        })
    }

    /// Note a finished cell of `run`.
    pub(super) fn add(&mut self, run: &str, ended: &CellEnded) {
        let (Some(time), Some(time_end)) = (ended.started_ms, ended.ended_ms) else { return };
        let tags = self.tags.iter().map(String::as_str).chain((!run.is_empty()).then_some(run)).collect();
        let dashboard = self.dashboard.as_deref();
        let annotation = Annotation { dashboard, time, time_end, tags, text: &ended.words };
        if let Ok(body) = serde_json::to_string(&annotation) {
            self.waiting.push_back(body);
        }
        while self.waiting.len() > MOST {
            self.waiting.pop_front();
        }
    }

    /// Write what waits, until one is refused.
    pub(super) async fn write(&mut self) {
        while let Some(body) = self.waiting.front() {
            let request =
                self.receiver.client.post(self.url.clone()).header("content-type", "application/json");
            let request = match &self.token {
                Some(token) => request.bearer_auth(token),
                None => request,
            };
            if !self.receiver.send(request.body(body.clone())).await {
                return;
            }
            self.waiting.pop_front();
        }
    }

    pub(super) fn sum_up(&self) {
        self.receiver.sum_up();
    }
}
