//! A data set: a JSON object a line, each of them one request.
//!
//! `prompt` or `messages` is what is asked, `max_tokens` the length of the answer; every other
//! key goes into the request's body and overrides what the experiment says there.

use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::data::{self, DataError};
use super::messages::{self, Message, describe, keys};
use crate::experiment::{Dataset, MAX_TOKENS};
use crate::provider::{Role, Turn};

/// Keys that say how long the answer may be.
const OUTPUT: [&str; 2] = ["max_tokens", "max_completion_tokens"];

/// One line.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) prompt: String,
    /// Further prompts, where `prompt` is a list.
    pub(super) more: Vec<String>,
    pub(super) history: Vec<Turn>,
    /// Wins over what the experiment asks for.
    pub(super) max_tokens: Option<u32>,
    pub(super) body: Map<String, Value>,
    /// Counted when it is first asked for: files have many lines, and cells few requests.
    pub(super) tokens: OnceLock<u32>,
}

/// The lines taken, in the order in which they are asked for. Never empty.
#[derive(Debug)]
pub(super) struct Lines(Vec<Line>);

impl Lines {
    pub(super) fn read(dataset: &Dataset, seed: u64) -> Result<Self, DataError> {
        let path = &dataset.file.path;
        let text = data::text(&dataset.file)?;
        let all: Vec<(usize, &str)> = data::lines(&text).collect();
        let order = data::order(all.len(), dataset.shuffle, seed);
        let taken = order.into_iter().take(data::most(dataset.limit)).map(|place| all[place]);
        let lines = data::all_of(path, taken, line_of)?;
        if lines.is_empty() {
            return Err(DataError::whole(path, "there is no line in it"));
        }
        Ok(Self(lines))
    }

    /// The line that arrival `seq` asks for; after the last, the first again.
    pub(super) fn line(&self, seq: u64) -> &Line {
        &self.0[(seq % self.len()) as usize]
    }

    pub(super) fn len(&self) -> u64 {
        self.0.len() as u64
    }
}

/// One line; else what is wrong with it.
fn line_of(text: &str) -> Result<Line, String> {
    let value: Value = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
    let Value::Object(mut body) = value else {
        return Err(format!("a line is an object; found {}", describe(&value)));
    };
    let mut line = Line::default();
    for key in OUTPUT {
        let Some(found) = body.remove(key) else { continue };
        let tokens = found.as_u64().and_then(|n| u32::try_from(n).ok());
        let tokens = tokens.filter(|n| (1..=MAX_TOKENS).contains(n));
        line.max_tokens = Some(tokens.ok_or_else(|| {
            format!("{key} is no length; found {}. Allowed: 1 to {MAX_TOKENS}", describe(&found))
        })?);
    }
    match (body.remove("prompt"), body.remove("messages")) {
        (Some(prompt), None) => take_prompt(&mut line, prompt)?,
        (None, Some(messages)) => take_messages(&mut line, &mut body, messages)?,
        (Some(_), Some(_)) => return Err("prompt and messages: not both".to_owned()),
        (None, None) => {
            let found = keys(&Value::Object(body));
            return Err(format!("no prompt; found {found}. Allowed: prompt or messages"));
        }
    }
    line.body = body;
    Ok(line)
}

/// A text, or a list of them, which go out together.
fn take_prompt(line: &mut Line, prompt: Value) -> Result<(), String> {
    match prompt {
        Value::String(text) => line.prompt = text,
        Value::Array(items) => {
            let text = |item: Value| match item {
                Value::String(text) => Ok(text),
                other => Err(format!("prompt is a list of texts; found {} in it", describe(&other))),
            };
            let mut texts = items.into_iter().map(text);
            line.prompt = texts.next().ok_or("prompt is an empty list")??;
            line.more = texts.collect::<Result<_, _>>()?;
        }
        other => return Err(format!("prompt is not a text; found {}", describe(&other))),
    }
    Ok(())
}

