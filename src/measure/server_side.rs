//! The server's side of a cell: its own figures over the window, and its counts of what this
//! client asked, against this client's.

mod counts;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::exposition::{Common, Known, Merge};
use crate::record::{Observed, ObservedSeries, Window};
pub(super) use counts::Asked;
pub use counts::CountCheck;
use counts::counting;

/// What a figure is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// As the server tells it.
    Told(Common),
    /// A counter's growth per second.
    PerSecond(Common),
    /// The growth of one counter for each unit that the other grew.
    Per(Common, Common),
}

/// A figure of a server, whatever its make.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ServerFigure {
    /// Its key in a summary and in `server.parquet`.
    pub name: &'static str,
    pub title: &'static str,
    pub unit: &'static str,
    /// In the order of preference: of a server the first is taken that it tells.
    pub made: &'static [Made],
    /// What the value is multiplied with to be in its unit.
    pub scale: f64,
    pub help: &'static str,
}

const fn figure(
    name: &'static str,
    title: &'static str,
    unit: &'static str,
    made: &'static [Made],
    scale: f64,
    help: &'static str,
) -> ServerFigure {
    ServerFigure { name, title, unit, made, scale, help }
}

use Common as C;
use Made::{Per, PerSecond, Told};

/// Every figure, in the order in which they are shown.
pub const SERVER_FIGURES: &[ServerFigure] = &[
    figure("running", "running", "", &[Told(C::Running)], 1.0, "Requests that the server works at."),
    figure("waiting", "waiting", "", &[Told(C::Waiting)], 1.0, "Requests in the server's queue."),
    figure(
        "kv_use",
        "KV cache in use",
        "%",
        &[Told(C::KvUse)],
        100.0,
        "Share of the key-value cache that is taken.",
    ),
    figure(
        "prefix_hits",
        "prefix-cache hits",
        "%",
        &[Per(C::PrefixHits, C::PrefixQueries), Told(C::PrefixHitShare)],
        100.0,
        "Of the prompt tokens looked for in the prefix cache, those found.",
    ),
    figure(
        "preemptions",
        "preemptions",
        "per s",
        &[PerSecond(C::Preemptions)],
        1.0,
        "Requests that lost their place in the cache and have to begin again.",
    ),
    figure(
        "queue_ms",
        "time in queue",
        "ms",
        &[Per(C::QueueSeconds, C::QueueCount)],
        1e3,
        "Mean time in the queue of the requests that left it.",
    ),
    figure(
        "prefill_ms",
        "time of prefill",
        "ms",
        &[Per(C::PrefillSeconds, C::PrefillCount)],
        1e3,
        "Mean time from admission to first token of the requests that ended.",
    ),
    figure(
        "decode_ms",
        "time of decode",
        "ms",
        &[Per(C::DecodeSeconds, C::DecodeCount)],
        1e3,
        "Mean time from first to last token of the requests that ended.",
    ),
    figure(
        "prompt_tps",
        "prompt tokens",
        "tok/s",
        &[PerSecond(C::PromptTokens)],
        1.0,
        "Prompt tokens that the server counted.",
    ),
    figure(
        "output_tps",
        "output tokens",
        "tok/s",
        &[PerSecond(C::OutputTokens)],
        1.0,
        "Output tokens that the server counted.",
    ),
    figure(
        "server_cpu",
        "CPU of the server",
        "cores",
        &[Told(C::ServerCores)],
        1.0,
        "Cores that its processes keep busy.",
    ),
    figure(
        "server_memory",
        "memory of the server",
        "MB",
        &[Told(C::ServerMemory)],
        1e-6,
        "Resident memory of its processes.",
    ),
    figure(
        "server_files",
        "open files",
        "",
        &[Told(C::ServerFiles)],
        1.0,
        "Files and sockets that its processes have open.",
    ),
    figure("server_threads", "threads", "", &[Told(C::ServerThreads)], 1.0, "Threads of its processes."),
    figure("gpu", "GPU busy", "%", &[Told(C::GpuUse)], 100.0, "Share of the time in which the GPUs compute."),
    figure(
        "gpu_memory",
        "GPU memory in use",
        "%",
        &[Told(C::GpuMemory)],
        100.0,
        "Share of the GPUs' memory that is taken.",
    ),
    figure("gpu_power", "GPU power", "W", &[Told(C::GpuWatts)], 1.0, "Power of all GPUs together."),
    figure("gpu_clock", "GPU clock", "MHz", &[Told(C::GpuMhz)], 1.0, "Clock of the GPUs' processors."),
    figure("gpu_temperature", "GPU temperature", "°C", &[Told(C::GpuCelsius)], 1.0, "Of the hottest."),
    figure(
        "gpu_throttled",
        "GPU throttled",
        "%",
        &[Told(C::GpuThrottled)],
        100.0,
        "Share of the looks at which one was held back.",
    ),
    figure(
        "machine_cpu",
        "CPU of this machine",
        "%",
        &[Told(C::MachineCpu)],
        100.0,
        "Share of this machine's processors that are busy, whoever keeps them so.",
    ),
    figure(
        "machine_received",
        "network, in",
        "MB/s",
        &[Told(C::MachineReceived)],
        1e-6,
        "What this machine received, loopback left out.",
    ),
    figure(
        "machine_sent",
        "network, out",
        "MB/s",
        &[Told(C::MachineSent)],
        1e-6,
        "What this machine sent, loopback left out.",
    ),
];

