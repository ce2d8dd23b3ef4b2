//! The lines of all displays: pure functions from events to text.

use crate::analysis::label;
use crate::event::{Live, Stage};
use crate::measure::{CellSummary, Verdict};
use crate::plan::Cell;
use crate::record::{Excerpt, KeptAnswer};

/// What is shown where a figure isn't known yet.
const UNKNOWN: &str = "–";

/// The line of every ten seconds.
pub(super) fn plain_line(live: &Live) -> String {
    let ended = live.completed + live.failed;
    format!(
        "[Progress @ {:.0}s] Active Users: {} | Requests: {ended} | RPS: {:.1} | TPS: {:.1} tok/s | P90 Latency: {} | Errors: {} | Time Left: {}",
        live.elapsed_s,
        live.in_flight,
        live.completed_rps,
        live.output_tps,
        live.e2e_p90_ms.map_or_else(|| UNKNOWN.to_owned(), |ms| format!("{:.2}s", ms / 1e3)),
        share(live.failed, ended),
        live.left_s.map_or_else(|| UNKNOWN.to_owned(), |left| format!("{left:.0}s")),
    )
}

/// The live line under the bars, first half: what happens. Both halves fit into 80 columns,
/// the narrowest terminal that is usual.
pub(super) fn live_load(live: &Live) -> String {
    let ended = live.completed + live.failed;
    format!(
        "{} in flight · {} done · {} req/s · {} tok/s · {} failed · lag {}",
        count(f64::from(live.in_flight)),
        count(ended as f64),
        rate(live.completed_rps),
        rate(live.output_tps),
        share(live.failed, ended),
        opt_ms(live.lag_p99_ms),
    )
}

/// The live line under the bars, second half: how long it takes.
pub(super) fn live_latency(live: &Live) -> String {
    format!(
        "TTFT p50 {} p90 {} · E2E p50 {} p90 {} p99 {}",
        opt_ms(live.ttft_p50_ms),
        opt_ms(live.ttft_p90_ms),
        opt_ms(live.e2e_p50_ms),
        opt_ms(live.e2e_p90_ms),
        opt_ms(live.e2e_p99_ms),
    )
}

/// `cell 3/12: users=4 prompt_tokens=128, repeat 2`.
pub(super) fn cell_name(cell: &Cell, of: usize) -> String {
    let label = label(cell);
    let sep = if label.is_empty() { "" } else { ": " };
    format!("cell {}/{of}{sep}{label}, repeat {}", cell.index + 1, cell.repeat)
}

/// What was asked and answered, on lines of their own.
pub(super) fn answer(cell_index: u32, kept: &KeptAnswer) -> String {
    let said = [Some(kept.outcome.name()), kept.finish_reason.as_deref(), kept.error_class.as_deref()];
    let tokens = kept.output_tokens.map(|n| format!("{n} tokens"));
    let said: Vec<&str> = said.into_iter().flatten().chain(tokens.as_deref()).collect();
    let mut out = format!("cell {}, request {} ({})", cell_index + 1, kept.seq, said.join(", "));
    let texts = [("asked", &kept.prompt), ("answered", &kept.answer), ("refused", &kept.body)];
    for (name, excerpt) in texts {
        if let Some(excerpt) = excerpt {
            out.push_str(&format!("\n  {name}: {}", shown(excerpt)));
        }
    }
    if let (None, None, Some(detail)) = (&kept.answer, &kept.body, &kept.detail) {
        out.push_str(&format!("\n  failed: {}", harmless(detail)));
    }
    out
}

fn shown(excerpt: &Excerpt) -> String {
    let left_out = excerpt.chars.saturating_sub(excerpt.text.chars().count() as u64);
    let rest = if left_out > 0 { format!(" … ({left_out} characters more)") } else { String::new() };
    harmless(&excerpt.text) + &rest
}

/// A text from elsewhere, indented, that can't steer the terminal.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\n    "),
            '\t' => out.push(c),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// The run whose turn it is, in front of its cell.
pub(super) fn side(side: &str) -> String {
    if side.is_empty() { String::new() } else { format!("[{side}] ") }
}

/// The line that stays when a cell is finished.
pub(super) fn finished(cell: &Cell, of: usize, summary: &CellSummary) -> String {
    let value = |metric: &str, stat: &str| summary.value(metric, stat);
    let c = &summary.counts;
    let mut line = format!(
        "{}: {}/{} ok · {} req/s · {} tok/s · TTFT p50 {} p95 {} · E2E p95 {}",
        cell_name(cell, of),
        c.ok,
        c.attempted,
        value("completed_rps", "").map_or_else(|| UNKNOWN.to_owned(), rate),
        value("output_tps", "").map_or_else(|| UNKNOWN.to_owned(), rate),
        opt_ms(value("ttft", "p50")),
        opt_ms(value("ttft", "p95")),
        opt_ms(value("e2e", "p95")),
    );
    let apart =
        [("failed", c.failed), ("dropped", c.dropped), ("censored", c.censored), ("cancelled", c.cancelled)];
    for (what, n) in apart {
        if n > 0 {
            line += &format!(" · {n} {what}");
        }
    }
    line + " · " + &validity(summary)
}

