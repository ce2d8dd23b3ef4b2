//! Figures, page and terminal text of synthetic runs.

mod synthetic;

use std::path::{Path, PathBuf};

use plimsoll::chart;
use plimsoll::report::{html, png, terminal};

/// Where the pictures go that people look at.
fn gallery_dir() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("gallery")
}

/// `PLIMSOLL_GALLERY=pages|all cargo test gallery -- --ignored`
#[test]
#[ignore = "writes pages and pictures to look at"]
fn gallery() {
    let all = std::env::var("PLIMSOLL_GALLERY").is_ok_and(|v| v == "all");
    for run in synthetic::gallery() {
        let dir = gallery_dir().join(&run.name);
        std::fs::create_dir_all(&dir).unwrap();
        let charts = chart::all(&run);
        std::fs::write(dir.join("index.html"), html::page(&run, &charts).unwrap()).unwrap();
        let text = terminal::summary(&run, Some(Path::new("reports/x/index.html")));
        assert!(text.contains(&run.id));
        std::fs::write(dir.join("summary.txt"), text).unwrap();
        let strip = |c: &&chart::Chart| !c.id.starts_with("strip-") || c.id == "strip-001";
        for chart in charts.iter().filter(strip).filter(|_| all) {
            std::fs::write(dir.join(format!("{}.png", chart.id)), png::render(chart).unwrap()).unwrap();
        }
    }
}
