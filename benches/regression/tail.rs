//! A change in the tail alone: what the shift function shows of it.

use plimsoll::analysis::compare::{Comparison, Outcome};
use plimsoll::analysis::{CellData, Records, RunData};
use plimsoll::measure::Verdict;
use plimsoll::stats::{Shift, shift_function};

use super::Error;

/// Where the shift function is looked at.
pub const QUANTILES: [f64; 11] = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.95, 0.99];
/// Up to here nothing was planted; one request in ten is slow.
pub const BODY: f64 = 0.8;

/// What came out of all comparisons.
#[derive(Default)]
pub struct Tail {
    pub shifts: Vec<Vec<Shift>>,
    /// How often the default gate failed, which looks at no far tail of TPOT.
    pub failed: usize,
}

impl Tail {
    pub fn add(&mut self, shifts: Vec<Shift>, comparison: &Comparison) {
        self.shifts.push(shifts);
        self.failed += usize::from(comparison.outcome == Outcome::Fail);
    }

    /// How many bands at this quantile leave 0 out above.
    pub fn above(&self, q: f64) -> usize {
        self.at(q).filter(|shift| shift.low.is_some_and(|low| low > 0.0)).count()
    }

    /// And how many below.
    pub fn below(&self, q: f64) -> usize {
        self.at(q).filter(|shift| shift.high.is_some_and(|high| high < 0.0)).count()
    }

    /// The mean effect at this quantile.
    pub fn effect(&self, q: f64) -> f64 {
        let n = self.at(q).count().max(1) as f64;
        self.at(q).map(|shift| shift.effect).sum::<f64>() / n
    }

    fn at(&self, q: f64) -> impl Iterator<Item = &Shift> {
        self.shifts.iter().flatten().filter(move |shift| (shift.q - q).abs() < 1e-9)
    }
}

/// The shift function of TPOT over the repeats that both sides have and that can be believed.
pub fn tail(base: &RunData, cand: &RunData) -> Result<Vec<Shift>, Error> {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let valid =
        |cell: &CellData| cell.summary.as_ref().is_some_and(|s| s.validity.verdict != Verdict::Invalid);
    for a in base.cells.iter().filter(|cell| valid(cell)) {
        let same = |b: &&CellData| (&b.cell.id, b.cell.repeat) == (&a.cell.id, a.cell.repeat) && valid(b);
        if let Some(b) = cand.cells.iter().find(same) {
            left.push(tpots(a)?);
            right.push(tpots(b)?);
        }
    }
    Ok(shift_function(&left, &right, &QUANTILES, 0.95))
}

/// Milliseconds between tokens of each answer that was due in the window.
fn tpots(cell: &CellData) -> Result<Vec<f64>, Error> {
    let Some(path) = cell.records.as_deref() else { return Ok(Vec::new()) };
    let records =
        Records::read(path, &["phase", "outcome", "first_token_us", "last_token_us", "output_tokens"])?;
    let (phase, outcome) = (records.words("phase")?, records.words("outcome")?);
    let took = records.elapsed_ms("first_token_us", "last_token_us")?;
    let tokens = records.counts("output_tokens")?;
    let one = |i: usize| {
        let counted = phase[i].as_deref() == Some("measure") && outcome[i].as_deref() == Some("ok");
        let gaps = tokens[i].filter(|n| *n > 1)? - 1;
        counted.then_some(took[i]? / gaps as f64)
    };
    Ok((0..records.len()).filter_map(one).collect())
}
