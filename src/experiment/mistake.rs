//! What is wrong with an experiment file: each mistake with its place, what was found, what
//! is allowed, and the nearest right name.

use std::fmt;

use serde::Serialize;

use super::tree::{Origin, Sources};

/// What sort of mistake it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MistakeKind {
    /// Not TOML.
    Syntax,
    UnknownKey,
    WrongType,
    OutOfRange,
    /// A text that does not mean what the key wants, such as a bad duration.
    BadValue,
    /// A word that is not one of the key's words.
    UnknownWord,
    /// Two keys that exclude each other.
    Conflict,
    Missing,
    Duplicate,
    /// A secret written out; it belongs into the environment.
    Secret,
    /// More cells than a plan may have.
    TooMany,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistake {
    pub kind: MistakeKind,
    /// The file, or `--set` for an override from the command line.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// Dotted path of the key, such as `grid.user`; empty where none is meant.
    pub key: String,
    /// What is wrong, in words.
    pub problem: String,
    /// What was found there. `None` for secrets and where `problem` says it.
    pub found: Option<String>,
    /// What is allowed there.
    pub allowed: Option<String>,
    /// The nearest right name.
    pub nearest: Option<String>,
    /// The line in question; `None` where it may hold a secret.
    pub excerpt: Option<String>,
    /// Characters to underline, at least 1.
    pub width: usize,
    /// Byte offset and number of the source, for the order of mistakes.
    #[serde(skip)]
    at: (usize, usize),
    #[serde(skip)]
    hidden: bool,
    /// The key whose absence makes this a mistake, where it isn't `key`.
    #[serde(skip)]
    absent: Option<&'static str>,
}

impl Mistake {
    /// A mistake that has no place yet.
    pub(crate) fn new(kind: MistakeKind, problem: impl Into<String>) -> Self {
        Self {
            kind,
            file: String::new(),
            line: 0,
            column: 0,
            key: String::new(),
            problem: problem.into(),
            found: None,
            allowed: None,
            nearest: None,
            excerpt: None,
            width: 1,
            at: (0, 0),
            hidden: false,
            absent: None,
        }
    }

    pub(crate) fn found(mut self, found: impl Into<String>) -> Self {
        self.found = Some(found.into());
        self
    }

    pub(crate) fn allowed(mut self, allowed: impl Into<String>) -> Self {
        self.allowed = Some(allowed.into());
        self
    }

    pub(crate) fn nearest(mut self, nearest: Option<impl Into<String>>) -> Self {
        self.nearest = nearest.map(Into::into);
        self
    }

    /// Never shows the line, which may hold a secret.
    pub(crate) fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// A mistake only because `key` is not there.
    pub(crate) fn for_want_of(mut self, key: &'static str) -> Self {
        self.absent = Some(key);
        self
    }

    pub(crate) fn placed(mut self, sources: &Sources, origin: Origin, key: impl Into<String>) -> Self {
        let place = sources.place(origin);
        self.file = place.file;
        self.line = place.line;
        self.column = place.column;
        self.width = place.width;
        self.key = key.into();
        self.excerpt = (!self.hidden).then_some(place.text);
        self.at = (origin.source, origin.start);
        self
    }
}

impl Mistake {
    /// What is wrong and what is right, without the place.
    #[must_use]
    pub fn sentence(&self) -> String {
        let mut text = self.problem.clone();
        if let Some(found) = &self.found {
            text.push_str(&format!("; found {found}"));
        }
        if let Some(nearest) = &self.nearest {
            text.push_str(&format!("; did you mean {nearest:?}?"));
        }
        if let Some(allowed) = &self.allowed {
            let stop = if self.nearest.is_some() { "" } else { "." };
            text.push_str(&format!("{stop} Allowed: {allowed}"));
        }
        text
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.file != SET {
            write!(f, ":{}", self.line)?;
        }
        f.write_str(": ")?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.sentence())?;
        if let Some(excerpt) = &self.excerpt {
            let number = if self.file == SET { String::new() } else { self.line.to_string() };
            write!(f, "\n{number:>5} | {excerpt}")?;
            write!(f, "\n      | {:pad$}{}", "", "^".repeat(self.width), pad = self.column - 1)?;
        }
        Ok(())
    }
}

/// Name of the source of a `--set` override.
pub(crate) const SET: &str = "--set";

/// Every mistake of an experiment, in the order of the file. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Mistakes(pub Vec<Mistake>);

