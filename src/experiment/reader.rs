//! Reads the tree key by key and goes on after a mistake, so that one try shows them all.
//!
//! A [`Section`] remembers which keys it was asked for: what is then left over is unknown,
//! and what was asked for is what is allowed.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::content::{DataFile, LengthFile};
use super::length_table::LengthTable;
use super::mistake::{Mistake, MistakeKind, nearest};
use super::tree::{Node, Origin, Sources, Table, Value};
use crate::units::{self, UnitError, format_duration};

/// Collects mistakes while sections are read.
pub(crate) struct Reader<'s> {
    pub sources: &'s Sources,
    /// Directory of the experiment file: relative paths start there.
    dir: PathBuf,
    mistakes: RefCell<Vec<Mistake>>,
    texts: RefCell<HashMap<PathBuf, Result<String, String>>>,
    /// Hashes of data files, which every cell of a grid asks for.
    hashes: RefCell<HashMap<PathBuf, Result<String, String>>>,
    /// Mean lengths of files of lengths.
    means: RefCell<HashMap<LengthFile, Result<u32, String>>>,
    /// Whether keys that only a whole cell must have are asked for.
    whole: Cell<bool>,
    /// Whether it only finds out where a key belongs, and need not look itself.
    seeking: Cell<bool>,
}

impl<'s> Reader<'s> {
    pub(crate) fn new(sources: &'s Sources, dir: &Path) -> Self {
        Self {
            sources,
            dir: dir.to_owned(),
            mistakes: RefCell::default(),
            texts: RefCell::default(),
            hashes: RefCell::default(),
            means: RefCell::default(),
            whole: Cell::new(true),
            seeking: Cell::new(false),
        }
    }

    /// A reader of a document that is made up to see whether a key is known.
    pub(crate) fn seeking(sources: &'s Sources) -> Self {
        let reader = Self::new(sources, Path::new(""));
        reader.seeking.set(true);
        reader
    }

    pub(crate) fn set_whole(&self, whole: bool) {
        self.whole.set(whole);
    }

    pub(crate) fn whole(&self) -> bool {
        self.whole.get()
    }

    pub(crate) fn add(&self, origin: Origin, key: impl Into<String>, mistake: Mistake) {
        self.push(mistake.placed(self.sources, origin, key));
    }

    pub(crate) fn push(&self, mistake: Mistake) {
        self.mistakes.borrow_mut().push(mistake);
    }

    pub(crate) fn extend(&self, mistakes: Vec<Mistake>) {
        self.mistakes.borrow_mut().extend(mistakes);
    }

    pub(crate) fn mistakes(&self) -> usize {
        self.mistakes.borrow().len()
    }

    pub(crate) fn take(self) -> Vec<Mistake> {
        self.mistakes.into_inner()
    }

    /// The document itself.
    pub(crate) fn root<'r>(&'r self, table: &'r Table) -> Section<'r> {
        let origin = Origin { source: 0, start: 0, end: 0 };
        Section {
            reader: self,
            path: String::new(),
            table: Some(table),
            origin,
            asked: RefCell::default(),
            skipped: RefCell::default(),
        }
    }

    fn text_file(&self, path: &Path) -> Result<String, String> {
        let mut texts = self.texts.borrow_mut();
        texts
            .entry(path.to_owned())
            .or_insert_with(|| std::fs::read_to_string(path).map_err(|e| e.to_string()))
            .clone()
    }

    fn hash(&self, path: &Path) -> Result<String, String> {
        let mut hashes = self.hashes.borrow_mut();
        hashes.entry(path.to_owned()).or_insert_with(|| sha256_of(path).map_err(|e| e.to_string())).clone()
    }

    /// The mean of a file's lengths, rounded; else what is wrong with the file.
    pub(crate) fn mean_length(&self, from: &LengthFile) -> Result<u32, String> {
        let known = self.means.borrow().get(from).cloned();
        known.unwrap_or_else(|| {
            let mean = self.text_file(&from.file.path).and_then(|text| {
                let table = LengthTable::parse(&text, from.column.as_deref(), from.weight.as_deref());
                table.map(|table| table.mean().round() as u32).map_err(|e| e.to_string())
            });
            self.means.borrow_mut().insert(from.clone(), mean.clone());
            mean
        })
    }
}

