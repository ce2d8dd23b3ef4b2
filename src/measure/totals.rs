//! What a cell's records add up to: counts, tokens, rates, and what takes more than one walk
//! over them: quantiles, the most in flight, the workload's hash.

use std::collections::BTreeMap;

use super::identity::Identity;
use super::in_flight::InFlight;
use super::samples::{Samples, of_request, prompt_tokens};
use super::select::Selection;
use super::trend::Batches;
use super::validity::BySending;
use super::{Counts, GroupKind, TokenCounts};
use crate::experiment::{Load, Part, RequestLimit, Settings, Stage, StopAfter, Workload};
use crate::record::{Outcome, Phase, RequestRecord, TokenSource, Window};
use crate::stats::Line;

/// How late requests were sent that no cap held back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lags {
    pub(super) n: u64,
    /// In milliseconds; `None` when nothing was sent.
    pub(super) p99: Option<f64>,
    /// In milliseconds per second.
    pub(super) trend: Option<Line>,
}

/// Of what totals are taken: of a whole cell, or of a part of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    /// Limits that each good request meets.
    limits: &'a [RequestLimit],
    /// Every answer is read to its end.
    whole_answers: bool,
    /// The workload's hash and the signs of a steady state are wanted, which are the cell's.
    evidence: bool,
    /// Of the requests due in the window only those of this stage count.
    stage: Option<&'a str>,
}

impl<'a> Scope<'a> {
    pub(super) fn cell(settings: &'a Settings) -> Self {
        let whole_answers = settings.parts().all(|(_, workload)| is_whole(workload));
        Self { limits: &settings.slo.request, whole_answers, evidence: true, stage: None }
    }

    /// Of one task, or of one endpoint.
    pub(super) fn group(settings: &'a Settings, kind: GroupKind, name: &str) -> Self {
        let of = |part: &Part| match kind {
            GroupKind::Task => part.task.as_deref() == Some(name),
            GroupKind::Endpoint => part.endpoint.as_deref() == Some(name),
            GroupKind::Stage => true,
        };
        let whole_answers =
            settings.parts.iter().filter(|part| of(part)).all(|part| is_whole(&part.workload));
        Self { whole_answers, evidence: false, ..Self::cell(settings) }
    }

    /// Of one stage, by its own limits where it has some.
    pub(super) fn stage(settings: &'a Settings, stage: &'a Stage) -> Self {
        let own = Some(stage.slo.request.as_slice()).filter(|limits| !limits.is_empty());
        let limits = own.unwrap_or(&settings.slo.request);
        Self { limits, evidence: false, stage: Some(&stage.name), ..Self::cell(settings) }
    }
}

fn is_whole(workload: &Workload) -> bool {
    workload.stop_after == StopAfter::End
}

/// What the records of a cell add up to.
pub(super) struct Totals<'a> {
    settings: &'a Settings,
    scope: Scope<'a>,
    window: Window,
    pub(super) samples: Samples,
    pub(super) counts: Counts,
    pub(super) tokens: TokenCounts,
    /// Turns of conversations after the first, due in the window: no schedule has them.
    pub(super) later_turns: u64,
    /// Good streamed answers of several chunks, and those of them that came in a single read.
    streamed: u64,
    single_read: u64,
    /// Requests due in the window that were good answers within every limit.
    good: u64,
    /// The same of requests that ended in the window, whenever they were due.
    good_in_window: u64,
    sent_in_window: u64,
    completed_in_window: u64,
    /// Tokens stamped in the window.
    output_in_window: f64,
    prompt_in_window: u64,
    output_whole_run: u64,
    /// There were answers read to their end whose tokens are known, and such of which nobody
    /// knows how many they are.
    tokens_known: bool,
    tokens_unknown: bool,
    first_sent_us: Option<u64>,
    last_byte_us: Option<u64>,
    in_flight: InFlight,
    /// Lag in ms of requests that no cap held back, and its course over their due times.
    lags: Selection,
    lag_course: Batches,
    pub(super) ttft: BySending,
    identity: Identity,
}

