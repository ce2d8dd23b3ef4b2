//! Durations, shares and counts as people write them: `30s`, `1h30m`, `1%`, `10k`.
//!
//! A plain number is never a duration: nobody can tell seconds from milliseconds a year
//! later. The error says how to write it.

use std::time::Duration;

/// Units of a duration, from the longest, with their length in nanoseconds.
const UNITS: [(&str, u128); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// The longest duration that can be written: 1000 days.
pub const MAX_DURATION: Duration = Duration::from_secs(1000 * 86_400);

/// A quantity that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    #[error("empty; write a duration such as \"30s\"")]
    Empty,
    #[error("{number} has no unit; write \"{number}s\" or \"{number}ms\"")]
    NoUnit { number: String },
    #[error("no unit {unit:?}; the units are h, m, s, ms, us and ns{}", meant(.nearest.as_deref()))]
    UnknownUnit { unit: String, nearest: Option<String> },
    #[error("units have to fall, each at most once, as in \"1h30m\"")]
    Order,
    #[error("{text:?} is not a number with a unit, such as \"30s\"")]
    NotANumber { text: String },
    #[error("longer than 1000 days")]
    TooLong,
    #[error("finer than a nanosecond")]
    TooFine,
    #[error("{text:?} is not a count; write 10000 or \"10k\" (k, M, G)")]
    NotACount { text: String },
    #[error("{text:?} is not a share; write 0.01 or \"1%\"")]
    NotAShare { text: String },
    #[error("{text:?} is not a number of bytes; write \"512MB\" or \"1.5GiB\"")]
    NotBytes { text: String },
}

fn meant(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |n| format!("; did you mean {n:?}?"))
}

/// The unit that a longer word stands for.
fn long_unit(word: &str) -> Option<&'static str> {
    Some(match word.to_lowercase().as_str() {
        "hr" | "hrs" | "hour" | "hours" => "h",
        "min" | "mins" | "minute" | "minutes" => "m",
        "sec" | "secs" | "second" | "seconds" => "s",
        "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" => "ms",
        "usec" | "usecs" | "micros" | "microsecond" | "microseconds" => "us",
        "nsec" | "nsecs" | "nanos" | "nanosecond" | "nanoseconds" => "ns",
        _ => return None,
    })
}

/// Nanoseconds in `number` (digits with at most one point) of a unit.
fn scaled(number: &str, unit_ns: u128) -> Result<u128, UnitError> {
    let bad = || UnitError::NotANumber { text: number.to_owned() };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return Err(bad());
    }
    if whole.len() > 20 {
        return Err(UnitError::TooLong);
    }
    if fraction.len() > 15 {
        return Err(UnitError::TooFine);
    }
    let digits = |s: &str| if s.is_empty() { Ok(0_u128) } else { s.parse().map_err(|_| bad()) };
    let divisor = 10_u128.pow(fraction.len() as u32);
    let below = digits(fraction)? * unit_ns;
    if !below.is_multiple_of(divisor) {
        return Err(UnitError::TooFine);
    }
    Ok(digits(whole)? * unit_ns + below / divisor)
}

/// Reads a duration: numbers with the units h, m, s, ms, us (or µs) and ns, from the longest
/// to the shortest, such as `30s`, `1.5s`, `500ms`, `1h30m`. Exact to the nanosecond, at most
/// [`MAX_DURATION`]. `0` needs no unit.
///
/// # Errors
/// When a unit is missing, unknown, repeated or out of order, or the whole is too long or
/// too fine.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(UnitError::Empty);
    }
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total = 0_u128;
    let mut shortest = u128::MAX;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        if number.is_empty() {
            return Err(UnitError::NotANumber { text: text.to_owned() });
        }
        let tail = tail.trim_start();
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let word = tail[..end].trim();
        if word.is_empty() {
            return Err(UnitError::NoUnit { number: number.to_owned() });
        }
        let name = if word == "µs" || word == "μs" { "us" } else { word };
        let Some((_, ns)) = UNITS.iter().find(|(unit, _)| *unit == name) else {
            let nearest = long_unit(name).map(|unit| format!("{number}{unit}"));
            return Err(UnitError::UnknownUnit { unit: word.to_owned(), nearest });
        };
        if *ns >= shortest {
            return Err(UnitError::Order);
        }
        shortest = *ns;
        total += scaled(number, *ns)?;
        if total > MAX_DURATION.as_nanos() {
            return Err(UnitError::TooLong);
        }
        rest = tail[end..].trim_start();
    }
    Ok(Duration::from_nanos(total as u64))
}

