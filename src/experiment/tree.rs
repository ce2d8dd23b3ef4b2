//! The document as an owned tree in which every value knows where it was written.
//!
//! `--set` and the axes of a grid put values into this tree before it is read, so a wrong
//! value of an axis is a mistake at the axis's own line.

use std::ops::Range;
use std::sync::Arc;

use serde_json::{Map, Number};
use toml::de::{DeTable, DeValue};

use super::mistake::{Mistake, MistakeKind, SET};
use super::repair::close_open_values;
use super::secret::looks_secret;

/// Where something was written: bytes of one of the [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    pub(crate) source: usize,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Origin {
    fn new(source: usize, span: Range<usize>) -> Self {
        Self { source, start: span.start, end: span.end }
    }
}

/// The texts that an experiment was read from: the file, then each `--set`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources(Vec<(String, String)>);

/// An [`Origin`] as people count.
pub(crate) struct Place {
    pub file: String,
    pub line: usize,
    pub column: usize,
    pub text: String,
    pub width: usize,
}

impl Sources {
    pub(crate) fn new(file: String, text: String) -> Self {
        Self(vec![(file, text)])
    }

    /// Adds a `--set` and gives its number.
    pub(crate) fn add_set(&mut self, text: &str) -> usize {
        self.0.push((SET.to_owned(), text.to_owned()));
        self.0.len() - 1
    }

    pub(crate) fn text(&self, source: usize) -> &str {
        &self.0[source].1
    }

    pub(crate) fn place(&self, origin: Origin) -> Place {
        let (file, text) = &self.0[origin.source];
        let start = floor_boundary(text, origin.start);
        let end = floor_boundary(text, origin.end).max(start);
        let line_start = text[..start].rfind('\n').map_or(0, |i| i + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |i| start + i);
        let line = text[line_start..line_end].trim_end_matches('\r');
        let marked = end.min(line_start + line.len()).max(start);
        Place {
            file: file.clone(),
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            text: line.replace('\t', " "),
            width: text[start..marked].chars().count().max(1),
        }
    }

    /// Where an origin lies, in words: `line 12`, or `--set`.
    pub(crate) fn name_place(&self, origin: Origin) -> String {
        if origin.source == 0 { format!("line {}", self.place(origin).line) } else { SET.to_owned() }
    }
}

fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// One value.
#[derive(Debug, Clone)]
pub struct Node {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
    /// The key to name in a mistake when the value came from elsewhere: `grid.users`.
    pub(crate) alias: Option<Arc<str>>,
}

/// What a [`Node`] holds.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Str(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    /// TOML's dates: no key wants one.
    Date(String),
    Array(Vec<Node>),
    Table(Table),
}

/// Entries in the order written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table(pub Vec<Entry>);

/// A key and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub key: String,
    pub key_origin: Origin,
    pub node: Node,
}

/// A path leads through something that is not a table.
pub(crate) struct Blocked {
    /// Dotted path of what stands in the way.
    pub at: String,
    pub found: String,
}

impl Table {
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.0.iter().find(|e| e.key == key)
    }

    pub(crate) fn lookup(&self, path: &[String]) -> Option<&Node> {
        let (last, parents) = path.split_last()?;
        let mut table = self;
        for key in parents {
            match &table.entry(key)?.node.value {
                Value::Table(inner) => table = inner,
                _ => return None,
            }
        }
        table.entry(last).map(|e| &e.node)
    }

    /// Puts `node` at `path`, making the tables on the way.
    pub(crate) fn set(&mut self, path: &[String], node: Node, key_origin: Origin) -> Result<(), Blocked> {
        let Some((last, parents)) = path.split_last() else { return Ok(()) };
        let mut table = self;
        for (depth, key) in parents.iter().enumerate() {
            let place = table.0.iter().position(|e| e.key == *key).unwrap_or_else(|| {
                let value = Value::Table(Table::default());
                let node = Node { value, origin: key_origin, alias: None };
                table.0.push(Entry { key: key.clone(), key_origin, node });
                table.0.len() - 1
            });
            let next = &mut table.0[place].node;
            if !matches!(next.value, Value::Table(_)) {
                return Err(Blocked { at: join_path(&path[..=depth]), found: next.describe() });
            }
            let Value::Table(inner) = &mut next.value else { return Ok(()) };
            table = inner;
        }
        match table.0.iter_mut().find(|e| e.key == *last) {
            Some(entry) => (entry.node, entry.key_origin) = (node, key_origin),
            None => table.0.push(Entry { key: last.clone(), key_origin, node }),
        }
        Ok(())
    }
}

