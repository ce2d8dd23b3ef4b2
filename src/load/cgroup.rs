//! This process's control groups: what CPU quotas took from it, and how many threads they let.
//!
//! A limit on any group above this process's own holds for it as well, so all of them are
//! read, up to where the file system of groups is mounted. Both kinds of groups are: version
//! 2, wherever it is mounted, and the controllers of version 1.

use std::path::{Path, PathBuf};

/// The files that count throttling, found once per cell.
#[derive(Debug, Clone, Default)]
pub(super) struct Quotas {
    stats: Vec<PathBuf>,
}

/// The counts of every group at one moment, in microseconds; `None`: that group has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Throttled(Vec<Option<u64>>);

impl Quotas {
    /// Those of this process; none where the system doesn't say.
    pub(super) fn of_this_process() -> Self {
        Self { stats: own_groups("cpu").map(|group| group.join("cpu.stat")).collect() }
    }

    #[cfg(test)]
    pub(super) fn of_files(stats: Vec<PathBuf>) -> Self {
        Self { stats }
    }

    pub(super) fn read(&self) -> Throttled {
        let count = |path: &PathBuf| throttled_in(&std::fs::read_to_string(path).ok()?);
        Throttled(self.stats.iter().map(count).collect())
    }
}

impl Throttled {
    /// Microseconds taken since `before`; `None` where no group counts. Of several groups that
    /// were stopped the one stopped longest: they may have been stopped at the same time.
    pub(super) fn since(&self, before: &Self) -> Option<u64> {
        let taken =
            |(after, before): (&Option<u64>, &Option<u64>)| Some((*after)?.saturating_sub((*before)?));
        self.0.iter().zip(&before.0).filter_map(taken).max()
    }
}

/// Threads that this process's groups still let be started; `None` without a limit.
pub(super) fn threads_left() -> Option<u64> {
    let number = |path: PathBuf| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    // Where there is no limit the file says `max`, which is no number.
    let left = |group: PathBuf| {
        Some(number(group.join("pids.max"))?.saturating_sub(number(group.join("pids.current"))?))
    };
    own_groups("pids").filter_map(left).min()
}

/// The directories of the groups that this process is in, under `controller` of version 1 and
/// under version 2; none where the system doesn't say.
fn own_groups(controller: &str) -> impl Iterator<Item = PathBuf> + use<> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    directories(controller, &read("/proc/self/cgroup"), &read("/proc/self/mountinfo")).into_iter()
}

/// The same, from its own group up, by the words of `/proc/self/cgroup` and
/// `/proc/self/mountinfo`.
fn directories(controller: &str, groups: &str, mounts: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for mount in mounts.lines().filter_map(|line| Mount::read(line, controller)) {
        let Some(group) = groups.lines().find_map(|line| mount.group(line, controller)) else { continue };
        // A container without a view of its own groups is shown the path as the host names it.
        let below = group.strip_prefix(&mount.root).unwrap_or(Path::new(""));
        let own: PathBuf =
            below.components().filter(|c| matches!(c, std::path::Component::Normal(_))).collect();
        found.extend(own.ancestors().map(|level| mount.at.join(level)));
    }
    found
}

/// Where groups are mounted.
struct Mount {
    /// The group that is seen at the top.
    root: PathBuf,
    at: PathBuf,
    version: u8,
}

impl Mount {
    /// From a line of mountinfo (proc(5)): `36 35 98:0 /root /at options … - type source
    /// options`. `None` for what is no mount of such groups.
    fn read(line: &str, controller: &str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, at) = (unescape(left.next()?), unescape(left.next()?));
        let mut right = right.split(' ');
        let version = match right.next()? {
            "cgroup2" => 2,
            "cgroup" if right.nth(1)?.split(',').any(|option| option == controller) => 1,
            _ => return None,
        };
        Some(Self { root: root.into(), at: at.into(), version })
    }

    /// The group's path, if this line of `/proc/self/cgroup` (`id:controllers:path`) is about
    /// the groups mounted here.
    fn group<'a>(&self, line: &'a str, controller: &str) -> Option<&'a Path> {
        let mut parts = line.splitn(3, ':');
        let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let ours = match self.version {
            2 => id == "0" && controllers.is_empty(),
            _ => controllers.split(',').any(|one| one == controller),
        };
        ours.then_some(Path::new(path))
    }
}

