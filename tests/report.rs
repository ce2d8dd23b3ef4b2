//! Figures, page and terminal text of synthetic runs.

mod browser;
mod comparison;
mod synthetic;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plimsoll::analysis::RunData;
use plimsoll::chart::{self, Body, Chart};
use plimsoll::experiment::{Recovery, Slo, SloRule, Stage};
use plimsoll::measure::{self, GroupKind, GroupSummary, Reason, SloVerdict, Verdict};
use plimsoll::record::Window;
use plimsoll::report::{self, png, terminal};

/// Where the pictures go that people look at.
fn gallery_dir() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("gallery")
}

/// The synthetic run `name`.
fn of(name: &str) -> RunData {
    synthetic::gallery().into_iter().find(|r| r.name == name).unwrap()
}

fn page(run: &RunData) -> String {
    report::page::of_run(run, &chart::all(run)).unwrap()
}

/// A chart in a few lines: what a reader would be told of it.
fn outline(chart: &Chart) -> String {
    let mut out = format!("{} | {}\n  {}\n  {}\n", chart.id, chart.title, chart.subtitle, chart.caption);
    match &chart.body {
        Body::Lines(lines) => {
            writeln!(
                out,
                "  x {} | y {} | {} references",
                lines.x.title(),
                lines.y.title(),
                lines.references.len()
            )
            .unwrap();
            for panel in &lines.panels {
                for series in &panel.series {
                    let points = series.points.iter().map(|p| {
                        let marks = match (p.flags.invalid, p.flags.overloaded) {
                            (true, _) => "!",
                            (_, true) => "^",
                            _ => "",
                        };
                        let range = p.low.map_or_else(String::new, |l| {
                            format!(
                                " [{}..{}]",
                                chart::figure(l),
                                p.high.map_or_else(String::new, chart::figure)
                            )
                        });
                        format!("{}:{}{range}{marks}", chart::figure(p.x), chart::figure(p.y))
                    });
                    let points = points.collect::<Vec<_>>().join("  ");
                    writeln!(out, "    [{}] {}: {points}", panel.title, series.name).unwrap();
                }
            }
        }
        Body::HeatMap(map) => {
            writeln!(out, "  {:?} x {:?} | {}", map.xs, map.ys, map.value_label).unwrap();
            for panel in &map.panels {
                for row in &panel.values {
                    let row = row.iter().map(|v| v.map_or_else(|| "-".into(), chart::figure));
                    writeln!(out, "    [{}] {}", panel.title, row.collect::<Vec<_>>().join("  ")).unwrap();
                }
            }
        }
        Body::Forest(forest) => {
            writeln!(out, "  x {} {:.2?}", forest.x.title(), forest.x.range).unwrap();
            let show = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), |v| format!("{v:.2}"));
            for group in &forest.groups {
                writeln!(out, "    {}", group.title).unwrap();
                for r in &group.rows {
                    let (effect, low, high) = (show(r.effect), show(r.low), show(r.high));
                    let sign = r.verdict.glyph();
                    writeln!(out, "      {sign} {}: {effect} [{low}..{high}] ±{:.2}", r.name, r.margin)
                        .unwrap();
                }
            }
        }
        Body::Matrix(matrix) => {
            writeln!(out, "    {:?}", matrix.columns).unwrap();
            for row in &matrix.rows {
                let field = |f: &Option<chart::MatrixField>| {
                    f.as_ref().map_or_else(
                        || "-".to_owned(),
                        |f| format!("{} {} ({})", f.verdict.glyph(), f.text, f.step),
                    )
                };
                let fields: Vec<String> = row.fields.iter().map(field).collect();
                writeln!(out, "    {}: {}", row.name, fields.join("  ")).unwrap();
            }
        }
        Body::Strip(strip) => {
            let spans =
                strip.spans.iter().chain(&strip.stages).map(|s| format!("{} {}..{}", s.name, s.from, s.to));
            writeln!(out, "  window {:?}, {}", strip.window, spans.collect::<Vec<_>>().join(", ")).unwrap();
            for panel in &strip.panels {
                let series = panel.series.iter().map(|s| format!("{} × {}", s.name, s.points.len()));
                writeln!(out, "    {}: {}", panel.y.title(), series.collect::<Vec<_>>().join(", ")).unwrap();
            }
        }
    }
    out
}

/// All charts but the strips, of which the first stands for the rest.
fn outlines(name: &str) -> String {
    let charts = chart::all(&of(name));
    let first = charts.iter().position(|c| matches!(c.body, Body::Strip(_)));
    let shown =
        charts.iter().enumerate().filter(|(i, c)| !matches!(c.body, Body::Strip(_)) || Some(*i) == first);
    shown.map(|(_, c)| outline(c)).collect::<Vec<_>>().join("\n")
}

