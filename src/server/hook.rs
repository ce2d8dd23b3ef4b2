//! Runs a hook: a command, or a request whose answer is looked at.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use url::Url;

use super::ask::{AskError, Asker};
use super::life::{Process, Spec, last_lines};
use super::{Stop, address, client, is_loopback, shown};
use crate::experiment::{Expect, Hook, HookAction, StopSignal, Target, canonical_json};

/// Between two looks at a command.
const LOOK: Duration = Duration::from_millis(10);
/// What a command gets to end in when it took too long.
const GRACE: Duration = Duration::from_secs(2);
/// Characters of an answer that are told.
const TOLD: usize = 300;

/// Why a hook failed.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// In words: what was done, and what came of it.
    #[error("{0}")]
    Failed(String),
    /// A person wants no more of it.
    #[error("stopped during a hook")]
    Stopped,
}

/// Run a hook against `target` at `base`; a command has `variables` in its environment.
///
/// # Errors
/// When it fails, takes too long, or `stop` says so.
pub fn run_hook(
    hook: &Hook,
    (target, base): (&Target, &Url),
    variables: &BTreeMap<String, String>,
    stop: &Stop,
) -> Result<(), HookError> {
    match &hook.action {
        HookAction::Command(words) => run_command(words, None, hook.timeout, variables, stop),
        HookAction::Request { url, method, body, expect_status, expect } => {
            let (parsed, own) = address(base, url).map_err(|e| HookError::Failed(format!("{url}: {e}")))?;
            let what = format!("{method} {}", shown(&parsed));
            let failed = |why: String| HookError::Failed(format!("{what}: {why}"));
            let lenient = target.is_sim() || is_loopback(&parsed);
            let headers = client::headers(target, lenient, |name| std::env::var(name).ok(), &mut Vec::new())
                .map_err(|e| failed(e.to_string()))?;
            // The target's key is for the target alone.
            let headers = if own { headers } else { Vec::new() };
            let asker =
                Asker::new(target, &parsed, headers, Arc::clone(stop)).map_err(|e| failed(e.to_string()))?;
            let answer =
                asker.send(method, &parsed, body.clone(), hook.timeout).map_err(|error| match error {
                    AskError::Stopped => HookError::Stopped,
                    error => {
                        let (reason, advice) = error.words(&parsed);
                        failed(format!("{reason}. {advice}"))
                    }
                })?;
            let good = expect_status.map_or(answer.is_ok(), |status| status == answer.status);
            if !good {
                let wanted = expect_status.map(|status| format!(", not {status}")).unwrap_or_default();
                return Err(failed(format!("HTTP {}{wanted}: {}", answer.status, words(&answer.body))));
            }
            expect.as_ref().map_or(Ok(()), |expect| look(expect, &answer.body)).map_err(failed)
        }
    }
}

/// Whether the answer holds what it should.
fn look(expect: &Expect, body: &[u8]) -> Result<(), String> {
    let Ok(json) = serde_json::from_slice::<Value>(body) else {
        return Err(format!("the answer is no JSON: {}", words(body)));
    };
    let wanted = canonical_json(&expect.equals);
    match json.pointer(&expect.pointer).map(canonical_json) {
        Some(found) if found == wanted => Ok(()),
        Some(found) => Err(format!("{} is {found}, not {wanted}", expect.pointer)),
        None => Err(format!("the answer has no {}: {}", expect.pointer, words(body))),
    }
}

/// The beginning of an answer, in one line.
pub(super) fn words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(TOLD).collect()
}

/// What a command says or reads, until it has ended.
struct Private(PathBuf);

