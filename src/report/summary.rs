//! A run in a few lines, for a chat or a pull request: as Markdown, and in Slack's own markup.

use std::path::Path;

use super::compare::markdown::escape;
use super::page::Answer;
use super::terminal::{align, doubt, doubted, passed_over, rows};
use super::{ReportError, findings, replace};
use crate::analysis::RunData;
use crate::analysis::compare::Comparison;
use crate::analysis::diagnosis::Severity;
use crate::measure::SloStatus;

/// The file beside the page.
pub const FILE: &str = "summary.md";

/// Most rows of the table, and of lists: a message has room for some 4,000 characters at worst.
const MOST_ROWS: usize = 15;
const MOST_LINES: usize = 8;

/// What is said of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub name: String,
    pub run: String,
    /// What the server carries, or what there is instead.
    pub headline: String,
    /// A sign that needs no colour: good, so-so, bad, nothing to say.
    mark: char,
    /// `not yet sure`, where it isn't.
    doubt: &'static str,
    /// How the run ended, where that is no matter of course.
    ending: Option<String>,
    because: Vec<String>,
    /// Each rule of the SLO over the whole run, with its sign.
    rules: Vec<(char, String)>,
    /// The sign, the verdict and the reasons.
    comparison: Option<(char, String, Vec<String>)>,
    /// The table of cells, its head first.
    rows: Vec<Vec<String>>,
    /// What ran: cells, requests, failures by class.
    ran: Vec<String>,
    /// Cells that are not to be taken at face value, and those passed over.
    doubted: Vec<String>,
    points: Vec<String>,
    /// Where the page lies.
    report: Option<String>,
}

const fn sign(status: SloStatus) -> char {
    match status {
        SloStatus::Pass => '✓',
        SloStatus::Warning => '!',
        SloStatus::Fail => '✗',
    }
}

impl Summary {
    /// Of this run.
    #[must_use]
    pub fn of(run: &RunData) -> Self {
        let found = findings::find(run);
        let answer = Answer::of(run, &found);
        let rule = |line: &findings::RuleLine| {
            let (passed, of) = (line.passed, line.of);
            let text = format!("{}: met in {passed} of {of}; worst {}", line.rule, line.worst);
            (sign(line.status), text)
        };
        let invalid =
            |(invalid, text): (bool, String)| format!("{}{text}", if invalid { "invalid: " } else { "" });
        let skipped = passed_over(run).into_iter().map(|text| format!("skipped: {text}"));
        let wrong = found.diagnosis.iter().filter(|f| f.severity >= Severity::Warning);
        Self {
            name: run.title.clone(),
            run: run.id.clone(),
            mark: match answer.tone {
                "good" => '✓',
                "so-so" => '!',
                "bad" => '✗',
                _ => '·',
            },
            headline: answer.headline,
            doubt: answer.doubt,
            ending: None,
            because: answer.because,
            rules: found.rules.iter().map(rule).collect(),
            comparison: None,
            rows: rows(run),
            doubted: doubted(run).into_iter().map(invalid).chain(skipped).collect(),
            points: wrong.map(|f| format!("{}: {}", f.kind.title, f.evidence)).collect(),
            ran: found.ran,
            report: None,
        }
    }

    /// With the verdict of this comparison with its baseline.
    #[must_use]
    pub fn compared(self, comparison: &Comparison) -> Self {
        let outcome = comparison.outcome;
        let name = comparison.baseline.baseline.as_ref().unwrap_or(&comparison.baseline.run);
        let verdict = format!("{} against {name}", outcome.word());
        let comparison = Some((outcome.glyph(), verdict, comparison.reasons.clone()));
        Self { comparison, ..self }
    }

    /// With how the run ended, in words that stand by themselves. `bad`: other than it should.
    #[must_use]
    pub fn ended(self, ending: String, bad: bool) -> Self {
        Self { mark: if bad { '✗' } else { self.mark }, ending: Some(ending), ..self }
    }

