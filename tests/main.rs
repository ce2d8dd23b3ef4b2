//! The one integration-test binary.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod report;