/// `valid`, or the verdict and its first reason of that weight.
fn validity(summary: &CellSummary) -> String {
    let verdict = summary.validity.verdict;
    let word = match verdict {
        Verdict::Valid => return "valid".to_owned(),
        Verdict::Warn => "warning",
        Verdict::Invalid => "INVALID",
    };
    let reasons = &summary.validity.reasons;
    match reasons.iter().find(|r| r.verdict == verdict) {
        Some(reason) if reasons.len() > 1 => {
            format!("{word}: {} (and {} more)", reason.text, reasons.len() - 1)
        }
        Some(reason) => format!("{word}: {}", reason.text),
        None => word.to_owned(),
    }
}

pub(super) const fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Ramp => "ramp",
        Stage::Warmup => "warm-up",
        Stage::Measure => "measure",
        Stage::Drain => "drain",
    }
}

/// Time left of the sweep, in seconds. `expected_s` is the plan's estimate for all cells
/// that were left at the start; as cells finish, how long they really took outweighs it.
pub(super) fn sweep_left(expected_s: f64, elapsed_s: f64, done: usize, todo: usize) -> Option<f64> {
    if todo == 0 {
        return None;
    }
    let per_cell = if done == 0 { expected_s / todo as f64 } else { elapsed_s / done as f64 };
    Some((per_cell * todo as f64 - elapsed_s).max(0.0))
}

/// A duration as `0.2s`, `45s`, `3m 05s`, `2h 03m`.
pub(super) fn duration(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    match s {
        _ if seconds > 0.0 && seconds < 9.95 && (seconds - seconds.round()).abs() > 0.05 => {
            format!("{seconds:.1}s")
        }
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m {:02}s", s / 60, s % 60),
        _ => format!("{}h {:02}m", s / 3600, s % 3600 / 60),
    }
}

pub(super) fn opt_ms(ms: Option<f64>) -> String {
    ms.map_or_else(|| UNKNOWN.to_owned(), latency)
}

/// Three digits: `0.52 ms`, `45.1 ms`, `245 ms`, `2.45 s`.
pub(super) fn latency(ms: f64) -> String {
    match ms {
        _ if ms < 9.995 => format!("{ms:.2} ms"),
        _ if ms < 99.95 => format!("{ms:.1} ms"),
        _ if ms < 999.5 => format!("{ms:.0} ms"),
        _ if ms < 9_995.0 => format!("{:.2} s", ms / 1e3),
        _ if ms < 99_950.0 => format!("{:.1} s", ms / 1e3),
        _ => format!("{:.0} s", ms / 1e3),
    }
}

/// A rate: `0.42`, `58.3`, `237`, `1.2k`.
pub(super) fn rate(value: f64) -> String {
    match value {
        _ if value < 9.995 => format!("{value:.2}"),
        _ if value < 99.95 => format!("{value:.1}"),
        _ if value < 999.5 => format!("{value:.0}"),
        _ => thousands(value),
    }
}

/// A count: `145`, `12.3k`.
fn count(value: f64) -> String {
    if value < 9_999.5 { format!("{value:.0}") } else { thousands(value) }
}

fn thousands(value: f64) -> String {
    match value {
        _ if value < 99_950.0 => format!("{:.1}k", value / 1e3),
        _ if value < 999_500.0 => format!("{:.0}k", value / 1e3),
        _ => format!("{:.1}M", value / 1e6),
    }
}

