//! Held against `[observe.limits]`.

use serde::{Deserialize, Serialize};

use super::{Growth, InsideFigure};
use crate::experiment::{Limit, LimitOn};
use crate::measure::SloStatus;
use crate::record::inside;

/// One limit, judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LimitVerdict {
    pub on: LimitOn,
    /// In the unit of what it is on.
    pub most: f64,
    /// `None`: it was not read, which fails.
    pub value: Option<f64>,
    /// Whose value that is, as `record::Reading::labels`: of several the greatest counts.
    pub labels: String,
    pub status: SloStatus,
}

/// What of a series is held against a limit.
#[derive(Clone, Copy)]
enum Of {
    /// Memory that was taken for a moment was taken.
    Max,
    /// A core that is busy for a moment is what cores are for.
    Mean,
    Growth,
}

const fn what(on: LimitOn) -> (&'static str, Of) {
    match on {
        LimitOn::Memory => (inside::MEMORY, Of::Max),
        LimitOn::MemoryGrowth => (inside::MEMORY, Of::Growth),
        LimitOn::Cpu => (inside::CPU_SHARE, Of::Mean),
        LimitOn::CpuCores => (inside::CPU_CORES, Of::Mean),
        LimitOn::OpenFiles => (inside::OPEN_FILES, Of::Max),
        LimitOn::Threads => (inside::THREADS, Of::Max),
        LimitOn::Gpu => (inside::GPU, Of::Mean),
        LimitOn::GpuMemory => (inside::GPU_MEMORY_SHARE, Of::Max),
        LimitOn::GpuPower => (inside::GPU_POWER, Of::Mean),
        LimitOn::GpuTemperature => (inside::GPU_TEMPERATURE, Of::Max),
    }
}

impl LimitVerdict {
    pub(super) fn judge(limit: &Limit, figures: &[InsideFigure], growth: &[Growth]) -> Self {
        let (name, of) = what(limit.on);
        let named = figures.iter().filter(|figure| figure.name == name);
        let values: Vec<(f64, &str)> = match of {
            Of::Max => named.map(|f| (f.max, f.labels.as_str())).collect(),
            Of::Mean => named.map(|f| (f.mean, f.labels.as_str())).collect(),
            Of::Growth => {
                growth.iter().filter(|g| g.name == name).map(|g| (g.to - g.from, g.labels.as_str())).collect()
            }
        };
        let worst = values.into_iter().max_by(|a, b| a.0.total_cmp(&b.0));
        let fine = worst.is_some_and(|(value, _)| value <= limit.most);
        Self {
            on: limit.on,
            most: limit.most,
            value: worst.map(|(value, _)| value),
            labels: worst.map(|(_, labels)| labels.to_owned()).unwrap_or_default(),
            status: if fine { SloStatus::Pass } else { SloStatus::Fail },
        }
    }
}
