//! Which load is tried next.

use super::{End, Level, Verdict};
use crate::experiment::SearchRules;

/// What a search does next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Measure a cell at this load, for the `repeat`-th time.
    Probe { load: f64, repeat: u32 },
    /// Nothing.
    Done(End),
}

/// What to do once these `levels` were measured, in whatever order: double from the first load to
/// the first that fails (or halve to the first that passes), then halve the gap in log load.
/// `cost` tells how many seconds a cell at a load is expected to take.
#[must_use]
pub fn next(rules: &SearchRules, levels: &[Level], cost: &dyn Fn(f64) -> f64) -> Next {
    let wanted = match unsettled(rules, levels) {
        Some(Next::Probe { load, repeat }) => (load, repeat),
        Some(done) => return done,
        None => match load(rules, levels) {
            Ok(load) => (load, 1),
            Err(end) => return Next::Done(end),
        },
    };
    let probes: u32 = levels.iter().map(|level| level.probes).sum();
    if probes >= rules.probes {
        return Next::Done(End::ProbesRanOut);
    }
    let (load, repeat) = wanted;
    let used: f64 = levels.iter().map(|level| level.seconds).sum();
    if rules.time_s.is_some_and(|most| used + cost(load) > most) {
        return Next::Done(End::TimeRanOut);
    }
    Next::Probe { load, repeat }
}

/// The load that has to be measured again, or that ends the search as it can't be measured.
fn unsettled(rules: &SearchRules, levels: &[Level]) -> Option<Next> {
    levels.iter().find_map(|level| {
        let in_doubt = match level.verdict {
            None => true,
            Some(verdict) => verdict == Verdict::Undecided && level.valid <= rules.extend,
        };
        if !in_doubt {
            return None;
        }
        if level.probes - level.valid >= 2 {
            let reason = level.invalid.clone().unwrap_or_default();
            return Some(Next::Done(End::Invalid { reason }));
        }
        Some(Next::Probe { load: level.load, repeat: level.probes + 1 })
    })
}

/// The greatest load below the first that fails from which the search goes up, and that first.
pub(super) fn bracket(levels: &[Level]) -> (Option<f64>, Option<f64>) {
    let of = |up: bool| move |level: &&Level| level.goes_up() == Some(up);
    let high = levels.iter().filter(of(false)).map(|level| level.load).reduce(f64::min);
    let below = levels.iter().filter(of(true)).map(|level| level.load);
    (below.filter(|load| high.is_none_or(|high| *load < high)).reduce(f64::max), high)
}

/// A load that was not tried yet.
fn load(rules: &SearchRules, levels: &[Level]) -> Result<f64, End> {
    let load = match bracket(levels) {
        (None, None) => return Ok(tidy(rules, rules.start)),
        (Some(low), None) if low >= rules.max => return Err(sure(levels, low, Verdict::Pass, End::AllPass)),
        (Some(low), None) => tidy(rules, low * 2.0).min(rules.max),
        (None, Some(high)) if high <= rules.min => {
            return Err(sure(levels, high, Verdict::Fail, End::NonePass));
        }
        (None, Some(high)) => tidy(rules, high / 2.0).max(rules.min),
        (Some(low), Some(high)) if high <= low * rules.ratio => return Err(End::Settled),
        (Some(low), Some(high)) => {
            let middle = tidy(rules, (low * high).sqrt());
            if middle <= low || middle >= high {
                return Err(End::Settled);
            }
            middle
        }
    };
    Ok(load)
}

/// `end`, if the level at the bound surely is what that says.
fn sure(levels: &[Level], load: f64, verdict: Verdict, end: End) -> End {
    let decided = levels.iter().any(|level| level.load == load && level.verdict == Some(verdict));
    if decided { end } else { End::Undecided }
}

/// Four digits are enough, and whole users all there are.
fn tidy(rules: &SearchRules, load: f64) -> f64 {
    if rules.whole() {
        return load.round().max(1.0);
    }
    // A number that is written and read again is the nearest to what is written.
    format!("{load:.3e}").parse().unwrap_or(load)
}

#[cfg(test)]
#[path = "step_tests.rs"]
pub(super) mod tests;
