//! One cell over time: requests in flight, TTFT by send time, rates and lag.

use super::axis::Axis;
use super::{Body, Chart, Dash, Draw, Look, Marker, Point, Series, Span, Strip, StripPanel, text};
use crate::analysis::grid::{Flags, Repeats};
use crate::analysis::{CellData, RequestPoint, RunData, words};
use crate::measure::{CellSummary, GroupSummary, SERVER_FIGURES, ServerCourse, Verdict};
use crate::record::{TICK_US, Tick};

/// Most bins of a line: about one for three pixels.
const MAX_BINS: usize = 300;

/// Bins of a line over all strips of a run.
const BINS_BUDGET: usize = 24_000;

/// Dots over all strips of a run, so that a page with many cells still opens fast.
const DOTS_BUDGET: usize = 60_000;

/// Most cells and repeats of which each has its strip.
const ALL_OF: usize = 200;

/// Strips of a run that has more: a page has to open, and nobody looks through a thousand.
const SOME: usize = 100;

/// One for each cell and repeat that has a time line; of a large run one for each of [`SOME`].
pub(super) fn build(run: &RunData) -> Vec<Chart> {
    let cells = chosen(run.cells.iter().filter(|data| !data.timeline.is_empty()).collect());
    let shown = cells.len().max(1);
    let dots = (DOTS_BUDGET / shown).min(2000);
    let bins = (BINS_BUDGET / shown).min(MAX_BINS);
    cells.into_iter().filter_map(|data| of_cell(data, dots, bins)).collect()
}

/// At least half of them, if there are so many, are cells with a remark, the others valid; of each
/// kind some from every part of the plan.
fn chosen(cells: Vec<&CellData>) -> Vec<&CellData> {
    if cells.len() <= ALL_OF {
        return cells;
    }
    let valid = |data: &&CellData| {
        data.summary.as_ref().is_some_and(|summary| summary.validity.verdict == Verdict::Valid)
    };
    let (valid, remarked): (Vec<&CellData>, Vec<&CellData>) = cells.into_iter().partition(valid);
    let of_valid = valid.len().min(SOME / 2).max(SOME.saturating_sub(remarked.len()));
    let mut some = spread(remarked, SOME - of_valid);
    some.extend(spread(valid, of_valid));
    some.sort_by_key(|data| data.cell.index);
    some
}

/// At most `most`, evenly from the first to the last.
fn spread(from: Vec<&CellData>, most: usize) -> Vec<&CellData> {
    let most = most.min(from.len());
    (0..most).map(|i| from[i * from.len() / most]).collect()
}

fn of_cell(data: &CellData, dots: usize, most_bins: usize) -> Option<Chart> {
    data.timeline.last()?;
    let end_s = end_s(data);
    let window = data
        .summary
        .as_ref()
        .map_or((0.0, end_s), |s| (s.window.start_us as f64 / 1e6, s.window.end_us as f64 / 1e6));
    let ramp = data.cell.settings.cell.ramp.as_secs_f64().min(window.0);
    let spans = [(0.0, ramp, "ramp"), (ramp, window.0, "warm-up"), (window.1, end_s, "drain")]
        .into_iter()
        .filter(|(from, to, _)| to > from)
        .map(|(from, to, name)| Span { from, to, name: name.into() })
        .collect();
    let label = Repeats { cells: vec![data] }.label();
    let repeat = if data.cell.repeat > 1 { format!(", repeat {}", data.cell.repeat) } else { String::new() };
    // People count cells from 1, as the plan and the terminal do.
    let number = data.cell.index + 1;
    Some(Chart {
        id: format!("strip-{number:03}"),
        title: format!("Cell {number} over time: {label}{repeat}"),
        subtitle: if data.server.is_empty() {
            "In-flight requests, TTFT by send time, rates and send lag; only what lies in the white window is measured."
        } else {
            "In-flight requests, TTFT by send time, rates, send lag, and what the server says of itself; only what lies in the white window is measured."
        }
        .into(),
        caption: caption(data),
        body: Body::Strip(Strip {
            index: data.cell.index,
            x: Axis::time(end_s),
            window,
            spans,
            stages: stages(data),
            panels: panels(data, dots, most_bins),
        }),
    })
}

