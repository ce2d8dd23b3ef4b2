//! The one integration-test binary.

mod mistakes;
mod plan;
mod sim;
