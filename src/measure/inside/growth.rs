//! Does something grow that should not: memory, open files, threads.
//!
//! Memory is no noise around a level: what is there now is there a moment later, so that a line
//! through its values looks sure where nothing but chance moved it. Its *steps* are near enough
//! independent. So the window is cut into ten, and the nine steps between the means of the parts
//! are tested: is their mean above 0 by Student's t, one-sided at 99 %. One that settles has large
//! steps first and none later, which vary too much to pass; so has one that goes up and down. A
//! leak's steps are alike.

use serde::{Deserialize, Serialize};

use crate::measure::Batches;
use crate::record::{Window, inside};
use crate::stats::{paired_t, student_t_quantile, theil_sen};

/// How sure a growth has to be, one-sided.
const LEVEL: f64 = 0.99;

/// What is looked at for growth, and how much is worth a word.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Growing {
    /// As in `record::inside`.
    pub name: &'static str,
    /// The least rise over the window, in the figure's own unit.
    pub least: f64,
    /// The least rise as a share of where it began.
    pub share: f64,
}

/// Every figure that can leak.
pub const GROWING: &[Growing] = &[
    Growing { name: inside::MEMORY, least: 8e6, share: 0.01 },
    Growing { name: inside::GPU_MEMORY, least: 64e6, share: 0.01 },
    Growing { name: inside::OPEN_FILES, least: 10.0, share: 0.05 },
    Growing { name: inside::THREADS, least: 5.0, share: 0.05 },
];

/// What one figure did over the window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Growth {
    /// As in `record::inside`.
    pub name: String,
    /// Whose it is, as `record::Reading::labels`.
    pub labels: String,
    /// Mean of the window's first tenth.
    pub from: f64,
    /// Mean of its last.
    pub to: f64,
    /// By the slope of Theil and Sen through the tenths, in the figure's unit an hour.
    pub per_hour: f64,
    /// Whether it is sure, and large enough to matter.
    pub grows: bool,
}

impl Growth {
    /// Of values over time. `None` for a figure that can't leak, and where the window is too
    /// short, or a tenth of it was not looked at.
    #[must_use]
    pub fn of((name, labels): (&str, &str), points: &[(i64, f64)], window: Window) -> Option<Self> {
        let growing = GROWING.iter().find(|growing| growing.name == name)?;
        let mut batches = Batches::new(window);
        for (at, value) in points {
            if let Ok(at) = u64::try_from(*at)
                && (window.start_us..window.end_us).contains(&at)
            {
                batches.add(at, *value);
            }
        }
        let means = batches.means()?;
        let tenth = window.seconds() / means.len() as f64;
        let at: Vec<f64> = (0..means.len()).map(|i| i as f64 * tenth).collect();
        let (from, to) = (*means.first()?, *means.last()?);
        Some(Self {
            name: name.to_owned(),
            labels: labels.to_owned(),
            from,
            to,
            per_hour: theil_sen(&at, &means)? * 3600.0,
            grows: grows(&means) && to - from >= f64::max(growing.least, growing.share * from),
        })
    }
}

/// Whether values in a row grow by more than chance. Never below four values.
#[must_use]
pub fn grows(values: &[f64]) -> bool {
    let steps: Vec<f64> = values.windows(2).map(|pair| pair[1] - pair[0]).collect();
    steps_grow(&steps)
}

/// Whether the mean of steps is above 0 by more than chance: Student's t, one-sided at 99 %. Never
/// below three steps.
#[must_use]
pub fn steps_grow(steps: &[f64]) -> bool {
    steps.len() >= 3 && paired_t(steps).is_some_and(|test| test.t > student_t_quantile(LEVEL, test.df))
}
