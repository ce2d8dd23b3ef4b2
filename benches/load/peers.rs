//! Other programs under the same load on the same server.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{self, Usage};
use super::rows::Bench;
use super::yardstick;

/// A closed loop that every program can be asked for.
#[derive(Debug, Clone)]
pub struct Load {
    pub knobs: Vec<String>,
    pub users: u32,
    pub requests: u64,
    pub max_tokens: u32,
    pub stream: bool,
}

impl Load {
    /// Tokens where answers are streamed, else requests: what CPU time is divided by.
    fn units(&self, answered: u64) -> u64 {
        if self.stream { answered * u64::from(self.max_tokens) } else { answered }
    }

    fn body(&self) -> String {
        let words = vec!["ship"; 32].join(" ");
        format!(
            r#"{{"model":"sim","messages":[{{"role":"user","content":"{words}"}}],"max_tokens":{},"stream":{},"ignore_eos":true}}"#,
            self.max_tokens, self.stream
        )
    }
}

/// What became of a peer on a row.
#[derive(Debug)]
pub enum Outcome {
    NotInstalled,
    /// CPU time per unit in µs.
    Took(f64),
    Failed(String),
}

/// Puts a load on the server at a URL; what that took, and how many requests were answered.
type RunPeer = fn(&Path, &Load, &str, &Bench) -> io::Result<(Usage, u64)>;

/// A program to compare with.
pub struct Peer {
    pub name: &'static str,
    run: RunPeer,
}

pub const PEERS: &[Peer] =
    &[Peer { name: "oha", run: oha }, Peer { name: "wrk", run: wrk }, Peer { name: "aiperf", run: aiperf }];

impl Peer {
    /// Put the load on a server of its own.
    pub fn take(&self, load: &Load, bench: &Bench) -> Outcome {
        let Some(program) = find(self.name) else { return Outcome::NotInstalled };
        let taken =
            bench.server(&load.knobs).and_then(|server| (self.run)(&program, load, &server.url(), bench));
        match taken {
            Ok((usage, answered)) if usage.status.success() && answered > 0 => {
                Outcome::Took(usage.cpu_s * 1e6 / load.units(answered) as f64)
            }
            Ok((usage, answered)) => {
                let last = usage.stderr.lines().chain(usage.stdout.lines()).last().unwrap_or_default();
                Outcome::Failed(format!("{}, {answered} answered: {last}", usage.status))
            }
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }
}

/// CPU time in µs per unit of a client that reads and discards, on a server of its own.
pub fn read_and_discard(load: &Load, bench: &Bench) -> io::Result<f64> {
    let server = bench.server(&load.knobs)?;
    let url = server.url();
    let mut command = Command::new(env::current_exe()?);
    command.arg(yardstick::DISCARD).arg(url.trim_start_matches("http://"));
    command.args([load.users.to_string(), load.requests.to_string(), load.body()]);
    let usage = process::measure(&mut command, bench.client_place(), |_| ())?;
    let answered: u64 = usage.stdout.trim().parse().unwrap_or(0);
    if !usage.status.success() || answered != load.requests {
        return Err(io::Error::other(format!(
            "reading and discarding: {answered} answers; {}",
            usage.stderr
        )));
    }
    Ok(usage.cpu_s * 1e6 / load.units(answered) as f64)
}

/// How late a bare timer wakes on the client's core at `rate` per second, p99 in ms, in two seconds.
pub fn bare_timer(rate: u64, bench: &Bench) -> io::Result<f64> {
    let mut command = Command::new(env::current_exe()?);
    command.arg(yardstick::BARE_TIMER).args([rate.to_string(), (2 * rate).to_string()]);
    let usage = process::measure(&mut command, bench.client_place(), |_| ())?;
    usage.stdout.trim().parse().map_err(|_| io::Error::other(format!("a bare timer: {}", usage.stderr)))
}

/// In the directory that `PLIMSOLL_PEERS` names (or its `bin`, or a virtual environment of the
/// program's name in it), else on the path.
fn find(name: &str) -> Option<PathBuf> {
    let peers = env::var_os("PLIMSOLL_PEERS").map(PathBuf::from);
    let own = peers.iter().flat_map(|dir| [dir.clone(), dir.join("bin"), dir.join(name).join("bin")]);
    let path = env::var_os("PATH").unwrap_or_default();
    own.chain(env::split_paths(&path)).map(|dir| dir.join(name)).find(|file| file.is_file())
}

fn oha(program: &Path, load: &Load, url: &str, bench: &Bench) -> io::Result<(Usage, u64)> {
    let mut command = Command::new(program);
    command.args(["--no-tui", "--output-format", "json", "-m", "POST", "-T", "application/json"]);
    command.args(["-n", &load.requests.to_string(), "-c", &load.users.to_string(), "-d", &load.body()]);
    command.arg(format!("{url}/v1/chat/completions"));
    let usage = process::measure(&mut command, bench.client_place(), |_| ())?;
    let json: serde_json::Value = serde_json::from_str(&usage.stdout).unwrap_or_default();
    let answered = json["statusCodeDistribution"]["200"].as_u64().unwrap_or(0);
    Ok((usage, answered))
}

/// wrk knows no number of requests: it runs for a time and says how many were answered.
fn wrk(program: &Path, load: &Load, url: &str, bench: &Bench) -> io::Result<(Usage, u64)> {
    let script = bench.dir.join("post.lua");
    let text = format!(
        "wrk.method = \"POST\"\nwrk.headers[\"content-type\"] = \"application/json\"\nwrk.body = [==[{}]==]\n",
        load.body()
    );
    fs::write(&script, text)?;
    let mut command = Command::new(program);
    command.args(["-t1", "-d20s", "--timeout", "60s", &format!("-c{}", load.users), "-s"]).arg(&script);
    command.arg(format!("{url}/v1/chat/completions"));
    let usage = process::measure(&mut command, bench.client_place(), |_| ())?;
    let count = usage.stdout.lines().find_map(|l| l.trim().split_once(" requests in ")?.0.parse().ok());
    let refused = usage.stdout.contains("Non-2xx");
    Ok((usage, if refused { 0 } else { count.unwrap_or(0) }))
}

/// Not so many requests: it takes a hundred times as long for each. Its own tokenizer is fetched
/// from the network; `PLIMSOLL_PEER_TOKENIZER` names a directory with one that is not.
fn aiperf(program: &Path, load: &Load, url: &str, bench: &Bench) -> io::Result<(Usage, u64)> {
    let requests = load.requests.min(2000);
    let mut command = Command::new(program);
    command.args(["profile", "--model", "sim", "--endpoint-type", "chat", "--url", url, "--ui", "none"]);
    command
        .arg("--tokenizer")
        .arg(env::var_os("PLIMSOLL_PEER_TOKENIZER").unwrap_or_else(|| "builtin".into()));
    command.args(["--concurrency", &load.users.to_string()]);
    command.args(["--request-count", &requests.to_string(), "--synthetic-input-tokens-mean", "32"]);
    command.args(["--output-tokens-mean", &load.max_tokens.to_string(), "--extra-inputs", "ignore_eos:true"]);
    if load.stream {
        command.arg("--streaming");
    }
    command.current_dir(&bench.dir);
    let usage = process::measure(&mut command, bench.client_place(), |_| ())?;
    let answered = if usage.status.success() { requests } else { 0 };
    Ok((usage, answered))
}
