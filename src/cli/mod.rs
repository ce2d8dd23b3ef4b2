//! The door: one file per subcommand.

use std::process::ExitCode;

/// Parse the command line, run, print the chain of an error, and say how it went.
#[must_use]
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
