//! A process that does not outlive us, however we end.
//!
//! It leads a process group of its own, so that all that it starts can be ended with it, and a
//! Ctrl-C in our terminal doesn't reach it before our cells have ended. Beside it stands a guard:
//! a shell that waits on a pipe of which we hold the other end. Killed at any instant, we lose
//! that end, and the guard ends the group. The process itself begins only once the guard stands.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use crate::experiment::StopSignal;

/// Waits for the word to begin; without it, as when we have gone, it ends. What it reads then is
/// the file `$1`.
const BEGIN: &str = r#"input=$1; shift; read -r go && exec "$@" <"$input""#;

/// Waits for the word that all is over; without it, as when we have gone, it ends the group
/// `$1`: by the signal `$2`, and after `$3` tenths of a second by SIGKILL.
const GUARD: &str = r#"
read -r done && exit 0
kill -s "$2" -- "-$1" || exit 0
n=$3
while [ "$n" -gt 0 ] && kill -s 0 -- "-$1"; do sleep 0.1; n=$((n - 1)); done
kill -s KILL -- "-$1"
"#;

/// Between two looks at a process that ends.
const LOOK: Duration = Duration::from_millis(10);
/// What is left of a group whose leader has ended gets so long.
const REST: Duration = Duration::from_secs(2);
/// After SIGKILL only the kernel can hold a process back.
const KILLED: Duration = Duration::from_secs(10);

/// What to start.
pub(in crate::server) struct Spec<'a> {
    /// The program and its words. `plimsoll` is this program.
    pub words: &'a [String],
    pub cwd: Option<&'a Path>,
    pub env: &'a BTreeMap<String, String>,
    /// What it reads as its standard input; `None`: nothing.
    pub input: Option<&'a Path>,
    pub signal: StopSignal,
    pub grace: Duration,
}

/// See the module.
pub(in crate::server) struct Process {
    child: Child,
    group: Pid,
    guard: Child,
    guard_ear: Option<ChildStdin>,
    signal: StopSignal,
    grace: Duration,
}