impl<'a> Totals<'a> {
    pub(super) fn new(settings: &'a Settings, scope: Scope<'a>, window: Window) -> Self {
        Self {
            settings,
            scope,
            window,
            samples: Samples::default(),
            counts: Counts::default(),
            tokens: TokenCounts::default(),
            later_turns: 0,
            streamed: 0,
            single_read: 0,
            good: 0,
            good_in_window: 0,
            sent_in_window: 0,
            completed_in_window: 0,
            output_in_window: 0.0,
            prompt_in_window: 0,
            output_whole_run: 0,
            tokens_known: false,
            tokens_unknown: false,
            first_sent_us: None,
            last_byte_us: None,
            in_flight: InFlight::new(window),
            lags: Selection::default(),
            lag_course: Batches::new(window),
            ttft: BySending::new(window),
            identity: Identity::default(),
        }
    }

    /// Whether every answer was to be read to its end.
    pub(super) const fn whole_answers(&self) -> bool {
        self.scope.whole_answers
    }

    /// Whether output per second can be told: not where no answer's tokens are known.
    const fn tells_output(&self) -> bool {
        self.whole_answers() && (self.tokens_known || !self.tokens_unknown)
    }

    /// Whether a request is of those that the figures are about.
    fn is_measured(&self, r: &RequestRecord) -> bool {
        r.phase == Phase::Measure && self.scope.stage.is_none_or(|stage| r.stage.as_deref() == Some(stage))
    }

    /// The share of a request's chunks that came in the window. Of a stage's window a record has
    /// no count: there they are taken as evenly spread from the first to the last.
    fn chunk_share(&self, r: &RequestRecord) -> f64 {
        if self.scope.stage.is_none() {
            return f64::from(r.chunks_in_window) / f64::from(r.chunks);
        }
        let Some(last) = r.last_token_us else { return 0.0 };
        let first = r.first_token_us.unwrap_or(last);
        if first >= last {
            return f64::from(u8::from(self.inside(Some(last))));
        }
        let inside = last.min(self.window.end_us).saturating_sub(first.max(self.window.start_us));
        inside as f64 / (last - first) as f64
    }

    fn inside(&self, t: Option<u64>) -> bool {
        t.is_some_and(|t| t >= self.window.start_us && t < self.window.end_us)
    }

    /// Take in a record on the first walk.
    pub(super) fn take(&mut self, r: &RequestRecord) {
        self.take_again(r);
        self.take_any(r);
        if self.is_measured(r) {
            self.take_measured(r);
        } else if self.scope.stage.is_none() {
            self.counts.before_window += 1;
        }
    }

    /// Take in a record on any walk: only what needs more than one.
    pub(super) fn take_again(&mut self, r: &RequestRecord) {
        if self.scope.evidence {
            self.identify(r);
        }
        if let Some(sent) = r.sent_us {
            self.in_flight.take(sent, r.end_us);
        }
        if self.is_measured(r) {
            self.samples.take(r);
            if self.scope.evidence
                && !r.cap_blocked
                && let Some(lag) = of_request("lag", r)
            {
                self.lags.take(lag);
            }
        }
    }

    /// End a walk. Whether another is needed.
    pub(super) fn end_walk(&mut self) -> bool {
        let more = [
            self.samples.end_walk(),
            self.lags.end_walk(),
            self.in_flight.end_walk(),
            self.identity.end_walk(),
        ];
        more.contains(&true)
    }