    /// With where the page lies.
    #[must_use]
    pub fn at(self, page: &Path) -> Self {
        Self { report: Some(page.display().to_string()), ..self }
    }

    /// What is said of an experiment that left no run to be read: as Markdown, and in Slack's markup.
    #[must_use]
    pub fn of_error(name: &str, words: &str) -> (String, String) {
        let markdown = format!("### ✗ Plimsoll: {}\n\n**{}**\n", escape(name), escape(words));
        (markdown, format!("✗ *Plimsoll: {}*\n*{}*\n", plain(name), plain(words)))
    }

    /// As GitHub's and GitLab's Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = format!("### {} Plimsoll: {}\n\n", self.mark, escape(&self.name));
        out.push_str(&format!("**{}**{}\n", escape(&self.headline), self.in_doubt(" *", "*")));
        if let Some(line) = &self.ending {
            out.push_str(&format!("\n**{}**\n", escape(line)));
        }
        for line in &self.because {
            out.push_str(&format!("\n{}\n", escape(line)));
        }
        if let Some((glyph, verdict, reasons)) = &self.comparison {
            let reasons: Vec<String> = reasons.iter().map(|reason| escape(reason)).collect();
            out.push_str(&format!("\n**{glyph} {}** {}\n", escape(verdict), reasons.join(" ")));
        }
        if !self.rules.is_empty() {
            out.push('\n');
        }
        for (sign, text) in &self.rules {
            out.push_str(&format!("- {sign} {}\n", escape(text)));
        }
        self.table(&mut out);
        out.push_str(&format!("\n{}\n", escape(&self.ran.join(" "))));
        fold("Not to be taken at face value", &self.doubted, &mut out);
        fold("What points to what", &self.points, &mut out);
        let report = self.report.as_ref().map(|path| format!(" · {}", escape(path))).unwrap_or_default();
        out.push_str(&format!("\n<sub>{}{report}</sub>\n", escape(&self.run)));
        out
    }

    /// In Slack's markup, which has no tables: they are text in a block.
    #[must_use]
    pub fn slack(&self) -> String {
        let mut out = format!("{} *Plimsoll: {}*\n", self.mark, plain(&self.name));
        out.push_str(&format!("*{}*{}\n", plain(&self.headline), self.in_doubt(" _", "_")));
        if let Some(line) = &self.ending {
            out.push_str(&format!("*{}*\n", plain(line)));
        }
        for line in &self.because {
            out.push_str(&format!("{}\n", plain(line)));
        }
        if let Some((glyph, verdict, reasons)) = &self.comparison {
            out.push_str(&format!("{glyph} *{}* {}\n", plain(verdict), plain(&reasons.join(" "))));
        }
        for (sign, text) in &self.rules {
            out.push_str(&format!("{sign} {}\n", plain(text)));
        }
        let shown = &self.rows[..self.rows.len().min(MOST_ROWS + 1)];
        out.push_str(&format!("```\n{}```\n", plain_lines(&align(shown))));
        if self.rows.len() > shown.len() {
            out.push_str(&format!("and {} more cells\n", self.rows.len() - shown.len()));
        }
        out.push_str(&format!("{}\n", plain(&self.ran.join(" "))));
        for line in self.doubted.iter().take(MOST_LINES) {
            out.push_str(&format!("• {}\n", plain(line)));
        }
        if self.doubted.len() > MOST_LINES {
            out.push_str(&format!("• and {} more\n", self.doubted.len() - MOST_LINES));
        }
        let report = self.report.as_ref().map(|path| format!(" · {}", plain(path))).unwrap_or_default();
        out.push_str(&format!("_{}_{report}\n", plain(&self.run)));
        out
    }

    fn in_doubt(&self, before: &str, after: &str) -> String {
        if self.doubt.is_empty() { String::new() } else { format!("{before}{}{after}", self.doubt) }
    }

    fn table(&self, out: &mut String) {
        let Some((head, cells)) = self.rows.split_first() else { return };
        let line = |row: &[String]| {
            let cells: Vec<String> = row.iter().map(|cell| escape(cell)).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        out.push('\n');
        out.push_str(&line(head));
        out.push_str(&format!("|---|{}\n", "--:|".repeat(head.len().saturating_sub(1))));
        for row in cells.iter().take(MOST_ROWS) {
            out.push_str(&line(row));
        }
        out.push_str(&format!("\nLatencies in ms.{}", doubt(&self.rows)));
        if cells.len() > MOST_ROWS {
            out.push_str(&format!(" And {} more cells.", cells.len() - MOST_ROWS));
        }
        out.push('\n');
    }
}

