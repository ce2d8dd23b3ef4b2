//! `[fleet]`: the machines that drive the load.

use serde::Serialize;

/// The environment variable of the token, where none is named.
pub const TOKEN_VARIABLE: &str = "PLIMSOLL_WORKER_TOKEN";

/// Where the workers are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FleetSettings {
    /// `host:port` of each; empty: this process drives the load itself.
    pub workers: Vec<String>,
    /// The environment variable that holds the token which the workers have, too.
    pub token_env: String,
}

impl Default for FleetSettings {
    fn default() -> Self {
        Self { workers: Vec::new(), token_env: TOKEN_VARIABLE.to_owned() }
    }
}
