//! The scenario library: the experiment files of `experiments/`, inside the binary, so that
//! `plimsoll run smoke` needs no file. What each is for stands in the file itself.

use std::path::Path;

use crate::experiment::{Experiment, Mistakes};

/// One file of `experiments/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    /// The file's name without its ending, and the name of its runs.
    pub name: &'static str,
    /// The file, byte for byte.
    pub text: &'static str,
}

macro_rules! scenarios {
    ($($name:literal),* $(,)?) => {
        &[$(Scenario { name: $name, text: include_str!(concat!("../experiments/", $name, ".toml")) }),*]
    };
}

/// Every scenario, in the order in which a person would want them.
pub const SCENARIOS: &[Scenario] = scenarios![
    "quickstart",
    "search",
    "smoke",
    "baseline",
    "medium",
    "ramp-up",
    "high",
    "burst",
    "stress",
    "endurance",
    "recommended-sequence",
    "spike",
    "ramp",
    "fixed-200-200",
    "mixed-warfare",
    "batch-endpoints",
    "llm-bench-sweep",
    "capacity",
    "server-settings",
];

/// The scenario of this name, if there is one.
#[must_use]
pub fn find(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

/// The name that is most like `name`, if one is like enough.
#[must_use]
pub fn nearest(name: &str) -> Option<&'static str> {
    /// Below this, two names only share some letters.
    const ALIKE: f64 = 0.8;
    let name = name.to_lowercase();
    let alike = |scenario: &&Scenario| strsim::jaro_winkler(scenario.name, &name);
    let best = SCENARIOS.iter().max_by(|a, b| alike(a).total_cmp(&alike(b)))?;
    (alike(&best) >= ALIKE).then_some(best.name)
}

impl Scenario {
    /// The experiment, with `--set` overrides.
    ///
    /// # Errors
    /// Every mistake that an override makes.
    pub fn experiment(&self, sets: &[String]) -> Result<Experiment, Mistakes> {
        Experiment::parse(Path::new(self.name), self.text, sets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_slips_understood() {
        for scenario in SCENARIOS {
            assert_eq!(find(scenario.name), Some(scenario));
            assert_eq!(SCENARIOS.iter().filter(|s| s.name == scenario.name).count(), 1, "{}", scenario.name);
        }
        assert_eq!(find("smok"), None);
        for (slip, meant) in [("smok", "smoke"), ("Spike", "spike"), ("mixedwarfare", "mixed-warfare")] {
            assert_eq!(nearest(slip), Some(meant));
        }
        assert_eq!(nearest("zzz"), None);
    }
}
