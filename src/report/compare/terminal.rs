//! A comparison on the terminal: the answer, then what it rests on.

use super::table::{Side, table};
use super::{by_importance, counts, p_text, remarks, repeats};
use crate::analysis::compare::{Check, Comparison, Outcome, Row, Side as Run, Verdict};
use crate::analysis::words::value_with_unit;

/// Most rows of the figures that decide, of others, and of other lines.
const MOST_PRIMARY: usize = 40;
const MOST_OTHERS: usize = 12;
const MOST_LINES: usize = 10;

/// The comparison as plain text, signs instead of colours; every line ends in a newline.
#[must_use]
pub fn terminal(comparison: &Comparison) -> String {
    let outcome = comparison.outcome;
    let mut out = format!("=== {} {} ===\n", outcome.glyph(), outcome.word());
    for reason in &comparison.reasons {
        out.push_str(&format!("{reason}\n"));
    }
    out.push_str(&format!("\nBaseline   {}\n", side(&comparison.baseline)));
    out.push_str(&format!("Candidate  {}\n", side(&comparison.candidate)));
    if outcome != Outcome::NotComparable {
        out.push_str(&format!("Compared   {}\n", repeats(comparison)));
    }
    rows(comparison, &mut out);
    checks(comparison, &mut out);
    differences(comparison, &mut out);
    notes(comparison, &mut out);
    out
}

fn side(run: &Run) -> String {
    let mut text = run.run.clone();
    if let Some(name) = &run.baseline {
        text.push_str(&format!(" (baseline {name})"));
    }
    if let Some(tool) = &run.imported {
        text.push_str(&format!(", imported from {tool}"));
    }
    text
}

fn rows(comparison: &Comparison, out: &mut String) {
    let all = &comparison.rows;
    let primary = by_importance(all.iter().filter(|row| row.primary));
    section("Figures that decide", &primary, MOST_PRIMARY, out);
    let suite: Vec<&Row> = comparison.suite.iter().collect();
    section("All cells together (told, not gated)", &suite, usize::MAX, out);
    let others = || all.iter().filter(|row| !row.primary);
    let changed = |row: &&Row| matches!(row.verdict, Verdict::Regressed | Verdict::Improved | Verdict::Small);
    section("Other figures that changed", &by_importance(others().filter(changed)), MOST_OTHERS, out);
    if others().next().is_some() {
        out.push_str(&format!("\nOther figures, {} in all: {}.\n", others().count(), counts(others())));
    }
}

fn section(title: &str, rows: &[&Row], most: usize, out: &mut String) {
    if rows.is_empty() {
        return;
    }
    let sides = [
        Side::Left,
        Side::Left,
        Side::Left,
        Side::Right,
        Side::Right,
        Side::Right,
        Side::Right,
        Side::Right,
        Side::Right,
        Side::Left,
    ];
    let head =
        ["", "cell", "figure", "baseline", "candidate", "change", "95 % interval", "margin", "p", "verdict"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    let none = || "–".to_owned();
    lines.extend(rows.iter().take(most).map(|row| {
        vec![
            row.verdict.glyph().to_string(),
            row.label.clone(),
            row.name(),
            row.value_text(row.base),
            row.value_text(row.cand),
            row.effect_text().unwrap_or_else(none),
            row.interval_text().unwrap_or_else(none),
            row.margin_text(),
            p_text(row.p_adjusted.or(row.q).or(row.p)),
            row.verdict.word().to_owned(),
        ]
    }));
    out.push_str(&format!("\n{title}\n{}", table(&sides, &lines)));
    if rows.len() > most {
        out.push_str(&format!("  and {} more; comparison.json has them all\n", rows.len() - most));
    }
}

/// A line per rule, with where it is broken.
fn checks(comparison: &Comparison, out: &mut String) {
    if comparison.checks.is_empty() {
        return;
    }
    out.push_str("\nLimits\n");
    let mut rules: Vec<&str> = Vec::new();
    for check in &comparison.checks {
        if !rules.contains(&check.rule.as_str()) {
            rules.push(&check.rule);
        }
    }
    for rule in rules {
        let of = || comparison.checks.iter().filter(|check| check.rule == rule);
        let broken: Vec<&Check> = of().filter(|check| check.held == Some(false)).collect();
        let glyph = match (broken.is_empty(), of().any(|check| check.held.is_none())) {
            (false, _) => Verdict::Regressed.glyph(),
            (true, true) => Verdict::Inconclusive.glyph(),
            (true, false) => Verdict::Improved.glyph(),
        };
        let held = of().filter(|check| check.held == Some(true)).count();
        out.push_str(&format!("  {glyph}  {rule}  holds at {held} of {} cells\n", of().count()));
        for check in broken.iter().take(MOST_LINES) {
            out.push_str(&format!("       broken at {}{}\n", check.label, found(check)));
        }
        if broken.len() > MOST_LINES {
            out.push_str(&format!("       and at {} more\n", broken.len() - MOST_LINES));
        }
    }
}

/// `: it is 381 ms, at most 374 ms`.
pub(super) fn found(check: &Check) -> String {
    let text = |value: f64| value_with_unit(&check.metric, value);
    match (check.value, check.bound) {
        (Some(value), Some(bound)) => format!(": it is {}, the limit {}", text(value), text(bound)),
        _ => String::new(),
    }
}

fn differences(comparison: &Comparison, out: &mut String) {
    let all = &comparison.environment;
    if all.is_empty() {
        return;
    }
    out.push_str("\nWhat differs beside\n");
    for difference in all.iter().take(MOST_LINES) {
        let (key, a, b) = (&difference.key, &difference.baseline, &difference.candidate);
        out.push_str(&format!("  {key}: {a} → {b}\n"));
    }
    if all.len() > MOST_LINES {
        out.push_str(&format!("  and {} more; comparison.json has them all\n", all.len() - MOST_LINES));
    }
}

fn notes(comparison: &Comparison, out: &mut String) {
    let all = remarks(comparison.rows.iter().filter(|row| row.primary).chain(&comparison.suite));
    if all.is_empty() {
        return;
    }
    out.push_str("\nRemarks on the figures that decide\n");
    for (remark, n) in all.iter().take(MOST_LINES) {
        let times = if *n > 1 { format!(" ({n} figures)") } else { String::new() };
        out.push_str(&format!("  {remark}{times}\n"));
    }
    if all.len() > MOST_LINES {
        out.push_str(&format!("  and {} more; comparison.json has them all\n", all.len() - MOST_LINES));
    }
}
