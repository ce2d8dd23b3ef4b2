//! Conversations from a file: ShareGPT's, or lists of messages, as one JSON array or an object a
//! line.

use std::path::Path;

use serde_json::Value;
use serde_json::value::RawValue;

use super::data::{self, DataError};
use super::messages::{self, Message, describe, keys};
use crate::experiment::Conversations;
use crate::provider::Role;

/// Keys under which conversations have their messages.
const MESSAGES: [&str; 3] = ["conversations", "conversation", "messages"];

/// What a user said and what was answered then.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Exchange {
    pub(super) prompt: String,
    /// Empty where the file ends with the user's words.
    pub(super) answer: String,
}

/// One conversation, of at least one turn.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Conversation {
    pub(super) system: Option<String>,
    pub(super) turns: Vec<Exchange>,
}

/// The conversations taken, in the order in which they are held. Never empty.
#[derive(Debug)]
pub(super) struct Talks(Vec<Conversation>);

impl Talks {
    pub(super) fn read(wanted: &Conversations, seed: u64) -> Result<Self, DataError> {
        let path = &wanted.file.path;
        let text = data::text(&wanted.file)?;
        let items = items(path, &text)?;
        let mut talks = Vec::new();
        for place in data::order(items.len(), wanted.shuffle, seed) {
            if talks.len() >= data::most(wanted.limit) {
                break;
            }
            let (name, item) = &items[place];
            let mut talk = conversation(item).map_err(|problem| DataError::at(path, name, problem))?;
            if talk.turns.len() < wanted.min_turns as usize {
                continue;
            }
            talk.turns.truncate(wanted.max_turns.unwrap_or(u32::MAX) as usize);
            talks.push(talk);
        }
        if talks.is_empty() {
            let turns =
                if wanted.min_turns > 1 { format!(" of {} turns", wanted.min_turns) } else { String::new() };
            let problem = format!("there is no conversation{turns} among its {} entries", items.len());
            return Err(DataError::whole(path, problem));
        }
        Ok(Self(talks))
    }

    /// The conversation of session number `session`; after the last, the first again.
    pub(super) fn talk(&self, session: u64) -> &Conversation {
        &self.0[(session % self.len()) as usize]
    }

    pub(super) fn len(&self) -> u64 {
        self.0.len() as u64
    }
}

/// Every entry, with how it is named in a mistake: its line, or its number in the array.
fn items<'t>(path: &Path, text: &'t str) -> Result<Vec<(String, &'t str)>, DataError> {
    let start = text.trim_start();
    // A line may be a list of messages: an array of conversations holds objects or lists.
    let array =
        start.starts_with('[') && serde_json::from_str::<Value>(start.lines().next().unwrap_or("")).is_err();
    let whole: Option<Vec<&RawValue>> = match serde_json::from_str(text) {
        Ok(items) => Some(items),
        Err(error) if array => {
            return Err(DataError::at(path, error.line(), format!("not JSON: {error}")));
        }
        Err(_) => None,
    };
    Ok(match whole {
        Some(items) => {
            (1..).zip(items).map(|(n, raw): (usize, &RawValue)| (format!(" entry {n}"), raw.get())).collect()
        }
        None => data::lines(text).map(|(number, line)| (number.to_string(), line)).collect(),
    })
}

/// One entry; else what is wrong with it.
fn conversation(text: &str) -> Result<Conversation, String> {
    let value: Value = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
    let list = match &value {
        Value::Array(list) => list,
        Value::Object(object) => {
            let Some(found) = MESSAGES.iter().find_map(|key| object.get(*key)) else {
                let (found, allowed) = (keys(&value), MESSAGES.join(", "));
                return Err(format!("no messages; found {found}. Allowed: {allowed}"));
            };
            found
                .as_array()
                .ok_or_else(|| format!("the messages are not a list; found {}", describe(found)))?
        }
        other => return Err(format!("not a conversation; found {}", describe(other))),
    };
    let mut talk = Conversation::default();
    // Whether the last turn has its answer.
    let mut answered = true;
    for message in list {
        match messages::read(message)? {
            Message::Other => return Err("a message is more than a text; a data set can bear it".to_owned()),
            Message::Plain(Role::System, text) => append(talk.system.get_or_insert_default(), &text),
            Message::Plain(Role::User, text) if answered => {
                talk.turns.push(Exchange { prompt: text, answer: String::new() });
                answered = false;
            }
            Message::Plain(Role::User, text) => {
                if let Some(turn) = talk.turns.last_mut() {
                    append(&mut turn.prompt, &text);
                }
            }
            Message::Plain(Role::Assistant, text) => {
                // What stands before the first question answers none.
                if let Some(turn) = talk.turns.last_mut() {
                    append(&mut turn.answer, &text);
                    answered = true;
                }
            }
        }
    }
    Ok(talk)
}

