//! Figures, page and terminal text of synthetic runs.

mod synthetic;

use std::path::PathBuf;

use plimsoll::chart;
use plimsoll::report::{html, png, terminal};

fn gallery_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("gallery")
}

#[test]
#[ignore = "writes pictures to look at"]
fn gallery() {
    for run in synthetic::gallery() {
        let dir = gallery_dir().join(&run.name);
        std::fs::create_dir_all(&dir).unwrap();
        for (i, chart) in chart::all(&run).iter().enumerate() {
            std::fs::write(dir.join(format!("{}.png", chart.id)), png::render(chart).unwrap()).unwrap();
        }
    }
}
