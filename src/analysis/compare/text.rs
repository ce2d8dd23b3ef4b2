//! A row in words, the same wherever a person reads it.

use super::Row;
use crate::analysis::words::{metric_name, value_with_unit};

impl Row {
    /// The figure as people say it: `TTFT p95`.
    #[must_use]
    pub fn name(&self) -> String {
        metric_name(&self.metric, &self.stat)
    }

    /// A value of the figure with its unit.
    #[must_use]
    pub fn value_text(&self, value: Option<f64>) -> String {
        value.map_or_else(|| "–".to_owned(), |value| value_with_unit(&self.metric, value))
    }

    /// `%`; of shares `pp`, points of a hundred.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        if self.is_difference() { "pp" } else { "%" }
    }

    /// The effect: `+22.0 %`, of shares `+1.20 pp`.
    #[must_use]
    pub fn effect_text(&self) -> Option<String> {
        self.effect.map(|effect| format!("{} {}", self.signed(effect), self.unit()))
    }

    /// The effect's interval: `+15.1 to +29.3 %`.
    #[must_use]
    pub fn interval_text(&self) -> Option<String> {
        let (low, high) = self.interval?;
        Some(format!("{} to {} {}", self.signed(low), self.signed(high), self.unit()))
    }

    /// The margin: `±10 %`.
    #[must_use]
    pub fn margin_text(&self) -> String {
        let share = self.margin * 100.0;
        let digits = usize::from((share - share.round()).abs() > 0.05);
        format!("±{share:.digits$} {}", self.unit())
    }

    /// Where and what: `TTFT p95 at 8 users`.
    #[must_use]
    pub fn place_text(&self) -> String {
        match self.cell {
            Some(_) if !self.label.is_empty() => format!("{} at {}", self.name(), self.label),
            _ => self.name(),
        }
    }

    /// The change in words: `TTFT p95 at 8 users +22.0 % (+15.1 to +29.3 %)`.
    #[must_use]
    pub fn change_text(&self) -> String {
        let parts =
            [Some(self.place_text()), self.effect_text(), self.interval_text().map(|i| format!("({i})"))];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    /// How far the change is beyond its margin, as a multiple of it, on the scale of the test; 0
    /// where no change is known.
    #[must_use]
    pub fn severity(&self) -> f64 {
        let size = |x: f64| if self.is_difference() { x.abs() } else { (1.0 + x).max(1e-9).ln().abs() };
        self.effect.map_or(0.0, |effect| size(effect) / size(self.margin).max(1e-9))
    }

    fn signed(&self, x: f64) -> String {
        let digits = if self.is_difference() { 2 } else { 1 };
        let text = format!("{:+.digits$}", x * 100.0);
        // Neither "+0.0" nor "-0.0" says a direction.
        let zero = text.chars().all(|c| "+-0.".contains(c));
        if zero { text[1..].to_owned() } else { text.replace('-', "−") }
    }
}
