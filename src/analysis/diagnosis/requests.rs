//! What single requests of a cell tell: prefill, the very first one, gaps, lengths.

use super::{Hit, Kind, Severity, client_ms, kinds, rose, strain, usable};
use crate::analysis::text::{count, figure};
use crate::analysis::{CellData, RequestPoint, RunData, words};
use crate::measure::{CellSummary, SloStatus};
use crate::stats::{quantile, regress, student_t_quantile};

pub(super) fn look(cell: &CellData, summary: &CellSummary) -> Vec<Hit> {
    let found = [stalls(summary), retries(summary), short_answers(summary), prefill(cell, summary)];
    let place = words::place(&cell.cell);
    let hit = |sign: Sign| Hit {
        kind: sign.kind,
        severity: sign.severity,
        weight: sign.weight,
        evidence: format!("At {place} {}", sign.evidence),
        place: place.clone(),
        cells: vec![cell.cell.index],
    };
    found.into_iter().flatten().map(hit).collect()
}

/// A [`Hit`] that knows no place yet.
struct Sign {
    kind: &'static Kind,
    severity: Severity,
    weight: f64,
    evidence: String,
}

fn stalls(summary: &CellSummary) -> Option<Sign> {
    const LEAST_MS: f64 = 250.0;
    let (largest, median) = (summary.value("max_gap", "p99")?, summary.value("chunk_gap", "p50")?);
    let own = summary.validity.signals.get("longest_stall_ms").copied().unwrap_or(0.0);
    (largest >= LEAST_MS && largest >= 10.0 * median && largest > 2.0 * own).then(|| Sign {
        kind: &kinds::STALLS,
        severity: Severity::Warning,
        weight: largest,
        evidence: format!(
            "the median gap between chunks is {} ms, but one answer in a hundred stood still for {} ms and more.",
            figure(median),
            figure(largest)
        ),
    })
}

fn retries(summary: &CellSummary) -> Option<Sign> {
    let fired = summary.validity.reasons.iter().any(|r| r.signal == "retries");
    let counts = &summary.counts;
    fired.then(|| Sign {
        kind: &kinds::RETRIES,
        severity: Severity::Warning,
        weight: counts.retries as f64,
        evidence: format!(
            "{} of {} requests were sent a second time because their kept connection had died.",
            count(counts.retries),
            count(counts.attempted)
        ),
    })
}

fn short_answers(summary: &CellSummary) -> Option<Sign> {
    const SHARE: f64 = 0.05;
    let (tokens, ok) = (&summary.tokens, summary.counts.ok);
    if ok == 0 || tokens.output == 0 || tokens.max_tokens == 0 {
        return None;
    }
    let off = tokens.output_mismatches as f64 / ok as f64;
    let mean = |total: u64| total as f64 / ok as f64;
    let share = (tokens.output as f64 / tokens.max_tokens as f64 - 1.0).abs();
    (off >= SHARE && share >= SHARE).then(|| Sign {
        kind: &kinds::SHORT_ANSWERS,
        severity: Severity::Info,
        weight: share,
        evidence: format!(
            "{} % of the answers have another length than asked: {} tokens on average instead of {}.",
            figure(off * 100.0),
            figure(mean(tokens.output)),
            figure(mean(tokens.max_tokens))
        ),
    })
}

/// Good answers to requests sent in the window.
fn measured<'a>(cell: &'a CellData, summary: &CellSummary) -> impl Iterator<Item = &'a RequestPoint> {
    let window = summary.window;
    cell.points.iter().filter(move |p| {
        let sent_us = (p.sent_s.max(0.0) * 1e6) as u64;
        p.ok && (window.start_us..window.end_us).contains(&sent_us)
    })
}

/// Prompts of different lengths within one cell.
fn prefill(cell: &CellData, summary: &CellSummary) -> Option<Sign> {
    const FEWEST: usize = 30;
    const SPREAD: f64 = 1.5;
    let both = |p: &RequestPoint| Some((f64::from(p.prompt_tokens?), p.ttft_ms?));
    let (lengths, ttft): (Vec<f64>, Vec<f64>) = measured(cell, summary).filter_map(both).unzip();
    let mut sorted = lengths.clone();
    sorted.sort_by(f64::total_cmp);
    let (short, long) = (quantile(&sorted, 0.1)?, quantile(&sorted, 0.9)?);
    if lengths.len() < FEWEST || long < SPREAD * short {
        return None;
    }
    let line = regress(&lengths, &ttft)?;
    let at = |length: f64| line.intercept + line.slope * length;
    let sure = line.t > student_t_quantile(0.99, line.df as f64);
    if !sure || at(short) <= 0.0 || !rose(at(short), at(long), 1.5, client_ms(summary)) {
        return None;
    }
    let beyond = strain(summary, "ttft") > SloStatus::Pass;
    Some(Sign {
        kind: &kinds::PREFILL,
        severity: if beyond { Severity::Warning } else { Severity::Info },
        weight: at(long) / at(short),
        evidence: format!(
            "TTFT is about {} ms for prompts of {} tokens and {} ms for {}: {} ms for each 1,000 tokens.",
            figure(at(short)),
            figure(short),
            figure(at(long)),
            figure(long),
            figure(line.slope * 1000.0)
        ),
    })
}

/// The very first request of the run against the others of its cell.
pub(super) fn first(run: &RunData) -> Option<Hit> {
    const OTHERS: usize = 20;
    const TIMES: f64 = 5.0;
    const LEAST_MS: f64 = 300.0;
    let cell = run.cells.iter().find(|cell| cell.summary.is_some())?;
    let summary = usable(cell)?;
    let answered: Vec<(f64, f64)> =
        cell.points.iter().filter(|p| p.ok).filter_map(|p| Some((p.sent_s, p.ttft_ms?))).collect();
    let ((sent_s, first), others) = answered.split_first()?;
    let mut sorted: Vec<f64> = others.iter().map(|(_, ttft)| *ttft).collect();
    sorted.sort_by(f64::total_cmp);
    let median = quantile(&sorted, 0.5)?;
    let later = others[others.len() / 2..].iter().map(|(_, ttft)| *ttft).fold(0.0, f64::max);
    let far = *first >= TIMES * median && first - median >= f64::max(LEAST_MS, 3.0 * client_ms(summary));
    if others.len() < OTHERS || !far || later > first / 2.0 {
        return None;
    }
    let in_window = *sent_s * 1e6 >= summary.window.start_us as f64;
    let so =
        if in_window { "It is part of the figures." } else { "The warm-up took it in: no figure counts it." };
    Some(Hit {
        kind: &kinds::FIRST_REQUEST,
        severity: if in_window { Severity::Warning } else { Severity::Info },
        weight: first / median,
        place: String::new(),
        evidence: format!(
            "The first request waited {} ms for its first token, the others of its cell {} ms at the median. {so}",
            figure(*first),
            figure(median)
        ),
        cells: vec![cell.cell.index],
    })
}
