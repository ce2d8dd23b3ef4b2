//! What the requests of a cell add up to. Two tallies can be added, so that nothing is lost where one
//! can't be handed on at once.

use std::collections::BTreeMap;

use crate::measure::of_request;
use crate::record::{Outcome, Phase, RequestRecord};

/// Bounds in seconds: fine where answers of language models are, from a millisecond to minutes.
const TTFT: &[f64] = &[
    0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.25,
    0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0,
];
const TPOT: &[f64] = &[
    0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01, 0.0125, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05,
    0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0,
];
const E2E: &[f64] = &[
    0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 7.5, 10.0, 15.0,
    20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
];

/// A histogram: how many samples are at most each bound, and above the one before it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Histo {
    pub bounds: &'static [f64],
    /// One for each bound, and one for what lies above the last.
    pub counts: Vec<u64>,
    pub sum: f64,
}

impl Histo {
    fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    fn take(&mut self, seconds: f64) {
        let at = self.bounds.partition_point(|bound| *bound < seconds);
        self.counts[at] += 1;
        self.sum += seconds;
    }

    fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.sum += other.sum;
    }

    pub(super) fn n(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// A quantile, within its bucket as Prometheus' `histogram_quantile` has it. `None` without a
    /// sample.
    pub(super) fn quantile(&self, q: f64) -> Option<f64> {
        let rank = q * self.n() as f64;
        let mut below = 0;
        for (at, &count) in self.counts.iter().enumerate() {
            if count > 0 && (below + count) as f64 >= rank {
                let Some(&high) = self.bounds.get(at) else { return self.bounds.last().copied() };
                let low = at.checked_sub(1).map_or(0.0, |at| self.bounds[at]);
                return Some(low + (high - low) * (rank - below as f64) / count as f64);
            }
            below += count;
        }
        None
    }
}

/// What is counted in each phase of a cell.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct InPhase {
    /// Requests without a class, by their place in `Outcome::ALL`.
    plain: [u64; Outcome::ALL.len()],
    pub prompt_tokens: u64,
    pub output_tokens: u64,
    pub retries: u64,
}

/// What requests add up to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tally {
    /// By [`PHASES`].
    pub phases: [InPhase; PHASES.len()],
    /// Requests that have a class, by phase, outcome and class.
    classed: BTreeMap<(Phase, &'static str), BTreeMap<String, u64>>,
    pub ttft: Histo,
    pub tpot: Histo,
    pub e2e: Histo,
}

/// Every phase, and the word for it as records have it.
pub(super) const PHASES: [(Phase, &str); 3] =
    [(Phase::Ramp, "ramp"), (Phase::Warmup, "warmup"), (Phase::Measure, "measure")];

impl Default for Tally {
    fn default() -> Self {
        Self {
            phases: Default::default(),
            classed: BTreeMap::new(),
            ttft: Histo::new(TTFT),
            tpot: Histo::new(TPOT),
            e2e: Histo::new(E2E),
        }
    }
}

impl Tally {
    /// Take in a request that has ended.
    pub(super) fn take(&mut self, r: &RequestRecord) {
        let Some(phase) = PHASES.iter().position(|(phase, _)| *phase == r.phase) else { return };
        let counts = &mut self.phases[phase];
        counts.retries += u64::from(r.retries);
        match r.error_class.as_deref().filter(|_| r.outcome.is_failure()) {
            Some(class) => {
                let classes = self.classed.entry((r.phase, r.outcome.name())).or_default();
                // Allocates for a class's first failure only.
                match classes.get_mut(class) {
                    Some(n) => *n += 1,
                    None => drop(classes.insert(class.to_owned(), 1)),
                }
            }
            None => {
                let at = Outcome::ALL.iter().position(|outcome| *outcome == r.outcome);
                counts.plain[at.unwrap_or_default()] += 1;
            }
        }
        if r.outcome != Outcome::Ok {
            return;
        }
        counts.prompt_tokens += u64::from(r.prompt_tokens.or(r.prompt_tokens_counted).unwrap_or(0));
        counts.output_tokens += u64::from(r.output_tokens.unwrap_or(0));
        if r.phase == Phase::Measure {
            for (metric, histo) in
                [("ttft", &mut self.ttft), ("tpot", &mut self.tpot), ("e2e", &mut self.e2e)]
            {
                if let Some(ms) = of_request(metric, r) {
                    histo.take(ms / 1000.0);
                }
            }
        }
    }

    /// Take in what another one counted.
    pub(super) fn add(&mut self, other: &Self) {
        for (own, more) in self.phases.iter_mut().zip(&other.phases) {
            for (count, more) in own.plain.iter_mut().zip(&more.plain) {
                *count += more;
            }
            own.prompt_tokens += more.prompt_tokens;
            own.output_tokens += more.output_tokens;
            own.retries += more.retries;
        }
        for (key, classes) in &other.classed {
            let own = self.classed.entry(*key).or_default();
            for (class, n) in classes {
                *own.entry(class.clone()).or_default() += n;
            }
        }
        self.ttft.add(&other.ttft);
        self.tpot.add(&other.tpot);
        self.e2e.add(&other.e2e);
    }

