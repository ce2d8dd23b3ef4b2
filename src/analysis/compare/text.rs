//! A row in words, the same wherever a person reads it.

use super::Row;
use crate::analysis::text::figure;
use crate::analysis::words::{metric_name, value_with_unit};

/// A share as percent with its sign and three digits, two behind the point at most: `+12.3 %`,
/// `−4.56 %`, `0 %`.
#[must_use]
pub fn percent(share: f64) -> String {
    with_sign(share, "%")
}

fn with_sign(share: f64, unit: &str) -> String {
    let value = share * 100.0;
    let digits = match value.abs() {
        _ if value.is_nan() => return "not known".to_owned(),
        size if size.is_infinite() => "∞".to_owned(),
        size if size < 0.005 => return format!("0 {unit}"),
        size if size < 9.995 => format!("{size:.2}"),
        size if size < 99.95 => format!("{size:.1}"),
        size => figure(size),
    };
    let sign = if value < 0.0 { '−' } else { '+' };
    format!("{sign}{digits} {unit}")
}

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

    /// A change of the figure: `+22.0 %` of the baseline's value, of shares `+1.20 pp`.
    #[must_use]
    pub fn share_text(&self, share: f64) -> String {
        with_sign(share, self.unit())
    }

    /// The effect.
    #[must_use]
    pub fn effect_text(&self) -> Option<String> {
        self.effect.map(|effect| self.share_text(effect))
    }

    /// The effect's interval: `+15.1 to +29.3 %`.
    #[must_use]
    pub fn interval_text(&self) -> Option<String> {
        let (low, high) = self.interval?;
        let low = self.share_text(low);
        Some(format!("{} to {}", low.trim_end_matches(self.unit()).trim_end(), self.share_text(high)))
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
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn changes_have_their_sign_and_three_digits() {
        let shown = [0.0, -0.00001, 0.0456, -0.0456, 0.123, -0.5, 12.5, -1.0].map(percent);
        let expected = ["0 %", "0 %", "+4.56 %", "−4.56 %", "+12.3 %", "−50.0 %", "+1,250 %", "−100 %"];
        assert_eq!(shown, expected);
        let ends = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN].map(percent);
        assert_eq!(ends, ["+∞ %", "−∞ %", "not known"]);
    }
}
