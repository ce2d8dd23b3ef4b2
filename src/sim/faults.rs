//! What goes wrong on purpose: at most one fault a request, drawn from the seed and the
//! request's number.

use super::config::Config;
use super::knob::Rate;
use super::tokens::{mix, unit};

/// A way for a request to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// 429 before any computation.
    Status429,
    /// 500, plain text.
    Status500,
    Status503,
    Status400,
    /// 400 with vLLM's words for a prompt that is too long.
    ContextLength,
    /// Connection reset before any answer.
    Reset,
    /// Connection reset after some tokens.
    ResetMid,
    /// A long pause after some tokens.
    Stall,
    /// The stream ends cleanly, but without finish reason, usage and end marker.
    NoEnd,
    /// A frame that is not JSON.
    Garbage,
    /// An error object, then the end marker.
    ErrorObject,
}

impl Fault {
    /// Every fault, in the order in which their rates are stacked.
    pub const ALL: [Self; 11] = [
        Self::Status429,
        Self::Status500,
        Self::Status503,
        Self::Status400,
        Self::ContextLength,
        Self::Reset,
        Self::ResetMid,
        Self::Stall,
        Self::NoEnd,
        Self::Garbage,
        Self::ErrorObject,
    ];

    /// The word for it in the log of the truth: its knob's name without `fault_`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Status429 => "429",
            Self::Status500 => "500",
            Self::Status503 => "503",
            Self::Status400 => "400",
            Self::ContextLength => "context_length",
            Self::Reset => "reset",
            Self::ResetMid => "reset_mid",
            Self::Stall => "stall",
            Self::NoEnd => "no_end",
            Self::Garbage => "garbage",
            Self::ErrorObject => "error_object",
        }
    }

    /// The fault of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.name() == name)
    }

    /// How often it is to happen.
    #[must_use]
    pub const fn rate(self, config: &Config) -> Rate {
        match self {
            Self::Status429 => config.fault_429,
            Self::Status500 => config.fault_500,
            Self::Status503 => config.fault_503,
            Self::Status400 => config.fault_400,
            Self::ContextLength => config.fault_context_length,
            Self::Reset => config.fault_reset,
            Self::ResetMid => config.fault_reset_mid,
            Self::Stall => config.fault_stall,
            Self::NoEnd => config.fault_no_end,
            Self::Garbage => config.fault_garbage,
            Self::ErrorObject => config.fault_error_object,
        }
    }
}

/// The fault of the `n`-th request, if it has one.
pub(super) fn draw(config: &Config, n: u64) -> Option<Fault> {
    let u = unit(mix(config.seed ^ 0xfa17) ^ n);
    let mut below = 0.0;
    Fault::ALL.into_iter().find(|fault| {
        below += fault.rate(config).0;
        u < below
    })
}

/// Whether the `n`-th request is a slow one.
pub(super) fn is_slow(config: &Config, n: u64) -> bool {
    unit(mix(config.seed ^ 0xfa19) ^ n) < config.slow_share.0
}

/// After how many of an answer's tokens the `n`-th request's fault strikes: 1 to `output`.
pub(super) fn strikes_after(config: &Config, n: u64, output: u32) -> u32 {
    let u = unit(mix(config.seed ^ 0xfa18) ^ n);
    1 + (u * f64::from(output.saturating_sub(1))) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_come_as_often_as_asked_and_again_with_the_same_seed() {
        let config = Config { fault_stall: Rate(0.1), fault_500: Rate(0.3), ..Config::default() };
        let drawn: Vec<_> = (0..20_000).map(|n| draw(&config, n)).collect();
        let share = |f| drawn.iter().filter(|d| **d == f).count() as f64 / 20_000.0;
        assert!((share(Some(Fault::Stall)) - 0.1).abs() < 0.01);
        assert!((share(Some(Fault::Status500)) - 0.3).abs() < 0.01);
        assert!((share(None) - 0.6).abs() < 0.015);
        assert!((0..20_000).all(|n| draw(&config, n) == drawn[n as usize]));
        let other = Config { seed: 1, ..config };
        assert!((0..1000).any(|n| draw(&other, n) != drawn[n as usize]));
    }

    #[test]
    fn slow_requests_come_as_often_as_asked_and_apart_from_faults() {
        let config = Config { slow_share: Rate(0.05), fault_500: Rate(0.05), ..Config::default() };
        let share = |of: &dyn Fn(u64) -> bool| (0..40_000).filter(|n| of(*n)).count() as f64 / 40_000.0;
        assert!((share(&|n| is_slow(&config, n)) - 0.05).abs() < 0.005);
        let both = share(&|n| is_slow(&config, n) && draw(&config, n).is_some());
        assert!((both - 0.0025).abs() < 0.001, "{both}");
        assert!((0..1000).all(|n| !is_slow(&Config::default(), n)));
    }

    #[test]
    fn a_fault_strikes_inside_the_answer() {
        let config = Config::default();
        for n in 0..1000 {
            assert!((1..=7).contains(&strikes_after(&config, n, 7)));
            assert_eq!(strikes_after(&config, n, 1), 1);
        }
    }

    #[test]
    fn names_are_the_knobs() {
        for fault in Fault::ALL {
            assert_eq!(Fault::by_name(fault.name()), Some(fault));
            let knob = format!("fault_{}", fault.name());
            assert!(super::super::KNOBS.iter().any(|k| k.name == knob), "{knob}");
        }
    }
}
