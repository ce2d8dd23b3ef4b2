//! What to draw, as data: a [`Chart`] is drawn alike as PNG and on the page.
//!
//! [`CHARTS`] is the one table of figures, one file each. A figure for which the grid's axes
//! don't call returns nothing.

mod axis;
mod capacity_heatmap;
mod comparison;
mod goodput;
mod heatmap;
mod history;
mod latency;
mod lines;
mod offered;
mod overlay;
mod pareto;
mod profile;
mod replicas;
mod scaling;
mod strip;
mod throughput;
mod tradeoff;

pub use crate::analysis::compare::percent;
pub use crate::analysis::grid::{
    Estimate, Family, Flags, Group, Level, Loop, Repeats, X, families, short_name, value_text,
};
pub use axis::{Axis, Scale, Tick};
pub use comparison::{
    COMPARISON_CHARTS, Compared, ComparisonChartDef, MAX_CELLS, MAX_ROWS, Samples, of_comparison, worsening,
    worst_first,
};
pub use history::history;
pub use lines::upper_first;
pub use overlay::{MAX_RUNS, Overlaid, difference, of_runs};
pub use text::{count, figure, list, seconds};

use crate::analysis::compare::Verdict;
use crate::analysis::{RunData, text};

/// One figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// Stem of its file, unique in the run: `latency-ttft`.
    pub id: String,
    pub title: String,
    /// One sentence: what is shown.
    pub subtitle: String,
    /// What is seen in this data, and which cells are not to be trusted.
    pub caption: String,
    pub body: Body,
}

/// The kinds of figure.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    Lines(Lines),
    HeatMap(HeatMap),
    Strip(Strip),
    Forest(Forest),
    Matrix(Matrix),
}

/// Series over two axes, in one or more panels that share them.
#[derive(Debug, Clone, PartialEq)]
pub struct Lines {
    pub x: Axis,
    pub y: Axis,
    /// At least one, at most [`MAX_PANELS`].
    pub panels: Vec<Panel>,
    /// Drawn in every panel.
    pub references: Vec<Reference>,
}

/// One of the small multiples.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// Empty where there is only one.
    pub title: String,
    pub series: Vec<Series>,
}

/// A named line or cloud of points.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub name: String,
    pub look: Look,
    pub draw: Draw,
    /// Joined in this order.
    pub points: Vec<Point>,
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draw {
    LineAndMarkers,
    Line,
    /// A line that runs level to the next point and jumps there; without markers.
    Steps,
    /// A line with markers over an area from the points' `low` to their `high`.
    LineAndBand,
    Dots,
}

/// How series are told apart: by colour, and without it by dash and marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Index into [`COLOURS`].
    pub colour: usize,
    pub dash: Dash,
    pub marker: Marker,
}

impl Look {
    /// The look of the `i`-th series of a panel.
    #[must_use]
    pub const fn nth(i: usize) -> Self {
        const DASHES: [Dash; 4] = [Dash::Solid, Dash::Dashed, Dash::Dotted, Dash::DashDot];
        const MARKERS: [Marker; 5] =
            [Marker::Circle, Marker::Square, Marker::Triangle, Marker::Diamond, Marker::Down];
        Self { colour: i % COLOURS.len(), dash: DASHES[i % 4], marker: MARKERS[i % 5] }
    }
}

/// Dash of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dash {
    Solid,
    Dashed,
    Dotted,
    DashDot,
}

impl Dash {
    /// The dash of the `i`-th reference line of a figure.
    #[must_use]
    pub const fn of_reference(i: usize) -> Self {
        match i % 3 {
            0 => Self::Dashed,
            1 => Self::Dotted,
            _ => Self::DashDot,
        }
    }
}

/// Shape of a marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    Circle,
    Square,
    Triangle,
    Diamond,
    /// A triangle that points down.
    Down,
    /// A cross, for what failed.
    Cross,
}

/// Okabe and Ito's colours, safe for colour-blind readers, as 0xRRGGBB.
pub const COLOURS: [u32; 6] = [0x00_72B2, 0xD5_5E00, 0x00_9E73, 0xE6_9F00, 0x56_B4E9, 0xCC_79A7];

/// Most panels of one figure; what is more goes into a further figure.
pub const MAX_PANELS: usize = 6;

/// One point, with its spread where there were several repeats.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub x: f64,
    pub y: f64,
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// Which cell it is, and why it is not to be trusted.
    pub note: String,
    /// Written beside it; empty for most.
    pub tag: String,
    pub flags: Flags,
}