impl Node {
    /// What it is, for people: `"abc"`, `3`, `a table`.
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            Value::Str(s) if s.chars().count() > 60 => {
                format!("{:?}…", s.chars().take(60).collect::<String>())
            }
            Value::Str(s) => format!("{s:?}"),
            Value::Int(i) => i.to_string(),
            Value::Float(x) => format!("{x:?}"),
            Value::Bool(b) => b.to_string(),
            Value::Date(d) => format!("the date {d}"),
            Value::Array(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
        }
    }

    /// As JSON. Dates become text, and numbers that JSON cannot hold null.
    pub(crate) fn json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Str(s) | Value::Date(s) => Json::String(s.clone()),
            Value::Int(i) => Json::from(*i),
            Value::Float(x) => Number::from_f64(*x).map_or(Json::Null, Json::Number),
            Value::Bool(b) => Json::Bool(*b),
            Value::Array(items) => Json::Array(items.iter().map(Self::json).collect()),
            Value::Table(table) => Json::Object(table.json()),
        }
    }
}

impl Table {
    pub(crate) fn json(&self) -> Map<String, serde_json::Value> {
        self.0.iter().map(|e| (e.key.clone(), e.node.json())).collect()
    }
}

/// Reads a document, as much of it as is TOML, with a mistake for each line that is not.
pub(crate) fn parse(sources: &Sources) -> (Table, Vec<Mistake>) {
    let (text, open) = close_open_values(sources.text(0));
    let (document, errors) = DeTable::parse_recoverable(&text);
    let open = open.into_iter().map(|span| {
        let what = if text[span.start..].starts_with('{') { "table" } else { "list" };
        (span, MistakeKind::Syntax, format!("the {what} is never closed"))
    });
    let errors = errors.iter().map(|error| {
        let duplicate = error.message().contains("duplicate");
        let kind = if duplicate { MistakeKind::Duplicate } else { MistakeKind::Syntax };
        (error.span().unwrap_or(0..0), kind, error.message().to_owned())
    });
    let mut mistakes: Vec<Mistake> = Vec::new();
    for (span, kind, problem) in open.chain(errors) {
        let key = key_at(&text, span.start);
        let mistake = Mistake::new(kind, problem);
        let mistake = if looks_secret(&key) { mistake.hidden() } else { mistake };
        let mistake = mistake.placed(sources, Origin::new(0, span), key);
        // What follows the first mistake of a line is mostly its echo.
        if !mistakes.iter().any(|m| m.line == mistake.line) {
            mistakes.push(mistake);
        }
    }
    (table(document.get_ref(), 0, 0), mistakes)
}

/// Reads the right-hand side of a `--set`: a TOML value, else the bare text.
pub(crate) fn parse_set_value(sources: &Sources, source: usize, start: usize) -> Result<Node, Box<Mistake>> {
    let text = sources.text(source)[start..].to_owned();
    let origin = Origin { source, start, end: start + text.len() };
    let (parsed, errors) = DeValue::parse_recoverable(&text);
    let Some(error) = errors.first() else {
        let mut parsed = node(parsed.get_ref(), parsed.span(), source, start);
        parsed.origin = origin;
        return Ok(parsed);
    };
    // A date such as 2026-01-01 or a version such as 1.2.3 is meant as text, a list is not.
    if text.trim_start().starts_with(['[', '{', '"', '\'']) {
        let span = error.span().unwrap_or(0..0);
        let origin = Origin { source, start: start + span.start, end: start + span.end };
        let mistake = Mistake::new(MistakeKind::Syntax, error.message());
        return Err(Box::new(mistake.placed(sources, origin, "")));
    }
    Ok(Node { value: Value::Str(text), origin, alias: None })
}

fn table(from: &DeTable<'_>, source: usize, shift: usize) -> Table {
    let entries = from.iter().map(|(key, value)| {
        let span = key.span();
        Entry {
            key: key.get_ref().to_string(),
            key_origin: Origin::new(source, span.start + shift..span.end + shift),
            node: node(value.get_ref(), value.span(), source, shift),
        }
    });
    Table(entries.collect())
}

