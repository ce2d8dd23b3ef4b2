//! Files that decide what is asked: read when a source is built, and held to what the plan saw.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::random;
use crate::experiment::{DataFile, Shuffle};

/// A file that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: String },
    /// A run goes by its plan: other data would be another experiment.
    #[error("{} has changed since the experiment was read; read the experiment again", path.display())]
    Changed { path: PathBuf },
    /// Something in the file is not as it has to be. `place` is a line, or an item and its number.
    #[error("{}:{place}: {problem}", path.display())]
    Wrong { path: PathBuf, place: String, problem: String },
    /// Several lines are not as they have to be: the first few, and how many there are beside.
    #[error("{}", in_words(path, wrong, *more))]
    Several { path: PathBuf, wrong: Vec<(usize, String)>, more: usize },
    /// What the experiment file's `key` names can't be used.
    #[error("{key}: {error}")]
    Named { key: &'static str, error: Box<DataError> },
    /// The file as a whole is not as it has to be.
    #[error("{}: {problem}", path.display())]
    Whole { path: PathBuf, problem: String },
}

impl DataError {
    pub(super) fn at(path: &Path, place: impl ToString, problem: impl Into<String>) -> Self {
        Self::Wrong { path: path.to_owned(), place: place.to_string(), problem: problem.into() }
    }

    pub(super) fn whole(path: &Path, problem: impl Into<String>) -> Self {
        Self::Whole { path: path.to_owned(), problem: problem.into() }
    }
}

impl DataError {
    /// The same, with the key of the experiment file that names the file.
    pub(super) fn of(self, key: &'static str) -> Self {
        Self::Named { key, error: Box::new(self) }
    }
}

/// Wrong lines that are told one by one.
const TOLD: usize = 5;

/// A line each, as one that is alone in its file.
fn in_words(path: &Path, wrong: &[(usize, String)], more: usize) -> String {
    let line = |(line, problem): &(usize, String)| format!("{}:{line}: {problem}", path.display());
    let mut lines: Vec<String> = wrong.iter().map(line).collect();
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines.join("\n")
}

/// Every line read by `read`; else all that is wrong, in the order of the file.
pub(super) fn all_of<'t, T>(
    path: &Path,
    lines: impl Iterator<Item = (usize, &'t str)>,
    read: impl Fn(&'t str) -> Result<T, String>,
) -> Result<Vec<T>, DataError> {
    // Lines come in the order in which they are asked for: the first of the file are kept.
    let (mut all, mut wrong, mut more) = (Vec::new(), BTreeMap::new(), 0);
    for (number, line) in lines {
        match read(line) {
            Ok(item) => all.push(item),
            Err(problem) => {
                wrong.insert(number, problem);
                if wrong.len() > TOLD {
                    wrong.pop_last();
                    more += 1;
                }
            }
        }
    }
    if wrong.is_empty() {
        return Ok(all);
    }
    Err(DataError::Several { path: path.to_owned(), wrong: wrong.into_iter().collect(), more })
}

/// The content of `file`, if it is still what it was when the experiment was read.
pub(super) fn bytes(file: &DataFile) -> Result<Vec<u8>, DataError> {
    let unreadable = |reason: String| DataError::Unreadable { path: file.path.clone(), reason };
    let bytes = std::fs::read(&file.path).map_err(|e| unreadable(e.to_string()))?;
    let found: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if found != file.sha256 {
        return Err(DataError::Changed { path: file.path.clone() });
    }
    Ok(bytes)
}

/// [`bytes()`] of a file that is text.
pub(super) fn text(file: &DataFile) -> Result<String, DataError> {
    let mut text = String::from_utf8(bytes(file)?).map_err(|e| {
        let before = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        DataError::at(&file.path, line, "not UTF-8 text")
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

/// Lines that are not blank, with their numbers.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines().map(str::trim)).filter(|(_, line)| !line.is_empty())
}

/// The order in which `n` entries are asked for.
pub(super) fn order(n: usize, shuffle: Shuffle, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    let seed = match shuffle {
        Shuffle::No => return order,
        Shuffle::Cell => seed,
        Shuffle::Seed(seed) => seed,
    };
    let mut rng = random::stream("order", seed, "", 0);
    for last in (1..n).rev() {
        order.swap(last, random::below(&mut rng, last + 1));
    }
    order
}

/// How many entries of a file are taken.
pub(super) fn most(limit: Option<u64>) -> usize {
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// The file of a test, as an experiment would have found it.
#[cfg(test)]
pub(super) fn written(text: &str) -> (tempfile::NamedTempFile, DataFile) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), text).expect("written");
    let sha256 = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    let found = DataFile { path: file.path().to_owned(), sha256 };
    (file, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_what_it_was() {
        let (file, found) = written("one\n\n two \n");
        let text = text(&found).unwrap();
        assert_eq!(lines(&text).collect::<Vec<_>>(), [(1, "one"), (3, "two")]);
        std::fs::write(file.path(), "other").unwrap();
        let error = bytes(&found).unwrap_err().to_string();
        assert!(error.contains("has changed since the experiment was read"), "{error}");
        drop(file);
        assert!(matches!(bytes(&found), Err(DataError::Unreadable { .. })));
    }

    #[test]
    fn text_that_is_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let content = b"fine\nnot \xff fine\n";
        std::fs::write(file.path(), content).unwrap();
        let sha256 = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
        let error = text(&DataFile { path: file.path().to_owned(), sha256 }).unwrap_err().to_string();
        assert!(error.ends_with(":2: not UTF-8 text"), "{error}");
    }

    #[test]
    fn orders_are_drawn_by_their_seed() {
        assert_eq!(order(4, Shuffle::No, 1), [0, 1, 2, 3]);
        assert_eq!(order(50, Shuffle::Cell, 7), order(50, Shuffle::Seed(7), 1));
        assert_ne!(order(50, Shuffle::Cell, 7), order(50, Shuffle::Cell, 8));
        let mut sorted = order(50, Shuffle::Cell, 7);
        assert_ne!(sorted, order(50, Shuffle::No, 7));
        sorted.sort_unstable();
        assert_eq!(sorted, order(50, Shuffle::No, 0), "each once");
        // Every place is as likely for an entry.
        let mut places = [0_u32; 5];
        for seed in 0..2000 {
            let at = order(5, Shuffle::Seed(seed), 0).iter().position(|entry| *entry == 0).unwrap();
            places[at] += 1;
        }
        // Four standard errors of a binomial count with p = 1/5.
        assert!(places.iter().all(|n| n.abs_diff(400) <= 72), "{places:?}");
    }
}
