//! A figure of a cell: its test, and the verdict on it.

use super::figures::{self, is_share};
use super::meet::Met;
use super::sides::{NoSides, Sides, Values, sides};
use super::{GateSettings, Noise, Quantity, Row, Verdict, tail};
use crate::measure;
use crate::metrics::{self, Better};
use crate::stats::{MeanTest, benjamini_hochberg, holm, paired_t, repeats_to_settle, welch};

/// Chance to miss a change as large as the margin, after the repeats that are advised.
const BETA: f64 = 0.2;
/// Rounding must not decide whether a change is as large as the margin.
const ROUNDING: f64 = 1e-9;

/// On what the values are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scale {
    /// Logarithms: of what is above 0.
    Log,
    /// As they are: shares.
    Difference,
    /// As they are, over the mean of the baseline: rates of which some are 0.
    OfMean(f64),
}

impl Scale {
    /// A value on the scale.
    pub(super) fn of(self, value: f64) -> f64 {
        match self {
            Self::Log => value.ln(),
            Self::Difference => value,
            Self::OfMean(mean) => value / mean,
        }
    }

    /// A difference on the scale as a change.
    pub(super) fn change(self, difference: f64) -> f64 {
        match self {
            Self::Log => difference.exp_m1(),
            Self::Difference | Self::OfMean(_) => difference,
        }
    }

    /// A margin on the scale. Of ratios it is as far to one half as to the double.
    fn margin(self, share: f64) -> f64 {
        match self {
            Self::Log => share.ln_1p(),
            Self::Difference | Self::OfMean(_) => share,
        }
    }
}

/// A row, and what its verdict is made of.
pub(super) struct Draft {
    pub row: Row,
    pub scale: Scale,
    pub test: Option<MeanTest>,
    /// On the scale.
    pub margin: f64,
    /// Whether the verdict is to come from the test; else the row has it already.
    pub open: bool,
    /// Values on the scale, and the numbers of the baseline's repeats.
    pub repeats: Vec<u32>,
    pub base: Vec<f64>,
    pub cand: Vec<f64>,
}

/// Every figure of every cell, tested, without verdicts that need the other tests.
pub(super) fn all(cells: &[Met<'_>], gate: &GateSettings, noise: Option<&Noise>) -> Vec<Draft> {
    let of_cell = |met: &Met<'_>| {
        let primary = figures::primary(met, gate);
        let sides = sides(met);
        let quantities = figures::all(met, &primary, gate);
        let draft = |quantity: &Quantity| {
            // What only the candidate has, the baseline can't be held against.
            let decides = met.base.is_some() && primary.contains(quantity);
            draft(met, &sides, quantity, decides, gate, noise)
        };
        quantities.iter().map(draft).collect::<Vec<_>>()
    };
    cells.iter().flat_map(of_cell).collect()
}

fn draft(
    met: &Met<'_>,
    sides: &Result<Sides<'_>, NoSides>,
    quantity: &Quantity,
    primary: bool,
    gate: &GateSettings,
    noise: Option<&Noise>,
) -> Draft {
    let row = Row {
        cell: Some(met.cell().id.clone()),
        label: met.label(),
        factors: met.cell().factors.clone(),
        metric: quantity.metric.clone(),
        stat: quantity.stat.clone(),
        better: metrics::metric(&quantity.metric).map_or(Better::Neither, |m| m.better),
        primary,
        base: None,
        cand: None,
        effect: None,
        interval: None,
        p: None,
        p_adjusted: None,
        q: None,
        margin: 0.0,
        repeats: 0,
        paired: false,
        n_eff: None,
        verdict: Verdict::Missing,
        reasons: Vec::new(),
        base_values: Vec::new(),
        cand_values: Vec::new(),
    };
    let sides = match sides {
        Ok(sides) => sides,
        Err(none) => return without_sides(met, row, quantity, none, gate, noise),
    };
    let values = sides.values(quantity);
    let mut draft = tested(row, sides.paired, &values, gate, noise);
    let given = std::mem::take(&mut draft.row.reasons);
    draft.row.reasons = sides.reasons.iter().cloned().chain(values.reasons).chain(given).collect();
    if draft.row.primary && draft.open {
        tail::look(&mut draft, sides, quantity);
    }
    draft
}

