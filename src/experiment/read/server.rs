//! `[server]`: a server that is started and stopped with the cells.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Map;

use crate::experiment::mistake::{Mistake, MistakeKind};
use crate::experiment::reader::{Field, Section};
use crate::experiment::secret::looks_secret;
use crate::experiment::settings::{Ready, ServerSettings, ServerStop, StopSignal};
use crate::experiment::tree::Value as Written;

const SIGNALS: [(&str, StopSignal); 5] = [
    ("TERM", StopSignal::Term),
    ("INT", StopSignal::Int),
    ("QUIT", StopSignal::Quit),
    ("HUP", StopSignal::Hup),
    ("KILL", StopSignal::Kill),
];

/// Large models take their time.
const READY_WITHIN: Duration = Duration::from_secs(600);
const GRACE: Duration = Duration::from_secs(15);
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST_START: Duration = Duration::from_secs(6 * 3_600);
const LONGEST_GRACE: Duration = Duration::from_secs(600);

/// `url`: the target's, which a ready path is looked up at.
pub(super) fn read(section: Section<'_>, url: &str) -> Option<ServerSettings> {
    let command = section.get("command");
    let args = section.get("args");
    if command.is_none() {
        let mistake = Mistake::new(MistakeKind::Missing, "missing")
            .allowed("the program and its words, such as [\"vllm\", \"serve\", \"NAME\"]");
        section.reader.add(section.origin, section.key("command"), mistake);
    }
    let settings = ServerSettings {
        command: command.and_then(|f| words(&f)).unwrap_or_default(),
        args: args.map(|f| read_args(&f.section())).unwrap_or_default(),
        cwd: section.get("cwd").and_then(|f| directory(&f)),
        env: section.get("env").map(|f| variables(&f.section())).unwrap_or_default(),
        ready: ready(section.sub("ready"), url),
        stop: stop(section.sub("stop")),
    };
    section.done();
    Some(settings)
}

/// A command line: a list of words, or a text of words with quotes as a shell has them.
pub(super) fn words(field: &Field<'_>) -> Option<Vec<String>> {
    let words = match &field.node.value {
        Written::Str(text) => match split_words(text) {
            Ok(words) => words,
            Err(problem) => {
                field.bad(problem);
                return None;
            }
        },
        Written::Array(items) => {
            let named =
                |(i, node)| field.item(node, format!("{}[{}]", field.key(), i + 1)).str().map(str::to_owned);
            items.iter().enumerate().map(named).collect::<Option<Vec<_>>>()?
        }
        _ => {
            field.wrong_type("a text, or a list of texts, such as [\"vllm\", \"serve\", \"NAME\"]");
            return None;
        }
    };
    if words.first().is_none_or(|program| program.trim().is_empty()) {
        field.bad("names no program");
        return None;
    }
    if words.iter().any(|word| word.contains('\0')) {
        field.bad("a word with a null character");
        return None;
    }
    if holds_secret(&words) {
        let problem = "a secret is never written here, as the file is copied into every run";
        let mistake = Mistake::new(MistakeKind::Secret, problem);
        let allowed =
            "set it in the environment of plimsoll, which the command inherits; a shell's \"$NAME\" is fine";
        field.mistake(mistake.allowed(allowed).hidden());
        return None;
    }
    Some(words)
}

/// Whether a word follows a flag, or a header's name, whose values are secrets. A variable of a
/// shell is none.
fn holds_secret(words: &[String]) -> bool {
    let mut parts = words.iter().flat_map(|word| word.split_whitespace()).peekable();
    while let Some(part) = parts.next() {
        let part = part.trim_matches(['"', '\'']);
        let (name, value) = part.split_once(['=', ':']).unwrap_or((part, ""));
        let flag = part.starts_with('-') || name.len() < part.len();
        if !flag || !looks_secret(name.trim_start_matches('-')) {
            continue;
        }
        let scheme =
            |value: &str| value.eq_ignore_ascii_case("bearer") || value.eq_ignore_ascii_case("basic");
        let mut value = value.to_owned();
        while (value.is_empty() || scheme(&value)) && parts.peek().is_some_and(|next| !next.starts_with('-'))
        {
            value = parts.next().unwrap_or_default().to_owned();
        }
        if !value.is_empty() && !scheme(&value) && !value.contains('$') {
            return true;
        }
    }
    false
}

