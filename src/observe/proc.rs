//! What the kernel tells of processes and of this machine, read from `/proc`. Plain reads: a
//! crate for it would be one more to keep, and of its hundred fields nine are wanted.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io;
use std::path::Path;

/// One process, as its `stat` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub pid: u32,
    pub parent: u32,
    /// Its process group.
    pub group: u32,
    /// When it began, in clock ticks since the machine did. With the pid it names a process
    /// for good: pids come round again.
    pub began: u64,
    /// CPU time of it and of children that it has waited for, in clock ticks.
    pub cpu: u64,
    pub threads: u64,
    /// Pages of memory that are resident.
    pub resident: u64,
    /// It has ended and waits to be reaped.
    pub dead: bool,
}

/// Reads the text of a `stat` file. The name in it may hold anything, brackets included.
fn parse_stat(text: &str) -> Option<Stat> {
    let (pid, rest) = text.split_once(" (")?;
    let (_, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |i: usize| fields.get(i)?.parse::<i64>().ok();
    let natural = |i: usize| u64::try_from(number(i)?).ok();
    let cpu = (11..15).map(natural).sum::<Option<u64>>()?;
    Some(Stat {
        pid: pid.parse().ok()?,
        parent: u32::try_from(number(1)?).ok()?,
        group: u32::try_from(number(2)?).ok()?,
        began: natural(19)?,
        cpu,
        threads: natural(17)?,
        resident: natural(21)?,
        dead: matches!(*fields.first()?, "Z" | "X"),
    })
}

/// Pids that there are.
fn pids() -> io::Result<impl Iterator<Item = u32>> {
    let entries = fs::read_dir("/proc")?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()))
}

/// Every process of this machine that can be seen. One that ends meanwhile is left out.
///
/// # Errors
/// When there is no `/proc`.
pub(super) fn all() -> io::Result<Vec<Stat>> {
    let stat = |pid: u32| parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?);
    Ok(pids()?.filter_map(stat).collect())
}

/// The words of a process's command line with spaces between; empty for one of the kernel's.
pub(super) fn command_line(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim_end().to_owned()
}

/// Files and sockets that a process has open; `None` where we may not look, or it has ended.
pub(super) fn open_files(pid: u32) -> Option<u64> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64)
}

/// Processes that listen at a TCP port, as far as we may look into them.
pub(super) fn listeners(port: u16) -> BTreeSet<u32> {
    let inodes: HashSet<u64> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| listening(&table, port))
        .collect();
    if inodes.is_empty() {
        return BTreeSet::new();
    }
    let holds = |pid: &u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files.filter_map(|file| fs::read_link(file.path()).ok()).any(|link| {
            let inode = link.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']'));
            inode.and_then(|text| text.parse().ok()).is_some_and(|inode: u64| inodes.contains(&inode))
        })
    };
    pids().map(|pids| pids.filter(holds).collect()).unwrap_or_default()
}

/// Inodes of the sockets that listen at `port`, in a table of sockets.
fn listening(table: &str, port: u16) -> Vec<u64> {
    const LISTEN: &str = "0A";
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (_, local) = fields.get(1)?.rsplit_once(':')?;
        let here = u16::from_str_radix(local, 16).ok()? == port && *fields.get(3)? == LISTEN;
        if here { fields.get(9)?.parse().ok() } else { None }
    };
    table.lines().skip(1).filter_map(inode).collect()
}

/// When the machine began, in seconds since 1970.
pub(super) fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// What the machine's processors have done since it began, in clock ticks summed over all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cpu {
    pub busy: u64,
    pub all: u64,
    /// Processors that are switched on.
    pub count: usize,
}

/// The machine's processors, by `/proc/stat`.
pub(super) fn cpu() -> Option<Cpu> {
    parse_cpu(&fs::read_to_string("/proc/stat").ok()?)
}

fn parse_cpu(stat: &str) -> Option<Cpu> {
    let whole = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    // user nice system idle iowait irq softirq steal; time of guests is in the first two.
    let ticks: Vec<u64> = whole.split_ascii_whitespace().take(8).map_while(|n| n.parse().ok()).collect();
    let all = ticks.iter().sum::<u64>();
    let idle = ticks.get(3)? + ticks.get(4)?;
    let one = |line: &&str| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    Some(Cpu { busy: all - idle, all, count: stat.lines().filter(one).count() })
}

