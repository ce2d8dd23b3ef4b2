//! The one integration-test binary.

mod load;
mod providers;
