//! Judges what was measured: by `compare` with the default gate, as the program does.

use std::path::Path;

use plimsoll::analysis::RunData;
use plimsoll::analysis::compare::{Comparison, GateSettings, Outcome, Row, Verdict, compare};
use plimsoll::measure;

use super::Error;
use super::measure::{BASE, EQUAL, Kind, P50, P95, Size, TAIL, run_of};
use super::tail::{Tail, tail};

/// So many pairs a comparison is to have.
pub const REPEATS: u32 = 5;

/// Everything that came out.
pub struct Found {
    /// Cells that were measured, and of these the invalid ones.
    pub cells: usize,
    pub invalid: usize,
    /// Why they are invalid, and how many for each reason.
    pub why: Vec<(String, usize)>,
    pub alpha: f64,
    pub equal: Vec<Judged>,
    /// What was planted, with the row that is to show it first.
    pub planted: Vec<Planted>,
    pub tail: Tail,
}

/// One comparison.
pub struct Judged {
    pub comparison: Comparison,
}

/// The comparisons that are to find one planted change.
pub struct Planted {
    pub what: &'static str,
    /// Rows to look at: metric, statistic, whether the default gate decides by it, and the
    /// change in it that was planted, or `None` where it isn't known exactly.
    pub rows: &'static [(&'static str, &'static str)],
    pub comparisons: Vec<Judged>,
}

impl Judged {
    pub fn row(&self, metric: &str, stat: &str) -> Option<&Row> {
        self.comparison.rows.iter().find(|row| row.metric == metric && row.stat == stat)
    }

    pub fn primary(&self) -> impl Iterator<Item = &Row> {
        self.comparison.rows.iter().filter(|row| row.primary)
    }

    pub fn failed(&self) -> bool {
        self.comparison.outcome == Outcome::Fail
    }

    /// Some figure that decides is told from chance, for better or worse.
    pub fn significant(&self) -> bool {
        self.primary().any(|row| is_significant(row, &self.comparison.gate))
    }

    /// Every pair could be used.
    pub fn whole(&self) -> bool {
        self.primary().all(|row| row.repeats == REPEATS)
    }
}

/// Told from chance: by Holm where the gate decides by it, else by Benjamini and Hochberg.
pub fn is_significant(row: &Row, gate: &GateSettings) -> bool {
    match (row.p_adjusted, row.q) {
        (Some(p), _) => p < gate.alpha,
        (None, Some(q)) => q <= gate.q,
        _ => false,
    }
}

/// What is said of a row that is to be worse.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shown {
    /// `REGRESSED`.
    pub found: bool,
    /// Worse, and told from chance: `REGRESSED`, or `SMALL` and worse.
    pub told: bool,
    /// Told from chance, and its estimate is at least the margin: the plain rule.
    pub beyond: bool,
}

pub fn shown(row: &Row, gate: &GateSettings) -> Shown {
    let told = is_significant(row, gate) && row.is_worse() == Some(true);
    Shown { found: row.verdict == Verdict::Regressed, told, beyond: told && row.severity() >= 1.0 }
}

/// Compares what lies in `dir`.
pub fn all(dir: &Path, size: Size) -> Result<Found, Error> {
    let gate = GateSettings::default();
    let mut found = Found {
        cells: 0,
        invalid: 0,
        why: Vec::new(),
        alpha: gate.alpha,
        equal: Vec::new(),
        planted: vec![
            Planted { what: "p50 + 5 %", rows: &[("tpot", "p50"), ("e2e", "p50")], comparisons: Vec::new() },
            Planted { what: "p95 + 10 %", rows: &[("ttft", "p95"), ("e2e", "p95")], comparisons: Vec::new() },
        ],
        tail: Tail::default(),
    };
    for n in 0..size.equal {
        let load = |kind: Kind| -> Result<Option<RunData>, Error> {
            Ok(run_of(dir, n, kind).map(|run| RunData::load(&run)).transpose()?)
        };
        let (Some(base), Some(equal)) = (load(BASE)?, load(EQUAL)?) else { continue };
        count(&mut found, &base);
        count(&mut found, &equal);
        found.equal.push(Judged { comparison: compare(&base, &equal, &gate) });
        for (at, kind) in [P50, P95].into_iter().enumerate() {
            let Some(run) = load(kind)? else { continue };
            count(&mut found, &run);
            found.planted[at].comparisons.push(Judged { comparison: compare(&base, &run, &gate) });
        }
        if let Some(run) = load(TAIL)? {
            count(&mut found, &run);
            found.tail.add(tail(&base, &run)?, &compare(&base, &run, &gate));
        }
    }
    found.why.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    Ok(found)
}

fn count(found: &mut Found, run: &RunData) {
    for summary in run.cells.iter().filter_map(|cell| cell.summary.as_ref()) {
        found.cells += 1;
        if summary.validity.verdict != measure::Verdict::Invalid {
            continue;
        }
        found.invalid += 1;
        let first = summary.validity.reasons.iter().find(|r| r.verdict == measure::Verdict::Invalid);
        let signal = first.map_or("unknown", |r| r.signal.as_str());
        match found.why.iter_mut().find(|(name, _)| name == signal) {
            Some((_, n)) => *n += 1,
            None => found.why.push((signal.to_owned(), 1)),
        }
    }
}