/// The server's side of a cell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerSide {
    /// By name in [`SERVER_FIGURES`], over the window; those alone that the server tells, and that
    /// were looked at in the window.
    pub figures: BTreeMap<String, ServerValue>,
    /// What client and server count over the whole cell, warm-up and drain with it.
    pub counts: Vec<CountCheck>,
    /// What could not be read, in words.
    pub notes: Vec<String>,
    /// Names of what was read.
    pub sources: Vec<String>,
    /// Series that were read, known and not.
    pub series: u64,
    /// Times that they were.
    pub looks: u64,
    /// CPU time that the reading took of this machine, in milliseconds.
    pub cpu_ms: f64,
}

/// A figure over the window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ServerValue {
    pub mean: f64,
    /// The greatest that was seen at one look, or between two.
    pub max: f64,
    /// Values that they are of.
    pub n: u64,
}

/// A figure over the time of a cell.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerCourse {
    /// Its name in [`SERVER_FIGURES`].
    pub figure: String,
    /// Microseconds since the cell's epoch, below 0 before it, and value. Of what is made of
    /// growth the time is the middle between two looks.
    pub points: Vec<(i64, f64)>,
}

/// Times and values of one thing.
type Points = Vec<(i64, f64)>;

/// Every figure that the server tells, over the time of the cell.
#[must_use]
pub fn server_courses(observed: &Observed) -> Vec<ServerCourse> {
    let all = Commons::of(observed);
    let course = |figure: &ServerFigure| {
        let points = figure.made.iter().find_map(|made| all.made(*made))?;
        let points = points.into_iter().map(|part| (part.at(), part.value * figure.scale)).collect();
        Some(ServerCourse { figure: figure.name.to_owned(), points })
    };
    SERVER_FIGURES.iter().filter_map(course).filter(|course| !course.points.is_empty()).collect()
}

/// The server's side of a cell that was observed.
pub(super) fn server_side(observed: &Observed, window: Window, client: &Asked) -> ServerSide {
    let all = Commons::of(observed);
    let within = |part: &Part| part.from >= window.start_us as i64 && part.to <= window.end_us as i64;
    let value = |figure: &ServerFigure| {
        let made = figure.made.iter().find(|made| all.made(**made).is_some())?;
        let parts: Vec<Part> = all.made(*made)?.into_iter().filter(within).collect();
        let max = parts.iter().map(|part| part.value).reduce(f64::max)?;
        let mean = match made {
            Told(_) => parts.iter().map(|part| part.value).sum::<f64>() / parts.len() as f64,
            // Of all growth, not of the parts' means.
            _ => parts.iter().map(|p| p.grown).sum::<f64>() / parts.iter().map(|p| p.by).sum::<f64>(),
        };
        let value = ServerValue { mean: mean * figure.scale, max: max * figure.scale, n: parts.len() as u64 };
        Some((figure.name.to_owned(), value))
    };
    let mut notes = observed.notes.clone();
    let (counts, blind): (Vec<_>, Vec<_>) =
        client.against(observed).into_iter().partition(|check| check.server > 0 || check.client == 0);
    if let Some(check) = blind.first() {
        // Nothing at all is no disagreement of counts: it is another server, or one that doesn't count.
        notes.push(format!(
            "{} counted none of the {} {}: is that the server that was asked?",
            counting(observed).join(", "),
            check.client,
            check.name()
        ));
    }
    ServerSide {
        figures: SERVER_FIGURES.iter().filter_map(value).collect(),
        counts,
        notes,
        sources: observed.sources.clone(),
        series: observed.series.len() as u64,
        looks: observed.looks.len() as u64,
        cpu_ms: observed.cpu_us as f64 / 1e3,
    }
}

