//! Figures and page of a comparison, and overlays of several runs.

use std::path::Path;

use plimsoll::analysis::RunData;
use plimsoll::analysis::compare::{Comparison, GateSettings, Verdict, compare};
use plimsoll::chart::{self, Body, COMPARISON_CHARTS, Chart, Compared, Overlaid, Samples};
use plimsoll::report::{self, page, png};
use serde_json::json;

use super::synthetic::{self, Fate, Spec};

/// Scatter of repeat `i`, the same on every machine, in [−1, 1].
fn wave(i: usize, k: f64) -> f64 {
    (i as f64 * k + 0.7).sin()
}

/// A sweep of four levels with `repeats` repeats; `slow` multiplies what the server takes from
/// 16 users on, and noise is laid over all, another for each `seed`.
fn run(name: &str, repeats: u32, slow: f64, (noise, seed): (f64, f64)) -> RunData {
    let mut specs = Vec::new();
    for repeat in 1..=repeats {
        for users in [1, 4, 16, 32] {
            let fate = if users == 32 && name == "invalid" { Fate::Invalid } else { Fate::Fine };
            specs.push((Spec { load: synthetic::closed(users), prompt: 512, max: 64, repeat }, fate));
        }
    }
    let mut run = synthetic::run(name, &specs);
    for (i, data) in run.cells.iter_mut().enumerate() {
        let heavy = data.cell.factors["load.users"].as_f64().unwrap() >= 16.0;
        let factor = if heavy { slow } else { 1.0 } * (1.0 + noise * wave(i, seed));
        let summary = data.summary.as_mut().unwrap();
        for (metric, d) in &mut summary.distributions {
            if metric != "lag" {
                for v in [&mut d.mean, &mut d.p50, &mut d.p95, &mut d.p99] {
                    *v *= factor;
                }
            }
        }
        for rate in ["output_tps", "completed_rps", "goodput_rps"] {
            if let Some(v) = summary.scalars.get_mut(rate) {
                *v /= factor;
            }
        }
    }
    run
}

fn base() -> RunData {
    run("capacity", 6, 1.0, (0.02, 2.399))
}

fn cand() -> RunData {
    let mut run = run("capacity", 6, 1.3, (0.03, 1.711));
    run.id = "20261129T101500Z-capacity".into();
    run.manifest = json!({ "salt": "c0ffee", "started_at": "2026-11-29T10:15:00Z" });
    run.environment["server"] = json!({ "model": "example-8b", "version": "0.9" });
    run
}

/// Latencies of a cell with a tail that the candidate has twice as long.
fn samples(cell: &str, label: &str, slow: f64) -> Samples {
    let side = |slow: f64, seed: f64| -> Vec<Vec<f64>> {
        (0..4)
            .map(|r| {
                let mut all: Vec<f64> = (0..600)
                    .map(|i| {
                        let u = (f64::from(i) + 0.5) / 600.0;
                        let tail = if u > 0.9 { 1.0 + (u - 0.9) * 10.0 * slow } else { 1.0 };
                        100.0 * (1.0 + u) * tail * slow.sqrt() * (1.0 + 0.02 * wave(r, seed))
                    })
                    .collect();
                all.sort_by(f64::total_cmp);
                all
            })
            .collect()
    };
    let mut out = Samples { cell: cell.into(), label: label.into(), paired: true, ..Samples::default() };
    out.ttft.base = side(1.0, 1.3);
    out.ttft.cand = side(slow, 2.1);
    out.e2e.base = out.ttft.base.iter().map(|v| v.iter().map(|v| v * 8.0).collect()).collect();
    out.e2e.cand = out.ttft.cand.iter().map(|v| v.iter().map(|v| v * 8.0).collect()).collect();
    out
}

/// The comparison of `base` and `cand`, with latencies of two of its cells.
fn with_samples<'a>(comparison: &'a Comparison, base: &'a RunData, cand: &'a RunData) -> Compared<'a> {
    let id = |i: usize| base.cells[i].cell.id.0.clone();
    let samples = vec![samples(&id(3), "32 users", 1.3), samples(&id(2), "16 users", 1.2)];
    Compared { comparison, base, cand, samples }
}

fn outline(chart: &Chart) -> String {
    super::outline(chart)
}