    /// What a request brings to the window whenever it was due.
    fn take_any(&mut self, r: &RequestRecord) {
        self.sent_in_window += u64::from(self.inside(r.sent_us));
        let completed = r.outcome == Outcome::Ok && self.inside(r.end_us);
        self.completed_in_window += u64::from(completed);
        self.good_in_window += u64::from(completed && is_good(r, self.scope.limits));
        // Of an answer that is left after its first token nobody knows how long it would have been.
        if r.chunks > 0 && self.whole_answers() {
            // Servers may put several tokens in a chunk: each chunk stands for its share.
            // An answer that is not streamed has no first token, and its one piece says nothing of
            // how many tokens it is: of an embedding it is none.
            let known = r.output_tokens.or(r.first_token_us.map(|_| r.chunks));
            self.tokens_known |= known.is_some();
            self.tokens_unknown |= known.is_none();
            let tokens = known.unwrap_or(0);
            self.output_in_window += self.chunk_share(r) * f64::from(tokens);
            self.output_whole_run += u64::from(tokens);
        }
        if self.inside(r.first_token_us.or(r.last_token_us)) {
            self.prompt_in_window += u64::from(prompt_tokens(r).unwrap_or(0));
        }
        if let Some(sent) = r.sent_us {
            self.first_sent_us = Some(self.first_sent_us.map_or(sent, |t| t.min(sent)));
            let last = r.end_us.or(r.last_token_us);
            self.last_byte_us = self.last_byte_us.max(last);
        }
    }

    fn take_measured(&mut self, r: &RequestRecord) {
        if self.scope.evidence
            && !r.cap_blocked
            && let Some(lag) = of_request("lag", r)
        {
            self.lag_course.add(r.intended_us, lag);
        }
        let counts = &mut self.counts;
        counts.attempted += 1;
        self.later_turns += u64::from(r.turn.is_some_and(|turn| turn > 0));
        counts.sent += u64::from(r.sent_us.is_some());
        counts.cap_blocked += u64::from(r.cap_blocked);
        counts.retries += u64::from(r.retries);
        let end = self.window.end_us;
        let flies = r.sent_us.is_some_and(|t| t < end) && r.end_us.is_none_or(|t| t >= end);
        counts.in_flight_at_end += u64::from(flies);
        match r.outcome {
            Outcome::Ok => counts.ok += 1,
            Outcome::Dropped => counts.dropped += 1,
            Outcome::Censored => counts.censored += 1,
            Outcome::Cancelled => counts.cancelled += 1,
            failure => {
                counts.failed += 1;
                let class = r.error_class.as_deref().unwrap_or(failure.name());
                *counts.errors.entry(class.to_owned()).or_default() += 1;
                if let Some(words) = r.detail.as_ref().filter(|_| !counts.error_words.contains_key(class)) {
                    counts.error_words.insert(class.to_owned(), words.clone());
                }
            }
        }
        if r.outcome == Outcome::Ok {
            if self.scope.evidence
                && let (Some(sent), Some(ttft)) = (r.sent_us, of_request("ttft", r))
            {
                self.ttft.take(sent, ttft);
            }
            self.good += u64::from(is_good(r, self.scope.limits));
            if let (Some(first), Some(last)) = (r.first_token_us, r.last_token_us)
                && r.chunks > 1
                && r.output_tokens.is_none_or(|n| n > 1)
            {
                self.streamed += 1;
                self.single_read += u64::from(first == last);
            }
            self.take_tokens(r);
        }
    }

    /// The share of the good streamed answers of several chunks all of which have one stamp;
    /// `None` where there are none.
    pub(super) fn single_read(&self) -> Option<f64> {
        (self.streamed > 0).then(|| self.single_read as f64 / self.streamed as f64)
    }

    fn take_tokens(&mut self, r: &RequestRecord) {
        let t = &mut self.tokens;
        t.prompt_asked += u64::from(r.prompt_tokens_asked);
        t.prompt += u64::from(prompt_tokens(r).unwrap_or(0));
        t.max_tokens += r.output_asked();
        t.output += u64::from(r.output_tokens.unwrap_or(0));
        t.chunks += u64::from(r.chunks);
        if let Some(cached) = r.cached_tokens {
            *t.cached.get_or_insert(0) += u64::from(cached);
        }
        if let Some(source) = r.token_source {
            *t.sources.entry(source.name().to_owned()).or_default() += 1;
        }
        // Of texts that nobody measured, and of pictures, no length was asked for.
        let foretold = self.settings.parts().all(|(_, workload)| workload.foretells_prompt_tokens());
        let other = |n| foretold && n != r.prompt_tokens_asked;
        t.prompt_mismatches += u64::from(r.prompt_tokens.is_some_and(other));
        // A guess by chunks can't tell.
        let counted = r.output_tokens.filter(|_| r.token_source != Some(TokenSource::Chunks));
        t.output_mismatches += u64::from(counted.is_some_and(|n| u64::from(n) != r.output_asked()));
    }