impl Drop for Private {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A new file that only we may read. One of a process that was killed may still be there under its
/// number, which is ours now.
fn private() -> Result<(Private, File), (PathBuf, std::io::Error)> {
    let mut number = 0u32;
    loop {
        let path = std::env::temp_dir().join(format!("plimsoll-hook-{}-{number}", std::process::id()));
        match OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => return Ok((Private(path), file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err((path, error)),
        }
    }
}

/// Run a command to its end, with `input` as its standard input and `variables` in its environment.
/// It is well when it exits with 0.
///
/// # Errors
/// When it fails, takes longer than `timeout`, or `stop` says so.
pub fn run_command(
    words: &[String],
    input: Option<&str>,
    timeout: Duration,
    variables: &BTreeMap<String, String>,
    stop: &Stop,
) -> Result<(), HookError> {
    let line = words.join(" ");
    let failed = |why: String| HookError::Failed(format!("{line}: {why}"));
    let file = || private().map_err(|(path, e)| failed(format!("cannot create {}: {e}", path.display())));
    let (said, log) = file()?;
    // A file, not a pipe: who doesn't read it holds nobody up.
    let asked = match input {
        Some(text) => {
            let (path, mut file) = file()?;
            file.write_all(text.as_bytes()).map_err(|e| failed(format!("cannot write its input: {e}")))?;
            Some(path)
        }
        None => None,
    };
    let spec = Spec {
        words,
        cwd: None,
        env: variables,
        input: asked.as_ref().map(|asked| asked.0.as_path()),
        signal: StopSignal::Term,
        grace: GRACE,
    };
    let mut process = Process::start(&spec, &log).map_err(|e| failed(e.to_string()))?;
    let until = Instant::now() + timeout;
    let end = loop {
        match process.success() {
            Some(true) => return Ok(()),
            Some(false) => break process.ended().unwrap_or_default(),
            None if stop() => return Err(HookError::Stopped),
            None if Instant::now() >= until => break format!("not done after {} s", timeout.as_secs_f64()),
            None => std::thread::sleep(LOOK),
        }
    };
    drop(process);
    let last = last_lines(&said.0);
    Err(failed(if last.is_empty() { end } else { format!("{end}: {last}") }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_looked_at_by_pointer() {
        let expect = |pointer: &str, equals: Value| Expect { pointer: pointer.into(), equals };
        let body = br#"{"success": false, "n": [1.0], "a/b": null}"#;
        assert_eq!(look(&expect("/success", json!(false)), body), Ok(()));
        assert_eq!(look(&expect("/n/0", json!(1)), body), Ok(()), "1.0 is 1");
        assert_eq!(look(&expect("/a~1b", Value::Null), body), Ok(()));
        assert_eq!(look(&expect("/success", json!(true)), body).unwrap_err(), "/success is false, not true");
        assert!(look(&expect("/x", json!(1)), body).unwrap_err().contains("has no /x"));
        assert!(look(&expect("", json!(1)), b"<html>").unwrap_err().contains("no JSON: <html>"));
    }

    fn sh(script: &str, timeout: Duration, stop: bool) -> Result<(), HookError> {
        let words = ["sh", "-c", script].map(str::to_owned);
        let variables = BTreeMap::from([("PLIMSOLL_CELL".to_owned(), "3".to_owned())]);
        let stop: Stop = Arc::new(move || stop);
        run_command(&words, Some("two\nlines"), timeout, &variables, &stop)
    }

    #[test]
    fn a_command_is_well_when_it_exits_with_0() {
        let long = Duration::from_secs(60);
        sh("test \"$PLIMSOLL_CELL\" = 3", long, false).unwrap();
        sh("test \"$(tail -n 1)\" = lines", long, false).unwrap();
        let error = sh("echo out of luck >&2; exit 7", long, false).unwrap_err().to_string();
        assert!(error.contains("exit status: 7: out of luck"), "{error}");
        let error = sh("echo hm; sleep 600", Duration::from_millis(300), false).unwrap_err().to_string();
        assert!(error.contains("not done after 0.3 s"), "{error}");
        assert!(matches!(sh("sleep 600", long, true), Err(HookError::Stopped)));
    }
}
