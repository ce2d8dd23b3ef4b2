//! What the operating system allows this process.

use rustix::process::{Resource, Rlimit, getrlimit, getuid, setrlimit};

use serde::{Deserialize, Serialize};

use super::{LoadError, cgroup, crew};

/// What the system allows this process. `None`: no limit, or none that can be read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Allowed {
    /// Open files, by the hard limit, up to which a process may raise its own.
    pub open_files: Option<u64>,
    /// Local ports, and so connections to one address and port.
    pub local_ports: Option<u64>,
    /// Seconds that the port of a closed connection rests before it is used again, to
    /// another machine and to this one.
    pub port_rest_s: (f64, f64),
    /// Threads that may still be started.
    pub threads: Option<u64>,
    /// Processors.
    pub processors: u32,
}

/// TIME_WAIT lasts so long on Linux (TCP_TIMEWAIT_LEN), in seconds.
const TIME_WAIT_S: f64 = 60.0;
/// With `tcp_tw_reuse` the port is used again after this, in seconds.
const REUSE_S: f64 = 1.0;

impl Allowed {
    /// Ask the system.
    #[must_use]
    pub fn of_this_process() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let range = read("/proc/sys/net/ipv4/ip_local_port_range");
        Self {
            open_files: getrlimit(Resource::Nofile).maximum,
            local_ports: ports(&range, &read("/proc/sys/net/ipv4/ip_local_reserved_ports")),
            port_rest_s: port_rest(&read("/proc/sys/net/ipv4/tcp_tw_reuse")),
            threads: [cgroup::threads_left(), user_threads_left()].into_iter().flatten().min(),
            processors: crew::machine_cores(),
        }
    }
}

/// Ports of `ip_local_port_range` (`first last`) that are not among the reserved
/// (`8080,9000-9010`).
fn ports(range: &str, reserved: &str) -> Option<u64> {
    let mut ends = range.split_whitespace().map(|end| end.parse::<u64>().ok());
    let (first, last) = (ends.next()??, ends.next()??);
    let inside = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (from.parse::<u64>().ok()?.max(first), to.parse::<u64>().ok()?.min(last));
        Some((to + 1).saturating_sub(from))
    };
    let kept: u64 = reserved.trim().split(',').filter_map(inside).sum();
    Some((last + 1).saturating_sub(first).saturating_sub(kept))
}

/// Seconds that a port rests, to another machine and to this one, by `tcp_tw_reuse`: 0 never
/// reused, 1 everywhere, 2 (the kernel's default) over loopback.
fn port_rest(reuse: &str) -> (f64, f64) {
    match reuse.trim() {
        "1" => (REUSE_S, REUSE_S),
        "2" => (TIME_WAIT_S, REUSE_S),
        _ => (TIME_WAIT_S, TIME_WAIT_S),
    }
}

/// Threads that this user may still start. Root is not held to the limit.
fn user_threads_left() -> Option<u64> {
    if getuid().is_root() {
        return None;
    }
    let limit = getrlimit(Resource::Nproc).maximum?;
    let user = getuid().as_raw().to_string();
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let running: u64 = processes
        .filter_map(|process| {
            threads_of(&std::fs::read_to_string(process.path().join("status")).ok()?, &user)
        })
        .sum();
    Some(limit.saturating_sub(running))
}

/// Threads of a process by its `status`, if it is this user's.
fn threads_of(status: &str, user: &str) -> Option<u64> {
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    field("Uid:").filter(|&uid| uid == user)?;
    field("Threads:")?.parse().ok()
}

/// Raise the soft limit on open files as far as `most` of them need and the hard limit lets.
/// An error only when not even the `sure` ones fit.
pub(super) fn raise_file_limit(sure: u64, most: u64) -> Result<(), LoadError> {
    let limit = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>, needed: u64| limit.is_none_or(|l| l >= needed);
    if enough(limit.current, most) {
        return Ok(());
    }
    if !enough(limit.maximum, sure) {
        return Err(LoadError::FileLimit { needed: sure, limit: limit.maximum.unwrap_or(u64::MAX) });
    }
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Err(_) if !enough(limit.current, sure) => {
            Err(LoadError::FileLimit { needed: sure, limit: limit.current.unwrap_or(u64::MAX) })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_fit_is_refused_with_the_limit() {
        assert!(raise_file_limit(1, 1).is_ok());
        if let Some(hard) = getrlimit(Resource::Nofile).maximum.filter(|&hard| hard < u64::MAX) {
            assert!(raise_file_limit(1, hard + 1).is_ok(), "what only may be needed is no error");
            assert_eq!(getrlimit(Resource::Nofile).current, Some(hard));
            let error = raise_file_limit(hard + 1, hard + 1).unwrap_err().to_string();
            assert!(error.contains(&hard.to_string()) && error.contains("ulimit -n"), "{error}");
        }
    }

    #[test]
    fn ports_are_counted_without_the_reserved() {
        assert_eq!(ports("32768\t60999\n", "\n"), Some(28_232));
        assert_eq!(ports("32768\t60999\n", "8080,40000-40009,60999-61010\n"), Some(28_221));
        assert_eq!(ports("5 5", ""), Some(1));
        assert_eq!(ports("", ""), None);
        assert_eq!(
            ["0\n", "1\n", "2\n", ""].map(port_rest),
            [(60.0, 60.0), (1.0, 1.0), (60.0, 1.0), (60.0, 60.0)]
        );
    }

    #[test]
    fn threads_are_those_of_one_user() {
        let status = "Name:\tx\nUid:\t1000\t1000\t1000\t1000\nThreads:\t17\n";
        assert_eq!(threads_of(status, "1000"), Some(17));
        assert_eq!(threads_of(status, "100"), None);
    }

    #[test]
    fn this_system_says_what_it_allows() {
        let allowed = Allowed::of_this_process();
        assert!(allowed.processors >= 1);
        assert!(allowed.local_ports.is_none_or(|ports| ports > 0 && ports < 65_536), "{allowed:?}");
    }
}
