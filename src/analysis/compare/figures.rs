//! Which figures are compared, which decide, and how much of a change matters.

use super::meet::Met;
use super::{GateSettings, Noise, Quantity};
use crate::analysis::words::metric_name;
use crate::metrics::{self, Kind, Unit};

/// What is compared of each cell, as far as it has it.
const FIGURES: [(&str, &str); 14] = [
    ("ttft", "p50"),
    ("ttft", "p95"),
    ("ttft", "p99"),
    ("tpot", "p50"),
    ("tpot", "p95"),
    ("tpot", "p99"),
    ("e2e", "p50"),
    ("e2e", "p95"),
    ("e2e", "p99"),
    ("output_tps", ""),
    ("completed_rps", ""),
    ("goodput_rps", ""),
    ("attainment", ""),
    ("error_rate", ""),
];

/// What decides where nobody says it, beside a rate.
const PRIMARY: [(&str, &str); 3] = [("ttft", "p50"), ("ttft", "p95"), ("tpot", "p50")];

/// The first of these that a cell has decides as well; goodput only where requests have limits,
/// for it is the rate of answers where they have none.
const RATES: [&str; 3] = ["goodput_rps", "output_tps", "completed_rps"];

/// Whether values are shares, which may be 0 and are compared by their difference.
pub(super) fn is_share(metric: &str) -> bool {
    metrics::metric(metric).is_some_and(|m| m.unit == Unit::Ratio)
}

/// The figures that decide at a cell.
pub(super) fn primary(met: &Met<'_>, gate: &GateSettings) -> Vec<Quantity> {
    if let Some(named) = &gate.primary {
        return named.clone();
    }
    let limited = !met.cell().settings.slo.request.is_empty();
    let rate = RATES.iter().find(|rate| (**rate != "goodput_rps" || limited) && has(met, rate, ""));
    let latencies = PRIMARY.iter().filter(|(metric, stat)| has(met, metric, stat));
    let all = latencies.copied().chain(rate.map(|rate| (*rate, "")));
    all.map(|(metric, stat)| Quantity::new(metric, stat)).collect()
}

/// All figures of a cell: those that decide, whether it has them or not, and of the others those
/// that either run has. In a fixed order.
pub(super) fn all(met: &Met<'_>, primary: &[Quantity], gate: &GateSettings) -> Vec<Quantity> {
    let usual = FIGURES.iter().map(|(metric, stat)| Quantity::new(metric, stat));
    let ruled = gate.limit.keys().chain(gate.max.keys()).chain(gate.min.keys()).chain(gate.margin.keys());
    let mut out: Vec<Quantity> = Vec::new();
    for quantity in usual.chain(primary.iter().cloned()).chain(ruled.cloned()) {
        let wanted = primary.contains(&quantity) || has(met, &quantity.metric, &quantity.stat);
        if wanted && !out.contains(&quantity) {
            out.push(quantity);
        }
    }
    out
}

fn has(met: &Met<'_>, metric: &str, stat: &str) -> bool {
    let sides = met.base.iter().chain(&met.cand);
    sides.flat_map(|repeats| repeats.summaries()).any(|summary| summary.value(metric, stat).is_some())
}

/// A margin, and why it is not the usual one.
pub(super) struct Margin {
    /// Share of the baseline's value; of shares the difference.
    pub share: f64,
    pub reason: Option<String>,
}

/// The smallest change of a figure that matters, where the baseline has `base`.
pub(super) fn margin(quantity: &Quantity, base: f64, gate: &GateSettings, noise: Option<&Noise>) -> Margin {
    let (metric, stat) = (quantity.metric.as_str(), quantity.stat.as_str());
    let mut margin = match gate.margin.get(quantity) {
        Some(share) => Margin { share: *share, reason: None },
        None => with_floor(usual(metric, stat), metric, base),
    };
    let noisy = noise.and_then(|noise| noise.std(metric, stat)).map(|std| {
        // The noise is one of log ratios, but of shares.
        if is_share(metric) { 2.0 * std } else { (2.0 * std).exp_m1() }
    });
    if let Some(share) = noisy.filter(|share| *share > margin.share) {
        let what = format!("margin raised to {:.1} %: twice the noise between equal runs", share * 100.0);
        margin = Margin { share, reason: Some(what) };
    }
    margin
}

fn usual(metric: &str, stat: &str) -> f64 {
    match (metric, stat) {
        ("attainment", _) => 0.03,
        _ if is_share(metric) => 0.01,
        _ if metrics::metric(metric).is_some_and(|m| m.kind == Kind::Scalar) => 0.03,
        (_, "p90" | "p95") => 0.10,
        (_, "p99" | "p999" | "max" | "std") => 0.15,
        _ => 0.05,
    }
}

/// A change that nobody feels is none, however large it is as a share.
fn with_floor(share: f64, metric: &str, base: f64) -> Margin {
    let floor_ms = match metric {
        "ttft" | "ttfv" | "ttft_service" => 5.0,
        "tpot" | "second_chunk_gap" | "chunk_gap" | "max_gap" => 0.5,
        _ => 0.0,
    };
    if base > 0.0 && floor_ms / base > share {
        let reason = format!(
            "margin raised to {:.0} %: less than {floor_ms} ms of {} don't matter",
            floor_ms / base * 100.0,
            metric_name(metric, "")
        );
        return Margin { share: floor_ms / base, reason: Some(reason) };
    }
    Margin { share, reason: None }
}
