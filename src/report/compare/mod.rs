//! A comparison on paper: for the terminal, as Markdown for a pull request, as JUnit XML for a
//! build server, and as JSON.

mod junit;
pub(super) mod markdown;
mod table;
mod terminal;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use junit::junit;
pub use markdown::markdown;
pub use terminal::terminal;

use super::{ReportError, replace};
use crate::analysis::compare::{Comparison, Row, Verdict};
use crate::analysis::text::probability;

/// What [`write()`] left on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The directory: `compare-<baseline>-<candidate>` in the one for reports.
    pub dir: PathBuf,
    pub files: Vec<PathBuf>,
}

/// Name of a comparison's own directory among the reports.
#[must_use]
pub fn directory(comparison: &Comparison) -> String {
    format!("compare-{}-{}", comparison.baseline.run, comparison.candidate.run)
}

/// Write `comparison.json`, `comparison.md` and `comparison.xml` into a directory of its own in
/// `reports`, which is made if need be. Each file appears whole or not at all; those of an
/// earlier comparison of the same runs are replaced.
///
/// # Errors
/// When a file cannot be written.
pub fn write(comparison: &Comparison, reports: &Path) -> Result<Written, ReportError> {
    let dir = reports.join(directory(comparison));
    std::fs::create_dir_all(&dir).map_err(|source| ReportError::Io { path: dir.clone(), source })?;
    let texts = [
        ("comparison.json", json(comparison)?),
        ("comparison.md", markdown(comparison)),
        ("comparison.xml", junit(comparison)),
    ];
    let mut files = Vec::new();
    for (name, text) in texts {
        let path = dir.join(name);
        replace(&path, text.as_bytes())?;
        files.push(path);
    }
    Ok(Written { dir, files })
}

/// The whole comparison as indented JSON.
///
/// # Errors
/// When it can't be put as JSON.
pub fn json(comparison: &Comparison) -> Result<String, ReportError> {
    Ok(serde_json::to_string_pretty(comparison)? + "\n")
}

/// Rows with what matters most first: by verdict, then by how far they are beyond their margin;
/// else as they stand in the plan.
fn by_importance<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<&'a Row> {
    let mut rows: Vec<&Row> = rows.collect();
    let rank = |row: &Row| Verdict::ALL.iter().position(|verdict| *verdict == row.verdict);
    rows.sort_by(|a, b| rank(a).cmp(&rank(b)).then(b.severity().total_cmp(&a.severity())));
    rows
}

/// How repeats were compared, in words: `5 repeats, paired by seed and workload`.
fn repeats(comparison: &Comparison) -> String {
    let tested = || comparison.rows.iter().filter(|row| row.p.is_some());
    let (least, most) = (tested().map(|r| r.repeats).min(), tested().map(|r| r.repeats).max());
    let paired = tested().filter(|row| row.paired).count();
    let how = match paired {
        0 => "not paired",
        n if n == tested().count() => "paired by seed and workload",
        _ => "paired by seed and workload where they could be",
    };
    match (least, most) {
        (Some(least), Some(most)) if least == most => format!("{least} repeats, {how}"),
        (Some(least), Some(most)) => format!("{least} to {most} repeats, {how}"),
        _ if comparison.rows.iter().any(|row| row.verdict == Verdict::Unverified) => {
            "one repeat, held against limits alone".to_owned()
        }
        _ => "nothing was tested".to_owned(),
    }
}

/// How many rows have each verdict: `30 equivalent, 2 inconclusive`.
fn counts<'a>(rows: impl Iterator<Item = &'a Row> + Clone) -> String {
    let of = |verdict: &Verdict| {
        let n = rows.clone().filter(|row| row.verdict == *verdict).count();
        (n > 0).then(|| format!("{n} {}", verdict.word().to_lowercase()))
    };
    Verdict::ALL.iter().filter_map(of).collect::<Vec<_>>().join(", ")
}

/// What was remarked of rows, each remark once, with how many rows it is of.
fn remarks<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<(String, usize)> {
    let mut out: Vec<(String, usize)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for reason in rows.flat_map(|row| &row.reasons) {
        let at = *places.entry(reason).or_insert_with(|| {
            out.push((reason.clone(), 0));
            out.len() - 1
        });
        out[at].1 += 1;
    }
    out
}

/// A p value as people read it.
fn p_text(p: Option<f64>) -> String {
    p.map_or_else(|| "–".to_owned(), probability)
}
