//! Processes of the server: CPU, resident memory, open files, threads.
//!
//! A name stands for some roots (found by command line, pid, port, or as our own server's
//! process group) and everything that descends from them. A process is known by its pid and its
//! beginning, so that one that was started again is never taken for the one before: its CPU time
//! begins anew, and [`STARTED`] tells of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use regex::Regex;

use super::proc::{self, Stat};
use super::{ObserveError, Reading, Source};
use crate::record::inside::{CPU_CORES, CPU_SHARE, MEMORY, OPEN_FILES, PROCESSES, STARTED, THREADS};

/// Which processes a name stands for.
#[derive(Debug, Clone)]
pub enum Find {
    /// Those whose command line this matches.
    Command(Regex),
    Pid(u32),
    /// Those that listen at this TCP port of this machine.
    Port(u16),
    /// Those of our own server's process group; there may be none between two starts.
    Group(OwnServer),
}

/// The process group of the server that we started, as it is now. Shared: whoever starts it
/// tells, whoever watches asks.
#[derive(Debug, Clone, Default)]
pub struct OwnServer(Arc<AtomicU32>);

impl OwnServer {
    /// It runs in this process group; `None`: none runs.
    pub fn set(&self, group: Option<u32>) {
        self.0.store(group.unwrap_or(0), Ordering::Relaxed);
    }

    /// Its process group, if it runs.
    #[must_use]
    pub fn group(&self) -> Option<u32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|group| *group != 0)
    }
}

/// A process for good: its pid and its beginning.
type Id = (u32, u64);
/// CPU time of each process in clock ticks, with its parent.
type Times = BTreeMap<Id, (u64, u32)>;

/// See the module.
pub struct Processes {
    /// As the table of sources has it.
    name: String,
    label: String,
    find: Find,
    /// Whether it is a mistake when there are none: somebody asked for them.
    asked: bool,
    /// CPU time of each process at the last reading, with its parent.
    before: Option<(Instant, Times)>,
    /// The roots that were found by their port, which is dear to find out.
    listeners: Vec<Id>,
    /// Looks in a row that found nobody there.
    missed: u32,
}

/// Where nobody listens, one look in so many asks again.
const NOW_AND_THEN: u32 = 10;

impl Processes {
    /// `name` labels the readings. `asked`: that there are none is an error, else no readings.
    #[must_use]
    pub fn new(name: &str, find: Find, asked: bool) -> Self {
        Self {
            name: format!("process {name}"),
            label: name.to_owned(),
            find,
            asked,
            before: None,
            listeners: Vec::new(),
            missed: 0,
        }
    }

    /// The processes at the root, that live.
    fn roots(&mut self, all: &[Stat]) -> BTreeSet<u32> {
        let own = std::process::id();
        let alive = |p: &&Stat| !p.dead && p.pid != own;
        let those = |fits: &dyn Fn(&Stat) -> bool| -> BTreeSet<u32> {
            all.iter().filter(alive).filter(|p| fits(p)).map(|p| p.pid).collect()
        };
        match &self.find {
            Find::Pid(pid) => those(&|p| p.pid == *pid),
            Find::Command(pattern) => those(&|p| pattern.is_match(&proc::command_line(p.pid))),
            Find::Group(server) => {
                server.group().map(|group| those(&|p| p.group == group)).unwrap_or_default()
            }
            Find::Port(port) => {
                let known = those(&|p| self.listeners.contains(&(p.pid, p.began)));
                if known.len() == self.listeners.len() && !known.is_empty() {
                    return known;
                }
                if !self.asked && !self.missed.is_multiple_of(NOW_AND_THEN) {
                    self.missed += 1;
                    return BTreeSet::new();
                }
                let found = proc::listeners(*port);
                self.missed = if found.is_empty() { self.missed + 1 } else { 0 };
                self.listeners =
                    all.iter().filter(|p| found.contains(&p.pid)).map(|p| (p.pid, p.began)).collect();
                those(&|p| found.contains(&p.pid))
            }
        }
    }

    /// Cores kept busy since the last reading; `None` at the first.
    fn cores(&mut self, now: Instant, mine: &[&Stat]) -> Option<f64> {
        let times: Times = mine.iter().map(|p| ((p.pid, p.began), (p.cpu, p.parent))).collect();
        let (then, before) = self.before.replace((now, times))?;
        let ticks = used(&before, mine);
        let seconds = now.saturating_duration_since(then).as_secs_f64();
        let rate = rustix::param::clock_ticks_per_second() as f64;
        (seconds > 0.0).then(|| ticks as f64 / rate / seconds)
    }
}