    /// Requests by phase, outcome and class; good ones also where there are none yet, so that a rate
    /// over them begins at 0.
    pub(super) fn requests(&self) -> Vec<([&str; 3], u64)> {
        let mut all = Vec::new();
        for ((phase, word), counts) in PHASES.iter().zip(&self.phases) {
            for (outcome, &n) in Outcome::ALL.iter().zip(&counts.plain) {
                if n > 0 || *outcome == Outcome::Ok {
                    all.push(([*word, outcome.name(), ""], n));
                }
            }
            for ((_, outcome), classes) in self.classed.iter().filter(|((of, _), _)| of == phase) {
                all.extend(classes.iter().map(|(class, &n)| ([*word, *outcome, class.as_str()], n)));
            }
        }
        all
    }

    /// Of the measured requests: those that were asked and not cut off on purpose, the failed ones
    /// among them, and the failed ones of a server that had too much in hand.
    pub(super) fn measured(&self) -> (u64, u64, u64) {
        let (mut asked, mut failed, mut crowded) = (0, 0, 0);
        for ([_, outcome, class], n) in
            self.requests().into_iter().filter(|([phase, ..], _)| *phase == "measure")
        {
            let is_failure = Outcome::ALL.iter().any(|o| o.name() == outcome && o.is_failure());
            asked += if outcome == Outcome::Cancelled.name() { 0 } else { n };
            failed += if is_failure { n } else { 0 };
            crowded += if is_failure && (class.starts_with("timeout") || class == "503") { n } else { 0 };
        }
        (asked, failed, crowded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(phase: Phase, outcome: Outcome, class: Option<&str>) -> RequestRecord {
        let mut r = RequestRecord::blank(0);
        (r.phase, r.outcome, r.error_class) = (phase, outcome, class.map(str::to_owned));
        if outcome == Outcome::Ok {
            r.first_token_us = Some(30_000);
            r.last_token_us = Some(130_000);
            (r.prompt_tokens, r.output_tokens) = (Some(16), Some(11));
        }
        r
    }

    #[test]
    fn only_good_measured_answers_are_in_the_histograms() {
        let mut tally = Tally::default();
        for (phase, outcome, class) in [
            (Phase::Warmup, Outcome::Ok, None),
            (Phase::Measure, Outcome::Ok, None),
            (Phase::Measure, Outcome::HttpError, Some("503")),
            (Phase::Measure, Outcome::Timeout, Some("timeout_total")),
            (Phase::Measure, Outcome::HttpError, Some("4xx")),
            (Phase::Measure, Outcome::Dropped, None),
            (Phase::Measure, Outcome::Cancelled, None),
        ] {
            tally.take(&record(phase, outcome, class));
        }
        assert_eq!((tally.ttft.n(), tally.tpot.n(), tally.e2e.n()), (1, 1, 1));
        // A sample on a bound is within it, as Prometheus counts.
        assert_eq!(tally.ttft.counts[TTFT.iter().position(|b| *b == 0.03).unwrap()], 1);
        assert_eq!(tally.tpot.counts[TPOT.iter().position(|b| *b == 0.01).unwrap()], 1);
        assert_eq!(tally.e2e.counts[E2E.iter().position(|b| *b == 0.15).unwrap()], 1);
        assert_eq!((tally.phases[1].output_tokens, tally.phases[2].prompt_tokens), (11, 16));
        assert_eq!(tally.measured(), (5, 3, 2));
        assert_eq!(
            tally.requests(),
            [
                (["ramp", "ok", ""], 0),
                (["warmup", "ok", ""], 1),
                (["measure", "ok", ""], 1),
                (["measure", "dropped", ""], 1),
                (["measure", "cancelled", ""], 1),
                (["measure", "http_error", "4xx"], 1),
                (["measure", "http_error", "503"], 1),
                (["measure", "timeout", "timeout_total"], 1),
            ]
        );
    }

    #[test]
    fn two_halves_are_the_whole() {
        let records: Vec<RequestRecord> = (0..20_u64)
            .map(|i| {
                let outcome = Outcome::ALL[i as usize % Outcome::ALL.len()];
                let mut r =
                    record(PHASES[i as usize % 3].0, outcome, outcome.is_failure().then_some("reset"));
                r.retries = i as u32;
                r
            })
            .collect();
        let of = |records: &[RequestRecord]| {
            let mut tally = Tally::default();
            records.iter().for_each(|r| tally.take(r));
            tally
        };
        let mut halves = of(&records[..7]);
        halves.add(&of(&records[7..]));
        assert_eq!(halves, of(&records));
        assert_eq!(halves.requests().iter().map(|(_, n)| n).sum::<u64>(), 20);
    }

    #[test]
    fn a_quantile_lies_in_its_bucket() {
        let mut histo = Histo::new(TTFT);
        assert_eq!(histo.quantile(0.5), None);
        for _ in 0..4 {
            histo.take(0.012);
        }
        assert_eq!(histo.quantile(0.5), Some(0.0125));
        histo.take(10_000.0);
        assert_eq!(
            histo.quantile(1.0),
            TTFT.last().copied(),
            "what is beyond all bounds is not known better"
        );
    }
}
