//! What endpoints cost each other: each alone held against all together, in runs whose grid has
//! `mix.endpoints` both ways. A cell with a part of the endpoints has their part of the load, so
//! that in an open loop each is asked the same alone and together.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{RunData, axes, short_name};
use crate::measure::{CellSummary, GroupKind, GroupSummary, Verdict};
use crate::metrics::{Better, Unit, metric};
use crate::plan::Cell;
use crate::stats::{Moments, student_t_cdf, student_t_quantile};

/// The factor that says who takes part.
const ENDPOINTS: &str = "mix.endpoints";
/// Chance of an interval that misses the truth, and of a verdict by chance.
const ALPHA: f64 = 0.05;

/// What is held against each other. The verdict is by those that have a margin: a worsening by
/// less, relative, is none.
const HELD: [(&str, &str, Option<f64>); 6] = [
    ("ttft", "p50", Some(0.05)),
    ("ttft", "p95", None),
    ("e2e", "p90", Some(0.10)),
    ("output_tps", "", Some(0.03)),
    ("error_rate", "", None),
    ("contention_error_rate", "", None),
];

/// Some endpoints together, each held against itself alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Contention {
    /// The other factors that vary: `qps=10`; empty where none does.
    pub label: String,
    /// In a closed loop, users who wait at one endpoint are missing at the others.
    pub closed: bool,
    /// Of those together, the ones that were measured alone as well.
    pub endpoints: Vec<Apart>,
    /// Output tokens per second in all, together against the sum of each alone; `None` unless
    /// each was measured alone.
    pub output: Option<Change>,
}

/// One endpoint, alone and beside others.
#[derive(Debug, Clone, PartialEq)]
pub struct Apart {
    pub name: String,
    /// Who ran beside it.
    pub beside: Vec<String>,
    /// Those that could be told, in a fixed order.
    pub changes: Vec<Change>,
    pub standing: Standing,
}

/// Whether an endpoint suffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A figure is worse by more than its margin and more than chance (Holm over the figures
    /// that decide, 5 %).
    Contended,
    /// No figure is.
    NotShown,
    /// A single repeat: nothing is known of chance.
    Unverified,
}

/// A figure alone and together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    pub metric: &'static str,
    /// Empty for a scalar.
    pub stat: &'static str,
    /// Means over repeats.
    pub alone: f64,
    pub together: f64,
    /// Together over alone, as the geometric mean over repeats; of shares the difference.
    pub effect: f64,
    /// 95 % interval of `effect`, by a paired t over repeats (on logs, unless of shares).
    pub interval: Option<(f64, f64)>,
    /// Two-sided p of that test.
    pub p: Option<f64>,
    /// Repeats that had both.
    pub repeats: usize,
}

impl Change {
    /// Of repeats as pairs of alone and together; `None` of none that can be compared.
    fn of(metric_name: &'static str, stat: &'static str, pairs: &[(f64, f64)]) -> Option<Self> {
        let share = metric(metric_name).is_some_and(|m| m.unit == Unit::Ratio);
        let told = |&&(alone, together): &&(f64, f64)| share || (alone > 0.0 && together > 0.0);
        let pairs: Vec<(f64, f64)> = pairs.iter().filter(told).copied().collect();
        let differences: Vec<f64> =
            pairs.iter().map(|(a, t)| if share { t - a } else { (t / a).ln() }).collect();
        let back = |d: f64| if share { d } else { d.exp() };
        let moments = Moments::of(&differences);
        let centre = moments.mean()?;
        let n = pairs.len();
        let error = moments.std().filter(|_| n > 1).map(|std| std / (n as f64).sqrt());
        let df = n as f64 - 1.0;
        let half = error.map(|error| student_t_quantile(1.0 - ALPHA / 2.0, df) * error);
        let p = error.map(|error| match error > 0.0 {
            true => 2.0 * student_t_cdf(-(centre / error).abs(), df),
            // Every repeat says the same.
            false => f64::from(u8::from(centre == 0.0)),
        });
        Some(Self {
            metric: metric_name,
            stat,
            alone: pairs.iter().map(|(a, _)| a).sum::<f64>() / n as f64,
            together: pairs.iter().map(|(_, t)| t).sum::<f64>() / n as f64,
            effect: back(centre),
            interval: half.map(|half| (back(centre - half), back(centre + half))),
            p,
            repeats: n,
        })
    }

    /// Whether it is worse together by at least `margin`, relative.
    fn is_worse_by(&self, margin: f64) -> bool {
        match metric(self.metric).map(|m| m.better) {
            Some(Better::Higher) => self.effect <= 1.0 / (1.0 + margin),
            _ => self.effect >= 1.0 + margin,
        }
    }
}