/// A line that is not data.
#[derive(Debug, Clone, PartialEq)]
pub enum Reference {
    /// A limit on the y axis.
    Horizontal { y: f64, text: String },
    /// y = x.
    Diagonal { text: String },
}

impl Reference {
    /// Its name in the legend.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Horizontal { text, .. } | Self::Diagonal { text } => text,
        }
    }
}

/// A value over two categorical axes.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatMap {
    pub x_label: String,
    pub y_label: String,
    pub xs: Vec<String>,
    /// From the bottom up.
    pub ys: Vec<String>,
    /// What the colour means, with its unit.
    pub value_label: String,
    /// Of the colour.
    pub scale: Scale,
    /// Common to all panels.
    pub range: (f64, f64),
    pub panels: Vec<HeatPanel>,
}

impl HeatPanel {
    /// What is written under the figure of a field; empty for most.
    #[must_use]
    pub fn tag(&self, y: usize, x: usize) -> &str {
        self.tags.get(y).and_then(|row| row.get(x)).map_or("", String::as_str)
    }
}

/// One of a heat map's small multiples; every field is `[y][x]`.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatPanel {
    pub title: String,
    /// `None`: not measured.
    pub values: Vec<Vec<Option<f64>>>,
    pub flags: Vec<Vec<Flags>>,
    /// Written under the figure; empty fields, or none at all, have none.
    pub tags: Vec<Vec<String>>,
}

impl HeatMap {
    /// Where `value` lies in the colour range, 0 to 1.
    #[must_use]
    pub fn share(&self, value: f64) -> f64 {
        let (lo, hi) = self.range;
        let share = match self.scale {
            Scale::Linear => (value - lo) / (hi - lo),
            Scale::Log => (value / lo).ln() / (hi / lo).ln(),
        };
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.5 }
    }
}

/// Changes with their intervals, one below the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Forest {
    /// Of the change, in percent; 0 lies inside.
    pub x: Axis,
    /// At least one.
    pub groups: Vec<ForestGroup>,
}

impl Forest {
    /// Lines from top to bottom: a title and the rows of each group.
    #[must_use]
    pub fn lines(&self) -> usize {
        self.groups.iter().map(|g| 1 + g.rows.len()).sum()
    }
}

/// Rows of which the same direction is good.
#[derive(Debug, Clone, PartialEq)]
pub struct ForestGroup {
    /// Says which.
    pub title: String,
    /// From the top down; at least one.
    pub rows: Vec<ForestRow>,
}

/// One change; all figures are in percent.
#[derive(Debug, Clone, PartialEq)]
pub struct ForestRow {
    pub name: String,
    /// `None`: not known, so that there is no point.
    pub effect: Option<f64>,
    /// Ends of its interval; they may lie beyond the axis.
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// Shaded from minus to plus.
    pub margin: f64,
    pub verdict: Verdict,
    /// Whether it is of all cells together.
    pub whole: bool,
    pub note: String,
}

/// Verdicts over cells and figures.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    pub columns: Vec<String>,
    /// From the top down.
    pub rows: Vec<MatrixRow>,
}

/// A cell's verdicts, one per column; `None` where there is none.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixRow {
    pub name: String,
    pub fields: Vec<Option<MatrixField>>,
}

/// One verdict.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixField {
    pub verdict: Verdict,
    /// The change; empty where it is not known or not to be believed.
    pub text: String,
    /// Its colour: −3, much better, to 3, much worse; 0 where it may be chance.
    pub step: i8,
    pub note: String,
}

/// What went on in one cell and repeat, over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Strip {
    /// Place in the plan.
    pub index: u32,
    /// Seconds since the cell's epoch.
    pub x: Axis,
    /// The measured window.
    pub window: (f64, f64),
    /// Ramp and warm-up before it, and the drain after it.
    pub spans: Vec<Span>,
    /// What the window is made of, where it goes through stages: one after the other.
    pub stages: Vec<Span>,
    pub panels: Vec<StripPanel>,
}

/// One quantity over a strip's time.
#[derive(Debug, Clone, PartialEq)]
pub struct StripPanel {
    pub y: Axis,
    pub series: Vec<Series>,
}

/// A stretch of time with a name, in seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    pub from: f64,
    pub to: f64,
    pub name: String,
}

