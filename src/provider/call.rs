//! What the providers make of a call beside its fields: one text of a conversation, a list of
//! its inputs, the keys that a person wrote.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::Call;

/// OpenAI's names of sampling settings, which `[workload]` has too.
pub const SAMPLING: [&str; 22] = [
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "typical_p",
    "seed",
    "stop",
    "n",
    "best_of",
    "logprobs",
    "top_logprobs",
    "prompt_logprobs",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "reasoning_effort",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "dimensions",
    "top_n",
];

/// A key of a body beside those that every request of an API has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key<'a> {
    /// A sampling setting, by the API's own name for it: it goes where the API has such.
    Setting(&'a str),
    /// As a person wrote it, for the top of the body.
    Written(&'a str),
}

impl<'a> Call<'a> {
    /// [`Call::overrides`] for an API with names or places of its own for sampling settings:
    /// pairs of OpenAI's name and its own, where they differ. A line's settings (its `seed`, say)
    /// go to the same places as those of `sampling`; what stands in `extra_body` is as written.
    pub fn keys(
        &self,
        names: &'static [(&'static str, &'static str)],
    ) -> impl Iterator<Item = (Key<'a>, &'a Value)> {
        let setting = move |key: &'a str| {
            let own = names.iter().find(|(name, _)| *name == key).map(|(_, own)| *own);
            Key::Setting(own.unwrap_or(key))
        };
        let of_line = move |key: &'a str| {
            if SAMPLING.contains(&key) { setting(key) } else { Key::Written(key) }
        };
        let sampling = self.sampling.iter().map(move |(key, value)| (setting(key), value));
        let extra = self.extra_body.iter().map(|(key, value)| (Key::Written(key), value));
        sampling.chain(extra).chain(self.line_body.iter().map(move |(key, value)| (of_line(key), value)))
    }

    /// The conversation as one text, its turns parted by blank lines: for APIs that take a
    /// prompt and know no turns.
    #[must_use]
    pub fn whole_prompt(&self) -> Cow<'a, str> {
        if self.history.is_empty() {
            return Cow::Borrowed(self.prompt);
        }
        let turns: Vec<&str> =
            self.history.iter().map(|turn| turn.text.as_str()).chain([self.prompt]).collect();
        Cow::Owned(turns.join("\n\n"))
    }

    /// The conversation as messages, the prompt with `content` as the last.
    pub(super) fn messages(&self, content: Value) -> Vec<Value> {
        let earlier =
            self.history.iter().map(|turn| json!({ "role": turn.role.name(), "content": turn.text }));
        earlier.chain([json!({ "role": "user", "content": content })]).collect()
    }

    /// The prompt, or a list of it and what goes with it.
    #[must_use]
    pub fn inputs(&self) -> Value {
        if self.more.is_empty() { Value::from(&*self.whole_prompt()) } else { self.prompts() }
    }

    /// A list of the prompt and what goes with it.
    #[must_use]
    pub fn prompts(&self) -> Value {
        let first = self.whole_prompt();
        std::iter::once(&*first).chain(self.more.iter().map(String::as_str)).collect()
    }
}

/// Put `value` under `key`; of two tables the keys are put together.
pub(super) fn put(body: &mut Map<String, Value>, key: &str, value: &Value) {
    match (body.get_mut(key), value) {
        (Some(Value::Object(there)), Value::Object(more)) => {
            there.extend(more.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        _ => {
            body.insert(key.to_owned(), value.clone());
        }
    }
}

/// A list, of one where it is none.
pub(super) fn listed(value: &Value) -> Value {
    if value.is_array() { value.clone() } else { json!([value]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{Role, Turn};

    #[test]
    fn a_conversation_is_one_text_where_there_are_no_turns() {
        let turn = |role, text: &str| Turn { role, text: text.to_owned() };
        let history = [turn(Role::User, "a"), turn(Role::Assistant, "b")];
        let more = ["d".to_owned()];
        let call = Call::new("m", "c", 1);
        assert_eq!((call.whole_prompt(), call.inputs()), ("c".into(), "c".into()));
        let call = Call { history: &history, more: &more, ..call };
        assert_eq!(call.whole_prompt(), "a\n\nb\n\nc");
        assert_eq!(call.inputs(), serde_json::json!(["a\n\nb\n\nc", "d"]));
    }
}
