//! The same sweep figures of several runs, over each other: a series per run on common axes.
//!
//! Cells meet by their factors. Where runs differ in a factor that none of them varies, such as
//! the server's address, they still meet: [`difference`] says in what they differ.

use std::collections::BTreeMap;

use serde_json::Value;

use super::axis::Axis;
use super::{Body, Chart, Draw, Lines, Look, Panel, Reference, Series, lines, text};
use crate::analysis::grid::{Estimate, Family, Group, Level, Loop, Repeats, families_of};
use crate::analysis::{CellData, RunData};

/// Most runs of one overlay: as many as there are colours.
pub const MAX_RUNS: usize = super::COLOURS.len();

/// A run with the name that it has in the legend.
#[derive(Clone)]
pub struct Overlaid<'a> {
    pub name: String,
    pub run: &'a RunData,
}

/// One figure of the overlay.
struct Def {
    id: &'static str,
    title: &'static str,
    /// What the y axis has, and its unit.
    what: &'static str,
    unit: &'static str,
    help: &'static str,
    /// Metric and statistics; several statistics make several panels.
    metric: &'static str,
    stats: &'static [&'static str],
    y: Y,
}

/// How the y axis is made, and whether the figure is drawn over the load that was offered.
#[derive(Clone, Copy, PartialEq)]
enum Y {
    Latency,
    FromZero,
    /// A share, in percent up to 100.
    Percent,
    /// Over offered requests, with y = x; open loop only.
    Offered,
}

const DEFS: [Def; 7] = [
    Def {
        id: "latency-ttft",
        title: "Time to first token",
        what: "TTFT",
        unit: "ms",
        help: "Percentiles of TTFT",
        metric: "ttft",
        stats: &["p50", "p95", "p99"],
        y: Y::Latency,
    },
    Def {
        id: "latency-tpot",
        title: "Time per output token",
        what: "TPOT",
        unit: "ms",
        help: "Percentiles of TPOT",
        metric: "tpot",
        stats: &["p50", "p95", "p99"],
        y: Y::Latency,
    },
    Def {
        id: "latency-e2e",
        title: "End-to-end latency",
        what: "E2E",
        unit: "ms",
        help: "Percentiles of E2E",
        metric: "e2e",
        stats: &["p50", "p95", "p99"],
        y: Y::Latency,
    },
    Def {
        id: "throughput",
        title: "Output throughput",
        what: "output throughput",
        unit: "tok/s",
        help: "Output tokens stamped inside the window per second",
        metric: "output_tps",
        stats: &[""],
        y: Y::FromZero,
    },
    Def {
        id: "goodput",
        title: "Goodput",
        what: "goodput",
        unit: "req/s",
        help: "Requests per second that meet every per-request SLO of their own run",
        metric: "goodput_rps",
        stats: &[""],
        y: Y::FromZero,
    },
    Def {
        id: "attainment",
        title: "SLO attainment",
        what: "attainment",
        unit: "%",
        help: "Share of attempted requests that meet every per-request SLO of their own run",
        metric: "attainment",
        stats: &[""],
        y: Y::Percent,
    },
    Def {
        id: "offered-completed",
        title: "Offered and completed requests",
        what: "completed",
        unit: "req/s",
        help: "Answers completed per second over arrivals offered per second",
        metric: "completed_rps",
        stats: &[""],
        y: Y::Offered,
    },
];

/// The figures over load that at least two of the runs have in common; none where no numeric
/// axis varies over all of them.
#[must_use]
pub fn of_runs(runs: &[Overlaid<'_>]) -> Vec<Chart> {
    let cells = runs.iter().flat_map(|r| Repeats::all(r.run)).collect();
    let all = families_of(cells);
    DEFS.iter()
        .flat_map(|def| all.iter().flat_map(|family| of_family(def, family, runs)).collect::<Vec<_>>())
        .collect()
}

fn of_family(def: &Def, family: &Family<'_>, runs: &[Overlaid<'_>]) -> Vec<Chart> {
    if def.y == Y::Offered && !(family.kind == Loop::Open && family.x.is_load()) {
        return Vec::new();
    }
    let panels: Vec<Panel> = family
        .groups
        .iter()
        .flat_map(|group| def.stats.iter().map(move |stat| panel(def, family, group, stat, runs)))
        // A figure that only one run has is no comparison.
        .filter(|panel| panel.series.iter().filter(|s| !s.points.is_empty()).count() > 1)
        .collect();
    let heights = lines::heights(&panels);
    let (x, y, references) = match def.y {
        Y::Latency => (lines::x_axis(family), lines::latency_axis(def.what, &panels, &[]), Vec::new()),
        Y::FromZero => (lines::x_axis(family), Axis::from_zero(def.what, def.unit, &heights), Vec::new()),
        Y::Percent => (lines::x_axis(family), Axis::from_zero(def.what, def.unit, &[97.5]), Vec::new()),
        Y::Offered => {
            let values = [heights, lines::widths(&panels)].concat();
            let x = Axis::from_zero("offered", def.unit, &values);
            let y = Axis { label: def.what.into(), ..x.clone() };
            (x, y, vec![Reference::Diagonal { text: "y = x".into() }])
        }
    };
    let over = if def.y == Y::Offered { String::new() } else { format!(" over {}", family.x.label) };
    let caption = caption(def, family, runs);
    lines::figures(panels, &|panels, id, title| Chart {
        id: format!("{}{}{id}", def.id, family.suffix),
        title: format!("{}{over}{title}", def.title),
        subtitle: format!(
            "{}, a series per run ({}).{}",
            def.help,
            family.kind.words(),
            lines::repeats_sentence(family)
        ),
        caption: format!("{caption}{}", lines::marks(family)),
        body: Body::Lines(Lines { x: x.clone(), y: y.clone(), panels, references: references.clone() }),
    })
}

