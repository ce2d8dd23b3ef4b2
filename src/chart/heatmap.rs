//! A figure over two axes of the grid, in panels by the remaining ones.

use serde_json::Value;

use super::axis::Scale;
use super::{Body, Chart, HeatMap, HeatPanel, MAX_PANELS, lines, pieces, text};
use crate::analysis::RunData;
use crate::analysis::grid::{self, Flags, Loop, Repeats, short_name, value_text};

/// p95 TTFT.
pub(super) fn ttft(run: &RunData) -> Vec<Chart> {
    build(run, &Shown { id: "heatmap-ttft", title: "p95 TTFT", metric: "ttft", stat: "p95", unit: "ms" })
}

/// Output tokens per second.
pub(super) fn output(run: &RunData) -> Vec<Chart> {
    build(
        run,
        &Shown {
            id: "heatmap-output",
            title: "Output throughput",
            metric: "output_tps",
            stat: "",
            unit: "tok/s",
        },
    )
}

struct Shown {
    id: &'static str,
    title: &'static str,
    metric: &'static str,
    stat: &'static str,
    unit: &'static str,
}

/// From this ratio on the colours are logarithmic.
const LOG_FROM: f64 = 20.0;

fn build(run: &RunData, shown: &Shown) -> Vec<Chart> {
    let all = Repeats::all(run);
    let mixed =
        [Loop::Closed, Loop::Open].map(|k| all.iter().any(|r| Loop::of(&r.cell().settings.load) == k));
    let mut out = Vec::new();
    for kind in [Loop::Closed, Loop::Open] {
        let mine: Vec<_> =
            all.iter().filter(|r| Loop::of(&r.cell().settings.load) == kind).cloned().collect();
        let suffix = if kind == Loop::Open && mixed == [true, true] { "-open" } else { "" };
        out.extend(of_kind(&mine, shown, suffix));
    }
    out
}

fn of_kind(cells: &[Repeats<'_>], shown: &Shown, suffix: &str) -> Vec<Chart> {
    let Some((x, y, rest)) = axes(cells) else { return Vec::new() };
    let (xs, ys) = (values(cells, &x), values(cells, &y));
    let mut panels: Vec<HeatPanel> = Vec::new();
    for repeats in cells {
        let cell = repeats.cell();
        let at = |path: &str, among: &[Value]| among.iter().position(|v| *v == grid::value(cell, path));
        let (Some(i), Some(j)) = (at(&x, &xs), at(&y, &ys)) else { continue };
        let title = rest.iter().map(|p| grid::factor_text(p, &grid::value(cell, p)));
        let title = title.collect::<Vec<_>>().join(", ");
        let k = panels.iter().position(|p| p.title == title).unwrap_or_else(|| {
            let (values, flags) =
                (vec![vec![None; xs.len()]; ys.len()], vec![vec![Flags::default(); xs.len()]; ys.len()]);
            panels.push(HeatPanel { title, values, flags, tags: Vec::new() });
            panels.len() - 1
        });
        panels[k].values[j][i] = repeats.estimate(shown.metric, shown.stat).map(|e| e.mean);
        panels[k].flags[j][i] = repeats.flags();
    }
    panels.retain(|p| p.values.iter().flatten().any(Option::is_some));
    let found: Vec<f64> = panels.iter().flat_map(|p| p.values.iter().flatten().flatten().copied()).collect();
    let Some((lo, hi)) = grid::extent(&found).filter(|(_, hi)| *hi > 0.0) else { return Vec::new() };
    let log = lo > 0.0 && hi / lo > LOG_FROM;
    let caption = caption(cells, shown);
    pieces(&panels, MAX_PANELS, &|panels, id, title| Chart {
        id: format!("{}{suffix}{id}", shown.id),
        title: format!("{} by {} and {}{title}", shown.title, short_name(&x), short_name(&y)),
        subtitle: format!(
            "Each field is a cell of the grid{}; the figure in it is its {}, in {}.",
            if cells.iter().any(|r| r.cells.len() > 1) { ", the mean over its repeats" } else { "" },
            if shown.stat.is_empty() { "output throughput" } else { "p95 TTFT" },
            shown.unit
        ),
        caption: caption.clone(),
        body: Body::HeatMap(HeatMap {
            x_label: short_name(&x).into(),
            y_label: short_name(&y).into(),
            xs: xs.iter().map(value_text).collect(),
            ys: ys.iter().map(value_text).collect(),
            value_label: format!("{} ({}){}", shown.title, shown.unit, if log { ", log scale" } else { "" }),
            scale: if log { Scale::Log } else { Scale::Linear },
            range: (lo, hi),
            panels: panels.to_vec(),
        }),
    })
}

/// The two axes of the map and the rest. Two axes beside the load are the map, with panels
/// by load; one beside it is the map with it.
fn axes(cells: &[Repeats<'_>]) -> Option<(String, String, Vec<String>)> {
    let varying = grid::varying(cells);
    let (load, other): (Vec<String>, Vec<String>) =
        varying.into_iter().partition(|p| p == "load.users" || p == "load.qps");
    let mut order = if other.len() >= 2 {
        other.into_iter().chain(load).collect::<Vec<_>>()
    } else {
        load.into_iter().chain(other).collect()
    };
    if order.len() < 2 {
        return None;
    }
    let rest = order.split_off(2);
    let y = order.pop()?;
    Some((order.pop()?, y, rest))
}

/// Values of an axis: numbers rising, else in the order written.
fn values(cells: &[Repeats<'_>], path: &str) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::new();
    for v in cells.iter().map(|r| grid::value(r.cell(), path)) {
        if !out.contains(&v) {
            out.push(v);
        }
    }
    if out.iter().all(Value::is_number) {
        out.sort_by(|a, b| a.as_f64().unwrap_or(0.0).total_cmp(&b.as_f64().unwrap_or(0.0)));
    }
    out
}

fn caption(cells: &[Repeats<'_>], shown: &Shown) -> String {
    let read = |r: &Repeats<'_>| r.estimate(shown.metric, shown.stat).map(|e| (e.mean, r.label()));
    let believable = || cells.iter().filter(|r| !r.flags().invalid);
    let mut found: Vec<(f64, String)> =
        believable().filter(|r| !r.level_changes()).filter_map(read).collect();
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut out = match (found.first(), found.last()) {
        (Some(least), Some(most)) => format!(
            "It goes from {} {unit} ({}) to {} {unit} ({}).",
            text::figure(least.0),
            least.1,
            text::figure(most.0),
            most.1,
            unit = shown.unit
        ),
        _ if believable().any(Repeats::level_changes) => lines::BY_STAGE.to_owned(),
        _ => lines::NOTHING_VALID.to_owned(),
    };
    let named = |test: fn(Flags) -> bool| -> Vec<String> {
        cells.iter().filter(|r| test(r.flags())).map(Repeats::label).collect()
    };
    let invalid = named(|f| f.invalid);
    if !invalid.is_empty() {
        out.push_str(&format!(" Hatched, because invalid: {}.", text::list(&invalid, 3)));
    }
    let overloaded = named(|f| f.overloaded);
    if !overloaded.is_empty() {
        out.push_str(&format!(" Overloaded (arrow): {}.", text::list(&overloaded, 3)));
    }
    let empty = cells.iter().filter(|r| r.estimate(shown.metric, shown.stat).is_none()).count();
    if empty > 0 {
        let cells = if empty == 1 { "1 cell".to_owned() } else { format!("{empty} cells") };
        out.push_str(&format!(" Empty fields have no figure: {cells} did not run or had no answer."));
    }
    out
}
