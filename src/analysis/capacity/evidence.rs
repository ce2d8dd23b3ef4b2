//! The requests of a cell, as far as a verdict on it needs them.

use crate::analysis::{AnalysisError, CellData, Records};
use crate::measure::of_request;
use crate::record::{Outcome, Phase, RequestRecord};

/// Metrics of which each request has a value, with the columns that it is made of.
const COLUMNS: [(&str, &[&str]); 10] = [
    ("ttft", &["intended_us", "first_token_us"]),
    ("ttfv", &["intended_us", "first_visible_us"]),
    ("tpot", &["first_token_us", "last_token_us", "output_tokens"]),
    ("user_tps", &["first_token_us", "last_token_us", "output_tokens"]),
    ("e2e", &["intended_us", "last_token_us"]),
    ("ttft_service", &["sent_us", "first_token_us"]),
    ("e2e_service", &["sent_us", "last_token_us"]),
    ("second_chunk_gap", &["first_token_us", "second_chunk_us"]),
    ("max_gap", &["max_gap_us"]),
    ("normalised_latency", &["intended_us", "last_token_us", "output_tokens"]),
];

/// Whether a metric's values can be read from the requests.
pub(super) fn is_per_request(metric: &str) -> bool {
    COLUMNS.iter().any(|(name, _)| *name == metric)
}

/// The requests of one cell and repeat that were due in its window, in the order of sending.
/// Only what the asked metrics need is filled in.
pub(super) struct Requests(Vec<RequestRecord>);

impl Requests {
    /// Read what `metrics` need; `None` where the cell's requests aren't there.
    ///
    /// # Errors
    /// When the file can't be read.
    pub(super) fn read(cell: &CellData, metrics: &[&str]) -> Result<Option<Self>, AnalysisError> {
        let mut columns = vec!["intended_us", "sent_us", "phase", "outcome"];
        let made_of = COLUMNS.iter().filter(|(name, _)| metrics.contains(name)).flat_map(|(_, of)| *of);
        made_of.for_each(|c| {
            if !columns.contains(c) {
                columns.push(c);
            }
        });
        let by_token = columns.contains(&"output_tokens");
        let has = |name| columns.contains(&name);
        let Some(path) = &cell.records else { return Ok(None) };
        // Runs of earlier versions lack the column.
        let records = Records::read_with(path, &columns, if by_token { &["choices"] } else { &[] })?;
        let n = records.len();
        let micros = |name: &'static str| if has(name) { records.counts(name) } else { Ok(vec![None; n]) };
        let (intended, sent) = (micros("intended_us")?, micros("sent_us")?);
        let (first, last) = (micros("first_token_us")?, micros("last_token_us")?);
        let (visible, second) = (micros("first_visible_us")?, micros("second_chunk_us")?);
        let (gap, tokens) = (micros("max_gap_us")?, micros("output_tokens")?);
        let choices = if records.has("choices") { records.counts("choices")? } else { vec![None; n] };
        let (phase, outcome) = (records.words("phase")?, records.words("outcome")?);
        let small = |value: Option<u64>| value.and_then(|v| u32::try_from(v).ok());
        let of = |word: Option<&str>| Outcome::ALL.into_iter().find(|o| Some(o.name()) == word);
        let mut out: Vec<RequestRecord> = (0..n)
            .filter(|&i| phase[i].as_deref() == Some("measure"))
            .map(|i| RequestRecord {
                phase: Phase::Measure,
                intended_us: intended[i].unwrap_or_default(),
                sent_us: sent[i],
                first_token_us: first[i],
                first_visible_us: visible[i],
                second_chunk_us: second[i],
                last_token_us: last[i],
                output_tokens: small(tokens[i]),
                max_gap_us: gap[i],
                choices: small(choices[i]),
                outcome: of(outcome[i].as_deref()).unwrap_or(Outcome::Dropped),
                ..RequestRecord::blank(i as u64)
            })
            .collect();
        out.sort_by_key(|r| (r.sent_us.unwrap_or(r.intended_us), r.seq));
        Ok(Some(Self(out)))
    }

    /// A metric's samples as its distribution has them: of good answers.
    pub(super) fn samples(&self, metric: &str) -> Vec<f64> {
        let good = self.0.iter().filter(|r| r.outcome == Outcome::Ok);
        good.filter_map(|r| of_request(metric, r)).collect()
    }

    /// Of each request that counts into the error rate, whether it failed.
    pub(super) fn failures(&self) -> Vec<bool> {
        let asked = self.0.iter().filter(|r| r.outcome != Outcome::Cancelled);
        asked.map(|r| r.outcome.is_failure()).collect()
    }
}