/// Cells that differ only in who takes part.
struct Setting<'a> {
    factors: BTreeMap<&'a str, &'a Value>,
    cell: &'a Cell,
    /// Who takes part, and their believable repeats by number.
    sets: Vec<(Vec<&'a str>, BTreeMap<u32, &'a CellSummary>)>,
}

/// Every comparison that a run allows, in the order of its plan.
#[must_use]
pub fn contention(run: &RunData) -> Vec<Contention> {
    settings(run).iter().flat_map(|setting| of_setting(run, setting)).collect()
}

fn settings(run: &RunData) -> Vec<Setting<'_>> {
    let mut settings: Vec<Setting<'_>> = Vec::new();
    for data in run.cells.iter().filter(|data| data.cell.factors.contains_key(ENDPOINTS)) {
        let factors: BTreeMap<&str, &Value> =
            data.cell.factors.iter().map(|(k, v)| (k.as_str(), v)).filter(|(k, _)| *k != ENDPOINTS).collect();
        let at = settings.iter().position(|s| s.factors == factors).unwrap_or_else(|| {
            settings.push(Setting { factors, cell: &data.cell, sets: Vec::new() });
            settings.len() - 1
        });
        let names = endpoints(&data.cell);
        let sets = &mut settings[at].sets;
        let set = sets.iter().position(|(other, _)| *other == names).unwrap_or_else(|| {
            sets.push((names, BTreeMap::new()));
            sets.len() - 1
        });
        if let Some(summary) = data.summary.as_ref().filter(|s| s.validity.verdict != Verdict::Invalid) {
            sets[set].1.insert(data.cell.repeat, summary);
        }
    }
    settings
}

/// Names of those that take part, in the order of the file.
fn endpoints(cell: &Cell) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for name in cell.settings.parts.iter().filter_map(|part| part.endpoint.as_deref()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn of_setting(run: &RunData, setting: &Setting<'_>) -> Vec<Contention> {
    let alone = |name: &str| setting.sets.iter().find(|(names, _)| names.as_slice() == [name]);
    let together = setting.sets.iter().filter(|(names, _)| names.len() > 1);
    let compare = |(names, summaries): &(Vec<&str>, BTreeMap<u32, &CellSummary>)| {
        let known: Vec<_> = names.iter().filter_map(|name| Some((*name, &alone(name)?.1))).collect();
        let endpoints: Vec<Apart> =
            known.iter().filter_map(|(name, by_itself)| apart(name, names, by_itself, summaries)).collect();
        let output = (known.len() == names.len()).then(|| output(&known, summaries)).flatten();
        let closed = setting.factors.get("load.qps").is_none_or(|qps| qps.is_null());
        let label = label(run, setting.cell);
        (!endpoints.is_empty()).then_some(Contention { label, closed, endpoints, output })
    };
    together.filter_map(compare).collect()
}

fn label(run: &RunData, cell: &Cell) -> String {
    let others = axes(run).into_iter().filter(|axis| axis.path != ENDPOINTS);
    let words = others.filter_map(|axis| {
        let value = cell.factors.get(&axis.path).filter(|v| !v.is_null())?;
        Some(format!("{}={}", short_name(&axis.path), super::axes::plain(value)))
    });
    words.collect::<Vec<_>>().join(" ")
}

/// An endpoint's figures in one cell.
fn group<'a>(summary: &'a CellSummary, name: &str) -> Option<&'a GroupSummary> {
    summary.group(GroupKind::Endpoint, name)
}

fn apart(
    name: &str,
    names: &[&str],
    alone: &BTreeMap<u32, &CellSummary>,
    together: &BTreeMap<u32, &CellSummary>,
) -> Option<Apart> {
    let both: Vec<(&GroupSummary, &GroupSummary)> = alone
        .iter()
        .filter_map(|(repeat, alone)| Some((group(alone, name)?, group(together.get(repeat)?, name)?)))
        .collect();
    let changes: Vec<Change> = HELD
        .iter()
        .filter_map(|(metric, stat, _)| {
            let values =
                both.iter().filter_map(|(a, t)| Some((a.value(metric, stat)?, t.value(metric, stat)?)));
            Change::of(metric, stat, &values.collect::<Vec<_>>())
        })
        .collect();
    let beside = names.iter().filter(|other| **other != name).map(|other| (*other).to_owned()).collect();
    let standing = standing(&changes, both.len());
    (!changes.is_empty()).then(|| Apart { name: name.to_owned(), beside, changes, standing })
}

