//! Messages of conversations as files have them: `{role, content}`, or ShareGPT's `{from, value}`.

use serde_json::Value;

use crate::provider::Role;

/// Words for those who speak.
const ROLES: [(&str, Role); 12] = [
    ("user", Role::User),
    ("human", Role::User),
    ("assistant", Role::Assistant),
    ("gpt", Role::Assistant),
    ("chatgpt", Role::Assistant),
    ("bing", Role::Assistant),
    ("bard", Role::Assistant),
    ("model", Role::Assistant),
    ("bot", Role::Assistant),
    ("system", Role::System),
    ("developer", Role::System),
    ("instruction", Role::System),
];

/// What a message comes to.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    Plain(Role, String),
    /// Well formed, but more than a text that one of the three said: a tool's answer, a picture.
    Other,
}

/// One message; else what is wrong with it.
pub(super) fn read(value: &Value) -> Result<Message, String> {
    let Value::Object(message) = value else {
        return Err(format!("a message is not an object; found {}", describe(value)));
    };
    let Some(role) = message.get("role").or_else(|| message.get("from")) else {
        let keys = keys(value);
        return Err(format!(
            "a message has no role; found {keys}. Allowed: role and content, or from and value"
        ));
    };
    let Some(role) = role.as_str() else {
        return Err(format!("a message's role is not a text; found {}", describe(role)));
    };
    let known = ROLES.iter().find(|(word, _)| role.eq_ignore_ascii_case(word)).map(|(_, role)| *role);
    let content = message.get("content").or_else(|| message.get("value"));
    let Some(known) = known else {
        let tool = ["tool", "function", "function_call", "observation"].contains(&role);
        return if tool {
            Ok(Message::Other)
        } else {
            let words: Vec<&str> = ROLES.iter().map(|(word, _)| *word).collect();
            Err(format!("unknown role; found {role:?}. Allowed: {}", words.join(", ")))
        };
    };
    match content {
        Some(Value::String(text)) => Ok(Message::Plain(known, text.clone())),
        Some(Value::Array(parts)) => Ok(text_of(parts).map_or(Message::Other, |t| Message::Plain(known, t))),
        // As of an assistant that calls a tool.
        Some(Value::Null) | None if message.contains_key("tool_calls") => Ok(Message::Other),
        Some(other) => Err(format!("a message's content is not a text; found {}", describe(other))),
        None => Err(format!("a message has no content; found {}", keys(value))),
    }
}

/// Parts that are all text, joined.
fn text_of(parts: &[Value]) -> Option<String> {
    let texts = parts.iter().map(|part| match part {
        Value::String(text) => Some(text.as_str()),
        _ => part.get("text").and_then(Value::as_str),
    });
    texts.collect::<Option<Vec<_>>>().map(|texts| texts.join("\n"))
}

/// What a value is, for people.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::String(text) if text.chars().count() > 40 => {
            format!("{:?}…", text.chars().take(40).collect::<String>())
        }
        other => other.to_string(),
    }
}

/// An object's keys, for people.
pub(super) fn keys(value: &Value) -> String {
    match value.as_object() {
        Some(object) if object.is_empty() => "no keys".to_owned(),
        Some(object) => {
            let keys: Vec<String> = object.keys().take(12).map(|key| format!("{key:?}")).collect();
            format!("the keys {}", keys.join(", "))
        }
        None => describe(value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn styles_of_messages() {
        let plain = |role, text: &str| Ok(Message::Plain(role, text.to_owned()));
        for (message, want) in [
            (json!({"role": "user", "content": "a"}), plain(Role::User, "a")),
            (json!({"from": "human", "value": "a"}), plain(Role::User, "a")),
            (json!({"from": "gpt", "value": ""}), plain(Role::Assistant, "")),
            (
                json!({"role": "System", "content": [{"type": "text", "text": "a"}, "b"]}),
                plain(Role::System, "a\nb"),
            ),
            (
                json!({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}),
                Ok(Message::Other),
            ),
            (json!({"role": "tool", "content": "a"}), Ok(Message::Other)),
            (json!({"role": "assistant", "content": null, "tool_calls": []}), Ok(Message::Other)),
        ] {
            assert_eq!(read(&message), want, "{message}");
        }
        for (message, part) in [
            (json!("hello"), "a message is not an object; found \"hello\""),
            (json!({"text": "a"}), "a message has no role; found the keys \"text\""),
            (json!({"role": "usr", "content": "a"}), "unknown role; found \"usr\". Allowed: user, human"),
            (json!({"role": 1, "content": "a"}), "role is not a text; found 1"),
            (json!({"role": "user"}), "a message has no content; found the keys \"role\""),
            (json!({"role": "user", "content": 3}), "content is not a text; found 3"),
        ] {
            let found = read(&message).expect_err("wrong");
            assert!(found.contains(part), "{found}");
        }
    }
}