/// SHA-256 of a file's content, in hexadecimal digits.
fn sha256_of(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            n => hash.update(&piece[..n]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// One table of the document, present or not.
pub(crate) struct Section<'r> {
    pub reader: &'r Reader<'r>,
    path: String,
    table: Option<&'r Table>,
    /// Where the section was written, for what is missing in it.
    pub origin: Origin,
    asked: RefCell<Vec<&'static str>>,
    /// Keys about which all is said already.
    skipped: RefCell<Vec<String>>,
}

impl<'r> Section<'r> {
    pub(crate) fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The value of `key`, if it is there.
    pub(crate) fn get(&self, key: &'static str) -> Option<Field<'r>> {
        self.asked.borrow_mut().push(key);
        self.peek(key)
    }

    /// [`Section::get`] for a look at what another key means beside this one: it does not count
    /// as asked for.
    pub(crate) fn peek(&self, key: &str) -> Option<Field<'r>> {
        let entry = self.table?.entry(key)?;
        Some(Field {
            reader: self.reader,
            node: &entry.node,
            leaf: &entry.key,
            key: self.key(key),
            key_origin: entry.key_origin,
        })
    }

    /// A table in this one; empty when absent or not a table, which is a mistake.
    pub(crate) fn sub(&self, key: &'static str) -> Section<'r> {
        let field = self.get(key);
        let table = field.as_ref().and_then(Field::table);
        let origin = field.map_or(self.origin, |f| f.key_origin);
        Section {
            reader: self.reader,
            path: self.key(key),
            table,
            origin,
            asked: RefCell::default(),
            skipped: RefCell::default(),
        }
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = Field<'r>> + use<'r> {
        let (reader, path) = (self.reader, self.path.clone());
        self.table.into_iter().flat_map(|t| &t.0).map(move |entry| Field {
            reader,
            node: &entry.node,
            leaf: &entry.key,
            key: if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) },
            key_origin: entry.key_origin,
        })
    }

    /// Leaves a key out of what is unknown.
    pub(crate) fn skip(&self, key: &str) {
        self.skipped.borrow_mut().push(key.to_owned());
    }

    /// A mistake for each key that nobody asked for.
    pub(crate) fn done(self) {
        let asked = self.asked.borrow();
        for entry in self.table.into_iter().flat_map(|t| &t.0) {
            if asked.contains(&entry.key.as_str()) || self.skipped.borrow().contains(&entry.key) {
                continue;
            }
            let near = nearest(&entry.key, asked.iter().copied());
            let near = match &entry.node.alias {
                // Through an axis the whole path was written, not this table's key.
                Some(alias) if alias.starts_with("grid") => near.map(|key| self.key(key)),
                _ => near.map(str::to_owned),
            };
            let mut mistake =
                unknown_key(self.reader, &self.path, &entry.key, near).allowed(asked.join(", "));
            if super::secret::looks_secret(&entry.key) {
                mistake = mistake.hidden();
            }
            let key = entry.node.alias.as_deref().map_or_else(|| self.key(&entry.key), str::to_owned);
            self.reader.add(entry.key_origin, key, mistake);
        }
    }
}

/// What is said of `key`, unknown in the section `path`: that `near` was likely meant, else
/// where it belongs.
fn unknown_key(reader: &Reader<'_>, path: &str, key: &str, near: Option<String>) -> Mistake {
    let mistake = |problem: String| Mistake::new(MistakeKind::UnknownKey, problem);
    // A setting in another's section, or whose section was left out, as in `--set duration=3s`.
    let home = if near.is_none() && !reader.seeking.get() { super::grid::home_of(key) } else { None };
    match (&home, path.is_empty()) {
        (Some(full), false) => {
            let section = full.rsplit_once('.').map_or("", |(section, _)| section);
            mistake(format!("unknown key here: it belongs into [{section}]")).nearest(home)
        }
        _ => mistake("unknown key".to_owned()).nearest(near.or(home)),
    }
}

/// A value, with its place.
#[derive(Clone)]
pub(crate) struct Field<'r> {
    pub reader: &'r Reader<'r>,
    pub node: &'r Node,
    leaf: &'r str,
    key: String,
    pub key_origin: Origin,
}

impl<'r> Field<'r> {
    /// The key as a mistake names it.
    pub(crate) fn key(&self) -> &str {
        self.node.alias.as_deref().unwrap_or(&self.key)
    }

