use super::*;
use crate::measure::Inside;

const SERVER: &str = "process=\"server\"";

fn figure(name: &str, mean: f64, before: f64, after: f64) -> InsideFigure {
    let (name, labels) = (name.to_owned(), SERVER.to_owned());
    InsideFigure { name, labels, mean, max: mean, before: Some(before), after: Some(after) }
}

/// A run whose cells (by the number of what they ask) have a memory after them, and a beginning.
fn run(cells: &[(u32, f64, f64)]) -> RunData {
    let mut before = 500e6;
    let mut run = super::super::tests::run_of(Vec::new());
    for (i, (kind, after, started)) in cells.iter().enumerate() {
        let mut data = super::super::tests::plain(i as u32);
        data.cell.id = crate::plan::CellId(format!("{kind:016}"));
        let figures = vec![
            figure(inside::MEMORY, *after, before, *after),
            figure(inside::STARTED, *started, *started, *started),
        ];
        let summary = data.summary.as_mut().unwrap();
        summary.started_at = format!("2026-01-01T00:{i:02}:00Z");
        summary.inside = Some(Inside { figures, ..Inside::default() });
        before = *after;
        run.cells.push(data);
    }
    run
}

#[test]
fn what_stays_after_each_cell_is_found() {
    let told = |cells: &[(u32, f64, f64)]| sweep(&run(cells)).pop().map(|hit| (hit.severity, hit.evidence));
    let steps = |kind: fn(u32) -> u32, after: fn(u32) -> f64| -> Vec<(u32, f64, f64)> {
        (0..8).map(|i| (kind(i), after(i), 1000.0)).collect()
    };
    // Two cells in turn, and 10 MB stay each time.
    let (severity, text) = told(&steps(|i| i % 2, |i| 510e6 + 10e6 * f64::from(i))).unwrap();
    assert_eq!(severity, Severity::Warning);
    for words in
        ["Resident memory of process server", "500 MB", "580 MB", "10 MB with each", "had run before"]
    {
        assert!(text.contains(words), "{text}");
    }
    // Each cell asks for more than the one before: that it keeps more may be that.
    let (severity, text) = told(&steps(|i| i, |i| 510e6 + 10e6 * f64::from(i))).unwrap();
    assert!(severity == Severity::Info && text.contains("higher load"), "{text}");
    assert_eq!(told(&steps(|i| i % 2, |_| 600e6)), None, "it took what it needs, once");
    assert_eq!(told(&steps(|i| i % 2, |i| 500e6 + 1e5 * f64::from(i))), None, "too little to matter");
    // Every cell has a server of its own.
    let each: Vec<_> = (0..8).map(|i| (0, 510e6 + 10e6 * f64::from(i), 100.0 * f64::from(i))).collect();
    assert_eq!(told(&each), None);
}

#[test]
fn growth_restarts_and_throttling_of_a_cell_are_findings() {
    let data = super::super::tests::plain(0);
    let mut summary = data.summary.clone().unwrap();
    assert!(look(&data.cell, &summary).is_empty());
    let growth = |name: &str, grows| Growth {
        name: name.into(),
        labels: SERVER.into(),
        from: 100e6,
        to: 150e6,
        per_hour: 6e9,
        grows,
    };
    let gpu = |name: &str, labels: &str, mean| InsideFigure {
        name: name.into(),
        labels: labels.into(),
        mean,
        max: 1.0,
        before: None,
        after: None,
    };
    summary.inside = Some(Inside {
        growth: vec![growth(inside::MEMORY, true), growth(inside::THREADS, false)],
        restarted: vec![SERVER.into()],
        figures: vec![
            gpu(inside::GPU_THROTTLED, "gpu=\"0\"", 0.4),
            gpu(inside::GPU_THROTTLE, "gpu=\"0\",reason=\"power_cap\"", 0.4),
            gpu(inside::GPU_THROTTLE, "gpu=\"0\",reason=\"sync_boost\"", 0.0),
            gpu(inside::GPU_THROTTLED, "gpu=\"1\"", 0.0),
        ],
        ..Inside::default()
    });
    let hits = look(&data.cell, &summary);
    let codes: Vec<&str> = hits.iter().map(|hit| hit.kind.code).collect();
    assert_eq!(codes, ["server_grows", "server_restarted", "gpu_throttled"]);
    assert!(
        hits[0].evidence.contains("from 100 MB to 150 MB over the window, 6 GB an hour"),
        "{}",
        hits[0].evidence
    );
    let throttled = &hits[2];
    assert!(
        throttled.evidence.contains("GPU 0 was throttled at 40.0 % of the looks (power cap)"),
        "{}",
        throttled.evidence
    );
    assert_eq!(throttled.severity, Severity::Warning);
}
