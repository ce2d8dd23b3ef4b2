//! Templates: texts and JSON values in which `{{name}}` stands for something of the request.
//!
//! A JSON text that is one placeholder and nothing else takes the value's own type, so
//! `"{{max_tokens}}"` becomes a number; inside a longer text a value is text.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::Call;

/// What every template can name. Beside these are the sampling settings and the keys of
/// `extra_body`.
pub const BUILT_IN: [&str; 8] =
    ["prompt", "prompts", "messages", "model", "max_tokens", "prompt_tokens", "seq", "stream"];

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    /// A placeholder's name.
    Name(String),
}

/// A text that is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("{{{{ without }}}}")]
    Unclosed,
    #[error("a placeholder without a name, or with an odd one: {{{{{0}}}}}")]
    Name(String),
}

/// Cut a text at its placeholders.
///
/// # Errors
/// Where a placeholder isn't closed, or has a name that nothing can have.
pub fn pieces(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").ok_or(TemplateError::Unclosed)?;
        if !is_name(name.trim()) {
            return Err(TemplateError::Name(name.to_owned()));
        }
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        pieces.push(Piece::Name(name.trim().to_owned()));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

/// A JSON document written as a text, in which placeholders may stand without quotes; `None`
/// where it is none, or neither table nor list.
#[must_use]
pub fn json_of(text: &str) -> Option<Value> {
    let mut quoted = String::with_capacity(text.len() + 16);
    let (mut inside, mut escaped) = (false, false);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        // Outside of its texts JSON has no two braces in a row.
        if !inside && rest.starts_with("{{") {
            let end = rest.find("}}")? + 2;
            quoted.push('"');
            quoted.push_str(&rest[..end]);
            quoted.push('"');
            rest = &rest[end..];
            continue;
        }
        if c == '"' && !escaped {
            inside = !inside;
        }
        escaped = inside && c == '\\' && !escaped;
        quoted.push(c);
        rest = &rest[c.len_utf8()..];
    }
    serde_json::from_str(&quoted).ok().filter(|value: &Value| value.is_object() || value.is_array())
}

/// A text to be filled in.
#[derive(Debug, Clone, Default)]
pub(super) struct Text(Vec<Piece>);

impl Text {
    /// What is no template stands for itself.
    pub(super) fn new(text: &str) -> Self {
        Self(pieces(text).unwrap_or_else(|_| vec![Piece::Text(text.to_owned())]))
    }

    /// The text with `call`'s values, each as `written` writes it.
    pub(super) fn fill(&self, call: &Call<'_>, written: impl Fn(&str) -> String) -> String {
        let part = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Name(name) => match value_of(call, name) {
                Value::String(text) => written(&text),
                other => written(&other.to_string()),
            },
        };
        self.0.iter().map(part).collect()
    }

    fn names(&self, names: &mut BTreeSet<String>) {
        names.extend(self.0.iter().filter_map(|piece| match piece {
            Piece::Name(name) => Some(name.clone()),
            Piece::Text(_) => None,
        }));
    }
}

/// A JSON value to be filled in.
#[derive(Debug, Clone)]
pub(super) enum Document {
    Fixed(Value),
    Text(Text),
    List(Vec<Document>),
    Table(Vec<(String, Document)>),
}

impl Document {
    pub(super) fn new(value: &Value) -> Self {
        match value {
            Value::String(text) => Self::Text(Text::new(text)),
            Value::Array(items) => Self::List(items.iter().map(Self::new).collect()),
            Value::Object(table) => {
                Self::Table(table.iter().map(|(key, value)| (key.clone(), Self::new(value))).collect())
            }
            fixed => Self::Fixed(fixed.clone()),
        }
    }

    pub(super) fn fill(&self, call: &Call<'_>) -> Value {
        match self {
            Self::Fixed(value) => value.clone(),
            Self::Text(text) => match text.0.as_slice() {
                [Piece::Name(name)] => value_of(call, name),
                _ => text.fill(call, str::to_owned).into(),
            },
            Self::List(items) => items.iter().map(|item| item.fill(call)).collect(),
            Self::Table(table) => {
                Value::Object(table.iter().map(|(key, value)| (key.clone(), value.fill(call))).collect())
            }
        }
    }

    fn names(&self, names: &mut BTreeSet<String>) {
        match self {
            Self::Fixed(_) => {}
            Self::Text(text) => text.names(names),
            Self::List(items) => items.iter().for_each(|item| item.names(names)),
            Self::Table(table) => table.iter().for_each(|(_, value)| value.names(names)),
        }
    }
}

