//! A cell's figures made again from the server's log, and what the window counts.

use plimsoll::record::Phase;
use plimsoll::sim::TruthRecord;

use super::{Held, Pair, hold};

/// The server's tokens that were written in `from..to`. It keeps the stamps of a request's
/// first and last chunk; those between lie evenly, which they do when nothing else competes.
fn tokens_between(held: &Held, (from, to): (i64, i64)) -> f64 {
    let in_window = |truth: &TruthRecord| {
        let (Some(first), Some(last)) = (truth.first_token_ns, truth.last_token_ns) else { return 0.0 };
        let (first, last) = (first as f64, last as f64);
        let n = truth.output_tokens;
        let at = |k: u32| first + (last - first) * f64::from(k) / f64::from((n - 1).max(1));
        (0..n).filter(|k| at(*k) >= from as f64 && at(*k) < to as f64).count() as f64
    };
    held.truth.values().flatten().map(in_window).sum()
}

/// How far that count may be off: of the answers that an edge of the window cuts, by as many
/// tokens as their longest gap, which the client saw, holds mean ones. On a calm machine that
/// is one each.
fn uneven_tokens(held: &Held, (from, to): (i64, i64)) -> f64 {
    let off = |pair: &Pair<'_>| {
        let (Some(first), Some(last)) = (pair.truth.first_token_ns, pair.truth.last_token_ns) else {
            return 0.0;
        };
        let cut = [from, to].iter().filter(|&&edge| edge > first as i64 && edge < last as i64).count();
        let n = f64::from(pair.truth.output_tokens);
        let mean = (last - first) as f64 / (n - 1.0).max(1.0);
        let longest = pair.record.max_gap_us.unwrap_or(0) as f64 * 1000.0;
        cut as f64 * (longest / mean.max(1.0)).clamp(1.0, n)
    };
    held.pairs().iter().map(off).sum()
}

/// What `amount` comes to of the requests for which the server's stamp and the client's lie on
/// different sides of an end of the window.
fn on_the_way(
    held: &Held,
    stamps: impl Fn(&Pair<'_>) -> (Option<u64>, Option<u64>),
    amount: impl Fn(&TruthRecord) -> f64,
) -> f64 {
    let (from, to) = held.window_ns();
    let inside = |ns: i64| ns >= from && ns < to;
    let apart = |pair: &Pair<'_>| match stamps(pair) {
        (Some(theirs), Some(ours)) => inside(theirs as i64) != inside(held.ns(ours)),
        _ => false,
    };
    held.pairs().iter().filter(|pair| apart(pair)).map(|pair| amount(pair.truth)).sum()
}

fn near(what: &str, ours: f64, theirs: f64, share: f64, few: f64) {
    println!("{what}: {ours:.2} here, {theirs:.2} by the server's log");
    let apart = (ours - theirs).abs();
    assert!(apart <= share * theirs + few, "{what}: {ours} here, {theirs} by the server's log");
}

