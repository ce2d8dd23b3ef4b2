//! Reading back what the store wrote is tested in `tests/store.rs`; here: grouping and axes.

use serde_json::{Value, json};

use super::*;
use crate::measure::Verdict;
use crate::plan::CellId;
use crate::store::tests::{cell, summary};

/// Two values of qps by two of prompt_tokens, twice each; the figures are those of `summary`.
fn run() -> RunData {
    let mut cells = Vec::new();
    for index in 0..8u32 {
        let mut cell = cell(index);
        cell.id = CellId((index % 4).to_string());
        cell.repeat = index / 4 + 1;
        cell.factors.insert("load.qps".into(), json!([8, 2][(index % 2) as usize]));
        cell.factors.insert("workload.prompt_tokens".into(), json!([128, 512][(index / 2 % 2) as usize]));
        cell.varying = vec!["load.qps".into(), "workload.prompt_tokens".into()];
        cells.push(CellData {
            skipped: None,
            cell,
            summary: Some(summary(index)),
            timeline: Vec::new(),
            records: None,
            points: Vec::new(),
            server: Vec::new(),
        });
    }
    RunData {
        search: None,
        path: "runs/x".into(),
        id: "x".into(),
        name: "x".into(),
        title: "synthetic".to_owned(),
        figures: None,
        environment: Value::Null,
        manifest: Value::Null,
        experiment: String::new(),
        cells,
        carries: std::sync::OnceLock::new(),
    }
}

#[test]
fn repeats_meet_by_cell_id() {
    let run = run();
    let groups = groups(&run);
    assert_eq!(groups.len(), 4);
    let estimate = groups[1].estimate("ttft", "p50").unwrap();
    assert_eq!((estimate.n, estimate.min, estimate.max), (2, 1.1, 5.1));
    assert!((estimate.mean - 3.1).abs() < 1e-12);
    assert_eq!(groups[1].estimate("e2e", "p50"), None);
    assert_eq!(Estimate::of(&[]), None);
}

#[test]
fn invalid_repeats_count_only_where_all_are() {
    let mut run = run();
    run.cells[1].summary.as_mut().unwrap().validity.verdict = Verdict::Invalid;
    let estimate = groups(&run)[1].estimate("ttft", "p50").unwrap();
    assert_eq!((estimate.n, estimate.mean), (1, 5.1));
    assert_eq!(groups(&run)[1].verdict(), Some(Verdict::Warn));
    run.cells[5].summary.as_mut().unwrap().validity.verdict = Verdict::Invalid;
    assert_eq!(groups(&run)[1].estimate("ttft", "p50").unwrap().n, 2);
    assert_eq!(groups(&run)[1].verdict(), Some(Verdict::Invalid));
}

#[test]
fn unfinished_cells_have_no_figures_but_a_place() {
    let mut run = run();
    for data in &mut run.cells {
        data.summary = None;
    }
    assert_eq!(groups(&run).len(), 4);
    assert_eq!(groups(&run)[0].verdict(), None);
    assert_eq!(series(&run, "load.qps").len(), 2);
    assert_eq!(run.finished().count(), 0);
}

#[test]
fn axes_are_named_and_sorted() {
    let run = run();
    let axes = axes(&run);
    assert_eq!(axes.iter().map(|a| a.name.as_str()).collect::<Vec<_>>(), ["qps", "prompt_tokens"]);
    assert_eq!(axes[0].values, [json!(2), json!(8)]);
    assert_eq!(load_axis(&run).unwrap().path, "load.qps");
    assert_eq!(label(&run.cells[0].cell), "qps=8 prompt_tokens=128");
}

#[test]
fn a_run_in_which_nothing_varies_has_no_axis_and_still_a_label() {
    let mut run = run();
    for data in &mut run.cells {
        data.cell.varying.clear();
    }
    assert_eq!(load_axis(&run), None);
    assert_eq!(label(&run.cells[1].cell), "qps=2 prompt_tokens=128 max_tokens=64");
}

#[test]
fn series_differ_in_the_other_factors_and_ascend() {
    let run = run();
    let series = series(&run, "load.qps");
    assert_eq!(
        series.iter().map(|s| s.label.as_str()).collect::<Vec<_>>(),
        ["prompt_tokens=128", "prompt_tokens=512"]
    );
    let x: Vec<_> = series[0].groups.iter().map(|g| g.number("load.qps").unwrap()).collect();
    assert_eq!(x, [2.0, 8.0]);
}