/// Clock ticks of CPU that processes used since `before`.
///
/// The time of one that has ended and was waited for is now its parent's, of which what was
/// counted already is taken off. One that is new counts from its beginning where it descends
/// from one that was there; else it was merely not ours to count before.
fn used(before: &Times, now: &[&Stat]) -> u64 {
    let known = |pid: u32| before.keys().any(|(known, _)| *known == pid);
    let grown: u64 = now
        .iter()
        .map(|p| match before.get(&(p.pid, p.began)) {
            Some((then, _)) => p.cpu.saturating_sub(*then),
            None if known(p.parent) => p.cpu,
            None => 0,
        })
        .sum();
    let here = |pid: u32| now.iter().any(|p| p.pid == pid);
    let gone = |(id, (_, parent)): &(&Id, &(u64, u32))| !here(id.0) && here(*parent);
    let counted: u64 = before.iter().filter(gone).map(|(_, (then, _))| then).sum();
    grown.saturating_sub(counted)
}

/// The roots and all that descends from them, but for this program and what is below it.
fn family<'a>(all: &'a [Stat], roots: &BTreeSet<u32>) -> Vec<&'a Stat> {
    let own = std::process::id();
    let mut pids = roots.clone();
    let mut new: Vec<u32> = roots.iter().copied().collect();
    while let Some(parent) = new.pop() {
        for child in all.iter().filter(|p| p.parent == parent && p.pid != own) {
            if pids.insert(child.pid) {
                new.push(child.pid);
            }
        }
    }
    all.iter().filter(|p| pids.contains(&p.pid)).collect()
}

impl Source for Processes {
    fn name(&self) -> &str {
        &self.name
    }

    /// # Errors
    /// When there is no `/proc`, or processes that were asked for are not there.
    fn read(&mut self) -> Result<Vec<Reading>, ObserveError> {
        let now = Instant::now();
        let all = proc::all().map_err(|e| ObserveError::Failed(format!("cannot read /proc: {e}")))?;
        let roots = self.roots(&all);
        if roots.is_empty() {
            self.before = None;
            let starting = matches!(&self.find, Find::Group(server) if server.group().is_none());
            if !self.asked || starting {
                return Ok(Vec::new());
            }
            return Err(ObserveError::Failed(format!("there is no such process: {}", self.find.words())));
        }
        let mine = family(&all, &roots);
        let cores = self.cores(now, &mine);
        let sum = |of: fn(&Stat) -> u64| mine.iter().map(|p| of(p)).sum::<u64>() as f64;
        let began = mine.iter().filter(|p| roots.contains(&p.pid)).map(|p| p.began).min();
        let rate = rustix::param::clock_ticks_per_second() as f64;
        let started = proc::boot_time().zip(began).map(|(boot, began)| boot + began as f64 / rate);
        let machine = proc::cpu().map(|cpu| cpu.count).filter(|count| *count > 0);
        // Of a process that we may not look into its files are not known, and so not of all.
        let files: Option<u64> = mine.iter().filter(|p| !p.dead).map(|p| proc::open_files(p.pid)).sum();
        let page = rustix::param::page_size() as f64;
        let values = [
            (CPU_CORES, cores),
            (CPU_SHARE, cores.zip(machine).map(|(cores, all)| cores / all as f64)),
            (MEMORY, Some(sum(|p| p.resident) * page)),
            (OPEN_FILES, files.map(|n| n as f64)),
            (THREADS, Some(sum(|p| if p.dead { 0 } else { p.threads }))),
            (PROCESSES, Some(mine.iter().filter(|p| !p.dead).count() as f64)),
            (STARTED, started),
        ];
        let labels = [("process", self.label.as_str())];
        let reading = |(name, value): (&str, Option<f64>)| Some(Reading::gauge(name, &labels, value?));
        Ok(values.into_iter().filter_map(reading).collect())
    }
}

impl Find {
    /// What was looked for, in words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Command(pattern) => format!("a command line that matches {:?}", pattern.as_str()),
            Self::Pid(pid) => format!("the process {pid}"),
            Self::Port(port) => format!("who listens at port {port} of this machine"),
            Self::Group(_) => "the server that was started".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    use super::*;

    /// Ends what it holds, whatever becomes of the test.
    struct Held(Child);

