//! What people and build servers read of a comparison.

use resvg::usvg::roxmltree::Document;

use super::*;
use crate::analysis::compare::tests::{base, cand, each, overload};
use crate::analysis::compare::{GateSettings, Quantity, compare};
use crate::measure;
use crate::plan::CellId;

fn gate() -> GateSettings {
    GateSettings::default()
}

/// One cell slower, one faster, one as it was, one invalid, one overloaded; a limit broken; another
/// commit.
fn motley() -> Comparison {
    let (mut b, mut c) = (base(5, 5), cand(5, 5, 1.0));
    for (cell, _, summary) in each(&mut c) {
        let factor = [1.3, 1.0, 0.8, 1.0, 1.0][cell as usize - 1];
        let d = summary.distributions.get_mut("ttft").unwrap();
        (d.p50, d.p95) = (d.p50 * factor, d.p95 * factor);
        if cell == 4 {
            summary.validity.add("lag", measure::Verdict::Invalid, "lag p99 87 ms, over 50 ms".to_owned());
        }
    }
    overload(&mut b, 5, 1..=5);
    overload(&mut c, 5, 1..=5);
    c.environment["git"]["commit"] = "2".into();
    let ttft = Quantity::new("ttft", "p95");
    let gate = GateSettings { limit: [(ttft, 1.2)].into(), ..gate() };
    let mut comparison = compare(&b, &c, &gate);
    comparison.baseline.baseline = Some("main".to_owned());
    comparison
}

fn same() -> Comparison {
    compare(&base(2, 5), &cand(2, 5, 1.0), &gate())
}

fn single() -> Comparison {
    compare(&base(1, 1), &cand(1, 1, 1.1), &gate())
}

fn strangers() -> Comparison {
    let mut c = cand(1, 5, 1.0);
    for data in &mut c.cells {
        data.cell.id = CellId("other".to_owned());
        data.cell.factors.insert("workload.prompt_tokens".to_owned(), 512.into());
    }
    compare(&base(1, 5), &c, &gate())
}

#[test]
fn terminal_says_the_answer_first() {
    insta::assert_snapshot!("terminal_motley", terminal(&motley()));
    insta::assert_snapshot!("terminal_same", terminal(&same()));
    insta::assert_snapshot!("terminal_single", terminal(&single()));
    insta::assert_snapshot!("terminal_strangers", terminal(&strangers()));
}

#[test]
fn markdown_is_short_with_all_else_folded() {
    insta::assert_snapshot!("markdown_motley", markdown(&motley()));
    insta::assert_snapshot!("markdown_same", markdown(&same()));
    let many = compare(&base(20, 5), &cand(20, 5, 1.3), &gate());
    let text = markdown(&many);
    let (shown, _) = text.split_once("<details>").unwrap();
    assert!(shown.lines().count() < 25, "{shown}");
    assert!(text.len() < 65_536, "{}", text.len());
    assert_eq!(text.matches("<details>").count(), text.matches("</details>").count());
}

#[test]
fn markdown_holds_no_sign_of_anyone_elses() {
    let mut comparison = motley();
    let row = comparison.rows.iter_mut().find(|row| row.primary).unwrap();
    row.label = "a | b <script>alert(1)</script> @all `x`".to_owned();
    let text = markdown(&comparison);
    assert!(!text.contains("<script>") && text.contains("a \\| b &lt;script&gt;"), "{text}");
    assert!(!text.contains(" @all"), "nobody is called");
}

#[test]
fn junit_has_a_case_for_each_figure_that_decides_and_each_limit() {
    let text = junit(&motley());
    insta::assert_snapshot!("junit_motley", text);
    insta::assert_snapshot!("junit_strangers", junit(&strangers()));
    let document = Document::parse(&text).unwrap();
    let root = document.root_element();
    let count = |tag: &str| document.descendants().filter(|node| node.has_tag_name(tag)).count();
    assert_eq!(root.tag_name().name(), "testsuites");
    let motley = motley();
    let cases = motley.rows.iter().filter(|row| row.primary).count() + motley.checks.len();
    assert_eq!(count("testcase"), cases);
    for (attribute, tag) in
        [("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")]
    {
        assert_eq!(root.attribute(attribute).unwrap(), count(tag).to_string(), "{tag}");
    }
    assert!(count("failure") >= 2 && count("error") >= 1);
}

#[test]
fn junit_stays_xml_whatever_a_label_holds() {
    let mut comparison = motley();
    let nasty = "a<b & \"c\" 'd' \u{1}\u{ffff}]]> e\nf";
    for row in &mut comparison.rows {
        row.label = nasty.to_owned();
        row.reasons.push(nasty.to_owned());
    }
    let text = junit(&comparison);
    let document = Document::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let case = document.descendants().find(|node| node.has_tag_name("testcase")).unwrap();
    assert_eq!(case.attribute("classname"), Some("a<b & \"c\" 'd' ]]> e\nf"));
}

#[test]
fn files_lie_in_a_directory_of_the_two_runs() {
    let dir = tempfile::tempdir().unwrap();
    let comparison = motley();
    let written = write(&comparison, dir.path()).unwrap();
    assert_eq!(written.dir, dir.path().join("compare-base-cand"));
    let text = |name: &str| std::fs::read_to_string(written.dir.join(name)).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text("comparison.json")).unwrap();
    assert_eq!(json["outcome"], "FAIL");
    assert_eq!(json["rows"].as_array().unwrap().len(), comparison.rows.len());
    assert_eq!(json["gate"]["limit"]["ttft_p95"], 1.2);
    assert_eq!(json["rows"][0]["verdict"], "REGRESSED");
    assert!(text("comparison.md").starts_with("### ✗ Plimsoll: FAIL"));
    assert!(text("comparison.xml").starts_with("<?xml"));
    assert_eq!(written.files.len(), 3);
}

#[test]
fn what_matters_most_comes_first() {
    let motley = motley();
    let rows = by_importance(motley.rows.iter().filter(|row| row.primary));
    let ranks: Vec<usize> =
        rows.iter().map(|row| Verdict::ALL.iter().position(|v| *v == row.verdict).unwrap()).collect();
    assert!(ranks.is_sorted(), "{ranks:?}");
    assert!(rows[0].severity() >= rows[1].severity());
    assert!(Verdict::ALL.iter().map(|v| v.glyph()).collect::<std::collections::BTreeSet<_>>().len() == 8);
}
