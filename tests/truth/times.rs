//! Stamps within stated bounds of the server's, on the same clock.

use super::{Held, Pair, hold, mean, median};

/// The median distance between a stamp here and the system call there that wrote the bytes,
/// in milliseconds. Measured: about 0.1 on an idle machine, in debug builds.
pub(super) const BOUND_MS: f64 = 5.0;

/// How far each stamp is from the server's, in milliseconds.
struct Off {
    arrival: Vec<f64>,
    first: Vec<f64>,
    last: Vec<f64>,
    /// Client's duration − server's, first token to last.
    span: Vec<f64>,
}

fn off(held: &Held) -> Off {
    let mut off = Off { arrival: vec![], first: vec![], last: vec![], span: vec![] };
    for Pair { record, truth } in held.all_ok() {
        let us = |t: Option<u64>| held.ns(t.expect("a stamp"));
        let ns = |t: Option<u64>| t.expect("a stamp") as i64;
        let first = us(record.first_token_us) - ns(truth.first_token_ns);
        let last = us(record.last_token_us) - ns(truth.last_token_ns);
        let arrival = truth.arrival_ns as i64 - us(record.sent_us);
        // Never before the server wrote, nor after it read: but for the microsecond that
        // rounding takes off a stamp.
        assert!(first > -1000 && last > -1000, "seen before it was written: {record:?}\n{truth:?}");
        assert!(arrival >= 0, "sent after it had arrived: {record:?}\n{truth:?}");
        assert!(us(record.headers_us) <= us(record.first_token_us));
        assert!(us(record.end_us) - truth.end_ns as i64 > -1000);
        let ms = |ns: i64| ns as f64 / 1e6;
        off.arrival.push(ms(arrival));
        off.first.push(ms(first));
        off.last.push(ms(last));
        off.span.push(ms(last - first));
    }
    off
}

fn bounded(what: &str, held: &Held) {
    let Off { arrival, first, last, span } = off(held);
    println!(
        "{what}: n {}, sent to arrival {:.3} ms, first token +{:.3} ms, last token +{:.3} ms (medians), \
         span {:+.4} ms (mean)",
        first.len(),
        median(arrival.clone()),
        median(first.clone()),
        median(last.clone()),
        mean(&span)
    );
    for (name, values) in [("arrival", arrival), ("first token", first), ("last token", last)] {
        let middle = median(values);
        assert!(middle <= BOUND_MS, "{what}: median of {name} is {middle} ms off");
    }
    // What delays the first stamp delays the last as much: no bias in what lies between.
    let middle = median(span);
    assert!(middle.abs() <= BOUND_MS / 5.0, "{what}: the span is {middle} ms off in the median");
}

#[test]
fn ttft_and_e2e_are_the_servers_within_bounds() {
    for (api, load, knobs) in [
        ("openai-chat", "users = 4", ""),
        ("openai-completions", "qps = 40", ""),
        ("openai-chat", "users = 2", "tokens_per_chunk = 4\nsplit_frames = 0.3\nclose_after_stream = true"),
    ] {
        let held = hold(&format!(
            r#"
            name = "times"
            [target]
            url = "sim:"
            api = "{api}"
            [sim]
            step_base = "4ms"
            max_num_seqs = 64
            {knobs}
            [workload]
            prompt_tokens = 64
            max_tokens = 16
            [load]
            {load}
            [cell]
            requests = 120
            duration = "60s"
            warmup = "300ms"
            "#
        ));
        bounded(&format!("{api}, {load}"), &held);
        figures(&held);
    }
}

/// The figures are made of these stamps: `ttft` is the server's first token − due + what the
/// stamp is off by, never less.
fn figures(held: &Held) {
    let measured = |p: &&Pair<'_>| p.record.phase == plimsoll::record::Phase::Measure;
    let pairs = held.all_ok();
    let ms = |ns: i64| ns as f64 / 1e6;
    let truth: Vec<(f64, f64)> = pairs
        .iter()
        .filter(measured)
        .map(|p| {
            let due = held.ns(p.record.intended_us);
            let since = |t: Option<u64>| ms(t.expect("a stamp") as i64 - due);
            (since(p.truth.first_token_ns), since(p.truth.last_token_ns))
        })
        .collect();
    let (ttft, e2e): (Vec<f64>, Vec<f64>) = truth.into_iter().unzip();
    for (name, truth) in [("ttft", ttft), ("e2e", e2e)] {
        let figure = held.summary.value(name, "p50").expect("a figure");
        let theirs = median(truth);
        let apart = figure - theirs;
        assert!((-0.001..=BOUND_MS).contains(&apart), "{name} p50: {figure} here, {theirs} there");
    }
}