    impl Drop for Held {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// A shell that runs `script`; it says nothing.
    fn shell(script: &str, words: &[&str]) -> Held {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script, "held"]).args(words).stdin(Stdio::null()).stdout(Stdio::null());
        Held(command.spawn().unwrap())
    }

    fn value(readings: &[Reading], name: &str) -> Option<f64> {
        readings.iter().find(|r| r.name == name).map(|r| r.value)
    }

    /// Read until `done` is content; at most a minute.
    fn until(source: &mut Processes, done: impl Fn(&[Reading]) -> bool) -> Vec<Reading> {
        let limit = Instant::now() + Duration::from_secs(60);
        loop {
            let readings = source.read().unwrap_or_default();
            if done(&readings) {
                return readings;
            }
            assert!(Instant::now() < limit, "last: {readings:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    #[test]
    fn one_that_burns_a_core_is_seen_to() {
        // A child burns, so that it has to be found below its parent.
        let burner = shell("while :; do :; done & while :; do sleep 1; done", &[]);
        let mut source = Processes::new("burner", Find::Pid(burner.0.id()), true);
        let first = source.read().unwrap();
        assert_eq!(value(&first, CPU_CORES), None, "nothing is known at the first look");
        // On a machine that is busy with other things it gets no whole core.
        let readings = until(&mut source, |r| value(r, CPU_CORES).is_some_and(|cores| cores > 0.2));
        let (cores, share) = (value(&readings, CPU_CORES).unwrap(), value(&readings, CPU_SHARE).unwrap());
        // Its clock ticks are 10 ms of some 100: a core, give or take.
        assert!(cores < 1.5 && share <= cores, "{readings:?}");
        assert!(value(&readings, PROCESSES).unwrap() >= 2.0, "{readings:?}");
        // The shell that burns can't be ended by its parent's end.
        for child in family(&proc::all().unwrap(), &BTreeSet::from([burner.0.id()])) {
            let pid = i32::try_from(child.pid).ok().and_then(rustix::process::Pid::from_raw).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }

    #[test]
    fn idle_files_threads_and_memory_are_those_of_the_process() {
        let sleeper = shell("exec 4</dev/null 5</dev/null 6</dev/null 7</dev/null; exec sleep 600", &[]);
        let mut source = Processes::new("sleeper", Find::Pid(sleeper.0.id()), true);
        let readings = until(&mut source, |r| value(r, OPEN_FILES).is_some_and(|n| n >= 7.0));
        assert!(value(&readings, OPEN_FILES).unwrap() < 20.0, "{readings:?}");
        assert_eq!(value(&readings, THREADS), Some(1.0));
        assert!((1e5..1e8).contains(&value(&readings, MEMORY).unwrap()), "{readings:?}");
        std::thread::sleep(Duration::from_millis(200));
        let readings = source.read().unwrap();
        assert!(value(&readings, CPU_CORES).unwrap() < 0.1, "{readings:?}");
        assert_eq!(readings[0].labels, "process=\"sleeper\"");
    }

    #[test]
    fn they_are_found_by_command_port_and_group() {
        let mark = format!("marked-{}", std::process::id());
        let one = shell("while :; do sleep 1; done", &[&mark]);
        let find = Find::Command(Regex::new(&format!("held {mark}$")).unwrap());
        let mut source = Processes::new("marked", find, true);
        until(&mut source, |r| value(r, PROCESSES).is_some_and(|n| n >= 1.0));
        drop(one);
        let error = source.read().unwrap_err().to_string();
        assert!(error.contains(&mark) && error.contains("command line"), "{error}");
        // Not asked for, none is nothing to speak of.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        assert_eq!(Processes::new("x", Find::Port(port), false).read().unwrap(), []);
        assert!(Processes::new("x", Find::Port(port), true).read().is_err());
        let server = OwnServer::default();
        let mut source = Processes::new("server", Find::Group(server.clone()), true);
        assert_eq!(source.read().unwrap(), [], "it is not started yet");
        let mut command = Command::new("/bin/sleep");
        let held = Held(
            std::os::unix::process::CommandExt::process_group(&mut command, 0).arg("600").spawn().unwrap(),
        );
        server.set(Some(held.0.id()));
        let first = value(&source.read().unwrap(), STARTED).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((now - first).abs() < 120.0, "{first} {now}");
        drop(held);
        assert!(source.read().is_err(), "it was there and has gone");
        server.set(None);
        assert_eq!(source.read().unwrap(), []);
    }

    fn stat(pid: u32, parent: u32, began: u64, cpu: u64) -> Stat {
        Stat { pid, parent, group: pid, began, cpu, threads: 1, resident: 1, dead: false }
    }

    #[test]
    fn cpu_time_is_counted_once_whoever_has_it() {
        let before = BTreeMap::from([((1, 10), (100, 0)), ((2, 20), (50, 1))]);
        let ticks = |now: &[Stat]| used(&before, &now.iter().collect::<Vec<_>>());
        assert_eq!(ticks(&[stat(1, 0, 10, 110), stat(2, 1, 20, 55)]), 15);
        // The child ended at 60, and its parent has waited for it.
        assert_eq!(ticks(&[stat(1, 0, 10, 100 + 60 + 5)]), 15);
        // A new child counts from its beginning, a stranger that joined does not.
        assert_eq!(ticks(&[stat(1, 0, 10, 100), stat(2, 1, 20, 50), stat(3, 1, 30, 7)]), 7);
        assert_eq!(ticks(&[stat(1, 0, 10, 100), stat(2, 1, 20, 50), stat(9, 0, 5, 900)]), 0);
        // Started again under the same pid: nothing of the old one is taken for the new one's.
        assert_eq!(ticks(&[stat(1, 0, 99, 500)]), 0);
    }

    #[test]
    fn a_family_ends_at_ourselves() {
        let own = std::process::id();
        let all = [stat(1, 0, 1, 0), stat(own, 1, 2, 0), stat(own + 1, own, 3, 0), stat(own + 2, 1, 4, 0)];
        let pids: Vec<u32> = family(&all, &BTreeSet::from([1])).iter().map(|p| p.pid).collect();
        assert_eq!(pids, [1, own + 2]);
    }
}
