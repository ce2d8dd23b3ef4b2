//! The tables of what came out, in Markdown, and whether it is what was to be shown.

use std::fmt::Write as _;

use plimsoll::analysis::compare::{Outcome, Verdict};
use plimsoll::stats::beta_cdf;

use super::judge::{Found, Judged, Planted, is_significant, shown};
use super::tail::{BODY, QUANTILES, Tail};

/// A planted change is to be found so often.
const POWER: f64 = 0.9;

/// Whether all three hold: few enough false alarms, planted changes found, tails seen.
pub fn holds(found: &Found) -> bool {
    let alarms = found.equal.iter().filter(|judged| judged.failed()).count();
    let quiet = alarms as f64 <= found.alpha * found.equal.len() as f64;
    let seen = found.planted.iter().all(|planted| {
        let (metric, stat) = planted.rows[0];
        let hits = hits(planted, metric, stat).0;
        !planted.comparisons.is_empty() && hits as f64 >= POWER * planted.comparisons.len() as f64
    });
    let far = QUANTILES.iter().filter(|q| **q > BODY);
    let all = found.tail.seen.len();
    let tails = all > 0 && far.clone().all(|q| found.tail.above(*q) as f64 >= POWER * all as f64);
    // Each band is wrong in one of twenty by design; more than chance of that would be too many.
    let body = QUANTILES.iter().filter(|q| **q <= BODY);
    let calm = body.clone().all(|q| binomial(all - found.tail.by_ranks(*q).0.min(all), all).0 <= 0.05);
    quiet && seen && tails && calm && !found.equal.is_empty()
}

pub fn render(found: &Found) -> String {
    let mut text = String::new();
    let share = 100.0 * found.invalid as f64 / found.cells.max(1) as f64;
    let why: Vec<String> = found.why.iter().map(|(signal, n)| format!("`{signal}` {n}")).collect();
    let _ = writeln!(
        text,
        "{} cells were measured, of which {} ({share:.1} %) are invalid{}.\n",
        found.cells,
        found.invalid,
        if why.is_empty() { String::new() } else { format!(": {}", why.join(", ")) }
    );
    equal(found, &mut text);
    for planted in &found.planted {
        planted_table(planted, &mut text);
    }
    tail(&found.tail, &mut text);
    let _ = writeln!(text, "{}", if holds(found) { "The proof holds." } else { "THE PROOF DOES NOT HOLD." });
    text
}

fn equal(found: &Found, text: &mut String) {
    let n = found.equal.len();
    let count = |of: &dyn Fn(&Judged) -> bool| found.equal.iter().filter(|judged| of(judged)).count();
    let _ = writeln!(
        text,
        "**Equal servers**: {n} comparisons, {} with all five pairs.\n",
        count(&Judged::whole)
    );
    let _ = writeln!(text, "| | comparisons | share | 95 % interval |\n|---|---|---|---|");
    let mut line = |what: &str, hits: usize| {
        let (low, high) = binomial(hits, n);
        let share = hits as f64 / n.max(1) as f64;
        let _ = writeln!(
            text,
            "| {what} | {hits} of {n} | {:.1} % | {:.1} to {:.1} % |",
            share * 100.0,
            low * 100.0,
            high * 100.0
        );
    };
    line("the gate fails (`FAIL`, a false alarm)", count(&Judged::failed));
    line(
        "any figure that decides is told from chance, either way, however small (Holm, α = 5 %)",
        count(&Judged::significant),
    );
    line(
        "some figure that decides is worse by more than chance, and its estimate is at least the margin",
        count(&|judged: &Judged| judged.primary().any(|row| shown(row, &judged.comparison.gate).beyond)),
    );
    for outcome in [Outcome::Pass, Outcome::Inconclusive, Outcome::Invalid, Outcome::NotComparable] {
        let hits = count(&|judged: &Judged| judged.comparison.outcome == outcome);
        if hits > 0 {
            line(&format!("`{}`", outcome.word()), hits);
        }
    }
    let _ = writeln!(
        text,
        "\n| figure | p < .05 before Holm | noise of a pair | margin | `EQUIVALENT` | `INCONCLUSIVE` |\n|---|---|---|---|---|---|"
    );
    let rows: Vec<(String, String)> = found
        .equal
        .first()
        .map(|judged| judged.primary().map(|row| (row.metric.clone(), row.stat.clone())).collect())
        .unwrap_or_default();
    for (metric, stat) in rows {
        let rows: Vec<_> = found.equal.iter().filter_map(|judged| judged.row(&metric, &stat)).collect();
        let low = rows.iter().filter(|row| row.p.is_some_and(|p| p < 0.05)).count();
        let logs = rows.iter().flat_map(|row| {
            row.base_values.iter().zip(&row.cand_values).map(|(base, cand)| (cand / base).ln())
        });
        let (sum, pairs) = logs.fold((0.0, 0.0), |(sum, n), d| (sum + d * d, n + 1.0));
        let margin = rows.iter().map(|row| row.margin).sum::<f64>() / rows.len().max(1) as f64;
        let of = |verdict| rows.iter().filter(|row| row.verdict == verdict).count();
        let _ = writeln!(
            text,
            "| {} | {low} of {} ({:.1} %) | {:.2} % | {:.1} % | {} | {} |",
            name(&metric, &stat),
            rows.len(),
            100.0 * low as f64 / rows.len().max(1) as f64,
            100.0 * f64::sqrt(sum / f64::max(pairs, 1.0)),
            100.0 * margin,
            of(Verdict::Equivalent),
            of(Verdict::Inconclusive)
        );
    }
    text.push('\n');
}