impl Process {
    /// Start it; what it says goes to `log`.
    pub(in crate::server) fn start(spec: &Spec<'_>, log: &File) -> io::Result<Self> {
        let mut words = spec.words.to_vec();
        if let Some(program) = words.first_mut().filter(|program| *program == "plimsoll") {
            *program = std::env::current_exe()?.to_string_lossy().into_owned();
        }
        let mut command = Command::new("/bin/sh");
        let input = spec.input.unwrap_or(Path::new("/dev/null"));
        command.args(["-c", BEGIN, "plimsoll-server"]).arg(input).args(&words).envs(spec.env);
        command.process_group(0).stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log.try_clone()?);
        if let Some(cwd) = spec.cwd {
            command.current_dir(cwd);
        }
        let mut child = command.spawn()?;
        let raw = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let group = raw.ok_or_else(|| io::Error::other("a process without a number"))?;
        let tenths = spec.grace.as_millis().div_ceil(100).to_string();
        let guard = Command::new("/bin/sh")
            .args(["-c", GUARD, "plimsoll-guard", &child.id().to_string(), spec.signal.name(), &tenths])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        // Without a guard it hears no word, and ends by itself: waiting closes its pipe first.
        let mut guard = guard.inspect_err(|_| drop(child.wait()))?;
        let ear = child.stdin.take();
        let guard_ear = guard.stdin.take();
        let process = Self { child, group, guard, guard_ear, signal: spec.signal, grace: spec.grace };
        if let Some(mut ear) = ear {
            ear.write_all(b"go\n")?;
        }
        Ok(process)
    }

    /// The number of its process group, which is its own and that of all that it starts.
    pub(in crate::server) fn group(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub(in crate::server) fn ended(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(status.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Whether it ended well; `None`: it still runs.
    pub(in crate::server) fn success(&mut self) -> Option<bool> {
        self.child.try_wait().ok()?.map(|status| status.success())
    }

    fn group_is_there(&self) -> bool {
        test_kill_process_group(self.group).is_ok()
    }

    /// End the group: ask, wait, kill.
    fn stop(&mut self) {
        let signal = match self.signal {
            StopSignal::Term => Signal::TERM,
            StopSignal::Int => Signal::INT,
            StopSignal::Quit => Signal::QUIT,
            StopSignal::Hup => Signal::HUP,
            StopSignal::Kill => Signal::KILL,
        };
        // One that has gone already is what is wanted.
        let _ = kill_process_group(self.group, signal);
        wait(self.grace, || self.ended().is_some());
        if self.ended().is_some() {
            wait(self.grace.min(REST), || !self.group_is_there());
        }
        let _ = kill_process_group(self.group, Signal::KILL);
        wait(KILLED, || self.ended().is_some());
        if let Some(mut ear) = self.guard_ear.take() {
            let _ = ear.write_all(b"done\n");
        }
        let _ = self.guard.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

fn wait(limit: Duration, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + limit;
    while !done() && Instant::now() < until {
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(script: &str, grace: Duration, log: &Path) -> Process {
        let words = ["sh", "-c", script].map(str::to_owned);
        let env = BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]);
        let spec = Spec {
            words: &words,
            cwd: log.parent(),
            env: &env,
            input: None,
            signal: StopSignal::Term,
            grace,
        };
        Process::start(&spec, &File::create(log).unwrap()).unwrap()
    }

    fn until(what: &str, mut done: impl FnMut() -> bool) {
        let limit = Instant::now() + Duration::from_secs(60);
        while !done() {
            assert!(Instant::now() < limit, "{what} never came");
            std::thread::sleep(LOOK);
        }
    }

    /// Whether a process runs; one that waits to be reaped doesn't.
    fn runs(pid: &str) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or_default().starts_with('Z'))
    }

    #[test]
    fn it_is_asked_to_end_and_its_children_end_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        // A child that hears nothing, and a leader that says that it was asked.
        let script = "trap 'echo asked; exit 0' TERM
            (trap '' TERM; while :; do sleep 0.05; done) & echo child $! $GREETING; pwd
            while :; do sleep 0.05; done";
        let mut process = start(script, Duration::from_secs(30), &log);
        let text = || std::fs::read_to_string(&log).unwrap();
        until("the child", || text().lines().count() >= 2);
        let child = text().split(' ').nth(1).unwrap().to_owned();
        assert!(text().contains("hello") && process.ended().is_none() && runs(&child), "{}", text());
        assert!(text().contains(dir.path().to_str().unwrap()), "{}", text());
        drop(process);
        assert!(text().contains("asked"), "{}", text());
        until("the child's end", || !runs(&child));
    }

    #[test]
    fn one_that_hears_nothing_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let process =
            start("trap '' TERM; echo up; while :; do sleep 0.05; done", Duration::from_millis(100), &log);
        until("its start", || std::fs::read_to_string(&log).unwrap().contains("up"));
        let pid = process.child.id().to_string();
        assert!(runs(&pid));
        drop(process);
        assert!(!runs(&pid));
    }

    #[test]
    fn where_we_are_gone_the_guard_ends_it() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut process =
            start("trap '' TERM; echo up; sleep 600 & wait; wait", Duration::from_millis(200), &log);
        until("its start", || std::fs::read_to_string(&log).unwrap().contains("up"));
        // What the kernel does for a process that is killed.
        process.guard_ear = None;
        until("its end", || process.ended().is_some());
        until("the end of its group", || !process.group_is_there());
    }

    #[test]
    fn a_program_that_is_not_there_says_so_in_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let words = ["no-such-program-anywhere".to_owned()];
        let env = BTreeMap::new();
        let grace = Duration::from_secs(1);
        let spec = Spec { words: &words, cwd: None, env: &env, input: None, signal: StopSignal::Term, grace };
        let mut process = Process::start(&spec, &File::create(&log).unwrap()).unwrap();
        until("its end", || process.ended().is_some());
        assert_eq!(process.success(), Some(false));
        assert!(std::fs::read_to_string(&log).unwrap().contains("no-such-program-anywhere"));
    }
}
