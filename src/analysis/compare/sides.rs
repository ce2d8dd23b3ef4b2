//! Which repeats of a cell are held against each other.

use std::collections::BTreeMap;

use super::meet::Met;
use super::{Quantity, Verdict, is_of_requests};
use crate::analysis::CellData;
use crate::analysis::grid::Repeats;
use crate::measure::{self, CellSummary, OVERLOAD};

/// One believable repeat.
#[derive(Clone, Copy)]
pub(super) struct One<'a> {
    pub data: &'a CellData,
    pub summary: &'a CellSummary,
}

impl One<'_> {
    pub(super) fn is_overloaded(&self) -> bool {
        self.summary.validity.reasons.iter().any(|reason| reason.signal == OVERLOAD)
    }
}

/// The believable repeats of both sides.
pub(super) struct Sides<'a> {
    /// Whether the n-th of `base` and the n-th of `cand` are a pair.
    pub paired: bool,
    pub base: Vec<One<'a>>,
    pub cand: Vec<One<'a>>,
    /// What was left out, and why there are no pairs.
    pub reasons: Vec<String>,
}

/// Why there are no sides: a verdict on every figure of the cell.
pub(super) struct NoSides {
    pub verdict: Verdict,
    pub reason: String,
}

/// The values of one figure, in the order of the sides.
pub(super) struct Values {
    /// Number of the repeat in the plan: of the pair, or of each side.
    pub base_repeats: Vec<u32>,
    pub base: Vec<f64>,
    pub cand: Vec<f64>,
    /// What was left out.
    pub reasons: Vec<String>,
    /// Whether repeats were left out as overloaded, and whether of the baseline.
    pub overloaded: bool,
    pub base_overloaded: bool,
}

/// Finds the repeats to compare.
pub(super) fn sides<'a>(met: &Met<'a>) -> Result<Sides<'a>, NoSides> {
    let missing = |reason: &str| NoSides { verdict: Verdict::Missing, reason: reason.to_owned() };
    let base = met.base.as_ref().ok_or_else(|| missing("the baseline does not have this cell"))?;
    let cand = met.cand.as_ref().ok_or_else(|| missing("the candidate does not have this cell"))?;
    let mut reasons = Vec::new();
    let base = believable(base, "baseline", &mut reasons)?;
    let cand = believable(cand, "candidate", &mut reasons)?;
    let (pairs, why_not) = pairs(&base, &cand);
    if let Some(why) = why_not {
        reasons.push(format!("not paired: {why}"));
        return Ok(Sides { paired: false, base, cand, reasons });
    }
    let left = base.len().max(cand.len()) - pairs.len();
    if left > 0 {
        let (have, are) = if left == 1 { ("repeat has", "is") } else { ("repeats have", "are") };
        reasons.push(format!("{left} {have} no partner of the same seed, and {are} left out"));
    }
    let (base, cand) = pairs.into_iter().unzip();
    Ok(Sides { paired: true, base, cand, reasons })
}

/// The repeats of a side that are not invalid.
fn believable<'a>(
    repeats: &Repeats<'a>,
    side: &str,
    reasons: &mut Vec<String>,
) -> Result<Vec<One<'a>>, NoSides> {
    let ran = || repeats.cells.iter().filter_map(|data| Some(One { data, summary: data.summary.as_ref()? }));
    let invalid = |one: &One<'_>| one.summary.validity.verdict == measure::Verdict::Invalid;
    let usable: Vec<One<'a>> = ran().filter(|one| !invalid(one)).collect();
    let first = ran().filter(invalid).find_map(|one| {
        one.summary
            .validity
            .reasons
            .iter()
            .find(|r| r.verdict == measure::Verdict::Invalid)
            .map(|r| r.text.clone())
    });
    let why = first.map(|text| format!(": {text}")).unwrap_or_default();
    match (ran().count(), usable.len()) {
        (0, _) => {
            let reason = format!("no repeat of the {side} has run to its end");
            Err(NoSides { verdict: Verdict::Missing, reason })
        }
        (_, 0) => {
            Err(NoSides { verdict: Verdict::Invalid, reason: format!("the {side}'s cell is invalid{why}") })
        }
        (all, valid) => {
            if valid < all {
                reasons.push(format!(
                    "{} of {all} repeats of the {side} are invalid and left out{why}",
                    all - valid
                ));
            }
            Ok(usable)
        }
    }
}

