//! What a cell's stages make of its load: its highest level, its first, and how much comes in all.

use super::settings::{Load, Settings, Stage};

impl Load {
    /// The level that stages change: users, or requests per second.
    #[must_use]
    pub fn level(&self) -> f64 {
        match *self {
            Self::Closed { users } => f64::from(users),
            Self::Open { qps, .. } => qps,
        }
    }

    /// The same load at another level.
    #[must_use]
    pub fn at(self, level: f64) -> Self {
        match self {
            Self::Closed { .. } => Self::Closed { users: level.round().max(1.0) as u32 },
            Self::Open { arrivals, max_in_flight, .. } => Self::Open { qps: level, arrivals, max_in_flight },
        }
    }
}

impl Settings {
    /// The load at its highest stage; without stages the load itself.
    #[must_use]
    pub fn peak_load(&self) -> Load {
        let highest = self.stages.iter().map(|stage| stage.level).reduce(f64::max);
        highest.map_or(self.load, |level| self.load.at(level))
    }

    /// The load of ramp and warm-up: that of the first stage; without stages the load itself.
    #[must_use]
    pub fn first_load(&self) -> Load {
        self.stages.first().map_or(self.load, |stage| self.load.at(stage.level))
    }

    /// Whether the load changes within the window, by plan.
    #[must_use]
    pub fn level_changes(&self) -> bool {
        self.stages.windows(2).any(|pair| pair[0].level != pair[1].level)
    }

    /// Each stage with the level that it comes from.
    pub fn stages_from(&self) -> impl Iterator<Item = (f64, &Stage)> {
        let before = self.stages.first().into_iter().chain(&self.stages).map(|stage| stage.level);
        before.zip(&self.stages)
    }

    /// What the stages add up to in level times seconds: in an open loop, the arrivals of the
    /// window. `None` without stages.
    #[must_use]
    pub fn staged_arrivals(&self) -> Option<f64> {
        let of = |(before, stage): (f64, &Stage)| {
            let missing = (stage.level - before) * stage.ramp.as_secs_f64() / 2.0;
            stage.level * stage.duration.as_secs_f64() - missing
        };
        (!self.stages.is_empty()).then(|| self.stages_from().map(of).sum())
    }
}