/// Earlier turns and, last, the prompt. What is more than texts goes into the body as it is.
fn take_messages(line: &mut Line, body: &mut Map<String, Value>, messages: Value) -> Result<(), String> {
    let Value::Array(items) = &messages else {
        return Err(format!("messages is not a list; found {}", describe(&messages)));
    };
    let read = items.iter().map(messages::read).collect::<Result<Vec<_>, _>>()?;
    let mut turns = Vec::new();
    let mut plain = true;
    for message in read {
        match message {
            Message::Plain(role, text) => turns.push(Turn { role, text }),
            Message::Other => plain = false,
        }
    }
    let Some(last) = turns.iter().rposition(|turn| turn.role == Role::User) else {
        return Err("no message of a user in messages".to_owned());
    };
    if !plain || last + 1 < turns.len() {
        body.insert("messages".to_owned(), messages);
    }
    line.prompt = turns.remove(last).text;
    line.history = turns;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::experiment::{DataFile, Shuffle};

    fn dataset(file: DataFile) -> Dataset {
        Dataset { file, limit: None, shuffle: Shuffle::No, repeat: true }
    }

    #[test]
    fn keys_of_a_line() {
        let text = [
            json!({"prompt": "a", "max_tokens": 5, "temperature": 0.5}),
            json!({"prompt": ["b", "c"]}),
            json!({"messages": [
                {"role": "system", "content": "s"}, {"role": "user", "content": "u"},
                {"role": "assistant", "content": "v"}, {"role": "user", "content": "w"},
            ], "max_completion_tokens": 7}),
            json!({"messages": [
                {"role": "user", "content": [{"type": "text", "text": "look"}]},
                {"role": "tool", "content": "42"},
            ]}),
        ]
        .map(|line| line.to_string());
        let (_file, found) = data::written(&text.join("\n\n"));
        let lines = Lines::read(&dataset(found), 1).unwrap();
        let first = lines.line(0);
        assert_eq!((first.prompt.as_str(), first.max_tokens), ("a", Some(5)));
        assert_eq!(json!(first.body), json!({"temperature": 0.5}));
        assert_eq!((lines.line(1).prompt.as_str(), &lines.line(1).more), ("b", &vec!["c".to_owned()]));
        let third = lines.line(2);
        assert_eq!((third.prompt.as_str(), third.max_tokens, third.history.len()), ("w", Some(7), 3));
        assert_eq!(third.history[0], Turn { role: Role::System, text: "s".to_owned() });
        assert!(third.body.is_empty());
        assert_eq!(lines.line(3).prompt, "look");
        assert_eq!(lines.line(3).body["messages"][1]["role"], json!("tool"), "more than texts goes as it is");
        assert_eq!(lines.line(4).prompt, "a", "after the last, the first again");
    }

    #[test]
    fn a_limit_is_a_beginning_or_a_sample() {
        let text: String = (0..100).map(|n| format!("{{\"prompt\":\"{n}\"}}\n")).collect();
        let (_file, found) = data::written(&text);
        let read = |limit, shuffle, seed| {
            let lines = Lines::read(&Dataset { limit, shuffle, ..dataset(found.clone()) }, seed).unwrap();
            lines.0.iter().map(|line| line.prompt.clone()).collect::<Vec<_>>()
        };
        assert_eq!(read(Some(3), Shuffle::No, 1), ["0", "1", "2"]);
        let sample = read(Some(10), Shuffle::Seed(3), 1);
        assert_eq!(sample, read(Some(10), Shuffle::Seed(3), 2));
        assert_ne!(sample, read(Some(10), Shuffle::Cell, 2));
        assert!(sample.iter().any(|n| n.len() == 2), "from the whole file: {sample:?}");
        assert_eq!(read(Some(1000), Shuffle::No, 1).len(), 100);
    }

    #[test]
    fn mistakes_name_file_line_and_find() {
        for (line, part) in [
            ("{\"prompt\": \"a\"", ":2: not JSON: "),
            ("[1]", ":2: a line is an object; found a list"),
            ("{\"text\": \"a\"}", ":2: no prompt; found the keys \"text\". Allowed: prompt or messages"),
            ("{\"prompt\": 3}", ":2: prompt is not a text; found 3"),
            ("{\"prompt\": []}", ":2: prompt is an empty list"),
            ("{\"prompt\": [\"a\", 3]}", ":2: prompt is a list of texts; found 3 in it"),
            ("{\"prompt\": \"a\", \"messages\": []}", ":2: prompt and messages: not both"),
            (
                "{\"prompt\": \"a\", \"max_tokens\": 0}",
                ":2: max_tokens is no length; found 0. Allowed: 1 to ",
            ),
            ("{\"messages\": {}}", ":2: messages is not a list; found an object"),
            ("{\"messages\": [{\"role\": \"system\", \"content\": \"a\"}]}", ":2: no message of a user"),
            ("{\"messages\": [{\"role\": \"usr\", \"content\": \"a\"}]}", ":2: unknown role; found \"usr\""),
        ] {
            let (_file, found) = data::written(&format!("{{\"prompt\": \"fine\"}}\n{line}\n"));
            let name = found.path.display().to_string();
            let error = Lines::read(&dataset(found), 1).expect_err(line).to_string();
            assert!(error.starts_with(&name) && error.contains(part), "{error}");
        }
        // All are told, in the order of the file, whatever the order in which they are asked for.
        let text = "{\"prompt\": 1}\n[2]\n{\"prompt\": \"fine\"}\n{\"prompt\": 4}\n";
        for (lines, more) in [("", ""), ("\n5\n6\n7\n\n9", "\nand 2 more")] {
            let (_file, found) = data::written(&format!("{text}{lines}"));
            let name = found.path.display().to_string();
            let shuffled = Dataset { shuffle: Shuffle::Seed(3), ..dataset(found) };
            let mut told = format!(
                "{name}:1: prompt is not a text; found 1\n{name}:2: a line is an object; found a list\n\
                 {name}:4: prompt is not a text; found 4"
            );
            if !lines.is_empty() {
                for line in [6, 7] {
                    let found = line - 1;
                    told += &format!("\n{name}:{line}: a line is an object; found {found}");
                }
            }
            assert_eq!(Lines::read(&shuffled, 1).unwrap_err().to_string(), told + more);
        }
        let (_file, empty) = data::written("\n\n");
        let error = Lines::read(&dataset(empty), 1).unwrap_err().to_string();
        assert!(error.ends_with("there is no line in it"), "{error}");
    }
}
