//! What a workload asks arrives: lengths by their distributions, shared beginnings in the
//! cache, texts of files.

use std::collections::BTreeMap;

use plimsoll::stats::kolmogorov_smirnov;

use super::{Held, Pair, hold};

fn asked(requests: u32, sim: &str, workload: &str) -> Held {
    hold(&format!(
        r#"
        name = "workloads"
        seed = 11
        [target]
        url = "sim:"
        [sim]
        step_base = "1ms"
        {sim}
        [workload]
        tokenizer = "server"
        {workload}
        [load]
        users = 16
        [cell]
        requests = {requests}
        duration = "60s"
        warmup = "0s"
        "#
    ))
}

/// Prompt lengths as the server counted them.
fn lengths(held: &Held) -> Vec<f64> {
    held.all_ok()
        .iter()
        .map(|pair| {
            assert_eq!(pair.truth.prompt_tokens, Some(pair.record.prompt_tokens_asked));
            f64::from(pair.record.prompt_tokens_asked)
        })
        .collect()
}

/// P(X ≤ x) of a standard normal number, by Simpson's rule over its density.
fn normal_cdf(x: f64) -> f64 {
    const STEPS: u32 = 400;
    let density = |z: f64| (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt();
    let h = x / f64::from(STEPS);
    let inner = (1..STEPS).map(|k| density(h * f64::from(k)) * if k % 2 == 0 { 2.0 } else { 4.0 });
    0.5 + h / 3.0 * (density(0.0) + inner.sum::<f64>() + density(x))
}

#[test]
fn lognormal_lengths_arrive_as_they_are_asked() {
    let workload =
        "max_tokens = 2\nprompt_tokens = { mean = 400, distribution = \"lognormal\", width = 200 }";
    let mut found = lengths(&asked(300, "", workload));
    let n = found.len() as f64;
    let mean = found.iter().sum::<f64>() / n;
    assert!((mean - 400.0).abs() <= 4.0 * 200.0 / n.sqrt(), "{mean}");
    found.sort_by(f64::total_cmp);
    let s = 1.25_f64.ln();
    let test = kolmogorov_smirnov(&found, |x| normal_cdf(((x / 400.0).ln() + s / 2.0) / s.sqrt()));
    assert!(test.is_some_and(|test| test.p > 1e-4), "{test:?}");
}

#[test]
fn a_files_lengths_arrive_by_their_weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lengths.csv");
    std::fs::write(&path, "tokens,count\n40,1\n90,3\n").unwrap();
    let workload = format!("max_tokens = 2\nprompt_tokens = {{ file = \"{}\" }}", path.display());
    let found = lengths(&asked(300, "", &workload));
    let (n, short) = (found.len() as f64, found.iter().filter(|length| **length == 40.0).count() as f64);
    assert!((short / n - 0.25).abs() <= 4.0 * (0.25 * 0.75 / n).sqrt(), "{short} of {n}");
    assert!(found.iter().all(|length| [40.0, 90.0].contains(length)));
}

#[test]
fn shared_beginnings_are_found_in_the_cache() {
    let workload = "max_tokens = 2\nprompt_tokens = 200\nshared_prefix = { tokens = 96, groups = 3 }";
    let held = asked(120, "block_size = 16", workload);
    let mut cached: BTreeMap<u32, u32> = BTreeMap::new();
    for pair in held.all_ok() {
        assert_eq!(pair.truth.prompt_tokens, Some(200), "the length is exact all the same");
        *cached.entry(pair.truth.cached_tokens.unwrap_or(0)).or_default() += 1;
    }
    // Whole blocks of what the template puts first and of the 96 words: no more is ever shared.
    assert_eq!(cached.keys().max(), Some(&96), "{cached:?}");
    // The first of each group can't find its own, nor those that came while it was read.
    assert!(cached[&96] >= 120 - 3 * 16, "{cached:?}");
}

#[test]
fn texts_that_nobody_measured_are_not_held_against_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lines.jsonl");
    std::fs::write(&path, "{\"prompt\": \"zyzzyvas & plimsolls, 1234567 times\", \"max_tokens\": 3}")
        .unwrap();
    let held = asked(20, "", &format!("dataset = {{ file = \"{}\" }}", path.display()));
    let pairs = held.all_ok();
    for pair in &pairs {
        assert_eq!((pair.record.max_tokens, pair.truth.output_tokens), (3, 3));
        assert_eq!(pair.record.prompt_tokens, pair.truth.prompt_tokens);
    }
    let guessed = |p: &Pair<'_>| p.record.prompt_tokens != Some(p.record.prompt_tokens_asked);
    assert!(pairs.iter().any(guessed), "an estimate that hits shows nothing");
    assert_eq!(held.summary.tokens.prompt_mismatches, 0);
    let reasons = &held.summary.validity.reasons;
    assert!(reasons.iter().all(|reason| reason.signal != "prompt_mismatch"), "{reasons:?}");
}
