//! The page in a real browser, where there is one.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Put at the page's end: waits for the figures, opens a strip, sorts, and writes what it saw.
const PROBE: &str = r#"
<script>
(() => {
  const errors = window.probeErrors;
  const wait = (test, then, left = 200) => test() || !left ? then() : setTimeout(() => wait(test, then, left - 1), 25);
  const drawn = (selector) => [...document.querySelectorAll(selector)].every((p) => p.querySelector(".main-svg"));
  wait(() => drawn("figure .plot"), () => {
    const strip = document.querySelector("details.strip");
    const lazy = !strip.querySelector(".main-svg");
    strip.open = true;
    wait(() => strip.querySelector(".main-svg"), () => {
      const table = document.getElementById("cell-table");
      const heads = [...table.querySelectorAll("thead th")];
      const i = heads.findIndex((h) => h.textContent.startsWith("TTFT p95"));
      const column = () => [...table.tBodies[0].rows].map((r) => r.cells[i].dataset.sort === undefined ? null : Number(r.cells[i].dataset.sort));
      const button = heads[i].querySelector("button");
      button.click();
      const up = column(), upSaid = heads[i].getAttribute("aria-sort");
      button.click();
      const down = column(), downSaid = heads[i].getAttribute("aria-sort");
      const before = document.documentElement.dataset.theme;
      document.getElementById("theme").click();
      const out = document.createElement("pre");
      out.id = "probe";
      out.textContent = "PROBE" + JSON.stringify({
        errors, lazy, up, down, upSaid, downSaid,
        drawn: document.querySelectorAll("figure .main-svg").length > 0 && drawn("figure .plot"),
        strip: !!strip.querySelector(".main-svg"),
        overflow: document.documentElement.scrollWidth > document.documentElement.clientWidth + 1,
        themes: [before, document.documentElement.dataset.theme],
        points: document.querySelectorAll("figure .scatterlayer .point, figure .heatmaplayer image").length,
      }) + "PROBE";
      document.body.append(out);
    });
  });
})();
</script>"#;

/// Put at its head: catches what a developer would see in red.
const CATCH: &str = r#"<script>
window.probeErrors = [];
window.addEventListener("error", (e) => window.probeErrors.push(String(e.message)));
window.addEventListener("securitypolicyviolation", (e) => window.probeErrors.push("blocked " + e.blockedURI));
console.error = (...what) => window.probeErrors.push(what.join(" "));
</script>"#;

fn chromium() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).flat_map(|d| names.map(|n| d.join(n))).find(|p| p.is_file())
}

/// What the probe saw in the page of `name` at `width` pixels; nothing without a browser.
fn probe(name: &str, width: u32) -> Option<Value> {
    seen(&super::page(&super::of(name)), PROBE, width)
}

/// What `probe`, put at the end of `page`, saw at `width` pixels; nothing without a browser.
pub fn seen(page: &str, probe: &str, width: u32) -> Option<Value> {
    let Some(browser) = chromium() else {
        assert!(std::env::var_os("REQUIRE_CHROMIUM").is_none(), "REQUIRE_CHROMIUM is set, and there is none");
        eprintln!("SKIPPED: no chromium on the PATH, so the page was not opened");
        return None;
    };
    let dir = tempfile::tempdir().unwrap();
    let page = page.replacen("<head>", &format!("<head>{CATCH}"), 1).replacen(
        "</body>",
        &format!("{probe}</body>"),
        1,
    );
    std::fs::write(dir.path().join("index.html"), page).unwrap();
    // A headless window has a least width; a frame has none.
    let frame = format!(
        "<iframe id=f src=index.html style='width:{width}px;height:900px'></iframe>\
         <script>setInterval(() => {{ const p = f.contentDocument && f.contentDocument.getElementById('probe'); \
         if (p && !document.getElementById('out')) {{ const o = document.createElement('pre'); o.id = 'out'; \
         o.textContent = p.textContent; document.body.append(o); }} }}, 50)</script>"
    );
    std::fs::write(dir.path().join("frame.html"), frame).unwrap();
    let dom = dump(&browser, dir.path());
    let json = dom.split("PROBE").nth(1).unwrap_or_else(|| panic!("the probe wrote nothing:\n{dom:.2000}"));
    Some(serde_json::from_str(&json.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")).unwrap())
}

fn dump(browser: &Path, dir: &Path) -> String {
    let out = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--allow-file-access-from-files",
        ])
        .args(["--virtual-time-budget=20000", "--window-size=1400,1000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", dir.join("profile").display()))
        .arg(format!("file://{}", dir.join("frame.html").display()))
        .output()
        .unwrap();
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn check(name: &str, width: u32, figures: bool) {
    let Some(seen) = probe(name, width) else { return };
    assert_eq!(seen["errors"], serde_json::json!([]), "{name} at {width}");
    assert_eq!(seen["drawn"], figures, "{name} at {width}: {seen}");
    assert_eq!(seen["strip"], true);
    assert_eq!(seen["lazy"], true, "strips are drawn when they are opened");
    assert_eq!(seen["overflow"], false, "{name} is wider than a window of {width}");
    assert_eq!((seen["upSaid"].as_str(), seen["downSaid"].as_str()), (Some("ascending"), Some("descending")));
    assert_ne!(seen["themes"][0], seen["themes"][1]);
    let column = |which: &str| -> Vec<Option<f64>> {
        seen[which].as_array().unwrap().iter().map(Value::as_f64).collect()
    };
    let (up, down) = (column("up"), column("down"));
    let known = |c: &[Option<f64>]| c.iter().copied().flatten().collect::<Vec<f64>>();
    assert!(known(&up).is_sorted(), "{up:?}");
    assert!(known(&down).iter().rev().is_sorted(), "{down:?}");
    for sorted in [&up, &down] {
        let gap = sorted.iter().position(Option::is_none).unwrap_or(sorted.len());
        assert!(sorted[gap..].iter().all(Option::is_none), "what is not known comes last: {sorted:?}");
    }
    assert_eq!(seen["points"].as_u64().unwrap() > 0, figures);
}

#[test]
fn the_page_works_in_a_browser() {
    check("tokens", 1300, true);
}

#[test]
fn the_page_works_on_a_narrow_screen() {
    check("partial", 400, true);
}

#[test]
fn a_failed_sweep_makes_a_page_that_works() {
    check("failed", 1000, false);
}
