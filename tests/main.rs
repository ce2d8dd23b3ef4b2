//! The one integration-test binary.

mod mistakes;
mod plan;
mod providers;
mod real_server;
mod sim;
mod store;