    /// An open loop's workload is what was due in the window. How many requests a closed loop
    /// sends is up to the server, so there the first of each user stand for all: every run
    /// sends those.
    fn identify(&mut self, r: &RequestRecord) {
        let lengths = |due| (due, r.prompt_tokens_asked, r.max_tokens);
        // A later turn is as long as the answers before it, and due when they had come.
        if r.turn.is_some_and(|turn| turn > 0) {
            return;
        }
        match self.settings.first_load() {
            Load::Open { .. } => {
                let due = (r.phase == Phase::Measure).then_some(r.intended_us);
                self.identity.take(r.seq, due.map(lengths));
            }
            Load::Closed { users } if r.seq < u64::from(users) => {
                self.identity.take(r.seq, Some(lengths(0)));
            }
            Load::Closed { .. } => {}
        }
    }

    /// Sixteen hexadecimal digits over the due times and lengths, in the order of arrival.
    pub(super) fn workload_hash(&self) -> String {
        self.identity.digest()
    }

    pub(super) fn in_flight_mean(&self) -> f64 {
        self.in_flight.mean()
    }

    pub(super) fn lags(&self) -> Lags {
        Lags { n: self.lags.n(), p99: self.lags.quantile(0.99), trend: self.lag_course.line() }
    }

    /// Bytes that are held for requests.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.samples.held_bytes()
            + self.lags.held_bytes()
            + self.in_flight.held_bytes()
            + self.identity.held() * 16
    }

    /// Scalars by metric name; those that an empty window or cell can't have are left out.
    pub(super) fn scalars(&self) -> BTreeMap<String, f64> {
        let mut scalars = BTreeMap::new();
        let mut put = |name: &str, value: f64| {
            scalars.insert(name.to_owned(), value);
        };
        let seconds = self.window.seconds();
        let counts = &self.counts;
        if seconds > 0.0 {
            put("offered_rps", counts.planned as f64 / seconds);
            put("sent_rps", self.sent_in_window as f64 / seconds);
            put("completed_rps", self.completed_in_window as f64 / seconds);
            if self.tells_output() {
                put("output_tps", self.output_in_window / seconds);
            }
            put("prompt_tps", self.prompt_in_window as f64 / seconds);
            put("goodput_rps", self.good_in_window as f64 / seconds);
            put("in_flight_mean", self.in_flight.mean());
            put("in_flight_max", self.in_flight.most() as f64);
        }
        if let (Some(first), Some(last)) = (self.first_sent_us, self.last_byte_us)
            && last > first
            && self.tells_output()
            && self.scope.stage.is_none()
        {
            put("whole_run_output_tps", self.output_whole_run as f64 / ((last - first) as f64 / 1e6));
        }
        // Of one that was cut off on purpose nobody knows how it would have ended.
        let asked = counts.attempted - counts.cancelled;
        if asked > 0 {
            put("attainment", self.good as f64 / asked as f64);
            put("error_rate", counts.failed as f64 / asked as f64);
            put("contention_error_rate", counts.of_contention() as f64 / asked as f64);
        }
        scalars
    }
}

/// Whether a good answer meets every limit. What can't be told is not met: an answer without
/// a first token has no TTFT to pass with. Only TPOT lets answers of at most one token pass.
fn is_good(r: &RequestRecord, limits: &[RequestLimit]) -> bool {
    limits.iter().all(|limit| match of_request(&limit.metric, r) {
        Some(value) => value <= limit.limit_ms,
        None => limit.metric == "tpot" && r.output_tokens.is_some_and(|n| n <= 1),
    })
}
