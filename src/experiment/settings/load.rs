//! How load is put on: users or rates, their arrivals and think times.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How load is put on the server.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "loop")]
pub enum Load {
    /// Each user sends, waits for the answer, and sends again.
    Closed { users: u32 },
    /// Requests are due at their times, whatever the server does.
    Open {
        qps: f64,
        arrivals: Arrivals,
        /// Cap on requests in flight (`users` beside `qps`). What it holds back is counted.
        max_in_flight: Option<u32>,
    },
}

/// How open-loop arrivals are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    Constant,
    Poisson,
    /// Gaps from a gamma distribution of shape `burstiness`, more than 0: 1 is Poisson, less is
    /// burstier. Their standard deviation over their mean is 1/√burstiness.
    Gamma {
        burstiness: f64,
    },
    /// Gaps evenly distributed between 0 and twice their mean.
    Uniform,
    /// So many at once, each time that a period has passed: as many users, each of whom asks once
    /// a period. The rate is `size` over the period, the cap on what is in flight `size`.
    Burst {
        size: u32,
    },
    /// At the times that `workload.trace` has; the rate is their mean.
    Trace,
}

impl Arrivals {
    /// The word for it in files and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Poisson => "poisson",
            Self::Gamma { .. } => "gamma",
            Self::Uniform => "uniform",
            Self::Burst { .. } => "burst",
            Self::Trace => "trace",
        }
    }
}

/// A closed loop's time between an answer and the user's next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Think {
    Constant(Duration),
    /// Evenly distributed between the two.
    Uniform(Duration, Duration),
    Exponential {
        mean: Duration,
        /// No longer than this.
        max: Option<Duration>,
    },
}

impl Think {
    /// Its mean; of an exponential with a limit, what the limit leaves of it.
    #[must_use]
    pub fn mean(&self) -> Duration {
        match *self {
            Self::Constant(time) => time,
            Self::Uniform(from, to) => (from + to) / 2,
            Self::Exponential { mean, max: None } => mean,
            // E min(X, m) of an exponential.
            Self::Exponential { mean, max: Some(max) } => {
                mean.mul_f64(-(-max.as_secs_f64() / mean.as_secs_f64()).exp_m1())
            }
        }
    }
}