/// A figure that only one side has, or none that can be believed. Its values are shown, if there
/// are any.
fn without_sides(
    met: &Met<'_>,
    row: Row,
    quantity: &Quantity,
    none: &NoSides,
    gate: &GateSettings,
    noise: Option<&Noise>,
) -> Draft {
    let of = |side: &Option<crate::analysis::grid::Repeats<'_>>| -> Vec<f64> {
        let summaries = side.iter().flat_map(|repeats| repeats.summaries());
        let believable = summaries.filter(|s| s.validity.verdict != measure::Verdict::Invalid);
        believable.filter_map(|s| s.value(&quantity.metric, &quantity.stat)).collect()
    };
    let values = match none.verdict {
        Verdict::Missing => Values::plain(of(&met.base), of(&met.cand)),
        // What can't be believed is not shown as if it were a figure.
        _ => Values::plain(Vec::new(), Vec::new()),
    };
    let mut draft = tested(row, false, &values, gate, noise);
    (draft.row.verdict, draft.row.reasons) = (none.verdict, vec![none.reason.clone()]);
    (draft.open, draft.test) = (false, None);
    draft
}

impl Values {
    fn plain(base: Vec<f64>, cand: Vec<f64>) -> Self {
        Self {
            base_repeats: Vec::new(),
            base,
            cand,
            reasons: Vec::new(),
            overloaded: false,
            base_overloaded: false,
        }
    }
}

/// Fills in what the values say.
fn tested(mut row: Row, paired: bool, values: &Values, gate: &GateSettings, noise: Option<&Noise>) -> Draft {
    let scale = scale(&row.metric, values);
    let centre = |values: &[f64]| {
        let n = values.len() as f64;
        let mean = values.iter().map(|v| if scale == Scale::Log { v.ln() } else { *v }).sum::<f64>() / n;
        (!values.is_empty()).then(|| if scale == Scale::Log { mean.exp() } else { mean })
    };
    (row.base, row.cand) = (centre(&values.base), centre(&values.cand));
    let quantity = row.quantity();
    let margin = figures::margin(&quantity, row.base.unwrap_or(0.0), gate, noise);
    row.margin = margin.share;
    row.reasons.extend(margin.reason);
    row.paired = paired;
    row.repeats = values.base.len().min(values.cand.len()) as u32;
    row.base_values.clone_from(&values.base);
    row.cand_values.clone_from(&values.cand);
    let on_scale = |values: &[f64]| values.iter().map(|v| scale.of(*v)).collect::<Vec<_>>();
    let mut draft = Draft {
        scale,
        test: None,
        margin: scale.margin(margin.share),
        open: false,
        repeats: values.base_repeats.clone(),
        base: on_scale(&values.base),
        cand: on_scale(&values.cand),
        row,
    };
    test(&mut draft, values);
    draft
}

/// Logarithms, unless the figure is a share or a value is 0.
fn scale(metric: &str, values: &Values) -> Scale {
    if is_share(metric) {
        return Scale::Difference;
    }
    if values.base.iter().chain(&values.cand).all(|v| *v > 0.0) {
        return Scale::Log;
    }
    Scale::OfMean(values.base.iter().sum::<f64>() / values.base.len().max(1) as f64)
}