    /// The key itself, without its path.
    pub(crate) fn name(&self) -> &'r str {
        self.leaf
    }

    pub(crate) fn mistake(&self, mistake: Mistake) {
        self.reader.add(self.node.origin, self.key(), mistake);
    }

    /// This key is unknown in its section, where `allowed` is; `near` was likely meant.
    pub(crate) fn unknown_key(&self, near: Option<String>, allowed: String) {
        let section = self.key().rsplit_once('.').map_or("", |(section, _)| section);
        self.key_mistake(unknown_key(self.reader, section, self.leaf, near).allowed(allowed));
    }

    /// A mistake about the key itself.
    pub(crate) fn key_mistake(&self, mistake: Mistake) {
        self.reader.add(self.key_origin, self.key(), mistake);
    }

    pub(crate) fn wrong_type(&self, wanted: &str) {
        let mistake = Mistake::new(MistakeKind::WrongType, format!("wants {wanted}"));
        self.mistake(mistake.found(self.node.describe()));
    }

    fn out_of_range(&self, allowed: String) {
        let mistake = Mistake::new(MistakeKind::OutOfRange, "out of range");
        self.mistake(mistake.found(self.node.describe()).allowed(allowed));
    }

    pub(crate) fn bad(&self, problem: impl Into<String>) {
        self.mistake(Mistake::new(MistakeKind::BadValue, problem).found(self.node.describe()));
    }

    pub(crate) fn table(&self) -> Option<&'r Table> {
        match &self.node.value {
            Value::Table(table) => Some(table),
            _ => {
                self.wrong_type("a table");
                None
            }
        }
    }

    /// This value, a table, as a section.
    pub(crate) fn section(&self) -> Section<'r> {
        Section {
            reader: self.reader,
            path: self.key().to_owned(),
            table: self.table(),
            origin: self.node.origin,
            asked: RefCell::default(),
            skipped: RefCell::default(),
        }
    }

    pub(crate) fn items(&self) -> Option<&'r [Node]> {
        match &self.node.value {
            Value::Array(items) => Some(items),
            _ => {
                self.wrong_type("a list");
                None
            }
        }
    }

    /// Another value with this one's place, such as an item of this list.
    pub(crate) fn item(&self, node: &'r Node, key: String) -> Self {
        Self { reader: self.reader, node, leaf: self.leaf, key, key_origin: node.origin }
    }

    pub(crate) fn is_table(&self) -> bool {
        matches!(self.node.value, Value::Table(_))
    }

    pub(crate) fn str(&self) -> Option<&'r str> {
        match &self.node.value {
            Value::Str(s) => Some(s),
            _ => {
                self.wrong_type("a text in quotes");
                None
            }
        }
    }

    /// A text that is not empty.
    pub(crate) fn text(&self) -> Option<String> {
        let text = self.str()?;
        if text.trim().is_empty() {
            self.bad("empty");
            return None;
        }
        Some(text.to_owned())
    }

    /// A text, or, written `@file`, the content of that file.
    pub(crate) fn text_or_file(&self) -> Option<String> {
        let text = self.text()?;
        let Some(name) = text.strip_prefix('@') else { return Some(text) };
        match self.reader.text_file(&self.reader.dir.join(name)) {
            Ok(content) if !content.trim().is_empty() => Some(content),
            Ok(_) => {
                self.bad("the file is empty");
                None
            }
            Err(reason) => {
                self.bad(format!("cannot read the file: {reason}"));
                None
            }
        }
    }

    /// A file that is there; relative to the experiment file.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        let path = self.reader.dir.join(self.text()?);
        if !path.is_file() {
            self.bad("no such file (a relative path starts at the experiment file)");
            return None;
        }
        Some(path)
    }

    /// A file whose content decides what is asked: its path and what it holds now.
    pub(crate) fn data_file(&self) -> Option<DataFile> {
        let path = self.file()?;
        match self.reader.hash(&path) {
            Ok(sha256) => Some(DataFile { path, sha256 }),
            Err(reason) => {
                self.bad(format!("cannot read the file: {reason}"));
                None
            }
        }
    }

    /// A path that need not be there yet; relative to the experiment file.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        Some(self.reader.dir.join(self.text()?))
    }

    pub(crate) fn bool(&self) -> Option<bool> {
        match &self.node.value {
            Value::Bool(b) => Some(*b),
            _ => {
                self.wrong_type("true or false");
                None
            }
        }
    }

    /// A whole number within bounds; counts such as `"10k"` are read too.
    pub(crate) fn int(&self, min: i64, max: i64) -> Option<i64> {
        let value = match &self.node.value {
            Value::Int(i) => *i,
            // From a range, or `--set`: 4.0 is 4.
            Value::Float(x) if x.fract() == 0.0 && x.abs() < 9e15 => *x as i64,
            Value::Float(x) if x.abs() >= 9e15 => {
                self.out_of_range(format!("{min} to {max}"));
                return None;
            }
            Value::Str(s) => match units::parse_count(s).ok().and_then(|n| i64::try_from(n).ok()) {
                Some(n) => n,
                None => {
                    let mistake = Mistake::new(MistakeKind::WrongType, "wants a whole number");
                    // `--set grid.users=1,2` is a text until it has brackets.
                    let list = s.contains(',').then(|| format!("[{s}]"));
                    let mistake = mistake.found(self.node.describe());
                    self.mistake(match list {
                        Some(list) => mistake.allowed(format!("a list, where one is meant, is {list}")),
                        None => mistake,
                    });
                    return None;
                }
            },
            _ => {
                self.wrong_type("a whole number");
                return None;
            }
        };
        if !(min..=max).contains(&value) {
            self.out_of_range(format!("{min} to {max}"));
            return None;
        }
        Some(value)
    }

    /// A whole number as `u32`; `min` and `max` as for [`Field::int`].
    pub(crate) fn u32(&self, min: u32, max: u32) -> Option<u32> {
        self.int(min.into(), max.into()).and_then(|n| u32::try_from(n).ok())
    }

    /// A finite number.
    pub(crate) fn number(&self) -> Option<f64> {
        match &self.node.value {
            Value::Int(i) => Some(*i as f64),
            Value::Float(x) if x.is_finite() => Some(*x),
            _ => {
                self.wrong_type("a number");
                None
            }
        }
    }

    /// A number for which `fits` holds; `allowed` says so in words.
    pub(crate) fn number_in(&self, allowed: &str, fits: impl Fn(f64) -> bool) -> Option<f64> {
        let value = self.number()?;
        if !fits(value) {
            self.out_of_range(allowed.to_owned());
            return None;
        }
        Some(value)
    }

    /// A share of 1, also written as `"1%"`.
    pub(crate) fn share(&self) -> Option<f64> {
        if let Value::Str(s) = &self.node.value {
            return match units::parse_share(s) {
                Ok(share) => Some(share),
                Err(_) => {
                    self.bad("not a share; write 0.01 or \"1%\"");
                    None
                }
            };
        }
        self.number_in("0 to 1, or \"0%\" to \"100%\"", |x| (0.0..=1.0).contains(&x))
    }

    /// A duration within bounds.
    pub(crate) fn duration(&self, min: Duration, max: Duration) -> Option<Duration> {
        let Value::Str(text) = &self.node.value else {
            let problem = match &self.node.value {
                Value::Int(_) | Value::Float(_) => {
                    let number = self.node.describe();
                    // A flag or `--set` wants no quotes, and a shell would take them away.
                    if self.node.origin.source > 0 {
                        format!("a duration needs a unit: {number}s or {number}ms")
                    } else {
                        format!("a duration needs a unit and quotes: \"{number}s\" or \"{number}ms\"")
                    }
                }
                _ => "wants a duration such as \"30s\"".to_owned(),
            };
            self.mistake(Mistake::new(MistakeKind::WrongType, problem).found(self.node.describe()));
            return None;
        };
        match units::parse_duration(text) {
            Ok(duration) if (min..=max).contains(&duration) => Some(duration),
            Ok(_) => {
                let bounds = format!("{} to {}", format_duration(min), format_duration(max));
                self.out_of_range(bounds);
                None
            }
            Err(UnitError::UnknownUnit { unit, nearest }) => {
                let problem = format!("bad duration: no unit {unit:?}");
                let mistake = Mistake::new(MistakeKind::BadValue, problem);
                self.mistake(
                    mistake.found(self.node.describe()).nearest(nearest).allowed("h, m, s, ms, us, ns"),
                );
                None
            }
            Err(error) => {
                self.bad(format!("bad duration: {error}"));
                None
            }
        }
    }

    /// A duration, or `"none"`.
    pub(crate) fn duration_or_none(&self, min: Duration, max: Duration) -> Option<Option<Duration>> {
        match &self.node.value {
            Value::Str(s) if s == "none" => Some(None),
            _ => self.duration(min, max).map(Some),
        }
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = self.str()?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        self.unknown_word(text, &names);
        None
    }

    pub(crate) fn unknown_word(&self, text: &str, words: &[&str]) {
        self.unknown_word_near(words, nearest(text, words.iter().copied()));
    }

    /// The text names no figure.
    pub(crate) fn unknown_figure(&self, near: Option<&str>, allowed: &str) {
        let mistake = Mistake::new(MistakeKind::UnknownWord, "no such figure").found(self.node.describe());
        self.mistake(mistake.nearest(near).allowed(allowed));
    }

    /// [`Field::unknown_word`], when it is known better which word was meant.
    pub(crate) fn unknown_word_near(&self, words: &[&str], near: Option<&str>) {
        let quoted: Vec<String> = words.iter().map(|w| format!("{w:?}")).collect();
        let mistake = Mistake::new(MistakeKind::UnknownWord, "unknown word")
            .found(self.node.describe())
            .nearest(near)
            .allowed(quoted.join(", "));
        self.mistake(mistake);
    }
}