/// Lines that are seen once somebody asks for them.
fn fold(title: &str, lines: &[String], out: &mut String) {
    if lines.is_empty() {
        return;
    }
    out.push_str(&format!("\n<details><summary>{title} ({})</summary>\n\n", lines.len()));
    for line in lines.iter().take(MOST_LINES) {
        out.push_str(&format!("- {}\n", escape(line)));
    }
    if lines.len() > MOST_LINES {
        out.push_str(&format!("- and {} more\n", lines.len() - MOST_LINES));
    }
    out.push_str("\n</details>\n");
}

/// Text of one line in which Slack sees no link and no mention.
fn plain(text: &str) -> String {
    plain_lines(text).replace(['\n', '\r'], " ")
}

fn plain_lines(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Write it as `summary.md` into `out`, whole or not at all.
///
/// # Errors
/// When the file can't be written.
pub fn write(summary: &Summary, out: &Path) -> Result<(), ReportError> {
    replace(&out.join(FILE), summary.markdown().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        Summary {
            name: "a | b".to_owned(),
            run: "20260101T000000Z-a".to_owned(),
            headline: "Meets the SLO up to 38.6 req/s (32–40).".to_owned(),
            mark: '✓',
            doubt: "not yet sure",
            ending: None,
            because: vec!["With 40 req/s <it> misses.".to_owned()],
            rules: vec![('✗', "TTFT p95 ≤ 500 ms: met in 4 of 6; worst 2 s".to_owned())],
            comparison: None,
            rows: std::iter::once(vec!["cell".to_owned(), "ok".to_owned()])
                .chain((0..20).map(|n| vec![format!("{n} req/s"), n.to_string()]))
                .collect(),
            ran: vec!["20 cells were planned; all ran.".to_owned()],
            doubted: (0..9).map(|n| format!("{n} req/s: late")).collect(),
            points: Vec::new(),
            report: None,
        }
    }

    #[test]
    fn markdown_is_short_and_no_text_becomes_markup() {
        let text = summary().at(Path::new("reports/x/index.html")).markdown();
        assert!(text.starts_with(
            "### ✓ Plimsoll: a \\| b\n\n**Meets the SLO up to 38.6 req/s (32–40).** *not yet sure*\n"
        ));
        assert!(
            text.contains("With 40 req/s &lt;it&gt; misses.") && text.contains("- ✗ TTFT p95 ≤ 500 ms"),
            "{text}"
        );
        assert!(text.contains("| cell | ok |\n|---|--:|\n| 0 req/s | 0 |\n"), "{text}");
        assert!(
            text.contains("| 14 req/s |")
                && !text.contains("| 15 req/s |")
                && text.contains("And 5 more cells.")
        );
        assert!(text.contains("face value (9)</summary>") && text.contains("- and 1 more\n"), "{text}");
        assert!(text.trim_end().ends_with("reports/x/index.html</sub>"), "{text}");
    }

    #[test]
    fn slack_has_its_own_signs_and_an_end_is_told() {
        let text = summary().ended("Interrupted".to_owned(), true).slack();
        assert!(text.starts_with("✗ *Plimsoll: a | b*\n*Meets the SLO"), "{text}");
        assert!(
            text.contains("*Interrupted*\n") && text.contains("&lt;it&gt;") && !text.contains("**"),
            "{text}"
        );
        assert!(text.contains("```\ncell") && text.contains("and 5 more cells"), "{text}");
    }
}
