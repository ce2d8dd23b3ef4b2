//! How a knob's value is read from an experiment file or a flag, and shown again.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::clock::nanos;

/// One setting of the simulator, for tables, `--help` and error messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Knob {
    pub name: &'static str,
    /// What its numbers count: `ms`, `tokens`, `rate 0–1`, …
    pub unit: &'static str,
    /// What may be written.
    pub allowed: &'static str,
    pub help: &'static str,
    /// The default, as it would be written.
    pub default: &'static str,
}

/// A knob that could not be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("simulator knob `{key}`: found {found}; allowed: {allowed}")]
pub struct KnobError {
    pub key: String,
    pub found: String,
    pub allowed: String,
}

/// A share from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize)]
pub struct Rate(pub f64);

/// A value that a knob can hold.
pub(super) trait KnobValue: Sized {
    const UNIT: &'static str;
    const ALLOWED: &'static str;
    fn parse(value: &Value) -> Option<Self>;
    fn show(&self) -> Value;
}

/// `1.5s`, `200us`, `3 ms`; a bare number counts milliseconds.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
    let (number, unit) = text.split_at(split);
    let scale = match unit.trim() {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    seconds(number.parse::<f64>().ok()?, scale)
}

/// Rounded to whole nanoseconds, so that `20us` is exactly 20,000 of them.
fn seconds(number: f64, scale: f64) -> Option<Duration> {
    let ns = (number * scale * 1e9).round();
    (0.0..=9e18).contains(&ns).then(|| Duration::from_nanos(ns as u64))
}

fn show_duration(d: Duration) -> String {
    let ns = nanos(d);
    if ns == 0 {
        return "0s".to_owned();
    }
    for (unit, size) in [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)] {
        if ns >= size && ns.is_multiple_of(size / 1000) {
            return format!("{}{unit}", ns as f64 / size as f64);
        }
    }
    format!("{ns}ns")
}

impl KnobValue for Duration {
    const UNIT: &'static str = "ms";
    const ALLOWED: &'static str =
        "a duration such as \"20us\", \"5ms\", \"1.5s\", or a number of milliseconds";
    fn parse(value: &Value) -> Option<Self> {
        match value {
            Value::String(s) => parse_duration(s),
            Value::Number(n) => seconds(n.as_f64()?, 1e-3),
            _ => None,
        }
    }
    fn show(&self) -> Value {
        show_duration(*self).into()
    }
}

impl KnobValue for Option<Duration> {
    const UNIT: &'static str = "ms";
    const ALLOWED: &'static str =
        "a duration such as \"20us\", \"5ms\", \"1.5s\", a number of milliseconds, or \"none\"";
    fn parse(value: &Value) -> Option<Self> {
        match value {
            Value::String(s) if s == "none" => Some(None),
            _ => Duration::parse(value).map(Some),
        }
    }
    fn show(&self) -> Value {
        self.map_or_else(|| "none".into(), |d| d.show())
    }
}

impl KnobValue for u64 {
    const UNIT: &'static str = "number";
    const ALLOWED: &'static str = "a whole number from 0";
    fn parse(value: &Value) -> Option<Self> {
        value.as_u64()
    }
    fn show(&self) -> Value {
        (*self).into()
    }
}

impl KnobValue for u32 {
    const UNIT: &'static str = "count";
    const ALLOWED: &'static str = "a whole number from 1 to 4294967295";
    fn parse(value: &Value) -> Option<Self> {
        value.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| *n >= 1)
    }
    fn show(&self) -> Value {
        (*self).into()
    }
}

impl KnobValue for Option<u32> {
    const UNIT: &'static str = "count";
    const ALLOWED: &'static str = "a whole number from 0, or \"none\"";
    fn parse(value: &Value) -> Option<Self> {
        match value {
            Value::String(s) if s == "none" => Some(None),
            _ => value.as_u64().and_then(|n| u32::try_from(n).ok()).map(Some),
        }
    }
    fn show(&self) -> Value {
        self.map_or_else(|| "none".into(), Into::into)
    }
}

impl KnobValue for f64 {
    const UNIT: &'static str = "number";
    const ALLOWED: &'static str = "a number from 1";
    fn parse(value: &Value) -> Option<Self> {
        value.as_f64().filter(|n| n.is_finite() && *n >= 1.0)
    }
    fn show(&self) -> Value {
        (*self).into()
    }
}

impl KnobValue for Rate {
    const UNIT: &'static str = "rate 0–1";
    const ALLOWED: &'static str = "a number from 0 to 1";
    fn parse(value: &Value) -> Option<Self> {
        value.as_f64().filter(|n| (0.0..=1.0).contains(n)).map(Self)
    }
    fn show(&self) -> Value {
        self.0.into()
    }
}

impl KnobValue for bool {
    const UNIT: &'static str = "";
    const ALLOWED: &'static str = "true or false";
    fn parse(value: &Value) -> Option<Self> {
        value.as_bool()
    }
    fn show(&self) -> Value {
        (*self).into()
    }
}

impl KnobValue for String {
    const UNIT: &'static str = "";
    const ALLOWED: &'static str = "a non-empty text";
    fn parse(value: &Value) -> Option<Self> {
        value.as_str().filter(|s| !s.is_empty()).map(str::to_owned)
    }
    fn show(&self) -> Value {
        self.clone().into()
    }
}

/// The value that a default's text stands for: JSON where it is JSON, else a string.
pub(super) fn value_of_text(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// An enum whose variants are words in a knob.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $crate::sim::knob::KnobValue for $name {
            const UNIT: &'static str = "";
            const ALLOWED: &'static str = concat!("one of", $(" `", $word, "`"),+);
            fn parse(value: &serde_json::Value) -> Option<Self> {
                match value.as_str()? {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }
            fn show(&self) -> serde_json::Value {
                match self { $(Self::$variant => $word.into()),+ }
            }
        }
    };
}
pub(super) use words;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_as_text_and_as_milliseconds() {
        let cases = [
            (json!("20us"), 20_000),
            (json!("20µs"), 20_000),
            (json!("5ms"), 5_000_000),
            (json!("1.5s"), 1_500_000_000),
            (json!(2.5), 2_500_000),
            (json!(0), 0),
            (json!("7ns"), 7),
        ];
        for (value, ns) in cases {
            let d = Duration::parse(&value).unwrap();
            assert_eq!(nanos(d), ns, "{value}");
            assert_eq!(Duration::parse(&d.show()), Some(d), "shown as {}", d.show());
        }
        for bad in [json!("5"), json!("5 fortnights"), json!("-5ms"), json!(-1), json!(true), json!("")] {
            assert_eq!(Duration::parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn shares_and_limits_are_bounded() {
        assert_eq!(Rate::parse(&json!(0.25)), Some(Rate(0.25)));
        assert_eq!(Rate::parse(&json!(1.01)), None);
        assert_eq!(u32::parse(&json!(0)), None);
        assert_eq!(Option::<u32>::parse(&json!("none")), Some(None));
        assert_eq!(Option::<u32>::parse(&json!(0)), Some(Some(0)));
    }
}