/// Everything that these templates name.
pub(super) fn names<'t>(
    texts: impl IntoIterator<Item = &'t Text>,
    document: Option<&Document>,
) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    texts.into_iter().for_each(|text| text.names(&mut names));
    document.into_iter().for_each(|document| document.names(&mut names));
    names
}

/// What a placeholder stands for. A line of a data set has the last word, then `extra_body`.
fn value_of(call: &Call<'_>, name: &str) -> Value {
    let written = |keys: &Map<String, Value>| keys.get(name).cloned();
    let own = || match name {
        "prompt" => Some((*call.whole_prompt()).into()),
        "prompts" => Some(call.prompts()),
        "messages" => Some(call.messages(call.prompt.into()).into()),
        "model" => Some(call.model.into()),
        "max_tokens" => Some(call.max_tokens.into()),
        "prompt_tokens" => Some(call.prompt_tokens.into()),
        "seq" => Some(call.seq.into()),
        "stream" => Some(call.stream.into()),
        _ => None,
    };
    written(call.line_body)
        .or_else(|| written(call.extra_body))
        .or_else(own)
        .or_else(|| written(call.sampling))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_cut_at_their_placeholders() {
        let text = |t: &str| Piece::Text(t.to_owned());
        let name = |n: &str| Piece::Name(n.to_owned());
        assert_eq!(pieces("a{{b}}c{{ d }}"), Ok(vec![text("a"), name("b"), text("c"), name("d")]));
        assert_eq!(pieces("{ } }} {"), Ok(vec![text("{ } }} {")]));
        assert_eq!(pieces(""), Ok(vec![]));
        assert_eq!(pieces("a {{b"), Err(TemplateError::Unclosed));
        assert_eq!(pieces("{{}}"), Err(TemplateError::Name(String::new())));
        assert_eq!(pieces("{{a b}}"), Err(TemplateError::Name("a b".to_owned())));
        assert_eq!(TemplateError::Name("a b".to_owned()).to_string().matches("{{a b}}").count(), 1);
    }

    #[test]
    fn a_document_may_be_written_as_a_text() {
        let text =
            r#"{"p": "say \"{{prompt}}\"", "n": {{max_tokens}}, "l": [{{ seq }}, {"a": {"b": "{{"}}]}"#;
        assert_eq!(
            json_of(text),
            Some(json!({ "p": "say \"{{prompt}}\"", "n": "{{max_tokens}}",
                         "l": ["{{ seq }}", { "a": { "b": "{{" } }] }))
        );
        for text in ["{{prompt}}", "just {{prompt}}", "{\"a\": {{b}", "3", "\"{{prompt}}\"", ""] {
            assert_eq!(json_of(text), None, "{text}");
        }
    }

    #[test]
    fn values_keep_their_types_where_they_stand_alone() {
        let more = ["two".to_owned()];
        let sampling = Map::from_iter([("temperature".to_owned(), json!(0.5))]);
        let extra = Map::from_iter([("strategy".to_owned(), json!("greedy")), ("k".to_owned(), json!([1]))]);
        let line = Map::from_iter([("strategy".to_owned(), json!("beam"))]);
        let call = Call {
            more: &more,
            seq: 7,
            prompt_tokens: 3,
            sampling: &sampling,
            extra_body: &extra,
            line_body: &line,
            ..Call::new("m", "one \"1\"", 9)
        };
        let template = json!({
            "prompt": "{{prompt}}", "all": "{{prompts}}", "text": "{{prompts}}!", "n": "{{max_tokens}}",
            "stop": "at {{max_tokens}} of {{prompt_tokens}}", "t": "{{temperature}}", "s": "{{stream}}",
            "how": "{{strategy}}", "k": ["{{k}}", 2], "m": "{{messages}}", "id": "{{seq}}", "who": "{{model}}",
            "none": "{{min_p}}",
        });
        let document = Document::new(&template);
        assert_eq!(
            document.fill(&call),
            json!({
                "prompt": "one \"1\"", "all": ["one \"1\"", "two"], "text": r#"["one \"1\"","two"]!"#, "n": 9,
                "stop": "at 9 of 3", "t": 0.5, "s": true, "how": "beam", "k": [[1], 2],
                "m": [{ "role": "user", "content": "one \"1\"" }], "id": 7, "who": "m", "none": null,
            })
        );
        let text = Text::new("/{{model}}");
        assert!(names([&text], Some(&document)).into_iter().eq([
            "k",
            "max_tokens",
            "messages",
            "min_p",
            "model",
            "prompt",
            "prompt_tokens",
            "prompts",
            "seq",
            "strategy",
            "stream",
            "temperature",
        ]));
    }
}
