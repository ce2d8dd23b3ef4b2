//! The server under load: `plimsoll sim` as a process of its own.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::process::{self, Place};

/// Longest that the server may take until it listens.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running simulator; it ends when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    port: u16,
    truth: PathBuf,
}

impl Server {
    /// Start one with these knobs (`name=value`) and wait until it listens.
    pub fn start(program: &Path, knobs: &[String], dir: &Path, place: Place) -> io::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let truth = dir.join(format!("truth-{port}.jsonl"));
        let mut command = Command::new(program);
        command.arg("sim").arg("--addr").arg(format!("127.0.0.1:{port}")).arg("--truth").arg(&truth);
        knobs.iter().for_each(|knob| {
            command.arg("--set").arg(knob);
        });
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = Self { child: process::spawn(&mut command, place)?, port, truth };
        let since = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(status) = server.child.try_wait()? {
                return Err(io::Error::other(format!("the simulator ended with {status}; knobs: {knobs:?}")));
            }
            if since.elapsed() > PATIENCE {
                return Err(io::Error::other("the simulator does not listen"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// CPU time that it has used so far, in seconds.
    pub fn cpu_s(&self) -> io::Result<f64> {
        process::cpu_s_of(rustix::process::Pid::from_child(&self.child))
    }

    /// End it and read its log of the truth.
    pub fn stop(mut self) -> io::Result<Vec<Value>> {
        process::interrupt(&mut self.child)?;
        let lines = std::fs::read_to_string(&self.truth)?;
        lines.lines().map(|line| serde_json::from_str(line).map_err(io::Error::other)).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
