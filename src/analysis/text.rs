//! Figures and lists as people read them.

/// A figure with about three significant digits and thousands separators: `1,235`, `87.3`.
#[must_use]
pub fn figure(value: f64) -> String {
    let size = value.abs();
    let decimals = match size {
        _ if !value.is_finite() => return "–".to_owned(),
        _ if size >= 99.95 || size == 0.0 => 0,
        _ if size >= 9.995 => 1,
        _ if size >= 0.9995 => 2,
        _ if size >= 0.0995 => 3,
        _ => 4,
    };
    grouped(&format!("{value:.decimals$}"))
}

/// A p value: `0.034`, or `<0.001`.
#[must_use]
pub fn probability(p: f64) -> String {
    if p < 0.001 { "<0.001".to_owned() } else { format!("{p:.3}") }
}

/// A whole number with thousands separators.
#[must_use]
pub fn count(value: u64) -> String {
    grouped(&value.to_string())
}

/// A tick's label: [`figure`] without trailing zeros.
pub(crate) fn tick(value: f64) -> String {
    let text = if value.abs() >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        let text = format!("{value:.3}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    grouped(&text)
}

/// A span of seconds: `42 s`, `3 min 20 s`, `1 h 5 min`.
#[must_use]
pub fn seconds(value: f64) -> String {
    let whole = value.round().max(0.0) as u64;
    match whole {
        0..60 if value < 9.95 => format!("{value:.1} s"),
        0..120 => format!("{whole} s"),
        120..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// At most `most` of `items`, and how many more there are.
#[must_use]
pub fn list(items: &[String], most: usize) -> String {
    let shown = items.iter().take(most).cloned().collect::<Vec<_>>().join(", ");
    match items.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn grouped(text: &str) -> String {
    let (sign, rest) = text.strip_prefix('-').map_or(("", text), |r| ("−", r));
    let (whole, fraction) = rest.split_once('.').map_or((rest, None), |(w, f)| (w, Some(f)));
    let mut out = String::from(sign);
    for (i, c) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_separators() {
        let shown = [0.0, 0.0123, 0.5, 1.0, 9.996, 87.34, 123.4, 1234.6, 1_234_567.0, -4321.0].map(figure);
        assert_eq!(
            shown,
            ["0", "0.0123", "0.500", "1.00", "10.0", "87.3", "123", "1,235", "1,234,567", "−4,321"]
        );
        assert_eq!(figure(f64::NAN), "–");
    }

    #[test]
    fn ticks_have_no_trailing_zeros() {
        assert_eq!([0.25, 0.5, 2.0, 2.5, 1000.0].map(tick), ["0.25", "0.5", "2", "2.5", "1,000"]);
    }

    #[test]
    fn spans_of_time_and_lists() {
        assert_eq!([1.23, 59.6, 200.0, 3900.0].map(seconds), ["1.2 s", "60 s", "3 min 20 s", "1 h 5 min"]);
        let items = ["a", "b", "c"].map(String::from);
        assert_eq!(list(&items, 2), "a, b and 1 more");
        assert_eq!(list(&items, 3), "a, b, c");
    }
}
