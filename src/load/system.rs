//! What the operating system allows this process, and what it took from it.

use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::LoadError;

/// Descriptors that the process needs beside the load's own connections.
const SPARE: u64 = 128;

/// Raise the soft limit on open files as far as `connections` need and the hard limit lets.
pub(super) fn raise_file_limit(connections: u64) -> Result<(), LoadError> {
    let needed = connections.saturating_add(SPARE);
    let limit = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|l| l >= needed);
    if enough(limit.current) {
        return Ok(());
    }
    if !enough(limit.maximum) {
        return Err(LoadError::FileLimit { needed, limit: limit.maximum.unwrap_or(u64::MAX) });
    }
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .map_err(|_| LoadError::FileLimit { needed, limit: limit.current.unwrap_or(u64::MAX) })
}

/// Time that the CPU quota of this process's cgroup (v2) has taken from it so far, in
/// microseconds; `None` where there is no such count.
pub(super) fn throttled_us() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let stat = std::fs::read_to_string(cpu_stat_path(&groups, Path::new("/sys/fs/cgroup"))?).ok()?;
    throttled_in(&stat)
}

fn cpu_stat_path(groups: &str, root: &Path) -> Option<PathBuf> {
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(root.join(group).join("cpu.stat"))
}

fn throttled_in(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("throttled_usec ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup_files_are_read() {
        let root = Path::new("/sys/fs/cgroup");
        let groups = "1:cpu:/old\n0::/user.slice/a.scope\n";
        assert_eq!(cpu_stat_path(groups, root), Some(root.join("user.slice/a.scope/cpu.stat")));
        assert_eq!(cpu_stat_path("0::/\n", root), Some(root.join("cpu.stat")));
        assert_eq!(cpu_stat_path("1:cpu:/old\n", root), None);
        assert_eq!(throttled_in("usage_usec 5\nnr_throttled 2\nthrottled_usec 1234\n"), Some(1234));
        assert_eq!(throttled_in("usage_usec 5\n"), None);
    }

    #[test]
    fn what_cannot_fit_is_refused_with_the_limit() {
        assert!(raise_file_limit(1).is_ok());
        if let Some(hard) = getrlimit(Resource::Nofile).maximum {
            let error = raise_file_limit(hard).unwrap_err().to_string();
            assert!(error.contains(&hard.to_string()) && error.contains("ulimit -n"), "{error}");
        }
    }
}