/// When each stage was; one that the window's end left no time for is not there.
fn stages(data: &CellData) -> Vec<Span> {
    let all = data.summary.iter().flat_map(CellSummary::stages);
    let of = |stage: &GroupSummary| {
        let window = stage.window?;
        let (from, to) = (window.start_us as f64 / 1e6, window.end_us as f64 / 1e6);
        (to > from).then(|| Span { from, to, name: stage.name.clone() })
    };
    all.filter_map(of).collect()
}

fn panels(data: &CellData, dots: usize, most_bins: usize) -> Vec<StripPanel> {
    let ticks = data.timeline.len();
    let fine = bins(&data.timeline, ticks.div_ceil(most_bins));
    // Rates need wider bins, up to a second: few requests end in a tenth of one.
    let wide = bins(&data.timeline, ticks.div_ceil(most_bins).max((ticks / 40).clamp(1, 10)));
    let rate = |name: &str, i: usize, read: fn(&Bin) -> u32| {
        line(name, i, wide.iter().map(|b| (b.mid_s, f64::from(read(b)) / b.length_s)))
    };
    let mut out = vec![panel(
        "in flight",
        "",
        vec![line("in flight", 0, fine.iter().map(|b| (b.mid_s, f64::from(b.in_flight))))],
    )];
    let ttft = ttft(&data.points, dots);
    if !ttft.is_empty() {
        let values: Vec<f64> = ttft.iter().flat_map(|s| s.points.iter().map(|p| p.y)).collect();
        out.push(StripPanel { y: Axis::latency("TTFT", "ms", &values), series: ttft });
    }
    let mut ends = vec![rate("completed", 2, |b| b.completed)];
    if fine.iter().any(|b| b.failed > 0) {
        ends.push(rate("failed", 1, |b| b.failed));
    }
    out.push(panel("ended", "req/s", ends));
    out.push(panel("content chunks", "per s", vec![rate("chunks", 0, |b| b.chunks)]));
    out.push(panel(
        "largest send lag",
        "ms",
        vec![line("lag", 5, fine.iter().map(|b| (b.mid_s, b.max_lag_us as f64 / 1e3)))],
    ));
    out.extend(server_panels(&data.server, end_s(data), most_bins));
    out
}

/// What the server says of itself, on the same clock.
const SERVER_PANELS: [(&str, &str, &[&str]); 12] = [
    ("in the server", "requests", &["running", "waiting"]),
    ("KV cache in use", "%", &["kv_use"]),
    ("prefix-cache hits", "%", &["prefix_hits"]),
    ("preemptions", "per s", &["preemptions"]),
    ("server's times", "ms", &["queue_ms", "prefill_ms"]),
    ("server's CPU", "cores", &["server_cpu"]),
    ("server's memory", "MB", &["server_memory"]),
    ("open files, threads", "", &["server_files", "server_threads"]),
    ("GPUs", "%", &["gpu", "gpu_memory"]),
    ("GPU power", "W", &["gpu_power"]),
    ("GPU clock", "MHz", &["gpu_clock"]),
    ("this machine", "%", &["machine_cpu"]),
];

