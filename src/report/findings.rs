//! What a run came to, in plain words: counts, best and worst figures, where the SLO breaks.

use std::collections::BTreeMap;

use crate::analysis::RunData;
use crate::chart::{Family, Group, Level, Loop, Repeats, count, families, figure, list};
use crate::measure::{CellSummary, SloVerdict, Verdict};
use crate::metrics::{self, Unit};

/// The summary of a run for page and terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    pub counts: CellCounts,
    /// What ran, one sentence each.
    pub ran: Vec<String>,
    /// Best and worst figures, one sentence each.
    pub figures: Vec<String>,
    /// Where the SLO breaks, one sentence per group of the grid; empty without `[slo]`.
    pub limits: Vec<String>,
    pub rules: Vec<RuleLine>,
}

/// Cells and repeats by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CellCounts {
    pub planned: usize,
    pub ran: usize,
    pub valid: usize,
    pub warned: usize,
    pub invalid: usize,
}

/// One SLO rule over the whole run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleLine {
    /// `TTFT p95 ≤ 1,000 ms`.
    pub rule: String,
    pub passed: usize,
    pub of: usize,
    /// The worst figure of a believable cell, with where it was.
    pub worst: String,
}

/// Look at the whole run.
#[must_use]
pub fn find(run: &RunData) -> Findings {
    let families = families(run);
    let all = Repeats::all(run);
    Findings {
        counts: cell_counts(run),
        ran: ran(run, &all, &families),
        figures: figures(&all),
        limits: families.iter().flat_map(limits).collect(),
        rules: rules(run),
    }
}

fn cell_counts(run: &RunData) -> CellCounts {
    let mut out = CellCounts { planned: run.cells.len(), ..CellCounts::default() };
    for summary in run.cells.iter().filter_map(|c| c.summary.as_ref()) {
        out.ran += 1;
        match summary.validity.verdict {
            Verdict::Valid => out.valid += 1,
            Verdict::Warn => out.warned += 1,
            Verdict::Invalid => out.invalid += 1,
        }
    }
    out
}

fn ran(run: &RunData, all: &[Repeats<'_>], families: &[Family<'_>]) -> Vec<String> {
    let c = cell_counts(run);
    let repeats = all.iter().map(|r| r.cells.len()).max().unwrap_or(0);
    let cells = match (all.len(), repeats) {
        (1, 0 | 1) => "One cell was planned".to_owned(),
        (n, 0 | 1) => format!("{n} cells were planned"),
        (1, r) => format!("One cell of {r} repeats was planned"),
        (n, r) => format!("{n} cells of {r} repeats, {} in all, were planned", c.planned),
    };
    let of = if c.ran == c.planned { "all ran".to_owned() } else { format!("{} ran", c.ran) };
    let mut out =
        vec![format!("{cells}; {of}: {} valid, {} with a remark, {} invalid.", c.valid, c.warned, c.invalid)];
    for family in families {
        let xs: Vec<f64> = family.groups.iter().flat_map(|g| g.levels.iter().map(|l| l.x)).collect();
        let (lo, hi) = xs.iter().fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(*x), b.max(*x)));
        let groups = if family.groups.len() > 1 {
            format!(", for each of {} combinations of the other axes", family.groups.len())
        } else {
            String::new()
        };
        let kind = if family.kind == Loop::Closed { "Closed loop" } else { "Open loop" };
        out.push(format!("{kind}, from {} to {}{groups}.", family.x.level(lo), family.x.level(hi)));
    }
    let summaries = || run.cells.iter().filter_map(|c| c.summary.as_ref());
    let sum = |read: fn(&CellSummary) -> u64| summaries().map(read).sum::<u64>();
    if c.ran > 0 {
        out.push(format!(
            "In the measured windows {} requests were due: {} ended well, {} failed, {} were dropped and {} still ran when waiting for them ended.",
            count(sum(|s| s.counts.attempted)),
            count(sum(|s| s.counts.ok)),
            count(sum(|s| s.counts.failed)),
            count(sum(|s| s.counts.dropped)),
            count(sum(|s| s.counts.censored)),
        ));
        let cancelled = sum(|s| s.counts.cancelled);
        if cancelled > 0 {
            out.push(format!(
                "This client cut off {} of them on purpose (workload.cancel): neither good nor failed.",
                count(cancelled)
            ));
        }
        out.extend(failures(run));
    }
    out
}