/// Splits at blanks. Quotes keep blanks, and a backslash the next character, as in a shell;
/// nothing else is special, as no shell reads it.
fn split_words(text: &str) -> Result<Vec<String>, &'static str> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => match chars.next() {
                Some(next) => word.get_or_insert_default().push(next),
                None => return Err("ends in a backslash"),
            },
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if quote.is_some() { Err("a quote that is not closed") } else { Ok(words) }
}

fn read_args(section: &Section<'_>) -> Map<String, serde_json::Value> {
    let mut args = Map::new();
    for field in section.entries() {
        let inner = field.is_table().then(|| field.section());
        if refuse_secret(&field) || inner.is_some_and(|table| table.entries().any(|f| refuse_secret(&f))) {
            continue;
        }
        let one = |value: &Written| match value {
            Written::Str(_) | Written::Int(_) => true,
            Written::Float(x) => x.is_finite(),
            _ => false,
        };
        let fits = match &field.node.value {
            Written::Bool(_) => true,
            Written::Array(items) => items.iter().all(|item| one(&item.value)),
            Written::Table(table) => table
                .0
                .iter()
                .all(|entry| one(&entry.node.value) || matches!(entry.node.value, Written::Bool(_))),
            other => one(other),
        };
        if fits {
            args.insert(field.name().to_owned(), field.node.json());
        } else {
            field
                .wrong_type("a text, a number, true, false, a list of those, or a table of them (key=value)");
        }
    }
    args
}

fn variables(section: &Section<'_>) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for field in section.entries() {
        if refuse_secret(&field) {
            continue;
        }
        if field.name().is_empty() || field.name().contains(['=', '\0']) {
            field.key_mistake(Mistake::new(MistakeKind::BadValue, "no name of a variable"));
        }
        let value = match &field.node.value {
            Written::Int(n) => Some(n.to_string()),
            _ => field.str().map(str::to_owned),
        };
        variables.extend(value.map(|value| (field.name().to_owned(), value)));
    }
    variables
}

/// The file is copied into every run.
fn refuse_secret(field: &Field<'_>) -> bool {
    let secret = looks_secret(field.name());
    if secret {
        let problem = "a secret is never written here, as the file is copied into every run";
        let mistake = Mistake::new(MistakeKind::Secret, problem);
        let allowed = "set it in the environment of plimsoll, which the server inherits";
        field.key_mistake(mistake.allowed(allowed).hidden());
    }
    secret
}

/// As written; it has to be there.
fn directory(field: &Field<'_>) -> Option<String> {
    if !field.path()?.is_dir() {
        field.bad("no such directory (a relative path starts at the experiment file)");
        return None;
    }
    field.text()
}

fn ready(section: Section<'_>, target: &str) -> Ready {
    let field = section.get("url");
    if field.is_none() && target == "sim:" {
        let problem = "missing: with target.url = \"sim:\" there is no server to look at";
        let mistake = Mistake::new(MistakeKind::Missing, problem);
        let allowed = "the server's address in target.url, or a whole URL here";
        section.reader.add(section.origin, section.key("url"), mistake.allowed(allowed));
    }
    let ready = Ready {
        url: field.and_then(|f| ready_url(&f, target)).unwrap_or_else(|| "/health".to_owned()),
        status: section.get("status").and_then(|f| f.int(100, 599)).map_or(200, |n| n as u16),
        timeout: section
            .get("timeout")
            .and_then(|f| f.duration(SHORTEST, LONGEST_START))
            .unwrap_or(READY_WITHIN),
    };
    section.done();
    ready
}

/// A path at the target, or a URL.
fn ready_url(field: &Field<'_>, target: &str) -> Option<String> {
    let allowed = if target == "sim:" {
        "http://… or https://…, as target.url is \"sim:\""
    } else {
        "a path such as \"/health\", http://… or https://…"
    };
    address(field, target != "sim:", ("not where a server can be looked at", allowed))
}