/// A panel for what the server told of itself; one of nothing but 0 is left out, but for the first.
fn server_panels(courses: &[ServerCourse], end_s: f64, most: usize) -> Vec<StripPanel> {
    let series = |(i, figure): (usize, &&str)| {
        let figure = *figure;
        let course = courses.iter().find(|course| course.figure == figure)?;
        let title = SERVER_FIGURES.iter().find(|f| f.name == figure).map_or(figure, |f| f.title);
        let points: Vec<(f64, f64)> = course
            .points
            .iter()
            .map(|(at, value)| (*at as f64 / 1e6, *value))
            .filter(|(at, value)| (0.0..=end_s).contains(at) && value.is_finite())
            .collect();
        // Of neighbours the greatest, as of the client's figures.
        let points: Vec<(f64, f64)> = points
            .chunks(points.len().div_ceil(most.max(1)).max(1))
            .filter_map(|part| part.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1)))
            .collect();
        (points.len() > 1).then(|| line(title, i, points.into_iter()))
    };
    let told = |(place, (label, unit, figures)): (usize, &(&str, &str, &[&str]))| {
        let all: Vec<Series> = figures.iter().enumerate().filter_map(series).collect();
        let something = all.iter().any(|s| s.points.iter().any(|p| p.y > 0.0));
        (!all.is_empty() && (something || place == 0)).then(|| panel(label, unit, all))
    };
    SERVER_PANELS.iter().enumerate().filter_map(told).collect()
}

/// The end of the time line, in seconds.
fn end_s(data: &CellData) -> f64 {
    data.timeline.last().map_or(0.0, |last| (last.t_us + TICK_US) as f64 / 1e6)
}

fn panel(label: &str, unit: &str, series: Vec<Series>) -> StripPanel {
    let mut values: Vec<f64> = series.iter().flat_map(|s| s.points.iter().map(|p| p.y)).collect();
    if series.len() > 1 {
        // Room above the lines for their names.
        values.push(values.iter().copied().fold(0.0, f64::max) * 1.4);
    }
    StripPanel { y: Axis::from_zero(label, unit, &values), series }
}

fn line(name: &str, colour: usize, values: impl Iterator<Item = (f64, f64)>) -> Series {
    let look =
        Look { colour, dash: if colour == 1 { Dash::Dashed } else { Dash::Solid }, marker: Marker::Circle };
    Series { name: name.into(), look, draw: Draw::Line, points: values.map(bare).collect() }
}

fn bare((x, y): (f64, f64)) -> Point {
    Point { x, y, low: None, high: None, note: String::new(), tag: String::new(), flags: Flags::default() }
}

/// Dots of good requests, and crosses of those that failed after their first token.
fn ttft(points: &[RequestPoint], most: usize) -> Vec<Series> {
    let every = points.len().div_ceil(most).max(1);
    let kept: Vec<&RequestPoint> = points.iter().step_by(every).collect();
    let of = |ok: bool| -> Vec<Point> {
        kept.iter().filter(|p| p.ok == ok).filter_map(|p| p.ttft_ms.map(|y| bare((p.sent_s, y)))).collect()
    };
    let dots = |name: &str, colour, marker, points| Series {
        name: name.into(),
        look: Look { colour, dash: Dash::Solid, marker },
        draw: Draw::Dots,
        points,
    };
    let all =
        [dots("TTFT", 0, Marker::Circle, of(true)), dots("TTFT, then failed", 1, Marker::Cross, of(false))];
    all.into_iter().filter(|s| !s.points.is_empty()).collect()
}

/// Several ticks as one.
struct Bin {
    mid_s: f64,
    length_s: f64,
    /// The greatest.
    in_flight: u32,
    completed: u32,
    failed: u32,
    chunks: u32,
    max_lag_us: u64,
}

fn bins(ticks: &[Tick], per: usize) -> Vec<Bin> {
    let per = per.max(1);
    let chunks: Vec<&[Tick]> = ticks.chunks(per).collect();
    // A last bin of fewer ticks would show a rate from too little.
    let whole = chunks.iter().filter(|c| c.len() == per);
    whole
        .map(|c| {
            let length_s = (c.len() as u64 * TICK_US) as f64 / 1e6;
            Bin {
                mid_s: c[0].t_us as f64 / 1e6 + length_s / 2.0,
                length_s,
                in_flight: c.iter().map(|t| t.in_flight).max().unwrap_or(0),
                completed: c.iter().map(|t| t.completed).sum(),
                failed: c.iter().map(|t| t.failed).sum(),
                chunks: c.iter().map(|t| t.chunks).sum(),
                max_lag_us: c.iter().map(|t| t.max_lag_us).max().unwrap_or(0),
            }
        })
        .collect()
}