/// The test, and the verdicts that need none.
fn test(draft: &mut Draft, values: &Values) {
    let row = &mut draft.row;
    let name = row.quantity();
    if row.repeats == 0 {
        let lacking = match (values.base.is_empty(), values.cand.is_empty()) {
            (true, true) => "neither side has",
            (true, false) => "the baseline has no",
            _ => "the candidate has no",
        };
        row.verdict = if values.overloaded { Verdict::Invalid } else { Verdict::Missing };
        if !values.overloaded {
            row.reasons.push(format!("{lacking} {name}"));
        }
        // Past what the baseline carries there is nothing to hold anyone to.
        row.primary &= !values.base_overloaded;
        return;
    }
    if let Scale::OfMean(mean) = draft.scale {
        if mean <= 0.0 {
            let all_zero = values.cand.iter().all(|v| *v == 0.0);
            row.verdict = if all_zero { Verdict::Equivalent } else { Verdict::Inconclusive };
            row.effect = all_zero.then_some(0.0);
            row.reasons.push(
                if all_zero { "0 on both sides" } else { "the baseline is 0, so no change is a share of it" }
                    .to_owned(),
            );
            return;
        }
        row.reasons
            .push("a repeat has 0: compared by difference, as a share of the baseline's mean".to_owned());
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let differences: Vec<f64> = draft.base.iter().zip(&draft.cand).map(|(b, c)| c - b).collect();
    row.effect = Some(draft.scale.change(mean(&draft.cand) - mean(&draft.base)));
    draft.test = if row.paired { paired_t(&differences) } else { welch(&draft.base, &draft.cand) };
    match draft.test {
        None => {
            row.verdict = Verdict::Unverified;
            row.reasons.push("one repeat: a change can't be told from chance".to_owned());
        }
        Some(test) => {
            let (low, high) = test.interval(0.95);
            row.interval = Some((draft.scale.change(low), draft.scale.change(high)));
            row.p = Some(test.p);
            draft.open = true;
        }
    }
}

/// Adjusts the p values and gives the verdicts that need them.
pub(super) fn decide(drafts: &mut [Draft], gate: &GateSettings) {
    let tested: Vec<usize> = (0..drafts.len()).filter(|i| drafts[*i].test.is_some()).collect();
    let p = |drafts: &[Draft], places: &[usize]| {
        places.iter().filter_map(|i| drafts[*i].row.p).collect::<Vec<f64>>()
    };
    for (at, q) in tested.iter().zip(benjamini_hochberg(&p(drafts, &tested))) {
        drafts[*at].row.q = Some(q);
    }
    let primary: Vec<usize> =
        tested.iter().copied().filter(|i| drafts[*i].row.primary && drafts[*i].open).collect();
    for (at, adjusted) in primary.iter().zip(holm(&p(drafts, &primary))) {
        drafts[*at].row.p_adjusted = Some(adjusted);
    }
    for draft in drafts.iter_mut().filter(|draft| draft.open) {
        let Draft { row, test: Some(test), .. } = draft else { continue };
        let by_chance = match (row.p_adjusted, row.q) {
            (Some(p), _) => p >= gate.alpha,
            (None, q) => q.is_none_or(|q| q > gate.q),
        };
        row.verdict = verdict(test, draft.margin, !by_chance, row.better);
        if test.se == 0.0 && test.mean != 0.0 && row.repeats < gate.min_repeats {
            // Rounded figures, as an import may have: no scatter is none to tell chance by.
            row.verdict = Verdict::Unverified;
            row.reasons.push("too few repeats, and all alike: a change can't be told from chance".to_owned());
        }
        if row.verdict == Verdict::Inconclusive {
            row.reasons.push(advice(test, draft.margin, gate.alpha));
        }
    }
}

/// What a test says, on the scale of its margin. A change that is more than chance counts unless it
/// is shown to be within the margin: were the estimate held against the margin instead, a true
/// change as large as the margin would be found every other time, however many the repeats.
pub(super) fn verdict(test: &MeanTest, margin: f64, significant: bool, better: Better) -> Verdict {
    let beyond = !test.within(margin - ROUNDING);
    let worse = if better == Better::Higher { test.mean < 0.0 } else { test.mean > 0.0 };
    match (significant, beyond, worse) {
        (true, true, true) => Verdict::Regressed,
        (true, true, false) => Verdict::Improved,
        (true, false, _) => Verdict::Small,
        (false, ..) if test.within(margin) => Verdict::Equivalent,
        (false, ..) => Verdict::Inconclusive,
    }
}

/// How many repeats would settle it.
pub(super) fn advice(test: &MeanTest, margin: f64, alpha: f64) -> String {
    let std = test.se * (test.n as f64).sqrt();
    match repeats_to_settle(std, margin, alpha, BETA) {
        n if n > 1000 => "too noisy to tell: more than 1,000 repeats would be needed".to_owned(),
        n if n as usize <= test.n => {
            "so near the margin that more repeats of this kind may not settle it".to_owned()
        }
        n => format!("too noisy to tell: about {n} repeats would settle it"),
    }
}
