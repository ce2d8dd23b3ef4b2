//! A server that Plimsoll starts and stops itself.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `[server]`: how a server is started, when it is ready, how it is stopped. One that runs serves
/// every cell with equal settings; another cell's need a start of their own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerSettings {
    /// The program and what always stands behind it. The program `plimsoll` is this one itself.
    pub command: Vec<String>,
    /// What follows, by the names of options; see [`ServerSettings::words`].
    #[serde(default)]
    pub args: Map<String, Value>,
    /// Its working directory as written: relative to the experiment file. `None`: ours.
    pub cwd: Option<String>,
    /// Variables beside those that it inherits.
    pub env: BTreeMap<String, String>,
    pub ready: Ready,
    pub stop: ServerStop,
}

/// When a server is ready.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ready {
    /// A path at the target, or a whole URL.
    pub url: String,
    /// The HTTP status that says so.
    pub status: u16,
    /// How long it is awaited.
    pub timeout: Duration,
}

/// How a server is stopped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerStop {
    pub signal: StopSignal,
    /// Between the signal and SIGKILL.
    pub grace: Duration,
}

/// A signal that asks a process to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum StopSignal {
    Term,
    Int,
    Quit,
    Hup,
    Kill,
}

impl StopSignal {
    /// Its name, without `SIG`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Term => "TERM",
            Self::Int => "INT",
            Self::Quit => "QUIT",
            Self::Hup => "HUP",
            Self::Kill => "KILL",
        }
    }
}

impl ServerSettings {
    /// The command line, word by word: the command, then each of `args`. A key is a flag
    /// (`max_num_seqs` is `--max-num-seqs`, `m` is `-m`, and what begins with a hyphen stays as it
    /// is). `true` is the flag alone, `false` nothing; a list is the flag once for each value, and
    /// a table once for each entry, as `key=value`.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let mut words = self.command.clone();
        for (key, value) in &self.args {
            let flag = flag(key);
            let mut push = |value: String| words.extend([flag.clone(), value]);
            match value {
                Value::Bool(true) => words.push(flag),
                Value::Bool(false) | Value::Null => {}
                Value::Array(items) => items.iter().for_each(|item| push(text(item))),
                Value::Object(table) => {
                    table.iter().for_each(|(key, value)| push(format!("{key}={}", text(value))));
                }
                one => push(text(one)),
            }
        }
        words
    }
}

fn flag(key: &str) -> String {
    match key.chars().count() {
        _ if key.starts_with('-') => key.to_owned(),
        1 => format!("-{key}"),
        _ => format!("--{}", key.replace('_', "-")),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn args_become_words() {
        let Value::Object(args) = json!({
            "max_num_seqs": 64, "m": "a b.gguf", "-ngl": 99, "enable_prefix_caching": true, "quiet": false,
            "lora": ["x", "y"], "set": { "step_base": "8ms", "tokens": 3 }, "share": 0.5
        }) else {
            panic!("a table")
        };
        let server = ServerSettings {
            command: vec!["serve".into(), "it".into()],
            args,
            cwd: None,
            env: BTreeMap::new(),
            ready: Ready { url: "/health".into(), status: 200, timeout: Duration::from_secs(1) },
            stop: ServerStop { signal: StopSignal::Term, grace: Duration::from_secs(1) },
        };
        assert_eq!(
            server.words(),
            [
                "serve",
                "it",
                "--max-num-seqs",
                "64",
                "-m",
                "a b.gguf",
                "-ngl",
                "99",
                "--enable-prefix-caching",
                "--lora",
                "x",
                "--lora",
                "y",
                "--set",
                "step_base=8ms",
                "--set",
                "tokens=3",
                "--share",
                "0.5"
            ]
        );
    }
}