/// A URL without a password, or a path at the target if that may be; else a mistake of these words.
pub(super) fn address(field: &Field<'_>, path: bool, (problem, allowed): (&str, &str)) -> Option<String> {
    let text = field.text()?;
    let whole = url::Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    if whole.as_ref().is_some_and(|url| !url.username().is_empty() || url.password().is_some()) {
        let mistake = Mistake::new(MistakeKind::Secret, "a URL must not hold a name or password");
        field.mistake(mistake.allowed(allowed).hidden());
        return None;
    }
    // `//host/path` is an address at another host.
    if whole.is_none() && !(path && text.starts_with('/') && !text.starts_with("//")) {
        let mistake = Mistake::new(MistakeKind::BadValue, problem);
        field.mistake(mistake.found(field.node.describe()).allowed(allowed));
        return None;
    }
    Some(text)
}

fn stop(section: Section<'_>) -> ServerStop {
    let stop = ServerStop {
        signal: section.get("signal").and_then(|f| f.word(&SIGNALS)).unwrap_or(StopSignal::Term),
        grace: section.get("grace").and_then(|f| f.duration(Duration::ZERO, LONGEST_GRACE)).unwrap_or(GRACE),
    };
    section.done();
    stop
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::experiment::Experiment;

    #[test]
    fn words_are_split_as_a_shell_does() {
        let split = |text| split_words(text).unwrap();
        assert_eq!(split("  a  b\tc "), ["a", "b", "c"]);
        assert_eq!(split(r#"a 'b  c' "d \" e" f\ g """#), ["a", "b  c", "d \" e", "f g", ""]);
        assert_eq!(split("$HOME *;"), ["$HOME", "*;"], "no shell reads it");
        assert!(split_words("a 'b").is_err() && split_words("a\\").is_err());
    }

    #[test]
    fn secrets_are_seen_in_commands() {
        let seen = |line: &str| holds_secret(&split_words(line).unwrap());
        for line in [
            "vllm serve m --api-key s3cr3t",
            "vllm serve m --api-key=s3cr3t",
            "curl -H 'Authorization: Bearer abc' http://x",
            "sh -c 'curl -H \"Authorization: Bearer abc\" http://x'",
            "env HF_TOKEN=abc run",
        ] {
            assert!(seen(line), "{line}");
        }
        for line in [
            "vllm serve m --max-num-batched-tokens 2048 --tokenizer-mode auto",
            "sh -c 'curl -H \"Authorization: Bearer $KEY\" http://x'",
            "serve --api-key $KEY --port 8000",
            "serve --max_tokens=5 token",
        ] {
            assert!(!seen(line), "{line}");
        }
    }

    fn read(server: &str) -> Result<ServerSettings, String> {
        let text = format!("[target]\nurl = \"http://127.0.0.1:9\"\n[load]\nusers = 1\n[server]\n{server}");
        let experiment = Experiment::parse(Path::new("f.toml"), &text, &[]).map_err(|m| m.to_string())?;
        let reader = experiment.reader();
        Ok(experiment.settings(&reader, &[]).0.server.unwrap())
    }

    #[test]
    fn a_server_is_read_with_its_defaults() {
        let server = read("command = \"serve it\"\nargs.max_num_seqs = 8").unwrap();
        assert_eq!(server.words(), ["serve", "it", "--max-num-seqs", "8"]);
        assert_eq!((server.ready.url.as_str(), server.ready.status), ("/health", 200));
        assert_eq!(server.ready.timeout, Duration::from_secs(600));
        assert_eq!(server.stop, ServerStop { signal: StopSignal::Term, grace: Duration::from_secs(15) });
    }

    #[test]
    fn mistakes_name_their_key_and_what_is_allowed() {
        for (server, key, words) in [
            ("args.a = 1", "server.command", "missing"),
            ("command = []", "server.command", "names no program"),
            ("command = 'a \"b'", "server.command", "not closed"),
            ("command = [\"a\"]\nargs.api_key = \"s3cr3t\"", "server.args.api_key", "inherits"),
            ("command = [\"a\"]\nargs.a = 1979-05-27", "server.args.a", "key=value"),
            ("command = [\"a\"]\nstop.signal = \"TREM\"", "server.stop.signal", "\"TERM\""),
            ("command = [\"a\"]\nready.url = \"health\"", "server.ready.url", "/health"),
            ("command = [\"a\"]\ncwd = \"not/there\"", "server.cwd", "no such directory"),
            ("command = [\"a\"]\nredy.url = \"/\"", "server.redy", "ready"),
        ] {
            let text = read(server).unwrap_err();
            assert!(text.contains(key) && text.contains(words), "{server}: {text}");
            assert!(!text.contains("s3cr3t"), "{text}");
        }
    }
}