fn panel(def: &Def, family: &Family<'_>, group: &Group<'_>, stat: &str, runs: &[Overlaid<'_>]) -> Panel {
    let named = [group.label.as_str(), stat].into_iter().filter(|t| !t.is_empty());
    let series = runs.iter().enumerate().map(|(i, run)| Series {
        name: run.name.clone(),
        look: Look::nth(i),
        draw: Draw::LineAndMarkers,
        points: levels_of(group, run.run)
            .iter()
            .filter_map(|level| {
                let x = match def.y {
                    Y::Offered => level.repeats.estimate("offered_rps", "")?.mean,
                    _ => level.x,
                };
                let mut point = lines::point(family, level, x, &|l| read(def, l, stat))?;
                point.note = format!("{}: {}", run.name, point.note);
                Some(point)
            })
            .collect(),
    });
    Panel { title: named.collect::<Vec<_>>().join(", "), series: series.collect() }
}

/// A group's levels as one of the runs has them.
fn levels_of<'a>(group: &Group<'a>, run: &RunData) -> Vec<Level<'a>> {
    let mine = |cell: &CellData| run.cells.as_ptr_range().contains(&std::ptr::from_ref(cell));
    let levels = group.levels.iter().map(|level| Level {
        x: level.x,
        repeats: Repeats { cells: level.repeats.cells.iter().copied().filter(|c| mine(c)).collect() },
    });
    levels.filter(|l| !l.repeats.cells.is_empty()).collect()
}

fn read(def: &Def, level: &Level<'_>, stat: &str) -> Option<Estimate> {
    // Without limits every answer would be good.
    if matches!(def.metric, "goodput_rps" | "attainment")
        && level.repeats.cell().settings.slo.request.is_empty()
    {
        return None;
    }
    let e = level.repeats.estimate(def.metric, stat)?;
    let scale = if def.y == Y::Percent { 100.0 } else { 1.0 };
    Some(Estimate { mean: e.mean * scale, low: e.low * scale, high: e.high * scale, n: e.n })
}

/// Each run's figure at the highest level that all have, in the first group that has one.
fn caption(def: &Def, family: &Family<'_>, runs: &[Overlaid<'_>]) -> String {
    let stat = def.stats[def.stats.len() / 2];
    for group in &family.groups {
        let of_runs: Vec<Vec<(f64, f64)>> = runs
            .iter()
            .map(|run| {
                let levels = levels_of(group, run.run);
                let told = levels.iter().filter(|l| lines::tells(l));
                told.filter_map(|l| Some((l.x, read(def, l, stat)?.mean))).collect()
            })
            .collect();
        let at = |run: &[(f64, f64)], x: f64| run.iter().find(|(at, _)| *at == x).map(|(_, v)| *v);
        let common =
            of_runs[0].iter().rev().map(|(x, _)| *x).find(|x| of_runs.iter().all(|r| at(r, *x).is_some()));
        let Some(x) = common else { continue };
        let told: Vec<String> = runs
            .iter()
            .zip(&of_runs)
            .filter_map(|(run, values)| {
                Some(format!("{} {} ({})", text::figure(at(values, x)?), def.unit, run.name))
            })
            .collect();
        let group = if group.label.is_empty() { String::new() } else { format!(" with {}", group.label) };
        let what = format!("{} {stat}", def.what);
        return format!(
            "At {}{group}, the highest load that all runs have, {} is {}.",
            family.x.level(x),
            what.trim_end(),
            told.join(", ")
        );
    }
    "No level can be believed in all runs.".into()
}

/// Factors in which the runs differ though none of them varies it: path, and each run's value.
#[must_use]
pub fn difference(runs: &[Overlaid<'_>]) -> Vec<(String, Vec<String>)> {
    let of_run = |run: &RunData| -> BTreeMap<String, Option<Value>> {
        let mut constant: BTreeMap<String, Option<Value>> = BTreeMap::new();
        for (path, value) in run.cells.iter().flat_map(|c| &c.cell.factors) {
            let seen = constant.entry(path.clone()).or_insert_with(|| Some(value.clone()));
            if seen.as_ref() != Some(value) {
                *seen = None;
            }
        }
        constant
    };
    let all: Vec<_> = runs.iter().map(|r| of_run(r.run)).collect();
    let mut paths: Vec<&String> = all.iter().flat_map(BTreeMap::keys).collect();
    paths.sort();
    paths.dedup();
    let differs = |path: &&String| {
        let values: Vec<Option<&Value>> = all.iter().map(|r| r.get(*path).and_then(Option::as_ref)).collect();
        let varies = all.iter().any(|r| matches!(r.get(*path), Some(None)));
        !varies && values.windows(2).any(|w| w[0] != w[1])
    };
    let shown = |path: &String, run: &BTreeMap<String, Option<Value>>| {
        let value = run.get(path).and_then(Option::as_ref);
        value.map(super::value_text).filter(|t| !t.is_empty()).unwrap_or_else(|| "–".to_owned())
    };
    paths
        .into_iter()
        .filter(differs)
        .map(|p| (p.clone(), all.iter().map(|r| shown(p, r)).collect()))
        .collect()
}
