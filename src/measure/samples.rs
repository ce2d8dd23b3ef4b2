//! The metrics of one request, and the samples of all of them.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::Distribution;
use super::select::Selection;
use crate::record::{Outcome, Phase, RequestRecord};

/// Milliseconds from `from` to `to`, both known.
fn span_ms(from: Option<u64>, to: Option<u64>) -> Option<f64> {
    Some((to? as f64 - from? as f64) / 1000.0)
}

/// The value of a per-request metric by its name in `metrics::METRICS`, in that metric's
/// unit. `None` where it does not apply to this request, such as TPOT to an answer of one
/// token or to several answers at once, or TTFT to an answer that was not streamed.
#[must_use]
pub fn of_request(metric: &str, r: &RequestRecord) -> Option<f64> {
    let due = Some(r.intended_us);
    let tokens = r.output_tokens.map(f64::from);
    // Of several answers at once the tokens of all are counted, and whose they were isn't known.
    let of_one = tokens.filter(|_| r.choices.is_none());
    match metric {
        "ttft" => span_ms(due, r.first_token_us),
        "ttfv" => span_ms(due, r.first_visible_us),
        "tpot" => {
            let n = of_one.filter(|&n| n > 1.0)?;
            Some(span_ms(r.first_token_us, r.last_token_us)? / (n - 1.0))
        }
        "e2e" => span_ms(due, r.last_token_us),
        "ttft_service" => span_ms(r.sent_us, r.first_token_us),
        "e2e_service" => span_ms(r.sent_us, r.last_token_us),
        "second_chunk_gap" => span_ms(r.first_token_us, r.second_chunk_us),
        "max_gap" => r.max_gap_us.map(|us| us as f64 / 1000.0),
        "normalised_latency" => {
            let n = of_one.filter(|&n| n > 0.0)?;
            Some(span_ms(due, r.last_token_us)? / n)
        }
        "user_tps" => of_request("tpot", r).filter(|&ms| ms > 0.0).map(|ms| 1000.0 / ms),
        "lag" => span_ms(due, r.sent_us),
        "output_length" => tokens,
        "prompt_length" => prompt_tokens(r).map(f64::from),
        _ => None,
    }
}

/// Prompt tokens as the server reported them, else as counted here.
pub(super) fn prompt_tokens(r: &RequestRecord) -> Option<u32> {
    r.prompt_tokens.or(r.prompt_tokens_counted)
}

/// The metrics that [`of_request`] knows.
pub(super) const PER_REQUEST: [&str; 13] = [
    "ttft",
    "ttfv",
    "tpot",
    "e2e",
    "ttft_service",
    "e2e_service",
    "second_chunk_gap",
    "max_gap",
    "normalised_latency",
    "user_tps",
    "lag",
    "output_length",
    "prompt_length",
];

/// Samples by metric, in the order of [`PER_REQUEST`].
#[derive(Default)]
pub(super) struct Samples([Selection; PER_REQUEST.len()]);

impl Samples {
    /// Take in a request that was due in the window. Latencies are those of good answers; the
    /// lag is that of every request sent. Every walk must bring the same requests.
    pub(super) fn take(&mut self, r: &RequestRecord) {
        debug_assert_eq!(r.phase, Phase::Measure);
        for (metric, selection) in PER_REQUEST.iter().zip(&mut self.0) {
            if (r.outcome == Outcome::Ok || *metric == "lag")
                && let Some(value) = of_request(metric, r)
            {
                selection.take(value);
            }
        }
    }

    /// End a walk. Whether another is needed.
    pub(super) fn end_walk(&mut self) -> bool {
        let mut more = false;
        for selection in &mut self.0 {
            more |= selection.end_walk();
        }
        more
    }

    /// Those with a sample, once no further walk is needed.
    pub(super) fn distributions(&self) -> BTreeMap<String, Distribution> {
        let named = PER_REQUEST.iter().zip(&self.0);
        named.filter_map(|(name, selection)| Some(((*name).to_owned(), selection.distribution()?))).collect()
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.0.iter().map(Selection::held_bytes).sum()
    }
}

/// Summary of a histogram of microseconds, in milliseconds: exact to its three digits.
pub(super) fn of_histogram(gaps: &Histogram<u64>) -> Option<Distribution> {
    if gaps.is_empty() {
        return None;
    }
    let ms = |us: u64| us as f64 / 1000.0;
    let q = |q| ms(gaps.value_at_quantile(q));
    Some(Distribution {
        n: gaps.len(),
        mean: gaps.mean() / 1000.0,
        std: gaps.stdev() / 1000.0,
        min: ms(gaps.min()),
        p50: q(0.5),
        p75: q(0.75),
        p90: q(0.9),
        p95: q(0.95),
        p99: q(0.99),
        p999: q(0.999),
        max: ms(gaps.max()),
    })
}
