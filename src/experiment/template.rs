//! The commented file that `plimsoll init` writes.

/// A commented experiment file: every section, every key with its meaning, and most of them
/// commented out at their defaults. It runs as it stands, against the embedded simulator.
#[must_use]
pub fn template() -> String {
    include_str!("template.toml").to_owned()
}
