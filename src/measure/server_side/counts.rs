//! What the server counted over a cell, against what this client asked and got.

use serde::{Deserialize, Serialize};

use super::scaled;
use crate::exposition::{Common, Known};
use crate::record::{Observed, ObservedSeries, Outcome, RequestRecord};

/// A difference of counts that is worth no word, as a share.
const TOLERATED: f64 = 0.01;
/// And as a number of requests: what was on its way when the server was asked.
const TOLERATED_REQUESTS: f64 = 2.0;

/// A count of both sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CountCheck {
    /// `requests`, `prompt_tokens` or `output_tokens`.
    pub what: String,
    /// By this client, of the requests that ended well.
    pub client: u64,
    /// What the others, of which this client doesn't know what the server made of them, may add.
    pub unsure: u64,
    pub server: u64,
}

impl CountCheck {
    /// In words.
    #[must_use]
    pub fn name(&self) -> &str {
        match self.what.as_str() {
            "requests" => "requests that ended well",
            "prompt_tokens" => "prompt tokens",
            "output_tokens" => "output tokens",
            other => other,
        }
    }

    /// How far the server's count is below or above what it can be, as a share of the client's;
    /// 0 where it is within.
    #[must_use]
    pub fn off(&self) -> f64 {
        let (server, client) = (self.server as f64, self.client as f64);
        let most = client + self.unsure as f64;
        let beyond = if server < client { server - client } else { (server - most).max(0.0) };
        beyond / client.max(1.0)
    }
}

/// What this client asked of the server over the whole cell, and got.
#[derive(Debug, Default)]
pub(in crate::measure) struct Asked {
    /// It can't be held against the server's count: such as where answers are not read to their end.
    not_whole: bool,
    /// Servers that were asked.
    pub(super) servers: usize,
    several_choices: bool,
    /// The end of the last request, in microseconds since the cell's epoch.
    ended_us: u64,
    ok: u64,
    unsure: u64,
    prompt: u64,
    prompt_unsure: u64,
    pub(super) prompt_unknown: bool,
    output: u64,
    output_unsure: u64,
    output_unknown: bool,
}

impl Asked {
    /// Of requests to so many servers.
    pub(in crate::measure) fn new(whole_answers: bool, servers: usize) -> Self {
        Self { not_whole: !whole_answers, servers, ..Self::default() }
    }

    pub(in crate::measure) fn take(&mut self, record: &RequestRecord) {
        self.several_choices |= record.choices.is_some();
        self.ended_us = self.ended_us.max(record.end_us.unwrap_or(0));
        if record.outcome == Outcome::Ok {
            self.ok += 1;
            self.prompt += u64::from(record.prompt_tokens.unwrap_or(0));
            self.prompt_unknown |= record.prompt_tokens.is_none();
            self.output += u64::from(record.output_tokens.unwrap_or(0));
            self.output_unknown |= record.output_tokens.is_none();
        } else if record.sent_us.is_some() {
            self.unsure += 1;
            let prompt = record.prompt_tokens.or(record.prompt_tokens_counted);
            self.prompt_unsure += u64::from(prompt.unwrap_or(record.prompt_tokens_asked));
            self.output_unsure += record.output_asked();
        }
    }

    pub(super) fn against(&self, observed: &Observed) -> Vec<CountCheck> {
        // Of several servers the count of some is no count of what all were asked.
        if self.not_whole || counting(observed).len() < self.servers {
            return Vec::new();
        }
        let check = |what: &str, known: bool, common, client, unsure| {
            let until = i64::try_from(self.ended_us).unwrap_or(i64::MAX);
            let server = if known { grown(observed, common, until)? } else { return None };
            Some(CountCheck { what: what.to_owned(), client, unsure, server })
        };
        let checks = [
            check("requests", !self.several_choices, Common::RequestsOk, self.ok, self.unsure),
            check(
                "prompt_tokens",
                // Some servers count a prompt once for each of its answers.
                !self.prompt_unknown && !self.several_choices,
                Common::PromptTokens,
                self.prompt,
                self.prompt_unsure,
            ),
            check(
                "output_tokens",
                !self.output_unknown,
                Common::OutputTokens,
                self.output,
                self.output_unsure,
            ),
        ];
        checks.into_iter().flatten().collect()
    }

    /// The greatest share by which a count is off, of those that are by more than what may have
    /// been on its way; 0 where none is. And what it says.
    pub(in crate::measure) fn verdict(&self, counts: &[CountCheck]) -> Option<(f64, String)> {
        let per_request = |check: &CountCheck| check.client as f64 / self.ok.max(1) as f64;
        let counts_for = |check: &&CountCheck| {
            check.off().abs() * check.client.max(1) as f64 > TOLERATED_REQUESTS * per_request(check).max(1.0)
        };
        let worst = counts.iter().filter(counts_for).max_by(|a, b| a.off().abs().total_cmp(&b.off().abs()));
        let Some(worst) = worst else { return counts.first().map(|_| (0.0, String::new())) };
        let unsure = match worst.unsure {
            0 => String::new(),
            n if worst.server > worst.client => format!(" and at most {n} of requests that didn't end well"),
            _ => String::new(),
        };
        let why = if worst.off() > 0.0 {
            "does somebody else ask this server?"
        } else {
            "is what is read all of the server?"
        };
        let text = format!(
            "client and server don't agree on {} of the whole cell: {} here{unsure}, {} there, {:.1} % off (limit {:.0} %): {why}",
            worst.name(),
            worst.client,
            worst.server,
            worst.off().abs() * 100.0,
            TOLERATED * 100.0,
        );
        Some((worst.off().abs(), text))
    }
}

/// How much a counter grew over all series of it, from before the cell to after the end of its
/// last request, `until`. `None` where one began anew, or wasn't read at both ends. A series that came
/// later than its source's others counted from 0: many counters are first told when there is something
/// to count.
pub(super) fn grown(observed: &Observed, common: Common, until: i64) -> Option<u64> {
    let mut sum = None;
    for series in &observed.series {
        let Some(known) = Known::find(&series.name, &series.labels).filter(|k| k.common == common) else {
            continue;
        };
        let points = scaled(observed, series, known);
        let (Some(first), Some(last)) = (points.first(), points.last()) else { continue };
        let of_source = observed.series.iter().filter(|other| other.source == series.source);
        let began = of_source.filter_map(|other| observed.values(other).next()).map(|(at, _)| at).min()?;
        if began > 0 || last.0 < until || !points.is_sorted_by(|a, b| a.1 <= b.1) {
            return None;
        }
        let start = if first.0 > began { 0.0 } else { first.1 };
        sum = Some(sum.unwrap_or(0.0) + last.1 - start);
    }
    sum.map(|sum: f64| sum.round() as u64)
}

/// The sources that count what was asked of the server.
pub(super) fn counting(observed: &Observed) -> Vec<&str> {
    let counts = [Common::RequestsOk, Common::PromptTokens, Common::OutputTokens];
    let counts = |series: &&ObservedSeries| {
        Known::find(&series.name, &series.labels).is_some_and(|known| counts.contains(&known.common))
    };
    let mut sources: Vec<usize> = observed.series.iter().filter(counts).map(|series| series.source).collect();
    sources.sort_unstable();
    sources.dedup();
    sources.into_iter().filter_map(|source| observed.sources.get(source)).map(String::as_str).collect()
}
