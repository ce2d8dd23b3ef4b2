//! `locust-stats`: Locust's `_stats.csv` and `_stats_history.csv`, a pair for each cell and
//! repeat. A row is a task of a mix, else an endpoint, else the API; the last one is all.
//!
//! Times are milliseconds from when a request was sent to its end, and failures have one too,
//! as in Locust; requests that were never sent are not in it. Rates divide by the measured
//! window. Percentiles are type 7 on the times themselves: Locust rounds first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use serde_json::Value;

use super::figures::{Sample, csv_bytes, ok, response_ms};
use super::{ExportError, File, Input, Measured};
use crate::record::RequestRecord;
use crate::stats::Moments;

const PERCENTILES: [(&str, f64); 11] = [
    ("50%", 0.5),
    ("66%", 0.66),
    ("75%", 0.75),
    ("80%", 0.8),
    ("90%", 0.9),
    ("95%", 0.95),
    ("98%", 0.98),
    ("99%", 0.99),
    ("99.9%", 0.999),
    ("99.99%", 0.9999),
    ("100%", 1.0),
];
const FIGURES: [&str; 7] = [
    "Request Count",
    "Failure Count",
    "Median Response Time",
    "Average Response Time",
    "Min Response Time",
    "Max Response Time",
    "Average Content Size",
];
/// What Locust writes where there is nothing to tell.
const NONE: &str = "N/A";
/// Seconds that a line of the history looks back, as Locust's percentiles do.
const LOOK_BACK_S: u64 = 10;

pub(super) fn write(input: &Input) -> Result<Vec<File>, ExportError> {
    let mut files = Vec::new();
    for measured in &input.cells {
        let mut requests = measured.measured()?;
        requests.retain(|r| r.sent_us.is_some());
        let file = |name: &str, bytes| File { name: format!("{}_{name}.csv", measured.stem()), bytes };
        files.push(file("stats", csv_bytes(stats(measured, &requests))));
        files.push(file("stats_history", csv_bytes(history(measured, &requests))));
    }
    Ok(files)
}

fn stats(measured: &Measured, requests: &[RequestRecord]) -> Vec<Vec<String>> {
    let names = ["Type", "Name"].into_iter().chain(FIGURES).chain(["Requests/s", "Failures/s"]);
    let header = names.chain(PERCENTILES.map(|(name, _)| name)).map(str::to_owned).collect();
    let mut groups: BTreeMap<(String, String), Vec<&RequestRecord>> = BTreeMap::new();
    for request in requests {
        groups.entry(kind_and_name(measured, request)).or_default().push(request);
    }
    groups.insert((String::new(), "Aggregated".to_owned()), requests.iter().collect());
    let seconds = measured.summary().window.seconds();
    let row = |((kind, name), of): (&(String, String), &Vec<&RequestRecord>)| {
        let (figures, times) = figures(of);
        let per_s = |n: usize| if seconds > 0.0 { (n as f64 / seconds).to_string() } else { NONE.to_owned() };
        let mut row = vec![kind.clone(), name.clone()];
        row.extend(figures);
        row.extend([per_s(of.len()), per_s(failures(of))]);
        row.extend(percentiles(&times));
        row
    };
    let (all, tasks): (Vec<_>, Vec<_>) = groups.iter().partition(|((kind, _), _)| kind.is_empty());
    std::iter::once(header).chain(tasks.into_iter().chain(all).map(row)).collect()
}

/// The HTTP method and what Locust would call the request.
fn kind_and_name(measured: &Measured, r: &RequestRecord) -> (String, String) {
    let settings = &measured.cell.settings;
    let part = settings.parts.iter().find(|p| p.task == r.task && p.endpoint == r.endpoint);
    let target = part.map_or(&settings.target, |part| &part.target);
    let custom = target.custom.as_ref().and_then(|custom| serde_json::to_value(custom).ok());
    let method = custom.as_ref().and_then(|custom| custom.get("method")).and_then(Value::as_str);
    let name = r.task.clone().or_else(|| r.endpoint.clone()).unwrap_or_else(|| target.api.clone());
    (method.unwrap_or("POST").to_owned(), name)
}

fn failures(of: &[&RequestRecord]) -> usize {
    of.iter().filter(|r| !ok(r)).count()
}

