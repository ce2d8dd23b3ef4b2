//! The page in a real browser, where there is one.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Put at the page's end: prints, sorts, filters, hides a series, opens a cell, and writes what it saw.
const PROBE: &str = r##"
<script>
(() => {
  const errors = window.probeErrors;
  const wait = (test, then, left = 200) => test() || !left ? then() : setTimeout(() => wait(test, then, left - 1), 25);
  const drawn = (selector) => [...document.querySelectorAll(selector)].every((p) => p.querySelector(".main-svg"));
  const lazy = !document.querySelector("#strip-show .main-svg") && !window.Plotly;
  const out = { errors, lazy };
  const finish = () => {
    const text = document.createElement("pre");
    text.id = "probe";
    text.textContent = "PROBE" + JSON.stringify(out) + "PROBE";
    document.body.append(text);
  };
  const wide = () => document.documentElement.scrollWidth > document.documentElement.clientWidth + 1;
  // What printing does: everything is drawn.
  window.dispatchEvent(new Event("beforeprint"));
  wait(() => drawn("figure .plot") && document.querySelector("#strip-show .main-svg"), () => {
    window.dispatchEvent(new Event("afterprint"));
    out.drawn = document.querySelectorAll("figure .main-svg").length > 0 && drawn("figure .plot");
    out.strip = !!document.querySelector("#strip-show .main-svg");
    out.points = document.querySelectorAll("figure .scatterlayer .point, figure .heatmaplayer image").length;

    const table = document.getElementById("cell-table");
    const heads = [...table.querySelectorAll("thead th")];
    const i = heads.findIndex((h) => h.textContent.startsWith("TTFT p95"));
    const column = () => [...table.tBodies[0].rows].map((r) => r.cells[i].dataset.sort === undefined ? null : Number(r.cells[i].dataset.sort));
    const button = heads[i].querySelector("button");
    button.focus();
    out.focused = document.activeElement === button && button.tabIndex === 0;
    button.click();
    out.up = column(); out.upSaid = heads[i].getAttribute("aria-sort");
    button.click();
    out.down = column(); out.downSaid = heads[i].getAttribute("aria-sort");

    const visible = () => [...table.tBodies[0].rows].filter((r) => !r.hidden).length;
    const search = table.closest("[data-tools]").querySelector("input[type=search]");
    const all = visible();
    search.value = "no cell has this text";
    search.dispatchEvent(new Event("input"));
    const none = visible();
    search.value = "";
    search.dispatchEvent(new Event("input"));
    out.filtered = [all, none, visible()];
    const quick = table.closest("[data-tools]").querySelector("select");
    if (quick) {
      quick.selectedIndex = 1;
      quick.dispatchEvent(new Event("change"));
      out.quick = visible();
      quick.selectedIndex = 0;
      quick.dispatchEvent(new Event("change"));
    }

    const series = document.querySelector("figure .legend button");
    if (series) {
      const plot = series.closest("figure").querySelector(".plot");
      const hidden = () => plot.data.filter((t) => t.visible === false).length;
      const before = hidden();
      series.click();
      out.hides = [before, hidden(), series.getAttribute("aria-pressed")];
    }
    out.overflow = wide();
    const before = document.documentElement.dataset.theme;
    document.getElementById("theme").click();
    out.themes = [before, document.documentElement.dataset.theme];

    location.hash = "#cell-2";
    const cell = document.getElementById("cell");
    wait(() => !cell.hidden && cell.querySelector(".main-svg"), () => {
      out.cell = cell.querySelector("h2") && cell.querySelector("h2").textContent;
      out.cellStrip = !!cell.querySelector(".main-svg");
      out.cellOverflow = wide();
      location.hash = "#m-ttft";
      wait(() => cell.hidden, () => {
        out.back = cell.hidden && !document.getElementById("overview").hidden;
        finish();
      });
    });
  });
})();
</script>"##;

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
    assert_eq!(seen["lazy"], true, "the library is read and strips are drawn when they are needed");
    assert_eq!(seen["overflow"], false, "{name} is wider than a window of {width}");
    assert_eq!(seen["cellOverflow"], false, "a cell of {name} is wider than a window of {width}");
    assert_eq!(seen["focused"], true, "a heading's button can be reached by keyboard");
    let rows = seen["filtered"].as_array().unwrap();
    assert!(rows[0].as_u64() > Some(0) && rows[1] == 0 && rows[2] == rows[0], "{rows:?}");
    if let Some(quick) = seen["quick"].as_u64() {
        assert!(quick > 0 && quick < rows[0].as_u64().unwrap(), "{quick} of {rows:?}");
    }
    if figures {
        let hides = seen["hides"].as_array().unwrap();
        assert!(hides[0] == 0 && hides[1].as_u64() > Some(0) && hides[2] == "false", "{hides:?}");
    }
    assert!(seen["cell"].as_str().is_some_and(|t| t.starts_with("Cell 2: ")), "{seen}");
    assert_eq!((&seen["cellStrip"], &seen["back"]), (&true.into(), &true.into()));
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
    check("tokens", 1400, true);
    check("knee", 1000, true);
}

#[test]
fn the_page_works_on_a_narrow_screen() {
    check("partial", 400, true);
}

#[test]
fn a_failed_sweep_makes_a_page_that_works() {
    check("failed", 1000, false);
}