/// Writes a duration so that [`parse_duration`] reads the same back: `1h30m`, `1.5s`, `500ms`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let ns = duration.as_nanos();
    if ns == 0 {
        return "0s".to_owned();
    }
    let decimal = |ns: u128, unit: u128, name: &str| {
        let width = unit.ilog10() as usize;
        let text = if width == 0 { ns.to_string() } else { format!("{}.{:0width$}", ns / unit, ns % unit) };
        let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        format!("{text}{name}")
    };
    if let Some((name, unit)) = UNITS[2..].iter().find(|(_, unit)| ns >= *unit)
        && *name != "s"
    {
        return decimal(ns, *unit, name);
    }
    let mut text = String::new();
    let mut left = ns;
    for (name, unit) in &UNITS[..2] {
        if left >= *unit {
            text.push_str(&format!("{}{name}", left / unit));
            left %= unit;
        }
    }
    if left > 0 {
        text.push_str(&decimal(left, UNITS[2].1, "s"));
    }
    text
}

/// Reads a count: digits, with underscores if wanted, and `k`, `M` or `G` for thousands,
/// millions and milliards; `1.5k` is 1500.
///
/// # Errors
/// When it is not a whole number of at least 0.
pub fn parse_count(text: &str) -> Result<u64, UnitError> {
    let bad = || UnitError::NotACount { text: text.to_owned() };
    let plain = text.trim().replace('_', "");
    let (number, factor) = match plain.chars().last() {
        Some('k' | 'K') => (&plain[..plain.len() - 1], 1_000),
        Some('M') => (&plain[..plain.len() - 1], 1_000_000),
        Some('G') => (&plain[..plain.len() - 1], 1_000_000_000),
        _ => (plain.as_str(), 1),
    };
    scaled(number, factor).ok().and_then(|n| u64::try_from(n).ok()).ok_or_else(bad)
}

/// Units of memory with their bytes. Those with an `i` are powers of 1024, the others of 1000.
const BYTES: [(&str, u128); 10] = [
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Reads bytes with their unit: `512MB`, `1.5GiB`. MB is 1,000,000 bytes, MiB 1,048,576.
///
/// # Errors
/// When it is none, has no unit, or is no whole number of bytes.
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    let bad = || UnitError::NotBytes { text: text.to_owned() };
    let trimmed = text.trim();
    let end = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(end);
    let (_, factor) = BYTES.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(bad)?;
    let bytes = scaled(&number.replace('_', ""), *factor).map_err(|_| bad())?;
    u64::try_from(bytes).map_err(|_| bad())
}

/// Writes bytes for people, to three digits: `512 MB`, `1.5 GB`, `820 B`; also below 0.
#[must_use]
pub fn format_bytes(bytes: f64) -> String {
    let size = bytes.abs();
    let named = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    // What would be written as 1,000 of a unit is 1 of the next.
    let (factor, unit) = named.into_iter().find(|(factor, _)| size >= 0.9995 * factor).unwrap_or((1.0, "B"));
    let value = bytes / factor;
    let digits = if unit == "B" || value.abs() >= 99.95 { 0 } else { usize::from(value.abs() < 9.995) + 1 };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} {unit}")
}

