//! Whether a repeat has enough independent requests for its p99 to be gated on.

use super::draft::Draft;
use super::sides::Sides;
use super::{Quantity, Verdict};
use crate::analysis::{AnalysisError, CellData};
use crate::stats::effective_share_n;

/// Independent requests beyond the quantile that a repeat needs.
const BEYOND: f64 = 10.0;

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
                    "can't be judged: a repeat is worth {least:.0} independent requests, and {quantity} needs {needed:.0}"
                )
            })
        }
        Ok(None) => Some(format!(
            "can't be judged: {quantity} needs {needed:.0} independent requests a repeat, and single requests are not known"
        )),
        Err(error) => Some(format!("can't be judged: {error}")),
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
    let Some(of) = data.samples(&[metric])? else { return Ok(None) };
    let beyond: Vec<bool> = of.iter().flatten().map(|value| *value > limit).collect();
    Ok((!beyond.is_empty()).then(|| effective_share_n(&beyond)))
}
