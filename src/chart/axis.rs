//! Axes: range, scale and ticks, decided once for both drawings.

use super::text;
use crate::analysis::grid::extent;

/// How a value becomes a place on the axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    Linear,
    Log,
}

/// A labelled place on an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Tick {
    pub at: f64,
    pub text: String,
}

/// One axis with everything that is needed to draw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    pub label: String,
    /// Empty for a plain number.
    pub unit: String,
    pub scale: Scale,
    /// Both ends are shown; on a log scale both are above 0.
    pub range: (f64, f64),
    pub ticks: Vec<Tick>,
}

/// From this ratio of greatest to least on, a latency axis is logarithmic.
const LOG_FROM: f64 = 20.0;
/// The same for a load axis, whose levels are often powers of two.
const LOAD_LOG_FROM: f64 = 8.0;

impl Axis {
    /// Label, unit and scale in one line.
    #[must_use]
    pub fn title(&self) -> String {
        let unit = if self.unit.is_empty() { String::new() } else { format!(" ({})", self.unit) };
        let scale = if self.scale == Scale::Log { ", log scale" } else { "" };
        format!("{}{unit}{scale}", self.label)
    }

    /// Where `value` lies between the ends, 0 to 1 when inside.
    #[must_use]
    pub fn share(&self, value: f64) -> f64 {
        let (lo, hi) = self.range;
        match self.scale {
            Scale::Linear => (value - lo) / (hi - lo),
            Scale::Log => (value / lo).ln() / (hi / lo).ln(),
        }
    }

    /// Starts at 0, ends a little above the greatest of `values`.
    #[must_use]
    pub fn from_zero(label: &str, unit: &str, values: &[f64]) -> Self {
        let max = values.iter().copied().filter(|v| v.is_finite()).fold(0.0, f64::max);
        let top = if max > 0.0 { max * 1.08 } else { 1.0 };
        Self {
            label: label.into(),
            unit: unit.into(),
            scale: Scale::Linear,
            range: (0.0, top),
            ticks: linear(0.0, top),
        }
    }

    /// Logarithmic when `values` span more than a factor of 20, else [`Axis::from_zero`].
    #[must_use]
    pub fn latency(label: &str, unit: &str, values: &[f64]) -> Self {
        match extent(values) {
            Some((min, max)) if min > 0.0 && max / min > LOG_FROM => {
                let range = (min / 1.3, max * 1.4);
                Self { label: label.into(), unit: unit.into(), scale: Scale::Log, range, ticks: log(range) }
            }
            _ => Self::from_zero(label, unit, values),
        }
    }

    /// An axis with a tick at each of `levels`, as far as there is room; logarithmic when
    /// they span a factor of 8 or more.
    #[must_use]
    pub fn levels(label: &str, unit: &str, levels: &[f64]) -> Self {
        let mut sorted = levels.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted.dedup();
        let (min, max) = extent(&sorted).unwrap_or((0.0, 1.0));
        let scale = if min > 0.0 && max / min >= LOAD_LOG_FROM { Scale::Log } else { Scale::Linear };
        let range = match scale {
            Scale::Log => {
                let pad = (max / min).powf(0.05);
                (min / pad, max * pad)
            }
            Scale::Linear if max > min => {
                let pad = (max - min) * 0.06;
                (if min - pad < 0.0 || min < (max - min) { 0.0 } else { min - pad }, max + pad)
            }
            Scale::Linear => (0.0, (max * 1.5).max(1.0)),
        };
        Self { label: label.into(), unit: unit.into(), scale, range, ticks: Vec::new() }.with_ticks(&sorted)
    }

    /// With ticks at these places, rising, but for those that are too near to the one before.
    #[must_use]
    pub fn with_ticks(mut self, places: &[f64]) -> Self {
        let mut last = f64::NEG_INFINITY;
        self.ticks.clear();
        for &at in places {
            let share = self.share(at);
            if share - last >= 0.05 {
                self.ticks.push(Tick { at, text: text::tick(at) });
                last = share;
            }
        }
        self
    }

    /// A change in percent from `low` to `high`, with signed ticks; 0 lies inside.
    #[must_use]
    pub fn change(label: &str, low: f64, high: f64) -> Self {
        let mut axis = Self::between(label, "%", low, high);
        for tick in &mut axis.ticks {
            if tick.at > 0.0 {
                tick.text.insert(0, '+');
            }
        }
        axis
    }

