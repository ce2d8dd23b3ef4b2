//! Is a cell told from a good one when this client was starved, stopped or throttled? With real
//! processes: the program under a CPU quota, beside hogs, stopped and continued, on few open
//! files. What is not permitted here is said on standard error and passed over.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use plimsoll::measure::{CellSummary, Verdict};
use rustix::process::{Pid, Signal, kill_process};

use crate::rig::program::{only_run, plimsoll, stderr, stdout};

const MS: Duration = Duration::from_millis(1);

/// One cell of four seconds on one load core.
const CELL: &str = r#"
name = "one"
[target]
url = "sim:"
[grid]
qps = [50]
[workload]
prompt_tokens = 16
max_tokens = 8
[cell]
duration = "4s"
warmup = "200ms"
drain = "5s"
cooldown = { min = "0s", max = "0s" }
[client]
threads = 1
"#;

/// A directory with `file` as its experiment.
fn directory(file: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("one.toml"), file).unwrap();
    dir
}

/// A child process; ended with the test that fails.
struct Started(Child);

impl Started {
    fn new(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// The program on `one.toml`, by way of a shell that does `first` before.
    fn run(dir: &Path, first: &str) -> Self {
        let script = format!("{first} exec \"$0\" run one.toml --progress none");
        Self::new(Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_plimsoll")]).current_dir(dir))
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap()
    }

    fn output(mut self) -> Output {
        // Little is written: the pipes hold it.
        let status = self.0.wait().unwrap();
        let mut output = Output { status, stdout: Vec::new(), stderr: Vec::new() };
        std::io::copy(self.0.stdout.as_mut().unwrap(), &mut output.stdout).unwrap();
        std::io::copy(self.0.stderr.as_mut().unwrap(), &mut output.stderr).unwrap();
        output
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Wait until `found` finds something.
fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(thing) = found() {
            return thing;
        }
        assert!(Instant::now() < until, "{what} never came");
        std::thread::sleep(10 * MS);
    }
}

/// Wait until the window is open: records have come, and go on for longer than the warm-up.
fn wait_for_the_window(dir: &Path) {
    wait_for("a record", || find(dir, "records.jsonl").filter(|f| f.metadata().is_ok_and(|m| m.len() > 0)));
    std::thread::sleep(500 * MS);
}

/// The first file of this name below `dir`.
fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    std::fs::read_dir(dir).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() { find(&path, name) } else { (entry.file_name() == name).then_some(path) }
    })
}

fn summary(dir: &Path) -> CellSummary {
    let text = std::fs::read_to_string(find(dir, "summary.json").expect("a cell that ended")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn fired(summary: &CellSummary, signal: &str) -> Option<Verdict> {
    summary.validity.reasons.iter().find(|r| r.signal == signal).map(|r| r.verdict)
}

/// Past the capture of output: who reads the log of a run sees what was not tested.
fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED, not permitted here: {why}");
}

/// A control group with a CPU quota that can be set; removed with the test.
struct Group {
    path: PathBuf,
    version: u8,
}

impl Group {
    /// A new one below what is mounted, or why there can be none.
    fn new(name: &str) -> Result<Self, String> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").map_err(|e| e.to_string())?;
        let mut why = "no control groups are mounted".to_owned();
        for line in mounts.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let mut right = right.split(' ');
            let (kind, options) = (right.next(), right.nth(1).unwrap_or(""));
            let version = match kind {
                Some("cgroup2") => 2,
                Some("cgroup") if options.split(',').any(|option| option == "cpu") => 1,
                _ => continue,
            };
            let at = Path::new(left.split(' ').nth(4).unwrap());
            let group = Self { path: at.join(format!("{name}-{}", std::process::id())), version };
            match std::fs::create_dir(&group.path).and_then(|()| group.quota(None)) {
                Ok(()) => return Ok(group),
                Err(error) => why = format!("{}: {error}", group.path.display()),
            }
        }
        Err(why)
    }

    /// A group below this one, for which its quota holds as well.
    fn below(&self) -> PathBuf {
        self.path.join("below")
    }

    /// Let it use so many percent of one processor; `None`: all.
    fn quota(&self, percent: Option<u32>) -> std::io::Result<()> {
        let us = percent.map(|p| (p * 1_000).to_string());
        let (file, text) = match self.version {
            1 => ("cpu.cfs_quota_us", us.unwrap_or_else(|| "-1".to_owned())),
            _ => ("cpu.max", format!("{} 100000", us.unwrap_or_else(|| "max".to_owned()))),
        };
        // Not created: a group without the file has no quota to set.
        std::fs::OpenOptions::new().write(true).open(self.path.join(file))?.write_all(text.as_bytes())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Whoever was in it is on the way out.
        for _ in 0..100 {
            let _ = std::fs::remove_dir(self.below());
            if std::fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(10 * MS);
        }
    }
}

