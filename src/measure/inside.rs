//! What was read inside the server and its machine, as figures of a cell: CPU, memory, files,
//! GPUs, energy; whether something grew; and the limits of `[observe.limits]`.

mod growth;
mod limits;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use growth::{GROWING, Growing, Growth, grows, steps_grow};
pub use limits::LimitVerdict;

use crate::experiment::Limit;
use crate::record::{Observed, ObservedSeries, Window, inside};

/// The least difference between two beginnings that are two, in seconds: the clock of the
/// machine's own beginning is corrected now and then.
const ANOTHER: f64 = 2.0;

/// Figures of what was read inside the server over a cell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Inside {
    pub figures: Vec<InsideFigure>,
    /// Of each figure that can leak, where the window is long enough to tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub growth: Vec<Growth>,
    /// One for each limit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<LimitVerdict>,
    /// Whose first process was another at the end than at the beginning, by its labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restarted: Vec<String>,
    /// Energy of all GPUs that were read over the window, in joules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_j: Option<f64>,
    /// That energy for each output token that came in the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_per_token_j: Option<f64>,
}

/// One series over a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InsideFigure {
    /// As in `record::inside`, or as a JSON endpoint's pointers name it.
    pub name: String,
    /// As `record::Reading::labels`.
    pub labels: String,
    /// Over the window; over all of the cell where no look fell into it.
    pub mean: f64,
    pub max: f64,
    /// Before the cell's first request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<f64>,
    /// After its last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<f64>,
}

impl Inside {
    /// Made of what was read. `tokens`: output tokens that came in the window. `None` where
    /// nothing of its kind was read and nothing is asked.
    #[must_use]
    pub fn of(observed: &Observed, window: Window, tokens: Option<f64>, limits: &[Limit]) -> Option<Self> {
        let ours: Vec<Points> =
            observed.series.iter().filter(|s| is_inside(s)).map(|s| points(observed, s)).collect();
        let restarted: Vec<String> = ours
            .iter()
            .filter(|p| p.series.name == inside::STARTED)
            .filter(|p| p.all.windows(2).any(|pair| (pair[1].1 - pair[0].1).abs() > ANOTHER))
            .map(|p| p.series.labels.clone())
            .collect();
        let figures: Vec<InsideFigure> = ours.iter().filter_map(|p| p.figure(window)).collect();
        let same = |p: &&Points| !restarted.contains(&p.series.labels);
        let growth: Vec<Growth> = ours
            .iter()
            .filter(same)
            .filter_map(|p| Growth::of((&p.series.name, &p.series.labels), &p.all, window))
            .collect();
        let limits: Vec<LimitVerdict> =
            limits.iter().map(|limit| LimitVerdict::judge(limit, &figures, &growth)).collect();
        let counters = ours.iter().filter(|p| p.series.name == inside::GPU_ENERGY);
        let energies: Vec<Option<f64>> = counters.map(|p| energy(&p.all, window)).collect();
        let energy_j = if energies.is_empty() { None } else { energies.into_iter().sum::<Option<f64>>() };
        let energy_per_token_j =
            energy_j.zip(tokens.filter(|tokens| *tokens > 0.0)).map(|(joules, tokens)| joules / tokens);
        let nothing = figures.is_empty() && limits.is_empty();
        (!nothing).then_some(Self { figures, growth, limits, restarted, energy_j, energy_per_token_j })
    }

    /// The figures of this name.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a InsideFigure> {
        self.figures.iter().filter(move |figure| figure.name == name)
    }
}

/// Whether a series is of a process, a GPU, this machine or a JSON endpoint.
fn is_inside(series: &ObservedSeries) -> bool {
    inside::ALL.contains(&series.name.as_str()) || series.labels.starts_with("json=")
}

/// Whose figures these are, in words: `process server`, `gpu 0`; empty for the machine's.
#[must_use]
pub fn whose(labels: &str) -> String {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let value = value.trim_matches('"');
        Some(if name == "gpu" { format!("GPU {value}") } else { format!("{name} {value}") })
    };
    labels.split(',').filter_map(pair).collect::<Vec<_>>().join(", ")
}

/// A series with its values over time, in microseconds since the cell's epoch.
struct Points<'a> {
    series: &'a ObservedSeries,
    all: Vec<(i64, f64)>,
}

fn points<'a>(observed: &Observed, series: &'a ObservedSeries) -> Points<'a> {
    Points { series, all: observed.values(series).filter(|(_, value)| value.is_finite()).collect() }
}

impl Points<'_> {
    fn figure(&self, window: Window) -> Option<InsideFigure> {
        let within = |(at, _): &&(i64, f64)| {
            u64::try_from(*at).is_ok_and(|at| (window.start_us..window.end_us).contains(&at))
        };
        let values: Vec<f64> = self.all.iter().filter(within).map(|(_, value)| *value).collect();
        let max = values.iter().copied().reduce(f64::max)?;
        Some(InsideFigure {
            name: self.series.name.clone(),
            labels: self.series.labels.clone(),
            mean: values.iter().sum::<f64>() / values.len() as f64,
            max,
            before: self.all.first().filter(|(at, _)| *at <= 0).map(|(_, value)| *value),
            after: self
                .all
                .last()
                .filter(|(at, _)| u64::try_from(*at).is_ok_and(|at| at >= window.end_us))
                .map(|(_, value)| *value),
        })
    }
}

/// What a counter of joules went up by over the window, between looks on a straight line. `None`
/// where it wasn't read around the window, or was set back.
fn energy(points: &[(i64, f64)], window: Window) -> Option<f64> {
    if points.windows(2).any(|pair| pair[1].1 < pair[0].1) {
        return None;
    }
    let at = |us: u64| {
        let us = i64::try_from(us).ok()?;
        let after = points.iter().position(|(at, _)| *at >= us)?;
        let (t1, y1) = points[after];
        let (t0, y0) = if after == 0 { return (t1 == us).then_some(y1) } else { points[after - 1] };
        let share = if t1 == t0 { 1.0 } else { (us - t0) as f64 / (t1 - t0) as f64 };
        Some(y0 + share * (y1 - y0))
    };
    Some(at(window.end_us)? - at(window.start_us)?)
}