impl Mistakes {
    /// Sorts by place and drops what was found twice, as the cells of a grid share values.
    pub(crate) fn collect(mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort_by(|a, b| (a.at, &a.key, &a.problem).cmp(&(b.at, &b.key, &b.problem)));
        mistakes.dedup_by(|a, b| a.at == b.at && a.key == b.key && a.problem == b.problem);
        Self(mistakes)
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.0 {
            writeln!(f, "{mistake}")?;
        }
        match self.0.len() {
            1 => write!(f, "1 mistake"),
            n => write!(f, "{n} mistakes"),
        }
    }
}

impl std::error::Error for Mistakes {}

/// The candidate that is most like `word`, if one is like enough: a slip or two away, or
/// begun or ended alike (`openai` for `openai-chat`).
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str, IntoIter: Clone>,
) -> Option<&'a str> {
    /// Shorter words are part of too many others.
    const TELLING: usize = 4;
    let word = word.to_lowercase();
    let candidates = candidates.into_iter();
    // Of slips alike, two letters that changed places are likelier than another letter.
    let letters = |text: &str| {
        let mut letters: Vec<char> = text.chars().collect();
        letters.sort_unstable();
        letters
    };
    let others = |candidate: &str| letters(&word) != letters(candidate);
    let slips = |candidate: &&str| strsim::damerau_levenshtein(&word, candidate);
    let close = candidates
        .clone()
        .filter(|c| slips(c) <= 1 + word.len().min(c.len()) / 4)
        .min_by_key(|c| (slips(c), others(c)));
    let part = |long: &str, short: &str| {
        short.len() >= TELLING && (long.starts_with(short) || long.ends_with(short))
    };
    close.or_else(|| candidates.filter(|c| part(c, &word) || part(&word, c)).min_by_key(slips))
}

/// Drops what is said to be missing where another mistake shows that it is there, only
/// misspelt or unreadable: one slip of the pen is one mistake.
pub(crate) fn drop_echoes(mistakes: &mut Vec<Mistake>) {
    let others: Vec<Mistake> = mistakes.iter().filter(|m| m.absent.is_none()).cloned().collect();
    mistakes.retain(|m| match (m.kind, m.absent) {
        (_, Some(key)) => !others.iter().any(|o| o.is_about(key) || o.key == m.key),
        (MistakeKind::Missing, None) => !others.iter().any(|o| o.explains(&m.key) || o.made(m)),
        _ => true,
    });
}

impl Mistake {
    /// Whether the key that this is about, or that was likely meant, ends in `name`.
    fn is_about(&self, name: &str) -> bool {
        let ends = |path: &str| path.rsplit('.').next() == Some(name);
        ends(&self.key) || self.meant().is_some_and(ends)
    }

    /// What a misspelt key was likely meant to be.
    fn meant(&self) -> Option<&str> {
        self.nearest.as_deref().filter(|_| self.kind == MistakeKind::UnknownKey)
    }

    /// Whether what `missing` is missing in is there by this mistake alone: by an axis of it.
    fn made(&self, missing: &Self) -> bool {
        let parent = missing.key.rsplit_once('.').map_or("", |(parent, _)| parent);
        let by_this = self.key.split_once('.').is_some_and(|(_, path)| path.starts_with(parent));
        self.kind == MistakeKind::UnknownKey && self.at == missing.at && !parent.is_empty() && by_this
    }

    /// Whether this mistake is why `missing` was not found.
    fn explains(&self, missing: &str) -> bool {
        let (section, leaf) = missing.rsplit_once('.').unwrap_or((missing, ""));
        let unread = |key: &str| self.kind == MistakeKind::WrongType && self.key == key;
        if missing == "load" {
            let bears_load = |path: &str| path.split('.').any(|part| part == "users" || part == "qps");
            let section = self.meant().is_some_and(|n| n == "load" || n == "grid" || bears_load(n));
            // A search that can't be read would have had a load.
            let search = self.key.starts_with("search.") || self.key.ends_with(".search");
            return section || search || unread("load") || unread("grid") || bears_load(&self.key);
        }
        let parent = self.key.rsplit_once('.').map_or("", |(parent, _)| parent);
        let misspelt = parent == section && self.meant().is_some_and(|n| n.rsplit('.').next() == Some(leaf));
        misspelt || unread(section) || (parent.is_empty() && self.meant() == Some(section))
    }
}