#[test]
fn charts_of_a_comparison() {
    let (base, cand) = (base(), cand());
    let comparison = compare(&base, &cand, &GateSettings::default());
    let compared = with_samples(&comparison, &base, &cand);
    let charts = chart::of_comparison(&compared);
    let told: Vec<String> = charts
        .iter()
        .map(|c| {
            // Curves have hundreds of points: their sentences are enough.
            let curve = c.id.starts_with("ecdf") || c.id.starts_with("ccdf");
            let text = outline(c);
            if curve { text.lines().take(3).collect::<Vec<_>>().join("\n") } else { text }
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn every_row_of_the_table_of_comparison_charts_is_drawn() {
    let (base, cand) = (base(), cand());
    let comparison = compare(&base, &cand, &GateSettings::default());
    let compared = with_samples(&comparison, &base, &cand);
    for def in COMPARISON_CHARTS {
        let made = (def.build)(&compared);
        assert!(!made.is_empty(), "{}", def.id);
        assert!(made.iter().all(|c| c.id.starts_with(def.id) && !c.caption.is_empty()), "{}", def.id);
    }
}

#[test]
fn the_worst_is_first_and_curves_rise_to_all_requests() {
    let (base, cand) = (base(), cand());
    let comparison = compare(&base, &cand, &GateSettings::default());
    let charts = chart::of_comparison(&with_samples(&comparison, &base, &cand));
    assert_eq!(charts[0].id, "forest");
    let Body::Forest(forest) = &charts[0].body else { panic!("no forest") };
    let lower = &forest.groups[0].rows;
    let effects: Vec<f64> = lower.iter().filter(|r| !r.whole).filter_map(|r| r.effect).collect();
    assert!(effects[0] > 25.0 && effects.is_sorted_by(|a, b| a >= b), "{effects:?}");
    assert_eq!(lower.iter().find(|r| !r.whole).unwrap().verdict, Verdict::Regressed);
    let lines = |id: &str| match &charts.iter().find(|c| c.id == id).unwrap().body {
        Body::Lines(lines) => lines.clone(),
        other => panic!("{other:?}"),
    };
    let ecdf = lines("ecdf-ttft");
    for series in ecdf.panels.iter().flat_map(|p| &p.series) {
        let ys: Vec<f64> = series.points.iter().map(|p| p.y).collect();
        assert!(ys.is_sorted() && (ys[ys.len() - 1] - 100.0).abs() < 1e-9);
        assert!(ys.len() <= 240);
    }
    let tail = lines("ccdf-ttft").panels[0].series[0].points.clone();
    assert!(tail.is_sorted_by(|a, b| a.x <= b.x && a.y >= b.y));
    // The slowest of 4 × 600 requests.
    assert!((tail[tail.len() - 1].y - 100.0 / 2400.0).abs() < 1e-9);
    let shift = lines("shift-ttft").panels[0].series[0].points.clone();
    assert!(shift[shift.len() - 1].y > shift[0].y + 5.0, "the tail grew by more than the rest: {shift:?}");
    assert!(shift.iter().all(|p| p.low.unwrap() < p.y && p.y < p.high.unwrap()));
    let slopes = lines("slopes");
    assert!(slopes.panels.iter().all(|p| p.series.len() == 6), "a line for each pair of repeats");
}

#[test]
fn odd_comparisons_are_drawn_all_the_same() {
    let (base, cand) = (base(), cand());
    let whole = compare(&base, &cand, &GateSettings::default());
    let draw = |comparison: &Comparison, what: &str| -> usize {
        let compared = Compared { comparison, base: &base, cand: &cand, samples: Vec::new() };
        let charts = chart::of_comparison(&compared);
        for chart in &charts {
            assert!(png::svg(chart).unwrap().contains("</svg>"), "{what}: {}", chart.id);
        }
        if let Some(chart) = charts.last() {
            assert!(png::render(chart).unwrap().len() > 5_000, "{what}: {}", chart.id);
        }
        let text = page::of_comparison(&compared, &charts).unwrap();
        assert!(text.contains("<section id=\"answer\""), "{what}");
        charts.len()
    };
    let none = Comparison { rows: Vec::new(), suite: Vec::new(), ..whole.clone() };
    assert_eq!(draw(&none, "no rows"), 0);
    let one = Comparison { rows: vec![whole.rows[0].clone()], suite: Vec::new(), ..whole.clone() };
    assert_eq!(draw(&one, "one row"), 3);
    let mut many = whole.clone();
    many.rows = (0..200)
        .map(|i| {
            let mut row = whole.rows[i % whole.rows.len()].clone();
            row.cell = Some(plimsoll::plan::CellId(format!("{:016x}", i / 8)));
            row.label = format!("{} users, prompt tokens 4096, a model with a rather long name", i / 8);
            row.primary = true;
            row
        })
        .collect();
    assert!(draw(&many, "200 rows") >= 6, "more rows than fit go into further figures");
    let mut odd = whole.clone();
    for (i, row) in odd.rows.iter_mut().enumerate() {
        match i % 5 {
            0 => row.interval = Some((f64::NEG_INFINITY, f64::INFINITY)),
            1 => (row.effect, row.interval, row.verdict) = (None, None, Verdict::Missing),
            2 => (row.interval, row.p, row.q) = (None, None, None),
            3 => (row.base_values, row.cand_values) = (Vec::new(), vec![f64::NAN]),
            _ => (row.effect, row.margin) = (Some(f64::INFINITY), 0.0),
        }
    }
    draw(&odd, "infinite, missing and not a number");
}

#[test]
fn the_page_has_the_answer_first_and_loads_nothing() {
    let (base, cand) = (base(), cand());
    let comparison = compare(&base, &cand, &GateSettings::default());
    let compared = with_samples(&comparison, &base, &cand);
    let text = page::of_comparison(&compared, &chart::of_comparison(&compared)).unwrap();
    let own = super::own_part(&text);
    for sign in ["http://", "https://", " src=", "<link", "@import", "url(", "fetch("] {
        assert!(!own.contains(sign), "{sign}");
    }
    let place = |part: &str| own.find(part).unwrap_or_else(|| panic!("{part} is not on the page"));
    let order =
        ["✗ FAIL", "id=\"compared\"", "id=\"forest\"", "id=\"verdicts\"", "id=\"ecdf-ttft\"", "id=\"rows\""];
    assert!(order.map(place).is_sorted(), "{:?}", order.map(place));
    place("server.version");
    for verdict in Verdict::ALL {
        place(&verdict.meaning().replace('\'', "&#x27;"));
    }
    assert_eq!(
        own.matches("role=\"img\" aria-label=").count(),
        own.matches("type=\"application/json\"").count()
    );
}

#[test]
fn a_comparison_is_written_as_page_and_pictures() {
    let (base, cand) = (base(), cand());
    let comparison = compare(&base, &cand, &GateSettings::default());
    let dir = tempfile::tempdir().unwrap();
    let compared = Compared::read(&comparison, &base, &cand).unwrap();
    assert!(compared.samples.is_empty(), "these runs have no records");
    let written = report::comparison::write(&compared, &dir.path().join("a/b")).unwrap();
    assert!(written.page.is_file() && written.figures.iter().all(|f| f.is_file()));
    let names: Vec<_> = written.figures.iter().map(|f| f.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["forest.png", "verdicts.png", "slopes.png"]);
}

fn overlaid<'a>(runs: &'a [RunData], names: &[&str]) -> Vec<Overlaid<'a>> {
    runs.iter().zip(names).map(|(run, name)| Overlaid { name: (*name).into(), run }).collect()
}

#[test]
fn runs_over_each_other_share_axes_and_keep_their_colours() {
    let mut third = run("capacity", 1, 1.1, (0.0, 1.0));
    third.cells.retain(|c| c.cell.factors["load.users"] != json!(1));
    for data in &mut third.cells {
        data.cell.factors.insert("target.model".into(), json!("other"));
    }
    let runs = [base(), cand(), third];
    let runs = overlaid(&runs, &["old", "new", "other"]);
    let charts = chart::of_runs(&runs);
    let ids: Vec<&str> = charts.iter().map(|c| c.id.as_str()).collect();
    assert_eq!(ids, ["latency-ttft", "latency-tpot", "latency-e2e", "throughput", "goodput", "attainment"]);
    let Body::Lines(lines) = &charts[0].body else { panic!("not lines") };
    assert_eq!(lines.panels.iter().map(|p| p.title.as_str()).collect::<Vec<_>>(), ["p50", "p95", "p99"]);
    for panel in &lines.panels {
        let names: Vec<(&str, usize)> =
            panel.series.iter().map(|s| (s.name.as_str(), s.look.colour)).collect();
        assert_eq!(names, [("old", 0), ("new", 1), ("other", 2)]);
        assert_eq!(panel.series[2].points.len(), 3, "a level that a run lacks is left out");
    }
    let factors = chart::difference(&runs);
    assert_eq!(factors, [("target.model".to_owned(), ["–", "–", "other"].map(String::from).to_vec())]);
    insta::assert_snapshot!(charts.iter().map(outline).collect::<Vec<_>>().join("\n"));
}

#[test]
fn runs_of_one_level_have_nothing_to_lay_over_each_other() {
    let one = || super::of("one");
    let runs = [one(), one()];
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("overlay");
    assert!(report::overlay::write(&overlaid(&runs, &["a", "b"]), &out).unwrap().is_none());
    assert!(!out.exists());
}

fn overlay_page() -> String {
    let runs = [base(), cand()];
    let runs = overlaid(&runs, &["capacity 2026-11-22", "capacity 2026-11-29"]);
    page::of_overlay(&runs, &chart::of_runs(&runs)).unwrap()
}

fn comparison_page() -> String {
    let (base, cand) = (base(), cand());
    let comparison = compare(&base, &cand, &GateSettings::default());
    let compared = with_samples(&comparison, &base, &cand);
    page::of_comparison(&compared, &chart::of_comparison(&compared)).unwrap()
}

/// Put at the page's end: waits for the figures, sorts, hides a series, and writes what it saw.
const PROBE: &str = r#"
<script>
(() => {
  const errors = window.probeErrors;
  const wait = (test, then, left = 200) => test() || !left ? then() : setTimeout(() => wait(test, then, left - 1), 25);
  const drawn = () => [...document.querySelectorAll("figure .plot")].every((p) => p.querySelector(".main-svg"));
  // Figures are drawn when they come near the window; for print all are.
  window.dispatchEvent(new Event("beforeprint"));
  wait(drawn, () => {
    const table = document.getElementById("cell-table");
    let sorted = null;
    if (table) {
      const heads = [...table.querySelectorAll("thead th")];
      const i = heads.findIndex((h) => h.textContent.startsWith("Change"));
      heads[i].querySelector("button").click();
      sorted = [...table.tBodies[0].rows].map((r) => r.cells[i].dataset.sort).filter((v) => v !== undefined).map(Number);
    }
    const plot = document.querySelector(window.probeFigure);
    const buttons = plot.parentElement.querySelectorAll(".legend button");
    buttons[0].click();
    const hidden = plot.data.some((t) => t.visible === false) && buttons[0].getAttribute("aria-pressed") === "false";
    document.getElementById("theme").click();
    setTimeout(() => {
      const out = document.createElement("pre");
      out.id = "probe";
      out.textContent = "PROBE" + JSON.stringify({
        errors, sorted, drawn: drawn(), figures: document.querySelectorAll("figure .main-svg").length,
        legend: buttons.length, hidden, overflow: document.documentElement.scrollWidth > document.documentElement.clientWidth + 1,
      }) + "PROBE";
      document.body.append(out);
    }, 50);
  });
})();
</script>"#;

fn check(page: &str, width: u32, figure: &str, sorts: bool) {
    let probe = format!("<script>window.probeFigure = \"#{figure} .plot\";</script>{PROBE}");
    let Some(seen) = super::browser::seen(page, &probe, width) else { return };
    assert_eq!(seen["errors"], json!([]), "at {width}");
    assert_eq!(seen["drawn"], true);
    assert_eq!(seen["overflow"], false, "wider than a window of {width}");
    assert_eq!(seen["hidden"], true);
    assert!(seen["legend"].as_u64().unwrap() > 1, "{seen}");
    if sorts {
        let sorted: Vec<f64> = seen["sorted"].as_array().unwrap().iter().filter_map(|v| v.as_f64()).collect();
        assert!(sorted.len() > 20 && sorted.is_sorted(), "{sorted:?}");
    }
}

#[test]
fn the_page_of_a_comparison_works_in_a_browser() {
    check(&comparison_page(), 1300, "forest", true);
}

#[test]
fn the_page_of_a_comparison_works_on_a_narrow_screen() {
    check(&comparison_page(), 400, "ecdf-ttft", true);
}

#[test]
fn the_page_of_an_overlay_works_in_a_browser() {
    check(&overlay_page(), 1300, "throughput", false);
    check(&overlay_page(), 400, "throughput", false);
}

/// `cargo test gallery_of_a_comparison -- --ignored`, then look at it.
#[test]
#[ignore = "writes pages and pictures to look at"]
fn gallery_of_a_comparison() {
    let dir = super::gallery_dir();
    let write = |name: &str, page: &str, charts: &[Chart]| {
        let dir = dir.join(name);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("index.html"), page).unwrap();
        for chart in charts {
            let file = dir.join(format!("{}.png", chart.id));
            std::fs::write(&file, png::render(chart).unwrap()).unwrap();
            assert!(Path::new(&file).is_file());
        }
    };
    let (base, cand) = (base(), cand());
    let comparison = compare(&base, &cand, &GateSettings::default());
    let compared = with_samples(&comparison, &base, &cand);
    write("comparison", &comparison_page(), &chart::of_comparison(&compared));
    let runs = [base, cand];
    let runs = overlaid(&runs, &["capacity 2026-11-22", "capacity 2026-11-29"]);
    write("overlay", &overlay_page(), &chart::of_runs(&runs));
}