/// A line for each class of failure: how many, and the first one's own words.
fn failures(run: &RunData) -> Vec<String> {
    let mut classes: BTreeMap<&str, (u64, Option<&str>)> = BTreeMap::new();
    for counts in run.cells.iter().filter_map(|c| c.summary.as_ref()).map(|s| &s.counts) {
        for (class, n) in &counts.errors {
            let (sum, words) = classes.entry(class).or_default();
            *sum += n;
            *words = words.or(counts.error_words.get(class).map(String::as_str));
        }
    }
    let line = |(class, (n, words)): (&str, (u64, Option<&str>))| match words {
        Some(words) => format!("Failed with {class}: {}, first with “{words}”.", count(n)),
        None => format!("Failed with {class}: {}.", count(n)),
    };
    classes.into_iter().map(line).collect()
}

/// Best and worst p95 TTFT and the greatest throughput, among believable cells.
fn figures(all: &[Repeats<'_>]) -> Vec<String> {
    let believable: Vec<&Repeats<'_>> = all.iter().filter(|r| !r.flags().invalid).collect();
    let by = |metric: &str, stat: &str| -> Vec<(f64, String)> {
        let mut found: Vec<_> =
            believable.iter().filter_map(|r| Some((r.estimate(metric, stat)?.mean, r.label()))).collect();
        found.sort_by(|a, b| a.0.total_cmp(&b.0));
        found
    };
    let mut out = Vec::new();
    let ttft = by("ttft", "p95");
    match (ttft.first(), ttft.last()) {
        (Some(best), Some(worst)) if ttft.len() > 1 => out.push(format!(
            "p95 TTFT is best with {} ms at {} and worst with {} ms at {}.",
            figure(best.0),
            best.1,
            figure(worst.0),
            worst.1
        )),
        (Some(only), _) => out.push(format!("p95 TTFT is {} ms at {}.", figure(only.0), only.1)),
        _ => out.push("No believable cell has a time to first token.".to_owned()),
    }
    if let Some((most, label)) = by("output_tps", "").last().filter(|(v, _)| *v > 0.0) {
        out.push(format!("Output throughput is greatest with {} tok/s at {label}.", figure(*most)));
    }
    out
}

/// How a level stands to the SLO.
enum Standing {
    Pass,
    Fail(String),
    /// Not run, or not believable.
    Unjudged,
}

fn standing(level: &Level<'_>) -> Standing {
    let believable = level.repeats.summaries().filter(|s| s.validity.verdict != Verdict::Invalid);
    let summaries: Vec<&CellSummary> = believable.collect();
    if summaries.is_empty() {
        return Standing::Unjudged;
    }
    if let Some(failed) = summaries.iter().flat_map(|s| &s.slo).find(|v| !v.pass) {
        return Standing::Fail(verdict_text(failed));
    }
    if level.repeats.flags().overloaded {
        return Standing::Fail("the server is overloaded".into());
    }
    if summaries.len() < level.repeats.cells.len() { Standing::Unjudged } else { Standing::Pass }
}

fn limits(family: &Family<'_>) -> Vec<String> {
    let judged = |g: &&Group<'_>| g.levels.iter().any(|l| l.repeats.summaries().any(|s| !s.slo.is_empty()));
    family.groups.iter().filter(judged).map(|g| limit_of(family, g)).collect()
}

fn limit_of(family: &Family<'_>, group: &Group<'_>) -> String {
    let standings: Vec<(f64, Standing)> = group.levels.iter().map(|l| (l.x, standing(l))).collect();
    let at = |x: f64| family.x.level(x);
    let with = if group.label.is_empty() { String::new() } else { format!("With {}: ", group.label) };
    let last_pass =
        standings.iter().filter(|(_, s)| matches!(s, Standing::Pass)).map(|(x, _)| *x).next_back();
    let fails = standings.iter().filter_map(|(x, s)| match s {
        Standing::Fail(why) => Some((*x, why)),
        _ => None,
    });
    let first_fail = fails.clone().next();
    let mut out = match (last_pass, first_fail) {
        (None, None) => format!("{with}the SLO could not be judged: no level has a valid cell."),
        (Some(pass), None) => format!("{with}every judged level meets the SLO, up to {}.", at(pass)),
        (None, Some((x, why))) => format!("{with}no level meets the SLO; at {} {why}.", at(x)),
        (Some(pass), Some((x, why))) if x < pass => format!(
            "{with}the SLO is met at {}, the greatest such load, but not at {}, where {why}: no clean limit.",
            at(pass),
            at(x)
        ),
        (Some(pass), Some((x, why))) => {
            format!("{with}the SLO holds up to {} and breaks at {}, where {why}.", at(pass), at(x))
        }
    };
    let unjudged: Vec<String> =
        standings.iter().filter(|(_, s)| matches!(s, Standing::Unjudged)).map(|(x, _)| at(*x)).collect();
    if !unjudged.is_empty() && (last_pass.is_some() || first_fail.is_some()) {
        out.push_str(&format!(" Not judged, for want of valid repeats: {}.", list(&unjudged, 5)));
    }
    crate::chart::upper_first(&out)
}

fn rules(run: &RunData) -> Vec<RuleLine> {
    struct Sum {
        rule: String,
        passed: usize,
        of: usize,
        /// By how many times the limit it is, the figure, and where.
        worst: Option<(f64, String)>,
    }
    let mut sums: Vec<Sum> = Vec::new();
    for data in &run.cells {
        let Some(summary) = data.summary.as_ref().filter(|s| s.validity.verdict != Verdict::Invalid) else {
            continue;
        };
        let label = Repeats { cells: vec![data] }.label();
        for verdict in &summary.slo {
            let rule = rule_text(&verdict.metric, &verdict.stat, verdict.limit);
            let i = sums.iter().position(|s| s.rule == rule).unwrap_or_else(|| {
                sums.push(Sum { rule, passed: 0, of: 0, worst: None });
                sums.len() - 1
            });
            let sum = &mut sums[i];
            sum.of += 1;
            sum.passed += usize::from(verdict.pass);
            let higher =
                metrics::metric(&verdict.metric).is_some_and(|m| m.better == metrics::Better::Higher);
            if let Some(value) = verdict.value {
                let badness = if higher { -value } else { value };
                if sum.worst.as_ref().is_none_or(|(b, _)| badness > *b) {
                    let text = format!("{} at {label}", value_with_unit(&verdict.metric, value));
                    sum.worst = Some((badness, text));
                }
            }
        }
    }
    let line = |s: Sum| RuleLine {
        rule: s.rule,
        passed: s.passed,
        of: s.of,
        worst: s.worst.map_or_else(|| "no samples".into(), |(_, t)| t),
    };
    sums.into_iter().map(line).collect()
}

/// `TTFT p95 ≤ 1,000 ms`.
#[must_use]
pub fn rule_text(metric: &str, stat: &str, limit: f64) -> String {
    let higher = metrics::metric(metric).is_some_and(|m| m.better == metrics::Better::Higher);
    let sign = if higher { "≥" } else { "≤" };
    format!("{} {sign} {}", metric_name(metric, stat), value_with_unit(metric, limit))
}

/// `TTFT p95 is 2,930 ms, limit 1,000 ms`.
#[must_use]
pub fn verdict_text(verdict: &SloVerdict) -> String {
    let limit = value_with_unit(&verdict.metric, verdict.limit);
    let name = metric_name(&verdict.metric, &verdict.stat);
    match verdict.value {
        Some(value) => format!("{name} is {}, limit {limit}", value_with_unit(&verdict.metric, value)),
        None => format!("{name} has no samples, limit {limit}"),
    }
}

/// `TTFT p95`, `error rate`.
#[must_use]
pub fn metric_name(metric: &str, stat: &str) -> String {
    let name = match metric {
        "ttft" | "ttfv" | "tpot" | "e2e" => metric.to_uppercase(),
        _ => metric.replace('_', " "),
    };
    format!("{name} {stat}").trim_end().to_owned()
}

/// A figure with its unit; shares in percent.
#[must_use]
pub fn value_with_unit(metric: &str, value: f64) -> String {
    match metrics::metric(metric).map(|m| m.unit) {
        Some(Unit::Ratio) => format!("{} %", figure(value * 100.0)),
        Some(unit) => format!("{} {}", figure(value), unit.label()).trim_end().to_owned(),
        None => figure(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_read_as_people_say_them() {
        assert_eq!(rule_text("ttft", "p95", 1000.0), "TTFT p95 ≤ 1,000 ms");
        assert_eq!(rule_text("error_rate", "", 0.01), "error rate ≤ 1.00 %");
        assert_eq!(rule_text("goodput_rps", "", 12.0), "goodput rps ≥ 12.0 req/s");
        let none =
            SloVerdict { metric: "tpot".into(), stat: "mean".into(), limit: 100.0, value: None, pass: false };
        assert_eq!(verdict_text(&none), "TPOT mean has no samples, limit 100 ms");
    }
}