fn name(metric: &str, stat: &str) -> String {
    if stat.is_empty() { metric.to_owned() } else { format!("{metric}_{stat}") }
}

/// Comparisons that found it: say `REGRESSED`; that tell it from chance; and that would have found
/// it if the estimate had to be at least the margin.
fn hits(planted: &Planted, metric: &str, stat: &str) -> (usize, usize, usize) {
    let each = planted
        .comparisons
        .iter()
        .filter_map(|judged| Some(shown(judged.row(metric, stat)?, &judged.comparison.gate)));
    each.fold((0, 0, 0), |(found, told, beyond), s| {
        (found + usize::from(s.found), told + usize::from(s.told), beyond + usize::from(s.beyond))
    })
}

fn planted_table(planted: &Planted, text: &mut String) {
    let n = planted.comparisons.len();
    let failed = planted.comparisons.iter().filter(|judged| judged.failed()).count();
    let whole = planted.comparisons.iter().filter(|judged| judged.whole()).count();
    let any = planted.comparisons.iter().filter(|judged| {
        judged
            .primary()
            .any(|row| is_significant(row, &judged.comparison.gate) && row.is_worse() == Some(true))
    });
    let _ = writeln!(
        text,
        "**Planted: {}**: {n} comparisons, {whole} with all five pairs. The gate fails in {failed}; some figure that \
         decides is worse by more than chance in {}.\n",
        planted.what,
        any.count()
    );
    let _ = writeln!(
        text,
        "| figure | decides | mean effect | margin | found: `REGRESSED` | 95 % interval | worse by more than chance | of which the estimate is at least the margin |\n|---|---|---|---|---|---|---|---|"
    );
    for (metric, stat) in planted.rows {
        let (found, told, beyond) = hits(planted, metric, stat);
        let (low, high) = binomial(found, n);
        let rows: Vec<_> = planted.comparisons.iter().filter_map(|judged| judged.row(metric, stat)).collect();
        let mean = |of: &dyn Fn(&plimsoll::analysis::compare::Row) -> Option<f64>| {
            let values: Vec<f64> = rows.iter().filter_map(|row| of(row)).collect();
            values.iter().sum::<f64>() / values.len().max(1) as f64
        };
        let _ = writeln!(
            text,
            "| {} | {} | {:+.2} % | {:.1} % | {found} of {n} | {:.0} to {:.0} % | {told} of {n} | {beyond} of {n} |",
            name(metric, stat),
            if rows.iter().any(|row| row.primary) { "yes" } else { "no" },
            100.0 * mean(&|row| row.effect),
            100.0 * mean(&|row| Some(row.margin)),
            low * 100.0,
            high * 100.0
        );
    }
    text.push('\n');
}

fn tail(tail: &Tail, text: &mut String) {
    let n = tail.seen.len();
    let _ = writeln!(
        text,
        "**Planted: the tail alone** (one request in ten has 1.5 × the TPOT): {n} comparisons; the gate fails in {}. \
         The shift function of TPOT, with 95 % bands for each quantile:\n",
        tail.failed
    );
    let _ = writeln!(
        text,
        "| quantile | mean shift | of which by rank alone | band above 0 | band below 0 | band holds 0 | band holds the shift by rank |\n|---|---|---|---|---|---|---|"
    );
    for q in QUANTILES {
        let (above, below) = (tail.above(q), tail.below(q));
        let _ = writeln!(
            text,
            "| {q} | {:+.2} % | {} | {above} | {below} | {} | {} |",
            100.0 * tail.effect(q),
            if q <= BODY { format!("{:+.2} %", 100.0 * tail.by_ranks(q).1) } else { String::new() },
            n.saturating_sub(above + below),
            if q <= BODY { format!("{}", tail.by_ranks(q).0) } else { String::new() }
        );
    }
    text.push('\n');
}

/// The 95 % interval of a share (Clopper and Pearson 1934).
fn binomial(hits: usize, n: usize) -> (f64, f64) {
    let (k, n) = (hits as f64, n as f64);
    let low = if hits == 0 { 0.0 } else { invert(|x| beta_cdf(x, k, n - k + 1.0), 0.025) };
    let high = if k >= n { 1.0 } else { invert(|x| beta_cdf(x, k + 1.0, n - k), 0.975) };
    (low, high)
}

/// Where a rising function of 0 to 1 reaches `at`.
fn invert(of: impl Fn(f64) -> f64, at: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if of(middle) < at { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}
