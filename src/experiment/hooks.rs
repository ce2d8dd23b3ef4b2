//! `[hooks]`: what is done around the sweep and around each cell.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

/// All hooks, each list in the order written.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Hooks {
    pub before_sweep: Vec<Hook>,
    pub before_cell: Vec<Hook>,
    pub after_cell: Vec<Hook>,
    pub after_sweep: Vec<Hook>,
}

impl Hooks {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Those of one point.
    #[must_use]
    pub fn at(&self, point: HookPoint) -> &[Hook] {
        match point {
            HookPoint::BeforeSweep => &self.before_sweep,
            HookPoint::BeforeCell => &self.before_cell,
            HookPoint::AfterCell => &self.after_cell,
            HookPoint::AfterSweep => &self.after_sweep,
        }
    }
}

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookPoint {
    /// Once our own server is ready, before anything is asked of the target.
    BeforeSweep,
    BeforeCell,
    /// The cell is kept; the server has not cooled down.
    AfterCell,
    /// However the sweep ended; our own server still runs.
    AfterSweep,
}

impl HookPoint {
    /// The key of its list.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::BeforeSweep => "before_sweep",
            Self::BeforeCell => "before_cell",
            Self::AfterCell => "after_cell",
            Self::AfterSweep => "after_sweep",
        }
    }
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hook {
    pub action: HookAction,
    /// It fails when it takes longer.
    pub timeout: Duration,
    pub on_failure: OnFailure,
}

/// What a hook does.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HookAction {
    /// A program and its words; it is well when it exits with 0.
    Command(Vec<String>),
    Request {
        /// A path at the target, asked with the target's headers, or a whole URL.
        url: String,
        method: String,
        /// JSON, or other text.
        body: Option<String>,
        /// The HTTP status of a good answer; `None`: any of 200 to 299.
        expect_status: Option<u16>,
        expect: Option<Expect>,
    },
}

/// What a good answer holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Expect {
    /// JSON pointer (RFC 6901), such as `/success`.
    pub pointer: String,
    pub equals: Value,
}

/// What the failure of a hook does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The cell is skipped.
    Fail,
    /// The sweep stops.
    Stop,
    /// It is told.
    Warn,
}
