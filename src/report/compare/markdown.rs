//! A comparison as Markdown: short enough for a comment on a pull request, all else folded.

use super::terminal::found;
use super::{by_importance, counts, p_text, remarks, repeats};
use crate::analysis::compare::{Comparison, Outcome, Row, Verdict};

/// Most rows that are shown unfolded, and folded: a comment has room for 65,536 characters.
const MOST_SHOWN: usize = 10;
const MOST_FOLDED: usize = 100;

/// The comparison as GitHub's and GitLab's Markdown.
#[must_use]
pub fn markdown(comparison: &Comparison) -> String {
    let outcome = comparison.outcome;
    let mut out = format!("### {} Plimsoll: {}\n\n", outcome.glyph(), outcome.word());
    for (n, reason) in comparison.reasons.iter().enumerate() {
        let text = escape(reason);
        out.push_str(&if n == 0 { format!("**{text}**\n") } else { format!("\n{text}\n") });
    }
    if outcome != Outcome::NotComparable {
        figures(comparison, &mut out);
    }
    differences(comparison, &mut out);
    if outcome != Outcome::NotComparable {
        notes(comparison, &mut out);
    }
    foot(comparison, &mut out);
    out
}

/// What is told first unfolded, then all that was compared.
fn figures(comparison: &Comparison, out: &mut String) {
    let primary = by_importance(comparison.rows.iter().filter(|row| row.primary));
    let telling: Vec<&Row> =
        primary.iter().copied().filter(|row| !matches!(row.verdict, Verdict::Equivalent)).collect();
    if !telling.is_empty() {
        out.push('\n');
        table(&telling, MOST_SHOWN, out);
    }
    broken(comparison, out);
    let decide = format!("All {} figures that decide", primary.len());
    fold(&decide, &primary, out);
    fold("All cells together (told, not gated)", &comparison.suite.iter().collect::<Vec<_>>(), out);
    let others = || comparison.rows.iter().filter(|row| !row.primary);
    let changed = |row: &&Row| matches!(row.verdict, Verdict::Regressed | Verdict::Improved | Verdict::Small);
    let changed = by_importance(others().filter(changed));
    fold(&format!("Other figures that changed: {} of {}", changed.len(), others().count()), &changed, out);
}

/// Text in which no sign is Markdown or HTML.
pub(in crate::report) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '~' | '#' | '@' => {
                out.push('\\');
                out.push(c);
            }
            '\n' | '\r' => out.push(' '),
            _ => out.push(c),
        }
    }
    out
}

fn table(rows: &[&Row], most: usize, out: &mut String) {
    out.push_str(
        "| | figure | cell | baseline | candidate | change (95 % interval) | margin | p | verdict |\n",
    );
    out.push_str("|:-:|---|---|--:|--:|--:|--:|--:|---|\n");
    for row in rows.iter().take(most) {
        let interval = row.interval_text().map(|text| format!(" ({text})")).unwrap_or_default();
        let effect = row.effect_text().unwrap_or_else(|| "–".to_owned());
        let cells = [
            row.verdict.glyph().to_string(),
            row.name(),
            row.label.clone(),
            row.value_text(row.base),
            row.value_text(row.cand),
            format!("{effect}{interval}"),
            row.margin_text(),
            p_text(row.p_adjusted.or(row.q).or(row.p)),
            row.verdict.word().to_owned(),
        ];
        out.push_str(&format!("| {} |\n", cells.map(|cell| escape(&cell)).join(" | ")));
    }
    if rows.len() > most {
        out.push_str(&format!("\nand {} more\n", rows.len() - most));
    }
}

/// Rows that are seen once somebody asks for them.
fn fold(title: &str, rows: &[&Row], out: &mut String) {
    if rows.is_empty() {
        return;
    }
    out.push_str(&format!("\n<details><summary>{}</summary>\n\n", escape(title)));
    table(rows, MOST_FOLDED, out);
    out.push_str("\n</details>\n");
}

fn broken(comparison: &Comparison, out: &mut String) {
    let broken = || comparison.checks.iter().filter(|check| check.held == Some(false));
    if broken().next().is_none() {
        return;
    }
    out.push_str("\nLimits that are broken:\n\n");
    for check in broken().take(MOST_SHOWN) {
        let line = format!("{} at {}{}", check.rule, check.label, found(check));
        out.push_str(&format!("- {} {}\n", Verdict::Regressed.glyph(), escape(&line)));
    }
    if broken().count() > MOST_SHOWN {
        out.push_str(&format!("- and {} more\n", broken().count() - MOST_SHOWN));
    }
}

fn differences(comparison: &Comparison, out: &mut String) {
    let all = &comparison.environment;
    if all.is_empty() {
        return;
    }
    out.push_str(&format!("\n<details><summary>What differs beside ({})</summary>\n\n", all.len()));
    out.push_str("| | baseline | candidate |\n|---|---|---|\n");
    for d in all.iter().take(MOST_FOLDED) {
        let cells = [&d.key, &d.baseline, &d.candidate].map(|text| escape(text));
        out.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    out.push_str("\n</details>\n");
}

fn notes(comparison: &Comparison, out: &mut String) {
    let all = remarks(comparison.rows.iter().filter(|row| row.primary).chain(&comparison.suite));
    if all.is_empty() {
        return;
    }
    out.push_str("\n<details><summary>Remarks</summary>\n\n");
    for (remark, n) in all.iter().take(MOST_SHOWN) {
        let times = if *n > 1 { format!(" ({n} figures)") } else { String::new() };
        out.push_str(&format!("- {}{times}\n", escape(remark)));
    }
    out.push_str("\n</details>\n");
}

fn foot(comparison: &Comparison, out: &mut String) {
    let name = |side: &crate::analysis::compare::Side| {
        let named = side.baseline.as_ref().map(|name| format!(" ({})", escape(name))).unwrap_or_default();
        format!("{}{named}", escape(&side.run))
    };
    let all = comparison.rows.iter();
    out.push_str(&format!(
        "\n<sub>{} → {} · {} · α = {} after Holm · all {} figures: {}</sub>\n",
        name(&comparison.baseline),
        name(&comparison.candidate),
        repeats(comparison),
        comparison.gate.alpha,
        all.len(),
        counts(all.clone())
    ));
}
