//! Figures for others: the real Prometheus and the real Pushgateway get them, and a small receiver what
//! goes to OTLP and Grafana.

#[path = "publish/dashboard.rs"]
mod dashboard;
#[path = "publish/prometheus.rs"]
mod prometheus;
#[path = "publish/receivers.rs"]
mod receivers;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use plimsoll::publish::{ALIASES, FAMILIES, Of};

use crate::docs::section;
use crate::rig::wait_for;

/// A sweep of four short cells with failures, against the embedded simulator.
const SWEEP: &str = r#"
name = "published"
seed = 7
[target]
url = "sim:"
[sim]
fault_503 = 0.1
[grid]
users = [1, 4]
prompt_tokens = [16]
max_tokens = [8]
repeats = 2
[cell]
duration = "1500ms"
warmup = "200ms"
cooldown = { min = "10ms", max = "2s" }
[slo]
ttft_p95 = "10s"
"#;

/// A process of a test, ended with it.
struct Process {
    child: Child,
    errors: Receiver<String>,
}

impl Process {
    fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (tell, errors) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(tell.send(line))));
        Self { child, errors }
    }

    fn plimsoll(dir: &Path, args: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
        Self::start(command.args(args).current_dir(dir).envs(environment.iter().copied()))
    }

    /// The rest of the first line on standard error that begins so.
    fn line(&self, beginning: &str) -> String {
        loop {
            let line = self.errors.recv_timeout(Duration::from_secs(120)).expect(beginning);
            if let Some(rest) = line.strip_prefix(beginning) {
                return rest.to_owned();
            }
        }
    }

    /// How it ended, and what it said.
    fn end(mut self) -> (ExitStatus, String) {
        let said: Vec<String> = self.errors.iter().collect();
        (self.child.wait().unwrap(), said.join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program of this name; `None`, told, where there is none and it isn't required.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
    if found.is_none() {
        assert!(
            std::env::var_os("REQUIRE_PROMETHEUS").is_none(),
            "REQUIRE_PROMETHEUS is set, and there is no {name}"
        );
        eprintln!("SKIPPED: no {name} on the PATH");
    }
    found
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The body of an answer with status 200; `None` of any other, or where nobody answers.
fn get(addr: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(addr).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nhost: {addr}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.split_whitespace().nth(1).filter(|status| *status == "200").map(|_| body.to_owned())
}

/// Rows of the only run's `summary.csv`, by column.
fn summary(dir: &Path) -> Vec<BTreeMap<String, String>> {
    let run = crate::rig::program::only_run(dir);
    let mut reader = csv::Reader::from_path(run.join("summary.csv")).unwrap();
    reader.deserialize().map(Result::unwrap).collect()
}

fn number(row: &BTreeMap<String, String>, column: &str) -> f64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column}: {:?}", row[column]))
}

/// It came to its end. Whether this machine was quick enough for its figures to be believed is no
/// matter here.
fn has_run(status: ExitStatus, said: &str) {
    assert!(matches!(status.code(), Some(0 | 4)), "{status}: {said}");
    assert!(said.contains("finished, 4 of 4 cells") || said.contains("finished, 1 of 1 cell"), "{said}");
}

/// `file` in a directory of its own.
fn directory(file: &str) -> tempfile::TempDir {
    crate::rig::program::directory(file)
}

#[test]
fn the_table_of_the_page_is_the_table() {
    let mut expected = String::from("| metric | kind | unit | labels | meaning |\n|---|---|---|---|---|\n");
    for family in FAMILIES {
        let base = if family.of == Of::Sweep { "" } else { "of the cell" };
        let own = family.labels.iter().map(|label| format!("`{label}`"));
        let labels: Vec<String> =
            (!base.is_empty()).then(|| base.to_owned()).into_iter().chain(own).collect();
        let live = if family.live { " While a cell runs." } else { "" };
        let (name, kind, unit) = (family.name, family.kind.word(), family.unit);
        writeln!(expected, "| `{name}` | {kind} | {unit} | {} | {}{live} |", labels.join(", "), family.help)
            .unwrap();
    }
    let found = section("docs/publish.md", "<!-- metrics", "<!-- end of metrics", &expected);
    assert_eq!(found, expected, "docs/publish.md is behind src/publish/families.rs: UPDATE_GOLDEN=1");
    let mut expected = String::from("| metric | unit | meaning |\n|---|---|---|\n");
    for family in ALIASES {
        writeln!(expected, "| `{}` | {} | {} |", family.name, family.unit, family.help).unwrap();
    }
    let found = section("docs/publish.md", "<!-- aliases", "<!-- end of aliases", &expected);
    assert_eq!(found, expected, "docs/publish.md is behind src/publish/families.rs: UPDATE_GOLDEN=1");
}

#[test]
fn an_address_that_is_taken_is_told_before_the_sweep() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let dir = directory(SWEEP);
    let (status, said) = Process::plimsoll(dir.path(), &["run", "small.toml", "--metrics", &port], &[]).end();
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("publish.listen: cannot listen on 127.0.0.1:"), "{said}");
    assert!(!dir.path().join("runs").exists(), "nothing was begun");
}

#[test]
fn nobody_is_waited_for_where_there_was_no_sweep_or_no_more_patience() {
    let file = SWEEP.replace("\"sim:\"", &format!("\"http://127.0.0.1:{}\"", free_port()));
    let dir = directory(&file);
    let args = ["run", "small.toml", "--metrics", "0", "--set", "publish.linger=1h"];
    let (status, said) = Process::plimsoll(dir.path(), &args, &[]).end();
    assert!(!status.success() && said.contains("figures for Prometheus"), "{said}");

    let dir = directory(SWEEP);
    let run = Process::plimsoll(dir.path(), &args, &[]);
    run.line("the last figures are on their way, and kept for a last scrape");
    let pid = rustix::process::Pid::from_raw(i32::try_from(run.child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    has_run(run.end().0, "finished, 4 of 4 cells");
}
