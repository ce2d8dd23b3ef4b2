//! Whether a repeat has enough independent requests for its p99 to be gated on.

use super::draft::Draft;
use super::sides::Sides;
use super::{Quantity, Verdict};
use crate::analysis::{AnalysisError, CellData, Records};
use crate::measure::of_request;
use crate::record::{Outcome, Phase, RequestRecord};
use crate::stats::effective_n;

/// Independent requests beyond the quantile that a repeat needs.
const BEYOND: f64 = 10.0;

/// Columns of the times that metrics are made of.
const COLUMNS: [&str; 10] = [
    "phase",
    "outcome",
    "intended_us",
    "sent_us",
    "first_token_us",
    "first_visible_us",
    "second_chunk_us",
    "last_token_us",
    "max_gap_us",
    "output_tokens",
];

/// The share of requests beyond the quantile, of those that are held to it.
fn share_beyond(stat: &str) -> Option<f64> {
    match stat {
        "p99" => Some(0.01),
        "p999" => Some(0.001),
        _ => None,
    }
}

/// Takes a far quantile out of the gate where a repeat has too few independent requests for it.
pub(super) fn look(draft: &mut Draft, sides: &Sides<'_>, quantity: &Quantity) {
    let Some(share) = share_beyond(&quantity.stat) else { return };
    let repeats = sides.base.iter().chain(&sides.cand);
    let each = repeats.map(|one| {
        let limit = one.summary.value(&quantity.metric, &quantity.stat);
        limit.map_or(Ok(None), |limit| n_eff(one.data, &quantity.metric, limit))
    });
    let row = &mut draft.row;
    let needed = BEYOND / share;
    let refused = match each.collect::<Result<Option<Vec<f64>>, AnalysisError>>() {
        Ok(Some(each)) => {
            let least = each.into_iter().fold(f64::INFINITY, f64::min);
            row.n_eff = Some(least);
            (least < needed).then(|| {
                format!(
                    "not gated: a repeat is worth {least:.0} independent requests, and {quantity} needs {needed:.0}"
                )
            })
        }
        Ok(None) => Some(format!(
            "not gated: {quantity} needs {needed:.0} independent requests a repeat, and single requests are not known"
        )),
        Err(error) => Some(format!("not gated: {error}")),
    };
    if let Some(reason) = refused {
        row.verdict = Verdict::Inconclusive;
        row.reasons.push(reason);
        draft.open = false;
    }
}

/// How many independent requests the indicator of a value beyond `limit` is worth, in the order
/// in which they were sent. `None` where single requests are not known.
fn n_eff(data: &CellData, metric: &str, limit: f64) -> Result<Option<f64>, AnalysisError> {
    let Some(path) = data.records.as_deref() else { return Ok(None) };
    let mut samples = samples(path, metric)?;
    samples.sort_by_key(|(sent, _)| *sent);
    let beyond: Vec<f64> = samples.iter().map(|(_, value)| f64::from(u8::from(*value > limit))).collect();
    Ok((!beyond.is_empty()).then(|| effective_n(&beyond)))
}

/// The values of good answers due in the window, each with when it was sent.
fn samples(path: &std::path::Path, metric: &str) -> Result<Vec<(u64, f64)>, AnalysisError> {
    let r = Records::read_with(path, &COLUMNS, &["choices"])?;
    let times =
        ["sent_us", "first_token_us", "first_visible_us", "second_chunk_us", "last_token_us", "max_gap_us"];
    let [sent, first, visible, second, last, gap] = times.map(|column| r.counts(column));
    let (sent, first, visible, second, last, gap) = (sent?, first?, visible?, second?, last?, gap?);
    let (intended, tokens) = (r.counts("intended_us")?, r.counts("output_tokens")?);
    let (phase, outcome) = (r.words("phase")?, r.words("outcome")?);
    let choices = if r.has("choices") { r.counts("choices")? } else { vec![None; r.len()] };
    let narrow = |n: Option<u64>| n.and_then(|n| u32::try_from(n).ok());
    let mut record = RequestRecord::blank(0);
    record.phase = Phase::Measure;
    let mut out = Vec::with_capacity(r.len());
    for i in 0..r.len() {
        let measured = phase[i].as_deref() == Some("measure");
        let (true, Some(due)) = (measured && outcome[i].as_deref() == Some(Outcome::Ok.name()), intended[i])
        else {
            continue;
        };
        record.intended_us = due;
        (record.sent_us, record.first_token_us, record.first_visible_us) = (sent[i], first[i], visible[i]);
        (record.second_chunk_us, record.last_token_us, record.max_gap_us) = (second[i], last[i], gap[i]);
        (record.output_tokens, record.choices) = (narrow(tokens[i]), narrow(choices[i]));
        out.extend(of_request(metric, &record).map(|value| (sent[i].unwrap_or(due), value)));
    }
    Ok(out)
}