#[test]
fn charts_of_a_closed_loop_with_repeats() {
    insta::assert_snapshot!(outlines("knee"));
}

#[test]
fn charts_of_an_open_loop() {
    insta::assert_snapshot!(outlines("open"));
}

#[test]
fn charts_of_two_token_axes() {
    insta::assert_snapshot!(outlines("tokens"));
}

#[test]
fn charts_of_the_small_and_the_failed() {
    let all = ["one", "partial", "failed"].map(|n| format!("## {n}\n{}", outlines(n)));
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn a_run_of_both_loops_keeps_them_apart_and_any_numeric_axis_will_do() {
    let ids = |name: &str| -> Vec<String> {
        let charts = chart::all(&of(name));
        charts.into_iter().filter(|c| !c.id.starts_with("strip-")).map(|c| c.id).collect()
    };
    let mixed = ids("mixed");
    for id in ["latency-ttft", "latency-ttft-open", "offered-completed-open", "goodput-open"] {
        assert!(mixed.iter().any(|i| i == id), "{id} in {mixed:?}");
    }
    let expected = ["latency-ttft", "latency-tpot", "latency-e2e", "throughput", "goodput", "attainment"];
    assert_eq!(ids("prompts"), expected);
}

#[test]
fn an_invalid_repeat_is_left_out_of_the_mean_and_named() {
    let spec = |repeat| synthetic::Spec { load: synthetic::closed(8), prompt: 128, max: 64, repeat };
    let other = synthetic::Spec { load: synthetic::closed(2), prompt: 128, max: 64, repeat: 1 };
    let fine = synthetic::Fate::Fine;
    let run = synthetic::run(
        "part",
        &[(other, fine), (spec(1), fine), (spec(2), synthetic::Fate::Invalid), (spec(3), fine)],
    );
    let chart = chart::all(&run).into_iter().find(|c| c.id == "latency-ttft").unwrap();
    assert!(
        chart.caption.contains("Invalid repeats left out of the mean: 8 users: send lag"),
        "{}",
        chart.caption
    );
    let Body::Lines(lines) = &chart.body else { panic!("not lines") };
    let point = &lines.panels[0].series[0].points[1];
    let value = |i: usize| run.cells[i].summary.as_ref().unwrap().value("ttft", "p50").unwrap();
    assert!((point.y - (value(1) + value(3)) / 2.0).abs() < 1e-9);
    assert!(!point.flags.invalid && point.note.contains("one invalid repeat left out"), "{}", point.note);
}

#[test]
fn every_row_of_the_table_of_charts_is_drawn_by_some_run() {
    let runs = synthetic::gallery();
    for def in chart::CHARTS {
        let made = runs.iter().flat_map(|r| (def.build)(r)).collect::<Vec<_>>();
        assert!(!made.is_empty(), "{}", def.id);
        assert!(made.iter().all(|c| c.id.starts_with(def.id)), "{}", def.id);
    }
}

#[test]
fn terminal_summaries() {
    for name in ["knee", "open", "failed", "partial", "one"] {
        let text = terminal::summary(&of(name), Some(Path::new("reports/a/index.html")));
        insta::assert_snapshot!(format!("terminal_{name}"), text);
    }
}

#[test]
fn no_chart_is_empty_and_every_point_lies_on_its_axes() {
    for run in synthetic::gallery() {
        let charts = chart::all(&run);
        let mut ids: Vec<&str> = charts.iter().map(|c| c.id.as_str()).collect();
        ids.sort_unstable();
        let count = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), count, "ids of {} are unique", run.name);
        for chart in &charts {
            assert!(!chart.caption.is_empty() && !chart.subtitle.is_empty(), "{}", chart.id);
            let Body::Lines(lines) = &chart.body else { continue };
            assert!(lines.panels.len() <= chart::MAX_PANELS);
            for series in lines.panels.iter().flat_map(|p| &p.series) {
                assert!(!series.points.is_empty(), "{}: {}", chart.id, series.name);
                for p in &series.points {
                    let places = [lines.x.share(p.x), lines.y.share(p.y)];
                    assert!(places.iter().all(|s| (0.0..=1.0).contains(s)), "{} {p:?}", chart.id);
                }
            }
        }
    }
}

#[test]
fn a_failed_sweep_has_strips_but_no_figure_of_nothing() {
    let charts = chart::all(&of("failed"));
    assert_eq!(charts.len(), 7);
    assert!(charts.iter().all(|c| matches!(c.body, Body::Strip(_))));
}

