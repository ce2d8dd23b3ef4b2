//! Before the first cell runs: can this machine carry every cell of the plan?

use super::crew::load_cores;
use super::http::STREAMS;
use super::system::Allowed;
use crate::experiment::{Connections, HttpVersion, Load, Settings, Target};
use crate::plan::Cell;
use crate::server;

/// Descriptors that the process needs beside the load's own connections.
const SPARE_FILES: u64 = 128;
/// Descriptors of one load core: its reactor and its timers.
const CORE_FILES: u64 = 8;
/// Threads beside those of the load cores: the calling one, signals, the simulator's, and
/// those that read the run again for its report.
const SPARE_THREADS: u64 = 16;
/// A server whose answers take so many seconds is one to be expected; below that, running out
/// is a risk worth a word.
const SLOW_ANSWER_S: f64 = 10.0;

/// Something that this machine may not carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Number of the cell that needs the most, from 1.
    pub cell: u32,
    /// Such a cell can't run as it is set; otherwise it is up to the server.
    pub certain: bool,
    /// What is needed, what is allowed, and what to do about it.
    pub text: String,
}

/// What `cells` need beyond what is `allowed`: of each kind, the cell that needs the most.
#[must_use]
pub fn preflight(cells: &[&Cell], allowed: &Allowed) -> Vec<Finding> {
    let checks: [fn(&Settings, &Allowed) -> Option<Lack>; 6] =
        [files, connections, threads, files_at_risk, ports_at_risk, ports_that_rest];
    checks.iter().filter_map(|check| worst(cells, allowed, *check)).collect()
}

/// What one cell lacks.
struct Lack {
    needed: u64,
    certain: bool,
    text: String,
}

fn worst(
    cells: &[&Cell],
    allowed: &Allowed,
    check: fn(&Settings, &Allowed) -> Option<Lack>,
) -> Option<Finding> {
    let lacking: Vec<(&Cell, Lack)> =
        cells.iter().filter_map(|cell| Some((*cell, check(&cell.settings, allowed)?))).collect();
    let others = lacking.len().saturating_sub(1);
    // Of equals the first.
    let (cell, lack) = lacking.into_iter().rev().max_by_key(|(_, lack)| lack.needed)?;
    let load = match cell.settings.peak_load() {
        Load::Closed { users } => format!("{users} users"),
        Load::Open { qps, .. } => format!("{qps} req/s"),
    };
    let more = match others {
        0 => String::new(),
        1 => ", as in one more cell".to_owned(),
        n => format!(", as in {n} more cells"),
    };
    let number = cell.index + 1;
    let text = format!("cell {number} ({load}{more}): {}", lack.text);
    Some(Finding { cell: number, certain: lack.certain, text })
}

/// Requests that a cell's load has in flight at once: for sure, and at most.
fn in_flight(settings: &Settings) -> (u64, u64) {
    match settings.peak_load() {
        Load::Closed { users } => (users.into(), users.into()),
        // The server's speed decides.
        Load::Open { qps, max_in_flight, .. } => {
            let longest = settings.parts().map(|(target, _)| target.timeout).max().unwrap_or_default();
            let by_time = qps * longest.as_secs_f64();
            let most = arrivals(settings, qps).min(by_time).ceil() as u64;
            (0, max_in_flight.map_or(most, |cap| most.min(cap.into())))
        }
    }
}

/// Arrivals of an open loop's cell, from first to last.
fn arrivals(settings: &Settings, qps: f64) -> f64 {
    let cell = &settings.cell;
    let window = cell.duration.map_or(f64::INFINITY, |d| qps * d.as_secs_f64());
    let window = settings.staged_arrivals().unwrap_or(window);
    let window = cell.requests.map_or(window, |n| window.min(n as f64));
    let lead = cell.ramp.as_secs_f64() / 2.0 + cell.warmup.as_secs_f64();
    settings.first_load().level() * lead + window
}