/// Holm: the smallest p against α over the number of tests, the next against α over one fewer,
/// and so on until one fails.
fn standing(changes: &[Change], repeats: usize) -> Standing {
    if repeats < 2 {
        return Standing::Unverified;
    }
    let margin = |change: &Change| {
        HELD.iter().find(|(metric, stat, _)| (*metric, *stat) == (change.metric, change.stat))?.2
    };
    let mut deciding: Vec<(f64, &Change, f64)> =
        changes.iter().filter_map(|change| Some((change.p?, change, margin(change)?))).collect();
    deciding.sort_by(|a, b| a.0.total_cmp(&b.0));
    let tests = deciding.len();
    let significant = deciding
        .iter()
        .enumerate()
        .take_while(|(i, (p, ..))| *p < ALPHA / (tests - i) as f64)
        .map(|(_, d)| d);
    let contended = significant.into_iter().any(|(_, change, margin)| change.is_worse_by(*margin));
    if contended { Standing::Contended } else { Standing::NotShown }
}

/// Throughput in all: of those together, against the sum of each alone.
fn output(
    alone: &[(&str, &BTreeMap<u32, &CellSummary>)],
    together: &BTreeMap<u32, &CellSummary>,
) -> Option<Change> {
    let value = |summary: &CellSummary, name: &str| group(summary, name)?.value("output_tps", "");
    let sums = together.iter().filter_map(|(repeat, all)| {
        let each = alone.iter().map(|(name, cells)| value(cells.get(repeat)?, name));
        let beside = alone.iter().map(|(name, _)| value(all, name));
        Some((each.sum::<Option<f64>>()?, beside.sum::<Option<f64>>()?))
    });
    Change::of("output_tps", "", &sums.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_a_paired_t_on_logs() {
        // d = ln 2, ln 2.2, ln 1.8; by hand: mean 0.68980, s 0.10040, t(0.975, 2) = 4.3027.
        let pairs = [(100.0, 200.0), (100.0, 220.0), (100.0, 180.0)];
        let change = Change::of("ttft", "p50", &pairs).unwrap();
        assert!((change.effect - 1.9933).abs() < 1e-3, "{change:?}");
        let (low, high) = change.interval.unwrap();
        assert!((low - 1.5534).abs() < 2e-3 && (high - 2.5578).abs() < 2e-3, "{change:?}");
        assert!((change.p.unwrap() - 0.00698).abs() < 2e-4, "{change:?}");
        assert_eq!((change.alone, change.together, change.repeats), (100.0, 200.0, 3));
    }

    #[test]
    fn one_repeat_has_no_interval_and_none_no_change() {
        let change = Change::of("output_tps", "", &[(50.0, 25.0)]).unwrap();
        assert_eq!((change.effect, change.interval, change.p), (0.5, None, None));
        assert!(Change::of("ttft", "p50", &[]).is_none());
        assert!(Change::of("ttft", "p50", &[(0.0, 1.0)]).is_none(), "a ratio to nothing is none");
        assert_eq!(standing(&[change], 1), Standing::Unverified);
    }

    #[test]
    fn shares_are_held_against_each_other_by_difference() {
        let change = Change::of("error_rate", "", &[(0.0, 0.1), (0.0, 0.2)]).unwrap();
        assert!((change.effect - 0.15).abs() < 1e-12);
        let (low, high) = change.interval.unwrap();
        assert!(low < 0.0 && high > 0.3, "{change:?}");
    }

    #[test]
    fn a_verdict_needs_more_than_chance_and_more_than_its_margin() {
        let with = |metric, stat, ratios: &[f64]| {
            Change::of(metric, stat, &ratios.iter().map(|r| (100.0, 100.0 * r)).collect::<Vec<_>>()).unwrap()
        };
        let clear = with("ttft", "p50", &[2.0, 2.1, 1.9, 2.0]);
        assert_eq!(standing(&[clear], 4), Standing::Contended);
        let small = with("ttft", "p50", &[1.02, 1.021, 1.019, 1.02]);
        assert_eq!(standing(&[small], 4), Standing::NotShown, "below its margin");
        let noisy = with("e2e", "p90", &[4.0, 0.5, 1.5, 0.9]);
        assert_eq!(standing(&[noisy], 4), Standing::NotShown, "may be chance");
        let better = with("ttft", "p50", &[0.5, 0.51, 0.49, 0.5]);
        assert_eq!(standing(&[better], 4), Standing::NotShown);
        let less = with("output_tps", "", &[0.5, 0.51, 0.49, 0.5]);
        assert_eq!(standing(&[less, noisy], 4), Standing::Contended, "less output is worse");
        // One test of three just below 5 % is not enough.
        let weak = with("ttft", "p50", &[1.1, 1.25, 1.05, 1.2]);
        assert!(weak.p.is_some_and(|p| p > ALPHA / 3.0 && p < ALPHA), "{weak:?}");
        assert_eq!(
            standing(&[weak, noisy, with("output_tps", "", &[1.0, 1.1, 0.9, 1.0])], 4),
            Standing::NotShown
        );
    }
}