/// Failed requests of those that ended.
pub(super) fn share(part: u64, of: u64) -> String {
    if of == 0 { "0.0%".to_owned() } else { format!("{:.1}%", part as f64 / of as f64 * 100.0) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::store::tests::{cell, summary};

    /// A look at a cell `elapsed` seconds after its start.
    pub(crate) fn live(elapsed: f64) -> Live {
        Live {
            stage: Stage::Measure,
            elapsed_s: elapsed,
            left_s: Some(90.0),
            in_flight: 20,
            sent: 165,
            completed: 145,
            failed: 0,
            errors: std::collections::BTreeMap::new(),
            output_tokens: 1750,
            sent_rps: 5.0,
            completed_rps: 4.83,
            failed_rps: 0.0,
            output_tps: 58.34,
            ttft_p50_ms: Some(45.06),
            ttft_p90_ms: Some(245.2),
            ttft_p95_ms: Some(260.0),
            tpot_p50_ms: Some(20.0),
            tpot_p95_ms: Some(25.0),
            e2e_p50_ms: Some(1234.0),
            e2e_p90_ms: Some(2450.0),
            e2e_p95_ms: Some(2600.0),
            e2e_p99_ms: None,
            lag_p99_ms: Some(0.52),
            server: std::collections::BTreeMap::new(),
        }
    }

    #[test]
    fn the_plain_line_is_as_people_know_it() {
        assert_eq!(
            plain_line(&live(30.2)),
            "[Progress @ 30s] Active Users: 20 | Requests: 145 | RPS: 4.8 | TPS: 58.3 tok/s | \
             P90 Latency: 2.45s | Errors: 0.0% | Time Left: 90s"
        );
    }

    #[test]
    fn what_is_not_known_is_a_dash_and_never_nought() {
        let unknown = Live { e2e_p90_ms: None, left_s: None, failed: 1, completed: 2, ..live(10.0) };
        let line = plain_line(&unknown);
        assert!(line.contains("P90 Latency: – | Errors: 33.3% | Time Left: –"), "{line}");
        assert!(live_latency(&live(1.0)).ends_with("p99 –"));
    }

    #[test]
    fn the_live_lines_hold_load_and_latency() {
        assert_eq!(
            live_load(&live(1.0)),
            "20 in flight · 145 done · 4.83 req/s · 58.3 tok/s · 0.0% failed · lag 0.52 ms"
        );
        let most = Live {
            in_flight: 64,
            completed: 123_456,
            failed: 12_345,
            completed_rps: 1234.0,
            output_tps: 12_345.0,
            ttft_p50_ms: Some(12_340.0),
            ttft_p90_ms: Some(12_340.0),
            e2e_p50_ms: Some(12_340.0),
            e2e_p90_ms: Some(12_340.0),
            e2e_p99_ms: Some(12_340.0),
            ..live(1.0)
        };
        for line in [live_load(&most), live_latency(&most)] {
            assert!(line.chars().count() < 80, "beside an indent of one: {line}");
        }
        assert_eq!(live_latency(&live(1.0)), "TTFT p50 45.1 ms p90 245 ms · E2E p50 1.23 s p90 2.45 s p99 –");
    }

    #[test]
    fn a_finished_cell_says_what_it_came_to_and_whether_to_believe_it() {
        let mut s = summary(0);
        assert_eq!(
            finished(&cell(0), 12, &s),
            "cell 1/12: qps=2.5, repeat 1: 9/10 ok · – req/s · 33.3 tok/s · TTFT p50 0.10 ms p95 0.13 ms · \
             E2E p95 – · 1 failed · warning: lag p99 12 ms, over 10 ms"
        );
        s.validity.verdict = Verdict::Valid;
        s.counts.failed = 0;
        assert!(finished(&cell(0), 12, &s).ends_with("E2E p95 – · valid"));
        s.validity.verdict = Verdict::Invalid;
        s.validity.reasons[0].verdict = Verdict::Invalid;
        s.validity.reasons.push(s.validity.reasons[0].clone());
        assert!(finished(&cell(0), 12, &s).ends_with("INVALID: lag p99 12 ms, over 10 ms (and 1 more)"));
    }

    #[test]
    fn figures_keep_three_digits_at_every_size() {
        let shown = |ms| latency(ms);
        assert_eq!(
            [0.0, 9.996, 99.96, 999.6, 9_996.0, 120_000.0].map(shown),
            ["0.00 ms", "10.0 ms", "100 ms", "1.00 s", "10.0 s", "120 s"]
        );
        assert_eq!([0.0, 58.34, 237.04, 1234.0, 2.5e6].map(rate), ["0.00", "58.3", "237", "1.2k", "2.5M"]);
        assert_eq!([0.0, 9999.0, 10_000.0].map(count), ["0", "9999", "10.0k"]);
        assert_eq!([59.6, 185.0, 7380.0, -1.0].map(duration), ["1m 00s", "3m 05s", "2h 03m", "0s"]);
        assert_eq!([0.2, 2.98, 9.4, 9.96, 0.0].map(duration), ["0.2s", "3s", "9.4s", "10s", "0s"]);
    }

    #[test]
    fn the_time_left_follows_the_plan_and_then_what_cells_took() {
        assert_eq!(sweep_left(100.0, 0.0, 0, 10), Some(100.0));
        assert_eq!(sweep_left(100.0, 30.0, 0, 10), Some(70.0));
        assert_eq!(sweep_left(100.0, 40.0, 2, 10), Some(160.0));
        assert_eq!(sweep_left(100.0, 200.0, 10, 10), Some(0.0));
        assert_eq!(sweep_left(0.0, 0.0, 0, 0), None);
    }

    #[test]
    fn answers_are_shown_with_their_line_breaks_and_cannot_steer_the_terminal() {
        use crate::record::{Outcome, RequestRecord, Texts};
        let mut record = RequestRecord::blank(7);
        record.outcome = Outcome::Ok;
        record.finish_reason = Some("stop".to_owned());
        record.output_tokens = Some(3);
        let texts = Texts {
            prompt: Some(Excerpt::of("what is this?", 7)),
            answer: Some(Excerpt::of("a\n\u{1b}[31mb\tc", 100)),
            body: None,
        };
        assert_eq!(
            answer(0, &texts.of(&record)),
            "cell 1, request 7 (ok, stop, 3 tokens)\n  asked: what is … (6 characters more)\n  answered: a\n    \\u{1b}[31mb\tc"
        );
        record.outcome = Outcome::ConnectError;
        record.error_class = Some("connect".to_owned());
        (record.finish_reason, record.output_tokens) = (None, None);
        record.detail = Some("refused".to_owned());
        assert_eq!(
            answer(1, &Texts::default().of(&record)),
            "cell 2, request 7 (connect_error, connect)\n  failed: refused"
        );
    }
}
