//! The server's side of a cell: its own figures over the window, and its counts of what this
//! client asked, against this client's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::exposition::{Common, Known, Merge};
use crate::record::{Observed, ObservedSeries, Outcome, RequestRecord, Window};

/// A difference of counts that is worth no word, as a share.
const TOLERATED: f64 = 0.01;
/// And as a number of requests: what was on its way when the server was asked.
const TOLERATED_REQUESTS: f64 = 2.0;

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

/// A count of both sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CountCheck {
    /// `requests`, `prompt_tokens` or `output_tokens`.
    pub what: String,
    /// By this client, of the requests that ended well.
    pub client: u64,
    /// What the others, of which this client doesn't know what the server made of them, may add.
    pub unsure: u64,
    pub server: u64,
}

impl CountCheck {
    /// In words.
    #[must_use]
    pub fn name(&self) -> &str {
        match self.what.as_str() {
            "requests" => "requests that ended well",
            "prompt_tokens" => "prompt tokens",
            "output_tokens" => "output tokens",
            other => other,
        }
    }

    /// How far the server's count is below or above what it can be, as a share of the client's;
    /// 0 where it is within.
    #[must_use]
    pub fn off(&self) -> f64 {
        let (server, client) = (self.server as f64, self.client as f64);
        let most = client + self.unsure as f64;
        let beyond = if server < client { server - client } else { (server - most).max(0.0) };
        beyond / client.max(1.0)
    }
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

/// How much a counter grew over all series of it, from before the cell to after the end of its
/// last request, `until`. `None` where one began anew, or wasn't read at both ends. A series that came
/// later than its source's others counted from 0: many counters are first told when there is something
/// to count.
fn grown(observed: &Observed, common: Common, until: i64) -> Option<u64> {
    let mut sum = None;
    for series in &observed.series {
        let Some(known) = Known::find(&series.name, &series.labels).filter(|k| k.common == common) else {
            continue;
        };
        let points = scaled(observed, series, known);
        let (Some(first), Some(last)) = (points.first(), points.last()) else { continue };
        let of_source = observed.series.iter().filter(|other| other.source == series.source);
        let began = of_source.filter_map(|other| observed.values(other).next()).map(|(at, _)| at).min()?;
        if began > 0 || last.0 < until || !points.is_sorted_by(|a, b| a.1 <= b.1) {
            return None;
        }
        let start = if first.0 > began { 0.0 } else { first.1 };
        sum = Some(sum.unwrap_or(0.0) + last.1 - start);
    }
    sum.map(|sum: f64| sum.round() as u64)
}

/// The sources that count what was asked of the server.
fn counting(observed: &Observed) -> Vec<&str> {
    let counts = [Common::RequestsOk, Common::PromptTokens, Common::OutputTokens];
    let counts = |series: &&ObservedSeries| {
        Known::find(&series.name, &series.labels).is_some_and(|known| counts.contains(&known.common))
    };
    let mut sources: Vec<usize> = observed.series.iter().filter(counts).map(|series| series.source).collect();
    sources.sort_unstable();
    sources.dedup();
    sources.into_iter().filter_map(|source| observed.sources.get(source)).map(String::as_str).collect()
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

/// What this client asked of the server over the whole cell, and got.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// It can't be held against the server's count: such as where answers are not read to their end.
    not_whole: bool,
    /// Servers that were asked.
    servers: usize,
    several_choices: bool,
    /// The end of the last request, in microseconds since the cell's epoch.
    ended_us: u64,
    ok: u64,
    unsure: u64,
    prompt: u64,
    prompt_unsure: u64,
    prompt_unknown: bool,
    output: u64,
    output_unsure: u64,
    output_unknown: bool,
}

impl Asked {
    /// Of requests to so many servers.
    pub(super) fn new(whole_answers: bool, servers: usize) -> Self {
        Self { not_whole: !whole_answers, servers, ..Self::default() }
    }

    pub(super) fn take(&mut self, record: &RequestRecord) {
        self.several_choices |= record.choices.is_some();
        self.ended_us = self.ended_us.max(record.end_us.unwrap_or(0));
        if record.outcome == Outcome::Ok {
            self.ok += 1;
            self.prompt += u64::from(record.prompt_tokens.unwrap_or(0));
            self.prompt_unknown |= record.prompt_tokens.is_none();
            self.output += u64::from(record.output_tokens.unwrap_or(0));
            self.output_unknown |= record.output_tokens.is_none();
        } else if record.sent_us.is_some() {
            self.unsure += 1;
            let prompt = record.prompt_tokens.or(record.prompt_tokens_counted);
            self.prompt_unsure += u64::from(prompt.unwrap_or(record.prompt_tokens_asked));
            self.output_unsure += record.output_asked();
        }
    }