/// Adds what the same speaker went on to say.
fn append(to: &mut String, text: &str) {
    if !to.is_empty() {
        to.push('\n');
    }
    to.push_str(text);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::experiment::{DataFile, Shuffle};

    fn wanted(file: DataFile) -> Conversations {
        Conversations {
            file,
            min_turns: 1,
            max_turns: None,
            limit: None,
            shuffle: Shuffle::No,
            think: None,
            recorded_lengths: false,
        }
    }

    fn exchange(prompt: &str, answer: &str) -> Exchange {
        Exchange { prompt: prompt.to_owned(), answer: answer.to_owned() }
    }

    #[test]
    fn styles_of_files() {
        let share = json!({"id": "x", "conversations": [
            {"from": "gpt", "value": "before"}, {"from": "human", "value": "a"}, {"from": "gpt", "value": "b"},
            {"from": "human", "value": "c"}, {"from": "human", "value": "d"},
        ]});
        let roles = json!({"messages": [
            {"role": "system", "content": "s"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
        ]});
        let bare = json!([{"role": "user", "content": "only"}]);
        for text in [
            json!([share, roles, bare]).to_string(),
            format!("{:#}", json!([share, roles, bare])),
            format!("{share}\n{roles}\n\n{bare}\n"),
            format!("{share}\n{roles}\n{bare}"),
        ] {
            let (_file, found) = data::written(&text);
            let talks = Talks::read(&wanted(found), 1).unwrap_or_else(|e| panic!("{e}\n{text}"));
            assert_eq!(talks.len(), 3, "{text}");
            assert_eq!(talks.talk(0).turns, [exchange("a", "b"), exchange("c\nd", "")]);
            assert_eq!(talks.talk(4).system.as_deref(), Some("s"));
            assert_eq!(talks.talk(2).turns, [exchange("only", "")]);
        }
        // The first line of a file of lines may itself be a list.
        let (_file, found) = data::written(&format!("{bare}\n{bare}\n"));
        assert_eq!(Talks::read(&wanted(found), 1).unwrap().len(), 2);
    }

    #[test]
    fn turns_are_counted_and_cut() {
        let talk = |n: usize| {
            let turns = (0..n).flat_map(|k| {
                [json!({"from": "human", "value": format!("q{k}")}), json!({"from": "gpt", "value": "a"})]
            });
            json!({"conversations": turns.collect::<Vec<_>>()})
        };
        let (_file, found) = data::written(&json!([talk(1), talk(3), talk(0), talk(9), talk(2)]).to_string());
        let read = |min_turns, max_turns, limit| {
            let wanted = Conversations { min_turns, max_turns, limit, ..wanted(found.clone()) };
            Talks::read(&wanted, 1).map(|talks| talks.0.iter().map(|t| t.turns.len()).collect::<Vec<_>>())
        };
        assert_eq!(read(1, None, None).unwrap(), [1, 3, 9, 2]);
        assert_eq!(read(2, Some(4), None).unwrap(), [3, 4, 2]);
        assert_eq!(read(2, None, Some(1)).unwrap(), [3], "the limit counts what is taken");
        let error = read(10, None, None).unwrap_err().to_string();
        assert!(error.ends_with("there is no conversation of 10 turns among its 5 entries"), "{error}");
    }

    #[test]
    fn mistakes_name_file_entry_and_find() {
        let fine = json!({"messages": [{"role": "user", "content": "a"}]});
        for (entry, part) in [
            (
                "{\"text\": \"a\"}",
                "no messages; found the keys \"text\". Allowed: conversations, conversation, messages",
            ),
            ("{\"messages\": 3}", "the messages are not a list; found 3"),
            ("3", "not a conversation; found 3"),
            ("{\"messages\": [{\"role\": \"tool\", \"content\": \"a\"}]}", "a message is more than a text"),
            ("{\"messages\": [{\"from\": \"me\", \"value\": \"a\"}]}", "unknown role; found \"me\""),
        ] {
            let (_file, array) = data::written(&format!("[{fine},\n{entry}]"));
            let error = Talks::read(&wanted(array), 1).expect_err(entry).to_string();
            assert!(error.contains(&format!(": entry 2: {part}")), "{error}");
            let (_file, lines) = data::written(&format!("{fine}\n{entry}\n"));
            let error = Talks::read(&wanted(lines), 1).expect_err(entry).to_string();
            assert!(error.contains(&format!(":2: {part}")), "{error}");
        }
        let (_file, broken) = data::written(&format!("[{fine},\n{{\"messages\": [}}]"));
        let error = Talks::read(&wanted(broken), 1).unwrap_err().to_string();
        assert!(error.contains(":2: not JSON: "), "{error}");
    }
}
