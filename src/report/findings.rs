//! What a run came to, in plain words: counts, best and worst figures, what is carried
//! within the SLO.

use std::collections::BTreeMap;

use crate::analysis::capacity::{SloSource, answers};
use crate::analysis::diagnosis::{self, Finding};
use crate::analysis::grid::is_silent;
use crate::analysis::words::{rule_text, value_with_unit};
use crate::analysis::{self, RunData, inside};
use crate::chart::{Family, Level, Loop, Repeats, count, families, figure, list};
use crate::measure::{
    CellSummary, GroupSummary, LimitVerdict, RecoveryVerdict, SloStatus, SloVerdict, Verdict,
};
use crate::metrics;
use crate::report::noise;

/// The summary of a run for page and terminal.
#[derive(Debug, Clone, PartialEq)]
pub struct Findings {
    pub counts: CellCounts,
    /// What ran, one sentence each.
    pub ran: Vec<String>,
    /// Best and worst figures, one sentence each.
    pub figures: Vec<String>,
    /// What is carried within the SLO, one sentence or more per group of the grid, and what the
    /// traffic of `[capacity]` needs; empty without `[slo]`.
    pub limits: Vec<String>,
    pub rules: Vec<RuleLine>,
    /// What the figures point to, what matters most first.
    pub diagnosis: Vec<Finding>,
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
    /// The worst of all cells that were judged.
    pub status: SloStatus,
    /// Cells and repeats that meet it, or its target where it has one.
    pub passed: usize,
    /// Those beyond the target that are acceptable.
    pub acceptable: usize,
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
        ran: ran(run, &all, &families).into_iter().chain(searched(run)).collect(),
        figures: figures(&all, &families),
        limits: limits(run),
        rules: rules(run),
        diagnosis: diagnosis::diagnose(run),
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

/// What each search found.
fn searched(run: &RunData) -> impl Iterator<Item = String> {
    run.search.iter().flatten().map(|found| format!("Search: {}", analysis::sentence(found)))
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
        let load = if family.x.is_load() { "" } else { " of one load" };
        out.push(format!("{kind}{load}, from {} to {}{groups}.", family.x.level(lo), family.x.level(hi)));
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
fn figures(all: &[Repeats<'_>], families: &[Family<'_>]) -> Vec<String> {
    // A figure over several levels of load is of none of them.
    let (staged, believable): (Vec<&Repeats<'_>>, Vec<&Repeats<'_>>) =
        all.iter().filter(|r| !r.flags().invalid).partition(|r| r.level_changes());
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
        _ if !staged.is_empty() => {}
        _ => out.push("No believable cell has a time to first token.".to_owned()),
    }
    out.extend(throughput(&believable, families));
    if !staged.is_empty() {
        let labels: Vec<String> = staged.iter().map(|r| r.label()).collect();
        out.push(format!(
            "The load changes within the window of {}: its figures are told by stage.",
            list(&labels, 3)
        ));
    }
    out
}

/// Where output throughput is greatest, and the lowest load of the same group that gives as much
/// but for noise. An overloaded level is none to run a server at.
fn throughput(believable: &[&Repeats<'_>], families: &[Family<'_>]) -> Option<String> {
    let samples = |r: &Repeats<'_>| -> Vec<f64> {
        r.usable().iter().filter_map(|s| s.value("output_tps", "")).filter(|v| v.is_finite()).collect()
    };
    let mean = |r: &Repeats<'_>| r.estimate("output_tps", "").map_or(0.0, |e| e.mean);
    let keeps_up: Vec<&Repeats<'_>> = believable.iter().copied().filter(|r| !r.flags().overloaded).collect();
    let (from, but) = match keeps_up.as_slice() {
        [] => (believable, ", where the server is overloaded"),
        some if some.len() < believable.len() => (some, ", of the loads that don't overload it"),
        some => (some, ""),
    };
    let most = *from.iter().max_by(|a, b| mean(a).total_cmp(&mean(b)))?;
    let greatest = mean(most);
    if greatest <= 0.0 {
        return None;
    }
    let levels = families.iter().filter(|f| f.x.is_load()).flat_map(|f| &f.groups).map(|g| &g.levels);
    let ladder =
        levels.into_iter().find(|levels| levels.iter().any(|l| l.repeats.cell().id == most.cell().id));
    let as_good = |l: &&Level<'_>| {
        from.iter().any(|r| r.cell().id == l.repeats.cell().id)
            && noise::indistinguishable(&samples(&l.repeats), &samples(most))
    };
    // Levels rise: the first is the lowest.
    let least = ladder.and_then(|levels| levels.iter().find(as_good)).map_or(most, |l| &l.repeats);
    let mut out =
        format!("Output throughput is greatest with {} tok/s at {}{but}", figure(greatest), most.label());
    if least.cell().id != most.cell().id {
        out.push_str(&format!(
            "; at {} it is {} tok/s, the same but for noise",
            least.label(),
            figure(mean(least))
        ));
    }
    out.push('.');
    Some(out)
}