/// One row of [`CHARTS`].
#[derive(Debug, Clone, Copy)]
pub struct ChartDef {
    /// Stem of the ids of its charts.
    pub id: &'static str,
    /// One sentence: what it shows.
    pub help: &'static str,
    pub build: fn(&RunData) -> Vec<Chart>,
}

/// Every figure, in the order in which it is reported.
pub const CHARTS: &[ChartDef] = &[
    ChartDef {
        id: "latency-ttft",
        help: "Percentiles of the time to first token over load.",
        build: latency::ttft,
    },
    ChartDef {
        id: "latency-tpot",
        help: "Percentiles of the time per output token over load.",
        build: latency::tpot,
    },
    ChartDef {
        id: "latency-e2e",
        help: "Percentiles of the end-to-end latency over load.",
        build: latency::e2e,
    },
    ChartDef { id: "throughput", help: "Output tokens per second over load.", build: throughput::build },
    ChartDef {
        id: "offered-completed",
        help: "Completed requests per second over those offered, with y = x (open loop).",
        build: offered::build,
    },
    ChartDef { id: "tradeoff", help: "p95 TTFT over throughput: the hockey stick.", build: tradeoff::build },
    ChartDef {
        id: "goodput",
        help: "Completed and good requests per second over load.",
        build: goodput::goodput,
    },
    ChartDef {
        id: "attainment",
        help: "Share of requests that meet every SLO, over load.",
        build: goodput::attainment,
    },
    ChartDef { id: "heatmap-ttft", help: "p95 TTFT over two axes of the grid.", build: heatmap::ttft },
    ChartDef {
        id: "heatmap-output",
        help: "Output tokens per second over two axes of the grid.",
        build: heatmap::output,
    },
    ChartDef {
        id: "pareto",
        help: "Output tokens per second over those that one user sees: what no other load beats in both.",
        build: pareto::build,
    },
    ChartDef {
        id: "scaling",
        help: "Completed requests per second over users, with the universal scalability law (closed loop).",
        build: scaling::build,
    },
    ChartDef {
        id: "capacity-heatmap",
        help: "The greatest load within the SLO over prompt and output length, with what breaks first.",
        build: capacity_heatmap::build,
    },
    ChartDef {
        id: "replicas",
        help: "Replicas that a traffic needs: a step for each further one.",
        build: replicas::build,
    },
    ChartDef {
        id: "profile",
        help: "Latency by percentile, where no axis of the grid is a number.",
        build: profile::build,
    },
    ChartDef {
        id: "strip",
        help: "In-flight requests, TTFT, rates and lag over the time of a cell, and what the server says of itself.",
        build: strip::build,
    },
];

/// All figures that a run calls for, in the order of [`CHARTS`]; only those that its
/// experiment names, if it names any.
#[must_use]
pub fn all(run: &RunData) -> Vec<Chart> {
    let wanted = |def: &&ChartDef| run.figures.as_ref().is_none_or(|names| names.iter().any(|n| n == def.id));
    CHARTS.iter().filter(wanted).flat_map(|def| (def.build)(run)).collect()
}

/// Charts of `all` in pieces of at most `most`; `make` gets a piece and a suffix for id and title.
fn pieces<T>(all: &[T], most: usize, make: &dyn Fn(&[T], &str, &str) -> Chart) -> Vec<Chart> {
    let of = all.len().div_ceil(most);
    let name = |i: usize| match of {
        1 => (String::new(), String::new()),
        _ => (format!("-{}", i + 1), format!(" ({} of {of})", i + 1)),
    };
    let piece = |(i, piece): (usize, &[T])| {
        let (id, title) = name(i);
        make(piece, &id, &title)
    };
    all.chunks(most).enumerate().map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_goes_into_further_figures() {
        let chart = |piece: &[u32], id: &str, title: &str| Chart {
            id: format!("a{id}"),
            title: format!("A{title}"),
            subtitle: String::new(),
            caption: format!("{piece:?}"),
            body: Body::Matrix(Matrix { columns: Vec::new(), rows: Vec::new() }),
        };
        let told = |n: u32| -> Vec<String> {
            let all: Vec<u32> = (0..n).collect();
            pieces(&all, 3, &chart)
                .into_iter()
                .map(|c| format!("{} {} {}", c.id, c.title, c.caption))
                .collect()
        };
        assert!(told(0).is_empty());
        assert_eq!(told(3), ["a A [0, 1, 2]"]);
        assert_eq!(told(4), ["a-1 A (1 of 2) [0, 1, 2]", "a-2 A (2 of 2) [3]"]);
    }
}