#[test]
fn under_a_cpu_quota_a_cell_is_invalid_and_every_table_says_so() {
    let group = match Group::new("plimsoll-quota") {
        Ok(group) => group,
        Err(why) => return skipped(&format!("a CPU quota ({why})")),
    };
    let dir = directory(CELL);
    std::fs::create_dir(group.below()).unwrap();
    let join = format!("echo $$ > '{}' &&", group.below().join("cgroup.procs").display());
    let child = Started::run(dir.path(), &join);
    wait_for_the_window(dir.path());
    group.quota(Some(2)).unwrap();
    std::thread::sleep(1_000 * MS);
    group.quota(None).unwrap();
    let output = child.output();

    let s = summary(dir.path());
    assert_eq!(s.validity.verdict, Verdict::Invalid, "{:?}", s.validity);
    assert_eq!(fired(&s, "throttled_ms"), Some(Verdict::Invalid), "{:?}", s.validity);
    // The one cell is invalid, so nothing was measured.
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    let said = stdout(&output);
    assert!(said.contains("INVALID") && said.contains("throttled: a CPU quota"), "{said}");
    let run = only_run(dir.path());
    let mut rows = csv::Reader::from_path(run.join("summary.csv")).unwrap();
    let header = rows.headers().unwrap().clone();
    let row = rows.records().next().unwrap().unwrap();
    let column = |name: &str| row[header.iter().position(|h| h == name).unwrap()].to_owned();
    assert_eq!(column("validity"), "invalid");
    assert!(column("validity_reasons").contains("throttled: a CPU quota"), "{}", column("validity_reasons"));
    let page = find(&dir.path().join("reports"), "index.html").unwrap();
    assert!(std::fs::read_to_string(page).unwrap().contains("throttled: a CPU quota"));
}

#[test]
fn starved_by_hogs_a_cell_is_never_valid() {
    let dir = directory(&CELL.replace("4s", "2s"));
    // The lowest priority is anybody's to take; against it each hog weighs seventy times as much.
    let child = Started::run(dir.path(), "renice -n 19 -p $$ > /dev/null &&");
    wait_for_the_window(dir.path());
    let processors = std::thread::available_parallelism().unwrap().get();
    let hogs: Vec<Started> = (0..4 * processors)
        .map(|_| Started::new(Command::new("sh").args(["-c", "while :; do :; done"])))
        .collect();
    std::thread::sleep(1_500 * MS);
    drop(hogs);
    let output = child.output();
    let s = summary(dir.path());
    assert_eq!(s.validity.verdict, Verdict::Invalid, "{:?}\n{}", s.validity, stderr(&output));
    let late = ["timer_overshoot_p99_ms", "longest_stall_ms", "lag_p99_ms"];
    let told: Vec<_> = late.iter().filter(|signal| fired(&s, signal) == Some(Verdict::Invalid)).collect();
    assert!(!told.is_empty(), "{:?}", s.validity);
}

#[test]
fn a_client_that_was_stopped_for_a_moment_is_told() {
    let dir = directory(CELL);
    let child = Started::run(dir.path(), "");
    wait_for_the_window(dir.path());
    kill_process(child.pid(), Signal::STOP).unwrap();
    std::thread::sleep(400 * MS);
    kill_process(child.pid(), Signal::CONT).unwrap();
    let output = child.output();
    let s = summary(dir.path());
    let stall = s.validity.signals["longest_stall_ms"];
    assert!(stall >= 380.0, "{stall} ms: {}", stderr(&output));
    assert_eq!(fired(&s, "longest_stall_ms"), Some(Verdict::Invalid), "{:?}", s.validity);
    assert_eq!(s.validity.signals["suspended_ms"], 0.0, "a stopped process is no suspended machine");
}

/// Name and `Cpus_allowed_list` of each thread of a process whose name begins so.
fn places(pid: Pid, name: &str) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).unwrap();
    tasks
        .flatten()
        .filter(|task| std::fs::read_to_string(task.path().join("comm")).is_ok_and(|c| c.starts_with(name)))
        .filter_map(|task| {
            let status = std::fs::read_to_string(task.path().join("status")).ok()?;
            let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
            Some(list.trim().to_owned())
        })
        .collect()
}

#[test]
fn load_cores_are_pinned_on_request_and_only_then() {
    for pin in [true, false] {
        let dir = directory(
            &CELL.replace("4s", "600s").replace("threads = 1", &format!("threads = 1\npin = {pin}")),
        );
        let child = Started::run(dir.path(), "");
        wait_for_the_window(dir.path());
        let all = places(Pid::from_raw(i32::try_from(std::process::id()).unwrap()).unwrap(), "")[0].clone();
        let load = places(child.pid(), "plimsoll-load-");
        let bodies = places(child.pid(), "plimsoll-body-");
        assert_eq!((load.len(), bodies.len()), (1, 1), "{load:?} {bodies:?}");
        if pin {
            assert!(load[0].parse::<u32>().is_ok(), "one processor, not {}", load[0]);
            let alone = std::thread::available_parallelism().unwrap().get() == 1;
            assert!(alone || bodies[0] != load[0], "bodies are made elsewhere than on {}", load[0]);
        } else {
            assert_eq!([&load[0], &bodies[0]], [&all, &all]);
        }
    }
}

#[test]
fn too_few_open_files_are_told_before_the_first_cell() {
    let dir = directory(&CELL.replace("qps = [50]", "users = [1, 500]"));
    let limited = |command: &str| {
        let script = format!("ulimit -n 400; exec \"$0\" {command} one.toml");
        Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_plimsoll")])
            .current_dir(dir.path())
            .output()
            .unwrap()
    };
    let output = limited("run");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    for part in ["cell 2 (500 users)", "open files", "400 are allowed", "`ulimit -n "] {
        assert!(stderr(&output).contains(part), "{part} not in {}", stderr(&output));
    }
    assert!(!dir.path().join("runs").exists(), "nothing was begun");
    let planned = limited("plan");
    assert_eq!(planned.status.code(), Some(0), "a plan may be for another machine");
    assert!(stderr(&planned).contains("on this machine: cell 2"), "{}", stderr(&planned));
    let quiet = plimsoll(dir.path(), &["plan", "one.toml"]);
    assert!(!stderr(&quiet).contains("on this machine"), "{}", stderr(&quiet));
}
