//! A comparison as JUnit XML, which build servers read: a test case for each figure that decides
//! and each plain rule, at each cell.

use super::terminal::found;
use crate::analysis::compare::{Check, Comparison, Outcome, Row, Verdict};

/// What became of a test case.
enum Told {
    Passed,
    Failed,
    Skipped,
    /// What should have been judged can't be believed.
    Error,
}

struct Case {
    class: String,
    name: String,
    told: Told,
    /// Of a case that did not pass: in short, what sort, and in full.
    message: String,
    sort: &'static str,
    text: String,
}

/// The comparison as a `<testsuites>` document.
#[must_use]
pub fn junit(comparison: &Comparison) -> String {
    let primary = comparison.rows.iter().filter(|row| row.primary);
    let mut cases: Vec<Case> = primary.map(of_row).chain(comparison.checks.iter().map(of_check)).collect();
    if matches!(comparison.outcome, Outcome::NotComparable) || cases.is_empty() {
        let message = comparison.reasons.first().cloned().unwrap_or_default();
        let (text, sort) = (comparison.reasons.join("\n"), comparison.outcome.word());
        let (class, name) = ("comparison".to_owned(), "comparable".to_owned());
        cases = vec![Case { class, name, told: Told::Error, message, sort, text }];
    }
    let count = |wanted: fn(&Told) -> bool| cases.iter().filter(|case| wanted(&case.told)).count();
    let totals = format!(
        "tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\"",
        cases.len(),
        count(|told| matches!(told, Told::Failed)),
        count(|told| matches!(told, Told::Error)),
        count(|told| matches!(told, Told::Skipped)),
    );
    let name = format!("{} → {}", comparison.baseline.run, comparison.candidate.run);
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    out.push_str(&format!("<testsuites name=\"plimsoll compare\" {totals}>\n"));
    out.push_str(&format!("  <testsuite name=\"{}\" {totals}>\n", escape(&name)));
    cases.iter().for_each(|case| write(case, &mut out));
    out.push_str("  </testsuite>\n</testsuites>\n");
    out
}

fn of_row(row: &Row) -> Case {
    let (told, message) = match row.verdict {
        Verdict::Regressed => (Told::Failed, row.change_text()),
        Verdict::Invalid => (Told::Error, basis(row)),
        Verdict::Inconclusive | Verdict::Unverified | Verdict::Missing => (Told::Skipped, basis(row)),
        Verdict::Improved | Verdict::Small | Verdict::Equivalent => (Told::Passed, String::new()),
    };
    let figures = [
        format!("baseline {}, candidate {}", row.value_text(row.base), row.value_text(row.cand)),
        row.change_text(),
        format!("margin {}, {} repeats", row.margin_text(), row.repeats),
    ];
    let text = figures.into_iter().chain(row.reasons.iter().cloned()).collect::<Vec<_>>().join("\n");
    Case {
        class: row.label.clone(),
        name: row.quantity().to_string(),
        told,
        message,
        sort: row.verdict.word(),
        text,
    }
}

/// The reason that a row gives last: what its verdict rests on.
fn basis(row: &Row) -> String {
    row.reasons.last().cloned().unwrap_or_else(|| row.verdict.meaning().to_owned())
}

fn of_check(check: &Check) -> Case {
    let told = match check.held {
        Some(true) => Told::Passed,
        Some(false) => Told::Failed,
        None => Told::Skipped,
    };
    let message = match told {
        Told::Skipped => format!("{} can't be judged: a side has no value", check.rule),
        _ => format!("{}{}", check.rule, found(check)),
    };
    Case {
        class: check.label.clone(),
        name: check.rule.clone(),
        told,
        text: message.clone(),
        message,
        sort: "LIMIT",
    }
}

fn write(case: &Case, out: &mut String) {
    let head = format!("    <testcase classname=\"{}\" name=\"{}\"", escape(&case.class), escape(&case.name));
    let inner = |tag: &str| {
        let (message, sort) = (escape(&case.message), escape(case.sort));
        let text = escape_text(&case.text);
        format!(
            "{head}>\n      <{tag} message=\"{message}\" type=\"{sort}\">{text}</{tag}>\n    </testcase>\n"
        )
    };
    out.push_str(&match case.told {
        Told::Passed => format!("{head}/>\n"),
        Told::Failed => inner("failure"),
        Told::Error => inner("error"),
        // Schemas give it a message and nothing else.
        Told::Skipped => {
            format!("{head}>\n      <skipped message=\"{}\"/>\n    </testcase>\n", escape(&case.message))
        }
    });
}

/// Text of an attribute: a line break would be read back as a space.
fn escape(text: &str) -> String {
    escape_text(text).replace('"', "&quot;").replace('\n', "&#10;").replace('\t', "&#9;")
}

/// Text of an element, without what XML 1.0 can't hold in any form.
fn escape_text(text: &str) -> String {
    let holds = |c: &char| matches!(*c, '\t' | '\n' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    let clean: String = text.chars().filter(holds).collect();
    clean.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