    /// From `low` to `high`, which are different and finite.
    #[must_use]
    pub fn between(label: &str, unit: &str, low: f64, high: f64) -> Self {
        let ticks = linear(low, high);
        Self { label: label.into(), unit: unit.into(), scale: Scale::Linear, range: (low, high), ticks }
    }

    /// Logarithmic over `range`, whose ends are above 0.
    #[must_use]
    pub fn logarithmic(label: &str, unit: &str, range: (f64, f64)) -> Self {
        Self { label: label.into(), unit: unit.into(), scale: Scale::Log, range, ticks: log(range) }
    }

    /// Time since a cell's epoch.
    #[must_use]
    pub fn time(until_s: f64) -> Self {
        let top = until_s.max(0.1);
        Self {
            label: "time since the cell began".into(),
            unit: "s".into(),
            scale: Scale::Linear,
            range: (0.0, top),
            ticks: linear(0.0, top),
        }
    }
}

/// About five round ticks.
fn linear(lo: f64, hi: f64) -> Vec<Tick> {
    let raw = (hi - lo) / 5.0;
    let power = 10f64.powf(raw.log10().floor());
    let step =
        [1.0, 2.0, 2.5, 5.0, 10.0].iter().map(|m| m * power).find(|s| *s >= raw * 0.999).unwrap_or(raw);
    let first = (lo / step).ceil() as i64;
    let last = (hi / step + 1e-9).floor() as i64;
    (first..=last)
        .map(|i| i as f64 * step)
        // The product leaves dust such as 0.30000000000000004.
        .map(|at| (at / power * 1000.0).round() / 1000.0 * power)
        .map(|at| Tick { at, text: text::tick(at) })
        .collect()
}

/// Ticks at 1, 2, 5 in each decade, or at the decades alone where those are many.
fn log(range: (f64, f64)) -> Vec<Tick> {
    let (lo, hi) = (range.0.log10().floor() as i32, range.1.log10().ceil() as i32);
    let steps: &[f64] = if (range.1 / range.0).log10() > 3.4 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    (lo..=hi)
        .flat_map(|decade| steps.iter().map(move |m| m * 10f64.powi(decade)))
        .filter(|at| *at >= range.0 && *at <= range.1)
        .map(|at| Tick { at, text: text::tick(at) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|t| t.text.as_str()).collect()
    }

    #[test]
    fn a_wide_span_is_logarithmic_and_says_so() {
        let axis = Axis::latency("TTFT", "ms", &[20.0, 9000.0]);
        assert_eq!(axis.scale, Scale::Log);
        assert_eq!(axis.title(), "TTFT (ms), log scale");
        assert_eq!(texts(&axis), ["20", "50", "100", "200", "500", "1,000", "2,000", "5,000", "10,000"]);
    }

    #[test]
    fn a_narrow_span_starts_at_zero() {
        let axis = Axis::latency("TTFT", "ms", &[20.0, 90.0]);
        assert_eq!(axis.range.0, 0.0);
        assert_eq!(texts(&axis), ["0", "20", "40", "60", "80"]);
        assert_eq!(axis.title(), "TTFT (ms)");
    }

    #[test]
    fn zero_never_meets_a_log_scale() {
        assert_eq!(Axis::latency("lag", "ms", &[0.0, 1000.0]).scale, Scale::Linear);
        assert_eq!(Axis::levels("users", "", &[0.0, 100.0]).scale, Scale::Linear);
    }

    #[test]
    fn every_load_level_gets_its_tick_while_there_is_room() {
        let axis = Axis::levels("users", "", &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0]);
        assert_eq!(texts(&axis), ["1", "2", "4", "8", "16", "32"]);
        let crowded = Axis::levels("users", "", &[100.0, 101.0, 102.0, 200.0]);
        assert_eq!(texts(&crowded), ["100", "200"]);
    }

    #[test]
    fn ranges_hold_their_values_and_empty_input_is_fine() {
        for values in [&[][..], &[5.0][..], &[0.0][..], &[f64::NAN, 3.0][..]] {
            let axis = Axis::latency("TTFT", "ms", values);
            assert!(axis.range.1 > axis.range.0, "{values:?}");
            assert!(!axis.ticks.is_empty(), "{values:?}");
        }
        let single = Axis::levels("qps", "req/s", &[4.0]);
        assert!((0.0..=1.0).contains(&single.share(4.0)));
    }

    #[test]
    fn ticks_are_free_of_floating_dust() {
        let axis = Axis::from_zero("share", "", &[0.9]);
        assert_eq!(texts(&axis), ["0", "0.2", "0.4", "0.6", "0.8"]);
    }
}
