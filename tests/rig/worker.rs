//! `plimsoll worker` as a process of its own, and what it says.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};

use super::wait_for;

/// A worker under way; ended with the test that fails.
pub struct Worker {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
    /// Where it listens.
    pub address: String,
}

impl Worker {
    /// On a free port of loopback, with `environment` beside this one.
    pub fn start(environment: &[(&str, &str)]) -> Self {
        Self::at("127.0.0.1:0", environment)
    }

    /// At this address; port 0 is a free one.
    pub fn at(listen: &str, environment: &[(&str, &str)]) -> Self {
        Self::by(Command::new(env!("CARGO_BIN_EXE_plimsoll")), listen, environment)
    }

    /// With a steady clock that is so many seconds ahead of ours; `None` where this process may not
    /// have such a one.
    pub fn ahead(seconds: u32) -> Option<Self> {
        let ahead = seconds.to_string();
        let apart = ["--time", "--fork", "--kill-child", "--monotonic", ahead.as_str()];
        let can = Command::new("unshare").args(apart).arg("true").stderr(Stdio::null()).status();
        can.is_ok_and(|status| status.success()).then(|| {
            let mut command = Command::new("unshare");
            command.args(apart).arg(env!("CARGO_BIN_EXE_plimsoll"));
            Self::by(command, "127.0.0.1:0", &[])
        })
    }

    fn by(mut command: Command, listen: &str, environment: &[(&str, &str)]) -> Self {
        command.args(["worker", "--listen", listen]).envs(environment.iter().copied());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| heard.lock().unwrap().push(line))
        });
        let mut worker = Self { child, said, address: String::new() };
        let first = worker.says("worker at ");
        worker.address = first.trim_start_matches("worker at ").split(';').next().unwrap().to_owned();
        worker
    }

    /// Wait until it has said a line with these words in it.
    pub fn says(&self, words: &str) -> String {
        wait_for(words, || self.said().into_iter().find(|line| line.contains(words)))
    }

    /// All that it has said.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    /// Send it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap(), signal).unwrap();
    }

    /// Wait until it has ended, and tell its exit code.
    pub fn end(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