/// Reads a share of 1: `0.01` or `1%`. Between 0 and 1.
///
/// # Errors
/// When it is neither, or outside 0 to 1.
pub fn parse_share(text: &str) -> Result<f64, UnitError> {
    let bad = || UnitError::NotAShare { text: text.to_owned() };
    let trimmed = text.trim();
    let value = match trimmed.strip_suffix('%') {
        Some(percent) => percent.trim_end().parse::<f64>().map_err(|_| bad())? / 100.0,
        None => trimmed.parse().map_err(|_| bad())?,
    };
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_as_people_write_them() {
        for (text, nanos) in [
            ("30s", 30_000_000_000),
            ("500ms", 500_000_000),
            ("2m", 120_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1h 30m", 5_400_000_000_000),
            ("120us", 120_000),
            ("120µs", 120_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("1m1.25s", 61_250_000_000),
            ("7ns", 7),
            ("0", 0),
            ("0s", 0),
            (" 3 s ", 3_000_000_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_duration() {
        let said = |text: &str| parse_duration(text).unwrap_err().to_string();
        assert_eq!(said("30"), "30 has no unit; write \"30s\" or \"30ms\"");
        assert_eq!(
            said("5min"),
            "no unit \"min\"; the units are h, m, s, ms, us and ns; did you mean \"5m\"?"
        );
        assert_eq!(parse_duration("1s1m"), Err(UnitError::Order));
        assert_eq!(parse_duration("1s1s"), Err(UnitError::Order));
        assert_eq!(parse_duration(""), Err(UnitError::Empty));
        assert_eq!(parse_duration("0.1ns"), Err(UnitError::TooFine));
        assert_eq!(parse_duration("24001h"), Err(UnitError::TooLong));
        assert_eq!(parse_duration("99999999999999999999999h"), Err(UnitError::TooLong));
        for text in ["fast", "-1s", "1.2.3s", "s", ".s"] {
            assert!(matches!(parse_duration(text), Err(UnitError::NotANumber { .. })), "{text}");
        }
    }

    #[test]
    fn durations_are_written_shortly() {
        for text in ["0s", "30s", "500ms", "2m", "1h30m", "1.5s", "1m0.5s", "1.25ms", "120us", "1ns", "1h"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
        assert_eq!(format_duration(Duration::from_secs(90)), "1m30s");
    }

    #[test]
    fn counts_and_shares() {
        assert_eq!(parse_count("10k"), Ok(10_000));
        assert_eq!(parse_count("1.5k"), Ok(1_500));
        assert_eq!(parse_count("2M"), Ok(2_000_000));
        assert_eq!(parse_count("1_000"), Ok(1_000));
        for text in ["", "k", "1.5", "-3", "ten", "1.0005k"] {
            assert!(parse_count(text).is_err(), "{text}");
        }
        assert_eq!(parse_share("1%"), Ok(0.01));
        assert_eq!(parse_share("0.25"), Ok(0.25));
        for text in ["", "%", "101%", "2", "-1%", "nan"] {
            assert!(parse_share(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bytes_have_units() {
        for (text, bytes) in [
            ("512MB", 512_000_000),
            ("512 MiB", 536_870_912),
            ("1.5GiB", 1_610_612_736),
            ("10kB", 10_000),
            ("7B", 7),
            ("1_000MB", 1_000_000_000),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "512", "MB", "-1MB", "1.2.3MB", "0.5B", "5mb", "99999999TB"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
        for (bytes, text) in [
            (0.0, "0 B"),
            (820.0, "820 B"),
            (1536.0, "1.54 kB"),
            (512e6, "512 MB"),
            (999_900.0, "1 MB"),
            (1.5e9, "1.5 GB"),
            (-23_400_000.0, "-23.4 MB"),
        ] {
            assert_eq!(format_bytes(bytes), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(nanos in 0_u64..86_400_000_000_000_000) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn reading_never_panics(text in ".{0,24}") {
            let _ = parse_duration(&text);
            let _ = parse_count(&text);
            let _ = parse_share(&text);
        }
    }
}
