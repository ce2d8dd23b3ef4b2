//! What the gate says, and why, in sentences.

use super::meet::{Met, why_apart};
use super::sides::sides;
use super::{Check, GateSettings, Outcome, Row, Verdict};
use crate::analysis::text::list;
use crate::analysis::words::value_with_unit;

/// Most figures that a sentence names.
const NAMED: usize = 4;

/// The outcome and its reasons, the answer first.
pub(super) fn outcome(
    cells: &[Met<'_>],
    rows: &[Row],
    suite: &[Row],
    checks: &[Check],
    gate: &GateSettings,
) -> (Outcome, Vec<String>) {
    if !cells.iter().any(Met::in_both) {
        return (Outcome::NotComparable, vec![format!("Not comparable: {}.", why_apart(cells))]);
    }
    let primary: Vec<&Row> = rows.iter().filter(|row| row.primary).collect();
    let of =
        |verdict: Verdict| primary.iter().copied().filter(|row| row.verdict == verdict).collect::<Vec<_>>();
    let regressed = of(Verdict::Regressed);
    let broken: Vec<&Check> = checks.iter().filter(|check| check.held == Some(false)).collect();
    let mut reasons = Vec::new();
    let told = if !regressed.is_empty() || !broken.is_empty() {
        fail(&regressed, &broken, &mut reasons);
        Outcome::Fail
    } else {
        undisputed(&primary, checks, gate, &mut reasons)
    };
    for (verdict, text) in [
        (Verdict::Improved, "are better by more than chance, and not shown to be within the margin"),
        (Verdict::Invalid, "can't be believed on one side at least"),
        (Verdict::Missing, "are on one side only"),
        (Verdict::Inconclusive, "can be told neither from chance nor from a change that matters"),
    ] {
        let rows = of(verdict);
        let said = told == Outcome::Invalid && verdict == Verdict::Invalid;
        if !rows.is_empty() && !said {
            let changes = verdict == Verdict::Improved;
            let named: Vec<String> =
                rows.iter().map(|row| if changes { row.change_text() } else { row.place_text() }).collect();
            reasons.push(format!(
                "{} of {} {text}: {}.",
                rows.len(),
                figures(primary.len()),
                list(&named, NAMED)
            ));
        }
    }
    together(suite, &mut reasons);
    let past =
        |met: &&Met<'_>| sides(met).is_ok_and(|sides| sides.base.iter().all(|one| one.is_overloaded()));
    let past = cells.iter().filter(past).count();
    if past > 0 {
        let cells = if past == 1 { "1 cell" } else { &format!("{past} cells") };
        reasons.push(format!("Latencies of {cells} are left out: the baseline is overloaded there."));
    }
    let new = cells.iter().filter(|met| met.base.is_none()).count();
    if new > 0 {
        let are = if new == 1 { "1 cell is" } else { &format!("{new} cells are") };
        reasons.push(format!("{are} in the candidate only, and not judged."));
    }
    (told, reasons)
}

fn fail(regressed: &[&Row], broken: &[&Check], reasons: &mut Vec<String>) {
    if !regressed.is_empty() {
        let mut worst = regressed.to_vec();
        worst.sort_by(|a, b| b.severity().total_cmp(&a.severity()));
        let named: Vec<String> = worst.iter().map(|row| row.change_text()).collect();
        reasons.push(format!("Regressed: {}.", list(&named, NAMED)));
    }
    if !broken.is_empty() {
        let named: Vec<String> = broken.iter().map(|check| breach(check)).collect();
        reasons.push(format!("A limit is broken: {}.", list(&named, NAMED)));
    }
}

/// What it comes to where nothing is shown to be worse.
fn undisputed(primary: &[&Row], checks: &[Check], gate: &GateSettings, reasons: &mut Vec<String>) -> Outcome {
    let count = |verdict: Verdict| primary.iter().filter(|row| row.verdict == verdict).count();
    let all = primary.len();
    if all > 0 && count(Verdict::Missing) == all && checks.iter().all(|check| check.held.is_none()) {
        let why = primary.first().and_then(|row| row.reasons.first()).cloned().unwrap_or_default();
        reasons.push(format!("Not comparable: no figure that decides is on both sides ({why})."));
        return Outcome::NotComparable;
    }
    if all > 0 && count(Verdict::Invalid) + count(Verdict::Missing) == all {
        let invalid = primary.iter().find(|row| row.verdict == Verdict::Invalid);
        let why = invalid.and_then(|row| row.reasons.first()).cloned().unwrap_or_default();
        reasons.push(format!("Invalid: nothing that decides can be believed ({why})."));
        return Outcome::Invalid;
    }
    let judged =
        |row: &&&Row| matches!(row.verdict, Verdict::Equivalent | Verdict::Small | Verdict::Improved);
    let rules_hold = gate.has_rules() && checks.iter().all(|check| check.held == Some(true));
    let unverified = count(Verdict::Unverified);
    if unverified > 0 && unverified == all && rules_hold && gate.min_repeats == 1 {
        reasons.push(format!(
            "The limits hold at all cells ({}); a single repeat is not tested.",
            checks_in_words(checks)
        ));
        return Outcome::Pass;
    }
    if unverified > 0 {
        let limits = if rules_hold { "; the limits hold" } else { "" };
        reasons.push(format!(
            "Can't tell: {unverified} of {} have a single repeat, which nothing can be told from{limits} (take at least {} repeats).",
            figures(all),
            gate.min_repeats.max(2)
        ));
        return Outcome::Inconclusive;
    }
    let few = primary.iter().filter(judged).map(|row| row.repeats).min().unwrap_or(0);
    let sure = primary.iter().filter(judged).count();
    if all == 0 {
        reasons.push("Can't tell: no figure decides.".to_owned());
        return Outcome::Inconclusive;
    }
    if sure < all {
        let unclear = all - sure;
        reasons.push(format!(
            "Can't tell: nothing is shown to be worse, but {unclear} of {} can't be judged.",
            figures(all)
        ));
        return Outcome::Inconclusive;
    }
    if few < gate.min_repeats {
        reasons.push(format!(
            "Can't tell: nothing is shown to be worse, but {few} repeats are too few to rely on (the gate wants {}).",
            gate.min_repeats
        ));
        return Outcome::Inconclusive;
    }
    let unknown = checks.iter().filter(|check| check.held.is_none()).count();
    if unknown > 0 {
        reasons.push(format!("Can't tell: {unknown} of {} limits can't be judged.", checks.len()));
        return Outcome::Inconclusive;
    }
    let limits = if checks.is_empty() { String::new() } else { format!(", and {}", checks_in_words(checks)) };
    reasons.push(format!(
        "No regression: none of {} is worse by more than chance and its margin ({few} repeats{limits}).",
        figures(all)
    ));
    Outcome::Pass
}

fn checks_in_words(checks: &[Check]) -> String {
    match checks.len() {
        1 => "1 limit".to_owned(),
        n => format!("{n} limits"),
    }
}

fn figures(n: usize) -> String {
    match n {
        1 => "1 figure that decides".to_owned(),
        n => format!("{n} figures that decide"),
    }
}

/// What all cells together say of the figures that decide.
fn together(suite: &[Row], reasons: &mut Vec<String>) {
    let shown = |row: &&Row| row.primary && matches!(row.verdict, Verdict::Regressed | Verdict::Improved);
    let named: Vec<String> = suite.iter().filter(shown).map(Row::change_text).collect();
    if !named.is_empty() {
        reasons.push(format!("Over all cells together: {}.", list(&named, NAMED)));
    }
}

/// A broken rule in words.
fn breach(check: &Check) -> String {
    let value = check.value.map(|value| format!(" (it is {})", value_with_unit(&check.metric, value)));
    format!("{} at {}{}", check.rule, check.label, value.unwrap_or_default())
}
