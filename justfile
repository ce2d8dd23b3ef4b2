# What CI runs.
check:
    .ci/run

# Only what an edit needs.
quick:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings
    cargo test

# The main job against the embedded simulator.
quickstart:
    cargo run --release -- run experiments/quickstart.toml
