//! The rows of the table: what each one does, and the bar that it is held to.

use std::cell::OnceCell;
use std::io;
use std::path::{Path, PathBuf};

use super::client::{Experiment, Run};
use super::latency;
use super::peers;
use super::process::Place;
use super::server::Server;

/// What a value is held to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bar {
    AtMost(f64),
    /// So many times what oha takes for the same.
    TimesOha(f64),
}

/// One value of a row.
#[derive(Debug, Clone)]
pub struct Reading {
    pub what: &'static str,
    pub unit: &'static str,
    pub bar: Option<Bar>,
    pub value: f64,
    pub note: String,
}

impl Reading {
    pub fn new(what: &'static str, unit: &'static str, at_most: f64, value: f64) -> Self {
        Self { what, unit, bar: Some(Bar::AtMost(at_most)), value, note: String::new() }
    }

    pub fn noting(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }
}

/// One row: taken once a repeat, each time with the same readings in the same order.
pub struct Row {
    pub name: &'static str,
    pub help: &'static str,
    /// Minutes rather than seconds: only taken when it is named.
    pub slow: bool,
    pub take: fn(&Bench) -> io::Result<Vec<Reading>>,
    /// The same load for other programs.
    pub peer_load: Option<fn() -> peers::Load>,
}

pub const ROWS: &[Row] = &[
    Row {
        name: "fixed",
        help: "what one request costs, start and report included",
        slow: false,
        take: fixed,
        peer_load: None,
    },
    Row {
        name: "paced",
        help: "CPU per token, 32 users, a token every 5 ms",
        slow: false,
        take: paced,
        peer_load: Some(paced_load),
    },
    Row {
        name: "flood",
        help: "CPU per token, 16 users, no pauses",
        slow: false,
        take: flood,
        peer_load: Some(flood_load),
    },
    Row {
        name: "short",
        help: "CPU per request, 64 users, answers of 1 KB",
        slow: false,
        take: short,
        peer_load: Some(short_load),
    },
    Row {
        name: "streams",
        help: "memory and lag of 10,000 open streams",
        slow: false,
        take: streams,
        peer_load: None,
    },
    Row {
        name: "lag",
        help: "lag at 1,000 and 10,000 sends a second",
        slow: false,
        take: lag,
        peer_load: None,
    },
    Row {
        name: "truth",
        help: "TTFT and E2E against the server's own log",
        slow: false,
        take: truth,
        peer_load: None,
    },
    Row {
        name: "growth",
        help: "CPU per token of 1,000 users over that of 32",
        slow: false,
        take: growth,
        peer_load: None,
    },
    Row {
        name: "start",
        help: "start of the process to the first request",
        slow: false,
        take: start,
        peer_load: None,
    },
    Row {
        name: "soak",
        help: "memory of 1,000,000 requests over that of 10,000",
        slow: true,
        take: soak,
        peer_load: None,
    },
];

/// What a run costs whatever its load.
#[derive(Debug, Clone, Copy)]
struct Fixed {
    cpu_s: f64,
    /// Largest resident set of the whole process, the report included.
    peak_kb: u64,
    /// The same before the report.
    load_peak_kb: u64,
}

/// What the rows are taken with.
#[derive(Debug)]
pub struct Bench {
    pub program: PathBuf,
    pub dir: PathBuf,
    pub pinned: bool,
    fixed: OnceCell<Fixed>,
}

impl Bench {
    pub fn new(program: PathBuf, dir: &Path, pinned: bool) -> Self {
        Self { program, dir: dir.to_owned(), pinned, fixed: OnceCell::new() }
    }

    pub fn server_place(&self) -> Place {
        if self.pinned { Place::First } else { Place::Anywhere }
    }

    pub fn client_place(&self) -> Place {
        if self.pinned { Place::Last } else { Place::Anywhere }
    }

    pub fn server(&self, knobs: &[String]) -> io::Result<Server> {
        Server::start(&self.program, knobs, &self.dir, self.server_place())
    }

