//! The one integration-test binary: each further one would cost a link of every dependency.
//!
//! A file here is about one room of the house, or about what only shows from outside.

mod load;
mod mistakes;
mod plan;
mod providers;
mod real_server;
mod sim;
mod store;
