use super::*;
use crate::record::EndedBy;

fn distribution(p50: f64, p95: f64) -> Distribution {
    Distribution {
        n: 50,
        mean: p50,
        std: 1.0,
        min: p50 / 2.0,
        p50,
        p75: p50,
        p90: p95,
        p95,
        p99: p95,
        p999: p95,
        max: p95,
    }
}

fn latencies(ttft: Option<(f64, f64)>, e2e: Option<(f64, f64)>) -> BTreeMap<String, Distribution> {
    let named = [("ttft", ttft), ("e2e", e2e)];
    named
        .into_iter()
        .filter_map(|(name, d)| Some((name.to_owned(), d.map(|(a, b)| distribution(a, b))?)))
        .collect()
}

fn rule(within: f64) -> Recovery {
    Recovery { of: "baseline".to_owned(), within }
}

#[test]
fn latency_within_the_margin_has_recovered() {
    let before = latencies(Some((100.0, 200.0)), Some((1000.0, 2000.0)));
    let own = latencies(Some((110.0, 239.0)), Some((900.0, 2100.0)));
    let verdict = recovery("after", &rule(0.2), &own, &before);
    assert!(verdict.pass && verdict.figures.len() == 4, "{verdict:?}");
    assert_eq!(verdict.text, "recovered: p95 TTFT of after is +19.5 % against baseline (limit +20 %)");
    let verdict = recovery("after", &rule(0.1), &own, &before);
    assert!(!verdict.pass);
    assert_eq!(verdict.figures.iter().filter(|f| !f.pass).count(), 1, "only the p95 of TTFT is over");
    assert_eq!(verdict.text, "not recovered: p95 TTFT of after is +19.5 % against baseline (limit +10 %)");
}

#[test]
fn what_was_not_measured_has_not_recovered() {
    let before = latencies(Some((100.0, 200.0)), Some((1000.0, 2000.0)));
    let none = BTreeMap::new();
    let verdict = recovery("after", &rule(0.2), &none, &before);
    assert!(!verdict.pass);
    assert_eq!(verdict.text, "p50 TTFT is not known of after: whether latency recovered is not known");
    let verdict = recovery("after", &rule(0.2), &none, &none);
    assert!(!verdict.pass && verdict.figures.is_empty());
    // Without streaming there is no TTFT on either side.
    let whole = latencies(None, Some((1000.0, 2000.0)));
    let verdict = recovery("after", &rule(0.0), &whole, &whole);
    assert!(verdict.pass && verdict.figures.len() == 2, "{verdict:?}");
}

const WINDOW: Window = Window { start_us: 1_000_000, end_us: 61_000_000, ended_by: EndedBy::Duration };

/// Twenty requests a second for a minute; `tpot` of the window's share that has gone by.
fn drift(tpot_ms: impl Fn(f64) -> f64, fails: impl Fn(u64, f64) -> bool) -> Vec<DriftVerdict> {
    let mut drift = Drift::new(WINDOW);
    for seq in 0..1_200 {
        let due = WINDOW.start_us + seq * 50_000;
        let share = seq as f64 / 1_200.0;
        // Something that goes up and down, as a server's times do.
        let noise = (seq * 7919 % 13) as f64;
        let first = due + 100_000 + (noise * 1_000.0) as u64;
        let failed = fails(seq, share);
        drift.take(&RequestRecord {
            intended_us: due,
            sent_us: Some(due),
            first_token_us: Some(first),
            last_token_us: Some(first + (tpot_ms(share) * 10_000.0 + noise * 100.0) as u64),
            output_tokens: Some(11),
            outcome: if failed { Outcome::Timeout } else { Outcome::Ok },
            ..RequestRecord::blank(seq)
        });
    }
    drift.verdicts()
}

fn of<'a>(verdicts: &'a [DriftVerdict], metric: &str) -> &'a DriftVerdict {
    verdicts.iter().find(|v| v.metric == metric).unwrap_or_else(|| panic!("{metric} in {verdicts:?}"))
}

#[test]
fn a_steady_server_does_not_drift() {
    let verdicts = drift(|_| 20.0, |seq, _| seq % 50 == 0);
    assert_eq!(
        verdicts.iter().map(|v| v.metric.as_str()).collect::<Vec<_>>(),
        ["ttft", "tpot", "error_rate"]
    );
    assert!(verdicts.iter().all(|v| !v.drifts), "{verdicts:?}");
    assert!(of(&verdicts, "tpot").text.starts_with("TPOT did not drift: it "), "{verdicts:?}");
}

#[test]
fn a_server_that_slows_down_or_fails_more_is_found_with_the_figure() {
    let verdicts = drift(|share| 20.0 * (1.0 + 0.5 * share), |_, _| false);
    let tpot = of(&verdicts, "tpot");
    assert!(tpot.drifts && (tpot.growth - 0.5).abs() < 0.02, "{tpot:?}");
    assert!(
        tpot.text.starts_with("TPOT grew by 49.") || tpot.text.starts_with("TPOT grew by 50."),
        "{tpot:?}"
    );
    assert!(tpot.text.contains(" over the window (t = "), "{tpot:?}");
    assert!(!of(&verdicts, "ttft").drifts);
    let verdicts = drift(|_| 20.0, |seq, share| (seq * 31 % 100) as f64 <= 20.0 * share);
    let errors = of(&verdicts, "error_rate");
    assert!(errors.drifts && errors.growth > 0.15, "{errors:?}");
    assert!(errors.text.starts_with("the error rate grew by ") && errors.text.contains("percentage points"));
    // A trend that is sure and does not matter.
    let small = drift(|share| 20.0 * (1.0 + 0.03 * share), |_, _| false);
    assert!(!of(&small, "tpot").drifts && of(&small, "tpot").t > 3.0, "{small:?}");
    // One that falls.
    let falls = drift(|share| 20.0 - 5.0 * share, |_, _| false);
    let tpot = of(&falls, "tpot");
    assert!(
        !tpot.drifts && (tpot.growth + 0.25).abs() < 0.01 && tpot.text.contains("it fell by "),
        "{tpot:?}"
    );
}

#[test]
fn too_little_says_nothing() {
    let mut drift = Drift::new(WINDOW);
    for seq in 0..99 {
        drift.take(&RequestRecord {
            intended_us: WINDOW.start_us + seq * 600_000,
            outcome: Outcome::Timeout,
            ..RequestRecord::blank(seq)
        });
    }
    assert_eq!(drift.verdicts(), []);
}