    fn client(&self, experiment: &Experiment, server: &Server) -> io::Result<Run> {
        Run::new(&self.program, experiment, &server.url(), &self.dir, self.client_place())
    }

    /// A run of one request for one token. Taken once.
    fn fixed(&self) -> io::Result<Fixed> {
        if let Some(fixed) = self.fixed.get() {
            return Ok(*fixed);
        }
        let server = self.server(&flooding())?;
        let experiment = Experiment::users(1, 1, 1);
        let runs = (0..3).map(|_| self.client(&experiment, &server)).collect::<io::Result<Vec<Run>>>()?;
        let fixed = Fixed {
            cpu_s: super::table::median(runs.iter().map(|r| r.usage.cpu_s).collect()),
            peak_kb: runs.iter().map(|r| r.usage.peak_kb).max().unwrap_or(0),
            load_peak_kb: runs.iter().map(|r| r.load_peak_kb).min().unwrap_or(0),
        };
        Ok(*self.fixed.get_or_init(|| fixed))
    }

    /// CPU time in µs per unit, and what it is without the fixed cost.
    fn per(&self, run: &Run, server_cpu_s: f64, units: u64) -> io::Result<(f64, String)> {
        let fixed = self.fixed()?.cpu_s;
        let us = |cpu_s: f64| cpu_s * 1e6 / units as f64;
        let note = format!(
            "{:.2} without the {:.0} ms of an empty run; {} units, {:.1} s of CPU in {:.0} s; the server {:.2}; {}",
            us(run.usage.cpu_s - fixed),
            fixed * 1e3,
            units,
            run.usage.cpu_s,
            run.usage.wall_s,
            us(server_cpu_s),
            run.validity()
        );
        Ok((us(run.usage.cpu_s), note))
    }
}

/// A server whose answers go by the clock, whatever the load.
fn clock(ttft: &str, tpot: &str) -> Vec<String> {
    vec![format!("ttft={ttft}"), format!("tpot={tpot}")]
}

/// A server that writes as fast as its client reads.
fn flooding() -> Vec<String> {
    clock("0ms", "0ms")
}

const PACED: (u32, u64, u32) = (32, 2000, 128);
const FLOOD: (u32, u64, u32) = (16, 8000, 256);
/// 68 words and what is around them are an answer of 1 KB.
const SHORT: (u32, u64, u32) = (64, 100_000, 68);

fn paced_load() -> peers::Load {
    peers::Load {
        knobs: clock("20ms", "5ms"),
        users: PACED.0,
        requests: PACED.1,
        max_tokens: PACED.2,
        stream: true,
    }
}

fn flood_load() -> peers::Load {
    peers::Load { knobs: flooding(), users: FLOOD.0, requests: FLOOD.1, max_tokens: FLOOD.2, stream: true }
}

fn short_load() -> peers::Load {
    peers::Load { knobs: flooding(), users: SHORT.0, requests: SHORT.1, max_tokens: SHORT.2, stream: false }
}

fn fixed(bench: &Bench) -> io::Result<Vec<Reading>> {
    let Fixed { cpu_s, peak_kb, .. } = bench.fixed()?;
    Ok(vec![
        Reading { bar: None, ..Reading::new("CPU of an empty run", "ms", 0.0, cpu_s * 1e3) },
        Reading {
            bar: None,
            ..Reading::new("peak memory of an empty run", "MB", 0.0, peak_kb as f64 / 1024.0)
        },
    ])
}

/// Run one load to its end: CPU of the client and of the server.
fn cpu_of(bench: &Bench, load: &peers::Load) -> io::Result<(Run, f64)> {
    let server = bench.server(&load.knobs)?;
    let before = server.cpu_s()?;
    let mut experiment = Experiment::users(load.users, load.requests, load.max_tokens);
    experiment.stream = load.stream;
    let run = bench.client(&experiment, &server)?;
    let used = server.cpu_s()? - before;
    Ok((run, used))
}

