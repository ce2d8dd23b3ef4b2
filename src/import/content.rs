//! A file's content, before anybody knows whose it is.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::ImportError;

/// A file that was read.
pub(super) struct Content {
    pub(super) path: PathBuf,
    /// Its name without a directory.
    pub(super) name: String,
    pub(super) text: String,
    /// The JSON values in it, one after the other; empty if it isn't JSON.
    pub(super) json: Vec<Value>,
}

impl Content {
    pub(super) fn open(path: &Path) -> Result<Self, ImportError> {
        let bytes = std::fs::read(path)
            .map_err(|source| ImportError::Unreadable { path: path.to_owned(), source })?;
        let text = String::from_utf8(bytes).map_err(|_| ImportError::Wrong {
            path: path.to_owned(),
            place: String::new(),
            expected: "a text in UTF-8".to_owned(),
            found: "other bytes".to_owned(),
        })?;
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let mut content = Self { path: path.to_owned(), name, text, json: Vec::new() };
        if content.text.trim_start().starts_with(['{', '[']) {
            content.json = content.parse()?;
        }
        Ok(content)
    }

    /// A file beside this one, if there is one.
    pub(super) fn beside(&self, name: &str) -> Option<Self> {
        let path = self.path.with_file_name(name);
        path.exists().then(|| Self::open(&path).ok()).flatten()
    }

    fn parse(&self) -> Result<Vec<Value>, ImportError> {
        let parse = |text: &str| -> Result<Vec<Value>, serde_json::Error> {
            serde_json::Deserializer::from_str(text).into_iter().collect()
        };
        // Python writes what is not a number by words that JSON hasn't.
        parse(&self.text)
            .or_else(|_| parse(&without_python_words(&self.text)))
            .map_err(|e| self.wrong(&format!("line {}", e.line()), "JSON", &format!("text that isn't: {e}")))
    }

    /// Its first JSON value; `None` if it isn't JSON.
    pub(super) fn first(&self) -> Option<&Value> {
        self.json.first()
    }

    /// The fields of its first line, if it is CSV.
    pub(super) fn header(&self) -> Vec<String> {
        if !self.json.is_empty() {
            return Vec::new();
        }
        let first = self.text.lines().next().unwrap_or_default();
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(first.as_bytes());
        let fields = reader.records().next().and_then(Result::ok);
        fields.map(|row| row.iter().map(str::to_owned).collect()).unwrap_or_default()
    }

    /// Its rows as CSV, with the line of each; rows may differ in length.
    pub(super) fn rows(&self) -> Result<Vec<(u64, Vec<String>)>, ImportError> {
        let mut reader =
            csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(self.text.as_bytes());
        let row = |row: Result<csv::StringRecord, csv::Error>| {
            let row = row.map_err(|e| self.wrong("", "CSV", &e.to_string()))?;
            let line = row.position().map_or(0, csv::Position::line);
            Ok((line, row.iter().map(|field| field.trim().to_owned()).collect()))
        };
        reader.records().map(row).collect()
    }

    /// What it looks like, for one who gave the wrong file.
    pub(super) fn outline(&self) -> String {
        let some = |words: Vec<String>| {
            let more = if words.len() > 8 { ", …" } else { "" };
            format!("{}{more}", words.iter().take(8).cloned().collect::<Vec<_>>().join(", "))
        };
        match self.first() {
            Some(Value::Object(map)) => format!("a JSON object with {}", some(map.keys().cloned().collect())),
            Some(Value::Array(items)) => format!("a JSON list of {}", items.len()),
            Some(other) => format!("the JSON value {other}"),
            None if self.text.trim().is_empty() => "nothing".to_owned(),
            None => format!("a text that begins with {}", some(self.header())),
        }
    }

    /// That it is not as it has to be.
    pub(super) fn wrong(&self, place: &str, expected: &str, found: &str) -> ImportError {
        ImportError::Wrong {
            path: self.path.clone(),
            place: place.to_owned(),
            expected: expected.to_owned(),
            found: found.to_owned(),
        }
    }
}

/// `NaN`, `Infinity` and `-Infinity` outside of strings as `null`.
fn without_python_words(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut quoted) = (text, false);
    while let Some(c) = rest.chars().next() {
        let word = ["NaN", "-Infinity", "Infinity"].into_iter().find(|w| !quoted && rest.starts_with(w));
        let taken = match (word, c) {
            (Some(word), _) => {
                out.push_str("null");
                word.len()
            }
            // A backslash takes what follows with it.
            (None, '\\') => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            (None, c) => {
                quoted ^= c == '"';
                c.len_utf8()
            }
        };
        if word.is_none() {
            out.push_str(&rest[..taken]);
        }
        rest = &rest[taken..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pythons_words_become_null_but_not_within_texts() {
        let text = r#"{"a": NaN, "b": [-Infinity, Infinity], "NaN \" NaN": "Infinity"}"#;
        let expected = r#"{"a": null, "b": [null, null], "NaN \" NaN": "Infinity"}"#;
        assert_eq!(without_python_words(text), expected);
    }
}