/// Requests that one connection bears at once: of a mix, one to the target that takes the fewest.
fn per_connection(settings: &Settings) -> u64 {
    let shared = |c: &Connections| c.http == HttpVersion::Http2 && c.keep_alive;
    if settings.parts().all(|(target, _)| shared(&target.connections)) { STREAMS.into() } else { 1 }
}

/// Targets with connections of their own. What is known of them before a cell has begun are
/// their addresses.
fn targets(settings: &Settings) -> u64 {
    let mut urls: Vec<&str> = settings.parts().map(|(target, _)| target.url.as_str()).collect();
    urls.sort_unstable();
    urls.dedup();
    urls.len() as u64
}

/// Connections for so many requests at once.
fn connections_for(settings: &Settings, processors: u32, requests: u64) -> u64 {
    match per_connection(settings) {
        1 => requests,
        // No core sees another's connections, so each may have one that is not full.
        each => (requests.div_ceil(each) + u64::from(load_cores(settings, processors))).min(requests),
    }
}

/// Connections that a cell's load holds at once: for sure, and at most. Of several targets each
/// may keep as many as there are requests at once, as what goes to one now goes to another later.
fn held(settings: &Settings, processors: u32) -> (u64, u64) {
    let (sure, most) = in_flight(settings);
    let most = connections_for(settings, processors, most).saturating_mul(targets(settings));
    (connections_for(settings, processors, sure), most)
}

/// Connections to the one address that has the most of them: for sure, and at most.
fn held_by_one(settings: &Settings, processors: u32) -> (u64, u64) {
    let (sure, most) = in_flight(settings);
    let sure = sure.div_ceil(targets(settings));
    (connections_for(settings, processors, sure), connections_for(settings, processors, most))
}

/// Local ports that connections to one address can be made from. A Unix socket needs none.
fn ports(settings: &Settings, allowed: &Allowed) -> Option<u64> {
    let by_socket = |target: &Target| target.connections.unix_socket.is_some();
    allowed.local_ports.filter(|_| !settings.parts().all(|(target, _)| by_socket(target)))
}

/// Open files of this process while a cell runs: for sure, and at most. With the simulator in
/// the same process each connection has its other end here as well.
pub(super) fn open_files(settings: &Settings, processors: u32) -> (u64, u64) {
    let (sure, most) = held(settings, processors);
    let ends = ends(settings);
    let fixed = fixed_files(settings, processors);
    (sure * ends + fixed, most.saturating_mul(ends).saturating_add(fixed))
}

/// Open files beside the load's connections.
fn fixed_files(settings: &Settings, processors: u32) -> u64 {
    SPARE_FILES + CORE_FILES * u64::from(load_cores(settings, processors))
}

/// Ends of a connection in this process.
fn ends(settings: &Settings) -> u64 {
    if settings.parts().any(|(target, _)| target.is_sim()) { 2 } else { 1 }
}

fn files(settings: &Settings, allowed: &Allowed) -> Option<Lack> {
    let limit = allowed.open_files?;
    let (needed, _) = open_files(settings, allowed.processors);
    let ends = match ends(settings) {
        1 => "",
        _ => " (both ends of each connection, as the simulator is in the same process)",
    };
    (needed > limit).then(|| Lack {
        needed,
        certain: true,
        text: format!(
            "{needed} open files{ends} are needed and {limit} are allowed: raise the hard limit \
             (`ulimit -n {needed}` as root, or nofile in limits.conf), or lower users"
        ),
    })
}

fn connections(settings: &Settings, allowed: &Allowed) -> Option<Lack> {
    let limit = ports(settings, allowed)?;
    let (needed, _) = held_by_one(settings, allowed.processors);
    (needed > limit).then(|| Lack {
        needed,
        certain: true,
        text: format!(
            "{needed} connections to one address are needed and there are {limit} local ports: \
             `sysctl net.ipv4.ip_local_port_range=\"1024 65535\"`, or lower users"
        ),
    })
}