/// Something that was asked of a cell: a rule of its own or of one of its stages, or that a
/// stage recovers.
enum Asked<'a> {
    Rule(Option<&'a str>, &'a SloVerdict),
    Recovery(&'a RecoveryVerdict),
    /// What the server may take.
    Limit(&'a LimitVerdict),
}

fn asked(summary: &CellSummary) -> impl Iterator<Item = Asked<'_>> {
    let own = summary.slo.iter().map(|rule| Asked::Rule(None, rule));
    own.chain(summary.stages().flat_map(asked_of)).chain(summary.limits().iter().map(Asked::Limit))
}

fn asked_of(stage: &GroupSummary) -> impl Iterator<Item = Asked<'_>> {
    let rules = stage.slo.iter().map(|rule| Asked::Rule(Some(&stage.name), rule));
    rules.chain(stage.recovery.iter().map(Asked::Recovery))
}

impl Asked<'_> {
    const fn status(&self) -> SloStatus {
        match self {
            Self::Rule(_, verdict) => verdict.status,
            Self::Recovery(verdict) => verdict.status(),
            Self::Limit(verdict) => verdict.status,
        }
    }

    /// `spike: TTFT p95 ≤ 1,000 ms`.
    fn rule(&self) -> String {
        match self {
            Self::Rule(None, verdict) => rule_text(verdict),
            Self::Rule(Some(stage), verdict) => format!("{stage}: {}", rule_text(verdict)),
            Self::Limit(verdict) => inside::limit_rule(verdict),
            Self::Recovery(r) => {
                format!("{}: latency is back at {}'s, at most +{:.0} %", r.stage, r.of, r.within * 100.0)
            }
        }
    }

    /// Its figure as a number that rises as things get worse, and in words.
    fn figure(&self) -> Option<(f64, String)> {
        match self {
            Self::Rule(_, verdict) => {
                let value = verdict.value?;
                let better = metrics::metric(&verdict.metric).map(|m| m.better);
                let badness = if better == Some(metrics::Better::Higher) { -value } else { value };
                Some((badness, value_with_unit(&verdict.metric, value)))
            }
            Self::Limit(verdict) => Some((verdict.value?, inside::limit_value(verdict)?)),
            Self::Recovery(r) => {
                let over = r.worst()?;
                Some((over, format!("{:+.1} %", (over - 1.0) * 100.0)))
            }
        }
    }
}

/// What the run carries within its own SLO; nothing where it has none.
fn limits(run: &RunData) -> Vec<String> {
    let capacity = run.capacity();
    match capacity.slo.source {
        SloSource::Preset(_) => Vec::new(),
        SloSource::Experiment | SloSource::Given(_) => answers(capacity),
    }
}

fn rules(run: &RunData) -> Vec<RuleLine> {
    // Each with by how much its worst figure is bad.
    let mut lines: Vec<(RuleLine, Option<f64>)> = Vec::new();
    for data in &run.cells {
        // That nothing was answered is a miss, whatever else can't be believed.
        let counts = |s: &&CellSummary| s.validity.verdict != Verdict::Invalid || is_silent(s);
        let Some(summary) = data.summary.as_ref().filter(counts) else { continue };
        let label = Repeats { cells: vec![data] }.label();
        for asked in asked(summary) {
            let rule = asked.rule();
            let status = asked.status();
            let i = lines.iter().position(|(line, _)| line.rule == rule).unwrap_or_else(|| {
                let worst = "no samples".to_owned();
                let line = RuleLine { rule, status, passed: 0, acceptable: 0, of: 0, worst };
                lines.push((line, None));
                lines.len() - 1
            });
            let (line, worst) = &mut lines[i];
            line.of += 1;
            line.passed += usize::from(status == SloStatus::Pass);
            line.acceptable += usize::from(status == SloStatus::Warning);
            line.status = line.status.max(status);
            if let Some((badness, words)) = asked.figure()
                && worst.is_none_or(|known| badness > known)
            {
                line.worst = format!("{words} at {label}");
                *worst = Some(badness);
            }
        }
    }
    lines.into_iter().map(|(line, _)| line).collect()
}
