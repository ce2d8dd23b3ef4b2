//! `custom`: any HTTP endpoint, described in the experiment file.

use serde::{Deserialize, Serialize};

/// `[target.custom]`: how an endpoint is asked and how its answers are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Custom {
    /// HTTP method, such as `POST`.
    pub method: String,
    /// Path below the target's URL.
    pub path: String,
}
