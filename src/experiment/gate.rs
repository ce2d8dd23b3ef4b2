//! What a comparison of two runs is held to: `[compare]` of an experiment, or a gate file.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::quantity::Quantity;
use super::reader::{Reader, Section};
use super::tree::{self, Sources, Table};
use super::{ExperimentError, Mistakes, apply_set, directory, mistake, read};

/// The gate. Every setting has a default.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GateSettings {
    /// What `run` compares with at its end: the name of a baseline, or a run's directory.
    pub baseline: Option<String>,
    /// The figures that decide. `None`: TTFT p50 and p95, TPOT p50, and goodput where requests
    /// have limits, else output tokens per second, as far as a cell has them.
    pub primary: Option<Vec<Quantity>>,
    /// Chance that a gate over equal systems fails: after Holm, over all primary figures.
    pub alpha: f64,
    /// Share of false ones among the figures that are coloured, by Benjamini and Hochberg.
    pub q: f64,
    /// Smallest changes that matter, as shares, in place of the defaults.
    pub margin: BTreeMap<Quantity, f64>,
    /// Plain rules: worse than so many times the baseline fails.
    pub limit: BTreeMap<Quantity, f64>,
    /// Plain rules: more than this fails, in the metric's unit.
    pub max: BTreeMap<Quantity, f64>,
    /// Plain rules: less than this fails, in the metric's unit.
    pub min: BTreeMap<Quantity, f64>,
    /// Repeats below which no pass is given.
    pub min_repeats: u32,
    /// Exit 5 rather than 0 where nobody can tell.
    pub strict: bool,
}

impl Default for GateSettings {
    fn default() -> Self {
        Self {
            baseline: None,
            primary: None,
            alpha: 0.05,
            q: 0.10,
            margin: BTreeMap::new(),
            limit: BTreeMap::new(),
            max: BTreeMap::new(),
            min: BTreeMap::new(),
            min_repeats: 5,
            strict: false,
        }
    }
}

impl GateSettings {
    /// Whether there are plain rules, which can be judged without repeats.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        !(self.limit.is_empty() && self.max.is_empty() && self.min.is_empty())
    }

    /// Reads a gate file: TOML with the keys of `[compare]`, without the section's name.
    ///
    /// # Errors
    /// When the file cannot be read as UTF-8 text, or holds mistakes.
    pub fn load(path: &Path) -> Result<Self, ExperimentError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ExperimentError::UnreadableGate { path: path.to_owned(), source })?;
        Ok(Self::parse(path, &text)?)
    }

    /// Reads `text`, the content of the gate file at `path`.
    ///
    /// # Errors
    /// Every mistake, in the order of the file.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Mistakes> {
        let sources = Sources::new(path.display().to_string(), text.to_owned());
        let (base, syntax) = tree::parse(&sources);
        read_from(path, &sources, syntax, |reader| read::compare(reader.root(&base)))
    }

    /// The `[compare]` section of an experiment file's text, with the `--set` overrides that it
    /// ran with, and nothing else of it: files that it names need not be there any more. `None`
    /// without such a section.
    ///
    /// # Errors
    /// Every mistake in that section, in the order of the file.
    pub fn of_experiment(path: &Path, text: &str, sets: &[String]) -> Result<Option<Self>, Mistakes> {
        alone(path, text, sets, "compare", read::compare)
    }
}

/// The section `key` of an experiment file's text, with the `--set` overrides that it ran with, read
/// by `read`, and nothing else of the file. `None` without such a section.
pub(super) fn alone<T>(
    path: &Path,
    text: &str,
    sets: &[String],
    key: &'static str,
    read: impl FnOnce(Section<'_>) -> T,
) -> Result<Option<T>, Mistakes> {
    let mut sources = Sources::new(path.display().to_string(), text.to_owned());
    let (mut base, mut mistakes) = tree::parse(&sources);
    for set in sets {
        mistakes.extend(apply_set(&mut base, &mut sources, set).err().map(|mistake| *mistake));
    }
    let Some(entry) = base.entry(key) else { return Ok(None) };
    // The section alone, or the others would be unknown keys.
    let alone = Table(vec![entry.clone()]);
    read_from(path, &sources, mistakes, |reader| read(reader.root(&alone).sub(key))).map(Some)
}

fn read_from<T>(
    path: &Path,
    sources: &Sources,
    syntax: Vec<mistake::Mistake>,
    read: impl FnOnce(&Reader<'_>) -> T,
) -> Result<T, Mistakes> {
    let reader = Reader::new(sources, directory(path));
    let gate = read(&reader);
    let mut mistakes = reader.take();
    mistakes.retain(|m| !syntax.iter().any(|s| (&s.file, s.line) == (&m.file, m.line)));
    mistakes.extend(syntax);
    if mistakes.is_empty() { Ok(gate) } else { Err(Mistakes::collect(mistakes)) }
}
