//! The plain rules of a gate: no test, no chance, one line each.

use std::collections::BTreeMap;

use super::meet::Met;
use super::sides::{Sides, sides};
use super::{Check, GateSettings, Quantity, Row};
use crate::analysis::words::value_with_unit;
use crate::metrics::{self, Better};
use crate::plan::CellId;

/// Repeats from which on it can be said that a cell is overloaded on one side only.
const REPEATS: usize = 2;

/// Every rule at every cell that both runs have.
pub(super) fn checks(cells: &[Met<'_>], rows: &[Row], gate: &GateSettings) -> Vec<Check> {
    let by_place: BTreeMap<(&CellId, Quantity), &Row> =
        rows.iter().filter_map(|row| Some(((row.cell.as_ref()?, row.quantity()), row))).collect();
    let mut out = Vec::new();
    for met in cells.iter().filter(|met| met.in_both()) {
        let cell = &met.cell().id;
        let mut put = |quantity: &Quantity, rule: String, bound: &dyn Fn(&Row) -> Option<f64>| {
            let row = by_place.get(&(cell, quantity.clone()));
            let value = row.and_then(|row| row.cand);
            let bound = row.and_then(|row| bound(row));
            let higher = is_higher(quantity);
            let held =
                value.zip(bound).map(|(value, bound)| if higher { value >= bound } else { value <= bound });
            out.push(Check {
                cell: cell.clone(),
                label: met.label(),
                metric: quantity.metric.clone(),
                stat: quantity.stat.clone(),
                rule,
                value,
                bound,
                held,
            });
        };
        for (quantity, times) in &gate.limit {
            let sign = if is_higher(quantity) { '≥' } else { '≤' };
            put(quantity, format!("{quantity} {sign} {times} × baseline"), &|row| {
                row.base.map(|b| b * times)
            });
        }
        for (quantity, most) in &gate.max {
            let rule = format!("{quantity} ≤ {}", value_with_unit(&quantity.metric, *most));
            put(quantity, rule, &|_| Some(*most));
        }
        for (quantity, least) in &gate.min {
            let rule = format!("{quantity} ≥ {}", value_with_unit(&quantity.metric, *least));
            put(quantity, rule, &|_| Some(*least));
        }
        out.extend(sides(met).ok().filter(newly_overloaded).map(|_| Check {
            cell: cell.clone(),
            label: met.label(),
            metric: "overload".to_owned(),
            stat: String::new(),
            rule: "not overloaded where the baseline is not".to_owned(),
            value: None,
            bound: None,
            held: Some(false),
        }));
    }
    out
}

fn is_higher(quantity: &Quantity) -> bool {
    metrics::metric(&quantity.metric).is_some_and(|m| m.better == Better::Higher)
}

/// Whether every repeat of the candidate is overloaded and less than half of the baseline's. Its latencies
/// can't be compared then, and what the server carries has shrunk all the same. Right at its
/// limit, where a third of the repeats show it, that comes about by chance in at most 5 of 100
/// comparisons of two repeats, and in 5 of 10,000 of five.
fn newly_overloaded(sides: &Sides<'_>) -> bool {
    let enough = sides.base.len() >= REPEATS && sides.cand.len() >= REPEATS;
    enough
        && sides.cand.iter().all(|one| one.is_overloaded())
        && 2 * sides.base.iter().filter(|one| one.is_overloaded()).count() < sides.base.len()
}
