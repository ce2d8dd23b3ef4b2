//! `[hooks]`: commands and requests around the sweep and its cells.

use std::time::Duration;

use super::server::{address, words};
use crate::experiment::hooks::{Expect, Hook, HookAction, HookPoint, Hooks, OnFailure};
use crate::experiment::mistake::{Mistake, MistakeKind};
use crate::experiment::reader::{Field, Section};
use crate::experiment::tree::Value as Written;

const METHODS: [(&str, &str); 6] = [
    ("GET", "GET"),
    ("POST", "POST"),
    ("PUT", "PUT"),
    ("PATCH", "PATCH"),
    ("DELETE", "DELETE"),
    ("HEAD", "HEAD"),
];
const TIMEOUT: Duration = Duration::from_secs(60);
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(6 * 3_600);

pub(crate) fn hooks(section: Section<'_>) -> Hooks {
    let list = |point: HookPoint| section.get(point.key()).map(|f| list(&f, point)).unwrap_or_default();
    let hooks = Hooks {
        before_sweep: list(HookPoint::BeforeSweep),
        before_cell: list(HookPoint::BeforeCell),
        after_cell: list(HookPoint::AfterCell),
        after_sweep: list(HookPoint::AfterSweep),
    };
    section.done();
    hooks
}

fn list(field: &Field<'_>, point: HookPoint) -> Vec<Hook> {
    let items = field.items().unwrap_or_default().iter().enumerate();
    let named = |(i, node)| field.item(node, format!("{}[{}]", field.key(), i + 1));
    items.map(named).filter_map(|item| hook(item.section(), point)).collect()
}

fn hook(section: Section<'_>, point: HookPoint) -> Option<Hook> {
    // A failed cell is one that doesn't run: only before it that can be.
    let (allowed, usual): (&[_], _) = match point {
        HookPoint::BeforeCell => (
            &[("fail", OnFailure::Fail), ("stop", OnFailure::Stop), ("warn", OnFailure::Warn)],
            OnFailure::Fail,
        ),
        HookPoint::BeforeSweep => (&[("stop", OnFailure::Stop), ("warn", OnFailure::Warn)], OnFailure::Stop),
        _ => (&[("stop", OnFailure::Stop), ("warn", OnFailure::Warn)], OnFailure::Warn),
    };
    let command = section.get("command");
    let url = section.get("url");
    let timeout = section.get("timeout").and_then(|f| f.duration(SHORTEST, LONGEST)).unwrap_or(TIMEOUT);
    let on_failure = section.get("on_failure").and_then(|f| f.word(allowed)).unwrap_or(usual);
    let action = match (&command, &url) {
        (Some(command), None) => {
            for key in ["method", "body", "expect_status", "expect"] {
                if let Some(field) = section.get(key) {
                    let problem = "has no effect on a command, which is well when it exits with 0";
                    field.key_mistake(
                        Mistake::new(MistakeKind::Conflict, problem).allowed("url, for a request"),
                    );
                }
            }
            words(command).map(HookAction::Command)
        }
        (None, Some(url)) => request(&section, url),
        (Some(_), Some(url)) => {
            url.key_mistake(Mistake::new(
                MistakeKind::Conflict,
                "one hook is a command or a request, not both",
            ));
            None
        }
        (None, None) => {
            let mistake = Mistake::new(MistakeKind::Missing, "does nothing").allowed("command, or url");
            section.reader.add(section.origin, section.key("command"), mistake);
            None
        }
    };
    section.done();
    action.map(|action| Hook { action, timeout, on_failure })
}

fn request(section: &Section<'_>, field: &Field<'_>) -> Option<HookAction> {
    let body = section.get("body").and_then(|f| match &f.node.value {
        Written::Table(_) | Written::Array(_) => Some(f.node.json().to_string()),
        _ => f.text_or_file(),
    });
    let usual = if body.is_some() { "POST" } else { "GET" };
    let allowed = "a path at the target such as \"/health\", http://… or https://…";
    let url = address(field, true, ("not where something can be asked", allowed));
    let action = HookAction::Request {
        url: url.clone().unwrap_or_default(),
        method: section.get("method").and_then(|f| f.word(&METHODS)).unwrap_or(usual).to_owned(),
        body,
        expect_status: section.get("expect_status").and_then(|f| f.int(100, 599)).map(|n| n as u16),
        expect: section.get("expect").and_then(|f| expect(f.section())),
    };
    url.map(|_| action)
}

