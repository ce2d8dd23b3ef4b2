//! The one integration-test binary.

mod providers;
mod real_server;
mod store;