/// The bar of 5 us was set where reading and discarding took 3.6: so many times that, wherever it
/// is taken.
const PACED_OVER_DISCARDING: f64 = 5.0 / 3.6;

fn paced(bench: &Bench) -> io::Result<Vec<Reading>> {
    let load = paced_load();
    let (run, server) = cpu_of(bench, &load)?;
    let (us, note) = bench.per(&run, server, run.tokens())?;
    let over = over_discarding(bench, &load, us)?;
    let bar = Some(Bar::AtMost(PACED_OVER_DISCARDING));
    Ok(vec![Reading::new("CPU per token, paced", "us", 5.0, us).noting(note), Reading { bar, ..over }])
}

fn flood(bench: &Bench) -> io::Result<Vec<Reading>> {
    let load = flood_load();
    let (run, server) = cpu_of(bench, &load)?;
    let (us, note) = bench.per(&run, server, run.tokens())?;
    let over = over_discarding(bench, &load, us)?;
    Ok(vec![Reading::new("CPU per token, flood", "us", 0.8, us).noting(note), over])
}

fn short(bench: &Bench) -> io::Result<Vec<Reading>> {
    let load = short_load();
    let (run, server) = cpu_of(bench, &load)?;
    let (us, note) = bench.per(&run, server, run.count("ok"))?;
    let reading = Reading::new("CPU per short request", "us", 0.0, us).noting(note);
    Ok(vec![Reading { bar: Some(Bar::TimesOha(1.5)), ..reading }, over_discarding(bench, &load, us)?])
}

/// `us` in multiples of what the least client takes for the same.
fn over_discarding(bench: &Bench, load: &peers::Load, us: f64) -> io::Result<Reading> {
    let least = peers::read_and_discard(load, bench)?;
    let reading = Reading::new("  over reading and discarding", "x", 0.0, us / least);
    Ok(Reading { bar: None, ..reading.noting(format!("reading and discarding took {least:.2} us")) })
}

fn streams(bench: &Bench) -> io::Result<Vec<Reading>> {
    const USERS: u32 = 10_000;
    let empty_kb = bench.fixed()?.load_peak_kb;
    let server = bench.server(&clock("500ms", "500ms"))?;
    let experiment = Experiment { cell: "ramp = \"5s\"", ..Experiment::users(USERS, 20_000, 20) };
    let run = bench.client(&experiment, &server)?;
    let failed = latency::records(&run.records)?.iter().filter(|r| !r.ok).count();
    let each = run.load_peak_kb.saturating_sub(empty_kb) as f64 / f64::from(USERS);
    let open = run.summary["scalars"]["in_flight_max"].as_f64().unwrap_or(0.0);
    let rate = run.summary["scalars"]["output_tps"].as_f64().unwrap_or(0.0);
    let note = format!(
        "{open:.0} open at most, {rate:.0} tokens/s; {} MB at most under load, {} MB in an empty run",
        run.usage.peak_kb / 1024,
        empty_kb / 1024
    );
    let lag = run.quantile("lag", "p99").unwrap_or(f64::NAN);
    Ok(vec![
        Reading::new("memory per open stream", "KB", 30.0, each).noting(note),
        Reading::new("their lag p99", "ms", 5.0, lag).noting(run.validity()),
        Reading::new("their errors", "", 0.0, failed as f64),
    ])
}

fn lag(bench: &Bench) -> io::Result<Vec<Reading>> {
    let one = |what, qps: u64, bar| {
        let server = bench.server(&flooding())?;
        let load = format!("qps = {qps}\narrivals = \"constant\"");
        let experiment = Experiment { load, stream: false, ..Experiment::users(1, qps * 10, 1) };
        let run = bench.client(&experiment, &server)?;
        let at = |q| run.quantile("lag", q).unwrap_or(f64::NAN);
        // The client's part is what is above this: a crowded host makes every timer late.
        let bare = peers::bare_timer(qps, bench)?;
        let note = format!(
            "p50 {:.3}, max {:.3}; a bare timer right after it, p99: {bare:.3}; {}",
            at("p50"),
            at("max"),
            run.validity()
        );
        io::Result::Ok(Reading::new(what, "ms", bar, at("p99")).noting(note))
    };
    Ok(vec![one("lag p99 at 1,000/s", 1000, 0.3)?, one("lag p99 at 10,000/s", 10_000, 1.0)?])
}

