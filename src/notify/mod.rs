//! Tells others that a run has ended: a command, a webhook.
//!
//! Nothing here changes how a run ended. What could not be told is returned, to be said where the
//! run was started.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::experiment::{End, Notify, Webhook, WebhookFormat};
use crate::server::{Post, PostError, Poster, Stop, run_command};

/// What is told of a run's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub end: End,
    /// The exit code that the run ends with.
    pub exit: u8,
    /// Facts by name: `RUN`, `REPORT`, …. A command has them in its environment behind `PLIMSOLL_`,
    /// an object of JSON in lower case.
    pub facts: BTreeMap<&'static str, String>,
    /// The summary as Markdown.
    pub markdown: String,
    /// The summary in Slack's markup.
    pub slack: String,
}

impl Message {
    fn variables(&self) -> BTreeMap<String, String> {
        let own = [("EVENT", self.end.word().to_owned()), ("EXIT", self.exit.to_string())];
        let all = self.facts.iter().map(|(name, value)| (*name, value.clone())).chain(own);
        all.map(|(name, value)| (format!("PLIMSOLL_{name}"), value)).collect()
    }

    fn body(&self, format: WebhookFormat) -> (&'static str, String) {
        match format {
            WebhookFormat::Markdown => ("text/markdown; charset=utf-8", self.markdown.clone()),
            WebhookFormat::Slack => ("application/json", json!({ "text": self.slack }).to_string()),
            WebhookFormat::Json => {
                let mut all = Map::new();
                all.insert("event".to_owned(), self.end.word().into());
                all.insert("exit".to_owned(), self.exit.into());
                let facts = self.facts.iter();
                all.extend(facts.map(|(name, value)| (name.to_lowercase(), value.clone().into())));
                all.insert("markdown".to_owned(), self.markdown.clone().into());
                ("application/json", Value::Object(all).to_string())
            }
        }
    }
}

/// Tell all who are to be told of such an end, each within the time limit. What could not be told,
/// a sentence each.
#[must_use]
pub fn tell(notify: &Notify, message: &Message) -> Vec<String> {
    if !notify.on.contains(&message.end) {
        return Vec::new();
    }
    // A sweep that was stopped is told, too; a third Ctrl-C ends the process at once.
    let stop: Stop = Arc::new(|| false);
    let command = notify.command.as_ref().and_then(|words| {
        run_command(words, Some(&message.markdown), notify.timeout, &message.variables(), &stop)
            .err()
            .map(|error| format!("notify.command: {error}"))
    });
    let webhook = notify.webhook.as_ref().and_then(|webhook| {
        let sent = post(webhook, notify, message, &stop);
        sent.err().map(|error| format!("notify.webhook: {error}"))
    });
    command.into_iter().chain(webhook).collect()
}

fn post(webhook: &Webhook, notify: &Notify, message: &Message, stop: &Stop) -> Result<(), PostError> {
    let (content_type, body) = message.body(webhook.format);
    let post = Post { url: &webhook.url, headers: &webhook.headers, timeout: notify.timeout };
    Poster::new(&post, stop)?.send(content_type, body)
}
