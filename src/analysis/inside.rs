//! Words for what was read inside the server: figures, growth, limits.

use super::text::{self, figure};
use crate::experiment::{LimitOn, LimitUnit};
use crate::measure::{Inside, LimitVerdict, inside::whose};
use crate::record::inside as names;
use crate::units::format_bytes;

/// A value that a limit is on, with its unit.
fn value(on: LimitOn, value: f64) -> String {
    match on.unit() {
        LimitUnit::Bytes => format_bytes(value),
        LimitUnit::Share => format!("{} %", figure(value * 100.0)),
        LimitUnit::Cores => figure(value),
        LimitUnit::Count => text::count(value.max(0.0) as u64),
        LimitUnit::Watts => format!("{} W", figure(value)),
        LimitUnit::Celsius => format!("{} °C", figure(value)),
    }
}

/// A limit as a rule: `most memory of the server ≤ 512 MB`.
#[must_use]
pub fn limit_rule(verdict: &LimitVerdict) -> String {
    format!("{} ≤ {}", verdict.on.words(), value(verdict.on, verdict.most))
}

/// What is held against a limit, with its unit; `None` where it was not read.
#[must_use]
pub fn limit_value(verdict: &LimitVerdict) -> Option<String> {
    verdict.value.map(|held| value(verdict.on, held))
}

/// A limit beside what is held against it: `most memory of the server (process server) is 613 MB,
/// limit 512 MB`.
#[must_use]
pub fn limit_text(verdict: &LimitVerdict) -> String {
    let of = whose(&verdict.labels);
    let of = if of.is_empty() { of } else { format!(" ({of})") };
    let limit = value(verdict.on, verdict.most);
    match limit_value(verdict) {
        Some(held) => format!("{}{of} is {held}, limit {limit}", verdict.on.words()),
        None => format!("{} was not read, limit {limit}", verdict.on.words()),
    }
}

/// What a figure that can grow is called, and a value of it.
pub(super) fn growing(name: &str, value: f64) -> (&'static str, String) {
    match name {
        names::MEMORY => ("resident memory", format_bytes(value)),
        names::GPU_MEMORY => ("GPU memory", format_bytes(value)),
        names::OPEN_FILES => ("open files", figure(value)),
        names::THREADS => ("threads", figure(value)),
        _ => ("a figure", figure(value)),
    }
}

/// The energy of a cell in words; `None` where it isn't known.
pub(super) fn energy(inside: &Inside) -> Option<String> {
    let joules = inside.energy_j?;
    let (value, unit) = if joules >= 1e4 { (joules / 1e3, "kJ") } else { (joules, "J") };
    let each =
        inside.energy_per_token_j.map_or_else(String::new, |j| format!(", {} J an output token", figure(j)));
    Some(format!("the GPUs took {} {unit} over the window{each}", figure(value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::SloStatus;

    #[test]
    fn limits_are_told_in_their_units() {
        let verdict = |on, most, value| LimitVerdict {
            on,
            most,
            value,
            labels: "process=\"server\"".into(),
            status: SloStatus::Fail,
        };
        let memory = verdict(LimitOn::Memory, 512e6, Some(613_400_000.0));
        assert_eq!(limit_text(&memory), "most memory of the server (process server) is 613 MB, limit 512 MB");
        assert_eq!(limit_rule(&memory), "most memory of the server ≤ 512 MB");
        let cpu = verdict(LimitOn::Cpu, 0.8, Some(0.934));
        assert_eq!(limit_text(&cpu), "CPU of the server (process server) is 93.4 %, limit 80.0 %");
        let gpu = LimitVerdict { labels: String::new(), ..verdict(LimitOn::Gpu, 0.9, None) };
        assert_eq!(limit_text(&gpu), "GPU utilisation was not read, limit 90.0 %");
    }

    #[test]
    fn energy_is_told_where_it_is_known() {
        let mut inside = Inside { energy_j: Some(41_200.0), ..Inside::default() };
        assert_eq!(energy(&inside).unwrap(), "the GPUs took 41.2 kJ over the window");
        inside.energy_per_token_j = Some(1.873);
        assert!(energy(&inside).unwrap().ends_with("1.87 J an output token"));
        assert_eq!(energy(&Inside::default()), None);
    }
}
