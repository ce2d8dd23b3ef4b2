//! `[notify]`: who is told that a run has ended.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

/// Who is told of a run's end, and of which ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Notify {
    /// A program and its words; the summary is its standard input.
    pub command: Option<Vec<String>>,
    pub webhook: Option<Webhook>,
    /// The ends that are told.
    pub on: Vec<End>,
    /// Longest that each of the two may take.
    pub timeout: Duration,
}

/// Where the summary is posted to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Webhook {
    /// As written: a URL, or `env:NAME` where the URL itself is a secret.
    pub url: String,
    /// As written; a value `env:NAME` is read from the environment when it is sent, and never stored.
    pub headers: BTreeMap<String, String>,
    pub format: WebhookFormat,
}

/// The body of what is posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookFormat {
    /// `{"text": …}` in Slack's own markup, which Mattermost and Rocket.Chat take, too.
    Slack,
    /// An object of the facts, the summary as `markdown` among them.
    Json,
    /// The summary itself.
    Markdown,
}

/// How a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// To its end, with exit code 0.
    Finish,
    /// Stopped, failed, invalid, or a gate failed: any exit code but 0 and 130.
    Failure,
    /// A person or the system stopped it (exit code 130).
    Interrupt,
}

impl End {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Finish, Self::Failure, Self::Interrupt];

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Finish => "finish",
            Self::Failure => "failure",
            Self::Interrupt => "interrupt",
        }
    }
}