fn expect(section: Section<'_>) -> Option<Expect> {
    let pointer = section.get("pointer").and_then(|field| {
        let text = field.str()?;
        if !text.is_empty() && !text.starts_with('/') {
            let mistake = Mistake::new(MistakeKind::BadValue, "not a JSON pointer");
            field.mistake(
                mistake.found(field.node.describe()).allowed("such as \"/success\" or \"/data/0/id\""),
            );
            return None;
        }
        Some(text.to_owned())
    });
    let equals = section.get("equals").map(|field| field.node.json());
    for (key, missing) in [("pointer", section.peek("pointer").is_none()), ("equals", equals.is_none())] {
        if missing {
            let mistake = Mistake::new(MistakeKind::Missing, "missing");
            let allowed = "{ pointer = \"/success\", equals = true }";
            section.reader.add(section.origin, section.key(key), mistake.allowed(allowed));
        }
    }
    section.done();
    Some(Expect { pointer: pointer?, equals: equals? })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::experiment::Experiment;

    fn read(hooks: &str) -> Result<Hooks, String> {
        let text = format!(
            "[target]\nurl = \"sim:\"\n[load]\nusers = 1\n[cell]\nduration = \"1s\"\n[hooks]\n{hooks}"
        );
        let experiment = Experiment::parse(Path::new("f.toml"), &text, &[]).map_err(|m| m.to_string())?;
        Ok(experiment.hooks)
    }

    #[test]
    fn a_hook_is_read_with_what_is_usual_where_it_stands() {
        let hooks = read(
            "before_sweep = [{ command = \"a 'b c'\" }]
            before_cell = [{ url = \"/reset\", body = { all = true }, expect = { pointer = \"/success\", equals = true } },
                           { url = \"http://h/x\", timeout = \"2s\", on_failure = \"warn\", expect_status = 204 }]
            after_cell = [{ command = [\"x\"] }]",
        )
        .unwrap();
        let command = Hook {
            action: HookAction::Command(vec!["a".into(), "b c".into()]),
            timeout: TIMEOUT,
            on_failure: OnFailure::Stop,
        };
        assert_eq!(hooks.before_sweep, [command]);
        assert_eq!(hooks.after_cell[0].on_failure, OnFailure::Warn);
        let HookAction::Request { url, method, body, expect_status, expect } = &hooks.before_cell[0].action
        else {
            panic!("{hooks:?}")
        };
        assert_eq!((url.as_str(), method.as_str(), expect_status), ("/reset", "POST", &None));
        assert_eq!(body.as_deref(), Some("{\"all\":true}"));
        assert_eq!(expect, &Some(Expect { pointer: "/success".into(), equals: json!(true) }));
        assert_eq!(hooks.before_cell[0].on_failure, OnFailure::Fail);
        assert_eq!(hooks.before_cell[1].timeout, Duration::from_secs(2));
    }

    #[test]
    fn mistakes_name_their_key_and_what_is_allowed() {
        for (hooks, key, words) in [
            ("before_cell = [{ timeout = \"1s\" }]", "hooks.before_cell[1].command", "command, or url"),
            ("before_cell = [{ command = \"a\", url = \"/\" }]", "hooks.before_cell[1].url", "not both"),
            ("before_cell = [{ url = \"reset\" }]", "hooks.before_cell[1].url", "/health"),
            (
                "before_cell = [{ command = \"a\", method = \"GET\" }]",
                "hooks.before_cell[1].method",
                "exits with 0",
            ),
            ("before_cell = [{ url = \"/\", method = \"PSOT\" }]", "hooks.before_cell[1].method", "\"POST\""),
            ("after_cell = [{ url = \"/\", on_failure = \"fail\" }]", "on_failure", "\"stop\", \"warn\""),
            ("before_cell = [{ url = \"/\", expect = { pointer = \"/a\" } }]", "expect.equals", "missing"),
            (
                "before_cell = [{ url = \"/\", expect = { pointer = \"a\", equals = 1 } }]",
                "expect.pointer",
                "/success",
            ),
            (
                "before_cell = [{ url = \"//host/reset\" }]",
                "hooks.before_cell[1].url",
                "a path at the target",
            ),
            ("before_cell = [{ url = \"http://u:pw@h/\" }]", "hooks.before_cell[1].url", "name or password"),
            ("before_cell = [{ command = \"curl -H 'Cookie: a=b' h\" }]", "hooks.before_cell[1]", "secret"),
            ("befor_cell = []", "hooks.befor_cell", "before_cell"),
        ] {
            let text = read(hooks).unwrap_err();
            assert!(text.contains(key) && text.contains(words), "{hooks}: {text}");
        }
    }
}
