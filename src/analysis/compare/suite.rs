//! All cells together, figure by figure.

use std::collections::{BTreeMap, BTreeSet};

use super::draft::{Draft, Scale, advice, verdict};
use super::{GateSettings, Quantity, Row, Verdict};
use crate::stats::{MeanTest, holm, paired_t, welch};

/// One row per figure that at least two cells were compared by. Each repeat gives one value: the
/// mean over cells of its differences.
pub(super) fn suite(drafts: &[Draft], gate: &GateSettings) -> Vec<Row> {
    let mut order: Vec<Quantity> = Vec::new();
    let mut by_figure: BTreeMap<Quantity, Vec<&Draft>> = BTreeMap::new();
    for draft in drafts.iter().filter(|d| d.test.is_some() && !matches!(d.scale, Scale::OfMean(_))) {
        let quantity = draft.row.quantity();
        if !order.contains(&quantity) {
            order.push(quantity.clone());
        }
        by_figure.entry(quantity).or_default().push(draft);
    }
    let together = |quantity: &Quantity| {
        let drafts = by_figure.get(quantity).filter(|drafts| drafts.len() > 1)?;
        Some(row(drafts))
    };
    let mut rows: Vec<(Row, Option<MeanTest>, f64)> = order.iter().filter_map(together).collect();
    let adjusted = holm(&rows.iter().map(|(row, ..)| row.p.unwrap_or(1.0)).collect::<Vec<_>>());
    for ((row, test, margin), p) in rows.iter_mut().zip(adjusted) {
        let Some(test) = test else { continue };
        row.p_adjusted = Some(p);
        row.verdict = verdict(test, *margin, p < gate.alpha, row.better);
        if row.verdict == Verdict::Inconclusive {
            row.reasons.push(advice(test, *margin, gate.alpha));
        }
    }
    rows.into_iter().map(|(row, ..)| row).collect()
}

/// The values of a side's repeats, each the mean over cells, on the scale.
struct Means {
    base: Vec<f64>,
    cand: Vec<f64>,
    cells: usize,
}

/// The row of one figure, with its test and its margin on the scale.
fn row(drafts: &[&Draft]) -> (Row, Option<MeanTest>, f64) {
    let paired: Vec<&&Draft> = drafts.iter().filter(|d| d.row.paired).collect();
    let by_pairs = paired.len() * 2 >= drafts.len();
    let used: Vec<&Draft> = if by_pairs { paired.into_iter().copied().collect() } else { drafts.to_vec() };
    let (means, used) = if by_pairs { of_pairs(&used) } else { of_sides(&used) };
    let first = drafts[0];
    let scale = first.scale;
    let margin = used.iter().map(|d| d.margin).sum::<f64>() / used.len().max(1) as f64;
    let test = if by_pairs {
        paired_t(&means.base.iter().zip(&means.cand).map(|(b, c)| c - b).collect::<Vec<_>>())
    } else {
        welch(&means.base, &means.cand)
    };
    let back = |values: &[f64]| -> Vec<f64> {
        values.iter().map(|v| if scale == Scale::Log { v.exp() } else { *v }).collect()
    };
    let centre = |values: &[f64]| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        (!values.is_empty()).then(|| if scale == Scale::Log { mean.exp() } else { mean })
    };
    let mut reasons = Vec::new();
    if means.cells < drafts.len() {
        reasons.push(format!(
            "of {} of {} cells: the others lack a repeat or a pair",
            means.cells,
            drafts.len()
        ));
    }
    if test.is_none() {
        reasons.push("the cells have fewer than two repeats in common".to_owned());
    }
    let row = Row {
        cell: None,
        label: "all cells".to_owned(),
        factors: BTreeMap::new(),
        metric: first.row.metric.clone(),
        stat: first.row.stat.clone(),
        better: first.row.better,
        primary: drafts.iter().any(|d| d.row.primary),
        base: centre(&means.base),
        cand: centre(&means.cand),
        effect: test.map(|test| scale.change(test.mean)),
        interval: test.map(|test| {
            let (low, high) = test.interval(0.95);
            (scale.change(low), scale.change(high))
        }),
        p: test.map(|test| test.p),
        p_adjusted: None,
        q: None,
        margin: scale.change(margin),
        repeats: means.base.len().min(means.cand.len()) as u32,
        paired: by_pairs,
        n_eff: None,
        verdict: Verdict::Inconclusive,
        reasons,
        base_values: back(&means.base),
        cand_values: back(&means.cand),
    };
    (row, test, margin)
}

/// Means over the cells that have every repeat which any has; if these are fewer than half, over
/// all cells, of the repeats that all have.
fn of_pairs<'a>(drafts: &[&'a Draft]) -> (Means, Vec<&'a Draft>) {
    let all: BTreeSet<u32> = drafts.iter().flat_map(|d| d.repeats.iter().copied()).collect();
    let full: Vec<&Draft> = drafts.iter().copied().filter(|d| d.repeats.len() == all.len()).collect();
    let used = if full.len() * 2 >= drafts.len() { full } else { drafts.to_vec() };
    let common: Vec<u32> =
        all.into_iter().filter(|key| used.iter().all(|d| d.repeats.contains(key))).collect();
    let mean = |values: fn(&Draft) -> &[f64], key: &u32| {
        let of = |d: &&Draft| d.repeats.iter().position(|k| k == key).map(|at| values(d)[at]);
        used.iter().filter_map(of).sum::<f64>() / used.len() as f64
    };
    let base = common.iter().map(|key| mean(|d| &d.base, key)).collect();
    let cand = common.iter().map(|key| mean(|d| &d.cand, key)).collect();
    (Means { base, cand, cells: used.len() }, used)
}

/// Means over all cells of each side's first, second, … repeat, as far as all cells have it.
fn of_sides<'a>(drafts: &[&'a Draft]) -> (Means, Vec<&'a Draft>) {
    let means = |values: fn(&Draft) -> &[f64]| -> Vec<f64> {
        let least = drafts.iter().map(|d| values(d).len()).min().unwrap_or(0);
        (0..least).map(|i| drafts.iter().map(|d| values(d)[i]).sum::<f64>() / drafts.len() as f64).collect()
    };
    let means = Means { base: means(|d| &d.base), cand: means(|d| &d.cand), cells: drafts.len() };
    (means, drafts.to_vec())
}