/// Memory of the machine in bytes: what is taken, and all.
pub(super) fn memory() -> Option<(u64, u64)> {
    parse_memory(&fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse_memory(meminfo: &str) -> Option<(u64, u64)> {
    let kib = |key: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    };
    let (all, free) = (kib("MemTotal")?, kib("MemAvailable")?);
    Some((all.saturating_sub(free) * 1024, all * 1024))
}

/// Bytes received and sent over the machine's network cards since it began.
pub(super) fn network() -> Option<(u64, u64)> {
    let real = |name: &str| Path::new("/sys/class/net").join(name).join("device").exists();
    let dev = fs::read_to_string("/proc/net/dev").ok()?;
    // What bridges, bonds and the ends of containers pass on went through a card as well; a machine
    // without any card of its own has but those.
    let cards = parse_network(&dev, real);
    Some(if cards == (0, 0) { parse_network(&dev, |name| name != "lo") } else { cards })
}

fn parse_network(dev: &str, wanted: impl Fn(&str) -> bool) -> (u64, u64) {
    let line = |line: &str| -> Option<(u64, u64)> {
        let (name, counts) = line.split_once(':')?;
        let counts: Vec<u64> = counts.split_ascii_whitespace().map_while(|n| n.parse().ok()).collect();
        if wanted(name.trim()) { Some((*counts.first()?, *counts.get(8)?)) } else { None }
    };
    dev.lines().filter_map(line).fold((0, 0), |(rx, tx), (r, t)| (rx + r, tx + t))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let line = "42 (a) R (b) S 7 40 40 0 -1 4194560 1 2 3 4 10 20 3 4 20 0 5 0 9999 1000 77 18446744073709551615";
        let want = Stat {
            pid: 42,
            parent: 7,
            group: 40,
            began: 9999,
            cpu: 37,
            threads: 5,
            resident: 77,
            dead: false,
        };
        assert_eq!(parse_stat(line), Some(want));
        assert!(parse_stat(&line.replace(" S 7", " Z 7")).unwrap().dead);
        for broken in ["", "42 (a) S 7", "42 a S 7 40"] {
            assert_eq!(parse_stat(broken), None, "{broken}");
        }
    }

    #[test]
    fn we_are_among_the_processes() {
        let own = std::process::id();
        let us = all().unwrap().into_iter().find(|p| p.pid == own).unwrap();
        assert!(us.threads >= 1 && us.resident > 100 && !us.dead, "{us:?}");
        assert!(open_files(own).unwrap() >= 3);
        assert!(!command_line(own).is_empty());
        assert!(boot_time().unwrap() > 1e9);
    }

    #[test]
    fn who_listens_at_a_port_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(listeners(port), BTreeSet::from([std::process::id()]));
        drop(listener);
        assert_eq!(listeners(port), BTreeSet::new());
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 123 1\n\
            1: 0100007F:1F90 0100007F:0050 01 00000000:00000000 00:00000000 00000000     0        0 124 1\n";
        assert_eq!(listening(table, 8080), [123]);
        assert!(listening(table, 80).is_empty());
    }

    #[test]
    fn the_machine_is_read() {
        let stat =
            "cpu  10 1 5 80 4 1 1 2 3 0\ncpu0 5 0 0 0\ncpu1 5 0 0 0\nintr 1\nctxt 2\nbtime 1700000000\n";
        assert_eq!(parse_cpu(stat), Some(Cpu { busy: 20, all: 104, count: 2 }));
        assert_eq!(parse_cpu("intr 1"), None);
        let meminfo = "MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:   400 kB\n";
        assert_eq!(parse_memory(meminfo), Some((600 * 1024, 1000 * 1024)));
        let dev = "Inter-| Receive | Transmit\n face |bytes\n lo: 9 0 0 0 0 0 0 0 9 0\n eth0: 100 1 0 0 0 0 0 0 50 1 0\n eth1:7 1 0 0 0 0 0 0 8 1 0\n";
        assert_eq!(parse_network(dev, |name| name != "lo"), (107, 58));
        assert_eq!(parse_network(dev, |_| false), (0, 0));
        let (here, memory) = (cpu().unwrap(), memory().unwrap());
        assert!(here.count >= 1 && here.busy <= here.all && memory.0 < memory.1, "{here:?} {memory:?}");
        assert!(network().is_some());
    }
}
