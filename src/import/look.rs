//! Looking into JSON of which only parts are known, and into numbers of others.

use serde_json::Value;

use crate::measure::Distribution;

/// The value at a dotted path; `None` where there is none, or null.
pub(super) fn at<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |value, key| value.get(key)).filter(|value| !value.is_null())
}

/// The first that is there of several paths.
pub(super) fn first<'v>(value: &'v Value, paths: &[&str]) -> Option<&'v Value> {
    paths.iter().find_map(|path| at(value, path))
}

pub(super) fn number(value: &Value, paths: &[&str]) -> Option<f64> {
    first(value, paths)?.as_f64().filter(|x| x.is_finite())
}

pub(super) fn count(value: &Value, paths: &[&str]) -> Option<u64> {
    whole(number(value, paths)?)
}

pub(super) fn small(value: &Value, paths: &[&str]) -> Option<u32> {
    u32::try_from(count(value, paths)?).ok()
}

/// A text that isn't empty.
pub(super) fn text(value: &Value, paths: &[&str]) -> Option<String> {
    let text = first(value, paths)?.as_str()?;
    Some(text.to_owned()).filter(|t| !t.is_empty())
}

/// A count; `None` below 0, and of more than a number in JSON holds exactly, so that a sum of a
/// few stays far from what 64 bits hold.
pub(super) fn whole(x: f64) -> Option<u64> {
    const MOST: f64 = (1_u64 << 53) as f64;
    (0.0..=MOST).contains(&x).then(|| x.round() as u64)
}

/// Whole microseconds of a time in seconds; `None` before 0, and beyond what a date can be.
pub(super) fn micros(seconds: f64) -> Option<u64> {
    const MOST: f64 = (1_u64 << 60) as f64;
    let us = (seconds * 1e6).round();
    (0.0..=MOST).contains(&us).then_some(us as u64)
}

/// The one value that all have; `None` if there is none, or they differ.
pub(super) fn same<T: PartialEq>(mut values: impl Iterator<Item = T>) -> Option<T> {
    let first = values.next()?;
    values.all(|value| value == first).then_some(first)
}

/// A distribution of those statistics that a tool gives, each times `times`.
pub(super) fn distribution(n: u64, times: f64, value: impl Fn(&str) -> Option<f64>) -> Distribution {
    let of = |stat: &str| value(stat).map_or(f64::NAN, |x| x * times);
    Distribution {
        n,
        mean: of("mean"),
        std: of("std"),
        min: of("min"),
        p50: of("p50"),
        p75: of("p75"),
        p90: of("p90"),
        p95: of("p95"),
        p99: of("p99"),
        p999: of("p999"),
        max: of("max"),
    }
}

/// Whether a distribution says anything.
pub(super) fn says(d: &Distribution) -> bool {
    crate::metrics::STATS.iter().any(|stat| *stat != "n" && d.stat(stat).is_some())
}