fn throughput(held: &Held) {
    let seconds = held.run.window.seconds();
    let (from, to) = held.window_ns();
    let inside = |ns: u64| (ns as i64) >= from && (ns as i64) < to;
    let scalars = &held.summary.scalars;
    near(
        "output_tps",
        scalars["output_tps"],
        tokens_between(held, (from, to)) / seconds,
        0.02,
        uneven_tokens(held, (from, to)) / seconds,
    );
    // Both sides count the same but for what was on its way as the window opened or closed.
    let prompt = |t: &TruthRecord| f64::from(t.prompt_tokens.unwrap_or(0));
    let ended = held.truth.values().flatten().filter(|t| inside(t.end_ns)).count() as f64;
    let late = on_the_way(held, |p| (Some(p.truth.end_ns), p.record.end_us), |_| 1.0);
    near("completed_rps", scalars["completed_rps"], ended / seconds, 1e-9, late / seconds);
    let begun = held.truth.values().flatten().filter(|t| inside(t.arrival_ns)).count() as f64;
    let early = on_the_way(held, |p| (Some(p.truth.arrival_ns), p.record.sent_us), |_| 1.0);
    near("sent_rps", scalars["sent_rps"], begun / seconds, 1e-9, early / seconds);
    let first = held.truth.values().flatten().filter(|t| t.first_token_ns.is_some_and(inside));
    let late = on_the_way(held, |p| (p.truth.first_token_ns, p.record.first_token_us), prompt);
    near("prompt_tps", scalars["prompt_tps"], first.map(prompt).sum::<f64>() / seconds, 1e-9, late / seconds);
    let tokens = held.truth.values().flatten().map(|t| f64::from(t.output_tokens)).sum::<f64>();
    let sent = held.truth.values().flatten().map(|t| t.arrival_ns).min().expect("a request");
    let last = held.truth.values().flatten().map(|t| t.end_ns).max().expect("a request");
    let whole = tokens / ((last - sent) as f64 / 1e9);
    // The last byte may have waited for a client that stood still; it says itself for how long.
    let stood = held.summary.validity.signals["longest_stall_ms"] * 1e6 / (last - sent) as f64;
    near("whole_run_output_tps", scalars["whole_run_output_tps"], whole, 0.02 + stood, 0.0);
}

#[test]
fn throughput_is_the_servers_own() {
    for (api, load, per_chunk) in [
        ("openai-chat", "users = 8", 1),
        ("openai-completions", "qps = 25", 1),
        ("openai-chat", "users = 8", 4),
    ] {
        let held = hold(&format!(
            r#"
            name = "throughput"
            [target]
            url = "sim:"
            api = "{api}"
            [sim]
            step_base = "8ms"
            max_num_seqs = 32
            tokens_per_chunk = {per_chunk}
            [workload]
            prompt_tokens = {{ mean = 40, distribution = "uniform", range = 0.5 }}
            max_tokens = {{ mean = 24, distribution = "uniform", range = 0.5 }}
            [load]
            {load}
            [cell]
            duration = "4s"
            warmup = "1s"
            "#
        ));
        held.all_ok();
        throughput(&held);
    }
}

/// Good requests by the server's log, if each stamp were `late_ns` later than it is.
fn good(held: &Held, pairs: &[Pair<'_>], (ttft, e2e): (i64, i64), late_ns: i64) -> u64 {
    let meets = |p: &&Pair<'_>| {
        let due = held.ns(p.record.intended_us);
        let since = |t: Option<u64>| t.expect("a stamp") as i64 - due + late_ns;
        p.record.phase == Phase::Measure
            && since(p.truth.first_token_ns) <= ttft
            && since(p.truth.last_token_ns) <= e2e
    };
    pairs.iter().filter(meets).count() as u64
}

#[test]
fn goodput_and_attainment_follow_from_the_servers_log() {
    // Two slots and arrivals in heaps: some wait, some don't.
    let held = hold(
        r#"
        name = "goodput"
        seed = 9
        [target]
        url = "sim:"
        [sim]
        step_base = "4ms"
        max_num_seqs = 2
        [workload]
        prompt_tokens = 24
        max_tokens = 10
        [load]
        qps = 38
        [cell]
        duration = "4s"
        warmup = "300ms"
        [slo.request]
        ttft = "60ms"
        e2e = "110ms"
        "#,
    );
    let pairs = held.all_ok();
    let limits = (60_000_000, 110_000_000);
    // Stamps here are later than there, by so much at most: what is good here was good there,
    // and what was good there with so much to spare is good here.
    let off = |p: &Pair<'_>| {
        let by = |ours: Option<u64>, theirs: Option<u64>| {
            held.ns(ours.expect("a stamp")) - theirs.expect("a stamp") as i64
        };
        by(p.record.first_token_us, p.truth.first_token_ns)
            .max(by(p.record.last_token_us, p.truth.last_token_ns))
    };
    let most = pairs.iter().map(off).max().expect("requests");
    let (least, highest) = (good(&held, &pairs, limits, most), good(&held, &pairs, limits, -1000));
    let attempted = held.summary.counts.attempted;
    let seconds = held.run.window.seconds();
    let attainment = held.summary.scalars["attainment"];
    let ours = (attainment * attempted as f64).round() as u64;
    println!("good: {ours} of {attempted} here, {least} to {highest} by the server's log");
    assert!((least..=highest).contains(&ours), "{ours} good, {least} to {highest} by the server's log");
    assert!(ours > 0 && ours < attempted, "the limits cut nothing: {ours} of {attempted}");
    // Goodput counts answers that ended in the window, as throughput does.
    let ended_in_window = |p: &&Pair<'_>| {
        p.record.end_us.is_some_and(|t| t >= held.run.window.start_us && t < held.run.window.end_us)
    };
    let within = |p: &&Pair<'_>| {
        let ms = |t: Option<u64>| (t.expect("a stamp") - p.record.intended_us) as f64 / 1e3;
        ms(p.record.first_token_us) <= 60.0 && ms(p.record.last_token_us) <= 110.0
    };
    let good_ended = pairs.iter().filter(ended_in_window).filter(within).count();
    let goodput = held.summary.scalars["goodput_rps"];
    assert!(
        (goodput - good_ended as f64 / seconds).abs() < 1e-9,
        "{goodput} × {seconds} s, {good_ended} by hand"
    );
    assert!(goodput <= held.summary.scalars["completed_rps"]);
}