    fn against(&self, observed: &Observed) -> Vec<CountCheck> {
        // Of several servers the count of some is no count of what all were asked.
        if self.not_whole || counting(observed).len() < self.servers {
            return Vec::new();
        }
        let check = |what: &str, known: bool, common, client, unsure| {
            let until = i64::try_from(self.ended_us).unwrap_or(i64::MAX);
            let server = if known { grown(observed, common, until)? } else { return None };
            Some(CountCheck { what: what.to_owned(), client, unsure, server })
        };
        let checks = [
            check("requests", !self.several_choices, Common::RequestsOk, self.ok, self.unsure),
            check(
                "prompt_tokens",
                // Some servers count a prompt once for each of its answers.
                !self.prompt_unknown && !self.several_choices,
                Common::PromptTokens,
                self.prompt,
                self.prompt_unsure,
            ),
            check(
                "output_tokens",
                !self.output_unknown,
                Common::OutputTokens,
                self.output,
                self.output_unsure,
            ),
        ];
        checks.into_iter().flatten().collect()
    }

    /// The greatest share by which a count is off, of those that are by more than what may have
    /// been on its way; 0 where none is. And what it says.
    pub(super) fn verdict(&self, counts: &[CountCheck]) -> Option<(f64, String)> {
        let per_request = |check: &CountCheck| check.client as f64 / self.ok.max(1) as f64;
        let counts_for = |check: &&CountCheck| {
            check.off().abs() * check.client.max(1) as f64 > TOLERATED_REQUESTS * per_request(check).max(1.0)
        };
        let worst = counts.iter().filter(counts_for).max_by(|a, b| a.off().abs().total_cmp(&b.off().abs()));
        let Some(worst) = worst else { return counts.first().map(|_| (0.0, String::new())) };
        let unsure = match worst.unsure {
            0 => String::new(),
            n if worst.server > worst.client => format!(" and at most {n} of requests that didn't end well"),
            _ => String::new(),
        };
        let why = if worst.off() > 0.0 {
            "does somebody else ask this server?"
        } else {
            "is what is read all of the server?"
        };
        let text = format!(
            "client and server don't agree on {} of the whole cell: {} here{unsure}, {} there, {:.1} % off (limit {:.0} %): {why}",
            worst.name(),
            worst.client,
            worst.server,
            worst.off().abs() * 100.0,
            TOLERATED * 100.0,
        );
        Some((worst.off().abs(), text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{EndedBy, ObservedLook, ReadingKind};

    /// A look each second from −0.5 s on, of sources that tell these series.
    fn observed(looks: usize, series: &[(usize, &str, &str, &[f64])]) -> Observed {
        let sources = series.iter().map(|(source, ..)| source + 1).max().unwrap_or(1);
        let look = |i: usize| ObservedLook {
            at_us: (i / sources) as i64 * 1_000_000 - 500_000 + (i % sources) as i64 * 1000,
            source: i % sources,
        };
        Observed {
            sources: (0..sources).map(|n| format!("s{n}")).collect(),
            looks: (0..looks * sources).map(look).collect(),
            series: series
                .iter()
                .map(|(source, name, labels, values)| ObservedSeries {
                    source: *source,
                    name: (*name).into(),
                    labels: (*labels).into(),
                    kind: ReadingKind::Gauge,
                    changes: values
                        .iter()
                        .enumerate()
                        .map(|(i, v)| (i * sources + source, Some(*v)))
                        .collect(),
                })
                .collect(),
            ..Observed::default()
        }
    }

    const WINDOW: Window = Window { start_us: 1_000_000, end_us: 4_000_000, ended_by: EndedBy::Duration };

    fn side(observed: &Observed) -> ServerSide {
        server_side(observed, WINDOW, &Asked::new(true, 1))
    }

    #[test]
    fn figures_are_of_the_window() {
        let all = observed(
            6,
            &[
                // At −0.5, 0.5, 1.5, 2.5, 3.5 and 4.5 s.
                (0, "vllm:num_requests_running", "engine=\"0\"", &[0.0, 9.0, 1.0, 2.0, 3.0, 9.0]),
                (0, "vllm:num_requests_running", "engine=\"1\"", &[0.0, 9.0, 1.0, 1.0, 1.0, 9.0]),
                (0, "vllm:kv_cache_usage_perc", "engine=\"0\"", &[0.0, 0.9, 0.1, 0.2, 0.3, 0.9]),
                (0, "vllm:kv_cache_usage_perc", "engine=\"1\"", &[0.0, 0.9, 0.3, 0.4, 0.5, 0.9]),
                (0, "vllm:generation_tokens_total", "", &[0.0, 50.0, 100.0, 200.0, 400.0, 900.0]),
                (0, "vllm:request_queue_time_seconds_sum", "", &[0.0, 0.0, 1.0, 1.5, 3.5, 9.0]),
                (0, "vllm:request_queue_time_seconds_count", "", &[0.0, 0.0, 10.0, 15.0, 20.0, 30.0]),
                (0, "vllm:prefix_cache_queries_total", "", &[5.0; 6]),
                (0, "vllm:prefix_cache_hits_total", "", &[0.0; 6]),
                (0, "nobody_knows", "", &[1.0; 6]),
            ],
        );
        let side = side(&all);
        let of = |name: &str| {
            side.figures.get(name).map(|v| ((v.mean * 1e6).round() / 1e6, (v.max * 1e6).round() / 1e6, v.n))
        };
        assert_eq!(of("running"), Some((3.0, 4.0, 3)));
        assert_eq!(of("kv_use"), Some((30.0, 40.0, 3)));
        assert_eq!(of("output_tps"), Some((150.0, 200.0, 2)));
        // 2.5 s over 10 requests, not the mean of 0.1 and 0.4 s.
        assert_eq!(of("queue_ms"), Some((250.0, 400.0, 2)));
        assert_eq!(of("prefix_hits"), None, "nothing was looked for");
        assert_eq!(of("waiting"), None, "it isn't told");
        assert_eq!((side.series, side.looks), (10, 6));
        let courses = server_courses(&all);
        let names: Vec<&str> = courses.iter().map(|c| c.figure.as_str()).collect();
        assert_eq!(names, ["running", "kv_use", "queue_ms", "output_tps"]);
        assert_eq!(courses[0].points[1], (500_000, 18.0));
        assert_eq!(courses[3].points[0], (0, 50.0), "growth is told in the middle");
    }

    #[test]
    fn a_counter_that_begins_anew_is_no_growth() {
        let all = observed(5, &[(0, "vllm:generation_tokens_total", "", &[0.0, 100.0, 10.0, 30.0, 60.0])]);
        let course = &server_courses(&all)[0];
        assert_eq!(course.points.iter().map(|p| p.1).collect::<Vec<_>>(), [100.0, 20.0, 30.0]);
        assert_eq!(super::grown(&all, Common::OutputTokens, 0), None);
    }

    #[test]
    fn several_sources_are_one_server() {
        let all = observed(
            5,
            &[
                (0, "vllm:num_requests_waiting", "", &[0.0, 1.0, 2.0, 3.0, 4.0]),
                (1, "llamacpp:requests_deferred", "", &[0.0, 10.0, 20.0, 30.0, 40.0]),
            ],
        );
        let waiting = side(&all).figures["waiting"];
        assert_eq!((waiting.mean, waiting.max), (33.0, 44.0));
    }

    fn asked(ok: u32, failed: u32) -> Asked {
        let mut asked = Asked::new(true, 1);
        let record = |seq: u32| {
            let mut record = RequestRecord::blank(u64::from(seq));
            record.sent_us = Some(1);
            record.outcome = if seq < ok { Outcome::Ok } else { Outcome::Timeout };
            record.prompt_tokens = Some(10);
            record.output_tokens = Some(20);
            record.max_tokens = 20;
            record
        };
        (0..ok + failed).map(record).for_each(|r| asked.take(&r));
        asked
    }

    fn counted(requests: f64, prompt: f64, output: f64) -> Observed {
        let success = "vllm:request_success_total";
        observed(
            2,
            &[
                (0, success, "finished_reason=\"stop\"", &[7.0, 7.0]),
                (0, success, "finished_reason=\"length\"", &[5.0, 5.0 + requests]),
                (0, success, "finished_reason=\"abort\"", &[0.0, 99.0]),
                (0, "vllm:prompt_tokens_total", "", &[1.0, 1.0 + prompt]),
                (0, "vllm:generation_tokens_total", "", &[0.0, output]),
            ],
        )
    }

    #[test]
    fn counts_are_held_against_each_other() {
        let verdict = |asked: &Asked, all: &Observed| {
            let counts = asked.against(all);
            assert_eq!(counts.len(), 3);
            asked.verdict(&counts).unwrap()
        };
        assert_eq!(verdict(&asked(1000, 0), &counted(1000.0, 10_000.0, 20_000.0)), (0.0, String::new()));
        // Those that did not end well here may have done so there.
        assert_eq!(verdict(&asked(1000, 50), &counted(1050.0, 10_500.0, 20_400.0)).0, 0.0);
        // Two requests are not worth a word, even of ten.
        assert_eq!(verdict(&asked(10, 0), &counted(12.0, 120.0, 240.0)).0, 0.0);
        let (off, text) = verdict(&asked(1000, 0), &counted(1200.0, 12_000.0, 20_000.0));
        assert!((off - 0.2).abs() < 1e-9, "{off}");
        for words in ["here", "there", "20.0 %", "somebody else"] {
            assert!(text.contains(words), "{text}");
        }
        let (off, text) = verdict(&asked(1000, 0), &counted(1000.0, 10_000.0, 15_000.0));
        assert!(
            (off - 0.25).abs() < 1e-9 && text.contains("output tokens") && text.contains("20000 here"),
            "{text}"
        );
    }

    #[test]
    fn growth_is_counted_series_by_series_from_before_the_load_to_after_it() {
        let tokens = "vllm:generation_tokens_total";
        let grown = |series: &[(usize, &str, &str, &[f64])], until| {
            super::grown(&observed(4, series), Common::OutputTokens, until)
        };
        assert_eq!(grown(&[(0, tokens, "", &[5.0, 6.0, 9.0, 9.0])], 2_500_000), Some(4));
        // The last look was before the last request had ended.
        assert_eq!(grown(&[(0, tokens, "", &[5.0, 6.0, 9.0, 9.0])], 2_600_000), None);
        // One that began anew isn't hidden by another.
        let two: [(usize, &str, &str, &[f64]); 2] = [
            (0, tokens, "m=\"a\"", &[0.0, 50.0, 90.0, 200.0]),
            (0, tokens, "m=\"b\"", &[70.0, 80.0, 2.0, 3.0]),
        ];
        assert_eq!(grown(&two, 0), None);
        // One that is first told when there is something to count began at 0.
        let mut late = observed(4, &[(0, tokens, "", &[1.0; 4]), (0, tokens, "m=\"b\"", &[8.0])]);
        late.series[1].changes = vec![(2, Some(8.0))];
        assert_eq!(super::grown(&late, Common::OutputTokens, 0), Some(8));
    }

    #[test]
    fn processes_are_added_up_and_what_a_server_says_of_its_memory_is_not() {
        let memory = crate::record::inside::MEMORY;
        let mut all = observed(
            2,
            &[(0, memory, "process=\"a\"", &[3.0, 3.0]), (1, memory, "process=\"b\"", &[4.0, 4.0])],
        );
        all.series.push(ObservedSeries { labels: String::new(), ..all.series[0].clone() });
        let of = |all: &Observed| Commons::of(all).0[&Common::ServerMemory][0].1;
        assert_eq!(of(&all), 7.0);
    }

    #[test]
    fn a_server_that_counts_nothing_is_noted_and_not_blamed() {
        let side = server_side(&counted(0.0, 0.0, 0.0), WINDOW, &asked(10, 0));
        assert_eq!(side.counts, []);
        assert_eq!(
            side.notes,
            ["s0 counted none of the 10 requests that ended well: is that the server that was asked?"]
        );
    }

    #[test]
    fn what_is_not_known_is_not_compared() {
        let all = counted(10.0, 100.0, 200.0);
        assert_eq!(Asked::new(false, 1).against(&all), []);
        assert_eq!(Asked { servers: 2, ..asked(10, 0) }.against(&all), [], "one of two is read");
        let mut some = asked(10, 0);
        some.prompt_unknown = true;
        let what: Vec<String> = some.against(&all).into_iter().map(|c| c.what).collect();
        assert_eq!(what, ["requests", "output_tokens"]);
        assert_eq!(some.verdict(&[]), None);
    }
}