/// A value, and the time that it is of.
#[derive(Debug, Clone, Copy)]
struct Part {
    from: i64,
    to: i64,
    value: f64,
    /// What grew, by how much of the other.
    grown: f64,
    by: f64,
}

impl Part {
    const fn at(&self) -> i64 {
        i64::midpoint(self.from, self.to)
    }
}

/// What is known of a server by its common names, summed over all sources.
struct Commons(BTreeMap<Common, Points>);

impl Commons {
    fn of(observed: &Observed) -> Self {
        let mut series: BTreeMap<Common, BTreeMap<usize, Vec<Points>>> = BTreeMap::new();
        for one in &observed.series {
            if let Some(known) = Known::find(&one.name, &one.labels) {
                // Processes are added up, whoever read them; what a server says of the same memory
                // isn't added to it.
                let process = one.labels.contains("process=");
                let source = if process { PROCESSES } else { one.source };
                series
                    .entry(known.common)
                    .or_default()
                    .entry(source)
                    .or_default()
                    .push(scaled(observed, one, known));
            }
        }
        let merged = |(common, sources): (Common, BTreeMap<usize, Vec<Points>>)| {
            // Series of one source have the times of its looks.
            let how = |source| match (source, common) {
                (PROCESSES, Common::ServerMemory) => Merge::Sum,
                _ => common.merge(),
            };
            let each = sources.into_iter().map(|(source, all)| merge(&all, how(source))).collect::<Vec<_>>();
            (common, merge(&each, common.merge()))
        };
        Self(series.into_iter().map(merged).collect())
    }

    fn made(&self, made: Made) -> Option<Vec<Part>> {
        match made {
            Told(common) => {
                let points = self.0.get(&common)?;
                let part =
                    |&(at, value): &(i64, f64)| Part { from: at, to: at, value, grown: value, by: 1.0 };
                Some(points.iter().map(part).collect())
            }
            PerSecond(common) => {
                let points = self.0.get(&common)?;
                let seconds: Points = points.iter().map(|(at, _)| (*at, *at as f64 / 1e6)).collect();
                Some(growth(points, &seconds))
            }
            Per(what, by) => Some(growth(self.0.get(&what)?, self.0.get(&by)?)),
        }
    }
}

/// In the place of a source: the processes that any source has read.
const PROCESSES: usize = usize::MAX;

/// The finite values of a series in its common unit.
fn scaled(observed: &Observed, series: &ObservedSeries, known: &Known) -> Points {
    let points = observed.values(series).filter(|(_, value)| value.is_finite());
    points.map(|(at, value)| (at, value * known.scale)).collect()
}

/// Several series as one, at the times of the longest: of the others the nearest value in time.
fn merge(all: &[Points], how: Merge) -> Points {
    let Some(longest) = all.iter().max_by_key(|points| points.len()) else { return Vec::new() };
    if all.len() == 1 {
        return longest.clone();
    }
    let nearest = |points: &Points, at: i64| {
        let after = points.partition_point(|(t, _)| *t < at);
        let near = [after.checked_sub(1), Some(after)].into_iter().flatten().filter_map(|i| points.get(i));
        near.min_by_key(|(t, _)| t.abs_diff(at)).map(|(_, v)| *v)
    };
    let merged = |&(at, _): &(i64, f64)| {
        let values: Vec<f64> = all.iter().filter_map(|points| nearest(points, at)).collect();
        let sum: f64 = values.iter().sum();
        let merged = match how {
            Merge::Sum => sum,
            Merge::Mean => sum / values.len() as f64,
            Merge::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        };
        (at, merged)
    };
    longest.iter().map(merged).collect()
}

/// What `a` grew for each unit that `b` grew, from each point to the next. Where either fell, its
/// server began anew; where `b` stood still there is nothing to tell.
fn growth(a: &Points, b: &Points) -> Vec<Part> {
    let both: Vec<(i64, f64, f64)> = a
        .iter()
        .filter_map(|&(at, value)| {
            let there = b.binary_search_by_key(&at, |(t, _)| *t).ok()?;
            Some((at, value, b[there].1))
        })
        .collect();
    let part = |pair: &[(i64, f64, f64)]| {
        let (grown, by) = (pair[1].1 - pair[0].1, pair[1].2 - pair[0].2);
        (grown >= 0.0 && by > 0.0).then(|| Part {
            from: pair[0].0,
            to: pair[1].0,
            value: grown / by,
            grown,
            by,
        })
    };
    both.windows(2).filter_map(part).collect()
}