fn threads(settings: &Settings, allowed: &Allowed) -> Option<Lack> {
    let limit = allowed.threads?;
    let cores = load_cores(settings, allowed.processors);
    // Each load core has a thread that makes its bodies.
    let needed = 2 * u64::from(cores) + SPARE_THREADS;
    (needed > limit).then(|| Lack {
        needed,
        certain: true,
        text: format!(
            "{needed} threads are needed and {limit} more may be started: raise `ulimit -u`, or pids.max of \
             the control group, or lower client.threads ({cores} here)"
        ),
    })
}

fn files_at_risk(settings: &Settings, allowed: &Allowed) -> Option<Lack> {
    let limit = allowed.open_files?;
    let (_, needed) = open_files(settings, allowed.processors);
    let fixed = fixed_files(settings, allowed.processors);
    let (_, most) = held(settings, allowed.processors);
    runs_out(settings, most, limit.saturating_sub(fixed) / ends(settings), || {
        format!("{limit} open files are allowed: raise the hard limit (`ulimit -n {needed}` as root)")
    })
}

fn ports_at_risk(settings: &Settings, allowed: &Allowed) -> Option<Lack> {
    let limit = ports(settings, allowed)?;
    let (_, most) = held_by_one(settings, allowed.processors);
    runs_out(settings, most, limit, || {
        format!(
            "there are {limit} local ports: widen them (`sysctl net.ipv4.ip_local_port_range=\"1024 65535\"`)"
        )
    })
}

/// A cell that may come to more than `room` connections, to the `most`: an open loop once answers
/// are slow, and users once each has a connection to each of several targets.
fn runs_out(settings: &Settings, most: u64, room: u64, limit: impl Fn() -> String) -> Option<Lack> {
    let Load::Open { qps, .. } = settings.peak_load() else {
        let text = || {
            format!(
                "once each user has kept a connection to each of {} targets no further one can be opened, as {}, or \
                 lower users",
                targets(settings),
                limit()
            )
        };
        // What is sure to be too many is told as that.
        let (sure, _) = in_flight(settings);
        return (most > room && sure <= room && targets(settings) > 1).then(|| Lack {
            needed: most,
            certain: false,
            text: text(),
        });
    };
    let after_s = room.saturating_mul(per_connection(settings)) as f64 / qps;
    (most > room && after_s < SLOW_ANSWER_S).then(|| Lack {
        needed: most,
        certain: false,
        text: format!(
            "once answers take {after_s:.1} s no further connection can be opened, as {}, set users beside qps as a cap, or \
             lower qps",
            limit()
        ),
    })
}

/// A server that closes each connection leaves its port unusable for a while.
fn ports_that_rest(settings: &Settings, allowed: &Allowed) -> Option<Lack> {
    let limit = ports(settings, allowed)?;
    let Load::Open { qps, .. } = settings.peak_load() else { return None };
    let (abroad, here) = allowed.port_rest_s;
    let rest_s = if is_loopback(settings) { here } else { abroad };
    // No more than come in all can rest.
    let requests = (qps * rest_s).min(arrivals(settings, qps)) as u64;
    let resting = connections_for(settings, allowed.processors, requests);
    (resting > limit).then(|| Lack {
        needed: resting,
        certain: false,
        text: format!(
            "should the server close each connection, {resting} local ports would rest for {rest_s:.0} s each and \
             there are {limit}: `sysctl net.ipv4.tcp_tw_reuse=1`, have the server keep connections, or lower qps"
        ),
    })
}

/// Whether every target is on this machine, by its name.
fn is_loopback(settings: &Settings) -> bool {
    let here = |url: &str| url::Url::parse(url).is_ok_and(|url| server::is_loopback(&url));
    settings.parts().all(|(target, _)| target.is_sim() || here(&target.url))
}

#[cfg(test)]
#[path = "preflight_tests.rs"]
mod tests;