/// The fields of [`FIGURES`], and the response times.
fn figures(of: &[&RequestRecord]) -> (Vec<String>, Sample) {
    let times = Sample::of(of.iter().filter_map(|r| response_ms(r)));
    let size = Sample::of(of.iter().map(|r| r.bytes as f64)).mean();
    let fields = vec![
        of.len().to_string(),
        failures(of).to_string(),
        number(times.quantile(0.5)),
        number(times.mean()),
        number(times.quantile(0.0)),
        number(times.quantile(1.0)),
        number(size),
    ];
    (fields, times)
}

fn percentiles(times: &Sample) -> Vec<String> {
    PERCENTILES.iter().map(|(_, q)| number(times.quantile(*q))).collect()
}

/// To the nanosecond.
fn number(value: Option<f64>) -> String {
    value.map_or_else(|| NONE.to_owned(), |v| ((v * 1e6).round() / 1e6).to_string())
}

/// A row per second from the window's start to the last end.
fn history(measured: &Measured, requests: &[RequestRecord]) -> Vec<Vec<String>> {
    let names = ["Timestamp", "User Count", "Type", "Name", "Requests/s", "Failures/s"];
    let totals = FIGURES.iter().map(|name| format!("Total {name}"));
    let header: Vec<String> =
        names.into_iter().chain(PERCENTILES.map(|(name, _)| name)).map(str::to_owned).chain(totals).collect();
    let start = measured.summary().window.start_us;
    let mut ended: Vec<(u64, &RequestRecord)> =
        requests.iter().filter_map(|r| Some((r.end_us.or(r.last_token_us)?, r))).collect();
    ended.sort_by_key(|(end, r)| (*end, r.seq));
    let last = ended.last().map_or(start, |(end, _)| *end);
    let seconds = last.saturating_sub(start).div_ceil(1_000_000);
    let users = measured.number("load.users").map_or_else(|| NONE.to_owned(), |users| users.to_string());
    let mut so_far = Running::default();
    let mut next = 0;
    let row = |second: u64| {
        let now = start + second * 1_000_000;
        let since = second.saturating_sub(LOOK_BACK_S);
        while let Some((_, request)) = ended.get(next).filter(|(end, _)| *end <= now) {
            so_far.take(request);
            next += 1;
        }
        let before = ended.partition_point(|(end, _)| *end <= start + since * 1_000_000);
        let recent: Vec<&RequestRecord> = ended[before..next].iter().map(|(_, r)| *r).collect();
        let per_s = |n: usize| (n as f64 / (second - since) as f64).to_string();
        let at = measured.unix_s(Some(now)).map_or_else(|| NONE.to_owned(), |s| (s as u64).to_string());
        let mut row = vec![at, users.clone(), String::new(), "Aggregated".to_owned()];
        row.extend([per_s(recent.len()), per_s(failures(&recent))]);
        row.extend(percentiles(&figures(&recent).1));
        row.extend(so_far.fields());
        row
    };
    std::iter::once(header).chain((1..=seconds).map(row)).collect()
}

/// The fields of [`FIGURES`] of more and more requests.
#[derive(Default)]
struct Running {
    count: u64,
    failures: u64,
    bytes: f64,
    times: Moments,
    least: Option<f64>,
    most: Option<f64>,
    /// The lower and the upper half of the times, in microseconds: the median is between them.
    low: BinaryHeap<u64>,
    high: BinaryHeap<Reverse<u64>>,
}

impl Running {
    fn take(&mut self, r: &RequestRecord) {
        self.count += 1;
        self.failures += u64::from(!ok(r));
        self.bytes += r.bytes as f64;
        let Some(ms) = response_ms(r) else { return };
        self.times.add(ms);
        self.least = Some(self.least.map_or(ms, |least| least.min(ms)));
        self.most = Some(self.most.map_or(ms, |most| most.max(ms)));
        self.low.push((ms * 1e3).round() as u64);
        self.high.extend(self.low.pop().map(Reverse));
        if self.high.len() > self.low.len() {
            self.low.extend(self.high.pop().map(|Reverse(us)| us));
        }
    }

    fn median(&self) -> Option<f64> {
        let low = *self.low.peek()? as f64 / 1e3;
        let even = self.high.len() == self.low.len();
        let high = self.high.peek().filter(|_| even).map_or(low, |Reverse(us)| *us as f64 / 1e3);
        Some(f64::midpoint(low, high))
    }

    fn fields(&self) -> [String; 7] {
        let size = (self.count > 0).then(|| self.bytes / self.count as f64);
        [
            self.count.to_string(),
            self.failures.to_string(),
            number(self.median()),
            number(self.times.mean()),
            number(self.least),
            number(self.most),
            number(size),
        ]
    }
}