#[test]
fn pictures_have_their_size_and_are_not_blank() {
    let run = of("tokens");
    let charts = chart::all(&run);
    // A strip is as high as its panels need.
    for (id, height) in [("latency-ttft-1", 1000), ("heatmap-ttft", 1000), ("strip-001", 1080)] {
        let chart = charts.iter().find(|c| c.id == id).unwrap();
        let bytes = png::render(chart).unwrap();
        assert_eq!(bytes[..8], *b"\x89PNG\r\n\x1a\n");
        let size = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!((size(16), size(20)), (1600, height), "{id}");
        // A white picture of this size takes about 7 kB.
        assert!(bytes.len() > 20_000, "{id}: {} bytes", bytes.len());
        let svg = png::svg(chart).unwrap();
        assert!(svg.contains(&chart.title) || chart.title.len() > 60, "{id}");
    }
}

#[test]
fn a_report_is_one_page_and_its_figures() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("reports/one");
    let written = report::write(&of("one"), &out).unwrap();
    assert_eq!(written.page, out.join("index.html"));
    assert_eq!(written.strips_left_out, 0);
    let mut names: Vec<String> =
        std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["index.html", "profile.png", "strip-001.png", "summary.md"]);
    assert!(written.figures.iter().all(|f| f.is_file()));
}

#[test]
fn an_unwritable_place_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("taken");
    std::fs::write(&file, "a file, not a directory").unwrap();
    let error = report::write(&of("one"), &file).unwrap_err();
    assert!(error.to_string().contains("taken"), "{error}");
}

/// The page without plotly's own script, which holds addresses that it never loads here.
fn own_part(page: &str) -> String {
    let start = page.find("</footer>").unwrap();
    let end = start + page[start..].find("</script>").unwrap();
    format!("{}{}", &page[..start], &page[end..])
}

#[test]
fn the_page_loads_nothing_and_forbids_it() {
    for run in synthetic::gallery() {
        let page = page(&run);
        let own = own_part(&page);
        // Within the page itself: a drawing's own pattern.
        let own = own.replace("url(#", "");
        for sign in ["http://", "https://", " src=", "<link", "@import", "url(", "fetch(", "XMLHttp"] {
            assert!(!own.contains(sign), "{}: {sign}", run.name);
        }
        assert!(own.contains("Content-Security-Policy") && own.contains("default-src 'none'"));
        assert!(page.len() < 12_000_000);
    }
}

#[test]
fn the_page_has_every_cell_and_its_json_is_whole() {
    for run in synthetic::gallery() {
        let page = page(&run);
        for cell in &run.cells {
            assert!(page.contains(&format!("<tr data-cell=\"{}\"", cell.cell.index + 1)), "{}", run.name);
        }
        let mut blobs = 0;
        for part in page.split("<script type=\"application/json\"").skip(1) {
            let json = &part[part.find('>').unwrap() + 1..part.find("</script>").unwrap()];
            let value: serde_json::Value = serde_json::from_str(json).unwrap();
            if let Some(cells) = value["cells"].as_array() {
                assert_eq!(cells.len(), run.cells.len(), "each has a page of its own");
                continue;
            }
            assert!(value["data"].as_array().is_some_and(|d| !d.is_empty()));
            blobs += 1;
        }
        assert_eq!(blobs, chart::all(&run).len(), "{}", run.name);
    }
}

#[test]
fn the_page_says_what_points_to_what_with_causes_and_remedies() {
    let page = page(&of("knee"));
    let section = &page[page.find("<section id=\"analysis\"").unwrap()..];
    let section = &section[..section.find("</section>").unwrap()];
    for part in [
        "data-code=\"saturated\"",
        "<span class=\"word so-so\">WARNING</span> <b>Beyond some load requests only wait</b>",
        "Likely causes</h3>",
        "What to try</h3>",
    ] {
        assert!(section.contains(part), "{part}\n{section}");
    }
    assert!(
        page.contains("[\"bad\",\"FAIL\",\"TTFT p95 is 3,182 ms, limit 1,000 ms\"]"),
        "on the cell's own page"
    );
    let fine = self::page(&of("one"));
    assert!(fine.contains("data-code=\"healthy\"") && !fine.contains("data-code=\"server_gauges\""));
}

#[test]
fn the_greatest_throughput_is_named_and_the_lowest_load_that_gives_as_much() {
    let greatest = |name: &str| {
        let found = report::findings::find(&of(name));
        found.figures.into_iter().find(|f| f.starts_with("Output throughput")).unwrap()
    };
    assert!(
        greatest("knee")
            .contains("606 tok/s at 32 users; at 16 users it is 592 tok/s, the same but for noise")
    );
    // Every level above it is overloaded.
    let open = greatest("open");
    assert!(open.ends_with("512 tok/s at 4 req/s, of the loads that don't overload it."), "{open}");
}