/// Spaces, tabs, line ends and backslashes of a path are written as `\` and three octal digits.
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(field.to_owned(), |text, (code, character)| text.replace(code, character))
}

/// Microseconds that a `cpu.stat` counts: `throttled_usec` in version 2, `throttled_time`, in
/// nanoseconds, in version 1.
fn throttled_in(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| match line.split_once(' ')? {
        ("throttled_usec", us) => us.trim().parse().ok(),
        ("throttled_time", ns) => ns.trim().parse::<u64>().ok().map(|ns| ns / 1000),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TMPFS: &str = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n";
    const V1: &str =
        "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n";
    const MEMORY: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
    const UNIFIED: &str = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    const V2: &str = "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";

    fn files(groups: &str, mounts: &str) -> Vec<String> {
        directories("cpu", groups, mounts)
            .iter()
            .map(|path| path.join("cpu.stat").display().to_string())
            .collect()
    }

    #[test]
    fn version_2_is_read_up_to_its_root() {
        let found = files("0::/user.slice/a.scope\n", V2);
        let want = ["user.slice/a.scope/cpu.stat", "user.slice/cpu.stat", "cpu.stat"];
        assert_eq!(found, want.map(|file| format!("/sys/fs/cgroup/{file}")));
        assert_eq!(files("0::/\n", V2), ["/sys/fs/cgroup/cpu.stat"]);
        assert!(files("0::/\n", TMPFS).is_empty() && files("", V2).is_empty());
    }

    #[test]
    fn version_1_and_both_side_by_side_are_read() {
        let mounts = [TMPFS, V1, MEMORY, UNIFIED].concat();
        let groups = "4:memory:/m\n1:cpu,cpuacct:/jobs/one\n9:name=systemd:/s\n0::/x\n";
        let v1 = ["jobs/one/cpu.stat", "jobs/cpu.stat", "cpu.stat"];
        let mut want: Vec<String> = v1.map(|file| format!("/sys/fs/cgroup/cpu,cpuacct/{file}")).into();
        want.extend(["x/cpu.stat", "cpu.stat"].map(|file| format!("/sys/fs/cgroup/unified/{file}")));
        assert_eq!(files(groups, &mounts), want);
        assert!(files("2:cpuacct:/a\n", &mounts).is_empty(), "cpuacct alone has no quota");
    }

    #[test]
    fn a_containers_view_is_cut_to_what_is_mounted() {
        // The host's name of the group, of which only the inner part is to be seen.
        let bound = "32 31 0:29 /docker/abc /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        let found = files("1:cpu:/docker/abc/inner\n", bound);
        assert_eq!(found, ["/sys/fs/cgroup/cpu/inner/cpu.stat", "/sys/fs/cgroup/cpu/cpu.stat"]);
        // A group outside of what is to be seen.
        assert_eq!(files("1:cpu:/../other\n", bound), ["/sys/fs/cgroup/cpu/cpu.stat"]);
        let spaced = "1 2 0:1 / /a\\040b rw - cgroup2 none rw\n";
        assert_eq!(files("0::/\n", spaced), ["/a b/cpu.stat"]);
    }

    #[test]
    fn counts_are_read_in_both_units_and_the_longest_counts() {
        assert_eq!(throttled_in("usage_usec 5\nnr_throttled 2\nthrottled_usec 1234\n"), Some(1234));
        assert_eq!(throttled_in("nr_periods 9\nnr_throttled 2\nthrottled_time 1234567\n"), Some(1234));
        assert_eq!(throttled_in("usage_usec 5\n"), None);
        let (before, after) =
            (Throttled(vec![Some(10), Some(5), None]), Throttled(vec![Some(40), Some(95), None]));
        assert_eq!(after.since(&before), Some(90));
        assert_eq!(before.since(&before), Some(0));
        assert_eq!(Throttled(vec![None]).since(&Throttled(vec![None])), None);
        assert_eq!(Throttled::default().since(&Throttled::default()), None);
    }
}