fn node(from: &DeValue<'_>, span: Range<usize>, source: usize, shift: usize) -> Node {
    let value = match from {
        DeValue::String(s) => Value::Str(s.to_string()),
        DeValue::Integer(i) => match i64::from_str_radix(i.as_str(), i.radix()) {
            Ok(i) => Value::Int(i),
            // Too large for TOML's own integers: every range check refuses it.
            Err(_) => Value::Float(i.as_str().parse().unwrap_or(f64::INFINITY)),
        },
        DeValue::Float(x) => Value::Float(x.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(b) => Value::Bool(*b),
        DeValue::Datetime(d) => Value::Date(d.to_string()),
        DeValue::Array(items) => {
            Value::Array(items.iter().map(|i| node(i.get_ref(), i.span(), source, shift)).collect())
        }
        DeValue::Table(inner) => Value::Table(table(inner, source, shift)),
    };
    Node { value, origin: Origin::new(source, span.start + shift..span.end + shift), alias: None }
}

/// The dotted path of the key on the line of `at`, as far as text alone tells it.
fn key_at(text: &str, at: usize) -> String {
    let at = floor_boundary(text, at);
    let line_start = text[..at].rfind('\n').map_or(0, |i| i + 1);
    let line = text[line_start..].lines().next().unwrap_or("");
    let header = |line: &str| -> Option<String> {
        let inner = line.trim().strip_prefix('[')?.trim_start_matches('[');
        Some(inner.split(']').next().unwrap_or("").trim().to_owned())
    };
    if line.trim_start().starts_with('[') {
        return header(line).unwrap_or_default();
    }
    let section = text[..line_start].lines().rev().find_map(header).unwrap_or_default();
    let key = line.split(['=', '#']).next().unwrap_or("").trim();
    match (section.as_str(), key) {
        ("", key) => key.to_owned(),
        (section, "") => section.to_owned(),
        (section, key) => format!("{section}.{key}"),
    }
}

/// Splits a dotted path, in which a part may be quoted: `target.headers."X-A.B"`.
pub(crate) fn split_path(text: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let (part, tail) = match rest.chars().next()? {
            quote @ ('"' | '\'') => {
                let end = rest[1..].find(quote)?;
                (&rest[1..=end], &rest[end + 2..])
            }
            _ => {
                let end = rest.find('.').unwrap_or(rest.len());
                (rest[..end].trim(), &rest[end..])
            }
        };
        if part.is_empty() {
            return None;
        }
        parts.push(part.to_owned());
        match tail.trim_start().strip_prefix('.') {
            Some(next) => rest = next.trim_start(),
            None if tail.trim().is_empty() => return Some(parts),
            None => return None,
        }
    }
}

/// The reverse of [`split_path`].
pub(crate) fn join_path(parts: &[String]) -> String {
    let part = |p: &String| if p.contains('.') { format!("{p:?}") } else { p.clone() };
    parts.iter().map(part).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_split_and_join() {
        for text in ["load.users", "target.headers.\"X-A.B\"", "a"] {
            assert_eq!(join_path(&split_path(text).unwrap()), text);
        }
        assert_eq!(split_path("a . 'b'").unwrap(), ["a", "b"]);
        for text in ["", "a.", ".a", "a..b", "\"a", "\"a\"b"] {
            assert!(split_path(text).is_none(), "{text}");
        }
    }

    #[test]
    fn places_count_characters() {
        let sources = Sources::new("f.toml".to_owned(), "a = 1\nname = \"é\" # ü\nb = 2".to_owned());
        let (table, mistakes) = parse(&sources);
        assert!(mistakes.is_empty());
        let place = sources.place(table.entry("name").unwrap().node.origin);
        assert_eq!((place.line, place.column, place.width), (2, 8, 3));
        assert_eq!(place.text, "name = \"é\" # ü");
        let place = sources.place(table.entry("b").unwrap().key_origin);
        assert_eq!((place.line, place.column, place.width), (3, 1, 1));
    }

    #[test]
    fn syntax_mistakes_name_their_key() {
        let text = "[target]\nurl = \n[grid]\nusers = [1, 2\n";
        let sources = Sources::new("f.toml".to_owned(), text.to_owned());
        let (_, mistakes) = parse(&sources);
        let told: Vec<_> = mistakes.iter().map(|m| (m.line, m.key.as_str())).collect();
        assert!(told.contains(&(2, "target.url")), "{told:?}");
        assert!(told.contains(&(4, "grid.users")), "{told:?}");
    }

    #[test]
    fn a_broken_line_with_a_secret_is_not_shown() {
        let sources = Sources::new("f.toml".to_owned(), "Authorization = \"hush\n".to_owned());
        let (_, mistakes) = parse(&sources);
        assert!(!mistakes.is_empty());
        assert!(mistakes.iter().all(|m| !m.to_string().contains("hush")), "{mistakes:?}");
    }
}