fn two_hundred_cells() -> RunData {
    let spec = |users| synthetic::Spec { load: synthetic::closed(users), prompt: 128, max: 64, repeat: 1 };
    let specs: Vec<_> = (1..=200).map(|u| (spec(u), synthetic::Fate::Fine)).collect();
    synthetic::run("many", &specs)
}

#[test]
fn a_page_of_two_hundred_cells_stays_small() {
    let page = page(&two_hundred_cells());
    // 7.7 MB when this was written, 4.7 of them the drawing library.
    assert!(page.len() < 10_000_000, "{} bytes", page.len());
    assert_eq!(page.matches("<div class=\"strip-data\"").count(), 200);
}

/// What a reader of the first screen reads: the text of the summary without its markup.
fn summary_text(page: &str) -> String {
    let start = page.find("<section id=\"summary\"").unwrap();
    let section = &page[start..start + page[start..].find("</section>").unwrap()];
    let mut out = String::new();
    for (i, part) in section.split('<').enumerate() {
        let (tag, text) = if i == 0 { ("", part) } else { part.split_once('>').unwrap() };
        let ends = ["/p", "/li", "/tr", "/h2", "/h3", "/caption", "/figcaption", "/summary", "/div"];
        if ends.contains(&tag) {
            out.push('\n');
        } else if tag.starts_with("/t") {
            out.push_str(" | ");
        }
        out.push_str(text.trim_matches('\n'));
    }
    let out = out
        .replace("&#x2f;", "/")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&#x27;", "'")
        .replace("&quot;", "\"")
        .replace("&amp;", "&");
    let lines = out.lines().map(str::trim).filter(|l| !l.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_first_screen_says_what_it_carries_within_which_limit_and_how_sure() {
    for name in ["knee", "open", "tokens", "failed", "partial", "one", "mixed"] {
        insta::assert_snapshot!(format!("first_screen_{name}"), summary_text(&page(&of(name))));
    }
}

#[test]
fn without_an_slo_the_page_says_so_and_how_to_set_one() {
    let mut run = of("open");
    for data in &mut run.cells {
        data.cell.settings.slo = Slo::default();
        if let Some(summary) = &mut data.summary {
            summary.slo.clear();
        }
    }
    let text = summary_text(&page(&run));
    assert!(
        text.starts_with("Output throughput is greatest with 512 tok/s at 4 req/s, of the loads"),
        "{text}"
    );
    assert!(
        text.contains("No SLO is set. By common limits it ") && text.contains("[slo] with ttft_p95"),
        "{text}"
    );
}

#[test]
fn texts_of_a_run_cannot_become_markup() {
    let mut run = of("one");
    run.name = "<img src=x onerror=alert(1)>".into();
    let page = page(&run);
    assert!(!page.contains("<img"));
    assert!(
        page.contains("&lt;&#x2f;script&gt; &amp; &lt;b&gt; must survive")
            || page.contains("&lt;/script&gt; &amp; &lt;b&gt; must survive")
    );
}

/// `PLIMSOLL_GALLERY=all cargo test gallery -- --ignored`; without it the pages alone.
#[test]
#[ignore = "writes pages and pictures to look at"]
fn gallery() {
    let all = std::env::var("PLIMSOLL_GALLERY").is_ok_and(|v| v == "all");
    for run in synthetic::gallery().into_iter().chain([two_hundred_cells()]) {
        let dir = gallery_dir().join(&run.name);
        std::fs::create_dir_all(&dir).unwrap();
        let charts = chart::all(&run);
        std::fs::write(dir.join("index.html"), page(&run)).unwrap();
        let text = terminal::summary(&run, Some(Path::new("reports/x/index.html")));
        assert!(text.contains(&run.id));
        std::fs::write(dir.join("summary.txt"), text).unwrap();
        let strip = |c: &&Chart| !c.id.starts_with("strip-") || c.id == "strip-001";
        for chart in charts.iter().filter(strip).filter(|_| all) {
            std::fs::write(dir.join(format!("{}.png", chart.id)), png::render(chart).unwrap()).unwrap();
        }
    }
}

/// The run `one` as if its window had gone through three stages.
fn staged() -> RunData {
    let mut run = of("one");
    let cell = &mut run.cells[0];
    let stage = |name: &str, seconds: u64, level: f64, recovers: Option<&str>| Stage {
        name: name.to_owned(),
        duration: Duration::from_secs(seconds),
        ramp: Duration::ZERO,
        level,
        slo: Slo::default(),
        recovers: recovers.map(|of| Recovery { of: of.to_owned(), within: 0.2 }),
    };
    cell.cell.settings.stages = vec![
        stage("baseline", 10, 8.0, None),
        stage("spike", 5, 80.0, None),
        stage("after", 15, 8.0, Some("baseline")),
    ];
    let summary = cell.summary.as_mut().unwrap();
    let mut start_us = summary.window.start_us;
    for stage in &cell.cell.settings.stages {
        let end_us = start_us + stage.duration.as_micros() as u64;
        let recovery = stage.recovers.as_ref();
        let (distributions, rule) = (
            &summary.distributions,
            SloRule { metric: "ttft".into(), stat: "p95".into(), limit: 1.0, target: None },
        );
        summary.groups.push(GroupSummary {
            kind: GroupKind::Stage,
            name: stage.name.clone(),
            counts: summary.counts.clone(),
            distributions: distributions.clone(),
            scalars: summary.scalars.clone(),
            tokens: summary.tokens.clone(),
            slo: if stage.name == "spike" { vec![SloVerdict::judge(&rule, Some(2.0))] } else { Vec::new() },
            window: Some(Window { start_us, end_us, ..summary.window }),
            recovery: recovery.map(|rule| measure::recovery(&stage.name, rule, distributions, distributions)),
        });
        start_us = end_us;
    }
    run
}

#[test]
fn stages_are_shown_in_the_strip_and_judged_on_terminal_and_page() {
    let run = staged();
    let strips: Vec<Chart> =
        chart::all(&run).into_iter().filter(|c| matches!(c.body, Body::Strip(_))).collect();
    let text = terminal::summary(&run, None);
    let (_, block) = text.split_once("By stage").unwrap();
    let block = block.split("\nSLO\n").next().unwrap();
    insta::assert_snapshot!(format!("{}By stage{block}", outline(&strips[0])));
    let dir = gallery_dir().join("staged");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("strip.png"), png::render(&strips[0]).unwrap()).unwrap();
    let page = page(&run);
    assert!(text.contains("The load changes within the window of 8 → 80 → 8 users"), "{text}");
    assert!(!text.contains("p95 TTFT is"), "{text}");
    let profile = chart::all(&run).into_iter().find(|c| c.id == "profile").unwrap();
    assert!(profile.caption.starts_with("The load changes over the window"), "{}", profile.caption);
    for words in ["\"text\":\"spike\"", "<h3>Recovery</h3>", "\"row\":1"] {
        assert!(page.contains(words), "{words}");
    }
}

#[test]
fn nothing_is_concluded_from_an_invalid_cell_and_its_tables_say_so() {
    let mut run = staged();
    let validity = &mut run.cells[0].summary.as_mut().unwrap().validity;
    validity.verdict = Verdict::Invalid;
    let text = "this client was late".to_owned();
    validity.reasons.push(Reason { signal: "lag_p99_ms".into(), verdict: Verdict::Invalid, text });
    let charts = chart::all(&run);
    let profile = charts.iter().find(|c| c.id == "profile").unwrap();
    assert_eq!(
        profile.caption,
        "No cell is valid: nothing follows about the server. Hollow, because invalid: 8 → 80 → 8 users: this client was late."
    );
    let page = page(&run);
    let own = own_part(&page);
    assert!(own.contains(">8 → 80 → 8 users; INVALID: this client was late</td>"), "remark");
    let (_, groups) = own.split_once("<section id=\"groups\"").unwrap();
    let groups = groups.split("</section>").next().unwrap();
    assert_eq!(groups.matches("INVALID").count(), 3, "{groups}");
    assert!(!groups.contains("FAIL") && !groups.contains("<h3>Recovery</h3>"), "{groups}");
    let text = terminal::summary(&run, None);
    assert!(text.contains("8 → 80 → 8 users (INVALID)") && !text.contains("recovered:"), "{text}");
}

#[test]
fn limits_over_cells_with_stages_name_all_their_levels() {
    let stages = staged().cells[0].cell.settings.stages.clone();
    let mut run = of("knee");
    for cell in run.cells.iter_mut().map(|data| &mut data.cell) {
        let users = cell.factors["load.users"].as_f64().unwrap();
        cell.settings.stages =
            stages.iter().map(|s| Stage { level: s.level / 8.0 * users, ..s.clone() }).collect();
    }
    let limits = report::findings::find(&run).limits;
    assert!(
        limits[0].contains("up to 16 → 160 → 16 users") && limits[0].contains("with 32 → 320 → 32 users"),
        "{limits:?}"
    );
}