type Pairs<'a> = Vec<(One<'a>, One<'a>)>;

/// Repeats of the same seed that were asked the same; else why there can be no pairs.
fn pairs<'a>(base: &[One<'a>], cand: &[One<'a>]) -> (Pairs<'a>, Option<String>) {
    let by_seed: BTreeMap<u64, &One<'a>> = cand.iter().map(|one| (one.data.cell.seed, one)).collect();
    let mut pairs = Vec::new();
    for one in base {
        let Some(other) = by_seed.get(&one.data.cell.seed) else { continue };
        let (own, theirs) = (&one.summary.workload_hash, &other.summary.workload_hash);
        if own.is_empty() || theirs.is_empty() {
            let side = if own.is_empty() { "baseline" } else { "candidate" };
            return (
                Vec::new(),
                Some(format!("it is not known what the {side} was asked, request by request")),
            );
        }
        if own != theirs {
            let repeat = one.data.cell.repeat;
            let why =
                format!("repeat {repeat} was not asked the same on both sides (its workload hashes differ)");
            return (Vec::new(), Some(why));
        }
        pairs.push((*one, **other));
    }
    let enough = base.len() > 1 && cand.len() > 1;
    match pairs.len() {
        0 => (Vec::new(), Some("the repeats have other seeds".to_owned())),
        1 if enough => (Vec::new(), Some("only one repeat has the same seed on both sides".to_owned())),
        _ => (pairs, None),
    }
}

impl Sides<'_> {
    /// The values of a figure. Repeats that lack it are left out, and of latencies those that
    /// were overloaded, with their partners.
    pub(super) fn values(&self, quantity: &Quantity) -> Values {
        let of =
            |one: &One<'_>| one.summary.value(&quantity.metric, &quantity.stat).filter(|v| v.is_finite());
        let barred = |one: &One<'_>| is_of_requests(&quantity.metric) && one.is_overloaded();
        let mut values = Values {
            base_repeats: Vec::new(),
            base: Vec::new(),
            cand: Vec::new(),
            reasons: Vec::new(),
            overloaded: false,
            base_overloaded: false,
        };
        let (mut base_barred, mut cand_barred) = (0, 0);
        let take = |one: &One<'_>, count: &mut u32| {
            *count += u32::from(barred(one));
            !barred(one)
        };
        if self.paired {
            for (base, cand) in self.base.iter().zip(&self.cand) {
                let (a, b) = (take(base, &mut base_barred), take(cand, &mut cand_barred));
                if let (true, Some(x), Some(y)) = (a && b, of(base), of(cand)) {
                    values.base_repeats.push(base.data.cell.repeat);
                    values.base.push(x);
                    values.cand.push(y);
                }
            }
        } else {
            for one in &self.base {
                if let (true, Some(x)) = (take(one, &mut base_barred), of(one)) {
                    values.base_repeats.push(one.data.cell.repeat);
                    values.base.push(x);
                }
            }
            for one in &self.cand {
                if let (true, Some(x)) = (take(one, &mut cand_barred), of(one)) {
                    values.cand.push(x);
                }
            }
        }
        values.base_overloaded = base_barred as usize == self.base.len();
        for (barred, side, all) in
            [(base_barred, "baseline", self.base.len()), (cand_barred, "candidate", self.cand.len())]
        {
            if barred > 0 {
                values.overloaded = true;
                values.reasons.push(format!(
                    "{barred} of {all} repeats of the {side} are overloaded: their latencies depend on how long they ran, and are left out"
                ));
            }
        }
        values
    }
}
