//! Processes under measurement: started on a core, watched, and their CPU time read at their end.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// How often the memory of a process is looked at while it runs.
const LOOK: Duration = Duration::from_millis(20);

/// Which cores a process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// All that this program may use.
    Anywhere,
    /// The first of them, where the server is.
    First,
    /// The last of them, where the client is; with a single core the same one.
    Last,
}

/// What a process came to.
#[derive(Debug)]
pub struct Usage {
    pub status: ExitStatus,
    /// User and system time of the process and of the children that it has awaited.
    pub cpu_s: f64,
    /// Largest resident set, as last seen before the end (`VmHWM`), of the process alone.
    pub peak_kb: u64,
    pub wall_s: f64,
    /// `CLOCK_MONOTONIC` just before the process was made.
    pub started_ns: u64,
    pub stdout: String,
    pub stderr: String,
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub fn monotonic_ns() -> u64 {
    let t = clock_gettime(ClockId::Monotonic);
    t.tv_sec.unsigned_abs() * 1_000_000_000 + t.tv_nsec.unsigned_abs()
}

/// Cores that this program may use.
pub fn cores() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
}

/// Start a process in its place. A child inherits the affinity of the thread that makes it, so
/// that not even its first thread is ever elsewhere.
pub fn spawn(command: &mut Command, place: Place) -> io::Result<Child> {
    let before = sched_getaffinity(None)?;
    let cores = cores()?;
    let core = match place {
        Place::Anywhere => None,
        Place::First => cores.first(),
        Place::Last => cores.last(),
    };
    if let Some(core) = core {
        let mut one = CpuSet::new();
        one.set(*core);
        sched_setaffinity(None, &one)?;
    }
    let child = command.spawn();
    sched_setaffinity(None, &before)?;
    child
}

/// Run a process to its end; every 20 ms `watch` is given its peak memory so far, in kilobytes.
pub fn measure(command: &mut Command, place: Place, mut watch: impl FnMut(u64)) -> io::Result<Usage> {
    // Files, not pipes: a pipe that nobody reads stops its writer, and a thread that reads it
    // would be one more on the measured cores.
    let (out, err) = (tempfile::NamedTempFile::new()?, tempfile::NamedTempFile::new()?);
    command.stdin(Stdio::null()).stdout(handle(&out)?).stderr(handle(&err)?);
    let started_ns = monotonic_ns();
    let since = Instant::now();
    let mut child = spawn(command, place)?;
    let pid = Pid::from_child(&child);
    let mut peak_kb = 0;
    loop {
        peak_kb = peak_kb.max(peak_kb_of(pid).unwrap_or(0));
        watch(peak_kb);
        // Left unreaped: its account is in /proc until then.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        if waitid(WaitId::Pid(pid), options)?.is_some() {
            break;
        }
        std::thread::sleep(LOOK);
    }
    let wall_s = since.elapsed().as_secs_f64();
    let cpu_s = cpu_s_of(pid)?;
    let status = child.wait()?;
    let (stdout, stderr) = (fs::read_to_string(out.path())?, fs::read_to_string(err.path())?);
    Ok(Usage { status, cpu_s, peak_kb, wall_s, started_ns, stdout, stderr })
}

fn handle(file: &tempfile::NamedTempFile) -> io::Result<OwnedFd> {
    Ok(file.reopen()?.into())
}

/// Ask a process to end, and wait for it.
pub fn interrupt(child: &mut Child) -> io::Result<ExitStatus> {
    kill_process(Pid::from_child(child), Signal::INT)?;
    child.wait()
}

fn peak_kb_of(pid: Pid) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    status.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok())
}

/// User and system time so far, those of awaited children included. The kernel tells them in
/// ticks of 10 ms, out of an exact sum: off by two ticks at most.
pub fn cpu_s_of(pid: Pid) -> io::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))?;
    let bad = || io::Error::other(format!("can't read {stat:?}"));
    // The name in brackets may hold anything; state is the first field behind it.
    let (_, fields) = stat.rsplit_once(") ").ok_or_else(bad)?;
    let ticks: Vec<u64> =
        fields.split(' ').skip(11).take(4).map(str::parse).collect::<Result<_, _>>().map_err(|_| bad())?;
    let [user, system, children_user, children_system] = ticks[..] else { return Err(bad()) };
    let per_second = rustix::param::clock_ticks_per_second();
    Ok((user + system + children_user + children_system) as f64 / per_second as f64)
}