fn truth(bench: &Bench) -> io::Result<Vec<Reading>> {
    let load = paced_load();
    let server = bench.server(&load.knobs)?;
    // Without a warm-up the first of all users would be due at one instant: each hundredth request.
    let experiment =
        Experiment { warmup: "2s", ..Experiment::users(load.users, load.requests / 2, load.max_tokens) };
    let run = bench.client(&experiment, &server)?;
    let errors = latency::errors(&latency::records(&run.records)?, &server.stop()?)?;
    let note = format!("{} requests; {}", errors.ttft.len(), run.validity());
    Ok(vec![
        Reading::new("TTFT error, median", "ms", 0.3, latency::quantile(&errors.ttft, 0.5)).noting(note),
        Reading::new("TTFT error, p99", "ms", 2.0, latency::quantile(&errors.ttft, 0.99)),
        Reading::new("E2E error, median", "ms", 0.3, latency::quantile(&errors.e2e, 0.5)),
        Reading::new("E2E error, p99", "ms", 2.0, latency::quantile(&errors.e2e, 0.99)),
    ])
}

/// 1,000 users share the token rate of 32, so that only their number differs.
fn growth(bench: &Bench) -> io::Result<Vec<Reading>> {
    let few = paced_load();
    let many = peers::Load { knobs: clock("20ms", "156250us"), users: 1000, ..paced_load() };
    let per = |load| -> io::Result<f64> {
        let (run, _) = cpu_of(bench, load)?;
        Ok(run.usage.cpu_s * 1e6 / run.tokens() as f64)
    };
    let (few, many) = (per(&few)?, per(&many)?);
    let note = format!("{few:.2} and {many:.2} us a token at the same rate");
    Ok(vec![Reading::new("CPU per token, 1,000 users/32", "x", 1.3, many / few).noting(note)])
}

fn start(bench: &Bench) -> io::Result<Vec<Reading>> {
    let server = bench.server(&flooding())?;
    let run = bench.client(&Experiment::users(1, 1, 1), &server)?;
    let truth = server.stop()?;
    let arrival = |of: &str| {
        let arrivals = truth.iter().filter(|t| t["request_id"].as_str().is_some_and(|id| id.starts_with(of)));
        let first = arrivals.filter_map(|t| t["arrival_ns"].as_u64()).min();
        first.map_or(f64::NAN, |ns| ns.saturating_sub(run.usage.started_ns) as f64 / 1e6)
    };
    let note = format!("the first that learns about the server came at {:.1} ms", arrival(""));
    Ok(vec![Reading::new("start to first request", "ms", 50.0, arrival("plimsoll-0-")).noting(note)])
}

fn soak(bench: &Bench) -> io::Result<Vec<Reading>> {
    let peak = |requests| -> io::Result<(f64, f64)> {
        let server = bench.server(&flooding())?;
        let experiment = Experiment { stream: false, ..Experiment::users(64, requests, 1) };
        let run = bench.client(&experiment, &server)?;
        Ok((run.load_peak_kb as f64 / 1024.0, run.usage.peak_kb as f64 / 1024.0))
    };
    let (few, many) = (peak(10_000)?, peak(1_000_000)?);
    let reading = |what, few: f64, many: f64| {
        Reading::new(what, "x", 1.2, many / few).noting(format!("{few:.0} and {many:.0} MB"))
    };
    Ok(vec![
        reading("memory, 10^6 requests/10^4", few.0, many.0),
        reading("the same, report included", few.1, many.1),
    ])
}