fn caption(data: &CellData) -> String {
    let Some(summary) = &data.summary else {
        return "The cell has no summary: it was cut off before its end.".into();
    };
    let mut out = match (summary.value("ttft", "p50"), summary.value("ttft", "p95")) {
        // Latencies over several levels are of none of them: each stage has its own below.
        _ if data.cell.settings.level_changes() => {
            format!("Over a window of {} the load changes.", text::seconds(summary.window.seconds()))
        }
        (Some(p50), Some(p95)) => format!(
            "Over a window of {} TTFT is {} ms at p50 and {} ms at p95.",
            text::seconds(summary.window.seconds()),
            text::figure(p50),
            text::figure(p95)
        ),
        _ => format!(
            "In a window of {} no request had a first token.",
            text::seconds(summary.window.seconds())
        ),
    };
    if let Some(in_flight) = summary.value("in_flight_mean", "") {
        out.push_str(&format!(" On average {} requests are in flight.", text::figure(in_flight)));
    }
    out.push_str(&stage_sentences(data, summary));
    if summary.validity.verdict == Verdict::Invalid {
        out.push_str(" INVALID, so that nothing follows about the server.");
    }
    for reason in &summary.validity.reasons {
        out.push_str(&format!(" {}.", super::lines::upper_first(reason.text.trim_end_matches('.'))));
    }
    out
}

/// What the stages are, and whether they recovered.
fn stage_sentences(data: &CellData, summary: &CellSummary) -> String {
    let one = |stage: &GroupSummary| {
        let ttft = match (stage.value("ttft", "p50"), stage.value("ttft", "p95")) {
            (Some(p50), Some(p95)) => {
                format!(" (TTFT {} ms at p50, {} ms at p95)", text::figure(p50), text::figure(p95))
            }
            _ => String::new(),
        };
        format!("{} at {}{ttft}", stage.name, words::stage_level(&data.cell, &stage.name))
    };
    let stages: Vec<String> = summary.stages().map(one).collect();
    if stages.is_empty() {
        return String::new();
    }
    let recoveries = summary.stages().filter_map(|stage| stage.recovery.as_ref());
    let recoveries = recoveries.map(|r| format!(" {}.", super::lines::upper_first(&r.text)));
    format!(" Stages: {}.{}", stages.join(", "), recoveries.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{cell, summary};

    fn cells(n: u32, remarked: impl Fn(u32) -> bool) -> Vec<CellData> {
        let one = |index: u32| {
            let mut summary = summary(index);
            summary.validity.verdict = if remarked(index) { Verdict::Warn } else { Verdict::Valid };
            let summary = Some(summary);
            CellData {
                cell: cell(index),
                summary,
                skipped: None,
                timeline: Vec::new(),
                records: None,
                points: Vec::new(),
                server: Vec::new(),
            }
        };
        (0..n).map(one).collect()
    }

    fn places(cells: &[CellData]) -> Vec<u32> {
        chosen(cells.iter().collect()).iter().map(|data| data.cell.index).collect()
    }

    #[test]
    fn each_of_few_cells_has_its_strip() {
        assert_eq!(places(&cells(200, |_| false)), (0..200).collect::<Vec<_>>());
    }

    #[test]
    fn of_many_cells_some_of_each_kind_and_of_every_part_of_the_plan_are_shown() {
        for (name, share, want) in [("few", 250, 4), ("half", 2, 50), ("most", 1, 100)] {
            let all = cells(1000, |i| i % share == 0);
            let shown = places(&all);
            assert!(shown.is_sorted() && shown.len() == 100, "{name}: {shown:?}");
            let remarked = shown.iter().filter(|i| *i % share == 0).count();
            assert_eq!(remarked, want, "{name}");
            for part in 0..10 {
                let of_part = shown.iter().filter(|i| **i / 100 == part).count();
                assert!((8..=12).contains(&of_part), "{name}: {of_part} of part {part}");
            }
        }
    }
}