#[test]
fn the_window_counts_tokens_by_their_stamp_and_requests_by_when_they_were_due() {
    // Answers of about a second: at both ends of the window many are under way.
    let held = hold(
        r#"
        name = "window"
        seed = 6
        [target]
        url = "sim:"
        [sim]
        step_base = "12ms"
        step_per_seq = "0s"
        step_per_prefill_token = "0s"
        max_num_seqs = 64
        [workload]
        prompt_tokens = 16
        max_tokens = 80
        [load]
        qps = 20
        [cell]
        duration = "2s"
        warmup = "1s"
        "#,
    );
    let (from, to) = held.window_ns();
    let pairs = held.all_ok();
    let mut foreign = 0;
    let mut measured = 0;
    for Pair { record, truth } in &pairs {
        let due = held.ns(record.intended_us);
        assert_eq!(record.phase == Phase::Measure, due >= from && due < to);
        measured += u64::from(record.phase == Phase::Measure);
        let (first, last) = (truth.first_token_ns.expect("one"), truth.last_token_ns.expect("one"));
        let (first, last) = (first as i64, last as i64);
        let last_here = held.ns(record.last_token_us.expect("a stamp"));
        if last_here < from || first >= to {
            assert_eq!(record.chunks_in_window, 0, "{record:?}\n{truth:?}");
        } else if first >= from && last_here < to {
            assert_eq!(record.chunks_in_window, record.chunks, "{record:?}\n{truth:?}");
        } else if first < from - 50_000_000 && last > from + 50_000_000 {
            assert!(record.chunks_in_window < record.chunks && record.chunks_in_window > 0);
        }
        if record.phase != Phase::Measure {
            foreign += u64::from(record.chunks_in_window);
        }
    }
    assert!(foreign > 100, "{foreign} chunks of the warm-up in the window");
    assert_eq!(held.run.foreign_chunks_in_window, foreign);
    assert_eq!(held.summary.counts.attempted, measured);
    assert_eq!(held.run.planned, Some(measured));
    assert_eq!(held.summary.counts.before_window, pairs.len() as u64 - measured);
    // Followed through the drain: due in the window, ended after it, counted with the rest.
    let after = pairs.iter().filter(|p| p.truth.end_ns as i64 >= to).count() as u64;
    assert!(after > 0);
    assert!(held.summary.counts.in_flight_at_end.abs_diff(after) <= 1);
    assert_eq!(held.summary.counts.ok, measured);
    throughput(&held);
    // Without the warm-up's tokens the figure would be far off.
    let alone: u64 = pairs
        .iter()
        .filter(|p| p.record.phase == Phase::Measure)
        .map(|p| u64::from(p.record.chunks_in_window))
        .sum();
    assert!((alone as f64) < 0.9 * tokens_between(&held, (from, to)));
}
